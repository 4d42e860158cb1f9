// Pooling over windows of the planes of [planes, h, w], a thread per result: the transposed kernels gather from the windows that hold a
// pixel, in order, instead of adding up what several threads would send there.
#include "launch.h"

namespace tautgrad::cuda {
namespace {

template <class T> __global__ void max_pool_kernel(tg_pool p, const T *x, T *y, int32_t *index) {
  const int64_t outputs = p.out_h * p.out_w;
  for (int64_t i = global_thread(); i < p.planes * outputs; i += all_threads()) {
    const T *plane = x + i / outputs * p.h * p.w;
    const int64_t top = i % outputs / p.out_w * p.stride_h - p.pad_h, left = i % p.out_w * p.stride_w - p.pad_w;
    const int64_t r0 = top > 0 ? top : 0, c0 = left > 0 ? left : 0;
    int64_t at = r0 * p.w + c0;
    T best = plane[at];
    for (int64_t r = r0; r < top + p.kh && r < p.h; ++r)
      for (int64_t c = c0; c < left + p.kw && c < p.w; ++c) {
        const T v = plane[r * p.w + c];
        if ((v > best) | ((v != v) & (best == best))) {
          best = v;
          at = r * p.w + c;
        }
      }
    y[i] = best;
    index[i] = static_cast<int32_t>(at);
  }
}

template <class T> __global__ void max_pool_pick_kernel(tg_pool p, const int32_t *index, const T *v, T *out) {
  const int64_t outputs = p.out_h * p.out_w;
  for (int64_t i = global_thread(); i < p.planes * outputs; i += all_threads()) out[i] = v[i / outputs * p.h * p.w + index[i]];
}

// f(output of the plane) for the windows that hold pixel (r, c), in order.
template <class F> __device__ void for_windows(const tg_pool &p, int64_t r, int64_t c, const F &f) {
  const int64_t i0 = r + p.pad_h - p.kh + 1, j0 = c + p.pad_w - p.kw + 1;
  for (int64_t i = i0 > 0 ? ceil_div(i0, p.stride_h) : 0; i < p.out_h && i * p.stride_h - p.pad_h <= r; ++i)
    for (int64_t j = j0 > 0 ? ceil_div(j0, p.stride_w) : 0; j < p.out_w && j * p.stride_w - p.pad_w <= c; ++j) f(i * p.out_w + j);
}

template <class T> __global__ void max_pool_spread_kernel(tg_pool p, const int32_t *index, const T *v, T *out) {
  const int64_t pixels = p.h * p.w, outputs = p.out_h * p.out_w;
  for (int64_t i = global_thread(); i < p.planes * pixels; i += all_threads()) {
    const int64_t base = i / pixels * outputs, pixel = i % pixels;
    T sum = T(0);
    for_windows(p, pixel / p.w, pixel % p.w, [&](int64_t q) {
      if (index[base + q] == pixel) sum += v[base + q];
    });
    out[i] = sum;
  }
}

template <class T> __global__ void average_pool_kernel(tg_pool p, T scale, const T *x, T *y) {
  const int64_t outputs = p.out_h * p.out_w;
  for (int64_t i = global_thread(); i < p.planes * outputs; i += all_threads()) {
    const T *plane = x + i / outputs * p.h * p.w;
    const int64_t top = i % outputs / p.out_w * p.stride_h - p.pad_h, left = i % p.out_w * p.stride_w - p.pad_w;
    T sum = T(0);
    for (int64_t r = top > 0 ? top : 0; r < top + p.kh && r < p.h; ++r)
      for (int64_t c = left > 0 ? left : 0; c < left + p.kw && c < p.w; ++c) sum += plane[r * p.w + c];
    y[i] = sum * scale;
  }
}

template <class T> __global__ void average_pool_transposed_kernel(tg_pool p, T scale, const T *x, T *y) {
  const int64_t pixels = p.h * p.w;
  for (int64_t i = global_thread(); i < p.planes * pixels; i += all_threads()) {
    const T *from = x + i / pixels * p.out_h * p.out_w;
    T sum = T(0);
    for_windows(p, i % pixels / p.w, i % p.w, [&](int64_t q) { sum += from[q] * scale; });
    y[i] = sum;
  }
}

int64_t outputs_of(const tg_pool *p) { return p->planes * p->out_h * p->out_w; }
int64_t pixels_of(const tg_pool *p) { return p->planes * p->h * p->w; }

int max_pool(int64_t dtype, const tg_pool *p, const void *x, void *y, void *index) {
  return with_real(dtype, "max_pool", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return run_kernel("max_pool", max_pool_kernel<T>, blocks_for(outputs_of(p)), THREADS, 0, *p, static_cast<const T *>(x),
                      static_cast<T *>(y), static_cast<int32_t *>(index));
  });
}

int max_pool_pick(int64_t dtype, const tg_pool *p, const void *index, const void *v, void *out) {
  return with_real(dtype, "max_pool_pick", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return run_kernel("max_pool_pick", max_pool_pick_kernel<T>, blocks_for(outputs_of(p)), THREADS, 0, *p,
                      static_cast<const int32_t *>(index), static_cast<const T *>(v), static_cast<T *>(out));
  });
}

int max_pool_spread(int64_t dtype, const tg_pool *p, const void *index, const void *v, void *out) {
  return with_real(dtype, "max_pool_spread", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return run_kernel("max_pool_spread", max_pool_spread_kernel<T>, blocks_for(pixels_of(p)), THREADS, 0, *p,
                      static_cast<const int32_t *>(index), static_cast<const T *>(v), static_cast<T *>(out));
  });
}

int average_pool(int64_t dtype, const tg_pool *p, int64_t transposed, const void *x, void *y) {
  return with_real(dtype, "average_pool", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T scale = T(1) / static_cast<T>(p->kh * p->kw);
    return run_kernel("average_pool", transposed ? average_pool_transposed_kernel<T> : average_pool_kernel<T>,
                      blocks_for(transposed ? pixels_of(p) : outputs_of(p)), THREADS, 0, *p, scale, static_cast<const T *>(x),
                      static_cast<T *>(y));
  });
}

} // namespace

void register_pool(tg_backend *t) {
  t->max_pool = max_pool;
  t->max_pool_pick = max_pool_pick;
  t->max_pool_spread = max_pool_spread;
  t->average_pool = average_pool;
}

} // namespace tautgrad::cuda
