// Edge duals of line proxes: the partial sums u_k = sum_{i <= k} (out_i - in_i) of a prox's residual, made feasible.
//
// Where the output jumps, the dual is exactly +-w; starting the sums afresh there keeps rounding from growing along the line. (Only where
// the sum agrees: in a tie, rounding may have turned a jump of one unit in the last place.) Clipping makes any rest feasible.
#pragma once

#include "line_average.h"

namespace tautgrad::cpu::TG_ISA {
namespace {

template <class T, Layout layout>
void duals_block(int64_t n, const LineBlock<T, layout> &block, const T *in, const T *out, T lambda, T cap,
                 const LineBlock<T, layout> &edges, const T *weights, T *u) {
  using L = Lanes<T>;
  using V = typename L::V;
  using M = typename L::M;
  const V zero = L::splat(0), caps = L::splat(cap), near = L::splat(T(0.01));
  V sum = zero, width = L::min(caps, L::splat(lambda));
  Quad<T> here = block.load(out, 0, n < 4 ? n : 4);
  for (int64_t k = 0; k < n; k += 4) {
    const int64_t count = n - k < 4 ? n - k : 4, left = n - k - 4;
    const Quad<T> given = block.load(in, k, count);
    Quad<T> following = here, duals, w;
    if (left > 0) following = block.load(out, k + 4, left < 4 ? left : 4);
    if (weights) w = edges.load(weights, k, n - 1 - k < 4 ? n - 1 - k : 4);
    for (int t = 0; t < 4; ++t) {
      if (weights) width = L::select(L::equal(w.v[t], zero), zero, L::min(caps, L::splat(lambda) * w.v[t]));
      sum += here.v[t] - given.v[t];
      const V next = t < 3 ? here.v[t + 1] : following.v[0];
      const M rises = L::less(here.v[t], next), falls = L::less(next, here.v[t]);
      const V target = L::select(rises, width, -width), distance = sum - target;
      const M agrees = L::both(L::either(rises, falls), L::less(L::max(distance, -distance), near * width));
      sum = L::select(agrees, target, sum);
      const V clipped = L::min(width, L::max(-width, sum));
      duals.v[t] = k + t + 1 < n ? clipped : zero;
    }
    block.store(u, k, count, duals);
    here = following;
  }
}

// All lines of [outer, n, inner] (inner > 1: outer = 1); u has the layout of in, its last sample per line is 0. One lambda; weights as in
// prox1d, or null. The tasks' cut depends on the sizes only.
template <class T> void line_duals(const tg_lines &g, const T *in, const T *out, T lambda, T cap, const T *weights, T *u) {
  constexpr int64_t width = Lanes<T>::width;
  const int64_t lines = g.outer * g.inner;
  parallel_for((lines + width - 1) / width, [&](int64_t task) {
    const int64_t first = task * width, left = lines - first < width ? lines - first : width;
    const int64_t at = g.inner == 1 ? first * g.n : first, edge = g.inner == 1 ? first * (g.n - 1) : first;
    const T *w = weights ? weights + edge : nullptr;
    const auto fill = [&](auto &block, int64_t length) {
      block.stride = g.inner;
      for (int64_t i = 0; i < width; ++i) block.at[i] = int32_t((i < left ? i : left - 1) * (g.inner == 1 ? length : 1));
    };
    if (g.inner == 1) {
      LineBlock<T, Layout::rows> block, edges;
      fill(block, g.n);
      fill(edges, g.n - 1);
      duals_block(g.n, block, in + at, out + at, lambda, cap, edges, w, u + at);
    } else if (left == width) {
      LineBlock<T, Layout::columns> block, edges;
      fill(block, 1);
      fill(edges, 1);
      duals_block(g.n, block, in + at, out + at, lambda, cap, edges, w, u + at);
    } else {
      LineBlock<T, Layout::scattered> block, edges;
      fill(block, 1);
      fill(edges, 1);
      duals_block(g.n, block, in + at, out + at, lambda, cap, edges, w, u + at);
    }
  });
}

} // namespace
} // namespace tautgrad::cpu::TG_ISA
