// The direct line solver across SIMD lanes: every lane walks through its own lines.
//
// Slope form of the taut string's state machine (Condat 2013, in lengths and slopes). An open segment starts after the pull P0 of its first edge
// (+lambda after a downward jump, -lambda after an upward one, 0 at the line's begin). With P the pull plus the sum of its samples and l its
// length so far, the next edge allows the values lo = (P - lambda) / l .. hi = (P + lambda) / l, and
//   hi < vmin: the segment ends downwards, with value vmin, where vmin was last touched;
//   lo > vmax: it ends upwards, with value vmax, where vmax was last touched;
//   else vmin = max(vmin, lo), vmax = min(vmax, hi), touched where they changed.
// The last sample's edge has lambda 0, which makes the final segment one like the others.
//
// The comparisons that touch are written "not less", "not greater": NaN touches both bounds, and so does a segment's first sample. Hence
// every segment holds at least one sample, every restart lies inside its line, and the walk ends for every input.
// Sums are taken relative to the segment's first sample and compensated once per step, so that a value depends only on the segment's begin and
// direction, never on where the walk came from.
#pragma once

#include "lanes.hpp"

namespace tautgrad::cpu::TG_ISA {
namespace {

// Lines staged as rows of a tile: line i has its samples at samples[i * stride + LINE_MARGIN ...], followed by at least 3 readable values, and
// its lambda in front of them. Weighted lines have a second array of the same layout: the width of the edge that follows each sample, 0 at the
// last. Where a segment ends, out receives its value; elsewhere out is left as it is.
enum { LINE_MARGIN = 4 };

template <class T> struct LineTile {
  int32_t lines, n, stride;
  const T *samples;
  const T *widths; // or null
  T *out;
  T step_budget;        // steps (of up to four samples) that a line may take; what takes longer is left for a linear-time solver
  int32_t *unfinished;  // those lines
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
    // Lanes that did not end write where nobody looks (index 0 lies in the margin of line 0).
    L::store_positions(at, L::select_positions(ended, end, L::positions(0)));
    L::store(value, v);
    for (int lane = 0; lane < L::width; ++lane) out[at[lane]] = value[lane];
#endif
  }

