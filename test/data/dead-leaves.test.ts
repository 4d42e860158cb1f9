import { describe, expect, it } from 'vitest';
import { deadLeaves } from '../../src/data/dead-leaves.js';
import { toChannels } from '../../src/data/image.js';
import { radialSpectrumSlope } from '../support/spectrum.js';

describe('deadLeaves', () => {
  it('is a function of its seed', () => {
    const options = { height: 40, width: 50, channels: 3 as const };
    const a = deadLeaves({ ...options, seed: 1 });
    expect(deadLeaves({ ...options, seed: 1 }).data).toEqual(a.data);
    expect(deadLeaves({ ...options, seed: 2 }).data).not.toEqual(a.data);
  });

  it('covers everything with finite values of 0 to 1', () => {
    for (let seed = 0; seed < 8; seed++) {
      const { data } = deadLeaves({ height: 33, width: 70, channels: seed % 2 === 0 ? 1 : 3, seed });
      for (const v of data) expect(v >= 0 && v <= 1).toBe(true);
      const mean = data.reduce((s, v) => s + v, 0) / data.length;
      expect(data.reduce((s, v) => s + (v - mean) ** 2, 0) / data.length).toBeGreaterThan(0.005);
    }
  });

  it.each([1, 3] as const)('has a power spectrum near 1 / f^2 with %i channels', (channels) => {
    const pictures = Array.from({ length: 24 }, (_, seed) => toChannels(deadLeaves({ height: 128, width: 128, channels, seed }), 1));
    const slope = radialSpectrumSlope(pictures, 3, 40);
    expect(slope).toBeGreaterThan(-2.6);
    expect(slope).toBeLessThan(-1.4);
  });

  it('works for pictures of one pixel and of one row', () => {
    expect(deadLeaves({ height: 1, width: 1 }).data).toHaveLength(1);
    expect(deadLeaves({ height: 1, width: 64 }).data).toHaveLength(64);
  });

  it('refuses radii and fractions that make no sense', () => {
    expect(() => deadLeaves({ height: 9, width: 9, minRadius: 0 })).toThrow(RangeError);
    expect(() => deadLeaves({ height: 9, width: 9, minRadius: 5, maxRadius: 4 })).toThrow(RangeError);
    expect(() => deadLeaves({ height: 9, width: 9, textured: 2 })).toThrow('Expected 0 to 1 for textured but received 2');
  });
});
