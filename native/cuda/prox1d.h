// The batched line solver, for kernels that sweep over rows and columns.
#pragma once

#include "device.h"

namespace tautgrad::cuda {

// y = the 1D prox of every line of [outer, n, inner]; lambda: one per line; weights: null or [outer, n - 1, inner]. All on the device.
template <class T> int prox_lines(const tg_lines &g, const T *x, const T *lambda, const T *weights, T *y);

} // namespace tautgrad::cuda
