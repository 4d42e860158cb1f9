// Reductions and running sums along the middle axis of [outer, n, inner]. How a line is cut depends on the shape alone, and the parts are
// combined in order: the result does not depend on how blocks are scheduled. Sums of float32 are carried in float32 inside a thread and
// in float64 between threads and blocks.
#include "launch.h"

#include "../kernels/scalar_math.h"

namespace tautgrad::cuda {
namespace {

template <class T> struct carrier { using type = double; };
template <> struct carrier<int32_t> { using type = uint32_t; }; // wraps without undefined behaviour
template <> struct carrier<uint8_t> { using type = uint32_t; };

template <class T> __host__ __device__ constexpr T lowest() {
  if constexpr (is_real_type<T>::value)
    return T(-INFINITY);
  else
    return sizeof(T) == 1 ? T(0) : T(-2147483647 - 1);
}
template <class T> __host__ __device__ constexpr T highest() {
  if constexpr (is_real_type<T>::value)
    return T(INFINITY);
  else
    return sizeof(T) == 1 ? T(255) : T(2147483647);
}

template <class T> struct Sum {
  using A = typename carrier<T>::type;
  __device__ static A start() { return A(0); }
  __device__ static A join(A a, A b) { return a + b; }
};
template <class T> struct Product {
  using A = typename carrier<T>::type;
  __device__ static A start() { return A(1); }
  __device__ static A join(A a, A b) { return a * b; }
};
template <class T, bool Largest> struct Extreme {
  using A = T;
  __device__ static A start() { return Largest ? lowest<T>() : highest<T>(); }
  __device__ static A join(A a, A b) { return (Largest ? a > b : a < b) || a != a ? a : b; }
};

// One value per warp lane -> the fold of all of them, in every lane.
template <class Fold> __device__ typename Fold::A fold_warp(typename Fold::A a) {
  for (int distance = 16; distance > 0; distance /= 2) a = Fold::join(a, __shfl_xor_sync(0xffffffffu, a, distance));
  return a;
}

// inner = 1: `parts` blocks per line, each thread strides through its part; y or the partial results, [outer, parts].
template <class T, class Fold, class Out>
__global__ void rows_kernel(int64_t n, int64_t part, int64_t parts, int64_t total, const T *x, Out *y) {
  using A = typename Fold::A;
  __shared__ A warps[THREADS / 32];
  for (int64_t b = blockIdx.x; b < total; b += gridDim.x) {
    const int64_t o = b / parts, begin = b % parts * part, end = begin + part < n ? begin + part : n;
    const T *line = x + o * n;
    A a = Fold::start();
    for (int64_t k = begin + threadIdx.x; k < end; k += THREADS) a = Fold::join(a, static_cast<A>(line[k]));
    a = fold_warp<Fold>(a);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = a;
    __syncthreads();
    if (threadIdx.x < 32) {
      a = threadIdx.x < THREADS / 32 ? warps[threadIdx.x] : Fold::start();
      a = fold_warp<Fold>(a);
      if (threadIdx.x == 0) y[b] = static_cast<Out>(a);
    }
    __syncthreads();
  }
}

// Short lines: one warp each.
template <class T, class Fold> __global__ void short_rows_kernel(int64_t n, int64_t outer, const T *x, T *y) {
  using A = typename Fold::A;
  const int64_t warps = all_threads() / 32, per_pass = ceil_div(outer, warps);
  for (int64_t pass = 0; pass < per_pass; ++pass) {
    const int64_t o = pass * warps + global_thread() / 32;
    A a = Fold::start();
    if (o < outer)
      for (int64_t k = threadIdx.x % 32; k < n; k += 32) a = Fold::join(a, static_cast<A>(x[o * n + k]));
    a = fold_warp<Fold>(a);
    if (o < outer && threadIdx.x % 32 == 0) y[o] = static_cast<T>(a);
  }
}

// inner > 1: a thread per column and part; neighbouring threads read neighbouring columns. Result [outer, parts, inner].
template <class T, class Fold, class Out>
__global__ void columns_kernel(int64_t n, int64_t inner, int64_t part, int64_t parts, int64_t total, const T *x, Out *y) {
  using A = typename Fold::A;
  for (int64_t p = global_thread(); p < total; p += all_threads()) {
    const int64_t i = p % inner, row = p / inner, o = row / parts, begin = row % parts * part, end = begin + part < n ? begin + part : n;
    A a = Fold::start();
    for (int64_t k = begin; k < end; ++k) a = Fold::join(a, static_cast<A>(x[(o * n + k) * inner + i]));
    y[p] = static_cast<Out>(a);
  }
}

// The second stage: partial results [outer, parts, inner] in order.
template <class T, class Fold>
__global__ void join_kernel(int64_t parts, int64_t inner, int64_t total, const typename Fold::A *partial, T *y) {
  for (int64_t p = global_thread(); p < total; p += all_threads()) {
    const int64_t o = p / inner, i = p % inner;
    typename Fold::A a = Fold::start();
    for (int64_t s = 0; s < parts; ++s) a = Fold::join(a, partial[(o * parts + s) * inner + i]);
    y[p] = static_cast<T>(a);
  }
}

constexpr int64_t PART = 8192; // elements of a line that one block folds

template <class T, class Fold> int reduce_with(const tg_lines *lines, const T *x, T *y) {
  using A = typename Fold::A;
  const int64_t n = lines->n, outer = lines->outer, inner = lines->inner, results = outer * inner;
  if (inner == 1) {
    if (n <= 1024) return run_kernel("reduce", short_rows_kernel<T, Fold>, blocks_for(outer * 32), THREADS, 0, n, outer, x, y);
    const int64_t parts = outer >= 512 ? 1 : ceil_div(n, PART), part = parts == 1 ? n : PART, total = outer * parts;
    const dim3 grid(static_cast<unsigned>(total < (1 << 24) ? total : 1 << 24));
    if (parts == 1) return run_kernel("reduce", rows_kernel<T, Fold, T>, grid, THREADS, 0, n, part, parts, total, x, y);
    Scratch partial(total * static_cast<int64_t>(sizeof(A)));
    if (!partial.ok()) return fail("reduce: out of memory for %lld lines of %lld", (long long)outer, (long long)n);
    const int status = run_kernel("reduce", rows_kernel<T, Fold, A>, grid, THREADS, 0, n, part, parts, total, x, partial.as<A>());
    if (status != TG_OK) return status;
    return run_kernel("reduce", join_kernel<T, Fold>, blocks_for(results), THREADS, 0, parts, inner, results, partial.as<A>(), y);
  }
  // Enough threads to fill the device, at least 64 elements each.
  int64_t parts = results >= (1 << 16) ? 1 : ceil_div(n, 64);
  const int64_t most = ceil_div(1 << 17, results);
  parts = parts < most ? parts : most;
  if (parts < 1) parts = 1;
  const int64_t part = ceil_div(n > 0 ? n : 1, parts);
  if (parts == 1)
    return run_kernel("reduce", columns_kernel<T, Fold, T>, blocks_for(results), THREADS, 0, n, inner, part, parts, results, x, y);
  const int64_t total = results * parts;
  Scratch partial(total * static_cast<int64_t>(sizeof(A)));
  if (!partial.ok()) return fail("reduce: out of memory for %lld lines of %lld", (long long)results, (long long)n);
  const int status =
      run_kernel("reduce", columns_kernel<T, Fold, A>, blocks_for(total), THREADS, 0, n, inner, part, parts, total, x, partial.as<A>());
  if (status != TG_OK) return status;
  return run_kernel("reduce", join_kernel<T, Fold>, blocks_for(results), THREADS, 0, parts, inner, results, partial.as<A>(), y);
}

// The first position of the extreme; the first NaN, if there is one. A warp per line.
template <class T, bool Largest> struct Position {
  T value;
  int32_t at; // -1: nothing yet
  __device__ bool before(const Position &other) const {
    if (at < 0 || other.at < 0) return other.at < 0;
    const bool nan = value != value, other_nan = other.value != other.value;
    if (nan || other_nan) return nan && (!other_nan || at < other.at);
    if (value != other.value) return Largest ? value > other.value : value < other.value;
    return at < other.at;
  }
};

template <class T, bool Largest> __global__ void position_kernel(int64_t n, int64_t inner, int64_t results, const T *x, int32_t *y) {
  const int64_t warps = all_threads() / 32, passes = ceil_div(results, warps);
  for (int64_t pass = 0; pass < passes; ++pass) {
    const int64_t p = pass * warps + global_thread() / 32;
    Position<T, Largest> best = {T(0), -1};
    if (p < results) {
      const T *line = x + p / inner * n * inner + p % inner;
      for (int64_t k = threadIdx.x % 32; k < n; k += 32) {
        const Position<T, Largest> here = {line[k * inner], static_cast<int32_t>(k)};
        if (here.before(best)) best = here;
      }
    }
    for (int distance = 16; distance > 0; distance /= 2) {
      const Position<T, Largest> other = {static_cast<T>(__shfl_xor_sync(0xffffffffu, best.value, distance)),
                                          __shfl_xor_sync(0xffffffffu, best.at, distance)};
      if (other.before(best)) best = other;
    }
    if (p < results && threadIdx.x % 32 == 0) y[p] = best.at < 0 ? 0 : best.at;
  }
}

int reduce(int64_t op, int64_t dtype, const tg_lines *lines, const void *x_, void *y_) {
  return with_dtype(dtype, "reduce", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T *x = static_cast<const T *>(x_);
    T *y = static_cast<T *>(y_);
    const int64_t results = lines->outer * lines->inner;
    if (results == 0) return static_cast<int>(TG_OK);
    switch (op) {
    case TG_SUM:
      return reduce_with<T, Sum<T>>(lines, x, y);
    case TG_PROD:
      return reduce_with<T, Product<T>>(lines, x, y);
    case TG_REDUCE_MIN:
      return reduce_with<T, Extreme<T, false>>(lines, x, y);
    case TG_REDUCE_MAX:
      return reduce_with<T, Extreme<T, true>>(lines, x, y);
    case TG_ARG_MIN:
      return run_kernel("reduce", position_kernel<T, false>, blocks_for(results * 32), THREADS, 0, lines->n, lines->inner, results, x,
                        static_cast<int32_t *>(y_));
    case TG_ARG_MAX:
      return run_kernel("reduce", position_kernel<T, true>, blocks_for(results * 32), THREADS, 0, lines->n, lines->inner, results, x,
                        static_cast<int32_t *>(y_));
    }
    return fail("reduce: unknown operation %d", static_cast<int>(op));
  });
}

// ---- running sums ----

// inner = 1: one warp per line walks it in steps of 32.
template <class T> __global__ void cumsum_rows_kernel(int64_t n, int64_t outer, bool reverse, const T *x, T *y) {
  using A = typename carrier<T>::type;
  const int lane = threadIdx.x % 32;
  const int64_t warps = all_threads() / 32, passes = ceil_div(outer, warps);
  for (int64_t pass = 0; pass < passes; ++pass) {
    const int64_t o = pass * warps + global_thread() / 32;
    const bool there = o < outer;
    A carry = 0;
    for (int64_t k0 = 0; k0 < n; k0 += 32) {
      const int64_t step = k0 + lane, k = o * n + (reverse ? n - 1 - step : step);
      A a = there && step < n ? static_cast<A>(x[k]) : A(0);
      for (int distance = 1; distance < 32; distance *= 2) {
        const A before = __shfl_up_sync(0xffffffffu, a, distance);
        if (lane >= distance) a += before;
      }
      a += carry;
      if (there && step < n) y[k] = static_cast<T>(a);
      carry = __shfl_sync(0xffffffffu, a, 31);
    }
  }
}

template <class T> __global__ void cumsum_columns_kernel(int64_t n, int64_t inner, int64_t columns, bool reverse, const T *x, T *y) {
  using A = typename carrier<T>::type;
  for (int64_t p = global_thread(); p < columns; p += all_threads()) {
    const int64_t base = p / inner * n * inner + p % inner;
    A a = 0;
    for (int64_t step = 0; step < n; ++step) {
      const int64_t k = base + (reverse ? n - 1 - step : step) * inner;
      a += static_cast<A>(x[k]);
      y[k] = static_cast<T>(a);
    }
  }
}

int cumsum(int64_t dtype, const tg_lines *lines, int64_t reverse, const void *x, void *y) {
  return with_dtype(dtype, "cumsum", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t columns = lines->outer * lines->inner;
    if (lines->inner == 1)
      return run_kernel("cumsum", cumsum_rows_kernel<T>, blocks_for(lines->outer * 32), THREADS, 0, lines->n, lines->outer, reverse != 0,
                        static_cast<const T *>(x), static_cast<T *>(y));
    return run_kernel("cumsum", cumsum_columns_kernel<T>, blocks_for(columns), THREADS, 0, lines->n, lines->inner, columns, reverse != 0,
                      static_cast<const T *>(x), static_cast<T *>(y));
  });
}

} // namespace

void register_reduce(tg_backend *t) {
  t->reduce = reduce;
  t->cumsum = cumsum;
}

} // namespace tautgrad::cuda
