import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { writeFileAtomic } from '../data/atomic-write.js';
import { FileError } from '../data/file-error.js';
import { type Dtype, dtypes, type StoredTensor, type TensorMap, toBytes, toTypedArray } from './stored-tensor.js';

/**
 * The safetensors format (https://github.com/huggingface/safetensors): eight bytes of header length, a JSON header with
 * type, shape and place of every tensor, then the plain little-endian data. Nothing in it is executed, and everything
 * in it is checked here before it is believed.
 *
 * Files of this package carry `tautgrad.version`, `tautgrad.kind` and `tautgrad.sha256` in the metadata. The checksum is
 * the SHA-256 of the whole file with its own 64 digits replaced by zeros, so that a single changed byte anywhere is
 * noticed. A file with any `tautgrad.` key must have a matching checksum; files of other origin load without one.
 */

/** The content of a file; `metadata` is without the checksum. */
export interface SafetensorsFile {
  readonly tensors: TensorMap;
  readonly metadata: Readonly<Record<string, string>>;
}

/** The same cap as the reference implementation: no sensible header is larger. */
const maxHeaderBytes = 100_000_000;
const checksumKey = 'tautgrad.sha256';
const checksumLead = `"${checksumKey}":"`;
const noChecksum = '0'.repeat(64);

/**
 * Writes tensors in one step (see `writeFileAtomic`), with a checksum.
 *
 * @param metadata further strings; `tautgrad.kind` says what the file is, `tautgrad.version` is 1 unless given
 * @throws FileError when the path cannot be written
 */
export async function writeSafetensors(path: string, tensors: TensorMap, metadata: Readonly<Record<string, string>> = {}): Promise<void> {
  await writeFileAtomic(path, encodeSafetensors(tensors, metadata));
}

/**
 * Reads and verifies a safetensors file. Half-precision tensors (F16, BF16) are widened to float32.
 *
 * @throws FileError naming the file and what is wrong with it
 */
export async function readSafetensors(path: string): Promise<SafetensorsFile> {
  const bytes = await readFile(path).catch((error: unknown) => {
    throw FileError.fromSystem(path, 'read', error);
  });
  return decodeSafetensors(bytes, path);
}

/** The bytes of a file, in pieces that share memory with the tensors. */
export function encodeSafetensors(tensors: TensorMap, metadata: Readonly<Record<string, string>> = {}): Uint8Array[] {
  // Wide elements first: with a header padded to eight bytes every tensor is then aligned for its type.
  const entries = [...tensors].sort(
    ([a, { dtype: s }], [b, { dtype: t }]) => dtypes[t].bytes - dtypes[s].bytes || (a < b ? -1 : a > b ? 1 : 0),
  );
  const header: Record<string, unknown> = Object.create(null);
  header.__metadata__ = {
    'tautgrad.version': '1',
    'tautgrad.kind': 'tensors',
    ...metadata,
    [checksumKey]: noChecksum,
  };
  const body: Uint8Array[] = [];
  let offset = 0;
  for (const [name, tensor] of entries) {
    if (name === '__metadata__') throw new RangeError(`Expected a tensor name other than __metadata__ for tensors`);
    const bytes = toBytes(name, tensor);
    header[name] = { dtype: tensor.dtype, shape: tensor.shape, data_offsets: [offset, offset + bytes.byteLength] };
    body.push(bytes);
    offset += bytes.byteLength;
  }
  const json = Buffer.from(JSON.stringify(header));
  const start = Buffer.alloc(8 + Math.ceil(json.byteLength / 8) * 8, ' ');
  start.writeBigUInt64LE(BigInt(start.byteLength - 8));
  json.copy(start, 8);
  const place = start.indexOf(checksumLead) + checksumLead.length;
  start.write(checksum([start, ...body]), place, 'latin1');
  return [start, ...body];
}

