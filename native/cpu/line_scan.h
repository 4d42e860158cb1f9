// One long line whose segments are long too: the slope form of line_lanes.h with vectors along the line, in double.
//
// A block of samples whose bounds all leave the others' and the segment's own room holds no end, in whatever order they come: then only the
// tightest bounds and their places are taken over. Any other block is walked sample by sample.
#pragma once

#include "lanes.hpp"

#include <utility>

namespace tautgrad::cpu::TG_ISA {
namespace {

// Up to where a line is solved, and the last jump there (as in UnfinishedLine).
struct ScannedLine {
  int64_t end;
  int direction;
  double previous;
};

template <class T> class LineScan {
  using L = Lanes<double>;
  using V = L::V;
  enum { W = L::width, BLOCK_WORK = 2, WORK_PER_SAMPLE = 4 };

public:
  LineScan(int64_t n, const T *x, int64_t stride, double lambda, T *y) : n_(n), stride_(stride), x_(x), y_(y), lambda_(lambda) {}

  // Solves the line, or gives up where a linear-time solver is better at the rest of it.
  ScannedLine solve() {
    ScannedLine at = {0, 0, 0};
    int64_t work = WORK_PER_SAMPLE * n_;
    while (at.end < n_) {
      begin(at);
      int64_t end = 0;
      while (!end) {
        if (work < 0) return at;
        if (length_ + W < left_ && take_block()) {
          work -= BLOCK_WORK;
          continue;
        }
        for (int i = 0; i < W && !end; ++i, --work) end = take_sample();
      }
      const double value = at.direction > 0 && value_ < at.previous   ? at.previous
                           : at.direction < 0 && value_ > at.previous ? at.previous
                                                                      : value_;
      for (int64_t i = at.end; i < at.end + end; ++i) y_[i * stride_] = T(value);
      at = {at.end + end, next_direction_, value};
    }
    return at;
  }

private:
  void begin(const ScannedLine &at) {
    from_ = x_ + at.end * stride_;
    left_ = n_ - at.end;
    base_ = double(*from_);
    sum_ = -at.direction * lambda_;
    if (at.direction == 0) sum_ = 0; // infinite lambda
    length_ = min_length_ = max_length_ = 0;
    vmin_ = -__builtin_inf();
    vmax_ = __builtin_inf();
  }

  // The length of the segment that this sample shows to have ended, or 0.
  int64_t take_sample() {
    sum_ += double(from_[length_ * stride_]) - base_;
    ++length_;
    const bool last = length_ == left_;
    const double r = 1.0 / double(length_), spread = last ? 0 : lambda_ * r, lo = sum_ * r - spread, hi = sum_ * r + spread;
    if (hi < vmin_) return ends(vmin_, min_length_, -1);
    if (lo > vmax_) return ends(vmax_, max_length_, 1);
    if (!(lo < vmin_)) vmin_ = lo, min_length_ = length_;
    if (!(hi > vmax_)) vmax_ = hi, max_length_ = length_;
    return last ? ends(lo, length_, -1) : 0;
  }

  int64_t ends(double value, int64_t length, int direction) {
    value_ = base_ + value;
    next_direction_ = direction;
    return length;
  }

  template <int Half, bool Largest, int... I> static TG_INLINE double extreme(V v, std::integer_sequence<int, I...> lanes) {
    if constexpr (Half == 0) {
      return v[0];
    } else {
      const V other = __builtin_shufflevector(v, v, (I ^ Half)...);
      return extreme<Half / 2, Largest>(Largest ? L::max(v, other) : L::min(v, other), lanes);
    }
  }

  TG_INLINE bool take_block() {
    const T *from = from_ + length_ * stride_;
    V x, steps;
    for (int i = 0; i < W; ++i) x[i] = double(from[i * stride_]), steps[i] = i + 1;
    const V sums = L::prefix_sums<1>(x - base_) + sum_, r = L::splat(1) / (double(length_) + steps), spread = lambda_ * r;
    const V lo = sums * r - spread, hi = sums * r + spread;
    constexpr auto lanes = std::make_integer_sequence<int, W>{};
    const double most = extreme<W / 2, true>(lo, lanes), least = extreme<W / 2, false>(hi, lanes);
    const double vmin = most > vmin_ ? most : vmin_, vmax = least < vmax_ ? least : vmax_;
    if (!(vmin <= least && most <= vmax)) return false;
    if (!(most < vmin_)) vmin_ = most, min_length_ = length_ + 32 - __builtin_clz(L::bits(L::equal(lo, L::splat(most))));
    if (!(least > vmax_)) vmax_ = least, max_length_ = length_ + 32 - __builtin_clz(L::bits(L::equal(hi, L::splat(least))));
    sum_ = sums[W - 1];
    length_ += W;
    return true;
  }

  const int64_t n_, stride_;
  const T *x_;
  T *y_;
  const double lambda_;
  const T *from_ = nullptr;
  int64_t left_ = 0, length_ = 0, min_length_ = 0, max_length_ = 0;
  double base_ = 0, sum_ = 0, vmin_ = 0, vmax_ = 0, value_ = 0;
  int next_direction_ = 0;
};

} // namespace
} // namespace tautgrad::cpu::TG_ISA
