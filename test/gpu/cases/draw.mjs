/**
 * What the tables of cases draw from: seeded random numbers, shapes, inputs and outputs. A table maps the name of an entry of the kernel
 * table to { dtypes, repeat, draw }: draw(dtype, round) returns { inputs, outputs, scratch, call }, where call(addresses of the inputs, of
 * the outputs, the outputs' sizes, addresses of the scratch) runs the kernel; repeat (1) multiplies the number of rounds.
 */
export const { addon, kernels, requireDevice } = await import(new URL('../../../dist/backend/index.js', import.meta.url).href);
export const { Tensor, DTYPE_CODE, DTYPE_ARRAY } = await import(new URL('../../../dist/tensor/index.js', import.meta.url).href);

let state = 1;
/** The state of the generator (splitmix32), which a report may name. */
export const randomState = () => state;
export const reseed = (seed) => {
  state = seed >>> 0;
};
export const uniform = (low = 0, high = 1) => {
  state = (state + 0x9e3779b9) >>> 0;
  let z = state;
  z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
  z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
  return low + ((high - low) * ((z ^ (z >>> 15)) >>> 0)) / 4294967296;
};
export const whole = (low, high) => low + Math.floor(uniform() * (high - low + 1));
export const pick = (list) => list[whole(0, list.length - 1)];
export const size = (shape) => shape.reduce((n, s) => n * s, 1);

/** An input: random numbers, or what `make(i)` says. */
export const input = (dtype, shape, low = -1, high = 1, make = undefined) => {
  const values = new DTYPE_ARRAY[dtype](size(shape));
  for (let i = 0; i < values.length; i++) {
    const v = make ? make(i) : uniform(low, high);
    values[i] = dtype === 'int32' || dtype === 'uint8' ? Math.floor(v) : v;
  }
  return { dtype, shape, values };
};
/**
 * An output; `start`: what it holds before the call (in-place kernels, sums into zeros).
 */
export const output = (dtype, shape, { start } = {}) => ({ dtype, shape, start });

export const REAL = ['float32', 'float64'];
export const ALL = [...REAL, 'int32', 'uint8'];
export const dense = (shape) => shape.map((_, i) => size(shape.slice(i + 1)));
/** Lines of a tensor [outer, n, inner], and the shape with `length` along the middle axis. */
export const lines = () => ({ outer: whole(1, 5), n: whole(1, 40), inner: pick([1, 1, 3, 17]) });
export const extent = ({ outer, n, inner }, length = n) => [outer, length, inner];
export const anyShape = () => Array.from({ length: whole(1, 4) }, () => whole(1, 7));
/** Strides of an operand that repeats along some axes, and its own shape. */
export const broadcast = (shape) => {
  const own = shape.map((n) => (uniform() < 0.3 ? 1 : n));
  const strides = dense(own).map((s, i) => (own[i] === 1 && shape[i] !== 1 ? 0 : s));
  return { own, strides };
};
