import type { Image } from '../../src/data/image.js';

/**
 * The exponent s of the radially averaged power spectrum ~ f^s, by least squares on logarithms over the frequencies
 * `from` … `to` (cycles per picture). Square gray pictures of one size, Hann window against the jump at the border.
 */
export function radialSpectrumSlope(pictures: readonly Image[], from: number, to: number): number {
  const n = pictures[0]!.width;
  const power = new Float64Array(to + 1);
  const count = new Float64Array(to + 1);
  const hann = Float64Array.from({ length: n }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * (i + 0.5)) / n));
  const cos = Float64Array.from({ length: n }, (_, i) => Math.cos((2 * Math.PI * i) / n));
  const sin = Float64Array.from({ length: n }, (_, i) => Math.sin((2 * Math.PI * i) / n));
  for (const { data } of pictures) {
    const mean = data.reduce((s, v) => s + v, 0) / data.length;
    // A plain separable transform for the needed frequencies only: u = 0 … to, v = -to … to.
    const rowsRe = new Float64Array(n * (to + 1));
    const rowsIm = new Float64Array(n * (to + 1));
    for (let y = 0; y < n; y++) {
      for (let u = 0; u <= to; u++) {
        let [re, im] = [0, 0];
        for (let x = 0; x < n; x++) {
          const v = (data[y * n + x]! - mean) * hann[x]! * hann[y]!;
          re += v * cos[(u * x) % n]!;
          im -= v * sin[(u * x) % n]!;
        }
        rowsRe[y * (to + 1) + u] = re;
        rowsIm[y * (to + 1) + u] = im;
      }
    }
    for (let u = 0; u <= to; u++) {
      for (let v = -to; v <= to; v++) {
        const f = Math.round(Math.hypot(u, v));
        if (f < from || f > to) continue;
        let [re, im] = [0, 0];
        for (let y = 0; y < n; y++) {
          const k = (((v * y) % n) + n) % n;
          const a = rowsRe[y * (to + 1) + u]!;
          const b = rowsIm[y * (to + 1) + u]!;
          re += a * cos[k]! + b * sin[k]!;
          im += b * cos[k]! - a * sin[k]!;
        }
        power[f]! += re * re + im * im;
        count[f]! += 1;
      }
    }
  }
  let [sx, sy, sxx, sxy, m] = [0, 0, 0, 0, 0];
  for (let f = from; f <= to; f++) {
    const x = Math.log(f);
    const y = Math.log(power[f]! / count[f]!);
    sx += x;
    sy += y;
    sxx += x * x;
    sxy += x * y;
    m++;
  }
  return (m * sxy - sx * sy) / (m * sxx - sx * sx);
}
