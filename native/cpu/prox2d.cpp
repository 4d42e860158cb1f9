// Anisotropic 2D total variation on the CPU: to a certified gap, a number of sweeps, or exactly; averages over components.
#include "isa.h"
#include "memory.h"
#include "parallel.h"

#include "dispatch.hpp"
#include "dykstra2d.h"
#include "tv_exact.h"

namespace tautgrad::cpu::TG_ISA {
namespace {

// The arguments of one image.
template <class T> struct Image2d {
  const T *x;
  T lambda_rows, lambda_cols;
  const T *wx, *wy, *init;
  T *y, *dual;
  int32_t *labels;
  double *report;
};

template <class T> Outcome iterate(const tg_tv2d &p, double tolerance, const Image2d<T> &a, const int32_t *cancel) {
  DykstraSolver<T> solver(p, tolerance, true, cancel);
  const Outcome o = solver.solve(a.x, a.lambda_rows, a.lambda_cols, a.wx, a.wy, a.init, a.y, a.dual, a.labels, a.report);
  solver.release();
  return o;
}

// The scale of the data: the largest distance from its mean, which *centre receives. Not finite for data that is not.
template <class T> double spread(int64_t n, const T *x, double *centre) {
  double sum = 0, largest = 0;
  for (int64_t i = 0; i < n; ++i) sum += double(x[i]) - double(x[0]);
  *centre = double(x[0]) + sum / double(n);
  for (int64_t i = 0; i < n; ++i) {
    const double distance = absolute(double(x[i]) - *centre);
    largest = distance <= largest ? largest : distance; // NaN stays
    if (!(largest < __builtin_inf())) break;
  }
  return largest;
}

// The relative gap at which the finish takes over; from 1e-4 to 2e-5 the whole costs the same (bench/lab/tv.md).
constexpr double START_GAP = 5e-5;
// Below this tolerance the exact solution costs less than further iterations.
constexpr double EXACT_BELOW = 5e-7;

// Iterations in float32, on data brought to [-1, 1], to a gap (`start`) from which the finish in float64 is cheap.
template <class T> Outcome solve_exactly(const tg_tv2d &p, double start, const Image2d<T> &a, const int32_t *cancel) {
  const int64_t n = p.height * p.width, edges_x = p.height * (p.width - 1), edges_y = (p.height - 1) * p.width;
  double centre;
  const double scale = spread(n, a.x, &centre);
  // Data that is constant or not finite, or whose squares are not: nothing to finish.
  if (!(scale > 1e-150 && scale < 1e150)) return iterate(p, 1e-12, a, cancel);
  const int64_t strides[2] = {1, p.width};
  ExactGrid<2> grid;
  if (!grid.allocate(n, strides)) return OUT_OF_MEMORY;

  float *memory = static_cast<float *>(pool_alloc((2 * n + edges_x + edges_y + (a.init ? 2 * n : 0)) * int64_t(sizeof(float))));
  if (!memory) {
    grid.release();
    return OUT_OF_MEMORY;
  }
  float *x = memory, *y = x + n, *wx = y + n, *wy = wx + edges_x, *init = a.init ? wy + edges_y : nullptr;
  for_chunks(n, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      grid.x[i] = double(a.x[i]);
      x[i] = float((grid.x[i] - centre) * (1 / scale));
    }
  });
  if (a.wx)
    for (int64_t i = 0; i < edges_x; ++i) wx[i] = float(a.wx[i]);
  if (a.wy)
    for (int64_t i = 0; i < edges_y; ++i) wy[i] = float(a.wy[i]);
  if (init)
    for (int64_t i = 0; i < 2 * n; ++i) init[i] = float(double(a.init[i]) / scale);
  DykstraSolver<float> solver(p, start, false, cancel);
  Outcome o = solver.solve(x, float(double(a.lambda_rows) / scale), float(double(a.lambda_cols) / scale), a.wx ? wx : nullptr,
                           a.wy ? wy : nullptr, init, y, nullptr, grid.label, a.report);
  if (o == SOLVED) {
    const DualImage<float> &rough = solver.image();
    const DualImage<T> wanted{p.height, p.width, a.x, a.lambda_rows, a.lambda_cols, T(tv_weight_cap(n, a.x)), a.wx, a.wy, nullptr, nullptr};
    // Saturated stays saturated, whatever the rounding of lambda and of the weights.
    const auto edge = [scale](double u, double rough_w, double w) {
      const double v = clamp(u * scale, -w, w), low = u <= -rough_w ? -w : v;
      return FlowEdge{u >= rough_w ? w : low, w};
    };
    parallel_for(p.height, [&](int64_t r) {
      const int64_t at = r * p.width, inside = p.width - 1, below = r + 1 < p.height ? p.width : 0;
      const float *u_rows = rough.u_rows + at, *u_cols = rough.u_cols + at;
      FlowEdge *rows = grid.edge[0] + at, *cols = grid.edge[1] + at;
      if (!a.wx && !a.wy) { // the same weights everywhere
        const double rough_row = rough.row_weight(0, 0), row = wanted.row_weight(0, 0), rough_col = rough.col_weight(0, 0),
                     col = wanted.col_weight(0, 0);
        for (int64_t j = 0; j < inside; ++j) rows[j] = edge(double(u_rows[j]), rough_row, row);
        for (int64_t j = 0; j < below; ++j) cols[j] = edge(double(u_cols[j]), rough_col, col);
        return;
      }
      for (int64_t j = 0; j < inside; ++j) rows[j] = edge(double(u_rows[j]), rough.row_weight(r, j), wanted.row_weight(r, j));
      for (int64_t j = 0; j < below; ++j) cols[j] = edge(double(u_cols[j]), rough.col_weight(r, j), wanted.col_weight(r, j));
    });
  }
  solver.release();
  pool_release(memory);
  if (o == SOLVED && !grid.finish(cancel)) o = CANCELLED;
  if (o == SOLVED) {
    for_chunks(n, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        a.y[i] = T(grid.value[grid.label[i]]);
        if (a.labels) a.labels[i] = grid.label[i];
        if (a.dual) {
          a.dual[i] = T(grid.edge[0][i].u);
          a.dual[n + i] = T(grid.edge[1][i].u);
        }
      }
    });
    grid.certify(a.report, a.report + 3);
    a.report[1] = relative_gap(a.report[0], a.report[3]);
  }
  grid.release();
  return o;
}

