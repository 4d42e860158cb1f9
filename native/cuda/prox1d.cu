// prox1d and its Jacobian product on the GPU: one thread per line. Short lines live in shared memory while they are solved; long dense
// ones in a transposed copy, so that neighbouring threads read neighbouring addresses; few long ones are cut (line_chunks.cuh). Lines on
// which the direct algorithm would rescan too often are listed and solved again by the linear taut string.
#include "launch.h"

#include "../kernels/projected_newton.h"
#include "../kernels/segments.h"
#include "../kernels/taut_string.h"
#include "line_chunks.cuh"
#include "prox1d.h"

#include <cstdlib>
#include <cstring>

namespace tautgrad::cuda {
namespace {

constexpr int64_t BUDGET = 12; // visits per sample before the linear solver takes over: 3 is too tight (specification, §3.1)
constexpr int64_t FALLBACK_THREADS = 2048;

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

template <class T>
__global__ void prox_tile_kernel(tg_lines g, int64_t lines, const T *x, const T *lambda, const T *weights, T *y, int32_t *unfinished) {
  T *tile = shared_memory<T>();
  const int64_t first = int64_t(blockIdx.x) * blockDim.x, pitch = tile_pitch(g.n);
  load_tile(g, first, lines, x, tile);
  __syncthreads();
  const int64_t line = first + threadIdx.x;
  if (line < lines) {
    T *own = tile + threadIdx.x * pitch;
    if (!slope_line(static_cast<int32_t>(g.n), own, 1, edges_of(g, line, lambda, weights), own, 1, BUDGET * g.n + 64))
      give_up(unfinished, line);
  }
  __syncthreads();
  store_tile(g, first, lines, tile, y);
}

// Samples of a line lie `step` apart, lines start `start_step` apart within a plane (interleaved: 1).
template <class T>
__global__ void prox_interleaved_kernel(tg_lines g, int64_t lines, Interleaved at, const T *x, const T *lambda, const T *weights, T *y,
                                        int32_t *unfinished) {
  for (int64_t line = global_thread(); line < lines; line += all_threads()) {
    const int64_t start = at.start(line);
    if (!slope_line(static_cast<int32_t>(g.n), x + start, at.step, edges_of(g, line, lambda, weights), y + start, at.step,
                    BUDGET * g.n + 64))
      give_up(unfinished, line);
  }
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

// TAUTGRAD_CUDA_PROX1D=serial: a thread per line whatever the lines, for measurements.
bool chunked() {
  const char *wish = std::getenv("TAUTGRAD_CUDA_PROX1D");
  return !wish || std::strcmp(wish, "serial") != 0;
}

} // namespace

template <class T> int prox_lines(const tg_lines &g, const T *x, const T *lambda, const T *weights, T *y) {
  const int64_t lines = g.outer * g.inner, total = lines * g.n;
  if (total == 0) return TG_OK;
  if (lines > 2147483647 || g.n > 2147483646)
    return fail("prox1d: %lld lines of %lld samples are more than this kernel counts", (long long)lines, (long long)g.n);
  // The linear solver's threads share half a gigabyte of work space at most.
  int64_t fallback = (int64_t(1) << 29) / TautStringWorkspace::bytes(g.n);
  fallback = fallback < 1 ? 1 : fallback < FALLBACK_THREADS ? fallback : FALLBACK_THREADS;
  fallback = fallback < lines ? fallback : lines;
  const int64_t threads = fallback < 64 ? fallback : 64;
  Scratch list((lines + 1) * static_cast<int64_t>(sizeof(int32_t))), workspace(fallback * TautStringWorkspace::bytes(g.n));
  if (!list.ok() || !workspace.ok()) return fail("prox1d: out of memory for lines of %lld samples", (long long)g.n);
  int status = zero(list.as<void>(), sizeof(int32_t), "prox1d");
  if (status != TG_OK) return status;

  const int tile_lines = lines_per_tile(g.n, sizeof(T));
  const int64_t chunk = chunked() ? chunk_length(lines, g.n) : 0;
  if (chunk > 0) {
    status = prox_chunks(g, chunk, BUDGET, x, lambda, weights, y, list.as<int32_t>());
  } else if (tile_lines > 0) {
    status =
        run_kernel("prox1d", prox_tile_kernel<T>, dim3(static_cast<unsigned>(ceil_div(lines, tile_lines))), tile_lines,
                   tile_lines * tile_pitch(g.n) * static_cast<int64_t>(sizeof(T)), g, lines, x, lambda, weights, y, list.as<int32_t>());
  } else if (g.inner == 1 && lines > 1) {
    Scratch turned(total * static_cast<int64_t>(sizeof(T)));
    if (!turned.ok()) return fail("prox1d: out of memory for lines of %lld samples", (long long)g.n);
    T *t = turned.as<T>();
    status = transpose(x, t, lines, g.n);
    if (status == TG_OK)
      status = run_kernel("prox1d", prox_interleaved_kernel<T>, blocks_for(lines, 64), 64, 0, g, lines, Interleaved{lines, g.n, lines}, t,
                          lambda, weights, t, list.as<int32_t>());
    if (status == TG_OK) status = transpose(t, y, g.n, lines);
  } else {
    status = run_kernel("prox1d", prox_interleaved_kernel<T>, blocks_for(lines, 64), 64, 0, g, lines, Interleaved{g.inner, g.n, g.inner}, x,
                        lambda, weights, y, list.as<int32_t>());
  }
  if (status != TG_OK) return status;
  return run_kernel("prox1d", prox_fallback_kernel<T>, dim3(static_cast<unsigned>(fallback / threads)),
                    dim3(static_cast<unsigned>(threads)), 0, g, x, lambda, weights, y, list.as<int32_t>(), workspace.as<unsigned char>());
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

template <class T> __global__ void average_tile_kernel(tg_lines g, int64_t lines, const T *y, const T *v, T *out) {
  T *levels = shared_memory<T>();
  const int64_t first = int64_t(blockIdx.x) * blockDim.x, pitch = tile_pitch(g.n);
  T *values = levels + blockDim.x * pitch;
  load_tile(g, first, lines, y, levels);
  load_tile(g, first, lines, v, values);
  __syncthreads();
  if (first + threadIdx.x < lines) {
    T *own = values + threadIdx.x * pitch;
    average_runs(g.n, levels + threadIdx.x * pitch, own, own, 1);
  }
  __syncthreads();
  store_tile(g, first, lines, values, out);
}

template <class T> __global__ void average_kernel(tg_lines g, int64_t lines, const T *y, const T *v, T *out) {
  for (int64_t line = global_thread(); line < lines; line += all_threads()) {
    const int64_t start = line_start(g, line, g.n);
    average_runs(g.n, y + start, v + start, out + start, g.inner);
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
