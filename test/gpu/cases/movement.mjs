/** Copies with strides, reductions, gather and scatter. */
import { ALL, DTYPE_CODE, dense, extent, input, kernels, lines, output, pick, whole } from './draw.mjs';

export const cases = {
  copy_strided: {
    dtypes: ALL,
    draw: (d) => {
      const shape = [whole(1, 40), whole(1, 4), whole(1, 40)];
      const order = pick([
        [0, 1, 2],
        [2, 1, 0],
        [1, 0, 2],
        [0, 2, 1],
      ]);
      const turned = order.map((axis) => shape[axis]);
      const strides = order.map((axis) => dense(shape)[axis]);
      return {
        inputs: [input(d, shape, 0, 200)],
        outputs: [output(d, turned)],
        call: ([x], [y]) => kernels.copyStrided(DTYPE_CODE[d], turned, x, 0, strides, y, 0, dense(turned)),
      };
    },
  },
  reduce: {
    dtypes: ALL,
    repeat: 6,
    draw: (d, round) => {
      const l = pick([lines(), { outer: whole(1, 3), n: whole(2000, 9000), inner: pick([1, 5]) }]);
      const op = round % 6;
      return {
        inputs: [op === 1 ? input(d, extent(l), 0.99, 1.01) : input(d, extent(l), 0, 9)],
        outputs: [output(op >= 4 ? 'int32' : d, extent(l, 1))],
        call: ([x], [y]) => kernels.reduce(op, DTYPE_CODE[d], l, x, y),
      };
    },
  },
  cumsum: {
    dtypes: ALL,
    draw: (d, round) => {
      const l = lines();
      return {
        inputs: [input(d, extent(l), 0, 5)],
        outputs: [output(d, extent(l))],
        call: ([x], [y]) => kernels.cumsum(DTYPE_CODE[d], l, round % 2, x, y),
      };
    },
  },
  gather: {
    dtypes: ALL,
    draw: (d) => {
      const l = lines();
      const count = whole(1, 30);
      return {
        inputs: [input(d, extent(l), 0, 99), input('int32', [count], 0, l.n)],
        outputs: [output(d, extent(l, count))],
        call: ([x, index], [y]) => kernels.gather(DTYPE_CODE[d], l, count, x, index, y),
      };
    },
  },
  scatter_add: {
    dtypes: ALL,
    draw: (d) => {
      const l = lines();
      const count = whole(1, 30);
      return {
        inputs: [input(d, extent(l, count), 0, 3), input('int32', [count], 0, l.n)],
        outputs: [output(d, extent(l), { start: 0 })],
        call: ([x, index], [y]) => kernels.scatterAdd(DTYPE_CODE[d], l, count, x, index, y),
      };
    },
  },
};
