// The packed matrix product that matmul and the convolutions stand on (the scheme of Goto, van de Geijn, "Anatomy of
// high-performance matrix multiplication", 2008): A in panels of ROWS rows, B in panels of COLUMNS columns, a micro-kernel that
// keeps a ROWS x COLUMNS tile of C in registers.
#pragma once

#include "parallel.h"
#include "simd.hpp"

namespace tautgrad::cpu::TG_ISA {
namespace {

template <class T> struct GemmTile {
  static constexpr int vectors = 2;
  static constexpr int rows = VECTOR_REGISTERS == 32 ? 8 : 6;
  static constexpr int columns = vectors * lanes<T>;
};

// c[r][:] (+)= sum_k a[k][r] b[k][:] for one register tile; a and b are packed panels of `depth` steps.
template <class T> TG_INLINE void micro_kernel(int64_t depth, const T *a, const T *b, T *c, int64_t c_stride, bool accumulate) {
  using Tile = GemmTile<T>;
  vec<T> acc[Tile::rows][Tile::vectors] = {};
  for (int64_t k = 0; k < depth; ++k) {
    vec<T> bv[Tile::vectors];
    for (int v = 0; v < Tile::vectors; ++v) bv[v] = load(b + k * Tile::columns + v * lanes<T>);
    for (int r = 0; r < Tile::rows; ++r)
      for (int v = 0; v < Tile::vectors; ++v) acc[r][v] += a[k * Tile::rows + r] * bv[v];
  }
  for (int r = 0; r < Tile::rows; ++r)
    for (int v = 0; v < Tile::vectors; ++v) {
      T *p = c + r * c_stride + v * lanes<T>;
      store(p, accumulate ? load(p) + acc[r][v] : acc[r][v]);
    }
}

// A strided matrix: element (i, j) at p[i * row + j * column].
template <class T> struct MatrixView {
  const T *p;
  int64_t row, column;
};

// Panels of `width` rows, zero-padded: out[panel][k][r].
template <class T> void pack_rows(const MatrixView<T> &a, int64_t count, int64_t depth, int width, T *out) {
  for (int64_t i0 = 0; i0 < count; i0 += width) {
    const int64_t used = count - i0 < width ? count - i0 : width;
    const T *p = a.p + i0 * a.row;
    if (a.row == 1) {
      for (int64_t k = 0; k < depth; ++k) {
        for (int64_t r = 0; r < used; ++r) out[k * width + r] = p[k * a.column + r];
        for (int64_t r = used; r < width; ++r) out[k * width + r] = 0;
      }
    } else {
      for (int64_t r = 0; r < used; ++r)
        for (int64_t k = 0; k < depth; ++k) out[k * width + r] = p[r * a.row + k * a.column];
      for (int64_t r = used; r < width; ++r)
        for (int64_t k = 0; k < depth; ++k) out[k * width + r] = 0;
    }
    out += depth * width;
  }
}

// C block [m, n] (+)= packed A [m, depth] times packed B [depth, n]; partial tiles go through a buffer.
template <class T>
void multiply_packed(int64_t m, int64_t n, int64_t depth, const T *a, const T *b, T *c, int64_t c_stride, bool accumulate) {
  using Tile = GemmTile<T>;
  for (int64_t j = 0; j < n; j += Tile::columns)
    for (int64_t i = 0; i < m; i += Tile::rows) {
      const T *pa = a + i * depth, *pb = b + j * depth;
      if (i + Tile::rows <= m && j + Tile::columns <= n) {
        micro_kernel<T>(depth, pa, pb, c + i * c_stride + j, c_stride, accumulate);
        continue;
      }
      alignas(64) T edge[Tile::rows * Tile::columns];
      micro_kernel<T>(depth, pa, pb, edge, Tile::columns, false);
      const int64_t rows = m - i < Tile::rows ? m - i : Tile::rows, columns = n - j < Tile::columns ? n - j : Tile::columns;
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t q = 0; q < columns; ++q) {
          T &target = c[(i + r) * c_stride + j + q];
          target = accumulate ? target + edge[r * Tile::columns + q] : edge[r * Tile::columns + q];
        }
    }
}

} // namespace
} // namespace tautgrad::cpu::TG_ISA
