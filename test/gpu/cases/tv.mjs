/** Total variation. */
import { DTYPE_CODE, extent, input, kernels, lines, output, pick, REAL, uniform, whole } from './draw.mjs';

const image = (dtype) => {
  const [batch, height, width] = [whole(1, 3), whole(1, 20), whole(1, 40)];
  return { batch, height, width, x: input(dtype, [batch, height, width]), lambda: input(dtype, [batch], 0.05, 0.4) };
};

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

export const cases = {
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
        outputs: [output(d, extent(l))],
        call: ([x, lambda, w], [y]) => kernels.prox1d(DTYPE_CODE[d], l, x, lambda, round % 2 ? w : 0, y),
      };
    },
  },
  prox1d_newton: {
    dtypes: REAL,
    repeat: 2,
    draw: (d, round) => {
      const l = { outer: whole(1, 6), n: whole(1, 60), inner: pick([1, 3]) };
      return {
        inputs: [input(d, extent(l)), input(d, [l.outer * l.inner], 0, 2), input(d, extent(l, Math.max(0, l.n - 1)), 0.2, 2)],
        outputs: [output(d, extent(l))],
        scratch: [output('float64', [l.outer * l.inner])],
        // To the end, where all paths meet.
        call: ([x, lambda, w], [y], _, [gap]) =>
          kernels.prox1dNewton(DTYPE_CODE[d], l, x, lambda, round % 2 ? w : 0, 1e-15, 200, y, round % 3 ? gap : 0),
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
      // Accelerated, plain, sweeps, pixels; the exact finish is the CPU's alone.
      const params = { batch, height, width, method: plain ? 1 : pick([0, 3, 4]), maxIterations: plain ? 4 : 100000 };
      return {
        inputs: [
          im.x,
          im.lambda,
          input(d, [batch], 0.05, 0.4),
          input(d, [batch, height, Math.max(0, width - 1)], 0.5, 1.5),
          input(d, [batch, Math.max(0, height - 1), width], 0.5, 1.5),
        ],
        // Different methods, one solution: the means over its components.
        outputs: [output(d, [batch, height, width])],
        scratch: [output('float64', [batch, 4])],
        call: ([x, rows, cols, wx, wy], [y], _, [report]) =>
          kernels.prox2d(
            DTYPE_CODE[d],
            params,
            plain ? 1e-6 : 1e-13,
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
  prox3d: {
    dtypes: REAL,
    repeat: 2,
    draw: (d, round) => {
      const [batch, depth, height, width] = [whole(1, 2), whole(1, 7), whole(1, 8), whole(1, 9)];
      const plain = round % 2 === 1;
      const weighted = round % 4 > 1;
      const params = { batch, volumeDepth: depth, height, width, method: plain ? 1 : 0, maxIterations: plain ? 3 : 5000 };
      const weights = [
        [depth - 1, height, width],
        [depth, height - 1, width],
        [depth, height, width - 1],
      ].map((shape) => input(d, [batch, ...shape], 0.5, 1.5));
      return {
        inputs: [input(d, [batch, depth, height, width]), ...[1, 2, 3].map(() => input(d, [batch], 0.05, 0.4)), ...weights],
        // The means over the components of the solution.
        outputs: [output(d, [batch, depth, height, width])],
        scratch: [output('float64', [batch, 4])],
        call: ([x, a, b, c, ...w], [y], _, [report]) =>
          kernels.prox3d(DTYPE_CODE[d], params, 1e-13, x, a, b, c, ...w.map((v) => (weighted ? v : 0)), y, 0, report, 0),
      };
    },
  },
  rof: {
    dtypes: REAL,
    repeat: 6,
    draw: (d, round) => {
      // Plain images, channels that share their gradient's norm, volumes.
      const [batch, channels, depth, height, width] = [
        [whole(1, 3), 1, 1, whole(4, 40), whole(4, 70)],
        [whole(1, 2), whole(2, 3), 1, whole(4, 12), whole(4, 12)],
        [whole(1, 2), whole(1, 2), whole(3, 6), whole(3, 7), whole(3, 8)],
      ][round % 3];
      const dims = round % 3 === 2 ? 3 : 2;
      // Chosen image by image, descent, primal-dual. Different solutions at a tolerance, the same after the same iterations: few, because the
      // dual steps of the primal-dual method grow, and rounding with them; and a solved problem leaves the choice of restarts to rounding.
      const rofMethod = Math.floor(round / 3) % 3;
      const params = { batch, channels, depth, height, width, dims, rofMethod, maxIterations: whole(0, d === 'float32' ? 10 : 20) };
      const shape = [batch, channels, depth, height, width];
      const field = [batch, channels, dims, depth, height, width];
      const warm = round % 2 === 1;
      return {
        inputs: [input(d, shape), input(d, [batch], 0.02, 0.4), input(d, field, -0.007, 0.007)],
        outputs: [output(d, shape), output(d, field)],
        scratch: [output('float64', [batch, 4])],
        call: ([x, lambda, init], [y, dual], _, [report]) =>
          kernels.rof(DTYPE_CODE[d], params, 1e-30, x, lambda, warm ? init : 0, y, dual, report, 0),
      };
    },
  },
  rof_derivative: {
    dtypes: ['float64'],
    repeat: 3,
    draw: (d, round) => {
      const dims = round % 2 ? 3 : 2;
      const [batch, channels, depth, height, width] = [whole(1, 2), whole(1, 3), dims === 3 ? whole(1, 4) : 1, whole(1, 8), whole(1, 9)];
      const params = { batch, channels, depth, height, width, dims, rofMethod: 0, maxIterations: 0 };
      const shape = [batch, channels, depth, height, width];
      return {
        // Levels that repeat, so that there are components; in the last round lambda 0, where the derivative is the identity.
        inputs: [
          input(d, shape, 0, 1, () => 0.1 * whole(0, 2)),
          input(d, [batch, channels, dims, depth, height, width], -0.1, 0.1),
          input(d, [batch], round % 3 === 2 ? 0 : 0.1, round % 3 === 2 ? 0 : 0.3),
          input(d, shape),
        ],
        // Conjugate gradients stop at a residual of 1e-13.
        outputs: [output(d, shape)],
        call: ([y, dual, lambda, v], [out]) => kernels.rofDerivative(params, y, dual, lambda, v, out),
      };
    },
  },
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
