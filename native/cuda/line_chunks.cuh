// Few long lines in chunks, a thread each; the result is bitwise that of a single walk (the argument: native/cpu/line_chunks.h).
//
// Every chunk is walked as if it were a line's begin, and one chunk's length further. Where two neighbours agree on two segments in a row,
// with bitwise equal and different values, the second one is right from there on, and before that the first one's ends take its place. A
// line with neighbours that do not meet is tried again in longer chunks, then it goes to the linear solver, whole.
#pragma once

#include "line_layout.cuh"

#include "../kernels/slope_line.h"

namespace tautgrad::cuda {
namespace {

// Ends of segments: value[at] where ended[at]. Each chunk has 2 * length entries: those of its own ground, then those beyond it.
template <class T> struct LineChunks {
  tg_lines g;
  int64_t lines, length, chunks; // chunks of one line
  T *value;
  uint8_t *ended;
  int32_t *apart;      // per line: its chunks did not meet
  const int32_t *only; // null, or nonzero for the lines to take
  int32_t *unfinished; // null, or the list of lines for another solver: their count, then their indices

  __device__ bool skips(int64_t line) const { return only && !only[line]; }
  __device__ void part(int64_t line) const {
    if (atomicExch(apart + line, 1) == 0 && unfinished) unfinished[1 + atomicAdd(unfinished, 1)] = static_cast<int32_t>(line);
  }
  __device__ int64_t first(int64_t line, int64_t chunk) const { return (line * chunks + chunk) * 2 * length; }
  __device__ int64_t left(int64_t chunk) const { return g.n - chunk * length; }
};

template <class T> __global__ void walk_chunks_kernel(LineChunks<T> c, const T *x, const T *lambda, const T *weights, int64_t budget) {
  for (int64_t e = global_thread(); e < c.lines * c.chunks; e += all_threads()) {
    const int64_t line = e / c.chunks, chunk = e % c.chunks, begin = chunk * c.length, step = c.g.inner, at = c.first(line, chunk);
    if (c.skips(line)) continue;
    const int64_t window = c.left(chunk) < 2 * c.length ? c.left(chunk) : 2 * c.length;
    const T *samples = x + line_start(c.g, line, c.g.n) + begin * step, bound = lambda[line];
    const T *edges = weights ? weights + line_start(c.g, line, c.g.n - 1) + begin * step : nullptr;
    const bool finished = slope_walk<T>(
        static_cast<int32_t>(window), begin + window < c.g.n, [&](int32_t k) { return samples[k * step]; },
        [&](int32_t k) { return edges ? T(edge_weight(bound, edges[(k - 1) * step])) : bound; },
        [&](int32_t, int32_t end, T level) {
          c.value[at + end - 1] = level;
          c.ended[at + end - 1] = 1;
        },
        budget);
    if (!finished) c.part(line);
  }
}

template <class T> __device__ inline bool same_bits(T a, T b) {
  const auto bytes_a = reinterpret_cast<const unsigned char *>(&a), bytes_b = reinterpret_cast<const unsigned char *>(&b);
  for (int k = 0; k < static_cast<int>(sizeof(T)); ++k)
    if (bytes_a[k] != bytes_b[k]) return false;
  return true;
}

// A thread per pair of neighbours. What one pair reads another never writes: pairs need no order.
template <class T> __global__ void join_chunks_kernel(LineChunks<T> c) {
  const int64_t pairs = c.chunks - 1;
  for (int64_t e = global_thread(); e < c.lines * pairs; e += all_threads()) {
    const int64_t line = e / pairs, chunk = e % pairs, ours = c.first(line, chunk) + c.length, theirs = c.first(line, chunk + 1);
    const int64_t left = c.left(chunk + 1), reach = left < c.length ? left : c.length;
    if (c.skips(line)) continue;
    int agreed = 0; // ends in a row: the first, then segments
    int64_t count = 0;
    T value = 0;
    for (int64_t k = 0; k < reach && agreed < 3; ++k) {
      const bool a = c.ended[ours + k], b = c.ended[theirs + k];
      if (!a && !b) continue;
      if (!a || !b) {
        agreed = 0;
        continue;
      }
      const T level = c.value[ours + k];
      if (agreed == 0 || !same_bits(level, c.value[theirs + k]))
        agreed = 1; // a common end; the segments before it may differ
      else if (agreed == 1)
        agreed = 2;
      else if (!same_bits(level, value))
        agreed = 3;
      value = level;
      count = k + 1;
    }
    if (agreed < 3) {
      // The first one may have come to the line's end instead: then it is right all the way.
      if (left > c.length) {
        c.part(line);
        continue;
      }
      count = left;
    }
    for (int64_t k = 0; k < count; ++k) {
      c.value[theirs + k] = c.value[ours + k];
      c.ended[theirs + k] = c.ended[ours + k];
    }
  }
}

// Every sample takes the value of the next end.
template <class T> __global__ void spread_chunks_kernel(LineChunks<T> c, T *y) {
  for (int64_t e = global_thread(); e < c.lines * c.chunks; e += all_threads()) {
    const int64_t line = e / c.chunks, chunk = e % c.chunks, begin = chunk * c.length, step = c.g.inner;
    if (c.skips(line) || c.apart[line]) continue;
    const int64_t count = c.left(chunk) < c.length ? c.left(chunk) : c.length;
    const auto entry = [&](int64_t k) { return c.first(line, k / c.length) + k % c.length; };
    int64_t next = begin + count - 1;
    while (next + 1 < c.g.n && !c.ended[entry(next)]) ++next;
    T level = c.value[entry(next)];
    T *out = y + line_start(c.g, line, c.g.n);
    for (int64_t k = begin + count - 1; k >= begin; --k) {
      const int64_t at = entry(k);
      if (c.ended[at]) level = c.value[at];
      out[k * step] = level;
    }
  }
}

constexpr int64_t LONG_LINE = 4096, LEAST_CHUNK = 256; // samples

// Samples of a chunk, so that few lines occupy the device; 0 where a thread per line does.
inline int64_t chunk_length(int64_t lines, int64_t n) {
  const int64_t threads = int64_t(multiprocessors()) * 64;
  if (n < LONG_LINE || lines >= threads / 2) return 0;
  const int64_t fair = ceil_div(lines * n, threads * 4);
  return fair > LEAST_CHUNK ? (fair + 31) / 32 * 32 : LEAST_CHUNK;
}

// One try in chunks of `length` samples. apart (of the caller), only, unfinished: see LineChunks.
template <class T>
int prox_chunks_of(int64_t length, const tg_lines &g, int64_t budget_per_sample, const T *x, const T *lambda, const T *weights, T *y,
                   int32_t *apart, const int32_t *only, int32_t *unfinished) {
  LineChunks<T> c = {g, g.outer * g.inner, length, ceil_div(g.n, length), nullptr, nullptr, apart, only, unfinished};
  const int64_t chunks = c.lines * c.chunks, entries = chunks * 2 * length;
  Scratch memory(entries * int64_t(sizeof(T) + 1));
  if (!memory.ok()) return fail("prox1d: out of memory for lines of %lld samples", (long long)g.n);
  c.value = memory.as<T>();
  c.ended = memory.as<uint8_t>(entries * int64_t(sizeof(T)));
  int status = check(cudaMemsetAsync(c.ended, 0, static_cast<size_t>(entries), compute_stream()), "prox1d");
  const dim3 grid = blocks_for(chunks, 64);
  if (status == TG_OK)
    status = run_kernel("prox1d", walk_chunks_kernel<T>, grid, 64, 0, c, x, lambda, weights, budget_per_sample * 2 * length + 64);
  if (status == TG_OK && c.chunks > 1) status = run_kernel("prox1d", join_chunks_kernel<T>, grid, 64, 0, c);
  return status == TG_OK ? run_kernel("prox1d", spread_chunks_kernel<T>, grid, 64, 0, c, y) : status;
}

template <class T>
int prox_chunks(const tg_lines &g, int64_t length, int64_t budget_per_sample, const T *x, const T *lambda, const T *weights, T *y,
                int32_t *unfinished) {
  const int64_t lines = g.outer * g.inner;
  Scratch apart(2 * lines * int64_t(sizeof(int32_t)));
  if (!apart.ok()) return fail("prox1d: out of memory for %lld lines", (long long)lines);
  int32_t *first = apart.as<int32_t>(), *second = first + lines;
  int status = check(cudaMemsetAsync(first, 0, static_cast<size_t>(2 * lines) * sizeof(int32_t), compute_stream()), "prox1d");
  if (status == TG_OK) status = prox_chunks_of(length, g, budget_per_sample, x, lambda, weights, y, first, nullptr, nullptr);
  if (status != TG_OK) return status;
  return prox_chunks_of(8 * length, g, budget_per_sample, x, lambda, weights, y, second, first, unfinished);
}

} // namespace
} // namespace tautgrad::cuda
