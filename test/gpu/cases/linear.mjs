/** Matrix products and tridiagonal systems. */
import { DTYPE_CODE, extent, input, kernels, lines, output, pick, REAL, whole } from './draw.mjs';

function tridiagonal(call, from, to) {
  return {
    dtypes: REAL,
    repeat: 2,
    draw: (d, round) => {
      // Few long systems are cut into chunks; in one round of four not every row of a general system is dominant.
      const l = round % 2 ? { outer: whole(1, 2), n: whole(500, 1400), inner: pick([1, 3]) } : lines();
      const draws = {
        d: () => (round % 4 === 3 && from.length === 4 ? input(d, extent(l), 1.6, 3) : input(d, extent(l), 2.5, 4)),
        e: () => input(d, extent(l, Math.max(0, l.n - 1)), -1, 1),
        b: () => input(d, extent(l)),
      };
      const holds = { d: [d, extent(l)], e: [d, extent(l, Math.max(0, l.n - 1))], b: [d, extent(l)], s: ['int32', extent(l, 1)] };
      return {
        inputs: from.map((name) => draws[name]()),
        outputs: to.map((name) => output(...holds[name])),
        call: (inputs, outputs) => call(DTYPE_CODE[d], l, inputs, outputs),
      };
    },
  };
}

export const cases = {
  matmul: {
    dtypes: REAL,
    draw: (d) => {
      const [batch, m, n, k, ta, tb] = [whole(1, 3), whole(1, 90), whole(1, 90), whole(1, 70), whole(0, 1), whole(0, 1)];
      const shared = whole(0, 1);
      return {
        inputs: [input(d, [batch, m, k]), input(d, [shared ? 1 : batch, k, n])],
        outputs: [output(d, [batch, m, n])],
        call: ([a, b], [c]) => kernels.matmul(DTYPE_CODE[d], batch, m, n, k, ta, tb, a, m * k, b, shared ? 0 : k * n, c),
      };
    },
  },
  pttrf: tridiagonal(
    (d, l, [diagonal, e], [dOut, lOut, status]) => kernels.pttrf(d, l, diagonal, e, dOut, lOut, status),
    ['d', 'e'],
    ['d', 'e', 's'],
  ),
  pttrs: tridiagonal((d, l, [diagonal, e, b], [x]) => kernels.pttrs(d, l, diagonal, e, b, x), ['d', 'e', 'b'], ['b']),
  ptsv: tridiagonal((d, l, [diagonal, e, b], [x, status]) => kernels.ptsv(d, l, diagonal, e, b, x, status), ['d', 'e', 'b'], ['b', 's']),
  gtsv: tridiagonal(
    (d, l, [dl, diagonal, du, b], [x, status]) => kernels.gtsv(d, l, dl, diagonal, du, b, x, status),
    ['e', 'd', 'e', 'b'],
    ['b', 's'],
  ),
};
