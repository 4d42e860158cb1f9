import { describe, expect, it } from 'vitest';
import { crop, makeImage, plane, quantise, toChannels, toLevel } from '../../src/data/image.js';

const ramp = (channels: number, height: number, width: number) =>
  makeImage(
    channels,
    height,
    width,
    Float32Array.from({ length: channels * height * width }, (_, i) => i),
  );

describe('makeImage', () => {
  it('refuses samples that do not fit the shape', () => {
    expect(() => makeImage(1, 2, 3, new Float32Array(5))).toThrow('Expected 6 samples for a 1x2x3 image but received 5');
    expect(() => makeImage(1, 0, 3)).toThrow('Expected a positive integer for height but received 0');
  });
});

describe('crop', () => {
  it('cuts the same rectangle out of every channel', () => {
    const out = crop(ramp(2, 3, 4), 1, 2, 2, 2);
    expect([...out.data]).toEqual([6, 7, 10, 11, 18, 19, 22, 23]);
  });
  it('refuses rectangles that stick out', () => {
    expect(() => crop(ramp(1, 3, 4), 2, 0, 2, 2)).toThrow(RangeError);
  });
});

describe('toChannels', () => {
  it('weighs colours by luma and repeats gray', () => {
    const colour = makeImage(3, 1, 1, Float32Array.of(1, 0.5, 0.25));
    expect(toChannels(colour, 1).data[0]).toBeCloseTo(0.299 + 0.2935 + 0.0285, 6);
    const gray = toChannels(makeImage(1, 1, 2, Float32Array.of(0.1, 0.2)), 3);
    for (let c = 0; c < 3; c++) expect(plane(gray, c)).toEqual(Float32Array.of(0.1, 0.2));
  });
});

describe('quantise', () => {
  it('clamps, rounds to the nearest level and maps NaN to 0', () => {
    const samples = [-0.2, 0, 0.4999 / 255, 0.5001 / 255, 254.4 / 255, 254.6 / 255, 1, 7, Infinity, -Infinity, NaN];
    expect(samples.map((v) => toLevel(v, 255))).toEqual([0, 0, 0, 1, 254, 255, 255, 255, 255, 0, 0]);
    expect(quantise(makeImage(1, 1, 1, Float32Array.of(0.5))).data[0]).toBeCloseTo(128 / 255, 7);
  });
});
