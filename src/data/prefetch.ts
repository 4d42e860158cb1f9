/** Training patches made ahead of time by worker threads, over shared memory. */
import { type DeadLeavesSourceOptions, deadLeavesPlan, type PatchBatch, type PatchSourceOptions, withDefaults } from './dataset.js';
import { listImages } from './folder.js';
import type { Image } from './image.js';
import { Crew, type Crewman } from './prefetch-crew.js';
import { deriveSeed } from './random.js';

interface CrewOptions {
  /** Worker threads; 2 by default. The batches do not depend on it. */
  workers?: number;
  /** Batches made before they are asked for; 4 by default. */
  ahead?: number;
  /** Closes the source: what is awaited then, the reading of the folder included, is refused with the signal's reason. */
  signal?: AbortSignal;
}

export interface PrefetchOptions extends PatchSourceOptions, CrewOptions {}

export interface DeadLeavesPrefetchOptions extends DeadLeavesSourceOptions, CrewOptions {}

/** A batch in shared memory. */
export interface PrefetchedBatch extends PatchBatch {
  release(): void;
}

export interface PrefetchSource {
  readonly channels: 1 | 3;
  readonly patchSize: number;
  readonly description: string;
  /** The batch of a step, bit for bit that of `folderSource` or `deadLeavesSource`; those of the following steps are then made ahead. */
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
  const { workers, ahead } = crewDefaults(options);
  const paths = await listImages(folder);
  const crew = new Crew(workers, options.signal);
  const images: Image[] = [];
  try {
    const results = await Promise.allSettled(
      paths.map((path, i) => crew.member(i).ask({ kind: 'decode', path, channels, patchSize }, true)),
    );
    // The first failure in the order of names, as when one thread reads them all.
    for (const result of results) {
      if (result.status === 'rejected') throw result.reason;
      images.push(result.value!);
    }
    await Promise.all(crew.members.map((member) => member.ask({ kind: 'images', images, seed }, true)));
  } catch (error) {
    await crew.close(error);
    throw error;
  }
  const description = `${images.length} image${images.length === 1 ? '' : 's'} of ${folder}`;
  return streamOf(crew, { channels, patchSize, seed, ahead, description });
}

/**
 * The patches of `deadLeavesSource`, painted and cut by worker threads. A picture is painted once, when the first batch needs it, into memory
 * that the workers share (4 bytes per sample).
 * @throws RangeError for options outside their range; the signal's reason when it aborts
 */
export async function prefetchDeadLeaves(options: DeadLeavesPrefetchOptions = {}): Promise<PrefetchSource> {
  const { channels, patchSize, seed } = withDefaults(options);
  const { workers, ahead } = crewDefaults(options);
  const { pictures, side, description } = deadLeavesPlan(options);
  const crew = new Crew(workers, options.signal);
  const memory = {
    pictures: new Float32Array(new SharedArrayBuffer(4 * pictures * channels * side ** 2)),
    states: new Int32Array(new SharedArrayBuffer(4 * pictures)),
  };
  try {
    const request = { kind: 'leaves', ...memory, side, channels, seed, leaves: options.leaves ?? {} } as const;
    await Promise.all(crew.members.map((member) => member.ask(request, true)));
  } catch (error) {
    await crew.close(error);
    throw error;
  }
  return streamOf(crew, { channels, patchSize, seed, ahead, description });
}

function crewDefaults({ workers = 2, ahead = 4 }: CrewOptions): { workers: number; ahead: number } {
  requirePositive(workers, 'workers');
  requirePositive(ahead, 'ahead');
  return { workers, ahead };
}

interface Stream {
  readonly channels: 1 | 3;
  readonly patchSize: number;
  readonly seed: number;
  readonly ahead: number;
  readonly description: string;
}

/** A batch in work. */
interface Job {
  readonly out: Float32Array;
  readonly worker: Crewman;
  readonly done: Promise<unknown>;
}

/** Batches cut by workers that know what to cut from. */
function streamOf(crew: Crew, { channels, patchSize, seed, ahead, description }: Stream): PrefetchSource {
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
    const worker = crew.member(step);
    const done = worker.ask({ kind: 'cut', step, size, channels, patchSize, seed, out }, false);
    // Failures reach whoever awaits the batch; nobody may.
    done.catch(() => {});
    return { out, worker, done };
  };
  return {
    channels,
    patchSize,
    description,
    async batch(step, size) {
      crew.requireOpen();
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
    close: () => crew.close(),
  };
}

function requirePositive(value: number, name: string): void {
  if (!Number.isInteger(value) || value < 1) throw new RangeError(`Expected a positive integer for ${name} but received ${value}`);
}
