// Depthwise convolutions: one input and one output channel per group. There is no sum over channels to fill a register tile with, so that
// the tile is a few rows of one plane: an input row that is loaded once serves every output row of the tile that sees it. Taps in the same
// column of the kernel that read neighbouring rows of the packed input (of one residue, if strided) therefore go together, as a run.
#include "conv_pack.hpp"

namespace tautgrad::cpu::TG_ISA {
namespace {

constexpr int ROWS = 4;        // output rows of a register tile
constexpr int MOST_TAPS = 64;  // of a kernel; larger ones take the direct algorithm
constexpr int LONGEST_RUN = 5; // taps

// Taps whose rows follow one another: tap t reads the packed input at offset + t * pitch.
struct Run {
  int64_t offset;
  int length;
  int64_t taps[LONGEST_RUN]; // in the correlation's list
};

// The runs of the taps [begin, end).
template <class T> int find_runs(const Correlation<T> &k, const Layout &l, const int64_t *offsets, int64_t begin, int64_t end, Run *runs) {
  int count = 0;
  bool used[MOST_TAPS] = {};
  const auto above = [&](int64_t t, int64_t other) { // `other` reads the packed row after t's, in the same column
    return k.taps[other].row == k.taps[t].row + k.stride_h && k.taps[other].column == k.taps[t].column && !used[other - begin] &&
           offsets[other] == offsets[t] + l.pitch;
  };
  for (int64_t left = end - begin; left > 0;) {
    int64_t first = -1;
    for (int64_t t = begin; t < end && first < 0; ++t) {
      bool starts = !used[t - begin];
      for (int64_t other = begin; other < end && starts; ++other) starts = used[other - begin] || !above(other, t);
      if (starts) first = t;
    }
    Run &run = runs[count++];
    run = {offsets[first], 0, {}};
    for (int64_t t = first; t >= 0 && run.length < LONGEST_RUN;) {
      run.taps[run.length++] = t;
      used[t - begin] = true;
      --left;
      int64_t next = -1;
      for (int64_t other = begin; other < end && next < 0; ++other)
        if (above(t, other)) next = other;
      t = next;
    }
  }
  return count;
}

// acc[r][v] += sum_q w[q] x[(r + q) * pitch + v]
template <class T, int V, int Length> TG_INLINE void add_run(const T *x, int64_t pitch, const T *w, vec<T> (&acc)[ROWS][V]) {
  constexpr int L = lanes<T>;
#pragma GCC unroll 16
  for (int i = 0; i < ROWS + Length - 1; ++i) {
    vec<T> row[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) row[v] = load(x + i * pitch + v * L);
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; ++r)
      if (i - r >= 0 && i - r < Length)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) acc[r][v] += w[i - r] * row[v];
  }
}

