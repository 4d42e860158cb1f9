/** Arguments and results of transformed functions: tensors, and arrays and records of them. */
import { Tensor } from '../tensor/index.js';

export type Tree = Tensor | readonly Tree[] | { readonly [key: string]: Tree };

export interface Flat<T> {
  leaves: Tensor[];
  /** The same structure around other leaves. */
  rebuild(leaves: readonly Tensor[]): T;
}

/** @throws TypeError when something in the tree is not a tensor. */
export function flatten<T extends Tree>(tree: T): Flat<T> {
  const leaves: Tensor[] = [];
  collect(tree, leaves);
  return {
    leaves,
    rebuild(values) {
      let at = 0;
      const build = (node: Tree): Tree => {
        if (node instanceof Tensor) return values[at++] as Tensor;
        if (Array.isArray(node)) return node.map(build);
        return Object.fromEntries(Object.entries(node as Record<string, Tree>).map(([key, value]) => [key, build(value)]));
      };
      return build(tree) as T;
    },
  };
}

function collect(node: unknown, leaves: Tensor[]): void {
  if (node instanceof Tensor) leaves.push(node);
  else if (Array.isArray(node)) for (const item of node) collect(item, leaves);
  else if (typeof node === 'object' && node !== null && Object.getPrototypeOf(node) === Object.prototype) {
    for (const item of Object.values(node)) collect(item, leaves);
  } else {
    throw new TypeError(`Expected a tensor, or arrays and records of tensors, but received ${node === null ? 'null' : typeof node}`);
  }
}
