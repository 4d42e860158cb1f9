// The data gradient of a 3x3 convolution of stride 2, the transpose of conv_strided.cpp (and the transposed convolution forward):
//   dO[i] = w2 dy[i - 1] + w0 dy[i],  dI[i] = w1 dy[i]
// down the columns, with four rows dO from five products by F(4, 2) and four rows dI from four; along the rows the same taps are summed in
// registers, and O and I interleave.
#include "conv_residues.hpp"

namespace tautgrad::cpu::TG_ISA {
namespace {

using V = vec<float>;
constexpr int L = lanes<float>;

struct Plan {
  int64_t tile_rows, block_rows;    // groups of eight rows of dx, those of a task
  int64_t columns, pitch;           // pairs of columns of dx; elements of a transformed row
  bool flat;                        // pixels are numbered through the rows of a block
  int64_t vectors;                  // of a place: of one row, or of all rows of a block if flat
  int64_t place, channel;           // elements of the transformed dy between places and between channels
  int64_t products, residue, out;   // elements of the products between places, residues of the column, channels
  int64_t first_row, first_column;  // of the window of dy that the first pixel of dx sees
  bool row_swapped, column_swapped; // dx starts with I
};

// Pixel X of dx is O or I, whose index is (X + pad) / 2.
Plan make_plan(const tg_conv &p) {
  Plan q{};
  q.row_swapped = p.pad_h % 2 != 0, q.column_swapped = p.pad_w % 2 != 0;
  q.first_row = q.row_swapped ? (p.pad_h - 1) / 2 : p.pad_h / 2 - 1;
  q.first_column = q.column_swapped ? (p.pad_w - 1) / 2 : p.pad_w / 2 - 1;
  q.tile_rows = ceil_div(p.h, 8);
  q.columns = ceil_div(p.w, 2);
  q.pitch = q.columns + 1;
  const int64_t in = p.c_out / p.groups;
  int64_t most = (96 << 10) / (in * PLACES * q.pitch * 4);
  const int64_t shares = ceil_div(4, p.n * p.groups), at_most = ceil_div(q.tile_rows, shares);
  most = most > at_most ? at_most : most < 1 ? 1 : most;
  q.block_rows = ceil_div(q.tile_rows, ceil_div(q.tile_rows, most));
  const int64_t row_by_row = q.block_rows * ceil_div(q.columns, L), through = ceil_div(q.block_rows * q.pitch - 1, L);
  q.flat = through * 12 < row_by_row * 11;
  if (!q.flat) q.pitch = ceil_div(q.pitch, L) * L;
  q.vectors = q.flat ? through : ceil_div(q.columns, L);
  q.place = q.block_rows * q.pitch;
  q.channel = ceil_div(PLACES * q.place, L) * L;
  q.channel += q.channel / L % 2 ? 0 : L; // an odd number of cache lines
  q.products = (q.flat ? 1 : q.block_rows) * q.vectors * L;
  q.residue = PLACES * q.products;
  q.out = 2 * q.residue + L;
  return q;
}

// in[c][place][row of tiles][column]; `zeros` are a row of them.
void transform_input(const tg_conv &p, const Plan &q, const float *dy, int64_t tile_row0, const float *zeros, float *in) {
  const int64_t width = p.out_w, count = q.columns + 1, channels = p.c_out / p.groups;
  int64_t begin = -q.first_column, end = width - q.first_column; // columns inside dy
  begin = begin < 0 ? 0 : begin < count ? begin : count;
  end = end < begin ? begin : end < count ? end : count;
  const auto transform = [&](const float *const(&rows)[5], int64_t at, int64_t some, float *out) TG_LAMBDA {
    V d[5], raw[4];
    for (int i = 0; i < 5; ++i) d[i] = load(rows[i] + at);
    for (int i = 0; i < 4; ++i) raw[i] = d[i + !q.row_swapped];
    residue_input(d);
    for (int i = 0; i < PLACES; ++i) {
      const V v = i < 5 ? d[i] : raw[i - 5];
      if (some >= L)
        store(out + i * q.place, v);
      else
        store_partial(out + i * q.place, v, some);
    }
  };
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t r = 0; r < q.block_rows; ++r) {
      float *out = in + c * q.channel + r * q.pitch;
      const float *rows[5];
      for (int i = 0; i < 5; ++i) {
        const int64_t row = 4 * (tile_row0 + r) + q.first_row + i;
        rows[i] = row < 0 || row >= p.out_h ? zeros : dy + (c * p.out_h + row) * width;
        if (c + 1 < channels && rows[i] != zeros) prefetch_row(rows[i] + p.out_h * width, width);
      }
      for (int place = 0; place < PLACES; ++place) {
        for (int64_t j = 0; j < begin; ++j) out[place * q.place + j] = 0;
        for (int64_t j = end; j < count; ++j) out[place * q.place + j] = 0;
      }
      int64_t j = begin;
      for (; j + L <= end; j += L) transform(rows, q.first_column + j, L, out + j);
      if (j < end && end - begin >= L) { // once more over columns that are done
        transform(rows, q.first_column + end - L, L, out + end - L);
      } else if (j < end) { // less than a vector: from copies
        alignas(64) float copies[5][L] = {};
        const float *few[5];
        for (int i = 0; i < 5; ++i) {
          for (int64_t t = j; t < end; ++t) copies[i][t - j] = rows[i][q.first_column + t];
          few[i] = copies[i];
        }
        transform(few, 0, end - j, out + j);
      }
    }
}

// products[o][O, I][place][pixel]. What a register tile reads of the input stays in L1 while all output channels pass.
// weights[kind][tile of o]: [c][w2, w0][o], then [c][w1][o].
void multiply(const tg_conv &p, const Plan &q, const float *in, const float *weights, int64_t kind_stride, float *products) {
  const int64_t channels_in = p.c_out / p.groups, channels_out = p.c_in / p.groups;
  const int64_t outer[2] = {0, 1}, inner[1] = {!q.column_swapped};
  const int most = vectors_beside(tile_channels(channels_out));
  for (int place = 0; place < PLACES; ++place)
    for (int64_t r = 0; r < (q.flat ? 1 : q.block_rows); ++r)
      for (int64_t v = 0; v < q.vectors;) {
        const int64_t left = q.vectors - v, some = ceil_div(left, ceil_div(left, most));
        const float *x = in + place * q.place + r * q.pitch + v * L, *none = nullptr;
        for (int64_t o = 0; o < channels_out;) {
          const int channels = tile_channels(channels_out - o);
          const float *w = weights + kind_of(place) * kind_stride + o * channels_in * 3;
          float *to = products + o * q.out + place * q.products + (r * q.vectors + v) * L;
          multiply_tile<float>(channels, static_cast<int>(some), x, outer, int64_t(2), channels_in, q.channel, w, none, false, to, q.out);
          multiply_tile<float>(channels, static_cast<int>(some), x, inner, int64_t(1), channels_in, q.channel,
                               w + channels * channels_in * 2, none, false, to + q.residue, q.out);
          o += channels;
        }
        v += some;
      }
}

void transform_output(const tg_conv &p, const Plan &q, const float *products, const float *mask, int64_t tile_row0, float *dx) {
  constexpr lane_numbers<float> n{};
  const int64_t channels = p.c_in / p.groups, plane = p.h * p.w;
  for (int64_t o = 0; o < channels; ++o)
    for (int64_t r = 0; r < q.block_rows; ++r) {
      const int64_t row = 8 * (tile_row0 + r), rows = p.h - row < 8 ? p.h - row : 8;
      const float *in = products + o * q.out + r * (q.flat ? q.pitch : q.vectors * L);
      for (int64_t j = 0; j < q.columns && rows > 0; j += L) {
        V pixels[8][2]; // rows of dx, its even and odd columns
        for (int residue = 0; residue < 2; ++residue) {
          const float *from = in + residue * q.residue + j;
          const int column = residue != q.column_swapped;
          V d[5];
          for (int i = 0; i < 5; ++i) d[i] = load(from + i * q.products);
          residue_output(d);
          for (int i = 0; i < 4; ++i) {
            pixels[2 * i + q.row_swapped][column] = d[i];
            pixels[2 * i + !q.row_swapped][column] = load(from + (5 + i) * q.products);
          }
        }
        const int64_t count = p.w - 2 * j < 2 * L ? p.w - 2 * j : 2 * L;
        for (int64_t i = 0; i < rows; ++i) {
          V out[2] = {zip_low(pixels[i][0], pixels[i][1], n), zip_high(pixels[i][0], pixels[i][1], n)};
          const int64_t at = (o * p.h + row + i) * p.w + 2 * j;
          if (o + 1 < channels) { // the next channel's pixels are fetched before they are written
            __builtin_prefetch(dx + at + plane, 1);
            __builtin_prefetch(dx + at + plane + L, 1);
          }
          for (int64_t half = 0; half < 2; ++half) {
            const int64_t some = count - half * L, to = at + half * L;
            if (some <= 0) break;
            if (mask) {
              const V m = some >= L ? load(mask + to) : load_partial(mask + to, some);
              out[half] = m > 0.0f ? out[half] : V{};
            }
            if (some >= L)
              store(dx + to, out[half]);
            else
              store_partial(dx + to, out[half], some);
          }
        }
      }
    }
}

void transform_weights(const tg_conv &p, const float *w, float *packed) {
  const int64_t in = p.c_out / p.groups, out = p.c_in / p.groups, kind = p.groups * in * out * 3;
  for (int64_t g = 0; g < p.groups; ++g)
    for (int64_t o = 0; o < out;) {
      const int channels = tile_channels(out - o);
      for (const int b : {2, 0, 1}) // columns of the kernel: those of O lie together, pixel by pixel
        for (int64_t c = 0; c < in; ++c)
          for (int i = 0; i < channels; ++i) {
            const float *from = w + ((g * in + c) * out + o + i) * 9 + b;
            float *to = packed + (b == 1 ? (2 * in + c) * channels : (2 * c + (b == 0)) * channels) + i;
            residue_weight(from[6], from[0], to, kind);
            to[5 * kind] = from[3];
          }
      packed += channels * in * 3;
      o += channels;
    }
}
} // namespace

