/** Conjugate gradients (Hestenes and Stiefel 1952) for batches of systems, differentiated through the solution, not through the steps. */
import { bind, definePrimitive, jvpFlat, type Primitive, Tracer } from '../autodiff/index.js';
import { add, checkFloat, checkTensor, mul, neg, sub, sum, zerosOf } from '../ops/index.js';
import { formatShape, sameShape, type Tensor, tensor, tidy } from '../tensor/index.js';

export interface ConjugateGradientsOptions {
  /** Tensors that the matrix depends on, handed to `apply` after x: the solution is differentiable in them and in b. */
  parameters?: readonly Tensor[];
  /** How many trailing axes make up one system; leading ones are a batch of independent systems. Default: all, one system. */
  axes?: number;
  /** A system is done once |M x - b| <= tolerance |b|. Default 1e-6; 0: only `iterations` counts. */
  tolerance?: number;
  /** Most steps. Default 100. */
  iterations?: number;
  /** First guess, of b's shape. Default: zeros. The solution's derivative does not see it. */
  start?: Tensor;
}

export interface ConjugateGradientsSolution {
  x: Tensor;
  /** Steps taken: those of the slowest system of the batch. */
  iterations: number;
  /** |M x - b| / |b| per system, by the recursion of the method; 0 where b = 0. */
  residual: Float64Array;
}

type Apply = (x: Tensor, ...parameters: Tensor[]) => Tensor;

interface Params {
  apply: Apply;
  parameters: number;
  axes: number;
  tolerance: number;
  iterations: number;
}

/**
 * Inputs: b, the parameters, and optionally the first guess. Linear in b and self-adjoint; in the parameters p, M x = b gives
 * M dx = db - (∂M/∂p dp) x: another solve with the same matrix.
 */
const solvePrimitive: Primitive<Params> = definePrimitive<Params>({
  name: 'conjugateGradients',
  shape: ([b]) => [{ dtype: b!.dtype, shape: b!.shape }],
  kernel: (inputs, params) => [iterate(inputs, params).x],
  linear: {
    inputs: [0],
    transpose: ([ct], inputs, params) => [
      bind(solvePrimitive, [ct!, ...inputs.slice(1, 1 + params.parameters)], params)[0] as Tensor,
      ...inputs.slice(1).map(() => null),
    ],
  },
  jvp: (primals, tangents, params) => {
    const values = primals.slice(1, 1 + params.parameters);
    const x = bind(solvePrimitive, primals, params)[0] as Tensor;
    const moved = jvpFlat((p) => [params.apply(x, ...p)], values, tangents.slice(1, 1 + params.parameters)).tangents[0] ?? null;
    const db = tangents[0] ?? null;
    const rhs = moved === null ? db : db === null ? neg(moved) : sub(db, moved);
    return { outputs: [x], tangents: [rhs && (bind(solvePrimitive, [rhs, ...values], params)[0] as Tensor)] };
  },
});

/** A factor per system, as a tensor that broadcasts over the systems. */
const spread = (values: Float64Array, like: Tensor, axes: number): Tensor =>
  tensor(values, { shape: like.shape.map((n, i) => (i < like.rank - axes ? n : 1)), dtype: like.dtype });

