/**
 * proxTV (Barbero and Sra) from the shared library that the environment variable PROXTV_LIB names; null without it. Its functions take
 * doubles, column-major: a row-major picture is its own transpose there, with the transposed solution.
 */
import koffi from 'koffi';

type Line = (x: Float64Array, lambda: number, y: Float64Array) => void;
/** A picture of any number of axes; `iterations` at most. */
type Grid = (x: Float64Array, shape: readonly number[], lambda: number, y: Float64Array, threads: number, iterations: number) => void;

export interface ProxTv {
  /** One line at a time. */
  lines: Record<string, Line>;
  /** Two-dimensional methods; Douglas–Rachford (DR2) with 35 iterations is its default. */
  images: Record<string, Grid>;
  /** Three-dimensional methods. */
  volumes: Record<string, Grid>;
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
  const newton = library.func('int PN_TV1(double *y, double lam, double *x, double *info, int n, double sigma, void *ws)');
  const size2 = 'size_t M, size_t N, double *y';
  const dr2 = library.func(
    `int DR2_TV(${size2}, double W1, double W2, double norm1, double norm2, double *x, int nThreads, int maxit, double *info)`,
  );
  const dykstra = (name: string) =>
    library.func(
      `int ${name}(double *y, double *lambdas, double *norms, double *dims, double *x, double *info, int *ns, int nds, int npen, int ncores, int maxIters)`,
    );
  const [pd2, pd] = [dykstra('PD2_TV'), dykstra('PD_TV')];
  const single = (name: string) => library.func(`int ${name}(${size2}, double lambda, double *x, int maxit, double *info)`);
  const [yang2, kolmogorov2] = [single('Yang2_TV'), single('Kolmogorov2_TV')];
  const condat2 = library.func(`int CondatChambollePock2_TV(${size2}, double lambda, double *x, short alg, int maxit, double *info)`);
  const yang3 = library.func('int Yang3_TV(size_t M, size_t N, size_t O, double *y, double lambda, double *x, int maxit, double *info)');
  const info = (): Float64Array => new Float64Array(8);
  const each = (n: number, value: (i: number) => number): Float64Array => Float64Array.from({ length: n }, (_, i) => value(i));
  const proximalDykstra =
    (call: typeof pd): Grid =>
    (x, shape, lambda, y, threads, iterations) => {
      const k = shape.length;
      const sizes = Int32Array.from([...shape].reverse());
      const [lambdas, norms, dims] = [each(k, () => lambda), each(k, () => 1), each(k, (i) => i + 1)];
      call(x, lambdas, norms, dims, y, info(), sizes, k, k, threads, iterations);
    };
  const chambollePock =
    (algorithm: number): Grid =>
    (x, [rows, cols], lambda, y, _, iterations) =>
      condat2(cols, rows, x, lambda, y, algorithm, iterations, info());
  return {
    lines: {
      'taut string': (x, lambda, y) => classic(x, x.length, lambda, y),
      'hybrid taut string': (x, lambda, y) => hybrid(x, x.length, lambda, y),
      'linearized taut string': (x, lambda, y) => linearized(x, lambda, y, x.length),
      Condat: (x, lambda, y) => condat(x, y, x.length, lambda),
      'dynamic programming': (x, lambda, y) => dp(x.length, x, lambda, y),
      'projected Newton': (x, lambda, y) => newton(x, lambda, y, info(), x.length, 0.05, null),
    },
    images: {
      DR2: (x, [rows, cols], lambda, y, threads, iterations) => dr2(cols, rows, x, lambda, lambda, 1, 1, y, threads, iterations, info()),
      PD2: proximalDykstra(pd2),
      Yang2: (x, [rows, cols], lambda, y, _, iterations) => yang2(cols, rows, x, lambda, y, iterations, info()),
      Kolmogorov2: (x, [rows, cols], lambda, y, _, iterations) => kolmogorov2(cols, rows, x, lambda, y, iterations, info()),
      Condat2: chambollePock(0),
      'Chambolle-Pock': chambollePock(1),
      'Chambolle-Pock, accelerated': chambollePock(2),
    },
    volumes: {
      PD: proximalDykstra(pd),
      Yang3: (x, [a, b, c], lambda, y, _, iterations) => yang3(c, b, a, x, lambda, y, iterations, info()),
    },
  };
}
