// The weight gradient of a 3x3 convolution of stride 2, the transpose of conv_strided.cpp: rows of x and of dy are transformed, and the
// products of their nine places, summed over pixels, go to six kinds of weights. Output channels lie along the lanes: dy, the smaller
// operand, is turned so, x is read pixel by pixel, and no sum over lanes is left. Tasks own a fixed share of the blocks of rows; their
// results are added in order.
#include "conv_residues.hpp"

namespace tautgrad::cpu::TG_ISA {
namespace {

using V = vec<float>;
constexpr int L = lanes<float>;
constexpr int TILE = VECTOR_REGISTERS == 32 ? 8 : 4; // input channels (of three taps) times vectors of output channels in a register tile
constexpr int TOGETHER = 8; // input channels transformed at a time: they stay in L1 or near it while all places pass

struct Plan : ResidueRows {
  int64_t tile_rows, blocks; // groups of four output rows, blocks of them in an image
  int64_t out;               // output channels, whole vectors
  int64_t gradient;          // elements between places of the transformed dy
  int64_t parts;             // partial results
};

Plan make_plan(const Correlation<float> &k, int64_t first_row, int64_t first_column) {
  Plan p{};
  p.tile_rows = ceil_div(k.rows, 4);
  p.out = ceil_div(k.out, L) * L;
  const int64_t outside = -floor_div(first_column, 2); // pairs left of the image
  p.lead = outside > 0 ? (L - outside % L) % L : 0;
  p.pitch = ceil_div(p.lead + k.columns + 1, L) * L;                                // aligned for the stores; it is read pixel by pixel
  int64_t rows = ceil_div(96, k.columns);                                           // a row of tiles, unless it is short
  const int64_t most = k.n * k.groups > 1 ? p.tile_rows : ceil_div(p.tile_rows, 2); // a single image makes two tasks at least
  rows = rows > most ? most : rows;
  p.blocks = ceil_div(p.tile_rows, rows);
  p.block_rows = ceil_div(p.tile_rows, p.blocks);
  p.place = p.block_rows * p.pitch;
  p.residue = PLACES * p.place;
  p.channel = ceil_div(2 * p.residue, L) * L;
  p.channel += p.channel / L % 2 ? 0 : L; // an odd number of cache lines
  p.gradient = p.block_rows * k.columns * p.out;
  p.first_row = first_row;
  p.first_column = first_column;
  p.parts = k.n * p.blocks < 16 ? k.n * p.blocks : 16;
  return p;
}

// out[column][o] = planes[o][column] for L channels, of which `channels` exist; a plane has `plane` elements. row: NULL for zeros.
void turn_row(const float *row, int64_t plane, int64_t channels, int64_t columns, float *out, int64_t out_stride) {
  int64_t j = 0;
  if (!row) {
    for (; j < columns; ++j) store(out + j * out_stride, V{});
    return;
  }
  for (; j + L <= columns; j += L) {
    V block[L];
    for (int64_t o = 0; o < L; ++o) {
      block[o] = o < channels ? load(row + o * plane + j) : V{};
      if (o < channels) __builtin_prefetch(row + o * plane + j + 4 * columns); // for the next row of tiles
    }
    transpose_lanes<float>(block);
    for (int i = 0; i < L; ++i) store(out + (j + i) * out_stride, block[i]);
  }
  for (; j < columns; ++j) {
    V v{};
    for (int64_t o = 0; o < L; ++o)
      if (o < channels) v[o] = row[o * plane + j];
    store(out + j * out_stride, v);
  }
}

// g[place][row of tiles][column][o]; the sums of dy are added to `bias` unless it is NULL.
void transform_gradient(const Correlation<float> &k, const Plan &p, const float *dy, int64_t tile_row0, float *g, float *bias) {
  const int64_t plane = k.rows * k.columns;
  for (int64_t o = 0; o < k.out; o += L) {
    V sum{};
    for (int64_t r = 0; r < p.block_rows; ++r) {
      float *out = g + r * k.columns * p.out + o;
      for (int i = 0; i < 4; ++i) {
        const int64_t row = 4 * (tile_row0 + r) + i;
        turn_row(row < k.rows ? dy + o * plane + row * k.columns : nullptr, plane, k.out - o, k.columns, out + (5 + i) * p.gradient, p.out);
      }
      for (int64_t j = 0; j < k.columns; ++j, out += p.out) {
        V d[5];
        for (int i = 0; i < 4; ++i) d[i] = load(out + (5 + i) * p.gradient);
        sum += (d[0] + d[1]) + (d[2] + d[3]);
        residue_gradient(d);
        for (int i = 0; i < 5; ++i) store(out + i * p.gradient, d[i]);
      }
    }
    if (bias) store(bias + o, load(bias + o) + sum);
  }
}

// sums[c][tap][o] += sum over the pixels of `rows` rows of x[c][pixel at the tap] g[pixel][o], for C channels and N vectors of o.
// `fresh`: sums start at zero.
template <int C, int N>
void add_products(const Plan &p, int64_t rows, int64_t columns, const float *x, int64_t x_row, int64_t inner, const float *g, bool fresh,
                  float *sums) {
  V acc[C][3][N];
#pragma GCC unroll 32
  for (int i = 0; i < C * 3; ++i)
    for (int v = 0; v < N; ++v) acc[i / 3][i % 3][v] = fresh ? V{} : load(sums + i * p.out + v * L);
  for (int64_t r = 0; r < rows; ++r, x += x_row) {
    const float *pixel = x;
    for (int64_t j = 0; j < columns; ++j, ++pixel, g += p.out) {
      V gv[N];
      for (int v = 0; v < N; ++v) gv[v] = load(g + v * L);
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) {
        const float *at = pixel + c * p.channel;
        for (int v = 0; v < N; ++v) {
          acc[c][0][v] += at[0] * gv[v];
          acc[c][1][v] += at[inner] * gv[v];
          acc[c][2][v] += at[1] * gv[v];
        }
      }
    }
  }
#pragma GCC unroll 32
  for (int i = 0; i < C * 3; ++i)
    for (int v = 0; v < N; ++v) store(sums + i * p.out + v * L, acc[i / 3][i % 3][v]);
}

// `channels` input channels of one place (or of the last four, a run of rows).
void add_place(const Plan &p, int64_t channels, int64_t rows, int64_t columns, const float *x, int64_t inner, const float *g, bool fresh,
               float *sums) {
  const auto tile = [&](auto some, auto vectors, int64_t c, int64_t o) {
    constexpr int C = decltype(some)::value, N = decltype(vectors)::value;
    add_products<C, N>(p, rows, columns, x + c * p.channel, p.pitch, inner, g + o, fresh, sums + c * 3 * p.out + o);
  };
  using std::integral_constant;
  for (int64_t o = 0; o < p.out;) {
    const bool two = p.out - o >= 2 * L;
    for (int64_t c = 0; c < channels;) {
      const int64_t left = channels - c;
      const auto with = [&](auto vectors) {
        constexpr int most = TILE / decltype(vectors)::value;
        if constexpr (most >= 8)
          if (left >= 8) return tile(integral_constant<int, 8>{}, vectors, c, o), int64_t(8);
        if constexpr (most >= 4)
          if (left >= 4) return tile(integral_constant<int, 4>{}, vectors, c, o), int64_t(4);
        if (left >= 2) return tile(integral_constant<int, 2>{}, vectors, c, o), int64_t(2);
        return tile(integral_constant<int, 1>{}, vectors, c, o), int64_t(1);
      };
      c += two ? with(integral_constant<int, 2>{}) : with(integral_constant<int, 1>{});
    }
    o += two ? 2 * L : L;
  }
}
} // namespace

