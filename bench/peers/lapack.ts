/**
 * LAPACK's tridiagonal solvers, from the shared library that LAPACK_LIB names or that the loader finds; null without one. One call per
 * system, which is how LAPACK solves a batch.
 */
import koffi from 'koffi';

export interface Lapack {
  path: string;
  dpttrf(n: Int32Array, d: Float64Array, e: Float64Array): void;
  dpttrs(n: Int32Array, d: Float64Array, e: Float64Array, b: Float64Array): void;
  dptsv(n: Int32Array, d: Float64Array, e: Float64Array, b: Float64Array): void;
  sptsv(n: Int32Array, d: Float32Array, e: Float32Array, b: Float32Array): void;
  dgtsv(n: Int32Array, dl: Float64Array, d: Float64Array, du: Float64Array, b: Float64Array): void;
}

export function loadLapack(): Lapack | null {
  // OpenBLAS would start threads of its own; it reads this when it is loaded.
  process.env.OPENBLAS_NUM_THREADS = '1';
  const named = process.env.LAPACK_LIB;
  for (const path of named ? [named] : ['liblapack.so.3', 'libopenblas.so.0', 'liblapack.so']) {
    let library: ReturnType<typeof koffi.load>;
    try {
      library = koffi.load(path);
    } catch {
      continue;
    }
    const pttrf = library.func('void dpttrf_(int *n, double *d, double *e, int *info)');
    const pttrs = library.func('void dpttrs_(int *n, int *nrhs, double *d, double *e, double *b, int *ldb, int *info)');
    const ptsv = library.func('void dptsv_(int *n, int *nrhs, double *d, double *e, double *b, int *ldb, int *info)');
    const sptsv = library.func('void sptsv_(int *n, int *nrhs, float *d, float *e, float *b, int *ldb, int *info)');
    const gtsv = library.func('void dgtsv_(int *n, int *nrhs, double *dl, double *d, double *du, double *b, int *ldb, int *info)');
    const [one, info] = [new Int32Array([1]), new Int32Array(1)];
    return {
      path,
      dpttrf: (n, d, e) => pttrf(n, d, e, info),
      dpttrs: (n, d, e, b) => pttrs(n, one, d, e, b, n, info),
      dptsv: (n, d, e, b) => ptsv(n, one, d, e, b, n, info),
      sptsv: (n, d, e, b) => sptsv(n, one, d, e, b, n, info),
      dgtsv: (n, dl, d, du, b) => gtsv(n, one, dl, d, du, b, n, info),
    };
  }
  console.error(`LAPACK is left out: ${named ? `${named} cannot be opened` : 'set LAPACK_LIB to its shared library'}`);
  return null;
}
