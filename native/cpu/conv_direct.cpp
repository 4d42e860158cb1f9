// The direct convolution on plain NCHW. A task packs the input rows that a block of output rows needs, borders filled with zeros and
// strided rows and columns sorted by residue, so that every tap reads unit-stride pixels at a fixed offset. The register tile is some
// output channels by some vectors of pixels; it sums over all input channels and taps before anything is stored.
#include "conv_pack.hpp"
#include "conv_tile.hpp"

namespace tautgrad::cpu::TG_ISA {
namespace {

// packed[residue][g][tile][c][t][o of the tile]
template <class T> void pack_weights(const Correlation<T> &k, T *packed) {
  for (int residue = 0; residue < k.residues; ++residue)
    for (int64_t g = 0; g < k.groups; ++g)
      for (int64_t o = 0; o < k.out;) {
        const int channels = tile_channels(k.out - o);
        for (int64_t c = 0; c < k.in; ++c)
          for (int64_t t = k.tap_begin[residue]; t < k.tap_begin[residue + 1]; ++t)
            for (int i = 0; i < channels; ++i) *packed++ = k.w[g * k.w_group + (o + i) * k.w_out + c * k.w_in + k.taps[t].index];
        o += channels;
      }
}

// What the tiles of one task share.
template <class T> struct Task {
  const Correlation<T> &k;
  const Layout &l;
  const int64_t *offsets; // of the taps, in the packed input
  const T *x, *w, *bias;  // packed input; packed weights of all groups, bias of the group
  T *y;                   // planes of the group
  int64_t o_begin, o_end; // output channels
  int64_t row0, rows;     // output rows
  int64_t group;
};

// Copies a register tile (of each residue: they lie `residue_stride` apart) from a buffer to where its pixels belong.
// Its first pixel is (row, column); after column pitch - 1 comes the next row, and columns beyond the image are dropped.
template <class T>
void scatter_tile(const Task<T> &task, const T *buffer, int64_t stride, int64_t residue_stride, int64_t o, int channels, int64_t row,
                  int64_t column, int64_t count, int64_t pitch) {
  const Correlation<T> &k = task.k;
  for (int64_t done = 0; done < count && row < task.row0 + task.rows; done += pitch - column, column = 0, ++row) {
    const int64_t left = k.columns - column, run = left < count - done ? left : count - done;
    const int64_t paired = k.residues == 2 ? (k.y_width - k.column_first) / 2 - column : 0, pairs = paired < run ? paired : run;
    for (int i = 0; i < channels; ++i) {
      const T *source = buffer + i * stride + done;
      T *target = task.y + ((o + i) * k.y_h + k.row_first + row * k.row_step) * k.y_width + k.column_first + column * k.column_step;
      if (k.residues == 2) {
        const T *other = source + residue_stride;
        for (int64_t j = 0; j < pairs; ++j) target[2 * j] = source[j], target[2 * j + 1] = other[j];
        if (pairs < run) target[2 * pairs] = source[pairs]; // an odd width ends with the first residue
      } else if (k.column_step == 1) {
        if (run > 0) memcpy(target, source, static_cast<size_t>(run) * sizeof(T));
      } else {
        for (int64_t j = 0; j < run; ++j) target[j * k.column_step] = source[j];
      }
    }
  }
}

// All register tiles over `pixels` pixels from (row, column) of the task's block on. Vectors of pixels are the outer loop: what they
// read of the input then stays in L1 while the weights stream past.
template <class T> void run_segment(const Task<T> &task, int64_t row, int64_t column, int64_t pixels) {
  const Correlation<T> &k = task.k;
  constexpr int L = lanes<T>;
  constexpr int64_t largest = MOST_CHANNELS * 3 * L > 24 * L ? MOST_CHANNELS * 3 * L : 24 * L; // elements of a tile
  alignas(64) T buffer[2 * largest];
  const int64_t vectors = ceil_div(pixels, L), most = vectors_beside(tile_channels(k.out - task.o_begin));
  for (int64_t v = 0; v < vectors;) {
    const int64_t left = vectors - v;
    const int count = static_cast<int>(ceil_div(left, ceil_div(left, most))); // even shares: 4 vectors, 3 at a time, go as 2 and 2
    const int64_t at = column + v * L, wanted = pixels - v * L < count * L ? pixels - v * L : count * L;
    const bool direct = !task.l.flat && k.column_step == 1 && wanted == count * L;
    for (int64_t o = task.o_begin; o < task.o_end;) {
      const int channels = tile_channels(k.out - o);
      T *out = direct ? task.y + (o * k.y_h + k.row_first + (task.row0 + row) * k.row_step) * k.y_width + k.column_first + at : buffer;
      const int64_t stride = direct ? k.y_h * k.y_width : count * L;
      for (int residue = 0; residue < k.residues; ++residue) {
        const int64_t first_tap = k.tap_begin[residue], taps = k.tap_begin[residue + 1] - first_tap;
        const T *w = task.w + k.groups * k.out * k.in * first_tap + (task.group * k.out + o) * k.in * taps;
        multiply_tile<T>(channels, count, task.x + row * task.l.pitch + at, task.offsets + first_tap, taps, k.in, task.l.channel_stride, w,
                         task.bias ? task.bias + o : nullptr, k.relu, out + residue * largest, stride);
      }
      if (!direct && task.l.flat)
        scatter_tile(task, buffer, stride, largest, o, channels, task.row0 + row + at / task.l.pitch, at % task.l.pitch, wanted,
                     task.l.pitch);
      else if (!direct)
        scatter_tile(task, buffer, stride, largest, o, channels, task.row0 + row, at, wanted, k.columns);
      o += channels;
    }
    v += count;
  }
}

// y = 0 where the mask is not positive, over the task's outputs: they are still in the cache.
template <class T> void apply_mask(const Task<T> &task, const T *mask) {
  const Correlation<T> &k = task.k;
  const int64_t step = k.residues == 2 ? 1 : k.column_step, count = k.residues == 2 ? k.y_width - k.column_first : k.columns;
  for (int64_t o = task.o_begin; o < task.o_end; ++o)
    for (int64_t row = task.row0; row < task.row0 + task.rows; ++row) {
      const int64_t at = (o * k.y_h + k.row_first + row * k.row_step) * k.y_width + k.column_first;
      T *y = task.y + at;
      const T *m = mask + at;
      if (step == 1)
        for (int64_t j = 0; j < count; ++j) y[j] = m[j] > T(0) ? y[j] : T(0);
      else
        for (int64_t j = 0; j < count; ++j) y[j * step] = m[j * step] > T(0) ? y[j * step] : T(0);
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
  const int64_t packed_elements = k.in * layout.channel_stride + 8 * L;
  const bool done = for_scratch_tasks<T>(k.n * k.groups * blocks * shares, work_of(k), packed_elements, [&](int64_t task, T *packed_x) {
    const int64_t share = task % shares, block = task / shares % blocks, g = task / (shares * blocks) % k.groups,
                  image = task / (shares * blocks * k.groups);
    const int64_t row0 = block * rows, count = k.rows - row0 < rows ? k.rows - row0 : rows;
    const int64_t o_begin = share * tiles_per_share * MOST_CHANNELS,
                  o_end = o_begin + tiles_per_share * MOST_CHANNELS < k.out ? o_begin + tiles_per_share * MOST_CHANNELS : k.out;
    if (k.tap_count > 0) pack_input(k, layout, k.x + (image * k.groups + g) * k.in * k.h * k.width, row0, packed_x);
    // Tiles read whole vectors; what lies behind the last channel only has to be there.
    memset(packed_x + k.in * layout.channel_stride, 0, static_cast<size_t>(8 * L) * sizeof(T));
    const int64_t first_o = (image * k.groups + g) * k.out;
    const Task<T> t{k,       layout, offsets, packed_x, packed_w, k.bias ? k.bias + g * k.out : nullptr, k.y + first_o * k.y_h * k.y_width,
                    o_begin, o_end,  row0,    count,    g};
    const int64_t step = 6 * L;
    if (layout.flat) {
      const int64_t pixels = count * layout.pitch - layout.column_span;
      for (int64_t f = 0; f < pixels; f += step) run_segment(t, 0, f, pixels - f < step ? pixels - f : step);
    } else {
      for (int64_t i = 0; i < count; ++i)
        for (int64_t j = 0; j < k.columns; j += step) run_segment(t, i, j, k.columns - j < step ? k.columns - j : step);
    }
    if (k.mask) apply_mask(t, k.mask + first_o * k.y_h * k.y_width);
  });
  return done ? static_cast<int>(TG_OK) : fail("conv: out of memory for a tile of %lld elements", static_cast<long long>(packed_elements));
}

template int correlate_direct<float>(const Correlation<float> &);
template int correlate_direct<double>(const Correlation<double> &);

} // namespace tautgrad::cpu::TG_ISA
