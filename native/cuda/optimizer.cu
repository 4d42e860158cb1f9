// Optimiser steps, in place. Coefficients that depend on the step alone are worked out once in float64.
#include "launch.h"

#include "../kernels/optimizer.h"
#include "../kernels/scalar_math.h"

namespace tautgrad::cuda {
namespace {

// Adam (Kingma, Ba 2015, algorithm 1) and AdamW (Loshchilov, Hutter 2019, algorithm 2), as in native/cpu/optimizer.cpp.
template <class T> struct AdamStep { T rate, root, epsilon, keep1, take1, keep2, take2, shrink, penalty; };

// rates: NULL, or kernels::AdamRates in memory of the device.
template <class T> __global__ void adam_kernel(int64_t n, T *param, const T *gradient, T *m, T *v, AdamStep<T> s, const double *rates) {
  if (rates) {
    s.rate = static_cast<T>(rates[0]);
    s.root = static_cast<T>(rates[1]);
    s.shrink = static_cast<T>(rates[2]);
  }
  for (int64_t i = global_thread(); i < n; i += all_threads()) {
    const T p = param[i], g = s.penalty == T(0) ? gradient[i] : gradient[i] + s.penalty * p;
    const T mi = s.keep1 * m[i] + s.take1 * g, vi = s.keep2 * v[i] + s.take2 * (g * g);
    m[i] = mi;
    v[i] = vi;
    param[i] = s.shrink * p - s.rate * mi / (sqrt_of(vi) * s.root + s.epsilon);
  }
}

int adam_with(int64_t dtype, int64_t n, void *param, const void *gradient, void *m, void *v, const kernels::AdamRates &host,
              const void *device, double beta1, double beta2, double epsilon, double penalty) {
  return with_real(dtype, "adam", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const AdamStep<T> s = {static_cast<T>(host.rate), static_cast<T>(host.root),   static_cast<T>(epsilon),
                           static_cast<T>(beta1),     static_cast<T>(1 - beta1),   static_cast<T>(beta2),
                           static_cast<T>(1 - beta2), static_cast<T>(host.shrink), static_cast<T>(penalty)};
    return run_kernel("adam", adam_kernel<T>, blocks_for(n), THREADS, 0, n, static_cast<T *>(param), static_cast<const T *>(gradient),
                      static_cast<T *>(m), static_cast<T *>(v), s, static_cast<const double *>(device));
  });
}

int adam(int64_t dtype, int64_t n, void *param, const void *gradient, void *m, void *v, double lr, double beta1, double beta2,
         double epsilon, double decay, int64_t decoupled, int64_t step) {
  return adam_with(dtype, n, param, gradient, m, v, kernels::adam_rates(lr, beta1, beta2, decay, decoupled != 0, step), nullptr, beta1,
                   beta2, epsilon, decoupled ? 0 : decay);
}

int adam_at(int64_t dtype, int64_t n, void *param, const void *gradient, void *m, void *v, const void *rates, double beta1, double beta2,
            double epsilon, double penalty) {
  return adam_with(dtype, n, param, gradient, m, v, {}, rates, beta1, beta2, epsilon, penalty);
}

// Momentum SGD, as in native/cpu/optimizer.cpp.
template <class T> struct SgdStep {
  T rate, penalty, keep, take, carried;
  bool nesterov;
};

// rates: NULL, or {rate, take, carried} in memory of the device.
template <class T> __global__ void sgd_kernel(int64_t n, T *param, const T *gradient, T *velocity, SgdStep<T> s, const double *rates) {
  if (rates) {
    s.rate = static_cast<T>(rates[0]);
    s.take = static_cast<T>(rates[1]);
    s.carried = static_cast<T>(rates[2]);
  }
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

int sgd_with(int64_t dtype, int64_t n, void *param, const void *gradient, void *velocity, double lr, double take, double carried,
             const void *device, double momentum, double decay, bool nesterov) {
  return with_real(dtype, "sgd", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const SgdStep<T> s = {static_cast<T>(lr),   static_cast<T>(decay),   static_cast<T>(momentum),
                          static_cast<T>(take), static_cast<T>(carried), nesterov};
    return run_kernel("sgd", sgd_kernel<T>, blocks_for(n), THREADS, 0, n, static_cast<T *>(param), static_cast<const T *>(gradient),
                      static_cast<T *>(velocity), s, static_cast<const double *>(device));
  });
}

int sgd(int64_t dtype, int64_t n, void *param, const void *gradient, void *velocity, double lr, double momentum, double dampening,
        double decay, int64_t nesterov, int64_t first_step) {
  return sgd_with(dtype, n, param, gradient, velocity, lr, first_step ? 1 : 1 - dampening, first_step ? 0 : momentum, nullptr, momentum,
                  decay, nesterov != 0);
}

int sgd_at(int64_t dtype, int64_t n, void *param, const void *gradient, void *velocity, const void *rates, double momentum, double decay,
           int64_t nesterov) {
  return sgd_with(dtype, n, param, gradient, velocity, 0, 0, 0, rates, momentum, decay, nesterov != 0);
}

} // namespace

void register_optimizer(tg_backend *t) {
  t->adam = adam;
  t->sgd = sgd;
  t->adam_at = adam_at;
  t->sgd_at = sgd_at;
}

} // namespace tautgrad::cuda
