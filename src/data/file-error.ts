/** A file that cannot be read, understood or written; the message is one sentence that names it. */
export class FileError extends Error {
  override readonly name = 'FileError';
  readonly path: string;

  constructor(path: string, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.path = path;
  }

  /** A failure of the operating system (ENOENT, EACCES, ENOSPC, …) put into words. `doing` reads "read" or "write". */
  static fromSystem(path: string, doing: 'read' | 'write', error: unknown): FileError {
    const code = (error as NodeJS.ErrnoException | undefined)?.code ?? '';
    const reason = reasons[code] ?? (error instanceof Error ? firstLine(error.message) : String(error));
    return new FileError(path, `Cannot ${doing} ${path}: ${reason}`, { cause: error });
  }
}

const reasons: Record<string, string> = {
  ENOENT: 'there is no such file or folder',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'the file system is read-only',
  EEXIST: 'a file of this name is in the way',
  EISDIR: 'it is a folder',
  ENOTDIR: 'a part of the path is not a folder',
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EMFILE: 'too many files are open',
};

/** The first non-empty line of a library's message, without a closing full stop. */
export function firstLine(message: string): string {
  const line = message.split('\n').find((l) => l.trim() !== '') ?? 'unknown reason';
  return line.trim().replace(/\.$/, '');
}
