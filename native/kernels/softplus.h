// The derivatives of softplus(x) = log(1 + e^x), on scalars and on vectors of lanes, from e = exp(-|x|), which never overflows:
//   s = 1 / (1 + e^-x),  s' = e / (1 + e)^2,  s'' = s' (1 - 2 s)
#pragma once

#include "host_device.h"

namespace tautgrad {
namespace {

// Order 1, 2 or 3 at |x|; the caller brings in the sign of x: 1 - s instead of s for order 1, -s'' instead of s'' for order 3.
template <int Order, class T, class V> TG_HD inline V softplus_derivative_of_size(V e) {
  const V r = T(1) / (e + T(1));
  if constexpr (Order == 1) return r;
  if constexpr (Order == 2) return e * (r * r);
  return e * (r * r) * ((e - T(1)) * r);
}

} // namespace
} // namespace tautgrad
