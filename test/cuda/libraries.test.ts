/** cuDNN, cuBLAS and cuFFT by stand-ins that compute on the host (vendor-library.cpp): found, called, cached, captured, refused, replaced. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { emulatedLibrary, onDevice } from './device.js';

const source = new URL('vendor-library.cpp', import.meta.url).pathname;
let folder = '';
let library = '';

/** Compiles a stand-in. */
function standIn(name: string, ...flags: string[]): string {
  const path = join(folder, `lib${name}.so`);
  execFileSync(process.env.CXX ?? 'g++', ['-std=c++17', '-O1', '-shared', '-fPIC', ...flags, source, '-o', path, '-ldl']);
  return path;
}

beforeAll(() => {
  library = emulatedLibrary();
  folder = mkdtempSync(join(tmpdir(), 'tautgrad-vendor-'));
}, 1_800_000);
afterAll(() => {
  if (folder) rmSync(folder, { recursive: true, force: true });
});

/** Convolutions with stride, dilation, groups and padding on one side, with derivatives, and matrix products; largest error beside the CPU. */
const PRODUCTS = `
  import { allowTF32, devices, grad, ops, randn, seed, setDevice, tidy, train } from $PACKAGE;
  if (process.env.TF32) allowTF32(true);
  const kinds = [
    [{ padding: 1 }, [2, 4, 7, 6], [6, 4, 3, 3]],
    [{ stride: 2, padding: [[1, 1], [2, 2]], dilation: [1, 2], groups: 2 }, [2, 4, 9, 11], [6, 2, 3, 3]],
    [{ padding: [[0, 1], [1, 0]] }, [1, 3, 6, 6], [2, 3, 3, 3]],
  ];
  let worst = 0;
  for (const dtype of ['float32', 'float64']) {
    seed(3);
    setDevice('cpu');
    const operands = kinds.map(([, x, w]) => [randn(x, dtype), randn(w, dtype), randn([w[0]], dtype)]);
    const matrices = [randn([3, 5, 4], dtype), randn([4, 6], dtype)];
    const compute = (device) => tidy(() => {
      setDevice(device);
      const at = (t) => t.to(device);
      const results = [];
      for (const [i, [options]] of kinds.entries()) {
        const [x, w, b] = operands[i].map(at);
        for (let again = 0; again < 2; again++) {
          const single = (u, v, c) => ops.sum(ops.square(ops.convLayer2d(u, v, c, { ...options, relu: true })));
          results.push(ops.conv2d(x, w, options), ...grad(v => single(...v))([x, w, b]));
        }
      }
      const [p, q] = matrices.map(at);
      results.push(ops.matmul(p, q), ...grad(v => ops.sum(ops.square(ops.matmul(...v))))([p, q]));
      return results.map((t) => t.toTypedArray().slice());
    });
    const [expected, got] = [compute('cpu'), compute('cuda')];
    for (const [i, a] of expected.entries()) {
      const scale = Math.max(...a.map(Math.abs));
      for (const [k, v] of a.entries()) worst = Math.max(worst, Math.abs(v - got[i][k]) / scale / (dtype === 'float32' ? 1e-5 : 1e-12));
    }
  }
  console.log(worst < 1 ? 'agrees' : 'off by ' + worst);
  console.log(devices()[1].libraries.join('\\n'));`;