// ROWS rows of V vectors of outputs. w holds the runs' weights one after another.
template <class T, int V> void tile(const T *x, int64_t pitch, const Run *runs, int count, const T *w, T start, vec<T> (&acc)[ROWS][V]) {
  vec<T> sums[ROWS][V];
#pragma GCC unroll 4
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sums[r][v] = splat(start);
  for (int i = 0; i < count; w += runs[i].length, ++i) {
    const T *from = x + runs[i].offset;
    switch (runs[i].length) {
    case 5:
      add_run<T, V, 5>(from, pitch, w, sums);
      break;
    case 4:
      add_run<T, V, 4>(from, pitch, w, sums);
      break;
    case 3:
      add_run<T, V, 3>(from, pitch, w, sums);
      break;
    case 2:
      add_run<T, V, 2>(from, pitch, w, sums);
      break;
    default:
      add_run<T, V, 1>(from, pitch, w, sums);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) acc[r][v] = sums[r][v];
}

template <class T> struct Plane {
  const Correlation<T> &k;
  int64_t pitch;
  const Run *runs[2]; // of each residue of the column
  int counts[2];
  const T *w[2];
  T bias;
  T *y;
  const T *mask;
  bool plain, plain_pairs; // outputs are stored as they are, side by side; or as pairs of residues
};

// The outputs (row.. row + ROWS, column.. column + V vectors) of a plane, clipped.
template <class T, int V> void write_tile(const Plane<T> &p, const T *x, int64_t row, int64_t column) {
  constexpr int L = lanes<T>;
  const Correlation<T> &k = p.k;
  vec<T> acc[2][ROWS][V];
  for (int residue = 0; residue < k.residues; ++residue)
    tile<T, V>(x + column, p.pitch, p.runs[residue], p.counts[residue], p.w[residue], p.bias, acc[residue]);
  if (p.plain && row + ROWS <= k.rows && column + V * L <= k.columns) {
    T *y = p.y + (k.row_first + row * k.row_step) * k.y_width + k.column_first + column;
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; ++r, y += k.row_step * k.y_width)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) store(y + v * L, acc[0][r][v]);
    return;
  }
  if (p.plain_pairs && row + ROWS <= k.rows && k.column_first + 2 * (column + V * L) <= k.y_width) {
    T *y = p.y + (k.row_first + row * k.row_step) * k.y_width + k.column_first + 2 * column;
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; ++r, y += k.row_step * k.y_width)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        store(y + 2 * v * L, zip_low(acc[0][r][v], acc[1][r][v], lane_numbers<T>{}));
        store(y + (2 * v + 1) * L, zip_high(acc[0][r][v], acc[1][r][v], lane_numbers<T>{}));
      }
    return;
  }
  const int64_t step = k.residues == 2 ? 1 : k.column_step, first = k.column_first + column * k.column_step;
  const int64_t all = k.residues == 2 ? k.y_width - k.column_first - 2 * column : k.columns - column;
  for (int64_t r = 0; r < ROWS && row + r < k.rows; ++r)
    for (int64_t v = 0; v < V; ++v)
      for (int64_t half = 0; half < k.residues; ++half) {
        const int64_t done = (v * k.residues + half) * L, count = all - done < L ? all - done : L;
        if (count <= 0) break;
        vec<T> out = acc[0][r][v];
        if (k.residues == 2)
          out = half == 0 ? zip_low(out, acc[1][r][v], lane_numbers<T>{}) : zip_high(out, acc[1][r][v], lane_numbers<T>{});
        if (k.relu) out = out < T(0) ? vec<T>{} : out;
        const int64_t at = (k.row_first + (row + r) * k.row_step) * k.y_width + first + done * step;
        if (step != 1) {
          for (int64_t j = 0; j < count; ++j) p.y[at + j * step] = p.mask && !(p.mask[at + j * step] > 0) ? T(0) : out[j];
          continue;
        }
        if (p.mask) {
          const vec<T> m = count == L ? load(p.mask + at) : load_partial(p.mask + at, count);
          out = m > T(0) ? out : vec<T>{};
        }
        if (count == L)
          store(p.y + at, out);
        else
          store_partial(p.y + at, out, count);
      }
}

// Output rows of a task: the packed rows stay in L1 or near it, and few planes still make several tasks.
template <class T> int64_t rows_of_block(const Correlation<T> &k) {
  const int64_t rows = ceil_div((16 << 10) / static_cast<int64_t>(sizeof(T)), k.stride_h * k.stride_w * (k.columns + 8));
  const int64_t wanted = rows < ROWS ? ROWS : ceil_div(rows, ROWS) * ROWS;
  return wanted < k.rows ? wanted : ceil_div(k.rows, ROWS) * ROWS;
}

