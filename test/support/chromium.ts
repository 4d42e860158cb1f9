/// <reference lib="dom" />
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, expect } from 'vitest';

function findChromium(): string | undefined {
  const names = ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome', 'chrome'];
  const folders = (process.env.PATH ?? '').split(delimiter).filter(Boolean);
  const candidates = [process.env.CHROMIUM ?? '', ...names.flatMap((name) => folders.map((folder) => join(folder, name)))];
  return candidates.find((path) => path !== '' && existsSync(path));
}

/** Where Chromium is (`CHROMIUM` may name it); undefined where there is none. */
export const chromiumPath = findChromium();
if (chromiumPath === undefined) console.warn('No Chromium found: the browser test is skipped (apt-get install chromium)');

export interface Chromium {
  /** Opens a file; `complaints` are the console's, exceptions, and requests for anything but the file itself. */
  withPage<T>(
    file: string,
    name: string,
    width: number,
    colorScheme: 'light' | 'dark',
    body: (page: Page, complaints: string[]) => Promise<T>,
  ): Promise<T>;
}

/** A browser for the tests of a `describe`. */
export function openChromium(): Chromium {
  let browser: Browser;
  beforeAll(async () => {
    browser = await chromium.launch({
      ...(chromiumPath === undefined ? {} : { executablePath: chromiumPath }),
      headless: true,
      args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-background-networking', '--no-first-run'],
    });
  }, 120_000);
  afterAll(async () => {
    await browser?.close();
  });
  return {
    async withPage(file, name, width, colorScheme, body) {
      const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme });
      try {
        const page = await context.newPage();
        const complaints: string[] = [];
        page.on('console', (message) => {
          if (message.type() === 'error' || message.type() === 'warning') complaints.push(`${message.type()}: ${message.text()}`);
        });
        page.on('pageerror', (error) => complaints.push(`exception: ${error.message}`));
        page.on('request', (request) => {
          if (!/^(file|data):/.test(request.url())) complaints.push(`request: ${request.url()}`);
        });
        await page.goto(pathToFileURL(file).href, { waitUntil: 'load' });
        // For looking at the page oneself.
        const shots = process.env.TAUTGRAD_SCREENSHOTS;
        if (shots) await page.screenshot({ path: join(shots, `${name}-${width}-${colorScheme}.png`), fullPage: true });
        return await body(page, complaints);
      } finally {
        await context.close();
      }
    },
  };
}

export async function expectNoSidewaysScrolling(page: Page): Promise<void> {
  const { content, window } = await page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    return { content: scrollWidth, window: clientWidth };
  });
  expect(content).toBeLessThanOrEqual(window);
  // Nothing sticks out either, except inside a box that scrolls by itself.
  const outside = await page.$$eval('body *', (elements) =>
    elements
      .filter((element) => {
        const box = element.getBoundingClientRect();
        const scrolls = (e: Element | null): boolean =>
          e !== null && (getComputedStyle(e).overflowX === 'auto' || scrolls(e.parentElement));
        return box.width > 0 && (box.right > document.documentElement.clientWidth + 1 || box.left < -1) && !scrolls(element);
      })
      .map((element) => `${element.tagName}.${element.getAttribute('class') ?? ''}`),
  );
  expect(outside).toEqual([]);
}

export async function expectContrast(page: Page): Promise<void> {
  const ratios = await page.$$eval('h1, h2, p, figcaption, caption, td, th, dt, dd, footer', (elements) => {
    const numbers = (color: string): number[] => (color.match(/[\d.]+/g) ?? []).map(Number);
    const luminance = (color: string): number => {
      const [r = 0, g = 0, b = 0] = numbers(color).map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const background = (e: Element | null): string => {
      if (e === null) return 'rgb(255, 255, 255)';
      const color = getComputedStyle(e).backgroundColor;
      return numbers(color)[3] === 0 ? background(e.parentElement) : color;
    };
    return elements.map((element) => {
      const [a, b] = [luminance(getComputedStyle(element).color), luminance(background(element))];
      return { what: element.textContent?.slice(0, 30), ratio: (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) };
    });
  });
  expect(ratios.length).toBeGreaterThan(20);
  // Web Content Accessibility Guidelines 2.2, level AA.
  expect(ratios.filter(({ ratio }) => ratio < 4.5)).toEqual([]);
}
