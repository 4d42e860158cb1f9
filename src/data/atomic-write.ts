import { randomBytes } from 'node:crypto';
import { type FileHandle, open, readdir, realpath, rename, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { FileError } from './file-error.js';

/** Milliseconds after which an unfinished file is abandoned: an hour without a write. */
const leftOverAge = 3_600_000;

/**
 * Replaces the file at `path` in one step: whoever reads it, at whatever moment the process or the machine dies, finds
 * either the old content or the new, whole.
 *
 * The bytes go to a temporary file of the same folder, which is synced and then renamed over the target; the folder is
 * synced last, so that the new name survives a power cut. On failure the temporary file is removed and the target is
 * untouched. A symbolic link is followed, an existing file keeps its permissions, and a file or folder marked
 * read-only is refused although a rename (or the root user) could get around the mark.
 *
 * @throws FileError naming the path
 */
export async function writeFileAtomic(path: string, chunks: Uint8Array | string | readonly Uint8Array[]): Promise<void> {
  const list = typeof chunks === 'string' ? [Buffer.from(chunks)] : chunks instanceof Uint8Array ? [chunks] : chunks;
  let temporary: string | null = null;
  let file: FileHandle | null = null;
  try {
    const { target, mode } = await writableTarget(path);
    // Beside the target, because a rename is atomic only within one file system.
    const name = join(dirname(target), `.${basename(target)}.${process.pid}-${randomBytes(4).toString('hex')}.tmp`);
    file = await open(name, 'wx', mode);
    temporary = name;
    for (const chunk of list) await writeAll(file, chunk);
    await file.sync();
    await file.close();
    file = null;
    await rename(name, target);
    temporary = null;
    await syncFolder(dirname(target));
    await removeLeftOvers(target);
  } catch (error) {
    await file?.close().catch(() => {});
    if (temporary !== null) await unlink(temporary).catch(() => {});
    throw error instanceof FileError ? error : FileError.fromSystem(path, 'write', error);
  }
}

/** Throws the FileError that `writeFileAtomic` would throw for this path, before any work is spent on the content. */
export async function checkWritable(path: string): Promise<void> {
  try {
    await writableTarget(path);
  } catch (error) {
    throw error instanceof FileError ? error : FileError.fromSystem(path, 'write', error);
  }
}

async function writableTarget(path: string): Promise<{ target: string; mode: number }> {
  const target = await realpath(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return path;
    throw error;
  });
  const folder = await stat(dirname(target)).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
    throw new FileError(path, `Cannot write ${path}: the folder ${dirname(target)} does not exist`);
  });
  if (!folder.isDirectory()) throw new FileError(path, `Cannot write ${path}: ${dirname(target)} is not a folder`);
  if (isReadOnly(folder.mode)) throw new FileError(path, `Cannot write ${path}: the folder is read-only`);
  const existing = await stat(target).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  if (existing === null) return { target, mode: 0o666 };
  if (existing.isDirectory()) throw new FileError(path, `Cannot write ${path}: it is a folder`);
  if (!existing.isFile()) throw new FileError(path, `Cannot write ${path}: it is not a regular file`);
  if (isReadOnly(existing.mode)) throw new FileError(path, `Cannot write ${path}: the file is read-only`);
  return { target, mode: existing.mode & 0o777 };
}

function isReadOnly(mode: number): boolean {
  return (mode & 0o222) === 0;
}

async function writeAll(file: FileHandle, chunk: Uint8Array): Promise<void> {
  // One call may write less than it was given (signals, quotas, more than 2 GiB).
  for (let at = 0; at < chunk.byteLength; ) {
    const { bytesWritten } = await file.write(chunk, at, Math.min(chunk.byteLength - at, 1 << 28));
    at += bytesWritten;
  }
}

/** Removes what killed processes have left of this file, once it is too old for anyone to be writing it still. */
async function removeLeftOvers(target: string): Promise<void> {
  const folder = dirname(target);
  const start = `.${basename(target)}.`;
  const names = await readdir(folder).catch(() => []);
  for (const name of names) {
    if (!name.startsWith(start) || !/^\d+-[0-9a-f]{8}\.tmp$/.test(name.slice(start.length))) continue;
    const path = join(folder, name);
    const modified = await stat(path).then(
      ({ mtimeMs }) => mtimeMs,
      () => Number.POSITIVE_INFINITY,
    );
    if (Date.now() - modified > leftOverAge) await unlink(path).catch(() => {});
  }
}

async function syncFolder(folder: string): Promise<void> {
  // Windows cannot open folders; there the rename is journalled by the file system.
  if (process.platform === 'win32') return;
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
