// What a 3x3 convolution of stride 1 gains when the image is extended by its own border pixels instead of zeros. The two differ in the
// frame of one pixel around the image only, which reaches the outermost outputs through one row or column of the kernel: four
// convolutions of lines, added to what the zero-padded kernels have written. Their transposes follow the same lines.
#include "conv_tile.hpp"

#include <string.h>

namespace tautgrad::cpu::TG_ISA {
namespace {

constexpr int TAPS = 3;

// A border line of a plane: its first pixel and the distance between its pixels.
struct Line {
  int64_t first, step, length;
  bool row;
  int64_t tap, tap_step; // weights of the line's three taps
};

// Top, bottom, left, right. The rows take the frame's corners along.
void border_lines(int64_t h, int64_t w, Line (&lines)[4]) {
  lines[0] = {0, 1, w, true, 0, 1};
  lines[1] = {(h - 1) * w, 1, w, true, 6, 1};
  lines[2] = {0, w, h, false, 0, 3};
  lines[3] = {w - 1, w, h, false, 2, 3};
}

struct Sizes {
  int64_t in, out, h, w;
  int64_t pitch; // elements of a line with its ends and whole vectors
};
template <class T> Sizes sizes_of(int64_t in, int64_t out, int64_t h, int64_t w) {
  constexpr int64_t L = lanes<T>;
  const int64_t longest = h > w ? h : w;
  return {in, out, h, w, ceil_div(longest + 4, L) * L + 6 * L};
}

// line[c][before + k] = pixel k of the border line of channel c, zeros around it.
template <class T> void read_line(const Sizes &s, const Line &l, const T *planes, int64_t before, T *line) {
  memset(line, 0, static_cast<size_t>(s.in * s.pitch) * sizeof(T));
  for (int64_t c = 0; c < s.in; ++c) {
    const T *pixel = planes + c * s.h * s.w + l.first;
    T *target = line + c * s.pitch + before;
    if (l.step == 1)
      memcpy(target, pixel, static_cast<size_t>(l.length) * sizeof(T));
    else
      for (int64_t k = 0; k < l.length; ++k) target[k] = pixel[k * l.step];
  }
}
// Rows end with the corners of the frame, which are copies of the row's ends.
template <class T> void extend_rows(const Sizes &s, const Line &l, T *line) {
  for (int64_t c = 0; c < s.in; ++c) {
    T *row = line + c * s.pitch;
    row[0] = row[1];
    row[l.length + 1] = row[l.length];
  }
}

// packed[line][tile of out][c][t][o of the tile]; the weight of (o, c, tap) lies at o * w_out + c * w_in + tap.
template <class T> void pack_line_weights(const Sizes &s, const T *w, int64_t w_out, int64_t w_in, bool reversed, T *packed) {
  Line lines[4];
  border_lines(s.h, s.w, lines);
  for (const Line &l : lines)
    for (int64_t o = 0; o < s.out;) {
      const int channels = tile_channels(s.out - o);
      for (int64_t c = 0; c < s.in; ++c)
        for (int64_t t = 0; t < TAPS; ++t)
          for (int i = 0; i < channels; ++i) *packed++ = w[(o + i) * w_out + c * w_in + l.tap + (reversed ? TAPS - 1 - t : t) * l.tap_step];
      o += channels;
    }
}

// out[o][j] = sum_{c, t} packed[c][t][o] line[c][j + t], for the channels [o_begin, o_end)
template <class T>
void convolve_line(const Sizes &s, const T *line, const T *packed, int64_t o_begin, int64_t o_end, int64_t count, T *out) {
  constexpr int64_t L = lanes<T>;
  const int64_t offsets[TAPS] = {0, 1, 2};
  const int64_t vectors = ceil_div(count, L);
  for (int64_t o = o_begin; o < o_end;) {
    const int channels = tile_channels(s.out - o), most = vectors_beside(channels);
    for (int64_t v = 0; v < vectors;) {
      const int64_t left = vectors - v, some = ceil_div(left, ceil_div(left, most));
      multiply_tile<T>(channels, static_cast<int>(some), line + v * L, offsets, int64_t(TAPS), s.in, s.pitch, packed + o * s.in * TAPS,
                       static_cast<const T *>(nullptr), false, out + (o - o_begin) * s.pitch + v * L, s.pitch);
      v += some;
    }
    o += channels;
  }
}

// Adds to the planes of `out`. Forward reads x and writes y; transposed reads dy and writes dx, folding the frame back onto the pixels
// that it copies. Tasks own planes: neighbouring lines share the corner pixels.
template <class T>
int add_lines(bool transposed, int64_t n, const Sizes &s, const T *from, const T *w, int64_t w_out, int64_t w_in, T *to) {
  const int64_t per_line = s.in * s.out * TAPS;
  T *packed = static_cast<T *>(scratch(CONV_SCRATCH_SHARED, 4 * per_line * static_cast<int64_t>(sizeof(T))));
  if (!packed) return fail("conv_frame: out of memory for %lld weights", static_cast<long long>(4 * per_line));
  pack_line_weights(s, w, w_out, w_in, transposed, packed);
  const int64_t tiles = ceil_div(s.out, MOST_CHANNELS), shares = n > 1 || tiles < 2 ? 1 : 2, tiles_of_share = ceil_div(tiles, shares);
  const int64_t line_elements = (s.in + 1) * s.pitch, out_elements = (tiles_of_share * MOST_CHANNELS + 1) * s.pitch;
  const double work = static_cast<double>(n * per_line) * static_cast<double>(2 * (s.h + s.w));
  const bool done = for_scratch_tasks<T>(n * shares, work, line_elements + out_elements, [&](int64_t task, T *line) {
    const int64_t image = task / shares, o_begin = task % shares * tiles_of_share * MOST_CHANNELS;
    const int64_t o_end = o_begin + tiles_of_share * MOST_CHANNELS < s.out ? o_begin + tiles_of_share * MOST_CHANNELS : s.out;
    T *result = line + line_elements;
    Line lines[4];
    border_lines(s.h, s.w, lines);
    for (int k = 0; k < 4; ++k) {
      const Line &l = lines[k];
      const bool corners = transposed && l.row; // results at the frame's corners, too
      read_line(s, l, from + image * s.in * s.h * s.w, corners ? 2 : 1, line);
      if (!transposed && l.row) extend_rows(s, l, line);
      const int64_t count = l.length + (corners ? 2 : 0);
      convolve_line(s, line, packed + k * per_line, o_begin, o_end, count, result);
      for (int64_t o = o_begin; o < o_end; ++o) {
        const T *source = result + (o - o_begin) * s.pitch;
        T *target = to + (image * s.out + o) * s.h * s.w + l.first;
        if (corners) {
          target[0] += source[0];
          target[l.length - 1] += source[count - 1];
          ++source;
        }
        if (l.step == 1)
          for (int64_t j = 0; j < l.length; ++j) target[j] += source[j];
        else
          for (int64_t j = 0; j < l.length; ++j) target[j * l.step] += source[j];
      }
    }
  });
  return done ? static_cast<int>(TG_OK) : fail("conv_frame: out of memory for lines of %lld elements", static_cast<long long>(s.pitch));
}

int conv_frame_forward(int64_t dtype, int64_t n, int64_t c_in, int64_t c_out, int64_t h, int64_t w, const void *x, const void *weights,
                       void *y) {
  return with_real(dtype, "conv_frame", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return add_lines<T>(false, n, sizes_of<T>(c_in, c_out, h, w), static_cast<const T *>(x), static_cast<const T *>(weights), c_in * 9, 9,
                        static_cast<T *>(y));
  });
}
int conv_frame_data(int64_t dtype, int64_t n, int64_t c_in, int64_t c_out, int64_t h, int64_t w, const void *dy, const void *weights,
                    void *dx) {
  return with_real(dtype, "conv_frame", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return add_lines<T>(true, n, sizes_of<T>(c_out, c_in, h, w), static_cast<const T *>(dy), static_cast<const T *>(weights), 9, c_in * 9,
                        static_cast<T *>(dx));
  });
}

