/**
 * Where a command's words go. A person gets everything as text; with `--json` standard output carries one JSON object
 * and nothing else, and the text goes to standard error.
 */
export class Output {
  readonly json: boolean;

  constructor({ json = false }: { json?: boolean | undefined } = {}) {
    this.json = json;
  }

  /** A remark on what is going on. */
  note(text: string): void {
    process.stderr.write(`${text}\n`);
  }

  /** The command's result: called once, at the end. Numbers that JSON does not have (Infinity, NaN) become null. */
  result(value: Readonly<Record<string, unknown>>, text: string): void {
    process.stdout.write(this.json ? `${JSON.stringify(value)}\n` : `${text}\n`);
  }
}

/** Columns aligned with spaces: the first to the left, the others to the right. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => [...(row[i] ?? '')].length)));
  return rows
    .map((row) =>
      row
        .map((cell, i) => {
          const fill = ' '.repeat(widths[i]! - [...cell].length);
          return i === 0 ? cell + fill : fill + cell;
        })
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** 75 → "1:15", 3700 → "1:01:40". */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '–';
  const total = Math.max(0, Math.round(seconds));
  const parts = [Math.floor(total / 3600), Math.floor(total / 60) % 60, total % 60];
  const shown = parts[0] === 0 ? parts.slice(1) : parts;
  return shown.map((part, i) => (i === 0 ? String(part) : String(part).padStart(2, '0'))).join(':');
}

/** Up to `digits` significant digits, without trailing zeros. */
export function formatNumber(value: number, digits = 4): string {
  return String(Number(value.toPrecision(digits)));
}
