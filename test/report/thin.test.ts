import { describe, expect, it } from 'vitest';
import { escapeHtml } from '../../src/report/escape.js';
import { type Point, thin } from '../../src/report/thin.js';

describe('thin', () => {
  const wave: Point[] = Array.from({ length: 10_000 }, (_, i) => [i, Math.sin(i / 300)]);

  it('keeps short curves as they are', () => {
    expect(thin(wave.slice(0, 600), 600)).toEqual(wave.slice(0, 600));
  });

  it('keeps about the asked number, in order, with both ends', () => {
    const kept = thin(wave, 600);
    expect(kept.length).toBeLessThanOrEqual(604);
    expect(kept.length).toBeGreaterThan(300);
    expect(kept[0]).toBe(wave[0]);
    expect(kept.at(-1)).toBe(wave.at(-1));
    for (let i = 1; i < kept.length; i++) expect(kept[i]![0]).toBeGreaterThan(kept[i - 1]![0]);
  });

  it('keeps every spike and every gap', () => {
    const spiky = wave.map(([x, y], i): Point => [x, i === 4321 ? 50 : i === 7777 ? -50 : i >= 6000 && i < 6010 ? null : y]);
    const kept = thin(spiky, 600);
    expect(kept).toContainEqual([4321, 50]);
    expect(kept).toContainEqual([7777, -50]);
    expect(kept.some(([x, y]) => y === null && x >= 6000 && x < 6010)).toBe(true);
  });
});

describe('escapeHtml', () => {
  it('leaves no markup', () => {
    expect(escapeHtml(`<a b="c" d='e'>&</a>\u0000\u001f\n`)).toBe('&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp;&lt;/a&gt;\uFFFD\uFFFD\n');
  });
});
