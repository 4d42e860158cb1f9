/** Random numbers and optimisers. */
import { addon, DTYPE_CODE, input, kernels, output, pick, REAL, uniform, whole } from './draw.mjs';

function random(name) {
  return {
    dtypes: REAL,
    draw: (d) => {
      const [n, offset] = [whole(1, 500), whole(0, 1000)];
      return { inputs: [], outputs: [output(d, [n])], call: (_, [y]) => kernels[name](DTYPE_CODE[d], n, 42, offset, y) };
    },
  };
}

/** The same numbers, with the seed and the offset read on the device. */
function randomAt(name) {
  return {
    dtypes: REAL,
    draw: (d) => {
      const n = whole(1, 500);
      const state = [42, whole(0, 1000)];
      return {
        inputs: [input('float64', [2], 0, 0, (i) => state[i])],
        outputs: [output(d, [n])],
        call: ([at], [y]) => kernels[name](DTYPE_CODE[d], n, at, y),
      };
    },
  };
}

/**
 * A kernel over many tensors: some empty, some longer than a block, now and then more of them than one launch takes. `slots` names the addresses
 * of a row that the kernel uses, `rates` are those of two groups, `results` comes after the tensors.
 */
function together({ slots, rates = [], results = [], call }) {
  const [SLOTS, COLUMNS] = [['value', 'source', 'first', 'second'], kernels.PART_NUMBERS];
  return {
    dtypes: REAL,
    draw: (d, round) => {
      const sizes = Array.from({ length: pick([1, 5, 90]) }, () => (uniform() < 0.05 ? whole(3000, 20000) : whole(0, 40)));
      sizes.push(whole(1, 10)); // never nothing at all
      // The second moment is never negative.
      const start = (n, slot) => input(d, [n], slot === 'second' ? 0 : -1).values;
      const changed = slots.filter((slot) => slot !== 'source');
      const scale = round % 2 === 0;
      return {
        inputs: [input('float64', [rates.length + 1], 0, 0, (i) => rates[i] ?? 0.3), ...sizes.map((n) => input(d, [n]))],
        outputs: [...sizes.flatMap((n) => changed.map((slot) => output(d, [n], { start: start(n, slot) }))), ...results],
        call: ([numbers, ...sources], outputs) => {
          const rows = new Float64Array(sizes.length * COLUMNS);
          for (const [k, n] of sizes.entries()) {
            rows.set([DTYPE_CODE[d], n, k % 2], k * COLUMNS);
            for (const slot of slots) {
              // SGD without momentum keeps no velocity.
              const idle = slot === 'first' && slots.length === 3 && round % 3 === 0;
              const address = slot === 'source' ? sources[k] : outputs[k * changed.length + changed.indexOf(slot)];
              rows[k * COLUMNS + 3 + SLOTS.indexOf(slot)] = idle ? 0 : address;
            }
          }
          const parts = { count: sizes.length, rows: addon.addressOf(rows) };
          call(parts, numbers, scale ? numbers + 8 * rates.length : 0, round, outputs.slice(sizes.length * changed.length));
        },
      };
    },
  };
}

export const cases = {
  random_uniform: random('randomUniform'),
  random_normal: random('randomNormal'),
  adam: together({
    slots: ['value', 'source', 'first', 'second'],
    rates: [1e-2, 30, 0.99, 0, 2e-2, 20, 1, 0.1],
    call: (parts, rates, factor) => kernels.adam(parts, rates, 0.9, 0.999, 1e-8, factor),
  }),
  sgd: together({
    slots: ['value', 'source', 'first'],
    rates: [1e-2, 0.9, 0.9, 0, 2e-2, 1, 0, 0.1],
    call: (parts, rates, factor, round) => kernels.sgd(parts, rates, 0.9, round % 2, factor),
  }),
  global_norm: together({
    slots: ['source'],
    results: [output('float64', [2])],
    call: (parts, _rates, _factor, round, [out]) => kernels.globalNorm(parts, round % 2 ? 1e9 : 0.5, out),
  }),
  moving_average: together({ slots: ['value', 'source'], call: (parts) => kernels.movingAverage(parts, 0.9) }),
  random_uniform_at: randomAt('randomUniformAt'),
  random_normal_at: randomAt('randomNormalAt'),
};
