// The one-dimensional transforms of Winograd's F(4, 3) and of its transpose F(3, 4), and the lane shuffles that bring every fourth
// pixel together.
#pragma once

#include "conv.hpp"

namespace tautgrad::cpu::TG_ISA {
namespace {

// The interpolation points 0, +-A, +-B and infinity. The textbook's 1 and 2 lose about 3.5 times as much to rounding as 3/4 and 3/2 do;
// the products of these are exact in float32.
constexpr float A = 0.75f, B = 1.5f, A2 = A * A, B2 = B * B, A3 = A * A2, B3 = B * B2;
// 1 / prod of (p - q) over the other finite points q, for p = 0, A and B
constexpr float N0 = 1 / (A2 * B2), NA = 1 / (2 * A2 * (A2 - B2)), NB = 1 / (2 * B2 * (B2 - A2));

// The rows of B' for two pairs of points +-a, +-b: d[0..3] := the values at a, -a, b, -b.
template <class V> TG_INLINE void input_at_pairs(float a, float b, V *d) {
  const V p = d[3] - b * b * d[1], q = d[2] - b * b * d[0], r = d[3] - a * a * d[1], s = d[2] - a * a * d[0];
  d[0] = p + a * q;
  d[1] = p - a * q;
  d[2] = r + b * s;
  d[3] = r - b * s;
}

// d := B' d
template <class V> TG_INLINE void winograd_input(V (&d)[6]) {
  d[0] = A2 * B2 * d[0] - (A2 + B2) * d[2] + d[4];
  d[5] = A2 * B2 * d[1] - (A2 + B2) * d[3] + d[5];
  input_at_pairs(A, B, d + 1);
}

// d[0..3] := A' d[0..5]
template <class V> TG_INLINE void winograd_output(V *d) {
  const V s = d[1] + d[2], a = d[1] - d[2], u = d[3] + d[4], b = d[3] - d[4];
  d[0] = d[0] + s + u;
  d[1] = A * a + B * b;
  d[2] = A2 * s + B2 * u;
  d[3] = A3 * a + B3 * b + d[5];
}

// out[0], out[step], ... out[5 step] = G (w0, w1, w2)
template <class V> TG_INLINE void winograd_weight(V w0, V w1, V w2, V *out, int64_t step) {
  const V s = NA * (w0 + A2 * w2), t = NA * A * w1, u = NB * (w0 + B2 * w2), v = NB * B * w1;
  out[0] = N0 * w0;
  out[step] = s + t;
  out[2 * step] = s - t;
  out[3 * step] = u + v;
  out[4 * step] = u - v;
  out[5 * step] = w2;
}

// The transposed algorithm F(3, 4): d[0..5] := G (d[0..3]) for a gradient of four outputs, d[0..2] := A' d[0..5] for three weights.
template <class V> TG_INLINE void winograd_gradient(V *d) {
  const V s = NA * (d[0] + A2 * d[2]), t = NA * A * (d[1] + A2 * d[3]), u = NB * (d[0] + B2 * d[2]), v = NB * B * (d[1] + B2 * d[3]);
  d[5] = d[3];
  d[0] = N0 * d[0];
  d[1] = s + t;
  d[2] = s - t;
  d[3] = u + v;
  d[4] = u - v;
}
template <class V> TG_INLINE void winograd_weight_gradient(V *d) {
  const V s = d[1] + d[2], a = d[1] - d[2], u = d[3] + d[4], b = d[3] - d[4];
  d[0] = d[0] + s + u;
  d[1] = A * a + B * b;
  d[2] = A2 * s + B2 * u + d[5];
}

// d[0..3], 4 L consecutive elements, become the elements 4 t, 4 t + 1, 4 t + 2, 4 t + 3.
template <class T> TG_INLINE void deinterleave4(vec<T> *d) {
  constexpr lane_numbers<T> n{};
  const vec<T> e0 = even_lanes(d[0], d[1], n), o0 = odd_lanes(d[0], d[1], n), e1 = even_lanes(d[2], d[3], n), o1 = odd_lanes(d[2], d[3], n);
  d[0] = even_lanes(e0, e1, n);
  d[1] = even_lanes(o0, o1, n);
  d[2] = odd_lanes(e0, e1, n);
  d[3] = odd_lanes(o0, o1, n);
}
// The inverse.
template <class T> TG_INLINE void interleave4(vec<T> *d) {
  constexpr lane_numbers<T> n{};
  const vec<T> a0 = zip_low(d[0], d[2], n), a1 = zip_high(d[0], d[2], n), b0 = zip_low(d[1], d[3], n), b1 = zip_high(d[1], d[3], n);
  d[0] = zip_low(a0, b0, n);
  d[1] = zip_high(a0, b0, n);
  d[2] = zip_low(a1, b1, n);
  d[3] = zip_high(a1, b1, n);
}
// v's lanes one down, `last` at the top
template <class T> TG_INLINE vec<T> next_lane(vec<T> v, T last) { return shifted_down(v, splat(last), lane_numbers<T>{}); }

} // namespace
} // namespace tautgrad::cpu::TG_ISA
