// Discrete Fourier transforms of lines whose length has small prime factors: Stockham's self-sorting form (Cochran et al. 1967), radices 4
// and 2 written out, a short sum for odd primes. Lanes are lines; a block of lines is brought into lane order, transformed between two
// buffers that stay in cache, and taken back.
#include "dispatch.hpp"
#include "parallel.h"
#include "simd.hpp"

#include "../kernels/fourier.h"

#include <math.h>

namespace tautgrad::cpu::TG_ISA {
namespace {

constexpr int MAX_RADIX = FOURIER_MAX_RADIX;
using Plan = FourierPlan;

template <class T> struct Pair { vec<T> re, im; };
template <class T> TG_INLINE Pair<T> operator+(Pair<T> a, Pair<T> b) { return {a.re + b.re, a.im + b.im}; }
template <class T> TG_INLINE Pair<T> operator-(Pair<T> a, Pair<T> b) { return {a.re - b.re, a.im - b.im}; }
template <class T> TG_INLINE Pair<T> turned(Pair<T> a, T c, T s) { // (c + i s) a
  const vec<T> cosine = splat<T>(c), sine = splat<T>(s);
  return {cosine * a.re - sine * a.im, cosine * a.im + sine * a.re};
}
template <class T> TG_INLINE Pair<T> read(const vec<T> *v, int64_t at) { return {v[2 * at], v[2 * at + 1]}; }
template <class T> TG_INLINE void write(vec<T> *v, int64_t at, Pair<T> a) {
  v[2 * at] = a.re;
  v[2 * at + 1] = a.im;
}

// One stage (kernels/fourier.h); roots[k] = (cos, sign sin)(2 pi k / n).
template <class T, int R> void stage(const Plan &plan, int radix, int64_t s, const T *roots, T sign, const vec<T> *x, vec<T> *y) {
  const int r = R > 0 ? R : radix;
  const int64_t m = plan.n / s / r, step = plan.n / r;
  for (int64_t p = 0; p < m; ++p) {
    for (int64_t q = 0; q < s; ++q) {
      const int64_t from = q + s * p, to = q + s * r * p;
      const auto put = [&](int k, Pair<T> a) TG_LAMBDA {
        const int64_t root = p * k * s;
        write<T>(y, to + s * k, root == 0 ? a : turned<T>(a, roots[2 * root], roots[2 * root + 1]));
      };
      if constexpr (R == 2) {
        const Pair<T> a = read<T>(x, from), b = read<T>(x, from + s * m);
        put(0, a + b);
        put(1, a - b);
      } else if constexpr (R == 4) {
        const Pair<T> a = read<T>(x, from), b = read<T>(x, from + s * m), c = read<T>(x, from + 2 * s * m),
                      d = read<T>(x, from + 3 * s * m);
        const Pair<T> even = a + c, odd = b + d, left = a - c, right = turned<T>(b - d, T(0), sign);
        put(0, even + odd);
        put(1, left + right);
        put(2, even - odd);
        put(3, left - right);
      } else {
        Pair<T> in[MAX_RADIX];
        for (int j = 0; j < r; ++j) in[j] = read<T>(x, from + s * m * j);
        for (int k = 0; k < r; ++k) {
          Pair<T> sum = in[0];
          for (int j = 1; j < r; ++j) {
            const int64_t root = step * (j * k % r);
            sum = sum + turned<T>(in[j], roots[2 * root], roots[2 * root + 1]);
          }
          put(k, sum);
        }
      }
    }
  }
}

// Brings up to `count` lines into lane order (buffer[2 k] real, [2 k + 1] imaginary parts of sample k), and back with a factor.
template <class T> void gather_lines(const tg_lines &g, int64_t line, int64_t count, const T *re, const T *im, vec<T> *buffer) {
  T *out = reinterpret_cast<T *>(buffer);
  for (int part = 0; part < 2; ++part) {
    const T *x = part == 0 ? re : im;
    for (int64_t k = 0; k < g.n; ++k) memset(out + (2 * k + part) * lanes<T>, 0, sizeof(vec<T>));
    if (!x) continue;
    for (int64_t l = 0; l < count; ++l) {
      const T *from = x + (line + l) / g.inner * g.n * g.inner + (line + l) % g.inner;
      for (int64_t k = 0; k < g.n; ++k) out[(2 * k + part) * lanes<T> + l] = from[k * g.inner];
    }
  }
}

template <class T> void scatter_lines(const tg_lines &g, int64_t line, int64_t count, T scale, const vec<T> *buffer, T *re, T *im) {
  const T *in = reinterpret_cast<const T *>(buffer);
  for (int part = 0; part < 2; ++part) {
    T *y = part == 0 ? re : im;
    for (int64_t l = 0; l < count; ++l) {
      T *to = y + (line + l) / g.inner * g.n * g.inner + (line + l) % g.inner;
      for (int64_t k = 0; k < g.n; ++k) to[k * g.inner] = scale * in[(2 * k + part) * lanes<T> + l];
    }
  }
}

// A full block of neighbouring lines: whole vectors where lines lie side by side, square transposes where they lie end to end.
template <class T> void gather_block(const tg_lines &g, const T *re, const T *im, vec<T> *buffer) {
  for (int part = 0; part < 2; ++part) {
    const T *x = part == 0 ? re : im;
    int64_t k = 0;
    if (!x) {
      for (; k < g.n; ++k) buffer[2 * k + part] = vec<T>{};
    } else if (g.inner > 1) {
      for (; k < g.n; ++k) buffer[2 * k + part] = load(x + k * g.inner);
    } else {
      for (; k + lanes<T> <= g.n; k += lanes<T>) {
        vec<T> rows[lanes<T>];
        for (int l = 0; l < lanes<T>; ++l) rows[l] = load(x + l * g.n + k);
        transpose_lanes<T>(rows);
        for (int l = 0; l < lanes<T>; ++l) buffer[2 * (k + l) + part] = rows[l];
      }
      for (; k < g.n; ++k)
        for (int l = 0; l < lanes<T>; ++l) buffer[2 * k + part][l] = x[l * g.n + k];
    }
  }
}

template <class T> void scatter_block(const tg_lines &g, T scale, const vec<T> *buffer, T *re, T *im) {
  const vec<T> factor = splat<T>(scale);
  for (int part = 0; part < 2; ++part) {
    T *y = part == 0 ? re : im;
    int64_t k = 0;
    if (g.inner > 1) {
      for (; k < g.n; ++k) store(y + k * g.inner, factor * buffer[2 * k + part]);
      continue;
    }
    for (; k + lanes<T> <= g.n; k += lanes<T>) {
      vec<T> rows[lanes<T>];
      for (int l = 0; l < lanes<T>; ++l) rows[l] = factor * buffer[2 * (k + l) + part];
      transpose_lanes<T>(rows);
      for (int l = 0; l < lanes<T>; ++l) store(y + l * g.n + k, rows[l]);
    }
    for (; k < g.n; ++k)
      for (int l = 0; l < lanes<T>; ++l) y[l * g.n + k] = scale * buffer[2 * k + part][l];
  }
}

template <class T> int fft_typed(const tg_lines &g, int64_t direction, double scale, const T *re, const T *im, T *out_re, T *out_im) {
  const Plan plan = fourier_plan(g.n);
  T *roots = static_cast<T *>(scratch(0, 2 * g.n * int64_t(sizeof(T))));
  if (!roots) return fail("fft: out of memory for lines of %lld samples", (long long)g.n);
  const T sign = direction < 0 ? T(-1) : T(1);
  for (int64_t k = 0; k < g.n; ++k) {
    const double angle = 6.283185307179586476925 * double(k) / double(g.n);
    roots[2 * k] = T(cos(angle));
    roots[2 * k + 1] = sign * T(sin(angle));
  }
  // Blocks of lines side by side must not reach across the outer axis.
  const int64_t inner = g.inner > 1 ? g.inner : g.outer, outer = g.inner > 1 ? g.outer : 1, blocks = (inner + lanes<T> - 1) / lanes<T>;
  bool failed = false;
  for_tasks(outer * blocks, 8.0 * double(g.outer * g.inner) * double(g.n), [&](int64_t task) {
    const int64_t line = task / blocks * inner + task % blocks * lanes<T>, left = inner - task % blocks * lanes<T>;
    vec<T> *x = static_cast<vec<T> *>(scratch(1, 2 * g.n * int64_t(sizeof(vec<T>))));
    vec<T> *y = static_cast<vec<T> *>(scratch(2, 2 * g.n * int64_t(sizeof(vec<T>))));
    if (!x || !y) {
      failed = true;
      return;
    }
    const int64_t at = line / g.inner * g.n * g.inner + line % g.inner;
    const bool whole = left >= lanes<T>;
    if (whole)
      gather_block(g, re + at, im ? im + at : nullptr, x);
    else
      gather_lines(g, line, left, re, im, x);
    int64_t s = 1;
    for (int f = 0; f < plan.count; ++f) {
      const int r = plan.radix[f];
      if (r == 4)
        stage<T, 4>(plan, r, s, roots, sign, x, y);
      else if (r == 2)
        stage<T, 2>(plan, r, s, roots, sign, x, y);
      else
        stage<T, 0>(plan, r, s, roots, sign, x, y);
      s *= r;
      vec<T> *swap = x;
      x = y;
      y = swap;
    }
    if (whole)
      scatter_block(g, T(scale), x, out_re + at, out_im + at);
    else
      scatter_lines(g, line, left, T(scale), x, out_re, out_im);
  });
  return failed ? fail("fft: out of memory for lines of %lld samples", (long long)g.n) : TG_OK;
}

int fft(int64_t dtype, const tg_lines *g, int64_t direction, double scale, const void *re, const void *im, void *out_re, void *out_im) {
  return with_real(dtype, "fft", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return fft_typed<T>(*g, direction, scale, static_cast<const T *>(re), static_cast<const T *>(im), static_cast<T *>(out_re),
                        static_cast<T *>(out_im));
  });
}
} // namespace

void register_fourier(tg_backend *t) { t->fft = fft; }
} // namespace tautgrad::cpu::TG_ISA
