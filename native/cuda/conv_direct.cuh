// Convolution and its two partial transposes with one thread (or, for the weights, one block) for each result: few channels per group
// (depthwise convolution) would leave the tiles of matrix products empty.
#pragma once

#include "conv_products.cuh"

namespace tautgrad::cuda {
namespace {

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

} // namespace
} // namespace tautgrad::cuda
