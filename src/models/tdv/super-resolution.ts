/**
 * Single-image super-resolution (specification §11): the unrolled scheme with A = MATLAB's bicubic imresize by 1/2, 1/3 or 1/4. Its B⁻¹ has no
 * closed form: seven steps of conjugate gradients from the last state, and as many on the way back.
 */
import { customJvp } from '../../autodiff/index.js';
import type { TrainingBatch } from '../../data/index.js';
import { bicubicResize, type LinearOperator } from '../../inverse/index.js';
import { conjugateGradients } from '../../linalg/index.js';
import { add, div, mean, mul, sqrt, square, stopGradient, sub } from '../../ops/index.js';
import { type ParameterGroup, projections } from '../../optim/index.js';
import { type Tensor, tidy } from '../../tensor/index.js';
import type { Trainer } from '../../train/index.js';
import { type PatchTrainingOptions, patchTrainer } from '../patch-trainer.js';
import { describeNetwork } from './load.js';
import { INITIAL_SR_WEIGHT, type VariationalNetwork } from './network.js';
import { constraints } from './training.js';

/** Conjugate gradients of x_0, and of every step of the scheme. */
const FIRST_STEPS = 3;
const STEPS = 7;
/** ε of the regularised l1 norm. */
const EPSILON = 1e-3;

/** z = A y: bicubic downsampling of images of this size by an integer factor that divides both sides. */
export function downsampling(size: readonly [number, number], scale: number): LinearOperator {
  if (!Number.isInteger(scale) || scale < 2) throw new RangeError(`Expected an integer >= 2 for scale but received ${String(scale)}`);
  if (size.some((n) => n % scale !== 0)) {
    throw new RangeError(`Expected sides that are multiples of ${scale} for size but received ${size.join(' x ')}`);
  }
  return bicubicResize(size, { scale: 1 / scale });
}

/** x_0: three steps of conjugate gradients on ½|A x - z|² from bicubic interpolation. */
export function initialImage(operator: LinearOperator, z: Tensor): Tensor {
  const [size, small] = [operator.inputShape, operator.outputShape] as [[number, number], [number, number]];
  return tidy(() => {
    const start = bicubicResize(small, { size }).apply(z);
    return conjugateGradients((x) => operator.gram(x), operator.adjoint(z), { start, iterations: FIRST_STEPS, axes: 2 });
  });
}

/**
 * The images behind z, by a network for this factor. Differentiable in the network's parameters.
 * @param operator as `downsampling` makes it
 * @param z small images [n, channels, h, w]
 * @throws RangeError when the network is for another factor
 */
export function superResolve(network: VariationalNetwork, operator: LinearOperator, z: Tensor): Tensor {
  const { scale } = network.options;
  const factor = (operator.inputShape[0] as number) / (operator.outputShape[0] as number);
  if (factor !== scale) throw new RangeError(`Expected an operator for the network's scale ${scale} but received one for ${factor}`);
  return tidy(() =>
    network.run(z, { operator, initial: initialImage(operator, z), conjugateGradients: { iterations: STEPS, tolerance: 1e-6 } }),
  );
}

/** λ is some hundreds here (|AᵀA| is about 1 / scale²): it moves in proportion. */
const groups: readonly ParameterGroup[] = [
  { match: /^lmbda$/, learningRateScale: INITIAL_SR_WEIGHT, project: projections.clamp(0, 1000) },
  ...constraints,
];

export type SuperResolutionTrainingOptions = Omit<PatchTrainingOptions, 'model' | 'description' | 'groups' | 'loss' | 'settings'> & {
  model: VariationalNetwork;
};

/**
 * A trainer that minimises the regularised l1 norm, mean sqrt(u² + ε²) with ε = 1e-3, of the errors u of the patches that it makes small
 * and large again; the patches' side must be a multiple of the network's scale. The log's metrics are `psnr` of the batch, `T` and
 * `lambda`. Learning rate 1e-3 unless given.
 */
export function superResolutionTrainer({ model, source, ...options }: SuperResolutionTrainingOptions): Trainer<TrainingBatch, Tensor> {
  const { scale } = model.options;
  // Refuses a side that is no multiple of the scale, before the training.
  downsampling([source.patchSize, source.patchSize], scale).dispose();
  // d mean sqrt(u² + ε²) = mean(u du / sqrt(u² + ε²)).
  const l1 = customJvp(
    (u: Tensor) => mean(sqrt(add(square(u), EPSILON ** 2))),
    ([u], [du]) => {
      const length = sqrt(add(square(u), EPSILON ** 2));
      return { value: mean(length), tangent: mean(mul(div(u, length), du)) };
    },
  );
  return patchTrainer({
    learningRate: 1e-3,
    ...options,
    model,
    source,
    description: describeNetwork(model),
    groups,
    settings: { scale },
    loss: (_, target) => {
      const operator = downsampling([source.patchSize, source.patchSize], scale);
      const error = sub(superResolve(model, operator, operator.apply(target)), target);
      return {
        loss: l1(error),
        values: { mse: mean(square(stopGradient(error))) },
        metrics: (_, values) => ({
          psnr: -10 * Math.log10(values.mse as number),
          T: model.T.value.item(),
          ...(model.lmbda && { lambda: model.lmbda.value.item() }),
        }),
      };
    },
  });
}
