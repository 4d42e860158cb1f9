// What the lanes of line_lanes.h walk through: whole lines, or the pieces of a rough one between its certain jumps.
//
// The dual of an edge lies in [-lambda, lambda]. Where a sample exceeds the one before by more than 4 lambda, the solution jumps whatever
// surrounds them: y_{k+1} - y_k >= x_{k+1} - x_k - 4 lambda > 0, and the walk ends a segment there once it has read sample k + 1 (the
// slopes that the edges k - 1, k and k + 1 allow cannot meet). As the walk's values depend only on where a segment begins and on the
// direction there, pieces may be walked in any order, with the same bits as the whole line. Noise above lambda jumps at most of its
// edges: pieces of one or two samples are then solved here, by the walk's own formulas, with vectors along the line.
#pragma once

#include "lanes.hpp"
#include "line_tiles.h"

#include <utility>

namespace tautgrad::cpu::TG_ISA {
namespace {

enum { STEPS_AT_START = 64 }; // see line_lanes.h

// Pieces in the order of their places in the tile. Arrays of `count` entries, with room for a vector behind them.
template <class T> struct PieceList {
  int32_t *begin, *end; // where it lies in the tile
  T *rest;              // its length when it ends with its line, otherwise infinite
  T *pull;              // of the edge before it
  T *allowance;         // steps beyond STEPS_PER_SAMPLE for each sample
  T *lambda;
  int32_t count;

  static int64_t bytes(int64_t capacity) { return (capacity + 2 * Lanes<T>::width) * int64_t(2 * sizeof(int32_t) + 4 * sizeof(T)) + 64; }
  static PieceList at(void *memory, int64_t capacity) {
    const int64_t room = capacity + 2 * Lanes<T>::width;
    T *values = static_cast<T *>(memory);
    int32_t *places = reinterpret_cast<int32_t *>(values + 4 * room);
    return {places, places + room, values, values + room, values + 2 * room, values + 3 * room, 0};
  }

  // A line of n samples, or an open window that shows n samples of a longer one.
  void add_line(int32_t from, int32_t n, bool open, T width) {
    begin[count] = from;
    end[count] = open ? from + n - 3 : from + n; // a step reads four samples
    rest[count] = open ? T(__builtin_inf()) : T(n);
    pull[count] = T(0);
    allowance[count] = T(STEPS_AT_START);
    lambda[count++] = width;
  }
};

template <class T> class RoughLine {
  using L = Lanes<T>;
  using V = typename L::V;
  using M = typename L::M;
  // In shorter lines the way here costs more than it saves.
  enum { LOOKED_AT = 64, LONGEST_PIECE = 64, SHORTEST_LINE = sizeof(T) == 4 ? 128 : 2 * L::width };

public:
  // Per line of n samples: one value per edge, from two before the line's begin to a vector behind its end.
  static int64_t edges(int64_t n) { return n + 2 * L::width + 4; }

  // The line at x (readable for two vectors behind its n samples), which lies at `from` in its tile.
  RoughLine(int32_t n, const T *x, T lambda, int32_t from, T *edges, T *out)
      : n_(n), from_(from), x_(x), lambda_(lambda), edge_(edges + 2), out_(out) {}

  // Solves the short pieces and lists the others; false where the line should be walked as a whole.
  bool cut(PieceList<T> &list) const {
    if (!worth_it() || !mark_jumps()) return false;
    return solve_short_pieces(list);
  }

private:
  // By the line's first edges only: are three of eight certain jumps?
  bool worth_it() const {
    if (!(lambda_ > 0) || n_ < SHORTEST_LINE) return false;
    const V bound = L::splat(4 * lambda_);
    int32_t jumps = 0, k = 0;
    for (; k < LOOKED_AT && k + L::width < n_; k += L::width) {
      const V rise = L::load(x_ + k + 1) - L::load(x_ + k);
      jumps += __builtin_popcount(L::bits(L::either(L::less(bound, rise), L::less(rise, -bound))));
    }
    return 8 * jumps >= 3 * k;
  }

  // edge_[k], k = -1 ... n - 1: +-1 at a certain jump between the samples k and k + 1, -0 at both ends of the line, otherwise 0.
  // The margin keeps jumps certain in the walk's arithmetic. False for data without one.
  bool mark_jumps() const {
    V low = L::splat(x_[0]), high = low, spoilt = L::splat(0);
    for (int32_t k = 0; k < n_; k += L::width) { // a line worth it is longer than a vector
      const V x = L::load(x_ + (k + L::width < n_ ? k : n_ - L::width));
      low = L::min(x, low);
      high = L::max(x, high);
      spoilt += x * L::splat(0); // NaN from what is not finite
    }
    const T range = L::largest(high) - L::smallest(low);
    if (L::bits(L::equal(spoilt, L::splat(0))) != L::bits(L::all()) || !(range < (sizeof(T) == 4 ? T(1e30) : T(1e290)))) return false;
    const V bound = L::splat(4 * lambda_ * T(1 + 1.0 / 1024) + range * T(1.0 / 1024)), zero = L::splat(0);
    for (int32_t k = 0; k < n_; k += L::width) {
      const V rise = L::load(x_ + k + 1) - L::load(x_ + k);
      L::store(edge_ + k, L::select(L::less(bound, rise), L::splat(1), L::select(L::less(rise, -bound), L::splat(-1), zero)));
    }
    edge_[-2] = T(0);
    edge_[-1] = edge_[n_ - 1] = -T(0);
    L::store(edge_ + n_, zero);
    return true;
  }

  // Every lane moved up by one, the last of the vector before in front.
  template <int... I> static TG_INLINE V one_up(V before, V now, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(before, now, (L::width - 1 + I)...);
  }

  // Values are the walk's: of one sample, its own plus both pulls; of two, what the walk does with them and a certain end behind. Lists the
  // others; false, the list as it was, if one of them is too long.
  bool solve_short_pieces(PieceList<T> &list) const {
    const V lambda = L::splat(lambda_), half = L::splat(T(0.5)), one = L::splat(1), infinity = L::splat(T(__builtin_inf()));
    const V unset = L::splat(unset_value<T>());
    V lane;
    for (int i = 0; i < L::width; ++i) lane[i] = T(i);
    const int32_t before = list.count;
    int32_t begun = before, ended = before;
    V seconds_before = unset;
    for (int32_t k = 0; k < n_; k += L::width) {
      const V in = L::load(edge_ + k - 1), out = L::load(edge_ + k), next = L::load(edge_ + k + 1), x = L::load(x_ + k),
              y = L::load(x_ + k + 1);
      const M here = L::less(lane, L::splat(T(n_ - k)));
      const M starts = L::both(L::nonzero_bits(in), here), ends = L::nonzero_bits(out), next_ends = L::nonzero_bits(next),
              late_starts = L::nonzero_bits(L::load(edge_ + k - 2));
      const M single = L::both(starts, ends), longer = L::without(starts, ends), pair = L::both(longer, next_ends);
      const M second_ends = L::without(ends, starts), seconds = L::both(second_ends, late_starts);
      const M begins = L::without(longer, next_ends), closes = L::without(second_ends, late_starts);

      const V pull = -lambda * in, lo = pull - lambda, hi = pull + lambda;
      L::compress_places(list.begin + begun, begins, from_ + k);
      begun += L::compress(list.pull + begun, begins, pull);
      L::store(list.rest + ended, infinity);
      L::store(list.allowance + ended, infinity);
      L::store(list.lambda + ended, lambda);
      ended += L::compress_places(list.end + ended, closes, from_ + k + 1);

      const M next_up = L::equal(next, one), next_down = L::equal(next, -one);
      const V sum = pull + (y - x), spread = lambda * L::max(next, -next) * half;
      const V lo2 = L::multiply_subtract(sum, half, spread), hi2 = L::multiply_add(sum, half, spread);
      const V top = L::select(next_up, hi2, lo2);
      const M up = L::less(hi, top), down = L::less(L::select(next_down, lo2, hi2), lo), split = L::either(up, down);
      const V first = x + L::select(up, hi, lo), apart = y + lambda * (next + L::select(up, -one, one));
      const V ordered = L::select(up, L::max(first, apart), L::min(first, apart));
      const V value = L::select(single, x + lambda * (out - in), L::select(L::both(pair, split), first, unset));
      const V second = L::select(split, ordered, x + top);
      L::store(out_ + k, L::select(seconds, one_up(seconds_before, second, std::make_integer_sequence<int, L::width>{}), value));
      seconds_before = second;
    }
    if (n_ > LONGEST_PIECE) {
      int32_t longest = 0;
      for (int32_t i = before; i < begun; ++i) longest = list.end[i] - list.begin[i] > longest ? list.end[i] - list.begin[i] : longest;
      if (longest > LONGEST_PIECE) return false;
    }
    list.count = begun;
    if (begun > before && list.end[begun - 1] == from_ + n_) list.rest[begun - 1] = T(from_ + n_ - list.begin[begun - 1]);
    return true;
  }

  const int32_t n_, from_;
  const T *x_;
  const T lambda_;
  T *const edge_;
  T *const out_;
};

} // namespace
} // namespace tautgrad::cpu::TG_ISA
