/** Claim: four megapixels exactly within ten seconds on two cores. proxTV takes about half a minute to be inexact: it is left to its 512². */
import { data, ops, tensor, tidy, tv } from 'tautgrad';
import { deadLeaves, noisy, photo } from './inputs.js';
import { race, report, type Settings } from './measure.js';

const SIZE = 2048;

/** Twelve photographs of Kodak's set side by side, cut to 2048². */
async function mosaic(): Promise<Float64Array | null> {
  const all = new Float32Array(SIZE * SIZE);
  let [column, row] = [0, 0];
  for (let k = 1; k <= 24 && row < SIZE; k++) {
    const image = await photo('kodak24', `kodim${String(k).padStart(2, '0')}.png`);
    if (!image) return null;
    if (image.width < image.height) continue;
    const width = Math.min(image.width, SIZE - column);
    for (let r = 0; r < image.height && row + r < SIZE; r++)
      all.set(image.data.subarray(r * image.width, r * image.width + width), (row + r) * SIZE + column);
    column += width;
    if (column === SIZE) [column, row] = [0, row + image.height];
  }
  return noisy(data.makeImage(1, SIZE, SIZE, all), 12);
}

/** One photograph of Kodak's set enlarged, then noise: large smooth parts. */
async function enlarged(): Promise<Float64Array | null> {
  const image = await photo('kodak24', 'kodim23.png');
  if (!image) return null;
  const large = tidy(() => {
    const t = tensor(image.data, { shape: [1, 1, image.height, image.width] });
    const scaled = ops.resize2d(t, { size: [SIZE, Math.round((SIZE * image.width) / image.height)] });
    return Float32Array.from(ops.narrow(scaled, -1, 0, SIZE).toTypedArray());
  });
  return noisy(data.makeImage(1, SIZE, SIZE, large), 13);
}

export async function run(settings: Settings): Promise<void> {
  const pictures: Record<string, () => Float64Array | null | Promise<Float64Array | null>> = {
    'dead leaves': () => deadLeaves(SIZE, SIZE, 7),
    '12 photographs': mosaic,
    'an enlarged photograph': enlarged,
  };
  for (const [what, make] of Object.entries(pictures)) {
    const name = (lambda: number): string => `2048² ${what}, lambda ${lambda}: exact`;
    if (![0.05, 0.1].some((lambda) => name(lambda).includes(settings.match))) continue;
    const image = await make();
    if (!image) continue;
    const x = tidy(() => ops.cast(tensor(image, { shape: [SIZE, SIZE] }), 'float32'));
    for (const lambda of [0.05, 0.1]) {
      if (!name(lambda).includes(settings.match)) continue;
      let [objective, gap] = [0, 0];
      const exact = (): void =>
        tidy(() => {
          const solution = tv.solve2d(x, lambda, { exact: true });
          [objective, gap] = [solution.objective[0] as number, solution.gap[0] as number];
        });
      const times = race({ exact }, settings.repeat > 3 ? 3 : settings.repeat);
      report(settings, {
        name: name(lambda),
        lines: 1,
        length: SIZE * SIZE,
        lambda,
        dtype: 'float32',
        ours: times.exact as number[],
        peers: {},
        optimum: objective - gap,
        objective,
      });
    }
    x.dispose();
  }
}
