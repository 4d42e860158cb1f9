/** From the settings of a run to what the training loop takes. */
import { schedules } from '../../optim/index.js';
import type { TrainerOptions } from '../../train/index.js';
import type { CommonSettings } from './settings.js';

/** Steps whose mean loss is one report to a plateau without evaluations. */
const lossWindow = 100;

/** The factor on the learning rate. */
export function scheduleOf({ schedule, warmUp, decay, decayEvery }: CommonSettings): schedules.Schedule {
  const after = {
    cosine: () => schedules.cosine(0.01),
    step: () => schedules.stepDecay(decayEvery ?? 500, decay ?? 0.5),
    // The training loop multiplies by the plateau's factor.
    plateau: () => undefined,
    constant: () => undefined,
  }[schedule]();
  return schedules.warmUp(warmUp, after);
}

/** Names the schedule among the settings that a checkpoint keeps; nothing for the one that runs had before there was a choice. */
export function scheduleName({ schedule, warmUp, decay, decayEvery }: CommonSettings): string | undefined {
  if (schedule === 'cosine' && warmUp === 100) return undefined;
  return [schedule, `warm-up ${warmUp}`, ...(decay === null ? [] : [`factor ${decay} every ${decayEvery}`])].join(', ');
}

type Extras = Pick<TrainerOptions<never>, 'accumulate' | 'clipNorm' | 'average' | 'plateau'>;

/** Accumulation, clipping, averaging and the plateau. */
export function trainingExtras(settings: CommonSettings): Extras {
  const { accumulate, clip, ema, schedule, decay, decayEvery, evaluateEvery } = settings;
  const every = Math.min(lossWindow, decayEvery ?? lossWindow);
  const reports = Math.ceil((decayEvery ?? 500) / (evaluateEvery ?? every));
  return {
    ...(accumulate > 1 && { accumulate }),
    ...(clip !== null && { clipNorm: clip }),
    ...(ema !== null && { average: ema }),
    ...(schedule === 'plateau' && { plateau: { factor: decay ?? 0.5, patience: Math.max(0, reports - 1), every } }),
  };
}
