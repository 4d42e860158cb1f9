// One anisotropic image by Dykstra's method, or by descent on its pixels' edges where that is faster, certified by its duality gap.
#pragma once

#include "line_duals.h"
#include "line_prox.h"
#include "memory.h"
#include "pixel_descent.h"
#include "tv2d_gap.h"

namespace tautgrad::cpu::TG_ISA {
namespace {

enum Outcome { SOLVED, OUT_OF_MEMORY, CANCELLED };

// One image. Dual block-coordinate descent: p, the residual of the row proxes, and q, that of the column proxes, with y = x - p - q:
//   p  = (x - q') - proxRows(x - q'),   q+ = (x - p) - proxCols(x - p),   y = x - p - q+.
// The plain method has q' = q+ of the sweep before. The accelerated one adds Nesterov's momentum to q with an adaptive restart
// (Chambolle & Pock 2015; Chambolle, Tan & Vaiter 2017; gradient restart of O'Donoghue & Candes 2015).
// Everything pointwise rides on the sweeps' tiles while they are in the cache.
// With weights below the typical difference of neighbours the accelerated method starts with pixel_descent.h.
template <class T> class DykstraSolver {
public:
  // polished: try the means over the components near the tolerance.
  DykstraSolver(const tg_tv2d &p, double tolerance, bool polished, const int32_t *cancel)
      : p_(p), rows_{p.height, p.width, 1}, cols_{1, p.height, p.width}, n_(p.height * p.width), col_tiles_(LinePlan<T>(cols_).tiles),
        tolerance_(tolerance), polishing_(polished), cancel_(cancel) {}
  void release() { pool_release(memory_); }

  // init, dual: null or [2, height, width], the duals of DualImage; init need not be feasible.
  Outcome solve(const T *x, T lambda_rows, T lambda_cols, const T *wx, const T *wy, const T *init, T *y, T *dual, int32_t *labels,
                double *report) {
    if (!allocate()) return OUT_OF_MEMORY;
    image_ = {p_.height, p_.width, x, lambda_rows, lambda_cols, T(tv_weight_cap(n_, x)), wx, wy, u_rows_, u_cols_};
    y_ = y;
    if (labels) forest_ = labels;
    const bool accelerated = p_.method != TG_TV2D_DYKSTRA;
    PixelDescent<T> descent(image_, u_rows_, u_cols_, row_in_, row_out_, descent_room_, row_parts_);
    const bool only_descent = p_.method == TG_TV2D_PIXELS;
    bool descending = only_descent || (accelerated && p_.method != TG_TV2D_SWEEPS && prefers_descent());
    if (descending)
      start_descent(init);
    else
      start(init);
    Tv2dGap found{0, 0};
    bool polished = false, certified = false;
    int64_t k = 0, next_check = !descending ? 1 : init ? 2 : 10, best_at = 0, began = 0;
    double best = __builtin_inf(), next_polish = first_polish(descending), next_resort = 60 * tolerance_;
    while (k < p_.max_iterations) {
      if (cancelled()) return CANCELLED;
      if (descending) {
        descent.sweep();
      } else {
        if (!sweep_rows(lambda_rows)) return OUT_OF_MEMORY;
        if (cancelled()) return CANCELLED;
        if (!sweep_cols(lambda_cols, accelerated)) return OUT_OF_MEMORY;
      }
      ++k;
      certified = false;
      if (!accelerated || (k < next_check && k < p_.max_iterations)) continue;
      if (descending) descent.primal(y_);
      found = descending ? image_.gap(y_, z_, row_parts_) : certify();
      certified = true;
      const double gap = found.gap, relative = relative_gap(gap, found.objective); // of the iterate; found may become the means'
      if (!(relative > tolerance_)) break;                                         // negated, so that NaN data stops at once
      // The partition is usually right long before the values are: the means over it may pass already. A try costs as much as many sweeps.
      foresee(k, relative);
      const double ahead = sweeps_to(tolerance_, relative);
      const bool likely = relative <= next_polish && ahead > (descending ? LEAST_DESCENTS : LEAST_SWEEPS);
      const bool slow = relative <= next_resort && decay_ < __builtin_inf() && ahead > (descending ? SLOW_DESCENTS : SLOW_SWEEPS);
      if (polishing_ && (likely || slow)) {
        next_resort = relative / 4;
        polished = polish(&found);
        const double means = relative_gap(found.gap, found.objective);
        if (!(means > tolerance_)) break;
        next_polish = relative * (polished ? clamp(0.9 * __builtin_sqrt(tolerance_ / means), 0.1, 0.5) : 0.25);
      }
      if (gap < 0.9 * best) {
        best = gap;
        best_at = k;
      } else if (k - best_at > 50 + best_at / 4)
        break; // rounding holds the gap where it is
      polished = false;
      if (descending && !only_descent && k >= DESCENT_SWEEPS) {
        descending = false;
        start(u_rows_);
        began = k;
      }
      const int64_t least = (descending ? 10 : 2) + (k - began) / 8;
      next_check = k + sweeps_to_skip(least, relative, polishing_ && next_polish > tolerance_ ? next_polish : tolerance_);
    }
    if (!certified && k > 0) found = certify();
    if (k == 0) found = start_gap();
    if (accelerated && polishing_ && !polished && found.gap > 0 && k > 0)
      polished = polish(&found);
    else if (labels && !polished)
      image_.components(y_, labels);
    if (polished)
      for (int64_t i = 0; i < n_; ++i) y_[i] = z_[i];
    if (dual)
      for (int64_t i = 0; i < n_; ++i) {
        dual[i] = u_rows_[i];
        dual[n_ + i] = u_cols_[i];
      }
    report[0] = found.gap;
    report[1] = relative_gap(found.gap, found.objective);
    report[2] = double(k);
    report[3] = found.objective;
    return SOLVED;
  }

  // After solve(): its last dual.
  const DualImage<T> &image() const { return image_; }

private:
  // Measured on images of 96^2 to 2048^2 (bench/lab/tv.md): when to prefer the descent, and when to give it up.
  static constexpr double DESCENT_WEIGHT = 2;
  static constexpr int64_t DESCENT_SWEEPS = 600;
  // The means cost as much as 40 descents or 5 sweeps: not tried so close to the tolerance; where it is so far, rounding may hold the gap,
  // and they are tried earlier.
  static constexpr double LEAST_DESCENTS = 2, LEAST_SWEEPS = 1, SLOW_DESCENTS = 400, SLOW_SWEEPS = 60;

  bool allocate() {
    const int64_t doubles = n_ + 2 * p_.height + col_tiles_, room = PixelDescent<T>::room(p_.height, p_.width);
    const int64_t bytes = doubles * 8 + (7 * n_ + room) * int64_t(sizeof(T)) + n_ * 2 * 4;
    memory_ = pool_alloc(bytes);
    if (!memory_) return false;
    sums_ = static_cast<double *>(memory_);
    row_parts_ = sums_ + n_;
    products_ = row_parts_ + 2 * p_.height;
    q_ = reinterpret_cast<T *>(products_ + col_tiles_);
    row_in_ = q_ + n_;
    row_out_ = row_in_ + n_;
    col_in_ = row_out_ + n_;
    u_rows_ = col_in_ + n_;
    u_cols_ = u_rows_ + n_;
    z_ = u_cols_ + n_;
    descent_room_ = z_ + n_;
    forest_ = reinterpret_cast<int32_t *>(descent_room_ + room);
    counts_ = forest_ + n_; // the forest may lie in the caller's labels instead
    return true;
  }

  // How fast the relative gap falls, from the last look at it to this one.
  void foresee(int64_t k, double relative) {
    decay_ = __builtin_log(last_gap_ / relative) / double(k - last_check_);
    last_gap_ = relative;
    last_check_ = k;
  }

  // How many sweeps lead from this relative gap to a smaller one, at that speed: 0 at the first look, infinite where the gap did not fall.
  double sweeps_to(double goal, double relative) const { return decay_ > 0 ? __builtin_log(relative / goal) / decay_ : __builtin_inf(); }

  // Until the next look at the gap: a share of the sweeps that lead to the goal, or all of them where these are few.
  int64_t sweeps_to_skip(int64_t least, double relative, double goal) const {
    const double ahead = sweeps_to(goal, relative);
    if (!(ahead < __builtin_inf())) return least;
    if (ahead < double(least)) return int64_t(1.3 * ahead) + 2;
    const double share = 0.5 * ahead;
    return share > double(2 * least) ? 2 * least : share > double(least) ? int64_t(share) : least;
  }

  // From this relative gap r on the means are tried: with the partition nearly right, their gap is 300 to 700 r^2, for large weights
  // thousands (bench/lab/tv.md).
  double first_polish(bool descending) const {
    const double linear = 60 * tolerance_, square = 0.3 * __builtin_sqrt(tolerance_);
    if (tolerance_ > 1e-7) return (descending ? 0.04 : 0.01) * __builtin_sqrt(tolerance_);
    return linear > square ? linear : square;
  }

  // Whether the mean weight is small beside the mean difference of neighbours (of every fourth row's pixels).
  bool prefers_descent() const {
    double differences = 0, weights = 0, count = 0;
    for (int64_t r = 0; r < p_.height; r += 4)
      for (int64_t j = 0; j < p_.width; ++j) {
        const T *x = image_.x + r * p_.width + j;
        if (j + 1 < p_.width) {
          differences += absolute(double(x[1]) - double(x[0]));
          weights += image_.row_weight(r, j);
          count += 1;
        }
        if (r + 1 < p_.height) {
          differences += absolute(double(x[p_.width]) - double(x[0]));
          weights += image_.col_weight(r, j);
          count += 1;
        }
      }
    return count > 0 && differences < __builtin_inf() && weights < DESCENT_WEIGHT * differences;
  }

  static T clipped(T v, T w) { return v > w ? w : v < -w ? -w : v == v ? v : T(0); }

  void start_descent(const T *init) {
    for (int64_t r = 0; r < p_.height; ++r)
      for (int64_t j = 0; j < p_.width; ++j) {
        const int64_t i = r * p_.width + j;
        const bool right = init && j + 1 < p_.width, below = init && r + 1 < p_.height;
        u_rows_[i] = row_in_[i] = right ? clipped(init[i], T(image_.row_weight(r, j))) : T(0);
        u_cols_[i] = row_out_[i] = below ? clipped(init[n_ + i], T(image_.col_weight(r, j))) : T(0);
      }
  }

  // The first sweep's input: q = D^T u of the vertical duals, or 0.
  void start(const T *init) {
    const T *x = image_.x;
    for (int64_t i = 0; i < n_; ++i) {
      q_[i] = 0;
      col_in_[i] = y_[i] = x[i];
    }
    if (!init) return;
    for (int64_t r = 0; r + 1 < p_.height; ++r)
      for (int64_t j = 0; j < p_.width; ++j) {
        const int64_t i = r * p_.width + j;
        const T u = clipped(init[n_ + i], T(image_.col_weight(r, j)));
        q_[i] -= u;
        q_[i + p_.width] += u;
      }
    for (int64_t i = 0; i < n_; ++i) col_in_[i] = x[i] + q_[i];
  }

  bool cancelled() const { return cancel_ && __atomic_load_n(cancel_, __ATOMIC_RELAXED); }

  // q' from q+ = col_in - y, then p.
  bool sweep_rows(T lambda) {
    const T *x = image_.x, beta = beta_;
    return prox_lines(
        rows_, row_in_, &lambda, 0, image_.wx, row_out_,
        [&](int64_t, int64_t first, int64_t count) {
          for (int64_t i = first * p_.width; i < (first + count) * p_.width; ++i) {
            const T plus = col_in_[i] - y_[i];
            row_in_[i] = x[i] - (plus + beta * (plus - q_[i]));
            q_[i] = plus;
          }
        },
        [&](int64_t, int64_t first, int64_t count) {
          for (int64_t i = first * p_.width; i < (first + count) * p_.width; ++i) col_in_[i] = x[i] - (row_in_[i] - row_out_[i]);
        });
  }

  bool sweep_cols(T lambda, bool accelerated) {
    const bool done = prox_lines(
        cols_, col_in_, &lambda, 0, image_.wy, y_, [](int64_t, int64_t, int64_t) {},
        [&](int64_t tile, int64_t first, int64_t count) {
          if (accelerated) products_[tile] = restart_product(first, count);
        });
    if (!accelerated) return done;
    double product = 0;
    for (int64_t t = 0; t < col_tiles_; ++t) product += products_[t];
    const double next = 0.5 * (1 + __builtin_sqrt(1 + 4 * momentum_ * momentum_));
    beta_ = product > 0 ? T(0) : T((momentum_ - 1) / next);
    momentum_ = product > 0 ? 1 : next;
    return done;
  }

  // <q' - q+, q+ - q> over the columns first .. first + count: positive where momentum points uphill.
  double restart_product(int64_t first, int64_t count) const {
    using L = Lanes<T>;
    const T *x = image_.x;
    double sum = 0;
    for (int64_t r = 0; r < p_.height; ++r) {
      const int64_t at = r * p_.width + first;
      typename L::V lanes = L::splat(0);
      int64_t j = 0;
      for (; j + L::width <= count; j += L::width) {
        const int64_t i = at + j;
        const typename L::V plus = L::load(col_in_ + i) - L::load(y_ + i);
        lanes += (L::load(x + i) - L::load(row_in_ + i) - plus) * (plus - L::load(q_ + i));
      }
      for (int k = 0; k < L::width; ++k) sum += double(lanes[k]);
      for (; j < count; ++j) {
        const T plus = col_in_[at + j] - y_[at + j];
        sum += double((x[at + j] - row_in_[at + j] - plus) * (plus - q_[at + j]));
      }
    }
    return sum;
  }

  Tv2dGap certify() {
    line_duals(rows_, row_in_, row_out_, image_.lambda_rows, image_.cap, image_.wx, u_rows_);
    line_duals(cols_, col_in_, y_, image_.lambda_cols, image_.cap, image_.wy, u_cols_);
    return image_.gap(y_, z_, row_parts_);
  }

  // Of y = x with no dual at all.
  Tv2dGap start_gap() {
    for (int64_t i = 0; i < n_; ++i) u_rows_[i] = u_cols_[i] = 0;
    return image_.gap(y_, z_, row_parts_);
  }

  // With the true partition, the mean of z = x - D^T u over each component is the solution to rounding, whatever u is inside the
  // components. Leaves the means in z; returns whether their certificate is better, and updates `found` then. Follows certify().
  bool polish(Tv2dGap *found) {
    image_.components(y_, forest_);
    average_components(n_, forest_, z_, z_, sums_, counts_);
    const Tv2dGap means = image_.gap(z_, static_cast<T *>(nullptr), row_parts_);
    if (!(means.gap < found->gap)) return false;
    *found = means;
    return true;
  }

  const tg_tv2d p_;
  const tg_lines rows_, cols_;
  const int64_t n_, col_tiles_;
  const double tolerance_;
  const bool polishing_;
  const int32_t *const cancel_;
  DualImage<T> image_{};
  double momentum_ = 1, last_gap_ = __builtin_inf(), decay_ = 0;
  int64_t last_check_ = 0;
  T beta_ = 0;
  void *memory_ = nullptr;
  T *y_ = nullptr, *q_ = nullptr, *row_in_ = nullptr, *row_out_ = nullptr, *col_in_ = nullptr, *u_rows_ = nullptr, *u_cols_ = nullptr,
    *z_ = nullptr, *descent_room_ = nullptr;
  double *sums_ = nullptr, *row_parts_ = nullptr, *products_ = nullptr;
  int32_t *forest_ = nullptr, *counts_ = nullptr;
};

} // namespace
} // namespace tautgrad::cpu::TG_ISA
