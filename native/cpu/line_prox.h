// Total-variation proxes of many lines: how they are spread over threads. Shared by prox1d and the sweeps of prox2d.
#pragma once

#include "../kernels/taut_string.h"
#include "isa.h"
#include "parallel.h"

namespace tautgrad::cpu {
// The scratch slots of the total-variation kernels (parallel.h).
enum { SCRATCH_LINE = 0 };
} // namespace tautgrad::cpu

namespace tautgrad::cpu::TG_ISA {
namespace {

// Tasks of at least a few thousand samples each; their cut depends on the sizes only.
struct LineBlocks {
  int64_t n, inner, lines, per_block, count;
  explicit LineBlocks(const tg_lines &g) : n(g.n), inner(g.inner), lines(g.outer * g.inner) {
    per_block = 8192 / (n > 0 ? n : 1);
    per_block = per_block < 1 ? 1 : per_block;
    count = n > 0 ? (lines + per_block - 1) / per_block : 0;
  }
  // visit(line, offset of its first sample)
  template <class Visit> void each(int64_t block, const Visit &visit) const {
    const int64_t end = (block + 1) * per_block < lines ? (block + 1) * per_block : lines;
    for (int64_t line = block * per_block; line < end; ++line) visit(line, line / inner * n * inner + line % inner);
  }
};

template <class T> bool prox_line(int64_t n, const T *x, double lambda, const T *weights, T *y, int64_t stride) {
  if (lambda == 0) { // the identity, whatever the range of the data
    for (int64_t i = 0; i < n; ++i) y[i * stride] = x[i * stride];
    return true;
  }
  void *memory = scratch(SCRATCH_LINE, TautStringWorkspace::bytes(n));
  if (!memory) return false;
  const auto write = [&](int32_t begin, int32_t end, double value) {
    for (int64_t i = begin; i < end; ++i) y[i * stride] = T(value);
  };
  const auto sample = [&](int32_t i) { return double(x[int64_t(i) * stride]); };
  const auto ws = TautStringWorkspace::at(memory, n);
  if (weights)
    taut_string(
        int32_t(n), sample, [&](int32_t k) { return edge_weight(lambda, double(weights[int64_t(k - 1) * stride])); }, write, ws);
  else
    taut_string(
        int32_t(n), sample, [&](int32_t) { return lambda; }, write, ws);
  return true;
}

// y = prox of every line; x and y must not overlap. lambda: one per line at lambda[line * lambda_stride] (stride 0: one for all).
// Returns false when out of memory.
template <class T> bool prox_lines(const tg_lines &g, const T *x, const T *lambda, int64_t lambda_stride, const T *weights, T *y) {
  const LineBlocks blocks(g);
  int out_of_memory = 0;
  parallel_for(blocks.count, [&](int64_t b) {
    blocks.each(b, [&](int64_t line, int64_t offset) {
      const T *w = weights ? weights + line / g.inner * (g.n - 1) * g.inner + line % g.inner : nullptr;
      if (!prox_line(g.n, x + offset, double(lambda[line * lambda_stride]), w, y + offset, g.inner))
        __atomic_store_n(&out_of_memory, 1, __ATOMIC_RELAXED);
    });
  });
  return out_of_memory == 0;
}

} // namespace
} // namespace tautgrad::cpu::TG_ISA
