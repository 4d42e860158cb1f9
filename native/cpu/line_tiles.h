// Lines in and out of a lane solver's tile: staging rows or columns with a padded stride (lines at a multiple of 4 KB would compete for the
// same cache sets), and filling each segment backwards from its end.
#pragma once

#include "lane_quads.h"

namespace tautgrad::cpu::TG_ISA {
namespace {

// A value that no solution has: a NaN with this payload. It marks the samples of `out` where no segment ends. (Should NaN data contain it,
// its own line is filled differently, no more.)
template <class T> struct Unset;
template <> struct Unset<float> {
  typedef int32_t Integer;
  static constexpr int32_t bits = 0x7fe5a5a5;
};
template <> struct Unset<double> {
  typedef int64_t Integer;
  static constexpr int64_t bits = 0x7ffda5a5a5a5a5a5;
};

template <class T> TG_INLINE bool is_unset(T v) {
  typename Unset<T>::Integer i;
  __builtin_memcpy(&i, &v, sizeof v);
  return i == Unset<T>::bits;
}

template <class T> TG_INLINE typename Lanes<T>::M unset_lanes(typename Lanes<T>::V v) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return _mm512_cmpeq_epi32_mask(__m512i(v), _mm512_set1_epi32(Unset<float>::bits));
  else
    return _mm512_cmpeq_epi64_mask(__m512i(v), _mm512_set1_epi64(Unset<double>::bits));
#else
  typedef typename Lanes<T>::M M;
  return M(M(v) == Unset<T>::bits);
#endif
}

// Elements, an odd number of cache lines.
template <class T> int32_t tile_stride(int64_t n) {
  const int32_t line = 64 / int32_t(sizeof(T));
  return int32_t((n + 2 * line - 1) / line | 1) * line; // up to a vector may be written behind the line
}

template <class T> TG_INLINE T unset_value() {
  const typename Unset<T>::Integer bits = Unset<T>::bits;
  T unset;
  __builtin_memcpy(&unset, &bits, sizeof unset);
  return unset;
}

template <class T> void mark_unset(T *out, int64_t count) {
  const T unset = unset_value<T>();
  for (int64_t i = 0; i < count; ++i) out[i] = unset;
}

// n values; both sides may be read and written up to the next full vector.
template <class T> TG_INLINE void copy_padded(int64_t n, const T *from, T *to) {
  for (int64_t k = 0; k < n; k += Lanes<T>::width) Lanes<T>::store(to + k, Lanes<T>::load(from + k));
}

// y = in with every unset sample replaced by the next set one; the last is set. n samples, contiguous.
template <class T> void fill_row(int64_t n, const T *in, T *y) {
  int64_t k = n;
#if defined(__AVX512F__)
  // Of a vector, lane i takes the lowest set lane at or after it, found by isolating that bit.
  using L = Lanes<T>;
  typename L::V carry = L::splat(0);
  for (; k >= L::width; k -= L::width) {
    const typename L::V v = L::load(in + k - L::width);
    const unsigned set = L::bits(typename L::M(~unset_lanes<T>(v)));
    if constexpr (sizeof(T) == 4) {
      const __m512i from = _mm512_setr_epi32(-1, -2, -4, -8, -16, -32, -64, -128, -256, -512, -1024, -2048, -4096, -8192, -16384, -32768);
      const __m512i later = _mm512_and_si512(_mm512_set1_epi32(int(set)), from);
      const __m512i lowest = _mm512_and_si512(later, _mm512_sub_epi32(_mm512_setzero_si512(), later));
      const __m512i index = _mm512_sub_epi32(_mm512_set1_epi32(31), _mm512_lzcnt_epi32(lowest));
      carry = _mm512_mask_permutexvar_ps(carry, _mm512_test_epi32_mask(later, later), index, v);
      L::store(y + k - L::width, carry);
      carry = _mm512_broadcastss_ps(_mm512_castps512_ps128(carry));
    } else {
      const __m512i from = _mm512_setr_epi64(-1, -2, -4, -8, -16, -32, -64, -128);
      const __m512i later = _mm512_and_si512(_mm512_set1_epi64(int64_t(set & 0xff)), from);
      const __m512i lowest = _mm512_and_si512(later, _mm512_sub_epi64(_mm512_setzero_si512(), later));
      const __m512i index = _mm512_sub_epi64(_mm512_set1_epi64(63), _mm512_lzcnt_epi64(lowest));
      carry = _mm512_mask_permutexvar_pd(carry, _mm512_test_epi64_mask(later, later), index, v);
      L::store(y + k - L::width, carry);
      carry = _mm512_broadcastsd_pd(_mm512_castpd512_pd128(carry));
    }
  }
  T last = carry[0];
#else
  T last = T(0);
#endif
  while (k > 0) {
    const T v = in[--k];
    last = is_unset(v) ? last : v;
    y[k] = last;
  }
}

// fill_row for `lines` staged rows; up to three values behind each row are read. Without AVX-512, `width` rows at a time through
// transposes.
template <class T> void fill_rows(int64_t n, int64_t lines, const T *tile, int32_t stride, T *y) {
  using L = Lanes<T>;
  if (REGISTER_BYTES == 64 || n * L::width >= (int64_t(1) << 30)) {
    for (int64_t i = 0; i < lines; ++i) fill_row(n, tile + i * stride, y + i * n);
    return;
  }
  for (int64_t first = 0; first < lines; first += L::width) {
    int32_t from[L::width], to[L::width];
    for (int i = 0; i < L::width; ++i) { // idle lanes repeat the last row
      const int32_t row = int32_t(first + i < lines ? i : lines - 1 - first);
      from[i] = row * stride;
      to[i] = row * int32_t(n);
    }
    typename L::V carry = L::splat(0);
    for (int64_t k = (n - 1) / 4 * 4; k >= 0; k -= 4) {
      Quad<T> q = load_quad(tile + first * stride + k, from);
      for (int t = 3; t >= 0; --t) q.v[t] = carry = L::select(unset_lanes<T>(q.v[t]), carry, q.v[t]);
      if (k + 4 <= n) {
        store_quad(y + first * n + k, to, q);
        continue;
      }
      for (int t = 0; k + t < n; ++t)
        for (int i = 0; i < L::width; ++i) y[first * n + to[i] + k + t] = q.v[t][i];
    }
  }
}

// `Blocks` vectors of adjacent columns, from x or y on, to as many lines of a tile. Side by side they share pages of the memory.
template <class T, int Blocks> void stage_column_blocks(int64_t n, int64_t inner, const T *x, T *tile, int32_t stride) {
  using L = Lanes<T>;
  int32_t at[L::width];
  for (int i = 0; i < L::width; ++i) at[i] = i * stride;
  int64_t k = 0;
  for (; k + 4 <= n; k += 4) {
    Quad<T> q[Blocks];
    for (int t = 0; t < 4; ++t)
      for (int b = 0; b < Blocks; ++b) q[b].v[t] = L::load(x + (k + t) * inner + b * L::width);
    for (int b = 0; b < Blocks; ++b) store_quad(tile + int64_t(b) * L::width * stride + k, at, q[b]);
  }
  for (; k < n; ++k)
    for (int i = 0; i < Blocks * L::width; ++i) tile[int64_t(i) * stride + k] = x[k * inner + i];
}

// The way back, filling the segments from their ends.
template <class T, int Blocks> void fill_column_blocks(int64_t n, int64_t inner, const T *tile, int32_t stride, T *y) {
  using L = Lanes<T>;
  int32_t at[L::width];
  for (int i = 0; i < L::width; ++i) at[i] = i * stride;
  typename L::V carry[Blocks];
  for (int b = 0; b < Blocks; ++b) carry[b] = L::splat(0);
  for (int64_t k = (n - 1) / 4 * 4; k >= 0; k -= 4) {
    Quad<T> q[Blocks];
    for (int b = 0; b < Blocks; ++b) q[b] = load_quad(tile + int64_t(b) * L::width * stride + k, at);
    for (int t = 3; t >= 0; --t)
      for (int b = 0; b < Blocks; ++b) {
        carry[b] = L::select(unset_lanes<T>(q[b].v[t]), carry[b], q[b].v[t]);
        if (k + t < n) L::store(y + (k + t) * inner + b * L::width, carry[b]);
      }
  }
}

// Columns 0 .. lines of [n, inner] to lines of a tile; the last block overlaps the one before.
template <class T> void stage_columns(int64_t n, int64_t inner, int64_t lines, const T *x, T *tile, int32_t stride) {
  using L = Lanes<T>;
  int64_t c = 0;
  for (; c + 4 * L::width <= lines; c += 4 * L::width) stage_column_blocks<T, 4>(n, inner, x + c, tile + c * stride, stride);
  for (; c + 2 * L::width <= lines; c += 2 * L::width) stage_column_blocks<T, 2>(n, inner, x + c, tile + c * stride, stride);
  while (lines >= L::width && c < lines) {
    if (c + L::width > lines) c = lines - L::width;
    stage_column_blocks<T, 1>(n, inner, x + c, tile + c * stride, stride);
    c += L::width;
  }
  for (; c < lines; ++c)
    for (int64_t k = 0; k < n; ++k) tile[c * stride + k] = x[k * inner + c];
}

template <class T> void fill_columns(int64_t n, int64_t inner, int64_t lines, const T *tile, int32_t stride, T *y) {
  using L = Lanes<T>;
  int64_t c = 0;
  for (; c + 4 * L::width <= lines; c += 4 * L::width) fill_column_blocks<T, 4>(n, inner, tile + c * stride, stride, y + c);
  for (; c + 2 * L::width <= lines; c += 2 * L::width) fill_column_blocks<T, 2>(n, inner, tile + c * stride, stride, y + c);
  while (lines >= L::width && c < lines) {
    if (c + L::width > lines) c = lines - L::width;
    fill_column_blocks<T, 1>(n, inner, tile + c * stride, stride, y + c);
    c += L::width;
  }
  for (; c < lines; ++c) {
    T last = T(0);
    for (int64_t k = n; k-- > 0;) {
      const T v = tile[c * stride + k];
      last = is_unset(v) ? last : v;
      y[k * inner + c] = last;
    }
  }
}

} // namespace
} // namespace tautgrad::cpu::TG_ISA
