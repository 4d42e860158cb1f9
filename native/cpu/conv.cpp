// 2D cross-correlation and its two partial transposes (backend.h, tg_conv) for every stride, padding, dilation and group count.
#include "dispatch.hpp"

namespace tautgrad::cpu::TG_ISA {
namespace {

// The outputs j in [first, last) whose tap b reads inside [0, size): 0 <= j * stride + b * dilation - pad < size.
struct Reach {
  int64_t first, last, shift; // shift = b * dilation - pad
};
Reach reach(int64_t out, int64_t size, int64_t stride, int64_t tap, int64_t dilation, int64_t pad) {
  const int64_t shift = tap * dilation - pad;
  int64_t first = shift < 0 ? (-shift + stride - 1) / stride : 0;
  int64_t last = size - shift > 0 ? (size - shift + stride - 1) / stride : 0;
  if (last > out) last = out;
  if (first > last) first = last;
  return {first, last, shift};
}

// One task per output plane (forward), input plane (data) or kernel plane (weights).
template <class T> int forward_general(const tg_conv &p, const T *x, const T *w, T *y) {
  const int64_t cg = p.c_in / p.groups, og = p.c_out / p.groups;
  parallel_for(p.n * p.c_out, [&](int64_t plane) {
    const int64_t n = plane / p.c_out, o = plane % p.c_out, g = o / og;
    T *out = y + plane * p.out_h * p.out_w;
    for (int64_t i = 0; i < p.out_h * p.out_w; ++i) out[i] = 0;
    for (int64_t c = 0; c < cg; ++c) {
      const T *in = x + (n * p.c_in + g * cg + c) * p.h * p.w, *taps = w + (o * cg + c) * p.kh * p.kw;
      for (int64_t a = 0; a < p.kh; ++a) {
        const Reach v = reach(p.out_h, p.h, p.stride_h, a, p.dilation_h, p.pad_h);
        for (int64_t b = 0; b < p.kw; ++b) {
          const Reach u = reach(p.out_w, p.w, p.stride_w, b, p.dilation_w, p.pad_w);
          const T tap = taps[a * p.kw + b];
          for (int64_t i = v.first; i < v.last; ++i) {
            const T *source = in + (i * p.stride_h + v.shift) * p.w + u.shift;
            T *target = out + i * p.out_w;
            for (int64_t j = u.first; j < u.last; ++j) target[j] += tap * source[j * p.stride_w];
          }
        }
      }
    }
  });
  return TG_OK;
}

template <class T> int data_general(const tg_conv &p, const T *dy, const T *w, T *dx) {
  const int64_t cg = p.c_in / p.groups, og = p.c_out / p.groups;
  parallel_for(p.n * p.c_in, [&](int64_t plane) {
    const int64_t n = plane / p.c_in, g = plane % p.c_in / cg, c = plane % cg;
    T *out = dx + plane * p.h * p.w;
    for (int64_t i = 0; i < p.h * p.w; ++i) out[i] = 0;
    for (int64_t o = g * og; o < (g + 1) * og; ++o) {
      const T *in = dy + (n * p.c_out + o) * p.out_h * p.out_w, *taps = w + (o * cg + c) * p.kh * p.kw;
      for (int64_t a = 0; a < p.kh; ++a) {
        const Reach v = reach(p.out_h, p.h, p.stride_h, a, p.dilation_h, p.pad_h);
        for (int64_t b = 0; b < p.kw; ++b) {
          const Reach u = reach(p.out_w, p.w, p.stride_w, b, p.dilation_w, p.pad_w);
          const T tap = taps[a * p.kw + b];
          for (int64_t i = v.first; i < v.last; ++i) {
            T *target = out + (i * p.stride_h + v.shift) * p.w + u.shift;
            const T *source = in + i * p.out_w;
            for (int64_t j = u.first; j < u.last; ++j) target[j * p.stride_w] += tap * source[j];
          }
        }
      }
    }
  });
  return TG_OK;
}

template <class T> int weights_general(const tg_conv &p, const T *x, const T *dy, T *dw) {
  const int64_t cg = p.c_in / p.groups, og = p.c_out / p.groups;
  parallel_for(p.c_out * cg, [&](int64_t plane) {
    const int64_t o = plane / cg, c = o / og * cg + plane % cg;
    for (int64_t a = 0; a < p.kh; ++a) {
      const Reach v = reach(p.out_h, p.h, p.stride_h, a, p.dilation_h, p.pad_h);
      for (int64_t b = 0; b < p.kw; ++b) {
        const Reach u = reach(p.out_w, p.w, p.stride_w, b, p.dilation_w, p.pad_w);
        double sum = 0;
        for (int64_t n = 0; n < p.n; ++n)
          for (int64_t i = v.first; i < v.last; ++i) {
            const T *source = x + ((n * p.c_in + c) * p.h + i * p.stride_h + v.shift) * p.w + u.shift;
            const T *factor = dy + ((n * p.c_out + o) * p.out_h + i) * p.out_w;
            for (int64_t j = u.first; j < u.last; ++j) sum += static_cast<double>(source[j * p.stride_w]) * factor[j];
          }
        dw[(plane * p.kh + a) * p.kw + b] = static_cast<T>(sum);
      }
    }
  });
  return TG_OK;
}

int conv_forward(int64_t dtype, const tg_conv *p, const void *x, const void *w, void *y) {
  return with_real(dtype, "conv_forward", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return forward_general(*p, static_cast<const T *>(x), static_cast<const T *>(w), static_cast<T *>(y));
  });
}

int conv_data(int64_t dtype, const tg_conv *p, const void *dy, const void *w, void *dx) {
  return with_real(dtype, "conv_data", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return data_general(*p, static_cast<const T *>(dy), static_cast<const T *>(w), static_cast<T *>(dx));
  });
}

int conv_weights(int64_t dtype, const tg_conv *p, const void *x, const void *dy, void *dw) {
  return with_real(dtype, "conv_weights", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return weights_general(*p, static_cast<const T *>(x), static_cast<const T *>(dy), static_cast<T *>(dw));
  });
}

} // namespace

void register_conv(tg_backend *t) {
  t->conv_forward = conv_forward;
  t->conv_data = conv_data;
  t->conv_weights = conv_weights;
}

} // namespace tautgrad::cpu::TG_ISA
