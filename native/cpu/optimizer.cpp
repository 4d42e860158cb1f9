// Optimiser steps, in place. Coefficients that depend on the step alone are worked out once in float64.
#include "dispatch.hpp"

#include "../kernels/optimizer.h"

namespace tautgrad::cpu::TG_ISA {
namespace {

// Adam (Kingma, Ba 2015, algorithm 1) and AdamW (Loshchilov, Hutter 2019, algorithm 2):
//   m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  p -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon)
template <class T>
void adam_step(int64_t n, T *param, const T *gradient, T *m, T *v, const kernels::AdamRates &rates, double beta1, double beta2,
               double epsilon, double decay) {
  const T rate = static_cast<T>(rates.rate), root = static_cast<T>(rates.root), eps = static_cast<T>(epsilon);
  const T keep1 = static_cast<T>(beta1), take1 = static_cast<T>(1 - beta1), keep2 = static_cast<T>(beta2),
          take2 = static_cast<T>(1 - beta2);
  const T shrink = static_cast<T>(rates.shrink), penalty = static_cast<T>(decay);
  for_chunks(n, [=](int64_t begin, int64_t end) {
    constexpr int L = lanes<T>;
    auto update = [=](vec<T> p, vec<T> g, vec<T> &mi, vec<T> &vi) TG_LAMBDA {
      g = penalty == T(0) ? g : g + penalty * p;
      mi = keep1 * mi + take1 * g;
      vi = keep2 * vi + take2 * (g * g);
      vec<T> deviation = vi;
      for (int l = 0; l < L; ++l) deviation[l] = __builtin_sqrt(deviation[l]);
      return shrink * p - rate * mi / (deviation * root + eps);
    };
    int64_t i = begin;
    for (; i + L <= end; i += L) {
      vec<T> mi = load(m + i), vi = load(v + i);
      store(param + i, update(load(param + i), load(gradient + i), mi, vi));
      store(m + i, mi);
      store(v + i, vi);
    }
    if (const int64_t rest = end - i; rest > 0) {
      vec<T> mi = load_partial(m + i, rest), vi = load_partial(v + i, rest);
      store_partial(param + i, update(load_partial(param + i, rest), load_partial(gradient + i, rest), mi, vi), rest);
      store_partial(m + i, mi, rest);
      store_partial(v + i, vi, rest);
    }
  });
}

int adam(int64_t dtype, int64_t n, void *param, const void *gradient, void *m, void *v, double lr, double beta1, double beta2,
         double epsilon, double decay, int64_t decoupled, int64_t step) {
  return with_real(dtype, "adam", [&](auto tag) {
    using T = typename decltype(tag)::type;
    adam_step(n, static_cast<T *>(param), static_cast<const T *>(gradient), static_cast<T *>(m), static_cast<T *>(v),
              kernels::adam_rates(lr, beta1, beta2, decay, decoupled != 0, step), beta1, beta2, epsilon, decoupled ? 0 : decay);
    return TG_OK;
  });
}

int adam_rates(double lr, double beta1, double beta2, double decay, int64_t decoupled, int64_t step, void *rates) {
  *static_cast<kernels::AdamRates *>(rates) = kernels::adam_rates(lr, beta1, beta2, decay, decoupled != 0, step);
  return TG_OK;
}

int adam_at(int64_t dtype, int64_t n, void *param, const void *gradient, void *m, void *v, const void *rates, double beta1, double beta2,
            double epsilon, double penalty) {
  return with_real(dtype, "adam_at", [&](auto tag) {
    using T = typename decltype(tag)::type;
    adam_step(n, static_cast<T *>(param), static_cast<const T *>(gradient), static_cast<T *>(m), static_cast<T *>(v),
              *static_cast<const kernels::AdamRates *>(rates), beta1, beta2, epsilon, penalty);
    return TG_OK;
  });
}

// Momentum SGD as in Sutskever, Martens, Dahl, Hinton (2013), in PyTorch's parametrisation:
//   u = momentum u + (1 - dampening) g (u = g at the first step);  p -= lr (nesterov ? g + momentum u : u)
template <class T>
void sgd_step(int64_t n, T *param, const T *gradient, T *velocity, double lr, double momentum, double taken, double kept, double decay,
              bool nesterov) {
  const T rate = static_cast<T>(lr), penalty = static_cast<T>(decay), keep = static_cast<T>(momentum), take = static_cast<T>(taken),
          carried = static_cast<T>(kept);
  for_chunks(n, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      T g = penalty == T(0) ? gradient[i] : gradient[i] + penalty * param[i];
      if (velocity) {
        const T u = carried == T(0) ? take * g : carried * velocity[i] + take * g;
        velocity[i] = u;
        g = nesterov ? g + keep * u : u;
      }
      param[i] -= rate * g;
    }
  });
}

int sgd(int64_t dtype, int64_t n, void *param, const void *gradient, void *velocity, double lr, double momentum, double dampening,
        double decay, int64_t nesterov, int64_t first_step) {
  return with_real(dtype, "sgd", [&](auto tag) {
    using T = typename decltype(tag)::type;
    sgd_step(n, static_cast<T *>(param), static_cast<const T *>(gradient), static_cast<T *>(velocity), lr, momentum,
             first_step ? 1 : 1 - dampening, first_step ? 0 : momentum, decay, nesterov != 0);
    return TG_OK;
  });
}

int sgd_at(int64_t dtype, int64_t n, void *param, const void *gradient, void *velocity, const void *rates, double momentum, double decay,
           int64_t nesterov) {
  return with_real(dtype, "sgd_at", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const double *r = static_cast<const double *>(rates);
    sgd_step(n, static_cast<T *>(param), static_cast<const T *>(gradient), static_cast<T *>(velocity), r[0], momentum, r[1], r[2], decay,
             nesterov != 0);
    return TG_OK;
  });
}

} // namespace

void register_optimizer(tg_backend *t) {
  t->adam = adam;
  t->sgd = sgd;
  t->adam_rates = adam_rates;
  t->adam_at = adam_at;
  t->sgd_at = sgd_at;
}

} // namespace tautgrad::cpu::TG_ISA
