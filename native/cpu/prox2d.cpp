// Anisotropic 2D total variation by Dykstra's method on the CPU, certified by its duality gap; averages over components.
#include "isa.h"
#include "memory.h"
#include "parallel.h"

#include "../kernels/tv2d_certificate.h"
#include "line_prox.h"

namespace tautgrad::cpu::TG_ISA {
namespace {

enum Outcome { SOLVED, OUT_OF_MEMORY, CANCELLED };

// One image. Dual block-coordinate descent: p, the residual of the row proxes, and q, that of the column proxes, with y = x - p - q:
//   p  = (x - q') - proxRows(x - q'),   q+ = (x - p) - proxCols(x - p),   y = x - p - q+.
// The plain method has q' = q+ of the sweep before. The accelerated one adds Nesterov's momentum to q with an adaptive restart
// (Chambolle & Pock 2015; Chambolle, Tan & Vaiter 2017; gradient restart of O'Donoghue & Candes 2015).
template <class T> class DykstraSolver {
public:
  DykstraSolver(const tg_tv2d &p, double tolerance, const int32_t *cancel) : p_(p), tolerance_(tolerance), cancel_(cancel) {}
  void release() { pool_release(memory_); }

  Outcome solve(const T *x, T lambda_rows, T lambda_cols, const T *wx, const T *wy, T *y, int32_t *labels, double *report) {
    const int64_t n = p_.height * p_.width;
    if (!allocate(n)) return OUT_OF_MEMORY;
    s_ = {p_.height, p_.width, x, double(lambda_rows), double(lambda_cols), wx, wy, tv_weight_cap(n, x), row_in_, row_out_, col_in_, y};
    y_ = y;
    for (int64_t i = 0; i < n; ++i) row_in_[i] = x[i], q_[i] = 0, y[i] = x[i], row_out_[i] = x[i], col_in_[i] = x[i];

    const bool accelerated = p_.method == TG_TV2D_ACCELERATED;
    double momentum = 1;
    Tv2dGap found{0, 0};
    bool certified = false;
    int64_t k = 0, next_check = 1, best_at = 0;
    double best = __builtin_inf();
    while (k < p_.max_iterations) {
      if (cancel_ && __atomic_load_n(cancel_, __ATOMIC_RELAXED)) return CANCELLED;
      if (!prox_lines(tg_lines{p_.height, p_.width, 1}, row_in_, &lambda_rows, 0, wx, row_out_)) return OUT_OF_MEMORY;
      each_row([&](int64_t i) { col_in_[i] = x[i] - (row_in_[i] - row_out_[i]); });
      if (cancel_ && __atomic_load_n(cancel_, __ATOMIC_RELAXED)) return CANCELLED;
      if (!prox_lines(tg_lines{1, p_.height, p_.width}, col_in_, &lambda_cols, 0, wy, y)) return OUT_OF_MEMORY;
      ++k;
      certified = false;
      if (accelerated && (k >= next_check || k == p_.max_iterations)) {
        found = tv2d_gap(s_, y, column_sum_, column_dual_, nullptr, static_cast<T *>(nullptr));
        certified = true;
        // Negated, so that NaN data stops at once.
        if (!(relative_gap(found.gap, found.objective) > tolerance_)) break;
        if (found.gap < 0.9 * best) {
          best = found.gap;
          best_at = k;
        } else if (k - best_at > 50 + best_at / 4)
          break; // rounding holds the gap where it is
        next_check = k + 1 + k / 10;
      }
      if (k < p_.max_iterations) advance(x, accelerated, &momentum); // the certificate needs row_in of the sweep just made
    }
    int32_t *const forest = labels ? labels : labels_;
    if (!certified || labels || accelerated) found = tv2d_gap(s_, y, column_sum_, column_dual_, forest, z_);
    if (accelerated && found.gap > 0) polish(n, forest, &found);
    report[0] = found.gap;
    report[1] = relative_gap(found.gap, found.objective);
    report[2] = double(k);
    report[3] = found.objective;
    return SOLVED;
  }

private:
  bool allocate(int64_t n) {
    if (memory_) return true;
    const int64_t doubles = 2 * p_.width + n,
                  bytes = doubles * int64_t(sizeof(double)) + n * (5 * int64_t(sizeof(T)) + 2 * int64_t(sizeof(int32_t)));
    memory_ = pool_alloc(bytes + p_.height * int64_t(sizeof(double)));
    if (!memory_) return false;
    column_sum_ = static_cast<double *>(memory_);
    column_dual_ = column_sum_ + p_.width;
    sums_ = column_dual_ + p_.width;
    row_products_ = sums_ + n;
    q_ = reinterpret_cast<T *>(row_products_ + p_.height);
    row_in_ = q_ + n;
    row_out_ = row_in_ + n;
    col_in_ = row_out_ + n;
    z_ = col_in_ + n;
    labels_ = reinterpret_cast<int32_t *>(z_ + n);
    counts_ = labels_ + n;
    return true;
  }

  template <class Body> void each_row(const Body &body) {
    const int64_t w = p_.width;
    parallel_for(p_.height, [&](int64_t r) {
      for (int64_t i = r * w; i < (r + 1) * w; ++i) body(i);
    });
  }

  // q+ = col_in - y; the next row sweep's input is x - q'.
  void advance(const T *x, bool accelerated, double *momentum) {
    if (!accelerated) return each_row([&](int64_t i) { row_in_[i] = x[i] - (col_in_[i] - y_[i]); });
    const int64_t w = p_.width;
    parallel_for(p_.height, [&](int64_t r) {
      double product = 0;
      for (int64_t i = r * w; i < (r + 1) * w; ++i) {
        const double plus = double(col_in_[i]) - double(y_[i]);
        product += (double(x[i]) - double(row_in_[i]) - plus) * (plus - double(q_[i]));
      }
      row_products_[r] = product;
    });
    double product = 0;
    for (int64_t r = 0; r < p_.height; ++r) product += row_products_[r];
    T beta = 0;
    if (product > 0)
      *momentum = 1;
    else {
      const double next = 0.5 * (1 + __builtin_sqrt(1 + 4 * *momentum * *momentum));
      beta = T((*momentum - 1) / next);
      *momentum = next;
    }
    each_row([&](int64_t i) {
      const T plus = col_in_[i] - y_[i];
      row_in_[i] = x[i] - (plus + beta * (plus - q_[i]));
      q_[i] = plus;
    });
  }

  // With the true partition, the mean of x - D^T u over each component is the solution to rounding, whatever u is inside the
  // components. Kept only when its own certificate is better.
  void polish(int64_t n, const int32_t *forest, Tv2dGap *found) {
    average_components(n, forest, z_, z_, sums_, counts_);
    const Tv2dGap polished = tv2d_gap(s_, z_, column_sum_, column_dual_, nullptr, static_cast<T *>(nullptr));
    if (!(polished.gap < found->gap)) return;
    *found = polished;
    for (int64_t i = 0; i < n; ++i) y_[i] = z_[i];
  }

  const tg_tv2d p_;
  const double tolerance_;
  const int32_t *const cancel_;
  Tv2dState<T> s_{};
  void *memory_ = nullptr;
  T *y_ = nullptr, *q_ = nullptr, *row_in_ = nullptr, *row_out_ = nullptr, *col_in_ = nullptr, *z_ = nullptr;
  double *column_sum_ = nullptr, *column_dual_ = nullptr, *sums_ = nullptr, *row_products_ = nullptr;
  int32_t *labels_ = nullptr, *counts_ = nullptr;
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
           const void *wx, const void *wy, void *y, void *labels, void *report, const void *cancel) {
  if (dtype == TG_F32)
    return prox2d_typed(*p, tolerance, static_cast<const float *>(x), static_cast<const float *>(lambda_rows),
                        static_cast<const float *>(lambda_cols), static_cast<const float *>(wx), static_cast<const float *>(wy),
                        static_cast<float *>(y), static_cast<int32_t *>(labels), static_cast<double *>(report),
                        static_cast<const int32_t *>(cancel));
  return prox2d_typed(*p, tolerance, static_cast<const double *>(x), static_cast<const double *>(lambda_rows),
                      static_cast<const double *>(lambda_cols), static_cast<const double *>(wx), static_cast<const double *>(wy),
                      static_cast<double *>(y), static_cast<int32_t *>(labels), static_cast<double *>(report),
                      static_cast<const int32_t *>(cancel));
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
