// Convolution and its two partial transposes: by cuDNN, on tensor cores, as implicit matrix products or directly.
#include "bfloat16.h"
#include "conv_direct.cuh"
#include "tensor_gemm.cuh"
#include "vendor.h"

namespace tautgrad::cuda {
namespace {

template <class T> __global__ void add_parts_kernel(int64_t n, int64_t parts, const T *partial, T *y) {
  for (int64_t i = global_thread(); i < n; i += all_threads()) {
    T sum = 0;
    for (int64_t part = 0; part < parts; ++part) sum += partial[part * n + i];
    y[i] = sum;
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
