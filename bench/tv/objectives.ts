/** Objectives of total variation in float64, and certificates of lines. */

type Samples = Float32Array | Float64Array;

/** ½|y - x|² + λ Σ |differences along every axis|; row-major, any number of axes. */
export function objective(x: Samples, y: Samples, shape: readonly number[], lambda: number): number {
  let fidelity = 0;
  for (let i = 0; i < x.length; i++) fidelity += 0.5 * ((y[i] as number) - (x[i] as number)) ** 2;
  let variation = 0;
  let stride = x.length;
  for (const extent of shape) {
    const block = stride;
    stride /= extent;
    for (let begin = 0; begin < x.length; begin += block)
      for (let i = begin; i + stride < begin + block; i++) variation += Math.abs((y[i + stride] as number) - (y[i] as number));
  }
  return fidelity + lambda * variation;
}

/**
 * The objective of y over lines of `length` samples in a row, and its duality gap with a feasible dual made from y: cumulative sums that
 * start anew at every jump, where the dual is ±λ (only such a dual stays tight over 1e8 rounded values).
 */
export function certify(x: Samples, y: Samples, length: number, lambda: number): { objective: number; gap: number } {
  let [total, gap] = [0, 0];
  for (let begin = 0; begin < x.length; begin += length) {
    const end = begin + length;
    let before = 0;
    for (let i = begin; i < end; i++) {
      const [xi, yi] = [x[i] as number, y[i] as number];
      const jump = i + 1 < end ? (y[i + 1] as number) - yi : 0;
      // y = x - Dᵀu: u_k = u_{k-1} - (x_k - y_k)
      let u = before - (xi - yi);
      if (i + 1 === end) u = 0;
      else if (jump !== 0) u = Math.sign(jump) * lambda;
      else u = Math.min(lambda, Math.max(-lambda, u));
      const off = yi - (xi - before + u);
      gap += 0.5 * off * off + lambda * Math.abs(jump) - u * jump;
      total += 0.5 * (xi - yi) ** 2 + lambda * Math.abs(jump);
      before = u;
    }
  }
  return { objective: total, gap };
}
