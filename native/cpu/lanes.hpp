// Vectors whose lanes solve one line each: GCC/Clang vector extensions, with intrinsics only for masks, selection and compression.
// Lanes<float> and Lanes<double> have as many lanes as the instruction set's registers hold.
#pragma once

#include "isa.h"

#include <utility>

#if defined(__SSE2__)
// GCC 12 takes the undefined pass-through operand of some intrinsics for an uninitialised variable.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#endif

namespace tautgrad::cpu::TG_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int REGISTER_BYTES = 64;
#elif defined(__AVX2__)
constexpr int REGISTER_BYTES = 32;
#else
constexpr int REGISTER_BYTES = 16;
#endif
#define TG_INLINE inline __attribute__((always_inline))

typedef float Float4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef double Double2 __attribute__((vector_size(16), aligned(8), may_alias));
typedef double Double4 __attribute__((vector_size(32), aligned(8), may_alias));

template <class T> struct LaneTypes {
  static constexpr int width = REGISTER_BYTES / int(sizeof(T));
  typedef T V __attribute__((vector_size(REGISTER_BYTES)));
  typedef T Unaligned __attribute__((vector_size(REGISTER_BYTES), aligned(sizeof(T)), may_alias));
  static TG_INLINE V splat(T v) { return v - V{}; }
  static TG_INLINE V load(const T *p) { return V(*reinterpret_cast<const Unaligned *>(p)); }
  static TG_INLINE void store(T *p, V v) { *reinterpret_cast<Unaligned *>(p) = Unaligned(v); }
  // One rounding where the instruction set has it.
  static TG_INLINE V multiply_add(V a, V b, V c) {
#if defined(__FMA__) && defined(__AVX512F__)
    if constexpr (sizeof(T) == 4)
      return V(_mm512_fmadd_ps(a, b, c));
    else
      return V(_mm512_fmadd_pd(a, b, c));
#elif defined(__FMA__)
    if constexpr (sizeof(T) == 4)
      return V(_mm256_fmadd_ps(a, b, c));
    else
      return V(_mm256_fmadd_pd(a, b, c));
#else
    return a * b + c;
#endif
  }
  static TG_INLINE V multiply_subtract(V a, V b, V c) { return multiply_add(a, b, -c); }
};

// Comparisons, and selection by their result M. M supports & | ~ in every case.
template <class T> struct LaneMasks;

