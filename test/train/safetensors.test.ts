import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { FileError } from '../../src/data/file-error.js';
import { Random } from '../../src/data/random.js';
import { decodeSafetensors, encodeSafetensors, readSafetensors, writeSafetensors } from '../../src/train/safetensors.js';
import type { StoredTensor } from '../../src/train/stored-tensor.js';
import { distFile } from '../support/dist.js';
import { sharedFolder, temporaryFolder } from '../support/folders.js';

const tensors = new Map<string, StoredTensor>([
  ['bytes', { dtype: 'U8', shape: [3], data: Uint8Array.of(1, 2, 255) }],
  ['flags', { dtype: 'BOOL', shape: [2], data: Uint8Array.of(0, 1) }],
  ['weight', { dtype: 'F32', shape: [2, 2], data: Float32Array.of(1.5, -0, NaN, Infinity) }],
  ['double', { dtype: 'F64', shape: [1], data: Float64Array.of(Math.PI) }],
  ['scalar', { dtype: 'I64', shape: [], data: BigInt64Array.of(-(2n ** 60n)) }],
  ['none', { dtype: 'I32', shape: [0, 4], data: new Int32Array(0) }],
  ['naïve "name" \\', { dtype: 'I32', shape: [1], data: Int32Array.of(-7) }],
]);

/** A file by hand: header length, header, data. */
function file(header: unknown, data = Buffer.alloc(0), headerLength?: bigint): Buffer {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const start = Buffer.alloc(8);
  start.writeBigUInt64LE(headerLength ?? BigInt(json.length));
  return Buffer.concat([start, json, data]);
}

describe('round trip', () => {
  it('keeps names, types, shapes, numbers and metadata', async () => {
    const path = join(temporaryFolder(), 'a.safetensors');
    await writeSafetensors(path, tensors, { note: 'ä "quoted"', 'tautgrad.kind': 'test' });
    const back = await readSafetensors(path);
    expect(back.tensors).toEqual(new Map([...back.tensors.keys()].map((name) => [name, tensors.get(name)])));
    expect(back.tensors.size).toBe(tensors.size);
    expect(back.metadata).toEqual({ note: 'ä "quoted"', 'tautgrad.kind': 'test', 'tautgrad.version': '1' });
  });

  it('reads from any alignment', () => {
    const bytes = Buffer.concat(encodeSafetensors(tensors));
    for (let shift = 1; shift < 8; shift++) {
      const moved = Buffer.alloc(bytes.length + shift).subarray(shift);
      bytes.copy(moved);
      expect(decodeSafetensors(moved).tensors.get('double')).toEqual(tensors.get('double'));
    }
  });

  it('widens half precision', () => {
    const header = {
      h: { dtype: 'F16', shape: [6], data_offsets: [0, 12] },
      b: { dtype: 'BF16', shape: [2], data_offsets: [12, 16] },
    };
    const words = Uint16Array.of(0x3c00, 0xc000, 0x0001, 0x7bff, 0x7c00, 0x7e00, 0x3f80, 0xc049);
    const { tensors: read } = decodeSafetensors(file(header, Buffer.from(words.buffer)));
    expect(read.get('h')!.data).toEqual(Float32Array.of(1, -2, 2 ** -24, 65504, Infinity, NaN));
    expect(read.get('b')!.data).toEqual(Float32Array.of(1, -3.140625));
  });

  it('refuses data that does not fit its description', () => {
    const encode = (t: StoredTensor) => () => encodeSafetensors(new Map([['x', t]]));
    expect(encode({ dtype: 'F32', shape: [3], data: new Float32Array(2) })).toThrow(
      'Expected 3 elements for "x" of shape [3] but received 2',
    );
    expect(encode({ dtype: 'F32', shape: [2], data: new Float64Array(2) })).toThrow(
      'Expected a Float32Array for the F32 tensor "x" but received Float64Array',
    );
    expect(encode({ dtype: 'BF16', shape: [2], data: new Float32Array(2) })).toThrow('only read');
  });
});

describe('files of other origin', () => {
  const weights = sharedFolder('data', 'weights');
  it.skipIf(weights === null)('load without a checksum (skipped where the shared weights are absent)', async () => {
    const names = readdirSync(weights!).filter((name) => name.endsWith('.safetensors'));
    expect(names.length).toBeGreaterThan(0);
    for (const name of names) {
      const { tensors: read, metadata } = await readSafetensors(join(weights!, name));
      expect(read.size).toBeGreaterThan(10);
      expect(metadata.source).toBeDefined();
      for (const { shape, data } of read.values()) expect(data.length).toBe(shape.reduce((p, n) => p * n, 1));
    }
  });
});

