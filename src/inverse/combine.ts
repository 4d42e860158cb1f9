/** Several operators side by side. */
import { add, narrow, reshape, stack } from '../ops/index.js';
import { formatShape, sameShape, type Tensor } from '../tensor/index.js';
import { LinearOperator } from './operator.js';

function checkEqual(operators: readonly LinearOperator[], what: 'stack' | 'sum'): LinearOperator {
  const [first] = operators;
  if (!Array.isArray(operators) || first === undefined) throw new TypeError(`Expected at least one operator for ${what} but received none`);
  for (const other of operators) {
    if (!sameShape(other.inputShape, first.inputShape) || !sameShape(other.outputShape, first.outputShape)) {
      throw new RangeError(
        `Expected operators from ${formatShape(first.inputShape)} to ${formatShape(first.outputShape)} for ${what} but received ${other.name} from ${formatShape(other.inputShape)} to ${formatShape(other.outputShape)}`,
      );
    }
  }
  return first;
}

const constantsOf = (operators: readonly LinearOperator[]): Tensor[] => operators.flatMap((a) => a.heldValues() as readonly Tensor[]);
const total = (terms: readonly Tensor[]): Tensor => terms.reduce((a, b) => add(a, b));

/** x → [A₁ x, …, A_k x] along a new axis before the operators' result: [..., k, outputShape]. */
export function stackOperators(operators: readonly LinearOperator[]): LinearOperator {
  const { inputShape, outputShape } = checkEqual(operators, 'stack');
  const rank = outputShape.length;
  if (rank === 0) throw new RangeError('Expected operators with a shape for stack but received elementwise ones of any shape');
  return new LinearOperator({
    name: `stack of ${operators.length} operators`,
    inputShape,
    outputShape: [operators.length, ...outputShape],
    apply: (x) => {
      const parts = operators.map((a) => a.apply(x));
      return stack(parts, (parts[0] as Tensor).rank - rank);
    },
    adjoint: (y) => {
      const axis = y.rank - rank - 1;
      const shape = y.shape.filter((_, i) => i !== axis);
      return total(operators.map((a, i) => a.adjoint(reshape(narrow(y, axis, i, i + 1), shape))));
    },
    gram: (x) => total(operators.map((a) => a.gram(x))),
    constants: constantsOf(operators),
  });
}

/** x → A₁ x + … + A_k x. */
export function sumOperators(operators: readonly LinearOperator[]): LinearOperator {
  const { inputShape, outputShape } = checkEqual(operators, 'sum');
  return new LinearOperator({
    name: `sum of ${operators.length} operators`,
    inputShape,
    outputShape,
    apply: (x) => total(operators.map((a) => a.apply(x))),
    adjoint: (y) => total(operators.map((a) => a.adjoint(y))),
    constants: constantsOf(operators),
  });
}
