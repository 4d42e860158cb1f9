// Tridiagonal systems with LAPACK's meanings (?pttrf, ?pttrs, ?gtsv), one system at a time, any stride.
#pragma once

#include "host_device.h"

namespace tautgrad {
namespace {

// A = L D L^T of the symmetric positive definite matrix with diagonal d and off-diagonal e; l: unit lower off-diagonal.
// Returns 0, or the 1-based index of the first pivot that is not positive; what follows it is then left as it came in.
template <class T> TG_HD inline int32_t pttrf(int64_t n, const T *d, const T *e, T *d_out, T *l_out, int64_t stride) {
  int32_t status = 0;
  T pivot = n > 0 ? d[0] : T(1);
  for (int64_t k = 0; k < n; ++k) {
    d_out[k * stride] = pivot;
    if (status == 0 && !(pivot > 0)) status = int32_t(k + 1);
    if (k + 1 == n) break;
    const T off = e[k * stride], next = d[(k + 1) * stride];
    const T l = status ? off : off / pivot;
    l_out[k * stride] = l;
    pivot = status ? next : next - l * off;
  }
  return status;
}

// Solves L D L^T x = b with the factors of pttrf; x may be b.
template <class T> TG_HD inline void pttrs(int64_t n, const T *d, const T *l, const T *b, T *x, int64_t stride) {
  if (n == 0) return;
  T carry = b[0];
  x[0] = carry;
  for (int64_t k = 1; k < n; ++k) x[k * stride] = carry = b[k * stride] - carry * l[(k - 1) * stride];
  carry = x[(n - 1) * stride] / d[(n - 1) * stride];
  x[(n - 1) * stride] = carry;
  for (int64_t k = n - 2; k >= 0; --k) x[k * stride] = carry = x[k * stride] / d[k * stride] - carry * l[k * stride];
}

// Factors and solves in one go; x is NaN when a pivot is not positive. pivots, l: n each, stride 1.
template <class T> TG_HD inline int32_t ptsv(int64_t n, const T *d, const T *e, const T *b, T *x, int64_t stride, T *pivots, T *l) {
  if (n == 0) return 0;
  T pivot = d[0], carry = b[0];
  int32_t status = pivot > 0 ? 0 : 1;
  pivots[0] = pivot;
  x[0] = carry;
  for (int64_t k = 1; k < n && status == 0; ++k) {
    const T off = e[(k - 1) * stride], factor = off / pivot;
    l[k - 1] = factor;
    pivots[k] = pivot = d[k * stride] - factor * off;
    if (!(pivot > 0)) status = int32_t(k + 1);
    x[k * stride] = carry = b[k * stride] - carry * factor;
  }
  if (status) {
    for (int64_t k = 0; k < n; ++k) x[k * stride] = T(__builtin_nan(""));
    return status;
  }
  x[(n - 1) * stride] = carry = carry / pivot;
  for (int64_t k = n - 2; k >= 0; --k) x[k * stride] = carry = x[k * stride] / pivots[k] - carry * l[k];
  return 0;
}

// General system by Gaussian elimination with partial pivoting. The elimination keeps one row in registers; u0, u1, u2 (n each, stride 1)
// take the three diagonals of U. Returns 0, or the 1-based index of the first pivot that is exactly zero (x is then NaN).
template <class T>
TG_HD inline int32_t gtsv(int64_t n, const T *dl, const T *d, const T *du, const T *b, T *x, int64_t stride, T *u0, T *u1, T *u2) {
  if (n == 0) return 0;
  int32_t status = 0;
  T diagonal = d[0], super = n > 1 ? du[0] : T(0), rhs = b[0];
  for (int64_t k = 0; k + 1 < n; ++k) {
    const T below = dl[k * stride], below_d = d[(k + 1) * stride], below_u = k + 2 < n ? du[(k + 1) * stride] : T(0);
    const T below_b = b[(k + 1) * stride];
    const T a = diagonal < 0 ? -diagonal : diagonal, c = below < 0 ? -below : below;
    if (!(a < c)) { // no interchange, also for NaN
      if (diagonal == 0 && status == 0) status = int32_t(k + 1);
      const T factor = diagonal == 0 ? T(0) : below / diagonal;
      u0[k] = diagonal, u1[k] = super, u2[k] = 0;
      x[k * stride] = rhs;
      diagonal = below_d - factor * super;
      super = below_u;
      rhs = below_b - factor * rhs;
    } else {
      const T factor = diagonal / below;
      u0[k] = below, u1[k] = below_d, u2[k] = below_u;
      x[k * stride] = below_b;
      diagonal = super - factor * below_d;
      super = -factor * below_u;
      rhs = rhs - factor * below_b;
    }
  }
  u0[n - 1] = diagonal;
  if (diagonal == 0 && status == 0) status = int32_t(n);
  if (status) {
    const T nothing = T(__builtin_nan(""));
    for (int64_t k = 0; k < n; ++k) x[k * stride] = nothing;
    return status;
  }
  T after = rhs / diagonal, after2 = 0;
  x[(n - 1) * stride] = after;
  for (int64_t k = n - 2; k >= 0; --k) {
    const T value = (x[k * stride] - u1[k] * after - u2[k] * after2) / u0[k];
    x[k * stride] = value;
    after2 = after;
    after = value;
  }
  return 0;
}

} // namespace
} // namespace tautgrad
