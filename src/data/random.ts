/**
 * A counter-based random generator: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as
 * 1, 2, 3", SC 2011). The n-th number is a function of (seed, n), so a generator can be stored, restored, moved ahead
 * and split without keeping an internal state of any size.
 */

/** Everything needed to continue a generator: the seed and how many 32-bit words it has given out. */
export interface RandomState {
  readonly seed: number;
  readonly counter: number;
}

/** Four 32-bit words for a 128-bit counter under a 64-bit key, written to `out`. */
export function philox4x32(out: Uint32Array, c0: number, c1: number, c2: number, c3: number, k0: number, k1: number): void {
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(0xd2511f53, c0);
    const low0 = Math.imul(0xd2511f53, c0);
    const high1 = multiplyHigh(0xcd9e8d57, c2);
    const low1 = Math.imul(0xcd9e8d57, c2);
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 = (k0 + 0x9e3779b9) | 0;
    k1 = (k1 + 0xbb67ae85) | 0;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

/** The upper 32 bits of the product of two unsigned 32-bit numbers. */
function multiplyHigh(a: number, b: number): number {
  const al = a & 0xffff;
  const ah = a >>> 16;
  const bl = b & 0xffff;
  const bh = b >>> 16;
  // Neither sum exceeds 2^32 - 1: (2^16 - 1)^2 + 2^16 - 1 < 2^32.
  const middle = ah * bl + ((al * bl) >>> 16);
  const carry = al * bh + (middle & 0xffff);
  return (ah * bh + (middle >>> 16) + (carry >>> 16)) | 0;
}

/** A stream of random numbers; see the module comment. */
export class Random {
  readonly seed: number;
  #position: number;
  readonly #block = new Uint32Array(4);
  #blockIndex = -1;

  /** @param seed an integer from 0 to 2^53 - 1 */
  constructor(seed: number, counter = 0) {
    requireIndex(seed, 'seed');
    requireIndex(counter, 'counter');
    this.seed = seed;
    this.#position = counter;
  }

  /** The generator that continues from a stored state. */
  static fromState(state: RandomState): Random {
    return new Random(state.seed, state.counter);
  }

  get state(): RandomState {
    return { seed: this.seed, counter: this.#position };
  }

  /** An independent generator for the given labels (an epoch, a step, an image number): a function of seed and labels. */
  fork(...labels: readonly number[]): Random {
    return new Random(deriveSeed(this.seed, ...labels));
  }

  /** The next 32 random bits as an unsigned integer. */
  word(): number {
    const index = Math.floor(this.#position / 4);
    if (index !== this.#blockIndex) {
      philox4x32(this.#block, index, high(index), 0, 0, this.seed, high(this.seed));
      this.#blockIndex = index;
    }
    return this.#block[this.#position++ % 4]!;
  }

  /** Uniform in [low, high), a multiple of 2^-32 of the interval. */
  uniform(low = 0, high = 1): number {
    return low + (high - low) * this.word() * 2 ** -32;
  }

  /** Uniform over 0 … n - 1, without modulo bias. `n` is at most 2^32. */
  int(n: number): number {
    if (!Number.isInteger(n) || n < 1 || n > 2 ** 32) {
      throw new RangeError(`Expected an integer from 1 to 2^32 for n but received ${n}`);
    }
    const limit = 2 ** 32 - (2 ** 32 % n);
    let word = this.word();
    while (word >= limit) word = this.word();
    return word % n;
  }

  /** One standard normal number (two words). */
  normal(mean = 0, deviation = 1): number {
    // Box and Muller; 1 - u lies in (0, 1], so that the logarithm is finite.
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return mean + deviation * radius * Math.cos(2 * Math.PI * this.uniform());
  }

  /** Adds `deviation` times standard normal numbers to every sample, two per Box-Muller pair. */
  addNormal(into: Float32Array | Float64Array, deviation: number): void {
    for (let i = 0; i < into.length; i += 2) {
      const radius = deviation * Math.sqrt(-2 * Math.log(1 - this.uniform()));
      const angle = 2 * Math.PI * this.uniform();
      into[i] = into[i]! + radius * Math.cos(angle);
      if (i + 1 < into.length) into[i + 1] = into[i + 1]! + radius * Math.sin(angle);
    }
  }

  /** Shuffles in place (Fisher and Yates) and returns the same array. */
  shuffle<T>(items: T[]): T[] {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.int(i + 1);
      const kept = items[i]!;
      items[i] = items[j]!;
      items[j] = kept;
    }
    return items;
  }
}

/** A new 53-bit seed, hashed from a seed and labels (non-negative integers) by Philox itself. */
export function deriveSeed(seed: number, ...labels: readonly number[]): number {
  requireIndex(seed, 'seed');
  const block = new Uint32Array(4);
  let derived = seed;
  labels.forEach((label, i) => {
    requireIndex(label, `label ${i}`);
    // The constant in the fourth counter word keeps derived keys apart from the numbers a generator gives out.
    philox4x32(block, label, high(label), i, 0x7461_7574, derived, high(derived));
    derived = block[0]! + (block[1]! & 0x1fffff) * 2 ** 32;
  });
  return derived;
}

/** Bits 32 and up of a non-negative integer. */
function high(n: number): number {
  return Math.floor(n / 2 ** 32);
}

function requireIndex(value: number, name: string): void {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new RangeError(`Expected an integer from 0 to 2^53 - 1 for ${name} but received ${value}`);
  }
}
