// The derivative of the 1D prox in lambda: sums and spreads over the jumps of a solution (specification of the TV layers, §3.3).
//   sum:    out_line = sum_e w_e s_e (a_{e+1} - a_e)
//   spread: out_i = v_line (w_{i-1} s_{i-1} - w_i s_i),     s_e = sign(y_{e+1} - y_e), the adjoint of the sum
#include "launch.h"

#include "line_layout.cuh"

namespace tautgrad::cuda {
namespace {

template <class T> __device__ inline T jump_sign(const T *y, int64_t at, int64_t step) {
  const T a = y[at], b = y[at + step];
  return b > a ? T(1) : b < a ? T(-1) : T(0);
}

// A warp per line where samples are neighbours, else a thread per line.
template <class T> __global__ void jump_sum_kernel(tg_lines g, int64_t lines, const T *y, const T *w, const T *a, T *out) {
  const int64_t n = g.n, step = g.inner;
  if (step == 1) {
    const int64_t warps = all_threads() / 32, passes = ceil_div(lines, warps);
    for (int64_t pass = 0; pass < passes; ++pass) {
      const int64_t line = pass * warps + global_thread() / 32;
      double sum = 0;
      if (line < lines)
        for (int64_t e = threadIdx.x % 32; e + 1 < n; e += 32) {
          const int64_t at = line * n + e;
          const T s = jump_sign(y, at, 1);
          if (s != T(0)) sum += double(w ? w[line * (n - 1) + e] : T(1)) * double(s) * (double(a[at + 1]) - double(a[at]));
        }
      for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
      if (line < lines && threadIdx.x % 32 == 0) out[line] = static_cast<T>(sum);
    }
    return;
  }
  for (int64_t line = global_thread(); line < lines; line += all_threads()) {
    const int64_t start = line_start(g, line, n), edges = line_start(g, line, n - 1);
    double sum = 0;
    for (int64_t e = 0; e + 1 < n; ++e) {
      const int64_t at = start + e * step;
      const T s = jump_sign(y, at, step);
      if (s != T(0)) sum += double(w ? w[edges + e * step] : T(1)) * double(s) * (double(a[at + step]) - double(a[at]));
    }
    out[line] = static_cast<T>(sum);
  }
}

template <class T> __global__ void jump_spread_kernel(tg_lines g, int64_t total, const T *y, const T *w, const T *v, T *out) {
  const int64_t n = g.n, step = g.inner;
  for (int64_t p = global_thread(); p < total; p += all_threads()) {
    const int64_t i = p % step, k = p / step % n, o = p / (step * n);
    const int64_t edges = o * (n - 1) * step + i;
    T sum = 0;
    if (k > 0) sum += (w ? w[edges + (k - 1) * step] : T(1)) * jump_sign(y, p - step, step);
    if (k + 1 < n) sum -= (w ? w[edges + k * step] : T(1)) * jump_sign(y, p, step);
    out[p] = v[o * step + i] * sum;
  }
}

int jump_sum(int64_t dtype, const tg_lines *g, const void *y, const void *w, const void *a, void *out) {
  return with_real(dtype, "jump_sum", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t lines = g->outer * g->inner;
    return run_kernel("jump_sum", jump_sum_kernel<T>, blocks_for(g->inner == 1 ? lines * 32 : lines), THREADS, 0, *g, lines,
                      static_cast<const T *>(y), static_cast<const T *>(w), static_cast<const T *>(a), static_cast<T *>(out));
  });
}

int jump_spread(int64_t dtype, const tg_lines *g, const void *y, const void *w, const void *v, void *out) {
  return with_real(dtype, "jump_spread", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t total = g->outer * g->n * g->inner;
    return run_kernel("jump_spread", jump_spread_kernel<T>, blocks_for(total), THREADS, 0, *g, total, static_cast<const T *>(y),
                      static_cast<const T *>(w), static_cast<const T *>(v), static_cast<T *>(out));
  });
}

} // namespace

void register_jumps(tg_backend *t) {
  t->jump_sum = jump_sum;
  t->jump_spread = jump_spread;
}

} // namespace tautgrad::cuda
