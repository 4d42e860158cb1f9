/**
 * Lifetimes. Every tensor made while a scope is open belongs to it; `tidy` disposes what its function does not return.
 * Tensors made outside any scope are the caller's: dispose them, or let the FinalizationRegistry do it late and count it as a leak.
 */

/** Anything a scope can own. */
export interface Disposable {
  readonly disposed: boolean;
  dispose(): void;
  /** Called when the value leaves the outermost scope. */
  leaveScopes?(): void;
}

/** A value that holds tensors inside (a tracer, a pullback): `tidy` keeps those when the value is returned. */
export interface Holder {
  heldValues(): readonly unknown[];
}

function isHolder(value: object): value is Holder {
  return typeof (value as Partial<Holder>).heldValues === 'function';
}

const scopes: Disposable[][] = [];

/** Registers a new value with the innermost scope; false when no scope is open. */
export function adopt(value: Disposable): boolean {
  const scope = scopes[scopes.length - 1];
  if (scope === undefined) return false;
  scope.push(value);
  return true;
}

function collect(value: unknown, found: Set<unknown>): void {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null || found.has(value)) return;
  found.add(value);
  if (isHolder(value)) for (const held of value.heldValues()) collect(held, found);
  else if (Array.isArray(value)) for (const item of value) collect(item, found);
  else if (value instanceof Map || value instanceof Set) for (const item of value.values()) collect(item, found);
  else if (Object.getPrototypeOf(value) === Object.prototype || Object.getPrototypeOf(value) === null) {
    for (const item of Object.values(value)) collect(item, found);
  }
}

/**
 * Runs `body` and disposes every tensor made inside, except those in what it returns (tensors, and tensors inside arrays, plain objects,
 * maps and sets). Also when it throws. Scopes nest.
 * @throws TypeError when `body` returns a promise: work that outlives the scope would lose its tensors.
 */
export function tidy<T>(body: () => T): T {
  const scope: Disposable[] = [];
  scopes.push(scope);
  let kept: Set<unknown> | undefined;
  try {
    const result = body();
    if (result instanceof Promise) {
      result.catch(() => {});
      throw new TypeError('Expected a synchronous function for tidy but received one that returns a promise');
    }
    kept = new Set();
    collect(result, kept);
    return result;
  } finally {
    scopes.pop();
    const outer = scopes[scopes.length - 1];
    for (const value of scope) {
      if (value.disposed) continue;
      if (kept?.has(value)) {
        if (outer) outer.push(value);
        else value.leaveScopes?.();
      } else {
        value.dispose();
      }
    }
  }
}

/** Runs `body` outside every open scope: what it makes is kept until it is disposed (module parameters, caches). */
export function outsideScopes<T>(body: () => T): T {
  const open = scopes.splice(0, scopes.length);
  try {
    return body();
  } finally {
    scopes.push(...open);
  }
}
