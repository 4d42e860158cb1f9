/** The weights of the regulariser as a tree of tensors: what the energy and its gradient are functions of. */
import type { Tensor } from '../../tensor/index.js';

/** x + K2 φ(K1 x) */
export type MicroWeights = { readonly K1: Tensor; readonly K2: Tensor };

/** A U-Net of three scales; see `macroBlock` in energy.ts for the order. */
export type MacroWeights = {
  /** Micro-blocks by scale: two, two, one. */
  readonly micro: readonly (readonly MicroWeights[])[];
  /** From scale i to i + 1: [coarse, fine, 3, 3]. */
  readonly down: readonly Tensor[];
  /** From scale i + 1 to i, as the adjoint of such a map: [coarse, fine, 3, 3]. */
  readonly up: readonly Tensor[];
};

export type Weights = {
  /** [m, channels, 3, 3] */
  readonly K: Tensor;
  readonly blocks: readonly MacroWeights[];
  /** [1, m, 1, 1] */
  readonly w: Tensor;
};

/** Micro-blocks on each scale of a macro-block. */
export const MICRO_BLOCKS = [2, 2, 1] as const;
export const SCALES = MICRO_BLOCKS.length;

/** Smallest side of an image: the coarsest feature map that is blurred must still hold one reflection of three pixels. */
export const SMALLEST_SIDE = 5;
