import { InvalidArgumentError } from 'commander';

/** Parsers of option values. Commander puts the option's name before the sentence. */

export function positiveNumber(text: string): number {
  const value = parse(text);
  if (!(value > 0 && value < Infinity)) throw new InvalidArgumentError(`Expected a number greater than 0 but received "${text}".`);
  return value;
}

export function nonNegativeNumber(text: string): number {
  const value = parse(text);
  if (!(value >= 0 && value < Infinity)) throw new InvalidArgumentError(`Expected a number of at least 0 but received "${text}".`);
  return value;
}

export function positiveInteger(text: string): number {
  const value = parse(text);
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new InvalidArgumentError(`Expected a whole number greater than 0 but received "${text}".`);
  }
  return value;
}

export function wholeNumber(text: string): number {
  const value = parse(text);
  if (!Number.isSafeInteger(value) || value < 0)
    throw new InvalidArgumentError(`Expected a whole number of at least 0 but received "${text}".`);
  return value;
}

/** Between 0 and 1, both excluded. */
export function fraction(text: string): number {
  const value = parse(text);
  if (!(value > 0 && value < 1)) throw new InvalidArgumentError(`Expected a number between 0 and 1 but received "${text}".`);
  return value;
}

export function seedNumber(text: string): number {
  const value = parse(text);
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new InvalidArgumentError(`Expected a whole number from 0 to 2^53 - 1 but received "${text}".`);
  }
  return value;
}

/** "0.1,0.5,1": increasing numbers of at least 0. */
export function increasingNumbers(text: string): number[] {
  const values = text.split(',').map((part) => parse(part.trim()));
  if (!values.every((value, k) => value >= 0 && value < Infinity && (k === 0 || value > values[k - 1]!)))
    throw new InvalidArgumentError(`Expected increasing numbers of at least 0, such as 0.1,0.5,1, but received "${text}".`);
  return values;
}

/** A lambda, or `auto`. */
export function lambdaOrAuto(text: string): number | 'auto' {
  if (text === 'auto') return 'auto';
  const value = parse(text);
  if (!(value >= 0 && value < Infinity)) {
    throw new InvalidArgumentError(`Expected a number of at least 0, or auto, but received "${text}".`);
  }
  return value;
}

/** A number above 0, or `auto`. */
export function positiveOrAuto(text: string): number | 'auto' {
  return text === 'auto' ? 'auto' : positiveNumber(text);
}

/** The factor of super-resolution. */
export function scaleFactor(text: string): number {
  if (!['2', '3', '4'].includes(text)) throw new InvalidArgumentError(`Expected 2, 3 or 4 but received "${text}".`);
  return Number(text);
}

export function oneOrThree(text: string): 1 | 3 {
  if (text !== '1' && text !== '3') throw new InvalidArgumentError(`Expected 1 (gray) or 3 (colour) but received "${text}".`);
  return text === '1' ? 1 : 3;
}

/** A decimal number; unlike Number(), '' and ' 1' and '0x10' are none. */
function parse(text: string): number {
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : NaN;
}
