import type { Image } from './image.js';
import { Random } from './random.js';

/** One leaf of the dead-leaves model: where it lies, what it looks like. Lengths are in pixels. */
export interface Leaf {
  readonly x: number;
  readonly y: number;
  /** No point of the leaf is farther from the centre. */
  readonly radius: number;
  /** Width of the edge ramp; 1 is plain antialiasing, more looks out of focus. */
  readonly softness: number;
  readonly shape: Ellipse | Polygon;
  /** One value per channel at the centre. */
  readonly colour: readonly number[];
  /** Change of brightness per pixel to the right and down. */
  readonly shade: readonly [number, number];
  readonly texture: Texture | null;
}

interface Ellipse {
  readonly kind: 'ellipse';
  /** Unit vector of the major axis. */
  readonly axis: readonly [number, number];
  readonly major: number;
  readonly minor: number;
}

interface Polygon {
  readonly kind: 'polygon';
  /** Half planes nx * x + ny * y <= d relative to the centre, three numbers each, normals of length 1. */
  readonly edges: Float64Array;
}

/** A pattern over the leaf; (u, v) are pixel offsets from the centre mapped by a 2x2 matrix. */
interface Texture {
  readonly kind: 'waves' | 'noise';
  readonly amplitude: number;
  readonly matrix: readonly [number, number, number, number];
  readonly offset: readonly [number, number];
}

export interface LeafSetting {
  x: number;
  y: number;
  light: { mean: number; contrast: number; tint: readonly number[] };
  textured: number;
}

export function makeLeaf(random: Random, radius: number, { x, y, light, textured }: LeafSetting): Leaf {
  const brightness = light.mean + light.contrast * (random.uniform() - 0.5);
  const gray = light.tint.length === 1;
  const colour = light.tint.map((tint) => brightness + tint + (gray ? 0 : random.normal(0, 0.09)));
  // Shading spans up to a fifth of the range from edge to edge.
  const slope = (random.uniform() < 0.5 ? random.uniform(0, 0.2) : 0) / (2 * radius);
  const direction = random.uniform(0, 2 * Math.PI);
  return {
    x,
    y,
    radius,
    softness: random.uniform() < 0.8 ? 1 : random.uniform(1, 3),
    shape: random.uniform() < 0.6 ? drawEllipse(random, radius) : drawPolygon(random, radius),
    colour,
    shade: [slope * Math.cos(direction), slope * Math.sin(direction)],
    // A texture needs room for a period or two.
    texture: radius > 4 && random.uniform() < textured ? drawTexture(random) : null,
  };
}

function drawEllipse(random: Random, radius: number): Ellipse {
  const angle = random.uniform(0, Math.PI);
  const ratio = random.uniform() < 0.4 ? 1 : random.uniform(0.25, 1);
  return { kind: 'ellipse', axis: [Math.cos(angle), Math.sin(angle)], major: radius, minor: radius * ratio };
}

function drawPolygon(random: Random, radius: number): Polygon {
  // Corners on the circle in jittered equal steps: convex, and never a sliver.
  const corners = 3 + random.int(4);
  const start = random.uniform(0, 2 * Math.PI);
  const angles = Array.from({ length: corners }, (_, i) => start + ((i + random.uniform(-0.3, 0.3)) * 2 * Math.PI) / corners);
  const edges = new Float64Array(3 * corners);
  angles.forEach((from, i) => {
    const to = i + 1 < corners ? angles[i + 1]! : angles[0]! + 2 * Math.PI;
    // The chord's normal points to the middle of its arc; its distance is the cosine of half the arc.
    edges[3 * i] = Math.cos((from + to) / 2);
    edges[3 * i + 1] = Math.sin((from + to) / 2);
    edges[3 * i + 2] = radius * Math.cos((to - from) / 2);
  });
  return { kind: 'polygon', edges };
}

function drawTexture(random: Random): Texture {
  const angle = random.uniform(0, 2 * Math.PI);
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const offset = [random.uniform(0, noiseSide), random.uniform(0, noiseSide)] as const;
  if (random.uniform() < 0.4) {
    // Waves of 3 to 20 pixels; the second row slowly bends the phase.
    const k = (2 * Math.PI) / (3 * (20 / 3) ** random.uniform());
    const matrix = [k * cos, k * sin, -0.1 * k * sin, 0.1 * k * cos] as const;
    return { kind: 'waves', amplitude: random.uniform(0.02, 0.12), matrix, offset };
  }
  // Noise stretched up to fourfold along one direction: wood, cloth, grass.
  const scale = random.uniform(0.5, 1);
  const stretch = random.uniform(0.25, 1);
  const matrix = [scale * cos, scale * sin, -scale * stretch * sin, scale * stretch * cos] as const;
  return { kind: 'noise', amplitude: random.uniform(0.01, 0.06), matrix, offset };
}

/** Below this transmittance a pixel counts as covered. */
const covered = 1 / 512;

/**
 * Adds a leaf under those already painted: colour times coverage times what still passes, and takes the coverage out of
 * `transmittance`.
 * @returns how many pixels it finished
 */
