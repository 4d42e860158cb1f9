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

struct TautStringWorkspace {
  double *sums;   // n + 1
  double *widths; // n + 1
  int32_t *lower; // n + 1
  int32_t *upper; // n + 1
  TG_HD static int64_t bytes(int64_t n) { return (n + 1) * int64_t(2 * sizeof(double) + 2 * sizeof(int32_t)); }
  TG_HD static TautStringWorkspace at(void *memory, int64_t n) {
    double *d = static_cast<double *>(memory);
    int32_t *i = reinterpret_cast<int32_t *>(d + 2 * (n + 1));
    return {d, d + (n + 1), i, i + (n + 1)};
  }
};

// Solves one line of n samples. sample(i), i < n, and width(k), the weight of the edge between samples k - 1 and k, are read as doubles.
// emit(begin, end, value) is called once per segment, in order, and the segments cover [0, n) whatever the data: NaN only makes
// comparisons false, and every loop below is bounded by what it popped.
// A value is the segment's mean relative to its first sample plus the pull of the two gates, so that it does not inherit the rounding of
// the long partial sums.
template <class Sample, class Width, class Emit>
TG_HD inline void taut_string(int32_t n, const Sample &sample, const Width &width, const Emit &emit, const TautStringWorkspace &ws) {
  double *const sums = ws.sums, *const widths = ws.widths;
  // Centring keeps the partial sums, and with them their rounding, small.
  double total = 0;
  const double first = sample(0);
  for (int32_t i = 0; i < n; ++i) total += sample(i) - first;
  const double centre = first + total / n;
  sums[0] = 0;
  widths[0] = 0;
  for (int32_t i = 0; i < n; ++i) {
    sums[i + 1] = sums[i] + (sample(i) - centre);
    widths[i + 1] = i + 1 < n ? width(i + 1) : 0;
  }

  int32_t apex = 0;
  double apex_height = 0, apex_pull = 0; // apex_pull: the signed width at the apex, > 0 (upper end) before an upward jump
  double previous = 0;
  int32_t lower_head = 0, lower_tail = 0, upper_head = 0, upper_tail = 0;
  const auto low = [&](int32_t k) { return sums[k] - widths[k]; };
  const auto high = [&](int32_t k) { return sums[k] + widths[k]; };
  const auto advance = [&](int32_t to, double pull) {
    const double base = sample(apex);
    double sum = 0;
    for (int32_t i = apex; i < to; ++i) sum += sample(i) - base;
    double value = base + (sum + (pull - apex_pull)) / (to - apex);
    // In a tie, rounding must not turn the jump against its dual: equal values join the two segments instead.
    if (apex_pull > 0 && value < previous) value = previous;
    if (apex_pull < 0 && value > previous) value = previous;
    previous = value;
    emit(apex, to, value);
    apex = to;
    apex_pull = pull;
    apex_height = sums[to] + pull;
  };

  for (int32_t k = 1; k <= n; ++k) {
    if (widths[k] > 1.7e308) continue; // an infinite gate never touches
    const double low_k = low(k), high_k = high(k);
    // The lower end: keep the chain concave.
    while (lower_tail > lower_head) {
      const int32_t last = ws.lower[lower_tail - 1];
      const bool at_apex = lower_tail - 1 == lower_head;
      const int32_t before = at_apex ? apex : ws.lower[lower_tail - 2];
      const double h = at_apex ? apex_height : low(before);
      if (!((low(last) - h) * (k - before) <= (low_k - h) * (last - before))) break;
      --lower_tail;
    }
    ws.lower[lower_tail++] = k;
    if (lower_tail - lower_head == 1)
      while (upper_tail > upper_head) {
        const int32_t j = ws.upper[upper_head];
        if (!((low_k - apex_height) * (j - apex) > (high(j) - apex_height) * (k - apex))) break;
        ++upper_head;
        advance(j, widths[j]);
      }
    // The upper end: keep the chain convex.
    while (upper_tail > upper_head) {
      const int32_t last = ws.upper[upper_tail - 1];
      const bool at_apex = upper_tail - 1 == upper_head;
      const int32_t before = at_apex ? apex : ws.upper[upper_tail - 2];
      const double h = at_apex ? apex_height : high(before);
      if (!((high(last) - h) * (k - before) >= (high_k - h) * (last - before))) break;
      --upper_tail;
    }
    ws.upper[upper_tail++] = k;
    if (upper_tail - upper_head == 1)
      while (lower_tail > lower_head) {
        const int32_t j = ws.lower[lower_head];
        if (j >= k || !((high_k - apex_height) * (j - apex) < (low(j) - apex_height) * (k - apex))) break;
        ++lower_head;
        advance(j, -widths[j]);
      }
    // Chains that lost their apex side restart at it.
    if (lower_head == lower_tail) lower_head = lower_tail = 0;
    if (upper_head == upper_tail) upper_head = upper_tail = 0;
  }
  if (apex < n) advance(n, 0);
}

} // namespace
} // namespace tautgrad
