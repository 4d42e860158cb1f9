// Tridiagonal systems across SIMD lanes: element k of a block's systems lies in consecutive places, `stride` after element k - 1.
// The arithmetic is that of kernels/tridiagonal.h, operation for operation. A block answers with the systems whose pivots failed; those are
// solved again one by one, which settles LAPACK's status.
#pragma once

#include "lane_quads.h"

namespace tautgrad::cpu::TG_ISA {
namespace {

// Two vectors side by side hide the latency of the divisions.
enum { LANE_GROUPS = 2 };

template <class T> struct SystemBlock {
  using L = Lanes<T>;
  using V = typename L::V;
  using M = typename L::M;
  static constexpr int width = LANE_GROUPS * L::width;

  // Bit per system.
  static TG_INLINE uint64_t bits(const M *m) {
    uint64_t all = 0;
    for (int g = 0; g < LANE_GROUPS; ++g) all |= uint64_t(L::bits(m[g])) << (g * L::width);
    return all;
  }

  static uint64_t pttrf(int64_t n, const T *d, const T *e, T *d_out, T *l_out, int64_t stride) {
    V pivot[LANE_GROUPS];
    M good[LANE_GROUPS];
    for (int g = 0; g < LANE_GROUPS; ++g) {
      pivot[g] = L::load(d + g * L::width);
      good[g] = L::all();
    }
    for (int64_t k = 0; k < n; ++k)
      for (int g = 0; g < LANE_GROUPS; ++g) {
        const int64_t at = k * stride + g * L::width;
        L::store(d_out + at, pivot[g]);
        good[g] = L::both(good[g], L::less(L::splat(0), pivot[g]));
        if (k + 1 == n) continue;
        const V off = L::load(e + at), next = L::load(d + at + stride), l = off / pivot[g];
        L::store(l_out + at, l);
        pivot[g] = next - l * off;
      }
    return ~bits(good);
  }

  static void pttrs(int64_t n, const T *d, const T *l, const T *b, T *x, int64_t stride) {
    V carry[LANE_GROUPS];
    for (int g = 0; g < LANE_GROUPS; ++g) {
      carry[g] = L::load(b + g * L::width);
      L::store(x + g * L::width, carry[g]);
    }
    for (int64_t k = 1; k < n; ++k)
      for (int g = 0; g < LANE_GROUPS; ++g) {
        const int64_t at = k * stride + g * L::width;
        carry[g] = L::load(b + at) - carry[g] * L::load(l + at - stride);
        L::store(x + at, carry[g]);
      }
    for (int g = 0; g < LANE_GROUPS; ++g) {
      const int64_t at = (n - 1) * stride + g * L::width;
      carry[g] = carry[g] / L::load(d + at);
      L::store(x + at, carry[g]);
    }
    for (int64_t k = n - 2; k >= 0; --k)
      for (int g = 0; g < LANE_GROUPS; ++g) {
        const int64_t at = k * stride + g * L::width;
        carry[g] = L::load(x + at) / L::load(d + at) - carry[g] * L::load(l + at);
        L::store(x + at, carry[g]);
      }
  }

  // pivots, factors: n * width each.
  static uint64_t ptsv(int64_t n, const T *d, const T *e, const T *b, T *x, int64_t stride, T *pivots, T *factors) {
    V pivot[LANE_GROUPS], carry[LANE_GROUPS];
    M good[LANE_GROUPS];
    for (int g = 0; g < LANE_GROUPS; ++g) {
      pivot[g] = L::load(d + g * L::width);
      carry[g] = L::load(b + g * L::width);
      good[g] = L::less(L::splat(0), pivot[g]);
      L::store(pivots + g * L::width, pivot[g]);
      L::store(x + g * L::width, carry[g]);
    }
    for (int64_t k = 1; k < n; ++k)
      for (int g = 0; g < LANE_GROUPS; ++g) {
        const int64_t at = k * stride + g * L::width, own = k * width + g * L::width;
        const V off = L::load(e + at - stride), factor = off / pivot[g];
        L::store(factors + own - width, factor);
        pivot[g] = L::load(d + at) - factor * off;
        L::store(pivots + own, pivot[g]);
        good[g] = L::both(good[g], L::less(L::splat(0), pivot[g]));
        carry[g] = L::load(b + at) - carry[g] * factor;
        L::store(x + at, carry[g]);
      }
    for (int g = 0; g < LANE_GROUPS; ++g) {
      carry[g] = carry[g] / pivot[g];
      L::store(x + (n - 1) * stride + g * L::width, carry[g]);
    }
    for (int64_t k = n - 2; k >= 0; --k)
      for (int g = 0; g < LANE_GROUPS; ++g) {
        const int64_t at = k * stride + g * L::width, own = k * width + g * L::width;
        carry[g] = L::load(x + at) / L::load(pivots + own) - carry[g] * L::load(factors + own);
        L::store(x + at, carry[g]);
      }
    return ~bits(good);
  }

  static TG_INLINE V magnitude(V v) { return L::max(v, -v); }

  // u0, u1, u2: n * width each.
  static uint64_t gtsv(int64_t n, const T *dl, const T *d, const T *du, const T *b, T *x, int64_t stride, T *u0, T *u1, T *u2) {
    const V zero = L::splat(0);
    V diagonal[LANE_GROUPS], super[LANE_GROUPS], rhs[LANE_GROUPS];
    M bad[LANE_GROUPS];
    for (int g = 0; g < LANE_GROUPS; ++g) {
      diagonal[g] = L::load(d + g * L::width);
      super[g] = n > 1 ? L::load(du + g * L::width) : zero;
      rhs[g] = L::load(b + g * L::width);
      bad[g] = L::none();
    }
    for (int64_t k = 0; k + 1 < n; ++k)
      for (int g = 0; g < LANE_GROUPS; ++g) {
        const int64_t at = k * stride + g * L::width, own = k * width + g * L::width;
        const V below = L::load(dl + at), below_d = L::load(d + at + stride), below_b = L::load(b + at + stride);
        const V below_u = k + 2 < n ? L::load(du + at + stride) : zero;
        const M exchange = L::less(magnitude(diagonal[g]), magnitude(below));
        const V pivot = L::select(exchange, below, diagonal[g]), factor = L::select(exchange, diagonal[g], below) / pivot;
        const V pivot_u = L::select(exchange, below_d, super[g]), pivot_b = L::select(exchange, below_b, rhs[g]);
        L::store(u0 + own, pivot);
        L::store(u1 + own, pivot_u);
        L::store(u2 + own, L::select(exchange, below_u, zero));
        L::store(x + at, pivot_b);
        bad[g] = L::either(bad[g], L::equal(pivot, zero));
        diagonal[g] = L::select(exchange, super[g], below_d) - factor * pivot_u;
        super[g] = L::select(exchange, -factor * below_u, below_u);
        rhs[g] = L::select(exchange, rhs[g], below_b) - factor * pivot_b;
      }
    V after[LANE_GROUPS], after2[LANE_GROUPS];
    for (int g = 0; g < LANE_GROUPS; ++g) {
      bad[g] = L::either(bad[g], L::equal(diagonal[g], zero));
      after[g] = rhs[g] / diagonal[g];
      after2[g] = zero;
      L::store(x + (n - 1) * stride + g * L::width, after[g]);
    }
    for (int64_t k = n - 2; k >= 0; --k)
      for (int g = 0; g < LANE_GROUPS; ++g) {
        const int64_t at = k * stride + g * L::width, own = k * width + g * L::width;
        const V value = (L::load(x + at) - L::load(u1 + own) * after[g] - L::load(u2 + own) * after2[g]) / L::load(u0 + own);
        L::store(x + at, value);
        after2[g] = after[g];
        after[g] = value;
      }
    return bits(bad);
  }

  // ---- short rows, read and written where they lie: n is a multiple of 4 from 8 to SHORT. One value behind the last e or l is read. ----
  enum { SHORT = 64 };
  struct Rows {
    int32_t at[LANE_GROUPS][L::width];
    explicit Rows(int64_t apart) {
      for (int i = 0; i < width; ++i) at[i / L::width][i % L::width] = int32_t(i * apart);
    }
  };

  static uint64_t pttrf_short(int64_t n, const T *d, const T *e, T *d_out, T *l_out) {
    const Rows whole(n), edges(n - 1);
    V l[LANE_GROUPS], off[LANE_GROUPS];
    M good[LANE_GROUPS];
    for (int g = 0; g < LANE_GROUPS; ++g) {
      l[g] = off[g] = L::splat(0);
      good[g] = L::all();
    }
    for (int64_t k = 0; k < n; k += 4) {
      Quad<T> qd[LANE_GROUPS], qe[LANE_GROUPS];
      V before[LANE_GROUPS];
      for (int g = 0; g < LANE_GROUPS; ++g) {
        qd[g] = load_quad(d + k, whole.at[g]);
        qe[g] = load_quad(e + k, edges.at[g]);
        before[g] = l[g];
      }
      for (int t = 0; t < 4; ++t)
        for (int g = 0; g < LANE_GROUPS; ++g) {
          const V pivot = k + t > 0 ? qd[g].v[t] - l[g] * off[g] : qd[g].v[t];
          good[g] = L::both(good[g], L::less(L::splat(0), pivot));
          off[g] = qe[g].v[t];
          qd[g].v[t] = pivot;
          if (k + t + 1 < n) qe[g].v[t] = l[g] = off[g] / pivot;
        }
      for (int g = 0; g < LANE_GROUPS; ++g) {
        store_quad(d_out + k, whole.at[g], qd[g]);
        if (k + 4 < n)
          store_quad(l_out + k, edges.at[g], qe[g]);
        else // n - 1 of them: the last four overlap those before
          store_quad(l_out + k - 1, edges.at[g], Quad<T>{{before[g], qe[g].v[0], qe[g].v[1], qe[g].v[2]}});
      }
    }
    return ~bits(good);
  }

  static void pttrs_short(int64_t n, const T *d, const T *l, const T *b, T *x) {
    const Rows whole(n), edges(n - 1);
    V forward[LANE_GROUPS][SHORT], carry[LANE_GROUPS], factor[LANE_GROUPS];
    for (int g = 0; g < LANE_GROUPS; ++g) carry[g] = factor[g] = L::splat(0);
    for (int64_t k = 0; k < n; k += 4)
      for (int g = 0; g < LANE_GROUPS; ++g) {
        const Quad<T> qb = load_quad(b + k, whole.at[g]), ql = load_quad(l + k, edges.at[g]);
        for (int t = 0; t < 4; ++t) {
          forward[g][k + t] = carry[g] = k + t > 0 ? qb.v[t] - carry[g] * factor[g] : qb.v[t];
          factor[g] = ql.v[t];
        }
      }
    for (int64_t k = n - 4; k >= 0; k -= 4)
      for (int g = 0; g < LANE_GROUPS; ++g) {
        const Quad<T> qd = load_quad(d + k, whole.at[g]), ql = load_quad(l + k, edges.at[g]);
        Quad<T> out;
        for (int t = 3; t >= 0; --t) {
          const V own = forward[g][k + t] / qd.v[t];
          out.v[t] = carry[g] = k + t + 1 < n ? own - carry[g] * ql.v[t] : own;
        }
        store_quad(x + k, whole.at[g], out);
      }
  }

  // n elements of `width` contiguous systems, `apart` from one to the next, into the block's order, and back.
  static void interleave(int64_t n, int64_t apart, const T *from, T *to) {
    for (int g = 0; g < LANE_GROUPS; ++g) {
      int32_t at[L::width];
      for (int i = 0; i < L::width; ++i) at[i] = int32_t((g * L::width + i) * apart);
      int64_t k = 0;
      for (; n >= 4 && k < n; k += 4) {
        if (k + 4 > n) k = n - 4; // the last four overlap the four before
        const Quad<T> q = load_quad(from + k, at);
        for (int t = 0; t < 4; ++t) L::store(to + (k + t) * width + g * L::width, q.v[t]);
      }
      for (; k < n; ++k)
        for (int i = 0; i < L::width; ++i) to[k * width + g * L::width + i] = from[at[i] + k];
    }
  }
  // The same for systems that are adjacent already, `apart` from one element to the next.
  static void gather_columns(int64_t n, int64_t apart, const T *from, T *to) {
    for (int64_t k = 0; k < n; ++k)
      for (int g = 0; g < LANE_GROUPS; ++g) L::store(to + k * width + g * L::width, L::load(from + k * apart + g * L::width));
  }
  static void scatter_columns(int64_t n, int64_t apart, const T *from, T *to) {
    for (int64_t k = 0; k < n; ++k)
      for (int g = 0; g < LANE_GROUPS; ++g) L::store(to + k * apart + g * L::width, L::load(from + k * width + g * L::width));
  }
  static void separate(int64_t n, int64_t apart, const T *from, T *to) {
    for (int g = 0; g < LANE_GROUPS; ++g) {
      int32_t at[L::width];
      for (int i = 0; i < L::width; ++i) at[i] = int32_t((g * L::width + i) * apart);
      int64_t k = 0;
      for (; n >= 4 && k < n; k += 4) {
        if (k + 4 > n) k = n - 4;
        Quad<T> q;
        for (int t = 0; t < 4; ++t) q.v[t] = L::load(from + (k + t) * width + g * L::width);
        store_quad(to + k, at, q);
      }
      for (; k < n; ++k)
        for (int i = 0; i < L::width; ++i) to[at[i] + k] = from[k * width + g * L::width + i];
    }
  }
};

} // namespace
} // namespace tautgrad::cpu::TG_ISA
