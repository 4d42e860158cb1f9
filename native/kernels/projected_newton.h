// Projected Newton on the dual of the total-variation line problem (Barbero & Sra 2018; Yeh et al. 2022, eq. (6)):
//   min_u 1/2 |D^T u|^2 - u^T D x,  |u_k| <= w_k,  y = x - D^T u.
// Each step solves the tridiagonal system of the duals that are not held at their bounds, and searches along the projected path with
// quadratic interpolation. In double throughout.
#pragma once

#include "tridiagonal.h"

namespace tautgrad {
namespace {

struct NewtonWorkspace {
  enum { ARRAYS = 10 };
  double *y, *u, *trial, *trial_y, *gradient, *direction, *diagonal, *off, *pivots, *factors; // n each
  TG_HD static int64_t bytes(int64_t n) { return ARRAYS * n * int64_t(sizeof(double)); }
  TG_HD static NewtonWorkspace at(void *memory, int64_t n) {
    double *p = static_cast<double *>(memory);
    return {p, p + n, p + 2 * n, p + 3 * n, p + 4 * n, p + 5 * n, p + 6 * n, p + 7 * n, p + 8 * n, p + 9 * n};
  }
};

TG_HD inline double clip(double v, double bound) { return v > bound ? bound : v < -bound ? -bound : v; }

// y = x - D^T u; returns 1/2 |y|^2, the dual objective but for a constant.
template <class Sample> TG_HD inline double newton_primal(int64_t n, const Sample &sample, const double *u, double *y) {
  double before = 0, objective = 0;
  for (int64_t k = 0; k < n; ++k) {
    const double after = k + 1 < n ? u[k] : 0;
    y[k] = sample(k) - before + after;
    objective += 0.5 * y[k] * y[k];
    before = after;
  }
  return objective;
}

// Leaves the solution in ws.y and returns its duality gap over the primal objective (0 for a constant line, NaN for NaN data). Stops at
// `tolerance`, at `max_iterations`, or where rounding stops the search. sample(k), k < n; width(k), k < n - 1: the edge behind sample k.
template <class Sample, class Width>
TG_HD inline double projected_newton(int64_t n, const Sample &sample, const Width &width, double tolerance, int64_t max_iterations,
                                     const NewtonWorkspace &ws) {
  const double centre = sample(0);
  const auto centred = [&](int64_t k) { return sample(k) - centre; };
  // No dual leaves this bound, which replaces infinite widths.
  double bound = 0;
  for (int64_t k = 0; k < n; ++k) bound += 2 * (centred(k) < 0 ? -centred(k) : centred(k));
  const auto limit = [&](int64_t k) { return width(k) < bound ? width(k) : bound; };

  for (int64_t k = 0; k + 1 < n; ++k) {
    ws.diagonal[k] = 2;
    ws.off[k] = -1;
    ws.gradient[k] = sample(k + 1) - sample(k);
  }
  ptsv(n - 1, ws.diagonal, ws.off, ws.gradient, ws.u, 1, ws.pivots, ws.factors);
  for (int64_t k = 0; k + 1 < n; ++k) ws.u[k] = clip(ws.u[k], limit(k));
  double objective = newton_primal(n, centred, ws.u, ws.y), relative = 0;
  for (int64_t iteration = 0;; ++iteration) {
    double gap = 0, primal = 0;
    for (int64_t k = 0; k < n; ++k) {
      const double residual = ws.y[k] - centred(k);
      primal += 0.5 * residual * residual;
      if (k + 1 == n) break;
      const double jump = ws.y[k + 1] - ws.y[k], size = jump < 0 ? -jump : jump;
      primal += limit(k) * size;
      gap += limit(k) * size - ws.u[k] * jump;
    }
    relative = gap > 0 ? gap / primal : gap;
    if (!(relative > tolerance) || iteration >= max_iterations) break;

    // Held duals (at a bound that the gradient pushes against) keep a row of the identity.
    double slope = 0;
    for (int64_t k = 0; k + 1 < n; ++k) {
      const double g = ws.y[k] - ws.y[k + 1], w = limit(k);
      const bool held = (ws.u[k] <= -w && g > 0) || (ws.u[k] >= w && g < 0);
      ws.gradient[k] = held ? 0 : g;
      ws.diagonal[k] = held ? 1 : 2;
      ws.off[k] = -1;
    }
    for (int64_t k = 0; k + 1 < n; ++k)
      if (ws.diagonal[k] == 1) {
        ws.off[k] = 0;
        if (k > 0) ws.off[k - 1] = 0;
      }
    ptsv(n - 1, ws.diagonal, ws.off, ws.gradient, ws.direction, 1, ws.pivots, ws.factors);
    for (int64_t k = 0; k + 1 < n; ++k) slope -= ws.gradient[k] * ws.direction[k];
    double step = 1;
    bool moved = false;
    while (step > 1e-12) {
      for (int64_t k = 0; k + 1 < n; ++k) ws.trial[k] = clip(ws.u[k] - step * ws.direction[k], limit(k));
      const double reached = newton_primal(n, centred, ws.trial, ws.trial_y), gained = objective - reached;
      if (gained >= -0.05 * step * slope || (step == 1 && gained > 0)) {
        objective = reached;
        moved = true;
        break;
      }
      const double best = -slope * step * step / (2 * (reached - objective - slope * step));
      step = best > 0.1 * step && best < 0.5 * step ? best : best >= 0.5 * step ? 0.5 * step : 0.1 * step;
    }
    if (!moved) break;
    for (int64_t k = 0; k < n; ++k) {
      ws.y[k] = ws.trial_y[k];
      if (k + 1 < n) ws.u[k] = ws.trial[k];
    }
  }
  for (int64_t k = 0; k < n; ++k) ws.y[k] += centre;
  return relative;
}

} // namespace
} // namespace tautgrad
