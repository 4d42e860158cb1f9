/** Plain float64 arrays and loops: the yardstick of the table of primitives. */
import { broadcastShapes, broadcastStrides } from '../../src/tensor/index.js';

export interface Reference {
  shape: readonly number[];
  data: number[];
}

/** Fills a shape from a function of the multi-index (and the flat one). */
export function reference(shape: readonly number[], at: (index: number[], flat: number) => number): Reference {
  const size = shape.reduce((a, b) => a * b, 1);
  const data = Array.from({ length: size }, (_, flat) => {
    const index = new Array<number>(shape.length);
    let rest = flat;
    for (let i = shape.length - 1; i >= 0; i--) {
      index[i] = rest % (shape[i] as number);
      rest = Math.floor(rest / (shape[i] as number));
    }
    return at(index, flat);
  });
  return { shape: [...shape], data };
}

export const map1 = (x: Reference, f: (v: number) => number): Reference => ({ shape: x.shape, data: x.data.map(f) });

export function map2(a: Reference, b: Reference, f: (x: number, y: number, at: number[]) => number): Reference {
  const shape = broadcastShapes(a.shape, b.shape);
  const [p, q] = [broadcastStrides(a.shape, shape), broadcastStrides(b.shape, shape)];
  const offset = (at: number[], strides: number[]): number => at.reduce((s, i, k) => s + i * (strides[k] as number), 0);
  return reference(shape, (at) => f(a.data[offset(at, p)] as number, b.data[offset(at, q)] as number, at));
}
