// Convolution and its two partial transposes as implicit matrix products: the windows of an image are read where they lie. Few channels
// per group (depthwise convolution) leave such tiles empty; there one thread computes one result.
#include "bfloat16.h"
#include "divider.h"
#include "tensor_gemm.cuh"
#include "vendor.h"

namespace tautgrad::cuda {
namespace {

// Everything a kernel derives from tg_conv. Pixels of a batch and taps of all channels are less than 2^31 (fits).
struct Geometry {
  tg_conv p;
  int64_t ci, co, taps, out, in; // channels per group in and out, kernel positions, output pixels, input pixels
  Divider by_taps, by_kw, by_out, by_out_w, by_in, by_w;
  explicit Geometry(const tg_conv &c)
      : p(c), ci(c.c_in / c.groups), co(c.c_out / c.groups), taps(c.kh * c.kw), out(c.out_h * c.out_w), in(c.h * c.w), by_taps(taps),
        by_kw(c.kw), by_out(out), by_out_w(c.out_w), by_in(in), by_w(c.w) {}
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
    int64_t i, j;
    __device__ T value(int64_t k) const {
      const tg_conv &p = w->g.p;
      uint32_t tap, b;
      const uint32_t channel = w->g.by_taps.divide(static_cast<uint32_t>(k), &tap), a = w->g.by_kw.divide(tap, &b);
      int64_t at;
      const bool inside = What == Seen::input ? input_pixel(p, i, j, a, b, &at) : output_pixel(p, i, j, a, b, &at);
      return inside ? image[channel * w->plane() + at] : T(0);
    }
  };
  __device__ int64_t plane() const { return What == Seen::input ? g.in : g.out; }
  __device__ Cursor cursor(int64_t z, int64_t column) const {
    constexpr bool input = What == Seen::input;
    uint32_t pixel, j;
    const int64_t n = (input ? g.by_out : g.by_in).divide(static_cast<uint32_t>(column), &pixel);
    const uint32_t i = (input ? g.by_out_w : g.by_w).divide(pixel, &j);
    return {this, planes + (input ? n * g.p.c_in + z * g.ci : n * g.p.c_out + z * g.co) * plane(), i, j};
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
    int64_t a, b;
    __device__ T value(int64_t k) const {
      const tg_conv &p = w->g.p;
      uint32_t pixel, j;
      const int64_t n = w->g.by_out.divide(static_cast<uint32_t>(k), &pixel);
      const uint32_t i = w->g.by_out_w.divide(pixel, &j);
      int64_t at;
      return input_pixel(p, i, j, a, b, &at) ? plane[n * p.c_in * w->g.in + at] : T(0);
    }
  };
  __device__ Cursor cursor(int64_t z, int64_t column) const {
    uint32_t tap, b;
    const int64_t channel = g.by_taps.divide(static_cast<uint32_t>(column), &tap);
    const uint32_t a = g.by_kw.divide(tap, &b);
    return {this, x + (z * g.ci + channel) * g.in, a, b};
  }
};
template <class T> struct WeightsResult {
  Geometry g;
  T *partial; // [part, c_out, ci * taps]
  __device__ void store(int64_t z, int64_t part, int64_t o, int64_t column, T v) const {
    partial[(part * g.p.c_out + z * g.co + o) * g.ci * g.taps + column] = v;
  }
};

template <class T> __global__ void add_parts_kernel(int64_t n, int64_t parts, const T *partial, T *y) {
  for (int64_t i = global_thread(); i < n; i += all_threads()) {
    T sum = 0;
    for (int64_t part = 0; part < parts; ++part) sum += partial[part * n + i];
    y[i] = sum;
  }
}

// ---- one thread per result, for few channels per group ----

template <class T, class Finish> __global__ void direct_forward_kernel(Geometry g, const T *x, const T *w, T *y, Finish finish) {
  const tg_conv &p = g.p;
  const int64_t total = p.n * p.c_out * g.out;
  for (int64_t at = global_thread(); at < total; at += all_threads()) {
    const int64_t pixel = at % g.out, o = at / g.out % p.c_out, n = at / (g.out * p.c_out), i = pixel / p.out_w, j = pixel % p.out_w;
    const T *own = w + o * g.ci * g.taps, *image = x + (n * p.c_in + o / g.co * g.ci) * p.h * p.w;
    T sum = 0;
    for (int64_t c = 0; c < g.ci; ++c)
      for (int64_t a = 0; a < p.kh; ++a)
        for (int64_t b = 0; b < p.kw; ++b) {
          int64_t from;
          if (input_pixel(p, i, j, a, b, &from)) sum += image[c * p.h * p.w + from] * own[(c * p.kh + a) * p.kw + b];
        }
    y[at] = finish(o, at, sum);
  }
}

template <class T, class Finish> __global__ void direct_data_kernel(Geometry g, const T *dy, const T *w, T *dx, Finish finish) {
  const tg_conv &p = g.p;
  const int64_t pixels = p.h * p.w, total = p.n * p.c_in * pixels;
  for (int64_t at = global_thread(); at < total; at += all_threads()) {
    const int64_t pixel = at % pixels, c = at / pixels % p.c_in, n = at / (pixels * p.c_in), u = pixel / p.w, v = pixel % p.w,
                  group = c / g.ci;
    T sum = 0;
    for (int64_t o = group * g.co; o < (group + 1) * g.co; ++o)
      for (int64_t a = 0; a < p.kh; ++a)
        for (int64_t b = 0; b < p.kw; ++b) {
          int64_t from;
          if (output_pixel(p, u, v, a, b, &from))
            sum += dy[(n * p.c_out + o) * g.out + from] * w[((o * g.ci + c % g.ci) * p.kh + a) * p.kw + b];
        }
    dx[at] = finish(c, at, sum);
  }
}

// A block per weight; its threads stride over images and pixels and meet in a fixed order.
template <class T> __global__ void direct_weights_kernel(Geometry g, const T *x, const T *dy, T *dw) {
  __shared__ T shared_sums[THREADS / 32];
  const tg_conv &p = g.p;
  const int64_t weights = p.c_out * g.ci * g.taps, terms = p.n * g.out;
  for (int64_t at = blockIdx.x; at < weights; at += gridDim.x) {
    const int64_t b = at % p.kw, a = at / p.kw % p.kh, c = at / g.taps % g.ci, o = at / (g.taps * g.ci), channel = o / g.co * g.ci + c;
    T sum = 0;
    for (int64_t k = threadIdx.x; k < terms; k += THREADS) {
      const int64_t n = k / g.out, pixel = k % g.out;
      int64_t from;
      if (input_pixel(p, pixel / p.out_w, pixel % p.out_w, a, b, &from))
        sum += x[(n * p.c_in + channel) * p.h * p.w + from] * dy[(n * p.c_out + o) * g.out + pixel];
    }
    for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    if (threadIdx.x % 32 == 0) shared_sums[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
      for (int s = 1; s < THREADS / 32; ++s) sum += shared_sums[s];
      dw[at] = sum;
    }
    __syncthreads();
  }
}

// db[o] = sum of dy over images and pixels: a block per channel.
template <class T> __global__ void bias_gradient_kernel(Geometry g, const T *dy, T *db) {
  __shared__ double shared_sums[THREADS / 32];
  const tg_conv &p = g.p;
  for (int64_t o = blockIdx.x; o < p.c_out; o += gridDim.x) {
    double sum = 0;
    for (int64_t k = threadIdx.x; k < p.n * g.out; k += THREADS) sum += double(dy[(k / g.out * p.c_out + o) * g.out + k % g.out]);
    for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    if (threadIdx.x % 32 == 0) shared_sums[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
      for (int s = 1; s < THREADS / 32; ++s) sum += shared_sums[s];
      db[o] = static_cast<T>(sum);
    }
    __syncthreads();
  }
}

// ---- the three directions ----

constexpr int64_t FEW = 8; // channels per group below which tiles would stay empty

dim3 one_block_each(int64_t n) { return dim3(static_cast<unsigned>(n < (1 << 20) ? n : 1 << 20)); }

// Whether a thread computes one result, because tiles would stay empty.
bool forward_is_direct(const tg_conv &p) { return p.c_out / p.groups < FEW && p.groups > 1; }
bool data_is_direct(const tg_conv &p) { return p.c_in / p.groups < FEW && p.groups > 1; }
bool weights_are_direct(const tg_conv &p) { return p.c_out / p.groups < FEW && p.c_in / p.groups < FEW; }

template <class T, class Finish> int forward(const char *name, const tg_conv &p, const T *x, const T *w, T *y, const Finish &finish) {
  const Geometry g(p);
  if (forward_is_direct(p))
    return run_kernel(name, direct_forward_kernel<T, Finish>, blocks_for(p.n * p.c_out * g.out), THREADS, 0, g, x, w, y, finish);
  const GemmShape s = {p.groups, g.co, p.n * g.out, g.ci * g.taps, 1, g.ci * g.taps};
  return gemm<T>(name, s, ForwardWeights<T>{g, w}, Windows<T, Seen::input>{g, x}, ForwardResult<T, Finish>{g, y, finish});
}

template <class T, class Finish> int data(const char *name, const tg_conv &p, const T *dy, const T *w, T *dx, const Finish &finish) {
  const Geometry g(p);
  if (data_is_direct(p))
    return run_kernel(name, direct_data_kernel<T, Finish>, blocks_for(p.n * p.c_in * p.h * p.w), THREADS, 0, g, dy, w, dx, finish);
  const GemmShape s = {p.groups, g.ci, p.n * p.h * p.w, g.co * g.taps, 1, g.co * g.taps};
  return gemm<T>(name, s, DataWeights<T>{g, w}, Windows<T, Seen::output>{g, dy}, DataResult<T, Finish>{g, dx, finish});
}

// product(shape, dy's operand, x's operand, where results go): gemm, or tensor_gemm.
template <class T, class Product>
int weights_by(const char *name, const tg_conv &p, int64_t tile_m, int64_t tile_n, int64_t depth, const T *x, const T *dy, T *dw,
               const Product &product) {
  const Geometry g(p);
  const int64_t count = p.c_out * g.ci * g.taps, terms = p.n * g.out;
  // Few tiles of results and a long sum: cut the sum, so that the device has blocks to run. The cut depends on the shape alone.
  const int64_t tiles = p.groups * ceil_div(g.co, tile_m) * ceil_div(g.ci * g.taps, tile_n);
  int64_t parts = ceil_div(512, tiles), most = ceil_div(terms, 256);
  parts = parts < most ? parts : most;
  if (parts < 1) parts = 1;
  const int64_t part = ceil_div(ceil_div(terms > 0 ? terms : 1, parts), depth) * depth;
  parts = ceil_div(terms > 0 ? terms : 1, part);
  const GemmShape s = {p.groups, g.co, g.ci * g.taps, terms, parts, part};
  if (parts == 1) return product(s, WeightsGradient<T>{g, dy}, WeightsWindows<T>{g, x}, WeightsResult<T>{g, dw});
  Scratch partial(parts * count * static_cast<int64_t>(sizeof(T)));
  if (!partial.ok()) return fail("%s: out of memory for %lld weights", name, (long long)count);
  const int status = product(s, WeightsGradient<T>{g, dy}, WeightsWindows<T>{g, x}, WeightsResult<T>{g, partial.as<T>()});
  if (status != TG_OK) return status;
  return run_kernel(name, add_parts_kernel<T>, blocks_for(count), THREADS, 0, count, parts, partial.as<T>(), dw);
}
template <class T> int weights(const char *name, const tg_conv &p, const T *x, const T *dy, T *dw) {
  const int64_t count = p.c_out * (p.c_in / p.groups) * p.kh * p.kw;
  if (count == 0) return TG_OK;
  if (weights_are_direct(p)) return run_kernel(name, direct_weights_kernel<T>, one_block_each(count), THREADS, 0, Geometry(p), x, dy, dw);
  return weights_by<T>(name, p, GEMM_TILE, GEMM_TILE, GEMM_DEPTH, x, dy, dw,
                       [&](const auto &...operands) { return gemm<T>(name, operands...); });
}

// ---- the same with factors rounded to bfloat16, by tensor cores; one kernel a direction: bias and mask may be null ----

struct MaskedOrPlain {
  const float *mask;
  __device__ float operator()(int64_t, int64_t at, float v) const { return !mask || mask[at] > 0 ? v : 0; }
};

int tensor_forward(const char *name, const tg_conv &p, const void *x, const void *w, const BiasRelu<float> &finish, void *y) {
  const Geometry g(p);
  const GemmShape s = {p.groups, g.co, p.n * g.out, g.ci * g.taps, 1, g.ci * g.taps};
  return tensor_gemm(name, s, ForwardWeights<float>{g, static_cast<const float *>(w)},
                     Windows<float, Seen::input>{g, static_cast<const float *>(x)},
                     ForwardResult<float, BiasRelu<float>>{g, static_cast<float *>(y), finish});
}

int tensor_data(const char *name, const tg_conv &p, const void *dy, const void *w, const void *mask, void *dx) {
  const Geometry g(p);
  const GemmShape s = {p.groups, g.ci, p.n * g.in, g.co * g.taps, 1, g.co * g.taps};
  return tensor_gemm(name, s, DataWeights<float>{g, static_cast<const float *>(w)},
                     Windows<float, Seen::output>{g, static_cast<const float *>(dy)},
                     DataResult<float, MaskedOrPlain>{g, static_cast<float *>(dx), {static_cast<const float *>(mask)}});
}

int tensor_weights(const char *name, const tg_conv &p, const void *x, const void *dy, void *dw) {
  if (p.c_out * p.c_in * p.kh * p.kw == 0) return TG_OK;
  return weights_by<float>(name, p, MMA_M, MMA_N, MMA_DEPTH, static_cast<const float *>(x), static_cast<const float *>(dy),
                           static_cast<float *>(dw), [&](const auto &...operands) { return tensor_gemm(name, operands...); });
}

// What becomes of results that cuDNN has written.
template <class T, class Finish> __global__ void finish_kernel(int64_t total, int64_t channels, int64_t pixels, T *y, Finish finish) {
  for (int64_t at = global_thread(); at < total; at += all_threads()) y[at] = finish(at / pixels % channels, at, y[at]);
}
template <class T, class Finish> int finish(const char *name, int64_t n, int64_t channels, int64_t pixels, T *y, const Finish &f) {
  const int64_t total = n * channels * pixels;
  return run_kernel(name, finish_kernel<T, Finish>, blocks_for(total), THREADS, 0, total, channels, pixels, y, f);
}

int64_t x_values(const tg_conv &p) { return p.n * p.c_in * p.h * p.w; }
int64_t y_values(const tg_conv &p) { return p.n * p.c_out * p.out_h * p.out_w; }
int64_t w_values(const tg_conv &p) { return p.c_out * (p.c_in / p.groups) * p.kh * p.kw; }

int forward_with(const char *name, int64_t dtype, const tg_conv &p, const void *x, const void *w, const void *bias, bool relu, void *y) {
  if (!fits(p)) return TG_UNSUPPORTED;
  const Factors f(name, dtype, x, x_values(p), w, w_values(p), !forward_is_direct(p), cudnn_serves());
  if (f.status != TG_OK) return f.status;
  const bool done = cudnn_convolution(ConvPass::forward, dtype, p, f.first, f.second, y, f.coarse) == TG_OK;
  if (f.tensor && !done) return tensor_forward(name, p, f.first, f.second, {static_cast<const float *>(bias), relu}, y);
  return with_real(dtype, name, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T *from = static_cast<const T *>(f.first), *weights = static_cast<const T *>(f.second);
    const BiasRelu<T> end = {static_cast<const T *>(bias), relu};
    T *to = static_cast<T *>(y);
    if (!bias && !relu) return done ? int(TG_OK) : forward(name, p, from, weights, to, Plain<T>{});
    return done ? finish(name, p.n, p.c_out, p.out_h * p.out_w, to, end) : forward(name, p, from, weights, to, end);
  });
}

