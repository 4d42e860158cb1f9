// What the 3x3 convolutions of stride 2 share. With O[i] = x[2 i + first] and I[i] = x[2 i + first + 1], the rows of the input that the
// outer taps and the inner tap of a column read,
//   y[i] = w0 O[i] + w2 O[i + 1] + w1 I[i]:
// two taps, by Winograd's F(4, 2) at 5 points for 4 outputs, and a single one, whose 4 products nothing can reduce. 9 row products stand
// for
// 12. A place 0..4 of the nine is a point of O, 5..8 a row of I; these four share their weights: six kinds of weights.
// Along the rows nothing is transformed (doing so, 81 products for 144, cost more in shuffles and cache than it saved: bench/lab).
#pragma once

#include "conv_pack.hpp"
#include "conv_tile.hpp"
#include "winograd.hpp"

namespace tautgrad::cpu::TG_ISA {
namespace {

constexpr int PLACES = 9, KINDS = 6;
constexpr int kind_of(int place) { return place < 5 ? place : 5; }

// The interpolation points +-1/2, +-5/4 and infinity. 0, +-1 and 2 lose four times as much to rounding; the products of these are exact.
constexpr float P = 0.5f, Q = 1.25f, P2 = P * P, Q2 = Q * Q, P3 = P * P2, Q3 = Q * Q2;
constexpr float NP = 1 / (2 * P * (P2 - Q2)), NQ = 1 / (2 * Q * (Q2 - P2)); // of the point with the upper sign; the other's is its negative

// d := B' d
template <class V> TG_INLINE void residue_input(V (&d)[5]) {
  d[4] = P2 * Q2 * d[0] - (P2 + Q2) * d[2] + d[4];
  input_at_pairs(P, Q, d);
}
// d[0..3] := A' d[0..4]
template <class V> TG_INLINE void residue_output(V *d) {
  const V s = d[0] + d[1], a = d[0] - d[1], u = d[2] + d[3], b = d[2] - d[3];
  d[0] = s + u;
  d[1] = P * a + Q * b;
  d[2] = P2 * s + Q2 * u;
  d[3] = P3 * a + Q3 * b + d[4];
}
// out[0], out[step], ... out[4 step] = G (w0, w2)
template <class V> TG_INLINE void residue_weight(V w0, V w2, V *out, int64_t step) {
  out[0] = NP * (w0 + P * w2);
  out[step] = -NP * (w0 - P * w2);
  out[2 * step] = NQ * (w0 + Q * w2);
  out[3 * step] = -NQ * (w0 - Q * w2);
  out[4 * step] = w2;
}

// The transposes, for the weight gradient. d[0..4] := A d[0..3] of a gradient of four outputs
template <class V> TG_INLINE void residue_gradient(V *d) {
  const V s = d[0] + P2 * d[2], t = P * d[1] + P3 * d[3], u = d[0] + Q2 * d[2], v = Q * d[1] + Q3 * d[3];
  d[4] = d[3];
  d[0] = s + t;
  d[1] = s - t;
  d[2] = u + v;
  d[3] = u - v;
}
// (w0, w2) = G' d[0..4]
template <class V> TG_INLINE void residue_weight_gradient(const V *d, V &w0, V &w2) {
  w0 = NP * (d[0] - d[1]) + NQ * (d[2] - d[3]);
  w2 = NP * P * (d[0] + d[1]) + NQ * Q * (d[2] + d[3]) + d[4];
}

// The L pairs of pixels from `at` on of nine rows, split by residue and transformed; the first `count` of them are stored.
TG_INLINE void transform_pairs(const float *const (&rows)[9], int64_t at, int64_t count, float *even, float *odd, int64_t place) {
  constexpr int64_t L = lanes<float>;
  constexpr lane_numbers<float> n{};
  vec<float> e[5], o[5];
  const auto keep = [&](float *p, vec<float> v) {
    if (count >= L)
      store(p, v);
    else
      store_partial(p, v, count);
  };
  const auto split = [&](const float *row, vec<float> &even_pixels, vec<float> &odd_pixels) TG_LAMBDA {
    vec<float> a = load(row + at), b = load(row + at + L);
    keep_in_register(a);
    keep_in_register(b);
    even_pixels = even_lanes(a, b, n), odd_pixels = odd_lanes(a, b, n);
  };
  for (int i = 0; i < 4; ++i) {
    vec<float> inner_even, inner_odd;
    split(rows[2 * i + 1], inner_even, inner_odd);
    keep(even + (5 + i) * place, inner_even), keep(odd + (5 + i) * place, inner_odd);
  }
  for (int i = 0; i < 5; ++i) split(rows[2 * i], e[i], o[i]);
  residue_input(e);
  residue_input(o);
  for (int i = 0; i < 5; ++i) keep(even + i * place, e[i]), keep(odd + i * place, o[i]);
}

// The transformed input of a block of rows: in[c][residue O, I][place][row of tiles][lead + column].
struct ResidueRows {
  int64_t block_rows;              // groups of four output rows
  int64_t lead, pitch;             // elements before and of a row of one residue
  int64_t place, residue, channel; // elements between places, residues, channels
  int64_t first_row, first_column; // the kernel's upper left tap
};

// `channels` channels from `first_channel` on, which goes to `in`. `zeros` are a row of them.
inline void transform_residue_rows(const Correlation<float> &k, const ResidueRows &p, const float *image, int64_t first_channel,
                                   int64_t channels, int64_t tile_row0, const float *zeros, float *in) {
  constexpr int64_t L = lanes<float>;
  // Columns of O from first_column on, those of I from the next pixel on: the even and odd residues or the other way round, I then one
  // pair later.
  const int64_t first = floor_div(p.first_column, 2), count = k.columns + 1, plane = k.h * k.width;
  const bool swapped = p.first_column % 2 != 0;
  int64_t begin = first < 0 ? -first : 0, end = k.width / 2 - first; // whole pairs of pixels
  begin = begin < count ? begin : count;
  end = end < begin ? begin : end < count ? end : count;
  const bool single = k.width % 2 != 0 && end < count && first + end == k.width / 2; // a pixel without its odd neighbour follows
  for (int64_t r = 0; r < p.block_rows; ++r) {
    int64_t offsets[9], ahead[9]; // of the rows in a plane, and what to prefetch there: the next channel's
    for (int i = 0; i < 9; ++i) {
      const int64_t row = 8 * (tile_row0 + r) + p.first_row + i;
      offsets[i] = row < 0 || row >= k.h ? -1 : row * k.width;
      ahead[i] = offsets[i] < 0 ? 0 : plane;
    }
    for (int64_t c = 0; c < channels; ++c) {
      float *outer = in + c * p.channel + r * p.pitch + p.lead, *even = outer + (swapped ? p.residue : 0),
            *odd = outer + (swapped ? 0 : p.residue);
      const float *image_plane = image + (first_channel + c) * plane, *rows[9];
      for (int i = 0; i < 9; ++i) rows[i] = offsets[i] < 0 ? zeros : image_plane + offsets[i];
      if (begin > 0)
        for (int place = 0; place < PLACES; ++place) clear_run(even + place * p.place, begin), clear_run(odd + place * p.place, begin);
      if (end < count)
        for (int place = 0; place < PLACES; ++place)
          clear_run(even + place * p.place + end, count - end), clear_run(odd + place * p.place + end, count - end);
      const bool more = first_channel + c + 1 < k.in;
      int64_t j = begin;
      for (; j + L <= end; j += L) {
        if (more)
          for (int i = 0; i < 9; ++i) {
            __builtin_prefetch(rows[i] + ahead[i] + 2 * (first + j));
            if constexpr (L * 8 > 64) __builtin_prefetch(rows[i] + ahead[i] + 2 * (first + j) + L);
          }
        transform_pairs(rows, 2 * (first + j), L, even + j, odd + j, p.place);
      }
      if (j < end && end - begin >= L) { // once more over pairs that are done
        transform_pairs(rows, 2 * (first + end - L), L, even + end - L, odd + end - L, p.place);
        j = end;
      }
      if (j < end + single) { // less than a vector: from copies with zeros behind
        alignas(64) float copies[9][2 * L] = {};
        const float *few[9];
        for (int i = 0; i < 9; ++i) {
          for (int64_t q = 2 * (first + j); q < 2 * (first + end) + single; ++q) copies[i][q - 2 * (first + j)] = rows[i][q];
          few[i] = copies[i];
        }
        transform_pairs(few, 0, end + single - j, even + j, odd + j, p.place);
      }
    }
  }
}

} // namespace
} // namespace tautgrad::cpu::TG_ISA