// dw of one run over ROWS rows of dy: acc[parity][q] += dy[r] x[(r + q) * pitch]
template <class T, int Length>
void dot_run(const T *x, int64_t pitch, int64_t rows, const T *dy, int64_t columns, const T *zeros, T *dw, const Run &run) {
  constexpr int L = lanes<T>;
  vec<T> acc[2][Length] = {};
  for (int64_t row = 0; row < rows; row += ROWS) {
    const T *from[ROWS];
    for (int64_t r = 0; r < ROWS; ++r) from[r] = row + r < rows ? dy + (row + r) * columns : zeros;
    const T *corner = x + row * pitch;
    const auto step = [&](int64_t j, const vec<T>(&d)[ROWS]) TG_LAMBDA {
#pragma GCC unroll 16
      for (int i = 0; i < ROWS + Length - 1; ++i) {
        const vec<T> pixels = load(corner + i * pitch + j);
#pragma GCC unroll 4
        for (int r = 0; r < ROWS; ++r)
          if (i - r >= 0 && i - r < Length) acc[r % 2][i - r] += d[r] * pixels;
      }
    };
    vec<T> d[ROWS];
    int64_t j = 0;
    for (; j + L <= columns; j += L) {
#pragma GCC unroll 4
      for (int r = 0; r < ROWS; ++r) d[r] = load(from[r] + j);
      step(j, d);
    }
    if (j < columns) {
      for (int r = 0; r < ROWS; ++r) d[r] = load_partial(from[r] + j, columns - j);
      step(j, d);
    }
  }
  for (int q = 0; q < Length; ++q) dw[run.taps[q]] += horizontal_sum<T>(acc[0][q] + acc[1][q]);
}
} // namespace

template <class T> bool depthwise_serves(const Correlation<T> &k) {
  return k.in == 1 && k.out == 1 && k.groups >= 4 && k.tap_count > 1 && k.tap_count <= MOST_TAPS && k.rows >= ROWS && k.columns >= lanes<T>;
}

template <class T> int correlate_depthwise(const Correlation<T> &k) {
  constexpr int64_t L = lanes<T>;
  const int64_t rows = rows_of_block(k), blocks = ceil_div(k.rows, rows);
  int64_t offsets[MOST_TAPS];
  const Layout layout = plan_layout(k, rows, offsets);
  Run runs[MOST_TAPS];
  int counts[2] = {};
  for (int r = 0; r < k.residues; ++r) counts[r] = find_runs(k, layout, offsets, k.tap_begin[r], k.tap_begin[r + 1], runs + k.tap_begin[r]);
  // Tiles read beyond the last row and column of a block; what they compute there is dropped.
  const int64_t elements = layout.channel_stride + (ROWS + 1) * layout.pitch + 8 * L;
  int failed = 0;
  for_tasks(k.n * k.groups * blocks, work_of(k), [&](int64_t task) {
    const int64_t plane = task / blocks, g = plane % k.groups, row0 = task % blocks * rows;
    T *packed = static_cast<T *>(scratch(CONV_SCRATCH_TASK, elements * static_cast<int64_t>(sizeof(T))));
    if (!packed) {
      __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
      return;
    }
    const int64_t used = layout.row_residues * layout.column_residues * layout.plane_rows * layout.pitch;
    memset(packed + used, 0, static_cast<size_t>(elements - used) * sizeof(T));
    pack_input(k, layout, k.x + plane * k.h * k.width, row0, packed);
    T w[MOST_TAPS], *next = w;
    Plane<T> p{k,
               layout.pitch,
               {runs, runs + k.tap_begin[1]},
               {counts[0], counts[1]},
               {},
               k.bias ? k.bias[g] : T(0),
               k.y + plane * k.y_h * k.y_width,
               k.mask ? k.mask + plane * k.y_h * k.y_width : nullptr,
               k.residues == 1 && k.column_step == 1 && !k.mask && !k.relu,
               k.residues == 2 && !k.mask && !k.relu};
    for (int r = 0; r < k.residues; ++r) {
      p.w[r] = next;
      for (int i = 0; i < counts[r]; ++i)
        for (int t = 0; t < p.runs[r][i].length; ++t) *next++ = k.w[g * k.w_group + k.taps[p.runs[r][i].taps[t]].index];
    }
    const int64_t vectors = ceil_div(k.columns, L), end = row0 + rows < k.rows ? row0 + rows : k.rows;
    for (int64_t row = row0; row < end; row += ROWS) {
      const T *x = packed + (row - row0) * layout.pitch;
      int64_t v = 0;
      if constexpr (VECTOR_REGISTERS == 32)
        for (; v + 4 <= vectors; v += 4) write_tile<T, 4>(p, x, row, v * L);
      for (; v + 2 <= vectors; v += 2) write_tile<T, 2>(p, x, row, v * L);
      if (v < vectors) write_tile<T, 1>(p, x, row, v * L);
    }
  });
  return failed ? fail("conv: out of memory for %lld rows of a plane", static_cast<long long>(rows)) : static_cast<int>(TG_OK);
}

