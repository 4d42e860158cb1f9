// Projected Newton for total-variation lines (kernels/projected_newton.h), one line per SIMD lane, in double. All lanes take their steps
// together, on the batched tridiagonal solver; a lane that is done, or whose search failed, stands still.
#pragma once

#include "../kernels/projected_newton.h"
#include "tridiagonal_lanes.h"

namespace tautgrad::cpu::TG_ISA {
namespace {

class NewtonLanes {
  using Block = SystemBlock<double>;
  using L = Lanes<double>;
  using V = L::V;
  using M = L::M;
  static constexpr int G = LANE_GROUPS;

public:
  static constexpr int width = Block::width;
  enum { ARRAYS = 12 };
  static int64_t bytes(int64_t n) { return ARRAYS * n * width * int64_t(sizeof(double)); }

  NewtonLanes(int64_t n, void *memory) : n_(n) {
    double **const arrays[ARRAYS] = {&x_,     &limit_, &y_,         &u_,        &trial_,  &trial_y_,
                                     &slope_, &off_,   &direction_, &diagonal_, &pivots_, &factors_};
    double *at = static_cast<double *>(memory);
    for (double **array : arrays) {
      *array = at;
      at += n * width;
    }
  }

  // To be filled in: sample k of lane i at x()[k * width + i], the weight of the edge behind it at widths(), k < n - 1.
  double *x() { return x_; }
  double *widths() { return limit_; }
  const double *y() const { return y_; }

  // gap[width]: what was reached.
  void solve(double tolerance, int64_t max_iterations, double *gap) {
    V centre[G], bound[G];
    for (int g = 0; g < G; ++g) {
      centre[g] = get(x_, 0, g);
      bound[g] = L::splat(0);
    }
    each(n_, [&](int64_t k, int g) {
      const V v = get(x_, k, g) - centre[g];
      put(x_, k, g, v);
      bound[g] += L::splat(2) * Block::magnitude(v);
    });
    each(n_ - 1, [&](int64_t k, int g) {
      const V w = get(limit_, k, g);
      put(limit_, k, g, L::select(L::less(w, bound[g]), w, bound[g])); // no dual leaves the bound, which replaces infinite widths
      put(diagonal_, k, g, L::splat(2));
      put(off_, k, g, L::splat(-1));
      put(slope_, k, g, get(x_, k + 1, g) - get(x_, k, g));
    });
    if (n_ > 1) Block::ptsv(n_ - 1, diagonal_, off_, slope_, u_, width, pivots_, factors_);
    each(n_ - 1, [&](int64_t k, int g) { put(u_, k, g, clipped(get(u_, k, g), get(limit_, k, g))); });
    primal(u_, y_, objective_);
    for (int g = 0; g < G; ++g) running_[g] = L::all();
    for (int64_t iteration = 0;; ++iteration) {
      measure(tolerance);
      if (iteration >= max_iterations || !any(running_)) break;
      newton_direction();
      search();
    }
    each(n_, [&](int64_t k, int g) { put(y_, k, g, get(y_, k, g) + centre[g]); });
    for (int g = 0; g < G; ++g) L::store(gap + g * L::width, relative_[g]);
  }

private:
  static TG_INLINE V get(const double *p, int64_t k, int g) { return L::load(p + k * width + g * L::width); }
  static TG_INLINE void put(double *p, int64_t k, int g, V v) { L::store(p + k * width + g * L::width, v); }
  template <class Body> static TG_INLINE void each(int64_t count, const Body &body) {
    for (int64_t k = 0; k < count; ++k)
      for (int g = 0; g < G; ++g) body(k, g);
  }
  static TG_INLINE V clipped(V v, V limit) { return L::select(L::less(limit, v), limit, L::select(L::less(v, -limit), -limit, v)); }
  static TG_INLINE bool any(const M *m) { return Block::bits(m) != 0; }

  void primal(const double *u, double *y, V *objective) const {
    V before[G];
    for (int g = 0; g < G; ++g) before[g] = objective[g] = L::splat(0);
    each(n_, [&](int64_t k, int g) {
      const V after = k + 1 < n_ ? get(u, k, g) : L::splat(0), v = get(x_, k, g) - before[g] + after;
      put(y, k, g, v);
      objective[g] += L::splat(0.5) * v * v;
      before[g] = after;
    });
  }

