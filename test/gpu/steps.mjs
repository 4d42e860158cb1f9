/**
 * The runtime on the device 'cuda', in plain Node: captured steps against the same steps run one by one, batches on the copy stream, cuDNN and
 * cuBLAS (where they are found) against the CPU backend, rounded products. On a GPU, or on the emulation (TAUTGRAD_CUDA_LIBRARY). The last
 * line is "N passed, N failed".
 *
 *   node test/gpu/steps.mjs
 */
const { allowTF32, data, devices, grad, Generator, memory, nn, ops, optim, randn, seed, setDevice, tensor, tidy, train, tv } = await import(
  new URL('../../dist/index.js', import.meta.url).href
);
const { addon } = await import(new URL('../../dist/backend/index.js', import.meta.url).href);
console.log([devices()[1].description, ...(devices()[1].libraries ?? [])].join('\n'));
setDevice('cuda');

let [passed, failed] = [0, 0];
const test = async (name, body) => {
  try {
    await body();
    passed++;
    console.log(`ok    ${name}`);
  } catch (error) {
    failed++;
    console.log(`FAIL  ${name}: ${error.stack}`);
  }
};
const equal = (what, a, b) => {
  const [left, right] = [JSON.stringify(a), JSON.stringify(b)];
  if (left !== right) throw new Error(`${what}: ${left.slice(0, 200)} is not ${right.slice(0, 200)}`);
};
const values = (t) => [...t.toTypedArray()];

/** Losses, weights and the optimiser's state after some steps with noise on the input. */
function trained(capture) {
  seed(5);
  const noise = new Generator(9);
  const model = new nn.Sequential(
    new nn.Conv2d({ inChannels: 1, outChannels: 8, kernelSize: 3, padding: 1 }),
    new nn.BatchNorm2d({ channels: 8 }),
    new nn.Conv2d({ inChannels: 8, outChannels: 1, kernelSize: 3, padding: 1 }),
    new nn.TVLayer1d({ channels: 1, direction: 'row', mode: 'smooth', lambda: { init: 0.01, trainable: true } }),
  );
  const adam = new optim.AdamW(model.namedParameters());
  const step = (x) => {
    const { value, gradients } = nn.valueAndGrad(model, () =>
      ops.mean(ops.square(ops.sub(model.forward(ops.add(x, noise.normal(x.shape, { std: 0.1 }))), x))),
    );
    adam.step(gradients);
    return value;
  };
  const run = capture ? train.capture(step) : step;
  const losses = [];
  for (let k = 0; k < 12; k++) {
    adam.learningRate = 0.01 / (k + 1);
    tidy(() => losses.push(run(randn([4, 1, 16, 20])).item()));
  }
  const state = [...model.stateDict().values(), ...adam.state().tensors.values()].map(values);
  for (const t of [...model.stateDict().values(), ...adam.state().tensors.values()]) t.dispose();
  if (capture) run.dispose();
  return { losses, state, steps: adam.stepCount, noise: noise.state };
}

await test('a captured step repeats the bits of the same step run one by one', () => {
  equal('training', trained(true), trained(false));
});

await test('a solver that reads its gap cannot be captured; the next step runs', () => {
  const step = train.capture((x) => tv.prox2d(x, 0.2));
  const x = randn([16, 16]);
  tidy(() => step(x));
  let message = '';
  try {
    tidy(() => step(x));
  } catch (error) {
    message = error.message;
  }
  if (!message.includes('cannot be part of a captured step')) throw new Error(`unexpected outcome: ${message || 'it was captured'}`);
  const double = train.capture((v) => ops.mul(v, 2));
  for (let k = 1; k < 5; k++) tidy(() => equal('after it', values(double(tensor([k]))), [2 * k]));
  double.dispose();
  x.dispose();
});

await test('batches on the copy stream arrive whole and in order, and their memory goes back', async () => {
  const size = 8;
  const host = {
    channels: 1,
    patchSize: 64,
    description: 'counting',
    async batch(step) {
      return { clean: new Float32Array(size * 4096).fill(step + 1), shape: [size, 1, 64, 64], release() {} };
    },
    async close() {},
  };
  const before = memory().blocks;
  const source = data.deviceSource(host);
  const w = randn([8, 1, 3, 3]);
  const sums = [];
  for (let k = 0; k < 50; k++) {
    const batch = await source.batch(k, size);
    sums.push(
      tidy(() => {
        ops.conv2d(batch.clean, w, { padding: 1 }); // something to wait for
        return ops.mean(batch.clean);
      }),
    );
    batch.release();
  }
  await source.close();
  equal(
    'means',
    sums.map((t) => t.item()),
    sums.map((_, k) => k + 1),
  );
  for (const t of [...sums, w]) t.dispose();
  addon.synchronize();
  // The constant 1/n of the mean stays.
  if (memory().blocks > before + 1) throw new Error(`${memory().blocks - before} blocks stay behind`);
});

