// Segments of a line as a walk along it leaves them: the level where a segment ends, and a bit for that sample. A second pass then fills
// all samples. A walk that filled its segments itself would keep the other lanes of its warp waiting for every one of them.
#pragma once

#include "line_layout.cuh"

#include "../kernels/slope_line.h"

namespace tautgrad::cuda {
namespace {

constexpr int64_t MARK_BITS = 32;
__host__ __device__ inline int64_t mark_words(int64_t n) { return (n + MARK_BITS - 1) / MARK_BITS; }

// The bits of one line, `step` words apart, zeros at first. Segments end in order: a word is complete when the next one begins.
struct Marks {
  uint32_t *words;
  int64_t step;
  uint32_t bits;
  int32_t word;
  __device__ Marks(uint32_t *words_, int64_t step_) : words(words_), step(step_), bits(0), word(0) {}
  __device__ void set(int32_t sample) {
    if (sample / 32 != word) {
      flush();
      word = sample / 32;
      bits = 0;
    }
    bits |= 1u << sample % 32;
  }
  __device__ void flush() const { words[word * step] = bits; }
};

// Fills one line by one thread, from the last sample on.
template <class T> __device__ inline void fill_segments(int64_t n, const uint32_t *words, int64_t word_step, T *y, int64_t step) {
  T level = 0;
  for (int64_t w = mark_words(n) - 1; w >= 0; --w) {
    const uint32_t bits = words[w * word_step];
    const int last = static_cast<int>(n - w * MARK_BITS < MARK_BITS ? n - w * MARK_BITS : MARK_BITS) - 1;
#pragma unroll 8
    for (int k = last; k >= 0; --k) {
      T *at = y + (w * MARK_BITS + k) * step;
      if (bits >> k & 1u) level = *at;
      *at = level;
    }
  }
}

// Fills dense lines, a warp each; marks: [lines, mark_words(n)].
template <class T> __global__ void fill_rows_kernel(int64_t n, int64_t lines, const uint32_t *marks, T *y) {
  const int64_t warps = all_threads() / 32, words = mark_words(n);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int64_t line = global_thread() / 32; line < lines; line += warps) {
    T carry = 0;
#pragma unroll 4
    for (int64_t w = words - 1; w >= 0; --w) {
      const int64_t k = w * MARK_BITS + lane;
      const uint32_t ahead = marks[line * words + w] >> lane; // ends at this sample or behind it
      const T own = ahead & 1u ? y[line * n + k] : T(0);
      const T found = __shfl_sync(0xffffffffu, own, ahead ? lane + __ffs(static_cast<int>(ahead)) - 1 : lane);
      const T level = ahead ? found : carry;
      if (k < n) y[line * n + k] = level;
      carry = __shfl_sync(0xffffffffu, level, 0);
    }
  }
}

} // namespace
} // namespace tautgrad::cuda
