// The packed input of the direct convolutions: rows with zero borders, strided rows and columns sorted by residue.
#pragma once

#include "conv.hpp"

#include <string.h>

namespace tautgrad::cpu::TG_ISA {
namespace {

// The packed input of one task and how it is read.
struct Layout {
  int64_t row_residues, column_residues; // residues kept: the stride, or 1 where the taps use a single one
  int64_t first_row, first_column;       // smallest quotient of a tap's shift by the stride
  int64_t row_span, column_span;         // largest minus smallest quotient
  int64_t lead, pitch;                   // elements before the first packed one of a row, and of a row
  int64_t plane_rows, channel_stride;    // rows; elements
  bool flat; // output pixels are numbered through rows of `pitch` instead of row by row: little is wasted on narrow images
};

// Zeros: one or two as a rule, for which a call of memset would cost more than it does.
template <class T> TG_INLINE void clear_run(T *p, int64_t count) {
  if (count <= 0) return;
  if (count <= 2)
    p[0] = p[count - 1] = 0;
  else
    memset(p, 0, static_cast<size_t>(count) * sizeof(T));
}

// out[j] = row[j] for j < count.
template <class T> TG_INLINE void copy_pixels(const T *row, int64_t count, T *out) {
  constexpr int64_t L = lanes<T>;
  int64_t j = 0;
  for (; j + L <= count; j += L) store(out + j, load(row + j));
  if (j < count && count >= L) { // once more over pixels that are done
    store(out + count - L, load(row + count - L));
    return;
  }
  for (; j < count; ++j) out[j] = row[j];
}

// out[j] = row[(first + j) * stride + residue] for j < count, zeros outside [0, width)
template <class T> void pack_row(const T *row, int64_t width, int64_t first, int64_t stride, int64_t residue, int64_t count, T *out) {
  int64_t begin = ceil_div(-residue, stride) - first, end = ceil_div(width - residue, stride) - first;
  begin = begin < 0 ? 0 : begin > count ? count : begin;
  end = end < begin ? begin : end > count ? count : end;
  if (begin == end) { // nothing of the row is seen; `row` may then be no row at all
    for (int64_t j = 0; j < count; ++j) out[j] = 0;
    return;
  }
  clear_run(out, begin);
  const T *source = row + first * stride + residue;
  if (stride == 1)
    copy_pixels(source + begin, end - begin, out + begin);
  else if (stride == 2)
    for (int64_t j = begin; j < end; ++j) out[j] = source[j * 2];
  else
    for (int64_t j = begin; j < end; ++j) out[j] = source[j * stride];
  clear_run(out + end, count - end);
}

// Both residues of stride 2 at once: even[j] and odd[j] = row[2 (first + j)] and the element after it, j < count, zeros outside
// [0, width).
template <class T> TG_INLINE void pack_row_pair(const T *row, int64_t width, int64_t first, int64_t count, T *even, T *odd) {
  constexpr int64_t L = lanes<T>;
  constexpr lane_numbers<T> n{};
  int64_t begin = first < 0 ? -first : 0, end = width / 2 - first; // whole pairs
  begin = begin < count ? begin : count;
  end = end < begin ? begin : end < count ? end : count;
  const auto split = [&](int64_t j) {
    const T *p = row + 2 * (first + j);
    vec<T> a = load(p), b = load(p + L);
    keep_in_register(a);
    keep_in_register(b);
    store(even + j, even_lanes(a, b, n));
    store(odd + j, odd_lanes(a, b, n));
  };
  int64_t j = begin;
  for (; j + L <= end; j += L) split(j);
  if (j < end && end - begin >= L) { // once more over pairs that are done
    split(end - L);
    j = end;
  }
  for (; j < end; ++j) even[j] = row[2 * (first + j)], odd[j] = row[2 * (first + j) + 1];
  clear_run(even, begin);
  clear_run(odd, begin);
  clear_run(even + end, count - end);
  clear_run(odd + end, count - end);
  if (width % 2 != 0 && first + end == width / 2 && end < count) even[end] = row[width - 1];
}

template <bool ForWriting = false, class T> TG_INLINE void prefetch_row(const T *row, int64_t count) {
  for (int64_t j = 0; j < count; j += 64 / static_cast<int64_t>(sizeof(T))) __builtin_prefetch(row + j, ForWriting);
}

// Packs what the output rows [row, row + rows) of one image and group read.
template <class T> void pack_input(const Correlation<T> &k, const Layout &l, const T *image, int64_t row, T *packed) {
  const bool pair = k.stride_w == 2 && l.column_residues == 2;
  const int64_t plane = l.plane_rows * l.pitch;
  for (int64_t c = 0; c < k.in; ++c)
    for (int64_t a = 0; a < l.row_residues; ++a)
      for (int64_t r = 0; r < l.plane_rows; ++r) {
        T *out = packed + c * l.channel_stride + a * l.column_residues * plane + r * l.pitch; // lead: 0
        const int64_t source = (row + r + l.first_row) * k.stride_h + a;
        const bool inside = source >= 0 && source < k.h;
        const T *line = image + (c * k.h + (inside ? source : 0)) * k.width;
        if (inside && c + 1 < k.in) prefetch_row(line + k.h * k.width, k.width); // a row of the next channel: far enough ahead
        if (inside && pair)
          pack_row_pair(line, k.width, l.first_column, l.pitch, out, out + plane);
        else
          for (int64_t b = 0; b < l.column_residues; ++b) {
            if (inside)
              pack_row(line, k.width, l.first_column, k.stride_w, b, l.pitch, out + b * plane);
            else
              memset(out + b * plane, 0, static_cast<size_t>(l.pitch) * sizeof(T));
          }
      }
}

// offsets[t]: where the tap t of the first output is read. `aligned`: the first pixel of an image row lies at the start of a vector.
template <class T> Layout plan_layout(const Correlation<T> &k, int64_t rows, int64_t *offsets, bool aligned = false) {
  Layout l{};
  int64_t row_low = INT64_MAX, row_high = INT64_MIN, column_low = INT64_MAX, column_high = INT64_MIN, row_used = 0, column_used = 0;
  for (int64_t t = 0; t < k.tap_count; ++t) {
    const int64_t q = floor_div(k.taps[t].row, k.stride_h), p = floor_div(k.taps[t].column, k.stride_w);
    row_low = q < row_low ? q : row_low;
    row_high = q > row_high ? q : row_high;
    column_low = p < column_low ? p : column_low;
    column_high = p > column_high ? p : column_high;
    row_used = row_used > k.taps[t].row - q * k.stride_h ? row_used : k.taps[t].row - q * k.stride_h;
    column_used = column_used > k.taps[t].column - p * k.stride_w ? column_used : k.taps[t].column - p * k.stride_w;
  }
  l.row_residues = row_used + 1; // residues beyond the largest one in use are not packed
  l.column_residues = column_used + 1;
  l.first_row = row_low;
  l.first_column = column_low;
  l.row_span = row_high - row_low;
  l.column_span = column_high - column_low;
  constexpr int64_t L = lanes<T>;
  l.pitch = k.columns + l.column_span;
  if (aligned) {
    l.lead = column_low < 0 ? (L - -column_low % L) % L : 0;
    l.pitch = ceil_div(l.lead + l.pitch, L) * L;
  }
  l.plane_rows = rows + l.row_span;
  constexpr int64_t line = 64 / static_cast<int64_t>(sizeof(T));
  l.channel_stride = ceil_div(l.row_residues * l.column_residues * l.plane_rows * l.pitch, line) * line;
  l.channel_stride += l.channel_stride / line % 2 ? 0 : line; // an odd number of cache lines: channels spread over all sets
  const int64_t row_by_row = rows * ceil_div(k.columns, L), numbered_through = ceil_div(rows * l.pitch - l.column_span, L);
  l.flat = numbered_through * 12 < row_by_row * 11;
  for (int64_t t = 0; t < k.tap_count; ++t) {
    const int64_t q = floor_div(k.taps[t].row, k.stride_h), p = floor_div(k.taps[t].column, k.stride_w);
    const int64_t plane = (k.taps[t].row - q * k.stride_h) * l.column_residues + (k.taps[t].column - p * k.stride_w);
    offsets[t] = (plane * l.plane_rows + q - row_low) * l.pitch + l.lead + p - column_low;
  }
  return l;
}

// Where the taps form a full 3x3 square: its upper left shift, and the weight index of each place.
inline bool square_of_taps(const Correlation<float> &k, int64_t &first_row, int64_t &first_column, int64_t (&index)[3][3]) {
  if (k.tap_count != 9) return false;
  first_row = first_column = INT64_MAX;
  for (int t = 0; t < 9; ++t) {
    first_row = k.taps[t].row < first_row ? k.taps[t].row : first_row;
    first_column = k.taps[t].column < first_column ? k.taps[t].column : first_column;
  }
  int seen = 0;
  for (int t = 0; t < 9; ++t) {
    const int64_t a = k.taps[t].row - first_row, b = k.taps[t].column - first_column;
    if (a > 2 || b > 2) return false;
    index[a][b] = k.taps[t].index;
    seen |= 1 << (3 * a + b);
  }
  return seen == 511;
}

} // namespace
} // namespace tautgrad::cpu::TG_ISA
