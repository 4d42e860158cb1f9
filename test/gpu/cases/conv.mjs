/** Convolutions and what belongs to them. */
import { DTYPE_CODE, input, kernels, output, pick, REAL, whole } from './draw.mjs';

const conv = () => {
  const groups = pick([1, 1, 2, 3]);
  const [kh, kw] = [whole(1, 3), whole(1, 3)];
  const p = {
    n: whole(1, 3),
    cIn: groups * whole(1, 5),
    h: whole(3, 12),
    w: whole(3, 12),
    cOut: groups * whole(1, 9),
    kh,
    kw,
    outH: 0,
    outW: 0,
    strideH: whole(1, 2),
    strideW: whole(1, 2),
    padH: whole(-1, 2),
    padW: whole(-1, 2),
    dilationH: whole(1, 2),
    dilationW: whole(1, 2),
    groups,
  };
  p.outH = whole(1, Math.floor(p.h / p.strideH) + 1);
  p.outW = whole(1, Math.floor(p.w / p.strideW) + 1);
  return {
    p,
    x: [p.n, p.cIn, p.h, p.w],
    w: [p.cOut, p.cIn / groups, kh, kw],
    y: [p.n, p.cOut, p.outH, p.outW],
  };
};

function convCase(call, from, to) {
  return {
    dtypes: REAL,
    repeat: 6,
    draw: (d) => {
      const c = conv();
      return {
        inputs: from.map((name) => input(d, c[name])),
        outputs: [output(d, c[to])],
        call: (inputs, outputs) => call(kernels, DTYPE_CODE[d], c, inputs, outputs),
      };
    },
  };
}

/** Kernels that add to what their output holds. */
function frame(name, from, to) {
  return {
    dtypes: REAL,
    draw: (d) => {
      const [n, cIn, cOut, h, w] = [whole(1, 3), whole(1, 6), whole(1, 9), whole(2, 14), whole(2, 14)];
      const shapes = { x: [n, cIn, h, w], y: [n, cOut, h, w], weights: [cOut, cIn, 3, 3] };
      return {
        inputs: from.map((key) => input(d, shapes[key])),
        outputs: [output(d, shapes[to], { start: input(d, shapes[to]).values })],
        call: ([a, b], [y]) => kernels[name](DTYPE_CODE[d], n, cIn, cOut, h, w, a, b, y),
      };
    },
  };
}

export const cases = {
  conv_forward: convCase((k, d, { p }, [x, w], [y]) => k.convForward(d, p, x, w, y), ['x', 'w'], 'y'),
  conv_data: convCase((k, d, { p }, [y, w], [x]) => k.convData(d, p, y, w, x), ['y', 'w'], 'x'),
  conv_weights: convCase((k, d, { p }, [x, y], [w]) => k.convWeights(d, p, x, y, w), ['x', 'y'], 'w'),
  conv_forward_bias: {
    dtypes: REAL,
    draw: (d, round) => {
      const c = conv();
      return {
        inputs: [input(d, c.x), input(d, c.w), input(d, [c.p.cOut])],
        outputs: [output(d, c.y)],
        call: ([x, w, b], [y]) => kernels.convForwardBias(DTYPE_CODE[d], c.p, x, w, round % 3 === 2 ? 0 : b, round % 2, y),
      };
    },
  },
  conv_data_masked: {
    dtypes: REAL,
    draw: (d) => {
      const c = conv();
      return {
        inputs: [input(d, c.y), input(d, c.w), input(d, c.x)],
        outputs: [output(d, c.x)],
        call: ([y, w, mask], [x]) => kernels.convDataMasked(DTYPE_CODE[d], c.p, y, w, mask, x),
      };
    },
  },
  conv_weights_bias: {
    dtypes: REAL,
    draw: (d) => {
      const c = conv();
      return {
        inputs: [input(d, c.x), input(d, c.y)],
        outputs: [output(d, c.w), output(d, [c.p.cOut])],
        call: ([x, y], [w, b]) => kernels.convWeightsBias(DTYPE_CODE[d], c.p, x, y, w, b),
      };
    },
  },
  conv_frame_forward: frame('convFrameForward', ['x', 'weights'], 'y'),
  conv_frame_data: frame('convFrameData', ['y', 'weights'], 'x'),
  conv_frame_weights: frame('convFrameWeights', ['x', 'y'], 'weights'),
  scale_blur: {
    dtypes: REAL,
    repeat: 2,
    draw: (d, round) => {
      const [planes, h, w] = [whole(1, 3), whole(1, 20), whole(1, 20)];
      const shapes = [
        [planes, h, w],
        [planes, h + 2, w + 2],
      ];
      return {
        inputs: [input(d, shapes[round % 2])],
        outputs: [output(d, shapes[1 - (round % 2)])],
        call: ([x], [y]) => kernels.scaleBlur(DTYPE_CODE[d], planes, h, w, round % 2, x, y),
      };
    },
  },
  log_student: {
    dtypes: REAL,
    repeat: 4,
    draw: (d, round) => {
      const n = whole(1, 500);
      return {
        inputs: [input(d, [n], -3, 3), input(d, [n]), input(d, [n])],
        outputs: [output(d, [n])],
        call: ([x, a, b], [y]) => kernels.logStudent(DTYPE_CODE[d], round % 4, 9, n, x, round % 3 ? a : 0, round % 3 === 2 ? b : 0, y),
      };
    },
  },
};
