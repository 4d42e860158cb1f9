// The log-student-t function phi(x) = log(1 + nu x^2) / (2 nu) and its derivatives, on scalars and on vectors of lanes:
//   phi' = x r,  phi'' = (1 - nu x^2) r^2,  phi''' = -2 nu x (3 - nu x^2) r^3,   r = 1 / (1 + nu x^2)
#pragma once

#include "host_device.h"

namespace tautgrad {
namespace {

// Order 1, 2 or 3; phi itself needs a logarithm and is left to the backend.
template <int Order, class T, class V> TG_HD inline V log_student_derivative(T nu, V x) {
  const V square = nu * (x * x), r = T(1) / (square + T(1));
  if constexpr (Order == 1) return x * r;
  if constexpr (Order == 2) return (T(1) - square) * (r * r);
  return (T(-2) * nu) * x * ((T(3) - square) * (r * r * r));
}

} // namespace
} // namespace tautgrad
