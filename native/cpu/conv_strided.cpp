// 3x3 convolutions of stride 2, forward, by Winograd's F(4, 2) down the columns (conv_residues.hpp): 9 row products for 4 rows of
// outputs instead of 12, with the three taps of a row summed in registers as in the direct convolution. Nothing but rows is transformed:
// pixels stay along the lanes.
#include "conv_residues.hpp"

namespace tautgrad::cpu::TG_ISA {
namespace {

using V = vec<float>;
constexpr int L = lanes<float>;

struct Plan : ResidueRows {
  int64_t tile_rows;             // groups of four output rows in the image
  bool flat;                     // pixels are numbered through the rows of a block; else rows start aligned
  int64_t vectors;               // of a place: of one row, or of all rows of a block if flat
  int64_t products, out_channel; // elements between places and between channels of the products
};

Plan make_plan(const Correlation<float> &k, int64_t first_row, int64_t first_column) {
  Plan p{};
  p.tile_rows = ceil_div(k.rows, 4);
  p.pitch = k.columns + 1;
  int64_t most = (256 << 10) / (k.in * PLACES * 2 * p.pitch * 4);
  const int64_t shares = ceil_div(4, k.n * k.groups), at_most = ceil_div(p.tile_rows, shares);
  most = most > at_most ? at_most : most < 1 ? 1 : most;
  p.block_rows = ceil_div(p.tile_rows, ceil_div(p.tile_rows, most));
  const int64_t row_by_row = p.block_rows * ceil_div(k.columns, L), through = ceil_div(p.block_rows * p.pitch - 1, L);
  p.flat = through * 12 < row_by_row * 11;
  if (!p.flat) {
    const int64_t outside = -floor_div(first_column, 2); // pairs left of the image
    p.lead = outside > 0 ? (L - outside % L) % L : 0;
    p.pitch = ceil_div(p.lead + p.pitch, L) * L;
  }
  p.vectors = p.flat ? through : ceil_div(k.columns, L);
  p.place = p.block_rows * p.pitch;
  p.residue = PLACES * p.place;
  p.channel = ceil_div(2 * p.residue, L) * L;
  p.channel += p.channel / L % 2 ? 0 : L; // an odd number of cache lines
  p.products = (p.flat ? 1 : p.block_rows) * p.vectors * L;
  p.out_channel = PLACES * p.products + L; // an odd number of cache lines
  p.first_row = first_row;
  p.first_column = first_column;
  return p;
}

// products[o][place][pixel]. What a register tile reads of the input stays in L1 while all output channels pass.
void multiply(const Correlation<float> &k, const Plan &p, const float *in, const float *weights, int64_t kind_stride, float *products) {
  const bool odd = p.first_column % 2 != 0;
  const int64_t offsets[3] = {0, p.residue + odd, 1}; // the taps O, I, O
  const int most = vectors_beside(tile_channels(k.out));
  for (int place = 0; place < PLACES; ++place)
    for (int64_t r = 0; r < (p.flat ? 1 : p.block_rows); ++r)
      for (int64_t v = 0; v < p.vectors;) {
        const int64_t left = p.vectors - v, some = ceil_div(left, ceil_div(left, most));
        for (int64_t o = 0; o < k.out;) {
          const int channels = tile_channels(k.out - o);
          multiply_tile<float>(channels, static_cast<int>(some), in + p.lead + place * p.place + r * p.pitch + v * L, offsets, int64_t(3),
                               k.in, p.channel, weights + kind_of(place) * kind_stride + o * k.in * 3, static_cast<const float *>(nullptr),
                               false, products + o * p.out_channel + place * p.products + (r * p.vectors + v) * L, p.out_channel);
          o += channels;
        }
        v += some;
      }
}

// y = A' products, then bias, activation and mask.
void transform_output(const Correlation<float> &k, const Plan &p, const float *products, const float *bias, const float *mask,
                      int64_t tile_row0, float *y) {
  for (int64_t o = 0; o < k.out; ++o)
    for (int64_t r = 0; r < p.block_rows; ++r) {
      const int64_t row = 4 * (tile_row0 + r), rows = k.rows - row < 4 ? k.rows - row : 4;
      const float *in = products + o * p.out_channel + r * (p.flat ? p.pitch : p.vectors * L);
      for (int64_t j = 0; j < k.columns && rows > 0; j += L) {
        V d[5];
        for (int i = 0; i < 5; ++i) d[i] = load(in + i * p.products + j);
        residue_output(d);
        const int64_t count = k.columns - j < L ? k.columns - j : L;
        for (int i = 0; i < rows; ++i) {
          d[i] += load(in + (5 + i) * p.products + j);
          if (bias) d[i] += bias[o];
          if (k.relu) d[i] = d[i] < 0.0f ? V{} : d[i];
          const int64_t at = (o * k.y_h + row + i) * k.y_width + j;
          if (mask) {
            const V m = count == L ? load(mask + at) : load_partial(mask + at, count);
            d[i] = m > 0.0f ? d[i] : V{};
          }
          if (count == L)
            store(y + at, d[i]);
          else
            store_partial(y + at, d[i], count);
        }
      }
    }
}

// packed[kind][g][tile of o][c][tap][o]
void transform_weights(const Correlation<float> &k, const int64_t (&index)[3][3], float *packed) {
  const int64_t kind = k.groups * k.out * k.in * 3;
  for (int64_t g = 0; g < k.groups; ++g)
    for (int64_t o = 0; o < k.out;) {
      const int channels = tile_channels(k.out - o);
      for (int64_t c = 0; c < k.in; ++c)
        for (int b = 0; b < 3; ++b)
          for (int i = 0; i < channels; ++i, ++packed) {
            const float *w = k.w + g * k.w_group + (o + i) * k.w_out + c * k.w_in;
            residue_weight(w[index[0][b]], w[index[2][b]], packed, kind);
            packed[5 * kind] = w[index[1][b]];
          }
      o += channels;
    }
}
} // namespace

bool strided_serves(const Correlation<float> &k) {
  int64_t row, column, index[3][3];
  return k.stride_h == 2 && k.stride_w == 2 && k.row_step == 1 && k.column_step == 1 && k.in >= 8 && k.out >= 8 && k.rows >= 1 &&
         k.columns >= 1 && k.n * k.rows * k.columns >= 128 && square_of_taps(k, row, column, index);
}

int correlate_strided(const Correlation<float> &k) {
  if (k.n == 0) return TG_OK;
  int64_t first_row, first_column, index[3][3];
  square_of_taps(k, first_row, first_column, index);
  const Plan p = make_plan(k, first_row, first_column);
  const int64_t kind = k.groups * k.out * k.in * 3;
  float *weights = static_cast<float *>(scratch(CONV_SCRATCH_SHARED, KINDS * kind * 4));
  if (!weights) return fail("conv: out of memory for %lld transformed weights", static_cast<long long>(KINDS * kind));
  transform_weights(k, index, weights);

  const int64_t blocks = ceil_div(p.tile_rows, p.block_rows);
  const int64_t in_elements = k.in * p.channel + 8 * L, row_elements = ceil_div(k.width, L) * L,
                out_elements = k.out * p.out_channel + 8 * L;
  const int64_t elements = in_elements + out_elements + row_elements;
  const bool done = for_scratch_tasks<float>(k.n * k.groups * blocks, work_of(k), elements, [&](int64_t task, float *in) {
    const int64_t block = task % blocks, g = task / blocks % k.groups, image = task / (blocks * k.groups);
    float *products = in + in_elements, *zeros = products + out_elements;
    memset(zeros, 0, static_cast<size_t>(row_elements) * sizeof(float));
    transform_residue_rows(k, p, k.x + (image * k.groups + g) * k.in * k.h * k.width, 0, k.in, block * p.block_rows, zeros, in);
    multiply(k, p, in, weights + g * k.out * k.in * 3, kind, products);
    const int64_t planes = (image * k.groups + g) * k.out * k.y_h * k.y_width;
    transform_output(k, p, products, k.bias ? k.bias + g * k.out : nullptr, k.mask ? k.mask + planes : nullptr, block * p.block_rows,
                     k.y + planes);
  });
  return done ? static_cast<int>(TG_OK) : fail("conv: out of memory for a block of %lld rows", static_cast<long long>(4 * p.block_rows));
}

} // namespace tautgrad::cpu::TG_ISA
