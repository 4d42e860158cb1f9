// Four samples of every lane at once: transposes between lane-major and sample-major order.
#pragma once

#include "lanes.hpp"

namespace tautgrad::cpu::TG_ISA {
namespace {

template <class T> struct Quad {
  typename Lanes<T>::V v[4]; // v[t] = sample t of every lane
};

#if defined(__AVX512F__)
TG_INLINE __m512 four_quarters(const float *a, const float *b, const float *c, const float *d) {
  const __m256 low = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(a)), _mm_loadu_ps(b), 1);
  const __m256 high = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(c)), _mm_loadu_ps(d), 1);
  return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
}
TG_INLINE Quad<float> transpose_quarters(__m512 a, __m512 b, __m512 c, __m512 d) {
  const __m512d ab = _mm512_castps_pd(_mm512_unpacklo_ps(a, b)), cd = _mm512_castps_pd(_mm512_unpacklo_ps(c, d));
  const __m512d ab2 = _mm512_castps_pd(_mm512_unpackhi_ps(a, b)), cd2 = _mm512_castps_pd(_mm512_unpackhi_ps(c, d));
  return {{_mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd)), _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd)),
           _mm512_castpd_ps(_mm512_unpacklo_pd(ab2, cd2)), _mm512_castpd_ps(_mm512_unpackhi_pd(ab2, cd2))}};
}
TG_INLINE Quad<float> load_quad(const float *p, const int32_t *at) {
  return transpose_quarters(
      four_quarters(p + at[0], p + at[4], p + at[8], p + at[12]), four_quarters(p + at[1], p + at[5], p + at[9], p + at[13]),
      four_quarters(p + at[2], p + at[6], p + at[10], p + at[14]), four_quarters(p + at[3], p + at[7], p + at[11], p + at[15]));
}
// The inverse: p + at[lane] receives the lane's four samples.
TG_INLINE void store_quad(float *p, const int32_t *at, const Quad<float> &q) {
  const Quad<float> t = transpose_quarters(q.v[0], q.v[1], q.v[2], q.v[3]);
  for (int j = 0; j < 4; ++j) {
    _mm_storeu_ps(p + at[j], _mm512_extractf32x4_ps(t.v[j], 0));
    _mm_storeu_ps(p + at[j + 4], _mm512_extractf32x4_ps(t.v[j], 1));
    _mm_storeu_ps(p + at[j + 8], _mm512_extractf32x4_ps(t.v[j], 2));
    _mm_storeu_ps(p + at[j + 12], _mm512_extractf32x4_ps(t.v[j], 3));
  }
}
TG_INLINE __m512d two_halves(const double *a, const double *b) {
  return _mm512_insertf64x4(_mm512_castpd256_pd512(_mm256_loadu_pd(a)), _mm256_loadu_pd(b), 1);
}
TG_INLINE Quad<double> transpose_halves(__m512d a, __m512d b, __m512d c, __m512d d) {
  const __m512d ab = _mm512_unpacklo_pd(a, b), ab2 = _mm512_unpackhi_pd(a, b), cd = _mm512_unpacklo_pd(c, d),
                cd2 = _mm512_unpackhi_pd(c, d);
  const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13), high = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
  return {{_mm512_permutex2var_pd(ab, low, cd), _mm512_permutex2var_pd(ab2, low, cd2), _mm512_permutex2var_pd(ab, high, cd),
           _mm512_permutex2var_pd(ab2, high, cd2)}};
}
TG_INLINE Quad<double> load_quad(const double *p, const int32_t *at) {
  return transpose_halves(two_halves(p + at[0], p + at[4]), two_halves(p + at[1], p + at[5]), two_halves(p + at[2], p + at[6]),
                          two_halves(p + at[3], p + at[7]));
}
TG_INLINE void store_quad(double *p, const int32_t *at, const Quad<double> &q) {
  const Quad<double> t = transpose_halves(q.v[0], q.v[1], q.v[2], q.v[3]);
  for (int j = 0; j < 4; ++j) {
    _mm256_storeu_pd(p + at[j], _mm512_extractf64x4_pd(t.v[j], 0));
    _mm256_storeu_pd(p + at[j + 4], _mm512_extractf64x4_pd(t.v[j], 1));
  }
}
#elif defined(__AVX2__)
TG_INLINE Quad<float> transpose_quarters(__m256 a, __m256 b, __m256 c, __m256 d) {
  const __m256d ab = _mm256_castps_pd(_mm256_unpacklo_ps(a, b)), cd = _mm256_castps_pd(_mm256_unpacklo_ps(c, d));
  const __m256d ab2 = _mm256_castps_pd(_mm256_unpackhi_ps(a, b)), cd2 = _mm256_castps_pd(_mm256_unpackhi_ps(c, d));
  return {{_mm256_castpd_ps(_mm256_unpacklo_pd(ab, cd)), _mm256_castpd_ps(_mm256_unpackhi_pd(ab, cd)),
           _mm256_castpd_ps(_mm256_unpacklo_pd(ab2, cd2)), _mm256_castpd_ps(_mm256_unpackhi_pd(ab2, cd2))}};
}
TG_INLINE __m256 two_quarters(const float *a, const float *b) {
  return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(a)), _mm_loadu_ps(b), 1);
}
TG_INLINE Quad<float> load_quad(const float *p, const int32_t *at) {
  return transpose_quarters(two_quarters(p + at[0], p + at[4]), two_quarters(p + at[1], p + at[5]), two_quarters(p + at[2], p + at[6]),
                            two_quarters(p + at[3], p + at[7]));
}
TG_INLINE void store_quad(float *p, const int32_t *at, const Quad<float> &q) {
  const Quad<float> t = transpose_quarters(q.v[0], q.v[1], q.v[2], q.v[3]);
  for (int j = 0; j < 4; ++j) {
    _mm_storeu_ps(p + at[j], _mm256_castps256_ps128(t.v[j]));
    _mm_storeu_ps(p + at[j + 4], _mm256_extractf128_ps(t.v[j], 1));
  }
}
TG_INLINE Quad<double> transpose_halves(__m256d a, __m256d b, __m256d c, __m256d d) {
  const __m256d ab = _mm256_unpacklo_pd(a, b), ab2 = _mm256_unpackhi_pd(a, b), cd = _mm256_unpacklo_pd(c, d),
                cd2 = _mm256_unpackhi_pd(c, d);
  return {{_mm256_permute2f128_pd(ab, cd, 0x20), _mm256_permute2f128_pd(ab2, cd2, 0x20), _mm256_permute2f128_pd(ab, cd, 0x31),
           _mm256_permute2f128_pd(ab2, cd2, 0x31)}};
}
TG_INLINE Quad<double> load_quad(const double *p, const int32_t *at) {
  return transpose_halves(_mm256_loadu_pd(p + at[0]), _mm256_loadu_pd(p + at[1]), _mm256_loadu_pd(p + at[2]), _mm256_loadu_pd(p + at[3]));
}
TG_INLINE void store_quad(double *p, const int32_t *at, const Quad<double> &q) {
  const Quad<double> t = transpose_halves(q.v[0], q.v[1], q.v[2], q.v[3]);
  for (int j = 0; j < 4; ++j) _mm256_storeu_pd(p + at[j], t.v[j]);
}
#else
TG_INLINE Quad<float> transpose_four(Float4 a, Float4 b, Float4 c, Float4 d) {
  typedef Lanes<float>::V V;
  const V ab = V(__builtin_shufflevector(a, b, 0, 4, 1, 5)), ab2 = V(__builtin_shufflevector(a, b, 2, 6, 3, 7));
  const V cd = V(__builtin_shufflevector(c, d, 0, 4, 1, 5)), cd2 = V(__builtin_shufflevector(c, d, 2, 6, 3, 7));
  return {{__builtin_shufflevector(ab, cd, 0, 1, 4, 5), __builtin_shufflevector(ab, cd, 2, 3, 6, 7),
           __builtin_shufflevector(ab2, cd2, 0, 1, 4, 5), __builtin_shufflevector(ab2, cd2, 2, 3, 6, 7)}};
}
TG_INLINE Float4 load_four(const float *p) { return *reinterpret_cast<const Float4 *>(p); }
TG_INLINE Quad<float> load_quad(const float *p, const int32_t *at) {
  return transpose_four(load_four(p + at[0]), load_four(p + at[1]), load_four(p + at[2]), load_four(p + at[3]));
}
TG_INLINE void store_quad(float *p, const int32_t *at, const Quad<float> &q) {
  const Quad<float> t = transpose_four(q.v[0], q.v[1], q.v[2], q.v[3]);
  for (int j = 0; j < 4; ++j) *reinterpret_cast<Float4 *>(p + at[j]) = t.v[j];
}
TG_INLINE Quad<double> load_quad(const double *p, const int32_t *at) {
  typedef Lanes<double>::V V;
  const V a = V(*reinterpret_cast<const Double2 *>(p + at[0])), a2 = V(*reinterpret_cast<const Double2 *>(p + at[0] + 2));
  const V b = V(*reinterpret_cast<const Double2 *>(p + at[1])), b2 = V(*reinterpret_cast<const Double2 *>(p + at[1] + 2));
  return {{__builtin_shufflevector(a, b, 0, 2), __builtin_shufflevector(a, b, 1, 3), __builtin_shufflevector(a2, b2, 0, 2),
           __builtin_shufflevector(a2, b2, 1, 3)}};
}
TG_INLINE void store_quad(double *p, const int32_t *at, const Quad<double> &q) {
  for (int lane = 0; lane < 2; ++lane) {
    *reinterpret_cast<Double2 *>(p + at[lane]) = Double2{q.v[0][lane], q.v[1][lane]};
    *reinterpret_cast<Double2 *>(p + at[lane] + 2) = Double2{q.v[2][lane], q.v[3][lane]};
  }
}
#endif

} // namespace
} // namespace tautgrad::cpu::TG_ISA
