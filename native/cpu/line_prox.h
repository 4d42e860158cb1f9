// Total-variation proxes of many lines: tiles of lines over threads, lines over SIMD lanes. Shared by prox1d and the sweeps of prox2d.
#pragma once

#include "../kernels/taut_string.h"
#include "isa.h"
#include "line_lanes.h"
#include "line_tiles.h"
#include "parallel.h"

namespace tautgrad::cpu {
// The scratch slots of the total-variation kernels (parallel.h).
enum { SCRATCH_LINE = 0, SCRATCH_TILE = 1 };
} // namespace tautgrad::cpu

namespace tautgrad::cpu::TG_ISA {
namespace {

// One line by the linear-time solver; any stride. Returns false when out of memory.
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
    taut_string(int32_t(n), sample, [&](int32_t k) { return edge_weight(lambda, double(weights[int64_t(k - 1) * stride])); }, write, ws);
  else
    taut_string(int32_t(n), sample, [&](int32_t) { return lambda; }, write, ws);
  return true;
}

// How the lines of [outer, n, inner] are cut into tiles: by the sizes only.
template <class T> struct LinePlan {
  enum { TILE_SAMPLES = 32768, STEPS_PER_SAMPLE = 6 };
  int64_t n, inner, lines, per_tile, tiles;
  int32_t stride;
  explicit LinePlan(const tg_lines &g) : n(g.n), inner(g.inner), lines(g.outer * g.inner) {
    const int64_t lanes = 2 * Lanes<T>::width;
    per_tile = TILE_SAMPLES / (n > 0 ? n : 1) / lanes * lanes;
    if (per_tile < lanes) per_tile = lanes;
    tiles = n > 0 ? (lines + per_tile - 1) / per_tile : 0;
    stride = tile_stride<T>(n, LINE_MARGIN);
  }
  int64_t offset(int64_t line) const { return line / inner * n * inner + line % inner; }
  int64_t edge_offset(int64_t line) const { return line / inner * (n - 1) * inner + line % inner; }
};

template <class T> class LineSolver {
public:
  LineSolver(const LinePlan<T> &plan, const T *x, const T *lambda, int64_t lambda_stride, const T *weights, T *y)
      : p_(plan), x_(x), lambda_(lambda), lambda_stride_(lambda_stride), weights_(weights), y_(y) {}

  bool solve_tile(int64_t tile_index) const {
    const int64_t first = tile_index * p_.per_tile, rest = p_.lines - first, count = rest < p_.per_tile ? rest : p_.per_tile;
    const int64_t size = count * p_.stride + 64;
    const int64_t bytes = ((weights_ ? 3 : 2) * size + 16) * int64_t(sizeof(T)) + count * int64_t(sizeof(int32_t));
    T *memory = static_cast<T *>(scratch(SCRATCH_TILE, bytes));
    if (!memory) return false;
    T *samples = memory, *out = samples + size, *widths = weights_ ? out + size : nullptr;
    int32_t *unfinished = reinterpret_cast<int32_t *>(memory + (weights_ ? 3 : 2) * size + 16);

    const bool uniform = stage(first, count, samples, widths);
    mark_unset(out, size);
    LineTile<T> tile{int32_t(count), int32_t(p_.n), p_.stride,  samples, widths, out, T(p_.STEPS_PER_SAMPLE * p_.n + 64),
                     unfinished,     0};
    if (weights_)
      walk_lines<T, true>(tile, uniform);
    else
      walk_lines<T, false>(tile, uniform);
    each_run(first, count, [&](int64_t line, int64_t at, int64_t lines) {
      const T *from = out + at * p_.stride + LINE_MARGIN;
      if (p_.inner > 1) return fill_columns(p_.n, p_.inner, lines, from, p_.stride, y_ + p_.offset(line));
      for (int64_t i = 0; i < lines; ++i) fill_row(p_.n, from + i * p_.stride, y_ + (line + i) * p_.n);
    });
    for (int32_t i = 0; i < tile.unfinished_count; ++i) {
      const int64_t line = first + unfinished[i], at = p_.offset(line);
      const T *w = weights_ ? weights_ + p_.edge_offset(line) : nullptr;
      if (!prox_line(p_.n, x_ + at, double(lambda_[line * lambda_stride_]), w, y_ + at, p_.inner)) return false;
    }
    return true;
  }

private:
  // visit(line, its place in the tile, how many lines follow inside the same outer index)
  template <class Visit> void each_run(int64_t first, int64_t count, const Visit &visit) const {
    if (p_.inner == 1) return visit(first, 0, count);
    for (int64_t at = 0; at < count;) {
      const int64_t column = (first + at) % p_.inner, left = p_.inner - column, lines = left < count - at ? left : count - at;
      visit(first + at, at, lines);
      at += lines;
    }
  }

  // Returns whether all lines have one lambda.
  bool stage(int64_t first, int64_t count, T *samples, T *widths) const {
    const int64_t n = p_.n, stride = p_.stride;
    bool uniform = true;
    const T common = lambda_[first * lambda_stride_];
    each_run(first, count, [&](int64_t line, int64_t at, int64_t lines) {
      T *to = samples + at * stride + LINE_MARGIN;
      const T *from = x_ + p_.offset(line);
      if (p_.inner > 1)
        stage_columns(n, p_.inner, lines, from, to, p_.stride);
      else
        for (int64_t i = 0; i < lines; ++i) __builtin_memcpy(to + i * stride, from + i * n, size_t(n) * sizeof(T));
      for (int64_t i = 0; i < lines; ++i) {
        const T lambda = lambda_[(line + i) * lambda_stride_];
        uniform = uniform && lambda == common;
        to[i * stride - 1] = lambda;
        for (int t = 0; t < 4; ++t) to[i * stride + n + t] = 0;
      }
      if (widths) stage_widths(line, lines, widths + at * stride + LINE_MARGIN);
    });
    return uniform;
  }

  // lambda * weight of the edge that follows each sample; 0 after the last.
  void stage_widths(int64_t line, int64_t lines, T *to) const {
    const int64_t n = p_.n, stride = p_.stride;
    const T *from = weights_ + p_.edge_offset(line);
    if (p_.inner > 1)
      stage_columns(n - 1, p_.inner, lines, from, to, p_.stride);
    else
      for (int64_t i = 0; i < lines; ++i) __builtin_memcpy(to + i * stride, from + i * (n - 1), size_t(n - 1) * sizeof(T));
    for (int64_t i = 0; i < lines; ++i) {
      const T lambda = lambda_[(line + i) * lambda_stride_];
      T *w = to + i * stride;
      for (int64_t k = 0; k < n - 1; ++k) w[k] = w[k] == 0 ? T(0) : lambda * w[k];
      for (int t = -1; t < 4; ++t) w[n + t] = 0;
    }
  }

  const LinePlan<T> &p_;
  const T *x_, *lambda_;
  const int64_t lambda_stride_;
  const T *weights_;
  T *y_;
};

// y = prox of every line; x and y must not overlap. lambda: one per line at lambda[line * lambda_stride] (stride 0: one for all).
// Returns false when out of memory.
template <class T> bool prox_lines(const tg_lines &g, const T *x, const T *lambda, int64_t lambda_stride, const T *weights, T *y) {
  const LinePlan<T> plan(g);
  const LineSolver<T> solver(plan, x, lambda, lambda_stride, weights, y);
  int out_of_memory = 0;
  parallel_for(plan.tiles, [&](int64_t tile) {
    if (!solver.solve_tile(tile)) __atomic_store_n(&out_of_memory, 1, __ATOMIC_RELAXED);
  });
  return out_of_memory == 0;
}

} // namespace
} // namespace tautgrad::cpu::TG_ISA
