/**
 * Every entry of the kernel table on the device 'cuda' against the CPU backend, over random shapes: float64 to 1e-12 and float32 to 1e-5
 * of the largest value. Plain Node, on a GPU or on the emulation (test/cuda). Prints one line per entry; exits with 1 on a disagreement
 * or on an entry without a case.
 *
 *   node test/gpu/agreement.mjs [--seed 1] [--rounds 3] [--only conv]
 */
import { parseArgs } from 'node:util';

const { addon, kernels, requireDevice } = await import(new URL('../../dist/backend/index.js', import.meta.url).href);
const { Tensor, DTYPE_CODE, DTYPE_ARRAY } = await import(new URL('../../dist/tensor/index.js', import.meta.url).href);
requireDevice('cuda');

const { values: args } = parseArgs({
  options: { seed: { type: 'string', default: '1' }, rounds: { type: 'string', default: '3' }, only: { type: 'string', default: '' } },
});

// splitmix32
let state = Number(args.seed) >>> 0;
const uniform = (low = 0, high = 1) => {
  state = (state + 0x9e3779b9) >>> 0;
  let z = state;
  z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
  z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
  return low + ((high - low) * ((z ^ (z >>> 15)) >>> 0)) / 4294967296;
};
const whole = (low, high) => low + Math.floor(uniform() * (high - low + 1));
const pick = (list) => list[whole(0, list.length - 1)];
const size = (shape) => shape.reduce((n, s) => n * s, 1);

/** An input: random numbers, or what `make(i)` says. */
const input = (dtype, shape, low = -1, high = 1, make = undefined) => {
  const values = new DTYPE_ARRAY[dtype](size(shape));
  for (let i = 0; i < values.length; i++) {
    const v = make ? make(i) : uniform(low, high);
    values[i] = dtype === 'int32' || dtype === 'uint8' ? Math.floor(v) : v;
  }
  return { dtype, shape, values };
};
/** An output; `start`: what it holds before the call (in-place kernels, sums into zeros). */
const output = (dtype, shape, { start, tolerance } = {}) => ({ dtype, shape, start, tolerance });

const REAL = ['float32', 'float64'];
const ALL = [...REAL, 'int32', 'uint8'];
const dense = (shape) => shape.map((_, i) => size(shape.slice(i + 1)));
const lines = () => ({ outer: whole(1, 5), n: whole(1, 40), inner: pick([1, 1, 3, 17]) });
const extent = ({ outer, n, inner }, length = n) => [outer, length, inner];
const anyShape = () => Array.from({ length: whole(1, 4) }, () => whole(1, 7));
/** Strides of an operand that repeats along some axes, and its own shape. */
const broadcast = (shape) => {
  const own = shape.map((n) => (uniform() < 0.3 ? 1 : n));
  const strides = dense(own).map((s, i) => (own[i] === 1 && shape[i] !== 1 ? 0 : s));
  return { own, strides };
};

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

const image = (dtype) => {
  const [batch, height, width] = [whole(1, 3), whole(1, 20), whole(1, 40)];
  return { batch, height, width, x: input(dtype, [batch, height, width]), lambda: input(dtype, [batch], 0.05, 0.4) };
};

