/** Fourier transforms and tomography. */
import { DTYPE_CODE, extent, input, kernels, output, pick, REAL, whole } from './draw.mjs';

const radon = (call, from) => ({
  dtypes: REAL,
  repeat: 3,
  draw: (d, round) => {
    const [batch, height, width, views, detectors] = [whole(1, 2), whole(1, 25), whole(1, 25), whole(1, 9), whole(1, 30)];
    const p = { batch, height, width, views, detectors };
    // Detectors a pixel apart, closer, and farther.
    const spacing = [1, 0.4, 1.7][round % 3];
    const shapes = { image: [batch, height, width], rays: [batch, views, detectors] };
    return {
      inputs: [input('float64', [views], -4, 4), input(d, shapes[from])],
      outputs: [output(d, shapes[from === 'image' ? 'rays' : 'image'])],
      call: ([angles, x], [y]) => call(DTYPE_CODE[d], p, spacing, angles, x, y),
    };
  },
});

export const cases = {
  fft: {
    dtypes: REAL,
    repeat: 4,
    draw: (d, round) => {
      // Radices 2 to 13 in shared memory; in the last round lines that do not fit there.
      const n = round % 4 === 3 ? pick([7776, 15360, 16384]) : pick([1, 2, 3, 4, 13, 16, 30, 49, 60, 121, 128, 286, 1024, 1536]);
      const l = n > 2000 ? { outer: 2, n, inner: pick([1, 2]) } : { outer: whole(1, 4), n, inner: pick([1, 1, 5, 20]) };
      return {
        inputs: [input(d, extent(l)), input(d, extent(l))],
        outputs: [output(d, extent(l)), output(d, extent(l))],
        call: ([re, im], [outRe, outIm]) =>
          kernels.fft(DTYPE_CODE[d], l, round % 2 ? 1 : -1, round % 2 ? 1 / n : 1, re, round % 3 ? im : 0, outRe, outIm),
      };
    },
  },
  radon_forward: radon((d, p, spacing, angles, x, y) => kernels.radonForward(d, p, spacing, angles, x, y), 'image'),
  radon_adjoint: radon((d, p, spacing, angles, y, x) => kernels.radonAdjoint(d, p, spacing, angles, y, x), 'rays'),
};
