/**
 * The rows behind choices that the GPU backend makes: which way an image's total variation is minimised (native/cuda/tv2d_choice.h), FISTA or
 * primal-dual for isotropic images (native/cuda/rof.cu), threads per tridiagonal system, tensor cores for bfloat16. bench/gpu.mjs runs them.
 */

/** Blocks of 32 pixels with noise of 25/255, the images of the specification's table. */
function noisy({ ops, randn, tensor }, batch, size) {
  const side = Math.ceil(size / 32);
  const levels = randn([side, side]).toTypedArray();
  const blocks = new Float32Array(size * size);
  for (let i = 0; i < blocks.length; i++) blocks[i] = 0.5 + 0.2 * levels[Math.floor(i / size / 32) * side + Math.floor((i % size) / 32)];
  return ops.add(ops.mul(randn([batch, size, size]), 25 / 255), tensor(blocks, { shape: [size, size] }));
}

/** Both ways at every size and lambda, and what the rule took. */
function images({ api, median, row, sized }) {
  const { tidy, tv } = api;
  for (const [batch, size] of [
    [1, 96],
    [64, 96],
    [1, 512],
    [64, 512],
    [1, 2048],
    [64, 2048],
  ]) {
    const x = noisy(api, sized(batch, Math.min(batch, 2)), sized(size, 12));
    for (const lambda of sized([0.02, 0.05, 0.1, 0.2, 0.5, 1], [0.1])) {
      const found = {};
      for (const method of ['pixels', 'dykstra', 'auto']) {
        const options = { tolerance: 1e-6, method };
        const ms = median(() => tv.prox2d(x, lambda, options), 1);
        const { relativeGap, iterations } = tidy(() => tv.solve2d(x, lambda, options));
        found[method] = { ms, gap: Math.max(...relativeGap), iterations: Math.max(...iterations) };
      }
      const { pixels, dykstra, auto } = found;
      row(`choice: prox2d ${batch} x ${size}², lambda ${lambda}, relative gap 1e-6`, auto.ms, {
        'ms by pixels': pixels.ms,
        'their iterations': pixels.iterations,
        'ms by Dykstra': dykstra.ms,
        'its cycles': dykstra.iterations,
        'largest gap': Math.max(pixels.gap, dykstra.gap, auto.gap),
        'over the better one': auto.ms / Math.min(pixels.ms, dykstra.ms),
      });
    }
    x.dispose();
  }
}

function isotropic({ api, median, row, sized }) {
  const { tidy, tv } = api;
  for (const [batch, size] of [
    [1, 512],
    [64, 96],
  ]) {
    const x = noisy(api, sized(batch, Math.min(batch, 2)), sized(size, 12));
    for (const lambda of sized([0.05, 0.1, 0.2, 1], [0.1])) {
      const of = (method) => {
        const options = { tolerance: 1e-6, method };
        const ms = median(() => tv.rof(x, lambda, options), 1);
        return { ms, iterations: Math.max(...tidy(() => tv.solveRof(x, lambda, options)).iterations) };
      };
      const [auto, fista, dual] = ['auto', 'fista', 'primal-dual'].map(of);
      row(`rof ${batch} x ${size}², lambda ${lambda}, relative gap 1e-6`, auto.ms, {
        'ms by FISTA': fista.ms,
        'its iterations': fista.iterations,
        'ms by primal-dual': dual.ms,
        'iterations of that': dual.iterations,
      });
    }
    x.dispose();
  }
}

function systems({ api, median, row, sized }) {
  const { linalg, ops, randn, tidy } = api;
  for (const [count, n] of [
    [65536, 32],
    [64, 4096],
    [1, 1 << 20],
  ]) {
    tidy(() => {
      const shape = [sized(count, 3), sized(n, Math.min(n, 2000))];
      const [d, e, b] = [ops.add(ops.mul(randn(shape), 0), 2.5), ops.mul(randn([shape[0], shape[1] - 1]), 0.3), randn(shape)];
      const factors = linalg.pttrf(d, e);
      const name = `${count} systems of ${n}`;
      row(
        `pttrf, ${name}`,
        median(() => linalg.pttrf(d, e), 3),
      );
      row(
        `pttrs, ${name}`,
        median(() => linalg.pttrs(factors.d, factors.l, b), 3),
      );
      row(
        `ptsv, ${name}`,
        median(() => linalg.ptsv(d, e, b), 3),
      );
      row(
        `gtsv, ${name}`,
        median(() => linalg.gtsv(e, d, e, b), 3),
      );
    });
  }
}

/** Products of our own kernels and of the libraries, float32 beside factors rounded to bfloat16. */
function products({ api, forced, median, row, sized }) {
  const { ops, randn, tidy, train } = api;
  tidy(() => {
    const [batch, channels, side, n] = sized([64, 64, 64, 4096], [1, 9, 6, 20]);
    const [x, w, a] = [randn([batch, channels, side, side]), randn([channels, channels, 3, 3]), randn([n, n])];
    for (const [name, work, body] of [
      [`conv ${batch} x ${channels} x ${side}², 3x3`, 18 * batch * channels ** 2 * side ** 2, () => ops.conv2d(x, w, { padding: 1 })],
      [`matmul ${n}²`, 2 * n ** 3, () => ops.matmul(a, a)],
    ]) {
      const speed = (ms) => ({ 'TFLOP/s': work / ms / 1e9 });
      const single = median(body, 3);
      row(`${name}, float32`, single, speed(single));
      for (const cores of ['on', 'off']) {
        const half = forced('TAUTGRAD_CUDA_TENSOR_CORES', cores, () => median(() => train.mixedPrecision(body), 3));
        row(`${name}, bfloat16, tensor cores ${cores}`, half, { ...speed(half), 'times float32': single / half });
      }
    }
  });
}

export const sections = { choice: images, isotropic, tridiagonal: systems, bfloat16: products };
