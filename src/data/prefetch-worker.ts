/** The worker behind prefetched sources: decodes or paints images into shared memory and cuts batches from them. */
import { parentPort } from 'node:worker_threads';
import { cutBatch, deadLeavesPicture, readForPatches, shuffledOrder } from './dataset.js';
import type { DeadLeavesOptions } from './dead-leaves.js';
import { FileError } from './file-error.js';
import { type Image, makeImage } from './image.js';
import type { Random } from './random.js';

export type Request =
  | { id: number; kind: 'decode'; path: string; channels: 1 | 3; patchSize: number }
  | { id: number; kind: 'images'; images: Image[]; seed: number }
  | ({ id: number; kind: 'leaves' } & SharedLeaves)
  | { id: number; kind: 'cut'; step: number; size: number; channels: 1 | 3; patchSize: number; seed: number; out: Float32Array };

/** Dead-leaves pictures that all workers paint into and cut from. */
export interface SharedLeaves {
  /** One picture after the other. */
  pictures: Float32Array;
  /** Of each picture: not yet painted, being painted, painted. */
  states: Int32Array;
  side: number;
  channels: 1 | 3;
  seed: number;
  leaves: Omit<DeadLeavesOptions, 'height' | 'width' | 'channels' | 'seed'>;
}

const [blank, inWork, painted] = [0, 1, 2];

export type Reply = { id: number; image?: Image } | { id: number; message: string; path: string | null };

/** The image of the n-th patch of the run. */
let choose: (random: Random, patch: number) => Image = () => {
  throw new Error('Expected images before the first batch but received none');
};

/** A picture of the shared ones; whoever needs it first paints it, others wait. */
function sharedPicture({ pictures, states, side, channels, seed, leaves }: SharedLeaves, index: number): Image {
  const length = channels * side ** 2;
  const data = pictures.subarray(index * length, (index + 1) * length);
  while (Atomics.load(states, index) !== painted) {
    if (Atomics.compareExchange(states, index, blank, inWork) !== blank) {
      Atomics.wait(states, index, inWork);
      continue;
    }
    let state = blank;
    try {
      data.set(deadLeavesPicture(leaves, { side, channels, seed, index }).data);
      state = painted;
    } finally {
      Atomics.store(states, index, state);
      Atomics.notify(states, index);
    }
  }
  return makeImage(channels, side, side, data);
}

async function answer(request: Request): Promise<Reply> {
  const { id } = request;
  switch (request.kind) {
    case 'decode': {
      const image = await readForPatches(request.path, request.channels, request.patchSize);
      const data = new Float32Array(new SharedArrayBuffer(image.data.byteLength));
      data.set(image.data);
      return { id, image: { ...image, data } };
    }
    case 'images': {
      const { images, seed } = request;
      const order = shuffledOrder(seed, images.length);
      choose = (_, patch) => images[order(patch)]!;
      return { id };
    }
    case 'leaves':
      choose = (random) => sharedPicture(request, random.int(request.states.length));
      return { id };
    case 'cut': {
      const { step, size, channels, patchSize, seed, out } = request;
      cutBatch(step, size, channels, patchSize, seed, choose, out);
      return { id };
    }
  }
}

parentPort?.on('message', async (request: Request) => {
  const reply = await answer(request).catch((error: unknown): Reply => {
    const message = error instanceof Error ? error.message : String(error);
    return { id: request.id, message, path: error instanceof FileError ? error.path : null };
  });
  parentPort?.postMessage(reply);
});
