// Sums over the blocks of one image in a fixed order, without the host: every block stores its share, and the last block of the image adds
// the shares up and goes on with the result.
#pragma once

#include "launch.h"

namespace tautgrad::cuda {
namespace {

constexpr int BLOCK_THREADS = 256; // of every block that sums here, in one or two dimensions

__device__ inline int block_thread() { return static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x); }

// Sums over a block, in a fixed order; every thread receives the result.
template <int N> __device__ void block_sums(double (&v)[N]) {
  __shared__ double warps[N][BLOCK_THREADS / 32];
  const int thread = block_thread();
  for (int n = 0; n < N; ++n) {
    for (int distance = 16; distance > 0; distance /= 2) v[n] += __shfl_xor_sync(0xffffffffu, v[n], distance);
    if (thread % 32 == 0) warps[n][thread / 32] = v[n];
  }
  __syncthreads();
  for (int n = 0; n < N; ++n) {
    v[n] = 0;
    for (int k = 0; k < BLOCK_THREADS / 32; ++k) v[n] += warps[n][k];
  }
  __syncthreads();
}

// Stores the block's share; true in every thread of the image's last block, which then sees all shares. `arrived` counts the image's blocks
// and must be set back to 0 by the last one.
template <int N>
__device__ bool last_to_arrive(uint32_t *arrived, const double (&share)[N], double *shares, int64_t block, int64_t blocks) {
  __shared__ bool last;
  if (block_thread() == 0) {
    for (int n = 0; n < N; ++n) shares[block * N + n] = share[n];
    __threadfence();
    last = atomicAdd(arrived, 1u) == static_cast<uint32_t>(blocks - 1);
    __threadfence();
  }
  __syncthreads();
  return last;
}

template <int N> __device__ void sum_shares(const double *shares, int64_t blocks, double (&v)[N]) {
  for (int n = 0; n < N; ++n) {
    v[n] = 0;
    for (int64_t t = block_thread(); t < blocks; t += BLOCK_THREADS) {
      // Written by other multiprocessors: not through this one's first-level cache.
      const volatile double *share = shares + t * N + n;
      v[n] += *share;
    }
  }
  block_sums(v);
}

// Adds up what all blocks of an image found. True in one thread, which has the sums then and goes on with them.
template <int N> __device__ bool image_sums(double (&v)[N], uint32_t *arrived, double *shares, int64_t block, int64_t blocks) {
  block_sums(v);
  if (!last_to_arrive(arrived, v, shares, block, blocks)) return false;
  sum_shares(shares, blocks, v);
  if (block_thread() > 0) return false;
  *arrived = 0;
  return true;
}

// Blocks that an image of n pixels is given where a thread takes several pixels.
inline int64_t blocks_of_image(int64_t n, int64_t images) {
  const int64_t most = ceil_div(int64_t(multiprocessors()) * 16, images > 0 ? images : 1), wanted = ceil_div(n, BLOCK_THREADS);
  const int64_t blocks = wanted < most ? wanted : most;
  return blocks > 0 ? blocks : 1;
}

} // namespace
} // namespace tautgrad::cuda