/** Transforms both ways, along two axes, of short lines and of one that no tile holds, with derivatives; largest error beside the CPU. */
const TRANSFORMS = `
  import { devices, grad, ops, randn, seed, setDevice, tidy } from $PACKAGE;
  let worst = 0;
  for (const dtype of ['float32', 'float64']) {
    seed(3);
    setDevice('cpu');
    const operands = [[3, 12, 5], [2, 4096], [2, 3, 10]].map((shape) => [randn(shape, dtype), randn(shape, dtype)]);
    const compute = (device) => tidy(() => {
      setDevice(device);
      const results = [];
      for (const [i, axes] of [-2, -1, [1, 2]].entries()) {
        const [re, im] = operands[i].map((t) => t.to(device));
        for (let again = 0; again < 2; again++) {
          const z = ops.fft({ re, im }, { axes });
          const back = ops.ifft(z, { axes, norm: 'ortho' });
          const real = ops.fft(re, { axes });
          const slope = grad((x) => { const y = ops.fft(x, { axes }); return ops.sum(ops.add(ops.mul(y.re, re), ops.mul(ops.square(y.im), 0.1))); })(re);
          results.push(z.re, z.im, back.re, back.im, real.re, real.im, slope);
        }
      }
      return results.map((t) => t.toTypedArray().slice());
    });
    const [expected, got] = [compute('cpu'), compute('cuda')];
    for (const [i, a] of expected.entries()) {
      const scale = a.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
      for (const [k, v] of a.entries()) worst = Math.max(worst, Math.abs(v - got[i][k]) / scale / (dtype === 'float32' ? 1e-5 : 1e-12));
    }
  }
  console.log(worst < 1 ? 'agrees' : 'off by ' + worst);
  console.log(devices()[1].libraries[2]);`;

describe('cuFFT', () => {
  it('transforms long lines, or all where that is wished, with one plan for each shape', () => {
    const environment = { TAUTGRAD_CUFFT: standIn('cufft-good', '-DSTANDIN_CUFFT'), STANDIN_REPORT: '1' };
    const { output } = onDevice(library, TRANSFORMS, { environment });
    expect(output).toMatch(/^agrees\ncuFFT 12\.0\.0 \(.*libcufft-good\.so\)\n/);
    // One shape of two types; five transforms a round (two of the slope's), two rounds.
    expect(output).toContain('stand-in: 2 plans, 20 transforms');
    const all = onDevice(library, TRANSFORMS, { environment: { ...environment, TAUTGRAD_CUDA_FFT: 'cufft' }, seed: 2 }).output;
    expect(all).toMatch(/^agrees\n/);
    expect(all).toContain('stand-in: 8 plans, 80 transforms');
    expect(onDevice(library, TRANSFORMS, { environment: { ...environment, TAUTGRAD_CUDA_FFT: 'own' } }).output).not.toContain('plans');
    const late = { environment: { ...environment, TAUTGRAD_CUDA_FFT: 'cufft' }, asynchronous: true };
    expect(onDevice(library, TRANSFORMS, late).output).toMatch(/^agrees\n/);
  }, 120_000);

  it('is part of captured steps, on their stream and in memory that they hold', () => {
    const environment = { TAUTGRAD_CUFFT: standIn('cufft-captured', '-DSTANDIN_CUFFT'), TAUTGRAD_CUDA_FFT: 'cufft' };
    const script = `
      import { full, ops, randn, seed, tidy, train } from $PACKAGE;
      import { addon } from $BACKEND;
      seed(1);
      const forward = (x) => ops.ifft(ops.fft(ops.mul(x, 2), { axes: [0, 1] }), { axes: [0, 1] });
      const step = train.capture((x) => forward(x).re);
      const results = [];
      for (let k = 0; k < 4; k++) {
        tidy(() => {
          results.push(step(randn([6, 8])).toTypedArray().join());
          addon.trim();
          for (let i = 0; i < 50; i++) full([600], -1);
        });
      }
      seed(1);
      for (let k = 0; k < 4; k++) tidy(() => console.log(forward(randn([6, 8])).re.toTypedArray().join() === results[k]));`;
    for (const asynchronous of [false, true]) {
      expect(onDevice(library, script, { environment, asynchronous }).output).toBe('true\ntrue\ntrue\ntrue\n');
    }
  }, 60_000);

  it.each([
    [
      'too old',
      ['-DSTANDIN_VERSION=10200'],
      /cuFFT: .*libbroken\.so is not used: version 11 or newer is needed, this one answers 10200; own kernels/,
    ],
    ['lacking a symbol', ['-DSTANDIN_WITHOUT_STREAM'], /is not used: it lacks cufftSetStream; own kernels serve/],
    ['without a plan', ['-DSTANDIN_REFUSES'], /cuFFT 12\.0\.0/],
  ])(
    'that is %s leaves the work to our kernels',
    (_, flags, notice) => {
      const environment = { TAUTGRAD_CUFFT: standIn('broken', '-DSTANDIN_CUFFT', ...flags), TAUTGRAD_CUDA_FFT: 'cufft' };
      const { output } = onDevice(library, TRANSFORMS, { environment });
      expect(output).toMatch(/^agrees\n/);
      expect(output).toMatch(notice);
    },
    60_000,
  );
});

