import { addGaussianNoise, crop, type Image, makeImage, readImage, toChannels } from '../../data/index.js';
import { psnr } from '../../metrics/index.js';
import {
  atTime,
  bestStoppingTime,
  denoiseImage,
  eigenfunction,
  sensitivity,
  timeCurve,
  type VariationalNetwork,
  variationSurface,
} from '../../models/tdv/index.js';
import { type Block, type Series, writeReport } from '../../report/index.js';
import { Tensor, tidy } from '../../tensor/index.js';
import { loadDenoisingNetwork } from '../denoiser.js';
import { reportFooter } from '../footer.js';
import { formatNumber, Output } from '../output.js';

export interface ExploreOptions {
  model: string;
  image: string;
  out: string;
  /** Side of the part of the image that is looked at. */
  size: number;
  seed: number;
  /** The second network of `sensitivity`. */
  other?: string;
  json?: boolean;
}

export type Exploration = 'time' | 'surface' | 'eigen' | 'sensitivity';

interface Found {
  title: string;
  summary: string;
  blocks: Block[];
  /** For `--json`. */
  result: Record<string, unknown>;
}

/** `tautgrad explore …`: what a network of total deep variation has learned, as a page. */
export async function explore(what: Exploration, options: ExploreOptions): Promise<void> {
  const { model, image: path, out, size, seed } = options;
  const network = await loadDenoisingNetwork(model);
  try {
    const image = middle(toChannels(await readImage(path), network.options.channels === 3 ? 3 : 1), size);
    const found =
      what === 'time'
        ? overTime(network, image, seed)
        : what === 'surface'
          ? surface(network, image, seed)
          : what === 'eigen'
            ? eigen(network, image)
            : await trajectories(network, image, seed, options.other as string);
    await writeReport(out, {
      title: found.title,
      summary: found.summary,
      sections: [
        { heading: 'Result', blocks: found.blocks },
        {
          heading: 'Settings',
          blocks: [
            {
              kind: 'settings',
              entries: [
                ['network', model],
                ['image', path],
                ['size', size],
                ['seed', seed],
              ],
            },
          ],
        },
      ],
      footer: reportFooter(),
    });
    new Output(options).result({ model, image: path, report: out, ...found.result }, `${found.summary}\nReport: ${out}`);
  } finally {
    network.dispose();
  }
}

function middle(image: Image, size: number): Image {
  const [height, width] = [Math.min(size, image.height), Math.min(size, image.width)];
  return crop(image, (image.height - height) >> 1, (image.width - width) >> 1, height, width);
}

const asTensor = ({ data, channels, height, width }: Image): Tensor => Tensor.from(data, [1, channels, height, width]);
const asImage = (x: Tensor): Image =>
  makeImage(x.shape[1] as number, x.shape[2] as number, x.shape[3] as number, x.toTypedArray() as Float32Array);

/** PSNR and the first-order condition over the stopping time (Fig. 4), and what flowing on does (Fig. 5). */
function overTime(network: VariationalNetwork, clean: Image, seed: number): Found {
  const noisy = addGaussianNoise(clean, network.options.sigma, seed);
  return tidy(() => {
    const [z, y] = [asTensor(noisy), asTensor(clean)];
    const factors = Array.from({ length: 13 }, (_, i) => 2 ** (-2 + i / 3));
    const curve = timeCurve(network, z, y, factors);
    const best = bestStoppingTime(network, z, y, { from: 1 / 4, to: 4, tolerance: 1e-2 });
    const learned = network.T.value.item();
    const x = { label: 'T', log: true };
    const shown = [0.5, 1, 2, 4].map((factor) => {
      const image = atTime(network, factor, () => denoiseImage(network, noisy));
      return { image, caption: `${formatNumber(factor, 2)} T: ${psnr(image, clean).toFixed(2)} dB` };
    });
    return {
      title: 'The stopping time',
      summary: `Condition (11) crosses zero at T = ${best.T.toPrecision(3)}; the learned T is ${learned.toPrecision(3)}.`,
      blocks: [
        { kind: 'chart', title: 'PSNR', x, y: { label: 'PSNR (dB)' }, series: [{ name: 'PSNR', points: curve.map((c) => [c.T, c.psnr]) }] },
        {
          kind: 'chart',
          title: 'First-order condition (11)',
          x,
          y: { label: 'Σ <p, B⁻¹ (x - x)>' },
          series: [{ name: 'condition', points: curve.map((c) => [c.T, c.condition]) }],
        },
        { kind: 'pictures', items: [{ image: noisy, caption: 'noisy' }, ...shown] },
      ],
      result: { T: learned, best: best.T, curve },
    };
  });
}

