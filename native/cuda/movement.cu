// Moving data: strided copies (transpose, flip, slice, pad, concat, broadcast), gather and its adjoint scatter_add.
#include "launch.h"

#include "../kernels/nest.h"

namespace tautgrad::cuda {
namespace {

template <class T, class Index> __global__ void copy_kernel(Nest<2> nest, const T *x, T *y) {
  for (int64_t i = global_thread(); i < nest.total; i += all_threads()) {
    int64_t offset[2];
    nest_offsets<Index>(nest, static_cast<Index>(i), offset);
    y[offset[1]] = x[offset[0]];
  }
}

constexpr int TILE = 32, TILE_ROWS = 8;

// The axis along which x has unit stride, when it is not the innermost one: reading along it and writing along the innermost through a
// tile of shared memory keeps both sides coalesced.
int transposed_axis(const Nest<2> &nest) {
  const int last = nest.rank - 1;
  if (nest.size[last] < 8 || nest.stride[1][last] != 1 || nest.stride[0][last] == 0 || nest.stride[0][last] == 1) return -1;
  for (int axis = 0; axis < last; ++axis)
    if (nest.stride[0][axis] == 1 && nest.size[axis] >= 8) return axis;
  return -1;
}

// outer: the axes that are neither `rows` (unit stride in x) nor columns (unit stride in y).
template <class T>
__global__ void transpose_kernel(Nest<2> outer, int64_t rows, int64_t columns, int64_t x_column, int64_t y_row, const T *x, T *y) {
  __shared__ T tile[TILE][TILE + 1];
  const int64_t row_tiles = (rows + TILE - 1) / TILE, column_tiles = (columns + TILE - 1) / TILE, tiles = row_tiles * column_tiles;
  for (int64_t b = blockIdx.x; b < outer.total * tiles; b += gridDim.x) {
    int64_t offset[2];
    nest_offsets<uint64_t>(outer, static_cast<uint64_t>(b / tiles), offset);
    const int64_t r0 = b % tiles / column_tiles * TILE, c0 = b % column_tiles * TILE;
    for (int k = threadIdx.y; k < TILE; k += TILE_ROWS)
      if (r0 + threadIdx.x < rows && c0 + k < columns) tile[k][threadIdx.x] = x[offset[0] + r0 + threadIdx.x + (c0 + k) * x_column];
    __syncthreads();
    for (int k = threadIdx.y; k < TILE; k += TILE_ROWS)
      if (r0 + k < rows && c0 + threadIdx.x < columns) y[offset[1] + (r0 + k) * y_row + c0 + threadIdx.x] = tile[threadIdx.x][k];
    __syncthreads();
  }
}

template <class T> int copy_transposed(const Nest<2> &nest, int axis, const T *x, T *y) {
  const int last = nest.rank - 1;
  Nest<2> outer;
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
  const int64_t blocks = outer.total * ceil_div(nest.size[axis], TILE) * ceil_div(nest.size[last], TILE);
  const dim3 grid(static_cast<unsigned>(blocks < (1 << 30) ? blocks : 1 << 30));
  return run_kernel("copy_strided", transpose_kernel<T>, grid, dim3(TILE, TILE_ROWS), 0, outer, nest.size[axis], nest.size[last],
                    nest.stride[0][last], nest.stride[1][axis], x, y);
}

int copy_strided(int64_t dtype, const tg_dims *shape, const void *x_, int64_t x_offset, const tg_dims *x_strides, void *y_,
                 int64_t y_offset, const tg_dims *y_strides) {
  return with_size(dtype, "copy_strided", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T *x = static_cast<const T *>(x_) + x_offset;
    T *y = static_cast<T *>(y_) + y_offset;
    const Nest<2> nest = simplify<2>(shape, {x_strides, y_strides});
    if (nest.total == 0) return static_cast<int>(TG_OK);
    if (nest.rank == 1 && nest.stride[0][0] == 1 && nest.stride[1][0] == 1) return copy(y, x, nest.total * static_cast<int64_t>(sizeof(T)));
    const int axis = transposed_axis(nest);
    if (axis >= 0) return copy_transposed(nest, axis, x, y);
    const auto kernel = nest.total < (int64_t(1) << 31) ? copy_kernel<T, uint32_t> : copy_kernel<T, uint64_t>;
    return run_kernel("copy_strided", kernel, blocks_for(nest.total), THREADS, 0, nest, x, y);
  });
}

template <class T>
__global__ void gather_kernel(int64_t total, int64_t n, int64_t count, int64_t inner, const T *x, const int32_t *index, T *y) {
  for (int64_t p = global_thread(); p < total; p += all_threads()) {
    const int64_t row = p / inner, i = p % inner, o = row / count;
    y[p] = x[(o * n + index[row % count]) * inner + i];
  }
}

int gather(int64_t dtype, const tg_lines *lines, int64_t count, const void *x, const void *index, void *y) {
  return with_size(dtype, "gather", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t total = lines->outer * count * lines->inner;
    return run_kernel("gather", gather_kernel<T>, blocks_for(total), THREADS, 0, total, lines->n, count, lines->inner,
                      static_cast<const T *>(x), static_cast<const int32_t *>(index), static_cast<T *>(y));
  });
}

// One thread owns a column of y and adds in the order of k, so that repeated indices sum in the same order always.
template <class T>
__global__ void scatter_kernel(int64_t columns, int64_t n, int64_t count, int64_t inner, const T *x, const int32_t *index, T *y) {
  for (int64_t p = global_thread(); p < columns; p += all_threads()) {
    const int64_t o = p / inner, i = p % inner;
    for (int64_t k = 0; k < count; ++k) {
      T &target = y[(o * n + index[k]) * inner + i];
      target = static_cast<T>(target + x[(o * count + k) * inner + i]);
    }
  }
}

int scatter_add(int64_t dtype, const tg_lines *lines, int64_t count, const void *x, const void *index, void *y) {
  return with_dtype(dtype, "scatter_add", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t columns = lines->outer * lines->inner;
    return run_kernel("scatter_add", scatter_kernel<T>, blocks_for(columns), THREADS, 0, columns, lines->n, count, lines->inner,
                      static_cast<const T *>(x), static_cast<const int32_t *>(index), static_cast<T *>(y));
  });
}

} // namespace

void register_movement(tg_backend *t) {
  t->copy_strided = copy_strided;
  t->gather = gather;
  t->scatter_add = scatter_add;
}

} // namespace tautgrad::cuda
