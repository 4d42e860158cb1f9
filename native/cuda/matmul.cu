// c[b] = op(a[b]) op(b[b]).
#include "bfloat16.h"
#include "tensor_gemm.cuh"
#include "vendor.h"

namespace tautgrad::cuda {
namespace {

template <class T> struct Matrix {
  const T *p;
  int64_t batch, row, column; // strides of op(matrix)
  bool k_first;
  __device__ T value(int64_t z, int64_t i, int64_t k) const { return p[z * batch + i * row + k * column]; }
  struct Column {
    const T *p;
    int64_t row;
    __device__ T value(int64_t k) const { return p[k * row]; }
  };
  __device__ Column cursor(int64_t z, int64_t j) const { return {p + z * batch + j * column, row}; }
};

template <class T> struct Product {
  T *p;
  int64_t m, n;
  __device__ void store(int64_t z, int64_t, int64_t i, int64_t j, T v) const { p[(z * m + i) * n + j] = v; }
};

int matmul(int64_t dtype, int64_t batch, int64_t m, int64_t n, int64_t k, int64_t transpose_a, int64_t transpose_b, const void *a,
           int64_t a_stride, const void *b, int64_t b_stride, void *c) {
  // On a device without tensor cores for them the factors are rounded first, for whoever multiplies.
  const Factors f("matmul", dtype, a, (batch - 1) * a_stride + m * k, b, (batch - 1) * b_stride + k * n, true, false);
  if (f.status != TG_OK) return f.status;
  if (cublas_product(dtype, batch, m, n, k, transpose_a, transpose_b, f.first, a_stride, f.second, b_stride, c) == TG_OK) return TG_OK;
  return with_real(dtype, "matmul", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Matrix<T> left = {static_cast<const T *>(f.first), a_stride, transpose_a ? 1 : k, transpose_a ? m : 1, !transpose_a};
    const Matrix<T> right = {static_cast<const T *>(f.second), b_stride, transpose_b ? 1 : n, transpose_b ? k : 1, transpose_b != 0};
    const GemmShape s = {batch, m, n, k, 1, k};
    const Product<T> result = {static_cast<T *>(c), m, n};
    if constexpr (sizeof(T) == sizeof(float))
      if (f.tensor) return tensor_gemm("matmul", s, left, right, result);
    return gemm<T>("matmul", s, left, right, result);
  });
}

} // namespace

void register_matmul(tg_backend *t) { t->matmul = matmul; }

} // namespace tautgrad::cuda