/** The deep variation of the centre pixel over contrast, one curve per noise level (Fig. 2). */
function surface(network: VariationalNetwork, image: Image, seed: number): Found {
  return tidy(() => {
    const { data } = image;
    const mean = data.reduce((s, v) => s + v, 0) / data.length;
    const x = asTensor({ ...image, data: data.map((v) => v - mean) });
    const contrasts = Array.from({ length: 25 }, (_, i) => -2 + i / 6);
    const noises = [0, 0.05, 0.1, 0.2];
    const values = variationSurface(network.R, x, contrasts, noises, { seed });
    const series: Series[] = noises.map((noise, i) => ({
      name: `noise ${noise}`,
      points: contrasts.map((contrast, j) => [contrast, values[i]?.[j] ?? null] as const),
    }));
    return {
      title: 'Deep variation of a pixel',
      summary: 'The deep variation of the middle pixel when the image’s contrast changes and noise is added.',
      blocks: [
        { kind: 'chart', title: 'r(ξ₁ x + ξ₂ n) of the middle pixel', x: { label: 'contrast ξ₁' }, y: { label: 'r' }, series },
        { kind: 'pictures', items: [{ image, caption: 'x plus its mean' }] },
      ],
      result: { contrasts, noises, values },
    };
  });
}

/** An eigenfunction of the regulariser that starts from the image (eq. (15)). */
function eigen(network: VariationalNetwork, image: Image): Found {
  return tidy(() => {
    const { x, eigenvalue, residual, energies } = eigenfunction(network.R, asTensor(image), { iterations: 300, stepSize: 0.01 });
    return {
      title: 'A nonlinear eigenfunction',
      summary: `Λ = ${eigenvalue.toPrecision(3)}, |∇R(x) - Λx| / |∇R(x)| = ${residual.toPrecision(2)} after ${energies.length} steps.`,
      blocks: [
        {
          kind: 'chart',
          title: 'Energy',
          x: { label: 'step' },
          y: { label: 'R' },
          series: [{ name: 'R', points: energies.map((e, k) => [k + 1, e] as const) }],
        },
        {
          kind: 'pictures',
          items: [
            { image, caption: 'image' },
            { image: asImage(x), caption: 'eigenfunction' },
          ],
        },
      ],
      result: { eigenvalue, residual, energies },
    };
  });
}

/** The distance of two networks' trajectories and the bound of Theorem 3.2. */
async function trajectories(network: VariationalNetwork, clean: Image, seed: number, otherPath: string): Promise<Found> {
  const other = await loadDenoisingNetwork(otherPath);
  try {
    const found = tidy(() => sensitivity(network, other, asTensor(addGaussianNoise(clean, network.options.sigma, seed))));
    const perPixel = 1 / Math.sqrt(clean.data.length);
    const line = (name: string, values: number[]): Series => ({ name, points: values.map((v, s) => [s, v * perPixel] as const) });
    return {
      title: 'Sensitivity to the controls',
      summary: `After ${network.options.steps} steps the trajectories are ${(found.differences.at(-1)! * perPixel).toPrecision(3)} apart (root mean square); the bound is ${(found.bounds.at(-1)! * perPixel).toPrecision(3)}.`,
      blocks: [
        {
          kind: 'chart',
          title: 'Distance of the trajectories',
          x: { label: 'step' },
          y: { label: 'root mean square' },
          series: [line('distance', found.differences), line('bound (14)', found.bounds)],
        },
      ],
      result: { other: otherPath, ...found },
    };
  } finally {
    other.dispose();
  }
}
