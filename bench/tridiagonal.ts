/**
 * Batches of tridiagonal systems against LAPACK.
 *
 *   npm run bench:tridiagonal [-- --repeat 15 --match dpttrf --json]
 *
 * One thread, same process, same inputs, in turns; medians, nanoseconds per unknown. Ours through the public TypeScript calls. LAPACK is
 * called once per system through a foreign-function interface, whose cost, measured on systems of one unknown, is taken off.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { devices, linalg, type Tensor, tensor, tidy } from 'tautgrad';
import { loadLapack } from './peers/lapack.js';

const { values: args } = parseArgs({
  options: {
    repeat: { type: 'string', default: '15' },
    match: { type: 'string', default: '' },
    json: { type: 'boolean', default: false },
    threads: { type: 'string', default: '1' },
    child: { type: 'boolean', default: false },
  },
});

/** Linear congruential: the same inputs in every run. */
let state = 12345;
function uniform(low: number, high: number): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return low + ((high - low) * state) / 4294967296;
}
const filled = (n: number, low: number, high: number): Float64Array => Float64Array.from({ length: n }, () => uniform(low, high));
const median = (v: number[]): number => [...v].sort((a, b) => a - b)[Math.floor(v.length / 2)] as number;
const spread = (v: number[]): number => {
  const sorted = [...v].sort((a, b) => a - b);
  return ((sorted[Math.floor((3 * v.length) / 4)] as number) - (sorted[Math.floor(v.length / 4)] as number)) / median(v);
};

const lapack = loadLapack();

function time(run: () => void, calls: number): number {
  const start = performance.now();
  for (let k = 0; k < calls; k++) run();
  return ((performance.now() - start) * 1e6) / calls;
}

function contest(
  name: string,
  systems: number,
  length: number,
  ours: () => void,
  reset: () => void,
  theirs: ((s: number) => void) | null,
): void {
  if (!`${name} ${length}`.includes(args.match)) return;
  const unknowns = systems * length;
  const calls = Math.max(1, Math.ceil(3e6 / Math.max(1, time(ours, 1))));
  const [own, peer]: [number[], number[]] = [[], []];
  for (let k = 0; k < Number(args.repeat); k++) {
    own.push(time(ours, calls) / unknowns);
    if (!theirs) continue;
    reset(); // LAPACK overwrites its arguments
    const start = performance.now();
    for (let s = 0; s < systems; s++) theirs(s);
    peer.push(((performance.now() - start) * 1e6 - systems * (foreignCosts[name] ?? 0)) / unknowns);
  }
  const ratio = theirs ? median(peer) / median(own) : null;
  if (args.json) {
    const dtype = name.startsWith('s') ? 'float32' : 'float64';
    const row = { case: name, lines: systems, length, lambda: null, dtype, threads: Number(args.threads) };
    console.log(
      JSON.stringify({ ...row, ours_ns: median(own), peer: theirs ? 'LAPACK' : null, peer_ns: theirs ? median(peer) : null, ratio }),
    );
    return;
  }
  const beside = theirs ? `LAPACK ${median(peer).toFixed(2)} ns (±${(50 * spread(peer)).toFixed(0)} %), ratio ${ratio?.toFixed(1)}` : '';
  console.log(
    `${name.padEnd(7)} ${String(systems).padStart(6)} systems of ${String(length).padEnd(7)} ${median(own).toFixed(2).padStart(7)} ns (±${(50 * spread(own)).toFixed(0)} %)  ${beside}`,
  );
}

/** Nanoseconds that each routine's call costs by itself: longer argument lists cost more. */
function callCosts(): Record<string, number> {
  if (!lapack) return {};
  const [n, v, w] = [new Int32Array([1]), new Float64Array([1]), new Float32Array([1])];
  const calls: Record<string, () => void> = {
    dpttrf: () => lapack.dpttrf(n, v, v),
    dpttrs: () => lapack.dpttrs(n, v, v, v),
    dptsv: () => lapack.dptsv(n, v, v, v),
    sptsv: () => lapack.sptsv(n, w, w, w),
    dgtsv: () => lapack.dgtsv(n, v, v, v, v),
  };
  return Object.fromEntries(
    Object.entries(calls).map(([name, call]) => [name, median(Array.from({ length: 9 }, () => time(call, 20_000)))]),
  );
}
const foreignCosts = callCosts();

