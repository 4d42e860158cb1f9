// 2D cross-correlation and its two partial transposes (backend.h, tg_conv) for every stride, padding, dilation and group count.
#include "conv.hpp"

namespace tautgrad::cpu::TG_ISA {
namespace {

// A list of taps; kernels of more than a few dozen elements put it in scratch.
struct TapList {
  Tap few[64];
  Tap *taps;
  explicit TapList(int64_t count)
      : taps(count <= 64 ? few : static_cast<Tap *>(scratch(CONV_SCRATCH_TAPS, count * static_cast<int64_t>(sizeof(Tap))))) {}
};

template <class T> int correlate(const Correlation<T> &k) {
  if constexpr (sizeof(T) == 4) {
    if (winograd_serves(k)) return correlate_winograd(k);
    if (strided_serves(k)) return correlate_strided(k);
  }
  if (depthwise_serves(k)) return correlate_depthwise(k);
  return correlate_direct(k);
}

template <class T> Correlation<T> forward_correlation(const tg_conv &p, const T *x, TapList &list) {
  for (int64_t a = 0; a < p.kh; ++a)
    for (int64_t b = 0; b < p.kw; ++b) list.taps[a * p.kw + b] = {a * p.dilation_h - p.pad_h, b * p.dilation_w - p.pad_w, a * p.kw + b};
  Correlation<T> k{};
  k.x = x;
  k.n = p.n, k.groups = p.groups, k.in = p.c_in / p.groups, k.out = p.c_out / p.groups;
  k.h = p.h, k.width = p.w, k.y_h = p.out_h, k.y_width = p.out_w;
  k.stride_h = p.stride_h, k.stride_w = p.stride_w;
  k.rows = p.out_h, k.columns = p.out_w, k.row_step = k.column_step = 1;
  k.w_in = p.kh * p.kw, k.w_out = k.in * k.w_in, k.w_group = k.out * k.w_out;
  k.taps = list.taps, k.tap_count = p.kh * p.kw;
  k.residues = 1, k.tap_begin[1] = k.tap_count;
  return k;
}

template <class T> int forward(const tg_conv &p, const T *x, const T *w, const T *bias, bool relu, T *y) {
  TapList list(p.kh * p.kw);
  if (!list.taps) return fail("conv_forward: out of memory");
  Correlation<T> k = forward_correlation(p, x, list);
  k.w = w, k.y = y, k.bias = bias, k.relu = relu;
  return correlate(k);
}

// dx[I] collects w[a] dy[i] where i stride + a dilation - pad = I. For I = q stride + residue the taps with
// (residue + pad - a dilation) divisible by the stride remain, and read dy at q + (residue + pad - a dilation) / stride.
template <class T> int data(const tg_conv &p, const T *dy, const T *w, const T *mask, T *dx) {
  if constexpr (sizeof(T) == 4)
    if (strided_data_serves(p)) return convolve_strided_data(p, dy, w, mask, dx);
  TapList list(p.kh * p.kw);
  if (!list.taps) return fail("conv_data: out of memory");
  Correlation<T> k{};
  k.x = dy, k.w = w, k.y = dx, k.mask = mask;
  k.n = p.n, k.groups = p.groups, k.in = p.c_out / p.groups, k.out = p.c_in / p.groups;
  k.h = p.out_h, k.width = p.out_w, k.y_h = p.h, k.y_width = p.w;
  k.stride_h = k.stride_w = 1;
  k.row_step = p.stride_h, k.column_step = p.stride_w;
  k.w_out = p.kh * p.kw, k.w_in = k.out * k.w_out, k.w_group = k.in * k.w_in;
  k.taps = list.taps;
  k.residues = p.stride_w == 2 ? 2 : 1;
  for (int64_t row = 0; row < p.stride_h; ++row)
    for (int64_t column = 0; column < p.stride_w; column += k.residues) {
      k.tap_count = 0;
      for (int r = 0; r < k.residues; ++r) {
        for (int64_t a = 0; a < p.kh; ++a)
          for (int64_t b = 0; b < p.kw; ++b) {
            const int64_t from_row = row + p.pad_h - a * p.dilation_h, from_column = column + r + p.pad_w - b * p.dilation_w;
            if (from_row % p.stride_h == 0 && from_column % p.stride_w == 0)
              list.taps[k.tap_count++] = {from_row / p.stride_h, from_column / p.stride_w, a * p.kw + b};
          }
        k.tap_begin[r + 1] = k.tap_count;
      }
      k.rows = ceil_div(p.h - row, p.stride_h), k.columns = ceil_div(p.w - column, p.stride_w);
      k.row_first = row, k.column_first = column;
      if (const int status = correlate(k); status != TG_OK) return status;
    }
  return TG_OK;
}

template <class T> int weights(const tg_conv &p, const T *x, const T *dy, T *dw, T *db) {
  TapList list(p.kh * p.kw);
  if (!list.taps) return fail("conv_weights: out of memory");
  const Correlation<T> k = forward_correlation(p, x, list);
  if constexpr (sizeof(T) == 4) {
    if (winograd_weights_serves(k)) return correlate_winograd_weights(k, dy, dw, db);
    if (strided_weights_serves(k)) return correlate_strided_weights(k, dy, dw, db);
  }
  if (k.n > 0 && depthwise_serves(k)) return correlate_depthwise_weights(k, dy, dw, db);
  return correlate_weights(k, dy, dw, db);
}

int conv_forward_bias(int64_t dtype, const tg_conv *p, const void *x, const void *w, const void *bias, int64_t relu, void *y) {
  return with_real(dtype, "conv_forward", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return forward<T>(*p, static_cast<const T *>(x), static_cast<const T *>(w), static_cast<const T *>(bias), relu != 0,
                      static_cast<T *>(y));
  });
}
int conv_forward(int64_t dtype, const tg_conv *p, const void *x, const void *w, void *y) {
  return conv_forward_bias(dtype, p, x, w, nullptr, 0, y);
}

int conv_data_masked(int64_t dtype, const tg_conv *p, const void *dy, const void *w, const void *mask, void *dx) {
  return with_real(dtype, "conv_data", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return data<T>(*p, static_cast<const T *>(dy), static_cast<const T *>(w), static_cast<const T *>(mask), static_cast<T *>(dx));
  });
}
int conv_data(int64_t dtype, const tg_conv *p, const void *dy, const void *w, void *dx) {
  return conv_data_masked(dtype, p, dy, w, nullptr, dx);
}

int conv_weights_bias(int64_t dtype, const tg_conv *p, const void *x, const void *dy, void *dw, void *db) {
  return with_real(dtype, "conv_weights", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return weights<T>(*p, static_cast<const T *>(x), static_cast<const T *>(dy), static_cast<T *>(dw), static_cast<T *>(db));
  });
}
int conv_weights(int64_t dtype, const tg_conv *p, const void *x, const void *dy, void *dw) {
  return conv_weights_bias(dtype, p, x, dy, dw, nullptr);
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

} // namespace tautgrad::cpu::TG_ISA