describe('damaged files', () => {
  const complaint = (bytes: Buffer): string => {
    try {
      decodeSafetensors(bytes, 'x.safetensors');
    } catch (error) {
      expect(error).toBeInstanceOf(FileError);
      const { message } = error as FileError;
      expect(message).toMatch(/^Cannot read x\.safetensors: [^\n]+$/);
      return message;
    }
    return 'accepted';
  };

  it('are noticed for every changed byte and bit of a small file', () => {
    const good = Buffer.concat(encodeSafetensors(tensors, { 'tautgrad.kind': 'test', note: 'n' }));
    expect(complaint(good)).toBe('accepted');
    for (let at = 0; at < good.length; at++) {
      for (const mask of [1, 2, 4, 8, 16, 32, 64, 128, 255]) {
        const bad = Buffer.from(good);
        bad[at]! ^= mask;
        if (complaint(bad) === 'accepted') expect.fail(`a change of byte ${at} by ${mask} went unnoticed`);
      }
    }
  });

  it('are noticed for every truncation and for bytes at the end', () => {
    const good = Buffer.concat(encodeSafetensors(tensors));
    for (let length = 0; length < good.length; length++) expect(complaint(good.subarray(0, length))).not.toBe('accepted');
    expect(complaint(Buffer.concat([good, Buffer.alloc(1)]))).toContain('checksum');
  });

  it.each([
    ['an oversized header', file('{}', Buffer.alloc(0), 2n ** 63n), 'header length is damaged'],
    ['a header just over the cap', file('{}', Buffer.alloc(0), 100_000_001n), 'header length is damaged'],
    ['a header longer than the file', file('{}', Buffer.alloc(0), 3n), 'truncated'],
    ['a text file', Buffer.from('This is not a tensor file at all.'), 'not a safetensors file'],
    ['an empty file', Buffer.alloc(0), 'too short'],
    ['no JSON', file('{"a":'), 'not valid JSON'],
    ['a list', file('[]'), 'not valid JSON'],
    ['invalid UTF-8', Buffer.concat([file('', undefined, 3n), Buffer.from([0x22, 0xff, 0x22])]), 'not valid JSON'],
    ['metadata that are no strings', file({ __metadata__: { a: 1 } }), 'not a table of strings'],
    ['an entry that is no table', file({ a: 3 }), 'tensor "a" is not described'],
    ['an unknown type', file({ a: { dtype: 'toString', shape: [], data_offsets: [0, 4] } }), 'unknown type "toString"'],
    ['a negative size', file({ a: { dtype: 'F32', shape: [-1], data_offsets: [0, 4] } }), 'no valid shape'],
    ['reversed offsets', file({ a: { dtype: 'F32', shape: [1], data_offsets: [4, 0] } }, Buffer.alloc(4)), 'has -4 bytes'],
    ['a size that overflows', file({ a: { dtype: 'F32', shape: [2 ** 40, 2 ** 40], data_offsets: [0, 4] } }), 'need'],
    ['a wrong size', file({ a: { dtype: 'F32', shape: [2], data_offsets: [0, 4] } }, Buffer.alloc(4)), 'need 8'],
    ['missing data', file({ a: { dtype: 'F32', shape: [2], data_offsets: [0, 8] } }, Buffer.alloc(4)), '4 bytes are missing'],
    ['extra data', file({ a: { dtype: 'F32', shape: [1], data_offsets: [0, 4] } }, Buffer.alloc(6)), '2 bytes too many'],
    [
      'a hole',
      file({ a: { dtype: 'U8', shape: [1], data_offsets: [0, 1] }, b: { dtype: 'U8', shape: [1], data_offsets: [2, 3] } }, Buffer.alloc(3)),
      'does not follow',
    ],
    [
      'an overlap',
      file({ a: { dtype: 'U8', shape: [2], data_offsets: [0, 2] }, b: { dtype: 'U8', shape: [2], data_offsets: [1, 3] } }, Buffer.alloc(3)),
      'does not follow',
    ],
    ['a kind without a checksum', file({ __metadata__: { 'tautgrad.kind': 'model' } }), 'checksum is missing'],
  ])('%s is named', (_, bytes, words) => expect(complaint(bytes)).toContain(words));

  it('that are missing or folders are named', async () => {
    const folder = temporaryFolder();
    await expect(readSafetensors(join(folder, 'no'))).rejects.toThrow('there is no such file');
    mkdirSync(join(folder, 'd'));
    await expect(readSafetensors(join(folder, 'd'))).rejects.toThrow('it is a folder');
  });
});

describe('atomic replacement', () => {
  it('leaves the old file and no litter when writing fails', async () => {
    const folder = temporaryFolder();
    const path = join(folder, 'a.safetensors');
    writeFileSync(path, 'old');
    const broken = new Map([['x', { dtype: 'F32', shape: [9], data: new Float32Array(1) } as StoredTensor]]);
    await expect(writeSafetensors(path, broken)).rejects.toThrow(RangeError);
    expect(readFileSync(path, 'utf8')).toBe('old');
    expect(readdirSync(folder)).toEqual(['a.safetensors']);
  });

  it('survives 20 kills at random moments with a readable file', { timeout: 120_000 }, async () => {
    const folder = temporaryFolder();
    const path = join(folder, 'checkpoint.safetensors');
    // Writes numbered files of 4 MB (the number in every element) as fast as it can.
    const program = `
      import { writeSafetensors } from ${JSON.stringify(pathToFileURL(distFile('train/safetensors.js')).href)};
      for (let step = Number(process.argv[1]); ; step++) {
        const data = new Float32Array(1 << 20).fill(step);
        await writeSafetensors(${JSON.stringify(path)}, new Map([['x', { dtype: 'F32', shape: [data.length], data }]]), { step: String(step) });
        if (step % 100 === 1) process.stdout.write('written');
      }`;
    const random = new Random(20);
    let step = 1;
    for (let kill = 0; kill < 20; kill++) {
      const child = spawn(process.execPath, ['--input-type=module', '-e', program, String(step)], { stdio: ['ignore', 'pipe', 'inherit'] });
      const closed = once(child, 'close');
      await once(child.stdout, 'data');
      await new Promise((resolve) => setTimeout(resolve, random.uniform(0, 60)));
      child.kill('SIGKILL');
      await closed;
      expect(existsSync(path)).toBe(true);
      const { tensors: read, metadata } = await readSafetensors(path);
      const written = Number(metadata.step);
      expect(written).toBeGreaterThanOrEqual(step);
      const { data } = read.get('x')!;
      expect(data[0]).toBe(written);
      expect(data[data.length - 1]).toBe(written);
      step = Math.ceil(written / 100) * 100 + 1;
    }
  });
});
