import sharp from 'sharp';
import { crop, type Image } from '../data/image.js';
import { encodePicture } from '../data/image-io.js';
import { escapeHtml } from './escape.js';
import type { PicturesBlock } from './types.js';

/** Longer sides are scaled down: the page stays small, and the enlarged crop shows the pixels. */
const maxSide = 1024;

export async function renderPictures({ items, zoom }: PicturesBlock): Promise<string> {
  const figures = await Promise.all(
    items.map(async ({ image, caption, alt }) => {
      const square = zoom === undefined ? null : fitted(zoom, image);
      const frame =
        square === null
          ? ''
          : `<span class="frame" style="left:${percent(square.left, image.width)};top:${percent(square.top, image.height)};` +
            `width:${percent(square.size, image.width)};height:${percent(square.size, image.height)}"></span>`;
      const detail =
        square === null
          ? ''
          : `<img class="detail" src="${await dataUri(crop(image, square.top, square.left, square.size, square.size))}" ` +
            `width="${square.size}" height="${square.size}" alt="${escapeHtml(`Enlarged detail of: ${alt ?? caption}`)}">`;
      const whole = `<img src="${await dataUri(image)}" width="${image.width}" height="${image.height}" alt="${escapeHtml(alt ?? caption)}">`;
      return `<figure><div class="whole">${whole}${frame}</div>${detail}<figcaption>${escapeHtml(caption)}</figcaption></figure>`;
    }),
  );
  return `<div class="pictures">${figures.join('\n')}</div>`;
}

/** The square moved and shrunk until it lies inside the image. */
function fitted({ top, left, size }: { top: number; left: number; size: number }, { height, width }: Image) {
  const side = Math.max(1, Math.min(Math.round(size), height, width));
  const within = (at: number, length: number): number => Math.min(Math.max(0, Math.round(at)), length - side);
  return { top: within(top, height), left: within(left, width), size: side };
}

async function dataUri(image: Image): Promise<string> {
  let png = await encodePicture({ image, alpha: null, bitDepth: 8 });
  if (Math.max(image.height, image.width) > maxSide) {
    png = await sharp(png).resize({ width: maxSide, height: maxSide, fit: 'inside' }).png().toBuffer();
  }
  return `data:image/png;base64,${png.toString('base64')}`;
}

function percent(part: number, whole: number): string {
  return `${((100 * part) / whole).toFixed(3)}%`;
}