describe('cuDNN and cuBLAS', () => {
  it('compute what they can, with the first deterministic algorithm, searched once for each shape', () => {
    const environment = {
      TAUTGRAD_CUDNN: standIn('cudnn-good'),
      TAUTGRAD_CUBLAS: standIn('cublas-good', '-DSTANDIN_CUBLAS'),
      STANDIN_REPORT: '1',
    };
    const { output, status } = onDevice(library, PRODUCTS, { environment });
    expect(output).toMatch(/^agrees\ncuDNN 9\.24\.0 \(.*libcudnn-good\.so\)\ncuBLAS 13\.1\.0 \(.*libcublas-good\.so\)\n/);
    // Two shapes that cuDNN can express, two types, two rounds; conv2d and the layer's own forward pass share a plan.
    expect(output).toContain('stand-in: 16 forward, 8 data, 8 weights, 12 searches, 0 products, math 0,');
    expect(output).toMatch(/stand-in: 0 forward, 0 data, 0 weights, 0 searches, 8 products, math -1, compute 70/);
    expect(status).toBe(0);
    // Without TF32 float32 has to be float32: FMA_MATH and COMPUTE_32F; with it the default, and COMPUTE_32F_FAST_TF32.
    const single = PRODUCTS.replace("['float32', 'float64']", "['float32']");
    const exact = onDevice(library, single, { environment }).output;
    expect([/math 3,/, /compute 68/].every((found) => found.test(exact))).toBe(true);
    const coarse = onDevice(library, single, { environment: { ...environment, TF32: '1' } }).output;
    expect([/math 0,/, /compute 77/].every((found) => found.test(coarse))).toBe(true);
    expect(onDevice(library, PRODUCTS, { environment, asynchronous: true }).output).toMatch(/^agrees\n/);
  }, 300_000);

  it('take factors rounded to bfloat16: packed, or in TensorFloat-32, which holds them', () => {
    const environment = {
      TAUTGRAD_CUDNN: standIn('cudnn-half'),
      TAUTGRAD_CUBLAS: standIn('cublas-half', '-DSTANDIN_CUBLAS'),
      STANDIN_REPORT: '1',
    };
    const script = `
      import { ops, randn, seed, setDevice, tidy, train } from $PACKAGE;
      seed(6);
      setDevice('cpu');
      const operands = [randn([2, 9, 6, 7]), randn([12, 9, 3, 3]), randn([3, 20, 30]), randn([30, 17])];
      const compute = (device) => train.mixedPrecision(() => tidy(() => {
        setDevice(device);
        const [x, w, a, b] = operands.map((t) => t.to(device));
        return [ops.conv2d(x, w, { padding: 1 }), ops.matmul(a, b)].map((t) => t.toTypedArray().slice());
      }));
      const [expected, got] = [compute('cpu'), compute('cuda')];
      const off = expected.map((values, k) => Math.max(...values.map((v, i) => Math.abs(v - got[k][i]))) / Math.max(...values.map(Math.abs)));
      console.log(off.every((v) => v < 1e-5) ? 'agrees' : off);`;
    const { output } = onDevice(library, script, { environment });
    expect(output).toMatch(/^agrees\n/);
    expect(output).toMatch(/1 forward, .* math 0,/);
    expect(output).toMatch(/1 products, .* compute 1068\n/);
    const older = onDevice(library, script, { environment: { ...environment, TAUTGRAD_CUDA_TENSOR_CORES: 'off' } }).output;
    expect(older).toMatch(/^agrees\n/);
    expect(older).toMatch(/1 products, .* compute 68\n/);
  }, 120_000);

  it('are part of captured steps', () => {
    const environment = { TAUTGRAD_CUDNN: standIn('cudnn-captured'), TAUTGRAD_CUBLAS: standIn('cublas-captured', '-DSTANDIN_CUBLAS') };
    const script = `
      import { ops, randn, seed, tidy, train } from $PACKAGE;
      seed(1);
      const w = randn([3, 2, 3, 3]);
      const forward = (x) => ops.matmul(ops.reshape(ops.conv2d(x, w, { padding: 1 }), [1, 3, 20]), randn([1, 20, 2]));
      const step = train.capture(forward);
      const results = [];
      for (let k = 0; k < 4; k++) tidy(() => results.push(step(randn([1, 2, 4, 5])).toTypedArray().join()));
      seed(1);
      randn([3, 2, 3, 3]).dispose();
      for (let k = 0; k < 4; k++) tidy(() => console.log(forward(randn([1, 2, 4, 5])).toTypedArray().join() === results[k]));`;
    for (const asynchronous of [false, true]) {
      expect(onDevice(library, script, { environment, asynchronous }).output).toBe('true\ntrue\ntrue\ntrue\n');
    }
  }, 120_000);

  it.each([
    [
      'too old',
      'TAUTGRAD_CUDNN',
      ['-DSTANDIN_VERSION=8907'],
      /libbroken\.so is not used: version 9 or newer is needed, this one answers 8907; own kernels serve/,
    ],
    [
      'lacking a symbol',
      'TAUTGRAD_CUDNN',
      ['-DSTANDIN_WITHOUT_GROUPS'],
      /is not used: it lacks cudnnSetConvolutionGroupCount; own kernels serve/,
    ],
    ['without an algorithm', 'TAUTGRAD_CUDNN', ['-DSTANDIN_REFUSES'], /cuDNN 9\.24\.0/],
    ['of another kind', 'TAUTGRAD_CUBLAS', [], /cuBLAS: .* is not used: it lacks cublasCreate_v2; own kernels serve/],
  ])(
    'that are %s leave the work to our kernels',
    (_, variable, flags, notice) => {
      const { output, status } = onDevice(library, PRODUCTS, { environment: { [variable]: standIn('broken', ...flags) } });
      expect(output).toMatch(/^agrees\n/);
      expect(output).toMatch(notice);
      expect(status).toBe(0);
    },
    120_000,
  );

  it('that are missing, or turned off, are named as such by `tautgrad info`', () => {
    const cli = `process.argv = [process.execPath, 'tautgrad', 'info']; await import(${JSON.stringify(new URL('../../dist/cli/main.js', import.meta.url).pathname)});`;
    const { output } = onDevice(library, cli, {
      environment: { TAUTGRAD_CUDNN: '/nowhere/libcudnn.so', TAUTGRAD_CUBLAS: 'off', TAUTGRAD_CUFFT: 'off' },
    });
    expect(output).toMatch(/GPU: +emulated GPU/);
    expect(output).toMatch(/cuDNN: TAUTGRAD_CUDNN names a file that cannot be opened: .*nowhere.*; own kernels serve/);
    expect(output).toContain('cuBLAS: turned off by TAUTGRAD_CUBLAS; own kernels serve');
    expect(output).toContain('cuFFT: turned off by TAUTGRAD_CUFFT; own kernels serve');
  }, 60_000);
});