/** The largest error of convolutions, products and their gradients beside the CPU, relative to the largest value. */
function error(dtype, shapes, options) {
  seed(3);
  setDevice('cpu');
  const [x, w, b] = shapes.map((shape) => randn(shape, dtype));
  const on = (device) => {
    setDevice(device);
    return tidy(() => {
      const own = [x, w, b].map((t) => t.to(device));
      const loss = (u, v, c) => ops.mean(ops.square(ops.convLayer2d(u, v, c, { ...options, relu: true })));
      const flat = (t) => ops.reshape(t, [t.shape[0], -1]);
      return [
        ops.conv2d(own[0], own[1], options),
        ...grad((p) => loss(...p))(own),
        ops.matmul(flat(own[1]), flat(own[1]), { transposeB: true }),
      ].map(values);
    });
  };
  const [expected, got] = [on('cpu'), on('cuda')];
  for (const t of [x, w, b]) t.dispose();
  return Math.max(
    ...expected.map((a, i) => {
      const scale = a.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
      return a.reduce((m, v, k) => Math.max(m, Math.abs(v - got[i][k])), 0) / scale;
    }),
  );
}
const KINDS = [
  [[[2, 16, 24, 20], [32, 16, 3, 3], [32]], { padding: 1 }],
  [
    [[2, 8, 19, 23], [12, 4, 3, 5], [12]],
    {
      stride: 2,
      padding: [
        [1, 1],
        [2, 2],
      ],
      dilation: [1, 2],
      groups: 2,
    },
  ],
  [[[2, 8, 12, 12], [8, 1, 3, 3], [8]], { padding: 1, groups: 8 }],
  [[[1, 3, 10, 10], [4, 3, 4, 4], [4]], { padding: 'same' }],
];
for (const [shapes, options] of KINDS) {
  for (const [dtype, tolerance] of [
    ['float32', 1e-5],
    ['float64', 1e-12],
  ]) {
    await test(`convolutions and products beside the CPU, ${dtype}, ${JSON.stringify(shapes[1])}, ${JSON.stringify(options)}`, () => {
      const worst = error(dtype, shapes, options);
      if (!(worst <= tolerance)) throw new Error(`off by ${worst}`);
    });
  }
}
await test('TensorFloat-32 keeps 10 bits, and only while it is allowed', () => {
  const [shapes, options] = KINDS[0];
  allowTF32(true);
  const coarse = error('float32', shapes, options);
  allowTF32(false);
  const exact = error('float32', shapes, options);
  if (!(coarse < 5e-3 && exact < 1e-5)) throw new Error(`off by ${coarse} with it and ${exact} without`);
});
/** The largest difference of bfloat16 products, relative to each result's largest value, with factors and cotangents that both devices are given. */
function bfloat16Error() {
  const kinds = [
    [{ padding: 1 }, [2, 16, 11, 13], [20, 16, 3, 3]],
    [
      {
        stride: 2,
        padding: [
          [1, 1],
          [2, 2],
        ],
        dilation: [1, 2],
        groups: 2,
      },
      [2, 40, 9, 11],
      [24, 20, 3, 3],
    ],
    [
      {
        padding: [
          [0, 1],
          [1, 0],
        ],
      },
      [3, 70, 6, 6],
      [65, 70, 2, 2],
    ],
    [{ padding: 1, groups: 8 }, [2, 8, 7, 9], [8, 1, 3, 3]],
    [{ padding: 1 }, [1, 3, 40, 33], [5, 3, 3, 3]],
  ];
  const products = [
    [
      [3, 5, 4],
      [4, 6],
    ],
    [
      [2, 70, 90],
      [2, 90, 130],
    ],
    [
      [1, 33],
      [33, 1],
    ],
  ];
  seed(4);
  const drawn = (shape) => randn(shape).toTypedArray().slice();
  const operands = [...kinds.map(([, x, w]) => [x, w]), ...products].map((shapes) => shapes.map((shape) => [shape, drawn(shape)]));
  const cotangents = [];
  const compute = (device) =>
    train.mixedPrecision(() =>
      tidy(() => {
        setDevice(device);
        const results = [];
        for (const [k, pair] of operands.entries()) {
          const [a, b] = pair.map(([shape, values]) => tensor(values, { shape }));
          const options = kinds[k]?.[0];
          const multiply = options ? (u, v) => ops.conv2d(u, v, options) : ops.matmul;
          const y = multiply(a, b);
          cotangents[k] ??= drawn(y.shape);
          const g = tensor(cotangents[k], { shape: y.shape });
          results.push(y, ...grad(([u, v]) => ops.sum(ops.mul(multiply(u, v), g)))([a, b]));
          if (!options) continue;
          const bias = tensor(new Float32Array(b.shape[0]).fill(0.1));
          const layer = ([u, v, c]) => ops.sum(ops.mul(ops.convLayer2d(u, v, c, options), g));
          results.push(...grad(layer)([a, b, bias]));
        }
        return results.map((t) => t.toTypedArray().slice());
      }),
    );
  const expected = compute('cpu');
  const got = compute('cuda');
  let worst = 0;
  for (const [i, a] of expected.entries()) {
    const scale = a.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
    for (const [k, v] of a.entries()) worst = Math.max(worst, Math.abs(v - got[i][k]) / scale);
  }
  return worst;
}
await test('products of factors rounded to bfloat16 are those of the CPU, by tensor cores and without', () => {
  for (const cores of ['', 'off']) {
    process.env.TAUTGRAD_CUDA_TENSOR_CORES = cores;
    const worst = bfloat16Error();
    if (!(worst < 1e-5)) throw new Error(`off by ${worst}${cores ? ' without tensor cores' : ''}`);
  }
  const exact = error('float32', KINDS[0][0], KINDS[0][1]);
  if (!(exact < 1e-5)) throw new Error(`float32 is off by ${exact} afterwards`);
});
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
