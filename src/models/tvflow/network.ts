/** TVflowNET: one evaluation of a small convolutional network predicts the TV flow of an image at any time, and its dual field. */
import { jvp } from '../../autodiff/index.js';
import { Conv2d, init, Module } from '../../nn/index.js';
import {
  add,
  broadcastTo,
  checkFloat,
  concat,
  div,
  maximum,
  mean,
  mul,
  narrow,
  padMode,
  reshape,
  softplus,
  sqrt,
  square,
  sub,
  sum,
} from '../../ops/index.js';
import { formatShape, full, ones, type Tensor, tidy } from '../../tensor/index.js';
import { checkBoundary, checkPlane, type PhiBoundary, restrictField } from './operators.js';

export interface NetworkOptions {
  /** 'relu+softplus' (default): ReLU after the first layer, softplus after the six that follow; or one of them after all seven (the paper's ablation). */
  activations?: 'relu+softplus' | 'relu' | 'softplus';
  /** What the convolutions see outside the image. Default 'zero'. */
  padding?: 'zero' | 'reflect';
  /** Where φ̂ is set to 0. Default 'natural'. */
  phiBoundary?: PhiBoundary;
  /** φ̂ / max(1, |φ̂|_ε) instead of φ̂: the third term of the loss is then 0. Default false. */
  normalizePhi?: boolean;
  /** Initial weights of the inner layers; the last layer starts a hundred times smaller than He's. Default 'he-uniform'. */
  init?: 'he-uniform' | 'orthogonal';
  /** The network sees f minus its mean: the flow commutes with adding a constant, so must û and φ̂. Default false. */
  centered?: boolean;
  /** What the images' values 0 … 1 are multiplied by before the network sees them; times belong to the scaled images. Default 5. */
  scale?: number;
}

/** A prediction: û [..., h, w] and φ̂ [..., 2, h, w]. */
export interface Prediction {
  u: Tensor;
  phi: Tensor;
}

const FEATURES = 16;
const DEPTH = 8;
/** In |φ|_ε = sqrt(|φ|² + ε²). */
const EPSILON = 1e-4;

const choices = {
  activations: ['relu+softplus', 'relu', 'softplus'],
  padding: ['zero', 'reflect'],
  init: ['he-uniform', 'orthogonal'],
} as const;

/**
 * Eight 3×3 convolutions of 16 channels from (f, t) to (r, φ1, φ2), without downsampling: û = f + r, φ̂ = (φ1, φ2). 14,659 weights. Images of
 * any size, at the scale of the training (`options.scale` times values 0 … 1).
 */
export class TVFlowNet extends Module {
  readonly layers: Conv2d[];
  readonly options: Required<NetworkOptions>;

  constructor(options: NetworkOptions = {}) {
    super();
    const {
      activations = 'relu+softplus',
      padding = 'zero',
      phiBoundary = 'natural',
      normalizePhi = false,
      centered = false,
      scale = 5,
    } = options;
    const chosen = { activations, padding, init: options.init ?? 'he-uniform' };
    for (const [name, values] of Object.entries(choices)) {
      const value = chosen[name as keyof typeof chosen];
      if (!(values as readonly string[]).includes(value)) {
        const list = values.map((v) => `'${v}'`);
        throw new TypeError(`Expected ${list.slice(0, -1).join(', ')} or ${list.at(-1)} for ${name} but received ${String(value)}`);
      }
    }
    if (!(scale > 0) || !Number.isFinite(scale))
      throw new RangeError(`Expected a finite number > 0 for scale but received ${String(scale)}`);
    this.options = {
      ...chosen,
      phiBoundary: checkBoundary(phiBoundary),
      normalizePhi: Boolean(normalizePhi),
      centered: Boolean(centered),
      scale,
    };
    const inner =
      chosen.init === 'orthogonal'
        ? (shape: readonly number[]) => init.orthogonal(shape)
        : (shape: readonly number[]) => init.kaimingUniform(shape);
    // A small last layer: û starts near f.
    const last = (shape: readonly number[]): Tensor => tidy(() => mul(inner(shape), 0.01));
    this.layers = Array.from(
      { length: DEPTH },
      (_, i) =>
        new Conv2d({
          inChannels: i === 0 ? 2 : FEATURES,
          outChannels: i === DEPTH - 1 ? 3 : FEATURES,
          kernelSize: 3,
          padding: padding === 'zero' ? 'same' : 0,
          init: i === DEPTH - 1 ? last : inner,
        }),
    );
  }

