// Philox streams (native/kernels/philox.hpp says which counter serves which value): one thread per counter.
#include "launch.h"

#include "../kernels/philox.hpp"
#include "../kernels/scalar_math.h"

namespace tautgrad::cuda {
namespace {

struct Words {
  uint32_t w[4];
};

__device__ inline Words philox_block(uint64_t seed, uint64_t q, uint32_t kind) {
  Words b = {{static_cast<uint32_t>(q), static_cast<uint32_t>(q >> 32), kind, 0}};
  kernels::philox_rounds(b.w, static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
  return b;
}

struct Float32Stream {
  using T = float;
  static constexpr int per_block = 4;
  __device__ static void uniform(const Words &b, float *values) {
    for (int k = 0; k < 4; ++k) values[k] = static_cast<float>(b.w[k] >> 8) * 0x1p-24f;
  }
  __device__ static void normal(const Words &b, float *values) {
    for (int pair = 0; pair < 2; ++pair) {
      const float u = static_cast<float>(static_cast<int32_t>(b.w[2 * pair] >> 1)) * 0x1p-31f + 0x1p-32f;
      const float angle = static_cast<float>(static_cast<int32_t>(b.w[2 * pair + 1])) * 0x1p-32f * 6.28318530717958647692f;
      const float radius = sqrtf(-2.0f * logf(u));
      values[2 * pair] = radius * cosf(angle);
      values[2 * pair + 1] = radius * sinf(angle);
    }
  }
};

struct Float64Stream {
  using T = double;
  static constexpr int per_block = 2;
  __device__ static uint64_t bits53(const Words &b, int pair) {
    return (static_cast<uint64_t>(b.w[2 * pair]) << 32 | b.w[2 * pair + 1]) >> 11;
  }
  __device__ static void uniform(const Words &b, double *values) {
    for (int k = 0; k < 2; ++k) values[k] = static_cast<double>(bits53(b, k)) * 0x1p-53;
  }
  __device__ static void normal(const Words &b, double *values) {
    const double u = static_cast<double>(bits53(b, 0) + 1) * 0x1p-53;
    double v = static_cast<double>(bits53(b, 1)) * 0x1p-53;
    v = v >= 0.5 ? v - 1 : v;
    const double radius = sqrt(-2.0 * log(u)), angle = v * 6.28318530717958647692;
    values[0] = radius * cos(angle);
    values[1] = radius * sin(angle);
  }
};

// state: NULL, or seed and offset in memory of the device.
template <class Stream, uint32_t Kind>
__global__ void draw_kernel(int64_t n, uint64_t seed, uint64_t offset, const double *state, typename Stream::T *y) {
  if (state) {
    seed = static_cast<uint64_t>(state[0]);
    offset = static_cast<uint64_t>(state[1]);
  }
  const uint64_t first = offset / Stream::per_block, last = (offset + static_cast<uint64_t>(n) - 1) / Stream::per_block;
  for (uint64_t q = first + static_cast<uint64_t>(global_thread()); q <= last; q += static_cast<uint64_t>(all_threads())) {
    typename Stream::T values[Stream::per_block];
    const Words b = philox_block(seed, q, Kind);
    if (Kind == kernels::PHILOX_UNIFORM)
      Stream::uniform(b, values);
    else
      Stream::normal(b, values);
    for (int k = 0; k < Stream::per_block; ++k) {
      const uint64_t at = q * Stream::per_block + static_cast<uint64_t>(k);
      if (at >= offset && at < offset + static_cast<uint64_t>(n)) y[at - offset] = values[k];
    }
  }
}

template <uint32_t Kind> int draw_with(int64_t dtype, int64_t n, uint64_t seed, uint64_t offset, const double *state, void *y) {
  if (n == 0) return TG_OK;
  if (dtype == TG_F32)
    return run_kernel("random", draw_kernel<Float32Stream, Kind>, blocks_for(n / 4 + 2), THREADS, 0, n, seed, offset, state,
                      static_cast<float *>(y));
  if (dtype == TG_F64)
    return run_kernel("random", draw_kernel<Float64Stream, Kind>, blocks_for(n / 2 + 2), THREADS, 0, n, seed, offset, state,
                      static_cast<double *>(y));
  return fail("random: expected float32 or float64 but received element type %d", static_cast<int>(dtype));
}

template <uint32_t Kind> int draw(int64_t dtype, int64_t n, int64_t seed, int64_t offset, void *y) {
  return draw_with<Kind>(dtype, n, static_cast<uint64_t>(seed), static_cast<uint64_t>(offset), nullptr, y);
}

template <uint32_t Kind> int draw_at(int64_t dtype, int64_t n, const void *state, void *y) {
  return draw_with<Kind>(dtype, n, 0, 0, static_cast<const double *>(state), y);
}

} // namespace

void register_random(tg_backend *t) {
  t->random_uniform = draw<kernels::PHILOX_UNIFORM>;
  t->random_normal = draw<kernels::PHILOX_NORMAL>;
  t->random_uniform_at = draw_at<kernels::PHILOX_UNIFORM>;
  t->random_normal_at = draw_at<kernels::PHILOX_NORMAL>;
}

} // namespace tautgrad::cuda
