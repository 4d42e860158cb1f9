// Pooling over windows of the planes of [planes, h, w]: a plane is one task, read from memory once.
#include "dispatch.hpp"

#include <math.h>

namespace tautgrad::cpu::TG_ISA {
namespace {

TG_INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
TG_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// The outputs [from, to) whose windows hold position offset + stride * output inside [0, n).
struct Range {
  int64_t from, to;
  TG_INLINE Range(int64_t offset, int64_t stride, int64_t n, int64_t outputs)
      : from(offset >= 0 ? 0 : (stride - 1 - offset) / stride), to(offset >= n ? 0 : smaller(outputs, (n - 1 - offset) / stride + 1)) {}
};

// f(column tap, first output, one past the last, position of the first output's pixel) for the taps of a row of windows.
template <class F> TG_INLINE void for_taps(const tg_pool &p, const F &f) {
  for (int64_t b = 0; b < p.kw; ++b) {
    const Range j(b - p.pad_w, p.stride_w, p.w, p.out_w);
    if (j.from < j.to) f(j.from, j.to, j.from * p.stride_w + b - p.pad_w);
  }
}

// The strides that occur most as constants, so that the compiler makes vectors of the loops: always inlined, f sees them.
template <class F> TG_INLINE void with_stride(int64_t stride, const F &f) {
  if (stride == 1) return f(1);
  if (stride == 2) return f(2);
  f(stride);
}

// A larger value takes the place of the best one so far, as does the first NaN.
template <class V> TG_INLINE auto wins(V v, V best) { return (v > best) | ((v != v) & (best == best)); }

// Every stride-th element from p on, one per lane; all of them lie inside [begin, end).
template <class T> TG_INLINE vec<T> strided(const T *p, int64_t stride, const T *begin, const T *end) {
  constexpr int L = lanes<T>;
  if (stride == 1) return load(p);
  if (stride == 2 && end - p >= 2 * L) return even_lanes(load(p), load(p + L), lane_numbers<T>{});
  if (stride == 2 && p > begin) return odd_lanes(load(p - 1), load(p - 1 + L), lane_numbers<T>{});
  vec<T> v{};
  for (int k = 0; k < L; ++k) v[k] = p[k * stride];
  return v;
}

template <class T> struct MaxPool {
  tg_pool p;
  const T *begin, *end; // all of x

  // One window, cut at the image's border.
  TG_INLINE void window(const T *plane, int64_t top, int64_t left, T *y, int32_t *index) const {
    const int64_t r0 = larger(top, 0), c0 = larger(left, 0);
    int64_t at = r0 * p.w + c0;
    T best = plane[at];
    for (int64_t r = r0; r < smaller(top + p.kh, p.h); ++r)
      for (int64_t c = c0; c < smaller(left + p.kw, p.w); ++c) {
        const T v = plane[r * p.w + c];
        if (wins(v, best)) {
          best = v;
          at = r * p.w + c;
        }
      }
    *y = best;
    *index = static_cast<int32_t>(at);
  }

  // As many windows as lanes, all of them between the image's left and right border.
  TG_INLINE void windows(const T *plane, int64_t top, int64_t left, int64_t stride, T *y, int32_t *index) const {
    constexpr int L = lanes<T>;
    using I = int_like<T>;
    mask<T> steps{};
    for (int k = 0; k < L; ++k) steps[k] = static_cast<I>(k * stride);
    const int64_t r0 = larger(top, 0);
    vec<T> best = strided(plane + r0 * p.w + left, stride, begin, end);
    mask<T> at = steps + static_cast<I>(r0 * p.w + left);
    for (int64_t r = r0; r < smaller(top + p.kh, p.h); ++r)
      for (int64_t c = left; c < left + p.kw; ++c) {
        const vec<T> v = strided(plane + r * p.w + c, stride, begin, end);
        const mask<T> better = wins(v, best);
        best = better ? v : best;
        at = better ? steps + static_cast<I>(r * p.w + c) : at;
      }
    store(y, best);
    typedef int32_t Indices __attribute__((vector_size(L * sizeof(int32_t))));
    const Indices narrow = __builtin_convertvector(at, Indices);
    memcpy(index, &narrow, sizeof narrow);
  }

  void row(const T *plane, int64_t top, T *y, int32_t *index) const {
    // Windows that lie between the left and the right border.
    const int64_t first = smaller((p.pad_w + p.stride_w - 1) / p.stride_w, p.out_w),
                  last = p.w + p.pad_w >= p.kw ? smaller((p.w + p.pad_w - p.kw) / p.stride_w + 1, p.out_w) : 0;
    int64_t j = 0;
    for (; j < first; ++j) window(plane, top, j * p.stride_w - p.pad_w, y + j, index + j);
    with_stride(p.stride_w, [&](int64_t stride) TG_LAMBDA {
      for (; j + lanes<T> <= last; j += lanes<T>) windows(plane, top, j * stride - p.pad_w, stride, y + j, index + j);
    });
    for (; j < p.out_w; ++j) window(plane, top, j * p.stride_w - p.pad_w, y + j, index + j);
  }
};

int max_pool(int64_t dtype, const tg_pool *pool, const void *x_, void *y_, void *index_) {
  return with_real(dtype, "max_pool", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const tg_pool p = *pool;
    const T *x = static_cast<const T *>(x_);
    T *y = static_cast<T *>(y_);
    int32_t *index = static_cast<int32_t *>(index_);
    const MaxPool<T> k{p, x, x + p.planes * p.h * p.w};
    for_chunks(p.planes * p.out_h, 1 + CHUNK / (p.w * p.stride_h + 1), [=](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row)
        k.row(x + row / p.out_h * p.h * p.w, row % p.out_h * p.stride_h - p.pad_h, y + row * p.out_w, index + row * p.out_w);
    });
    return static_cast<int>(TG_OK);
  });
}

