// Anisotropic total variation of images and volumes: Dykstra's method over their axes, or descent on the pixels of images.
#pragma once

#include "device.h"

namespace tautgrad::cuda {

// A batch of grids [depth, height, width] and the axes (0 depth, 1 height, 2 width) in the order in which a cycle sweeps over them. Per
// swept axis: lambda [batch], and null or the weights of its edges (backend.h).
template <class T> struct SweepProblem {
  int64_t batch, extent[3];
  int axes, axis[3];
  const T *x, *lambda[3], *weights[3];
};

// plain: exactly max_iterations cycles of Dykstra's method; otherwise until every grid is certified to the tolerance, by Dykstra's method
// with momentum or, of images (axes 2 and 1), by descent on the pixels' edges.
enum class TvWay { plain, sweeps, descent };

// init, dual: null or [batch, axes, depth, height, width], edge duals in the order of the axes; init is used with two axes only. labels,
// report, cancel: see prox2d in backend.h.
template <class T>
int dykstra(const char *name, const SweepProblem<T> &p, TvWay way, double tolerance, int64_t max_iterations, const T *init, T *y, T *dual,
            int32_t *labels, double *report, const int32_t *cancel);

} // namespace tautgrad::cuda
