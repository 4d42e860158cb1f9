import { describe, expect, it } from 'vitest';
import { deriveSeed, philox4x32, Random } from '../../src/data/random.js';

describe('philox4x32', () => {
  // Known answers of the Random123 distribution (kat_vectors, philox4x32 10).
  it.each([
    [
      [0, 0, 0, 0],
      [0, 0],
      [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    ],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ])('gives the published words for counter %j', (counter, key, words) => {
    const out = new Uint32Array(4);
    philox4x32(out, counter[0]!, counter[1]!, counter[2]!, counter[3]!, key[0]!, key[1]!);
    expect([...out]).toEqual(words);
  });
});

describe('Random', () => {
  it('continues from a stored state at every position', () => {
    for (const used of [0, 1, 3, 4, 5, 1001]) {
      const a = new Random(42);
      for (let i = 0; i < used; i++) a.word();
      const b = Random.fromState(JSON.parse(JSON.stringify(a.state)) as { seed: number; counter: number });
      expect(Array.from({ length: 9 }, () => b.word())).toEqual(Array.from({ length: 9 }, () => a.word()));
    }
  });

  it('uses the whole seed, beyond 32 bits', () => {
    expect(new Random(7).word()).not.toBe(new Random(7 + 2 ** 40).word());
    expect(deriveSeed(7, 1)).not.toBe(deriveSeed(7, 1 + 2 ** 40));
  });

  it('has uniform moments and range', () => {
    const random = new Random(1);
    let [sum, squares, least, most] = [0, 0, 1, 0];
    const n = 200_000;
    for (let i = 0; i < n; i++) {
      const u = random.uniform();
      sum += u;
      squares += u * u;
      least = Math.min(least, u);
      most = Math.max(most, u);
    }
    // Five standard errors.
    expect(Math.abs(sum / n - 1 / 2)).toBeLessThan(5 * Math.sqrt(1 / 12 / n));
    expect(Math.abs(squares / n - 1 / 3)).toBeLessThan(5 * Math.sqrt(4 / 45 / n));
    expect(least).toBeGreaterThanOrEqual(0);
    expect(most).toBeLessThan(1);
  });

  it('fills integers evenly, also for n that does not divide 2^32', () => {
    const counts = new Array<number>(7).fill(0);
    const random = new Random(3);
    for (let i = 0; i < 70_000; i++) counts[random.int(7)]!++;
    const chiSquare = counts.reduce((s, c) => s + (c - 10_000) ** 2 / 10_000, 0);
    expect(chiSquare).toBeLessThan(22.5); // 99.9 % quantile, 6 degrees of freedom
    expect(() => random.int(0)).toThrow('Expected an integer from 1 to 2^32 for n but received 0');
  });

  it('adds normal noise of the asked deviation, without correlation inside the pairs', () => {
    const x = new Float64Array(100_001);
    new Random(5).addNormal(x, 0.3);
    const n = x.length;
    const moment = (p: number) => x.reduce((s, v) => s + (v / 0.3) ** p, 0) / n;
    expect(Math.abs(moment(1))).toBeLessThan(5 / Math.sqrt(n));
    expect(Math.abs(moment(2) - 1)).toBeLessThan(5 * Math.sqrt(2 / n));
    expect(Math.abs(moment(3))).toBeLessThan(5 * Math.sqrt(15 / n));
    expect(Math.abs(moment(4) - 3)).toBeLessThan(5 * Math.sqrt(96 / n));
    let product = 0;
    for (let i = 0; i + 1 < n; i += 2) product += (x[i]! * x[i + 1]!) / 0.09;
    expect(Math.abs(product / (n / 2))).toBeLessThan(5 / Math.sqrt(n / 2));
  });

  it('shuffles into a permutation that depends on the seed', () => {
    const items = Array.from({ length: 50 }, (_, i) => i);
    const a = new Random(1).shuffle([...items]);
    expect(a).not.toEqual(items);
    expect([...a].sort((p, q) => p - q)).toEqual(items);
    expect(new Random(1).shuffle([...items])).toEqual(a);
    expect(new Random(2).shuffle([...items])).not.toEqual(a);
  });

  it('refuses seeds that are not exact integers', () => {
    for (const seed of [-1, 0.5, NaN, 2 ** 53]) expect(() => new Random(seed)).toThrow(RangeError);
  });
});
