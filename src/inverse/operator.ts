/** Linear operators between images and measurements, each with its exact adjoint, and how they combine. */
import { add, checkFloat, mul, type Operand, reciprocal } from '../ops/index.js';
import { checkShape, formatShape, type Shape, sameShape, type Tensor, tidy } from '../tensor/index.js';

export interface OperatorSpec {
  /** What error sentences call the operator. */
  name: string;
  /** Trailing axes of the operator's argument and of its result; leading axes are a batch. [] means any shape, elementwise. */
  inputShape: Shape;
  outputShape: Shape;
  /** [..., inputShape] → [..., outputShape], linear, in differentiable operations. */
  apply(x: Tensor): Tensor;
  /** The exact transpose: <apply(x), y> = <x, adjoint(y)>. */
  adjoint(y: Tensor): Tensor;
  /** adjoint(apply(x)), where there is a shorter way. */
  gram?(x: Tensor): Tensor;
  /** (Id + τ AᵀA)⁻¹ v in closed form, where there is one; τ > 0 is a number or a tensor of rank 0. */
  resolvent?(v: Tensor, tau: Operand): Tensor;
  /** Tensors that the operator keeps (kernels, masks, maps). `tidy` keeps them with the operator. */
  constants?: readonly Tensor[];
}

/**
 * A linear operator A: [..., inputShape] → [..., outputShape] on float32 and float64 tensors. Everything is differentiable: the derivative
 * of `apply` is `apply`, its transpose is `adjoint`. An operator owns its constants: dispose it, or let a `tidy` scope do so.
 */
export class LinearOperator {
  readonly name: string;
  readonly inputShape: Shape;
  readonly outputShape: Shape;
  readonly #spec: OperatorSpec;

  constructor(spec: OperatorSpec) {
    this.name = spec.name;
    this.inputShape = [...checkShape(spec.inputShape, 'inputShape')];
    this.outputShape = [...checkShape(spec.outputShape, 'outputShape')];
    this.#spec = spec;
  }

