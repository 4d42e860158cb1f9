/** Networks in double precision. */
import { type nn, ops } from '../../../src/index.js';
import { outsideScopes } from '../../../src/tensor/index.js';

/** Replaces the parameters of a module by float64 ones. */
export function inFloat64<M extends nn.Module>(module: M): M {
  for (const parameter of module.namedParameters().values()) {
    const single = parameter.value;
    parameter.value = outsideScopes(() => ops.cast(single, 'float64'));
    single.dispose();
  }
  return module;
}
