// Total-variation proxes of many lines: tiles of lines over threads, lines over SIMD lanes. Shared by prox1d and the sweeps of prox2d.
#pragma once

#include "../kernels/taut_string.h"
#include "isa.h"
#include "line_chunks.h"
#include "line_funnel.h"
#include "line_lanes.h"
#include "line_scan.h"
#include "line_tiles.h"
#include "parallel.h"

namespace tautgrad::cpu {
// The scratch slots of the total-variation kernels (parallel.h).
enum { SCRATCH_LINE = 0, SCRATCH_TILE = 1 };
} // namespace tautgrad::cpu

namespace tautgrad::cpu::TG_ISA {
namespace {

// One line, or the rest of it from `begin` on, by the linear-time solver; any stride. Returns false when out of memory.
template <class T>
bool prox_line(int64_t n, const T *x, double lambda, const T *weights, T *y, int64_t stride, int64_t begin = 0, int direction = 0,
               double previous = 0) {
  if (lambda == 0) { // the identity, whatever the range of the data
    for (int64_t i = 0; i < n; ++i) y[i * stride] = x[i * stride];
    return true;
  }
  const int64_t count = n - begin;
  void *memory = scratch(SCRATCH_LINE, weights ? TautStringWorkspace::bytes(count) : LineFunnel<T, true>::bytes(count));
  if (!memory) return false;
  x += begin * stride;
  y += begin * stride;
  if (!weights) {
    if (stride == 1)
      LineFunnel<T, true>(count, x, y, 1, lambda, memory, direction, previous).solve();
    else
      LineFunnel<T, false>(count, x, y, stride, lambda, memory, direction, previous).solve();
    return true;
  }
  const auto write = [&](int32_t from, int32_t end, double value) {
    for (int64_t i = from; i < end; ++i) y[i * stride] = T(value);
  };
  const auto sample = [&](int32_t i) { return double(x[int64_t(i) * stride]); };
  const auto weight = [&](int32_t k) { return edge_weight(lambda, double(weights[(begin + k - 1) * stride])); };
  taut_string<sizeof(T) == 8>(int32_t(count), sample, weight, write, TautStringWorkspace::at(memory, count),
                              direction ? direction * weight(0) : 0, previous);
  return true;
}

// How the lines of [outer, n, inner] are cut into tiles: by the sizes only.
template <class T> struct LinePlan {
  enum { TILE_SAMPLES = 32768 };
  int64_t n, inner, lines, per_tile, tiles;
  int32_t stride;
  explicit LinePlan(const tg_lines &g) : n(g.n), inner(g.inner), lines(g.outer * g.inner) {
    const int64_t lanes = 2 * Lanes<T>::width;
    per_tile = TILE_SAMPLES / (n > 0 ? n : 1) / lanes * lanes;
    if (per_tile < lanes) per_tile = lanes;
    if (inner > 1 && n <= 2048 && per_tile < 2 * lanes) per_tile = 2 * lanes; // four vectors of columns side by side: see line_tiles.h
    tiles = n > 0 ? (lines + per_tile - 1) / per_tile : 0;
    stride = tile_stride<T>(n);
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
    const int64_t size = count * p_.stride + 64, arrays = weights_ ? 3 : 2, pieces = count * (p_.n / 3 + 1);
    T *memory = static_cast<T *>(scratch(SCRATCH_TILE, (arrays * size + count + 32 + RoughLine<T>::edges(p_.n)) * int64_t(sizeof(T)) +
                                                           PieceList<T>::bytes(pieces) + count * int64_t(sizeof(UnfinishedLine<T>))));
    if (!memory) return false;
    T *samples = memory + 16, *out = samples + size, *widths = weights_ ? out + size : nullptr; // 16: see LineTile
    T *lambdas = memory + arrays * size, *edges = lambdas + (count + 15) / 16 * 16;
    UnfinishedLine<T> *unfinished = reinterpret_cast<UnfinishedLine<T> *>(edges + (RoughLine<T>::edges(p_.n) + 15) / 16 * 16);

    LineTile<T> tile{p_.stride, samples, widths, out, PieceList<T>::at(unfinished + count, pieces), int32_t(p_.n), true, unfinished, 0};
    for (int64_t i = 0; i < count; ++i) {
      lambdas[i] = lambda_[(first + i) * lambda_stride_];
      tile.uniform = tile.uniform && lambdas[i] == lambdas[0];
    }
    tile.pieces.lambda[0] = lambdas[0];
    stage(first, count, samples, widths, lambdas);
    for (int32_t i = 0; i < count; ++i) {
      const int32_t at = i * p_.stride;
      if (!widths && RoughLine<T>(int32_t(p_.n), samples + at, lambdas[i], at, edges, out + at).cut(tile.pieces)) {
        tile.whole = 0;
        continue;
      }
      mark_unset(out + at, p_.n);
      tile.pieces.add_line(at, int32_t(p_.n), false, lambdas[i]);
    }
    if (weights_)
      walk_lines<T, true, false>(tile);
    else
      walk_lines<T, false, false>(tile);
    for (int32_t i = 0; i < tile.unfinished_count; ++i) {
      const UnfinishedLine<T> &u = unfinished[i];
      const int64_t at = int64_t(u.line) * tile.stride;
      const T *w = weights_ ? widths + at : nullptr; // lambda is in them
      if (!prox_line(p_.n, tile.samples + at, weights_ ? 1.0 : double(lambdas[u.line]), w, tile.out + at, 1, u.begin, u.direction,
                     double(u.previous)))
        return false;
    }
    each_run(first, count, [&](int64_t line, int64_t at, int64_t lines) {
      const T *from = tile.out + at * tile.stride;
      if (p_.inner > 1) return fill_columns(p_.n, p_.inner, lines, from, tile.stride, y_ + p_.offset(line));
      fill_rows(p_.n, lines, from, tile.stride, y_ + line * p_.n);
    });
    return true;
  }

  bool solve_long_line(int64_t line) const {
    const int64_t at = p_.offset(line);
    const T lambda = lambda_[line * lambda_stride_], *w = weights_ ? weights_ + p_.edge_offset(line) : nullptr;
    const Chunks result = prox_long_line(p_.n, p_.inner, x_ + at, lambda, w, y_ + at, SCRATCH_TILE);
    if (result != Chunks::apart) return result == Chunks::solved;
    if (w) return prox_line(p_.n, x_ + at, double(lambda), w, y_ + at, p_.inner);
    const ScannedLine scanned = LineScan<T>(p_.n, x_ + at, p_.inner, double(lambda), y_ + at).solve();
    return scanned.end == p_.n ||
           prox_line(p_.n, x_ + at, double(lambda), w, y_ + at, p_.inner, scanned.end, scanned.direction, scanned.previous);
  }

  // Each of a few lines cut into chunks; false where one stays uncut, for whatever reason.
  bool solve_few_lines() const {
    const int64_t reach = p_.lines > 1 ? 50 : 25; // all of them must succeed
    for (int64_t line = 0; line < p_.lines; ++line) {
      const int64_t at = p_.offset(line);
      const T *w = weights_ ? weights_ + p_.edge_offset(line) : nullptr;
      if (prox_medium_line(p_.n, p_.inner, x_ + at, lambda_[line * lambda_stride_], w, y_ + at, reach, SCRATCH_TILE) != Chunks::solved)
        return false;
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

  void stage(int64_t first, int64_t count, T *samples, T *widths, const T *lambdas) const {
    for (int i = 1; i <= 4; ++i) {
      samples[-i] = 0;
      if (widths) widths[-i] = 0;
    }
    each_run(first, count, [&](int64_t line, int64_t at, int64_t lines) {
      stage_lines(p_.n, line, lines, x_ + p_.offset(line), p_.lines * p_.n, samples + at * p_.stride);
      if (widths) stage_widths(line, lines, lambdas + at, widths + at * p_.stride);
    });
  }

  // `lines` lines of n values from `from`, the place of `line` in a tensor of `total` values. What follows a line in the tile is never
  // used.
  void stage_lines(int64_t n, int64_t line, int64_t lines, const T *from, int64_t total, T *to) const {
    if (p_.inner > 1) return stage_columns(n, p_.inner, lines, from, to, p_.stride);
    for (int64_t i = 0; i < lines; ++i) {
      if ((line + i + 1) * n + Lanes<T>::width <= total) // whole vectors do not read beyond the tensor
        copy_padded(n, from + i * n, to + i * p_.stride);
      else
        __builtin_memcpy(to + i * p_.stride, from + i * n, size_t(n) * sizeof(T));
    }
  }

  // lambda * weight of the edge that follows each sample; 0 after the last.
  void stage_widths(int64_t line, int64_t lines, const T *lambdas, T *to) const {
    const int64_t n = p_.n;
    stage_lines(n - 1, line, lines, weights_ + p_.edge_offset(line), p_.lines * (n - 1), to);
    for (int64_t i = 0; i < lines; ++i) {
      T *w = to + i * p_.stride;
      for (int64_t k = 0; k < n - 1; ++k) w[k] = w[k] == 0 ? T(0) : lambdas[i] * w[k];
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
// before(tile, first line, lines) may prepare x, after(...) use y, while the tile is in the cache. Returns false when out of memory.
template <class T, class Before, class After>
bool prox_lines(const tg_lines &g, const T *x, const T *lambda, int64_t lambda_stride, const T *weights, T *y, const Before &before,
                const After &after) {
  const LinePlan<T> plan(g);
  const LineSolver<T> solver(plan, x, lambda, lambda_stride, weights, y);
  int out_of_memory = 0;
  const bool chunked = g.n >= LONG_LINE, few = plan.lines <= FEW_LINES<T> && g.n >= MEDIUM_LINE;
  parallel_for(plan.tiles, [&](int64_t tile) {
    const int64_t first = tile * plan.per_tile, left = plan.lines - first, count = left < plan.per_tile ? left : plan.per_tile;
    before(tile, first, count);
    if (chunked) return;
    // A single tile, then.
    if (!(few && solver.solve_few_lines()) && !solver.solve_tile(tile)) __atomic_store_n(&out_of_memory, 1, __ATOMIC_RELAXED);
    after(tile, first, count);
  });
  if (!chunked) return out_of_memory == 0;
  // Few long lines share the threads inside each of them, many are shared out.
  const auto line = [&](int64_t i) {
    if (!solver.solve_long_line(i)) __atomic_store_n(&out_of_memory, 1, __ATOMIC_RELAXED);
  };
  if (plan.lines >= 64)
    parallel_for(plan.lines, line);
  else
    for (int64_t i = 0; i < plan.lines; ++i) line(i);
  parallel_for(plan.tiles, [&](int64_t tile) {
    const int64_t first = tile * plan.per_tile, left = plan.lines - first;
    after(tile, first, left < plan.per_tile ? left : plan.per_tile);
  });
  return out_of_memory == 0;
}

template <class T> bool prox_lines(const tg_lines &g, const T *x, const T *lambda, int64_t lambda_stride, const T *weights, T *y) {
  const auto nothing = [](int64_t, int64_t, int64_t) {};
  return prox_lines(g, x, lambda, lambda_stride, weights, y, nothing, nothing);
}

} // namespace
} // namespace tautgrad::cpu::TG_ISA
