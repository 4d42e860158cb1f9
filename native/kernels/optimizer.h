// What an optimiser's step does to one value, or to a vector of them (V: the scalar type T, or the CPU's vectors of it).
#pragma once

#include "host_device.h"

namespace tautgrad::kernels {
namespace {

// Adam (Kingma, Ba 2015, algorithm 1) and AdamW (Loshchilov, Hutter 2019, algorithm 2):
//   m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  p -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon)
template <class T> struct AdamStep {
  T rate, root, shrink, penalty, factor, epsilon, keep1, take1, keep2, take2;
  // rates: {lr / (1 - b1^t), 1 / sqrt(1 - b2^t), 1 - lr decay (AdamW) or 1, decay (Adam) or 0}
  TG_HD AdamStep(const double *rates, double factor_, double beta1, double beta2, double epsilon_)
      : rate(static_cast<T>(rates[0])), root(static_cast<T>(rates[1])), shrink(static_cast<T>(rates[2])), penalty(static_cast<T>(rates[3])),
        factor(static_cast<T>(factor_)), epsilon(static_cast<T>(epsilon_)), keep1(static_cast<T>(beta1)), take1(static_cast<T>(1 - beta1)),
        keep2(static_cast<T>(beta2)), take2(static_cast<T>(1 - beta2)) {}

  // Returns the parameter; root_of: the square root of a V.
  template <class V, class Root> TG_HD inline V operator()(V p, V g, V &m, V &v, const Root &root_of) const {
    g = factor * g;
    g = penalty == T(0) ? g : g + penalty * p;
    m = keep1 * m + take1 * g;
    v = keep2 * v + take2 * (g * g);
    return shrink * p - rate * m / (root_of(v) * root + epsilon);
  }
};

// Momentum SGD as in Sutskever, Martens, Dahl, Hinton (2013), in PyTorch's parametrisation:
//   u = momentum u + (1 - dampening) g (u = g at the first step);  p -= lr (nesterov ? g + momentum u : u)
template <class T> struct SgdStep {
  T rate, take, carried, penalty, factor, momentum;
  bool nesterov;
  // rates: {lr, 1 - dampening or 1, momentum or 0, decay}
  TG_HD SgdStep(const double *rates, double factor_, double momentum_, bool nesterov_)
      : rate(static_cast<T>(rates[0])), take(static_cast<T>(rates[1])), carried(static_cast<T>(rates[2])),
        penalty(static_cast<T>(rates[3])), factor(static_cast<T>(factor_)), momentum(static_cast<T>(momentum_)), nesterov(nesterov_) {}

  TG_HD inline T plain(T p, T g) const { return p - rate * decayed(p, g); }
  TG_HD inline T with_velocity(T p, T g, T &u) const {
    g = decayed(p, g);
    u = carried == T(0) ? take * g : carried * u + take * g; // the first step's velocity may hold anything
    return p - rate * (nesterov ? g + momentum * u : u);
  }

private:
  TG_HD inline T decayed(T p, T g) const {
    g = factor * g;
    return penalty == T(0) ? g : g + penalty * p;
  }
};

// min(1, limit / norm); 1 for a norm that is no number.
TG_HD inline double clipping_factor(double norm, double limit) { return norm > limit ? limit / norm : 1; }

} // namespace
} // namespace tautgrad::kernels
