// Isotropic total variation (Rudin, Osher & Fatemi 1992) on the GPU.
#include "dual_fista.cuh"

namespace tautgrad::cuda {
namespace {

int rof2d(int64_t dtype, const tg_tv2d *p, double tolerance, const void *x, const void *lambda, void *y, void *report, const int32_t *cancel) {
  return with_real(dtype, "rof2d", [&](auto tag) {
    using T = typename decltype(tag)::type;
    if (p->batch * p->height * p->width == 0) return static_cast<int>(TG_OK);
    DualFista<T, true> solver(tv_images<T>(*p, x, lambda, lambda, nullptr, nullptr));
    return solver.solve("rof2d", tolerance, p->max_iterations, nullptr, static_cast<T *>(y), static_cast<double *>(report), cancel);
  });
}

} // namespace

void register_rof(tg_backend *t) { t->rof2d = rof2d; }

} // namespace tautgrad::cuda
