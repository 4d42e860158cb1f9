/** A point of a curve; null is a gap. */
export type Point = readonly [x: number, y: number | null];

/**
 * At most about `limit` points that draw the same picture: in every run of neighbours the lowest and the highest survive,
 * so that spikes stay visible, and gaps and both ends are kept.
 */
export function thin(points: readonly Point[], limit: number): Point[] {
  if (points.length <= limit) return [...points];
  const bucket = Math.ceil((2 * points.length) / limit);
  const kept: Point[] = [];
  for (let start = 0; start < points.length; start += bucket) {
    const end = Math.min(start + bucket, points.length);
    const indices = new Set<number>();
    let [low, high] = [-1, -1];
    for (let i = start; i < end; i++) {
      const y = points[i]![1];
      if (y === null) {
        // One gap per run is enough; it sits where the first one was.
        if (low < 0 || points[i - 1]?.[1] !== null) indices.add(i);
        continue;
      }
      if (low < 0 || y < points[low]![1]!) low = i;
      if (high < 0 || y > points[high]![1]!) high = i;
    }
    if (low >= 0) indices.add(low).add(high);
    if (start === 0) indices.add(0);
    if (end === points.length) indices.add(end - 1);
    for (const i of [...indices].sort((a, b) => a - b)) kept.push(points[i]!);
  }
  return kept;
}
