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

// One tap: a larger value takes the place of the best one so far, as does the first NaN.
template <class T> TG_INLINE void raise(const T *x, int64_t position, int64_t stride, T *best, int32_t *at, int64_t count) {
  for (int64_t j = 0; j < count; ++j) {
    const T v = x[j * stride], b = best[j];
    const bool wins = (v > b) | ((v != v) & (b == b));
    best[j] = wins ? v : b;
    at[j] = wins ? static_cast<int32_t>(position + j * stride) : at[j];
  }
}

int max_pool(int64_t dtype, const tg_pool *pool, const void *x_, void *y_, void *index_) {
  return with_real(dtype, "max_pool", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const tg_pool p = *pool;
    const T *x = static_cast<const T *>(x_);
    T *y = static_cast<T *>(y_);
    int32_t *index = static_cast<int32_t *>(index_);
    for_chunks(p.planes, 1 + CHUNK / (p.h * p.w + 1), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin * p.out_h; row < end * p.out_h; ++row) {
        const int64_t top = row % p.out_h * p.stride_h - p.pad_h;
        const T *plane = x + row / p.out_h * p.h * p.w;
        T *best = y + row * p.out_w;
        int32_t *at = index + row * p.out_w;
        // The window's first pixel inside the image.
        for (int64_t j = 0; j < p.out_w; ++j) {
          at[j] = static_cast<int32_t>(larger(top, 0) * p.w + larger(j * p.stride_w - p.pad_w, 0));
          best[j] = plane[at[j]];
        }
        for (int64_t r = larger(top, 0); r < smaller(top + p.kh, p.h); ++r)
          for_taps(p, [&](int64_t from, int64_t to, int64_t first) TG_LAMBDA {
            with_stride(p.stride_w, [&](int64_t stride) TG_LAMBDA {
              raise(plane + r * p.w + first, r * p.w + first, stride, best + from, at + from, to - from);
            });
          });
      }
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
