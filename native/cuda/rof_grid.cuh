// The pixels, axes and channels of the isotropic problems (tg_rof), as their kernels see them.
#pragma once

#include "launch.h"

namespace tautgrad::cuda {
namespace {

// Images and duals lie as in backend.h: [batch, channels, pixels] and [batch, channels, dims, pixels].
struct RofGrid {
  int64_t batch, channels, pixels, values; // values = channels * pixels, of one image
  int dims;
  int64_t extent[3], stride[3]; // of the last `dims` axes
  explicit RofGrid(const tg_rof &p)
      : batch(p.batch), channels(p.channels), pixels(p.depth * p.height * p.width), values(p.channels * pixels),
        dims(static_cast<int>(p.dims)) {
    const int64_t size[3] = {p.depth, p.height, p.width}, step[3] = {p.height * p.width, p.width, 1};
    for (int k = 0; k < 3; ++k) {
      extent[k] = k < dims ? size[3 - dims + k] : 1;
      stride[k] = k < dims ? step[3 - dims + k] : 1;
    }
  }
  __host__ __device__ int64_t duals() const { return values * dims; }
  // Where a pixel lies along the k-th axis. An image has less than 2^32 pixels: divisions of 64 bits are slow.
  __device__ uint32_t at(int64_t i, int k) const {
    return static_cast<uint32_t>(i) / static_cast<uint32_t>(stride[k]) % static_cast<uint32_t>(extent[k]);
  }
  __device__ bool has_next(int64_t i, int k) const { return at(i, k) + 1 < static_cast<uint32_t>(extent[k]); }
  __device__ bool has_previous(int64_t i, int k) const { return at(i, k) > 0; }
};

} // namespace
} // namespace tautgrad::cuda
