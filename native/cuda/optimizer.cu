// Optimiser steps, in place. Coefficients that depend on the step alone are worked out once in float64.
#include "launch.h"

#include "../kernels/scalar_math.h"

namespace tautgrad::cuda {
namespace {

// Adam (Kingma, Ba 2015, algorithm 1) and AdamW (Loshchilov, Hutter 2019, algorithm 2), as in native/cpu/optimizer.cpp.
template <class T> struct AdamStep { T rate, root, epsilon, keep1, take1, keep2, take2, shrink, penalty; };

template <class T> __global__ void adam_kernel(int64_t n, T *param, const T *gradient, T *m, T *v, AdamStep<T> s) {
  for (int64_t i = global_thread(); i < n; i += all_threads()) {
    const T p = param[i], g = s.penalty == T(0) ? gradient[i] : gradient[i] + s.penalty * p;
    const T mi = s.keep1 * m[i] + s.take1 * g, vi = s.keep2 * v[i] + s.take2 * (g * g);
    m[i] = mi;
    v[i] = vi;
    param[i] = s.shrink * p - s.rate * mi / (sqrt_of(vi) * s.root + s.epsilon);
  }
}

int adam(int64_t dtype, int64_t n, void *param, const void *gradient, void *m, void *v, double lr, double beta1, double beta2,
         double epsilon, double decay, int64_t decoupled, int64_t step) {
  return with_real(dtype, "adam", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const double correction1 = 1 - pow(beta1, static_cast<double>(step)), correction2 = 1 - pow(beta2, static_cast<double>(step));
    const AdamStep<T> s = {static_cast<T>(lr / correction1),
                           static_cast<T>(1 / sqrt(correction2)),
                           static_cast<T>(epsilon),
                           static_cast<T>(beta1),
                           static_cast<T>(1 - beta1),
                           static_cast<T>(beta2),
                           static_cast<T>(1 - beta2),
                           static_cast<T>(decoupled ? 1 - lr * decay : 1),
                           static_cast<T>(decoupled ? 0 : decay)};
    return run_kernel("adam", adam_kernel<T>, blocks_for(n), THREADS, 0, n, static_cast<T *>(param), static_cast<const T *>(gradient),
                      static_cast<T *>(m), static_cast<T *>(v), s);
  });
}

// Momentum SGD, as in native/cpu/optimizer.cpp.
template <class T> struct SgdStep {
  T rate, penalty, keep, take, carried;
  bool nesterov;
};

template <class T> __global__ void sgd_kernel(int64_t n, T *param, const T *gradient, T *velocity, SgdStep<T> s) {
  for (int64_t i = global_thread(); i < n; i += all_threads()) {
    T g = s.penalty == T(0) ? gradient[i] : gradient[i] + s.penalty * param[i];
    if (velocity) {
      const T u = s.carried == T(0) ? s.take * g : s.carried * velocity[i] + s.take * g;
      velocity[i] = u;
      g = s.nesterov ? g + s.keep * u : u;
    }
    param[i] -= s.rate * g;
  }
}

int sgd(int64_t dtype, int64_t n, void *param, const void *gradient, void *velocity, double lr, double momentum, double dampening,
        double decay, int64_t nesterov, int64_t first_step) {
  return with_real(dtype, "sgd", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const SgdStep<T> s = {static_cast<T>(lr),
                          static_cast<T>(decay),
                          static_cast<T>(momentum),
                          static_cast<T>(first_step ? 1 : 1 - dampening),
                          static_cast<T>(first_step ? 0 : momentum),
                          nesterov != 0};
    return run_kernel("sgd", sgd_kernel<T>, blocks_for(n), THREADS, 0, n, static_cast<T *>(param), static_cast<const T *>(gradient),
                      static_cast<T *>(velocity), s);
  });
}

} // namespace

void register_optimizer(tg_backend *t) {
  t->adam = adam;
  t->sgd = sgd;
}

} // namespace tautgrad::cuda
