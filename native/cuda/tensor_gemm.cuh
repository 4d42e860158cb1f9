// C[m, n] = sum_k A(m, k) B(k, n) of float32 operands behind functions, as gemm.cuh, with the factors rounded to bfloat16 on their way into
// shared memory and multiplied by the tensor cores, sums in float32. The next tile is on its way while this one is multiplied.
#pragma once

#include "gemm.cuh"
#include "tensor_core.cuh"

namespace tautgrad::cuda {
namespace {

// A block of 8 warps, 2 x 4, 32 x 32 results each.
constexpr int MMA_M = 64, MMA_N = 128, MMA_DEPTH = 32, MMA_PAIRS = MMA_DEPTH / 2,
              MMA_PITCH = MMA_PAIRS + 4; // words of a row in shared memory: the lanes of a fragment then hit different banks

// Which pair of which row the r-th load of a thread fetches, where neighbouring threads take neighbours in memory.
template <int Rows> struct PairPlan {
  static constexpr int LOADS = Rows * MMA_PAIRS / GEMM_THREADS;
  bool k_first;
  __device__ int row(int r) const {
    const int thread = static_cast<int>(threadIdx.x);
    return k_first ? thread / MMA_PAIRS + r * (GEMM_THREADS / MMA_PAIRS) : thread % Rows;
  }
  __device__ int pair(int r) const {
    const int thread = static_cast<int>(threadIdx.x);
    return k_first ? thread % MMA_PAIRS : thread / Rows + r * (GEMM_THREADS / Rows);
  }
};

// A, B, C: see gemm.cuh.
template <class A, class B, class C> __global__ void __launch_bounds__(GEMM_THREADS) tensor_gemm_kernel(GemmShape s, A a, B b, C c) {
  __shared__ uint32_t tile_a[MMA_M * MMA_PITCH];
  __shared__ uint32_t tile_b[MMA_N * MMA_PITCH];
  const int64_t m_tiles = ceil_div(s.m, MMA_M), n_tiles = ceil_div(s.n, MMA_N), tiles = s.batch * s.parts * m_tiles * n_tiles;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32, g = lane / 4, t = lane % 4;
  const int warp_m = warp % 2 * 32, warp_n = warp / 2 * 32;
  const PairPlan<MMA_M> from_a{a.k_first};
  const PairPlan<MMA_N> from_b{b.k_first};
  for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const int64_t i0 = tile % m_tiles * MMA_M, j0 = tile / m_tiles % n_tiles * MMA_N, rest = tile / (m_tiles * n_tiles);
    const int64_t part = rest % s.parts, z = rest / s.parts, begin = part * s.part, end = begin + s.part < s.k ? begin + s.part : s.k;
    const auto cursor = b.cursor(z, j0 + from_b.row(0) < s.n ? j0 + from_b.row(0) : 0); // of a thread that keeps its column
    uint32_t next_a[PairPlan<MMA_M>::LOADS], next_b[PairPlan<MMA_N>::LOADS];
    const auto fetch = [&](int64_t k0) {
#pragma unroll
      for (int r = 0; r < PairPlan<MMA_M>::LOADS; ++r) {
        const int64_t i = i0 + from_a.row(r), k = k0 + 2 * from_a.pair(r);
        next_a[r] = pack_bfloat16(i < s.m && k < end ? a.value(z, i, k) : 0.0f, i < s.m && k + 1 < end ? a.value(z, i, k + 1) : 0.0f);
      }
#pragma unroll
      for (int r = 0; r < PairPlan<MMA_N>::LOADS; ++r) {
        const int64_t j = j0 + from_b.row(r), k = k0 + 2 * from_b.pair(r);
        float first = 0, second = 0;
        if (j < s.n && k < end) {
          if (from_b.k_first) {
            const auto own = b.cursor(z, j);
            first = own.value(k);
            if (k + 1 < end) second = own.value(k + 1);
          } else {
            first = cursor.value(k);
            if (k + 1 < end) second = cursor.value(k + 1);
          }
        }
        next_b[r] = pack_bfloat16(first, second);
      }
    };
    float sum[2][4][4] = {};
    fetch(begin);
    for (int64_t k0 = begin; k0 < end; k0 += MMA_DEPTH) {
      __syncthreads();
#pragma unroll
      for (int r = 0; r < PairPlan<MMA_M>::LOADS; ++r) tile_a[from_a.row(r) * MMA_PITCH + from_a.pair(r)] = next_a[r];
#pragma unroll
      for (int r = 0; r < PairPlan<MMA_N>::LOADS; ++r) tile_b[from_b.row(r) * MMA_PITCH + from_b.pair(r)] = next_b[r];
      __syncthreads();
      if (k0 + MMA_DEPTH < end) fetch(k0 + MMA_DEPTH);
#pragma unroll
      for (int step = 0; step < MMA_PAIRS; step += 8) {
        uint32_t fa[2][4], fb[4][2];
#pragma unroll
        for (int p = 0; p < 2; ++p) {
          const uint32_t *rows = tile_a + (warp_m + 16 * p + g) * MMA_PITCH + step + t;
          fa[p][0] = rows[0];
          fa[p][1] = rows[8 * MMA_PITCH];
          fa[p][2] = rows[4];
          fa[p][3] = rows[8 * MMA_PITCH + 4];
        }
#pragma unroll
        for (int q = 0; q < 4; ++q) {
          const uint32_t *columns = tile_b + (warp_n + 8 * q + g) * MMA_PITCH + step + t;
          fb[q][0] = columns[0];
          fb[q][1] = columns[4];
        }
#pragma unroll
        for (int p = 0; p < 2; ++p)
#pragma unroll
          for (int q = 0; q < 4; ++q) multiply_add(sum[p][q], fa[p], fb[q]);
      }
    }
#pragma unroll
    for (int p = 0; p < 2; ++p)
#pragma unroll
      for (int q = 0; q < 4; ++q)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int64_t i = i0 + warp_m + 16 * p + g + e / 2 * 8, j = j0 + warp_n + 8 * q + 2 * t + e % 2;
          if (i < s.m && j < s.n) c.store(z, part, i, j, sum[p][q][e]);
        }
    __syncthreads();
  }
}

template <class A, class B, class C> int tensor_gemm(const char *name, const GemmShape &s, const A &a, const B &b, const C &c) {
  const int64_t tiles = s.batch * s.parts * ceil_div(s.m, MMA_M) * ceil_div(s.n, MMA_N);
  return run_kernel(name, tensor_gemm_kernel<A, B, C>, dim3(static_cast<unsigned>(tiles < (1 << 30) ? tiles : 1 << 30)), GEMM_THREADS, 0, s,
                    a, b, c);
}

} // namespace
} // namespace tautgrad::cuda
