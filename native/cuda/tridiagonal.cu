// Batched tridiagonal systems with LAPACK's meanings: one thread per system (native/kernels/tridiagonal.h); few long ones are solved in
// chunks (tridiagonal_chunks.cuh), but not factored.
#include "tridiagonal_chunks.cuh"

#include "../kernels/tridiagonal.h"

namespace tautgrad::cuda {
namespace {

constexpr int SYSTEMS = 128; // threads of a block: few, so that few systems still spread over the multiprocessors

// System p of [outer, n, inner]: where its entries start in an array with `length` entries along the middle axis.
__device__ inline int64_t system_start(const tg_lines &l, int64_t p, int64_t length) {
  return p / l.inner * length * l.inner + p % l.inner;
}

template <class T> __global__ void pttrf_kernel(tg_lines l, const T *d, const T *e, T *d_out, T *l_out, int32_t *status) {
  for (int64_t p = global_thread(); p < l.outer * l.inner; p += all_threads()) {
    const int64_t at = system_start(l, p, l.n), off = system_start(l, p, l.n - 1);
    status[p] = pttrf(l.n, d + at, e + off, d_out + at, l_out + off, l.inner);
  }
}

template <class T> __global__ void pttrs_kernel(tg_lines g, const T *d, const T *l, const T *b, T *x) {
  for (int64_t p = global_thread(); p < g.outer * g.inner; p += all_threads()) {
    const int64_t at = system_start(g, p, g.n), off = system_start(g, p, g.n - 1);
    pttrs(g.n, d + at, l + off, b + at, x + at, g.inner);
  }
}

// work: 2 n per thread; serial: null, or nonzero for the systems that are not solved yet
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

// work: 3 n per thread; serial as above
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

// Threads, at most one per system, whose working arrays stay below a quarter gigabyte.
dim3 grid_within(const tg_lines &l, int64_t bytes_per_thread) {
  const int64_t most = (int64_t(1) << 28) / (bytes_per_thread * SYSTEMS + 1) + 1, wanted = ceil_div(systems(l), SYSTEMS);
  return dim3(static_cast<unsigned>(wanted < most ? wanted : most));
}

int pttrf(int64_t dtype, const tg_lines *l, const void *d, const void *e, void *d_out, void *l_out, void *status) {
  return with_real(dtype, "pttrf", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return run_kernel("pttrf", pttrf_kernel<T>, blocks_for(systems(*l), SYSTEMS), SYSTEMS, 0, *l, static_cast<const T *>(d),
                      static_cast<const T *>(e), static_cast<T *>(d_out), static_cast<T *>(l_out), static_cast<int32_t *>(status));
  });
}

int pttrs(int64_t dtype, const tg_lines *g, const void *d, const void *l, const void *b, void *x) {
  return with_real(dtype, "pttrs", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return run_kernel("pttrs", pttrs_kernel<T>, blocks_for(systems(*g), SYSTEMS), SYSTEMS, 0, *g, static_cast<const T *>(d),
                      static_cast<const T *>(l), static_cast<const T *>(b), static_cast<T *>(x));
  });
}

int ptsv(int64_t dtype, const tg_lines *l, const void *d, const void *e, const void *b, void *x, void *status) {
  return with_real(dtype, "ptsv", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t per_thread = 2 * l->n * static_cast<int64_t>(sizeof(T));
    const dim3 grid = grid_within(*l, per_thread);
    Scratch work(per_thread * grid.x * SYSTEMS);
    const int64_t chunk = system_chunk(*l);
    Scratch serial(chunk > 0 ? systems(*l) * int64_t(sizeof(int32_t)) : 0);
    if (!work.ok() || !serial.ok()) return fail("ptsv: out of memory for systems of %lld unknowns", (long long)l->n);
    if (chunk > 0) {
      const int outcome = solve_chunks<T>("ptsv", *l, chunk, true, static_cast<const T *>(e), static_cast<const T *>(d),
                                          static_cast<const T *>(e), static_cast<const T *>(b), static_cast<T *>(x), serial.as<int32_t>());
      if (outcome != TG_OK) return outcome;
    }
    return run_kernel("ptsv", ptsv_kernel<T>, grid, SYSTEMS, 0, *l, static_cast<const T *>(d), static_cast<const T *>(e),
                      static_cast<const T *>(b), static_cast<T *>(x), static_cast<int32_t *>(status), work.as<T>(),
                      chunk > 0 ? serial.as<int32_t>() : nullptr);
  });
}

int gtsv(int64_t dtype, const tg_lines *l, const void *dl, const void *d, const void *du, const void *b, void *x, void *status) {
  return with_real(dtype, "gtsv", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t per_thread = 3 * l->n * static_cast<int64_t>(sizeof(T));
    const dim3 grid = grid_within(*l, per_thread);
    Scratch work(per_thread * grid.x * SYSTEMS);
    const int64_t chunk = system_chunk(*l);
    Scratch serial(chunk > 0 ? systems(*l) * int64_t(sizeof(int32_t)) : 0);
    if (!work.ok() || !serial.ok()) return fail("gtsv: out of memory for systems of %lld unknowns", (long long)l->n);
    if (chunk > 0) {
      const int outcome = solve_chunks<T>("gtsv", *l, chunk, false, static_cast<const T *>(dl), static_cast<const T *>(d),
                                          static_cast<const T *>(du), static_cast<const T *>(b), static_cast<T *>(x), serial.as<int32_t>());
      if (outcome != TG_OK) return outcome;
    }
    return run_kernel("gtsv", gtsv_kernel<T>, grid, SYSTEMS, 0, *l, static_cast<const T *>(dl), static_cast<const T *>(d),
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
