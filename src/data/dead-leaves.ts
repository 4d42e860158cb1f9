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
  const tailRatio = 1 - (minRadius / maxRadius) ** 2;
  while (open > enough) {
    // Inverse of the distribution function of the density r^-3 on [minRadius, maxRadius].
    const radius = minRadius / Math.sqrt(1 - random.uniform() * tailRatio);
    // Leaves of all sizes fall with the same density over the plane; those that can touch the picture have their
    // centre in a rectangle that grows with the radius, hence the acceptance by its area.
    const reach = (width + 2 * radius) * (height + 2 * radius);
    if (random.uniform(0, (width + 2 * maxRadius) * (height + 2 * maxRadius)) > reach) continue;
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

/** Brightness, contrast and colour cast of one picture. */
function drawLight(random: Random, channels: number): { mean: number; contrast: number; tint: number[] } {
  const mean = random.uniform(0.3, 0.65);
  const contrast = random.uniform(0.5, 1);
  const tint = Array.from({ length: channels }, () => (channels === 1 ? 0 : random.normal(0, 0.04)));
  return { mean, contrast, tint };
}
