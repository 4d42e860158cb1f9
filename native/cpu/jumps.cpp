// The derivative of the 1D prox in lambda: sums and spreads over the jumps of a solution (specification of the TV layers, §3.3).
//   sum:    out_line = sum_e w_e s_e (a_{e+1} - a_e)
//   spread: out_i = v_line (w_{i-1} s_{i-1} - w_i s_i),     s_e = sign(y_{e+1} - y_e), the adjoint of the sum
#include "parallel.h"
#include "simd.hpp"

namespace tautgrad::cpu::TG_ISA {
namespace {

template <class T> TG_INLINE vec<T> signs(vec<T> here, vec<T> next) {
  const vec<T> one = splat<T>(1), zero{};
  // NaN compares false both ways: no jump.
  return (next > here ? one : zero) - (next < here ? one : zero);
}
template <class T> TG_INLINE T sign_of(T here, T next) { return static_cast<T>((next > here) - (next < here)); }

template <class T> TG_INLINE T lane_sum(vec<T> v) {
  T part[lanes<T>];
  memcpy(part, &v, sizeof v);
  for (int half = lanes<T> / 2; half > 0; half /= 2)
    for (int k = 0; k < half; ++k) part[k] += part[k + half];
  return part[0];
}

template <class T> TG_INLINE vec<T> row_terms(int64_t e, const T *y, const T *w, const T *a) {
  const vec<T> terms = signs<T>(load(y + e), load(y + e + 1)) * (load(a + e + 1) - load(a + e));
  return w ? terms * load(w + e) : terms;
}

// The lanes of a row's last, overlapping vector that hold edges not yet counted.
template <class T> mask<T> fresh_lanes(int64_t edges) {
  int_like<T> lane[lanes<T>];
  for (int k = 0; k < lanes<T>; ++k) lane[k] = k >= lanes<T> - edges % lanes<T> ? -1 : 0;
  mask<T> m;
  memcpy(&m, lane, sizeof m);
  return m;
}

template <class T> T row_sum(int64_t n, const T *y, const T *w, const T *a, mask<T> fresh) {
  const int64_t edges = n - 1;
  if (edges < lanes<T>) {
    T sum = 0;
    for (int64_t e = 0; e < edges; ++e) sum += (w ? w[e] : T(1)) * sign_of(y[e], y[e + 1]) * (a[e + 1] - a[e]);
    return sum;
  }
  vec<T> total{};
  int64_t e = 0;
  for (; e + lanes<T> <= edges; e += lanes<T>) total += row_terms(e, y, w, a);
  // The last vector overlaps the one before it: the lanes that were counted are left out.
  if (e < edges) total += fresh ? row_terms(edges - lanes<T>, y, w, a) : vec<T>{};
  return lane_sum<T>(total);
}

template <class T> void row_spread(int64_t n, const T *y, const T *w, T v, T *out) {
  T left = 0;
  for (int64_t e = 0; e < n; ++e) {
    const T right = e + 1 < n ? (w ? w[e] : T(1)) * sign_of(y[e], y[e + 1]) : T(0);
    out[e] = v * (left - right);
    left = right;
  }
}

// Lines beside each other (inner > 1): columns [from, to) of one outer block.
template <class T> void columns_sum(const tg_lines &l, int64_t from, int64_t to, const T *y, const T *w, const T *a, T *out) {
  for (int64_t i = from; i < to; ++i) out[i] = 0;
  for (int64_t e = 0; e + 1 < l.n; ++e) {
    const int64_t at = e * l.inner;
    for (int64_t i = from; i < to; ++i) {
      const T weight = w ? w[at + i] : T(1);
      out[i] += weight * sign_of(y[at + i], y[at + l.inner + i]) * (a[at + l.inner + i] - a[at + i]);
    }
  }
}

template <class T> void columns_spread(const tg_lines &l, int64_t from, int64_t to, const T *y, const T *w, const T *v, T *out) {
  for (int64_t e = 0; e < l.n; ++e) {
    const int64_t at = e * l.inner;
    for (int64_t i = from; i < to; ++i) {
      const T left = e > 0 ? (w ? w[at - l.inner + i] : T(1)) * sign_of(y[at - l.inner + i], y[at + i]) : T(0);
      const T right = e + 1 < l.n ? (w ? w[at + i] : T(1)) * sign_of(y[at + i], y[at + l.inner + i]) : T(0);
      out[at + i] = v[i] * (left - right);
    }
  }
}

// Calls rows(first, last) or columns(outer, from, to) on pieces of about 64k samples.
template <class Rows, class Columns> void over_lines(const tg_lines &l, const Rows &rows, const Columns &columns) {
  constexpr int64_t PIECE = 65536;
  const int64_t per_line = l.n > 0 ? l.n : 1;
  if (l.inner == 1) {
    const int64_t block = PIECE / per_line > 1 ? PIECE / per_line : 1;
    parallel_for((l.outer + block - 1) / block,
                 [&](int64_t k) { rows(k * block, k * block + block < l.outer ? k * block + block : l.outer); });
    return;
  }
  const int64_t wide = (PIECE / per_line + 63) / 64 * 64, block = wide > 64 ? wide : 64;
  const int64_t pieces = (l.inner + block - 1) / block;
  parallel_for(l.outer * pieces, [&](int64_t k) {
    const int64_t from = k % pieces * block;
    columns(k / pieces, from, from + block < l.inner ? from + block : l.inner);
  });
}

template <class T> void sum_all(const tg_lines &l, const T *y, const T *w, const T *a, T *out) {
  const int64_t edges = l.n > 0 ? l.n - 1 : 0;
  over_lines(
      l,
      [&](int64_t first, int64_t last) {
        const mask<T> fresh = fresh_lanes<T>(edges);
        for (int64_t o = first; o < last; ++o) out[o] = row_sum<T>(l.n, y + o * l.n, w ? w + o * edges : nullptr, a + o * l.n, fresh);
      },
      [&](int64_t o, int64_t from, int64_t to) {
        const int64_t base = o * l.n * l.inner;
        columns_sum(l, from, to, y + base, w ? w + o * edges * l.inner : nullptr, a + base, out + o * l.inner);
      });
}

template <class T> void spread_all(const tg_lines &l, const T *y, const T *w, const T *v, T *out) {
  const int64_t edges = l.n > 0 ? l.n - 1 : 0;
  over_lines(
      l,
      [&](int64_t first, int64_t last) {
        for (int64_t o = first; o < last; ++o) row_spread(l.n, y + o * l.n, w ? w + o * edges : nullptr, v[o], out + o * l.n);
      },
      [&](int64_t o, int64_t from, int64_t to) {
        const int64_t base = o * l.n * l.inner;
        columns_spread(l, from, to, y + base, w ? w + o * edges * l.inner : nullptr, v + o * l.inner, out + base);
      });
}

int jump_sum(int64_t dtype, const tg_lines *l, const void *y, const void *w, const void *a, void *out) {
  if (dtype == TG_F32)
    sum_all(*l, static_cast<const float *>(y), static_cast<const float *>(w), static_cast<const float *>(a), static_cast<float *>(out));
  else if (dtype == TG_F64)
    sum_all(*l, static_cast<const double *>(y), static_cast<const double *>(w), static_cast<const double *>(a), static_cast<double *>(out));
  else
    return fail("expected a floating-point type but received code %d", static_cast<int>(dtype));
  return TG_OK;
}

int jump_spread(int64_t dtype, const tg_lines *l, const void *y, const void *w, const void *v, void *out) {
  if (dtype == TG_F32)
    spread_all(*l, static_cast<const float *>(y), static_cast<const float *>(w), static_cast<const float *>(v), static_cast<float *>(out));
  else if (dtype == TG_F64)
    spread_all(*l, static_cast<const double *>(y), static_cast<const double *>(w), static_cast<const double *>(v),
               static_cast<double *>(out));
  else
    return fail("expected a floating-point type but received code %d", static_cast<int>(dtype));
  return TG_OK;
}
} // namespace

void register_jumps(tg_backend *t) {
  t->jump_sum = jump_sum;
  t->jump_spread = jump_spread;
}
} // namespace tautgrad::cpu::TG_ISA
