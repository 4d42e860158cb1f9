// y = softplus^(order)(x) a b (native/kernels/softplus.h).
#include "launch.h"

#include "../kernels/scalar_math.h"
#include "../kernels/softplus.h"

namespace tautgrad::cuda {
namespace {

template <int Order, class T> __global__ void softplus_kernel(int64_t n, const T *x, const T *a, const T *b, T *y) {
  for (int64_t i = global_thread(); i < n; i += all_threads()) {
    const T e = exp_of(x[i] < 0 ? x[i] : -x[i]);
    T v = softplus_derivative_of_size<Order, T>(e);
    if (Order == 1 && x[i] < 0) v *= e;
    if (Order == 3 && x[i] < 0) v = -v;
    if (a) v *= a[i];
    if (b) v *= b[i];
    y[i] = v;
  }
}

int softplus_derivative(int64_t dtype, int64_t order, int64_t n, const void *x, const void *a, const void *b, void *y) {
  return with_real(dtype, "softplus_derivative", [&](auto tag) {
    using T = typename decltype(tag)::type;
    void (*const kernels[])(int64_t, const T *, const T *, const T *, T *) = {softplus_kernel<1, T>, softplus_kernel<2, T>,
                                                                              softplus_kernel<3, T>};
    if (order < 1 || order > 3) return fail("softplus_derivative: unknown order %d", static_cast<int>(order));
    return run_kernel("softplus_derivative", kernels[order - 1], blocks_for(n), THREADS, 0, n, static_cast<const T *>(x),
                      static_cast<const T *>(a), static_cast<const T *>(b), static_cast<T *>(y));
  });
}

} // namespace

void register_softplus(tg_backend *t) { t->softplus_derivative = softplus_derivative; }

} // namespace tautgrad::cuda
