import { describe, expect, it } from 'vitest';
import { addGaussianNoise, deadLeaves, type Image, makeImage } from '../../src/data/index.js';
import { applyDenoiser, applyInTiles, DnCNNTV } from '../../src/models/tvlayers/index.js';
import { seed } from '../../src/tensor/index.js';

const difference = (a: Image, b: Image) => a.data.reduce((most, v, i) => Math.max(most, Math.abs(v - b.data[i]!)), 0);

describe('applyInTiles', () => {
  it.each([
    [30, 100],
    [100, 30],
    [77, 131],
    [33, 33],
  ])('gives back the image of %i x %i under the identity', (height, width) => {
    const image = deadLeaves({ height, width, channels: 3, seed: 1 });
    const sizes = new Set<number>();
    const out = applyInTiles(
      (tile) => {
        sizes.add(tile.height).add(tile.width);
        return tile;
      },
      image,
      { size: 32, overlap: 8 },
    );
    expect(difference(out, image)).toBeLessThan(1e-6);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(32);
  });

  it('passes small images whole', () => {
    const image = makeImage(1, 32, 32);
    expect(applyInTiles((tile) => tile, image, { size: 32, overlap: 8 })).toBe(image);
  });

  it('agrees with the whole image for a network with TV layers', () => {
    seed(4);
    const model = new DnCNNTV({ depth: 3, features: 4, lambdaIn: 0.03, lambdaOut: 0.02 });
    const image = addGaussianNoise(deadLeaves({ height: 150, width: 170, seed: 3 }), 0.1, 1);
    const apply = (part: Image) => applyDenoiser(model, part);
    expect(difference(applyInTiles(apply, image, { size: 96, overlap: 32 }), apply(image))).toBeLessThan(2e-3);
    model.dispose();
  });

  it('refuses tiles that are all overlap', () => {
    expect(() => applyInTiles((t) => t, makeImage(1, 9, 9), { size: 8, overlap: 4 })).toThrow(RangeError);
  });
});