bool strided_weights_serves(const Correlation<float> &k) {
  int64_t row, column, index[3][3];
  const bool lanes_filled = 4 * k.out >= 3 * ceil_div(k.out, L) * L; // else the direct kernel, which wastes no lanes, is faster
  return k.n > 0 && k.stride_h == 2 && k.stride_w == 2 && lanes_filled && k.in >= 8 && k.rows >= 4 && k.columns >= 8 &&
         square_of_taps(k, row, column, index);
}

int correlate_strided_weights(const Correlation<float> &k, const float *dy, float *dw, float *db) {
  int64_t first_row, first_column, index[3][3];
  square_of_taps(k, first_row, first_column, index);
  const Plan p = make_plan(k, first_row, first_column);
  const int64_t kind = k.groups * k.in * 3 * p.out, part = KINDS * kind + k.groups * p.out; // weights, then bias
  float *partial = static_cast<float *>(scratch(CONV_SCRATCH_PARTIAL, p.parts * part * 4));
  if (!partial) return fail("conv_weights: out of memory for %lld partial weights", static_cast<long long>(p.parts * part));
  const int64_t inner = p.residue + (first_column % 2 != 0);
  const int64_t x_elements = ceil_div(TOGETHER * p.channel + 2 * L, L) * L, g_elements = PLACES * p.gradient,
                zero_elements = ceil_div(k.width, L) * L;
  const int64_t elements = x_elements + g_elements + zero_elements;
  const bool done = for_scratch_tasks<float>(p.parts * k.groups, work_of(k), elements, [&](int64_t task, float *x) {
    const int64_t g = task % k.groups, own = task / k.groups;
    float *gradient = x + x_elements, *zeros = gradient + g_elements;
    memset(zeros, 0, static_cast<size_t>(zero_elements) * sizeof(float));
    float *sums = partial + own * part + g * k.in * 3 * p.out, *bias = db ? partial + own * part + KINDS * kind + g * p.out : nullptr;
    if (bias) memset(bias, 0, static_cast<size_t>(p.out) * sizeof(float));
    const int64_t first = own * k.n * p.blocks / p.parts;
    for (int64_t block = first; block < (own + 1) * k.n * p.blocks / p.parts; ++block) {
      const int64_t planes = block / p.blocks * k.groups + g, tile_row = block % p.blocks * p.block_rows;
      transform_gradient(k, p, dy + planes * k.out * k.rows * k.columns, tile_row, gradient, bias);
      for (int64_t c = 0; c < k.in; c += TOGETHER) {
        const int64_t channels = k.in - c < TOGETHER ? k.in - c : TOGETHER;
        transform_residue_rows(k, p, k.x + planes * k.in * k.h * k.width, c, channels, tile_row, zeros, x);
        for (int place = 0; place < KINDS; ++place) // the last four places are one run of rows
          add_place(p, channels, (place < 5 ? 1 : 4) * p.block_rows, k.columns, x + p.lead + place * p.place, inner,
                    gradient + place * p.gradient, block == first, sums + place * kind + c * 3 * p.out);
      }
    }
  });
  if (!done) return fail("conv_weights: out of memory for a block of %lld rows", static_cast<long long>(4 * p.block_rows));
  for_tasks(k.groups * k.in, static_cast<double>(p.parts * part), [&](int64_t plane) {
    float *out = dw + plane / k.in * k.w_group + plane % k.in * k.w_in;
    for (int b = 0; b < 3; ++b)
      for (int64_t o = 0; o < k.out; o += L) {
        V d[KINDS], w0, w2;
        for (int q = 0; q < KINDS; ++q) {
          const float *from = partial + q * kind + (plane * 3 + b) * p.out + o;
          d[q] = load(from);
          for (int64_t other = 1; other < p.parts; ++other) d[q] += load(from + other * part);
        }
        residue_weight_gradient(d, w0, w2);
        for (int64_t lane = 0; lane < L && o + lane < k.out; ++lane) {
          float *to = out + (o + lane) * k.w_out;
          to[index[0][b]] = w0[lane], to[index[1][b]] = d[5][lane], to[index[2][b]] = w2[lane];
        }
      }
  });
  if (db)
    for (int64_t plane = 0; plane < k.groups * k.out; ++plane) {
      const float *sum = partial + KINDS * kind + plane / k.out * p.out + plane % k.out;
      db[plane] = *sum;
      for (int64_t other = 1; other < p.parts; ++other) db[plane] += sum[other * part];
    }
  return TG_OK;
}

} // namespace tautgrad::cpu::TG_ISA
