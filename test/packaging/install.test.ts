// What a user of the published package gets: prebuild, pack, install the tarball into an empty folder without running any script and
// without a compiler on the PATH, and compute there. The dependencies come from npm's cache or its registry.
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const MINUTE = 60_000;
const folder = realpathSync(mkdtempSync(join(tmpdir(), 'tautgrad-install-')));
const consumer = join(folder, 'consumer');
const bin = join(folder, 'bin');
let packed: string[] = [];

/** The environment of a machine with Node, npm and a shell, and nothing else. */
const bareEnvironment = () => ({ HOME: process.env.HOME, PATH: bin, npm_config_cache: process.env.npm_config_cache });

async function run(command: string, args: string[], cwd: string, env: NodeJS.ProcessEnv = process.env): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)(command, args, { cwd, env, maxBuffer: 1 << 26 });
    return stdout;
  } catch (error) {
    const { stdout, message } = error as Error & { stdout?: string }; // the message holds the standard error
    throw new Error(`${message}\n${stdout ?? ''}`);
  }
}

async function which(program: string): Promise<string> {
  return realpathSync((await run('/bin/sh', ['-c', `command -v ${program}`], root)).trim());
}

beforeAll(async () => {
  await run(process.execPath, ['scripts/prebuild.cjs'], root);
  await run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'], root);
  mkdirSync(bin);
  mkdirSync(consumer);
  symlinkSync(process.execPath, join(bin, 'node'));
  for (const program of ['npm', 'sh', 'env']) symlinkSync(await which(program), join(bin, program));

  const [pack] = JSON.parse(await run('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', folder], root));
  packed = pack.files.map((file: { path: string }) => file.path);
  writeFileSync(join(consumer, 'package.json'), JSON.stringify({ name: 'consumer', private: true, type: 'module' }));
  const options = ['--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund'];
  await run('npm', ['install', ...options, join(folder, pack.filename)], consumer, bareEnvironment());
}, 15 * MINUTE);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('the published package', () => {
  test('carries code, types, binary and native sources, and no tests or build records', () => {
    const prebuild = new RegExp(`^prebuilds/${process.platform}-${process.arch}/tautgrad(\\.(glibc|musl))?\\.node$`);
    expect(packed.filter((path) => prebuild.test(path))).toHaveLength(1);
    for (const path of [
      'dist/index.js',
      'dist/index.d.ts',
      'dist/cli/main.js',
      'binding.gyp',
      'CMakeLists.txt',
      'scripts/install.cjs',
      'LICENSE',
    ])
      expect(packed).toContain(path);
    expect(packed).toContain('native/backend.h');
    expect(packed).toContain('native/cpu/prox1d.cpp');
    const foreign = packed.filter((path) => /^(test|bench|src|build|node_modules|runs|\.)|tsbuildinfo|\.test\./.test(path));
    expect(foreign).toEqual([]);
  });

  test('runs a prox after an installation without scripts and without a compiler', async () => {
    for (const compiler of ['c++', 'g++', 'cc', 'make', 'cmake'])
      await expect(run(compiler, ['--version'], consumer, bareEnvironment()), compiler).rejects.toThrow('ENOENT');
    const program = `import { tensor, tv } from 'tautgrad';
      const y = tv.prox1d(tensor([0, 0, 5, 5]), 1);
      console.log(JSON.stringify(Array.from(y.dataSync())));`;
    writeFileSync(join(consumer, 'use.js'), program);
    // Closed form: a single jump of height 5 shrinks by lambda / 2 samples on each side.
    expect(JSON.parse(await run('node', ['use.js'], consumer, bareEnvironment()))).toEqual([0.5, 0.5, 4.5, 4.5]);
  });

  test('the installed command line answers', async () => {
    const output = await run('node', ['node_modules/tautgrad/dist/cli/main.js', 'info', '--json'], consumer, bareEnvironment());
    expect(JSON.parse(output)).toMatchObject({ version: JSON.parse(await run('cat', ['package.json'], root)).version });
  });

  test(
    'the types serve a strict TypeScript consumer',
    async () => {
      const program = `import { type Tensor, tensor, tv } from 'tautgrad';
      const y: Tensor = tv.prox1d(tensor([0, 0, 5, 5]), 1, { axis: 0 });
      const first: number | bigint | undefined = y.dataSync()[0];
      // @ts-expect-error a string is no signal
      tv.prox1d('signal', 1);
      export { first };`;
      writeFileSync(join(consumer, 'use.ts'), program);
      const compilerOptions = {
        strict: true,
        target: 'es2022',
        lib: ['es2023', 'esnext.disposable'],
        module: 'nodenext',
        types: ['node'],
        typeRoots: [join(root, 'node_modules', '@types')],
        noEmit: true,
      };
      writeFileSync(join(consumer, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['use.ts'] }));
      expect(await run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', consumer], consumer)).toBe('');
    },
    2 * MINUTE,
  );
});
