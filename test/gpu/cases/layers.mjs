/** Normalisation, softmax and pooling. */
import { DTYPE_CODE, extent, input, kernels, lines, output, pick, REAL, whole } from './draw.mjs';

/** Lines of all kinds, now and then with channels of several parts. */
const channels = () => (whole(0, 9) === 0 ? { outer: 2, n: 2, inner: 20000 } : lines());
const rows = () => ({ outer: whole(1, 40), n: whole(1, 300), inner: 1 });

/** Statistics of some batch, and what else a normalisation and its gradient read. */
const affine = (d, weights, statistics) => [
  input(d, [weights], 0.5, 2),
  input(d, [weights], -0.5, 0.5),
  input(d, [statistics], -0.3, 0.3),
  input(d, [statistics], 0.2, 1),
];

const windows = () => {
  const [kh, kw] = [whole(1, 3), whole(1, 3)];
  const [strideH, strideW] = [whole(1, 3), whole(1, 3)];
  const [padH, padW] = [whole(0, kh >> 1), whole(0, kw >> 1)];
  const [planes, h, w] = [whole(1, 4), whole(kh, 20), whole(kw, 30)];
  const [outH, outW] = [Math.floor((h + 2 * padH - kh) / strideH) + 1, Math.floor((w + 2 * padW - kw) / strideW) + 1];
  return { planes, h, w, kh, kw, strideH, strideW, padH, padW, outH, outW };
};
/** For every window a pixel inside it. */
const indices = (p) =>
  input('int32', [p.planes, p.outH, p.outW], 0, 0, (q) => {
    const [i, j] = [Math.floor(q / p.outW) % p.outH, q % p.outW];
    const row = Math.min(Math.max(i * p.strideH - p.padH, 0) + whole(0, p.kh - 1 - p.padH), p.h - 1);
    const column = Math.min(Math.max(j * p.strideW - p.padW, 0) + whole(0, p.kw - 1 - p.padW), p.w - 1);
    return row * p.w + column;
  });

