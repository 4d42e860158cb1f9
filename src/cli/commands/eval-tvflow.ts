import { basename } from 'node:path';
import { FileError, listImages, readImage, toChannels } from '../../data/index.js';
import { type FlowScore, loadFlowNet, referenceOf, scoreFlow, seriesTimes, summarise } from '../../models/tvflow/index.js';
import { tidy } from '../../tensor/index.js';
import { UsageError } from '../failure.js';
import { formatTable, Output } from '../output.js';
import { middleOf } from './train-tvflow.js';

export interface EvalTvflowOptions {
  model: string;
  data: string;
  size: number;
  points: number;
  step: number;
  against: 'flow' | 'joint';
  channels: 1 | 3;
  json?: boolean;
}

/** Side of the windows of SSIM. */
const WINDOW = 7;

/** `tautgrad eval tvflow` */
export async function evalTvflow(options: EvalTvflowOptions): Promise<void> {
  const { model: path, data, size, points, step, against, channels } = options;
  if (points < 2) throw new UsageError(`Expected at least 2 for --points but received ${points}`);
  const paths = await listImages(data);
  const network = await loadFlowNet(path);
  const output = new Output(options);
  const scores: FlowScore[] = [];
  for (const file of paths) {
    const image = middleOf(toChannels(await readImage(file), channels), size);
    if (Math.min(image.height, image.width) < WINDOW)
      throw new FileError(file, `Expected images of at least ${WINDOW}x${WINDOW} pixels but ${file} has ${image.width}x${image.height}`);
    const score = tidy(() =>
      scoreFlow(network, referenceOf(basename(file), image, network.options.scale, { points, step, against }), { points, step }),
    );
    scores.push(score);
    output.note(
      `${scores.length}/${paths.length} ${score.name}: ${score.psnr.toFixed(2)} dB (doing nothing: ${score.identityPsnr.toFixed(2)} dB)`,
    );
  }
  network.dispose();
  const { mean, deviation } = summarise(scores);
  const cells = ({ name, identityPsnr, psnr, identitySsim, ssim }: FlowScore): string[] => [
    name,
    identityPsnr.toFixed(2),
    psnr.toFixed(2),
    identitySsim.toFixed(4),
    ssim.toFixed(4),
  ];
  const times = seriesTimes({ points, step });
  output.result(
    { model: path, data, size, points, step, endTime: times.at(-1), against, ...mean, deviation, images: scores },
    formatTable([
      ['image', 'u = f dB', 'PSNR dB', 'u = f SSIM', 'SSIM'],
      ...scores.map(cells),
      cells({ name: 'mean', ...mean }),
      cells({ name: '± (images)', ...deviation }),
    ]),
  );
}
