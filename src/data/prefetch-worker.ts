/** The worker behind `prefetchFolder`: decodes images into shared memory and cuts batches from them. */
import { parentPort } from 'node:worker_threads';
import { cutBatch, readForPatches, shuffledOrder } from './dataset.js';
import { FileError } from './file-error.js';
import type { Image } from './image.js';

export type Request =
  | { id: number; kind: 'decode'; path: string; channels: 1 | 3; patchSize: number }
  | { id: number; kind: 'images'; images: Image[]; seed: number }
  | { id: number; kind: 'cut'; step: number; size: number; channels: 1 | 3; patchSize: number; seed: number; out: Float32Array };

export type Reply = { id: number; image?: Image } | { id: number; message: string; path: string | null };

let images: readonly Image[] = [];
let order: (patch: number) => number = () => 0;

async function answer(request: Request): Promise<Reply> {
  const { id } = request;
  switch (request.kind) {
    case 'decode': {
      const image = await readForPatches(request.path, request.channels, request.patchSize);
      const data = new Float32Array(new SharedArrayBuffer(image.data.byteLength));
      data.set(image.data);
      return { id, image: { ...image, data } };
    }
    case 'images':
      images = request.images;
      order = shuffledOrder(request.seed, images.length);
      return { id };
    case 'cut': {
      const { step, size, channels, patchSize, seed, out } = request;
      cutBatch(step, size, channels, patchSize, seed, (_, patch) => images[order(patch)]!, out);
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
