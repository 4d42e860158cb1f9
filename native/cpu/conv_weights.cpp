// The weight gradient: dw[o, c, tap] is the dot product of the plane dy[o] with the plane x[c] seen through the tap. A task packs x as
// the direct convolution does and dy with the same pitch, zeros between the rows, so that each dot product is one run over
// contiguous pixels; a register tile holds several o by several (c, tap). Tasks add into a fixed number of partial results, which
// are summed in order at the end.
#include "conv_pack.hpp"

namespace tautgrad::cpu::TG_ISA {
namespace {

constexpr int TILE_O = 4;                              // planes of dy in a register tile
constexpr int TILE_R = VECTOR_REGISTERS == 32 ? 6 : 2; // (channel, tap) rows beside them

// sums[o * R + r] = <dy[o], x at offsets[r]> over `steps` vectors
template <class T, int O, int R> void dot_tile(const T *dy, int64_t dy_stride, const T *x, const int64_t *offsets, int64_t steps, T *sums) {
  constexpr int L = lanes<T>;
  vec<T> acc[ceil_div(O * R, L) * L];
#pragma GCC unroll 64
  for (vec<T> &a : acc) a = vec<T>{};
  const T *rows[R];
  for (int r = 0; r < R; ++r) rows[r] = x + offsets[r];
  for (int64_t s = 0; s < steps * L; s += L) {
    vec<T> d[O];
#pragma GCC unroll 8
    for (int o = 0; o < O; ++o) d[o] = load(dy + o * dy_stride + s);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const vec<T> pixels = load(rows[r] + s);
#pragma GCC unroll 8
      for (int o = 0; o < O; ++o) acc[o * R + r] += d[o] * pixels;
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < O * R; i += L) store(sums + i, sum_lanes<T>(acc + i));
}

// Adds one chunk's products to partial[o * stride + row].
template <class T, int O>
void add_products(const T *dy, int64_t dy_stride, const T *x, const int64_t *offsets, int64_t rows, int64_t steps, T *partial,
                  int64_t stride) {
  constexpr int R = O == TILE_O ? TILE_R : TILE_R * 2;
  T sums[ceil_div(O * R, lanes<T>) * lanes<T>];
  for (int64_t r = 0; r < rows; r += R) {
    const int64_t used = rows - r < R ? rows - r : R;
    int64_t local[R];
    for (int i = 0; i < R; ++i) local[i] = offsets[i < used ? r + i : r]; // a last, partial tile repeats its first row
    dot_tile<T, O, R>(dy, dy_stride, x, local, steps, sums);
    for (int o = 0; o < O; ++o)
      for (int64_t i = 0; i < used; ++i) partial[o * stride + r + i] += sums[o * R + i];
  }
}

template <class T> struct WeightsPlan {
  Correlation<T> k; // the forward correlation whose weights are wanted
  Layout layout;
  int64_t rows, blocks;          // output rows of a chunk, chunks of an image
  int64_t plane;                 // elements of a packed dy plane: whole vectors
  int64_t units, parts;          // chunks (image, block), partial results
  int64_t shares, out_per_share; // the output channels are shared out where there are few parts
  int64_t together;              // input channels packed at a time
};

template <class T> void pack_gradient(const WeightsPlan<T> &p, const T *dy, int64_t channels, int64_t row, T *packed) {
  const int64_t pitch = p.layout.pitch, columns = p.k.columns;
  for (int64_t o = 0; o < channels; ++o, packed += p.plane) {
    const int64_t count = p.k.rows - row < p.rows ? p.k.rows - row : p.rows;
    for (int64_t i = 0; i < count; ++i) {
      memcpy(packed + i * pitch, dy + (o * p.k.rows + row + i) * columns, static_cast<size_t>(columns) * sizeof(T));
      memset(packed + i * pitch + columns, 0, static_cast<size_t>(pitch - columns) * sizeof(T));
    }
    memset(packed + count * pitch, 0, static_cast<size_t>(p.plane - count * pitch) * sizeof(T));
  }
}

template <class T> WeightsPlan<T> plan_weights(const Correlation<T> &k, int64_t *offsets) {
  WeightsPlan<T> p{};
  p.k = k;
  constexpr int64_t L = lanes<T>;
  const Layout probe = plan_layout(k, 1, offsets);
  // A chunk long enough that the lanes are summed rarely, short enough that x and dy stay in L2.
  // Whole register tiles of rows (channel, tap) come from as many input channels as there are rows in a tile.
  p.together = k.in < TILE_R ? k.in : TILE_R;
  const int64_t row_bytes =
      (p.together * probe.row_residues * probe.column_residues + k.out) * probe.pitch * static_cast<int64_t>(sizeof(T));
  int64_t rows = ceil_div(2048, probe.pitch), at_most = (512 << 10) / row_bytes;
  rows = rows > at_most ? at_most : rows;
  // Few small images: shorter chunks rather than few tasks, or shares of the output channels, each of which packs x for itself.
  const int64_t quarter = ceil_div(k.rows * k.n * k.groups, 4), shortest = ceil_div(512, probe.pitch);
  rows = rows > quarter ? (quarter > shortest ? quarter : shortest < rows ? shortest : rows) : rows;
  rows = rows > k.rows ? k.rows : rows < 1 ? 1 : rows;
  p.blocks = ceil_div(k.rows, rows);
  p.rows = ceil_div(k.rows, p.blocks);
  p.layout = plan_layout(k, p.rows, offsets);
  p.layout.channel_stride += ceil_div(L + p.layout.column_span, 16) * 32; // zeros behind a channel: tiles read up to a vector beyond it
  p.plane = ceil_div(p.rows * p.layout.pitch, L) * L;
  p.units = k.n * p.blocks;
  const int64_t weights_bytes = k.groups * k.out * k.in * k.tap_count * static_cast<int64_t>(sizeof(T));
  p.parts = p.units < 16 ? p.units : 16;
  while (p.parts > 1 && p.parts * weights_bytes > (int64_t(64) << 20)) p.parts /= 2;
  const int64_t tiles = ceil_div(k.out, TILE_O);
  p.shares = ceil_div(4, p.parts * k.groups);
  p.shares = p.shares > ceil_div(tiles, 2) ? ceil_div(tiles, 2) : p.shares;
  p.out_per_share = ceil_div(tiles, p.shares) * TILE_O;
  return p;
}

// One chunk of one group, output channels [o_begin, o_end), added to `partial` of those channels.
template <class T>
void add_chunk(const WeightsPlan<T> &p, const int64_t *row_offsets, const T *x, const T *dy, int64_t o_begin, int64_t o_end, int64_t row,
               T *packed_x, T *packed_dy, T *partial, T *bias) {
  const Correlation<T> &k = p.k;
  pack_gradient(p, dy + o_begin * k.rows * k.columns, o_end - o_begin, row, packed_dy);
  if (bias)
    for (int64_t o = 0; o < o_end - o_begin; ++o) {
      vec<T> sum{};
      for (int64_t j = 0; j < p.plane; j += lanes<T>) sum += load(packed_dy + o * p.plane + j);
      bias[o] += horizontal_sum<T>(sum);
    }
  const int64_t used = p.layout.row_residues * p.layout.column_residues * p.layout.plane_rows * p.layout.pitch;
  const int64_t stride = k.in * k.tap_count, steps = p.plane / lanes<T>;
  for (int64_t c = 0; c < k.in; c += p.together) {
    Correlation<T> some = k;
    some.in = k.in - c < p.together ? k.in - c : p.together;
    pack_input(some, p.layout, x + c * k.h * k.width, row, packed_x);
    for (int64_t i = 0; i < some.in; ++i)
      memset(packed_x + i * p.layout.channel_stride + used, 0, static_cast<size_t>(p.layout.channel_stride - used) * sizeof(T));
    const int64_t rows = some.in * k.tap_count;
    for (int64_t o = o_begin; o < o_end;) {
      const T *d = packed_dy + (o - o_begin) * p.plane;
      T *out = partial + (o - o_begin) * stride + c * k.tap_count;
      if (o_end - o >= 4) {
        add_products<T, 4>(d, p.plane, packed_x, row_offsets, rows, steps, out, stride);
        o += 4;
      } else if (o_end - o >= 2) {
        add_products<T, 2>(d, p.plane, packed_x, row_offsets, rows, steps, out, stride);
        o += 2;
      } else {
        add_products<T, 1>(d, p.plane, packed_x, row_offsets, rows, steps, out, stride);
        o += 1;
      }
    }
  }
}
} // namespace

template <class T> int correlate_weights(const Correlation<T> &k, const T *dy, T *dw, T *db) {
  const int64_t rows = k.in * k.tap_count, count = k.groups * k.out * rows, channels = k.groups * k.out;
  if (count == 0 || k.n == 0 || k.rows <= 0 || k.columns <= 0) {
    if (count > 0) memset(dw, 0, static_cast<size_t>(count) * sizeof(T));
    if (db && channels > 0) memset(db, 0, static_cast<size_t>(channels) * sizeof(T));
    return TG_OK;
  }
  int64_t *offsets = static_cast<int64_t *>(scratch(CONV_SCRATCH_SHARED, k.tap_count * (1 + TILE_R) * 8));
  if (!offsets) return fail("conv_weights: out of memory");
  const WeightsPlan<T> p = plan_weights(k, offsets);
  int64_t *row_offsets = offsets + k.tap_count;
  for (int64_t c = 0; c < p.together; ++c)
    for (int64_t t = 0; t < k.tap_count; ++t) row_offsets[c * k.tap_count + t] = c * p.layout.channel_stride + offsets[t];
  const int64_t part_elements = count + channels; // weights, then bias
  T *partial = static_cast<T *>(scratch(CONV_SCRATCH_PARTIAL, p.parts * part_elements * static_cast<int64_t>(sizeof(T))));
  if (!partial) return fail("conv_weights: out of memory for %lld partial weights", static_cast<long long>(p.parts * count));

  int failed = 0;
  const int64_t x_elements = p.together * p.layout.channel_stride;
  for_tasks(p.parts * k.groups * p.shares, work_of(k), [&](int64_t task) {
    const int64_t share = task % p.shares, g = task / p.shares % k.groups, part = task / (p.shares * k.groups);
    const int64_t o_begin = share * p.out_per_share, o_end = o_begin + p.out_per_share < k.out ? o_begin + p.out_per_share : k.out;
    if (o_begin >= o_end) return;
    T *packed_x = static_cast<T *>(scratch(CONV_SCRATCH_TASK, x_elements * static_cast<int64_t>(sizeof(T))));
    T *packed_dy = static_cast<T *>(scratch(CONV_SCRATCH_TASK2, (o_end - o_begin) * p.plane * static_cast<int64_t>(sizeof(T))));
    if (!packed_x || !packed_dy) {
      __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
      return;
    }
    T *own = partial + part * part_elements + (g * k.out + o_begin) * rows;
    T *own_bias = db ? partial + part * part_elements + count + g * k.out + o_begin : nullptr;
    if (own_bias) memset(own_bias, 0, static_cast<size_t>(o_end - o_begin) * sizeof(T));
    memset(own, 0, static_cast<size_t>((o_end - o_begin) * rows) * sizeof(T));
    for (int64_t unit = part * p.units / p.parts; unit < (part + 1) * p.units / p.parts; ++unit) {
      const int64_t plane_group = unit / p.blocks * k.groups + g;
      add_chunk(p, row_offsets, k.x + plane_group * k.in * k.h * k.width, dy + plane_group * k.out * k.rows * k.columns, o_begin, o_end,
                unit % p.blocks * p.rows, packed_x, packed_dy, own, own_bias);
    }
  });
  if (failed) return fail("conv_weights: out of memory for a tile");
  for_chunks(db ? part_elements : count, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      T sum = partial[i];
      for (int64_t part = 1; part < p.parts; ++part) sum += partial[part * part_elements + i];
      (i < count ? dw[i] : db[i - count]) = sum;
    }
  });
  return TG_OK;
}

template int correlate_weights<float>(const Correlation<float> &, const float *, float *, float *);
template int correlate_weights<double>(const Correlation<double> &, const double *, double *, double *);

} // namespace tautgrad::cpu::TG_ISA
