// Long lines in chunks, one chunk per SIMD lane, tiles of chunks over threads; the result is bitwise that of a single walk.
//
// After the end of a segment the walk depends only on where it ended and in which direction. So every chunk starts as if it were a line's
// begin, and runs past its end into the next chunk's ground. Where both agree on two segments in a row, with bitwise equal and different
// values, they agree on the last end and direction too, and the next chunk is right from there on. By induction from the line's begin
// all chunks are joined. Where two chunks do not meet, larger ones are tried, and at last the linear-time solver.
#pragma once

#include "line_lanes.h"
#include "line_tiles.h"
#include "memory.h"
#include "parallel.h"

namespace tautgrad::cpu::TG_ISA {
namespace {

enum { LONG_LINE = 8192 };  // samples: from here on a line is cut
enum { MEDIUM_LINE = 256 }; // from here on where lines are few: so few that uncut they would leave most lanes idle
template <class T> constexpr int64_t FEW_LINES = Lanes<T>::width / 4;
enum class Chunks { solved, apart, out_of_memory };

template <class T> class ChunkedLine {
public:
  ChunkedLine(int64_t n, int64_t stride, const T *x, T lambda, const T *weights, T *y, int64_t chunk, int64_t overlap, int scratch_slot)
      : n_(n), stride_(stride), x_(x), lambda_(lambda), weights_(weights), y_(y), chunk_(chunk), overlap_(overlap),
        chunks_((n + chunk - 1) / chunk), slot_(scratch_slot) {}

  Chunks solve() {
    // events_: the marked ends of each chunk's own ground; beyond_: those of its overlap.
    T *memory = static_cast<T *>(pool_alloc((chunks_ * (chunk_ + overlap_) + 64) * int64_t(sizeof(T)) + chunks_ * int64_t(sizeof(T))));
    if (!memory) return Chunks::out_of_memory;
    events_ = memory;
    beyond_ = events_ + chunks_ * chunk_;
    carry_ = beyond_ + chunks_ * overlap_;
    constexpr int64_t lanes = 2 * Lanes<T>::width;
    int failed = 0;
    parallel_for((chunks_ + lanes - 1) / lanes, [&](int64_t tile) {
      if (__atomic_load_n(&failed, __ATOMIC_RELAXED)) return; // all or nothing
      const int64_t first = tile * lanes, count = chunks_ - first < lanes ? chunks_ - first : lanes;
      int outcome = walk(first, count);
      for (int64_t c = first; c + 1 < first + count && !outcome; ++c) outcome = !join(c);
      if (outcome) __atomic_store_n(&failed, outcome, __ATOMIC_RELAXED);
    });
    Chunks result = failed == 1 ? Chunks::apart : failed == 2 ? Chunks::out_of_memory : Chunks::solved;
    for (int64_t c = lanes - 1; c + 1 < chunks_ && result == Chunks::solved; c += lanes) // between tiles
      if (!join(c)) result = Chunks::apart;
    if (result == Chunks::solved) spread();
    pool_release(memory);
    return result;
  }

private:
  // 0, 1: lines left unfinished, 2: out of memory
  int walk(int64_t first, int64_t count) {
    const int64_t window = chunk_ + overlap_ + 1;
    const int32_t stride = tile_stride<T>(window);
    const int64_t size = count * stride + 64, arrays = weights_ ? 3 : 2;
    T *memory = static_cast<T *>(scratch(slot_, (arrays * size + 16) * int64_t(sizeof(T)) + PieceList<T>::bytes(count) +
                                                    count * int64_t(sizeof(UnfinishedLine<T>))));
    if (!memory) return 2;
    T *samples = memory + 16, *out = samples + size, *widths = weights_ ? out + size : nullptr;
    UnfinishedLine<T> *unfinished = reinterpret_cast<UnfinishedLine<T> *>(memory + arrays * size);
    LineTile<T> tile{stride, samples, widths, out, PieceList<T>::at(unfinished + count, count), 0, true, unfinished, 0};
    for (int i = 1; i <= 4; ++i) {
      samples[-i] = 0;
      if (widths) widths[-i] = 0;
    }
    for (int64_t i = 0; i < count; ++i) {
      const int64_t begin = (first + i) * chunk_, left = n_ - begin;
      const bool open = left > chunk_ + overlap_;
      const int64_t length = open ? window : left;
      tile.pieces.add_line(int32_t(i) * stride, int32_t(length), open, lambda_);
      T *to = samples + i * stride;
      if (stride_ == 1)
        __builtin_memcpy(to, x_ + begin, size_t(length) * sizeof(T));
      else
        for (int64_t k = 0; k < length; ++k) to[k] = x_[(begin + k) * stride_];
      if (widths)
        for (int64_t k = 0; k < length; ++k) {
          const T w = begin + k + 1 < n_ ? weights_[(begin + k) * stride_] : T(0);
          widths[i * stride + k] = w == 0 ? T(0) : lambda_ * w;
        }
    }
    mark_unset(out, count * stride);
    if (weights_)
      walk_lines<T, true, true>(tile);
    else
      walk_lines<T, false, true>(tile);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t c = first + i, left = n_ - c * chunk_;
      copy(out + i * stride, left < chunk_ ? left : chunk_, events_ + c * chunk_);
      const int64_t rest = left - chunk_ < overlap_ ? left - chunk_ : overlap_;
      if (rest > 0) copy(out + i * stride + chunk_, rest, beyond_ + c * overlap_);
    }
    return tile.unfinished_count ? 1 : 0;
  }

