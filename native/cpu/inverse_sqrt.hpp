// 1 / sqrt(v) of a vector to about one unit in the last place, for normal positive lanes: an estimate and Newton's steps where the
// instruction set has an estimate, whose division and root are ten times as slow.
#pragma once

#include "simd.hpp"

#if defined(__SSE2__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#endif

namespace tautgrad::cpu::TG_ISA {
namespace {

TG_INLINE vec<float> inverse_sqrt_estimate(vec<float> v) {
#if defined(__AVX512F__)
  return vec<float>(_mm512_rsqrt14_ps(__m512(v)));
#elif defined(__AVX2__)
  return vec<float>(_mm256_rsqrt_ps(__m256(v)));
#else
  for (int i = 0; i < lanes<float>; ++i) v[i] = 1 / __builtin_sqrtf(v[i]);
  return v;
#endif
}

TG_INLINE vec<float> inverse_sqrt(vec<float> v) {
  const vec<float> e = inverse_sqrt_estimate(v);
  return e + 0.5f * e * (1.0f - v * e * e);
}

TG_INLINE vec<double> inverse_sqrt(vec<double> v) {
#if defined(__AVX512F__)
  vec<double> e = vec<double>(_mm512_rsqrt14_pd(__m512d(v)));
  e = e + 0.5 * e * (1.0 - v * e * e);
  return e + 0.5 * e * (1.0 - v * e * e);
#elif defined(__AVX2__)
  return 1.0 / vec<double>(_mm256_sqrt_pd(__m256d(v)));
#else
  for (int i = 0; i < lanes<double>; ++i) v[i] = 1 / __builtin_sqrt(v[i]);
  return v;
#endif
}

} // namespace
} // namespace tautgrad::cpu::TG_ISA
