import type { Image } from '../data/image.js';

/** What a report says; `renderReport` decides how it looks. All text is plain and is escaped. */
export interface Report {
  readonly title: string;
  /** One or two sentences under the title. */
  readonly summary?: string;
  readonly sections: readonly Section[];
  /** A line at the end: version, date, machine. */
  readonly footer?: string;
}

export interface Section {
  readonly heading: string;
  readonly text?: string;
  readonly blocks: readonly Block[];
}

export type Block = ChartBlock | PicturesBlock | TableBlock | SettingsBlock;

/** Curves over a common axis. */
export interface ChartBlock {
  readonly kind: 'chart';
  readonly title: string;
  /** What a reader who cannot see the chart should know; by default the ranges of the series. */
  readonly description?: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly series: readonly Series[];
}

export interface Axis {
  readonly label: string;
  /** Logarithmic scale; values that are not positive become gaps. */
  readonly log?: boolean;
}

export interface Series {
  readonly name: string;
  /** In the order of x. A y of null, NaN or infinity is a gap in the curve. */
  readonly points: readonly (readonly [x: number, y: number | null])[];
}

/** Pictures side by side, all with the same crop enlarged below. */
export interface PicturesBlock {
  readonly kind: 'pictures';
  readonly items: readonly PictureItem[];
  /** A square to show enlarged, pixel by pixel, in image coordinates. */
  readonly zoom?: { readonly top: number; readonly left: number; readonly size: number };
}

export interface PictureItem {
  readonly image: Image;
  /** Below the picture: "noisy, 20.2 dB". */
  readonly caption: string;
  /** What the picture shows, for those who cannot see it; the caption by default. */
  readonly alt?: string;
}

export interface TableBlock {
  readonly kind: 'table';
  readonly caption: string;
  readonly columns: readonly string[];
  /** Strings as they are; numbers with the column's digits; null is a dash. The first column heads its row. */
  readonly rows: readonly (readonly (string | number | null)[])[];
  /** Digits after the point for the numbers of each column; 2 by default. */
  readonly digits?: readonly number[];
  /** Rows to stand out, by number. */
  readonly marked?: readonly number[];
  /** Long cells are broken into lines instead of making the table scroll. */
  readonly wrap?: boolean;
}

/** Names and values. */
export interface SettingsBlock {
  readonly kind: 'settings';
  readonly entries: readonly (readonly [name: string, value: string | number | boolean])[];
}