  /** The bare convolutions: (f, t) as [n, 2, h, w] → (r, φ1, φ2) as [n, 3, h, w]. */
  override forward(x: Tensor): Tensor {
    const { activations, padding } = this.options;
    return tidy(() => {
      let y = x;
      for (const [i, layer] of this.layers.entries()) {
        const seen =
          padding === 'zero'
            ? y
            : padMode(
                y,
                [
                  [1, 1],
                  [1, 1],
                ],
                'reflect',
              );
        const rectified = i < DEPTH - 1 && (activations === 'relu' || (activations === 'relu+softplus' && i === 0));
        const z = rectified ? layer.forwardRelu(seen) : layer.forward(seen);
        const next = rectified || i === DEPTH - 1 ? z : softplus(z);
        for (const done of [seen, z, y]) if (done !== x && done !== next) done.dispose();
        y = next;
      }
      return y;
    });
  }

  /**
   * û(t) and φ̂(t).
   * @param f [..., h, w], at the network's scale
   * @param t a time, or a tensor with one time per image (in the shape of f's leading axes, or with one element)
   */
  predict(f: Tensor, t: number | Tensor): Prediction {
    return tidy(() => {
      const planes = this.#planes(f);
      return this.#split(planes, this.forward(concat([this.#seen(planes), this.#times(f, planes, t)], 1)), f);
    });
  }

  /** `predict` with ∂û/∂t, by forward-mode differentiation. */
  predictWithDerivative(f: Tensor, t: number | Tensor): Prediction & { ut: Tensor } {
    return tidy(() => {
      const planes = this.#planes(f);
      const [times, seen] = [this.#times(f, planes, t), this.#seen(planes)];
      const { value, tangent } = jvp(
        (s: Tensor) => this.forward(concat([seen, s], 1)),
        [times] as const,
        [ones(times.shape, f.dtype as 'float32')] as const,
      );
      return { ...this.#split(planes, value, f), ut: reshape(narrow(tangent, 1, 0, 1), f.shape) };
    });
  }

  /** [n, 1, h, w] */
  #planes(f: Tensor): Tensor {
    checkFloat(f, 'f');
    checkPlane(f, 'f');
    const [h, w] = f.shape.slice(-2) as [number, number];
    if (this.options.padding === 'reflect' && Math.min(h, w) < 2)
      throw new RangeError(`Expected images of at least 2 × 2 pixels for f but received shape ${formatShape(f.shape)}`);
    return reshape(f, [-1, 1, h, w]);
  }

  #seen(planes: Tensor): Tensor {
    return this.options.centered ? sub(planes, mean(planes, { axes: [-2, -1], keepDims: true })) : planes;
  }

  #times(f: Tensor, planes: Tensor, t: number | Tensor): Tensor {
    if (typeof t === 'number') {
      if (!Number.isFinite(t)) throw new RangeError(`Expected a finite time for t but received ${t}`);
      return full(planes.shape, t, f.dtype);
    }
    checkFloat(t, 't');
    if (t.size !== 1 && t.size !== planes.shape[0])
      throw new RangeError(
        `Expected one time, or one for each of ${planes.shape[0]} images, for t but received shape ${formatShape(t.shape)}`,
      );
    if (t.dtype !== f.dtype) throw new TypeError(`Expected ${f.dtype} for t, as f has, but received ${t.dtype}`);
    return broadcastTo(reshape(t, [-1, 1, 1, 1]), planes.shape);
  }

  #split(planes: Tensor, y: Tensor, f: Tensor): Prediction {
    const { phiBoundary, normalizePhi } = this.options;
    let phi = narrow(y, 1, 1, 3);
    if (normalizePhi) {
      const length = sqrt(add(sum(square(phi), { axes: [1], keepDims: true }), EPSILON ** 2));
      phi = div(phi, maximum(length, 1));
    }
    const [lead, space] = [f.shape.slice(0, -2), f.shape.slice(-2)];
    return {
      u: reshape(add(planes, narrow(y, 1, 0, 1)), f.shape),
      phi: reshape(restrictField(phi, phiBoundary), [...lead, 2, ...space]),
    };
  }
}
