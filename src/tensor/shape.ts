/** Shape arithmetic. Shapes are row-major lists of extents. */
export type Shape = readonly number[];

export const MAX_RANK = 8;

export function sizeOf(shape: Shape): number {
  let n = 1;
  for (const extent of shape) n *= extent;
  return n;
}

export function stridesOf(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = step;
    step *= shape[i] as number;
  }
  return strides;
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((extent, i) => extent === b[i]);
}

export function formatShape(shape: Shape): string {
  return `[${shape.join(', ')}]`;
}

/** @throws RangeError or TypeError naming `name` unless the shape is a list of at most 8 extents >= 0. */
export function checkShape(shape: unknown, name = 'shape'): Shape {
  if (!Array.isArray(shape) || !shape.every((extent) => Number.isInteger(extent) && extent >= 0)) {
    throw new TypeError(`Expected a list of integers >= 0 for ${name} but received ${JSON.stringify(shape) ?? String(shape)}`);
  }
  if (shape.length > MAX_RANK) {
    throw new RangeError(`Expected at most ${MAX_RANK} axes for ${name} but received ${shape.length}`);
  }
  return shape as Shape;
}

/** An axis counted from the front; negative axes count from the back. */
export function checkAxis(axis: number, rank: number, name = 'axis'): number {
  if (!Number.isInteger(axis) || axis < -rank || axis >= rank) {
    throw new RangeError(`Expected an integer in [${-rank}, ${rank - 1}] for ${name} but received ${String(axis)}`);
  }
  return axis < 0 ? axis + rank : axis;
}

/** Sorted, distinct axes; all of them when `axes` is undefined. */
export function checkAxes(axes: number | readonly number[] | undefined, rank: number, name = 'axes'): number[] {
  if (axes === undefined) return Array.from({ length: rank }, (_, i) => i);
  const list = (typeof axes === 'number' ? [axes] : [...axes]).map((axis) => checkAxis(axis, rank, name));
  list.sort((a, b) => a - b);
  if (new Set(list).size !== list.length) throw new RangeError(`Expected distinct axes for ${name} but received [${list.join(', ')}]`);
  return list;
}

/** NumPy broadcasting. */
export function broadcastShapes(a: Shape, b: Shape): Shape {
  if (sameShape(a, b)) return a;
  const rank = Math.max(a.length, b.length);
  const shape = new Array<number>(rank);
  for (let i = 1; i <= rank; i++) {
    const p = a[a.length - i] ?? 1;
    const q = b[b.length - i] ?? 1;
    if (p !== q && p !== 1 && q !== 1) {
      throw new RangeError(`Expected shapes that broadcast together but received ${formatShape(a)} and ${formatShape(b)}`);
    }
    shape[rank - i] = p === 1 ? q : p;
  }
  return shape;
}

/** Strides that read a dense tensor of shape `from` as if it had shape `to` (0 along broadcast axes). */
export function broadcastStrides(from: Shape, to: Shape): number[] {
  const strides = new Array<number>(to.length).fill(0);
  let step = 1;
  for (let i = 1; i <= from.length; i++) {
    const extent = from[from.length - i] as number;
    if (extent !== 1) strides[to.length - i] = step;
    step *= extent;
  }
  return strides;
}

/** The [outer, n, inner] view of a dense tensor along one axis. */
export function linesAlong(shape: Shape, axis: number): { outer: number; n: number; inner: number } {
  return { outer: sizeOf(shape.slice(0, axis)), n: shape[axis] as number, inner: sizeOf(shape.slice(axis + 1)) };
}
