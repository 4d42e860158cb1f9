/**
 * Every entry of the kernel table on the device 'cuda' against the CPU backend, over random shapes: float64 to 1e-12 and float32 to 1e-5
 * of the largest value, without exception (cases/). Plain Node, on a GPU or on the emulation (test/cuda). Prints one line per
 * entry; exits with 1 on a disagreement or on an entry without a case.
 *
 *   node test/gpu/agreement.mjs [--seed 1] [--rounds 3] [--only conv]
 */
import { parseArgs } from 'node:util';
import * as conv from './cases/conv.mjs';
import { addon, DTYPE_ARRAY, randomState, requireDevice, reseed, size, Tensor } from './cases/draw.mjs';
import * as elementwise from './cases/elementwise.mjs';
import * as inverse from './cases/inverse.mjs';
import * as layers from './cases/layers.mjs';
import * as linear from './cases/linear.mjs';
import * as movement from './cases/movement.mjs';
import * as training from './cases/training.mjs';
import * as tv from './cases/tv.mjs';

requireDevice('cuda');
const { values: args } = parseArgs({
  options: { seed: { type: 'string', default: '1' }, rounds: { type: 'string', default: '3' }, only: { type: 'string', default: '' } },
});
reseed(Number(args.seed));
const cases = Object.assign({}, ...[elementwise, movement, linear, conv, layers, training, tv, inverse].map((family) => family.cases));

function compute(drawn, device) {
  const holder = ({ dtype, shape, start }) => {
    const t = Tensor.empty(dtype, shape, device);
    const values = new DTYPE_ARRAY[dtype](size(shape));
    if (typeof start === 'number') values.fill(start);
    else if (start) values.set(start);
    if (values.length > 0) addon.copy(t.address, addon.addressOf(values), values.byteLength);
    return t;
  };
  const inputs = drawn.inputs.map(({ dtype, shape, values }) => holder({ dtype, shape, start: values }));
  const [outputs, scratch] = [drawn.outputs.map(holder), (drawn.scratch ?? []).map(holder)];
  const addresses = (list) => list.map((t) => (t.size > 0 ? t.address : 0));
  drawn.call(
    addresses(inputs),
    addresses(outputs),
    outputs.map((t) => ({ n: t.size })),
    addresses(scratch),
  );
  const results = outputs.map((t) => t.toTypedArray());
  for (const t of [...inputs, ...outputs, ...scratch]) t.dispose();
  return results;
}

/** The largest error over what is allowed. */
function disagreement(drawn, dtype) {
  const [expected, got] = [compute(drawn, 'cpu'), compute(drawn, 'cuda')];
  let worst = 0;
  for (let k = 0; k < expected.length; k++) {
    const [a, b] = [expected[k], got[k]];
    const scale = a.reduce((m, v) => (Number.isFinite(v) ? Math.max(m, Math.abs(v)) : m), 0) || 1;
    const exact = drawn.outputs[k].dtype === 'int32' || drawn.outputs[k].dtype === 'uint8';
    const tolerance = exact ? 0.5 / scale : dtype === 'float64' ? 1e-12 : 1e-5;
    for (let i = 0; i < a.length; i++) {
      const error = Object.is(a[i], b[i]) || a[i] === b[i] ? 0 : Math.abs(a[i] - b[i]) / scale;
      worst = Math.max(worst, Number.isNaN(error) ? Infinity : error / tolerance);
    }
  }
  return worst;
}

let bad = 0;
for (const name of addon.kernelNames) {
  if (!name.includes(args.only)) continue;
  const entry = cases[name];
  if (!entry && !addon.hasKernel(1, name)) continue; // worked out on the host
  if (!entry || !addon.hasKernel(1, name)) {
    console.log(`${name.padEnd(20)} has no ${entry ? 'kernel' : 'case'}`);
    bad++;
    continue;
  }
  let worst = 0;
  for (const dtype of entry.dtypes) {
    for (let round = 0; round < Number(args.rounds) * (entry.repeat ?? 1); round++) {
      const state = randomState();
      const found = disagreement(entry.draw(dtype, round), dtype);
      if (found > 1) console.log(`${name} ${dtype}, round ${round}, state ${state}: ${found.toExponential(1)} times the tolerance`);
      worst = Math.max(worst, found);
    }
  }
  if (worst > 1) bad++;
  console.log(`${name.padEnd(20)} ${worst <= 1 ? 'agrees' : 'DISAGREES'} (worst ${worst.toExponential(1)} of the tolerance)`);
}
process.exitCode = bad ? 1 : 0;
