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
#include "line_pieces.h"

namespace tautgrad::cpu::TG_ISA {
namespace {

// A lane step costs a fifth to a third of what the scalar solver spends on a sample, and noise takes .4 to 1.3 steps per sample.
// A line may take this many for each sample behind it, and its allowance (STEPS_AT_START) beyond.
enum { STEPS_PER_SAMPLE = 3 };

// Where a lane gave up: what lies before `begin` is solved, and ended with a jump in this direction (0: the line's begin) from this value.
template <class T> struct UnfinishedLine {
  int32_t line, begin, direction;
  T previous;
};

// Lines as rows of a tile: line i has its samples at samples[i * stride ...]; at least 3 readable values follow the last line. Weighted
// lines have a second array of the same layout: the width of the edge that follows each sample, 0 at the last. Where a segment ends, out
// receives its value; elsewhere out is left as it is.
template <class T> struct LineTile {
  int32_t stride;
  const T *samples;
  const T *widths;               // or null; with them, samples and widths are preceded by four zeros
  T *out;                        // laid out as samples; without AVX-512, out[-1] is written to
  PieceList<T> pieces;           // what there is to walk
  int32_t whole;                 // the samples of each, if all are whole lines of this length; otherwise 0
  bool uniform;                  // they have one lambda
  UnfinishedLine<T> *unfinished; // lines that took more than their allowance: a linear-time solver is better at the rest of them
  int32_t unfinished_count;
};

// Ends of segments on their way to the tile. A scatter per step would cost more than the step's arithmetic.
template <class T> struct EventLog {
  using L = Lanes<T>;
  enum { CAPACITY = 512, REST = 2 * L::width };
  int32_t at[CAPACITY + REST];
  T value[CAPACITY + REST];
  int32_t count = 0;

  // Lanes in `ended` write `v` in front of position `end`, now or when the log is flushed.
  TG_INLINE void append(typename L::M ended, typename L::Pos end, typename L::V v, [[maybe_unused]] T *out) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) {
      _mm512_storeu_si512(at + count, _mm512_maskz_compress_epi32(ended, __m512i(end)));
      _mm512_storeu_ps(value + count, _mm512_maskz_compress_ps(ended, v));
    } else {
      _mm256_storeu_si256(reinterpret_cast<__m256i *>(at + count), _mm256_maskz_compress_epi32(ended, _mm512_cvttpd_epi32(end)));
      _mm512_storeu_pd(value + count, _mm512_maskz_compress_pd(ended, v));
    }
    count += __builtin_popcount(ended);
#else
    // Lanes that did not end write where nobody looks.
    L::store_positions(at, L::select_positions(ended, end, L::positions(0)));
    L::store(value, v);
    for (int lane = 0; lane < L::width; ++lane) out[at[lane] - 1] = value[lane];
#endif
  }

  TG_INLINE bool full() const { return count >= CAPACITY; }

  void flush(T *out) {
    for (int32_t i = 0; i < count; ++i) out[at[i] - 1] = value[i];
    count = 0;
  }
};