  // The relative duality gap; lanes within the tolerance stop.
  void measure(double tolerance) {
    V gap[G], primal[G];
    for (int g = 0; g < G; ++g) gap[g] = primal[g] = L::splat(0);
    each(n_, [&](int64_t k, int g) {
      const V v = get(y_, k, g), residual = v - get(x_, k, g);
      primal[g] += L::splat(0.5) * residual * residual;
      if (k + 1 == n_) return;
      const V jump = get(y_, k + 1, g) - v, cost = get(limit_, k, g) * Block::magnitude(jump);
      primal[g] += cost;
      gap[g] += cost - get(u_, k, g) * jump;
    });
    for (int g = 0; g < G; ++g) {
      const V relative = L::select(L::less(L::splat(0), gap[g]), gap[g] / primal[g], gap[g]);
      relative_[g] = L::select(running_[g], relative, relative_[g]);
      running_[g] = L::both(running_[g], L::less(L::splat(tolerance), relative));
    }
  }

  // Held duals (at a bound that the gradient pushes against) keep a row of the identity.
  void newton_direction() {
    M held_before[G];
    V sum[G];
    for (int g = 0; g < G; ++g) {
      held_before[g] = L::none();
      sum[g] = L::splat(0);
    }
    const V zero = L::splat(0);
    each(n_ - 1, [&](int64_t k, int g) {
      const V v = get(y_, k, g) - get(y_, k + 1, g), u = get(u_, k, g), limit = get(limit_, k, g);
      const M low = L::both(L::not_less(-limit, u), L::less(zero, v)), high = L::both(L::not_less(u, limit), L::less(v, zero));
      const M held = L::either(low, high);
      put(slope_, k, g, L::select(held, zero, v));
      put(diagonal_, k, g, L::select(held, L::splat(1), L::splat(2)));
      if (k > 0) put(off_, k - 1, g, L::select(L::either(held, held_before[g]), zero, L::splat(-1)));
      held_before[g] = held;
    });
    if (n_ > 1) Block::ptsv(n_ - 1, diagonal_, off_, slope_, direction_, width, pivots_, factors_);
    each(n_ - 1, [&](int64_t k, int g) { sum[g] -= get(slope_, k, g) * get(direction_, k, g); });
    for (int g = 0; g < G; ++g) descent_[g] = sum[g];
  }

  // Along the projected path, by quadratic interpolation; lanes that cannot go down stop.
  void search() {
    V step[G];
    M pending[G], moved[G];
    for (int g = 0; g < G; ++g) {
      step[g] = L::splat(1);
      pending[g] = running_[g];
      moved[g] = L::none();
    }
    const V one = L::splat(1);
    while (any(pending)) {
      each(n_ - 1,
           [&](int64_t k, int g) { put(trial_, k, g, clipped(get(u_, k, g) - step[g] * get(direction_, k, g), get(limit_, k, g))); });
      V reached[G];
      primal(trial_, trial_y_, reached);
      for (int g = 0; g < G; ++g) {
        const V gained = objective_[g] - reached[g], slope = descent_[g], s = step[g];
        const M whole = L::both(L::equal(s, one), L::less(L::splat(0), gained));
        const M enough = L::not_less(gained, L::splat(-0.05) * s * slope);
        const M accepted = L::both(pending[g], L::either(whole, L::both(enough, L::equal(gained, gained))));
        const V best = -slope * s * s / (L::splat(2) * (reached[g] - objective_[g] - slope * s));
        const V low = L::splat(0.1) * s, high = L::splat(0.5) * s;
        const V shorter = L::select(L::not_less(best, high), high, L::select(L::less(low, best), best, low));
        objective_[g] = L::select(accepted, reached[g], objective_[g]);
        moved[g] = L::either(moved[g], accepted);
        pending[g] = L::without(pending[g], accepted);
        step[g] = L::select(pending[g], L::select(L::equal(best, best), shorter, low), s);
        pending[g] = L::both(pending[g], L::less(L::splat(1e-12), step[g]));
      }
    }
    for (int g = 0; g < G; ++g) running_[g] = L::both(running_[g], moved[g]);
    each(n_, [&](int64_t k, int g) {
      put(y_, k, g, L::select(moved[g], get(trial_y_, k, g), get(y_, k, g)));
      if (k + 1 < n_) put(u_, k, g, L::select(moved[g], get(trial_, k, g), get(u_, k, g)));
    });
  }

  const int64_t n_;
  double *x_, *limit_, *y_, *u_, *trial_, *trial_y_, *slope_, *off_, *direction_, *diagonal_, *pivots_, *factors_;
  V objective_[G] = {}, relative_[G] = {}, descent_[G] = {};
  M running_[G] = {};
};

} // namespace
} // namespace tautgrad::cpu::TG_ISA
