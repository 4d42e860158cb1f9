/** Batches on their way to the emulated GPU, whose streams run late and in random turns: order and lifetime. */
import { beforeAll, expect, it } from 'vitest';
import { emulatedLibrary, onDevice } from './device.js';

let library = '';
beforeAll(() => {
  library = emulatedLibrary();
}, 1_800_000);

it.each([1, 2, 3, 4, 5])(
  'every step sees its own batch, whatever the order of the streams, and nothing stays behind (seed %i)',
  (seed) => {
    const { output, status } = onDevice(
      library,
      `
      import { data, memory, ops, tidy, train } from $PACKAGE;
      import { addon } from $BACKEND;
      // A source whose arrays are written again as soon as they are given back.
      const arrays = [];
      const host = {
        channels: 1, patchSize: 4, description: 'counting',
        async batch(step, size) {
          const fits = arrays.findIndex((a) => a.length === size * 16);
          const out = fits >= 0 ? arrays.splice(fits, 1)[0] : new Float32Array(new SharedArrayBuffer(4 * size * 16));
          await new Promise((resolve) => setImmediate(resolve));
          out.fill(step + 1);
          return { clean: out, shape: [size, 1, 4, 4], release: () => { out.fill(-1); arrays.push(out); } };
        },
        async close() {},
      };
      const before = memory().blocks;
      const source = data.deviceSource(host);
      const step = train.capture((x) => ops.sum(ops.mul(x, x)));
      const [eager, captured] = [[], []];
      for (const size of [2, 3]) {
        for (let k = 0; k < 8; k++) {
          const batch = await source.batch(k, size);
          eager.push(tidy(() => ops.sum(ops.mul(batch.clean, 2))));
          captured.push(step(batch.clean));
          batch.release();
          batch.release();
          await new Promise((resolve) => setImmediate(resolve));
        }
        step.dispose();
      }
      const skipped = await source.batch(40, 3); // not the one that was made ahead
      eager.push(tidy(() => ops.sum(ops.mul(skipped.clean, 2))));
      await source.close();
      skipped.release();
      const numbers = (list) => list.map((t) => t.item());
      const expected = [2, 3].flatMap((size) => [1, 2, 3, 4, 5, 6, 7, 8].map((v) => 16 * size * v));
      console.log(numbers(eager).join() === [...expected, 16 * 3 * 41].map((v) => 2 * v).join());
      console.log(numbers(captured).join() === [2, 3].flatMap((size) => [1, 2, 3, 4, 5, 6, 7, 8].map((v) => 16 * size * v * v)).join());
      for (const t of [...eager, ...captured]) t.dispose();
      console.log(memory().blocks - before <= 1); // the constant 2
      const again = data.deviceSource({ ...host, batch: async (k) => { if (k > 0) throw new Error('no batch ' + k); return host.batch(k, 2); } });
      (await again.batch(0, 2)).release();
      await again.batch(1, 2).catch((error) => console.log(error.message));
      await again.close();
      const short = data.deviceSource({ ...host, batch: async () => ({ ...(await host.batch(0, 2)), shape: [3, 1, 4, 4] }) });
      await short.batch(0, 3).catch((error) => console.log(error.message));
      await short.close();`,
      { seed, asynchronous: true },
    );
    expect(output).toBe('true\ntrue\ntrue\nno batch 1\nExpected 192 bytes for the batch but received 128\n');
    expect(status).toBe(0);
  },
  60_000,
);

it('the order of the streams is what the events make of it: without them the test above would fail', () => {
  // The same kernel sources, but the copy does not wait for the reader of the batch before: some seed must show it.
  const script = `
    import { ops, tensor } from $PACKAGE;
    import { addon, Stage } from $BACKEND;
    const block = tensor(new Float32Array(64));
    const stage = new Stage(block.address, 256);
    const sums = [];
    for (let k = 1; k <= 20; k++) {
      stage.send(new Float32Array(64).fill(k));
      if (process.env.ORDERED) stage.receive();
      sums.push(ops.sum(block));
      if (process.env.ORDERED) stage.done();
    }
    console.log(sums.every((t, k) => t.item() === 64 * (k + 1)));`;
  const outcomes = (environment: Record<string, string>): string[] =>
    [1, 2, 3].map((seed) => onDevice(library, script, { seed, asynchronous: true, environment }).output);
  expect(outcomes({ ORDERED: '1' })).toEqual(['true\n', 'true\n', 'true\n']);
  expect(outcomes({})).toContain('false\n');
}, 60_000);