// Windowed: the pieces are windows of longer lines; open ones are left wherever they end, without a word.
template <class T, bool Weighted, bool Windowed> class LaneGroup {
  using L = Lanes<T>;
  using V = typename L::V;
  using M = typename L::M;
  using Pos = typename L::Pos;

public:
  // The group's lanes walk through the pieces first ... end - 1, each lane taking the next one when it is done.
  TG_INLINE void begin(const LineTile<T> &tile, int32_t first, int32_t end) {
    sum_ = carry_ = base_ = length_ = min_length_ = max_length_ = min_width_ = max_width_ = rest_ = slack_ = L::splat(0);
    vmin_ = floor_ = L::splat(T(-__builtin_inf()));
    vmax_ = ceiling_ = L::splat(T(__builtin_inf()));
    pos_ = stop_ = L::positions(0);
    lambda_ = L::splat(tile.pieces.lambda[0]);
    four_ = L::splat(4);
    alive_ = fresh_ = L::all();
    next_ = first;
    end_ = end;
    take_pieces(tile, L::all(), L::splat(0));
  }

  TG_INLINE bool running() const { return L::bits(alive_) != 0; }

  TG_INLINE void step(const LineTile<T> &tile, EventLog<T> &log) {
    Step s;
    load(tile, s);
    sample<0>(s);
    sample<1>(s);
    sample<2>(s);
    sample<3>(s);
    finish(tile, s, log);
  }

  // What a step carries from sample to sample.
  struct Step {
    Quad<T> x, w;
    V partial;     // the sum of the step's samples so far
    V most, least; // the largest lo and the smallest hi so far
    V seen;        // lo at the last sample before which no end was seen
    M inside;      // the sample before was not the line's last
    M going;       // and up to there no end was seen
  };

  TG_INLINE void load(const LineTile<T> &tile, Step &s) {
    int32_t at[L::width];
    L::store_positions(at, pos_);
    asm volatile("" : "+m"(at)); // through memory: GCC would take the lanes apart one by one
    s.x = load_quad(tile.samples, at);
    if constexpr (Weighted) s.w = load_quad(tile.widths, at);
    base_ = L::select(fresh_, s.x.v[0], base_);
    s.partial = carry_;
    s.most = vmin_;
    s.least = vmax_;
    s.seen = L::splat(0);
    s.inside = s.going = L::all();
  }

  // Largest lo and smallest hi only cross, never uncross: a lane goes on as long as they have not, and one comparison tells.
  template <int I> TG_INLINE void sample(Step &s) {
    s.partial += s.x.v[I] - base_;
    const V length = length_ + L::splat(T(I + 1)), r = L::reciprocal(length), sum = sum_ + s.partial;
    const M inside = L::less(length, rest_);
    V spread;
    if constexpr (Weighted)
      spread = s.w.v[I] * r;
    else
      spread = L::product_where(inside, lambda_, r);
    const V lo = L::multiply_subtract(sum, r, spread), hi = L::multiply_add(sum, r, spread);
    const V most = L::max(lo, s.most), least = L::min(hi, s.least);
    s.seen = I == 0 ? lo : L::select(s.going, lo, s.seen);
    s.going = I == 0 ? L::not_less(least, most) : L::not_less_where(s.inside, least, most);
    const M touch_min = L::not_less_where(s.going, lo, s.most), touch_max = L::not_less_where(s.going, s.least, hi);
    vmin_ = L::select(touch_min, lo, vmin_);
    min_length_ = L::select(touch_min, length, min_length_);
    vmax_ = L::select(touch_max, hi, vmax_);
    max_length_ = L::select(touch_max, length, max_length_);
    if constexpr (Weighted) {
      min_width_ = L::select(touch_min, s.w.v[I], min_width_);
      max_width_ = L::select(touch_max, s.w.v[I], max_width_);
    }
    s.most = most;
    s.least = least;
    s.inside = inside;
  }

  // Lanes still in their segment carry its sum on; the others emit it and restart behind it.
  TG_INLINE void finish(const LineTile<T> &tile, Step &s, EventLog<T> &log) {
    const V zero = L::splat(0), infinity = L::splat(T(__builtin_inf()));
    const M ended = L::without(L::all(), L::not_less_where(s.inside, s.least, s.most));
    const M went_up = L::less_where(ended, vmax_, s.seen), went_down = L::without(ended, went_up);
    const V ended_length = L::select(went_up, max_length_, min_length_);
    // In a tie, rounding must not turn a jump against its direction: equal values join the segments.
    const V value = L::min(ceiling_, L::max(floor_, base_ + L::select(went_up, vmax_, vmin_)));
    ceiling_ = L::select(went_up, infinity, L::select(went_down, value, ceiling_));
    floor_ = L::select(went_down, -infinity, L::select(went_up, value, floor_));
    const V ahead = L::select(ended, ended_length - length_, four_); // pos_ is length_ samples into the segment
    pos_ = pos_ + L::to_positions(ahead);
    log.append(ended, pos_, value, tile.out);
    slack_ = L::multiply_add(L::splat(STEPS_PER_SAMPLE), ahead, slack_);
    rest_ = L::select(ended, rest_ - ended_length, rest_);
    V pull;
    if constexpr (Weighted)
      pull = L::select(went_up, -max_width_, min_width_);
    else
      pull = L::select(went_up, -lambda_, lambda_);
    const V total = sum_ + s.partial;
    carry_ = L::select(ended, zero, s.partial - (total - sum_));
    sum_ = L::select(ended, pull, total);
    length_ = L::select(ended, zero, length_ + L::splat(4));
    vmin_ = L::select(ended, -infinity, vmin_);
    vmax_ = L::select(ended, infinity, vmax_);
    fresh_ = ended;
  }

  // Lanes at the end of their piece; and those whose line fell far behind: noise takes about one step per sample, but smooth stretches are
  // scanned again and again. Asked at every step, so that the choice depends on the line alone.
  TG_INLINE M leaves(V steps) const {
    const M arrived = L::without(Windowed ? L::all() : fresh_, L::position_less(pos_, stop_));
    return L::either(arrived, L::less(slack_, steps));
  }

  TG_INLINE void next_piece(LineTile<T> &tile, M done, V steps) {
    const M gave_up = L::both(L::position_less(pos_, stop_), done);
    if (L::bits(gave_up)) give_up(tile, gave_up);
    if (Windowed) begin_segment(done);
    ceiling_ = L::select(done, L::splat(T(__builtin_inf())), ceiling_);
    floor_ = L::select(done, L::splat(T(-__builtin_inf())), floor_);
    take_pieces(tile, done, steps);
  }

private:
  // Lanes that leave their line without an end.
  TG_INLINE void give_up(LineTile<T> &tile, M lanes) {
    int32_t at[L::width];
    T ceiling[L::width], floor[L::width];
    L::store_positions(at, pos_ - L::to_positions(length_));
    L::store(ceiling, ceiling_);
    L::store(floor, floor_);
    for (int lane = 0; lane < L::width; ++lane) {
      if (!(L::bits(lanes) >> lane & 1)) continue;
      const bool went_up = floor[lane] != -T(__builtin_inf()), went_down = !went_up && ceiling[lane] != T(__builtin_inf());
      tile.unfinished[tile.unfinished_count++] = {at[lane] / tile.stride, at[lane] % tile.stride, int(went_up) - int(went_down),
                                                  went_up ? floor[lane] : ceiling[lane]};
    }
    begin_segment(lanes);
  }

  TG_INLINE void begin_segment(M lanes) {
    fresh_ = L::either(fresh_, lanes);
    carry_ = L::select(lanes, L::splat(0), carry_);
    length_ = L::select(lanes, L::splat(0), length_);
    vmin_ = L::select(lanes, L::splat(T(-__builtin_inf())), vmin_);
    vmax_ = L::select(lanes, L::splat(T(__builtin_inf())), vmax_);
  }

  TG_INLINE void take_pieces(const LineTile<T> &tile, M lanes, V steps) {
    const PieceList<T> &list = tile.pieces;
    const int32_t taken = __builtin_popcount(L::bits(lanes)), left = end_ - next_;
    pos_ = L::expand_positions(lanes, list.begin + next_, pos_);
    if (tile.whole && tile.uniform) {
      stop_ = L::select_positions(lanes, pos_ + L::positions(tile.whole), stop_);
      rest_ = L::select(lanes, L::splat(T(tile.whole)), rest_);
      sum_ = L::select(lanes, L::splat(0), sum_);
      slack_ = L::select(lanes, steps + L::splat(STEPS_AT_START), slack_);
      next_ += taken < left ? taken : left;
      if (taken > left) park(last_lanes<T>(lanes, taken - left));
      return;
    }
    stop_ = L::expand_positions(lanes, list.end + next_, stop_);
    rest_ = L::expand(lanes, list.rest + next_, rest_);
    sum_ = L::expand(lanes, list.pull + next_, sum_);
    slack_ = L::select(lanes, steps + L::expand(lanes, list.allowance + next_, slack_), slack_);
    if (!tile.uniform) lambda_ = L::expand(lanes, list.lambda + next_, lambda_);
    next_ += taken < left ? taken : left;
    if (taken > left) park(last_lanes<T>(lanes, taken - left));
  }

  // Lanes without a piece stand still in a segment that never ends: of infinite width at the tile's begin, or (weighted) on the zeros
  // before it.
  TG_INLINE void park(M gone) {
    const V infinity = L::splat(T(__builtin_inf()));
    alive_ = L::without(alive_, gone);
    pos_ = L::select_positions(gone, L::positions(Weighted ? -4 : 0), pos_);
    stop_ = L::select_positions(gone, L::positions(1), stop_);
    four_ = L::select(gone, L::splat(0), four_);
    slack_ = L::select(gone, infinity, slack_);
    rest_ = L::select(gone, infinity, rest_);
    lambda_ = L::select(gone, infinity, lambda_);
    sum_ = L::select(gone, L::splat(0), sum_);
  }

  V sum_, carry_, base_, vmin_, vmax_, length_, min_length_, max_length_, lambda_, min_width_, max_width_, rest_, ceiling_, floor_, slack_,
      four_;
  Pos pos_, stop_;
  M alive_, fresh_;
  int32_t next_, end_;
};

// Two groups in turn: one's chain of comparisons hides behind the other's.
template <class T, bool Weighted, bool Windowed> void walk_lines(LineTile<T> &tile) {
  using L = Lanes<T>;
  EventLog<T> log;
  LaneGroup<T, Weighted, Windowed> a, b;
  tile.unfinished_count = 0;
  const int32_t half = (tile.pieces.count + 1) / 2;
  a.begin(tile, 0, half);
  b.begin(tile, half, tile.pieces.count);
  typename L::V steps = L::splat(0);
  while (a.running() || b.running()) {
    steps += L::splat(1);
    a.step(tile, log);
    b.step(tile, log);
    if (log.full()) log.flush(tile.out);
    const auto done_a = a.leaves(steps), done_b = b.leaves(steps);
    if (L::bits(done_a)) a.next_piece(tile, done_a, steps);
    if (L::bits(done_b)) b.next_piece(tile, done_b, steps);
  }
  log.flush(tile.out);
}

} // namespace
} // namespace tautgrad::cpu::TG_ISA
