// Sums and maps over runs of contiguous numbers, which batch norm and layer norm are made of.
#pragma once

#include "../kernels/normalization.h"
#include "dispatch.hpp"

namespace tautgrad::cpu::TG_ISA {
namespace {

constexpr int64_t RUN = 2048; // elements summed in the element type before they go to a float64

TG_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// total[t] += the terms that f(V *terms, position, tag of V) adds up over a run, by vectors and for the rest by elements.
template <class T, int Terms, class F> TG_INLINE void sum_run(int64_t n, double (&total)[Terms], const F &f) {
  constexpr int L = lanes<T>, UNROLL = 4;
  int64_t k = 0;
  if (n >= UNROLL * L) {
    vec<T> acc[UNROLL][Terms] = {};
    for (; k + UNROLL * L <= n; k += UNROLL * L)
#pragma GCC unroll 4
      for (int u = 0; u < UNROLL; ++u) f(acc[u], k + u * L, type_tag<vec<T>>{});
    for (int t = 0; t < Terms; ++t) total[t] += static_cast<double>(horizontal_sum<T>((acc[0][t] + acc[1][t]) + (acc[2][t] + acc[3][t])));
  }
  T rest[Terms] = {};
  for (; k < n; ++k) f(rest, k, type_tag<T>{});
  for (int t = 0; t < Terms; ++t) total[t] += static_cast<double>(rest[t]);
}

// A vector, or an element.
template <class T> TG_INLINE vec<T> read(const T *p, type_tag<vec<T>>) { return load(p); }
template <class T> TG_INLINE T read(const T *p, type_tag<T>) { return *p; }
template <class T> TG_INLINE vec<T> positive_part(vec<T> z) { return z < T(0) ? vec<T>{} : z; } // of NaN: NaN
template <class V> TG_INLINE V where_positive(V z, V g) { return z > V{} ? g : V{}; }

// y = f(at) over a run, where at(p) is what lies at p + the position.
template <class T, class F> TG_INLINE void map_run(int64_t n, T *y, const F &f) {
  constexpr int L = lanes<T>;
  int64_t k = 0;
  for (; k + L <= n; k += L) store(y + k, f([=](const T *p) TG_LAMBDA { return load(p + k); }));
  if (k < n) store_partial(y + k, f([=](const T *p) TG_LAMBDA { return load_partial(p + k, n - k); }), n - k);
}

} // namespace
} // namespace tautgrad::cpu::TG_ISA