#if defined(__AVX512F__)
template <> struct LaneMasks<float> : LaneTypes<float> {
  typedef __mmask16 M;
  static TG_INLINE M less(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
  static TG_INLINE M not_less(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ); }
  static TG_INLINE M equal(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
  static TG_INLINE M not_less_where(M m, V a, V b) { return _mm512_mask_cmp_ps_mask(m, a, b, _CMP_NLT_UQ); }
  static TG_INLINE M less_where(M m, V a, V b) { return _mm512_mask_cmp_ps_mask(m, a, b, _CMP_LT_OQ); }
  static TG_INLINE V product_where(M m, V a, V b) { return _mm512_maskz_mul_ps(m, a, b); }
  static TG_INLINE V select(M m, V a, V b) { return _mm512_mask_blend_ps(m, b, a); }
  static TG_INLINE V max(V a, V b) { return _mm512_max_ps(a, b); }
  static TG_INLINE V min(V a, V b) { return _mm512_min_ps(a, b); }
  static TG_INLINE M both(M a, M b) { return _kand_mask16(a, b); } // as intrinsics, or GCC moves masks to and from general registers
  static TG_INLINE M either(M a, M b) { return _kor_mask16(a, b); }
  static TG_INLINE M without(M a, M b) { return _kandn_mask16(b, a); }
  static TG_INLINE unsigned bits(M m) { return m; }
  static TG_INLINE M all() { return 0xffff; }
  static TG_INLINE M none() { return 0; }
  static TG_INLINE M nonzero_bits(V v) { return _mm512_test_epi32_mask(__m512i(v), __m512i(v)); }
  static TG_INLINE int compress(float *p, M m, V v) { // the lanes in m, one after the other; a whole vector is written
    _mm512_storeu_ps(p, _mm512_maskz_compress_ps(m, v));
    return __builtin_popcount(m);
  }
  static TG_INLINE float largest(V v) { return _mm512_reduce_max_ps(v); }
  static TG_INLINE float smallest(V v) { return _mm512_reduce_min_ps(v); }
  static TG_INLINE V expand(M m, const float *p, V v) { return _mm512_mask_expand_ps(v, m, _mm512_loadu_ps(p)); } // its inverse; else v
  static TG_INLINE V reciprocal(V v) { return 1 / v; } // no slower than an estimate and Newton's step, whose port is the busy one
};
template <> struct LaneMasks<double> : LaneTypes<double> {
  typedef __mmask8 M;
  static TG_INLINE M less(V a, V b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ); }
  static TG_INLINE M not_less(V a, V b) { return _mm512_cmp_pd_mask(a, b, _CMP_NLT_UQ); }
  static TG_INLINE M equal(V a, V b) { return _mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ); }
  static TG_INLINE M not_less_where(M m, V a, V b) { return _mm512_mask_cmp_pd_mask(m, a, b, _CMP_NLT_UQ); }
  static TG_INLINE M less_where(M m, V a, V b) { return _mm512_mask_cmp_pd_mask(m, a, b, _CMP_LT_OQ); }
  static TG_INLINE V product_where(M m, V a, V b) { return _mm512_maskz_mul_pd(m, a, b); }
  static TG_INLINE V select(M m, V a, V b) { return _mm512_mask_blend_pd(m, b, a); }
  static TG_INLINE V max(V a, V b) { return _mm512_max_pd(a, b); }
  static TG_INLINE V min(V a, V b) { return _mm512_min_pd(a, b); }
  static TG_INLINE M both(M a, M b) { return _kand_mask8(a, b); } // as intrinsics, or GCC moves masks to and from general registers
  static TG_INLINE M either(M a, M b) { return _kor_mask8(a, b); }
  static TG_INLINE M without(M a, M b) { return _kandn_mask8(b, a); }
  static TG_INLINE unsigned bits(M m) { return m; }
  static TG_INLINE M all() { return 0xff; }
  static TG_INLINE M none() { return 0; }
  static TG_INLINE M nonzero_bits(V v) { return _mm512_test_epi64_mask(__m512i(v), __m512i(v)); }
  static TG_INLINE int compress(double *p, M m, V v) {
    _mm512_storeu_pd(p, _mm512_maskz_compress_pd(m, v));
    return __builtin_popcount(m);
  }
  static TG_INLINE double largest(V v) { return _mm512_reduce_max_pd(v); }
  static TG_INLINE double smallest(V v) { return _mm512_reduce_min_pd(v); }
  static TG_INLINE V expand(M m, const double *p, V v) { return _mm512_mask_expand_pd(v, m, _mm512_loadu_pd(p)); }
  static TG_INLINE V reciprocal(V v) {
    V r = _mm512_rcp14_pd(v);
    r = _mm512_fmadd_pd(_mm512_fnmadd_pd(v, r, splat(1)), r, r);
    return _mm512_fmadd_pd(_mm512_fnmadd_pd(v, r, splat(1)), r, r);
  }
};
#else
#if defined(__AVX2__)
// For every set of eight lanes, a byte per lane: compressed, the lanes that are set, in order; expanded, how many are set before each.
struct LanePlaces {
  uint64_t compressed[256], expanded[256];
  constexpr LanePlaces() : compressed(), expanded() {
    for (unsigned set = 0; set < 256; ++set) {
      unsigned count = 0;
      for (unsigned lane = 0; lane < 8; ++lane) {
        expanded[set] |= uint64_t(count & 7) << 8 * lane;
        if (set >> lane & 1) compressed[set] |= uint64_t(lane) << 8 * count++;
      }
    }
  }
};
constexpr LanePlaces PLACES;
#endif

template <class T> struct LaneIntegers;
template <> struct LaneIntegers<float> { typedef int32_t type; };
template <> struct LaneIntegers<double> { typedef int64_t type; };