  /** A x. @throws RangeError unless x ends in `inputShape` */
  apply(x: Tensor): Tensor {
    checkTrailing(x, this.inputShape, 'x', this.name);
    return tidy(() => this.#spec.apply(x));
  }

  /** Aᵀ y. @throws RangeError unless y ends in `outputShape` */
  adjoint(y: Tensor): Tensor {
    checkTrailing(y, this.outputShape, 'y', `the adjoint of ${this.name}`);
    return tidy(() => this.#spec.adjoint(y));
  }

  /** AᵀA x. */
  gram(x: Tensor): Tensor {
    checkTrailing(x, this.inputShape, 'x', this.name);
    return tidy(() => this.#spec.gram?.(x) ?? this.#spec.adjoint(this.#spec.apply(x)));
  }

  /** Whether (Id + τ AᵀA)⁻¹ has a closed form. `resolvent(A, v, τ)` uses it, and conjugate gradients otherwise. */
  get hasResolvent(): boolean {
    return this.#spec.resolvent !== undefined;
  }

  /** @internal (Id + τ AᵀA)⁻¹ v by the closed form. */
  closedResolvent(v: Tensor, tau: Operand): Tensor {
    const { resolvent } = this.#spec;
    if (resolvent === undefined) throw new Error(`Expected an operator with a closed form but received ${this.name}`);
    checkTrailing(v, this.inputShape, 'v', this.name);
    return tidy(() => resolvent(v, tau));
  }

  /** Aᵀ as an operator. It shares this operator's constants. */
  get transposed(): LinearOperator {
    const { name, inputShape, outputShape, apply, adjoint, constants = [] } = this.#spec;
    return new LinearOperator({
      name: `${name}ᵀ`,
      inputShape: outputShape,
      outputShape: inputShape,
      apply: (y) => adjoint.call(this.#spec, y),
      adjoint: (x) => apply.call(this.#spec, x),
      constants,
    });
  }

  /** A B: `inner` first. @throws RangeError unless B's results are arguments of A */
  compose(inner: LinearOperator): LinearOperator {
    // Elementwise operators of any shape take the other's.
    const free = this.inputShape.length === 0;
    if (!free && inner.outputShape.length > 0 && !sameShape(this.inputShape, inner.outputShape)) {
      throw new RangeError(
        `Expected an operator with results of shape ${formatShape(this.inputShape)} to compose with ${this.name} but received ${inner.name} with ${formatShape(inner.outputShape)}`,
      );
    }
    return new LinearOperator({
      name: `${this.name} ∘ ${inner.name}`,
      inputShape: inner.outputShape.length === 0 ? this.inputShape : inner.inputShape,
      outputShape: free ? inner.outputShape : this.outputShape,
      apply: (x) => this.apply(inner.apply(x)),
      adjoint: (y) => inner.adjoint(this.adjoint(y)),
      gram: (x) => inner.adjoint(this.gram(inner.apply(x))),
      constants: [...this.#constants, ...inner.#constants],
    });
  }

  /** c A for a number or a tensor of rank 0; differentiable in c. */
  scale(c: Operand): LinearOperator {
    if (typeof c !== 'number' && c.rank !== 0)
      throw new RangeError(`Expected a number or a tensor of rank 0 for c but received shape ${formatShape(c.shape)}`);
    const squared = typeof c === 'number' ? c * c : mul(c, c);
    const { resolvent } = this.#spec;
    return new LinearOperator({
      name: typeof c === 'number' ? `${c} ${this.name}` : `c ${this.name}`,
      inputShape: this.inputShape,
      outputShape: this.outputShape,
      apply: (x) => mul(this.apply(x), c),
      adjoint: (y) => mul(this.adjoint(y), c),
      gram: (x) => mul(this.gram(x), squared),
      ...(resolvent && {
        resolvent: (v: Tensor, tau: Operand) =>
          resolvent.call(this.#spec, v, typeof tau === 'number' && typeof squared === 'number' ? tau * squared : mul(tau, squared)),
      }),
      constants: [...this.#constants, ...(typeof c === 'number' ? [] : [c, squared as Tensor])],
    });
  }

  get #constants(): readonly Tensor[] {
    return this.#spec.constants ?? [];
  }

  get disposed(): boolean {
    return this.#constants.some((constant) => constant.disposed);
  }

  /** Frees the constants. */
  dispose(): void {
    for (const constant of this.#constants) if (!constant.disposed) constant.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @internal What a scope keeps when it returns the operator. */
  heldValues(): readonly unknown[] {
    return this.#constants;
  }
}

/** @throws TypeError or RangeError unless `x` is a floating-point tensor whose last axes are `shape` */
export function checkTrailing(x: Tensor, shape: Shape, name: string, where: string): void {
  checkFloat(x, name);
  if (x.rank < shape.length || !sameShape(x.shape.slice(x.rank - shape.length), shape)) {
    throw new RangeError(
      `Expected a tensor that ends in ${formatShape(shape)} for ${name} of ${where} but received shape ${formatShape(x.shape)}`,
    );
  }
}

/** An operator from its two functions. `apply` must be linear and `adjoint` its exact transpose: `adjointError` measures that. */
export function linearOperator(spec: OperatorSpec): LinearOperator {
  return new LinearOperator(spec);
}

/** Id on tensors of any shape. */
export function identity(): LinearOperator {
  return new LinearOperator({
    name: 'identity',
    inputShape: [],
    outputShape: [],
    apply: (x) => x.own(),
    adjoint: (y) => y.own(),
    resolvent: (v, tau) => mul(v, reciprocalOf(tau)),
  });
}

/** 1 / (1 + τ) */
const reciprocalOf = (tau: Operand): Operand => (typeof tau === 'number' ? 1 / (1 + tau) : reciprocal(add(tau, 1)));