int data_with(const char *name, int64_t dtype, const tg_conv &p, const void *dy, const void *w, const void *mask, void *dx) {
  if (!fits(p)) return TG_UNSUPPORTED;
  const Factors f(name, dtype, dy, y_values(p), w, w_values(p), !data_is_direct(p), cudnn_serves());
  if (f.status != TG_OK) return f.status;
  const bool done = cudnn_convolution(ConvPass::data, dtype, p, f.first, f.second, dx, f.coarse) == TG_OK;
  if (f.tensor && !done) return tensor_data(name, p, f.first, f.second, mask, dx);
  return with_real(dtype, name, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T *from = static_cast<const T *>(f.first), *weights = static_cast<const T *>(f.second);
    T *to = static_cast<T *>(dx);
    if (!mask) return done ? int(TG_OK) : data(name, p, from, weights, to, Plain<T>{});
    const Masked<T> end = {static_cast<const T *>(mask)};
    return done ? finish(name, p.n, p.c_in, p.h * p.w, to, end) : data(name, p, from, weights, to, end);
  });
}

int weights_with(const char *name, int64_t dtype, const tg_conv &p, const void *x, const void *dy, void *dw, void *db) {
  if (!fits(p)) return TG_UNSUPPORTED;
  const Factors f(name, dtype, x, x_values(p), dy, y_values(p), !weights_are_direct(p), cudnn_serves());
  if (f.status != TG_OK) return f.status;
  const bool done = cudnn_convolution(ConvPass::weights, dtype, p, f.first, f.second, dw, f.coarse) == TG_OK;
  return with_real(dtype, name, [&](auto tag) {
    using T = typename decltype(tag)::type;
    int status = TG_OK;
    if (f.tensor && !done)
      status = tensor_weights(name, p, f.first, f.second, dw);
    else if (!done)
      status = weights(name, p, static_cast<const T *>(f.first), static_cast<const T *>(f.second), static_cast<T *>(dw));
    if (status != TG_OK || !db) return status;
    // The sum is no product: it takes dy as it is.
    return run_kernel(name, bias_gradient_kernel<T>, one_block_each(p.c_out), THREADS, 0, Geometry(p), static_cast<const T *>(dy),
                      static_cast<T *>(db));
  });
}