template <class T> struct LaneMasks : LaneTypes<T> {
  using typename LaneTypes<T>::V;
  typedef typename LaneIntegers<T>::type Integer;
  typedef Integer M __attribute__((vector_size(REGISTER_BYTES)));
  static TG_INLINE M less(V a, V b) { return M(a < b); }
  static TG_INLINE M not_less(V a, V b) { return ~M(a < b); }
  static TG_INLINE M equal(V a, V b) { return M(a == b); }
#if defined(__AVX2__)
  static TG_INLINE V select(M m, V a, V b) {
    if constexpr (sizeof(T) == 4)
      return V(_mm256_blendv_ps(__m256(b), __m256(a), __m256(m)));
    else
      return V(_mm256_blendv_pd(__m256d(b), __m256d(a), __m256d(m)));
  }
  static TG_INLINE unsigned bits(M m) {
    if constexpr (sizeof(T) == 4)
      return unsigned(_mm256_movemask_ps(__m256(m)));
    else
      return unsigned(_mm256_movemask_pd(__m256d(m)));
  }
#else
  static TG_INLINE V select(M m, V a, V b) { return V((m & M(a)) | (~m & M(b))); }
#if defined(__SSE2__)
  static TG_INLINE unsigned bits(M m) {
    if constexpr (sizeof(T) == 4)
      return unsigned(_mm_movemask_ps(__m128(m)));
    else
      return unsigned(_mm_movemask_pd(__m128d(m)));
  }
#else
  static TG_INLINE unsigned bits(M m) {
    unsigned b = 0;
    for (int i = 0; i < LaneTypes<T>::width; ++i) b |= unsigned(m[i] & 1) << i;
    return b;
  }
#endif
#endif
  static TG_INLINE M not_less_where(M m, V a, V b) { return m & not_less(a, b); }
  static TG_INLINE M less_where(M m, V a, V b) { return m & less(a, b); }
  static TG_INLINE V product_where(M m, V a, V b) { return V(m & M(a * b)); }
  static TG_INLINE M both(M a, M b) { return a & b; }
  static TG_INLINE M either(M a, M b) { return a | b; }
  static TG_INLINE M without(M a, M b) { return a & ~b; }
  // max(a, b) = a > b ? a : b, hence b when either is NaN, as x86 has it.
#if defined(__AVX2__)
  static TG_INLINE V max(V a, V b) {
    if constexpr (sizeof(T) == 4)
      return V(_mm256_max_ps(__m256(a), __m256(b)));
    else
      return V(_mm256_max_pd(__m256d(a), __m256d(b)));
  }
  static TG_INLINE V min(V a, V b) {
    if constexpr (sizeof(T) == 4)
      return V(_mm256_min_ps(__m256(a), __m256(b)));
    else
      return V(_mm256_min_pd(__m256d(a), __m256d(b)));
  }
#elif defined(__SSE2__)
  static TG_INLINE V max(V a, V b) {
    if constexpr (sizeof(T) == 4)
      return V(_mm_max_ps(__m128(a), __m128(b)));
    else
      return V(_mm_max_pd(__m128d(a), __m128d(b)));
  }
  static TG_INLINE V min(V a, V b) {
    if constexpr (sizeof(T) == 4)
      return V(_mm_min_ps(__m128(a), __m128(b)));
    else
      return V(_mm_min_pd(__m128d(a), __m128d(b)));
  }
#else
  static TG_INLINE V max(V a, V b) { return select(M(a > b), a, b); }
  static TG_INLINE V min(V a, V b) { return select(M(a < b), a, b); }
#endif
  static TG_INLINE M all() { return ~M{}; }
  static TG_INLINE M none() { return M{}; }
  static TG_INLINE M nonzero_bits(V v) { return M(M(v) != 0); }
  static TG_INLINE T largest(V v) {
    T most = v[0];
    for (int i = 1; i < LaneTypes<T>::width; ++i) most = v[i] > most ? v[i] : most;
    return most;
  }
  static TG_INLINE T smallest(V v) { return -largest(-v); }
#if defined(__AVX2__)
  static TG_INLINE V moved(V v, const uint64_t (&table)[256], M m) {
    return V(_mm256_permutevar8x32_epi32(__m256i(v), _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(int64_t(table[words(m)])))));
  }
  static TG_INLINE unsigned words(M m) { return unsigned(_mm256_movemask_ps(__m256(m))); } // of 32 bits
  static TG_INLINE int compress(T *p, M m, V v) {
    LaneTypes<T>::store(p, moved(v, PLACES.compressed, m));
    return __builtin_popcount(bits(m));
  }
  static TG_INLINE V expand(M m, const T *p, V v) { return select(m, moved(LaneTypes<T>::load(p), PLACES.expanded, m), v); }