function iterate(inputs: readonly Tensor[], { apply, parameters, axes, tolerance, iterations }: Params): ConjugateGradientsSolution {
  const b = inputs[0] as Tensor;
  const values = inputs.slice(1, 1 + parameters);
  const start = inputs[1 + parameters];
  const inner = [...Array(axes).keys()].map((i) => b.rank - axes + i);
  const dot = (u: Tensor, v: Tensor): Float64Array => tidy(() => Float64Array.from(sum(mul(u, v), { axes: inner }).toTypedArray()));
  const times = (v: Tensor): Tensor => {
    const product = tidy(() => apply(v, ...values));
    if (product instanceof Tracer) {
      throw new Error(
        'Expected conjugateGradients to receive every value being differentiated in parameters but apply uses one from outside',
      );
    }
    if (!sameShape(product.shape, b.shape)) {
      throw new RangeError(`Expected a result of shape ${formatShape(b.shape)} from apply but received ${formatShape(product.shape)}`);
    }
    return product;
  };
  /** Replaces the first tensor: what it held is given back at once. */
  const replaced = (old: Tensor, make: () => Tensor): Tensor => {
    const next = tidy(make);
    old.dispose();
    return next;
  };

  let x = start === undefined ? zerosOf(b.shape, b.dtype) : start.own();
  let r = start === undefined ? b.own() : tidy(() => sub(b, times(x)));
  let p = r.own();
  let rho = dot(r, r);
  const goal = dot(b, b).map((square) => tolerance * tolerance * square);
  // A system rests (factors of 0) once it is done; one whose curvature is not positive or whose data are not numbers stays where it is.
  const moving = (s: number): boolean => (rho[s] as number) > (goal[s] as number);
  let k = 0;
  for (; k < iterations && rho.some((_, s) => moving(s)); k++) {
    const image = times(p);
    const curvature = dot(p, image);
    const alpha = rho.map((value, s) => (moving(s) && (curvature[s] as number) > 0 ? value / (curvature[s] as number) : 0));
    if (alpha.every((step) => step === 0)) {
      image.dispose();
      break;
    }
    x = replaced(x, () => add(x, mul(spread(alpha, b, axes), p)));
    r = replaced(r, () => sub(r, mul(spread(alpha, b, axes), image)));
    image.dispose();
    const last = rho;
    rho = dot(r, r);
    const beta = rho.map((value, s) => ((alpha[s] as number) > 0 ? value / (last[s] as number) : 0));
    p = replaced(p, () => add(r, mul(spread(beta, b, axes), p)));
  }
  r.dispose();
  p.dispose();
  const scale = dot(b, b);
  return { x, iterations: k, residual: rho.map((value, s) => (value === 0 ? 0 : Math.sqrt(value / (scale[s] as number)))) };
}

function prepare(b: Tensor, options: ConjugateGradientsOptions, apply: Apply): { inputs: Tensor[]; params: Params } {
  checkFloat(b, 'b');
  const { parameters = [], axes = b.rank, tolerance = 1e-6, iterations = 100, start } = options;
  if (typeof apply !== 'function') throw new TypeError(`Expected a function for apply but received ${typeof apply}`);
  if (!Number.isInteger(axes) || axes < 0 || axes > b.rank) {
    throw new RangeError(`Expected an integer in [0, ${b.rank}] for axes but received ${String(axes)}`);
  }
  if (!(tolerance >= 0 && tolerance < 1))
    throw new RangeError(`Expected a number in [0, 1) for tolerance but received ${String(tolerance)}`);
  if (!Number.isInteger(iterations) || iterations < 1) {
    throw new RangeError(`Expected an integer >= 1 for iterations but received ${String(iterations)}`);
  }
  parameters.forEach((value, i) => {
    checkTensor(value, `parameters[${i}]`);
  });
  if (start !== undefined && (!sameShape(checkFloat(start, 'start').shape, b.shape) || start.dtype !== b.dtype)) {
    throw new RangeError(
      `Expected ${b.dtype} ${formatShape(b.shape)} for start, as b, but received ${start.dtype} ${formatShape(start.shape)}`,
    );
  }
  return {
    inputs: [b, ...parameters, ...(start === undefined ? [] : [start])],
    params: { apply, parameters: parameters.length, axes, tolerance, iterations },
  };
}

/**
 * The solution x of M x = b for symmetric positive definite M, given by its product with a vector. Differentiable in b and `parameters`,
 * to any order, in forward and reverse mode: each derivative is a further solve to the same tolerance, so that memory does not grow with
 * the number of steps. A system that is not positive definite stays where its curvature stops being positive.
 * @param apply (x, ...parameters) → M x: linear in x, differentiable; every value being differentiated must come in through `parameters`
 * @param b right-hand sides [...batch, ...system], float32 or float64
 * @throws RangeError for options out of range or shapes that do not fit
 */
export function conjugateGradients(apply: Apply, b: Tensor, options: ConjugateGradientsOptions = {}): Tensor {
  return tidy(() => {
    const { inputs, params } = prepare(b, options, apply);
    return bind(solvePrimitive, inputs, params)[0] as Tensor;
  });
}

/** `conjugateGradients` with its report; a plain function of concrete tensors. */
export function solveConjugateGradients(apply: Apply, b: Tensor, options: ConjugateGradientsOptions = {}): ConjugateGradientsSolution {
  return tidy(() => {
    const { inputs, params } = prepare(b, options, apply);
    if (inputs.some((input) => input instanceof Tracer)) {
      throw new TypeError('Expected tensors with data for solveConjugateGradients but received a value that is being differentiated');
    }
    return iterate(inputs, params);
  });
}
