/** Networks of total deep variation in `tautgrad reconstruct`: the regulariser of a file beside the problem's data. */
import { bestDataWeight, loadNetwork, reconstructWith, SMALLEST_SIDE, suggestedDataWeight } from '../../models/tdv/index.js';
import { formatShape, type Tensor } from '../../tensor/index.js';
import { UsageError } from '../failure.js';
import type { CommonOptions, Problem } from './reconstruct-problems.js';

export interface Reconstructor {
  /** Whether `run` searches its weight. */
  readonly searches: boolean;
  /** @throws UsageError when the problem's images do not suit the network */
  check(problem: Problem): void;
  /** From a first guess to the reconstruction and the weight of the data. */
  run(problem: Problem, start: Tensor): { x: Tensor; lambda: number | null };
  dispose(): void;
}

/** @throws FileError when the file holds no such network */
export async function loadForProblem(path: string, { dataWeight, contrast, iterations }: CommonOptions): Promise<Reconstructor> {
  const network = await loadNetwork(path);
  const { channels } = network.options;
  return {
    searches: dataWeight === 'auto',
    check: ({ truth }) => {
      const [count, height, width] = truth.shape as [number, number, number];
      if (Math.min(height, width) < SMALLEST_SIDE)
        throw new UsageError(`Expected an image of at least ${SMALLEST_SIDE}x${SMALLEST_SIDE} pixels but received ${height}x${width}`);
      // A gray network treats each colour by itself.
      if (channels !== 1 && count !== channels) {
        throw new UsageError(`Expected an image of ${channels} channels for the network ${path} but received ${formatShape(truth.shape)}`);
      }
    },
    run: ({ operator, measured, truth, noise }, start) => {
      if (dataWeight !== 'auto') {
        const { x } = reconstructWith(network.R, operator, measured, dataWeight, start, { contrast, iterations });
        return { x, lambda: dataWeight };
      }
      const lambda = suggestedDataWeight(network, noise);
      return bestDataWeight(network.R, operator, measured, truth, start, { lambda, contrast, iterations });
    },
    dispose: () => network.dispose(),
  };
}
