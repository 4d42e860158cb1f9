/** Functions with derivative rules of their own: customJvp, customVjp, checkpoint. */
import { formatShape, sameShape, Tensor } from '../tensor/index.js';
import { jvpFlat } from './jvp.js';
import { type Aval, bind, bind1, definePrimitive, type Primitive, type Tangent, Tracer, zeroTangent } from './primitive.js';
import { linearize } from './tape.js';
import { flatten, type Tree } from './tree.js';

type Flat = (inputs: readonly Tensor[]) => Tensor[];

interface CallParams {
  name: string;
  run: Flat;
  rule: (primals: readonly Tensor[], tangents: readonly Tangent[]) => { outputs: Tensor[]; tangents: Tangent[] };
}

/** A call of a user's function, with its rule. */
const callPrimitive: Primitive<CallParams> = definePrimitive<CallParams>({
  name: 'call',
  shape: () => {
    throw new Error('A custom function was applied to a tangent: its derivative rule must be linear in the tangents');
  },
  kernel: (inputs, { run, name }) => checkClosure(run(inputs), name),
  jvp: (primals, tangents, { rule }) => rule(primals, tangents),
});

/** A function of plain tensors that returns tracers has closed over a value being differentiated: its derivative would be lost. */
function checkClosure(outputs: Tensor[], name: string): Tensor[] {
  if (outputs.some((output) => output instanceof Tracer)) {
    throw new Error(`Expected ${name}'s function to receive every value being differentiated as an argument but it uses one from outside`);
  }
  return outputs;
}

/** Tangents with zeros written out. */
function explicit(primals: readonly Tensor[], tangents: readonly Tangent[]): Tensor[] {
  return tangents.map((tangent, i) => tangent ?? zeroTangent(primals[i] as Tensor));
}

/** Calls `f` on the leaves of its arguments and rebuilds its result. */
function callFlat<A extends readonly Tree[], R extends Tree>(f: (...args: A) => R, args: A, params: (run: Flat) => CallParams): R {
  const input = flatten(args);
  let rebuild: ((leaves: readonly Tensor[]) => R) | undefined;
  const run: Flat = (leaves) => {
    const result = flatten(f(...input.rebuild(leaves)));
    rebuild = result.rebuild as (leaves: readonly Tensor[]) => R;
    return result.leaves;
  };
  const outputs = bind(callPrimitive, input.leaves, params(run));
  return (rebuild as unknown as (leaves: readonly Tensor[]) => R)(outputs);
}

/**
 * `f` with its derivative given by `rule(primals, tangents) -> { value, tangent }`, where the tangent is computed by operations that are
 * linear in the tangents. Forward and reverse mode, and higher derivatives, follow from the rule.
 */
export function customJvp<A extends readonly Tensor[]>(
  f: (...args: A) => Tensor,
  rule: (primals: A, tangents: A) => { value: Tensor; tangent: Tensor },
): (...args: A) => Tensor {
  return (...args) =>
    bind1(callPrimitive, args, {
      name: 'customJvp',
      run: (inputs) => [f(...(inputs as unknown as A))],
      rule: (primals, tangents) => {
        const { value, tangent } = rule(primals as unknown as A, explicit(primals, tangents) as unknown as A);
        return { outputs: [value], tangents: [tangent] };
      },
    });
}

interface PullbackParams {
  backward: Flat;
  /** How many of the inputs are residuals; tangents follow. */
  residuals: number;
  outputs: Aval[];
}

/** Stands for the unknown linear map whose transpose is the user's backward function. */
const pullbackPrimitive: Primitive<PullbackParams> = definePrimitive<PullbackParams>({
  name: 'customVjp',
  shape: (_inputs, { outputs }) => outputs,
  kernel: () => {
    throw new Error('A function with customVjp has no forward-mode derivative: give it a customJvp instead');
  },
  linear: {
    transpose: (cotangents, inputs, { backward, residuals }) => {
      const gradients = backward([...inputs.slice(0, residuals), ...cotangents]);
      return [...new Array<Tangent>(residuals).fill(null), ...gradients];
    },
  },
});