template <class T>
int prox2d_typed(const tg_tv2d &p, double tolerance, const T *x, const T *lambda_rows, const T *lambda_cols, const T *wx, const T *wy,
                 const T *init, T *y, T *dual, int32_t *labels, double *report, const int32_t *cancel) {
  const int64_t n = p.height * p.width;
  if (n == 0) return TG_OK;
  int outcome = SOLVED;
  parallel_for(p.batch, [&](int64_t b) {
    const Image2d<T> image{x + b * n,
                           lambda_rows[b],
                           lambda_cols[b],
                           wx ? wx + b * p.height * (p.width - 1) : nullptr,
                           wy ? wy + b * (p.height - 1) * p.width : nullptr,
                           init ? init + 2 * b * n : nullptr,
                           y + b * n,
                           dual ? dual + 2 * b * n : nullptr,
                           labels ? labels + b * n : nullptr,
                           report + b * TG_TV_REPORT};
    const bool exact = p.method == TG_TV2D_EXACT || (p.method == TG_TV2D_ACCELERATED && tolerance < EXACT_BELOW);
    const double start = p.method == TG_TV2D_EXACT && tolerance > 0 ? tolerance : START_GAP;
    const Outcome o = exact ? solve_exactly(p, start, image, cancel) : iterate(p, tolerance, image, cancel);
    if (o != SOLVED) __atomic_store_n(&outcome, int(o), __ATOMIC_RELAXED);
  });
  if (outcome == CANCELLED) return fail("cancelled");
  if (outcome == OUT_OF_MEMORY)
    return fail("prox2d: out of memory for images of %lld x %lld pixels", (long long)p.height, (long long)p.width);
  return TG_OK;
}

int prox2d(int64_t dtype, const tg_tv2d *p, double tolerance, const void *x, const void *lambda_rows, const void *lambda_cols,
           const void *wx, const void *wy, const void *init, void *y, void *dual, void *labels, void *report, const int32_t *cancel) {
  return with_real(dtype, "prox2d", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto in = [](const void *a) { return static_cast<const T *>(a); };
    return prox2d_typed(*p, tolerance, in(x), in(lambda_rows), in(lambda_cols), in(wx), in(wy), in(init), static_cast<T *>(y),
                        static_cast<T *>(dual), static_cast<int32_t *>(labels), static_cast<double *>(report), cancel);
  });
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