/** `readSafetensors` for bytes in memory; `path` appears in error messages. The tensors may share the bytes' memory. */
export function decodeSafetensors(bytes: Uint8Array, path = 'the file'): SafetensorsFile {
  const fail = (what: string): never => {
    throw new FileError(path, `Cannot read ${path}: ${what}`);
  };
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.byteLength < 8) fail('it is too short to be a safetensors file');
  const headerBytes = Number(view.readBigUInt64LE());
  if (headerBytes > maxHeaderBytes) {
    fail('it is not a safetensors file, or its header length is damaged (more than 100 MB)');
  }
  if (headerBytes > view.byteLength - 8) fail('it is truncated, or its header length is damaged');
  const dataStart = 8 + headerBytes;
  const header = parseHeader(view.subarray(8, dataStart)) ?? fail('its header is not valid JSON');
  const metadata = readMetadata(header.__metadata__) ?? fail('its metadata is not a table of strings');
  if (Object.keys(metadata).some((key) => key.startsWith('tautgrad.'))) {
    const problem = verifyChecksum(view, dataStart, metadata[checksumKey]);
    if (problem !== null) fail(problem);
  }
  const places: { name: string; place: Place }[] = [];
  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    const place = readPlace(entry);
    if (typeof place === 'string') fail(`its tensor "${name}" ${place}`);
    else places.push({ name, place });
  }
  // Together the tensors must cover the data exactly: no overlap, no hole, nothing left over.
  places.sort((a, b) => a.place.begin - b.place.begin || a.place.end - b.place.end);
  let expected = 0;
  for (const { name, place } of places) {
    if (place.begin !== expected) fail(`its tensor "${name}" does not follow the one before it`);
    expected = place.end;
  }
  if (dataStart + expected !== view.byteLength) {
    const difference = dataStart + expected - view.byteLength;
    fail(difference > 0 ? `it is truncated: ${difference} bytes are missing` : `it has ${-difference} bytes too many`);
  }
  const tensors = new Map<string, StoredTensor>();
  for (const { name, place } of places) {
    const data = toTypedArray(place.dtype, view.subarray(dataStart + place.begin, dataStart + place.end));
    tensors.set(name, { dtype: place.dtype, shape: place.shape, data });
  }
  const { [checksumKey]: _, ...rest } = metadata;
  return { tensors, metadata: rest };
}

interface Place {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

function parseHeader(bytes: Uint8Array): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    return isTable(value) ? value : null;
  } catch {
    return null;
  }
}

function readMetadata(value: unknown): Record<string, string> | null {
  if (value === undefined) return {};
  if (!isTable(value) || !Object.values(value).every((v) => typeof v === 'string')) return null;
  return value as Record<string, string>;
}

/** The checked entry of a tensor, or what is wrong with it. */
function readPlace(entry: unknown): Place | string {
  if (!isTable(entry)) return 'is not described by a table';
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== 'string' || !Object.hasOwn(dtypes, dtype)) {
    return `has the unknown type ${JSON.stringify(dtype)}`;
  }
  if (!isCounts(shape)) return 'has no valid shape';
  if (!isCounts(offsets) || offsets.length !== 2) return 'has no valid offsets';
  const [begin, end] = offsets as [number, number];
  const wanted = shape.reduce((product, n) => product * n, dtypes[dtype as Dtype].bytes);
  if (!Number.isSafeInteger(wanted) || end - begin !== wanted) {
    return `has ${end - begin} bytes of data, but its type and shape need ${wanted}`;
  }
  return { dtype: dtype as Dtype, shape, begin, end };
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);
}

/** Null when the checksum is right, else the sentence's end. */
function verifyChecksum(file: Buffer, dataStart: number, stored: string | undefined): string | null {
  const lead = file.subarray(0, dataStart).indexOf(checksumLead);
  if (stored === undefined || !/^[0-9a-f]{64}$/.test(stored) || lead < 0) {
    return 'its checksum is missing or damaged, so the file cannot be trusted';
  }
  const place = lead + checksumLead.length;
  const pieces = [file.subarray(0, place), Buffer.from(noChecksum), file.subarray(place + 64)];
  return checksum(pieces) === stored ? null : 'its checksum does not match, so the file is damaged';
}

function checksum(pieces: readonly Uint8Array[]): string {
  const hash = createHash('sha256');
  for (const piece of pieces) hash.update(piece);
  return hash.digest('hex');
}
