// softmax, log softmax and log sum exp along the middle axis of [outer, n, inner], and their gradients: a warp per line where lines are
// contiguous, else a thread per line, so that neighbouring threads read neighbouring columns.
#include "launch.h"

#include "../kernels/scalar_math.h"

namespace tautgrad::cuda {
namespace {

// How the threads of a line share it: `first` and `step` along the middle axis.
struct Line {
  int64_t base, index; // of its first element in the tensor, and its own number
  int first, step;
  bool there;
};

// Lines of one thread (inner > 1) or one warp each; every lane of a warp takes the same number of turns.
template <class F> __device__ void for_lines(const tg_lines &p, const F &f) {
  if (p.inner > 1) {
    for (int64_t i = global_thread(); i < p.outer * p.inner; i += all_threads())
      f(Line{i / p.inner * p.n * p.inner + i % p.inner, i, 0, 1, true});
    return;
  }
  const int64_t warps = all_threads() / 32, turns = ceil_div(p.outer, warps);
  for (int64_t turn = 0; turn < turns; ++turn) {
    const int64_t o = turn * warps + global_thread() / 32;
    f(Line{o * p.n, o, static_cast<int>(threadIdx.x % 32), 32, o < p.outer});
  }
}
dim3 blocks_for_lines(const tg_lines *p) { return blocks_for(p->inner > 1 ? p->outer * p->inner : p->outer * 32); }

template <class A> __device__ A line_sum(const Line &line, A a) {
  if (line.step > 1)
    for (int distance = 16; distance > 0; distance /= 2) a += __shfl_xor_sync(0xffffffffu, a, distance);
  return a;
}
template <class T> __device__ T line_largest(const Line &line, T a) {
  if (line.step > 1)
    for (int distance = 16; distance > 0; distance /= 2) {
      const T other = __shfl_xor_sync(0xffffffffu, a, distance);
      a = other > a ? other : a;
    }
  return a;
}

// The shift of a line (its largest number, or 0 where that is infinite) and the sum of its exponentials after it.
template <class T> __device__ double exponentials(const tg_lines &p, const Line &line, const T *x, T &shift) {
  T most = static_cast<T>(-INFINITY);
  if (line.there)
    for (int64_t k = line.first; k < p.n; k += line.step) {
      const T v = x[line.base + k * p.inner];
      most = v > most ? v : most;
    }
  most = line_largest(line, most);
  shift = most < static_cast<T>(INFINITY) && most > static_cast<T>(-INFINITY) ? most : T(0);
  double sum = 0;
  if (line.there)
    for (int64_t k = line.first; k < p.n; k += line.step) sum += static_cast<double>(exp_of(x[line.base + k * p.inner] - shift));
  return line_sum(line, sum);
}

template <class T> __global__ void softmax_kernel(tg_lines p, bool log_of_it, const T *x, T *y) {
  for_lines(p, [&](const Line &line) {
    T shift;
    const double sum = exponentials(p, line, x, shift);
    const T level = log_of_it ? static_cast<T>(log(sum) + static_cast<double>(shift)) : static_cast<T>(1 / sum);
    if (line.there)
      for (int64_t k = line.first; k < p.n; k += line.step) {
        const int64_t i = line.base + k * p.inner;
        y[i] = log_of_it ? x[i] - level : exp_of(x[i] - shift) * level;
      }
  });
}

template <class T> __global__ void softmax_gradient_kernel(tg_lines p, bool log_of_it, const T *y, const T *v, T *out) {
  for_lines(p, [&](const Line &line) {
    double sum = 0;
    if (line.there)
      for (int64_t k = line.first; k < p.n; k += line.step) {
        const int64_t i = line.base + k * p.inner;
        sum += static_cast<double>(log_of_it ? v[i] : y[i] * v[i]);
      }
    const T s = static_cast<T>(line_sum(line, sum));
    if (line.there)
      for (int64_t k = line.first; k < p.n; k += line.step) {
        const int64_t i = line.base + k * p.inner;
        out[i] = log_of_it ? v[i] - exp_of(y[i]) * s : y[i] * (v[i] - s);
      }
  });
}

template <class T> __global__ void log_sum_exp_kernel(tg_lines p, const T *x, const int32_t *labels, T *y, T *lse) {
  for_lines(p, [&](const Line &line) {
    T shift;
    const double sum = exponentials(p, line, x, shift);
    if (!line.there || line.first != 0) return;
    lse[line.index] = static_cast<T>(log(sum) + static_cast<double>(shift));
    if (labels) y[line.index] = static_cast<T>(log(sum) + static_cast<double>(shift - x[line.base + labels[line.index] * p.inner]));
  });
}

template <class T>
__global__ void log_sum_exp_gradient_kernel(tg_lines p, const T *x, const int32_t *labels, const T *lse, const T *v, T *out) {
  for (int64_t i = global_thread(); i < p.outer * p.n * p.inner; i += all_threads()) {
    const int64_t line = i / (p.n * p.inner) * p.inner + i % p.inner, k = i / p.inner % p.n;
    out[i] = (exp_of(x[i] - lse[line]) - (labels && labels[line] == k ? T(1) : T(0))) * v[line];
  }
}

int softmax(int64_t dtype, const tg_lines *p, int64_t log_of_it, const void *x, void *y) {
  return with_real(dtype, "softmax", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return run_kernel("softmax", softmax_kernel<T>, blocks_for_lines(p), THREADS, 0, *p, log_of_it != 0, static_cast<const T *>(x),
                      static_cast<T *>(y));
  });
}

int softmax_gradient(int64_t dtype, const tg_lines *p, int64_t log_of_it, const void *y, const void *v, void *out) {
  return with_real(dtype, "softmax_gradient", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return run_kernel("softmax_gradient", softmax_gradient_kernel<T>, blocks_for_lines(p), THREADS, 0, *p, log_of_it != 0,
                      static_cast<const T *>(y), static_cast<const T *>(v), static_cast<T *>(out));
  });
}

int log_sum_exp(int64_t dtype, const tg_lines *p, const void *x, const void *labels, void *y, void *lse) {
  return with_real(dtype, "log_sum_exp", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return run_kernel("log_sum_exp", log_sum_exp_kernel<T>, blocks_for_lines(p), THREADS, 0, *p, static_cast<const T *>(x),
                      static_cast<const int32_t *>(labels), static_cast<T *>(y), static_cast<T *>(lse));
  });
}

int log_sum_exp_gradient(int64_t dtype, const tg_lines *p, const void *x, const void *labels, const void *lse, const void *v, void *out) {
  return with_real(dtype, "log_sum_exp_gradient", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return run_kernel("log_sum_exp_gradient", log_sum_exp_gradient_kernel<T>, blocks_for(p->outer * p->n * p->inner), THREADS, 0, *p,
                      static_cast<const T *>(x), static_cast<const int32_t *>(labels), static_cast<const T *>(lse),
                      static_cast<const T *>(v), static_cast<T *>(out));
  });
}

} // namespace

void register_softmax(tg_backend *t) {
  t->softmax = softmax;
  t->softmax_gradient = softmax_gradient;
  t->log_sum_exp = log_sum_exp;
  t->log_sum_exp_gradient = log_sum_exp_gradient;
}

} // namespace tautgrad::cuda
