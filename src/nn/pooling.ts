/** Pooling and resizing layers. */
import { averagePool2d, maxPool2d, mean, type PoolOptions, resize2d } from '../ops/index.js';
import { Lambda } from './activation.js';

/** The largest value of each window. */
export class MaxPool2d extends Lambda {
  constructor(options: PoolOptions) {
    super((x) => maxPool2d(x, options));
  }
}

/** The mean of each window. */
export class AveragePool2d extends Lambda {
  constructor(options: PoolOptions) {
    super((x) => averagePool2d(x, options));
  }
}

/** The mean of each channel: [n, c, h, w] to [n, c]. */
export class GlobalAveragePool2d extends Lambda {
  constructor() {
    super((x) => mean(x, { axes: [-2, -1] }));
  }
}

/** Enlarges height and width by an integer factor. */
export class Upsample extends Lambda {
  constructor({
    factor,
    mode = 'nearest',
    alignCorners = false,
  }: { factor: number; mode?: 'nearest' | 'bilinear'; alignCorners?: boolean }) {
    if (!Number.isInteger(factor) || factor < 1) throw new RangeError(`Expected an integer >= 1 for factor but received ${String(factor)}`);
    super((x) =>
      resize2d(x, { size: [factor * (x.shape[x.rank - 2] as number), factor * (x.shape[x.rank - 1] as number)], mode, alignCorners }),
    );
  }
}
