// Batched tridiagonal systems with LAPACK's meanings: one thread per system (native/kernels/tridiagonal.h); few long ones in chunks
// (tridiagonal_chunks.cuh, tridiagonal_factors.cuh).
#include "tridiagonal_factors.cuh"

#include "../kernels/tridiagonal.h"

namespace tautgrad::cuda {
namespace {

constexpr int SYSTEMS = 128; // threads of a block: few, so that few systems still spread over the multiprocessors

// System p of [outer, n, inner]: where its entries start in an array with `length` entries along the middle axis.
__device__ inline int64_t system_start(const tg_lines &l, int64_t p, int64_t length) {
  return p / l.inner * length * l.inner + p % l.inner;
}

// In all of these `serial` is null, or nonzero for the systems that are not done yet.
template <class T>
__global__ void pttrf_kernel(tg_lines l, const T *d, const T *e, T *d_out, T *l_out, int32_t *status, const int32_t *serial) {
  for (int64_t p = global_thread(); p < l.outer * l.inner; p += all_threads()) {
    if (serial && !serial[p]) {
      status[p] = 0;
      continue;
    }
    const int64_t at = system_start(l, p, l.n), off = system_start(l, p, l.n - 1);
    status[p] = pttrf(l.n, d + at, e + off, d_out + at, l_out + off, l.inner);
  }
}

template <class T> __global__ void pttrs_kernel(tg_lines g, const T *d, const T *l, const T *b, T *x, const int32_t *serial) {
  for (int64_t p = global_thread(); p < g.outer * g.inner; p += all_threads()) {
    if (serial && !serial[p]) continue;
    const int64_t at = system_start(g, p, g.n), off = system_start(g, p, g.n - 1);
    pttrs(g.n, d + at, l + off, b + at, x + at, g.inner);
  }
}

// work: 2 n per thread
template <class T>
__global__ void ptsv_kernel(tg_lines l, const T *d, const T *e, const T *b, T *x, int32_t *status, T *work, const int32_t *serial) {
  T *pivots = work + global_thread() * 2 * l.n;
  for (int64_t p = global_thread(); p < l.outer * l.inner; p += all_threads()) {
    if (serial && !serial[p]) {
      status[p] = 0;
      continue;
    }
    const int64_t at = system_start(l, p, l.n), off = system_start(l, p, l.n - 1);
    status[p] = ptsv(l.n, d + at, e + off, b + at, x + at, l.inner, pivots, pivots + l.n);
  }
}

// work: 3 n per thread
template <class T>
__global__ void gtsv_kernel(tg_lines l, const T *dl, const T *d, const T *du, const T *b, T *x, int32_t *status, T *work,
                            const int32_t *serial) {
  T *u = work + global_thread() * 3 * l.n;
  for (int64_t p = global_thread(); p < l.outer * l.inner; p += all_threads()) {
    if (serial && !serial[p]) {
      status[p] = 0;
      continue;
    }
    const int64_t at = system_start(l, p, l.n), off = system_start(l, p, l.n - 1);
    status[p] = gtsv(l.n, dl + off, d + at, du + off, b + at, x + at, l.inner, u, u + l.n, u + 2 * l.n);
  }
}

int64_t systems(const tg_lines &l) { return l.outer * l.inner; }

// Threads, at most one per system, whose working arrays stay below a quarter gigabyte where a block of them does.
struct Spread {
  dim3 grid;
  int threads; // of a block
  int64_t all() const { return int64_t(grid.x) * threads; }
};
Spread spread_within(const tg_lines &l, int64_t bytes_per_thread) {
  const int64_t threads = systems(l) < SYSTEMS ? systems(l) : SYSTEMS, wanted = ceil_div(systems(l), SYSTEMS);
  const int64_t most = (int64_t(1) << 28) / (bytes_per_thread * threads + 1) + 1;
  return {dim3(static_cast<unsigned>(wanted < most ? wanted : most)), static_cast<int>(threads)};
}

int pttrf(int64_t dtype, const tg_lines *l, const void *d, const void *e, void *d_out, void *l_out, void *status) {
  return with_real(dtype, "pttrf", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto in = [](const void *a) { return static_cast<const T *>(a); };
    const int64_t chunk = system_chunk(*l);
    Scratch serial(chunk > 0 ? systems(*l) * int64_t(sizeof(int32_t)) : 0);
    if (!serial.ok()) return fail("pttrf: out of memory for %lld systems", (long long)systems(*l));
    if (chunk > 0) {
      const int outcome =
          factor_in_chunks<T>(*l, chunk, in(d), in(e), static_cast<T *>(d_out), static_cast<T *>(l_out), serial.as<int32_t>());
      if (outcome != TG_OK) return outcome;
    }
    return run_kernel("pttrf", pttrf_kernel<T>, blocks_for(systems(*l), SYSTEMS), SYSTEMS, 0, *l, in(d), in(e), static_cast<T *>(d_out),
                      static_cast<T *>(l_out), static_cast<int32_t *>(status), chunk > 0 ? serial.as<int32_t>() : nullptr);
  });
}

int pttrs(int64_t dtype, const tg_lines *g, const void *d, const void *l, const void *b, void *x) {
  return with_real(dtype, "pttrs", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto in = [](const void *a) { return static_cast<const T *>(a); };
    const int64_t chunk = system_chunk(*g);
    Scratch serial(chunk > 0 ? systems(*g) * int64_t(sizeof(int32_t)) : 0);
    if (!serial.ok()) return fail("pttrs: out of memory for %lld systems", (long long)systems(*g));
    if (chunk > 0) {
      const int outcome = solve_in_chunks<T>(*g, chunk, in(d), in(l), in(b), static_cast<T *>(x), serial.as<int32_t>());
      if (outcome != TG_OK) return outcome;
    }
    return run_kernel("pttrs", pttrs_kernel<T>, blocks_for(systems(*g), SYSTEMS), SYSTEMS, 0, *g, in(d), in(l), in(b), static_cast<T *>(x),
                      chunk > 0 ? serial.as<int32_t>() : nullptr);
  });
}

