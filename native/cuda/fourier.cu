// Discrete Fourier transforms of lines whose length has small prime factors (native/kernels/fourier.h). A block transforms a few lines in
// shared memory; longer lines go to cuFFT where it is found, else stage by stage through two buffers of device memory. Radices 4 and 2 are
// written out; of an odd radix a thread computes one result, a short sum.
#include "line_layout.cuh"
#include "vendor.h"

#include "../kernels/fourier.h"

#include <cstdlib>
#include <cstring>

namespace tautgrad::cuda {
namespace {

// Lines of complex samples: parts in arrays of their own, lines `pitch` apart.
template <class T> struct ComplexLines {
  T *re, *im;
  int64_t pitch;
};
template <class T> struct ComplexValue { T re, im; };
template <class T> __device__ inline ComplexValue<T> operator+(ComplexValue<T> a, ComplexValue<T> b) { return {a.re + b.re, a.im + b.im}; }
template <class T> __device__ inline ComplexValue<T> operator-(ComplexValue<T> a, ComplexValue<T> b) { return {a.re - b.re, a.im - b.im}; }
template <class T> __device__ inline ComplexValue<T> operator*(ComplexValue<T> a, ComplexValue<T> b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

// roots[k] = exp(direction 2 pi i k / n), worked out in double.
template <class T> __global__ void roots_kernel(int64_t n, double direction, ComplexValue<T> *roots) {
  for (int64_t k = global_thread(); k < n; k += all_threads()) {
    const double angle = 6.283185307179586476925 * double(k) / double(n);
    roots[k] = {T(cos(angle)), T(direction * sin(angle))};
  }
}

// The items first, first + step, … of one stage over `lines` lines: butterflies (radix 4 and 2), or results (odd radices).
template <int Radix, class T, class Index>
__device__ void fourier_items(Index n, Index s, Index radix, Index lines, Index first, Index step, const ComplexValue<T> *roots, T sign,
                              ComplexLines<T> x, ComplexLines<T> y) {
  const Index r = Radix > 0 ? Radix : radix, m = n / (s * r), items = Radix > 0 ? n / r : n;
  for (Index e = first; e < lines * items; e += step) {
    const Index line = e / items, item = e % items;
    const auto get = [&](Index k) -> ComplexValue<T> { return {x.re[line * x.pitch + k], x.im[line * x.pitch + k]}; };
    const auto put = [&](Index k, ComplexValue<T> v) {
      y.re[line * y.pitch + k] = v.re;
      y.im[line * y.pitch + k] = v.im;
    };
    if constexpr (Radix == 2) {
      const Index q = item % s, p = item / s, to = q + s * 2 * p;
      const ComplexValue<T> a = get(item), b = get(item + s * m);
      put(to, a + b);
      put(to + s, (a - b) * roots[p * s]);
    } else if constexpr (Radix == 4) {
      const Index q = item % s, p = item / s, to = q + s * 4 * p;
      const ComplexValue<T> a = get(item), b = get(item + s * m), c = get(item + 2 * s * m), d = get(item + 3 * s * m);
      const ComplexValue<T> even = a + c, odd = b + d, left = a - c, across = b - d, right = {-sign * across.im, sign * across.re};
      put(to, even + odd);
      put(to + s, (left + right) * roots[p * s]);
      put(to + 2 * s, (even - odd) * roots[2 * p * s]);
      put(to + 3 * s, (left - right) * roots[3 * p * s]);
    } else {
      const Index q = item % s, k = item / s % r, p = item / (s * r), turn = n / r;
      ComplexValue<T> sum = get(q + s * p);
      Index at = 0; // j k mod r
      for (Index j = 1; j < r; ++j) {
        at += k;
        at = at >= r ? at - r : at;
        sum = sum + get(q + s * (p + m * j)) * roots[turn * at];
      }
      put(item, sum * roots[p * k * s]);
    }
  }
}

template <class T, class Index>
__device__ void fourier_stage(Index n, Index s, Index radix, Index lines, Index first, Index step, const ComplexValue<T> *roots, T sign,
                              ComplexLines<T> x, ComplexLines<T> y) {
  if (radix == 4)
    fourier_items<4>(n, s, radix, lines, first, step, roots, sign, x, y);
  else if (radix == 2)
    fourier_items<2>(n, s, radix, lines, first, step, roots, sign, x, y);
  else
    fourier_items<0>(n, s, radix, lines, first, step, roots, sign, x, y);
}

// A block brings `per_block` lines into shared memory: along them where their samples are neighbours, else across them.
template <class T>
__global__ void __launch_bounds__(THREADS)
    fourier_tile_kernel(tg_lines g, int64_t lines, int per_block, FourierPlan plan, T sign, T scale, const ComplexValue<T> *roots,
                        const T *re, const T *im, T *out_re, T *out_im) {
  const int n = static_cast<int>(g.n), pitch = static_cast<int>(tile_pitch(g.n)), part = per_block * pitch;
  T *memory = shared_memory<T>();
  ComplexLines<T> x = {memory, memory + part, pitch}, y = {memory + 2 * part, memory + 3 * part, pitch};
  const int64_t first = int64_t(blockIdx.x) * per_block;
  const int count = static_cast<int>(lines - first < per_block ? lines - first : per_block);
  const auto each_sample = [&](const auto &visit) {
    for (int e = threadIdx.x; e < count * n; e += blockDim.x) {
      const int line = g.inner == 1 ? e / n : e % count, k = g.inner == 1 ? e % n : e / count;
      visit(line * pitch + k, line_start(g, first + line, g.n) + k * g.inner);
    }
  };
  each_sample([&](int at, int64_t from) {
    x.re[at] = re[from];
    x.im[at] = im ? im[from] : T(0);
  });
  int s = 1;
  for (int f = 0; f < plan.count; ++f) {
    __syncthreads();
    fourier_stage<T, int>(n, s, plan.radix[f], count, threadIdx.x, blockDim.x, roots, sign, x, y);
    s *= plan.radix[f];
    const ComplexLines<T> swap = x;
    x = y;
    y = swap;
  }
  __syncthreads();
  each_sample([&](int at, int64_t to) {
    out_re[to] = scale * x.re[at];
    out_im[to] = scale * x.im[at];
  });
}

// ---- lines that are too long for shared memory ----

template <class T>
__global__ void fourier_stage_kernel(int64_t n, int64_t s, int64_t radix, int64_t lines, T sign, const ComplexValue<T> *roots,
                                     ComplexLines<T> x, ComplexLines<T> y) {
  fourier_stage<T, int64_t>(n, s, radix, lines, global_thread(), all_threads(), roots, sign, x, y);
}

// to = scale from, between the caller's layout and lines of neighbouring samples; from: null for zeros.
template <class T, bool Gather> __global__ void fourier_copy_kernel(tg_lines g, int64_t total, T scale, const T *from, T *to) {
  for (int64_t e = global_thread(); e < total; e += all_threads()) {
    // e counts in the caller's layout.
    const int64_t line = e / (g.n * g.inner) * g.inner + e % g.inner, own = line * g.n + e / g.inner % g.n;
    if (Gather)
      to[own] = from ? from[e] : T(0);
    else
      to[e] = scale * from[own];
  }
}

// The same for cuFFT, which wants both parts together.
template <class T, bool Gather>
__global__ void fourier_interleave_kernel(tg_lines g, int64_t total, T scale, const T *re, const T *im, ComplexValue<T> *own, T *out_re,
                                          T *out_im) {
  for (int64_t e = global_thread(); e < total; e += all_threads()) {
    const int64_t line = e / (g.n * g.inner) * g.inner + e % g.inner, at = line * g.n + e / g.inner % g.n;
    if (Gather) {
      own[at] = {re[e], im ? im[e] : T(0)};
    } else {
      const ComplexValue<T> v = own[at];
      out_re[e] = scale * v.re;
      out_im[e] = scale * v.im;
    }
  }
}

// TG_UNSUPPORTED where it does not compute: nothing was written then.
template <class T> int transform_by_cufft(const tg_lines &g, int64_t direction, T scale, const T *re, const T *im, T *out_re, T *out_im) {
  const int64_t lines = g.outer * g.inner, total = lines * g.n;
  if (!cufft_usable()) return TG_UNSUPPORTED;
  const Scratch memory(total * int64_t(sizeof(ComplexValue<T>)));
  if (!memory.ok()) return TG_UNSUPPORTED;
  auto *own = memory.as<ComplexValue<T>>();
  int status =
      run_kernel("fft", fourier_interleave_kernel<T, true>, blocks_for(total), THREADS, 0, g, total, scale, re, im, own, nullptr, nullptr);
  if (status == TG_OK) status = cufft_lines(sizeof(T) == 4 ? TG_F32 : TG_F64, g.n, lines, direction, own);
  if (status != TG_OK) return status;
  return run_kernel("fft", fourier_interleave_kernel<T, false>, blocks_for(total), THREADS, 0, g, total, scale, nullptr, nullptr, own,
                    out_re, out_im);
}

// A line that fits into a tile crosses memory twice here, six times by cuFFT with its copies; a longer one up to eight times and more.
// Predicted, not measured (bench/gpu-notes.md): TAUTGRAD_CUDA_FFT=own or cufft takes the choice, for measurements.
bool prefers_cufft(int64_t line_bytes) {
  if (const char *wish = std::getenv("TAUTGRAD_CUDA_FFT")) {
    if (!std::strcmp(wish, "own")) return false;
    if (!std::strcmp(wish, "cufft")) return true;
  }
  return line_bytes > TILE_BYTES;
}

template <class T>
int transform_long(const tg_lines &g, const FourierPlan &plan, T sign, T scale, const ComplexValue<T> *roots, const T *re, const T *im,
                   T *out_re, T *out_im) {
  const int64_t lines = g.outer * g.inner, total = lines * g.n;
  Scratch memory(4 * total * int64_t(sizeof(T)));
  if (!memory.ok()) return fail("fft: out of memory for lines of %lld samples", (long long)g.n);
  T *at = memory.as<T>();
  ComplexLines<T> x = {at, at + total, g.n}, y = {at + 2 * total, at + 3 * total, g.n};
  const dim3 grid = blocks_for(total);
  int status = run_kernel("fft", fourier_copy_kernel<T, true>, grid, THREADS, 0, g, total, T(1), re, x.re);
  if (status == TG_OK) status = run_kernel("fft", fourier_copy_kernel<T, true>, grid, THREADS, 0, g, total, T(1), im, x.im);
  int64_t s = 1;
  for (int f = 0; f < plan.count && status == TG_OK; ++f) {
    const int64_t r = plan.radix[f];
    status = run_kernel("fft", fourier_stage_kernel<T>, blocks_for(r == 4 || r == 2 ? total / r : total), THREADS, 0, g.n, s, r, lines,
                        sign, roots, x, y);
    s *= r;
    const ComplexLines<T> swap = x;
    x = y;
    y = swap;
  }
  if (status == TG_OK) status = run_kernel("fft", fourier_copy_kernel<T, false>, grid, THREADS, 0, g, total, scale, x.re, out_re);
  if (status == TG_OK) status = run_kernel("fft", fourier_copy_kernel<T, false>, grid, THREADS, 0, g, total, scale, x.im, out_im);
  return status;
}

// Samples that a block should have, so that its threads have work; and lines side by side, so that reads across them fill their sectors.
constexpr int64_t BLOCK_SAMPLES = 2048, LINES_ACROSS = 16;

template <class T> int transform(const tg_lines &g, int64_t direction, double scale, const T *re, const T *im, T *out_re, T *out_im) {
  const int64_t lines = g.outer * g.inner;
  if (lines * g.n == 0) return TG_OK;
  const int64_t line_bytes = 4 * tile_pitch(g.n) * int64_t(sizeof(T)), most = shared_memory_limit() / line_bytes;
  if (prefers_cufft(line_bytes)) {
    const int status = transform_by_cufft<T>(g, direction, T(scale), re, im, out_re, out_im);
    if (status != TG_UNSUPPORTED) return status;
  }
  const FourierPlan plan = fourier_plan(g.n);
  Scratch roots(g.n * int64_t(sizeof(ComplexValue<T>)));
  if (!roots.ok()) return fail("fft: out of memory for lines of %lld samples", (long long)g.n);
  const T sign = direction < 0 ? T(-1) : T(1);
  const int status = run_kernel("fft", roots_kernel<T>, blocks_for(g.n), THREADS, 0, g.n, double(sign), roots.as<ComplexValue<T>>());
  if (status != TG_OK) return status;
  if (most == 0) return transform_long<T>(g, plan, sign, T(scale), roots.as<ComplexValue<T>>(), re, im, out_re, out_im);
  // As many lines as a tile of TILE_BYTES holds, but no fewer than one.
  const int64_t wanted = ceil_div(BLOCK_SAMPLES, g.n), across = g.inner > 1 && wanted < LINES_ACROSS ? LINES_ACROSS : wanted,
                fits = TILE_BYTES / line_bytes < 1 ? 1 : TILE_BYTES / line_bytes;
  int64_t per_block = across < fits ? across : fits;
  per_block = per_block < lines ? per_block : lines;
  return run_kernel("fft", fourier_tile_kernel<T>, dim3(static_cast<unsigned>(ceil_div(lines, per_block))), THREADS, per_block * line_bytes,
                    g, lines, static_cast<int>(per_block), plan, sign, T(scale), roots.as<ComplexValue<T>>(), re, im, out_re, out_im);
}

int fft(int64_t dtype, const tg_lines *g, int64_t direction, double scale, const void *re, const void *im, void *out_re, void *out_im) {
  return with_real(dtype, "fft", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return transform<T>(*g, direction, scale, static_cast<const T *>(re), static_cast<const T *>(im), static_cast<T *>(out_re),
                        static_cast<T *>(out_im));
  });
}

} // namespace

void register_fourier(tg_backend *t) { t->fft = fft; }

} // namespace tautgrad::cuda
