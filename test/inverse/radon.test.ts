/** The projections of known bodies, the orientation of the views, and filtered back-projection. */
import { describe, expect, it } from 'vitest';
import { inverse, ops, type Tensor, tensor, tidy } from '../../src/index.js';
import { normal, relativeError, values } from '../support/numeric.js';

const { filteredBackProjection, radon, sheppLogan } = inverse;

const disk = (n: number, radius: number, cx = 0, cy = 0): Tensor => {
  // 8 x 8 points per pixel, y up.
  const data = Float64Array.from({ length: n * n }, (_, p) => {
    let inside = 0;
    for (let k = 0; k < 64; k++) {
      const x = (p % n) + ((k % 8) + 0.5) / 8 - n / 2 - cx;
      const y = n / 2 - Math.floor(p / n) - (Math.floor(k / 8) + 0.5) / 8 - cy;
      if (x * x + y * y <= radius * radius) inside++;
    }
    return inside / 64;
  });
  return tensor(data, { shape: [n, n] });
};
const psnr = (a: Tensor, b: Tensor): number => tidy(() => -10 * Math.log10(ops.mean(ops.square(ops.sub(a, b))).item()));

describe('radon', () => {
  it('gives the chords of a disk, wherever it lies', () => {
    tidy(() => {
      const [radius, cx, cy] = [20, 11, -7];
      const a = radon([64, 64], { angles: 24 });
      const y = values(a.apply(disk(64, radius, cx, cy)));
      let worst = 0;
      a.angles.forEach((angle, i) => {
        for (let d = 0; d < a.detectors; d++) {
          const distance = d - (a.detectors - 1) / 2 - (cx * Math.cos(angle) + cy * Math.sin(angle));
          // Near the rim the chord is too steep for pixels.
          if (Math.abs(Math.abs(distance) - radius) < 2) continue;
          const chord = Math.abs(distance) < radius ? 2 * Math.sqrt(radius ** 2 - distance ** 2) : 0;
          worst = Math.max(worst, Math.abs((y[i * a.detectors + d] as number) - chord));
        }
      });
      expect(worst).toBeLessThan(0.5); // of chords up to 40
    });
  });

  it('sums columns at 0 and rows at π / 2, with y up', () => {
    tidy(() => {
      const x = normal([5, 5], 1);
      const y = radon([5, 5], { angles: [0, Math.PI / 2], detectors: 5 }).apply(x);
      expect(relativeError(ops.narrow(y, 0, 0, 1), ops.sum(x, { axes: 0, keepDims: true }))).toBeLessThan(1e-14);
      const rows = ops.flip(ops.transpose(ops.sum(x, { axes: 1, keepDims: true })), 1);
      expect(relativeError(ops.narrow(y, 0, 1, 2), rows)).toBeLessThan(1e-13);
    });
  });

  it('opposite views mirror each other; a quarter turn of the image turns the views', () => {
    tidy(() => {
      const angles = [0.2, 0.9, 1.4];
      const at = (shift: number): inverse.RadonOperator => radon([9, 9], { angles: angles.map((t) => t + shift), detectors: 14 });
      const x = normal([9, 9], 1);
      expect(relativeError(at(Math.PI).apply(x), ops.flip(at(0).apply(x), 1))).toBeLessThan(1e-12);
      // Counter-clockwise by 90°: pixel (row, column) goes to (n - 1 - column, row).
      const turned = ops.flip(ops.transpose(x), 0);
      expect(relativeError(at(Math.PI / 2).apply(turned), at(0).apply(x))).toBeLessThan(1e-12);
    });
  });

  it('keeps the mass in every view', () => {
    tidy(() => {
      const x = disk(40, 12, 3, 4);
      const y = radon([40, 40], { angles: 31, spacing: 0.5 }).apply(x);
      const mass = ops.sum(x).item();
      for (const view of values(ops.sum(y, { axes: 1 }))) expect(Math.abs(view * 0.5 - mass) / mass).toBeLessThan(2e-3);
    });
  });

  it('NaN in the image stays in the rays that meet it', () => {
    tidy(() => {
      const x = values(normal([16, 16], 1));
      x[0] = Number.NaN;
      const y = radon([16, 16], { angles: [0], detectors: 16 }).apply(tensor(Float64Array.from(x), { shape: [16, 16] }));
      expect(values(y).map(Number.isNaN)).toEqual([true, ...new Array<boolean>(15).fill(false)]);
    });
  });

  it('refuses what it cannot project, in words', () => {
    expect(() => radon([0, 4], { angles: 3 })).toThrow('Expected a height and a width >= 1 for size but received [0,4]');
    expect(() => radon([4, 4], { angles: 0 })).toThrow('Expected an integer >= 1 for angles but received 0');
    expect(() => radon([4, 4], { angles: [Number.NaN] })).toThrow('for angles but received [null]');
    expect(() => radon([4, 4], { angles: 3, spacing: 0 })).toThrow('Expected a number > 0 for spacing but received 0');
    expect(() => radon([4, 4], { angles: 3, detectors: 1.5 })).toThrow('Expected an integer >= 1 for detectors but received 1.5');
  });
});

describe('filteredBackProjection', () => {
  it('inverts many views: a disk gets its height back', () => {
    tidy(() => {
      for (const spacing of [0.5, 1]) {
        const a = radon([64, 64], { angles: 180, spacing });
        const x = filteredBackProjection(a, a.apply(disk(64, 20, 4, -3)));
        const inside = ops.select(ops.compare.gt(disk(64, 16, 4, -3), 0.5), 1, 0);
        const mean = ops.sum(ops.mul(x, inside)).item() / ops.sum(inside).item();
        expect(Math.abs(mean - 1)).toBeLessThan(0.01);
        expect(psnr(x, disk(64, 20, 4, -3))).toBeGreaterThan(28);
      }
    });
  });

  it('Hann passes less noise than Ram-Lak, and more views help', () => {
    tidy(() => {
      const noise = (filter: inverse.FbpFilter): number => {
        const a = radon([64, 64], { angles: 96 });
        return ops.sum(ops.square(filteredBackProjection(a, normal(a.outputShape, 1), { filter }))).item();
      };
      expect(noise('hann')).toBeLessThan(0.5 * noise('ram-lak'));
      const x = ops.cast(sheppLogan(64, { samples: 4 }), 'float64');
      const run = (angles: number): number => {
        const a = radon([64, 64], { angles });
        return psnr(filteredBackProjection(a, a.apply(x)), x);
      };
      expect(run(96)).toBeGreaterThan(run(12) + 5);
    });
  });

  it('is linear and takes batches', () => {
    tidy(() => {
      const a = radon([12, 12], { angles: 7 });
      const y = normal([2, 7, a.detectors], 1);
      const x = filteredBackProjection(a, y);
      expect(x.shape).toEqual([2, 12, 12]);
      expect(relativeError(ops.sum(x, { axes: 0 }), filteredBackProjection(a, ops.sum(y, { axes: 0 })))).toBeLessThan(1e-12);
    });
  });

  it('refuses another operator, filter or shape', () => {
    tidy(() => {
      const a = radon([4, 4], { angles: 2, detectors: 6 });
      const y = normal([2, 6], 1);
      expect(() => filteredBackProjection(inverse.identity() as never, y)).toThrow('Expected the operator of radon');
      expect(() => filteredBackProjection(a, y, { filter: 'ramp' as never })).toThrow(
        "Expected 'ram-lak' or 'hann' for filter but received ramp",
      );
      expect(() => filteredBackProjection(a, normal([2, 5], 1))).toThrow('Expected a tensor that ends in [2, 6] for y');
    });
  });
});