  static void copy(const T *from, int64_t count, T *to) { __builtin_memcpy(to, from, size_t(count) * sizeof(T)); }

  static bool same(T a, T b) { return __builtin_memcmp(&a, &b, sizeof(T)) == 0; }

  // Replaces chunk c + 1's own beginning by what chunk c found there, up to where they meet.
  bool join(int64_t c) {
    T *theirs = events_ + (c + 1) * chunk_;
    const T *ours = beyond_ + c * overlap_;
    const int64_t left = n_ - (c + 1) * chunk_, reach = left < overlap_ ? left : overlap_;
    int agreed = 0; // ends in a row: the first, then segments
    T value = T(0);
    for (int64_t k = 0; k < reach; ++k) {
      const bool a = !is_unset(ours[k]), b = !is_unset(theirs[k]);
      if (!a && !b) continue;
      if (!a || !b) {
        agreed = 0;
        continue;
      }
      const bool equal = same(ours[k], theirs[k]);
      if (agreed == 0 || !equal)
        agreed = 1; // a common end; the segments before it may differ
      else if (agreed == 1)
        agreed = 2;
      else if (!same(ours[k], value))
        agreed = 3;
      value = ours[k];
      if (agreed == 3) {
        copy(ours, k + 1, theirs);
        return true;
      }
    }
    // Both may have come to the line's end instead: then chunk c is right all the way.
    if (left > overlap_) return false;
    copy(ours, left, theirs);
    return true;
  }

  void spread() {
    // What fills the end of each chunk is the next end behind it.
    for (int64_t c = chunks_ - 1; c >= 0; --c) {
      const int64_t behind = c + 1;
      carry_[c] = T(0);
      if (behind == chunks_) continue;
      const int64_t left = n_ - behind * chunk_, count = left < chunk_ ? left : chunk_;
      int64_t k = 0;
      while (k < count && is_unset(events_[behind * chunk_ + k])) ++k;
      carry_[c] = k < count ? events_[behind * chunk_ + k] : carry_[behind];
    }
    parallel_for(chunks_, [&](int64_t c) {
      T *own = events_ + c * chunk_;
      const int64_t left = n_ - c * chunk_, count = left < chunk_ ? left : chunk_;
      if (is_unset(own[count - 1])) own[count - 1] = carry_[c];
      if (stride_ == 1) return fill_row(count, own, y_ + c * chunk_);
      fill_row(count, own, own);
      for (int64_t k = 0; k < count; ++k) y_[(c * chunk_ + k) * stride_] = own[k];
    });
  }

  const int64_t n_, stride_;
  const T *x_;
  const T lambda_;
  const T *weights_;
  T *y_;
  const int64_t chunk_, overlap_, chunks_;
  const int slot_;
  T *events_ = nullptr, *beyond_ = nullptr, *carry_ = nullptr;
};

// Chunks that fill the lanes, first with short overlaps, then with long ones.
template <class T> Chunks prox_long_line(int64_t n, int64_t stride, const T *x, T lambda, const T *weights, T *y, int scratch_slot) {
  int64_t chunk = (n / 64 + 63) / 64 * 64;
  if (chunk > 4096) chunk = 4096;
  Chunks result = ChunkedLine<T>(n, stride, x, lambda, weights, y, chunk, chunk / 8, scratch_slot).solve();
  if (result != Chunks::apart) return result;
  chunk *= 4;
  return ChunkedLine<T>(n, stride, x, lambda, weights, y, chunk, chunk / 2, scratch_slot).solve();
}

// A line that is alone or nearly so: a chunk to a lane, or half as many where those are too short to meet. Not where it is cut at its jumps
// (line_pieces.h) into pieces enough for all lanes. Chunks of noise meet, most of them, after some 25 samples for each mean difference in
// lambda; they are made no shorter than `reach` samples for each.
template <class T>
Chunks prox_medium_line(int64_t n, int64_t stride, const T *x, T lambda, const T *weights, T *y, int64_t reach, int scratch_slot) {
  constexpr int64_t lanes = 2 * Lanes<T>::width;
  constexpr int64_t sums = 16;
  T parts[sums] = {}, variation = 0;
  int64_t jumps = 0;
  for (int64_t k = 1; k < n; k += sums) {
    const int64_t count = n - k < sums ? n - k : sums;
    for (int64_t i = 0; i < count; ++i) {
      const T step = absolute(x[(k + i) * stride] - x[(k + i - 1) * stride]);
      parts[i] += step;
      jumps += step > 4 * lambda;
    }
    if (!weights && jumps > lanes) return Chunks::apart;
  }
  for (const T part : parts) variation += part;
  for (int64_t count = lanes; count >= lanes / 2; count /= 2) {
    const int64_t chunk = (n + count - 1) / count;
    if (!(T(chunk) * variation >= T(reach) * lambda * T(n))) continue;
    const Chunks result = ChunkedLine<T>(n, stride, x, lambda, weights, y, chunk, chunk, scratch_slot).solve();
    if (result != Chunks::apart) return result;
  }
  return Chunks::apart;
}

} // namespace
} // namespace tautgrad::cpu::TG_ISA
