// Isotropic total variation of volumes and of channels that share their gradient's norm.
#pragma once

#include "device.h"

namespace tautgrad::cuda {

// As rof in backend.h, for any dims and channels.
template <class T>
int rof_volume(const tg_rof &p, double tolerance, const T *x, const T *lambda, const T *init, T *y, T *dual, double *report,
               const int32_t *cancel);

} // namespace tautgrad::cuda
