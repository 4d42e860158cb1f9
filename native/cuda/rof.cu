// Isotropic total variation (Rudin, Osher & Fatemi 1992) on the GPU: images of one channel. Volumes and coupled channels are left to the
// CPU.
#include "dual_fista.cuh"

namespace tautgrad::cuda {
namespace {

int rof(int64_t dtype, const tg_rof *p, double tolerance, const void *x, const void *lambda, const void *init, void *y, void *dual,
        void *report, const int32_t *cancel) {
  if (p->dims != 2 || p->channels != 1) return TG_UNSUPPORTED;
  return with_real(dtype, "rof", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const tg_tv2d images = {p->batch, p->height, p->width, 0, p->max_iterations};
    const int64_t values = 2 * p->batch * p->height * p->width;
    if (values == 0) return static_cast<int>(TG_OK);
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
