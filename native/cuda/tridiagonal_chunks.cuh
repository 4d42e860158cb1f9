// Few long tridiagonal systems, cut into chunks by separators (Wang 1981): a thread eliminates a chunk's interior, x = g - w x_left -
// v x_right with its neighbouring separators, one thread a system solves for the separators, a thread an unknown puts them in.
//
// No rows are interchanged. That is safe for positive definite matrices. Of a general system the solution is looked at: where some row is
// off by more than rounding, or it is as large as a singular matrix makes it, the system is marked and left to the serial solver, which
// interchanges rows and also finds the pivot that fails.
#pragma once

#include "line_layout.cuh"

namespace tautgrad::cuda {
namespace {

template <class T> constexpr T ROUNDING = sizeof(T) == 4 ? T(1.2e-7) : T(2.3e-16);
template <class T> __device__ inline T magnitude(T a) { return a < 0 ? -a : a; }

template <class T> struct SystemChunks {
  tg_lines g;
  int64_t systems, length, chunks; // the last row of every chunk but the last one is a separator
  bool definite;                   // positive definite is what the system must be
  const T *below, *diagonal, *above, *b;
  T *x, *w, *v, *values; // [systems, n]
  T *uppers, *reduced;   // [systems, chunks]
  T *largest;            // [systems, chunks]: |b|; then, first of a system, what no diagonal d times x of it may exceed
  int32_t *serial;       // [systems]: left to the serial solver

  __device__ bool fails(T pivot) const { return definite ? !(pivot > 0) : pivot == 0 || pivot != pivot; }
};

template <class T> __global__ void eliminate_chunks_kernel(SystemChunks<T> c) {
  for (int64_t t = global_thread(); t < c.systems * c.chunks; t += all_threads()) {
    const int64_t p = t / c.chunks, chunk = t % c.chunks, step = c.g.inner, n = c.g.n, begin = chunk * c.length;
    const int64_t end = chunk + 1 < c.chunks ? begin + c.length - 1 : n; // of the interior
    const T *d = c.diagonal + line_start(c.g, p, n), *b = c.b + line_start(c.g, p, n);
    const T *low = c.below + line_start(c.g, p, n - 1), *high = c.above + line_start(c.g, p, n - 1);
    T *w = c.w + p * n, *v = c.v + p * n, *values = c.values + p * n;
    bool good = true;
    T carry_w = 0, carry_g = 0, carry_u = 0, largest = 0;
    for (int64_t k = begin; k <= end && k < n; ++k) largest = magnitude(b[k * step]) > largest ? magnitude(b[k * step]) : largest;
    c.largest[t] = largest;
    for (int64_t k = begin; k < end; ++k) {
      const T below = k > 0 ? low[(k - 1) * step] : T(0), pivot = k > begin ? d[k * step] - below * carry_u : d[k * step];
      good = good && !c.fails(pivot);
      carry_u = k + 1 < n ? high[k * step] / pivot : T(0);
      carry_w = (k > begin ? -below * carry_w : below) / pivot;
      carry_g = (k > begin ? b[k * step] - below * carry_g : b[k * step]) / pivot;
      w[k] = carry_w;
      v[k] = carry_u;
      values[k] = carry_g;
    }
    for (int64_t k = end - 2; k >= begin; --k) {
      const T u = v[k];
      w[k] -= u * w[k + 1];
      values[k] -= u * values[k + 1];
      v[k] = -u * v[k + 1];
    }
    if (!good) atomicExch(c.serial + p, 1);
  }
}

template <class T> __global__ void separators_kernel(SystemChunks<T> c) {
  for (int64_t p = global_thread(); p < c.systems; p += all_threads()) {
    if (c.serial[p]) continue;
    const int64_t step = c.g.inner, n = c.g.n, count = c.chunks - 1;
    const T *d = c.diagonal + line_start(c.g, p, n), *b = c.b + line_start(c.g, p, n);
    const T *low = c.below + line_start(c.g, p, n - 1), *high = c.above + line_start(c.g, p, n - 1);
    const T *w = c.w + p * n, *v = c.v + p * n, *values = c.values + p * n;
    T *upper = c.uppers + p * c.chunks, *out = c.reduced + p * c.chunks;
    T carry_u = 0, carry = 0, largest = 0;
    bool good = true;
    for (int64_t j = 0; j <= count; ++j) largest = c.largest[p * c.chunks + j] > largest ? c.largest[p * c.chunks + j] : largest;
    c.largest[p * c.chunks] = largest / (16 * T(sqrt(double(n))) * ROUNDING<T>);
    for (int64_t j = 0; j < count; ++j) {
      const int64_t r = (j + 1) * c.length - 1; // the row; its neighbours are the last of chunk j and the first of chunk j + 1
      const T below = low[(r - 1) * step], above = high[r * step], left = -below * w[r - 1];
      const T pivot = d[r * step] - below * v[r - 1] - above * w[r + 1] - (j > 0 ? left * carry_u : T(0));
      good = good && !c.fails(pivot);
      carry_u = -above * v[r + 1] / pivot;
      carry = (b[r * step] - below * values[r - 1] - above * values[r + 1] - (j > 0 ? left * carry : T(0))) / pivot;
      upper[j] = carry_u;
      out[j] = carry;
    }
    for (int64_t j = count - 2; j >= 0; --j) out[j] -= upper[j] * out[j + 1];
    if (!good) c.serial[p] = 1;
  }
}

template <class T> __global__ void insert_separators_kernel(SystemChunks<T> c) {
  for (int64_t e = global_thread(); e < c.systems * c.g.n; e += all_threads()) {
    const int64_t p = e / c.g.n, k = e % c.g.n, chunk = k / c.length;
    if (c.serial[p]) continue;
    const T *out = c.reduced + p * c.chunks;
    T value;
    if (chunk + 1 < c.chunks && k % c.length == c.length - 1) {
      value = out[chunk];
    } else {
      value = c.values[e];
      if (chunk > 0) value -= c.w[e] * out[chunk - 1];
      if (chunk + 1 < c.chunks) value -= c.v[e] * out[chunk];
    }
    c.x[line_start(c.g, p, c.g.n) + k * c.g.inner] = value;
  }
}

// A row that is off by more than the rounding of its terms gives the system to the serial solver (so do NaN and infinity).
template <class T> __global__ void system_residual_kernel(SystemChunks<T> c) {
  for (int64_t e = global_thread(); e < c.systems * c.g.n; e += all_threads()) {
    const int64_t p = e / c.g.n, k = e % c.g.n, step = c.g.inner, n = c.g.n, at = line_start(c.g, p, n) + k * step;
    if (c.serial[p]) continue;
    const int64_t edge = line_start(c.g, p, n - 1) + k * step;
    const T terms[4] = {c.b[at], -c.diagonal[at] * c.x[at], k > 0 ? -c.below[edge - step] * c.x[at - step] : T(0),
                        k + 1 < n ? -c.above[edge] * c.x[at + step] : T(0)};
    T sum = 0, size = 0;
    for (int i = 0; i < 4; ++i) {
      sum += terms[i];
      size += magnitude(terms[i]);
    }
    if (!(magnitude(sum) <= 16 * ROUNDING<T> * size && magnitude(terms[1]) <= c.largest[p * c.chunks])) atomicExch(c.serial + p, 1);
  }
}

constexpr int64_t LONG_SYSTEM = 512; // unknowns: from here on a system is cut, where there are few

// Rows of a chunk: about as many as there are chunks, which share the serial part; 0 where a thread per system does.
inline int64_t system_chunk(const tg_lines &g) {
  if (g.n < LONG_SYSTEM || g.outer * g.inner >= int64_t(multiprocessors()) * 32) return 0;
  int64_t length = 16;
  while (length * length < g.n) length *= 2;
  return length;
}

// Solves what it can; serial (of the caller, [systems]): nonzero for the systems that are left.
template <class T>
int solve_chunks(const char *name, const tg_lines &g, int64_t length, bool definite, const T *below, const T *diagonal, const T *above,
                 const T *b, T *x, int32_t *serial) {
  SystemChunks<T> c = {
      g, g.outer * g.inner, length, ceil_div(g.n, length), definite, below, diagonal, above, b, x, {}, {}, {}, {}, {}, {}, serial};
  const auto lay_out = [&](Pieces *m) {
    for (T **array : {&c.w, &c.v, &c.values}) *array = m->take<T>(c.systems * g.n);
    for (T **array : {&c.uppers, &c.reduced, &c.largest}) *array = m->take<T>(c.systems * c.chunks);
  };
  Pieces count;
  lay_out(&count);
  Scratch memory(count.used);
  if (!memory.ok()) return fail("%s: out of memory for systems of %lld unknowns", name, (long long)g.n);
  Pieces pieces{0, memory.as<unsigned char>()};
  lay_out(&pieces);
  int status = zero(serial, c.systems * int64_t(sizeof(int32_t)), name);
  if (status == TG_OK) status = run_kernel(name, eliminate_chunks_kernel<T>, blocks_for(c.systems * c.chunks, 64), 64, 0, c);
  if (status == TG_OK) status = run_kernel(name, separators_kernel<T>, blocks_for(c.systems, 64), 64, 0, c);
  const dim3 unknowns = blocks_for(c.systems * g.n);
  if (status == TG_OK) status = run_kernel(name, insert_separators_kernel<T>, unknowns, THREADS, 0, c);
  return status == TG_OK && !definite ? run_kernel(name, system_residual_kernel<T>, unknowns, THREADS, 0, c) : status;
}

} // namespace
} // namespace tautgrad::cuda
