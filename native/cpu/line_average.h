// Means over the runs of equal values of many lines, one line per SIMD lane: a forward walk writes each mean where its run ends, a backward
// fill spreads it. Sums are relative to the run's first value and compensated, so that float32 means are good to rounding.
#pragma once

#include "../kernels/segments.h"
#include "line_tiles.h"
#include "parallel.h"

namespace tautgrad::cpu::TG_ISA {
namespace {

// How a block of `width` lines is read and written: rows (contiguous lines, through transposes), columns (adjacent lines), or lines
// anywhere.
enum class Layout { rows, columns, scattered };

template <class T, Layout layout> struct LineBlock {
  using L = Lanes<T>;
  int32_t at[L::width]; // first sample of each lane's line
  int64_t stride;       // from one sample to the next

  TG_INLINE Quad<T> load(const T *p, int64_t k, int64_t count) const {
    Quad<T> q;
    if constexpr (layout == Layout::rows)
      if (count == 4) return load_quad(p + k, at);
    for (int t = 0; t < 4; ++t) {
      if (layout == Layout::columns && t < count) {
        q.v[t] = L::load(p + (k + t) * stride);
      } else {
        T one[L::width];
        for (int i = 0; i < L::width; ++i) one[i] = t < count ? p[at[i] + (k + t) * stride] : T(0);
        q.v[t] = L::load(one);
      }
    }
    return q;
  }
  TG_INLINE void store(T *p, int64_t k, int64_t count, const Quad<T> &q) const {
    if constexpr (layout == Layout::rows)
      if (count == 4) return store_quad(p + k, at, q);
    for (int t = 0; t < 4 && t < count; ++t) {
      if (layout == Layout::columns) {
        L::store(p + (k + t) * stride, q.v[t]);
      } else {
        T one[L::width];
        L::store(one, q.v[t]);
        for (int i = 0; i < L::width; ++i) p[at[i] + (k + t) * stride] = one[i];
      }
    }
  }
};

// The forward walk of `width` lines: means where runs end, "unset" elsewhere.
template <class T> struct RunMeans {
  using L = Lanes<T>;
  using V = typename L::V;
  using M = typename L::M;
  V sum = L::splat(0), lost = L::splat(0), base = L::splat(0), length = L::splat(0), unset;
  M fresh = L::all();

  TG_INLINE RunMeans() {
    T mark[1];
    mark_unset(mark, 1);
    unset = L::splat(mark[0]);
  }

  // Four samples on; `next` holds the levels of the four that follow. left: samples of the line from the first of the four on.
  TG_INLINE Quad<T> step(int64_t left, const Quad<T> &level, const Quad<T> &next, const Quad<T> &values) {
    const V zero = L::splat(0), one = L::splat(1);
    Quad<T> means;
    for (int t = 0; t < 4; ++t) {
      const M ends = t + 1 >= left ? L::all() : L::without(L::all(), L::equal(level.v[t], t < 3 ? level.v[t + 1] : next.v[0]));
      base = L::select(fresh, values.v[t], base);
      const V add = values.v[t] - base - lost, total = sum + add;
      lost = (total - sum) - add;
      sum = total;
      length += one;
      means.v[t] = L::select(ends, base + sum / length, unset);
      sum = L::select(ends, zero, sum);
      lost = L::select(ends, zero, lost);
      length = L::select(ends, zero, length);
      fresh = ends;
    }
    return means;
  }
};

template <class T, Layout layout> void average_block(int64_t n, const LineBlock<T, layout> &block, const T *y, const T *v, T *out) {
  using L = Lanes<T>;
  using V = typename L::V;
  RunMeans<T> walk;
  Quad<T> level = block.load(y, 0, n < 4 ? n : 4);
  for (int64_t k = 0; k < n; k += 4) {
    const int64_t count = n - k < 4 ? n - k : 4, left = n - k - 4;
    const Quad<T> values = block.load(v, k, count);
    Quad<T> following = level;
    if (left > 0) following = block.load(y, k + 4, left < 4 ? left : 4);
    block.store(out, k, count, walk.step(n - k, level, following, values));
    level = following;
  }
  if constexpr (layout == Layout::rows) {
    for (int i = 0; i < L::width; ++i) fill_row(n, out + block.at[i], out + block.at[i]);
  } else {
    V carry = L::splat(0);
    for (int64_t k = (n - 1) / 4 * 4; k >= 0; k -= 4) {
      const int64_t count = n - k < 4 ? n - k : 4;
      Quad<T> q = block.load(out, k, count);
      for (int t = 3; t >= 0; --t) {
        if (t >= count) continue;
        q.v[t] = carry = L::select(unset_lanes<T>(q.v[t]), carry, q.v[t]);
      }
      block.store(out, k, count, q);
    }
  }
}

// Rows that lie a multiple of 512 bytes apart crowd into a few cache sets when they are walked side by side: windows of them are staged
// with an odd pitch in cache lines.
template <class T> bool rows_crowd(int64_t n) { return n * int64_t(sizeof(T)) >= 1024 && n * sizeof(T) % 512 == 0; }

template <class T> void average_rows_staged(int64_t n, const int32_t *at, const T *y, const T *v, T *out) {
  using L = Lanes<T>;
  constexpr int64_t WINDOW = 256, PITCH = WINDOW + 64 / sizeof(T);
  alignas(64) T levels[L::width * PITCH], values[L::width * PITCH], means[L::width * PITCH];
  int32_t rows[L::width];
  for (int i = 0; i < L::width; ++i) rows[i] = int32_t(i * PITCH);
  for (int64_t i = 0; i < L::width * PITCH; ++i) levels[i] = values[i] = T(0);
  RunMeans<T> walk;
  for (int64_t k0 = 0; k0 < n; k0 += WINDOW) {
    const int64_t count = n - k0 < WINDOW ? n - k0 : WINDOW, ahead = n - k0 - count < 4 ? n - k0 - count : 4;
    for (int i = 0; i < L::width; ++i) {
      __builtin_memcpy(levels + i * PITCH, y + at[i] + k0, size_t(count + ahead) * sizeof(T));
      __builtin_memcpy(values + i * PITCH, v + at[i] + k0, size_t(count) * sizeof(T));
    }
    Quad<T> level = load_quad(levels, rows);
    for (int64_t k = 0; k < count; k += 4) {
      const Quad<T> following = load_quad(levels + k + 4, rows), given = load_quad(values + k, rows);
      store_quad(means + k, rows, walk.step(n - k0 - k, level, following, given));
      level = following;
    }
    for (int i = 0; i < L::width; ++i) __builtin_memcpy(out + at[i] + k0, means + i * PITCH, size_t(count) * sizeof(T));
  }
  for (int i = 0; i < L::width; ++i) fill_row(n, out + at[i], out + at[i]);
}

// A task of the lines first .. first + count of [outer, n, inner]; every line meets the same arithmetic, wherever it lies.
template <class T> void average_lines(const tg_lines &g, int64_t first, int64_t count, const T *y, const T *v, T *out) {
  constexpr int width = Lanes<T>::width;
  const auto offset = [&](int64_t line) { return line / g.inner * g.n * g.inner + line % g.inner; };
  for (int64_t line = first; line < first + count;) {
    const int64_t left = first + count - line, origin = offset(line);
    if (g.inner >= width && line % g.inner + width <= g.inner && left >= width) {
      LineBlock<T, Layout::columns> block;
      for (int i = 0; i < width; ++i) block.at[i] = i;
      block.stride = g.inner;
      average_block(g.n, block, y + origin, v + origin, out + origin);
    } else if (g.inner == 1 && g.n * width < (int64_t(1) << 30)) {
      LineBlock<T, Layout::rows> block;
      for (int i = 0; i < width; ++i) block.at[i] = int32_t((i < left ? i : left - 1) * g.n); // idle lanes repeat the last line
      block.stride = 1;
      if (rows_crowd<T>(g.n))
        average_rows_staged(g.n, block.at, y + origin, v + origin, out + origin);
      else
        average_block(g.n, block, y + origin, v + origin, out + origin);
    } else if (g.n * g.inner * (width + 1) < (int64_t(1) << 30)) {
      LineBlock<T, Layout::scattered> block;
      for (int i = 0; i < width; ++i) block.at[i] = int32_t(offset(i < left ? line + i : first + count - 1) - origin);
      block.stride = g.inner;
      average_block(g.n, block, y + origin, v + origin, out + origin);
    } else {
      average_runs(g.n, y + origin, v + origin, out + origin, g.inner);
      line -= width - 1;
    }
    line += width;
  }
}

} // namespace
} // namespace tautgrad::cpu::TG_ISA