#else
  static TG_INLINE int compress(T *p, M m, V v) {
    T lanes[LaneTypes<T>::width];
    LaneTypes<T>::store(lanes, v);
    int count = 0;
    for (unsigned left = bits(m); left; left &= left - 1) p[count++] = lanes[__builtin_ctz(left)];
    return count;
  }
  static TG_INLINE V expand(M m, const T *p, V v) {
    T lanes[LaneTypes<T>::width];
    LaneTypes<T>::store(lanes, v);
    for (unsigned left = bits(m); left; left &= left - 1) lanes[__builtin_ctz(left)] = *p++;
    return LaneTypes<T>::load(lanes);
  }
#endif
  static TG_INLINE V reciprocal(V v) { return T(1) / v; }
};
#endif

// What sets without such instructions do lane by lane.
TG_INLINE int compress_places_singly(int32_t *p, unsigned lanes, int32_t first) {
  int count = 0;
  for (; lanes; lanes &= lanes - 1) p[count++] = first + __builtin_ctz(lanes);
  return count;
}
TG_INLINE void expand_singly(int32_t *lanes, unsigned expanded, const int32_t *p) {
  for (; expanded; expanded &= expanded - 1) lanes[__builtin_ctz(expanded)] = *p++;
}

// Positions inside a tile, one per lane: int32 beside float lanes; double lanes keep them as (exact) doubles, so that one mask type serves.
template <class T> struct Lanes;

template <> struct Lanes<float> : LaneMasks<float> {
  typedef int32_t Pos __attribute__((vector_size(REGISTER_BYTES)));
  static TG_INLINE Pos positions(int32_t v) { return v - Pos{}; }
  static TG_INLINE Pos to_positions(V v) { return __builtin_convertvector(v, Pos); }
  static TG_INLINE void store_positions(int32_t *p, Pos v) { __builtin_memcpy(p, &v, sizeof v); }
  static TG_INLINE Pos load_positions(const int32_t *p) {
    Pos v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
  }
#if defined(__AVX512F__)
  static TG_INLINE int compress_places(int32_t *p, M m, int32_t first) { // first + lane of the lanes in m
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    _mm512_storeu_si512(p, _mm512_maskz_compress_epi32(m, _mm512_add_epi32(_mm512_set1_epi32(first), lane)));
    return __builtin_popcount(m);
  }
  static TG_INLINE Pos expand_positions(M m, const int32_t *p, Pos v) {
    return Pos(_mm512_mask_expand_epi32(__m512i(v), m, _mm512_loadu_si512(p)));
  }
  static TG_INLINE Pos select_positions(M m, Pos a, Pos b) { return Pos(_mm512_mask_blend_epi32(m, __m512i(b), __m512i(a))); }
  static TG_INLINE M position_less(Pos a, Pos b) { return _mm512_cmplt_epi32_mask(__m512i(a), __m512i(b)); }
#else
#if defined(__AVX2__)
  static TG_INLINE int compress_places(int32_t *p, M m, int32_t first) {
    const Pos lane = {0, 1, 2, 3, 4, 5, 6, 7};
    const V places = moved(V(lane + positions(first)), PLACES.compressed, m);
    __builtin_memcpy(p, &places, sizeof places);
    return __builtin_popcount(bits(m));
  }
  static TG_INLINE Pos expand_positions(M m, const int32_t *p, Pos v) {
    return Pos(select(m, moved(V(load_positions(p)), PLACES.expanded, m), V(v)));
  }
#else
  static TG_INLINE int compress_places(int32_t *p, M m, int32_t first) { return compress_places_singly(p, bits(m), first); }
  static TG_INLINE Pos expand_positions(M m, const int32_t *p, Pos v) {
    int32_t lanes[width];
    store_positions(lanes, v);
    expand_singly(lanes, bits(m), p);
    return load_positions(lanes);
  }
#endif
  static TG_INLINE M position_less(Pos a, Pos b) { return M(a < b); }
  static TG_INLINE Pos select_positions(M m, Pos a, Pos b) { return Pos(select(m, V(a), V(b))); }
#endif
};

