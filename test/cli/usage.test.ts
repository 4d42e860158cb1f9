import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { expectFailure, tautgrad } from '../support/command.js';

const commands = [
  ['info'],
  ['denoise'],
  ['train', 'denoise'],
  ['eval', 'denoise'],
  ['report'],
  ['train', 'tdv'],
  ['reconstruct', 'ct'],
  ['reconstruct', 'mri'],
  ['reconstruct', 'sr'],
  ['flow'],
  ['quickstart'],
];

describe('help', () => {
  it('prints the version', async () => {
    const { version } = JSON.parse(readFileSync(resolve(import.meta.dirname, '../../package.json'), 'utf8')) as { version: string };
    expect(await tautgrad(['--version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' });
  });

  it.each(commands.map((c) => c.join(' ')))('of %s has an example and --json', async (command) => {
    const { code, stdout } = await tautgrad([...command.split(' '), '--help']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/Examples?:\n {2}\$ tautgrad /);
    expect(stdout).toContain(`Usage: tautgrad ${command}`);
    expect(stdout).toContain('--json');
  });

  it('lists the commands', async () => {
    const { code, stdout } = await tautgrad(['--help']);
    expect(code).toBe(0);
    for (const [name] of commands) expect(stdout).toContain(`\n  ${name} `);
  });
});

describe('wrong use', () => {
  it.each([
    ['an unknown command', ['denoize', 'a', 'b'], "unknown command 'denoize' (Did you mean denoise?)"],
    ['an unknown option', ['denoise', 'a', 'b', '--lamda', '1'], "unknown option '--lamda'"],
    ['a missing argument', ['denoise', 'a.png'], "missing required argument 'out'"],
    ['too many arguments', ['info', 'x'], 'too many arguments'],
    ['a missing option', ['eval', 'denoise'], "required option '--data <folder>' not specified"],
    ['a negative lambda', ['denoise', 'a.png', 'b.png', '--lambda=-1'], 'Expected a number of at least 0, or auto, but received "-1"'],
    ['a lambda of NaN', ['denoise', 'a.png', 'b.png', '--lambda', 'NaN'], 'but received "NaN"'],
    ['an infinite sigma', ['eval', 'denoise', '--data', 'x', '--sigma', '1e999'], 'Expected a number greater than 0 but received "1e999"'],
    ['half a step', ['train', 'denoise', '--steps', '1.5'], 'Expected a whole number greater than 0 but received "1.5"'],
    ['two channels', ['train', 'denoise', '--channels', '2'], 'Expected 1 (gray) or 3 (colour) but received "2"'],
    [
      'a model and a lambda',
      ['denoise', 'a.png', 'b.png', '--model', 'm', '--lambda', '1'],
      "cannot be used with option '--lambda <number>'",
    ],
    [
      'times that fall',
      ['flow', 'a.png', '--times', '1,0.5'],
      'Expected increasing numbers of at least 0, such as 0.1,0.5,1, but received "1,0.5"',
    ],
    ['a step and an accuracy', ['flow', 'a.png', '--step', '1', '--accuracy', '0.1'], "cannot be used with option '--accuracy <number>'"],
    ['eval without a method', ['eval', 'denoise', '--data', 'x'], 'Expected --model FILE or --lambda X'],
    ['steps and minutes', ['train', 'denoise', '--steps', '3', '--minutes', '1'], 'Expected --steps or --minutes but received both'],
  ])('%s', async (_, args, words) => expect(expectFailure(await tautgrad(args), 2)).toContain(words));
});

describe('info', () => {
  it('prints one JSON object with --json', async () => {
    const { code, stdout, stderr } = await tautgrad(['info', '--json']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const found = JSON.parse(stdout) as { version: string; threads: number; devices: { name: string; description: string }[] };
    expect(found.threads).toBeGreaterThan(0);
    expect(found.devices.map(({ name }) => name)).toEqual(['cpu', 'cuda']);
    for (const { description } of found.devices) expect(description).not.toBe('');
  });

  it('prints the same for people', async () => {
    const { stdout } = await tautgrad(['info']);
    expect(stdout).toMatch(/^tautgrad: +\d+\.\d+\.\d+\n/);
    expect(stdout).toMatch(/\nthreads: +\d+\n/);
    expect(stdout).toMatch(/\nGPU: +\S+/);
  });
});
