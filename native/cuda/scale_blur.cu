// The anti-aliasing blur of TDV's scale changes: the binomial filter [1 4 6 4 1] / 16 along both axes of an image that is extended by
// three reflected pixels (edge repeated), and its exact transpose. A thread per result.
#include "launch.h"

namespace tautgrad::cuda {
namespace {

constexpr int REACH = 3, WIDTH = 5;

// The extended line's sample p is the line's sample reflect(p).
__device__ inline int64_t reflect(int64_t p, int64_t n) {
  const int64_t k = (p % (2 * n) + 2 * n) % (2 * n);
  return k < n ? k : 2 * n - 1 - k;
}
template <class T> __device__ inline T binomial(int a) { return a == 2 ? T(0.375) : a == 1 || a == 3 ? T(0.25) : T(0.0625); }

template <class T> __global__ void blur_kernel(int64_t total, int64_t h, int64_t w, const T *x, T *y) {
  const int64_t out_h = h + 2, out_w = w + 2;
  for (int64_t at = global_thread(); at < total; at += all_threads()) {
    const int64_t j = at % out_w, i = at / out_w % out_h;
    const T *plane = x + at / (out_w * out_h) * h * w;
    T sum = 0;
    for (int a = 0; a < WIDTH; ++a) {
      const T *row = plane + reflect(i - REACH + a, h) * w;
      T part = 0;
      for (int b = 0; b < WIDTH; ++b) part += binomial<T>(b) * row[reflect(j - REACH + b, w)];
      sum += binomial<T>(a) * part;
    }
    y[at] = sum;
  }
}

// Visits the weights with which the n + 2 outputs of a line have read its sample i: wherever the extended line shows it.
template <class T, class Visit> __device__ inline void readers(int64_t i, int64_t n, const Visit &visit) {
  for (int64_t k = -REACH; k <= REACH; ++k) {
    const int64_t p = k < 0 ? k : k == 0 ? i : n + k - 1;
    if (reflect(p, n) != i) continue;
    for (int a = 0; a < WIDTH; ++a) {
      const int64_t source = p + REACH - a;
      if (source >= 0 && source < n + 2) visit(source, binomial<T>(a));
    }
  }
}

template <class T> __global__ void blur_transposed_kernel(int64_t total, int64_t h, int64_t w, const T *y, T *x) {
  for (int64_t at = global_thread(); at < total; at += all_threads()) {
    const int64_t j = at % w, i = at / w % h;
    const T *plane = y + at / (w * h) * (h + 2) * (w + 2);
    T sum = 0;
    readers<T>(i, h, [&](int64_t r, T weight) {
      T part = 0;
      readers<T>(j, w, [&](int64_t c, T inner) { part += inner * plane[r * (w + 2) + c]; });
      sum += weight * part;
    });
    x[at] = sum;
  }
}

int scale_blur(int64_t dtype, int64_t planes, int64_t h, int64_t w, int64_t transposed, const void *x, void *y) {
  return with_real(dtype, "scale_blur", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t total = transposed ? planes * h * w : planes * (h + 2) * (w + 2);
    return run_kernel("scale_blur", transposed ? blur_transposed_kernel<T> : blur_kernel<T>, blocks_for(total), THREADS, 0, total, h, w,
                      static_cast<const T *>(x), static_cast<T *>(y));
  });
}

} // namespace

void register_scale_blur(tg_backend *t) { t->scale_blur = scale_blur; }

} // namespace tautgrad::cuda
