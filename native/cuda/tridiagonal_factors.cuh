// Few long positive definite systems, factored and solved by their factors in chunks, a thread each; what passes from chunk to chunk is
// worked out by one thread a system. No chunk's own rounding is trusted blindly: where the two ways to a separator's pivot differ, or where
// a chunk amplifies what enters it, the system is marked and left to the serial kernel.
#pragma once

#include "tridiagonal_chunks.cuh"

namespace tautgrad::cuda {
namespace {

// ---- pttrf ----
// The last row of every chunk but the last one is a separator. With a chunk's interior eliminated, its separators are left with
//   pivot_c = d - back_c - across_c^2 / (pivot_{c-1} - front_c),
// the pivots that elimination in order arrives at; every chunk then starts from the pivot before it.
template <class T> struct FactorChunks {
  tg_lines g;
  int64_t systems, length, chunks;
  const T *d, *e;
  T *d_out, *l_out;
  T *back, *front, *across, *pivot; // [systems, chunks]
  int32_t *serial;                  // [systems]: left to the serial kernel
};

template <class T> __global__ void factor_ends_kernel(FactorChunks<T> c) {
  for (int64_t t = global_thread(); t < c.systems * c.chunks; t += all_threads()) {
    const int64_t p = t / c.chunks, chunk = t % c.chunks, step = c.g.inner, begin = chunk * c.length, end = begin + c.length - 1;
    if (chunk + 1 == c.chunks) continue;
    const T *d = c.d + line_start(c.g, p, c.g.n), *e = c.e + line_start(c.g, p, c.g.n - 1);
    T pivot = d[begin * step], through = chunk > 0 ? e[(begin - 1) * step] : T(0), front = through / pivot * through;
    bool good = pivot > 0;
    for (int64_t k = begin + 1; k < end; ++k) {
      const T off = e[(k - 1) * step], l = off / pivot;
      pivot = d[k * step] - l * off;
      good = good && pivot > 0;
      through *= -l;
      front += through / pivot * through;
    }
    const T off = e[(end - 1) * step];
    c.back[t] = off / pivot * off;
    c.front[t] = front;
    c.across[t] = off / pivot * through;
    if (!good) atomicExch(c.serial + p, 1);
  }
}

template <class T> __global__ void factor_separators_kernel(FactorChunks<T> c) {
  for (int64_t p = global_thread(); p < c.systems; p += all_threads()) {
    if (c.serial[p]) continue;
    const T *d = c.d + line_start(c.g, p, c.g.n);
    T before = 1;
    bool good = true;
    for (int64_t chunk = 0; chunk + 1 < c.chunks; ++chunk) {
      const int64_t t = p * c.chunks + chunk;
      T pivot = d[((chunk + 1) * c.length - 1) * c.g.inner] - c.back[t];
      if (chunk > 0) {
        const T left = before - c.front[t];
        good = good && left > 0;
        pivot -= c.across[t] / left * c.across[t];
      }
      good = good && pivot > 0;
      c.pivot[t] = before = pivot;
    }
    if (!good) c.serial[p] = 1;
  }
}

template <class T> __global__ void factor_chunks_kernel(FactorChunks<T> c) {
  for (int64_t t = global_thread(); t < c.systems * c.chunks; t += all_threads()) {
    const int64_t p = t / c.chunks, chunk = t % c.chunks, step = c.g.inner, n = c.g.n, begin = chunk * c.length;
    if (c.serial[p]) continue;
    const bool last = chunk + 1 == c.chunks;
    const int64_t end = last ? n : begin + c.length, at = line_start(c.g, p, n), edge = line_start(c.g, p, n - 1);
    const T *d = c.d + at, *e = c.e + edge;
    T pivot = 1;
    bool good = true;
    for (int64_t k = begin; k < end; ++k) {
      if (k == 0) {
        pivot = d[0];
      } else {
        const T off = e[(k - 1) * step], l = off / (k == begin ? c.pivot[t - 1] : pivot);
        c.l_out[edge + (k - 1) * step] = l;
        pivot = d[k * step] - l * off;
      }
      good = good && pivot > 0;
      if (k + 1 == end && !last) {
        const T other = c.pivot[t];
        good = good && magnitude(pivot - other) <= 16 * ROUNDING<T> * d[k * step];
        pivot = other;
      }
      c.d_out[at + k * step] = pivot;
    }
    if (!good) atomicExch(c.serial + p, 1);
  }
}

// ---- pttrs ----
// With z = L^-1 b: z at a chunk's end is z0 + h (z before the chunk), h the product of -l over the chunk; x at a chunk's begin is x0 + g (x
// behind the chunk).
template <class T> struct SolveChunks {
  tg_lines g;
  int64_t systems, length, chunks;
  const T *d, *l, *b;
  T *x;
  T *first, *last, *down, *up; // [systems, chunks]: x0, then x at the begin; z0, then z at the end; g; h
  int32_t *serial;
};

constexpr int64_t AMPLIFIED = 1000; // what a chunk may multiply

template <class T> __global__ void solve_ends_kernel(SolveChunks<T> c) {
  for (int64_t t = global_thread(); t < c.systems * c.chunks; t += all_threads()) {
    const int64_t p = t / c.chunks, chunk = t % c.chunks, step = c.g.inner, n = c.g.n, begin = chunk * c.length;
    const int64_t end = begin + c.length < n ? begin + c.length : n;
    const T *l = c.l + line_start(c.g, p, n - 1), *b = c.b + line_start(c.g, p, n);
    T z = b[begin * step], up = chunk > 0 ? -l[(begin - 1) * step] : T(0), down = 1;
    for (int64_t k = begin + 1; k < end; ++k) {
      const T off = l[(k - 1) * step];
      z = b[k * step] - z * off;
      up *= -off;
      down *= -off;
    }
    down *= end < n ? -l[(end - 1) * step] : T(0);
    c.last[t] = z;
    c.up[t] = up;
    c.down[t] = down;
    if (!(magnitude(up) <= AMPLIFIED && magnitude(down) <= AMPLIFIED)) atomicExch(c.serial + p, 1);
  }
}

template <class T, bool Back> __global__ void solve_links_kernel(SolveChunks<T> c) {
  for (int64_t p = global_thread(); p < c.systems; p += all_threads()) {
    if (c.serial[p]) continue;
    T carry = 0;
    for (int64_t k = 0; k < c.chunks; ++k) {
      const int64_t t = p * c.chunks + (Back ? c.chunks - 1 - k : k);
      T &value = Back ? c.first[t] : c.last[t];
      value = carry = k == 0 ? value : value + (Back ? c.down[t] : c.up[t]) * carry;
    }
  }
}

// Forward: z of a chunk, to x, and x0 at its begin. Back: x.
template <class T, bool Back> __global__ void solve_chunks_kernel(SolveChunks<T> c) {
  for (int64_t t = global_thread(); t < c.systems * c.chunks; t += all_threads()) {
    const int64_t p = t / c.chunks, chunk = t % c.chunks, step = c.g.inner, n = c.g.n, begin = chunk * c.length;
    if (c.serial[p]) continue;
    const int64_t end = begin + c.length < n ? begin + c.length : n, at = line_start(c.g, p, n);
    const T *d = c.d + at, *l = c.l + line_start(c.g, p, n - 1), *b = c.b + at;
    T *x = c.x + at;
    if (!Back) {
      T carry = chunk > 0 ? c.last[t - 1] : T(0);
      for (int64_t k = begin; k < end; ++k) x[k * step] = carry = k > 0 ? b[k * step] - carry * l[(k - 1) * step] : b[0];
    }
    T carry = Back && end < n ? c.first[t + 1] : T(0);
    for (int64_t k = end - 1; k >= begin; --k) {
      carry = x[k * step] / d[k * step] - (k + 1 < n ? carry * l[k * step] : T(0));
      if (Back) x[k * step] = carry;
    }
    if (!Back) c.first[t] = carry;
  }
}

// Both factor or solve what they can; serial (of the caller, [systems]): nonzero for the systems that are left.
template <class T> int factor_in_chunks(const tg_lines &g, int64_t length, const T *d, const T *e, T *d_out, T *l_out, int32_t *serial) {
  const int64_t chunks = ceil_div(g.n, length), systems = g.outer * g.inner, count = systems * chunks;
  Scratch memory(4 * count * int64_t(sizeof(T)));
  if (!memory.ok()) return fail("pttrf: out of memory for systems of %lld unknowns", (long long)g.n);
  T *at = memory.as<T>();
  const FactorChunks<T> c = {g, systems, length, chunks, d, e, d_out, l_out, at, at + count, at + 2 * count, at + 3 * count, serial};
  int status = zero(serial, systems * int64_t(sizeof(int32_t)), "pttrf");
  if (status == TG_OK) status = run_kernel("pttrf", factor_ends_kernel<T>, blocks_for(count, 64), 64, 0, c);
  if (status == TG_OK) status = run_kernel("pttrf", factor_separators_kernel<T>, blocks_for(systems, 64), 64, 0, c);
  return status == TG_OK ? run_kernel("pttrf", factor_chunks_kernel<T>, blocks_for(count, 64), 64, 0, c) : status;
}

template <class T> int solve_in_chunks(const tg_lines &g, int64_t length, const T *d, const T *l, const T *b, T *x, int32_t *serial) {
  const int64_t chunks = ceil_div(g.n, length), systems = g.outer * g.inner, count = systems * chunks;
  Scratch memory(4 * count * int64_t(sizeof(T)));
  if (!memory.ok()) return fail("pttrs: out of memory for systems of %lld unknowns", (long long)g.n);
  T *at = memory.as<T>();
  const SolveChunks<T> c = {g, systems, length, chunks, d, l, b, x, at, at + count, at + 2 * count, at + 3 * count, serial};
  int status = zero(serial, systems * int64_t(sizeof(int32_t)), "pttrs");
  const dim3 each_chunk = blocks_for(count, 64), each_system = blocks_for(systems, 64);
  if (status == TG_OK) status = run_kernel("pttrs", solve_ends_kernel<T>, each_chunk, 64, 0, c);
  if (status == TG_OK) status = run_kernel("pttrs", solve_links_kernel<T, false>, each_system, 64, 0, c);
  if (status == TG_OK) status = run_kernel("pttrs", solve_chunks_kernel<T, false>, each_chunk, 64, 0, c);
  if (status == TG_OK) status = run_kernel("pttrs", solve_links_kernel<T, true>, each_system, 64, 0, c);
  return status == TG_OK ? run_kernel("pttrs", solve_chunks_kernel<T, true>, each_chunk, 64, 0, c) : status;
}

} // namespace
} // namespace tautgrad::cuda
