import { type Image, makeImage } from './image.js';
import { type Leaf, makeLeaf, paintLeaf } from './leaves.js';
import { Random } from './random.js';

export interface DeadLeavesOptions {
  height: number;
  width: number;
  /** 1: gray (default), 3: colour. */
  channels?: 1 | 3;
  /** The picture is a function of the seed and the other options; 0 by default. */
  seed?: number;
  /** Smallest radius in pixels. By default drawn per picture, log-uniformly from 1 to 5: from cluttered to calm. */
  minRadius?: number;
  /** Largest radius in pixels; by default half the longer side. */
  maxRadius?: number;
  /** Fraction of the leaves that carry a texture, 0 to 1; 0.3 by default. */
  textured?: number;
}

/**
 * A picture with the statistics of natural images, made without any photograph: the dead-leaves model (Matheron 1968;
 * Lee, Mumford, Huang, "Occlusion models for natural images", IJCV 2001). Opaque leaves with radii of density r^-3,
 * which makes the picture scale-invariant with a power spectrum near 1/f^2, fall at random places until everything is
 * covered. Leaves are discs, ellipses and convex polygons with soft edges, shading, and sometimes a texture.
 *
 * The newest leaf is painted first and older ones show only where light still passes: only visible pixels cost time,
 * and the result is an exact sample of the infinite process (Kendall and Thonnes, "Perfect simulation in stochastic
 * geometry", 1999).
 *
 * @returns values 0 … 1
 */
export function deadLeaves(options: DeadLeavesOptions): Image {
  const { height, width, channels = 1, seed = 0, textured = 0.3 } = options;
  const out = makeImage(channels, height, width);
  const random = new Random(seed);
  const minRadius = options.minRadius ?? 5 ** random.uniform();
  const maxRadius = options.maxRadius ?? Math.max(width, height, 2 * minRadius) / 2;
  if (!(minRadius > 0 && minRadius <= maxRadius && maxRadius < Infinity)) {
    throw new RangeError(`Expected 0 < minRadius <= maxRadius for the radii but received ${minRadius} and ${maxRadius}`);
  }
  if (!(textured >= 0 && textured <= 1)) throw new RangeError(`Expected 0 to 1 for textured but received ${textured}`);

  const light = drawLight(random, channels);
  // What still passes through the leaves painted so far; a pixel is finished below one half level of 8 bits.
  const transmittance = new Float32Array(height * width).fill(1);
  let open = height * width;
  // The last pixels would take most of the time: the background takes 1 in 1000.
  const enough = Math.floor(open / 1000);
  const drawRadius = radiusSampler(minRadius, maxRadius, height, width);
  while (open > enough) {
    const radius = drawRadius(random);
    const leaf: Leaf = makeLeaf(random, radius, {
      x: random.uniform(-radius, width + radius),
      y: random.uniform(-radius, height + radius),
      light,
      textured,
    });
    open -= paintLeaf(out, transmittance, leaf);
  }
  const size = height * width;
  for (let c = 0; c < channels; c++) {
    const background = light.mean + light.tint[c]!;
    for (let i = 0, at = c * size; i < size; i++, at++) {
      const value = out.data[at]! + transmittance[i]! * background;
      out.data[at] = Math.min(Math.max(value, 0), 1);
    }
  }
  return out;
}

/**
 * Draws radii of the leaves that touch the picture. Leaves fall with density r^-3 everywhere on the plane, and one of radius r can touch
 * when its centre lies in a rectangle of (width + 2r) x (height + 2r): the product is a mixture of r^-3, r^-2 and r^-1 on
 * [low, high], each with a distribution function that inverts in closed form.
 */
function radiusSampler(low: number, high: number, height: number, width: number): (random: Random) => number {
  const cubic = (width * height * (low ** -2 - high ** -2)) / 2;
  const quadratic = 2 * (width + height) * (1 / low - 1 / high);
  const reciprocal = 4 * Math.log(high / low);
  const total = cubic + quadratic + reciprocal;
  return (random) => {
    const component = random.uniform(0, total);
    const u = random.uniform();
    if (component < cubic) return (low ** -2 - u * (low ** -2 - high ** -2)) ** -0.5;
    if (component < cubic + quadratic) return 1 / (1 / low - u * (1 / low - 1 / high));
    return low * (high / low) ** u;
  };
}

/** Brightness, contrast and colour cast of one picture. */
function drawLight(random: Random, channels: number): { mean: number; contrast: number; tint: number[] } {
  const mean = random.uniform(0.3, 0.65);
  const contrast = random.uniform(0.5, 1);
  const tint = Array.from({ length: channels }, () => (channels === 1 ? 0 : random.normal(0, 0.04)));
  return { mean, contrast, tint };
}
