// One line without edge weights by the funnel of kernels/taut_string.h, with vectors along the line where it is smooth.
//
// Both sides of the funnel are kept as convex chains of corners: the upper ends R_k + w, and the lower ends turned over, -R_k + w. Where
// the samples of a block rise, and the chain of the upper ends arrives with no steeper slope, every upper end of the block becomes a
// corner, and of the lower ends only the last can touch the path: it hides the others from every corner of the queue, since they all have
// smaller slopes. So a block takes a few vector operations and one corner on the other side; where the path then follows corners that are
// one sample apart, its values are the samples themselves. Falling blocks are the mirror image; other samples go one by one.
#pragma once

#include "lanes.hpp"

namespace tautgrad::cpu::TG_ISA {
namespace {

template <class T, bool Contiguous> class LineFunnel {
  using L = Lanes<double>;
  using V = L::V;
  enum { W = L::width, BLOCK = 16, VECTORS = BLOCK / W };
  typedef T Part __attribute__((vector_size(W * sizeof(T)), aligned(sizeof(T)), may_alias));
  struct Block {
    V v[VECTORS];
  };
  // The corners head .. tail of one side; the head is the apex. Slopes lead from a corner to the next.
  struct Chain {
    double *at, *height, *slope;
    int64_t head, tail;
  };
  enum Side { LOWER = -1, UPPER = 1 };

public:
  static int64_t bytes(int64_t n) { return 6 * (n + 2 * BLOCK) * int64_t(sizeof(double)); }

  // n samples of x to y, `stride` apart (1 where Contiguous); they must not overlap. memory: bytes(n). `direction` and `previous` as in
  // UnfinishedLine: the line may be the rest of a longer one.
  LineFunnel(int64_t n, const T *x, T *y, int64_t stride, double lambda, void *memory, int direction, double previous)
      : n_(n), stride_(Contiguous ? 1 : stride), x_(x), y_(y), width_(lambda), apex_side_(direction), previous_(previous) {
    const int64_t size = n + 2 * BLOCK;
    double *m = static_cast<double *>(memory);
    upper_ = {m, m + size, m + 2 * size, 0, 0};
    lower_ = {m + 3 * size, m + 4 * size, m + 5 * size, 0, 0};
  }

  TG_INLINE void solve() {
    // Partial sums about a rough centre stay small, and with them their rounding.
    const int64_t probes = n_ < 16 ? n_ : 16;
    for (int64_t i = 0; i < probes; ++i) centre_ += sample(i * n_ / probes) / double(probes);
    const double pull = apex_side_ ? apex_side_ * width_ : 0;
    start(upper_, 0, pull);
    start(lower_, 0, -pull);
    double sum = 0;
    // An infinite gate never touches.
    for (int64_t k = 1, next_block = 2; k < n_ && width_ <= 1.7e308;) {
      if (k >= next_block && k + BLOCK <= n_) {
        int64_t alone = 0;
        const double last = take_block(k, sum, &alone);
        if (alone == 0) {
          sum = last;
          k += BLOCK;
          continue;
        }
        next_block = k + alone;
      }
      sum += sample(k - 1) - centre_;
      const double at = double(k), low = width_ - sum, high = width_ + sum;
      make_room<UPPER>(lower_, upper_, at, low);
      make_room<LOWER>(upper_, lower_, at, high);
      push(lower_, at, low);
      push(upper_, at, high);
      ++k;
    }
    if (!(width_ <= 1.7e308)) // the mean
      for (int64_t i = 0; i + 1 < n_; ++i) sum += sample(i) - centre_;
    sum += sample(n_ - 1) - centre_;
    make_room<UPPER>(lower_, upper_, double(n_), -sum);
    while (lower_.head < lower_.tail) advance<LOWER>(lower_);
    const double height = apex_from_upper_ ? upper_.height[upper_.head] : -lower_.height[lower_.head];
    finish(n_, (sum - height) / double(n_ - apex_at_), 0);
  }

private:
  TG_INLINE double sample(int64_t i) const { return double(x_[i * stride_]); }

  static TG_INLINE void start(Chain &c, double at, double height) {
    c.head = c.tail = 0;
    c.at[0] = at;
    c.height[0] = height;
  }

  static TG_INLINE void push(Chain &c, double at, double height) {
    c.slope[c.tail] = (height - c.height[c.tail]) / (at - c.at[c.tail]);
    ++c.tail;
    c.at[c.tail] = at;
    c.height[c.tail] = height;
  }

  // A new end on the side of `own` takes the corners that it hides; with all of them gone, the path follows the other side (Along) as far
  // as that end bars the way.
  template <Side Along> TG_INLINE void make_room(Chain &own, Chain &other, double at, double height) {
    own.tail = visible(own, at, height);
    if (own.tail > own.head) return;
    if (!barred(other, at, height)) return;
    do {
      if (apex_side_ == Along && other.head + BLOCK <= other.tail && other.at[other.head + BLOCK] == double(apex_at_ + BLOCK) &&
          (Along == UPPER ? sample(apex_at_) >= previous_ : sample(apex_at_) <= previous_)) {
        if (!advance_block<Along>(other, at, height)) break;
      } else
        advance<Along>(other);
    } while (barred(other, at, height));
    start(own, other.at[other.head], -other.height[other.head]);
    apex_from_upper_ = Along == UPPER;
  }

  static TG_INLINE bool barred(const Chain &c, double at, double height) {
    return c.head < c.tail && c.height[c.head] + (at - c.at[c.head]) * c.slope[c.head] <= -height;
  }

  // The path's next segment, along one side up to its next corner.
  template <Side Along> TG_INLINE void advance(Chain &c) {
    const double slope = c.slope[c.head];
    ++c.head;
    apex_from_upper_ = Along == UPPER;
    finish(int64_t(c.at[c.head]), Along == UPPER ? slope : -slope, Along);
  }

  // A segment from the apex to `end`, and the side that it ends at (0: the line's end).
  TG_INLINE void finish(int64_t end, double slope, int side) {
    double value = centre_ + slope;
    // In float64, sums run again, from the segment's first sample: the value must not inherit the rounding of the long partial sums.
    if (sizeof(T) == 8) value = accurate(end, side);
    // In a tie, rounding must not turn the jump against its dual: equal values join the two segments instead.
    if (apex_side_ > 0 && value < previous_) value = previous_;
    if (apex_side_ < 0 && value > previous_) value = previous_;
    previous_ = value;
    if (end - apex_at_ == 1)
      y_[apex_at_ * stride_] = T(value);
    else
      fill(y_ + apex_at_ * stride_, stride_, end - apex_at_, T(value));
    apex_at_ = end;
    apex_side_ = side;
  }

  TG_INLINE double accurate(int64_t end, int side) const {
    const double base = sample(apex_at_), pull = side == apex_side_ ? 0 : double(side - apex_side_) * width_; // infinite widths included
    if (end - apex_at_ == 1) return base + pull;
    return base + (sum_about(base, x_ + apex_at_ * stride_, stride_, end - apex_at_) + pull) / double(end - apex_at_);
  }

  // These two stand outside, so that what the funnel keeps can stay in registers.
  static __attribute__((noinline)) double sum_about(double base, const T *x, int64_t stride, int64_t count) {
    V lanes[VECTORS] = {};
    int64_t i = 0;
    for (; i + BLOCK <= count; i += BLOCK) {
      const Block b = load(x + i * stride, stride);
      for (int v = 0; v < VECTORS; ++v) lanes[v] += b.v[v] - base;
    }
    double sum = 0;
    for (int v = 0; v < VECTORS; ++v)
      for (int lane = 0; lane < W; ++lane) sum += lanes[v][lane];
    for (; i < count; ++i) sum += double(x[i * stride]) - base;
    return sum;
  }

  static __attribute__((noinline)) void fill(T *y, int64_t stride, int64_t count, T value) {
    int64_t i = 0;
    if (Contiguous)
      for (; i + Lanes<T>::width <= count; i += Lanes<T>::width) Lanes<T>::store(y + i, Lanes<T>::splat(value));
    for (; i < count; ++i) y[i * stride] = value;
  }

  static TG_INLINE Block load(const T *x, int64_t stride) {
    Block b;
    for (int v = 0; v < VECTORS; ++v) {
      if (Contiguous)
        b.v[v] = __builtin_convertvector(*reinterpret_cast<const Part *>(x + v * W), V);
      else
        for (int lane = 0; lane < W; ++lane) b.v[v][lane] = double(x[(v * W + lane) * stride]);
    }
    return b;
  }
  TG_INLINE Block load(int64_t i) const { return load(x_ + i * stride_, stride_); }

  // The gates k .. k + BLOCK - 1, k >= 2: returns the sum at the last, or sets *alone to the number of samples that must go one by one.
  TG_INLINE double take_block(int64_t k, double sum, int64_t *alone) {
    const Block x = load(k - 1), before = load(k - 2);
    unsigned rising = 0, falling = 0;
    for (int v = 0; v < VECTORS; ++v) {
      const auto equal = L::equal(x.v[v], before.v[v]);
      rising |= L::bits(L::either(equal, L::less(before.v[v], x.v[v]))) << (v * W);
      falling |= L::bits(L::either(equal, L::less(x.v[v], before.v[v]))) << (v * W);
    }
    constexpr unsigned ALL = (1u << BLOCK) - 1;
    // The first sample is compared with the slope of the chain's end instead.
    const double first = sample(k - 1) - centre_;
    if ((rising | 1) == ALL) {
      if (first >= upper_.slope[upper_.tail - 1]) return follow<UPPER>(upper_, lower_, k, sum, x);
      return hold<UPPER>(upper_, lower_, k, sum, x, alone);
    }
    if ((falling | 1) == ALL) {
      if (-first >= lower_.slope[lower_.tail - 1]) return follow<LOWER>(lower_, upper_, k, sum, x);
      return hold<LOWER>(lower_, upper_, k, sum, x, alone);
    }
    // No block that holds the last sample against the trend can do better.
    const unsigned up = ~rising & ALL & ~1u, down = ~falling & ALL & ~1u, against = up < down ? up : down;
    *alone = against ? 31 - __builtin_clz(against) : 1;
    return sum;
  }

  template <Side Along> TG_INLINE double follow(Chain &own, Chain &other, int64_t k, double sum, const Block &x) {
    const int64_t tail = own.tail;
    V steps;
    for (int i = 0; i < W; ++i) steps[i] = i;
    for (int v = 0; v < VECTORS; ++v) {
      const V slope = x.v[v] - centre_, own_sums = L::prefix_sums<1>(slope), sums = own_sums + sum;
      sum += own_sums[W - 1]; // the only chain from block to block
      L::store(own.slope + tail + v * W, Along == UPPER ? slope : -slope);
      L::store(own.height + tail + 1 + v * W, Along == UPPER ? width_ + sums : width_ - sums);
      L::store(own.at + tail + 1 + v * W, steps + double(k + v * W));
    }
    own.tail += BLOCK;
    const double at = double(k + BLOCK - 1), height = Along == UPPER ? width_ - sum : width_ + sum;
    make_room<Along>(other, own, at, height);
    push(other, at, height);
    return sum;
  }

  // A block that bends towards the side `own`, but arrives with a smaller slope than that chain's end. Where the line from the chain to the
  // last gate's end is no less steep than the last sample, it passes below the ends between; those of the other side, which bend away, are
  // hidden anyway. So the last gate is all there is to see. (What it makes of the path on the other side holds in any case: no end of the
  // block can hide the corners that it passes there.)
  template <Side Along> TG_INLINE double hold(Chain &own, Chain &other, int64_t k, double sum, const Block &x, int64_t *alone) {
    constexpr Side Against = Along == UPPER ? LOWER : UPPER;
    const double all = sum + total(x), turned = Along == UPPER ? all : -all, at = double(k + BLOCK - 1);
    const double high = width_ + turned, low = width_ - turned, last = sample(k + BLOCK - 2) - centre_;
    int64_t tail = visible(own, at, high);
    if (tail == own.head && barred(other, at, high)) {
      make_room<Against>(own, other, at, high);
      tail = own.tail;
    }
    const double slope = (high - own.height[tail]) / (at - own.at[tail]);
    if (!((Along == UPPER ? last : -last) <= slope)) {
      *alone = BLOCK / 2;
      return sum;
    }
    own.tail = tail;
    make_room<Along>(other, own, at, low);
    push(own, at, high);
    push(other, at, low);
    return all;
  }

  TG_INLINE double total(const Block &x) const {
    V lanes = L::splat(0);
    for (int v = 0; v < VECTORS; ++v) lanes += x.v[v] - centre_;
    return L::prefix_sums<1>(lanes)[W - 1];
  }

  // The last corner of a chain that a new end on its side leaves visible.
  static TG_INLINE int64_t visible(const Chain &c, double at, double height) {
    int64_t tail = c.tail;
    while (tail > c.head && c.height[tail] + (at - c.at[tail]) * c.slope[tail - 1] >= height) --tail;
    return tail;
  }

  // From an apex on this side along up to BLOCK corners one sample apart: their values are their samples. Returns whether all were passed.
  template <Side Along> TG_INLINE bool advance_block(Chain &c, double at, double height) {
    unsigned passed = 0;
    V steps;
    for (int i = 0; i < W; ++i) steps[i] = i;
    const V limit = L::splat(-height);
    const Block x = load(apex_at_);
    double below = c.height[c.head];
    for (int v = 0; v < VECTORS; ++v) {
      // Slopes and heights once more, as loading them soon after they were stored would stall.
      const V slope = Along == UPPER ? x.v[v] - centre_ : centre_ - x.v[v], sums = L::prefix_sums<1>(slope);
      const V reach = (below - slope + sums) + (at - double(apex_at_ + v * W) - steps) * slope;
      passed |= L::bits(L::either(L::less(reach, limit), L::equal(reach, limit))) << (v * W);
      below += sums[W - 1];
    }
    // As a branch, so that nothing waits for the count.
    const int count = passed == (1u << BLOCK) - 1 ? int(BLOCK) : __builtin_ctz(~passed);
    if (Contiguous) // what is not passed yet is written again later
      for (int v = 0; v < VECTORS; ++v)
        *reinterpret_cast<Part *>(y_ + apex_at_ + v * W) = *reinterpret_cast<const Part *>(x_ + apex_at_ + v * W);
    else
      for (int i = 0; i < count; ++i) y_[(apex_at_ + i) * stride_] = x_[(apex_at_ + i) * stride_];
    if (passed == (1u << BLOCK) - 1) {
      previous_ = sample(apex_at_ + BLOCK - 1);
      c.head += BLOCK;
      apex_at_ += BLOCK;
      return true;
    }
    if (count == 0) return false;
    previous_ = sample(apex_at_ + count - 1);
    c.head += count;
    apex_at_ += count;
    return false;
  }

  const int64_t n_, stride_;
  const T *x_;
  T *y_;
  const double width_;
  double centre_ = 0;
  int64_t apex_at_ = 0;
  int apex_side_; // of the line's begin: 0
  bool apex_from_upper_ = true;
  double previous_;
  Chain upper_, lower_;
};

} // namespace
} // namespace tautgrad::cpu::TG_ISA
