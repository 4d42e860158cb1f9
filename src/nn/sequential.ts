import type { Tensor } from '../tensor/index.js';
import { Module } from './module.js';

/** Layers one after the other. What lies between two layers is freed as soon as the second one has read it. */
export class Sequential extends Module {
  readonly layers: Module[];

  constructor(...layers: Module[]) {
    super();
    this.layers = layers;
  }

  override forward(x: Tensor): Tensor {
    let value = x;
    for (const layer of this.layers) {
      const next = layer.forward(value);
      if (value !== x && value !== next) value.dispose();
      value = next;
    }
    return value;
  }
}
