// prox1d and its Jacobian product on the CPU.
#include "isa.h"
#include "parallel.h"

#include "../kernels/projected_newton.h"
#include "../kernels/segments.h"
#include "../kernels/taut_string.h"
#include "line_average.h"
#include "line_prox.h"
#include "newton_lanes.h"

namespace tautgrad::cpu::TG_ISA {
namespace {

template <class T> int prox1d_typed(const tg_lines &g, const T *x, const T *lambda, const T *weights, T *y) {
  if (!prox_lines(g, x, lambda, 1, weights, y)) return fail("prox1d: out of memory for lines of %lld samples", (long long)g.n);
  return TG_OK;
}

int prox1d(int64_t dtype, const tg_lines *g, const void *x, const void *lambda, const void *weights, void *y) {
  if (dtype == TG_F32)
    return prox1d_typed(*g, static_cast<const float *>(x), static_cast<const float *>(lambda), static_cast<const float *>(weights),
                        static_cast<float *>(y));
  return prox1d_typed(*g, static_cast<const double *>(x), static_cast<const double *>(lambda), static_cast<const double *>(weights),
                      static_cast<double *>(y));
}

enum { LONGEST_IN_LANES = 65536 };

template <class T>
int newton_typed(const tg_lines &g, const T *x, const T *lambda, const T *weights, double tolerance, int64_t max_iterations, T *y,
                 double *gap) {
  int failed = 0;
  const auto offset = [&](int64_t line, int64_t n) { return line / g.inner * n * g.inner + line % g.inner; };
  const auto width = [&](int64_t line, int64_t k) {
    return edge_weight(double(lambda[line]), weights ? double(weights[offset(line, g.n - 1) + k * g.inner]) : 1.0);
  };
  const auto alone = [&](int64_t line) {
    void *memory = scratch(SCRATCH_LINE, NewtonWorkspace::bytes(g.n));
    if (!memory) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    const auto ws = NewtonWorkspace::at(memory, g.n);
    const int64_t at = offset(line, g.n);
    const double reached = projected_newton(
        g.n, [&](int64_t k) { return double(x[at + k * g.inner]); }, [&](int64_t k) { return width(line, k); }, tolerance, max_iterations,
        ws);
    for (int64_t k = 0; k < g.n; ++k) y[at + k * g.inner] = T(ws.y[k]);
    if (gap) gap[line] = reached;
  };
  constexpr int64_t W = NewtonLanes::width;
  const auto together = [&](int64_t first, int64_t count) {
    void *memory = scratch(SCRATCH_LINE, NewtonLanes::bytes(g.n));
    if (!memory) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    NewtonLanes lanes(g.n, memory);
    for (int64_t i = 0; i < W; ++i) { // idle lanes repeat the last line
      const int64_t line = first + (i < count ? i : count - 1), at = offset(line, g.n);
      for (int64_t k = 0; k < g.n; ++k) lanes.x()[k * W + i] = double(x[at + k * g.inner]);
      for (int64_t k = 0; k + 1 < g.n; ++k) lanes.widths()[k * W + i] = width(line, k);
    }
    double reached[W];
    lanes.solve(tolerance, max_iterations, reached);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t at = offset(first + i, g.n);
      for (int64_t k = 0; k < g.n; ++k) y[at + k * g.inner] = T(lanes.y()[k * W + i]);
      if (gap) gap[first + i] = reached[i];
    }
  };
  // A block of lanes takes about as long as three lines, and its memory should stay in reach.
  const int64_t lines = g.n > 0 ? g.outer * g.inner : 0;
  parallel_for((lines + W - 1) / W, [&](int64_t block) {
    const int64_t first = block * W, count = lines - first < W ? lines - first : W;
    if (count > 3 && g.n <= LONGEST_IN_LANES) return together(first, count);
    for (int64_t i = 0; i < count; ++i) alone(first + i);
  });
  return failed ? fail("prox1d_newton: out of memory for lines of %lld samples", (long long)g.n) : TG_OK;
}

int prox1d_newton(int64_t dtype, const tg_lines *g, const void *x, const void *lambda, const void *weights, double tolerance,
                  int64_t max_iterations, void *y, void *gap) {
  if (dtype == TG_F32)
    return newton_typed(*g, static_cast<const float *>(x), static_cast<const float *>(lambda), static_cast<const float *>(weights),
                        tolerance, max_iterations, static_cast<float *>(y), static_cast<double *>(gap));
  return newton_typed(*g, static_cast<const double *>(x), static_cast<const double *>(lambda), static_cast<const double *>(weights),
                      tolerance, max_iterations, static_cast<double *>(y), static_cast<double *>(gap));
}

template <class T> int average_typed(const tg_lines &g, const T *y, const T *v, T *out) {
  // Tasks of about 16,000 samples, in whole blocks of lanes.
  constexpr int64_t width = Lanes<T>::width;
  const int64_t lines = g.outer * g.inner, blocks = 16384 / (width * (g.n > 0 ? g.n : 1)), per_task = (blocks > 0 ? blocks : 1) * width;
  if (g.n > 0)
    parallel_for((lines + per_task - 1) / per_task, [&](int64_t task) {
      const int64_t first = task * per_task, left = lines - first;
      average_lines(g, first, left < per_task ? left : per_task, y, v, out);
    });
  return TG_OK;
}

int prox1d_average(int64_t dtype, const tg_lines *g, const void *y, const void *v, void *out) {
  if (dtype == TG_F32) return average_typed(*g, static_cast<const float *>(y), static_cast<const float *>(v), static_cast<float *>(out));
  return average_typed(*g, static_cast<const double *>(y), static_cast<const double *>(v), static_cast<double *>(out));
}
} // namespace

void register_prox1d(tg_backend *t) {
  t->prox1d = prox1d;
  t->prox1d_newton = prox1d_newton;
  t->prox1d_average = prox1d_average;
}
} // namespace tautgrad::cpu::TG_ISA
