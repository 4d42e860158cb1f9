// The weighted taut string: argmin_y 1/2 |y - x|^2 + sum_k w_k |y_{k+1} - y_k| in O(n) for every input.
//
// With R_k = x_1 + ... + x_k, the solution's partial sums are the shortest path from (0, 0) to (n, R_n) through the gates
// [R_k - w_k, R_k + w_k] (Davies & Kovac 2001; with one width per gate: Barbero & Sra 2018). The funnel algorithm keeps the path's last
// fixed point, the apex, and two chains from it: the concave majorant of the gates' lower ends and the convex minorant of the upper ones.
// Both lie in one queue, ordered by slope, with the slopes kept: it is then the derivative of Johnson's (2013) and Kolmogorov, Pock &
// Rolinek's (2016) dynamic programme, a new gate takes one product per corner that it removes and one division per corner that it sets,
// and no product waits for a division. Each gate enters and leaves each chain at most once.
#pragma once

#include "host_device.h"

namespace tautgrad {
namespace {

// A corner of the funnel, and the slope from it to the next one in the queue.
struct FunnelCorner {
  double at, height, slope;
};

struct TautStringWorkspace {
  FunnelCorner *apex; // n corners lie in front of it, n behind
  TG_HD static int64_t bytes(int64_t n) { return (2 * n + 1) * int64_t(sizeof(FunnelCorner)); }
  TG_HD static TautStringWorkspace at(void *memory, int64_t n) { return {static_cast<FunnelCorner *>(memory) + n}; }
};

// Solves one line of n samples. sample(i), i < n, and width(k), the weight of the edge between samples k - 1 and k, are read as doubles.
// emit(begin, end, value) is called once per segment, in order, and the segments cover [0, n) whatever the data: NaN only makes
// comparisons false, and every loop below is bounded by the corners that are left.
// The line may be the rest of a longer one that ended with a jump at sample 0: `pull` is then the width of that edge, > 0 for a jump
// upwards, < 0 downwards, and `previous` the value it comes from.
// Accurate: sums each segment again, relative to its first sample, so that its value does not inherit the rounding of the long partial
// sums; otherwise (enough for float32 results) takes the slope.
template <bool Accurate, class Sample, class Width, class Emit>
TG_HD inline void taut_string(int32_t n, const Sample &sample, const Width &width, const Emit &emit, const TautStringWorkspace &ws,
                              double pull = 0, double previous = 0) {
  // Partial sums about a rough centre stay small, and with them their rounding.
  double centre = 0;
  const int32_t probes = n < 16 ? n : 16;
  for (int32_t i = 0; i < probes; ++i) centre += sample(int32_t(int64_t(i) * n / probes)) / probes;

  // The queue: lower ends from `first` up to the apex, upper ends from there to `last`.
  FunnelCorner *first = ws.apex, *last = ws.apex, *apex = ws.apex;
  *apex = {0, pull, 0};
  int32_t apex_at = 0;
  double apex_pull = pull; // the signed width at the apex, > 0 (upper end) before an upward jump
  const auto advance = [&](int32_t end, double slope, double end_pull) {
    double value = centre + slope;
    if (Accurate) {
      const double base = sample(apex_at);
      double sum = 0;
      for (int32_t i = apex_at; i < end; ++i) sum += sample(i) - base;
      value = base + (sum + (end_pull - apex_pull)) / (end - apex_at);
    }
    // In a tie, rounding must not turn the jump against its dual: equal values join the two segments instead.
    if (apex_pull > 0 && value < previous) value = previous;
    if (apex_pull < 0 && value > previous) value = previous;
    previous = value;
    emit(apex_at, end, value);
    apex_at = end;
    apex_pull = end_pull;
  };
  const auto climb = [&](const FunnelCorner *to) { // along the upper ends
    for (; apex < to; ++apex) {
      const int32_t end = int32_t(apex[1].at);
      advance(end, apex->slope, width(end));
    }
  };
  const auto descend = [&](const FunnelCorner *to) { // along the lower ends
    for (; apex > to; --apex) {
      const int32_t end = int32_t(apex[-1].at);
      advance(end, apex[-1].slope, -width(end));
    }
  };

  double sum = 0;
  for (int32_t k = 1; k < n; ++k) {
    sum += sample(k - 1) - centre;
    const double w = width(k), at = k, low = sum - w, high = sum + w;
    if (w > 1.7e308) continue; // an infinite gate never touches
    while (first < last && first->height + (at - first->at) * first->slope <= low) ++first;
    while (first < last && last->height + (at - last->at) * last[-1].slope >= high) --last;
    if (first > apex) climb(first);
    if (last < apex) descend(last);
    last->slope = (high - last->height) / (at - last->at);
    const double slope = (low - first->height) / (at - first->at);
    *--first = {at, low, slope};
    *++last = {at, high, 0};
  }
  sum += sample(n - 1) - centre;
  while (first < last && first->height + (n - first->at) * first->slope <= sum) ++first;
  climb(first);
  descend(first);
  advance(n, (sum - first->height) / (n - first->at), 0);
}

} // namespace
} // namespace tautgrad
