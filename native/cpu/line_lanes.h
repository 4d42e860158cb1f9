// The direct line solver across SIMD lanes: every lane walks through its own lines.
//
// Slope form of the taut string's state machine (Condat 2013, in lengths and slopes). An open segment starts after the pull P0 of its first
// edge
// (+lambda after a downward jump, -lambda after an upward one, 0 at the line's begin). With P the pull plus the sum of its samples and l
// its length so far, the next edge allows the values lo = (P - lambda) / l .. hi = (P + lambda) / l, and
//   hi < vmin: the segment ends downwards, with value vmin, where vmin was last touched;
//   lo > vmax: it ends upwards, with value vmax, where vmax was last touched;
//   else vmin = max(vmin, lo), vmax = min(vmax, hi), touched where they changed.
// The last sample's edge has lambda 0, which makes the final segment one like the others.
//
// The comparisons that touch are written "not less", "not greater": NaN touches both bounds, and so does a segment's first sample. Hence
// every segment holds at least one sample, every restart lies inside its line, and the walk ends for every input.
// Sums are taken relative to the segment's first sample and compensated once per step, so that a value depends only on the segment's begin
// and direction, never on where the walk came from.
#pragma once

#include "lanes.hpp"

namespace tautgrad::cpu::TG_ISA {
namespace {

// A lane step costs a fifth to a third of what the scalar solver spends on a sample, and noise takes .4 to 1.3 steps per sample.
enum { STEPS_PER_SAMPLE = 3, STEPS_AT_START = 64 };

template <class T> T step_allowance(int64_t n) { return T(STEPS_PER_SAMPLE * n + STEPS_AT_START); }

// Where a lane gave up: what lies before `begin` is solved, and ended with a jump in this direction (0: the line's begin) from this value.
template <class T> struct UnfinishedLine {
  int32_t line, begin, direction;
  T previous;
};

// Lines as rows of a tile: line i has its samples at samples[i * stride ...]; at least 3 readable values follow the last line. Weighted
// lines have a second array of the same layout: the width of the edge that follows each sample, 0 at the last. Where a segment ends, out
// receives its value; elsewhere out is left as it is.
template <class T> struct LineTile {
  int32_t lines, n, stride;
  const T *samples;
  const T *widths;  // or null; with them, samples and widths are preceded by four zeros
  const T *lambdas; // one per line
  bool uniform;     // they are all equal
  T *out;           // laid out as samples; without AVX-512, out[-1] is written to
  T step_allowance; // steps that a line may take beyond STEPS_PER_SAMPLE for each sample behind it
  const T *lengths; // for windows of a longer line: samples of each; those of n samples are cut off by their window's end, not the line's
  UnfinishedLine<T> *unfinished; // lines that took more: a linear-time solver is better at the rest of them
  int32_t unfinished_count;
};

// Ends of segments on their way to the tile. A scatter per step would cost more than the step's arithmetic.
template <class T> struct EventLog {
  using L = Lanes<T>;
  enum { CAPACITY = 512 };
  int32_t at[CAPACITY + 16];
  T value[CAPACITY + 16];
  int32_t count = 0;

  // Lanes in `ended` write `v` at index `end` of out.
  TG_INLINE void append(typename L::M ended, typename L::Pos end, typename L::V v, T *out) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) {
      _mm512_storeu_si512(at + count, _mm512_maskz_compress_epi32(ended, __m512i(end)));
      _mm512_storeu_ps(value + count, _mm512_maskz_compress_ps(ended, v));
    } else {
      _mm256_storeu_si256(reinterpret_cast<__m256i *>(at + count), _mm256_maskz_compress_epi32(ended, _mm512_cvttpd_epi32(end)));
      _mm512_storeu_pd(value + count, _mm512_maskz_compress_pd(ended, v));
    }
    count += __builtin_popcount(ended);
    if (count >= CAPACITY) flush(out);
#else
    // Lanes that did not end write where nobody looks.
    L::store_positions(at, L::select_positions(ended, end, L::positions(-1)));
    L::store(value, v);
    for (int lane = 0; lane < L::width; ++lane) out[at[lane]] = value[lane];
#endif
  }

  TG_INLINE void flush(T *out) {
    for (int32_t i = 0; i < count; ++i) out[at[i]] = value[i];
    count = 0;
  }
};

