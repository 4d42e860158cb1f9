import type { Tensor } from '../tensor/index.js';
import { ReLU } from './activation.js';
import { Conv2d } from './conv.js';
import { Module } from './module.js';
import { BatchNorm1d, BatchNorm2d } from './normalization.js';

/** Layers one after the other. What lies between two layers is freed as soon as the second one has read it. */
export class Sequential extends Module {
  readonly layers: Module[];

  constructor(...layers: Module[]) {
    super();
    this.layers = layers;
  }

  override forward(x: Tensor): Tensor {
    let value = x;
    for (let i = 0; i < this.layers.length; i++) {
      const layer = this.layers[i] as Module;
      // A convolution or a batch norm and the ReLU after it are one pass over memory.
      const fused =
        (layer instanceof Conv2d || layer instanceof BatchNorm1d || layer instanceof BatchNorm2d) && this.layers[i + 1] instanceof ReLU;
      if (fused) i++;
      const next = fused ? layer.forwardRelu(value) : layer.forward(value);
      if (value !== x && value !== next) value.dispose();
      value = next;
    }
    return value;
  }
}
