// One long positive definite system on all lanes and threads, by partitioning (Wang 1981).
//
// Every PITCH-th unknown is a separator; between two of them lies a chunk, and chunks meet in separators only. The first pass eliminates
// the chunks, one per SIMD lane, which leaves a tridiagonal system of the separators; it is solved on its own, and a second pass goes
// through the chunks with their separators known. That is Cholesky's elimination in another order, hence as stable.
#pragma once

#include "tridiagonal_chunks.h"

namespace tautgrad::cpu::TG_ISA {
namespace {

// What the separators' system needs to know of a chunk A with coupling a to the separator in front and e to the one behind. With
// A = L D L^T, v = L^-1 (a, 0, ...), y = L^-1 b:
template <class T> struct ChunkEnds {
  T front;     // a^2 (A^-1) first, first = sum v_k^2 / d_k
  T front_rhs; // a (A^-1 b) first = sum v_k y_k / d_k
  T back;      // e^2 / d_m
  T back_rhs;  // e y_m / d_m
  T across;    // a e (A^-1) first, last = e v_m / d_m
};

// Factors and solves (ptsv), or factors (pttrf), one system.
template <class T> class LongSystem {
  using Block = SystemBlock<T>;
  using L = Lanes<T>;
  using V = typename L::V;
  static constexpr int G = LANE_GROUPS, W = Block::width;

public:
  // b: null when there is nothing to solve.
  LongSystem(int64_t n, const T *d, const T *e, const T *b)
      : n_(n), pitch_(chunk_pitch(n)), chunks_(n / pitch_), inside_(pitch_ - 1), d_(d), e_(e), b_(b ? b : d) {}
  ~LongSystem() { pool_release(memory_); }

  Long solve(T *x) {
    const Long begun = reduce();
    if (begun != Long::solved) return begun;
    if (tautgrad::ptsv(chunks_ - 1, diagonal_, off_, rhs_, value_, 1, work_, work_ + chunks_)) return Long::refused;
    const bool enough = each_block<T>(
        chunks_, [&](int64_t first, int64_t count) { return substitute(first, count, x); },
        [&](int64_t c) { return substitute_last(c, x); });
    for (int64_t c = 0; c + 1 < chunks_; ++c) x[c * pitch_ + inside_] = value_[c];
    return outcome(enough);
  }

  Long factorise(T *d_out, T *l_out) {
    const Long begun = reduce();
    if (begun != Long::solved) return begun;
    // The pivot in order lacks the chunk behind the separator, which it does not know yet.
    if (tautgrad::pttrf(chunks_ - 1, diagonal_, off_, value_, work_, 1)) return Long::refused;
    for (int64_t c = 0; c + 1 < chunks_; ++c) value_[c] += ends_[c + 1].front;
    const bool enough = each_block<T>(
        chunks_, [&](int64_t first, int64_t count) { return factorise_block(first, count, d_out, l_out); },
        [&](int64_t c) {
          T pivot = d_[c * pitch_] - square_over(coupling(c), value_[c - 1]);
          for (int64_t k = c * pitch_;; ++k) {
            if (!(pivot > 0)) fail_();
            d_out[k] = pivot;
            if (k + 1 == n_) return true;
            l_out[k] = e_[k] / pivot;
            pivot = d_[k + 1] - l_out[k] * e_[k];
          }
        });
    // The chunks' own elimination must arrive at the separators' pivots: where rounding has been amplified, it does not.
    for (int64_t c = 0; c + 1 < chunks_ && !failed_; ++c) {
      const int64_t s = c * pitch_ + inside_;
      l_out[s - 1] = e_[s - 1] / d_out[s - 1];
      d_out[s] = d_[s] - l_out[s - 1] * e_[s - 1];
      l_out[s] = e_[s] / d_out[s];
      const T off = d_out[s] - value_[c], most = 16 * EPSILON * d_[s];
      if (!(off <= most && -off <= most)) fail_();
    }
    return outcome(enough);
  }

private:
  static constexpr uint64_t EVERY = (uint64_t(1) << W) - 1;
  static constexpr T EPSILON = sizeof(T) == 4 ? T(1.2e-7) : T(2.3e-16);

  Long outcome(bool enough) const { return !enough ? Long::out_of_memory : failed_ ? Long::refused : Long::solved; }
  void fail_() { __atomic_store_n(&failed_, 1, __ATOMIC_RELAXED); }
  static T square_over(T a, T pivot) { return a / pivot * a; }
  T coupling(int64_t c) const { return c > 0 ? e_[c * pitch_ - 1] : T(0); } // to the separator in front
  T before(int64_t c) const { return c > 0 ? value_[c - 1] : T(0); }

  // The separators' system from the chunks.
  Long reduce() {
    memory_ = pool_alloc(chunks_ * 11 * int64_t(sizeof(T)));
    if (!memory_) return Long::out_of_memory;
    ends_ = static_cast<ChunkEnds<T> *>(memory_);
    diagonal_ = reinterpret_cast<T *>(ends_ + chunks_);
    off_ = diagonal_ + chunks_;
    rhs_ = off_ + chunks_;
    value_ = rhs_ + chunks_;
    work_ = value_ + chunks_; // 2 chunks_
    each_block<T>(
        chunks_, [&](int64_t first, int64_t count) { return eliminate(first, count); }, [&](int64_t c) { return eliminate_last(c); });
    for (int64_t c = 0; c + 1 < chunks_; ++c) {
      const int64_t s = c * pitch_ + inside_;
      diagonal_[c] = d_[s] - ends_[c].back - ends_[c + 1].front;
      off_[c] = -ends_[c + 1].across;
      rhs_[c] = b_[s] - ends_[c].back_rhs - ends_[c + 1].front_rhs;
    }
    return outcome(true);
  }

  // Elimination along the chunks of a block: 1 / pivot, the coupling behind the sample, and y.
  struct Elimination {
    V r[G], off[G], y[G];
    typename L::M good[G];
    Elimination() {
      for (int g = 0; g < G; ++g) {
        off[g] = y[g] = L::splat(0);
        r[g] = L::splat(1);
        good[g] = L::all();
      }
    }
    // Returns l, what couples the sample to the one before.
    TG_INLINE V sample(int g, V d, V b, V e) {
      const V l = off[g] * r[g];
      r[g] = L::splat(1) / (d - l * off[g]);
      good[g] = L::both(good[g], L::less(L::splat(0), r[g]));
      y[g] = b - l * y[g];
      off[g] = e;
      return l;
    }
  };

  // visit(group, l) after every sample from..to, whose number is a multiple of 4 but for the chunk's last samples; while(...) is asked
  // every four samples. Returns where it stopped.
  template <class Visit, class While>
  TG_INLINE int64_t walk(const ChunkLanes<T> &lanes, int64_t k, Elimination &state, const Visit &visit, const While &more) const {
    for (; k + 4 <= inside_ && more(); k += 4) {
      lanes.fetch_behind(d_, k);
      lanes.fetch_behind(b_, k);
      lanes.fetch_behind(e_, k);
      for (int g = 0; g < G; ++g) {
        const int64_t at = lanes.base + k;
        const Quad<T> d = load_quad(d_ + at, lanes.at[g]), b = load_quad(b_ + at, lanes.at[g]), e = load_quad(e_ + at, lanes.at[g]);
        for (int t = 0; t < 4; ++t) visit(g, state.sample(g, d.v[t], b.v[t], e.v[t]));
      }
    }
    for (; k < inside_ && more(); ++k)
      for (int g = 0; g < G; ++g) visit(g, state.sample(g, lanes.pick(d_, g, k), lanes.pick(b_, g, k), lanes.pick(e_, g, k)));
    return k;
  }

  bool eliminate(int64_t first, int64_t count) {
    const ChunkLanes<T> lanes(first, count, pitch_);
    Elimination state;
    V v[G], front[G], front_rhs[G], spent[G];
    const auto add = [&](int g) {
      const V w = v[g] * state.r[g];
      front[g] += v[g] * w;
      front_rhs[g] += state.y[g] * w;
    };
    for (int g = 0; g < G; ++g) {
      front[g] = front_rhs[g] = L::splat(0);
      v[g] = lanes.pick(e_, g, -1);
      spent[g] = Block::magnitude(v[g]) * L::splat(SPENT<T>);
      state.sample(g, lanes.pick(d_, g, 0), lanes.pick(b_, g, 0), lanes.pick(e_, g, 0));
      add(g);
    }
    const auto dropped = [&] {
      for (int g = 0; g < G; ++g) v[g] = unless_spent<T>(v[g], spent[g]);
      return all_zero<T>(v);
    };
    const int64_t begun = walk(
        lanes, 1, state,
        [&](int g, V l) {
          v[g] = -l * v[g];
          add(g);
        },
        [&] { return !dropped(); });
    if (begun < inside_) { // all but the pivot and y at the end is known
      Elimination tail;
      V through[G];
      for (int g = 0; g < G; ++g) through[g] = L::splat(1);
      const int64_t from = inside_ - begun - 8;
      if (from > begun) {
        for (int g = 0; g < G; ++g) tail.sample(g, lanes.pick(d_, g, from), lanes.pick(b_, g, from), lanes.pick(e_, g, from));
        walk(
            lanes, from + 1, tail, [&](int g, V l) { through[g] *= l; }, [] { return true; });
      }
      for (int g = 0; g < G; ++g) through[g] = unless_spent<T>(through[g], L::splat(SPENT<T>));
      if (from > begun && all_zero<T>(through))
        state = tail;
      else
        walk(
            lanes, begun, state, [](int, V) {}, [] { return true; });
    }
    T out[5][W];
    for (int g = 0; g < G; ++g) {
      const V over = state.off[g] * state.r[g];
      L::store(out[0] + g * L::width, front[g]);
      L::store(out[1] + g * L::width, front_rhs[g]);
      L::store(out[2] + g * L::width, over * state.off[g]);
      L::store(out[3] + g * L::width, over * state.y[g]);
      L::store(out[4] + g * L::width, over * v[g]);
    }
    for (int64_t i = 0; i < count; ++i) ends_[first + i] = {out[0][i], out[1][i], out[2][i], out[3][i], out[4][i]};
    if (Block::bits(state.good) != EVERY) fail_(); // what was left out, the second pass sees
    return true;
  }

  bool eliminate_last(int64_t c) {
    T pivot = 1, off = 0, v = coupling(c), y = 0, front = 0, front_rhs = 0;
    const T spent = (v < 0 ? -v : v) * SPENT<T>;
    for (int64_t k = c * pitch_; k < n_; ++k) {
      const T l = off / pivot;
      pivot = d_[k] - l * off;
      if (!(pivot > 0)) fail_();
      y = b_[k] - l * y;
      if (k > c * pitch_) v = -l * v;
      if (v < spent && -v < spent) v = 0;
      front += v * v / pivot;
      front_rhs += v * y / pivot;
      off = k + 1 < n_ ? e_[k] : T(0);
    }
    ends_[c] = {front, front_rhs, 0, 0, 0};
    return true;
  }

  bool substitute(int64_t first, int64_t count, T *x) {
    const ChunkLanes<T> lanes(first, count, pitch_);
    const int64_t m = inside_, size = m * W;
    T *factors = static_cast<T *>(scratch(SCRATCH_FACTORS, 2 * size * int64_t(sizeof(T))));
    T *d = static_cast<T *>(scratch(SCRATCH_STAGED, 3 * size * int64_t(sizeof(T)))), *e = d + size, *b = e + size;
    if (!factors || !d) return false;
    lanes.stage(m, d_, d);
    lanes.stage(m, e_, e);
    lanes.stage(m, b_, b);
    ChunkLanes<T>::each_lane(count, [&](int64_t lane, int64_t i) {
      b[lane] -= coupling(first + i) * before(first + i);
      b[size - W + lane] -= e[size - W + lane] * value_[first + i];
    });
    if (Block::ptsv(m, d, e, b, b, W, factors, factors + size) & EVERY) fail_();
    lanes.unstage(m, b, x);
    return true;
  }

  bool substitute_last(int64_t c, T *x) {
    const int64_t at = c * pitch_, m = n_ - at;
    T *b = static_cast<T *>(scratch(SCRATCH_FACTORS, 3 * m * int64_t(sizeof(T))));
    if (!b) return false;
    __builtin_memcpy(b, b_ + at, size_t(m) * sizeof(T));
    b[0] -= coupling(c) * before(c);
    if (tautgrad::ptsv(m, d_ + at, e_ + at, b, x + at, 1, b + m, b + 2 * m)) fail_();
    return true;
  }

  bool factorise_block(int64_t first, int64_t count, T *d_out, T *l_out) {
    const ChunkLanes<T> lanes(first, count, pitch_);
    const int64_t m = inside_, size = m * W;
    T *d = static_cast<T *>(scratch(SCRATCH_STAGED, 4 * size * int64_t(sizeof(T)))), *e = d + size, *pivots = e + size, *l = pivots + size;
    if (!d) return false;
    lanes.stage(m, d_, d);
    lanes.stage(m, e_, e);
    ChunkLanes<T>::each_lane(count, [&](int64_t lane, int64_t i) {
      if (first + i > 0) d[lane] -= square_over(coupling(first + i), before(first + i));
    });
    if (Block::pttrf(m, d, e, pivots, l, W) & EVERY) fail_();
    lanes.unstage(m, pivots, d_out);
    lanes.unstage(m - 1, l, l_out);
    return true;
  }

  const int64_t n_, pitch_, chunks_, inside_;
  const T *d_, *e_, *b_;
  int failed_ = 0;
  void *memory_ = nullptr;
  ChunkEnds<T> *ends_ = nullptr;
  T *diagonal_ = nullptr, *off_ = nullptr, *rhs_ = nullptr, *value_ = nullptr, *work_ = nullptr;
};

} // namespace
} // namespace tautgrad::cpu::TG_ISA