// Windowed: a lane that comes to the end of an open window leaves it without a word, so that only events of the whole line are written.
template <class T, bool Weighted, bool Windowed> class LaneGroup {
  using L = Lanes<T>;
  using V = typename L::V;
  using M = typename L::M;
  using Pos = typename L::Pos;

public:
  // Lane i of the group walks through lines first + i, first + i + lines_apart, ...
  TG_INLINE void begin(const LineTile<T> &tile, int32_t first, int32_t lines_apart) {
    int32_t line[L::width];
    T lambdas[L::width];
    for (int i = 0; i < L::width; ++i) {
      line[i] = first + i;
      lambdas[i] = tile.lambdas[first + i < tile.lines ? first + i : 0];
    }
    const V infinity = L::splat(T(__builtin_inf()));
    sum_ = carry_ = base_ = length_ = min_length_ = max_length_ = min_width_ = max_width_ = steps_ = L::splat(0);
    vmin_ = floor_ = -infinity;
    vmax_ = ceiling_ = infinity;
    lambda_ = L::load(lambdas);
    line_ = L::load_positions(line);
    pos_ = line_ * L::positions(tile.stride);
    advance_ = L::positions(4);
    alive_ = fresh_ = L::all();
    open_ = L::none();
    rest_ = L::splat(0);
    begin_lines(tile, L::all());
    park(L::without(L::all(), L::position_less(line_, L::positions(tile.lines))));
    lines_apart_ = lines_apart;
  }

  TG_INLINE bool running() const { return L::bits(alive_) != 0; }

  TG_INLINE void step(LineTile<T> &tile, EventLog<T> &log) {
    int32_t at[L::width];
    L::store_positions(at, pos_);
    asm volatile("" : "+m"(at)); // through memory: GCC would take the lanes apart one by one
    const Quad<T> x = load_quad(tile.samples, at);
    Quad<T> w;
    if constexpr (Weighted) w = load_quad(tile.widths, at);

    const V zero = L::splat(0);
    base_ = L::select(fresh_, x.v[0], base_);
    // All four samples as if the segment went on; up to a lane's first end that is what happens. The bounds' chains then wait for no
    // comparison, and a lane takes over what was found before it ended.
    M active = L::all(), went_up = L::none(), cut = L::none();
    V partial = carry_, vmin = vmin_, vmax = vmax_;
    for (int t = 0; t < 4; ++t) {
      partial += x.v[t] - base_;
      const V length = length_ + L::splat(T(t + 1)), r = L::reciprocal(length);
      const M last = L::equal(length, rest_);
      V width;
      if constexpr (Weighted)
        width = w.v[t];
      else
        width = L::select(Windowed ? L::without(last, open_) : last, zero, lambda_);
      const V spread = width * r, lo = (sum_ + partial) * r - spread, hi = (sum_ + partial) * r + spread;
      const M down = L::less(hi, vmin), up = L::less(vmax, lo);
      went_up = L::either(went_up, L::both(up, active));
      active = L::without(active, L::either(down, up));
      const M touch_min = L::not_less_where(active, lo, vmin), touch_max = L::not_less_where(active, vmax, hi);
      vmin = L::max(vmin, lo);
      vmax = L::min(vmax, hi);
      vmin_ = L::select(active, vmin, vmin_);
      vmax_ = L::select(active, vmax, vmax_);
      min_length_ = L::select(touch_min, length, min_length_);
      max_length_ = L::select(touch_max, length, max_length_);
      if constexpr (Weighted) {
        min_width_ = L::select(touch_min, width, min_width_);
        max_width_ = L::select(touch_max, width, max_width_);
      }
      if constexpr (Windowed) cut = L::either(cut, L::both(L::both(active, last), open_));
      active = L::without(active, last); // the last sample's segment ends like one that goes down
    }

    // Lanes still in their segment carry its sum on; the others emit it and restart behind it.
    const M ended = L::without(L::all(), L::either(active, cut)), went_down = L::without(ended, went_up);
    const V total = sum_ + partial, infinity = L::splat(T(__builtin_inf()));
    const V ended_length = L::select(went_up, max_length_, min_length_);
    // In a tie, rounding must not turn a jump against its direction: equal values join the segments.
    const V value = L::min(ceiling_, L::max(floor_, base_ + L::select(went_up, vmax_, vmin_)));
    ceiling_ = L::select(went_up, infinity, L::select(went_down, value, ceiling_));
    floor_ = L::select(went_down, -infinity, L::select(went_up, value, floor_));
    const Pos next = pos_ + L::to_positions(ended_length - length_); // pos_ is length_ samples into the segment
    log.append(ended, next - L::positions(1), value, tile.out);

    rest_ = L::select(ended, rest_ - ended_length, rest_);
    V pull;
    if constexpr (Weighted)
      pull = L::select(went_up, -max_width_, min_width_);
    else
      pull = L::select(went_up, -lambda_, lambda_);
    carry_ = L::select(ended, zero, partial - (total - sum_));
    sum_ = L::select(ended, pull, total);
    length_ = L::select(ended, zero, length_ + L::splat(4));
    pos_ = L::select_positions(ended, next, pos_ + advance_);
    vmin_ = L::select(ended, -infinity, vmin_);
    vmax_ = L::select(ended, infinity, vmax_);
    fresh_ = ended;
    // Noise takes about one step per sample; smooth stretches are scanned again and again. A line that falls far behind leaves its lane.
    // Asked at every step, so that the choice depends on the line alone.
    steps_ += L::splat(1);
    const M over = L::less(L::splat(tile.step_allowance) + L::splat(STEPS_PER_SAMPLE) * (length_ - rest_), steps_);
    const M leaves = L::either(L::either(over, cut), L::both(ended, L::equal(rest_, zero)));
    if (L::bits(leaves)) next_line(tile, leaves, over);
  }

private:
  TG_INLINE void next_line(LineTile<T> &tile, M done, M over) {
    int32_t line[L::width];
    const unsigned unfinished = L::bits(over);
    if (unfinished) {
      T rest[L::width], ceiling[L::width], floor[L::width];
      L::store_positions(line, line_);
      L::store(rest, rest_);
      L::store(ceiling, ceiling_);
      L::store(floor, floor_);
      for (int lane = 0; lane < L::width; ++lane) {
        if (!(unfinished >> lane & 1) || rest[lane] == 0) continue;
        const bool went_up = floor[lane] != -T(__builtin_inf()), went_down = !went_up && ceiling[lane] != T(__builtin_inf());
        tile.unfinished[tile.unfinished_count++] = {line[lane], tile.n - int32_t(rest[lane]), int(went_up) - int(went_down),
                                                    went_up ? floor[lane] : ceiling[lane]};
      }
    }
    fresh_ = L::either(fresh_, done);
    carry_ = L::select(done, L::splat(0), carry_);
    length_ = L::select(done, L::splat(0), length_);
    vmin_ = L::select(done, L::splat(T(-__builtin_inf())), vmin_);
    vmax_ = L::select(done, L::splat(T(__builtin_inf())), vmax_);
    line_ = L::select_positions(done, line_ + L::positions(lines_apart_), line_);
    pos_ = L::select_positions(done, line_ * L::positions(tile.stride), pos_);
    const M gone = L::without(done, L::position_less(line_, L::positions(tile.lines)));
    if (L::bits(gone)) park(gone);
    begin_lines(tile, L::both(done, alive_));
    steps_ = L::select(done, L::splat(0), steps_);
    sum_ = L::select(done, L::splat(0), sum_);
    ceiling_ = L::select(done, L::splat(T(__builtin_inf())), ceiling_);
    floor_ = L::select(done, L::splat(T(-__builtin_inf())), floor_);
  }

  // Lengths and lambdas of the lines that lanes begin.
  TG_INLINE void begin_lines(const LineTile<T> &tile, M lanes) {
    if (tile.uniform && !Windowed) {
      rest_ = L::select(lanes, L::splat(T(tile.n)), rest_);
      return;
    }
    int32_t line[L::width];
    T lambdas[L::width], lengths[L::width];
    L::store_positions(line, line_);
    for (int lane = 0; lane < L::width; ++lane) {
      const int32_t i = line[lane] < tile.lines ? line[lane] : 0;
      lambdas[lane] = tile.lambdas[i];
      lengths[lane] = Windowed ? tile.lengths[i] : T(tile.n);
    }
    lambda_ = L::select(lanes, L::load(lambdas), lambda_);
    rest_ = L::select(lanes, L::load(lengths), rest_);
    if (Windowed) open_ = L::either(L::without(open_, lanes), L::both(lanes, L::equal(rest_, L::splat(T(tile.n)))));
  }

  // Lanes without a line stand still in a segment that never ends: of infinite width at the tile's begin, or (weighted) on the zeros
  // before it.
  TG_INLINE void park(M gone) {
    alive_ = L::without(alive_, gone);
    pos_ = L::select_positions(gone, L::positions(Weighted ? -4 : 0), pos_);
    advance_ = L::select_positions(gone, L::positions(0), advance_);
    rest_ = L::select(gone, L::splat(T(-__builtin_inf())), rest_);
    lambda_ = L::select(gone, L::splat(T(__builtin_inf())), lambda_);
  }

  V sum_, carry_, base_, vmin_, vmax_, length_, min_length_, max_length_, lambda_, min_width_, max_width_, rest_, ceiling_, floor_, steps_;
  Pos pos_, line_, advance_;
  M alive_, fresh_, open_;
  int32_t lines_apart_;
};

// Two groups in turn: one's chain of comparisons hides behind the other's.
template <class T, bool Weighted, bool Windowed = false> void walk_lines(LineTile<T> &tile) {
  using L = Lanes<T>;
  EventLog<T> log;
  LaneGroup<T, Weighted, Windowed> a, b;
  tile.unfinished_count = 0;
  a.begin(tile, 0, 2 * L::width);
  b.begin(tile, L::width, 2 * L::width);
  while (a.running() || b.running()) {
    a.step(tile, log);
    b.step(tile, log);
  }
#if defined(__AVX512F__)
  log.flush(tile.out);
#endif
}

} // namespace
} // namespace tautgrad::cpu::TG_ISA
