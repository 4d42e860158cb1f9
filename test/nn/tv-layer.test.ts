/** λ trains: gradients of TV layers against central differences of exact solutions. */
import { describe, expect, it } from 'vitest';
import { grad, nn, ops, optim, type Tensor, tensor, tidy, tv } from '../../src/index.js';
import { centralDifference, dot, type Fn, normal, values } from '../support/numeric.js';

const { mul, sum, sub } = ops;
const STEP = 1e-6;
const TOLERANCE = 1e-6;

/** Draws on which the partition changes inside the difference interval are kinks; they are recognised by one-sided slopes that differ. */
function checkGradient(f: Fn, make: (seed: number) => Tensor[], label: string): void {
  let crossed = 0;
  const draws = 40;
  for (let seed = 0; seed < draws; seed++) {
    tidy(() => {
      const inputs = make(1000 * seed + 1);
      const w = normal(f(...inputs).shape, seed + 7);
      const loss = (...x: Tensor[]): Tensor => sum(mul(w, f(...x)));
      const at = loss(...inputs).item();
      inputs.forEach((x, k) => {
        const direction = normal(x.shape, seed + 31 * k);
        const directions = inputs.map((_, i) => (i === k ? direction : null));
        const numeric = centralDifference(loss, inputs, directions, STEP).item();
        const moved = (t: number): number => loss(...inputs.map((v, i) => (i === k ? ops.add(v, mul(direction, t)) : v))).item();
        const oneSided = [(moved(STEP) - at) / STEP, (at - moved(-STEP)) / STEP] as const;
        const analytic = dot(grad((v: Tensor) => loss(...inputs.map((u, i) => (i === k ? v : u))))(x), direction);
        const scale = Math.max(1, Math.abs(numeric));
        if (Math.abs(oneSided[0] - oneSided[1]) > 1e-6 * scale) crossed++;
        else expect(Math.abs(analytic - numeric), `${label}, draw ${seed}, input ${k}`).toBeLessThan(TOLERANCE * scale);
      });
    });
  }
  expect(crossed).toBeLessThanOrEqual(0.05 * draws * 3);
}

const lambdas = (shape: readonly number[], seed: number): Tensor => ops.add(mul(ops.sigmoid(normal(shape, seed)), 0.5), 0.05);
const weightsLike = (shape: readonly number[], seed: number): Tensor => ops.add(ops.sigmoid(normal(shape, seed)), 0.1);

describe('gradients of the proximal maps', () => {
  const cases: [string, number[]][] = [
    ['scalar', []],
    ['per channel', [2]],
    ['per sample and channel', [2, 2]],
  ];
  for (const [label, shape] of cases) {
    for (const sharp of [false, true]) {
      const mode = (x: Tensor, y: Tensor): Tensor => (sharp ? sub(mul(x, 2), y) : y);
      it(`1D ${label}, ${sharp ? 'sharp' : 'smooth'}, rows and columns`, () => {
        for (const axis of [-1, -2]) {
          checkGradient(
            (x, l) => mode(x as Tensor, tv.prox1d(x as Tensor, l as Tensor, { axis })),
            (s) => [normal([2, 2, 5, 6], s), lambdas(shape, s + 1)],
            `axis ${axis}`,
          );
        }
      });
      it(`2D ${label}, ${sharp ? 'sharp' : 'smooth'}`, () => {
        checkGradient(
          (x, l) => mode(x as Tensor, tv.prox2d(x as Tensor, l as Tensor, { tolerance: 1e-13 })),
          (s) => [normal([2, 2, 5, 4], s), lambdas(shape, s + 1)],
          '2D',
        );
      });
    }
  }

  it('1D and 2D weights', () => {
    checkGradient(
      (x, l, w) => tv.prox1d(x as Tensor, l as Tensor, { weights: w as Tensor }),
      (s) => [normal([2, 9], s), lambdas([2], s + 1), weightsLike([2, 8], s + 2)],
      '1D',
    );
    checkGradient(
      (x, wx, wy) => tv.prox2d(x as Tensor, 0.3, { weightsX: wx as Tensor, weightsY: wy as Tensor, tolerance: 1e-13 }),
      (s) => [normal([2, 4, 5], s), weightsLike([2, 4, 4], s + 1), weightsLike([2, 3, 5], s + 2)],
      '2D',
    );
  });

  it('separate lambdas of rows and columns, and unrolled sweeps', () => {
    checkGradient(
      (x, r, c) => tv.prox2d(x as Tensor, 0, { lambdaRows: r as Tensor, lambdaCols: c as Tensor, tolerance: 1e-13 }),
      (s) => [normal([2, 5, 4], s), lambdas([2], s + 1), lambdas([], s + 2)],
      'axes',
    );
    checkGradient(
      (x, l) => tv.prox2d(x as Tensor, l as Tensor, { iterations: 4 }),
      (s) => [normal([2, 5, 4], s), lambdas([2], s + 1)],
      'unrolled',
    );
  });
});

