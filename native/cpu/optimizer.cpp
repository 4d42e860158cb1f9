// Optimiser steps, in place. Coefficients that depend on the step alone are worked out once in float64.
#include "dispatch.hpp"

#include <math.h>

namespace tautgrad::cpu::TG_ISA {
namespace {

// Adam (Kingma, Ba 2015, algorithm 1) and AdamW (Loshchilov, Hutter 2019, algorithm 2):
//   m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  p -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon)
template <class T>
void adam_step(int64_t n, T *param, const T *gradient, T *m, T *v, double lr, double beta1, double beta2, double epsilon, double decay,
               bool decoupled, int64_t step) {
  const double correction1 = 1 - pow(beta1, static_cast<double>(step)), correction2 = 1 - pow(beta2, static_cast<double>(step));
  const T rate = static_cast<T>(lr / correction1), root = static_cast<T>(1 / sqrt(correction2)), eps = static_cast<T>(epsilon);
  const T keep1 = static_cast<T>(beta1), take1 = static_cast<T>(1 - beta1), keep2 = static_cast<T>(beta2),
          take2 = static_cast<T>(1 - beta2);
  const T shrink = static_cast<T>(decoupled ? 1 - lr * decay : 1), penalty = static_cast<T>(decoupled ? 0 : decay);
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
    adam_step(n, static_cast<T *>(param), static_cast<const T *>(gradient), static_cast<T *>(m), static_cast<T *>(v), lr, beta1, beta2,
              epsilon, decay, decoupled != 0, step);
    return TG_OK;
  });
}

// Momentum SGD as in Sutskever, Martens, Dahl, Hinton (2013), in PyTorch's parametrisation:
//   u = momentum u + (1 - dampening) g (u = g at the first step);  p -= lr (nesterov ? g + momentum u : u)
int sgd(int64_t dtype, int64_t n, void *param_, const void *gradient_, void *velocity_, double lr, double momentum, double dampening,
        double decay, int64_t nesterov, int64_t first_step) {
  return with_real(dtype, "sgd", [&](auto tag) {
    using T = typename decltype(tag)::type;
    T *param = static_cast<T *>(param_), *velocity = static_cast<T *>(velocity_);
    const T *gradient = static_cast<const T *>(gradient_);
    const T rate = static_cast<T>(lr), penalty = static_cast<T>(decay), keep = static_cast<T>(momentum);
    const T take = static_cast<T>(first_step ? 1 : 1 - dampening), carried = static_cast<T>(first_step ? 0 : momentum);
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
    return TG_OK;
  });
}

} // namespace

void register_optimizer(tg_backend *t) {
  t->adam = adam;
  t->sgd = sgd;
}

} // namespace tautgrad::cpu::TG_ISA
