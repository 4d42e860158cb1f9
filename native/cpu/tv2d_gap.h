// Certificates of anisotropic images on the CPU: gaps and components from given feasible duals (kernels/tv2d_certificate.h).
#pragma once

#include "../kernels/tv2d_certificate.h"
#include "isa.h"
#include "parallel.h"

namespace tautgrad::cpu::TG_ISA {
namespace {

// The problem of one image and its duals: u_rows[i] belongs to the edge from pixel i to its right neighbour (0 in the last column),
// u_cols[i] to the one below (0 in the last row).
template <class T> struct DualImage {
  int64_t height, width;
  const T *x;
  T lambda_rows, lambda_cols, cap;
  const T *wx, *wy;
  const T *u_rows, *u_cols;

  // In the image's own precision, as the line solvers multiply them: the duals are feasible for exactly these weights.
  double weight(T lambda, T w) const {
    const T product = w == 0 ? T(0) : lambda * w;
    return double(product < cap ? product : cap);
  }
  double row_weight(int64_t r, int64_t j) const { return weight(lambda_rows, wx ? wx[r * (width - 1) + j] : T(1)); }
  double col_weight(int64_t r, int64_t j) const { return weight(lambda_cols, wy ? wy[r * width + j] : T(1)); }

  // Row r's share of the gap and of the objective. z, or null, receives x - D^T u.
  Tv2dGap row(int64_t r, const T *y, T *z) const {
    constexpr int PARTS = 8; // independent partial sums, one per vector lane
    double gap[PARTS] = {}, objective[PARTS] = {};
    const int64_t at = r * width;
    const bool last = r + 1 == height;
    const auto pixel = [&](int64_t j, int part, double left, double w_right, double right, double w_down, double down) {
      const int64_t i = at + j;
      const double yi = double(y[i]), xi = double(x[i]), above = r > 0 ? double(u_cols[i - width]) : 0;
      const double here_r = double(u_rows[i]), here_c = double(u_cols[i]);
      const double zi = xi - (left - here_r) - (above - here_c);
      if (z) z[i] = T(zi);
      gap[part] += edge_slack(w_right, here_r, right) + edge_slack(w_down, here_c, down) + 0.5 * (yi - zi) * (yi - zi);
      objective[part] += w_right * absolute(right) + w_down * absolute(down) + 0.5 * (xi - yi) * (xi - yi);
    };
    const auto any = [&](int64_t j) {
      const int64_t i = at + j;
      const bool end = j + 1 == width;
      pixel(j, 0, j > 0 ? double(u_rows[i - 1]) : 0, end ? 0 : row_weight(r, j), end ? 0 : double(y[i + 1]) - double(y[i]),
            last ? 0 : col_weight(r, j), last ? 0 : double(y[i + width]) - double(y[i]));
    };
    int64_t j = 0;
    if (!wx && !wy && !last && width > 1) {
      const double w_right = row_weight(0, 0), w_down = col_weight(0, 0);
      any(j++);
      for (; j + PARTS < width; j += PARTS)
        for (int k = 0; k < PARTS; ++k) {
          const int64_t i = at + j + k;
          pixel(j + k, k, double(u_rows[i - 1]), w_right, double(y[i + 1]) - double(y[i]), w_down, double(y[i + width]) - double(y[i]));
        }
    }
    for (; j < width; ++j) any(j);
    Tv2dGap sum{0, 0};
    for (int k = 0; k < PARTS; ++k) {
      sum.gap += gap[k];
      sum.objective += objective[k];
    }
    return sum;
  }

  // rows: 2 * height doubles of scratch.
  Tv2dGap gap(const T *y, T *z, double *rows) const {
    parallel_for(height, [&](int64_t r) {
      const Tv2dGap part = row(r, y, z);
      rows[2 * r] = part.gap;
      rows[2 * r + 1] = part.objective;
    });
    Tv2dGap sum{0, 0};
    for (int64_t r = 0; r < height; ++r) {
      sum.gap += rows[2 * r];
      sum.objective += rows[2 * r + 1];
    }
    return sum;
  }

  bool inside_row(const T *y, int64_t r, int64_t j) const {
    const int64_t i = r * width + j;
    return edge_is_inside(double(u_rows[i]), row_weight(r, j), double(y[i + 1]) - double(y[i]));
  }
  bool inside_col(const T *y, int64_t r, int64_t j) const {
    const int64_t i = r * width + j;
    return edge_is_inside(double(u_cols[i]), col_weight(r, j), double(y[i + width]) - double(y[i]));
  }

  // label = the smallest pixel of the component that the edges inside their bounds connect. Runs along the rows first: a run's pixels point
  // at its first.
  void components(const T *y, int32_t *label) const {
    parallel_for(height, [&](int64_t r) {
      int32_t *row = label + r * width, run = int32_t(r * width);
      row[0] = run;
      for (int64_t j = 1; j < width; ++j) row[j] = run = inside_row(y, r, j - 1) ? run : int32_t(r * width + j);
    });
    for (int64_t r = 0; r + 1 < height; ++r) {
      const int32_t *above = label + r * width, *below = above + width;
      int32_t last_above = -1, last_below = -1; // the runs that the last vertical edge joined
      for (int64_t j = 0; j < width; ++j) {
        if (!inside_col(y, r, j) || (above[j] == last_above && below[j] == last_below)) continue;
        last_above = above[j];
        last_below = below[j];
        join(label, int32_t(r * width + j), int32_t((r + 1) * width + j));
      }
    }
    flatten(label, height * width);
  }
};

} // namespace
} // namespace tautgrad::cpu::TG_ISA
