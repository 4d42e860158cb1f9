/** Blur, resampling, masks and MRI against their definitions. */
import { describe, expect, it } from 'vitest';
import { inverse, ops, type Tensor, tensor, tidy } from '../../src/index.js';
import { normal, relativeError, values } from '../support/numeric.js';
import { reference } from '../support/reference.js';

const { bicubicResize, blur, coilSensitivities, decimation, gaussianKernel, inpainting, mri, samplingMask, sheppLogan } = inverse;
const asTensor = ({ shape, data }: { shape: readonly number[]; data: number[] }): Tensor =>
  tensor(Float64Array.from(data), { shape: [...shape] });

describe('blur', () => {
  const outside: Record<string, (i: number, n: number) => number | null> = {
    zero: (i, n) => (i < 0 || i >= n ? null : i),
    replicate: (i, n) => Math.min(n - 1, Math.max(0, i)),
    circular: (i, n) => (i + n) % n,
    symmetric: (i, n) => (i < 0 ? -1 - i : i >= n ? 2 * n - 1 - i : i),
    reflect: (i, n) => (i < 0 ? -i : i >= n ? 2 * n - 2 - i : i),
  };
  it.each(Object.keys(outside))('is the convolution Σ k[a, b] x[i - a + c, j - b + c], %s outside', (padding) => {
    tidy(() => {
      const [h, w] = [6, 7];
      for (const [kh, kw] of [
        [3, 5],
        [2, 4],
      ] as const) {
        const [x, k] = [normal([h, w], 1), normal([kh, kw], 2)];
        const [xs, ks] = [values(x), values(k)];
        const want = reference([h, w], ([i, j]) => {
          let sum = 0;
          for (let a = 0; a < kh; a++)
            for (let b = 0; b < kw; b++) {
              const row = outside[padding]!(i! - a + Math.floor(kh / 2), h);
              const column = outside[padding]!(j! - b + Math.floor(kw / 2), w);
              if (row !== null && column !== null) sum += ks[a * kw + b]! * xs[row * w + column]!;
            }
          return sum;
        });
        expect(relativeError(blur([h, w], k, { padding: padding as 'zero' }).apply(x), asTensor(want))).toBeLessThan(1e-13);
      }
    });
  });

  it('keeps constants when the kernel sums to 1, and is differentiable in the kernel', () => {
    tidy(() => {
      const k = gaussianKernel(1.3);
      expect(k.shape).toEqual([9, 9]);
      expect(ops.sum(k).item()).toBeCloseTo(1, 6);
      const one = ops.add(ops.mul(normal([5, 6], 1), 0), 1);
      expect(relativeError(blur([5, 6], k).apply(one), one)).toBeLessThan(1e-6);
      expect(() => blur([5, 6], normal([3], 1))).toThrow('Expected a kernel of shape [height, width] but received [3]');
      expect(() => blur([5, 6], normal([7, 3], 1), { padding: 'valid' })).toThrow('Expected a kernel no larger than the image');
      expect(() => blur([5, 6], k, { padding: 'wrap' as never })).toThrow("'zero' or 'valid' for padding but received wrap");
    });
  });
});

