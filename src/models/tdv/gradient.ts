/**
 * ∇R(x) = Kᵀ N'(K x)ᵀ w / m by hand (specification §2.7). It equals the engine's gradient of energy.ts and spares three things: values that
 * are not needed for the gradient, passes over memory (φ' and the product with it are one), and the first convolution of the way back,
 * whose argument is constant over the image. It is made of primitives, so that training differentiates through it.
 */
import {
  add,
  broadcastTo,
  convReplicate2d,
  convReplicateTranspose2d,
  gather,
  logStudent,
  logStudentSlope,
  mul,
  reshape,
  sum,
} from '../../ops/index.js';
import { type Tensor, tidy } from '../../tensor/index.js';
import { checkImages, down, up, variationOf } from './energy.js';
import type { MacroWeights, MicroWeights, Weights } from './weights.js';

/** K1 x of a micro-block, all that its way back needs. */
type Inner = Tensor;

/** The five inner values of a macro-block, in the order of the forward pass. */
type Trail = readonly [Inner, Inner, Inner, Inner, Inner];

const weightsAt = (block: MacroWeights, scale: number, i: number): MicroWeights =>
  (block.micro[scale] as readonly MicroWeights[])[i] as MicroWeights;

const finish = (x: Tensor, inner: Inner, { K2 }: MicroWeights, nu: number): Tensor =>
  tidy(() => add(x, convReplicate2d(logStudent(inner, nu), K2)));

/** The features after a macro-block (absent after the last one) and its inner values. */
function forward(
  [x0, x1, x2]: readonly [Tensor, Tensor | null, Tensor | null],
  block: MacroWeights,
  nu: number,
  last: boolean,
): { features: [Tensor, Tensor, Tensor] | null; trail: Trail } {
  const [down0, down1] = block.down as [Tensor, Tensor];
  const [up0, up1] = block.up as [Tensor, Tensor];
  const micro = (x: Tensor, scale: number, i: number): [Tensor, Inner] => {
    const w = weightsAt(block, scale, i);
    const inner = convReplicate2d(x, w.K1);
    return [finish(x, inner, w, nu), inner];
  };
  const [a0, h00] = micro(x0, 0, 0);
  const d0 = down(a0, down0);
  const [a1, h10] = micro(x1 === null ? d0 : add(x1, d0), 1, 0);
  const d1 = down(a1, down1);
  const [a2, h20] = micro(x2 === null ? d1 : add(x2, d1), 2, 0);
  const [b1, h11] = micro(add(a1, up(a2, up1, a1)), 1, 1);
  const c0 = add(a0, up(b1, up0, a0));
  const w01 = weightsAt(block, 0, 1);
  const h01 = convReplicate2d(c0, w01.K1);
  return { features: last ? null : [finish(c0, h01, w01, nu), b1, a2], trail: [h00, h10, h20, h11, h01] };
}

/** g + K1ᵀ (φ'(inner) · back) with back = K2ᵀ g. */
const backInner = (g: Tensor, back: Tensor, inner: Inner, { K1 }: MicroWeights, nu: number): Tensor =>
  tidy(() => add(g, convReplicateTranspose2d(logStudentSlope(inner, back, nu), K1)));

const microBack = (g: Tensor, inner: Inner, w: MicroWeights, nu: number): Tensor =>
  tidy(() => backInner(g, convReplicateTranspose2d(g, w.K2), inner, w, nu));

/** The convolution of features that are constant over the image, from its value on 3×3 pixels: border, inside, border. */
function constantBack(g: Tensor, K2: Tensor, like: Tensor): Tensor {
  return tidy(() => {
    const [, , h, w] = like.shape as [number, number, number, number];
    const small = convReplicateTranspose2d(broadcastTo(g, [1, g.shape[1] as number, 3, 3]), K2);
    const zones = (n: number): Int32Array => Int32Array.from({ length: n }, (_, i) => (i === 0 ? 0 : i === n - 1 ? 2 : 1));
    // Columns first: what is gathered last are whole rows.
    return broadcastTo(gather(gather(small, zones(w), 3), zones(h), 2), like.shape);
  });
}

/** Cotangents of a macro-block's features; of the last one's, x0's alone, which is constant over the image. */
type Cotangents = readonly [Tensor, Tensor, Tensor] | { readonly constant: Tensor };

/** The way back through a macro-block. */
function backward(g: Cotangents, block: MacroWeights, [h00, h10, h20, h11, h01]: Trail, nu: number): [Tensor, Tensor, Tensor] {
  const [down0, down1] = block.down as [Tensor, Tensor];
  const [up0, up1] = block.up as [Tensor, Tensor];
  const from = 'constant' in g ? null : g;
  const w01 = weightsAt(block, 0, 1);
  const b0 = 'constant' in g ? backInner(g.constant, constantBack(g.constant, w01.K2, h01), h01, w01, nu) : microBack(g[0], h01, w01, nu);
  const u0 = down(b0, up0);
  const b1 = microBack(from === null ? u0 : add(from[1], u0), h11, weightsAt(block, 1, 1), nu);
  const u1 = down(b1, up1);
  const a2 = microBack(from === null ? u1 : add(from[2], u1), h20, weightsAt(block, 2, 0), nu);
  const a1 = microBack(add(b1, up(a2, down1, b1)), h10, weightsAt(block, 1, 0), nu);
  const a0 = microBack(add(b0, up(a1, down0, b0)), h00, weightsAt(block, 0, 0), nu);
  return [a0, a1, a2];
}

/** ∇R(x) of images [n, channels, h, w], in their shape. */
export function energyGradient(weights: Weights, x: Tensor, nu: number): Tensor {
  return tidy(() => run(weights, x, nu, false).gradient);
}

/** R of each image, [n], and ∇R(x), from one pass forward and one back. */
export function energyAndGradient(weights: Weights, x: Tensor, nu: number): { energy: Tensor; gradient: Tensor } {
  return tidy(() => {
    const { features, gradient } = run(weights, x, nu, true);
    return { energy: sum(variationOf(features as Tensor, weights.w), { axes: [1, 2, 3] }), gradient };
  });
}

/** The last features at full scale are made when they are asked for. */
function run(weights: Weights, x: Tensor, nu: number, withFeatures: boolean): { features: Tensor | null; gradient: Tensor } {
  checkImages(x, weights);
  const { blocks, K, w } = weights;
  const trails: Trail[] = [];
  let features: readonly [Tensor, Tensor | null, Tensor | null] = [convReplicate2d(x, K), null, null];
  blocks.forEach((block, a) => {
    const last = a === blocks.length - 1 && !withFeatures;
    const result = tidy(() => forward(features, block, nu, last));
    trails.push(result.trail);
    if (result.features !== null) features = result.features;
  });
  const m = w.shape[1] as number;
  let g: Cotangents = { constant: reshape(mul(w, 1 / m), [1, m, 1, 1]) };
  for (let a = blocks.length - 1; a >= 0; a--) {
    const behind: Cotangents = g;
    g = tidy(() => backward(behind, blocks[a] as MacroWeights, trails[a] as Trail, nu));
  }
  return { features: withFeatures ? features[0] : null, gradient: convReplicateTranspose2d((g as readonly Tensor[])[0] as Tensor, K) };
}