template <class T> int correlate_depthwise_weights(const Correlation<T> &k, const T *dy, T *dw, T *db) {
  constexpr int64_t L = lanes<T>;
  const int64_t rows = rows_of_block(k), blocks = ceil_div(k.rows, rows);
  int64_t offsets[MOST_TAPS];
  const Layout layout = plan_layout(k, rows, offsets);
  Run runs[MOST_TAPS];
  const int count = find_runs(k, layout, offsets, 0, k.tap_count, runs);
  const int64_t elements = layout.channel_stride + (ROWS + 1) * layout.pitch + 8 * L, zero_elements = ceil_div(k.columns, L) * L;
  int failed = 0;
  for_tasks(k.groups, work_of(k), [&](int64_t g) { // a channel's images in order
    T *packed = static_cast<T *>(scratch(CONV_SCRATCH_TASK, (elements + zero_elements) * static_cast<int64_t>(sizeof(T))));
    if (!packed) {
      __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
      return;
    }
    const int64_t used = layout.row_residues * layout.column_residues * layout.plane_rows * layout.pitch;
    memset(packed + used, 0, static_cast<size_t>(elements + zero_elements - used) * sizeof(T));
    const T *zeros = packed + elements;
    T sums[MOST_TAPS] = {}, bias = 0;
    for (int64_t image = 0; image < k.n; ++image) {
      const int64_t plane = image * k.groups + g;
      for (int64_t block = 0; block < blocks; ++block) {
        const int64_t row0 = block * rows, left = k.rows - row0 < rows ? k.rows - row0 : rows;
        pack_input(k, layout, k.x + plane * k.h * k.width, row0, packed);
        const T *gradient = dy + (plane * k.rows + row0) * k.columns;
        for (int i = 0; i < count; ++i) {
          const T *x = packed + runs[i].offset;
          switch (runs[i].length) {
          case 5:
            dot_run<T, 5>(x, layout.pitch, left, gradient, k.columns, zeros, sums, runs[i]);
            break;
          case 4:
            dot_run<T, 4>(x, layout.pitch, left, gradient, k.columns, zeros, sums, runs[i]);
            break;
          case 3:
            dot_run<T, 3>(x, layout.pitch, left, gradient, k.columns, zeros, sums, runs[i]);
            break;
          case 2:
            dot_run<T, 2>(x, layout.pitch, left, gradient, k.columns, zeros, sums, runs[i]);
            break;
          default:
            dot_run<T, 1>(x, layout.pitch, left, gradient, k.columns, zeros, sums, runs[i]);
          }
        }
        if (db) {
          vec<T> sum{};
          int64_t j = 0;
          for (; j + L <= left * k.columns; j += L) sum += load(gradient + j);
          if (j < left * k.columns) sum += load_partial(gradient + j, left * k.columns - j);
          bias += horizontal_sum<T>(sum);
        }
      }
    }
    for (int64_t t = 0; t < k.tap_count; ++t) dw[g * k.w_group + k.taps[t].index] = sums[t];
    if (db) db[g] = bias;
  });
  return failed ? fail("conv_weights: out of memory for %lld rows of a plane", static_cast<long long>(rows)) : static_cast<int>(TG_OK);
}

template bool depthwise_serves<float>(const Correlation<float> &);
template bool depthwise_serves<double>(const Correlation<double> &);
template int correlate_depthwise<float>(const Correlation<float> &);
template int correlate_depthwise<double>(const Correlation<double> &);
template int correlate_depthwise_weights<float>(const Correlation<float> &, const float *, float *, float *);
template int correlate_depthwise_weights<double>(const Correlation<double> &, const double *, double *, double *);

} // namespace tautgrad::cpu::TG_ISA
