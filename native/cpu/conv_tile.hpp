// The register tile of the direct and the Winograd convolution: O output channels by V vectors of pixels.
#pragma once

#include "conv.hpp"

namespace tautgrad::cpu::TG_ISA {
namespace {

constexpr int MOST_CHANNELS = VECTOR_REGISTERS == 32 ? 8 : 4; // output channels of the largest register tile

// Vectors of pixels beside `channels` output channels: as many as the register file holds with their operands; never fewer for
// fewer channels, as the remainder tiles take the grouping of the first.
constexpr int vectors_beside(int channels) {
  return channels == 8 ? 3 : channels == 4 ? (VECTOR_REGISTERS == 32 ? 6 : 3) : channels == 2 ? (VECTOR_REGISTERS == 32 ? 6 : 4) : 6;
}

// out[o][v] = bias[o] + sum_{c, t} w[c][t][o] x[c * channel_stride + offsets[t] + v]
template <class T, int O, int V>
void tile(const T *x, const int64_t *offsets, int64_t taps, int64_t in, int64_t channel_stride, const T *w, const T *bias, bool relu,
          T *out, int64_t out_stride) {
  constexpr int L = lanes<T>;
  vec<T> acc[O][V];
#pragma GCC unroll 8
  for (int o = 0; o < O; ++o)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) acc[o][v] = bias ? splat(bias[o]) : vec<T>{};
  for (int64_t c = 0; c < in; ++c, x += channel_stride)
    for (int64_t t = 0; t < taps; ++t, w += O) {
      const T *p = x + offsets[t];
      vec<T> pixels[V];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) pixels[v] = load(p + v * L);
#pragma GCC unroll 8
      for (int o = 0; o < O; ++o)
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) acc[o][v] += w[o] * pixels[v];
    }
#pragma GCC unroll 8
  for (int o = 0; o < O; ++o)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) store(out + o * out_stride + v * L, relu ? (acc[o][v] < T(0) ? vec<T>{} : acc[o][v]) : acc[o][v]);
}

template <class T, int O, class... A> TG_INLINE void tile_of(int vectors, A... a) {
  constexpr int most = vectors_beside(O);
  switch (vectors) {
  case 1:
    return tile<T, O, 1>(a...);
  case 2:
    return tile<T, O, 2>(a...);
  case 3:
    return tile<T, O, 3>(a...);
  case 4:
    if constexpr (most >= 4) return tile<T, O, 4>(a...);
    break;
  case 5:
    if constexpr (most >= 5) return tile<T, O, 5>(a...);
    break;
  case 6:
    if constexpr (most >= 6) return tile<T, O, 6>(a...);
    break;
  }
}

// Channels of the next register tile when `left` remain.
inline int tile_channels(int64_t left) {
  int channels = MOST_CHANNELS;
  while (channels > left) channels /= 2;
  return channels;
}

// The tile of `channels` (a value of tile_channels) by `vectors` (at most vectors_beside(channels)).
template <class T, class... A> TG_INLINE void multiply_tile(int channels, int vectors, A... a) {
  switch (channels) {
  case 8:
    if constexpr (MOST_CHANNELS == 8) tile_of<T, 8>(vectors, a...);
    break;
  case 4:
    tile_of<T, 4>(vectors, a...);
    break;
  case 2:
    tile_of<T, 2>(vectors, a...);
    break;
  default:
    tile_of<T, 1>(vectors, a...);
  }
}

} // namespace
} // namespace tautgrad::cpu::TG_ISA