int conv_forward(int64_t dtype, const tg_conv *p, const void *x, const void *w, void *y) {
  return forward_with("conv_forward", dtype, *p, x, w, nullptr, false, y);
}
int conv_forward_bias(int64_t dtype, const tg_conv *p, const void *x, const void *w, const void *bias, int64_t relu, void *y) {
  return forward_with("conv_forward_bias", dtype, *p, x, w, bias, relu != 0, y);
}
int conv_data(int64_t dtype, const tg_conv *p, const void *dy, const void *w, void *dx) {
  return data_with("conv_data", dtype, *p, dy, w, nullptr, dx);
}
int conv_data_masked(int64_t dtype, const tg_conv *p, const void *dy, const void *w, const void *mask, void *dx) {
  return data_with("conv_data_masked", dtype, *p, dy, w, mask, dx);
}
int conv_weights(int64_t dtype, const tg_conv *p, const void *x, const void *dy, void *dw) {
  return weights_with("conv_weights", dtype, *p, x, dy, dw, nullptr);
}
int conv_weights_bias(int64_t dtype, const tg_conv *p, const void *x, const void *dy, void *dw, void *db) {
  return weights_with("conv_weights_bias", dtype, *p, x, dy, dw, db);
}

} // namespace

void register_conv(tg_backend *t) {
  t->conv_forward = conv_forward;
  t->conv_data = conv_data;
  t->conv_weights = conv_weights;
  t->conv_forward_bias = conv_forward_bias;
  t->conv_data_masked = conv_data_masked;
  t->conv_weights_bias = conv_weights_bias;
}

} // namespace tautgrad::cuda
