// How a Fourier transform of n samples is cut into stages (Stockham's self-sorting form, Cochran et al. 1967): with s the product of the
// radices before it and m = n / (s r), a stage of radix r computes
//   y[q + s (r p + k)] = w^(p k s) sum_j x[q + s (p + m j)] w_r^(j k),   p < m, q < s, k < r,  w = exp(direction 2 pi i / n), w_r =
//   w^(n/r).
#pragma once

#include "host_device.h"

namespace tautgrad {
namespace {

enum { FOURIER_MAX_FACTORS = 64, FOURIER_MAX_RADIX = 13 };

struct FourierPlan {
  int64_t n;
  int count;
  int radix[FOURIER_MAX_FACTORS];
};

// Radix 4 first, then the primes in order.
inline FourierPlan fourier_plan(int64_t n) {
  FourierPlan p{n, 0, {}};
  while (n % 4 == 0) p.radix[p.count++] = 4, n /= 4;
  for (int r = 2; n > 1; ++r)
    while (n % r == 0) p.radix[p.count++] = r, n /= r;
  return p;
}

} // namespace
} // namespace tautgrad
