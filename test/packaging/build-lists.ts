import { readFileSync } from 'node:fs';

/** The repository's root, with a trailing slash. */
export const root = new URL('../../', import.meta.url);

export const readText = (path: string): string => readFileSync(new URL(path, root), 'utf8');

/** The list variables that a CMake file sets: `set(NAME a b)` and `list(APPEND NAME c)`, as on an x86-64 machine. */
export function cmakeLists(path: string): Map<string, string[]> {
  const text = readText(path).replaceAll(/#.*$/gm, '');
  const lists = new Map<string, string[]>();
  for (const [, command, body] of text.matchAll(/\b(set|list)\(([^)]*)\)/g)) {
    const words = (body ?? '').split(/\s+/).filter(Boolean);
    if (command === 'list' && words.shift() !== 'APPEND') continue;
    const name = words.shift() ?? '';
    const values = words.filter((word) => word !== '""');
    lists.set(name, command === 'set' ? values : [...(lists.get(name) ?? []), ...values]);
  }
  return lists;
}

export interface GypTarget {
  target_name: string;
  type?: string;
  sources: string[];
  defines: string[];
  cflags?: string[];
  variables?: Record<string, string[]>;
  dependencies?: string[];
}

export interface Gyp {
  variables: Record<string, string[]>;
  target_defaults: { cflags: string[] };
  targets: (GypTarget & { conditions?: [string, Partial<GypTarget>][] })[];
  conditions: [string, { targets: GypTarget[] }][];
}

/** binding.gyp is kept JSON but for comment lines. */
export const readGyp = (): Gyp => JSON.parse(readText('binding.gyp').replaceAll(/^\s*#.*$/gm, ''));

/** Replaces `<@(name)` by the list that it stands for. */
export const expand = (items: readonly string[] = [], variables: Record<string, string[]>): string[] =>
  items.flatMap((item) => {
    const name = /^<@\((\w+)\)$/.exec(item)?.[1];
    if (name === undefined) return [item];
    const list = variables[name];
    if (!list) throw new Error(`binding.gyp uses ${item}, which it does not define`);
    return list;
  });