int max_pool_pick(int64_t dtype, const tg_pool *pool, const void *index_, const void *v_, void *out_) {
  return with_real(dtype, "max_pool_pick", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t pixels = pool->h * pool->w, outputs = pool->out_h * pool->out_w;
    const T *v = static_cast<const T *>(v_);
    const int32_t *index = static_cast<const int32_t *>(index_);
    T *out = static_cast<T *>(out_);
    for_chunks(pool->planes, 1 + CHUNK / (outputs + 1), [=](int64_t begin, int64_t end) {
      for (int64_t plane = begin; plane < end; ++plane)
        for (int64_t q = plane * outputs; q < (plane + 1) * outputs; ++q) out[q] = v[plane * pixels + index[q]];
    });
    return static_cast<int>(TG_OK);
  });
}

int max_pool_spread(int64_t dtype, const tg_pool *pool, const void *index_, const void *v_, void *out_) {
  return with_real(dtype, "max_pool_spread", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t pixels = pool->h * pool->w, outputs = pool->out_h * pool->out_w;
    const T *v = static_cast<const T *>(v_);
    const int32_t *index = static_cast<const int32_t *>(index_);
    T *out = static_cast<T *>(out_);
    for_chunks(pool->planes, 1 + CHUNK / (pixels + 1), [=](int64_t begin, int64_t end) {
      for (int64_t plane = begin; plane < end; ++plane) {
        T *to = out + plane * pixels;
        for (int64_t i = 0; i < pixels; ++i) to[i] = 0;
        for (int64_t q = plane * outputs; q < (plane + 1) * outputs; ++q) to[index[q]] += v[q];
      }
    });
    return static_cast<int>(TG_OK);
  });
}

template <class T> TG_INLINE void gather_tap(const T *x, int64_t stride, T *y, int64_t count) {
  for (int64_t j = 0; j < count; ++j) y[j] += x[j * stride];
}
template <class T> TG_INLINE void scatter_tap(const T *y, T scale, int64_t stride, T *x, int64_t count) {
  for (int64_t j = 0; j < count; ++j) x[j * stride] += y[j] * scale;
}

int average_pool(int64_t dtype, const tg_pool *pool, int64_t transposed, const void *x_, void *y_) {
  return with_real(dtype, "average_pool", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const tg_pool p = *pool;
    const T *from = static_cast<const T *>(x_);
    T *to = static_cast<T *>(y_);
    const T scale = T(1) / static_cast<T>(p.kh * p.kw);
    const int64_t pixels = p.h * p.w, outputs = p.out_h * p.out_w;
    for_chunks(p.planes, 1 + CHUNK / (pixels + 1), [&](int64_t begin, int64_t end) {
      for (int64_t plane = begin; plane < end; ++plane) {
        const T *x = from + plane * (transposed ? outputs : pixels);
        T *y = to + plane * (transposed ? pixels : outputs);
        for (int64_t i = 0; i < (transposed ? pixels : outputs); ++i) y[i] = 0;
        for (int64_t i = 0; i < p.out_h; ++i) {
          const int64_t top = i * p.stride_h - p.pad_h;
          for (int64_t r = larger(top, 0); r < smaller(top + p.kh, p.h); ++r)
            for_taps(p, [&](int64_t first, int64_t last, int64_t column) TG_LAMBDA {
              with_stride(p.stride_w, [&](int64_t stride) TG_LAMBDA {
                if (transposed)
                  scatter_tap(x + i * p.out_w + first, scale, stride, y + r * p.w + column, last - first);
                else
                  gather_tap(x + r * p.w + column, stride, y + i * p.out_w + first, last - first);
              });
            });
          if (!transposed)
            for (int64_t j = 0; j < p.out_w; ++j) y[i * p.out_w + j] *= scale;
        }
      }
    });
    return static_cast<int>(TG_OK);
  });
}

} // namespace

void register_pool(tg_backend *t) {
  t->max_pool = max_pool;
  t->max_pool_pick = max_pool_pick;
  t->max_pool_spread = max_pool_spread;
  t->average_pool = average_pool;
}

} // namespace tautgrad::cpu::TG_ISA