int ptsv(int64_t dtype, const tg_lines *l, const void *d, const void *e, const void *b, void *x, void *status) {
  return with_real(dtype, "ptsv", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t per_thread = 2 * l->n * static_cast<int64_t>(sizeof(T));
    const Spread spread = spread_within(*l, per_thread);
    Scratch work(per_thread * spread.all());
    const int64_t chunk = system_chunk(*l);
    Scratch serial(chunk > 0 ? systems(*l) * int64_t(sizeof(int32_t)) : 0);
    if (!work.ok() || !serial.ok()) return fail("ptsv: out of memory for systems of %lld unknowns", (long long)l->n);
    if (chunk > 0) {
      const int outcome = solve_chunks<T>("ptsv", *l, chunk, true, static_cast<const T *>(e), static_cast<const T *>(d),
                                          static_cast<const T *>(e), static_cast<const T *>(b), static_cast<T *>(x), serial.as<int32_t>());
      if (outcome != TG_OK) return outcome;
    }
    return run_kernel("ptsv", ptsv_kernel<T>, spread.grid, spread.threads, 0, *l, static_cast<const T *>(d), static_cast<const T *>(e),
                      static_cast<const T *>(b), static_cast<T *>(x), static_cast<int32_t *>(status), work.as<T>(),
                      chunk > 0 ? serial.as<int32_t>() : nullptr);
  });
}

int gtsv(int64_t dtype, const tg_lines *l, const void *dl, const void *d, const void *du, const void *b, void *x, void *status) {
  return with_real(dtype, "gtsv", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t per_thread = 3 * l->n * static_cast<int64_t>(sizeof(T));
    const Spread spread = spread_within(*l, per_thread);
    Scratch work(per_thread * spread.all());
    const int64_t chunk = system_chunk(*l);
    Scratch serial(chunk > 0 ? systems(*l) * int64_t(sizeof(int32_t)) : 0);
    if (!work.ok() || !serial.ok()) return fail("gtsv: out of memory for systems of %lld unknowns", (long long)l->n);
    if (chunk > 0) {
      const int outcome = solve_chunks<T>("gtsv", *l, chunk, false, static_cast<const T *>(dl), static_cast<const T *>(d),
                                          static_cast<const T *>(du), static_cast<const T *>(b), static_cast<T *>(x), serial.as<int32_t>());
      if (outcome != TG_OK) return outcome;
    }
    return run_kernel("gtsv", gtsv_kernel<T>, spread.grid, spread.threads, 0, *l, static_cast<const T *>(dl), static_cast<const T *>(d),
                      static_cast<const T *>(du), static_cast<const T *>(b), static_cast<T *>(x), static_cast<int32_t *>(status),
                      work.as<T>(), chunk > 0 ? serial.as<int32_t>() : nullptr);
  });
}

} // namespace

void register_tridiagonal(tg_backend *t) {
  t->pttrf = pttrf;
  t->pttrs = pttrs;
  t->ptsv = ptsv;
  t->gtsv = gtsv;
}

} // namespace tautgrad::cuda