  TG_INLINE void flush(T *out) {
    for (int32_t i = 0; i < count; ++i) out[at[i]] = value[i];
    count = 0;
  }
};

template <class T, bool Weighted> class LaneGroup {
  using L = Lanes<T>;
  using V = typename L::V;
  using M = typename L::M;
  using Pos = typename L::Pos;

public:
  // Lane i of the group walks through lines first + i, first + i + lines_apart, ...
  TG_INLINE void begin(const LineTile<T> &tile, int32_t first, int32_t lines_apart) {
    int32_t at[L::width];
    T lambdas[L::width];
    const V infinity = L::splat(T(__builtin_inf()));
    T present[L::width];
    for (int i = 0; i < L::width; ++i) {
      const bool has = first + i < tile.lines;
      present[i] = has ? 1 : 0;
      at[i] = has ? (first + i) * tile.stride + LINE_MARGIN : LINE_MARGIN;
      lambdas[i] = tile.samples[at[i] - 1];
    }
    const M alive = L::equal(L::load(present), L::splat(1));
    alive_ = alive;
    advance_ = L::select_positions(alive, L::positions(4), L::positions(0));
    fresh_ = L::all();
    up_ = down_ = L::none();
    begin_ = pos_ = L::load_positions(at);
    lambda_ = L::load(lambdas);
    sum_ = carry_ = base_ = length_ = min_length_ = max_length_ = previous_ = steps_ = L::splat(0);
    min_width_ = max_width_ = L::splat(0);
    vmin_ = -infinity;
    vmax_ = infinity;
    rest_ = L::splat(T(tile.n));
    jump_ = lines_apart * tile.stride;
    limit_ = tile.lines * tile.stride;
  }

  TG_INLINE bool running() const { return L::bits(alive_) != 0; }

  TG_INLINE void step(LineTile<T> &tile, EventLog<T> &log, bool uniform_lambda) {
    int32_t at[L::width];
    L::store_positions(at, pos_);
    const Quad<T> x = load_quad(tile.samples, at);
    Quad<T> w;
    if constexpr (Weighted) w = load_quad(tile.widths, at);

    const V zero = L::splat(0), one = L::splat(1);
    base_ = L::select(fresh_, x.v[0], base_);
    M active = alive_, went_down = L::none(), went_up = L::none();
    V partial = carry_, length = length_;
    for (int t = 0; t < 4; ++t) {
      partial += x.v[t] - base_;
      length += one;
      const V r = L::reciprocal(length);
      const M last = L::equal(length, rest_);
      V width;
      if constexpr (Weighted)
        width = w.v[t];
      else
        width = L::select(last, zero, lambda_);
      const V mean = (sum_ + partial) * r, spread = width * r;
      const V lo = mean - spread, hi = mean + spread;
      const M down = active & L::less(hi, vmin_), up = active & L::less(vmax_, lo);
      active = M(active & ~(down | up));
      const M touch_min = active & L::not_less(lo, vmin_), touch_max = active & L::not_less(vmax_, hi);
      vmin_ = L::select(touch_min, lo, vmin_);
      min_length_ = L::select(touch_min, length, min_length_);
      vmax_ = L::select(touch_max, hi, vmax_);
      max_length_ = L::select(touch_max, length, max_length_);
      if constexpr (Weighted) {
        min_width_ = L::select(touch_min, width, min_width_);
        max_width_ = L::select(touch_max, width, max_width_);
      }
      went_down = M(went_down | down | (active & last));
      went_up = M(went_up | up);
      active = M(active & ~last);
    }

    // Lanes still in their segment carry its sum on; the others emit it and restart behind it.
    const M ended = M(alive_ & ~active);
    const V total = sum_ + partial;
    const V ended_length = L::select(went_up, max_length_, min_length_);
    V value = base_ + L::select(went_up, vmax_, vmin_);
    // In a tie, rounding must not turn the jump against its direction: equal values join the segments.
    value = L::select(M(down_ & L::less(previous_, value)), previous_, value);
    value = L::select(M(up_ & L::less(value, previous_)), previous_, value);
    previous_ = L::select(ended, value, previous_);
    const Pos next = pos_ + L::to_positions(ended_length - length_);
    log.append(ended, next - L::positions(1), value, tile.out);

    const V rest = L::select(ended, rest_ - ended_length, rest_);
    const M done = ended & L::equal(rest, zero);
    V pull;
    if constexpr (Weighted)
      pull = L::select(went_up, -max_width_, min_width_);
    else
      pull = L::select(went_up, -lambda_, lambda_);
    pull = L::select(done, zero, pull);
    carry_ = L::select(ended, zero, partial - (total - sum_));
    sum_ = L::select(ended, pull, total);
    length_ = L::select(ended, zero, length);
    pos_ = L::select_positions(ended, next, pos_ + advance_);
    vmin_ = L::select(ended, L::splat(T(-__builtin_inf())), vmin_);
    vmax_ = L::select(ended, L::splat(T(__builtin_inf())), vmax_);
    rest_ = rest;
    fresh_ = ended;
    down_ = M((down_ & ~ended) | (went_down & ended));
    up_ = M((up_ & ~ended) | (went_up & ended));
    steps_ += one;
    if (L::bits(done)) next_line(tile, done, uniform_lambda);
  }

  // Called now and then: lanes whose line has used up its steps leave it. A line that exceeded them on its last steps is left as well, so
  // that the choice depends on the line alone.
  TG_INLINE void check_budget(LineTile<T> &tile, bool uniform_lambda) {
    const M over = alive_ & L::less(L::splat(tile.step_budget), steps_);
    if (!L::bits(over)) return;
    fresh_ = M(fresh_ | over);
    sum_ = L::select(over, L::splat(0), sum_);
    carry_ = L::select(over, L::splat(0), carry_);
    length_ = L::select(over, L::splat(0), length_);
    vmin_ = L::select(over, L::splat(T(-__builtin_inf())), vmin_);
    vmax_ = L::select(over, L::splat(T(__builtin_inf())), vmax_);
    next_line(tile, over, uniform_lambda);
  }

private:
  __attribute__((noinline)) void next_line(LineTile<T> &tile, M done, bool uniform_lambda) {
    int32_t at[L::width];
    const unsigned over = L::bits(M(done & L::less(L::splat(tile.step_budget), steps_)));
    if (over) {
      L::store_positions(at, begin_);
      for (int lane = 0; lane < L::width; ++lane)
        if (over >> lane & 1) tile.unfinished[tile.unfinished_count++] = (at[lane] - LINE_MARGIN) / tile.stride;
    }
    begin_ = L::select_positions(done, begin_ + L::positions(jump_), begin_);
    L::store_positions(at, begin_);
    T inside[L::width];
    for (int lane = 0; lane < L::width; ++lane) inside[lane] = at[lane] < limit_;
    const M gone = done & L::equal(L::load(inside), L::splat(0));
    alive_ = M(alive_ & ~gone);
    advance_ = L::select_positions(gone, L::positions(0), advance_); // lanes without a line stand still
    begin_ = L::select_positions(gone, L::positions(LINE_MARGIN), begin_);
    pos_ = L::select_positions(done, begin_, pos_);
    rest_ = L::select(done, L::splat(T(tile.n)), rest_);
    steps_ = L::select(done, L::splat(0), steps_);
    down_ = M(down_ & ~done);
    up_ = M(up_ & ~done);
    if (uniform_lambda) return;
    T lambdas[L::width];
    L::store_positions(at, begin_);
    for (int lane = 0; lane < L::width; ++lane) lambdas[lane] = tile.samples[at[lane] - 1];
    lambda_ = L::select(done, L::load(lambdas), lambda_);
  }

  V sum_, carry_, base_, vmin_, vmax_, length_, min_length_, max_length_, lambda_, min_width_, max_width_, rest_, previous_, steps_;
  Pos pos_, begin_, advance_;
  M alive_, fresh_, down_, up_;
  int32_t jump_, limit_;
};

// Two groups in turn: one's chain of comparisons hides behind the other's.
template <class T, bool Weighted> void walk_lines(LineTile<T> &tile, bool uniform_lambda) {
  using L = Lanes<T>;
  EventLog<T> log;
  LaneGroup<T, Weighted> a, b;
  tile.unfinished_count = 0;
  a.begin(tile, 0, 2 * L::width);
  b.begin(tile, L::width, 2 * L::width);
  while (a.running() || b.running()) {
    for (int i = 0; i < 32; ++i) {
      a.step(tile, log, uniform_lambda);
      b.step(tile, log, uniform_lambda);
      if (!a.running() && !b.running()) break;
    }
    a.check_budget(tile, uniform_lambda);
    b.check_budget(tile, uniform_lambda);
  }
#if defined(__AVX512F__)
  log.flush(tile.out);
#endif
}

} // namespace
} // namespace tautgrad::cpu::TG_ISA
