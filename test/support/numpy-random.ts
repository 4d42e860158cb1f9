/** NumPy's legacy generator (`np.random.seed(s); np.random.normal`): MT19937 and Marsaglia's polar method, to repeat published runs. */
export class NumpyRandom {
  readonly #state = new Uint32Array(624);
  #index = 624;
  #spare: number | undefined;

  constructor(seed: number) {
    this.#state[0] = seed;
    for (let i = 1; i < 624; i++) {
      const previous = (this.#state[i - 1] as number) ^ ((this.#state[i - 1] as number) >>> 30);
      this.#state[i] = Math.imul(1812433253, previous) + i;
    }
  }

  #next(): number {
    const s = this.#state;
    if (this.#index === 624) {
      for (let i = 0; i < 624; i++) {
        const y = ((s[i] as number) & 0x80000000) | ((s[(i + 1) % 624] as number) & 0x7fffffff);
        s[i] = (s[(i + 397) % 624] as number) ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
      }
      this.#index = 0;
    }
    let y = s[this.#index++] as number;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  #uniform(): number {
    const high = this.#next() >>> 5;
    return (high * 67108864 + (this.#next() >>> 6)) / 9007199254740992;
  }

  normal(): number {
    if (this.#spare !== undefined) {
      const value = this.#spare;
      this.#spare = undefined;
      return value;
    }
    for (;;) {
      const x = 2 * this.#uniform() - 1;
      const y = 2 * this.#uniform() - 1;
      const r = x * x + y * y;
      if (r >= 1 || r === 0) continue;
      const f = Math.sqrt((-2 * Math.log(r)) / r);
      this.#spare = f * x;
      return f * y;
    }
  }
}
