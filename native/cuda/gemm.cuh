// C[m, n] = sum_k A(m, k) B(k, n) with operands behind functions: dense matrices (matmul.cu) or windows of an image (conv.cu).
// Tiles of shared memory, a small tile of results in each thread's registers.
#pragma once

#include "launch.h"

namespace tautgrad::cuda {
namespace {

constexpr int GEMM_TILE = 64, GEMM_DEPTH = 16, GEMM_THREADS = 256, GEMM_PER_THREAD = 4; // 16 x 16 threads, 4 x 4 results each

struct GemmShape {
  int64_t batch, m, n, k;
  int64_t parts, part; // the sum over k is cut into parts of this length, each with results of its own
};

// A: value(batch, m, k) and k_first, whether neighbours along k are neighbours in memory. B: cursor(batch, n), which keeps what depends
// on the column alone, and cursor.value(k). C: store(batch, part, m, n, value).
template <class T, class A, class B, class C> __global__ void __launch_bounds__(GEMM_THREADS) gemm_kernel(GemmShape s, A a, B b, C c) {
  __shared__ T tile_a[GEMM_DEPTH][GEMM_TILE + 4];
  __shared__ T tile_b[GEMM_DEPTH][GEMM_TILE + 4];
  const int64_t m_tiles = ceil_div(s.m, GEMM_TILE), n_tiles = ceil_div(s.n, GEMM_TILE), tiles = s.batch * s.parts * m_tiles * n_tiles;
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const int64_t i0 = tile % m_tiles * GEMM_TILE, j0 = tile / m_tiles % n_tiles * GEMM_TILE, rest = tile / (m_tiles * n_tiles);
    const int64_t part = rest % s.parts, z = rest / s.parts, begin = part * s.part, end = begin + s.part < s.k ? begin + s.part : s.k;
    // A thread always loads the same column of B, or (where k is dense in memory) the same rows.
    const int column = b.k_first ? threadIdx.x / GEMM_DEPTH : threadIdx.x % GEMM_TILE;
    const auto cursor = b.cursor(z, j0 + column);
    T sum[GEMM_PER_THREAD][GEMM_PER_THREAD] = {};
    for (int64_t k0 = begin; k0 < end; k0 += GEMM_DEPTH) {
      for (int e = threadIdx.x; e < GEMM_DEPTH * GEMM_TILE; e += GEMM_THREADS) {
        const int kk = a.k_first ? e % GEMM_DEPTH : e / GEMM_TILE, mm = a.k_first ? e / GEMM_DEPTH : e % GEMM_TILE;
        tile_a[kk][mm] = i0 + mm < s.m && k0 + kk < end ? a.value(z, i0 + mm, k0 + kk) : T(0);
      }
      if (b.k_first) {
        const int kk = threadIdx.x % GEMM_DEPTH;
        for (int nn = column; nn < GEMM_TILE; nn += GEMM_THREADS / GEMM_DEPTH)
          tile_b[kk][nn] = j0 + nn < s.n && k0 + kk < end ? b.cursor(z, j0 + nn).value(k0 + kk) : T(0);
      } else {
        for (int kk = threadIdx.x / GEMM_TILE; kk < GEMM_DEPTH; kk += GEMM_THREADS / GEMM_TILE)
          tile_b[kk][column] = j0 + column < s.n && k0 + kk < end ? cursor.value(k0 + kk) : T(0);
      }
      __syncthreads();
#pragma unroll
      for (int kk = 0; kk < GEMM_DEPTH; ++kk) {
        T va[GEMM_PER_THREAD], vb[GEMM_PER_THREAD];
        for (int r = 0; r < GEMM_PER_THREAD; ++r) va[r] = tile_a[kk][ty + 16 * r];
        for (int r = 0; r < GEMM_PER_THREAD; ++r) vb[r] = tile_b[kk][tx + 16 * r];
        for (int r = 0; r < GEMM_PER_THREAD; ++r)
          for (int q = 0; q < GEMM_PER_THREAD; ++q) sum[r][q] += va[r] * vb[q];
      }
      __syncthreads();
    }
    for (int r = 0; r < GEMM_PER_THREAD; ++r)
      for (int q = 0; q < GEMM_PER_THREAD; ++q) {
        const int64_t i = i0 + ty + 16 * r, j = j0 + tx + 16 * q;
        if (i < s.m && j < s.n) c.store(z, part, i, j, sum[r][q]);
      }
  }
}

template <class T, class A, class B, class C> int gemm(const char *name, const GemmShape &s, const A &a, const B &b, const C &c) {
  const int64_t tiles = s.batch * s.parts * ceil_div(s.m, GEMM_TILE) * ceil_div(s.n, GEMM_TILE);
  return run_kernel(name, gemm_kernel<T, A, B, C>, dim3(static_cast<unsigned>(tiles < (1 << 30) ? tiles : 1 << 30)), GEMM_THREADS, 0, s, a,
                    b, c);
}

} // namespace
} // namespace tautgrad::cuda
