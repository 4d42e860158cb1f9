import { data, ops, Tensor, tv } from 'tautgrad';

const picture = data.deadLeaves({ height: 64, width: 64, channels: 1, seed: 1 }); // values 0 … 1
const f = Tensor.from(picture.data, [64, 64]);

const { times, u, steps, errorBound } = tv.flow(f, { times: [0.02, 0.1, 0.5] });
times.forEach((time, k) => {
  const variation = tv.totalVariation(ops.narrow(u, 0, k, k + 1), { isotropic: true }).item();
  console.log(`t = ${time}: total variation ${variation.toFixed(1)}, error at most ${errorBound[k]?.[0]?.toExponential(0)}`);
});
console.log(`${u.shape.join(' × ')} values in ${steps.length} steps; constant from t = ${tv.extinctionTime(f).item().toFixed(1)} on`);

const spectrum = tv.spectral(f, { endTime: 0.5, bands: 25 });
const [texture, structure] = [spectrum.high(0.1), spectrum.low(0.1)];
const difference = ops.max(ops.abs(ops.sub(ops.add(texture, structure), f))).item();
console.log(`${spectrum.times.length} bands; texture + structure is the image: ${difference < 1e-5}`);
