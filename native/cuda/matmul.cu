// c[b] = op(a[b]) op(b[b]): tiles of shared memory, a small tile of results in each thread's registers.
#include "launch.h"

namespace tautgrad::cuda {
namespace {

constexpr int TILE_MN = 64, TILE_K = 16, PER_THREAD = 4; // 16 x 16 threads, 4 x 4 results each

template <class T> struct MatmulShape {
  int64_t m, n, k, batch;
  int64_t a_row, a_column, a_batch, b_row, b_column, b_batch; // strides of op(a) and op(b)
};

template <class T> __global__ void __launch_bounds__(256) matmul_kernel(MatmulShape<T> s, const T *a, const T *b, T *c) {
  __shared__ T tile_a[TILE_K][TILE_MN + 4];
  __shared__ T tile_b[TILE_K][TILE_MN + 4];
  const int64_t m_tiles = ceil_div(s.m, TILE_MN), n_tiles = ceil_div(s.n, TILE_MN), total = s.batch * m_tiles * n_tiles;
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  for (int64_t tile = blockIdx.x; tile < total; tile += gridDim.x) {
    const int64_t z = tile / (m_tiles * n_tiles), i0 = tile % (m_tiles * n_tiles) / n_tiles * TILE_MN, j0 = tile % n_tiles * TILE_MN;
    const T *pa = a + z * s.a_batch, *pb = b + z * s.b_batch;
    T sum[PER_THREAD][PER_THREAD] = {};
    for (int64_t k0 = 0; k0 < s.k; k0 += TILE_K) {
      // Threads that load neighbours of memory: along k where op(a)'s columns are dense, along m where its rows are.
      for (int e = threadIdx.x; e < TILE_K * TILE_MN; e += 256) {
        const bool k_first = s.a_column == 1;
        const int kk = k_first ? e % TILE_K : e / TILE_MN, mm = k_first ? e / TILE_K : e % TILE_MN;
        const bool inside = i0 + mm < s.m && k0 + kk < s.k;
        tile_a[kk][mm] = inside ? pa[(i0 + mm) * s.a_row + (k0 + kk) * s.a_column] : T(0);
      }
      for (int e = threadIdx.x; e < TILE_K * TILE_MN; e += 256) {
        const bool k_first = s.b_row == 1;
        const int kk = k_first ? e % TILE_K : e / TILE_MN, nn = k_first ? e / TILE_K : e % TILE_MN;
        const bool inside = j0 + nn < s.n && k0 + kk < s.k;
        tile_b[kk][nn] = inside ? pb[(k0 + kk) * s.b_row + (j0 + nn) * s.b_column] : T(0);
      }
      __syncthreads();
#pragma unroll
      for (int kk = 0; kk < TILE_K; ++kk) {
        T va[PER_THREAD], vb[PER_THREAD];
        for (int r = 0; r < PER_THREAD; ++r) va[r] = tile_a[kk][ty * PER_THREAD + r];
        for (int r = 0; r < PER_THREAD; ++r) vb[r] = tile_b[kk][tx * PER_THREAD + r];
        for (int r = 0; r < PER_THREAD; ++r)
          for (int q = 0; q < PER_THREAD; ++q) sum[r][q] += va[r] * vb[q];
      }
      __syncthreads();
    }
    for (int r = 0; r < PER_THREAD; ++r)
      for (int q = 0; q < PER_THREAD; ++q) {
        const int64_t i = i0 + ty * PER_THREAD + r, j = j0 + tx * PER_THREAD + q;
        if (i < s.m && j < s.n) c[(z * s.m + i) * s.n + j] = sum[r][q];
      }
  }
}

int matmul(int64_t dtype, int64_t batch, int64_t m, int64_t n, int64_t k, int64_t transpose_a, int64_t transpose_b, const void *a,
           int64_t a_stride, const void *b, int64_t b_stride, void *c) {
  return with_real(dtype, "matmul", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const MatmulShape<T> s = {m, n, k, batch, transpose_a ? 1 : k, transpose_a ? m : 1, a_stride, transpose_b ? 1 : n, transpose_b ? k : 1, b_stride};
    const int64_t tiles = batch * ceil_div(m, TILE_MN) * ceil_div(n, TILE_MN);
    return run_kernel("matmul", matmul_kernel<T>, dim3(static_cast<unsigned>(tiles < (1 << 30) ? tiles : 1 << 30)), 256, 0, s,
                      static_cast<const T *>(a), static_cast<const T *>(b), static_cast<T *>(c));
  });
}

} // namespace

void register_matmul(tg_backend *t) { t->matmul = matmul; }

} // namespace tautgrad::cuda