describe('TV layers', () => {
  it('compute formulas (3) and (4) of the paper', () => {
    tidy(() => {
      const x = ops.cast(normal([2, 3, 6, 5], 1), 'float32');
      const smooth = new nn.TVLayer2d({ channels: 3, lambda: { init: 0.2 } });
      const sharp = new nn.TVLayer2d({ channels: 3, mode: 'sharp', lambda: { init: 0.2, shared: true } });
      const y = values(smooth.forward(x));
      const want = values(tv.prox2d(x, 0.2));
      y.forEach((v, i) => {
        expect(v).toBeCloseTo(want[i] as number, 5);
        expect(values(sharp.forward(x))[i]).toBeCloseTo(2 * (values(x)[i] as number) - v, 5);
      });
      const rows = new nn.TVLayer1d({ channels: 3, direction: 'row', lambda: { init: 0.2 } });
      const cols = new nn.TVLayer1d({ channels: 3, direction: 'col', lambda: { init: 0.2 } });
      expect(values(rows.forward(x))[7]).toBeCloseTo(values(tv.prox1d(x, 0.2))[7] as number, 5);
      expect(values(cols.forward(x))[7]).toBeCloseTo(values(tv.prox1d(x, 0.2, { axis: -2 }))[7] as number, 5);
      expect([
        smooth.parameterCount,
        sharp.parameterCount,
        new nn.TVLayer1d({ channels: 3, lambda: { trainable: false } }).parameterCount,
      ]).toEqual([3, 1, 0]);
      expect(values(new nn.TVLayer2d({ channels: 1 }).lambda())[0]).toBeCloseTo(Math.LN2, 6);
    });
  });

  it('train their lambda towards the one that made the data', () => {
    const x = ops.cast(normal([4, 1, 12, 12], 2), 'float32');
    const target = tv.prox2d(x, 0.35);
    const layer = new nn.TVLayer2d({ channels: 1, lambda: { init: 0.05 } });
    const optimizer = new optim.Adam(layer.namedParameters(), { learningRate: 0.1 });
    for (let i = 0; i < 120; i++) {
      tidy(() => {
        const { gradients } = nn.valueAndGrad(layer, () => ops.mean(ops.square(sub(layer.forward(x), target))));
        optimizer.step(gradients);
      });
    }
    expect(tidy(() => values(layer.lambda())[0])).toBeCloseTo(0.35, 2);
  });

  it('refuse what does not fit', () => {
    expect(() => new nn.TVLayer2d({ channels: 0 })).toThrow(/^Expected an integer >= 1 for channels/);
    expect(() => new nn.TVLayer2d({ channels: 1, lambda: { init: -1 } })).toThrow(/lambda.init/);
    expect(() => new nn.TVLayer2d({ channels: 1, mode: 'soft' as never })).toThrow(/'smooth' or 'sharp'/);
    expect(() => new nn.TVLayer2d({ channels: 2 }).forward(tensor([[[[1]]]]))).toThrow(/^Expected a tensor \[\.\.\., 2/);
  });
});

describe('bad input', () => {
  const x = tensor([
    [1, 2, 3],
    [4, 5, 6],
  ]);
  it.each([
    ['negative lambda', () => tv.prox1d(x, -1)],
    ['NaN lambda', () => tv.prox2d(x, Number.NaN)],
    ['negative lambda in a tensor', () => tv.prox1d(x, tensor([1, -1]))],
    ['lambda of a wrong shape', () => tv.prox1d(x, tensor([1, 1, 1]))],
    ['scalar input', () => tv.prox1d(tensor(1), 1)],
    ['a line for an image', () => tv.prox2d(tensor([1, 2]), 1)],
    ['empty input', () => tv.prox1d(tensor([]), 1)],
    ['empty image', () => tv.prox2d(tensor([], { shape: [0, 3] }), 1)],
    ['integers', () => tv.prox1d(tensor([1, 2], { dtype: 'int32' }), 1)],
    ['an array for a tensor', () => tv.prox1d([1, 2] as never, 1)],
    ['weights of a wrong length', () => tv.prox1d(x, 1, { weights: tensor([1, 1, 1]) })],
    ['negative weights', () => tv.prox1d(x, 1, { weights: tensor([1, -1]) })],
    ['weightsX of a wrong shape', () => tv.prox2d(x, 1, { weightsX: tensor([[1, 1, 1]]) })],
    ['an axis outside', () => tv.prox1d(x, 1, { axis: 2 })],
    ['a tolerance outside', () => tv.prox2d(x, 1, { tolerance: 0 })],
    ['both stopping rules', () => tv.prox2d(x, 1, { tolerance: 1e-3, iterations: 3 })],
    ['iterations of 0', () => tv.prox2d(x, 1, { iterations: 0 })],
    ['unrolled without iterations', () => tv.prox2d(x, 1, { gradient: 'unrolled' })],
  ])('%s gets one clear sentence', (_label, call) => {
    let message = '';
    try {
      call();
    } catch (error) {
      message = (error as Error).message;
    }
    expect(message).toMatch(/^Expected .+ but received .+/);
    expect(message).not.toContain('\n');
  });
});
