// Batched tridiagonal solvers on the CPU: systems spread over threads.
#include "isa.h"
#include "parallel.h"

#include "../kernels/tridiagonal.h"

namespace tautgrad::cpu::TG_ISA {
namespace {

enum { SCRATCH_FACTORS = 0 };

// solve(system, offset of its first unknown, offset of its first off-diagonal entry)
template <class Solve> void each_system(const tg_lines &g, const Solve &solve) {
  const int64_t systems = g.outer * g.inner;
  if (g.n <= 0) return;
  int64_t per_block = 4096 / g.n;
  if (per_block < 1) per_block = 1;
  parallel_for((systems + per_block - 1) / per_block, [&](int64_t block) {
    const int64_t end = (block + 1) * per_block < systems ? (block + 1) * per_block : systems;
    for (int64_t s = block * per_block; s < end; ++s)
      solve(s, s / g.inner * g.n * g.inner + s % g.inner, s / g.inner * (g.n - 1) * g.inner + s % g.inner);
  });
}

template <class T> int pttrf_typed(const tg_lines &g, const T *d, const T *e, T *d_out, T *l_out, int32_t *status) {
  each_system(g, [&](int64_t s, int64_t at, int64_t edge) {
    status[s] = tautgrad::pttrf(g.n, d + at, e + edge, d_out + at, l_out + edge, g.inner);
  });
  return TG_OK;
}

template <class T> int pttrs_typed(const tg_lines &g, const T *d, const T *l, const T *b, T *x) {
  each_system(g, [&](int64_t, int64_t at, int64_t edge) { tautgrad::pttrs(g.n, d + at, l + edge, b + at, x + at, g.inner); });
  return TG_OK;
}

template <class T> int ptsv_typed(const tg_lines &g, const T *d, const T *e, const T *b, T *x, int32_t *status) {
  int out_of_memory = 0;
  each_system(g, [&](int64_t s, int64_t at, int64_t edge) {
    T *factors = static_cast<T *>(scratch(SCRATCH_FACTORS, 2 * g.n * int64_t(sizeof(T))));
    if (!factors) return __atomic_store_n(&out_of_memory, 1, __ATOMIC_RELAXED);
    status[s] = tautgrad::ptsv(g.n, d + at, e + edge, b + at, x + at, g.inner, factors, factors + g.n);
  });
  return out_of_memory ? fail("ptsv: out of memory for systems of %lld unknowns", (long long)g.n) : int(TG_OK);
}

template <class T> int gtsv_typed(const tg_lines &g, const T *dl, const T *d, const T *du, const T *b, T *x, int32_t *status) {
  int out_of_memory = 0;
  each_system(g, [&](int64_t s, int64_t at, int64_t edge) {
    T *u = static_cast<T *>(scratch(SCRATCH_FACTORS, 3 * g.n * int64_t(sizeof(T))));
    if (!u) return __atomic_store_n(&out_of_memory, 1, __ATOMIC_RELAXED);
    status[s] = tautgrad::gtsv(g.n, dl + edge, d + at, du + edge, b + at, x + at, g.inner, u, u + g.n, u + 2 * g.n);
  });
  return out_of_memory ? fail("gtsv: out of memory for systems of %lld unknowns", (long long)g.n) : int(TG_OK);
}

template <class T> const T *in(const void *p) { return static_cast<const T *>(p); }
template <class T> T *out(void *p) { return static_cast<T *>(p); }

int pttrf_entry(int64_t dtype, const tg_lines *g, const void *d, const void *e, void *d_out, void *l_out, void *status) {
  int32_t *s = out<int32_t>(status);
  if (dtype == TG_F32) return pttrf_typed(*g, in<float>(d), in<float>(e), out<float>(d_out), out<float>(l_out), s);
  return pttrf_typed(*g, in<double>(d), in<double>(e), out<double>(d_out), out<double>(l_out), s);
}

int pttrs_entry(int64_t dtype, const tg_lines *g, const void *d, const void *l, const void *b, void *x) {
  if (dtype == TG_F32) return pttrs_typed(*g, in<float>(d), in<float>(l), in<float>(b), out<float>(x));
  return pttrs_typed(*g, in<double>(d), in<double>(l), in<double>(b), out<double>(x));
}

int ptsv_entry(int64_t dtype, const tg_lines *g, const void *d, const void *e, const void *b, void *x, void *status) {
  int32_t *s = out<int32_t>(status);
  if (dtype == TG_F32) return ptsv_typed(*g, in<float>(d), in<float>(e), in<float>(b), out<float>(x), s);
  return ptsv_typed(*g, in<double>(d), in<double>(e), in<double>(b), out<double>(x), s);
}

int gtsv_entry(int64_t dtype, const tg_lines *g, const void *dl, const void *d, const void *du, const void *b, void *x, void *status) {
  int32_t *s = out<int32_t>(status);
  if (dtype == TG_F32) return gtsv_typed(*g, in<float>(dl), in<float>(d), in<float>(du), in<float>(b), out<float>(x), s);
  return gtsv_typed(*g, in<double>(dl), in<double>(d), in<double>(du), in<double>(b), out<double>(x), s);
}
} // namespace

void register_tridiagonal(tg_backend *t) {
  t->pttrf = pttrf_entry;
  t->pttrs = pttrs_entry;
  t->ptsv = ptsv_entry;
  t->gtsv = gtsv_entry;
}
} // namespace tautgrad::cpu::TG_ISA
