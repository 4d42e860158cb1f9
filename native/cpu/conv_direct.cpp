// The direct convolution on plain NCHW. A task packs the input rows that a block of output rows needs, borders filled with zeros and
// strided rows and columns sorted by residue, so that every tap reads unit-stride pixels at a fixed offset. The register tile is some
// output channels by some vectors of pixels; it sums over all input channels and taps before anything is stored.
#include "conv_pack.hpp"
#include "conv_tile.hpp"

namespace tautgrad::cpu::TG_ISA {
namespace {

// packed[g][tile][c][t][o of the tile]
template <class T> void pack_weights(const Correlation<T> &k, T *packed) {
  for (int64_t g = 0; g < k.groups; ++g)
    for (int64_t o = 0; o < k.out;) {
      const int channels = tile_channels(k.out - o);
      for (int64_t c = 0; c < k.in; ++c)
        for (int64_t t = 0; t < k.tap_count; ++t)
          for (int i = 0; i < channels; ++i) *packed++ = k.w[g * k.w_group + (o + i) * k.w_out + c * k.w_in + k.taps[t].index];
      o += channels;
    }
}

// Copies a register tile that lies in a buffer to where its pixels belong. Pixel f of a flat tile is row f / pitch, column f % pitch.
template <class T>
void scatter_tile(const Correlation<T> &k, const T *buffer, int64_t buffer_stride, int channels, int64_t row, int64_t column, int64_t count,
                  int64_t pitch, int64_t rows_end, T *plane) {
  int64_t done = 0;
  while (done < count && row < rows_end) {
    int64_t run = k.columns - column < count - done ? k.columns - column : count - done;
    run = run > 0 ? run : 0;
    for (int o = 0; o < channels; ++o) {
      const T *source = buffer + o * buffer_stride + done;
      T *target = plane + o * k.y_h * k.y_width + (k.row_first + row * k.row_step) * k.y_width + k.column_first + column * k.column_step;
      if (k.column_step == 1)
        memcpy(target, source, static_cast<size_t>(run) * sizeof(T));
      else if (k.column_step == 2)
        for (int64_t j = 0; j < run; ++j) target[2 * j] = source[j];
      else
        for (int64_t j = 0; j < run; ++j) target[j * k.column_step] = source[j];
    }
    done += pitch - column;
    column = 0;
    ++row;
  }
}

// All register tiles over `vectors` vectors of pixels from (row, column) of the task's block on.
template <class T>
void run_segment(const Correlation<T> &k, const Layout &l, const int64_t *offsets, const T *packed_x, const T *packed_w, int64_t o_begin,
                 int64_t o_end, const T *bias, int64_t row0, int64_t rows, int64_t row, int64_t column, int64_t pixels, T *y) {
  constexpr int L = lanes<T>;
  const int64_t vectors = ceil_div(pixels, L), span = vectors * L;
  const bool direct = !l.flat && k.column_step == 1 && pixels == span;
  const T *x = packed_x + row * l.pitch + column;
  for (int64_t o = o_begin; o < o_end;) {
    const int channels = tile_channels(k.out - o);
    const T *w = packed_w + o * k.in * k.tap_count;
    alignas(64) T buffer[MOST_CHANNELS * 3 * L > MOST_VECTORS * 4 * L ? MOST_CHANNELS * 3 * L : MOST_VECTORS * 4 * L];
    T *plane = y + o * k.y_h * k.y_width;
    const int most = vectors_beside(channels);
    for (int64_t v = 0; v < vectors;) {
      // Even shares: 4 vectors with at most 3 at a time go as 2 and 2.
      const int64_t left = vectors - v, parts = ceil_div(left, most);
      const int count = static_cast<int>(ceil_div(left, parts));
      T *out = direct ? plane + (k.row_first + (row0 + row) * k.row_step) * k.y_width + k.column_first + column + v * L : buffer;
      const int64_t out_stride = direct ? k.y_h * k.y_width : count * L;
      multiply_tile<T>(channels, count, x + v * L, offsets, k.tap_count, k.in, l.channel_stride, w, bias ? bias + o : nullptr, k.relu, out,
                       out_stride);
      if (!direct) {
        const int64_t at = column + v * L, wanted = pixels - v * L < count * L ? pixels - v * L : count * L;
        if (l.flat)
          scatter_tile(k, buffer, out_stride, channels, row0 + row + at / l.pitch, at % l.pitch, wanted, l.pitch, row0 + rows, plane);
        else
          scatter_tile(k, buffer, out_stride, channels, row0 + row, at, wanted, k.columns, row0 + rows, plane);
      }
      v += count;
    }
    o += channels;
  }
}

// Output rows of a task: its packed input should leave room for the weights in L2, and there should be several tasks.
template <class T> int64_t rows_per_task(const Correlation<T> &k, int64_t row_span, int64_t residues, int64_t pitch) {
  const int64_t row_bytes = k.in * pitch * residues * static_cast<int64_t>(sizeof(T));
  int64_t rows = (320 << 10) / (row_bytes > 0 ? row_bytes : 1) - row_span;
  const int64_t shares = ceil_div(8, k.n * k.groups), at_most = ceil_div(k.rows, shares);
  rows = rows < 1 ? 1 : rows;
  rows = rows < 2 * row_span ? 2 * row_span : rows; // else packing rows twice would cost more than cache misses
  rows = rows > at_most ? at_most : rows;
  rows = rows < 1 ? 1 : rows;
  return ceil_div(k.rows, ceil_div(k.rows, rows)); // even blocks
}
} // namespace

template <class T> int correlate_direct(const Correlation<T> &k) {
  if (k.n == 0 || k.out == 0 || k.rows <= 0 || k.columns <= 0) return TG_OK;
  constexpr int64_t L = lanes<T>;
  const int64_t weight_count = k.groups * k.in * k.out * k.tap_count;
  const int64_t offsets_bytes = ceil_div(k.tap_count * 8 + 8, 64) * 64;
  char *shared = static_cast<char *>(scratch(CONV_SCRATCH_SHARED, offsets_bytes + (weight_count + L) * static_cast<int64_t>(sizeof(T))));
  if (!shared) return fail("conv: out of memory for %lld packed weights", static_cast<long long>(weight_count));
  int64_t *offsets = reinterpret_cast<int64_t *>(shared);
  T *packed_w = reinterpret_cast<T *>(shared + offsets_bytes);
  Layout probe{};
  if (k.tap_count > 0) probe = plan_layout(k, 1, offsets);
  const int64_t rows = rows_per_task(k, probe.row_span, probe.row_residues * probe.column_residues, probe.pitch);
  Layout layout{};
  if (k.tap_count > 0) layout = plan_layout(k, rows, offsets);
  pack_weights(k, packed_w);

  const int64_t blocks = ceil_div(k.rows, rows), tiles = ceil_div(k.out, MOST_CHANNELS);
  // Few large images: the output channels are shared out too, each task packing its own input.
  int64_t shares = ceil_div(8, k.n * k.groups * blocks);
  shares = shares > tiles / 4 ? (tiles / 4 > 0 ? tiles / 4 : 1) : shares;
  const int64_t tiles_per_share = ceil_div(tiles, shares);
  const int64_t packed_elements = k.in * layout.channel_stride + (MOST_VECTORS + 1) * L;
  int failed = 0;
  parallel_for(k.n * k.groups * blocks * shares, [&](int64_t task) {
    const int64_t share = task % shares, block = task / shares % blocks, g = task / (shares * blocks) % k.groups,
                  image = task / (shares * blocks * k.groups);
    T *packed_x = static_cast<T *>(scratch(CONV_SCRATCH_TASK, packed_elements * static_cast<int64_t>(sizeof(T))));
    if (!packed_x) {
      __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
      return;
    }
    const int64_t row0 = block * rows, count = k.rows - row0 < rows ? k.rows - row0 : rows;
    const int64_t o_begin = share * tiles_per_share * MOST_CHANNELS,
                  o_end = o_begin + tiles_per_share * MOST_CHANNELS < k.out ? o_begin + tiles_per_share * MOST_CHANNELS : k.out;
    if (k.tap_count > 0) pack_input(k, layout, k.x + (image * k.groups + g) * k.in * k.h * k.width, row0, packed_x);
    // Tiles read whole vectors; what lies behind the last channel only has to be there.
    memset(packed_x + k.in * layout.channel_stride, 0, static_cast<size_t>((MOST_VECTORS + 1) * L) * sizeof(T));
    const T *w = packed_w + g * k.in * k.out * k.tap_count, *bias = k.bias ? k.bias + g * k.out : nullptr;
    T *y = k.y + (image * k.groups + g) * k.out * k.y_h * k.y_width;
    const int64_t step = 6 * L;
    if (layout.flat) {
      const int64_t pixels = count * layout.pitch - layout.column_span;
      for (int64_t f = 0; f < pixels; f += step)
        run_segment(k, layout, offsets, packed_x, w, o_begin, o_end, bias, row0, count, 0, f, pixels - f < step ? pixels - f : step, y);
    } else {
      for (int64_t i = 0; i < count; ++i)
        for (int64_t j = 0; j < k.columns; j += step)
          run_segment(k, layout, offsets, packed_x, w, o_begin, o_end, bias, row0, count, i, j, k.columns - j < step ? k.columns - j : step,
                      y);
    }
  });
  return failed ? fail("conv: out of memory for a tile of %lld elements", static_cast<long long>(packed_elements))
                : static_cast<int>(TG_OK);
}

template int correlate_direct<float>(const Correlation<float> &);
template int correlate_direct<double>(const Correlation<double> &);

} // namespace tautgrad::cpu::TG_ISA
