// One long general tridiagonal system on all lanes and threads, by partitioning with partial pivoting.
//
// The system is cut into chunks of rows, one per SIMD lane. Inside a chunk all unknowns but the first and the last are eliminated in order;
// two rows are carried along, so that each pivot is the largest of all three coefficients that the chunk's rows have left for its unknown:
// no chunk has to be regular by itself, and what it does to its neighbours is as stable as elimination in order. Two rows per chunk
// remain, in its own first and last unknown and those next to it; they are solved in order, pivots among all rows at hand. A second pass
// repeats each chunk's elimination, which is cheaper than keeping it, with these values known.
#pragma once

#include "tridiagonal_chunks.h"

#include <limits>

namespace tautgrad::cpu::TG_ISA {
namespace {

template <class T> class LongGeneral {
  using Block = SystemBlock<T>;
  using L = Lanes<T>;
  using V = typename L::V;
  using M = typename L::M;
  static constexpr int G = LANE_GROUPS, W = Block::width;
  static constexpr int64_t PITCH = 248; // rows of a chunk; an odd number of cache lines or half lines

public:
  LongGeneral(int64_t n, const T *dl, const T *d, const T *du, const T *b) : n_(n), chunks_(n / PITCH), dl_(dl), d_(d), du_(du), b_(b) {}
  ~LongGeneral() { pool_release(memory_); }

  // refused: singular, or not finite; elimination in order decides.
  Long solve(T *x) {
    memory_ = pool_alloc(chunks_ * int64_t(2 * sizeof(Row) + sizeof(Ends)));
    if (!memory_) return Long::out_of_memory;
    rows_ = static_cast<Row *>(memory_);
    ends_ = reinterpret_cast<Ends *>(rows_ + 2 * chunks_);
    const auto each = [&](const auto &chunks) {
      return each_block<T>(
          chunks_, [&](int64_t first, int64_t count) { return chunks(first, count, PITCH); },
          [&](int64_t last) { return chunks(last, 1, n_ - last * PITCH); });
    };
    if (!each([&](int64_t first, int64_t count, int64_t m) { return reduce(first, count, m); })) return Long::out_of_memory;
    if (failed_ || !join()) return Long::refused;
    if (!each([&](int64_t first, int64_t count, int64_t m) { return substitute(first, count, m, x); })) return Long::out_of_memory;
    return failed_ ? Long::refused : Long::solved;
  }

private:
  // A row in the last unknown of the chunk before, the chunk's first and last, and the first of the chunk behind.
  struct Row {
    T c[4], rhs;
  };
  struct Ends {
    T first, last;
  };
  // A carried row: its coefficients for the chunk before and the first unknown, for the next two unknowns, and its right-hand side.
  struct Carried {
    V before, first, at, next, rhs;
  };

  void fail_() { __atomic_store_n(&failed_, 1, __ATOMIC_RELAXED); }

  // The m rows of the chunks of a block, in the order of the lanes: below[k] is row k + 1's coefficient of unknown k.
  struct Rows {
    T *below, *diagonal, *above, *rhs;
    int64_t m;
  };
  bool stage(const ChunkLanes<T> &lanes, int64_t m, int extra, Rows *r) const {
    const int64_t size = m * W;
    T *memory = static_cast<T *>(scratch(SCRATCH_STAGED, (4 + extra) * size * int64_t(sizeof(T))));
    if (!memory) return false;
    *r = {memory, memory + size, memory + 2 * size, memory + 3 * size, m};
    const bool last = lanes.base + m == n_;
    lanes.stage(m - 1, dl_, r->below);
    lanes.stage(m, d_, r->diagonal);
    lanes.stage(last ? m - 1 : m, du_, r->above);
    lanes.stage(m, b_, r->rhs);
    if (last)
      for (int i = 0; i < W; ++i) r->above[size - W + i] = 0;
    return true;
  }

  // Eliminates unknown k. `a` and `b` are the carried rows, then those left; visit(pivot row, its third coefficient, 1 / pivot).
  template <bool WithEnds>
  static TG_INLINE void eliminate(const Rows &r, int64_t k, int g, Carried &a, Carried &b, Carried *pivot, V *third, V *inverse) {
    const int64_t at = k * W + g * L::width;
    const V zero = L::splat(0), c_at = L::load(r.below + at), c_next = L::load(r.diagonal + at + W), c_third = L::load(r.above + at + W),
            c_rhs = L::load(r.rhs + at + W);
    // b: the carried row with the larger coefficient.
    const M swap = L::less(Block::magnitude(b.at), Block::magnitude(a.at));
    const Carried s = {WithEnds ? L::select(swap, b.before, a.before) : zero, WithEnds ? L::select(swap, b.first, a.first) : zero,
                       L::select(swap, b.at, a.at), L::select(swap, b.next, a.next), L::select(swap, b.rhs, a.rhs)};
    const Carried l = {WithEnds ? L::select(swap, a.before, b.before) : zero, WithEnds ? L::select(swap, a.first, b.first) : zero,
                       L::select(swap, a.at, b.at), L::select(swap, a.next, b.next), L::select(swap, a.rhs, b.rhs)};
    const M fresh = L::less(Block::magnitude(l.at), Block::magnitude(c_at));
    *pivot = {WithEnds ? L::select(fresh, zero, l.before) : zero, WithEnds ? L::select(fresh, zero, l.first) : zero,
              L::select(fresh, c_at, l.at), L::select(fresh, c_next, l.next), L::select(fresh, c_rhs, l.rhs)};
    *third = L::select(fresh, c_third, zero);
    *inverse = L::splat(1) / pivot->at;
    const V fs = s.at * *inverse, fo = L::select(fresh, l.at, c_at) * *inverse;
    if (WithEnds) {
      a.before = s.before - fs * pivot->before;
      a.first = s.first - fs * pivot->first;
      b.before = L::select(fresh, l.before, zero) - fo * pivot->before;
      b.first = L::select(fresh, l.first, zero) - fo * pivot->first;
    }
    a.at = s.next - fs * pivot->next;
    a.next = -fs * *third;
    a.rhs = s.rhs - fs * pivot->rhs;
    b.at = L::select(fresh, l.next, c_next) - fo * pivot->next;
    b.next = L::select(fresh, zero, c_third) - fo * *third;
    b.rhs = L::select(fresh, l.rhs, c_rhs) - fo * pivot->rhs;
  }

  // The block behind this one, bit by bit while this one is eliminated: the lanes' many streams are beyond the hardware's prefetching.
  TG_INLINE void fetch_ahead(int64_t base, int64_t k) const {
    const int64_t at = base + PITCH * W + k * W;
    if (at + W > n_ - 1) return;
    for (int64_t i = 0; i < W; i += 64 / int64_t(sizeof(T))) {
      __builtin_prefetch(dl_ + at + i);
      __builtin_prefetch(d_ + at + i);
      __builtin_prefetch(du_ + at + i);
      __builtin_prefetch(b_ + at + i);
    }
  }

  bool reduce(int64_t first, int64_t count, int64_t m) {
    const ChunkLanes<T> lanes(first, count, PITCH);
    Rows r;
    if (!stage(lanes, m, 0, &r)) return false;
    Carried a[G], b[G];
    M bad[G];
    for (int g = 0; g < G; ++g) {
      const auto row = [&](const T *p, int64_t k) { return L::load(p + k * W + g * L::width); };
      const V zero = L::splat(0);
      a[g] = {lanes.pick(dl_, g, -1), row(r.diagonal, 0), row(r.above, 0), zero, row(r.rhs, 0)};
      b[g] = {zero, row(r.below, 0), row(r.diagonal, 1), row(r.above, 1), row(r.rhs, 1)};
      bad[g] = L::none();
    }
    for (int64_t k = 1; k + 1 < m; ++k) {
      fetch_ahead(lanes.base, k);
      for (int g = 0; g < G; ++g) {
        Carried pivot;
        V third, inverse;
        eliminate<true>(r, k, g, a[g], b[g], &pivot, &third, &inverse);
        bad[g] = L::either(bad[g], L::equal(pivot.at, L::splat(0)));
      }
    }
    T out[2][5][W];
    for (int g = 0; g < G; ++g) {
      const Carried *rows[2] = {a + g, b + g};
      for (int i = 0; i < 2; ++i) {
        const V parts[5] = {rows[i]->before, rows[i]->first, rows[i]->at, rows[i]->next, rows[i]->rhs};
        for (int part = 0; part < 5; ++part) L::store(out[i][part] + g * L::width, parts[part]);
      }
    }
    for (int64_t c = 0; c < count; ++c)
      for (int i = 0; i < 2; ++i) rows_[2 * (first + c) + i] = {{out[i][0][c], out[i][1][c], out[i][2][c], out[i][3][c]}, out[i][4][c]};
    if (Block::bits(bad)) fail_();
    return true;
  }

  // The rows that the chunks left. Each chunk's two and one that comes from the front determine the unknown before and the chunk's first;
  // what is left of the third goes on. rows_ then holds the two that determine. A last pivot that is no more than the rounding of what it
  // is a sum of leaves the decision to elimination in order, too: a singular system seldom ends at exactly 0 (second differences with free
  // ends: 1 to 5 n roundings; with fixed ends 4e9 and more in double).
  bool join() {
    Row carried = {{1, 0, 0, 0}, 0}; // nothing in front
    double terms = 1;                // the magnitudes that carried.c[0] is a sum of, together
    for (int64_t c = 0; c < chunks_; ++c) {
      Row r[3] = {carried, rows_[2 * c], rows_[2 * c + 1]};
      double sizes[3];
      for (int i = 0; i < 3; ++i) sizes[i] = absolute(double(r[i].c[2]));
      for (int col = 0; col < 2; ++col) {
        int best = col;
        for (int i = col + 1; i < 3; ++i)
          if (absolute(double(r[best].c[col])) < absolute(double(r[i].c[col]))) best = i;
        const Row pivot = r[best];
        r[best] = r[col];
        r[col] = pivot;
        sizes[best] = sizes[col];
        if (!(absolute(double(pivot.c[col])) > 0)) return false;
        for (int i = col + 1; i < 3; ++i) {
          const T f = r[i].c[col] / pivot.c[col];
          sizes[i] += absolute(double(f * pivot.c[2]));
          for (int j = col + 1; j < 4; ++j) r[i].c[j] -= f * pivot.c[j];
          r[i].rhs -= f * pivot.rhs;
        }
      }
      rows_[2 * c] = r[0];
      rows_[2 * c + 1] = r[1];
      carried = {{r[2].c[2], r[2].c[3], 0, 0}, r[2].rhs};
      terms = sizes[2];
    }
    if (!(absolute(double(carried.c[0])) > double(std::numeric_limits<T>::epsilon()) * 16 * double(n_) * terms)) return false;
    T last = carried.rhs / carried.c[0], behind = 0;
    for (int64_t c = chunks_ - 1; c >= 0; --c) {
      const Row &p = rows_[2 * c], &q = rows_[2 * c + 1];
      const T first = (q.rhs - q.c[2] * last - q.c[3] * behind) / q.c[1];
      if (!(absolute(double(first)) < __builtin_inf() && absolute(double(last)) < __builtin_inf())) return false;
      ends_[c] = {first, last};
      last = (p.rhs - p.c[1] * first - p.c[2] * last - p.c[3] * behind) / p.c[0];
      behind = first;
    }
    return true;
  }

  bool substitute(int64_t first, int64_t count, int64_t m, T *x) {
    const ChunkLanes<T> lanes(first, count, PITCH);
    Rows r;
    if (!stage(lanes, m, 4, &r)) return false;
    T *inverse = r.rhs + m * W, *next = inverse + m * W, *third = next + m * W, *out = third + m * W;
    T before[W], front[W], back[W], behind[W];
    ChunkLanes<T>::each_lane(count, [&](int64_t lane, int64_t i) {
      const int64_t c = first + i;
      before[lane] = c > 0 ? ends_[c - 1].last : T(0);
      front[lane] = ends_[c].first;
      back[lane] = ends_[c].last;
      behind[lane] = c + 1 < chunks_ ? ends_[c + 1].first : T(0);
    });
    Carried a[G], b[G];
    for (int g = 0; g < G; ++g) {
      const auto row = [&](const T *p, int64_t k) { return L::load(p + k * W + g * L::width); };
      const V zero = L::splat(0), known = L::load(front + g * L::width);
      a[g] = {zero, zero, row(r.above, 0), zero,
              row(r.rhs, 0) - lanes.pick(dl_, g, -1) * L::load(before + g * L::width) - row(r.diagonal, 0) * known};
      b[g] = {zero, zero, row(r.diagonal, 1), row(r.above, 1), row(r.rhs, 1) - row(r.below, 0) * known};
    }
    for (int64_t k = 1; k + 1 < m; ++k) {
      fetch_ahead(lanes.base, k);
      for (int g = 0; g < G; ++g) {
        Carried pivot;
        V u2, u0;
        eliminate<false>(r, k, g, a[g], b[g], &pivot, &u2, &u0);
        const int64_t at = k * W + g * L::width;
        L::store(inverse + at, u0);
        L::store(next + at, pivot.next);
        L::store(third + at, u2);
        L::store(out + at, pivot.rhs);
      }
    }
    V after[G], after2[G];
    M finite[G];
    for (int g = 0; g < G; ++g) {
      after[g] = L::load(back + g * L::width);
      after2[g] = L::load(behind + g * L::width);
      finite[g] = L::all();
      L::store(out + (m - 1) * W + g * L::width, after[g]);
      L::store(out + g * L::width, L::load(front + g * L::width));
    }
    for (int64_t k = m - 2; k >= 1; --k)
      for (int g = 0; g < G; ++g) {
        const int64_t at = k * W + g * L::width;
        const V value = (L::load(out + at) - L::load(next + at) * after[g] - L::load(third + at) * after2[g]) * L::load(inverse + at);
        L::store(out + at, value);
        finite[g] = L::both(finite[g], L::less(Block::magnitude(value), L::splat(T(__builtin_inf()))));
        after2[g] = after[g];
        after[g] = value;
      }
    lanes.unstage(m, out, x);
    if (~Block::bits(finite) & EVERY) fail_();
    return true;
  }

  static constexpr uint64_t EVERY = (uint64_t(1) << W) - 1;
  const int64_t n_, chunks_;
  const T *dl_, *d_, *du_, *b_;
  int failed_ = 0;
  void *memory_ = nullptr;
  Row *rows_ = nullptr;
  Ends *ends_ = nullptr;
};

} // namespace
} // namespace tautgrad::cpu::TG_ISA
