// Anisotropic total variation of volumes on the CPU by cyclic Dykstra over the three axes, certified by its duality gap.
#include "isa.h"
#include "memory.h"
#include "parallel.h"

#include "../kernels/tv2d_certificate.h"
#include "line_duals.h"
#include "line_prox.h"

namespace tautgrad::cpu::TG_ISA {
namespace {

enum Outcome { SOLVED, OUT_OF_MEMORY, CANCELLED };

// One volume. Dual block-coordinate descent over the residuals p_k = in_k - out_k of the proxes along axis k (0 depth, 1 rows' index, 2
// within rows), with y = x - p_0 - p_1 - p_2 after every cycle:
//   in_0 = x - q_1 - q_2,  in_1 = x - p_0 - q_2,  in_2 = x - p_0 - p_1,
// where q_k is p_k of the cycle before with Nesterov's momentum and gradient restart. That is not proven to converge for three blocks (it
// did in every run of the specification's measurements): where the certified gap stops falling, plain Dykstra, which is, goes on.
template <class T> class VolumeSolver {
public:
  VolumeSolver(const tg_tv3d &p, double tolerance, const int32_t *cancel)
      : p_(p), plane_(p.height * p.width), n_(p.depth * plane_), tolerance_(tolerance), cancel_(cancel) {
    lines_[0] = {1, p.depth, plane_};
    lines_[1] = {p.depth, p.height, p.width};
    lines_[2] = {p.depth * p.height, p.width, 1};
  }
  void release() { pool_release(memory_); }

  Outcome solve(const T *x, const T *lambda, const T *const *weights, T *y, int32_t *labels, double *report) {
    if (!allocate()) return OUT_OF_MEMORY;
    x_ = x;
    out_[2] = y;
    for (int k = 0; k < 3; ++k) {
      lambda_[k] = lambda[k];
      weights_[k] = weights[k];
    }
    if (labels) forest_ = labels;
    cap_ = T(tv_weight_cap(n_, x));
    for (int64_t i = 0; i < n_; ++i) {
      for (int k = 0; k < 3; ++k) in_[k][i] = out_[k][i] = x[i]; // p = 0
      old_[0][i] = old_[1][i] = 0;
    }
    const bool exactly = p_.method == TG_TV2D_DYKSTRA;
    bool accelerated = !exactly, polished = false;
    double momentum = 1, best = __builtin_inf(), next_polish = 30 * tolerance_;
    T beta = 0;
    Tv2dGap found{0, 0};
    int64_t k = 0, next_check = 1, best_at = 0, patience = 20;
    while (k < p_.max_iterations) {
      if (cancel_ && __atomic_load_n(cancel_, __ATOMIC_RELAXED)) return CANCELLED;
      extrapolate(beta);
      if (!sweeps()) return OUT_OF_MEMORY;
      ++k;
      if (accelerated) {
        const double next = 0.5 * (1 + __builtin_sqrt(1 + 4 * momentum * momentum));
        const bool restart = restart_product() > 0;
        beta = restart ? T(0) : T((momentum - 1) / next);
        momentum = restart ? 1 : next;
      }
      if (exactly || (k < next_check && k < p_.max_iterations)) continue;
      polished = false;
      found = certify();
      const double relative = relative_gap(found.gap, found.objective), gap = found.gap;
      if (!(relative > tolerance_)) break; // negated, so that NaN data stops at once
      if (relative <= next_polish) {
        polished = polish(&found);
        if (!(relative_gap(found.gap, found.objective) > tolerance_)) break;
        next_polish = relative / 4;
      }
      if (gap < 0.9 * best) {
        best = gap;
        best_at = k;
      } else if (k - best_at > patience + best_at / 4) {
        if (!accelerated) break; // rounding holds the gap where it is
        accelerated = false;
        beta = 0;
        best_at = k;
        patience = 100;
      }
      next_check = k + 2 + k / 8;
    }
    if (exactly) found = certify();
    if (!exactly && !polished && found.gap > 0) polished = polish(&found);
    if (labels && !polished) components(out_[2]);
    if (polished)
      for (int64_t i = 0; i < n_; ++i) y[i] = z_[i];
    report[0] = found.gap;
    report[1] = relative_gap(found.gap, found.objective);
    report[2] = double(k);
    report[3] = found.objective;
    return SOLVED;
  }

private:
  bool allocate() {
    const int64_t doubles = n_ + 2 * p_.depth;
    memory_ = pool_alloc(doubles * 8 + n_ * (13 * int64_t(sizeof(T)) + 8));
    if (!memory_) return false;
    sums_ = static_cast<double *>(memory_);
    parts_ = sums_ + n_;
    T *at = reinterpret_cast<T *>(parts_ + 2 * p_.depth);
    T **const arrays[] = {&in_[0],    &in_[1],    &in_[2], &out_[0], &out_[1], &old_[0], &old_[1],
                          &ahead_[0], &ahead_[1], &u_[0],  &u_[1],   &u_[2],   &z_};
    for (T **array : arrays) {
      *array = at;
      at += n_;
    }
    forest_ = reinterpret_cast<int32_t *>(at);
    counts_ = forest_ + n_;
    return true;
  }

  template <class Body> void each_slice(const Body &body) const {
    parallel_for(p_.depth, [&](int64_t d) { body(d, d * plane_, (d + 1) * plane_); });
  }

  // q_k = p_k + beta (p_k - p_k before) for k = 1, 2, and in_0.
  void extrapolate(T beta) {
    each_slice([&](int64_t, int64_t first, int64_t end) {
      for (int64_t i = first; i < end; ++i) {
        T sum = x_[i];
        for (int b = 0; b < 2; ++b) {
          const T now = in_[b + 1][i] - out_[b + 1][i], q = now + beta * (now - old_[b][i]);
          old_[b][i] = now;
          ahead_[b][i] = q;
          sum -= q;
        }
        in_[0][i] = sum;
      }
    });
  }

  bool sweeps() {
    for (int k = 0; k < 3; ++k) {
      if (k > 0)
        each_slice([&](int64_t, int64_t first, int64_t end) {
          for (int64_t i = first; i < end; ++i) {
            const T p0 = in_[0][i] - out_[0][i];
            in_[k][i] = x_[i] - p0 - (k == 1 ? ahead_[1][i] : in_[1][i] - out_[1][i]);
          }
        });
      if (!prox_lines(lines_[k], in_[k], &lambda_[k], 0, weights_[k], out_[k])) return false;
    }
    return true;
  }

  // <q - p, p - p before> over the blocks 1 and 2: positive where momentum points uphill.
  double restart_product() {
    each_slice([&](int64_t d, int64_t first, int64_t end) {
      double sum = 0;
      for (int64_t i = first; i < end; ++i)
        for (int b = 0; b < 2; ++b) {
          const T now = in_[b + 1][i] - out_[b + 1][i];
          sum += double((ahead_[b][i] - now) * (now - old_[b][i]));
        }
      parts_[d] = sum;
    });
    double product = 0;
    for (int64_t d = 0; d < p_.depth; ++d) product += parts_[d];
    return product;
  }

  // The weight of the edge behind sample (d, r, j) along axis k, in the volume's own precision, as the line solvers multiply it.
  double weight(int k, int64_t d, int64_t r, int64_t j) const {
    T w = lambda_[k];
    if (weights_[k]) {
      const int64_t h = k == 1 ? p_.height - 1 : p_.height, width = k == 2 ? p_.width - 1 : p_.width;
      const T factor = weights_[k][(d * h + r) * width + j];
      w = factor == 0 ? T(0) : w * factor;
    }
    return double(w < cap_ ? w : cap_);
  }

  // visit(pixel, the axis, the distance to its next sample, the edge's weight) for every edge of slice d.
  template <class Visit> void each_edge(int64_t d, const Visit &visit) const {
    for (int64_t r = 0; r < p_.height; ++r)
      for (int64_t j = 0; j < p_.width; ++j) {
        const int64_t i = d * plane_ + r * p_.width + j;
        if (d + 1 < p_.depth) visit(i, 0, plane_, weight(0, d, r, j));
        if (r + 1 < p_.height) visit(i, 1, p_.width, weight(1, d, r, j));
        if (j + 1 < p_.width) visit(i, 2, int64_t(1), weight(2, d, r, j));
      }
  }

  Tv2dGap certify() {
    line_duals(lines_[0], in_[0], out_[0], lambda_[0], cap_, weights_[0], u_[0]);
    const tg_lines slice{1, p_.height, p_.width};
    for (int64_t d = 0; d < p_.depth; ++d) {
      const int64_t at = d * plane_;
      line_duals(slice, in_[1] + at, out_[1] + at, lambda_[1], cap_, weights_[1] ? weights_[1] + d * (p_.height - 1) * p_.width : nullptr,
                 u_[1] + at);
    }
    line_duals(lines_[2], in_[2], out_[2], lambda_[2], cap_, weights_[2], u_[2]);
    return gap(out_[2], z_);
  }

  // Of y with the duals u; to, or null, receives z = x - D^T u.
  Tv2dGap gap(const T *y, T *to) {
    each_slice([&](int64_t d, int64_t, int64_t) {
      double gap = 0, objective = 0;
      for (int64_t r = 0; r < p_.height; ++r)
        for (int64_t j = 0; j < p_.width; ++j) {
          const int64_t i = d * plane_ + r * p_.width + j;
          const double zi = double(x_[i]) + (double(u_[0][i]) - (d > 0 ? double(u_[0][i - plane_]) : 0)) +
                            (double(u_[1][i]) - (r > 0 ? double(u_[1][i - p_.width]) : 0)) +
                            (double(u_[2][i]) - (j > 0 ? double(u_[2][i - 1]) : 0));
          if (to) to[i] = T(zi);
          const double off = double(y[i]) - zi, moved = double(x_[i]) - double(y[i]);
          gap += 0.5 * off * off;
          objective += 0.5 * moved * moved;
        }
      each_edge(d, [&](int64_t i, int k, int64_t next, double w) {
        const double dy = double(y[i + next]) - double(y[i]);
        gap += edge_slack(w, double(u_[k][i]), dy);
        objective += w * absolute(dy);
      });
      parts_[2 * d] = gap;
      parts_[2 * d + 1] = objective;
    });
    Tv2dGap sum{0, 0};
    for (int64_t d = 0; d < p_.depth; ++d) {
      sum.gap += parts_[2 * d];
      sum.objective += parts_[2 * d + 1];
    }
    return sum;
  }

  void components(const T *y) {
    for (int64_t i = 0; i < n_; ++i) forest_[i] = int32_t(i);
    for (int64_t d = 0; d < p_.depth; ++d)
      each_edge(d, [&](int64_t i, int k, int64_t next, double w) {
        if (edge_is_inside(double(u_[k][i]), w, double(y[i + next]) - double(y[i]))) join(forest_, int32_t(i), int32_t(i + next));
      });
    flatten(forest_, n_);
  }

  // With the true partition the mean of z over each component is the solution; see prox2d. Follows certify().
  bool polish(Tv2dGap *found) {
    components(out_[2]);
    average_components(n_, forest_, z_, z_, sums_, counts_);
    const Tv2dGap means = gap(z_, nullptr);
    if (!(means.gap < found->gap)) return false;
    *found = means;
    return true;
  }

  const tg_tv3d p_;
  const int64_t plane_, n_;
  const double tolerance_;
  const int32_t *const cancel_;
  tg_lines lines_[3];
  const T *x_ = nullptr, *weights_[3] = {};
  T lambda_[3] = {}, cap_ = 0;
  void *memory_ = nullptr;
  T *in_[3] = {}, *out_[3] = {}, *old_[2] = {}, *ahead_[2] = {}, *u_[3] = {}, *z_ = nullptr;
  double *sums_ = nullptr, *parts_ = nullptr;
  int32_t *forest_ = nullptr, *counts_ = nullptr;
};

template <class T>
int prox3d_typed(const tg_tv3d &p, double tolerance, const T *x, const T *const *lambda, const T *const *weights, T *y, int32_t *labels,
                 double *report, const int32_t *cancel) {
  const int64_t n = p.depth * p.height * p.width;
  if (n == 0 || p.batch == 0) return TG_OK;
  const int64_t edges[3] = {(p.depth - 1) * p.height * p.width, p.depth * (p.height - 1) * p.width, p.depth * p.height * (p.width - 1)};
  int outcome = SOLVED;
  const auto solve = [&](int64_t b) {
    VolumeSolver<T> solver(p, tolerance, cancel);
    const T bounds[3] = {lambda[0][b], lambda[1][b], lambda[2][b]};
    const T *own[3];
    for (int k = 0; k < 3; ++k) own[k] = weights[k] ? weights[k] + b * edges[k] : nullptr;
    const Outcome o = solver.solve(x + b * n, bounds, own, y + b * n, labels ? labels + b * n : nullptr, report + b * TG_TV_REPORT);
    solver.release();
    if (o != SOLVED) __atomic_store_n(&outcome, int(o), __ATOMIC_RELAXED);
  };
  if (p.batch == 1)
    solve(0); // not inside a parallel loop, whose nested loops would be serial
  else
    parallel_for(p.batch, solve);
  if (outcome == CANCELLED) return fail("cancelled");
  if (outcome == OUT_OF_MEMORY)
    return fail("prox3d: out of memory for volumes of %lld x %lld x %lld", (long long)p.depth, (long long)p.height, (long long)p.width);
  return TG_OK;
}

template <class T>
int prox3d_of(const tg_tv3d &p, double tolerance, const void *x, const void *l0, const void *l1, const void *l2, const void *w0,
              const void *w1, const void *w2, void *y, void *labels, void *report, const int32_t *cancel) {
  const T *lambda[3] = {static_cast<const T *>(l0), static_cast<const T *>(l1), static_cast<const T *>(l2)};
  const T *weights[3] = {static_cast<const T *>(w0), static_cast<const T *>(w1), static_cast<const T *>(w2)};
  return prox3d_typed<T>(p, tolerance, static_cast<const T *>(x), lambda, weights, static_cast<T *>(y), static_cast<int32_t *>(labels),
                         static_cast<double *>(report), cancel);
}

int prox3d(int64_t dtype, const tg_tv3d *p, double tolerance, const void *x, const void *l0, const void *l1, const void *l2, const void *w0,
           const void *w1, const void *w2, void *y, void *labels, void *report, const int32_t *cancel) {
  const auto run = dtype == TG_F32 ? prox3d_of<float> : prox3d_of<double>;
  return run(*p, tolerance, x, l0, l1, l2, w0, w1, w2, y, labels, report, cancel);
}
} // namespace

void register_prox3d(tg_backend *t) { t->prox3d = prox3d; }
} // namespace tautgrad::cpu::TG_ISA