describe('bicubicResize', () => {
  /** The weights of MATLAB's imresize for a halved line, away from the border: k((j + 1/2) / 2) / 2. */
  const HALF = [-0.01171875, -0.03515625, 0.11328125, 0.43359375, 0.43359375, 0.11328125, -0.03515625, -0.01171875];

  it('halves with the eight taps of imresize', () => {
    tidy(() => {
      const x = normal([1, 24], 1);
      const y = values(bicubicResize([1, 24], { size: [1, 12] }).apply(x));
      const xs = values(x);
      for (let i = 2; i < 10; i++) {
        expect(y[i]).toBeCloseTo(
          HALF.reduce((sum, weight, k) => sum + weight * xs[2 * i - 3 + k]!, 0),
          13,
        );
      }
      // At the border the line is mirrored: taps -3, -2, -1 are pixels 2, 1, 0.
      expect(y[0]).toBeCloseTo(
        HALF.reduce((sum, weight, k) => sum + weight * xs[k < 3 ? 2 - k : k - 3]!, 0),
        13,
      );
    });
  });

  it('doubles with the taps at distances 1/4 and 3/4', () => {
    tidy(() => {
      const x = normal([1, 8], 1);
      const y = values(bicubicResize([1, 8], { size: [1, 16] }).apply(x));
      const xs = values(x);
      const taps = [-0.0703125, 0.8671875, 0.2265625, -0.0234375];
      const near = (i: number): number => taps.reduce((sum, weight, k) => sum + weight * xs[i - 1 + k]!, 0);
      expect(y[7]).toBeCloseTo(near(3), 13); // output 7 lies at 3.25
      expect(y[9]).toBeCloseTo(near(4), 13);
    });
  });

  it.each([1 / 4, 1 / 3, 1 / 2, 0.4, 1, 1.5, 2, 3])('follows the formula at scale %f, in every pixel', (scale) => {
    tidy(() => {
      const [h, w] = [10, 13];
      const x = normal([h, w], 1);
      const xs = values(x);
      const cubic = (t: number): number => {
        const a = Math.abs(t);
        return a <= 1 ? 1.5 * a ** 3 - 2.5 * a ** 2 + 1 : a < 2 ? -0.5 * a ** 3 + 2.5 * a ** 2 - 4 * a + 2 : 0;
      };
      const gamma = Math.max(1, 1 / scale);
      const mirrored = (i: number, n: number): number => {
        const k = ((i % (2 * n)) + 2 * n) % (2 * n);
        return k < n ? k : 2 * n - 1 - k;
      };
      /** Weight of sample j of the infinite, mirrored line in output i. */
      const weights = (i: number): [number, number][] => {
        const centre = (i + 0.5) / scale - 0.5;
        const list: [number, number][] = [];
        for (let j = Math.floor(centre) - 12; j <= centre + 12; j++) list.push([j, cubic((centre - j) / gamma) / gamma]);
        const total = list.reduce((sum, [, weight]) => sum + weight, 0);
        return list.map(([j, weight]) => [j, weight / total]);
      };
      const out = [h, w].map((n) => Math.ceil(n * scale - 1e-9));
      const want = reference(out, ([i, j]) => {
        let sum = 0;
        for (const [p, a] of weights(i!)) for (const [q, b] of weights(j!)) sum += a * b * xs[mirrored(p, h) * w + mirrored(q, w)]!;
        return sum;
      });
      expect(relativeError(bicubicResize([h, w], { scale }).apply(x), asTensor(want))).toBeLessThan(1e-13);
    });
  });

  it('keeps constants and, away from borders, lines; at scale 1 it is the identity', () => {
    tidy(() => {
      const ramp = tensor(
        Float64Array.from({ length: 30 }, (_, i) => i),
        { shape: [1, 30] },
      );
      const y = values(bicubicResize([1, 30], { size: [1, 10] }).apply(ramp));
      for (let i = 2; i < 8; i++) expect(y[i]).toBeCloseTo(3 * i + 1, 12);
      const x = normal([5, 6], 1);
      expect(relativeError(bicubicResize([5, 6], { scale: 1 }).apply(x), x)).toBe(0);
    });
  });

  it('downsampling is γ⁻² times the adjoint of upsampling, away from borders', () => {
    tidy(() => {
      for (const gamma of [2, 3, 4]) {
        const [n, m] = [12 * gamma, 12];
        const down = bicubicResize([n, n], { scale: 1 / gamma });
        const up = bicubicResize([m, m], { scale: gamma });
        const x = normal([n, n], 1);
        const inner = (y: Tensor): Tensor => ops.narrow(ops.narrow(y, 0, 4, 8), 1, 4, 8);
        expect(relativeError(inner(ops.div(up.adjoint(x), gamma ** 2)), inner(down.apply(x)))).toBeLessThan(1e-12);
      }
    });
  });

  it('wants a scale or a size', () => {
    expect(() => bicubicResize([4, 4], {})).toThrow('Expected either scale or size for bicubicResize but received both or neither');
    expect(() => bicubicResize([4, 4], { scale: 0 })).toThrow('Expected a number > 0 for scale but received 0');
    expect(() => bicubicResize([4, 4], { size: [2, 0] })).toThrow('for options.size but received [2,0]');
    expect(() => decimation([4, 4], 0)).toThrow('Expected an integer >= 1, or one per axis, for factor but received 0');
  });
});

describe('masks', () => {
  it('inpainting keeps what is known, and refuses other values', () => {
    tidy(() => {
      const x = normal([2, 3], 1);
      const mask = tensor([1, 0, 1, 0, 0, 1], { shape: [2, 3], dtype: 'uint8' });
      expect(relativeError(inpainting(mask).apply(x), ops.mul(x, ops.cast(mask, 'float64')))).toBe(0);
      expect(() => inpainting(tensor([1, 0.5]))).toThrow('Expected zeros and ones for mask of shape [2] but received 0.5');
    });
  });

  it('sampling masks reach the acceleration, keep the middle, and follow the seed', () => {
    tidy(() => {
      for (const pattern of ['lines', 'radial'] as const) {
        for (const acceleration of [2, 4, 8]) {
          const mask = samplingMask([128, 96], { pattern, acceleration, seed: 3 });
          const share = ops.mean(ops.cast(mask, 'float64')).item();
          expect(Math.abs(share * acceleration - 1)).toBeLessThan(0.1);
          expect(values(mask)[64 * 96 + 48]).toBe(1);
        }
        expect(values(samplingMask([8, 8], { pattern, acceleration: 1 })).every((v) => v === 1)).toBe(true);
      }
      const lines = (seed: number): string => values(samplingMask([64, 1], { seed })).join('');
      expect(lines(1)).toBe(lines(1));
      expect(lines(1)).not.toBe(lines(2));
      expect(() => samplingMask([8, 8], { acceleration: 0.5 })).toThrow('Expected a number >= 1 for acceleration but received 0.5');
      expect(() => samplingMask([8, 8], { pattern: 'spiral' as never })).toThrow(
        "Expected 'lines' or 'radial' for pattern but received spiral",
      );
    });
  });
});

