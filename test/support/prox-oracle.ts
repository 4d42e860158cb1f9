/**
 * Slow, independent solvers of the TV proximal problems: exact coordinate descent is replaced by accelerated projected gradient on the
 * dual, run until nothing changes in float64. They share no idea with the library's solvers.
 */
import { type Reference, reference } from './reference.js';

interface Edge {
  from: number;
  to: number;
  bound: number;
}

/** argmin ½|y - x|² + Σ bound |y_to - y_from| by FISTA with restart on the edge duals. */
export function solveOnGraph(x: readonly number[], edges: readonly Edge[], iterations = 40_000): number[] {
  const degree = new Array<number>(x.length).fill(0);
  for (const { from, to } of edges) {
    degree[from]!++;
    degree[to]!++;
  }
  const step = 1 / (2 * Math.max(1, ...degree));
  let u = new Float64Array(edges.length);
  let v = Float64Array.from(u);
  let t = 1;
  const primal = (dual: Float64Array): Float64Array => {
    const y = Float64Array.from(x);
    edges.forEach(({ from, to }, e) => {
      y[from]! += dual[e]!;
      y[to]! -= dual[e]!;
    });
    return y;
  };
  for (let k = 0; k < iterations; k++) {
    const y = primal(v);
    const next = new Float64Array(edges.length);
    let along = 0;
    let change = 0;
    edges.forEach(({ from, to, bound }, e) => {
      next[e] = Math.min(bound, Math.max(-bound, v[e]! + step * (y[to]! - y[from]!)));
      along += (v[e]! - next[e]!) * (next[e]! - u[e]!);
      change = Math.max(change, Math.abs(next[e]! - u[e]!));
    });
    if (along > 0) {
      t = 1;
      v = Float64Array.from(next);
    } else {
      const tNext = (1 + Math.sqrt(1 + 4 * t * t)) / 2;
      for (let e = 0; e < v.length; e++) v[e] = next[e]! + ((t - 1) / tNext) * (next[e]! - u[e]!);
      t = tNext;
    }
    u = next;
    if (change === 0 && k > 10) break;
  }
  return Array.from(primal(u));
}

/** Lines along axis 1 of [2, n, inner]; lambda [2, 1, 1]; weights [2, n - 1, inner]. */
export function descendProx1d(x: Reference, lambda: Reference, weights: Reference): Reference {
  const [outer, n, inner] = x.shape as [number, number, number];
  const out = new Array<number>(x.data.length);
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < inner; i++) {
      const at = (k: number): number => (o * n + k) * inner + i;
      const line = Array.from({ length: n }, (_, k) => x.data[at(k)] as number);
      const edges = Array.from({ length: n - 1 }, (_, k) => ({
        from: k,
        to: k + 1,
        bound: (lambda.data[o] as number) * (weights.data[(o * (n - 1) + k) * inner + i] as number),
      }));
      solveOnGraph(line, edges).forEach((value, k) => {
        out[at(k)] = value;
      });
    }
  }
  return { shape: x.shape, data: out };
}

/** Edges of a grid of h rows and w columns. */
export function gridEdges(h: number, w: number, rowBound: number, colBound: number): Edge[] {
  const edges: Edge[] = [];
  for (let i = 0; i < h; i++) {
    for (let j = 0; j < w; j++) {
      if (j + 1 < w) edges.push({ from: i * w + j, to: i * w + j + 1, bound: rowBound });
      if (i + 1 < h) edges.push({ from: i * w + j, to: (i + 1) * w + j, bound: colBound });
    }
  }
  return edges;
}

/** Images [batch, h, w]; lambdas [batch] or one. */
export function dualProx2d(x: Reference, rows: Reference, cols: Reference): Reference {
  const [batch, h, w] = x.shape as [number, number, number];
  const pick = (lambda: Reference, b: number): number => lambda.data[lambda.data.length === 1 ? 0 : b] as number;
  const solved = Array.from({ length: batch }, (_, b) =>
    solveOnGraph(x.data.slice(b * h * w, (b + 1) * h * w), gridEdges(h, w, pick(rows, b), pick(cols, b))),
  );
  return reference(x.shape, (_at, flat) => solved[Math.floor(flat / (h * w))]![flat % (h * w)] as number);
}
