// SIMD in one place: GCC/Clang vector types as wide as the instruction set that this translation unit is compiled for.
// Kernels are written once against vec<T>; arithmetic, comparison and `mask ? a : b` are the compiler's own operators.
#pragma once

#include "isa.h"

#include <stdint.h>
#include <string.h>
#include <utility>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define TG_INLINE inline __attribute__((always_inline))
#define TG_LAMBDA __attribute__((always_inline)) // after a lambda's parameters

namespace tautgrad::cpu::TG_ISA {

#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64, VECTOR_REGISTERS = 32;
#elif defined(__AVX2__)
constexpr int VECTOR_BYTES = 32, VECTOR_REGISTERS = 16;
#elif defined(__aarch64__)
constexpr int VECTOR_BYTES = 16, VECTOR_REGISTERS = 32;
#else
constexpr int VECTOR_BYTES = 16, VECTOR_REGISTERS = 16;
#endif

template <class T> struct vector_types {
  typedef T type __attribute__((vector_size(VECTOR_BYTES)));
  // The same lanes at any address of an element.
  typedef T unaligned __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(T)), may_alias));
};
template <class T> using vec = typename vector_types<T>::type;
template <class T> constexpr int lanes = VECTOR_BYTES / static_cast<int>(sizeof(T));

// The signed integer of the same width: the lanes of a comparison's result.
template <class T> struct same_size_int;
template <> struct same_size_int<float> { using type = int32_t; };
template <> struct same_size_int<double> { using type = int64_t; };
template <> struct same_size_int<int32_t> { using type = int32_t; };
template <> struct same_size_int<uint8_t> { using type = int8_t; };
template <class T> using int_like = typename same_size_int<T>::type;
template <class T> struct same_size_unsigned;
template <> struct same_size_unsigned<float> { using type = uint32_t; };
template <> struct same_size_unsigned<double> { using type = uint64_t; };
template <class T> using mask = vec<int_like<T>>;

template <class T> TG_INLINE vec<T> load(const T *p) { return *reinterpret_cast<const typename vector_types<T>::unaligned *>(p); }
template <class T> TG_INLINE void store(T *p, vec<T> v) { *reinterpret_cast<typename vector_types<T>::unaligned *>(p) = v; }
template <class T> TG_INLINE vec<T> splat(T s) { return s - vec<T>{}; } // s - 0 keeps -0.0, 0 + s does not

// Keeps v in a register from here on. GCC counts a load that several multiply-adds share as free and repeats it in each of them.
template <class V> TG_INLINE void keep_in_register(V &v) {
#if defined(__x86_64__)
  asm("" : "+v"(v));
#elif defined(__aarch64__)
  asm("" : "+w"(v));
#endif
}

// The first `count` < lanes elements; the others read as zero and are not written.
template <class T> TG_INLINE vec<T> load_partial(const T *p, int64_t count) {
  vec<T> v{};
  memcpy(&v, p, static_cast<size_t>(count) * sizeof(T));
  return v;
}
template <class T> TG_INLINE void store_partial(T *p, vec<T> v, int64_t count) { memcpy(p, &v, static_cast<size_t>(count) * sizeof(T)); }

// The same bits under another type of the same size.
template <class To, class From> TG_INLINE To bits_as(From v) {
  static_assert(sizeof(To) == sizeof(From), "bits_as keeps the size");
  To out;
  memcpy(&out, &v, sizeof out);
  return out;
}

// Lane k: element index[k], 0 <= index[k] < 2 lanes, of the two vectors in a row from p (both are read whole).
template <class T> TG_INLINE vec<T> pick(const T *p, mask<T> index) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return vec<T>(_mm512_permutex2var_ps(__m512(load(p)), __m512i(index), __m512(load(p + lanes<T>))));
  else
    return vec<T>(_mm512_permutex2var_pd(__m512d(load(p)), __m512i(index), __m512d(load(p + lanes<T>))));
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 4) { // the permutation looks at three bits, the blend at the fourth
    const __m256 low = _mm256_permutevar8x32_ps(__m256(load(p)), __m256i(index));
    const __m256 high = _mm256_permutevar8x32_ps(__m256(load(p + lanes<T>)), __m256i(index));
    return vec<T>(_mm256_blendv_ps(low, high, __m256(index << 28)));
  }
