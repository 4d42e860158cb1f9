/** Networks of total deep variation in `tautgrad reconstruct`: the regulariser of a file beside the problem's data. */
import type { LinearOperator } from '../../inverse/index.js';
import {
  bestDataWeight,
  loadNetwork,
  reconstructWith,
  SMALLEST_SIDE,
  suggestedDataWeight,
  superResolve,
  type VariationalNetwork,
} from '../../models/tdv/index.js';
import { reshape } from '../../ops/index.js';
import { formatShape, type Tensor, tidy } from '../../tensor/index.js';
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
  const { channels, scale } = network.options;
  return {
    searches: dataWeight === 'auto' && scale === 1,
    check: (problem) => {
      const { truth } = problem;
      if (scale !== 1 && scale !== problem.scale) {
        throw new UsageError(`Expected a network for ${taskOf(problem.scale)} but ${path} is one for ${taskOf(scale)}`);
      }
      if (scale !== 1 && dataWeight !== 'auto')
        throw new UsageError(`Expected no --data-weight: the network of ${path} has learned its own for super-resolution`);
      const [count, height, width] = truth.shape as [number, number, number];
      if (Math.min(height, width) < SMALLEST_SIDE)
        throw new UsageError(`Expected an image of at least ${SMALLEST_SIDE}x${SMALLEST_SIDE} pixels but received ${height}x${width}`);
      // A gray network treats each colour by itself.
      if (channels !== 1 && count !== channels) {
        throw new UsageError(`Expected an image of ${channels} channels for the network ${path} but received ${formatShape(truth.shape)}`);
      }
    },
    run: ({ operator, measured, truth, noise }, start) => {
      if (scale !== 1) return { x: enlarge(network, operator, measured), lambda: null };
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

const taskOf = (scale: number): string => (scale === 1 ? 'denoising' : `super-resolution by ${scale}`);

/** The trained scheme itself, of measurements [channels, h, w]. */
function enlarge(network: VariationalNetwork, operator: LinearOperator, z: Tensor): Tensor {
  return tidy(() => {
    const [count, height, width] = z.shape as [number, number, number];
    // A gray network treats each colour by itself.
    const planes = network.options.channels === 1 ? [count, 1] : [1, count];
    const x = superResolve(network, operator, reshape(z, [...planes, height, width]));
    return reshape(x, [count, ...x.shape.slice(-2)]);
  });
}
