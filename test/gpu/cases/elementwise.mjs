/** Elementwise kernels. */
import { ALL, anyShape, broadcast, DTYPE_CODE, input, kernels, output, pick, REAL, whole } from './draw.mjs';

export const cases = {
  fill: {
    dtypes: ALL,
    draw: (d) => ({ inputs: [], outputs: [output(d, [whole(1, 999)])], call: (_, [y], [{ n }]) => kernels.fill(DTYPE_CODE[d], n, 2.5, y) }),
  },
  arange: {
    dtypes: ALL,
    draw: (d) => ({
      inputs: [],
      outputs: [output(d, [whole(1, 999)])],
      call: (_, [y], [{ n }]) => kernels.arange(DTYPE_CODE[d], n, 3, 0.25, y),
    }),
  },
  cast: {
    dtypes: ALL,
    draw: (d) => {
      const to = pick(ALL);
      const shape = [whole(1, 999)];
      return {
        inputs: [input(d, shape, -300, 300)],
        outputs: [output(to, shape)],
        call: ([x], [y]) => kernels.cast(DTYPE_CODE[d], DTYPE_CODE[to], shape[0], x, y),
      };
    },
  },
  unary: {
    dtypes: REAL,
    repeat: 21,
    draw: (d, round) => {
      const shape = [whole(1, 999)];
      const op = round % (d === 'float32' ? 21 : 20); // the last one is for float32 alone
      return {
        inputs: [input(d, shape, 0.05, 3)],
        outputs: [output(d, shape)],
        call: ([x], [y]) => kernels.unary(op, DTYPE_CODE[d], shape[0], x, y),
      };
    },
  },
  binary: {
    dtypes: ALL,
    repeat: 8,
    draw: (d, round) => {
      const shape = anyShape();
      const [a, b] = [broadcast(shape), broadcast(shape)];
      const low = d === 'uint8' ? 0 : -5;
      return {
        inputs: [input(d, a.own, round % 8 === 4 ? 0.1 : low, 9), input(d, b.own, low, 3)],
        outputs: [output(d, shape)],
        call: ([p, q], [y]) => kernels.binary(round % 8, DTYPE_CODE[d], shape, p, a.strides, q, b.strides, y),
      };
    },
  },
  compare: {
    dtypes: ALL,
    repeat: 6,
    draw: (d, round) => {
      const shape = anyShape();
      const [a, b] = [broadcast(shape), broadcast(shape)];
      return {
        inputs: [input(d, a.own, 0, 4, () => whole(0, 3)), input(d, b.own, 0, 4, () => whole(0, 3))],
        outputs: [output('uint8', shape)],
        call: ([p, q], [y]) => kernels.compare(round % 6, DTYPE_CODE[d], shape, p, a.strides, q, b.strides, y),
      };
    },
  },
  select: {
    dtypes: ALL,
    draw: (d) => {
      const shape = anyShape();
      const [c, a, b] = [broadcast(shape), broadcast(shape), broadcast(shape)];
      return {
        inputs: [input('uint8', c.own, 0, 2), input(d, a.own, 0, 9), input(d, b.own, 0, 9)],
        outputs: [output(d, shape)],
        call: ([r, p, q], [y]) => kernels.select(DTYPE_CODE[d], shape, r, c.strides, p, a.strides, q, b.strides, y),
      };
    },
  },
  softplus_derivative: {
    dtypes: REAL,
    repeat: 3,
    draw: (d, round) => {
      const n = whole(1, 500);
      return {
        inputs: [input(d, [n], -8, 8), input(d, [n]), input(d, [n])],
        outputs: [output(d, [n])],
        call: ([x, a, b], [y]) =>
          kernels.softplusDerivative(DTYPE_CODE[d], 1 + (round % 3), n, x, round % 3 ? a : 0, round % 3 === 2 ? b : 0, y),
      };
    },
  },
};
