/** Training patches made ahead of time by worker threads, over shared memory. */
import { Worker } from 'node:worker_threads';
import { type PatchBatch, type PatchSourceOptions, withDefaults } from './dataset.js';
import { FileError } from './file-error.js';
import { listImages } from './folder.js';
import type { Image } from './image.js';
import type { Reply, Request } from './prefetch-worker.js';
import { deriveSeed } from './random.js';

export interface PrefetchOptions extends PatchSourceOptions {
  /** Worker threads; 2 by default. The batches do not depend on it. */
  workers?: number;
  /** Batches made before they are asked for; 4 by default. */
  ahead?: number;
  /** Closes the source: what is awaited then, the reading of the folder included, is refused with the signal's reason. */
  signal?: AbortSignal;
}

/** A batch in shared memory. */
export interface PrefetchedBatch extends PatchBatch {
  release(): void;
}

export interface PrefetchSource {
  readonly channels: 1 | 3;
  readonly patchSize: number;
  readonly description: string;
  /** The batch of a step, bit for bit that of `folderSource`; those of the following steps are then made ahead. */
  batch(step: number, size: number): Promise<PrefetchedBatch>;
  /** Ends the workers; batches that are still awaited are refused. */
  close(): Promise<void>;
}

/**
 * Patches from all images of a folder, decoded once and cut by worker threads. Workers keep the process alive only
 * while a batch is awaited.
 *
 * @throws FileError for a missing or empty folder, an unreadable image, or an image smaller than the patch
 * @throws RangeError for options outside their range; the signal's reason when it aborts
 */
export async function prefetchFolder(folder: string, options: PrefetchOptions = {}): Promise<PrefetchSource> {
  const { channels, patchSize, seed } = withDefaults(options);
  const { workers = 2, ahead = 4, signal } = options;
  requirePositive(workers, 'workers');
  requirePositive(ahead, 'ahead');
  const paths = await listImages(folder);
  signal?.throwIfAborted();
  const crew = Array.from({ length: workers }, () => new Crewman());
  let refusal: unknown = null;
  const close = async (reason: unknown): Promise<void> => {
    refusal ??= reason;
    signal?.removeEventListener('abort', onAbort);
    await Promise.all(crew.map((worker) => worker.close(refusal)));
  };
  const onAbort = (): void => void close(signal?.reason);
  signal?.addEventListener('abort', onAbort);
  const images: Image[] = [];
  try {
    const results = await Promise.allSettled(
      paths.map((path, i) => crew[i % workers]!.ask({ kind: 'decode', path, channels, patchSize }, true)),
    );
    // The first failure in the order of names, as when one thread reads them all.
    for (const result of results) {
      if (result.status === 'rejected') throw result.reason;
      images.push(result.value!);
    }
    await Promise.all(crew.map((worker) => worker.ask({ kind: 'images', images, seed }, true)));
  } catch (error) {
    await close(error);
    throw error;
  }

  interface Job {
    readonly out: Float32Array;
    readonly worker: Crewman;
    readonly done: Promise<unknown>;
  }
  let jobs = new Map<number, Job>();
  let jobSize = 0;
  let free: Float32Array[] = [];
  /** Batches that were handed out and not given back: now, and at most so far. */
  let [inUse, mostInUse] = [0, 1];
  const recycle = (out: Float32Array): void => {
    if (out.length === jobSize * channels * patchSize ** 2 && free.length < ahead + mostInUse) free.push(out);
  };
  const start = (step: number, size: number): Job => {
    const out = free.pop() ?? new Float32Array(new SharedArrayBuffer(4 * size * channels * patchSize ** 2));
    const worker = crew[step % workers]!;
    const done = worker.ask({ kind: 'cut', step, size, channels, patchSize, seed, out }, false);
    // Failures reach whoever awaits the batch; nobody may.
    done.catch(() => {});
    return { out, worker, done };
  };
  return {
    channels,
    patchSize,
    description: `${images.length} image${images.length === 1 ? '' : 's'} of ${folder}`,
    async batch(step, size) {
      if (refusal !== null) throw refusal;
      requirePositive(size, 'size');
      deriveSeed(seed, 0, step);
      if (size !== jobSize) {
        [jobs, free, jobSize] = [new Map(), [], size];
      }
      const wanted = jobs.get(step) ?? start(step, size);
      const next = new Map<number, Job>();
      for (let k = step + 1; k <= step + ahead; k++) next.set(k, jobs.get(k) ?? start(k, size));
      for (const [k, { done, out }] of jobs) {
        // Made for a step that was passed over; the worker may be writing it still.
        if (k !== step && !next.has(k)) done.then(() => recycle(out)).catch(() => {});
      }
      jobs = next;
      await wanted.worker.waitFor(wanted.done);
      mostInUse = Math.max(mostInUse, ++inUse);
      let released = false;
      return {
        clean: wanted.out,
        shape: [size, channels, patchSize, patchSize],
        release() {
          if (released) return;
          released = true;
          inUse--;
          recycle(wanted.out);
        },
      };
    },
    close: () => close(closedError()),
  };
}

/** A worker thread with its open questions. */
class Crewman {
  // Without the flags of this process: --input-type and alike would stop the worker's own module from loading.
  readonly #worker = new Worker(new URL('./prefetch-worker.js', import.meta.url), { execArgv: [] });
  readonly #open = new Map<number, { resolve: (image: Image | undefined) => void; reject: (error: unknown) => void }>();
  #nextId = 0;
  #waiting = 0;
  /** Why nothing is answered any more. */
  #ended: unknown = null;

  constructor() {
    this.#worker.unref();
    this.#worker.on('message', (reply: Reply) => {
      const question = this.#open.get(reply.id);
      this.#open.delete(reply.id);
      if ('message' in reply) question?.reject(reply.path === null ? new Error(reply.message) : new FileError(reply.path, reply.message));
      else question?.resolve(reply.image);
    });
    this.#worker.on('error', (error) => this.#end(error));
    this.#worker.on('exit', () => this.#end(closedError()));
  }

  ask(request: DistributiveOmit<Request, 'id'>, wait: boolean): Promise<Image | undefined> {
    if (this.#ended !== null) return Promise.reject(this.#ended);
    const id = this.#nextId++;
    const answer = new Promise<Image | undefined>((resolve, reject) => this.#open.set(id, { resolve, reject }));
    this.#worker.postMessage({ id, ...request });
    return wait ? this.waitFor(answer) : answer;
  }

  /** Keeps the process alive until the answer is there. */
  async waitFor<T>(answer: Promise<T>): Promise<T> {
    if (this.#waiting++ === 0) this.#worker.ref();
    try {
      return await answer;
    } finally {
      if (--this.#waiting === 0) this.#worker.unref();
    }
  }

  /** Refuses what is awaited and ends the thread. */
  async close(reason: unknown): Promise<void> {
    this.#end(reason);
    await this.#worker.terminate();
  }

  #end(reason: unknown): void {
    this.#ended ??= reason;
    for (const { reject } of this.#open.values()) reject(this.#ended);
    this.#open.clear();
  }
}

function closedError(): TypeError {
  return new TypeError('Expected an open prefetch source but received a closed one');
}

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;

function requirePositive(value: number, name: string): void {
  if (!Number.isInteger(value) || value < 1) throw new RangeError(`Expected a positive integer for ${name} but received ${value}`);
}