template <> struct Lanes<double> : LaneMasks<double> {
  template <int Distance, int... I> static TG_INLINE V shifted(V v, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(v, V{}, (I < Distance ? width : I - Distance)...);
  }
  // Distance 1: the sums over the lanes up to each, with it.
  template <int Distance> static TG_INLINE V prefix_sums(V v) {
    if constexpr (Distance < width)
      return prefix_sums<2 * Distance>(v + shifted<Distance>(v, std::make_integer_sequence<int, width>{}));
    else
      return v;
  }
  typedef V Pos;
  typedef int32_t Index __attribute__((vector_size(REGISTER_BYTES / 2)));
  static TG_INLINE Pos positions(int32_t v) { return splat(v); }
  static TG_INLINE Pos to_positions(V v) { return v; }
  static TG_INLINE void store_positions(int32_t *p, Pos v) {
    const Index i = __builtin_convertvector(v, Index);
    __builtin_memcpy(p, &i, sizeof i);
  }
  static TG_INLINE Pos load_positions(const int32_t *p) {
    Index i;
    __builtin_memcpy(&i, p, sizeof i);
    return __builtin_convertvector(i, V);
  }
  static TG_INLINE Pos select_positions(M m, Pos a, Pos b) { return select(m, a, b); }
  static TG_INLINE M position_less(Pos a, Pos b) { return less(a, b); }
#if defined(__AVX512F__)
  static TG_INLINE int compress_places(int32_t *p, M m, int32_t first) {
    const __m256i places = _mm256_add_epi32(_mm256_set1_epi32(first), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), _mm256_maskz_compress_epi32(m, places));
    return __builtin_popcount(m);
  }
  static TG_INLINE Pos expand_positions(M m, const int32_t *p, Pos v) {
    return _mm512_mask_expand_pd(v, m, _mm512_cvtepi32_pd(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p))));
  }
#elif defined(__AVX2__)
  static TG_INLINE int compress_places(int32_t *p, M m, int32_t first) {
    const V lane = {0, 1, 2, 3};
    store_positions(p, moved(lane + splat(first), PLACES.compressed, m));
    return __builtin_popcount(bits(m));
  }
  static TG_INLINE Pos expand_positions(M m, const int32_t *p, Pos v) { return select(m, moved(load_positions(p), PLACES.expanded, m), v); }
#else
  static TG_INLINE int compress_places(int32_t *p, M m, int32_t first) { return compress_places_singly(p, bits(m), first); }
  static TG_INLINE Pos expand_positions(M m, const int32_t *p, Pos v) {
    int32_t lanes[width];
    store_positions(lanes, v);
    expand_singly(lanes, bits(m), p);
    return load_positions(lanes);
  }
#endif
};

// The lanes whose bits are set; of some lanes, the `count` last ones.
template <class T> inline typename Lanes<T>::M lanes_of(unsigned bits) {
#if defined(__AVX512F__)
  return typename Lanes<T>::M(bits);
#else
  typename Lanes<T>::M m{};
  for (int i = 0; i < Lanes<T>::width; ++i) m[i] = bits >> i & 1 ? -1 : 0;
  return m;
#endif
}
template <class T> inline typename Lanes<T>::M last_lanes(typename Lanes<T>::M lanes, int count) {
  unsigned bits = Lanes<T>::bits(lanes);
  for (int others = __builtin_popcount(bits) - count; others > 0; --others) bits &= bits - 1;
  return lanes_of<T>(bits);
}

} // namespace
} // namespace tautgrad::cpu::TG_ISA