describe('mri', () => {
  const full = (h: number, w: number): Tensor => tensor(new Uint8Array(h * w).fill(1), { shape: [h, w] });

  it('with a full mask and normalised maps is an isometry', () => {
    tidy(() => {
      const maps = coilSensitivities([12, 10], 4);
      for (const complex of [false, true]) {
        const a = mri([12, 10], { mask: full(12, 10), maps, complex });
        const x = normal(a.inputShape, 1);
        expect(relativeError(a.gram(x), x)).toBeLessThan(1e-6); // the maps are float32
      }
    });
  });

  it('samples the discrete Fourier transform where the mask says', () => {
    tidy(() => {
      const [h, w] = [4, 5];
      const x = normal([h, w], 1);
      const xs = values(x);
      // One sample: frequency (-1, 2), which a drawn mask has at (h/2 - 1, 2 + 2).
      const mask = new Uint8Array(h * w);
      mask[1 * w + 4] = 1;
      const y = values(mri([h, w], { mask: tensor(mask, { shape: [h, w] }) }).apply(x));
      let [re, im] = [0, 0];
      for (let i = 0; i < h; i++)
        for (let j = 0; j < w; j++) {
          const angle = -2 * Math.PI * ((-1 * i) / h + (2 * j) / w);
          re += (xs[i * w + j]! * Math.cos(angle)) / Math.sqrt(h * w);
          im += (xs[i * w + j]! * Math.sin(angle)) / Math.sqrt(h * w);
        }
      const at = 3 * w + 2; // the same frequency with the zero frequency at [0, 0]
      expect(y[at]).toBeCloseTo(re, 12);
      expect(y[h * w + at]).toBeCloseTo(im, 12);
      expect(y.filter((v) => v !== 0)).toHaveLength(2);
    });
  });

  it('refuses a mask or maps of another size, in words', () => {
    tidy(() => {
      expect(() => mri([8, 8], { mask: full(8, 9) })).toThrow("Expected a mask of the image's size [8, 8] but received [8, 9]");
      const maps = coilSensitivities([8, 9], 2);
      expect(() => mri([8, 8], { mask: full(8, 8), maps })).toThrow('Expected maps of shape [coils, 8, 8] but received [2, 8, 9]');
      expect(() => mri([8, 8], { mask: ops.mul(full(8, 8), 2) })).toThrow('Expected zeros and ones for mask');
      expect(() => mri([8, 8], { mask: full(8, 8), zeroFrequency: 'left' as never })).toThrow(
        "Expected 'centre' or 'corner' for zeroFrequency",
      );
    });
  });
});

describe('sheppLogan', () => {
  it('has the values of the modified phantom, and a mirror-symmetric skull', () => {
    tidy(() => {
      const n = 129;
      const x = sheppLogan(n);
      const at = (px: number, py: number): number => values(x)[Math.round((1 - py) * 64) * n + Math.round((px + 1) * 64)] as number;
      expect(at(0, 0)).toBeCloseTo(0.2, 6); // brain
      expect(at(0, 0.35)).toBeCloseTo(0.3, 6); // the large bright ellipse
      expect(at(0.22, 0)).toBeCloseTo(0, 6); // ventricles
      expect(at(-0.22, 0)).toBeCloseTo(0, 6);
      expect(at(0, 0.9)).toBeCloseTo(1, 6); // skull
      expect(at(0.9, 0.9)).toBe(0);
      expect([...new Set(values(x).map((v) => v.toFixed(4)))].sort()).toEqual(['0.0000', '0.1000', '0.2000', '0.3000', '0.4000', '1.0000']);
      const soft = ops.mean(sheppLogan(n, { samples: 4 })).item();
      expect(Math.abs(soft - ops.mean(x).item())).toBeLessThan(0.002);
      expect(sheppLogan([8, 12]).shape).toEqual([8, 12]);
    });
  });
});
