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

// Zeros wherever a row of the packed input holds no pixel, in whole vectors: up to `begin` and from `end` on. The pixels follow. One vector
// as a rule, for which a call of memset would cost more than it does.
template <class T> TG_INLINE void clear_ends(T *out, int64_t begin, int64_t end, int64_t pitch) {
  constexpr int64_t L = lanes<T>;
  const auto clear = [&](int64_t from, int64_t to) TG_LAMBDA {
    if (from >= to) return;
    store(out + from, vec<T>{});
    if (from + L < to) memset(out + from + L, 0, static_cast<size_t>(to - from - L) * sizeof(T));
  };
  clear(0, begin);
  clear(end / L * L, pitch);
}

// even[j] = row[2 j] and odd[j] = row[2 j + 1] for j < count.
template <class T> TG_INLINE void split_pixels(const T *row, int64_t count, T *even, T *odd) {
  constexpr int64_t L = lanes<T>;
  constexpr lane_numbers<T> n{};
  const auto split = [&](int64_t j) TG_LAMBDA {
    vec<T> a = load(row + 2 * j), b = load(row + 2 * j + L);
    keep_in_register(a);
    keep_in_register(b);
    store(even + j, even_lanes(a, b, n));
    store(odd + j, odd_lanes(a, b, n));
  };
  int64_t j = 0;
  for (; j + L <= count; j += L) split(j);
  if (j < count && count >= L) return split(count - L);
  for (; j < count; ++j) even[j] = row[2 * j], odd[j] = row[2 * j + 1];
}

// Packs what the output rows from `row` on read of one plane. Every element of a packed row is written, as tiles read beyond its pixels.
template <class T> void pack_plane(const Correlation<T> &k, const Layout &l, const T *image, int64_t row, T *packed) {
  const int64_t plane = l.plane_rows * l.pitch, count = k.columns + l.column_span;
  const auto clipped = [&](int64_t j) { return j < 0 ? 0 : j < count ? j : count; };
  const int64_t step = k.stride_w, begin = clipped(-l.first_column);
  // Behind the last pixel of each residue; both residues of stride 2 are split pair by pair, a last single pixel follows.
  const bool pairs = step == 2 && l.column_residues == 2;
  const int64_t whole = pairs ? clipped(k.width / 2 - l.first_column) : 0;
  const bool single = pairs && k.width % 2 != 0 && whole >= begin && whole < count && l.first_column + whole == k.width / 2;
  for (int64_t a = 0; a < l.row_residues; ++a)
    for (int64_t r = 0; r < l.plane_rows; ++r) {
      T *out = packed + a * l.column_residues * plane + r * l.pitch;
      const int64_t source = (row + r + l.first_row) * k.stride_h + a;
      if (source < 0 || source >= k.h) {
        for (int64_t b = 0; b < l.column_residues; ++b) memset(out + b * plane, 0, static_cast<size_t>(l.pitch) * sizeof(T));
        continue;
      }
      const T *line = image + source * k.width;
      if (step == 1) {
        const int64_t end = clipped(k.width - l.first_column);
        clear_ends(out, l.lead + begin, l.lead + end, l.pitch);
        if (begin < end) copy_pixels(line + l.first_column + begin, end - begin, out + l.lead + begin);
      } else if (pairs) {
        T *odd = out + plane;
        clear_ends(out, l.lead + begin, l.lead + whole, l.pitch);
        clear_ends(odd, l.lead + begin, l.lead + whole, l.pitch);
        if (begin < whole) split_pixels(line + 2 * (l.first_column + begin), whole - begin, out + l.lead + begin, odd + l.lead + begin);
        if (single) out[l.lead + whole] = line[k.width - 1];
      } else {
        for (int64_t b = 0; b < l.column_residues; ++b, out += plane) {
          memset(out, 0, static_cast<size_t>(l.pitch) * sizeof(T));
          pack_row(line, k.width, l.first_column, step, b, count, out + l.lead);
        }
      }
    }
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
template <class T, int V>
TG_INLINE void add_runs(const T *x, int64_t pitch, const Run *runs, int count, const T *w, T start, vec<T> (&acc)[ROWS][V]) {
#pragma GCC unroll 4
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) acc[r][v] = splat(start);
  for (int i = 0; i < count; w += runs[i].length, ++i) {
    const T *from = x + runs[i].offset;
    switch (runs[i].length) {
    case 5:
      add_run<T, V, 5>(from, pitch, w, acc);
      break;
    case 4:
      add_run<T, V, 4>(from, pitch, w, acc);
      break;
    case 3:
      add_run<T, V, 3>(from, pitch, w, acc);
      break;
    case 2:
      add_run<T, V, 2>(from, pitch, w, acc);
      break;
    default:
      add_run<T, V, 1>(from, pitch, w, acc);
    }
  }
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
  bool plain;         // outputs are stored as they are, side by side
  int64_t end_column; // of y, for whole tiles
};