/** Per entry: a function of the dtype that draws shapes and returns { inputs, outputs, call(addresses of inputs, of outputs) }. */
const cases = {
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
  matmul: {
    dtypes: REAL,
    draw: (d) => {
      const [batch, m, n, k, ta, tb] = [whole(1, 3), whole(1, 90), whole(1, 90), whole(1, 70), whole(0, 1), whole(0, 1)];
      const shared = whole(0, 1);
      return {
        inputs: [input(d, [batch, m, k]), input(d, [shared ? 1 : batch, k, n])],
        outputs: [output(d, [batch, m, n])],
        call: ([a, b], [c]) => kernels.matmul(DTYPE_CODE[d], batch, m, n, k, ta, tb, a, m * k, b, shared ? 0 : k * n, c),
      };
    },
  },
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
  pttrf: tridiagonal(
    (d, l, [diagonal, e], [dOut, lOut, status]) => kernels.pttrf(d, l, diagonal, e, dOut, lOut, status),
    ['d', 'e'],
    ['d', 'e', 's'],
  ),
  pttrs: tridiagonal((d, l, [diagonal, e, b], [x]) => kernels.pttrs(d, l, diagonal, e, b, x), ['d', 'e', 'b'], ['b']),
  ptsv: tridiagonal((d, l, [diagonal, e, b], [x, status]) => kernels.ptsv(d, l, diagonal, e, b, x, status), ['d', 'e', 'b'], ['b', 's']),
  gtsv: tridiagonal(
    (d, l, [dl, diagonal, du, b], [x, status]) => kernels.gtsv(d, l, dl, diagonal, du, b, x, status),
    ['e', 'd', 'e', 'b'],
    ['b', 's'],
  ),
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
  prox1d: {
    dtypes: REAL,
    repeat: 4,
    draw: (d, round) => {
      const l = pick([lines(), { outer: whole(1, 70), n: whole(1, 60), inner: 1 }, { outer: 2, n: whole(500, 1500), inner: pick([1, 3]) }]);
      // Smooth lines go to the linear solver.
      const smooth = round % 4 === 3;
      return {
        inputs: [
          input(d, extent(l), -1, 1, smooth ? (i) => Math.sin(i / 200) : undefined),
          input(d, [l.outer * l.inner], 0, smooth ? 20 : 2),
          input(d, extent(l, Math.max(0, l.n - 1)), 0.2, 2),
        ],
        outputs: [output(d, extent(l), { tolerance: d === 'float32' ? 1e-5 : 1e-11 })],
        call: ([x, lambda, w], [y]) => kernels.prox1d(DTYPE_CODE[d], l, x, lambda, round % 2 ? w : 0, y),
      };
    },
  },
  prox1d_average: jump(true, true, (d, l, [y, v], [out]) => kernels.prox1dAverage(d, l, y, v, out)),
  jump_sum: jump(true, false, (d, l, [y, a, w], [out], weighted) => kernels.jumpSum(d, l, y, weighted ? w : 0, a, out)),
  jump_spread: jump(false, true, (d, l, [y, v, w], [out], weighted) => kernels.jumpSpread(d, l, y, weighted ? w : 0, v, out)),
  prox2d: {
    dtypes: REAL,
    repeat: 4,
    draw: (d, round) => {
      const im = image(d);
      const { batch, height, width } = im;
      const plain = round % 2 === 1;
      const params = { batch, height, width, method: plain ? 1 : 0, maxIterations: plain ? 4 : 100000 };
      return {
        inputs: [
          im.x,
          im.lambda,
          input(d, [batch], 0.05, 0.4),
          input(d, [batch, height, Math.max(0, width - 1)], 0.5, 1.5),
          input(d, [batch, Math.max(0, height - 1), width], 0.5, 1.5),
        ],
        // Different methods, one solution: as close as the gap says.
        outputs: [output(d, [batch, height, width], { tolerance: plain ? undefined : d === 'float32' ? 3e-3 : 1e-5 })],
        scratch: [output('float64', [batch, 4])],
        call: ([x, rows, cols, wx, wy], [y], _, [report]) =>
          kernels.prox2d(
            DTYPE_CODE[d],
            params,
            d === 'float32' ? 1e-6 : 1e-11,
            x,
            rows,
            cols,
            round % 4 > 1 ? wx : 0,
            round % 4 > 1 ? wy : 0,
            0,
            y,
            0,
            0,
            report,
            0,
          ),
      };
    },
  },
  rof: {
    dtypes: REAL,
    draw: (d) => {
      const im = image(d);
      const { batch, height, width } = im;
      const params = { batch, channels: 1, depth: 1, height, width, dims: 2, rofMethod: 0, maxIterations: 100000 };
      return {
        inputs: [im.x, im.lambda],
        outputs: [output(d, im.x.shape, { tolerance: d === 'float32' ? 3e-3 : 1e-5 })],
        scratch: [output('float64', [batch, 4])],
        call: ([x, lambda], [y], _, [report]) =>
          kernels.rof(DTYPE_CODE[d], params, d === 'float32' ? 1e-6 : 1e-11, x, lambda, 0, y, 0, report, 0),
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
  conv_frame_forward: frame('convFrameForward', ['x', 'weights'], 'y'),
  conv_frame_data: frame('convFrameData', ['y', 'weights'], 'x'),
  conv_frame_weights: frame('convFrameWeights', ['x', 'y'], 'weights'),
  component_average: {
    dtypes: REAL,
    draw: (d) => {
      const [batch, pixels] = [whole(1, 3), whole(1, 400)];
      const labels = [];
      for (let i = 0; i < batch * pixels; i++) {
        const at = i % pixels;
        labels.push(at === 0 || uniform() < 0.2 ? at : labels[i - whole(1, at)]);
      }
      return {
        inputs: [input('int32', [batch, pixels], 0, 0, (i) => labels[i]), input(d, [batch, pixels])],
        outputs: [output(d, [batch, pixels])],
        call: ([label, v], [out]) => kernels.componentAverage(DTYPE_CODE[d], batch, pixels, label, v, out),
      };
    },
  },
};

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

function tridiagonal(call, from, to) {
  return {
    dtypes: REAL,
    draw: (d) => {
      const l = lines();
      const draws = {
        d: () => input(d, extent(l), 2.5, 4),
        e: () => input(d, extent(l, Math.max(0, l.n - 1)), -1, 1),
        b: () => input(d, extent(l)),
      };
      const holds = { d: [d, extent(l)], e: [d, extent(l, Math.max(0, l.n - 1))], b: [d, extent(l)], s: ['int32', extent(l, 1)] };
      return {
        inputs: from.map((name) => draws[name]()),
        outputs: to.map((name) => output(...holds[name])),
        call: (inputs, outputs) => call(DTYPE_CODE[d], l, inputs, outputs),
      };
    },
  };
}

function random(name) {
  return {
    dtypes: REAL,
    draw: (d) => {
      const [n, offset] = [whole(1, 500), whole(0, 1000)];
      return { inputs: [], outputs: [output(d, [n])], call: (_, [y]) => kernels[name](DTYPE_CODE[d], n, 42, offset, y) };
    },
  };
}

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

/** Kernels that read a solution y with runs of equal values, a second operand, and weights. */
function jump(secondIsWhole, resultIsWhole, call) {
  return {
    dtypes: REAL,
    draw: (d, round) => {
      const l = lines();
      const one = extent(l, 1);
      return {
        inputs: [
          input(d, extent(l), 0, 3, () => whole(0, 2)),
          input(d, secondIsWhole ? extent(l) : one),
          input(d, extent(l, Math.max(0, l.n - 1)), 0.2, 2),
        ],
        outputs: [output(d, resultIsWhole ? extent(l) : one)],
        call: (inputs, outputs) => call(DTYPE_CODE[d], l, inputs, outputs, round % 2 === 1),
      };
    },
  };
}

function compute(drawn, device) {
  const holder = ({ dtype, shape, start }) => {
    const t = Tensor.empty(dtype, shape, device);
    const values = new DTYPE_ARRAY[dtype](size(shape));
    if (typeof start === 'number') values.fill(start);
    else if (start) values.set(start);
    if (values.length > 0) addon.copy(t.address, addon.addressOf(values), values.byteLength);
    return t;
  };
  const inputs = drawn.inputs.map(({ dtype, shape, values }) => holder({ dtype, shape, start: values }));
  const [outputs, scratch] = [drawn.outputs.map(holder), (drawn.scratch ?? []).map(holder)];
  const addresses = (list) => list.map((t) => (t.size > 0 ? t.address : 0));
  drawn.call(
    addresses(inputs),
    addresses(outputs),
    outputs.map((t) => ({ n: t.size })),
    addresses(scratch),
  );
  const results = outputs.map((t) => t.toTypedArray());
  for (const t of [...inputs, ...outputs, ...scratch]) t.dispose();
  return results;
}

function disagreement(drawn, dtype) {
  const [expected, got] = [compute(drawn, 'cpu'), compute(drawn, 'cuda')];
  let worst = 0;
  for (let k = 0; k < expected.length; k++) {
    const [a, b] = [expected[k], got[k]];
    const scale = a.reduce((m, v) => (Number.isFinite(v) ? Math.max(m, Math.abs(v)) : m), 0) || 1;
    const exact = drawn.outputs[k].dtype === 'int32' || drawn.outputs[k].dtype === 'uint8';
    const tolerance = drawn.outputs[k].tolerance ?? (exact ? 0.5 / scale : dtype === 'float64' ? 1e-12 : 1e-5);
    for (let i = 0; i < a.length; i++) {
      const error = Object.is(a[i], b[i]) || a[i] === b[i] ? 0 : Math.abs(a[i] - b[i]) / scale;
      worst = Math.max(worst, Number.isNaN(error) ? Infinity : error / tolerance);
    }
  }
  return worst;
}

let bad = 0;
for (const name of addon.kernelNames) {
  if (!name.includes(args.only)) continue;
  const entry = cases[name];
  if (!entry) {
    // An entry that this backend lacks is computed on the CPU.
    if (addon.hasKernel(1, name)) {
      console.log(`${name.padEnd(20)} has no case`);
      bad++;
    }
    continue;
  }
  let worst = 0;
  for (const dtype of entry.dtypes) {
    for (let round = 0; round < Number(args.rounds) * (entry.repeat ?? 1); round++) {
      const seed = state;
      const found = disagreement(entry.draw(dtype, round), dtype);
      if (found > 1) console.log(`${name} ${dtype}, round ${round}, state ${seed}: ${found.toExponential(1)} times the tolerance`);
      worst = Math.max(worst, found);
    }
  }
  if (worst > 1) bad++;
  console.log(`${name.padEnd(20)} ${worst <= 1 ? 'agrees' : 'DISAGREES'} (worst ${worst.toExponential(1)} of the tolerance)`);
}
process.exitCode = bad ? 1 : 0;
