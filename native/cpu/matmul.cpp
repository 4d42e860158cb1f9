// Batched matrix products. One task computes one block of C over the whole depth, so that sums do not depend on threads.
#include "dispatch.hpp"
#include "gemm.hpp"

namespace tautgrad::cpu::TG_ISA {
namespace {

constexpr int64_t DEPTH = 256;     // panels of A and B of this depth stay in L2
constexpr int64_t BLOCK_ROWS = 96; // a multiple of every GemmTile::rows
constexpr int64_t BLOCK_COLUMNS = 256;

template <class T>
int multiply(int64_t batch, int64_t m, int64_t n, int64_t k, MatrixView<T> a, int64_t a_stride, MatrixView<T> b, int64_t b_stride, T *c) {
  if (m == 0 || n == 0 || batch == 0) return TG_OK;
  // A product of few blocks is cut finer, so that threads find work.
  const int64_t row_block = BLOCK_ROWS;
  int64_t column_block = BLOCK_COLUMNS;
  const auto blocks = [&] { return batch * ((m + row_block - 1) / row_block) * ((n + column_block - 1) / column_block); };
  if (m * n * k >= (1 << 18))
    while (blocks() < 8 && column_block > 64) column_block /= 2;
  const int64_t row_blocks = (m + row_block - 1) / row_block, column_blocks = (n + column_block - 1) / column_block;
  int failed = 0;
  for_tasks(batch * row_blocks * column_blocks, static_cast<double>(batch * m) * static_cast<double>(n * k), [&](int64_t task) {
    const int64_t i0 = task % row_blocks * row_block, j0 = task / row_blocks % column_blocks * column_block;
    const int64_t item = task / (row_blocks * column_blocks);
    const int64_t rows = m - i0 < row_block ? m - i0 : row_block, columns = n - j0 < column_block ? n - j0 : column_block;
    constexpr int64_t panel_a = BLOCK_ROWS * DEPTH, panel_b = (BLOCK_COLUMNS + GemmTile<T>::columns) * DEPTH;
    T *packed_a = static_cast<T *>(scratch(1, (panel_a + panel_b) * static_cast<int64_t>(sizeof(T))));
    if (!packed_a) {
      __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
      return;
    }
    T *packed_b = packed_a + panel_a, *block = c + item * m * n + i0 * n + j0;
    if (k == 0)
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < columns; ++j) block[i * n + j] = 0;
    for (int64_t k0 = 0; k0 < k; k0 += DEPTH) {
      const int64_t depth = k - k0 < DEPTH ? k - k0 : DEPTH;
      pack_rows<T>({a.p + item * a_stride + i0 * a.row + k0 * a.column, a.row, a.column}, rows, depth, GemmTile<T>::rows, packed_a);
      pack_rows<T>({b.p + item * b_stride + k0 * b.row + j0 * b.column, b.column, b.row}, columns, depth, GemmTile<T>::columns, packed_b);
      multiply_packed<T>(rows, columns, depth, packed_a, packed_b, block, n, k0 > 0);
    }
  });
  return failed ? fail("matmul: out of memory") : static_cast<int>(TG_OK);
}

int matmul(int64_t dtype, int64_t batch, int64_t m, int64_t n, int64_t k, int64_t transpose_a, int64_t transpose_b, const void *a,
           int64_t a_stride, const void *b, int64_t b_stride, void *c) {
  return with_real(dtype, "matmul", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const MatrixView<T> va{static_cast<const T *>(a), transpose_a ? 1 : k, transpose_a ? m : 1};
    const MatrixView<T> vb{static_cast<const T *>(b), transpose_b ? 1 : n, transpose_b ? k : 1};
    return multiply<T>(batch, m, n, k, va, a_stride, vb, b_stride, static_cast<T *>(c));
  });
}

} // namespace

void register_matmul(tg_backend *t) { t->matmul = matmul; }

} // namespace tautgrad::cpu::TG_ISA
