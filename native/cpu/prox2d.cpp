// Anisotropic 2D total variation by Dykstra's method on the CPU, certified by its duality gap; averages over components.
#include "isa.h"
#include "memory.h"
#include "parallel.h"

#include "line_duals.h"
#include "line_prox.h"
#include "tv2d_gap.h"

namespace tautgrad::cpu::TG_ISA {
namespace {

enum Outcome { SOLVED, OUT_OF_MEMORY, CANCELLED };

// One image. Dual block-coordinate descent: p, the residual of the row proxes, and q, that of the column proxes, with y = x - p - q:
//   p  = (x - q') - proxRows(x - q'),   q+ = (x - p) - proxCols(x - p),   y = x - p - q+.
// The plain method has q' = q+ of the sweep before. The accelerated one adds Nesterov's momentum to q with an adaptive restart
// (Chambolle & Pock 2015; Chambolle, Tan & Vaiter 2017; gradient restart of O'Donoghue & Candes 2015).
// Everything pointwise rides on the sweeps' tiles while they are in the cache.
template <class T> class DykstraSolver {
public:
  DykstraSolver(const tg_tv2d &p, double tolerance, const int32_t *cancel)
      : p_(p), rows_{p.height, p.width, 1}, cols_{1, p.height, p.width}, n_(p.height * p.width), col_tiles_(LinePlan<T>(cols_).tiles),
        tolerance_(tolerance), cancel_(cancel) {}
  void release() { pool_release(memory_); }

  Outcome solve(const T *x, T lambda_rows, T lambda_cols, const T *wx, const T *wy, T *y, int32_t *labels, double *report) {
    if (!allocate()) return OUT_OF_MEMORY;
    image_ = {p_.height, p_.width, x, lambda_rows, lambda_cols, T(tv_weight_cap(n_, x)), wx, wy, u_rows_, u_cols_};
    y_ = y;
    if (labels) forest_ = labels;
    for (int64_t i = 0; i < n_; ++i) {
      q_[i] = 0;
      col_in_[i] = y[i] = x[i];
    }
    const bool accelerated = p_.method == TG_TV2D_ACCELERATED;
    Tv2dGap found{0, 0};
    bool polished = false, certified = false;
    int64_t k = 0, next_check = 1, best_at = 0;
    double best = __builtin_inf(), next_polish = first_polish();
    while (k < p_.max_iterations) {
      if (cancelled()) return CANCELLED;
      if (!sweep_rows(lambda_rows)) return OUT_OF_MEMORY;
      if (cancelled()) return CANCELLED;
      if (!sweep_cols(lambda_cols, accelerated)) return OUT_OF_MEMORY;
      ++k;
      certified = false;
      if (!accelerated || (k < next_check && k < p_.max_iterations)) continue;
      found = certify();
      certified = true;
      const double gap = found.gap, relative = relative_gap(gap, found.objective); // of the iterate; found may become the means'
      if (!(relative > tolerance_)) break;                                         // negated, so that NaN data stops at once
      // The partition is usually right long before the values are: the means over it may pass already.
      if (relative <= next_polish) {
        polished = polish(&found);
        if (!(relative_gap(found.gap, found.objective) > tolerance_)) break;
        next_polish = relative / 4;
      }
      if (gap < 0.9 * best) {
        best = gap;
        best_at = k;
      } else if (k - best_at > 50 + best_at / 4)
        break; // rounding holds the gap where it is
      next_check = k + 2 + k / 8;
      polished = false;
    }
    if (!certified && k > 0) found = certify();
    if (k == 0) found = start_gap();
    if (accelerated && !polished && found.gap > 0 && k > 0)
      polished = polish(&found);
    else if (labels && !polished)
      image_.components(y_, labels);
    if (polished)
      for (int64_t i = 0; i < n_; ++i) y_[i] = z_[i];
    report[0] = found.gap;
    report[1] = relative_gap(found.gap, found.objective);
    report[2] = double(k);
    report[3] = found.objective;
    return SOLVED;
  }

private:
  bool allocate() {
    const int64_t doubles = n_ + 2 * p_.height + col_tiles_, bytes = doubles * 8 + n_ * (7 * int64_t(sizeof(T)) + 2 * 4);
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
    forest_ = reinterpret_cast<int32_t *>(z_ + n_);
    counts_ = forest_ + n_; // the forest may lie in the caller's labels instead
    return true;
  }

  // From this relative gap on the means are tried: with the partition right, their gap is about the square of the iterate's.
  double first_polish() const {
    const double linear = 30 * tolerance_, square = 0.3 * __builtin_sqrt(tolerance_);
    return linear > square || tolerance_ > 1e-7 ? linear : square;
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
  const int32_t *const cancel_;
  DualImage<T> image_{};
  double momentum_ = 1;
  T beta_ = 0;
  void *memory_ = nullptr;
  T *y_ = nullptr, *q_ = nullptr, *row_in_ = nullptr, *row_out_ = nullptr, *col_in_ = nullptr, *u_rows_ = nullptr, *u_cols_ = nullptr,
    *z_ = nullptr;
  double *sums_ = nullptr, *row_parts_ = nullptr, *products_ = nullptr;
  int32_t *forest_ = nullptr, *counts_ = nullptr;
};

template <class T>
int prox2d_typed(const tg_tv2d &p, double tolerance, const T *x, const T *lambda_rows, const T *lambda_cols, const T *wx, const T *wy, T *y,
                 int32_t *labels, double *report, const int32_t *cancel) {
  const int64_t n = p.height * p.width;
  if (n == 0) return TG_OK;
  int outcome = SOLVED;
  parallel_for(p.batch, [&](int64_t b) {
    DykstraSolver<T> solver(p, tolerance, cancel);
    const Outcome o = solver.solve(x + b * n, lambda_rows[b], lambda_cols[b], wx ? wx + b * p.height * (p.width - 1) : nullptr,
                                   wy ? wy + b * (p.height - 1) * p.width : nullptr, y + b * n, labels ? labels + b * n : nullptr,
                                   report + b * TG_TV_REPORT);
    solver.release();
    if (o != SOLVED) __atomic_store_n(&outcome, int(o), __ATOMIC_RELAXED);
  });
  if (outcome == CANCELLED) return fail("cancelled");
  if (outcome == OUT_OF_MEMORY)
    return fail("prox2d: out of memory for images of %lld x %lld pixels", (long long)p.height, (long long)p.width);
  return TG_OK;
}

int prox2d(int64_t dtype, const tg_tv2d *p, double tolerance, const void *x, const void *lambda_rows, const void *lambda_cols,
           const void *wx, const void *wy, void *y, void *labels, void *report, const int32_t *cancel) {
  if (dtype == TG_F32)
    return prox2d_typed(*p, tolerance, static_cast<const float *>(x), static_cast<const float *>(lambda_rows),
                        static_cast<const float *>(lambda_cols), static_cast<const float *>(wx), static_cast<const float *>(wy),
                        static_cast<float *>(y), static_cast<int32_t *>(labels), static_cast<double *>(report), cancel);
  return prox2d_typed(*p, tolerance, static_cast<const double *>(x), static_cast<const double *>(lambda_rows),
                      static_cast<const double *>(lambda_cols), static_cast<const double *>(wx), static_cast<const double *>(wy),
                      static_cast<double *>(y), static_cast<int32_t *>(labels), static_cast<double *>(report), cancel);
}

template <class T> int component_average_typed(int64_t batch, int64_t pixels, const int32_t *labels, const T *v, T *out) {
  int out_of_memory = 0;
  parallel_for(batch, [&](int64_t b) {
    void *memory = pool_alloc(pixels * int64_t(sizeof(double) + sizeof(int32_t)));
    if (!memory) return __atomic_store_n(&out_of_memory, 1, __ATOMIC_RELAXED);
    double *sums = static_cast<double *>(memory);
    average_components(pixels, labels + b * pixels, v + b * pixels, out + b * pixels, sums, reinterpret_cast<int32_t *>(sums + pixels));
    pool_release(memory);
  });
  return out_of_memory ? fail("component_average: out of memory for %lld pixels", (long long)pixels) : int(TG_OK);
}

int component_average(int64_t dtype, int64_t batch, int64_t pixels, const void *labels, const void *v, void *out) {
  const int32_t *l = static_cast<const int32_t *>(labels);
  if (dtype == TG_F32) return component_average_typed(batch, pixels, l, static_cast<const float *>(v), static_cast<float *>(out));
  return component_average_typed(batch, pixels, l, static_cast<const double *>(v), static_cast<double *>(out));
}
} // namespace

void register_prox2d(tg_backend *t) {
  t->prox2d = prox2d;
  t->component_average = component_average;
}
} // namespace tautgrad::cpu::TG_ISA
