// Anisotropic total variation of volumes on the GPU, certified by its duality gap (dykstra.cu).
#include "dykstra.h"
#include "launch.h"

namespace tautgrad::cuda {
namespace {

int prox3d(int64_t dtype, const tg_tv3d *p, double tolerance, const void *x, const void *l0, const void *l1, const void *l2, const void *w0,
           const void *w1, const void *w2, void *y, void *labels, void *report, const int32_t *cancel) {
  return with_real(dtype, "prox3d", [&](auto tag) {
    using T = typename decltype(tag)::type;
    if (p->batch * p->depth * p->height * p->width == 0) return static_cast<int>(TG_OK);
    const auto in = [](const void *a) { return static_cast<const T *>(a); };
    const SweepProblem<T> problem = {
        p->batch, {p->depth, p->height, p->width}, 3, {0, 1, 2}, in(x), {in(l0), in(l1), in(l2)}, {in(w0), in(w1), in(w2)}};
    return dykstra<T>("prox3d", problem, p->method == TG_TV2D_DYKSTRA ? TvWay::plain : TvWay::sweeps, tolerance, p->max_iterations, nullptr,
                      static_cast<T *>(y), nullptr, static_cast<int32_t *>(labels), static_cast<double *>(report), cancel);
  });
}

} // namespace

void register_prox3d(tg_backend *t) { t->prox3d = prox3d; }

} // namespace tautgrad::cuda
