/** Random numbers and optimisers. */
import { DTYPE_CODE, input, kernels, output, REAL, whole } from './draw.mjs';

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

export const cases = {
  random_uniform: random('randomUniform'),
  random_normal: random('randomNormal'),
  adam: {
    dtypes: REAL,
    draw: (d, round) => {
      const n = whole(1, 300);
      const start = (low) => input(d, [n], low, 1).values;
      return {
        inputs: [input(d, [n])],
        outputs: [output(d, [n], { start: start(-1) }), output(d, [n], { start: start(-1) }), output(d, [n], { start: start(0) })],
        call: ([g], [p, m, v]) => kernels.adam(DTYPE_CODE[d], n, p, g, m, v, 1e-2, 0.9, 0.999, 1e-8, 0.1, round % 2, round + 1),
      };
    },
  },
  sgd: {
    dtypes: REAL,
    draw: (d, round) => {
      const n = whole(1, 300);
      const start = () => input(d, [n]).values;
      return {
        inputs: [input(d, [n])],
        outputs: [output(d, [n], { start: start() }), output(d, [n], { start: start() })],
        call: ([g], [p, v]) => kernels.sgd(DTYPE_CODE[d], n, p, g, round % 3 ? v : 0, 1e-2, 0.9, 0.1, 0.1, round % 2, round % 2),
      };
    },
  },
  random_uniform_at: randomAt('randomUniformAt'),
  random_normal_at: randomAt('randomNormalAt'),
  adam_at: {
    dtypes: REAL,
    draw: (d, round) => {
      const n = whole(1, 300);
      const start = (low) => input(d, [n], low, 1).values;
      return {
        inputs: [input(d, [n]), input('float64', [3], 0, 0, (i) => [1e-2, 30, 0.99][i])],
        outputs: [output(d, [n], { start: start(-1) }), output(d, [n], { start: start(-1) }), output(d, [n], { start: start(0) })],
        call: ([g, rates], [p, m, v]) => kernels.adamAt(DTYPE_CODE[d], n, p, g, m, v, rates, 0.9, 0.999, 1e-8, round % 2 ? 0.1 : 0),
      };
    },
  },
  sgd_at: {
    dtypes: REAL,
    draw: (d, round) => {
      const n = whole(1, 300);
      const start = () => input(d, [n]).values;
      return {
        inputs: [input(d, [n]), input('float64', [3], 0, 0, (i) => [1e-2, 0.9, round % 2 ? 0 : 0.9][i])],
        outputs: [output(d, [n], { start: start() }), output(d, [n], { start: start() })],
        call: ([g, rates], [p, v]) => kernels.sgdAt(DTYPE_CODE[d], n, p, g, round % 3 ? v : 0, rates, 0.9, 0.1, round % 2),
      };
    },
  },
};
