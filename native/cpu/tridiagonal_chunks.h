// One long tridiagonal system cut into chunks, one chunk per SIMD lane, blocks of lanes over threads. How a system is cut depends on its
// size only.
#pragma once

#include "../kernels/tridiagonal.h"
#include "memory.h"
#include "parallel.h"
#include "tridiagonal_lanes.h"

namespace tautgrad::cpu::TG_ISA {
namespace {

enum { SCRATCH_FACTORS = 2, SCRATCH_STAGED = 3 };
enum { LONG_SYSTEM = 4096 }; // unknowns: from here on a system is cut
// refused: not positive definite, or not well enough; elimination in order decides.
enum class Long { solved, refused, out_of_memory };

// An odd number of cache lines or half lines, so that the lanes' chunks do not crowd into a few cache sets.
inline int64_t chunk_pitch(int64_t n) { return n < (1 << 16) ? 248 : 504; }

// One chunk per lane: `count` chunks of equal length, `pitch` apart, from offset `base` on. Lanes without a chunk repeat the last.
template <class T> struct ChunkLanes {
  using Block = SystemBlock<T>;
  using L = Lanes<T>;
  using V = typename L::V;
  static constexpr int G = LANE_GROUPS, W = Block::width;
  int64_t base, count, pitch;
  int32_t at[G][L::width];

  ChunkLanes(int64_t first, int64_t chunks, int64_t pitch) : base(first * pitch), count(chunks), pitch(pitch) {
    for (int lane = 0; lane < W; ++lane) at[lane / L::width][lane % L::width] = int32_t((lane < count ? lane : count - 1) * pitch);
  }
  // p[base + chunk offset + k] of every lane
  V pick(const T *p, int g, int64_t k) const {
    T one[L::width];
    for (int i = 0; i < L::width; ++i) one[i] = base + at[g][i] + k < 0 ? T(0) : p[base + at[g][i] + k];
    return L::load(one);
  }
  // What the lanes of the block behind will read at k: their streams are more than the hardware foresees.
  TG_INLINE void fetch_behind(const T *p, int64_t k) const {
    constexpr int64_t LINE = 64 / int64_t(sizeof(T));
    if (k % LINE > 3) return; // asked every four elements
    for (int g = 0; g < G; ++g)
      for (int i = 0; i < L::width; ++i) __builtin_prefetch(p + base + at[g][i] + W * pitch + k);
  }
  // n >= 4 elements into the order of the lanes, and back.
  void stage(int64_t n, const T *p, T *to) const {
    for (int g = 0; g < G; ++g)
      for (int64_t k = 0; k < n; k += 4) {
        if (k + 4 > n) k = n - 4;
        const Quad<T> q = load_quad(p + base + k, at[g]);
        for (int t = 0; t < 4; ++t) L::store(to + (k + t) * W + g * L::width, q.v[t]);
      }
  }
  void unstage(int64_t n, const T *from, T *p) const {
    for (int g = 0; g < G; ++g)
      for (int64_t k = 0; k < n; k += 4) {
        if (k + 4 > n) k = n - 4;
        Quad<T> q;
        for (int t = 0; t < 4; ++t) q.v[t] = L::load(from + (k + t) * W + g * L::width);
        store_quad(p + base + k, at[g], q);
      }
  }
  // change(lane, its chunk within the block); the lanes that repeat the last chunk must do so to the end
  template <class Change> static void each_lane(int64_t count, const Change &change) {
    for (int64_t i = 0; i < W; ++i) change(i, i < count ? i : count - 1);
  }
};

// What passes through a chunk falls geometrically, the faster the more dominant the diagonal. Below this share it is dropped; long before
// it is subnormal, which some processors are slow at. Most chunks then need a look at their two ends only in the first pass.
template <class T> constexpr T SPENT = sizeof(T) == 4 ? T(1e-11) : T(1e-20);
template <class T, class V> TG_INLINE V unless_spent(V v, V spent) {
  using L = Lanes<T>;
  return L::select(L::less(L::max(v, -v), spent), L::splat(0), v);
}
template <class T, class V> bool all_zero(const V *v) {
  using L = Lanes<T>;
  unsigned other = 0;
  for (int g = 0; g < LANE_GROUPS; ++g) other |= ~L::bits(L::equal(v[g], L::splat(0))) & ((1u << L::width) - 1);
  return other == 0;
}

// task(first chunk, chunks) for blocks of lanes, and single(chunk) for the last chunk, which is longer. Both return whether memory
// sufficed.
template <class T, class Task, class Single> bool each_block(int64_t chunks, const Task &task, const Single &single) {
  constexpr int64_t W = SystemBlock<T>::width;
  const int64_t equal = chunks - 1, blocks = (equal + W - 1) / W;
  int out_of_memory = 0;
  parallel_for(blocks + 1, [&](int64_t i) {
    const int64_t left = equal - i * W;
    if (!(i < blocks ? task(i * W, left < W ? left : W) : single(equal))) __atomic_store_n(&out_of_memory, 1, __ATOMIC_RELAXED);
  });
  return out_of_memory == 0;
}

} // namespace
} // namespace tautgrad::cpu::TG_ISA
