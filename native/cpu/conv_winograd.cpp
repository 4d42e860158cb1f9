// 3x3 convolutions of stride 1 by Winograd's F(4x4, 3x3) (Lavin, Gray, "Fast algorithms for convolutional neural networks", 2016):
// 36 products for 16 outputs instead of 144:
//   Y = A' [ sum_c (G w G') .* (B' x B) ] A   per tile of 4x4 outputs, x the 6x6 inputs that it reads.
// A task transforms the inputs of some tiles, tiles along the lanes, multiplies at each of the 36 points with the register tile of
// the direct convolution, and transforms back. In float32 the error stays some 1e-6 of the largest output (winograd.hpp chooses the
// interpolation points for that); float64 keeps to the direct algorithm.
#include "conv_pack.hpp"
#include "conv_tile.hpp"
#include "winograd.hpp"

namespace tautgrad::cpu::TG_ISA {
namespace {

using V = vec<float>;
constexpr int L = lanes<float>;

struct Plan {
  int64_t tile_rows, tile_columns;   // of the whole output
  int64_t block_rows, block_columns; // tiles of a task
  int64_t tiles, padded_tiles;       // of a task; whole vectors
  int64_t point_in, point_out;       // elements between points in the transformed input and in the products
  int64_t row_elements;              // a row of inputs with slack for whole vectors
  int64_t first_row, first_column;   // the kernel's upper left tap
  int64_t together; // rows of tiles that vectors run through: all of a block, or 1 where rows are whole vectors or no whole pieces
};

// A vector of tiles is four pieces of neighbouring tiles, whose pixels in a row are a vector each.
constexpr int PIECE = L / 4, PIECES = 4;
struct Piece {
  int64_t row, column; // of its first tile in the block; `row` may lie behind the block, where tiles are padding
};

// visit(tile, pieces) for the vectors of tiles in the rows from `row` on that go together; `tile` is the first one's number in the block.
template <class Visit> TG_INLINE void each_vector(const Plan &p, int64_t row, const Visit &visit) {
  Piece pieces[PIECES];
  if (p.together == 1) {
    for (int64_t column = 0; column < p.block_columns; column += L) {
      for (int64_t j = 0; j < PIECES; ++j) pieces[j] = {row, column + j * PIECE};
      visit(row * p.block_columns + column, pieces);
    }
    return;
  }
  for (int64_t tile = 0, column = 0; tile < p.tiles; tile += L) {
    for (Piece &piece : pieces) {
      piece = {row, column};
      column += PIECE;
      if (column == p.block_columns) column = 0, ++row;
    }
    visit(tile, pieces);
  }
}

// The block of tiles that fills vectors best; larger blocks first, as they read the weights less often.
Plan make_plan(const Correlation<float> &k, int64_t first_row, int64_t first_column) {
  Plan p{};
  p.tile_rows = ceil_div(k.rows, 4);
  p.tile_columns = ceil_div(k.columns, 4);
  const int64_t cuts = ceil_div(p.tile_columns, 4 * 16);
  p.block_columns = ceil_div(p.tile_columns, cuts);
  double best = 0;
  const int64_t most = k.n * k.groups > 1 ? p.tile_rows : ceil_div(p.tile_rows, 2); // a single image makes two tasks at least
  for (int64_t rows = 1; rows <= most && (rows == 1 || rows * p.block_columns <= 4 * 16); ++rows) {
    const int64_t tiles = rows * p.block_columns, in_vectors = ceil_div(tiles, L) * L;
    const int64_t in_blocks = ceil_div(p.tile_rows, rows) * rows;
    const double filled =
        static_cast<double>(tiles * p.tile_rows) / static_cast<double>(in_vectors * in_blocks) * (tiles >= 2 * L ? 1.0 : 0.9);
    if (filled >= best) best = filled, p.block_rows = rows;
  }
  p.tiles = p.block_rows * p.block_columns;
  p.padded_tiles = ceil_div(p.tiles, L) * L;
  p.point_in = k.in * p.padded_tiles + L;
  p.point_out = k.out * p.padded_tiles + L;
  p.together = p.block_columns % PIECE == 0 && p.block_columns % L != 0 ? p.block_rows : 1;
  p.row_elements = ceil_div(4 * p.block_columns, 4 * L) * 4 * L + 2 * L;
  p.first_row = first_row;
  p.first_column = first_column;
  return p;
}

// in[point][c][tile] = B' x B for all channels of a block of tiles. rows: six of pixels for each row of tiles.
void transform_input(const Correlation<float> &k, const Plan &p, const float *image, int64_t tile_row0, int64_t tile_column0, float *rows,
                     float *in) {
  const int64_t columns = 4 * p.block_columns + 2, first_column = 4 * tile_column0 + p.first_column, row_elements = p.row_elements;
  const int64_t inside = first_column < 0 ? 0 : first_column;
  constexpr lane_numbers<float> n{};
  const auto transform = [&](int64_t c, int64_t first) TG_LAMBDA {
    for (int64_t r = 0; r < p.together; ++r) {
      float *six = rows + 6 * r * row_elements;
      for (int i = 0; i < 6; ++i) {
        const int64_t row = 4 * (tile_row0 + first + r) + p.first_row + i;
        if (row < 0 || row >= k.h) {
          memset(six + i * row_elements, 0, static_cast<size_t>(columns) * sizeof(float));
          continue;
        }
        const float *line = image + (c * k.h + row) * k.width;
        // The next channel's row, if it was not among the row of tiles before.
        if (c + 1 < k.in && i >= 2) prefetch_row(line + k.h * k.width + inside, columns < k.width ? columns : k.width);
        pack_row(line, k.width, first_column, 1, 0, columns, six + i * row_elements);
      }
      for (int64_t j = 0; j < columns; j += L) { // B' from the left, in place: pixels along the lanes
        V d[6];
        for (int i = 0; i < 6; ++i) d[i] = load(six + i * row_elements + j);
        winograd_input(d);
        for (int i = 0; i < 6; ++i) store(six + i * row_elements + j, d[i]);
      }
    }
    // B from the right: every fourth pixel into one vector, tiles along the lanes. What a partial vector has too much is overwritten by
    // the next row of tiles or is padding.
    each_vector(p, first, [&](int64_t tile, const Piece(&pieces)[PIECES]) TG_LAMBDA {
      float *out = in + c * p.padded_tiles + tile;
      const float *from[PIECES];
      for (int j = 0; j < PIECES; ++j)
        from[j] = rows + (pieces[j].row < p.block_rows ? 6 * (pieces[j].row - first) * row_elements : 0) + 4 * pieces[j].column;
      const bool one_row = pieces[0].row == pieces[PIECES - 1].row;
      for (int i = 0; i < 6; ++i) {
        V d[6];
        for (int j = 0; j < PIECES; ++j) d[j] = load(from[j] + i * row_elements);
        deinterleave4<float>(d);
        if (one_row) {
          const float *behind = from[0] + i * row_elements + 4 * L;
          d[4] = next_lane<float>(d[0], behind[0]);
          d[5] = next_lane<float>(d[1], behind[1]);
        } else {
          V e[PIECES];
          for (int j = 0; j < PIECES; ++j) e[j] = load(from[j] + i * row_elements + 4);
          d[4] = even_lanes(even_lanes(e[0], e[1], n), even_lanes(e[2], e[3], n), n);
          d[5] = even_lanes(odd_lanes(e[0], e[1], n), odd_lanes(e[2], e[3], n), n);
        }
        winograd_input(d);
        for (int j = 0; j < 6; ++j) store(out + (6 * i + j) * p.point_in, d[j]);
      }
    });
  };
  for (int64_t c = 0; c < k.in; ++c)
    for (int64_t r = 0; r < p.block_rows; r += p.together) transform(c, r);
}

// y = A' products A, then bias and activation, clipped to the output.
void transform_output(const Correlation<float> &k, const Plan &p, const float *products, const float *bias, const float *mask,
                      int64_t tile_row0, int64_t tile_column0, float *y) {
  const int64_t wanted = k.columns - 4 * tile_column0, columns = wanted < 4 * p.block_columns ? wanted : 4 * p.block_columns;
  const auto transform = [&](int64_t o, int64_t first) TG_LAMBDA {
    each_vector(p, first, [&](int64_t tile, const Piece(&pieces)[PIECES]) TG_LAMBDA {
      const float *in = products + o * p.padded_tiles + tile;
      const int64_t ahead = o + 1 < k.out ? k.y_h * k.y_width : 0; // the next channel's pixels are fetched before they are written
      V m[6][6], u[4][6];
      for (int i = 0; i < 6; ++i)
        for (int j = 0; j < 6; ++j) m[i][j] = load(in + (6 * i + j) * p.point_out);
      for (int j = 0; j < 6; ++j) {
        V d[6] = {m[0][j], m[1][j], m[2][j], m[3][j], m[4][j], m[5][j]};
        winograd_output(d);
        for (int i = 0; i < 4; ++i) u[i][j] = d[i];
      }
      const Piece &last = pieces[PIECES - 1];
      if (!mask && pieces[0].row == last.row && 4 * (tile_row0 + last.row + 1) <= k.rows && 4 * last.column + L <= columns) {
        float *target = y + (o * k.y_h + 4 * (tile_row0 + last.row)) * k.y_width + 4 * (tile_column0 + pieces[0].column);
        for (int i = 0; i < 4; ++i, target += k.y_width) {
          V *d = u[i];
          winograd_output(d);
          interleave4<float>(d);
          for (int j = 0; j < 4; ++j) {
            if (bias) d[j] += bias[o];
            if (k.relu) d[j] = d[j] < 0.0f ? V{} : d[j];
            store(target + j * L, d[j]);
            __builtin_prefetch(target + ahead + j * L, 1);
          }
        }
        return;
      }
      int64_t at[PIECES], rows[PIECES], counts[PIECES]; // of each piece in y: its place, its rows and columns there
      for (int j = 0; j < PIECES; ++j) {
        const int64_t row = 4 * (tile_row0 + pieces[j].row);
        at[j] = (o * k.y_h + row) * k.y_width + 4 * (tile_column0 + pieces[j].column);
        rows[j] = pieces[j].row < p.block_rows ? k.rows - row : 0;
        counts[j] = columns - 4 * pieces[j].column < L ? columns - 4 * pieces[j].column : L;
      }
      for (int i = 0; i < 4; ++i) {
        V *d = u[i];
        winograd_output(d);
        interleave4<float>(d);
        for (int j = 0; j < PIECES; ++j) {
          if (i >= rows[j] || counts[j] <= 0) continue;
          __builtin_prefetch(y + at[j] + i * k.y_width + ahead, 1);
          if (bias) d[j] += bias[o];
          if (k.relu) d[j] = d[j] < 0.0f ? V{} : d[j];
          const int64_t to = at[j] + i * k.y_width;
          if (mask) {
            const V some = counts[j] == L ? load(mask + to) : load_partial(mask + to, counts[j]);
            d[j] = some > 0.0f ? d[j] : V{};
          }
          if (counts[j] == L)
            store(y + to, d[j]);
          else
            store_partial(y + to, d[j], counts[j]);
        }
      }
    });
  };
  for (int64_t o = 0; o < k.out; ++o)
    for (int64_t r = 0; r < p.block_rows; r += p.together) transform(o, r);
}

// taps[t][lane] = p[lane][t], the nine weights of a kernel, for `count` kernels. They may be read up to `end`.
TG_INLINE void load_kernels(const float *const *p, int64_t count, const float *end, V (&taps)[9]) {
  V rows[L];
  int t = 0;
  for (; t + L <= 9; t += L) {
    for (int64_t lane = 0; lane < L; ++lane) rows[lane] = lane < count ? load(p[lane] + t) : V{};
    transpose_lanes<float>(rows);
    for (int i = 0; i < L; ++i) taps[t + i] = rows[i];
  }
  if (L > 9) {
    for (int64_t lane = 0; lane < L; ++lane)
      rows[lane] = lane >= count ? V{} : p[lane] + L <= end ? load(p[lane]) : load_partial(p[lane], 9);
    transpose_lanes<float>(rows);
    for (t = 0; t < 9; ++t) taps[t] = rows[t];
  }
  for (; t < 9; ++t) {
    taps[t] = V{};
    for (int64_t lane = 0; lane < count; ++lane) taps[t][lane] = p[lane][t];
  }
}

// Elements between the points of the transformed weights: kernels, and a cache line so that the points spread over all sets.
inline int64_t weights_stride(const Correlation<float> &k) { return k.groups * k.out * k.in + L; }

// packed[point][g][tile of o][c][o] = G w G'; index[3][3] is where a tap's weight lies. The pairs (c, o) of a tile lie along the lanes.
void transform_weights(const Correlation<float> &k, const int64_t (&index)[3][3], float *packed) {
  const int64_t tiles = ceil_div(k.out, MOST_CHANNELS), point = weights_stride(k);
  const float *end = k.w + k.groups * k.out * k.in * 9;
  const auto transform = [&](int64_t task) {
    const int64_t g = task / tiles, o_end = (task % tiles + 1) * MOST_CHANNELS < k.out ? (task % tiles + 1) * MOST_CHANNELS : k.out;
    for (int64_t o = task % tiles * MOST_CHANNELS; o < o_end;) {
      const int channels = tile_channels(k.out - o);
      const float *w = k.w + g * k.w_group + o * k.w_out;
      float *out = packed + (g * k.out + o) * k.in;
      const int64_t pairs = channels * k.in;
      for (int64_t first = 0; first < pairs; first += L) {
        const int64_t count = pairs - first < L ? pairs - first : L;
        const float *kernels[L];
        int64_t c = first / channels;
        for (int64_t lane = 0, i = first % channels; lane < count; ++lane) {
          kernels[lane] = w + i * k.w_out + c * k.w_in;
          if (++i == channels) i = 0, ++c;
        }
        V taps[9], half[6][3];
        load_kernels(kernels, count, end, taps);
        for (int b = 0; b < 3; ++b) winograd_weight(taps[index[0][b]], taps[index[1][b]], taps[index[2][b]], &half[0][b], 3);
        for (int a = 0; a < 6; ++a) {
          V done[6];
          winograd_weight(half[a][0], half[a][1], half[a][2], done, 1);
          for (int b = 0; b < 6; ++b) {
            float *target = out + (6 * a + b) * point + first;
            if (count == L)
              store(target, done[b]);
            else
              store_partial(target, done[b], count);
          }
        }
      }
      o += channels;
    }
  };
  // What one thread writes the others fetch from its cache: sharing the work out pays for many kernels only (2048).
  for_tasks(k.groups * tiles, 128.0 * static_cast<double>(k.groups * k.out * k.in), transform);
}

} // namespace

bool winograd_serves(const Correlation<float> &k) {
  int64_t row, column, index[3][3];
  if (k.stride_h != 1 || k.stride_w != 1 || k.row_step != 1 || k.column_step != 1 || k.in < 12 || k.out < 12 || k.rows < 1 ||
      k.columns < 1 || k.n * k.rows * k.columns < 512 || !square_of_taps(k, row, column, index))
    return false;
  // Of the pixels that are computed, those that are wanted: small images leave lanes empty, where the direct algorithm catches up.
  const Plan p = make_plan(k, row, column);
  const int64_t computed = ceil_div(p.tile_rows, p.block_rows) * ceil_div(p.tile_columns, p.block_columns) * p.padded_tiles * 16;
  return 5 * k.rows * k.columns >= 2 * computed;
}

int correlate_winograd(const Correlation<float> &k) {
  if (k.n == 0) return TG_OK;
  int64_t first_row, first_column, index[3][3];
  square_of_taps(k, first_row, first_column, index);
  const Plan p = make_plan(k, first_row, first_column);
  const int64_t point_weights = weights_stride(k);
  float *weights = static_cast<float *>(scratch(CONV_SCRATCH_SHARED, 36 * point_weights * 4));
  if (!weights) return fail("conv: out of memory for %lld transformed weights", static_cast<long long>(36 * point_weights));
  transform_weights(k, index, weights);

  const int64_t blocks_h = ceil_div(p.tile_rows, p.block_rows), blocks_w = ceil_div(p.tile_columns, p.block_columns);
  const int64_t in_elements = 36 * p.point_in + 4 * L, out_elements = 36 * p.point_out + 4 * L,
                rows_elements = 6 * p.together * p.row_elements + 4 * L;
  const int64_t elements = in_elements + out_elements + rows_elements;
  const bool done = for_scratch_tasks<float>(k.n * k.groups * blocks_h * blocks_w, work_of(k), elements, [&](int64_t task, float *in) {
    const int64_t bw = task % blocks_w, bh = task / blocks_w % blocks_h, g = task / (blocks_w * blocks_h) % k.groups,
                  image = task / (blocks_w * blocks_h * k.groups);
    float *products = in + in_elements, *rows = products + out_elements;
    const int64_t tile_row = bh * p.block_rows, tile_column = bw * p.block_columns;
    transform_input(k, p, k.x + (image * k.groups + g) * k.in * k.h * k.width, tile_row, tile_column, rows, in);
    const int64_t offset = 0;
    for (int64_t point = 0; point < 36; ++point)
      for (int64_t o = 0; o < k.out;) {
        const int channels = tile_channels(k.out - o), most = vectors_beside(channels);
        const float *w = weights + point * point_weights + (g * k.out + o) * k.in;
        const int64_t vectors = p.padded_tiles / L;
        for (int64_t v = 0; v < vectors;) {
          const int64_t left = vectors - v, count = ceil_div(left, ceil_div(left, most));
          multiply_tile<float>(channels, static_cast<int>(count), in + point * p.point_in + v * L, &offset, int64_t(1), k.in,
                               p.padded_tiles, w, static_cast<const float *>(nullptr), false,
                               products + point * p.point_out + o * p.padded_tiles + v * L, p.padded_tiles);
          v += count;
        }
        o += channels;
      }
    const int64_t planes = (image * k.groups + g) * k.out * k.y_h * k.y_width;
    transform_output(k, p, products, k.bias ? k.bias + g * k.out : nullptr, k.mask ? k.mask + planes : nullptr, tile_row, tile_column,
                     k.y + planes);
  });
  return done ? static_cast<int>(TG_OK) : fail("conv: out of memory for a block of %lld tiles", static_cast<long long>(p.tiles));
}

} // namespace tautgrad::cpu::TG_ISA
