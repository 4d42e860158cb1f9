// Isotropic total variation (Rudin, Osher & Fatemi 1992) on the CPU: FISTA on the dual with adaptive restart, certified.
#include "isa.h"
#include "memory.h"
#include "parallel.h"

#include "../kernels/tv2d_certificate.h"

namespace tautgrad::cpu::TG_ISA {
namespace {

// The dual field u = (horizontal, vertical), one vector per pixel, |u| <= lambda, with y = x - D^T u. Its entries beyond the last column
// and row stay 0 (Neumann boundary).
// FISTA: u+ = project(v + (D (x - D^T v)) / 8), v = u+ + beta (u+ - u), |D|^2 <= 8 (Beck & Teboulle 2009, Chambolle 2004).
template <class T> struct RofSolver {
  int64_t h, w;
  const T *x;
  double lambda;
  T *y, *u1, *u2, *v1, *v2;
  double *row_sums; // 2 h

  // y = x - D^T u over row r. (D^T u)_i = u(arriving) - u(leaving).
  void primal_row(int64_t r, const T *a, const T *b) {
    const int64_t at = r * w;
    for (int64_t j = 0; j < w; ++j) {
      const T left = j > 0 ? a[at + j - 1] : T(0), above = r > 0 ? b[at + j - w] : T(0);
      y[at + j] = x[at + j] + (a[at + j] - left) + (b[at + j] - above);
    }
  }

  void primal(const T *a, const T *b) {
    parallel_for(h, [&](int64_t r) { primal_row(r, a, b); });
  }

  // One step from v; returns the product that decides on a restart.
  double step(T beta) {
    primal(v1, v2);
    const T bound = T(lambda);
    parallel_for(h, [&](int64_t r) {
      double product = 0;
      for (int64_t j = 0; j < w; ++j) {
        const int64_t i = r * w + j;
        const T dx = j + 1 < w ? y[i + 1] - y[i] : T(0), dy = r + 1 < h ? y[i + w] - y[i] : T(0);
        T a = v1[i] + dx * T(0.125), b = v2[i] + dy * T(0.125);
        const T length = T(__builtin_sqrt(double(a * a + b * b)));
        if (length > bound) {
          const T scale = bound / length;
          a *= scale;
          b *= scale;
        }
        product += double((v1[i] - a) * (a - u1[i]) + (v2[i] - b) * (b - u2[i]));
        v1[i] = a + beta * (a - u1[i]);
        v2[i] = b + beta * (b - u2[i]);
        u1[i] = a;
        u2[i] = b;
      }
      row_sums[r] = product;
    });
    double product = 0;
    for (int64_t r = 0; r < h; ++r) product += row_sums[r];
    return product;
  }

  void forget_momentum() {
    parallel_for(h, [&](int64_t r) {
      for (int64_t i = r * w; i < (r + 1) * w; ++i) v1[i] = u1[i], v2[i] = u2[i];
    });
  }

  // gap(y, u) = sum (lambda |Dy| - <u, Dy>) + 1/2 |y - (x - D^T u)|^2, with u pulled into the ball in double.
  Tv2dGap gap() {
    primal(u1, u2);
    parallel_for(h, [&](int64_t r) {
      double row_gap = 0, row_objective = 0;
      for (int64_t j = 0; j < w; ++j) {
        const int64_t i = r * w + j;
        const auto dual = [&](int64_t k, double *a, double *b) {
          *a = double(u1[k]), *b = double(u2[k]);
          const double length = __builtin_sqrt(*a * *a + *b * *b);
          if (length > lambda) *a *= lambda / length, *b *= lambda / length;
        };
        double a, b, left = 0, above = 0, unused;
        dual(i, &a, &b);
        if (j > 0) dual(i - 1, &left, &unused);
        if (r > 0) dual(i - w, &unused, &above);
        const double yi = double(y[i]), z = double(x[i]) + (a - left) + (b - above);
        const double dx = j + 1 < w ? double(y[i + 1]) - yi : 0, dy = r + 1 < h ? double(y[i + w]) - yi : 0;
        const double steep = dx == 0 && dy == 0 ? 0 : lambda * __builtin_sqrt(dx * dx + dy * dy);
        const double local = steep - (a * dx + b * dy);
        row_gap += (local > 0 || local != local ? local : 0) + 0.5 * (yi - z) * (yi - z);
        row_objective += steep + 0.5 * (double(x[i]) - yi) * (double(x[i]) - yi);
      }
      row_sums[r] = row_gap;
      row_sums[h + r] = row_objective;
    });
    Tv2dGap total{0, 0};
    for (int64_t r = 0; r < h; ++r) {
      total.gap += row_sums[r];
      total.objective += row_sums[h + r];
    }
    return total;
  }
};

enum Outcome { SOLVED, OUT_OF_MEMORY, CANCELLED };

template <class T>
Outcome rof_image(const tg_tv2d &p, double tolerance, const T *x, double lambda, T *y, double *report, const int32_t *cancel) {
  const int64_t n = p.height * p.width;
  void *memory = pool_alloc(2 * p.height * int64_t(sizeof(double)) + 4 * n * int64_t(sizeof(T)));
  if (!memory) return OUT_OF_MEMORY;
  double *sums = static_cast<double *>(memory);
  T *u1 = reinterpret_cast<T *>(sums + 2 * p.height);
  const double cap = tv_weight_cap(n, x);
  RofSolver<T> s{p.height, p.width, x, lambda < cap ? lambda : cap, y, u1, u1 + n, u1 + 2 * n, u1 + 3 * n, sums};
  for (int64_t i = 0; i < 4 * n; ++i) u1[i] = 0;

  Outcome outcome = SOLVED;
  Tv2dGap found = s.gap();
  int64_t k = 0, since_restart = 0, next_check = 10, best_at = 0;
  double best = found.gap;
  while (k < p.max_iterations && relative_gap(found.gap, found.objective) > tolerance) {
    if (cancel && __atomic_load_n(cancel, __ATOMIC_RELAXED)) {
      outcome = CANCELLED;
      break;
    }
    const T beta = T(double(since_restart) / double(since_restart + 5));
    ++k;
    ++since_restart;
    if (s.step(beta) > 0) {
      s.forget_momentum();
      since_restart = 0;
    }
    if (k < next_check && k < p.max_iterations) continue;
    next_check = k + 10 + k / 10;
    found = s.gap();
    if (found.gap < 0.9 * best) {
      best = found.gap;
      best_at = k;
    } else if (k - best_at > 500 + best_at / 2)
      break; // rounding holds the gap where it is
  }
  report[0] = found.gap;
  report[1] = relative_gap(found.gap, found.objective);
  report[2] = double(k);
  report[3] = found.objective;
  pool_release(memory);
  return outcome;
}

template <class T>
int rof_typed(const tg_tv2d &p, double tolerance, const T *x, const T *lambda, T *y, double *report, const int32_t *cancel) {
  const int64_t n = p.height * p.width;
  if (n == 0) return TG_OK;
  int outcome = SOLVED;
  parallel_for(p.batch, [&](int64_t b) {
    const Outcome o = rof_image(p, tolerance, x + b * n, double(lambda[b]), y + b * n, report + b * TG_TV_REPORT, cancel);
    if (o != SOLVED) __atomic_store_n(&outcome, int(o), __ATOMIC_RELAXED);
  });
  if (outcome == CANCELLED) return fail("cancelled");
  if (outcome == OUT_OF_MEMORY)
    return fail("rof2d: out of memory for images of %lld x %lld pixels", (long long)p.height, (long long)p.width);
  return TG_OK;
}

int rof2d(int64_t dtype, const tg_tv2d *p, double tolerance, const void *x, const void *lambda, void *y, void *report,
          const int32_t *cancel) {
  if (dtype == TG_F32)
    return rof_typed(*p, tolerance, static_cast<const float *>(x), static_cast<const float *>(lambda), static_cast<float *>(y),
                     static_cast<double *>(report), cancel);
  return rof_typed(*p, tolerance, static_cast<const double *>(x), static_cast<const double *>(lambda), static_cast<double *>(y),
                   static_cast<double *>(report), cancel);
}
} // namespace

void register_rof(tg_backend *t) { t->rof2d = rof2d; }
} // namespace tautgrad::cpu::TG_ISA
