/** Total variation itself, and the lambda beyond which a prox is the mean. */
import {
  abs,
  add,
  cast,
  checkFloat,
  compare,
  cumsum,
  difference,
  div,
  max,
  maximum,
  mean,
  pad,
  select,
  sqrt,
  square,
  sub,
  sum,
} from '../ops/index.js';
import { formatShape, type Tensor, tidy, zeros } from '../tensor/index.js';
import { prox2d } from './prox2d.js';

/**
 * Σ |horizontal differences| + Σ |vertical differences| over the last two axes, or Σ sqrt(dx² + dy²) with `isotropic` (differences are 0
 * across the border). With rank 1, Σ |differences|. Differentiable.
 * @returns a tensor of the leading axes
 */
export function totalVariation(x: Tensor, options: { isotropic?: boolean } = {}): Tensor {
  return tidy(() => {
    checkFloat(x);
    if (x.rank === 0) throw new RangeError('Expected a tensor of rank >= 1 for x but received a scalar');
    if (x.rank === 1) return sum(abs(difference(x, 0)));
    const axes = [-2, -1];
    const horizontal = difference(x, -1);
    const vertical = difference(x, -2);
    if (!options.isotropic) return add(sum(abs(horizontal), { axes }), sum(abs(vertical), { axes }));
    const none = x.shape.slice(0, -2).map((): [number, number] => [0, 0]);
    const squares = add(square(pad(horizontal, [...none, [0, 0], [0, 1]])), square(pad(vertical, [...none, [0, 1], [0, 0]])));
    // The derivative of the root is taken as 0 where both differences vanish.
    const positive = compare.gt(squares, 0);
    return sum(select(positive, sqrt(select(positive, squares, 1)), 0), { axes });
  });
}

/**
 * The smallest lambda whose prox is the mean, per line (`dims: 1`, lines along the last axis: max_k |Σ_{i≤k} (x_i - mean)|) or per image
 * (`dims: 2`).
 * @returns a tensor of the leading axes. In 2D it is found by Dinkelbach's iteration on max_S Σ_S (x - mean) / perimeter(S), whose
 * maximiser at each lambda is a level set of prox2d: a lower bound that is exact once the level set stops changing.
 */
export function lambdaMax(x: Tensor, options: { dims: 1 | 2 }): Tensor {
  checkFloat(x);
  const { dims } = options ?? {};
  if (dims !== 1 && dims !== 2) throw new RangeError(`Expected 1 or 2 for dims but received ${String(dims)}`);
  if (x.rank < dims || x.size === 0)
    throw new RangeError(`Expected at least one sample and ${dims} axes for x but received shape ${formatShape(x.shape)}`);
  if (dims === 1) {
    return tidy(() => max(abs(cumsum(sub(x, mean(x, { axes: -1, keepDims: true })))), { axes: -1 }));
  }
  return tidy(() => largestRatio(x));
}

const MAX_DINKELBACH = 60;

function largestRatio(x: Tensor): Tensor {
  const axes = [-2, -1];
  const centred = sub(x, mean(x, { axes, keepDims: true }));
  let lambda = zeros(x.shape.slice(0, -2), x.dtype);
  let level = centred;
  for (let k = 0; k < MAX_DINKELBACH; k++) {
    // The sets above and below the mean are both level sets of the same solution.
    const best = maximum(ratioOf(compare.gt(level, 0), centred), ratioOf(compare.lt(level, 0), centred));
    const [old, now] = [lambda.toTypedArray(), best.toTypedArray()];
    if (now.every((value, i) => !(value > (old[i] as number) * (1 + 1e-12)))) break;
    lambda = maximum(best, lambda);
    level = prox2d(centred, lambda, { tolerance: x.dtype === 'float64' ? 1e-9 : 1e-6 });
  }
  return lambda;
}

/** |Σ_S centred| / perimeter(S), 0 for the empty set and the whole image. */
function ratioOf(inside: Tensor, centred: Tensor): Tensor {
  const perimeter = totalVariation(cast(inside, centred.dtype));
  const mass = abs(sum(select(inside, centred, 0), { axes: [-2, -1] }));
  return select(compare.gt(perimeter, 0), div(mass, maximum(perimeter, 1)), 0);
}