export function paintLeaf(image: Image, transmittance: Float32Array, leaf: Leaf): number {
  const { data, width, height, channels } = image;
  const { shape, softness, shade, texture, colour } = leaf;
  const size = width * height;
  const reach = leaf.radius + softness / 2;
  const top = Math.max(0, Math.ceil(leaf.y - reach));
  const bottom = Math.min(height - 1, Math.floor(leaf.y + reach));
  const left = Math.max(0, Math.ceil(leaf.x - reach));
  const right = Math.min(width - 1, Math.floor(leaf.x + reach));
  let finished = 0;
  for (let row = top; row <= bottom; row++) {
    const dy = row - leaf.y;
    for (let column = left; column <= right; column++) {
      const at = row * width + column;
      const passing = transmittance[at]!;
      if (passing < covered) continue;
      const dx = column - leaf.x;
      const coverage = 0.5 - signedDistance(shape, dx, dy) / softness;
      if (coverage <= 0) continue;
      const weight = coverage < 1 ? passing * coverage : passing;
      const pattern = shade[0] * dx + shade[1] * dy + (texture === null ? 0 : textureAt(texture, dx, dy));
      for (let c = 0, sample = at; c < channels; c++, sample += size) {
        data[sample] = data[sample]! + weight * (colour[c]! + pattern);
      }
      transmittance[at] = passing - weight;
      if (passing - weight < covered) finished++;
    }
  }
  return finished;
}

/** Distance to the edge in pixels, negative inside; near the edge accurate to first order for ellipses. */
function signedDistance(shape: Ellipse | Polygon, dx: number, dy: number): number {
  if (shape.kind === 'ellipse') {
    const { axis, major, minor } = shape;
    const u = (axis[0] * dx + axis[1] * dy) / major;
    const v = (axis[0] * dy - axis[1] * dx) / minor;
    const q = Math.sqrt(u * u + v * v);
    if (q === 0) return -minor;
    // f / |grad f| for f = q - 1, a first-order distance.
    return ((q - 1) * q) / Math.sqrt((u / major) ** 2 + (v / minor) ** 2);
  }
  const { edges } = shape;
  let distance = -Infinity;
  for (let i = 0; i < edges.length; i += 3) {
    const d = edges[i]! * dx + edges[i + 1]! * dy - edges[i + 2]!;
    if (d > distance) distance = d;
  }
  return distance;
}

function textureAt({ kind, amplitude, matrix, offset }: Texture, dx: number, dy: number): number {
  const u = matrix[0] * dx + matrix[1] * dy;
  const v = matrix[2] * dx + matrix[3] * dy;
  if (kind === 'waves') return amplitude * Math.sin(u + Math.sin(v) + offset[0]);
  return amplitude * sampleNoise(u + offset[0], v + offset[1]);
}

const noiseSide = 128;
let noiseTile: Float32Array | undefined;

/** Bilinear sample of the periodic noise tile. */
function sampleNoise(u: number, v: number): number {
  noiseTile ??= makeNoiseTile();
  const mask = noiseSide - 1;
  const fu = Math.floor(u);
  const fv = Math.floor(v);
  const [x0, x1] = [fu & mask, (fu + 1) & mask];
  const [y0, y1] = [(fv & mask) * noiseSide, ((fv + 1) & mask) * noiseSide];
  const s = u - fu;
  const upper = noiseTile[y0 + x0]! * (1 - s) + noiseTile[y0 + x1]! * s;
  const lower = noiseTile[y1 + x0]! * (1 - s) + noiseTile[y1 + x1]! * s;
  return upper + (lower - upper) * (v - fv);
}

/** Periodic fractal noise of unit variance: octaves of smoothly interpolated lattice values. */
function makeNoiseTile(): Float32Array {
  const tile = new Float32Array(noiseSide * noiseSide);
  const random = new Random(0x6c656176);
  for (let cell = 1, amplitude = 1; cell <= 32; cell *= 2, amplitude *= 1.4) {
    const lattice = new Float32Array((noiseSide / cell) ** 2);
    random.addNormal(lattice, amplitude);
    const side = noiseSide / cell;
    for (let y = 0; y < noiseSide; y++) {
      const [j, t] = [Math.floor(y / cell), smoothStep((y % cell) / cell)];
      const [y0, y1] = [j * side, ((j + 1) % side) * side];
      for (let x = 0; x < noiseSide; x++) {
        const [i, s] = [Math.floor(x / cell), smoothStep((x % cell) / cell)];
        const i1 = (i + 1) % side;
        const upper = lattice[y0 + i]! * (1 - s) + lattice[y0 + i1]! * s;
        const lower = lattice[y1 + i]! * (1 - s) + lattice[y1 + i1]! * s;
        tile[y * noiseSide + x] = tile[y * noiseSide + x]! + upper * (1 - t) + lower * t;
      }
    }
  }
  const mean = tile.reduce((sum, v) => sum + v, 0) / tile.length;
  const deviation = Math.sqrt(tile.reduce((sum, v) => sum + (v - mean) ** 2, 0) / tile.length);
  return tile.map((v) => (v - mean) / deviation);
}

function smoothStep(t: number): number {
  return t * t * (3 - 2 * t);
}