/**
 * `f` with its reverse-mode derivative given by `backward(args, value, cotangent) -> cotangents of the args`. Forward mode throws.
 */
export function customVjp<A extends readonly Tensor[]>(
  f: (...args: A) => Tensor,
  backward: (args: A, value: Tensor, cotangent: Tensor) => readonly Tensor[],
): (...args: A) => Tensor {
  const run: Flat = (inputs) => [f(...(inputs as unknown as A))];
  return (...args) =>
    bind1(callPrimitive, args, {
      name: 'customVjp',
      run,
      rule: (primals, tangents) => {
        const n = primals.length;
        const value = bind1(callPrimitive, primals, { name: 'customVjp', run, rule: unreachable });
        const pullback: Flat = (values) => {
          const gradients = backward(values.slice(0, n) as unknown as A, values[n] as Tensor, values[n + 1] as Tensor);
          gradients.forEach((gradient, i) => checkGradient(gradient, primals[i] as Tensor, i));
          return [...gradients];
        };
        const inputs = [...primals, value, ...explicit(primals, tangents)];
        return { outputs: [value], tangents: bind(pullbackPrimitive, inputs, { backward: pullback, residuals: n + 1, outputs: [value] }) };
      },
    });
}

function unreachable(): never {
  throw new Error('A function with customVjp cannot be differentiated twice in reverse mode: give it a customJvp instead');
}

function checkGradient(gradient: Tensor, like: Tensor, i: number): void {
  if (!(gradient instanceof Tensor) || !sameShape(gradient.shape, like.shape)) {
    throw new RangeError(`Expected a gradient of shape ${formatShape(like.shape)} for argument ${i} from customVjp's backward`);
  }
}

interface RecomputeParams {
  run: Flat;
  inputs: number;
  outputs: Aval[];
}

/** The tangent of a checkpointed function: nothing is stored, its transpose runs the function again. */
const recomputePrimitive: Primitive<RecomputeParams> = definePrimitive<RecomputeParams>({
  name: 'checkpoint',
  shape: (_inputs, { outputs }) => outputs,
  kernel: (inputs, params) => pushForward(inputs, params),
  linear: {
    transpose: (cotangents, inputs, { run, inputs: n }) => {
      const { map } = linearize((x) => run(x), inputs.slice(0, n));
      return [...new Array<Tangent>(n).fill(null), ...map.transpose(cotangents, true)];
    },
  },
  // Differentiated again, it is the function (x, dx) -> df(x) dx.
  jvp: (primals, tangents, params) => jvpFlat((inputs) => pushForward(inputs, params), primals, tangents),
});

function pushForward(inputs: readonly Tensor[], { run, inputs: n }: RecomputeParams): Tensor[] {
  const { outputs, tangents } = jvpFlat((x) => run(x), inputs.slice(0, n), inputs.slice(n));
  return tangents.map((tangent, i) => tangent ?? zeroTangent(outputs[i] as Tensor));
}

/**
 * `f` whose intermediate values are not kept for the backward pass but computed again there: memory for time. Every value being
 * differentiated must come in through the arguments (tensors, or arrays and records of them).
 */
export function checkpoint<A extends readonly Tree[], R extends Tree>(f: (...args: A) => R): (...args: A) => R {
  return (...args) =>
    callFlat(f, args, (run) => ({
      name: 'checkpoint',
      run,
      rule: (primals, tangents) => {
        const outputs = bind(callPrimitive, primals, { name: 'checkpoint', run, rule: (p, t) => jvpFlat((x) => run(x), p, t) });
        const avals = outputs.map(({ dtype, shape }): Aval => ({ dtype, shape }));
        return {
          outputs,
          tangents: bind(recomputePrimitive, [...primals, ...explicit(primals, tangents)], { run, inputs: primals.length, outputs: avals }),
        };
      },
    }));
}