function batch(systems: number, length: number): void {
  const count = systems * length;
  const [d, e, b, dl, du] = [filled(count, 4, 6), filled(count, -1, 1), filled(count, -1, 1), filled(count, -1, 1), filled(count, -1, 1)];
  const shape = [systems, length];
  const off = (v: Float64Array): Float64Array => v.filter((_, i) => i % length < length - 1);
  const make = (v: Float64Array, dtype: 'float32' | 'float64', edges = false): Tensor =>
    tensor(edges ? off(v) : v, { shape: edges ? [systems, length - 1] : shape, dtype });
  const rows = <A extends Float64Array | Float32Array>(v: A, edges = false): A[] =>
    Array.from({ length: systems }, (_, s) => v.subarray(s * length, (s + 1) * length - (edges ? 1 : 0)) as A);
  const own = {
    d: make(d, 'float64'),
    e: make(e, 'float64', true),
    b: make(b, 'float64'),
    dl: make(dl, 'float64', true),
    du: make(du, 'float64', true),
    d32: make(d, 'float32'),
    e32: make(e, 'float32', true),
    b32: make(b, 'float32'),
  };
  const work = { d: d.slice(), e: e.slice(), b: b.slice(), dl: dl.slice(), du: du.slice() };
  const work32 = { d: Float32Array.from(d), e: Float32Array.from(e), b: Float32Array.from(b) };
  const views = { d: rows(work.d), e: rows(work.e, true), b: rows(work.b), dl: rows(work.dl, true), du: rows(work.du, true) };
  const views32 = { d: rows(work32.d), e: rows(work32.e, true), b: rows(work32.b) };
  const n = new Int32Array([length]);
  const reset = (): void => {
    for (const [key, from] of Object.entries({ d, e, b, dl, du })) work[key as keyof typeof work].set(from);
    work32.d.set(d);
    work32.e.set(e);
    work32.b.set(b);
  };
  const factors = linalg.pttrf(own.d, own.e);
  const peer = (call: (l: NonNullable<typeof lapack>, s: number) => void): ((s: number) => void) | null =>
    lapack ? (s) => call(lapack, s) : null;
  const at = <A>(list: A[], s: number): A => list[s] as A;
  contest(
    'dpttrf',
    systems,
    length,
    () => tidy(() => void linalg.pttrf(own.d, own.e)),
    reset,
    peer((l, s) => l.dpttrf(n, at(views.d, s), at(views.e, s))),
  );
  contest(
    'dpttrs',
    systems,
    length,
    () => tidy(() => void linalg.pttrs(factors.d, factors.l, own.b)),
    reset,
    peer((l, s) => l.dpttrs(n, at(views.d, s), at(views.e, s), at(views.b, s))),
  );
  contest(
    'dptsv',
    systems,
    length,
    () => tidy(() => void linalg.ptsv(own.d, own.e, own.b)),
    reset,
    peer((l, s) => l.dptsv(n, at(views.d, s), at(views.e, s), at(views.b, s))),
  );
  contest(
    'sptsv',
    systems,
    length,
    () => tidy(() => void linalg.ptsv(own.d32, own.e32, own.b32)),
    reset,
    peer((l, s) => l.sptsv(n, at(views32.d, s), at(views32.e, s), at(views32.b, s))),
  );
  contest(
    'dgtsv',
    systems,
    length,
    () => tidy(() => void linalg.gtsv(own.dl, own.d, own.du, own.b)),
    reset,
    peer((l, s) => l.dgtsv(n, at(views.dl, s), at(views.d, s), at(views.du, s), at(views.b, s))),
  );
  for (const t of [...Object.values(own), factors.d, factors.l]) t.dispose();
}

if (args.child) {
  const cpu = devices()[0];
  if (!args.json)
    console.log(
      `${cpu?.description}, ${cpu?.threads} thread(s), ${lapack?.path ?? 'no LAPACK'} (calls: ${Object.values(foreignCosts)
        .map((c) => c.toFixed(0))
        .join(', ')} ns)`,
    );
  for (const length of [8, 16, 32, 128, 512, 1024]) batch(Math.floor(65536 / length), length);
  batch(1, 1_000_000);
} else {
  for (const threads of args.threads.split(',')) {
    spawnSync(process.execPath, [fileURLToPath(import.meta.url), ...process.argv.slice(2), '--child', '--threads', threads], {
      stdio: 'inherit',
      env: { ...process.env, TAUTGRAD_THREADS: threads },
    });
  }
}