#endif
  vec<T> v{};
  for (int k = 0; k < lanes<T>; ++k) v[k] = p[index[k]];
  return v;
}

template <class M> TG_INLINE bool any(M m) {
  int64_t words[sizeof(M) / 8], all = 0;
  memcpy(words, &m, sizeof m);
  for (const int64_t word : words) all |= word;
  return all != 0;
}

// IEEE-minded minimum and maximum: a NaN in either argument is the result, as in NumPy.
template <class V> TG_INLINE V min_nan(V a, V b) { return ((a < b) | (a != a)) ? a : b; }
template <class V> TG_INLINE V max_nan(V a, V b) { return ((a > b) | (a != a)) ? a : b; }

// One step of a butterfly between lanes a distance `Half` apart: the lanes whose index lacks the bit `Half` keep a's (low) or take a's
// from Half further up (high); the others take b's from Half further down (low) or keep b's (high).
template <int Half, class V, int... I> TG_INLINE V exchange_low(V a, V b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, ((I & Half) ? static_cast<int>(sizeof...(I)) + I - Half : I)...);
}
template <int Half, class V, int... I> TG_INLINE V exchange_high(V a, V b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, ((I & Half) ? static_cast<int>(sizeof...(I)) + I : I + Half)...);
}
template <class T> using lane_numbers = std::make_integer_sequence<int, lanes<T>>;

// Every other lane of a and b in a row, the two interleaved, and a one lane down with b's first at the top.
template <class V, int... I> TG_INLINE V even_lanes(V a, V b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, (2 * I)...);
}
template <class V, int... I> TG_INLINE V odd_lanes(V a, V b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, (2 * I + 1)...);
}
template <class V, int... I> TG_INLINE V zip_low(V a, V b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, ((I & 1) ? static_cast<int>(sizeof...(I)) + I / 2 : I / 2)...);
}
template <class V, int... I> TG_INLINE V zip_high(V a, V b, std::integer_sequence<int, I...>) {
  constexpr int n = sizeof...(I);
  return __builtin_shufflevector(a, b, ((I & 1) ? n + n / 2 + I / 2 : n / 2 + I / 2)...);
}
template <class V, int... I> TG_INLINE V shifted_down(V a, V b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, (I + 1)...);
}

template <int Half, class V, int... I> TG_INLINE V swapped_lanes(V v, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(v, v, (I ^ Half)...);
}
template <class T, int Half = lanes<T> / 2> TG_INLINE T horizontal_sum(vec<T> v) {
  if constexpr (Half >= 1) return horizontal_sum<T, Half / 2>(v + swapped_lanes<Half>(v, lane_numbers<T>{}));
  return v[0];
}

template <class T, int Half = lanes<T> / 2> TG_INLINE void transpose_lanes(vec<T> *rows) {
  if constexpr (Half >= 1) {
#pragma GCC unroll 16
    for (int i = 0; i < lanes<T>; ++i)
      if ((i & Half) == 0) {
        const vec<T> a = rows[i], b = rows[i + Half];
        rows[i] = exchange_low<Half>(a, b, lane_numbers<T>{});
        rows[i + Half] = exchange_high<Half>(a, b, lane_numbers<T>{});
      }
    transpose_lanes<T, Half / 2>(rows);
  }
}

// Lane i of the result is the sum of rows[i]'s lanes; rows (as many as there are lanes) are used up.
template <class T, int Half = lanes<T> / 2> TG_INLINE vec<T> sum_lanes(vec<T> *rows) {
  if constexpr (Half >= 1) {
#pragma GCC unroll 16
    for (int i = 0; i < Half; ++i)
      rows[i] =
          exchange_low<Half>(rows[i], rows[i + Half], lane_numbers<T>{}) + exchange_high<Half>(rows[i], rows[i + Half], lane_numbers<T>{});
    return sum_lanes<T, Half / 2>(rows);
  } else {
    return rows[0];
  }
}

} // namespace tautgrad::cpu::TG_ISA
