// prox1d and its Jacobian product on the GPU: one thread per line. Short lines live in shared memory while they are solved; long dense ones
// are read where they lie, 16 bytes at a time, which the first-level cache turns into whole lines; few long ones are cut (line_chunks.cuh).
// Lines on which the direct algorithm would rescan too often are listed and solved again by the linear taut string.
#include "launch.h"

#include "../kernels/projected_newton.h"
#include "../kernels/taut_string.h"
#include "line_chunks.cuh"
#include "line_ends.cuh"
#include "prox1d.h"

#include <cstdlib>
#include <cstring>

namespace tautgrad::cuda {
namespace {

constexpr int64_t BUDGET = 12; // visits per sample before the linear solver takes over: 3 is too tight (specification, §3.1)
constexpr int64_t FALLBACK_THREADS = 2048;
// Up to here rescanning costs at most this many visits per sample, and no line is given up: one launch does.
constexpr int64_t SHORT_LINE = 64;

// Width of the edge between samples k - 1 and k of a line.
template <class T> struct EdgeWidth {
  T lambda;
  const T *weights; // of the line's first edge, or nullptr
  int64_t step;
  __device__ T operator()(int32_t k) const { return weights ? T(edge_weight(lambda, weights[(k - 1) * step])) : lambda; }
};

template <class T> __device__ inline EdgeWidth<T> edges_of(const tg_lines &g, int64_t line, const T *lambda, const T *weights) {
  return {lambda[line], weights ? weights + line_start(g, line, g.n - 1) : nullptr, g.inner};
}

// Lines that the direct algorithm gave up on: their count, then their indices.
__device__ inline void give_up(int32_t *unfinished, int64_t line) { unfinished[1 + atomicAdd(unfinished, 1)] = static_cast<int32_t>(line); }

// Words of shared memory for the marks of a tile's line: an odd number, as with its samples.
__host__ __device__ inline int64_t tile_words(int64_t n) { return mark_words(n) | 1; }

template <class T>
__global__ void prox_tile_kernel(tg_lines g, int64_t lines, const T *x, const T *lambda, const T *weights, T *y, int32_t *unfinished) {
  T *tile = shared_memory<T>();
  const int64_t first = int64_t(blockIdx.x) * blockDim.x, pitch = tile_pitch(g.n);
  uint32_t *words = shared_memory<uint32_t>(blockDim.x * pitch * int64_t(sizeof(T))) + threadIdx.x * tile_words(g.n);
  load_tile(g, first, lines, x, tile);
  for (int64_t w = 0; w < mark_words(g.n); ++w) words[w] = 0;
  __syncthreads();
  const int64_t line = first + threadIdx.x;
  if (line < lines) {
    T *own = tile + threadIdx.x * pitch;
    // In place: a sample is never read again after its segment has ended.
    const int64_t budget = g.n <= SHORT_LINE ? g.n * g.n : BUDGET * g.n + 64;
    const bool finished = slope_walk<T>(
        static_cast<int32_t>(g.n), false, [&](int32_t k) { return own[k]; }, edges_of(g, line, lambda, weights),
        [&](int32_t, int32_t end, T level) {
          own[end - 1] = level;
          words[(end - 1) / 32] |= 1u << (end - 1) % 32;
        },
        budget);
    if (finished)
      fill_segments(g.n, words, 1, own, 1);
    else
      give_up(unfinished, line);
  }
  __syncthreads();
  store_tile(g, first, lines, tile, y);
}

// Reads a dense line 16 bytes at a time and keeps the last ones.
template <class T> struct Buffered {
  static constexpr int COUNT = 16 / int(sizeof(T));
  const T *x;
  int32_t block = -1;
  T kept[COUNT] = {};
  __device__ explicit Buffered(const T *x_) : x(x_) {}
  __device__ T operator()(int32_t k) {
    if (k / COUNT != block) {
      block = k / COUNT;
      const uint4 bytes = *reinterpret_cast<const uint4 *>(x + block * COUNT);
      memcpy(kept, &bytes, sizeof bytes);
    }
    T value = kept[0];
#pragma unroll
    for (int i = 1; i < COUNT; ++i) value = k % COUNT == i ? kept[i] : value; // an index would put them into memory
    return value;
  }
};

// Lines of [outer, n, inner] where they lie; marks: [lines, words], or, of lines side by side, [words, lines]. Dense lines are left to
// fill_rows_kernel. Wide: their begins are multiples of 16 bytes.
template <class T, bool Wide>
__global__ void prox_lines_kernel(tg_lines g, int64_t lines, const T *x, const T *lambda, const T *weights, T *y, uint32_t *marks,
                                  int32_t *unfinished) {
  const bool dense = g.inner == 1;
  for (int64_t line = global_thread(); line < lines; line += all_threads()) {
    const int64_t start = line_start(g, line, g.n), step = g.inner;
    T *out = y + start;
    Marks ends(dense ? marks + line * mark_words(g.n) : marks + line, dense ? 1 : lines);
    const auto emit = [&](int32_t, int32_t end, T level) {
      out[(end - 1) * step] = level;
      ends.set(end - 1);
    };
    bool finished;
    if (Wide) {
      Buffered<T> samples(x + start);
      finished = slope_walk<T>(
          static_cast<int32_t>(g.n), false, [&](int32_t k) { return samples(k); }, edges_of(g, line, lambda, weights), emit,
          BUDGET * g.n + 64);
    } else {
      finished = slope_walk<T>(
          static_cast<int32_t>(g.n), false, [&](int32_t k) { return x[start + k * step]; }, edges_of(g, line, lambda, weights), emit,
          BUDGET * g.n + 64);
    }
    ends.flush();
    if (!finished)
      give_up(unfinished, line);
    else if (!dense)
      fill_segments(g.n, ends.words, ends.step, out, step);
  }
}

template <class T>
int prox_in_place(const tg_lines &g, const T *x, const T *lambda, const T *weights, T *y, uint32_t *marks, int32_t *unfinished) {
  const int64_t lines = g.outer * g.inner;
  const bool wide = g.inner == 1 && g.n * int64_t(sizeof(T)) % 16 == 0 && reinterpret_cast<uintptr_t>(x) % 16 == 0;
  const int status = run_kernel("prox1d", wide ? prox_lines_kernel<T, true> : prox_lines_kernel<T, false>, blocks_for(lines, 64), 64, 0, g,
                                lines, x, lambda, weights, y, marks, unfinished);
  if (status != TG_OK || g.inner > 1) return status;
  return run_kernel("prox1d", fill_rows_kernel<T>, blocks_for(lines * 32), THREADS, 0, g.n, lines, marks, y);
}

// TAUTGRAD_CUDA_PROX1D=serial: a thread per line whatever the lines, for measurements.
bool chunked() {
  const char *wish = std::getenv("TAUTGRAD_CUDA_PROX1D");
  return !wish || std::strcmp(wish, "serial") != 0;
}

template <class T>
__global__ void prox_fallback_kernel(tg_lines g, const T *x, const T *lambda, const T *weights, T *y, const int32_t *unfinished,
                                     unsigned char *workspace) {
  const TautStringWorkspace own = TautStringWorkspace::at(workspace + global_thread() * TautStringWorkspace::bytes(g.n), g.n);
  for (int64_t u = global_thread(); u < unfinished[0]; u += all_threads()) {
    const int64_t line = unfinished[1 + u], start = line_start(g, line, g.n), step = g.inner;
    const EdgeWidth<T> edges = edges_of(g, line, lambda, weights);
    taut_string<(sizeof(T) > 4)>(
        static_cast<int32_t>(g.n), [&](int32_t i) { return double(x[start + i * step]); }, [&](int32_t k) { return double(edges(k)); },
        [&](int32_t begin, int32_t end, double value) {
          for (int32_t i = begin; i < end; ++i) y[start + i * step] = T(value);
        },
        own);
  }
}

} // namespace

template <class T> int prox_lines(const tg_lines &g, const T *x, const T *lambda, const T *weights, T *y) {
  const int64_t lines = g.outer * g.inner, total = lines * g.n;
  if (total == 0) return TG_OK;
  if (lines > 2147483647 || g.n > 2147483646)
    return fail("prox1d: %lld lines of %lld samples are more than this kernel counts", (long long)lines, (long long)g.n);
  const int tile_lines = lines_per_tile(g.n, sizeof(T));
  const int64_t chunk = chunked() ? chunk_length(lines, g.n) : 0,
                tile_bytes = tile_pitch(g.n) * sizeof(T) + tile_words(g.n) * sizeof(uint32_t);
  const auto solve_tiles = [&](int32_t *unfinished) {
    return run_kernel("prox1d", prox_tile_kernel<T>, dim3(static_cast<unsigned>(ceil_div(lines, tile_lines))), tile_lines,
                      tile_lines * tile_bytes, g, lines, x, lambda, weights, y, unfinished);
  };
  if (g.n <= SHORT_LINE) return solve_tiles(nullptr);

  // The linear solver's threads share half a gigabyte of work space at most.
  int64_t fallback = (int64_t(1) << 29) / TautStringWorkspace::bytes(g.n);
  fallback = fallback < 1 ? 1 : fallback < FALLBACK_THREADS ? fallback : FALLBACK_THREADS;
  fallback = fallback < lines ? fallback : lines;
  const int64_t threads = fallback < 64 ? fallback : 64, marks = chunk > 0 || tile_lines > 0 ? 0 : lines * mark_words(g.n);
  // The marks, then the list of lines that were given up: their count, which is cleared with the marks, and their indices.
  Scratch notes((marks + 1 + lines) * int64_t(sizeof(uint32_t))), workspace(fallback * TautStringWorkspace::bytes(g.n));
  if (!notes.ok() || !workspace.ok()) return fail("prox1d: out of memory for lines of %lld samples", (long long)g.n);
  int32_t *unfinished = notes.as<int32_t>() + marks;
  int status = zero(notes.as<void>(), (marks + 1) * int64_t(sizeof(uint32_t)), "prox1d");
  if (status == TG_OK && chunk > 0)
    status = prox_chunks(g, chunk, BUDGET, x, lambda, weights, y, unfinished);
  else if (status == TG_OK)
    status = tile_lines > 0 ? solve_tiles(unfinished) : prox_in_place(g, x, lambda, weights, y, notes.as<uint32_t>(), unfinished);
  if (status != TG_OK) return status;
  return run_kernel("prox1d", prox_fallback_kernel<T>, dim3(static_cast<unsigned>(fallback / threads)),
                    dim3(static_cast<unsigned>(threads)), 0, g, x, lambda, weights, y, unfinished, workspace.as<unsigned char>());
}

template int prox_lines<float>(const tg_lines &, const float *, const float *, const float *, float *);
template int prox_lines<double>(const tg_lines &, const double *, const double *, const double *, double *);

namespace {

int prox1d(int64_t dtype, const tg_lines *g, const void *x, const void *lambda, const void *weights, void *y) {
  return with_real(dtype, "prox1d", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return prox_lines<T>(*g, static_cast<const T *>(x), static_cast<const T *>(lambda), static_cast<const T *>(weights),
                         static_cast<T *>(y));
  });
}

// ---- the Jacobian product: means over runs of equal y ----

// As average_runs (kernels/segments.h), in two loops that all lanes of a warp go through together; out may be v.
template <class T> __device__ inline void average_evenly(int64_t n, const T *y, const T *v, T *out, int64_t step) {
  double base = 0, sum = 0;
  int32_t count = 0;
  T here = n > 0 ? y[0] : T(0);
  for (int64_t k = 0; k < n; ++k) {
    const double value = double(v[k * step]);
    base = count == 0 ? value : base;
    sum += value - base;
    ++count;
    const T next = k + 1 < n ? y[(k + 1) * step] : T(0);
    if (k + 1 == n || !(next == here)) {
      out[k * step] = T(base + sum / double(count));
      sum = 0;
      count = 0;
    }
    here = next;
  }
  T mean = 0;
  here = T(0);
  for (int64_t k = n - 1; k >= 0; --k) {
    const T own = y[k * step];
    if (k + 1 == n || !(own == here)) mean = out[k * step];
    out[k * step] = mean;
    here = own;
  }
}

template <class T> __global__ void average_tile_kernel(tg_lines g, int64_t lines, const T *y, const T *v, T *out) {
  T *levels = shared_memory<T>();
  const int64_t first = int64_t(blockIdx.x) * blockDim.x, pitch = tile_pitch(g.n);
  T *values = levels + blockDim.x * pitch;
  load_tile(g, first, lines, y, levels);
  load_tile(g, first, lines, v, values);
  __syncthreads();
  if (first + threadIdx.x < lines) {
    T *own = values + threadIdx.x * pitch;
    average_evenly(g.n, levels + threadIdx.x * pitch, own, own, 1);
  }
  __syncthreads();
  store_tile(g, first, lines, values, out);
}

template <class T> __global__ void average_kernel(tg_lines g, int64_t lines, const T *y, const T *v, T *out) {
  for (int64_t line = global_thread(); line < lines; line += all_threads()) {
    const int64_t start = line_start(g, line, g.n);
    average_evenly(g.n, y + start, v + start, out + start, g.inner);
  }
}

int prox1d_average(int64_t dtype, const tg_lines *g, const void *y, const void *v, void *out) {
  return with_real(dtype, "prox1d_average", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t lines = g->outer * g->inner;
    if (lines * g->n == 0) return static_cast<int>(TG_OK);
    const int tile_lines = lines_per_tile(g->n, 2 * sizeof(T));
    if (tile_lines > 0)
      return run_kernel("prox1d_average", average_tile_kernel<T>, dim3(static_cast<unsigned>(ceil_div(lines, tile_lines))), tile_lines,
                        2 * tile_lines * tile_pitch(g->n) * static_cast<int64_t>(sizeof(T)), *g, lines, static_cast<const T *>(y),
                        static_cast<const T *>(v), static_cast<T *>(out));
    return run_kernel("prox1d_average", average_kernel<T>, blocks_for(lines, 64), 64, 0, *g, lines, static_cast<const T *>(y),
                      static_cast<const T *>(v), static_cast<T *>(out));
  });
}

} // namespace