// A tile's outputs (row.. row + ROWS, column.. column + V vectors), clipped to the plane, activated and masked. acc: one per residue.
template <class T, int V> void write_clipped(const Plane<T> &p, const vec<T> (*acc)[ROWS][V], int64_t row, int64_t column) {
  constexpr int L = lanes<T>;
  const Correlation<T> &k = p.k;
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

template <class T, int V, int Residues> void write_tile(const Plane<T> &p, const T *x, int64_t row, int64_t column) {
  constexpr int L = lanes<T>;
  const Correlation<T> &k = p.k;
  vec<T> acc[Residues][ROWS][V];
#pragma GCC unroll 2
  for (int residue = 0; residue < Residues; ++residue)
    add_runs<T, V>(x + column, p.pitch, p.runs[residue], p.counts[residue], p.w[residue], p.bias, acc[residue]);
  T *y = p.y + (k.row_first + row * k.row_step) * k.y_width + k.column_first + column * Residues;
  if (p.plain && row + ROWS <= k.rows && k.column_first + Residues * (column + V * L) <= p.end_column) {
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; ++r, y += k.row_step * k.y_width)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        if constexpr (Residues == 1) {
          store(y + v * L, acc[0][r][v]);
        } else {
          store(y + 2 * v * L, zip_low(acc[0][r][v], acc[1][r][v], lane_numbers<T>{}));
          store(y + (2 * v + 1) * L, zip_high(acc[0][r][v], acc[1][r][v], lane_numbers<T>{}));
        }
      }
    return;
  }
  vec<T> copy[Residues][ROWS][V]; // so that the sums themselves stay in registers
#pragma GCC unroll 8
  for (int r = 0; r < Residues * ROWS; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) copy[r / ROWS][r % ROWS][v] = acc[r / ROWS][r % ROWS][v];
  write_clipped<T, V>(p, copy, row, column);
}

// Output rows of a task: the packed rows stay in L1 or near it, and few planes still make several tasks.
template <class T> int64_t rows_of_block(const Correlation<T> &k) {
  const int64_t rows = ceil_div((16 << 10) / static_cast<int64_t>(sizeof(T)), k.stride_h * k.stride_w * (k.columns + 8));
  const int64_t wanted = rows < ROWS ? ROWS : ceil_div(rows, ROWS) * ROWS;
  return wanted < k.rows ? wanted : ceil_div(k.rows, ROWS) * ROWS;
}

constexpr int MOST_TOGETHER = 3; // runs of one length
constexpr int together(int length) { return VECTOR_REGISTERS == 32 || length <= 3 ? MOST_TOGETHER : 2; }