export const cases = {
  batch_norm: {
    dtypes: REAL,
    repeat: 3,
    draw: (d, round) => {
      const l = channels();
      const [weight, bias] = affine(d, l.n, 1);
      return {
        inputs: [input(d, extent(l), -1, 2), weight, bias],
        outputs: [output(d, extent(l)), output(d, [l.n]), output(d, [l.n])],
        call: ([x, w, b], [y, m, v]) => kernels.batchNorm(DTYPE_CODE[d], l, 0.1, round % 2, x, w, b, y, m, v),
      };
    },
  },
  batch_norm_gradient: {
    dtypes: REAL,
    repeat: 3,
    draw: (d, round) => {
      const l = channels();
      return {
        inputs: [input(d, extent(l)), ...affine(d, l.n, l.n), input(d, extent(l))],
        outputs: [output(d, extent(l)), output(d, [l.n]), output(d, [l.n])],
        call: ([x, w, b, m, v, g], [dx, dw, db]) =>
          kernels.batchNormGradient(DTYPE_CODE[d], l, 0.1, round % 2, x, w, b, m, v, g, round % 3 ? dx : 0, dw, db),
      };
    },
  },
  channel_affine: {
    dtypes: REAL,
    draw: (d, round) => {
      const l = lines();
      const [scale, bias, mean] = affine(d, l.n, l.n);
      return {
        inputs: [input(d, extent(l)), mean, scale, bias],
        outputs: [output(d, extent(l))],
        call: ([x, m, s, b], [y]) => kernels.channelAffine(DTYPE_CODE[d], l, round % 2, x, m, s, b, y),
      };
    },
  },
  softmax: {
    dtypes: REAL,
    repeat: 2,
    draw: (d, round) => {
      const l = lines();
      return {
        inputs: [input(d, extent(l), -3, 3)],
        outputs: [output(d, extent(l))],
        call: ([x], [y]) => kernels.softmax(DTYPE_CODE[d], l, round % 2, x, y),
      };
    },
  },
  softmax_gradient: {
    dtypes: REAL,
    repeat: 2,
    draw: (d, round) => {
      const l = lines();
      return {
        inputs: [input(d, extent(l), -2, 0.5), input(d, extent(l))],
        outputs: [output(d, extent(l))],
        call: ([y, v], [out]) => kernels.softmaxGradient(DTYPE_CODE[d], l, round % 2, y, v, out),
      };
    },
  },
  log_sum_exp: {
    dtypes: REAL,
    repeat: 2,
    draw: (d, round) => {
      const l = lines();
      return {
        inputs: [input(d, extent(l), -3, 3), input('int32', extent(l, 1), 0, l.n)],
        outputs: [output(d, extent(l, 1)), output(d, extent(l, 1))],
        call: ([x, labels], [y, lse]) => kernels.logSumExp(DTYPE_CODE[d], l, x, round % 2 ? labels : 0, round % 2 ? y : 0, lse),
      };
    },
  },
  log_sum_exp_gradient: {
    dtypes: REAL,
    repeat: 2,
    draw: (d, round) => {
      const l = lines();
      return {
        inputs: [input(d, extent(l), -3, 3), input('int32', extent(l, 1), 0, l.n), input(d, extent(l, 1), 2, 4), input(d, extent(l, 1))],
        outputs: [output(d, extent(l))],
        call: ([x, labels, lse, v], [out]) => kernels.logSumExpGradient(DTYPE_CODE[d], l, x, round % 2 ? labels : 0, lse, v, out),
      };
    },
  },
  layer_norm: {
    dtypes: REAL,
    draw: (d) => {
      const l = rows();
      const [weight, bias] = affine(d, l.n, 1);
      return {
        inputs: [input(d, extent(l), -1, 2), weight, bias],
        outputs: [output(d, extent(l)), output(d, [l.outer]), output(d, [l.outer])],
        call: ([x, w, b], [y, m, v]) => kernels.layerNorm(DTYPE_CODE[d], l, 0.1, x, w, b, y, m, v),
      };
    },
  },
  layer_norm_gradient: {
    dtypes: REAL,
    repeat: 2,
    draw: (d, round) => {
      const l = rows();
      const [weight, , mean, variance] = affine(d, l.n, l.outer);
      return {
        inputs: [input(d, extent(l)), weight, mean, variance, input(d, extent(l))],
        outputs: [output(d, extent(l)), output(d, [l.n]), output(d, [l.n])],
        call: ([x, w, m, v, g], [dx, dw, db]) =>
          kernels.layerNormGradient(DTYPE_CODE[d], l, 0.1, x, w, m, v, g, round % 3 ? dx : 0, dw, db),
      };
    },
  },
  max_pool: {
    dtypes: REAL,
    repeat: 2,
    draw: (d) => {
      const p = windows();
      const [image, result] = [
        [p.planes, p.h, p.w],
        [p.planes, p.outH, p.outW],
      ];
      const ties = pick([false, true]);
      return {
        inputs: [input(d, image, 0, 0, () => (ties ? whole(0, 3) : whole(-1000, 1000) / 7))],
        outputs: [output(d, result), output('int32', result)],
        call: ([x], [y, index]) => kernels.maxPool(DTYPE_CODE[d], p, x, y, index),
      };
    },
  },
  max_pool_pick: {
    dtypes: REAL,
    draw: (d) => {
      const p = windows();
      return {
        inputs: [indices(p), input(d, [p.planes, p.h, p.w])],
        outputs: [output(d, [p.planes, p.outH, p.outW])],
        call: ([index, v], [out]) => kernels.maxPoolPick(DTYPE_CODE[d], p, index, v, out),
      };
    },
  },
  max_pool_spread: {
    dtypes: REAL,
    repeat: 2,
    draw: (d) => {
      const p = windows();
      return {
        inputs: [indices(p), input(d, [p.planes, p.outH, p.outW])],
        outputs: [output(d, [p.planes, p.h, p.w])],
        call: ([index, v], [out]) => kernels.maxPoolSpread(DTYPE_CODE[d], p, index, v, out),
      };
    },
  },
  average_pool: {
    dtypes: REAL,
    repeat: 2,
    draw: (d, round) => {
      const p = windows();
      const shapes = [
        [p.planes, p.h, p.w],
        [p.planes, p.outH, p.outW],
      ];
      return {
        inputs: [input(d, shapes[round % 2])],
        outputs: [output(d, shapes[1 - (round % 2)])],
        call: ([x], [y]) => kernels.averagePool(DTYPE_CODE[d], p, round % 2, x, y),
      };
    },
  },
};