bool strided_data_serves(const tg_conv &p) {
  return p.kh == 3 && p.kw == 3 && p.stride_h == 2 && p.stride_w == 2 && p.dilation_h == 1 && p.dilation_w == 1 && p.n > 0 &&
         p.c_in >= 8 * p.groups && p.c_out >= 8 * p.groups && p.out_h > 0 && p.out_w > 0 && p.n * p.out_h * p.out_w >= 128;
}

int convolve_strided_data(const tg_conv &p, const float *dy, const float *w, const float *mask, float *dx) {
  const Plan q = make_plan(p);
  const int64_t in = p.c_out / p.groups, out = p.c_in / p.groups, kind = p.groups * in * out * 3;
  float *weights = static_cast<float *>(scratch(CONV_SCRATCH_SHARED, KINDS * kind * 4));
  if (!weights) return fail("conv_data: out of memory for %lld transformed weights", static_cast<long long>(KINDS * kind));
  transform_weights(p, w, weights);
  const int64_t blocks = ceil_div(q.tile_rows, q.block_rows);
  const int64_t in_elements = in * q.channel + 8 * L, out_elements = out * q.out + 8 * L, row_elements = ceil_div(p.out_w, L) * L;
  const int64_t elements = in_elements + out_elements + row_elements;
  const double work = 9.0 * static_cast<double>(in * out) * static_cast<double>(p.n * p.groups * p.out_h * p.out_w);
  const bool done = for_scratch_tasks<float>(p.n * p.groups * blocks, work, elements, [&](int64_t task, float *input) {
    const int64_t block = task % blocks, g = task / blocks % p.groups, image = task / (blocks * p.groups);
    float *products = input + in_elements, *zeros = products + out_elements;
    memset(zeros, 0, static_cast<size_t>(row_elements) * sizeof(float));
    transform_input(p, q, dy + (image * p.groups + g) * in * p.out_h * p.out_w, block * q.block_rows, zeros, input);
    multiply(p, q, input, weights + g * out * in * 3, kind, products);
    const int64_t planes = (image * p.groups + g) * out * p.h * p.w;
    transform_output(p, q, products, mask ? mask + planes : nullptr, block * q.block_rows, dx + planes);
  });
  return done ? static_cast<int>(TG_OK)
              : fail("conv_data: out of memory for a block of %lld rows", static_cast<long long>(8 * q.block_rows));
}

} // namespace tautgrad::cpu::TG_ISA
