// The duality gap of anisotropic 2D total variation, with a feasible dual, accumulated in double.
//
// For edge duals u with |u_e| <= w_e, z = x - D^T u and any y,
//   P(y) - D(u) = sum_e (w_e |(Dy)_e| - u_e (Dy)_e) + 1/2 |y - z|^2,
// a sum of non-negative terms: nothing cancels, so the bound holds in float32 data too.
// The duals are partial sums of the row and column residuals of Dykstra's method. Where a line's prox output jumps its dual is exactly
// +-w; starting the sums afresh there keeps rounding from growing along the line. Clipping makes any rest feasible.
#pragma once

#include "components.h"

namespace tautgrad {
namespace {

template <class T> struct Tv2dState {
  int64_t height, width;
  const T *x;
  double lambda_rows, lambda_cols;
  const T *wx, *wy;
  double weight_cap;         // an edge weight above |x - mean|_1 has no effect (see tv_weight_cap)
  const T *row_in, *row_out; // input and output of the last row sweep
  const T *col_in, *col_out; // and of the last column sweep
};

// No optimal edge dual exceeds the total of what flows, |x - y|_1 / 2 <= |x - mean|_1; four times that leaves room for iterates.
template <class T> TG_HD inline double tv_weight_cap(int64_t n, const T *x) {
  const double base = n > 0 ? double(x[0]) : 0;
  double sum = 0, spread = 0;
  for (int64_t i = 0; i < n; ++i) sum += double(x[i]) - base;
  const double mean = base + sum / double(n);
  for (int64_t i = 0; i < n; ++i) spread += absolute(double(x[i]) - mean);
  return 4 * spread;
}

// The next partial sum's dual: exact at a jump of the prox output, feasible elsewhere.
TG_HD inline double settle_dual(double u, double w, double jump) {
  if (jump != 0) {
    const double target = jump > 0 ? w : -w;
    if (absolute(u - target) <= 0.01 * w) return target;
  }
  return u;
}

// w |dy| - u dy >= 0 for |u| <= w, written so that no rounding (or fused multiply-add) makes it negative.
TG_HD inline double edge_slack(double w, double u, double dy) { return dy > 0 ? (w - u) * dy : (w + u) * -dy; }

struct Tv2dGap {
  double gap, objective;
};

// column_sum, column_dual: `width` doubles each. labels (or null) is used as the union-find forest; z (or null) receives x - D^T u.
template <class T>
TG_HD inline Tv2dGap tv2d_gap(const Tv2dState<T> &s, const T *y, double *column_sum, double *column_dual, int32_t *labels, T *z) {
  const int64_t h = s.height, w = s.width;
  double slack = 0, distance = 0, fidelity = 0, variation = 0;
  for (int64_t j = 0; j < w; ++j) column_sum[j] = column_dual[j] = 0;
  if (labels)
    for (int64_t i = 0; i < h * w; ++i) labels[i] = int32_t(i);
  for (int64_t r = 0; r < h; ++r) {
    double sum = 0, dual = 0; // along the row: unclipped and clipped dual of the edge just passed
    double row_slack = 0, row_distance = 0, row_fidelity = 0, row_variation = 0;
    for (int64_t j = 0; j < w; ++j) {
      const int64_t i = r * w + j;
      const double yi = double(y[i]), xi = double(s.x[i]);
      double residual = 0; // (D^T u)_i = sum of u arriving minus sum of u leaving
      double next = 0;
      residual += dual;
      if (j + 1 < w) {
        double weight = edge_weight(s.lambda_rows, s.wx ? double(s.wx[r * (w - 1) + j]) : 1);
        weight = weight < s.weight_cap ? weight : s.weight_cap;
        sum -= double(s.row_in[i]) - double(s.row_out[i]);
        sum = settle_dual(sum, weight, double(s.row_out[i + 1]) - double(s.row_out[i]));
        next = clamp(sum, -weight, weight);
        const double dy = double(y[i + 1]) - yi;
        row_slack += edge_slack(weight, next, dy);
        row_variation += weight * absolute(dy);
        if (labels && edge_is_inside(next, weight, dy)) join(labels, int32_t(i), int32_t(i + 1));
      }
      residual -= next;
      dual = next;

      residual += column_dual[j];
      next = 0;
      if (r + 1 < h) {
        double weight = edge_weight(s.lambda_cols, s.wy ? double(s.wy[i]) : 1);
        weight = weight < s.weight_cap ? weight : s.weight_cap;
        double down = column_sum[j] - (double(s.col_in[i]) - double(s.col_out[i]));
        column_sum[j] = down = settle_dual(down, weight, double(s.col_out[i + w]) - double(s.col_out[i]));
        next = clamp(down, -weight, weight);
        const double dy = double(y[i + w]) - yi;
        row_slack += edge_slack(weight, next, dy);
        row_variation += weight * absolute(dy);
        if (labels && edge_is_inside(next, weight, dy)) join(labels, int32_t(i), int32_t(i + w));
      }
      residual -= next;
      column_dual[j] = next;

      const double zi = xi - residual;
      if (z) z[i] = T(zi);
      row_distance += (yi - zi) * (yi - zi);
      row_fidelity += (xi - yi) * (xi - yi);
    }
    slack += row_slack;
    distance += row_distance;
    fidelity += row_fidelity;
    variation += row_variation;
  }
  if (labels) flatten(labels, h * w);
  return {slack + 0.5 * distance, 0.5 * fidelity + variation};
}

// A constant image has objective 0 and gap 0: that is solved.
TG_HD inline double relative_gap(double gap, double objective) { return gap == 0 ? 0 : gap / objective; }

} // namespace
} // namespace tautgrad
