/**
 * proxTV (Barbero and Sra) from the shared library that the environment variable PROXTV_LIB names; null without it. Its functions take
 * doubles, column-major.
 */
import koffi from 'koffi';

type Line = (x: Float64Array, lambda: number, y: Float64Array) => void;

export interface ProxTv {
  /** One line at a time. */
  lines: Record<string, Line>;
  /** Douglas–Rachford on a square or rectangular image, its default method; returns nothing but y. */
  dr2(x: Float64Array, rows: number, cols: number, lambda: number, y: Float64Array, threads: number, iterations: number): void;
}

export function loadProxTv(): ProxTv | null {
  const path = process.env.PROXTV_LIB;
  if (path === undefined || path === '') {
    console.error('proxTV is left out: set PROXTV_LIB to its shared library');
    return null;
  }
  const library = koffi.load(path);
  const classic = library.func('int classicTautString_TV1(double *y, int n, double lam, double *x)');
  const hybrid = library.func('void hybridTautString_TV1(double *y, int n, double lam, double *x)');
  const linearized = library.func('int linearizedTautString_TV1(double *y, double lam, double *x, int n)');
  const condat = library.func('void TV1D_denoise(double *in, double *out, int n, double lam)');
  const dp = library.func('void dp(int n, double *y, double lam, double *x)');
  const dr2 = library.func(
    'int DR2_TV(size_t M, size_t N, double *y, double W1, double W2, double norm1, double norm2, double *x, int nThreads, int maxit, double *info)',
  );
  return {
    lines: {
      'taut string': (x, lambda, y) => classic(x, x.length, lambda, y),
      'hybrid taut string': (x, lambda, y) => hybrid(x, x.length, lambda, y),
      'linearized taut string': (x, lambda, y) => linearized(x, lambda, y, x.length),
      Condat: (x, lambda, y) => condat(x, y, x.length, lambda),
      'dynamic programming': (x, lambda, y) => dp(x.length, x, lambda, y),
    },
    dr2: (x, rows, cols, lambda, y, threads, iterations) => {
      dr2(rows, cols, x, lambda, lambda, 1, 1, y, threads, iterations, new Float64Array(8));
    },
  };
}
