// What a 3x3 convolution of stride 1 gains when the image is extended by its own border pixels instead of zeros, added to what the
// zero-padded kernels have written; and the transposes of that. Only results at the border change: a thread each.
#include "launch.h"

namespace tautgrad::cuda {
namespace {

struct Frame {
  int64_t n, c_in, c_out, h, w;
  __device__ bool border(int64_t i, int64_t j) const { return i == 0 || j == 0 || i == h - 1 || j == w - 1; }
  __device__ bool outside(int64_t i, int64_t j) const { return i < 0 || j < 0 || i >= h || j >= w; }
  __device__ int64_t nearest(int64_t i, int64_t j) const {
    const int64_t r = i < 0 ? 0 : i >= h ? h - 1 : i, c = j < 0 ? 0 : j >= w ? w - 1 : j;
    return r * w + c;
  }
};

template <class T> __global__ void frame_forward_kernel(Frame f, const T *x, const T *weights, T *y) {
  const int64_t pixels = f.h * f.w, total = f.n * f.c_out * pixels;
  for (int64_t at = global_thread(); at < total; at += all_threads()) {
    const int64_t i = at % pixels / f.w, j = at % f.w, o = at / pixels % f.c_out, n = at / (pixels * f.c_out);
    if (!f.border(i, j)) continue;
    T sum = 0;
    for (int a = 0; a < 3; ++a)
      for (int b = 0; b < 3; ++b) {
        if (!f.outside(i + a - 1, j + b - 1)) continue;
        const int64_t from = f.nearest(i + a - 1, j + b - 1);
        for (int64_t c = 0; c < f.c_in; ++c) sum += weights[(o * f.c_in + c) * 9 + a * 3 + b] * x[(n * f.c_in + c) * pixels + from];
      }
    y[at] += sum;
  }
}

template <class T> __global__ void frame_data_kernel(Frame f, const T *dy, const T *weights, T *dx) {
  const int64_t pixels = f.h * f.w, total = f.n * f.c_in * pixels;
  for (int64_t at = global_thread(); at < total; at += all_threads()) {
    const int64_t u = at % pixels / f.w, v = at % f.w, c = at / pixels % f.c_in, n = at / (pixels * f.c_in);
    if (!f.border(u, v)) continue;
    T sum = 0;
    // Positions of the frame that copy this pixel.
    for (int64_t r = u == 0 ? -1 : u; r <= (u == f.h - 1 ? f.h : u); ++r)
      for (int64_t s = v == 0 ? -1 : v; s <= (v == f.w - 1 ? f.w : v); ++s) {
        if (!f.outside(r, s)) continue;
        for (int a = 0; a < 3; ++a)
          for (int b = 0; b < 3; ++b) {
            const int64_t i = r - a + 1, j = s - b + 1;
            if (f.outside(i, j)) continue;
            for (int64_t o = 0; o < f.c_out; ++o)
              sum += weights[(o * f.c_in + c) * 9 + a * 3 + b] * dy[(n * f.c_out + o) * pixels + i * f.w + j];
          }
      }
    dx[at] += sum;
  }
}

// A warp per weight: its lanes walk along the one row and the one column whose tap lies in the frame.
template <class T> __global__ void frame_weights_kernel(Frame f, const T *x, const T *dy, T *dw) {
  const int64_t pixels = f.h * f.w, total = f.c_out * f.c_in * 9, warps = all_threads() / 32, passes = ceil_div(total, warps);
  for (int64_t pass = 0; pass < passes; ++pass) {
    const int64_t at = pass * warps + global_thread() / 32;
    T sum = 0;
    if (at < total) {
      const int64_t b = at % 3, a = at / 3 % 3, c = at / 9 % f.c_in, o = at / (9 * f.c_in);
      const int64_t row = a == 0 ? 0 : f.h - 1, column = b == 0 ? 0 : f.w - 1;
      const int64_t along_row = a == 1 ? 0 : f.w, along_column = b == 1 ? 0 : f.h;
      for (int64_t n = 0; n < f.n; ++n) {
        const T *image = x + (n * f.c_in + c) * pixels, *gradient = dy + (n * f.c_out + o) * pixels;
        for (int64_t k = threadIdx.x % 32; k < along_row + along_column; k += 32) {
          const int64_t i = k < along_row ? row : k - along_row, j = k < along_row ? k : column;
          if (k >= along_row && along_row > 0 && i == row) continue; // counted with the row
          sum += gradient[i * f.w + j] * image[f.nearest(i + a - 1, j + b - 1)];
        }
      }
    }
    for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    if (at < total && threadIdx.x % 32 == 0) dw[at] += sum;
  }
}

int conv_frame_forward(int64_t dtype, int64_t n, int64_t c_in, int64_t c_out, int64_t h, int64_t w, const void *x, const void *weights,
                       void *y) {
  return with_real(dtype, "conv_frame_forward", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return run_kernel("conv_frame_forward", frame_forward_kernel<T>, blocks_for(n * c_out * h * w), THREADS, 0, Frame{n, c_in, c_out, h, w},
                      static_cast<const T *>(x), static_cast<const T *>(weights), static_cast<T *>(y));
  });
}

int conv_frame_data(int64_t dtype, int64_t n, int64_t c_in, int64_t c_out, int64_t h, int64_t w, const void *dy, const void *weights,
                    void *dx) {
  return with_real(dtype, "conv_frame_data", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return run_kernel("conv_frame_data", frame_data_kernel<T>, blocks_for(n * c_in * h * w), THREADS, 0, Frame{n, c_in, c_out, h, w},
                      static_cast<const T *>(dy), static_cast<const T *>(weights), static_cast<T *>(dx));
  });
}

int conv_frame_weights(int64_t dtype, int64_t n, int64_t c_in, int64_t c_out, int64_t h, int64_t w, const void *x, const void *dy,
                       void *dw) {
  return with_real(dtype, "conv_frame_weights", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return run_kernel("conv_frame_weights", frame_weights_kernel<T>, blocks_for(c_out * c_in * 9 * 32), THREADS, 0,
                      Frame{n, c_in, c_out, h, w}, static_cast<const T *>(x), static_cast<const T *>(dy), static_cast<T *>(dw));
  });
}

} // namespace

void register_conv_frame(tg_backend *t) {
  t->conv_frame_forward = conv_frame_forward;
  t->conv_frame_data = conv_frame_data;
  t->conv_frame_weights = conv_frame_weights;
}

} // namespace tautgrad::cuda