namespace {

// ---- projected Newton: a thread per line, in double ----

constexpr int64_t NEWTON_THREADS = 64;

template <class T>
__global__ void newton_kernel(tg_lines g, int64_t lines, const T *x, const T *lambda, const T *weights, double tolerance,
                              int64_t max_iterations, T *y, double *gap, unsigned char *workspace) {
  const NewtonWorkspace own = NewtonWorkspace::at(workspace + global_thread() * NewtonWorkspace::bytes(g.n), g.n);
  for (int64_t line = global_thread(); line < lines; line += all_threads()) {
    const int64_t start = line_start(g, line, g.n), edge = line_start(g, line, g.n - 1), step = g.inner;
    const double bound = double(lambda[line]);
    const double reached = projected_newton(
        g.n, [&](int64_t k) { return double(x[start + k * step]); },
        [&](int64_t k) { return edge_weight(bound, weights ? double(weights[edge + k * step]) : 1.0); }, tolerance, max_iterations, own);
    for (int64_t k = 0; k < g.n; ++k) y[start + k * step] = T(own.y[k]);
    if (gap) gap[line] = reached;
  }
}

int prox1d_newton(int64_t dtype, const tg_lines *g, const void *x, const void *lambda, const void *weights, double tolerance,
                  int64_t max_iterations, void *y, void *gap) {
  return with_real(dtype, "prox1d_newton", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t lines = g->outer * g->inner, per_thread = NewtonWorkspace::bytes(g->n);
    if (lines * g->n == 0) return static_cast<int>(TG_OK);
    // The threads share a gigabyte of work space at most.
    const int64_t most = (int64_t(1) << 30) / (per_thread * NEWTON_THREADS) + 1, wanted = ceil_div(lines, NEWTON_THREADS),
                  blocks = wanted < most ? wanted : most;
    Scratch workspace(blocks * NEWTON_THREADS * per_thread);
    if (!workspace.ok()) return fail("prox1d_newton: out of memory for lines of %lld samples", (long long)g->n);
    return run_kernel("prox1d_newton", newton_kernel<T>, dim3(static_cast<unsigned>(blocks)), static_cast<unsigned>(NEWTON_THREADS), 0, *g,
                      lines, static_cast<const T *>(x), static_cast<const T *>(lambda), static_cast<const T *>(weights), tolerance,
                      max_iterations, static_cast<T *>(y), static_cast<double *>(gap), workspace.as<unsigned char>());
  });
}

} // namespace

void register_prox1d(tg_backend *t) {
  t->prox1d_newton = prox1d_newton;
  t->prox1d = prox1d;
  t->prox1d_average = prox1d_average;
}

} // namespace tautgrad::cuda
