// One element's worth of the elementwise operations (tg_unary_op, tg_binary_op, casts), with the meanings that backend.h gives them. The
// CPU's vectors (native/cpu/elementwise.cpp, vector_math.hpp) follow the same rules.
#pragma once

#include "host_device.h"

#include <math.h>
#include <stdint.h>

namespace tautgrad {
namespace {

template <class T> struct is_real_type { static constexpr bool value = false; };
template <> struct is_real_type<float> { static constexpr bool value = true; };
template <> struct is_real_type<double> { static constexpr bool value = true; };

// Overloads, so that templates call the function of their type.
TG_HD inline float exp_of(float v) { return expf(v); }
TG_HD inline double exp_of(double v) { return exp(v); }
TG_HD inline float log_of(float v) { return logf(v); }
TG_HD inline double log_of(double v) { return log(v); }
TG_HD inline float log1p_of(float v) { return log1pf(v); }
TG_HD inline double log1p_of(double v) { return log1p(v); }
TG_HD inline float expm1_of(float v) { return expm1f(v); }
TG_HD inline double expm1_of(double v) { return expm1(v); }
TG_HD inline float sqrt_of(float v) { return sqrtf(v); }
TG_HD inline double sqrt_of(double v) { return sqrt(v); }
TG_HD inline float tanh_of(float v) { return tanhf(v); }
TG_HD inline double tanh_of(double v) { return tanh(v); }
TG_HD inline float sin_of(float v) { return sinf(v); }
TG_HD inline double sin_of(double v) { return sin(v); }
TG_HD inline float cos_of(float v) { return cosf(v); }
TG_HD inline double cos_of(double v) { return cos(v); }
TG_HD inline float floor_of(float v) { return floorf(v); }
TG_HD inline double floor_of(double v) { return floor(v); }
TG_HD inline float round_of(float v) { return rintf(v); } // ties to even
TG_HD inline double round_of(double v) { return rint(v); }
TG_HD inline float round_to_bfloat16(float v) { // ties to even
  union {
    float value;
    uint32_t bits;
  } u = {v};
  u.bits = (u.bits + 0x7fffu + (u.bits >> 16 & 1u)) & 0xffff0000u;
  return v == v ? u.value : v;
}
TG_HD inline float pow_of(float a, float b) { return powf(a, b); }
TG_HD inline double pow_of(double a, double b) { return pow(a, b); }

template <class T> TG_HD inline T sigmoid_of(T v) {
  // The exponential of a non-positive number never overflows.
  const T e = exp_of(v < 0 ? v : -v);
  return v < 0 ? e / (T(1) + e) : T(1) / (T(1) + e);
}
template <class T> TG_HD inline T softplus_of(T v) { return (v > 0 ? v : v != v ? v : T(0)) + log1p_of(exp_of(v < 0 ? v : -v)); }

template <class T> TG_HD inline T sign_of_value(T v) {
  if (v != v) return v; // sign(NaN) = NaN
  return v > 0 ? T(1) : v < 0 ? T(-1) : T(0);
}
template <class T> TG_HD inline T min_or_nan(T a, T b) { return (a < b) | (a != a) ? a : b; }
template <class T> TG_HD inline T max_or_nan(T a, T b) { return (a > b) | (a != a) ? a : b; }

// Integer division truncates; the two cases that trap on hardware get values: x / 0 = 0, and x / -1 = -x wraps.
template <class T> TG_HD inline T divide_values(T a, T b) {
  if constexpr (is_real_type<T>::value)
    return a / b;
  else if constexpr (sizeof(T) == 1)
    return b == 0 ? T(0) : T(a / b);
  else
    return b == 0 ? T(0) : b == T(-1) ? T(0u - static_cast<uint32_t>(a)) : T(a / b);
}

// Integers by squaring, wrapping around; a negative exponent of anything but 1 and -1 truncates to 0.
template <class T> TG_HD inline T power_of(T a, T b) {
  if constexpr (is_real_type<T>::value) {
    return pow_of(a, b);
  } else {
    uint32_t base = static_cast<uint32_t>(a), result = 1;
    int64_t exponent = b;
    if (exponent < 0) {
      if (base != 1 && base != ~0u) base = 0;
      exponent = base == 0 ? 1 : -exponent;
    }
    for (; exponent; exponent >>= 1, base *= base)
      if (exponent & 1) result *= base;
    return static_cast<T>(result);
  }
}

// A float becomes an integer towards zero, saturating, NaN -> 0.
template <class To, class From> TG_HD inline To convert_value(From v) {
  if constexpr (is_real_type<From>::value && !is_real_type<To>::value) {
    constexpr double low = sizeof(To) == 1 ? 0.0 : -2147483648.0, high = sizeof(To) == 1 ? 255.0 : 2147483647.0;
    const double d = static_cast<double>(v), inside = d >= high ? high : d > low ? d : low;
    return static_cast<To>(static_cast<int32_t>(d == d ? inside : 0.0));
  } else if constexpr (sizeof(To) == 1 && sizeof(From) == 4 && !is_real_type<From>::value) {
    return static_cast<To>(v < 0 ? 0 : v > 255 ? 255 : v);
  } else {
    return static_cast<To>(v);
  }
}

} // namespace
} // namespace tautgrad
