/**
 * The deep variation r(x) = (1/m) wᵀ N(K x) of every pixel (specification §2; Kobler et al. 2020), written once. Its gradient in x is what
 * the engine derives; gradient.ts has the same by hand.
 */
import { add, conv2d, convReplicate2d, convTranspose2d, logStudent, mul, scaleBlur, scaleBlurAdjoint, sum } from '../../ops/index.js';
import { formatShape, type Tensor, tidy } from '../../tensor/index.js';
import { type MacroWeights, type MicroWeights, SMALLEST_SIDE, type Weights } from './weights.js';

/** Down to ceil(h/2) × ceil(w/2): blur, then a 3×3 convolution of stride 2. k: [coarse, fine, 3, 3]. */
export function down(x: Tensor, k: Tensor): Tensor {
  return tidy(() => conv2d(scaleBlur(x), k, { stride: 2 }));
}

/** The exact adjoint of `down` with the same k, to images like `fine`. */
export function up(y: Tensor, k: Tensor, fine: Tensor): Tensor {
  return tidy(() => {
    const outputPadding = [2, 3].map((axis) => ((fine.shape[axis] as number) + 1) % 2);
    return scaleBlurAdjoint(convTranspose2d(y, k, { stride: 2, outputPadding }));
  });
}

/** x + K2 φ(K1 x) */
export function microBlock(x: Tensor, { K1, K2 }: MicroWeights, nu: number): Tensor {
  return tidy(() => add(x, convReplicate2d(logStudent(convReplicate2d(x, K1), nu), K2)));
}

/** The features of all scales; those of the coarser ones are absent before the first macro-block. */
export type Features = readonly [Tensor, Tensor | null, Tensor | null];

const plus = (a: Tensor | null, b: Tensor): Tensor => (a === null ? b : add(a, b));

/** One macro-block: the features of its three scales. */
export function macroBlock([x0, x1, x2]: Features, block: MacroWeights, nu: number): [Tensor, Tensor, Tensor] {
  const micro = (x: Tensor, scale: number, i: number): Tensor =>
    microBlock(x, (block.micro[scale] as readonly MicroWeights[])[i] as MicroWeights, nu);
  const [down0, down1] = block.down as [Tensor, Tensor];
  const [up0, up1] = block.up as [Tensor, Tensor];
  const a0 = micro(x0, 0, 0);
  const a1 = micro(plus(x1, down(a0, down0)), 1, 0);
  const a2 = micro(plus(x2, down(a1, down1)), 2, 0);
  const b1 = micro(add(a1, up(a2, up1, a1)), 1, 1);
  const b0 = micro(add(a0, up(b1, up0, a0)), 0, 1);
  return [b0, b1, a2];
}

/** @throws RangeError unless x is [n, channels, h, w] with the channels of the weights and sides of at least 5 */
export function checkImages(x: Tensor, { K }: Weights): void {
  if (x.rank !== 4 || x.shape[1] !== K.shape[1]) {
    throw new RangeError(`Expected images [n, ${K.shape[1]}, height, width] for x but received shape ${formatShape(x.shape)}`);
  }
  if ((x.shape[2] as number) < SMALLEST_SIDE || (x.shape[3] as number) < SMALLEST_SIDE) {
    throw new RangeError(
      `Expected images of at least ${SMALLEST_SIDE} × ${SMALLEST_SIDE} pixels for x but received ${x.shape[2]} × ${x.shape[3]}`,
    );
  }
}

/** (1/m) wᵀ features */
export function variationOf(features: Tensor, w: Tensor): Tensor {
  return tidy(() => mul(conv2d(features, w), 1 / (w.shape[1] as number)));
}

/** r(x): [n, channels, h, w] → [n, 1, h, w]. */
export function deepVariation(weights: Weights, x: Tensor, nu: number): Tensor {
  checkImages(x, weights);
  return tidy(() => {
    let features: Features = [convReplicate2d(x, weights.K), null, null];
    for (const block of weights.blocks) features = macroBlock(features, block, nu);
    return variationOf(features[0], weights.w);
  });
}

/** R(x) = Σ r(x) of each image: [n]. */
export function energy(weights: Weights, x: Tensor, nu: number): Tensor {
  return tidy(() => sum(deepVariation(weights, x, nu), { axes: [1, 2, 3] }));
}
