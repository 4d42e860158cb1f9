/** A table of a module's layers and parameters. */
import type { Module } from './module.js';

/**
 * One line per module that has parameters of its own: path, class, shapes, number of trained values; and the total.
 */
export function summary(model: Module): string {
  const rows: [string, string, string, string][] = [['module', 'class', 'parameters', 'trained']];
  for (const [path, module] of model.namedModules()) {
    const own = [...module.namedParameters()].filter(([name]) => !name.includes('.'));
    if (own.length === 0) continue;
    const shapes = own.map(([name, { value }]) => `${name} [${value.shape.join(', ')}]`).join(', ');
    const trained = own.reduce((n, [, p]) => n + (p.trainable ? p.value.size : 0), 0);
    rows.push([path === '' ? '(model)' : path, module.constructor.name, shapes, String(trained)]);
  }
  rows.push(['total', '', '', String(model.parameterCount)]);
  const widths = [0, 1, 2].map((k) => Math.max(...rows.map((row) => (row[k] as string).length)));
  return rows
    .map((row) =>
      row
        .map((cell, k) => (k < 3 ? cell.padEnd(widths[k] as number) : cell))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
