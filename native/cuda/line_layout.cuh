// How the lines of a [outer, n, inner] tensor are brought before threads.
#pragma once

#include "launch.h"

namespace tautgrad::cuda {
namespace {

// Where line p starts in an array with `length` entries along the middle axis.
__device__ inline int64_t line_start(const tg_lines &g, int64_t p, int64_t length) { return p / g.inner * length * g.inner + p % g.inner; }

// Lines of a tile start an odd number of elements apart, so that threads at equal positions hit different banks.
__host__ __device__ inline int64_t tile_pitch(int64_t n) { return n | 1; }

constexpr int64_t TILE_BYTES = 48 * 1024; // of shared memory: more of it would leave one block on a multiprocessor

// Lines that one block takes at a time, a multiple of the warp; 0: too long for shared memory.
inline int lines_per_tile(int64_t n, int64_t bytes_per_sample) {
  const int64_t fit = TILE_BYTES / (tile_pitch(n) * bytes_per_sample) / 32 * 32;
  return static_cast<int>(fit > 128 ? 128 : fit);
}

// Walks over the samples of neighbouring dense lines, a block at a time: visit(offset from the first line's begin, line, sample). Without a
// division at every sample.
template <class Visit> __device__ inline void each_sample(int64_t n, int64_t count, const Visit &visit) {
  const int length = static_cast<int>(n), threads = static_cast<int>(blockDim.x), thread = static_cast<int>(threadIdx.x);
  const int line_step = threads / length, sample_step = threads % length;
  int line = thread / length, sample = thread % length;
  for (int64_t k = thread; k < count * n; k += threads) {
    visit(k, line, sample);
    line += line_step;
    sample += sample_step;
    if (sample >= length) {
      sample -= length;
      ++line;
    }
  }
}

// The block's lines, [first, first + blockDim.x), into shared memory and back; every access to global memory is coalesced.
template <class T> __device__ void load_tile(const tg_lines &g, int64_t first, int64_t lines, const T *x, T *tile) {
  const int64_t count = lines - first < blockDim.x ? lines - first : blockDim.x, pitch = tile_pitch(g.n);
  if (g.inner == 1) {
    const T *from = x + first * g.n;
    each_sample(g.n, count, [&](int64_t k, int line, int sample) { tile[line * pitch + sample] = from[k]; });
  } else if (threadIdx.x < count) {
    const int64_t start = line_start(g, first + threadIdx.x, g.n);
    for (int64_t k = 0; k < g.n; ++k) tile[threadIdx.x * pitch + k] = x[start + k * g.inner];
  }
}

template <class T> __device__ void store_tile(const tg_lines &g, int64_t first, int64_t lines, const T *tile, T *y) {
  const int64_t count = lines - first < blockDim.x ? lines - first : blockDim.x, pitch = tile_pitch(g.n);
  if (g.inner == 1) {
    T *to = y + first * g.n;
    each_sample(g.n, count, [&](int64_t k, int line, int sample) { to[k] = tile[line * pitch + sample]; });
  } else if (threadIdx.x < count) {
    const int64_t start = line_start(g, first + threadIdx.x, g.n);
    for (int64_t k = 0; k < g.n; ++k) y[start + k * g.inner] = tile[threadIdx.x * pitch + k];
  }
}

constexpr int TRANSPOSE_TILE = 32, TRANSPOSE_ROWS = 8;

// y[c][r] = x[r][c]
template <class T> __global__ void transpose_lines_kernel(const T *x, T *y, int64_t rows, int64_t columns) {
  __shared__ T tile[TRANSPOSE_TILE][TRANSPOSE_TILE + 1];
  const int64_t column_tiles = ceil_div(columns, TRANSPOSE_TILE), tiles = ceil_div(rows, TRANSPOSE_TILE) * column_tiles;
  for (int64_t b = blockIdx.x; b < tiles; b += gridDim.x) {
    const int64_t r0 = b / column_tiles * TRANSPOSE_TILE, c0 = b % column_tiles * TRANSPOSE_TILE;
    for (int k = threadIdx.y; k < TRANSPOSE_TILE; k += TRANSPOSE_ROWS)
      if (r0 + k < rows && c0 + threadIdx.x < columns) tile[k][threadIdx.x] = x[(r0 + k) * columns + c0 + threadIdx.x];
    __syncthreads();
    for (int k = threadIdx.y; k < TRANSPOSE_TILE; k += TRANSPOSE_ROWS)
      if (c0 + k < columns && r0 + threadIdx.x < rows) y[(c0 + k) * rows + r0 + threadIdx.x] = tile[threadIdx.x][k];
    __syncthreads();
  }
}

template <class T> int transpose(const T *x, T *y, int64_t rows, int64_t columns) {
  const int64_t tiles = ceil_div(rows, TRANSPOSE_TILE) * ceil_div(columns, TRANSPOSE_TILE);
  return run_kernel("transpose", transpose_lines_kernel<T>, dim3(static_cast<unsigned>(tiles < (1 << 30) ? tiles : 1 << 30)),
                    dim3(TRANSPOSE_TILE, TRANSPOSE_ROWS), 0, x, y, rows, columns);
}

} // namespace
} // namespace tautgrad::cuda
