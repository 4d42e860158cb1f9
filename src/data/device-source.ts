/** Batches as tensors of the current device: on their way to the GPU while it still works on the batch before. */
import { device, Stage } from '../backend/index.js';
import { outsideScopes, Tensor } from '../tensor/index.js';
import type { DeviceBatch } from './dataset.js';
import type { PrefetchedBatch, PrefetchSource } from './prefetch.js';

export interface DeviceSource {
  readonly channels: 1 | 3;
  readonly patchSize: number;
  readonly description: string;
  /** The batch of a step; that of the following step is then sent ahead. */
  batch(step: number, size: number): Promise<DeviceBatch>;
  /** Frees the memory and closes the source behind it. */
  close(): Promise<void>;
}

/** Memory for one batch on the device, and its way there. */
interface Slot {
  readonly tensor: Tensor;
  readonly stage: Stage;
}

/**
 * The batches of a source on the current device. With the GPU, a batch goes from the workers' shared memory through page-locked memory to
 * the device on a stream of its own, while the previous step computes; two batches' worth of memory is kept there. On the CPU the tensor
 * is the shared memory itself.
 */
export function deviceSource(source: PrefetchSource): DeviceSource {
  const { channels, patchSize, description } = source;
  return { channels, patchSize, description, ...(device() === 'cuda' ? staged(source) : borrowed(source)) };
}

type Stream = Pick<DeviceSource, 'batch' | 'close'>;

function borrowed(source: PrefetchSource): Stream {
  return {
    async batch(step, size) {
      const batch = await source.batch(step, size);
      const clean = outsideScopes(() => Tensor.from(batch.clean, [...batch.shape]));
      return {
        clean,
        release() {
          clean.dispose();
          batch.release();
        },
      };
    },
    close: () => source.close(),
  };
}

function staged(source: PrefetchSource): Stream {
  let free: Slot[] = [];
  let size = 0;
  let closed = false;
  /** Batches that were sent, or wait for their workers. */
  let sent = new Map<number, Promise<Slot>>();

  const destroy = ({ tensor, stage }: Slot): void => {
    stage.dispose();
    tensor.dispose();
  };
  const recycle = (slot: Slot): void => {
    if (closed || slot.tensor.shape[0] !== size) destroy(slot);
    else free.push(slot);
  };
  const make = (shape: readonly number[]): Slot => {
    const tensor = outsideScopes(() => Tensor.empty('float32', [...shape]));
    return { tensor, stage: new Stage(tensor.address, 4 * tensor.size) };
  };
  const send = async (step: number): Promise<Slot> => {
    const batch: PrefetchedBatch = await source.batch(step, size);
    try {
      const fits = free.findIndex(({ tensor }) => tensor.shape[0] === batch.shape[0]);
      const slot = fits < 0 ? make(batch.shape) : (free.splice(fits, 1)[0] as Slot);
      try {
        slot.stage.send(batch.clean);
      } catch (error) {
        destroy(slot);
        throw error;
      }
      return slot;
    } finally {
      batch.release();
    }
  };
  const drop = (promises: Iterable<Promise<Slot>>): Promise<unknown> =>
    Promise.allSettled([...promises].map((promise) => promise.then(recycle)));

  return {
    async batch(step, wanted) {
      if (wanted !== size) {
        const [old, unused] = [sent, free];
        [sent, free, size] = [new Map(), [], wanted];
        void drop(old.values());
        for (const slot of unused) destroy(slot);
      }
      const before = sent;
      sent = new Map();
      const ask = (k: number): Promise<Slot> => {
        const promise = before.get(k) ?? send(k);
        before.delete(k);
        // Failures reach whoever awaits the batch; nobody may.
        promise.catch(() => {});
        return promise;
      };
      const own = ask(step);
      sent.set(step + 1, ask(step + 1));
      void drop(before.values());
      const slot = await own;
      slot.stage.receive();
      let released = false;
      return {
        clean: slot.tensor,
        release() {
          if (released) return;
          released = true;
          slot.stage.done();
          recycle(slot);
        },
      };
    },
    async close() {
      closed = true;
      await source.close();
      await drop(sent.values());
      for (const slot of free.splice(0)) destroy(slot);
    },
  };
}
