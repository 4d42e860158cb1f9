/** The worker threads behind prefetched sources. */
import { Worker } from 'node:worker_threads';
import { FileError } from './file-error.js';
import type { Image } from './image.js';
import type { Reply, Request } from './prefetch-worker.js';

/** Worker threads that end together, or when a signal aborts. They keep the process alive only while an answer is awaited. */
export class Crew {
  readonly members: readonly Crewman[];
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort = (): void => void this.close(this.#signal?.reason);
  #refusal: unknown = null;

  /** @throws the signal's reason when it has aborted */
  constructor(size: number, signal?: AbortSignal) {
    signal?.throwIfAborted();
    this.members = Array.from({ length: size }, () => new Crewman());
    this.#signal = signal;
    signal?.addEventListener('abort', this.#onAbort);
  }

  member(index: number): Crewman {
    return this.members[index % this.members.length]!;
  }

  /** @throws why it was closed, once it is */
  requireOpen(): void {
    if (this.#refusal !== null) throw this.#refusal;
  }

  /** Refuses what is awaited, and everything later, for this reason. */
  async close(reason: unknown = closedError()): Promise<void> {
    this.#refusal ??= reason;
    this.#signal?.removeEventListener('abort', this.#onAbort);
    await Promise.all(this.members.map((member) => member.close(this.#refusal)));
  }
}

/** A worker thread with its open questions. */
export class Crewman {
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
      // Not while it is being closed: `close` waits for the thread's end.
      if (--this.#waiting === 0 && this.#ended === null) this.#worker.unref();
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
