// What the solvers of total variation want to know about their images before they start: the bound on duals, and the range of the values.
#pragma once

#include "block_sums.cuh"

#include "../kernels/host_device.h"

namespace tautgrad::cuda {
namespace {

struct ImageSpread {
  double mean;
  double cap;   // 4 sum |x - mean|: no dual is larger (kernels/tv2d_certificate.h)
  double range; // of the channel with the largest one; of the numbers among its values
  uint32_t arrived;
};

template <class T> struct SpreadTask {
  int64_t channels, pixels, parts; // parts: blocks of one channel
  const T *x;                      // [batch, channels, pixels]
  ImageSpread *spread;             // [batch], zeros at first
  double *shares;                  // [batch, channels, parts]
  unsigned long long *extremes;    // [batch, channels, 2] in the order of ordered(): ~lowest, highest; zeros at first
};

// Numbers whose order is that of the doubles.
__device__ inline unsigned long long ordered(double v) {
  unsigned long long bits;
  memcpy(&bits, &v, sizeof bits);
  return bits >> 63 ? ~bits : bits | 1ull << 63;
}
__device__ inline double from_ordered(unsigned long long key) {
  const unsigned long long bits = key >> 63 ? key & ~(1ull << 63) : ~key;
  double v;
  memcpy(&v, &bits, sizeof v);
  return v;
}

template <class T> __global__ void __launch_bounds__(BLOCK_THREADS) mean_kernel(SpreadTask<T> t) {
  const int64_t blocks = t.channels * t.parts, b = blockIdx.x / blocks, block = blockIdx.x % blocks, channel = block / t.parts;
  const T *image = t.x + b * t.channels * t.pixels, *x = image + channel * t.pixels;
  const double base = double(image[0]);
  double sum[1] = {0}, low = 1e308, high = -1e308;
  for (int64_t i = block % t.parts * BLOCK_THREADS + threadIdx.x; i < t.pixels; i += t.parts * BLOCK_THREADS) {
    const double v = double(x[i]);
    sum[0] += v - base;
    low = v < low ? v : low;
    high = v > high ? v : high;
  }
  for (int distance = 16; distance > 0; distance /= 2) {
    const double other_low = __shfl_xor_sync(0xffffffffu, low, distance), other_high = __shfl_xor_sync(0xffffffffu, high, distance);
    low = other_low < low ? other_low : low;
    high = other_high > high ? other_high : high;
  }
  if (threadIdx.x % 32 == 0) {
    unsigned long long *own = t.extremes + (b * t.channels + channel) * 2;
    atomicMax(own, ~ordered(low));
    atomicMax(own + 1, ordered(high));
  }
  ImageSpread &spread = t.spread[b];
  if (!image_sums(sum, &spread.arrived, t.shares + b * blocks, block, blocks)) return;
  spread.mean = base + sum[0] / double(t.channels * t.pixels);
}

template <class T> __global__ void __launch_bounds__(BLOCK_THREADS) deviation_kernel(SpreadTask<T> t) {
  const int64_t blocks = t.channels * t.parts, b = blockIdx.x / blocks, block = blockIdx.x % blocks, values = t.channels * t.pixels;
  const T *x = t.x + b * values;
  ImageSpread &spread = t.spread[b];
  const double mean = spread.mean;
  double sum[1] = {0};
  for (int64_t i = block * BLOCK_THREADS + threadIdx.x; i < values; i += blocks * BLOCK_THREADS) {
    const double off = double(x[i]) - mean;
    sum[0] += off < 0 ? -off : off;
  }
  if (!image_sums(sum, &spread.arrived, t.shares + b * blocks, block, blocks)) return;
  spread.cap = double(T(4 * sum[0]));
  spread.range = 0;
  for (int64_t c = 0; c < t.channels; ++c) {
    const unsigned long long *own = t.extremes + (b * t.channels + c) * 2;
    const double range = from_ordered(own[1]) - from_ordered(~own[0]);
    spread.range = range > spread.range ? range : spread.range;
  }
}

// spread: [batch] on the device.
template <class T> int image_spread(const char *name, int64_t batch, int64_t channels, int64_t pixels, const T *x, ImageSpread *spread) {
  const int64_t parts = blocks_of_image(pixels, batch * channels), blocks = batch * channels * parts;
  Scratch shares(blocks * int64_t(sizeof(double))), extremes(batch * channels * 2 * int64_t(sizeof(unsigned long long)));
  if (!shares.ok() || !extremes.ok()) return fail("%s: out of memory for %lld images", name, (long long)batch);
  const SpreadTask<T> task = {channels, pixels, parts, x, spread, shares.as<double>(), extremes.as<unsigned long long>()};
  int status = zero(spread, batch * int64_t(sizeof(ImageSpread)), name);
  if (status == TG_OK) status = zero(task.extremes, batch * channels * 2 * int64_t(sizeof(unsigned long long)), name);
  const dim3 grid(static_cast<unsigned>(blocks));
  if (status == TG_OK) status = run_kernel(name, mean_kernel<T>, grid, BLOCK_THREADS, 0, task);
  return status == TG_OK ? run_kernel(name, deviation_kernel<T>, grid, BLOCK_THREADS, 0, task) : status;
}

} // namespace
} // namespace tautgrad::cuda