// dw[o][c][tap] += <line of dy_o, shifted line of x_c>, all images in order. A task owns some output channels.
template <class T> int add_weights(int64_t n, int64_t c_in, int64_t c_out, int64_t h, int64_t w, const T *x, const T *dy, T *dw) {
  constexpr int64_t L = lanes<T>, TILE = 4;
  const Sizes sx = sizes_of<T>(c_in, c_out, h, w), sy = sizes_of<T>(TILE, c_in, h, w);
  const int64_t tasks = ceil_div(c_out, TILE);
  // Every image's lines of x, read once.
  const int64_t per_line = c_in * sx.pitch;
  T *shared = static_cast<T *>(scratch(CONV_SCRATCH_SHARED, 4 * n * per_line * static_cast<int64_t>(sizeof(T))));
  if (!shared) return fail("conv_frame: out of memory for %lld elements", static_cast<long long>(4 * n * per_line));
  Line lines[4];
  border_lines(h, w, lines);
  parallel_for(4 * n, [&](int64_t k) {
    T *line = shared + k * per_line;
    read_line(sx, lines[k % 4], x + k / 4 * c_in * h * w, 1, line);
    if (lines[k % 4].row) extend_rows(sx, lines[k % 4], line);
  });
  const double work = static_cast<double>(n * c_in * c_out * TAPS) * static_cast<double>(2 * (h + w));
  const bool done = for_scratch_tasks<T>(tasks, work, TILE * sy.pitch, [&](int64_t task, T *gradients) {
    const int64_t o_begin = task * TILE, channels = c_out - o_begin < TILE ? c_out - o_begin : TILE;
    memset(gradients, 0, static_cast<size_t>(TILE * sy.pitch) * sizeof(T));
    for (int64_t k = 0; k < 4 * n; ++k) {
      const Line &l = lines[k % 4];
      Sizes s = sy;
      s.in = channels;
      read_line(s, l, dy + (k / 4 * c_out + o_begin) * h * w, 0, gradients);
      for (int64_t c = 0; c < c_in; ++c) {
        const T *line = shared + k * per_line + c * sx.pitch;
        vec<T> sums[TILE][TAPS] = {};
        for (int64_t j = 0; j < l.length; j += L) { // behind the line's end dy is zero
          const vec<T> p0 = load(line + j), p1 = load(line + j + 1), p2 = load(line + j + 2);
#pragma GCC unroll 4
          for (int o = 0; o < TILE; ++o) {
            const vec<T> g = load(gradients + o * sy.pitch + j);
            sums[o][0] += g * p0;
            sums[o][1] += g * p1;
            sums[o][2] += g * p2;
          }
        }
        for (int o = 0; o < channels; ++o)
          for (int t = 0; t < TAPS; ++t) dw[((o_begin + o) * c_in + c) * 9 + l.tap + t * l.tap_step] += horizontal_sum<T>(sums[o][t]);
      }
    }
  });
  return done ? static_cast<int>(TG_OK) : fail("conv_frame: out of memory for lines of %lld elements", static_cast<long long>(sy.pitch));
}

int conv_frame_weights(int64_t dtype, int64_t n, int64_t c_in, int64_t c_out, int64_t h, int64_t w, const void *x, const void *dy,
                       void *dw) {
  return with_real(dtype, "conv_frame", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return add_weights<T>(n, c_in, c_out, h, w, static_cast<const T *>(x), static_cast<const T *>(dy), static_cast<T *>(dw));
  });
}

} // namespace

void register_conv_frame(tg_backend *t) {
  t->conv_frame_forward = conv_frame_forward;
  t->conv_frame_data = conv_frame_data;
  t->conv_frame_weights = conv_frame_weights;
}

} // namespace tautgrad::cpu::TG_ISA
