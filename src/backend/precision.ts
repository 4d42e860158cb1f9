/** The precision of products: what convolutions and matrix products do to their factors. */

export type Precision = 'float32' | 'bfloat16';

let current: Precision = 'float32';

/** The precision of the products of float32 tensors. */
export function precision(): Precision {
  return current;
}

/**
 * Chooses the precision of convolutions and matrix products of float32 tensors, their derivatives included. With 'bfloat16' their factors
 * are rounded to bfloat16 (8 significant bits) and the products are summed in float32; everything else, the weights that an optimiser
 * updates included, stays float32. The same on every device. Products of float64 tensors do not change.
 */
export function setPrecision(name: Precision): void {
  if (name !== 'float32' && name !== 'bfloat16') {
    throw new TypeError(`Expected 'float32' or 'bfloat16' for precision but received ${String(name)}`);
  }
  current = name;
}

/** Runs `body` with another precision. */
export function withPrecision<T>(name: Precision, body: () => T): T {
  const before = current;
  setPrecision(name);
  try {
    return body();
  } finally {
    current = before;
  }
}
