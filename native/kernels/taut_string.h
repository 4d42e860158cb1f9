// The weighted taut string: argmin_y 1/2 |y - x|^2 + sum_k w_k |y_{k+1} - y_k| in O(n) for every input.
//
// With R_k = x_1 + ... + x_k, the solution's partial sums are the shortest path from (0, 0) to (n, R_n) through the gates
// [R_k - w_k, R_k + w_k] (Davies & Kovac 2001; with one width per gate: Barbero & Sra 2018, Kolmogorov, Pock & Rolinek 2016 solve
// the same problem by dynamic programming). The funnel algorithm keeps the apex and two chains: the concave majorant of the lower
// ends and the convex minorant of the upper ends. Each gate enters and leaves each chain at most once.
#pragma once

#include "host_device.h"

namespace tautgrad {
namespace {

// A gate's end on a chain.
struct ChainPoint {
  double at, height;
};

struct TautStringWorkspace {
  ChainPoint *lower, *upper; // n + 1 each
  TG_HD static int64_t bytes(int64_t n) { return (n + 1) * int64_t(2 * sizeof(ChainPoint)); }
  TG_HD static TautStringWorkspace at(void *memory, int64_t n) {
    ChainPoint *p = static_cast<ChainPoint *>(memory);
    return {p, p + (n + 1)};
  }
};

// Twice the signed area of a, b, c: positive where b lies below the chord from a to c.
TG_HD inline double turn(const ChainPoint &a, const ChainPoint &b, const ChainPoint &c) {
  return (c.height - a.height) * (b.at - a.at) - (b.height - a.height) * (c.at - a.at);
}

template <class Width> TG_HD inline double width_at(const Width &width, const ChainPoint &p) { return width(int32_t(p.at)); }

// Solves one line of n samples. sample(i), i < n, and width(k), the weight of the edge between samples k - 1 and k, are read as doubles.
// emit(begin, end, value) is called once per segment, in order, and the segments cover [0, n) whatever the data: NaN only makes
// comparisons false, and every loop below is bounded by what it popped.
// A value is the segment's mean plus the pull of the two gates. Accurate: sums the segment again, relative to its first sample, so that it
// does not inherit the rounding of the long partial sums; otherwise (enough for float32 results) takes their difference.
template <bool Accurate, class Sample, class Width, class Emit>
TG_HD inline void taut_string(int32_t n, const Sample &sample, const Width &width, const Emit &emit, const TautStringWorkspace &ws) {
  // Partial sums about a rough centre stay small, and with them their rounding.
  double centre = 0;
  const int32_t probes = n < 16 ? n : 16;
  for (int32_t i = 0; i < probes; ++i) centre += sample(int32_t(int64_t(i) * n / probes)) / probes;

  ChainPoint apex = {0, 0}, *const lower = ws.lower, *const upper = ws.upper;
  int32_t apex_at = 0;
  double apex_pull = 0; // the signed width at the apex, > 0 (upper end) before an upward jump
  double previous = 0, sum_k = 0;
  int32_t lower_head = 0, lower_tail = 0, upper_head = 0, upper_tail = 0;
  const auto advance = [&](const ChainPoint &to, double pull) {
    const int32_t end = int32_t(to.at);
    double base = centre, sum = (to.height - pull) - (apex.height - apex_pull);
    if (Accurate) {
      base = sample(apex_at);
      sum = 0;
      for (int32_t i = apex_at; i < end; ++i) sum += sample(i) - base;
    }
    double value = base + (sum + (pull - apex_pull)) / (end - apex_at);
    // In a tie, rounding must not turn the jump against its dual: equal values join the two segments instead.
    if (apex_pull > 0 && value < previous) value = previous;
    if (apex_pull < 0 && value > previous) value = previous;
    previous = value;
    emit(apex_at, end, value);
    apex = to;
    apex_at = end;
    apex_pull = pull;
  };

  for (int32_t k = 1; k <= n; ++k) {
    sum_k += sample(k - 1) - centre;
    const double width_k = k < n ? width(k) : 0;
    if (width_k > 1.7e308) continue; // an infinite gate never touches
    const ChainPoint low = {double(k), sum_k - width_k}, high = {double(k), sum_k + width_k};
    // The lower end: keep the chain concave.
    while (lower_tail > lower_head) {
      const ChainPoint &before = lower_tail - 1 == lower_head ? apex : lower[lower_tail - 2];
      if (!(turn(before, lower[lower_tail - 1], low) >= 0)) break;
      --lower_tail;
    }
    if (lower_tail == lower_head) {
      lower_head = lower_tail = 0;
      while (upper_tail > upper_head) {
        const ChainPoint corner = upper[upper_head];
        if (!(turn(apex, corner, low) > 0)) break;
        ++upper_head;
        advance(corner, width_at(width, corner));
      }
    }
    lower[lower_tail++] = low;
    // The upper end: keep the chain convex.
    while (upper_tail > upper_head) {
      const ChainPoint &before = upper_tail - 1 == upper_head ? apex : upper[upper_tail - 2];
      if (!(turn(before, upper[upper_tail - 1], high) <= 0)) break;
      --upper_tail;
    }
    if (upper_tail == upper_head) {
      upper_head = upper_tail = 0;
      while (lower_tail > lower_head) {
        const ChainPoint corner = lower[lower_head];
        if (corner.at >= low.at || !(turn(apex, corner, high) < 0)) break;
        ++lower_head;
        advance(corner, -width_at(width, corner));
      }
    }
    upper[upper_tail++] = high;
  }
  if (apex_at < n) advance({double(n), sum_k}, 0);
}

} // namespace
} // namespace tautgrad
