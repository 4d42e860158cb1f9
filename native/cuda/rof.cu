// Isotropic total variation (Rudin, Osher & Fatemi 1992) on the GPU: plain images here, volumes and coupled channels in
// rof_volume.cu.
#include "dual_fista.cuh"
#include "rof_volume.h"

namespace tautgrad::cuda {
namespace {

int rof(int64_t dtype, const tg_rof *p, double tolerance, const void *x, const void *lambda, const void *init, void *y, void *dual,
        void *report, const int32_t *cancel) {
  return with_real(dtype, "rof", [&](auto tag) {
    using T = typename decltype(tag)::type;
    if (p->batch * p->channels * p->depth * p->height * p->width == 0) return static_cast<int>(TG_OK);
    if (p->dims != 2 || p->channels != 1)
      return rof_volume<T>(*p, tolerance, static_cast<const T *>(x), static_cast<const T *>(lambda), static_cast<const T *>(init),
                           static_cast<T *>(y), static_cast<T *>(dual), static_cast<double *>(report), cancel);
    const tg_tv2d images = {p->batch, p->height, p->width, 0, p->max_iterations};
    const int64_t values = 2 * p->batch * p->height * p->width;
    DualFista<T, true> solver(tv_images<T>(images, x, lambda, lambda, nullptr, nullptr));
    const int status = solver.solve("rof", tolerance, p->max_iterations, static_cast<const T *>(init), static_cast<T *>(y),
                                    static_cast<double *>(report), cancel);
    if (status != TG_OK || !dual) return status;
    return copy(dual, solver.duals(), values * static_cast<int64_t>(sizeof(T)));
  });
}

} // namespace

void register_rof(tg_backend *t) { t->rof = rof; }

} // namespace tautgrad::cuda
