// Convolution and its two partial transposes as implicit matrix products: the windows of an image as factors, read where they lie, and
// where the results go.
#pragma once

#include "divider.h"
#include "launch.h"

namespace tautgrad::cuda {
namespace {

// Everything a kernel derives from tg_conv. Pixels of a batch and taps of all channels are less than 2^31 (fits).
struct Geometry {
  tg_conv p;
  int64_t ci, co, taps, out, in; // channels per group in and out, kernel positions, output pixels, input pixels
  Divider by_taps, by_kw, by_out, by_out_w, by_in, by_w, by_stride_h, by_stride_w;
  explicit Geometry(const tg_conv &c)
      : p(c), ci(c.c_in / c.groups), co(c.c_out / c.groups), taps(c.kh * c.kw), out(c.out_h * c.out_w), in(c.h * c.w), by_taps(taps),
        by_kw(c.kw), by_out(out), by_out_w(c.out_w), by_in(in), by_w(c.w), by_stride_h(c.stride_h), by_stride_w(c.stride_w) {}
};
bool fits(const tg_conv &p) {
  constexpr int64_t most = (int64_t(1) << 31) - 1;
  return p.n * p.h * p.w <= most && p.n * p.out_h * p.out_w <= most && p.c_in * p.kh * p.kw <= most && p.c_out * p.kh * p.kw <= most;
}

// The input pixel under tap (a, b) of output pixel (i, j); false outside the image.
__device__ inline bool input_pixel(const tg_conv &p, int64_t i, int64_t j, int64_t a, int64_t b, int64_t *at) {
  const int64_t u = i * p.stride_h + a * p.dilation_h - p.pad_h, v = j * p.stride_w + b * p.dilation_w - p.pad_w;
  *at = u * p.w + v;
  return u >= 0 && u < p.h && v >= 0 && v < p.w;
}
// The output pixel whose tap (a, b) lies on input pixel (u, v); false where there is none.
__device__ inline bool output_pixel(const tg_conv &p, int64_t u, int64_t v, int64_t a, int64_t b, int64_t *at) {
  const int64_t s = u + p.pad_h - a * p.dilation_h, t = v + p.pad_w - b * p.dilation_w;
  if (s < 0 || t < 0) return false;
  int64_t i = s, j = t;
  if (p.stride_h != 1 || p.stride_w != 1) {
    i = s / p.stride_h, j = t / p.stride_w;
    if (i * p.stride_h != s || j * p.stride_w != t) return false;
  }
  *at = i * p.out_w + j;
  return i < p.out_h && j < p.out_w;
}

// The same in 32 bits, for tiles, where registers count.
__device__ inline bool seen_input(const Geometry &g, int i, int j, int a, int b, int *at) {
  const int h = int(g.p.h), w = int(g.p.w), u = i * int(g.p.stride_h) + a * int(g.p.dilation_h) - int(g.p.pad_h),
            v = j * int(g.p.stride_w) + b * int(g.p.dilation_w) - int(g.p.pad_w);
  *at = u * w + v;
  return u >= 0 && u < h && v >= 0 && v < w;
}
__device__ inline bool seen_output(const Geometry &g, int u, int v, int a, int b, int *at) {
  const int s = u + int(g.p.pad_h) - a * int(g.p.dilation_h), t = v + int(g.p.pad_w) - b * int(g.p.dilation_w);
  if (s < 0 || t < 0) return false;
  uint32_t rest_i, rest_j;
  const int i = int(g.by_stride_h.divide(uint32_t(s), &rest_i)), j = int(g.by_stride_w.divide(uint32_t(t), &rest_j));
  *at = i * int(g.p.out_w) + j;
  return rest_i == 0 && rest_j == 0 && i < int(g.p.out_h) && j < int(g.p.out_w);
}

// What becomes of a result before it is written.
template <class T> struct Plain {
  __device__ T operator()(int64_t, int64_t, T v) const { return v; }
};
template <class T> struct BiasRelu { // forward: channel o
  const T *bias;
  bool relu;
  __device__ T operator()(int64_t o, int64_t, T v) const {
    if (bias) v += bias[o];
    return relu && v < T(0) ? T(0) : v;
  }
};
template <class T> struct Masked { // data: address in dx
  const T *mask;
  __device__ T operator()(int64_t, int64_t at, T v) const { return mask[at] > T(0) ? v : T(0); }
};

// ---- operands of the implicit products; z is the group ----

// The other operand of forward and data: what the taps of a kernel see from one pixel, per channel. forward: input pixels, seen from an
// output pixel; data: output pixels, seen from an input pixel.
enum class Seen { input, output };
template <class T, Seen What> struct Windows {
  Geometry g;
  const T *planes;
  static constexpr bool k_first = false;
  struct Cursor {
    const Windows *w;
    const T *image;
    int i, j;
    __device__ T value(int64_t k) const {
      uint32_t tap, b;
      const uint32_t channel = w->g.by_taps.divide(static_cast<uint32_t>(k), &tap), a = w->g.by_kw.divide(tap, &b);
      int at;
      const bool inside = What == Seen::input ? seen_input(w->g, i, j, int(a), int(b), &at) : seen_output(w->g, i, j, int(a), int(b), &at);
      return inside ? image[channel * w->plane() + at] : T(0);
    }
  };
  __device__ int64_t plane() const { return What == Seen::input ? g.in : g.out; }
  __device__ Cursor cursor(int64_t z, int64_t column) const {
    constexpr bool input = What == Seen::input;
    uint32_t pixel, j;
    const int64_t n = (input ? g.by_out : g.by_in).divide(static_cast<uint32_t>(column), &pixel);
    const uint32_t i = (input ? g.by_out_w : g.by_w).divide(pixel, &j);
    return {this, planes + (input ? n * g.p.c_in + z * g.ci : n * g.p.c_out + z * g.co) * plane(), int(i), int(j)};
  }
};

// forward: M = output channels, K = (input channel, tap), N = (image, output pixel)
template <class T> struct ForwardWeights {
  Geometry g;
  const T *w;
  static constexpr bool k_first = true;
  __device__ T value(int64_t z, int64_t o, int64_t k) const { return w[(z * g.co + o) * g.ci * g.taps + k]; }
};
template <class T, class Finish> struct ForwardResult {
  Geometry g;
  T *y;
  Finish finish;
  __device__ void store(int64_t z, int64_t, int64_t o, int64_t column, T v) const {
    uint32_t pixel;
    const int64_t n = g.by_out.divide(static_cast<uint32_t>(column), &pixel), channel = z * g.co + o,
                  at = (n * g.p.c_out + channel) * g.out + pixel;
    y[at] = finish(channel, at, v);
  }
};

// data: M = input channels, K = (output channel, tap), N = (image, input pixel)
template <class T> struct DataWeights {
  Geometry g;
  const T *w;
  static constexpr bool k_first = true;
  __device__ T value(int64_t z, int64_t c, int64_t k) const {
    uint32_t tap;
    const int64_t o = g.by_taps.divide(static_cast<uint32_t>(k), &tap);
    return w[((z * g.co + o) * g.ci + c) * g.taps + tap];
  }
};
template <class T, class Finish> struct DataResult {
  Geometry g;
  T *dx;
  Finish finish;
  __device__ void store(int64_t z, int64_t, int64_t c, int64_t column, T v) const {
    uint32_t pixel;
    const int64_t n = g.by_in.divide(static_cast<uint32_t>(column), &pixel), at = (n * g.p.c_in + z * g.ci + c) * g.in + pixel;
    dx[at] = finish(c, at, v);
  }
};

// weights: M = output channels, K = (image, output pixel), N = (input channel, tap)
template <class T> struct WeightsGradient {
  Geometry g;
  const T *dy;
  static constexpr bool k_first = true;
  __device__ T value(int64_t z, int64_t o, int64_t k) const {
    uint32_t pixel;
    const int64_t n = g.by_out.divide(static_cast<uint32_t>(k), &pixel);
    return dy[(n * g.p.c_out + z * g.co + o) * g.out + pixel];
  }
};
template <class T> struct WeightsWindows {
  Geometry g;
  const T *x;
  static constexpr bool k_first = true;
  struct Cursor {
    const WeightsWindows *w;
    const T *plane;
    int a, b;
    __device__ T value(int64_t k) const {
      uint32_t pixel, j;
      const int64_t n = w->g.by_out.divide(static_cast<uint32_t>(k), &pixel);
      const uint32_t i = w->g.by_out_w.divide(pixel, &j);
      int at;
      return seen_input(w->g, int(i), int(j), a, b, &at) ? plane[n * w->g.p.c_in * w->g.in + at] : T(0);
    }
  };
  __device__ Cursor cursor(int64_t z, int64_t column) const {
    uint32_t tap, b;
    const int64_t channel = g.by_taps.divide(static_cast<uint32_t>(column), &tap);
    const uint32_t a = g.by_kw.divide(tap, &b);
    return {this, x + (z * g.ci + channel) * g.in, int(a), int(b)};
  }
};
template <class T> struct WeightsResult {
  Geometry g;
  T *partial; // [part, c_out, ci * taps]
  __device__ void store(int64_t z, int64_t part, int64_t o, int64_t column, T v) const {
    partial[(part * g.p.c_out + z * g.co + o) * g.ci * g.taps + column] = v;
  }
};

} // namespace
} // namespace tautgrad::cuda
