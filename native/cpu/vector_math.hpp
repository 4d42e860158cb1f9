// Elementary functions on vec<float> and vec<double>: argument reduction to a short interval, a Taylor polynomial whose first
// dropped term is below the rounding error there, and reconstruction. Special values follow C's math.h.
// Accuracy (test/native/engine_math_test.cpp holds it): below 2 ulp for exp and log, below 4 ulp for the rest.
#pragma once

#include "simd.hpp"

#include <math.h>

namespace tautgrad::cpu::TG_ISA {
namespace {

template <class T> struct real_traits;
template <> struct real_traits<float> {
  static constexpr int mantissa = 23, bias = 127;
  static constexpr float round_magic = 0x1.8p23f; // x + magic - magic rounds to an integer; magic's low bits then hold it
  static constexpr float ln2_hi = 0x1.62ep-1f, ln2_lo = 0x1.0bfbe8p-15f;
  static constexpr float pio2[3] = {0x1.92p+0f, 0x1.fb4p-12f, 0x1.4442d2p-24f};
  static constexpr float trig_limit = 12000;                      // beyond it the quotient by pi/2 times pio2[0] is not exact
  static constexpr float exp_overflow = 89, exp_underflow = -104; // beyond these exp is Inf or 0
  static constexpr float expm1_floor = -18;                       // expm1 is -1 below
  static constexpr float tanh_one = 10;                           // tanh is 1 above
  static constexpr float smallest_normal = 0x1p-126f, subnormal_scale = 0x1p25f, subnormal_shift = 25;
  static constexpr int exp_degree = 7, log_terms = 5, sin_terms = 4, cos_terms = 5;
};
template <> struct real_traits<double> {
  static constexpr int mantissa = 52, bias = 1023;
  static constexpr double round_magic = 0x1.8p52;
  static constexpr double ln2_hi = 0x1.62e42fefa2p-1, ln2_lo = 0x1.9ef35793c7673p-41;
  static constexpr double pio2[3] = {0x1.921fb544p+0, 0x1.0b4611a6p-34, 0x1.3198a2e037073p-69};
  static constexpr double trig_limit = 1e6;
  static constexpr double exp_overflow = 710, exp_underflow = -746;
  static constexpr double expm1_floor = -38;
  static constexpr double tanh_one = 20;
  static constexpr double smallest_normal = 0x1p-1022, subnormal_scale = 0x1p54, subnormal_shift = 54;
  static constexpr int exp_degree = 13, log_terms = 11, sin_terms = 8, cos_terms = 9;
};

// 1/k!, and the signed ones of sine and cosine
constexpr double INVERSE_FACTORIAL[20] = {1,
                                          1,
                                          1. / 2,
                                          1. / 6,
                                          1. / 24,
                                          1. / 120,
                                          1. / 720,
                                          1. / 5040,
                                          1. / 40320,
                                          1. / 362880,
                                          1. / 3628800,
                                          1. / 39916800,
                                          1. / 479001600,
                                          1. / 6227020800,
                                          1. / 87178291200,
                                          1. / 1307674368000,
                                          1. / 20922789888000,
                                          1. / 355687428096000,
                                          1. / 6402373705728000,
                                          1. / 121645100408832000};

// The scalar functions of libm by element type, for the rare arguments that the vector code hands on.
TG_INLINE float libm_sin(float x) { return sinf(x); }
TG_INLINE double libm_sin(double x) { return sin(x); }
TG_INLINE float libm_cos(float x) { return cosf(x); }
TG_INLINE double libm_cos(double x) { return cos(x); }
TG_INLINE float libm_pow(float x, float y) { return powf(x, y); }
TG_INLINE double libm_pow(double x, double y) { return pow(x, y); }

template <class T> struct vector_math {
  using V = vec<T>;
  using I = mask<T>;
  using Int = int_like<T>;
  using Bits = typename same_size_unsigned<T>::type; // arithmetic on bit patterns wraps
  using U = vec<Bits>;
  using R = real_traits<T>;
  static constexpr Int sign_bit = static_cast<Int>(Int(1) << (sizeof(T) * 8 - 1));

  static TG_INLINE V abs(V x) { return bits_as<V>(bits_as<I>(x) & ~sign_bit); }
  static TG_INLINE V copy_sign(V magnitude, V sign) {
    return bits_as<V>((bits_as<I>(magnitude) & ~sign_bit) | (bits_as<I>(sign) & sign_bit));
  }
  static TG_INLINE V sqrt(V x) {
    for (int i = 0; i < lanes<T>; ++i) x[i] = __builtin_sqrt(x[i]);
    return x;
  }
  // 2^k for an integer k held in a real, |k| <= bias
  static TG_INLINE V pow2(V k) {
    return bits_as<V>((bits_as<U>(k + R::round_magic) + (Bits(R::bias) - bits_as<Bits>(R::round_magic))) << R::mantissa);
  }
  static TG_INLINE V round_to_even(V x) { // |x| < 2^(mantissa - 1)
    return (x + R::round_magic) - R::round_magic;
  }

  // x = k ln2 + r, |r| <= ln2/2; returns exp(r) - 1 = r + r^2/2 + ...
  static TG_INLINE V reduced_expm1(V x, V &k) {
    k = round_to_even(x * T(1.4426950408889634074));
    const V r = (x - k * R::ln2_hi) - k * R::ln2_lo;
    V p = splat<T>(T(INVERSE_FACTORIAL[R::exp_degree]));
    for (int i = R::exp_degree - 1; i >= 2; --i) p = p * r + T(INVERSE_FACTORIAL[i]);
    return r + r * r * p;
  }

  static TG_INLINE V exp(V x) {
    const V clamped = x > R::exp_overflow ? splat<T>(R::exp_overflow) : x < R::exp_underflow ? splat<T>(R::exp_underflow) : x; // NaN passes
    V k;
    const V p = reduced_expm1(clamped, k);
    const V half = round_to_even(k * T(0.5)); // two factors: 2^k alone overflows just below the largest number, or is subnormal
    return ((p + T(1)) * pow2(half)) * pow2(k - half);
  }

  static TG_INLINE V expm1(V x) {
    const V clamped = x > R::exp_overflow ? splat<T>(R::exp_overflow) : x < R::expm1_floor ? splat<T>(R::expm1_floor) : x;
    V k;
    const V p = reduced_expm1(clamped, k);
    const V half = round_to_even(k * T(0.5)), a = pow2(half), b = pow2(k - half);
    // (p + 1) 2^k - 1 = (p + (1 - 2^-k)) 2^k; for k = 0 nothing is rounded on the way
    const V tiny = pow2(k < T(-R::bias + 1) ? splat<T>(T(R::bias - 1)) : k > T(R::bias - 1) ? splat<T>(T(-R::bias + 1)) : -k);
    const V y = ((p + (T(1) - tiny)) * a) * b;
    return x == T(0) ? x : y;
  }

  // x = 2^k (1 + f), log(1 + f) = 2 atanh(f / (2 + f))
  static TG_INLINE V log(V x) {
    const auto subnormal = x < R::smallest_normal;
    const V scaled = subnormal ? x * R::subnormal_scale : x;
    constexpr Bits one = Bits(R::bias) << R::mantissa;
    constexpr Bits sqrt_half = sizeof(T) == 4 ? Bits(0x3f3504f3) : Bits(0x3fe6a09e667f3bcd);
    // The exponent counted from sqrt(1/2), biased; it becomes a real through the mantissa of 2^mantissa.
    const U biased = (bits_as<U>(scaled) + (one - sqrt_half)) >> R::mantissa & ((Bits(1) << (sizeof(T) * 8 - 1 - R::mantissa)) - 1);
    constexpr T unit = sizeof(T) == 4 ? T(0x1p23) : T(0x1p52);
    V k = bits_as<V>(biased | bits_as<Bits>(unit)) - (unit + T(R::bias));
    const V m = bits_as<V>(bits_as<U>(scaled) - ((biased - Bits(R::bias)) << R::mantissa));
    k = subnormal ? k - R::subnormal_shift : k;
    const V f = m - T(1), s = f / (f + T(2)), z = s * s;
    V p = splat<T>(T(2) / T(2 * R::log_terms + 1));
    for (int i = R::log_terms - 1; i >= 1; --i) p = p * z + T(2) / T(2 * i + 1);
    const V half_square = f * f * T(0.5);
    // log(1 + f) = f - f^2/2 + s (f^2/2 + R(s^2)): the large term f enters last and unrounded
    const V y = k * R::ln2_hi - ((half_square - (s * (half_square + z * p) + k * R::ln2_lo)) - f);
    const V special = x == T(0) ? splat<T>(T(-INFINITY)) : x < T(0) ? splat<T>(T(NAN)) : x; // Inf and NaN stay
    return ((x > T(0)) & (x < T(INFINITY))) ? y : special;
  }

  static TG_INLINE V log1p(V x) {
    const V u = x + T(1);
    const V lost = x > T(1) ? T(1) - (u - x) : x - (u - T(1)); // what rounding 1 + x dropped
    const V y = log(u) + lost / u;
    return ((u > T(0)) & (u < T(INFINITY)) & (x != T(0))) ? y : (x == T(0) ? x : log(u)); // -0, -1, Inf, NaN and below -1
  }

  static TG_INLINE V tanh(V x) {
    const V a = abs(x), e = expm1(T(2) * (a > R::tanh_one ? splat<T>(R::tanh_one) : a));
    return copy_sign(e / (e + T(2)), x);
  }
  static TG_INLINE V sigmoid(V x) { // never overflows: exp is taken of -|x|
    const V e = exp(-abs(x));
    return (x >= T(0) ? splat<T>(T(1)) : x != x ? x : e) / (e + T(1));
  }
  static TG_INLINE V softplus(V x) { // max(x, 0) + log(1 + e) with e = exp(-|x|) in [0, 1], which spares log1p its special cases
    const V e = exp(-abs(x)), u = e + T(1);
    return (x < T(0) ? splat<T>(T(0)) : x) + (log(u) + (e - (u - T(1))) / u);
  }

  // sin(r) or cos(r) for |r| <= pi/4, picked per lane by the quadrant
  static TG_INLINE V quadrant_sine(V r, I quadrant) {
    const V z = r * r;
    V s = splat<T>(T(0)), c = splat<T>(T(0));
    for (int i = R::sin_terms; i >= 1; --i) s = s * z + T((i % 2 ? -1 : 1) * INVERSE_FACTORIAL[2 * i + 1]);
    for (int i = R::cos_terms; i >= 2; --i) c = c * z + T((i % 2 ? -1 : 1) * INVERSE_FACTORIAL[2 * i]);
    s = r + r * z * s;
    const V half = z * T(0.5), w = T(1) - half;
    c = w + (((T(1) - w) - half) + z * z * c);
    const V y = (quadrant & 1) != 0 ? c : s;
    return bits_as<V>(bits_as<I>(y) ^ (((quadrant & 2) != 0) & sign_bit));
  }
  // sin(x + shift pi/2)
  static TG_INLINE V sine(V x, Int shift) {
    const V q = x * T(0.63661977236758134308) + R::round_magic, k = q - R::round_magic;
    const V r = ((x - k * R::pio2[0]) - k * R::pio2[1]) - k * R::pio2[2];
    V y = quadrant_sine(r, bits_as<I>(q) + shift);
    y = shift == 0 ? (x == T(0) ? x : y) : y; // keeps -0
    const auto large = ~(abs(x) <= R::trig_limit);
    if (__builtin_expect(any(large), 0))
      for (int i = 0; i < lanes<T>; ++i)
        if (large[i]) y[i] = shift ? libm_cos(x[i]) : libm_sin(x[i]);
    return y;
  }
  static TG_INLINE V sin(V x) { return sine(x, 0); }
  static TG_INLINE V cos(V x) { return sine(x, 1); }

  static TG_INLINE V pow_by_libm(V a, V b) {
    for (int i = 0; i < lanes<T>; ++i) a[i] = libm_pow(a[i], b[i]);
    return a;
  }
};

} // namespace
} // namespace tautgrad::cpu::TG_ISA
