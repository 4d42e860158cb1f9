// The weight gradient of a 3x3 convolution of stride 1 by Winograd's F(3x3, 4x4), the transpose of F(4x4, 3x3):
//   dw = A' [ sum over tiles of (G dy G') .* (B' x B) ] A
// with dy the 4x4 gradients of a tile and x the 6x6 inputs it saw. Channels lie along the lanes: the sums over tiles are then 36
// matrix products [out, tiles] x [tiles, in]. Tasks own a fixed share of the tiles; their results are added in order.
#include "conv_pack.hpp"
#include "winograd.hpp"

namespace tautgrad::cpu::TG_ISA {
namespace {

using V = vec<float>;
constexpr int L = lanes<float>;
constexpr int ROWS = VECTOR_REGISTERS == 32 ? 8 : 4; // output channels of a register tile

struct Plan {
  int64_t tile_rows, tile_columns, block_rows, block_columns, tiles;
  int64_t in, out;                           // channels, padded to whole vectors
  int64_t point_x, point_dy;                 // elements between points
  int64_t blocks_h, blocks_w, blocks, parts; // of the batch; partial results
  int64_t first_row, first_column;
};

Plan make_plan(const Correlation<float> &k, int64_t first_row, int64_t first_column) {
  Plan p{};
  p.tile_rows = ceil_div(k.rows, 4);
  p.tile_columns = ceil_div(k.columns, 4);
  p.in = ceil_div(k.in, L) * L;
  p.out = ceil_div(k.out, L) * L;
  int64_t wanted = 2048 / (p.in > p.out ? p.in : p.out); // both transformed operands and the sums share L2
  wanted = wanted < 24 ? 24 : wanted > 128 ? 128 : wanted;
  p.block_columns = ceil_div(p.tile_columns, ceil_div(p.tile_columns, wanted));
  const int64_t rows = wanted / p.block_columns;
  const int64_t most = k.n * k.groups > 1 ? p.tile_rows : ceil_div(p.tile_rows, 2); // a single image makes two tasks at least
  p.block_rows = rows < 1 ? 1 : rows > most ? most : rows;
  p.tiles = p.block_rows * p.block_columns;
  p.point_x = p.tiles * p.in + L;
  p.point_dy = p.tiles * p.out + L;
  p.blocks_h = ceil_div(p.tile_rows, p.block_rows);
  p.blocks_w = ceil_div(p.tile_columns, p.block_columns);
  p.blocks = k.n * p.blocks_h * p.blocks_w;
  p.parts = p.blocks < 16 ? p.blocks : 16;
  p.first_row = first_row;
  p.first_column = first_column;
  return p;
}

// L columns of some rows of L planes, zeros outside the image.
template <int Rows> struct Window {
  const float *rows[Rows]; // of the first plane; NULL outside
  int64_t plane, channels; // elements between planes; planes that exist
  int64_t width;

  // visit(c, d) with d[i] the columns from `column` on of row i of plane c.
  template <class Visit> TG_INLINE void each(int64_t column, const Visit &visit) const {
    if (column >= 0 && column + L <= width && channels >= L) {
      for (int64_t c = 0; c < L; ++c) {
        V d[6];
#pragma GCC unroll 6
        for (int i = 0; i < Rows; ++i) d[i] = rows[i] ? load(rows[i] + c * plane + column) : V{};
#pragma GCC unroll 6
        for (int i = 0; i < Rows; ++i)
          if (rows[i]) __builtin_prefetch(rows[i] + c * plane + column + L);
        visit(c, d);
      }
      return;
    }
    // At an end of the rows, their first or last pixels are brought into place.
    const int64_t count = width < L ? width : L, last = width - count, first = column < 0 ? 0 : column < last ? column : last;
    mask<float> from;
    for (int lane = 0; lane < L; ++lane) {
      const int64_t at = column - first + lane;
      from[lane] = at >= 0 && at < count ? static_cast<int>(at) : L;
    }
    alignas(64) float pixels[2 * L] = {};
    for (int64_t c = 0; c < L; ++c) {
      V d[6];
      for (int i = 0; i < Rows; ++i) {
        if (!rows[i] || c >= channels) {
          d[i] = V{};
          continue;
        }
        const float *p = rows[i] + c * plane + first;
        store(pixels, count == L ? load(p) : load_partial(p, count));
        d[i] = pick(pixels, from);
      }
      visit(c, d);
    }
  }
};

// x[point][tile][c] = B' x B, first down the columns, pixels along the lanes, then along the rows, channels along the lanes.
void transform_input(const Correlation<float> &k, const Plan &p, const float *image, int64_t tile_row, int64_t tile_column, float *x) {
  constexpr int TILES = L / 4, CARRY = 4; // tiles that end in L more columns; columns that the next ones need again
  alignas(64) float lines[6][L * L], carry[6][CARRY * L] = {};
  for (int64_t c0 = 0; c0 < k.in; c0 += L)
    for (int64_t r = 0; r < p.block_rows; ++r) {
      Window<6> window{{}, k.h * k.width, k.in - c0, k.width};
      for (int i = 0; i < 6; ++i) {
        const int64_t row = 4 * (tile_row + r) + p.first_row + i;
        window.rows[i] = row < 0 || row >= k.h ? nullptr : image + (c0 * k.h + row) * k.width;
      }
      float *out = x + r * p.block_columns * p.in + c0;
      for (int64_t j = 0; j < 4 * p.block_columns + 2; j += L) {
        window.each(4 * tile_column + p.first_column + j, [&](int64_t c, V(&d)[6]) TG_LAMBDA {
          winograd_input(d);
#pragma GCC unroll 6
          for (int i = 0; i < 6; ++i) store(lines[i] + c * L, d[i]);
        });
        for (int i = 0; i < 6; ++i) {
          V t[CARRY + L];
          for (int c = 0; c < CARRY; ++c) t[c] = load(carry[i] + c * L);
          for (int c = 0; c < L; ++c) t[CARRY + c] = load(lines[i] + c * L);
          transpose_lanes<float>(t + CARRY);
          for (int c = 0; c < CARRY; ++c) store(carry[i] + c * L, t[L + c]);
#pragma GCC unroll 4
          for (int q = 0; q < TILES; ++q) {
            const int64_t tile = j / 4 - 1 + q;
            if (tile < 0 || tile >= p.block_columns) continue;
            V d[6] = {t[4 * q], t[4 * q + 1], t[4 * q + 2], t[4 * q + 3], t[4 * q + 4], t[4 * q + 5]};
            winograd_input(d);
            for (int n = 0; n < 6; ++n) store(out + (6 * i + n) * p.point_x + tile * p.in, d[n]);
          }
        }
      }
    }
}

// g[point][tile][o] = G dy G'; outputs beyond the image count as zero
void transform_gradient(const Correlation<float> &k, const Plan &p, const float *dy, int64_t tile_row, int64_t tile_column, float *g,
                        float *bias) {
  constexpr int TILES = L / 4;
  alignas(64) float lines[6][L * L], sums[L * L];
  for (int64_t o = 0; o < k.out; o += L) {
    if (bias) memset(sums, 0, sizeof sums);
    for (int64_t r = 0; r < p.block_rows; ++r) {
      Window<4> window{{}, k.rows * k.columns, k.out - o, k.columns};
      for (int i = 0; i < 4; ++i) {
        const int64_t row = 4 * (tile_row + r) + i;
        window.rows[i] = row >= k.rows ? nullptr : dy + (o * k.rows + row) * k.columns;
      }
      float *out = g + r * p.block_columns * p.out + o;
      for (int64_t j = 0; j < 4 * p.block_columns; j += L) {
        window.each(4 * tile_column + j, [&](int64_t c, V(&d)[6]) TG_LAMBDA {
          if (bias) store(sums + c * L, load(sums + c * L) + ((d[0] + d[1]) + (d[2] + d[3])));
          winograd_gradient(d);
#pragma GCC unroll 6
          for (int i = 0; i < 6; ++i) store(lines[i] + c * L, d[i]);
        });
        for (int i = 0; i < 6; ++i) {
          V t[L];
          for (int c = 0; c < L; ++c) t[c] = load(lines[i] + c * L);
          transpose_lanes<float>(t);
#pragma GCC unroll 4
          for (int q = 0; q < TILES; ++q) {
            const int64_t tile = j / 4 + q;
            if (tile >= p.block_columns) continue;
            V d[6] = {t[4 * q], t[4 * q + 1], t[4 * q + 2], t[4 * q + 3]};
            winograd_gradient(d);
            for (int n = 0; n < 6; ++n) store(out + (6 * i + n) * p.point_dy + tile * p.out, d[n]);
          }
        }
      }
    }
    if (bias) {
      V rows[L];
      for (int c = 0; c < L; ++c) rows[c] = load(sums + c * L);
      store(bias + o, load(bias + o) + sum_lanes<float>(rows));
    }
  }
}

// sums[o][v] += sum_t g[t][o] x[t][v]; `fresh`: sums start at zero.
template <int N>
void add_products(int64_t tiles, const float *g, int64_t g_stride, const float *x, int64_t x_stride, bool fresh, float *sums,
                  int64_t sums_stride) {
  V acc[ROWS][N];
#pragma GCC unroll 8
  for (int o = 0; o < ROWS; ++o)
#pragma GCC unroll 4
    for (int v = 0; v < N; ++v) acc[o][v] = fresh ? V{} : load(sums + o * sums_stride + v * L);
  for (int64_t t = 0; t < tiles; ++t, g += g_stride, x += x_stride) {
    V xv[N];
#pragma GCC unroll 4
    for (int v = 0; v < N; ++v) xv[v] = load(x + v * L);
#pragma GCC unroll 8
    for (int o = 0; o < ROWS; ++o)
#pragma GCC unroll 4
      for (int v = 0; v < N; ++v) acc[o][v] += g[o] * xv[v];
  }
#pragma GCC unroll 8
  for (int o = 0; o < ROWS; ++o)
#pragma GCC unroll 4
    for (int v = 0; v < N; ++v) store(sums + o * sums_stride + v * L, acc[o][v]);
}

// out[o][3 a + b][c] = A' sums A
void transform_sums(const Correlation<float> &k, const Plan &p, const float *sums, float *out) {
  const int64_t point = p.out * p.in;
  for (int64_t o = 0; o < k.out; ++o)
    for (int64_t c = 0; c < p.in; c += L) {
      V u[3][6];
      for (int j = 0; j < 6; ++j) {
        V d[6];
        for (int i = 0; i < 6; ++i) d[i] = load(sums + (6 * i + j) * point + o * p.in + c);
        winograd_weight_gradient(d);
        for (int i = 0; i < 3; ++i) u[i][j] = d[i];
      }
      for (int i = 0; i < 3; ++i) {
        winograd_weight_gradient(u[i]);
        for (int j = 0; j < 3; ++j) store(out + (o * 9 + 3 * i + j) * p.in + c, u[i][j]);
      }
    }
}
} // namespace

bool winograd_weights_serves(const Correlation<float> &k) {
  int64_t row, column, index[3][3];
  const bool lanes_filled = 10 * k.in >= 7 * ceil_div(k.in, L) * L; // else the direct kernel, which wastes no lanes, is faster
  return k.stride_h == 1 && k.stride_w == 1 && lanes_filled && k.in >= 12 && k.out >= 12 && k.n * k.rows * k.columns >= 512 &&
         2 * k.rows * k.columns >= 16 * ceil_div(k.rows, 4) * ceil_div(k.columns, 4) && square_of_taps(k, row, column, index);
}

int correlate_winograd_weights(const Correlation<float> &k, const float *dy, float *dw, float *db) {
  int64_t first_row, first_column, index[3][3];
  square_of_taps(k, first_row, first_column, index);
  const Plan p = make_plan(k, first_row, first_column);
  const int64_t weights = k.groups * k.out * 9 * p.in, part = weights + k.groups * p.out; // weights, then bias
  float *partial = static_cast<float *>(scratch(CONV_SCRATCH_PARTIAL, p.parts * part * 4));
  if (!partial) return fail("conv_weights: out of memory for %lld partial weights", static_cast<long long>(p.parts * part));

  const int64_t x_elements = 36 * p.point_x, g_elements = 36 * p.point_dy, sum_elements = 36 * p.out * p.in;
  const int64_t elements = x_elements + g_elements + sum_elements;
  const bool done = for_scratch_tasks<float>(p.parts * k.groups, work_of(k), elements, [&](int64_t task, float *x) {
    const int64_t g = task % k.groups, own = task / k.groups;
    float *gradient = x + x_elements, *sums = gradient + g_elements;
    float *bias = db ? partial + own * part + weights + g * p.out : nullptr;
    if (bias) memset(bias, 0, static_cast<size_t>(p.out) * sizeof(float));
    const int64_t first = own * p.blocks / p.parts;
    for (int64_t block = first; block < (own + 1) * p.blocks / p.parts; ++block) {
      const int64_t bw = block % p.blocks_w, bh = block / p.blocks_w % p.blocks_h, image = block / (p.blocks_w * p.blocks_h);
      transform_input(k, p, k.x + (image * k.groups + g) * k.in * k.h * k.width, bh * p.block_rows, bw * p.block_columns, x);
      transform_gradient(k, p, dy + (image * k.groups + g) * k.out * k.rows * k.columns, bh * p.block_rows, bw * p.block_columns, gradient,
                         bias);
      const bool fresh = block == first;
      for (int64_t point = 0; point < 36; ++point)
        for (int64_t o = 0; o < k.out; o += ROWS) {
          const float *a = gradient + point * p.point_dy + o;
          float *out = sums + (point * p.out + o) * p.in;
          for (int64_t c = 0; c < p.in;) {
            const float *b = x + point * p.point_x + c;
            const int64_t left = (p.in - c) / L;
            if (left == 3 && ROWS == 8) {
              add_products<3>(p.tiles, a, p.out, b, p.in, fresh, out + c, p.in);
              c += 3 * L;
            } else if (left >= 2) {
              add_products<2>(p.tiles, a, p.out, b, p.in, fresh, out + c, p.in);
              c += 2 * L;
            } else {
              add_products<1>(p.tiles, a, p.out, b, p.in, fresh, out + c, p.in);
              c += L;
            }
          }
        }
    }
    transform_sums(k, p, sums, partial + own * part + g * k.out * 9 * p.in);
  });
  if (!done) return fail("conv_weights: out of memory for a block of %lld tiles", static_cast<long long>(p.tiles));
  parallel_for(k.groups * k.out, [&](int64_t plane) {
    float *out = dw + plane / k.out * k.w_group + plane % k.out * k.w_out;
    for (int64_t tap = 0; tap < 9; ++tap) {
      float *first = partial + (plane * 9 + tap) * p.in;
      for (int64_t other = 1; other < p.parts; ++other)
        for (int64_t c = 0; c < k.in; ++c) first[c] += first[other * part + c];
      for (int64_t c = 0; c < k.in; ++c) out[c * k.w_in + index[tap / 3][tap % 3]] = first[c];
    }
    if (db) {
      const float *first = partial + weights + plane / k.out * p.out + plane % k.out;
      db[plane] = *first;
      for (int64_t other = 1; other < p.parts; ++other) db[plane] += first[other * part];
    }
  });
  return TG_OK;
}

} // namespace tautgrad::cpu::TG_ISA
