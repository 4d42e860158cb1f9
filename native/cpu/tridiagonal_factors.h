// Solving with the factors of one long positive definite system, chunk by chunk.
#pragma once

#include "tridiagonal_chunks.h"

namespace tautgrad::cpu::TG_ISA {
namespace {

// Solves L D L^T x = b with the factors of one system. The first pass finds how values pass through a chunk: with z = L^-1 b,
// x = L^-T D^-1 z, h the product of the -l from the chunk's first unknown on, and c what comes in from the chunk in front (-l z there),
//   z_last = z0_last + h_last c,   x_first = sum h_k z0_k / d_k + c sum h_k^2 / d_k + h_last (-l x of the chunk behind).
template <class T> class LongFactors {
  using Block = SystemBlock<T>;
  using L = Lanes<T>;
  using V = typename L::V;
  static constexpr int G = LANE_GROUPS, W = Block::width;

public:
  LongFactors(int64_t n, const T *d, const T *l, const T *b) : n_(n), pitch_(chunk_pitch(n)), chunks_(n / pitch_), d_(d), l_(l), b_(b) {}
  ~LongFactors() { pool_release(memory_); }

  Long solve(T *x) {
    memory_ = pool_alloc(chunks_ * int64_t(sizeof(Passage)));
    if (!memory_) return Long::out_of_memory;
    passage_ = static_cast<Passage *>(memory_);
    each_block<T>(
        chunks_, [&](int64_t first, int64_t count) { return pass(first, count); }, [](int64_t) { return true; });
    for (int64_t c = 1; c + 1 < chunks_; ++c) {
      Passage &p = passage_[c];
      const T in = from_front(c);
      p.last += p.through * in;
      p.first += p.from_front * in;
    }
    const int64_t last = chunks_ - 1, at = last * pitch_, m = n_ - at;
    T *b = static_cast<T *>(scratch(SCRATCH_FACTORS, m * int64_t(sizeof(T))));
    if (!b) return Long::out_of_memory;
    __builtin_memcpy(b, b_ + at, size_t(m) * sizeof(T));
    b[0] += from_front(last);
    tautgrad::pttrs(m, d_ + at, l_ + at, b, x + at, 1);
    passage_[last].first = x[at];
    for (int64_t c = last - 1; c > 0; --c) passage_[c].first -= passage_[c].through * l_[(c + 1) * pitch_ - 1] * passage_[c + 1].first;
    const bool enough = each_block<T>(
        chunks_, [&](int64_t first, int64_t count) { return substitute(first, count, x); }, [](int64_t) { return true; });
    return enough ? Long::solved : Long::out_of_memory;
  }

private:
  struct Passage {
    T last, through, first, from_front; // z_last, h_last, x_first, sum h^2 / d
  };

  T from_front(int64_t c) const { return c > 0 ? -l_[c * pitch_ - 1] * passage_[c - 1].last : T(0); }

  // visit(group, l, d, b) for the samples from k on while more(), which is asked every four samples. Returns where it stopped.
  template <class Visit, class While>
  TG_INLINE int64_t walk(const ChunkLanes<T> &lanes, int64_t k, const Visit &visit, const While &more) const {
    for (; k + 4 <= pitch_ && more(); k += 4) {
      lanes.fetch_behind(l_, k);
      lanes.fetch_behind(d_, k);
      lanes.fetch_behind(b_, k);
      for (int g = 0; g < G; ++g) {
        const int64_t at = lanes.base + k;
        const Quad<T> l = load_quad(l_ + at - 1, lanes.at[g]), d = load_quad(d_ + at, lanes.at[g]), b = load_quad(b_ + at, lanes.at[g]);
        for (int t = 0; t < 4; ++t) visit(g, l.v[t], d.v[t], b.v[t]);
      }
    }
    for (; k < pitch_ && more(); ++k)
      for (int g = 0; g < G; ++g) visit(g, lanes.pick(l_, g, k - 1), lanes.pick(d_, g, k), lanes.pick(b_, g, k));
    return k;
  }

  bool pass(int64_t first, int64_t count) {
    const ChunkLanes<T> lanes(first, count, pitch_);
    V z[G], h[G], sum[G], squares[G];
    const auto sample = [&](int g, V d, V b) {
      const V over = h[g] / d;
      z[g] = b - z[g];
      sum[g] += z[g] * over;
      squares[g] += h[g] * over;
    };
    for (int g = 0; g < G; ++g) {
      z[g] = sum[g] = squares[g] = L::splat(0);
      h[g] = L::splat(1);
      sample(g, lanes.pick(d_, g, 0), lanes.pick(b_, g, 0));
    }
    const auto dropped = [&] {
      for (int g = 0; g < G; ++g) h[g] = unless_spent<T>(h[g], L::splat(SPENT<T>));
      return all_zero<T>(h);
    };
    const int64_t begun = walk(
        lanes, 1,
        [&](int g, V l, V d, V b) {
          z[g] *= l;
          h[g] *= -l;
          sample(g, d, b);
        },
        [&] { return !dropped(); });
    if (begun < pitch_) { // all but z at the end is known
      V tail[G], through[G];
      for (int g = 0; g < G; ++g) {
        tail[g] = L::splat(0);
        through[g] = L::splat(1);
      }
      const int64_t from = pitch_ - begun - 8;
      if (from > begun)
        walk(
            lanes, from,
            [&](int g, V l, V, V b) {
              tail[g] = b - l * tail[g];
              through[g] *= l;
            },
            [] { return true; });
      for (int g = 0; g < G; ++g) through[g] = unless_spent<T>(through[g], L::splat(SPENT<T>));
      if (from > begun && all_zero<T>(through))
        for (int g = 0; g < G; ++g) z[g] = tail[g];
      else
        walk(
            lanes, begun, [&](int g, V l, V, V b) { z[g] = b - l * z[g]; }, [] { return true; });
    }
    T out[4][W];
    for (int g = 0; g < G; ++g) {
      L::store(out[0] + g * L::width, z[g]);
      L::store(out[1] + g * L::width, h[g]);
      L::store(out[2] + g * L::width, sum[g]);
      L::store(out[3] + g * L::width, squares[g]);
    }
    for (int64_t i = 0; i < count; ++i) passage_[first + i] = {out[0][i], out[1][i], out[2][i], out[3][i]};
    return true;
  }

  bool substitute(int64_t first, int64_t count, T *x) {
    const ChunkLanes<T> lanes(first, count, pitch_);
    const int64_t size = pitch_ * W, last = size - W;
    T *d = static_cast<T *>(scratch(SCRATCH_STAGED, 3 * size * int64_t(sizeof(T)))), *l = d + size, *b = l + size;
    if (!d) return false;
    lanes.stage(pitch_, d_, d);
    lanes.stage(pitch_, l_, l);
    lanes.stage(pitch_, b_, b);
    ChunkLanes<T>::each_lane(count, [&](int64_t lane, int64_t i) {
      b[lane] += from_front(first + i);
      b[last + lane] -= l[last + lane] * passage_[first + i + 1].first * d[last + lane];
    });
    Block::pttrs(pitch_, d, l, b, b, W);
    lanes.unstage(pitch_, b, x);
    return true;
  }

  const int64_t n_, pitch_, chunks_;
  const T *d_, *l_, *b_;
  void *memory_ = nullptr;
  Passage *passage_ = nullptr;
};

} // namespace
} // namespace tautgrad::cpu::TG_ISA
