// The duality gap of anisotropic 2D total variation, with a feasible dual, accumulated in double.
//
// For edge duals u with |u_e| <= w_e, z = x - D^T u and any y,
//   P(y) - D(u) = sum_e (w_e |(Dy)_e| - u_e (Dy)_e) + 1/2 |y - z|^2,
// a sum of non-negative terms: nothing cancels, so the bound holds for float32 data and duals too.
#pragma once

#include "components.h"

namespace tautgrad {
namespace {

// No optimal edge dual exceeds the total of what flows, |x - y|_1 / 2 <= |x - mean|_1: a larger weight has no effect. Four times that
// leaves room for iterates, and keeps lambda = inf out of the sums.
template <class T> TG_HD inline double tv_weight_cap(int64_t n, const T *x) {
  const double base = n > 0 ? double(x[0]) : 0;
  // Partial sums: one would wait for itself at every sample.
  constexpr int PARTS = 8;
  double sums[PARTS] = {}, spreads[PARTS] = {}, sum = 0, spread = 0;
  for (int64_t i = 0; i < n; ++i) sums[i % PARTS] += double(x[i]) - base;
  for (int k = 0; k < PARTS; ++k) sum += sums[k];
  const double mean = base + sum / double(n);
  for (int64_t i = 0; i < n; ++i) spreads[i % PARTS] += absolute(double(x[i]) - mean);
  for (int k = 0; k < PARTS; ++k) spread += spreads[k];
  return 4 * spread;
}

// w |dy| - u dy >= 0 for |u| <= w, written so that no rounding (or fused multiply-add) makes it negative.
TG_HD inline double edge_slack(double w, double u, double dy) { return dy > 0 ? (w - u) * dy : (w + u) * -dy; }

struct Tv2dGap {
  double gap, objective;
};

// A constant image has objective 0 and gap 0: that is solved.
TG_HD inline double relative_gap(double gap, double objective) { return gap == 0 ? 0 : gap / objective; }

} // namespace
} // namespace tautgrad
