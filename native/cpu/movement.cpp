// Moving data: strided copies (transpose, flip, slice, pad, concat, broadcast), gather and its adjoint scatter_add.
#include "../kernels/nest.h"
#include "dispatch.hpp"

#include <string.h>

namespace tautgrad::cpu::TG_ISA {
namespace {

constexpr int64_t TILE = 32; // side of a transposed tile: both its sides stay in L1

template <class T> TG_INLINE void copy_run(int64_t n, const T *x, int64_t x_stride, T *y, int64_t y_stride) {
  if (x_stride == 1 && y_stride == 1) {
    memcpy(y, x, static_cast<size_t>(n) * sizeof(T));
  } else if (x_stride == 0 && y_stride == 1) {
    const T v = *x;
    for (int64_t i = 0; i < n; ++i) y[i] = v;
  } else if (y_stride == 1) {
    for (int64_t i = 0; i < n; ++i) y[i] = x[i * x_stride];
  } else {
    for (int64_t i = 0; i < n; ++i) y[i * y_stride] = x[i * x_stride];
  }
}

int64_t magnitude(int64_t v) { return v < 0 ? -v : v; }

// The axis along which x advances least, when that is not the innermost one and walking the innermost would waste cache lines.
int transposed_axis(const Nest<2> &nest) {
  const int last = nest.rank - 1;
  if (nest.size[last] < 4 || nest.stride[1][last] != 1 || magnitude(nest.stride[0][last]) < 8) return -1;
  for (int axis = 0; axis < last; ++axis)
    if (magnitude(nest.stride[0][axis]) == 1 && nest.size[axis] >= 4) return axis;
  return -1;
}

// Copies by square tiles over `axis` (unit stride in x) and the innermost axis (unit stride in y).
template <class T> void copy_transposed(const Nest<2> &nest, int axis, const T *x, T *y) {
  const int last = nest.rank - 1;
  const int64_t rows = nest.size[axis], columns = nest.size[last];
  const int64_t x_row = nest.stride[0][axis], x_column = nest.stride[0][last], y_row = nest.stride[1][axis];
  const int64_t row_tiles = (rows + TILE - 1) / TILE;
  Nest<2> outer; // the remaining axes
  outer.rank = 0;
  for (int a = 0; a < last; ++a) {
    if (a == axis) continue;
    outer.size[outer.rank] = nest.size[a];
    outer.total *= nest.size[a];
    for (int k = 0; k < 2; ++k) outer.stride[k][outer.rank] = nest.stride[k][a];
    ++outer.rank;
  }
  if (outer.rank == 0) {
    outer.rank = 1;
    outer.size[0] = 1;
    outer.stride[0][0] = outer.stride[1][0] = 0;
  }
  const int64_t strips = outer.total * row_tiles, strip_elements = TILE * columns;
  for_chunks(strips, strip_elements >= CHUNK ? 1 : CHUNK / strip_elements, [&](int64_t begin, int64_t end) {
    for (int64_t strip = begin; strip < end; ++strip) {
      const int64_t r0 = strip % row_tiles * TILE, r1 = r0 + TILE < rows ? r0 + TILE : rows;
      walk(outer, strip / row_tiles, strip / row_tiles + 1, [&](int64_t, int64_t, const int64_t(&offset)[2]) {
        for (int64_t c0 = 0; c0 < columns; c0 += TILE) {
          const int64_t c1 = c0 + TILE < columns ? c0 + TILE : columns;
          for (int64_t r = r0; r < r1; ++r) {
            const T *source = x + offset[0] + r * x_row;
            T *target = y + offset[1] + r * y_row;
            for (int64_t c = c0; c < c1; ++c) target[c] = source[c * x_column];
          }
        }
      });
    }
  });
}

int copy_strided(int64_t dtype, const tg_dims *shape, const void *x_, int64_t x_offset, const tg_dims *x_strides, void *y_,
                 int64_t y_offset, const tg_dims *y_strides) {
  return with_size(dtype, "copy_strided", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T *x = static_cast<const T *>(x_) + x_offset;
    T *y = static_cast<T *>(y_) + y_offset;
    const Nest<2> nest = simplify<2>(shape, {x_strides, y_strides});
    if (nest.total == 0) return TG_OK;
    const int axis = transposed_axis(nest);
    if (axis >= 0) {
      copy_transposed(nest, axis, x, y);
      return TG_OK;
    }
    const int64_t sx = nest.stride[0][nest.rank - 1], sy = nest.stride[1][nest.rank - 1];
    for_chunks(nest.total, [&](int64_t begin, int64_t end) {
      walk(nest, begin, end, [&](int64_t, int64_t n, const int64_t(&offset)[2]) { copy_run(n, x + offset[0], sx, y + offset[1], sy); });
    });
    return TG_OK;
  });
}

int gather(int64_t dtype, const tg_lines *lines, int64_t count, const void *x_, const void *index_, void *y_) {
  return with_size(dtype, "gather", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T *x = static_cast<const T *>(x_);
    T *y = static_cast<T *>(y_);
    const int32_t *index = static_cast<const int32_t *>(index_);
    const int64_t n = lines->n, inner = lines->inner;
    if (inner == 0) return TG_OK;
    const int64_t rows = lines->outer * count;
    for_chunks(rows, inner >= CHUNK ? 1 : CHUNK / inner, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t o = row / count, k = row % count;
        copy_run(inner, x + (o * n + index[k]) * inner, 1, y + row * inner, 1);
      }
    });
    return TG_OK;
  });
}

// One task owns whole columns of y and adds in the order of k, so that repeated indices sum in the same order always.
int scatter_add(int64_t dtype, const tg_lines *lines, int64_t count, const void *x_, const void *index_, void *y_) {
  return with_dtype(dtype, "scatter_add", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T *x = static_cast<const T *>(x_);
    T *y = static_cast<T *>(y_);
    const int32_t *index = static_cast<const int32_t *>(index_);
    const int64_t n = lines->n, inner = lines->inner;
    const int64_t width = 1024, columns = (inner + width - 1) / width;
    parallel_for(lines->outer * columns, [&](int64_t task) {
      const int64_t o = task / columns, i0 = task % columns * width, i1 = i0 + width < inner ? i0 + width : inner;
      for (int64_t k = 0; k < count; ++k) {
        const T *source = x + (o * count + k) * inner;
        T *target = y + (o * n + index[k]) * inner;
        for (int64_t i = i0; i < i1; ++i) target[i] = static_cast<T>(target[i] + source[i]);
      }
    });
    return TG_OK;
  });
}

} // namespace

void register_movement(tg_backend *t) {
  t->copy_strided = copy_strided;
  t->gather = gather;
  t->scatter_add = scatter_add;
}

} // namespace tautgrad::cpu::TG_ISA