// dw of `Together` runs of one length over the rows of dy, lane by lane: sums[tap] += sum over r of dy[r] x[(r + q) * pitch].
template <class T, int Length, int Together>
void dot_runs(const T *x, int64_t pitch, int64_t rows, const T *dy, int64_t columns, const T *zeros, const Run *runs, vec<T> *sums) {
  constexpr int L = lanes<T>, TAPS = Length * Together;
  constexpr int PARTS = TAPS >= 8 ? 1 : TAPS >= 4 ? 2 : 4; // of each sum, as additions to one of them wait for each other
  vec<T> acc[PARTS][Together][Length] = {};
  for (int64_t row = 0; row < rows; row += ROWS) {
    const T *from[ROWS], *corners[Together];
    for (int64_t r = 0; r < ROWS; ++r) from[r] = row + r < rows ? dy + (row + r) * columns : zeros;
    for (int i = 0; i < Together; ++i) corners[i] = x + runs[i].offset + row * pitch;
    const auto step = [&](int64_t j, const vec<T>(&d)[ROWS]) TG_LAMBDA {
#pragma GCC unroll 16
      for (int i = 0; i < ROWS + Length - 1; ++i)
#pragma GCC unroll 4
        for (int g = 0; g < Together; ++g) {
          vec<T> pixels = load(corners[g] + i * pitch + j);
          keep_in_register(pixels);
#pragma GCC unroll 4
          for (int r = 0; r < ROWS; ++r)
            if (i - r >= 0 && i - r < Length) acc[r % PARTS][g][i - r] += d[r] * pixels;
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
#pragma GCC unroll 4
  for (int g = 0; g < Together; ++g)
#pragma GCC unroll 8
    for (int q = 0; q < Length; ++q) {
#pragma GCC unroll 4
      for (int part = 1; part < PARTS; ++part) acc[0][g][q] += acc[part][g][q];
      sums[runs[g].taps[q]] += acc[0][g][q];
    }
}

// The next runs, as many of the first one's length as go together. Returns how many.
template <class T, class... A> int dot_next(const Run *runs, int left, vec<T> *sums, A... a) {
  const auto of_length = [&](auto length) {
    constexpr int Length = decltype(length)::value;
    int same = 1;
    while (same < left && same < together(Length) && runs[same].length == Length) ++same;
    if (same == 3)
      dot_runs<T, Length, together(Length)>(a..., runs, sums);
    else if (same == 2)
      dot_runs<T, Length, 2>(a..., runs, sums);
    else
      dot_runs<T, Length, 1>(a..., runs, sums);
    return same;
  };
  switch (runs->length) {
  case 5:
    return of_length(std::integral_constant<int, 5>{});
  case 4:
    return of_length(std::integral_constant<int, 4>{});
  case 3:
    return of_length(std::integral_constant<int, 3>{});
  case 2:
    return of_length(std::integral_constant<int, 2>{});
  default:
    return of_length(std::integral_constant<int, 1>{});
  }
}
} // namespace

template <class T> bool depthwise_serves(const Correlation<T> &k) {
  return k.in == 1 && k.out == 1 && k.groups >= 4 && k.tap_count > 1 && k.tap_count <= MOST_TAPS && k.rows >= ROWS && k.columns >= lanes<T>;
}

template <class T> int correlate_depthwise(const Correlation<T> &k) {
  constexpr int64_t L = lanes<T>;
  const int64_t rows = rows_of_block(k), blocks = ceil_div(k.rows, rows);
  int64_t offsets[MOST_TAPS];
  const Layout layout = plan_layout(k, rows, offsets, true);
  Run runs[MOST_TAPS];
  int counts[2] = {};
  for (int r = 0; r < k.residues; ++r) counts[r] = find_runs(k, layout, offsets, k.tap_begin[r], k.tap_begin[r + 1], runs + k.tap_begin[r]);
  // Tiles read beyond the last row and column of a block; what they compute there is dropped.
  const int64_t elements = layout.channel_stride + (ROWS + 1) * layout.pitch + 8 * L;
  const bool done = for_scratch_tasks<T>(k.n * k.groups * blocks, work_of(k), elements, [&](int64_t task, T *packed) {
    const int64_t plane = task / blocks, g = plane % k.groups, row0 = task % blocks * rows;
    const int64_t used = layout.row_residues * layout.column_residues * layout.plane_rows * layout.pitch;
    memset(packed + used, 0, static_cast<size_t>(elements - used) * sizeof(T));
    pack_plane(k, layout, k.x + plane * k.h * k.width, row0, packed);
    T w[MOST_TAPS], *next = w;
    Plane<T> p{k,
               layout.pitch,
               {runs, runs + k.tap_begin[1]},
               {counts[0], counts[1]},
               {},
               k.bias ? k.bias[g] : T(0),
               k.y + plane * k.y_h * k.y_width,
               k.mask ? k.mask + plane * k.y_h * k.y_width : nullptr,
               k.column_step == k.residues && !k.mask && !k.relu,
               k.residues == 2 ? k.y_width : k.column_first + k.columns};
    for (int r = 0; r < k.residues; ++r) {
      p.w[r] = next;
      for (int i = 0; i < counts[r]; ++i)
        for (int t = 0; t < p.runs[r][i].length; ++t) *next++ = k.w[g * k.w_group + k.taps[p.runs[r][i].taps[t]].index];
    }
    const int64_t vectors = ceil_div(k.columns, L), end = row0 + rows < k.rows ? row0 + rows : k.rows;
    const auto write_rows = [&](auto residues) {
      constexpr int R = decltype(residues)::value;
      for (int64_t row = row0; row < end; row += ROWS) {
        const T *x = packed + (row - row0) * layout.pitch;
        int64_t v = 0;
        if constexpr (VECTOR_REGISTERS == 32)
          for (; v + 4 <= vectors; v += 4) write_tile<T, 4, R>(p, x, row, v * L);
        for (; v + 2 <= vectors; v += 2) write_tile<T, 2, R>(p, x, row, v * L);
        if (v < vectors) write_tile<T, 1, R>(p, x, row, v * L);
      }
    };
    if (k.residues == 2)
      write_rows(std::integral_constant<int, 2>{});
    else
      write_rows(std::integral_constant<int, 1>{});
  });
  return done ? static_cast<int>(TG_OK) : fail("conv: out of memory for %lld rows of a plane", static_cast<long long>(rows));
}

template <class T> int correlate_depthwise_weights(const Correlation<T> &k, const T *dy, T *dw, T *db) {
  constexpr int64_t L = lanes<T>;
  const int64_t rows = rows_of_block(k), blocks = ceil_div(k.rows, rows);
  int64_t offsets[MOST_TAPS];
  const Layout layout = plan_layout(k, rows, offsets, true);
  Run runs[MOST_TAPS];
  const int count = find_runs(k, layout, offsets, 0, k.tap_count, runs);
  const int64_t elements = layout.channel_stride + (ROWS + 1) * layout.pitch + 8 * L, zero_elements = ceil_div(k.columns, L) * L;
  // A task is a channel, its images in order.
  const bool done = for_scratch_tasks<T>(k.groups, work_of(k), elements + zero_elements, [&](int64_t g, T *packed) {
    const int64_t used = layout.row_residues * layout.column_residues * layout.plane_rows * layout.pitch;
    memset(packed + used, 0, static_cast<size_t>(elements + zero_elements - used) * sizeof(T));
    const T *zeros = packed + elements;
    vec<T> sums[MOST_TAPS];
    for (int64_t t = 0; t < k.tap_count; ++t) sums[t] = vec<T>{};
    T bias = 0;
    for (int64_t image = 0; image < k.n; ++image) {
      const int64_t plane = image * k.groups + g;
      for (int64_t block = 0; block < blocks; ++block) {
        const int64_t row0 = block * rows, left = k.rows - row0 < rows ? k.rows - row0 : rows;
        pack_plane(k, layout, k.x + plane * k.h * k.width, row0, packed);
        const T *gradient = dy + (plane * k.rows + row0) * k.columns;
        for (int i = 0; i < count;)
          i += dot_next<T>(runs + i, count - i, sums, static_cast<const T *>(packed), layout.pitch, left, gradient, k.columns, zeros);
        if (db) {
          vec<T> sum{};
          int64_t j = 0;
          for (; j + L <= left * k.columns; j += L) sum += load(gradient + j);
          if (j < left * k.columns) sum += load_partial(gradient + j, left * k.columns - j);
          bias += horizontal_sum<T>(sum);
        }
      }
    }
    for (int64_t t = 0; t < k.tap_count; ++t) dw[g * k.w_group + k.taps[t].index] = horizontal_sum<T>(sums[t]);
    if (db) db[g] = bias;
  });
  return done ? static_cast<int>(TG_OK) : fail("conv_weights: out of memory for %lld rows of a plane", static_cast<long long>(rows));
}

template bool depthwise_serves<float>(const Correlation<float> &);
template bool depthwise_serves<double>(const Correlation<double> &);
template int correlate_depthwise<float>(const Correlation<float> &);
template int correlate_depthwise<double>(const Correlation<double> &);
template int correlate_depthwise_weights<float>(const Correlation<float> &, const float *, float *, float *);
template int correlate_depthwise_weights<double>(const Correlation<double> &, const double *, double *, double *);

} // namespace tautgrad::cpu::TG_ISA
