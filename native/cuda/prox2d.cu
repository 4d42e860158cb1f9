// Anisotropic 2D total variation on the GPU: to a certified gap by FISTA on the edge duals or by accelerated Dykstra, or a number of plain
// Dykstra sweeps. Exact solutions are left to the CPU.
#include "components.cuh"
#include "dual_fista.cuh"
#include "dykstra.h"

#include <cstdlib>
#include <cstring>

namespace tautgrad::cuda {
namespace {

// ---- components of a solution ----

template <class T> __global__ void join_kernel(TvImages<T> p, const ImageState *states, const T *u_all, const T *y_all, int32_t *label) {
  const int64_t n = p.pixels();
  for (int64_t k = global_thread(); k < p.batch * n; k += all_threads()) {
    const int64_t b = k / n, i = k % n, r = i / p.w, c = i % p.w;
    const T *u = u_all + 2 * b * n, *y = y_all + b * n;
    int32_t *own = label + b * n;
    if (c + 1 < p.w && edge_is_inside(double(u[i]), double(T(row_bound(p, states[b], b, r, c))), double(y[i + 1]) - double(y[i])))
      unite(own, static_cast<int32_t>(i), static_cast<int32_t>(i + 1));
    if (r + 1 < p.h && edge_is_inside(double(u[n + i]), double(T(col_bound(p, states[b], b, r, c))), double(y[i + p.w]) - double(y[i])))
      unite(own, static_cast<int32_t>(i), static_cast<int32_t>(i + p.w));
  }
}

template <class T> int components(const TvImages<T> &p, const ImageState *states, const T *u, const T *y, int32_t *label) {
  const int64_t n = p.pixels(), total = p.batch * n;
  const dim3 grid = blocks_for(total);
  if (run_kernel("prox2d", singletons_kernel, grid, THREADS, 0, total, n, label) != TG_OK) return TG_FAILED;
  if (run_kernel("prox2d", join_kernel<T>, grid, THREADS, 0, p, states, u, y, label) != TG_OK) return TG_FAILED;
  return run_kernel("prox2d", flatten_kernel, grid, THREADS, 0, total, n, label);
}

// ---- the choice of a method ----

enum class Method { fista, dykstra };

// A cycle of Dykstra costs some tens of iterations of FISTA, and some tens of cycles replace hundreds of iterations. But its line solver
// has a thread per line only: with less lines than the device holds threads, a cycle lasts as long as one thread takes for a row and a
// column, while an iteration of FISTA, a thread per pixel, lasts a launch. So one image goes to FISTA and a batch to Dykstra. Predicted,
// not measured (bench/gpu-notes.md): TAUTGRAD_CUDA_TV2D=fista or dykstra takes the choice, for measurements.
Method choose(const tg_tv2d &p) {
  if (const char *wish = std::getenv("TAUTGRAD_CUDA_TV2D")) {
    if (!std::strcmp(wish, "fista")) return Method::fista;
    if (!std::strcmp(wish, "dykstra")) return Method::dykstra;
  }
  const int64_t shorter = p.height < p.width ? p.height : p.width, filled = int64_t(multiprocessors()) * 128;
  return p.batch * shorter >= filled ? Method::dykstra : Method::fista;
}

template <class T>
int prox2d_typed(const tg_tv2d &p, double tolerance, const TvImages<T> &images, const T *init, T *y, T *dual, int32_t *labels,
                 double *report, const int32_t *cancel) {
  if (p.method != TG_TV2D_ACCELERATED && p.method != TG_TV2D_DYKSTRA) return TG_UNSUPPORTED; // exact solutions are finished on the CPU
  const bool accelerated = p.method == TG_TV2D_ACCELERATED;
  if (!accelerated || choose(p) == Method::dykstra) {
    // Rows first, then columns.
    const SweepProblem<T> problem = {p.batch,
                                     {1, p.height, p.width},
                                     2,
                                     {2, 1, 0},
                                     images.x,
                                     {images.lambda_rows, images.lambda_cols, nullptr},
                                     {images.wx, images.wy, nullptr}};
    return dykstra<T>("prox2d", problem, accelerated, tolerance, p.max_iterations, init, y, dual, labels, report, cancel);
  }
  DualFista<T, false> solver(images);
  if (solver.solve("prox2d", tolerance, p.max_iterations, init, y, report, cancel) != TG_OK) return TG_FAILED;
  if (labels && components(images, solver.states(), solver.duals(), y, labels) != TG_OK) return TG_FAILED;
  return dual ? copy(dual, solver.duals(), 2 * p.batch * images.pixels() * int64_t(sizeof(T))) : int(TG_OK);
}

int prox2d(int64_t dtype, const tg_tv2d *p, double tolerance, const void *x, const void *lambda_rows, const void *lambda_cols,
           const void *wx, const void *wy, const void *init, void *y, void *dual, void *labels, void *report, const int32_t *cancel) {
  return with_real(dtype, "prox2d", [&](auto tag) {
    using T = typename decltype(tag)::type;
    if (p->batch * p->height * p->width == 0) return static_cast<int>(TG_OK);
    return prox2d_typed<T>(*p, tolerance, tv_images<T>(*p, x, lambda_rows, lambda_cols, wx, wy), static_cast<const T *>(init),
                           static_cast<T *>(y), static_cast<T *>(dual), static_cast<int32_t *>(labels), static_cast<double *>(report),
                           cancel);
  });
}

} // namespace

void register_prox2d(tg_backend *t) { t->prox2d = prox2d; }

} // namespace tautgrad::cuda
