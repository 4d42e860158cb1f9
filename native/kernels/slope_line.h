// The 1D prox, one line, by the slope form of Condat's direct algorithm (specification of the TV layers, §3.1):
//   argmin_y 1/2 |y - x|^2 + sum_k w_k |y_{k+1} - y_k|
//
// An open segment of l samples has P, the sum of its samples plus the pull of the edge before it. With the width w of the edge after its
// last sample (0 at the end of the line), its value must lie in [(P - w) / l, (P + w) / l] for every l; the running bounds vmin and vmax
// were reached at the lengths lm and lp. Once an interval misses them, the segment ends where the missed bound was reached.
#pragma once

#include "host_device.h"

namespace tautgrad {
namespace {

// Walks along a line and calls emit(start, end, level) for every segment, in order. sample(i), i < n; width(k), 1 <= k < n, is the weight
// of the edge between samples k - 1 and k. An open line goes on behind its n samples (width(n) is the edge there): the walk stops where a
// further sample would decide.
// Returns false once more than `budget` samples were visited: rescanning is quadratic on smooth data, and a linear solver must take over.
// Every comparison is written so that NaN closes segments: the loop ends for all data.
// Sums run about the segment's first sample with a compensation, so that float32 keeps 3e-7 of the range.
template <class T, class Sample, class Width, class Emit>
TG_HD inline bool slope_walk(int32_t n, bool open, const Sample &sample, const Width &width, const Emit &emit, int64_t budget) {
  int32_t start = 0;
  T pull = 0;
  while (start < n) {
    const T base = sample(start);
    T sum = pull, lost = 0; // P is sum + lost
    T vmin = 0, vmax = 0, value = 0;
    int32_t lm = 1, lp = 1, end = n;
    pull = 0;
    for (int32_t l = 1;; ++l) {
      const int32_t k = start + l;
      if (--budget < 0) return false;
      const T add = sample(k - 1) - base, next = sum + add;
      lost += (next - sum > add || next - sum < add) ? add - (next - sum) : T(0);
      sum = next;
      const T w = k < n || open ? T(width(k)) : T(0), r = T(1) / T(l), middle = (sum + lost) * r, half = w * r;
      const T lo = middle - half, hi = middle + half;
      if (l > 1 && hi < vmin) { // downwards
        end = start + lm;
        value = vmin;
        pull = T(width(end));
        break;
      }
      if (l > 1 && lo > vmax) { // upwards
        end = start + lp;
        value = vmax;
        pull = -T(width(end));
        break;
      }
      if (l == 1 || !(lo <= vmin)) {
        vmin = lo;
        lm = l;
      }
      if (l == 1 || !(hi >= vmax)) {
        vmax = hi;
        lp = l;
      }
      if (k == n) {
        if (open) return true;
        value = lo; // w = 0: lo = hi
        break;
      }
    }
    emit(start, end, base + value);
    start = end;
  }
  return true;
}

// Solves one line whose samples lie `x_step` apart; y may be x itself, with the same step: a sample is never read again after its value
// was written. Returns false, with y unfinished, when the budget is spent.
template <class T, class Width>
TG_HD inline bool slope_line(int32_t n, const T *x, int64_t x_step, const Width &width, T *y, int64_t y_step, int64_t budget) {
  return slope_walk<T>(
      n, false, [&](int32_t i) { return x[i * x_step]; }, width,
      [&](int32_t start, int32_t end, T level) {
        for (int32_t i = start; i < end; ++i) y[i * y_step] = level;
      },
      budget);
}

} // namespace
} // namespace tautgrad
