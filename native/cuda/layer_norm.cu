// Layer norm of contiguous rows, a block each, and its gradient. Sums over the rows go through parts whose number depends on the shape
// alone.
#include "block_sums.cuh"

#include "../kernels/normalization.h"

namespace tautgrad::cuda {
namespace {

constexpr int64_t MOST_PARTS = 64; // of the rows, each with a sum per column

template <class T>
__global__ void rows_kernel(int64_t rows, int64_t n, double epsilon, const T *x, const T *weight, const T *bias, T *y, T *mean,
                            T *variance) {
  for (int64_t o = blockIdx.x; o < rows; o += gridDim.x) {
    const T *row = x + o * n;
    const double shift = n > 0 ? static_cast<double>(row[0]) : 0;
    double v[2] = {0, 0};
    for (int64_t k = threadIdx.x; k < n; k += BLOCK_THREADS) {
      const double d = static_cast<double>(row[k]) - shift;
      v[0] += d;
      v[1] += d * d;
    }
    block_sums(v);
    const Moments m = moments_of(static_cast<double>(n), shift, v[0], v[1]);
    const T middle = static_cast<T>(m.mean), spread = variance_of<T>(m);
    const Normalization<T> f = normalization(middle, spread, epsilon, T(1), T(0));
    for (int64_t k = threadIdx.x; k < n; k += BLOCK_THREADS) y[o * n + k] = (row[k] - f.mean) * f.scale * weight[k] + bias[k];
    if (threadIdx.x == 0) {
      mean[o] = middle;
      variance[o] = spread;
    }
  }
}

template <class T>
__global__ void row_gradient_kernel(int64_t rows, int64_t n, double epsilon, const T *x, const T *weight, const T *mean, const T *variance,
                                    const T *dy, T *dx) {
  for (int64_t o = blockIdx.x; o < rows; o += gridDim.x) {
    const T *row = x + o * n, *from = dy + o * n;
    double v[2] = {0, 0};
    for (int64_t k = threadIdx.x; k < n; k += BLOCK_THREADS) {
      const double g = static_cast<double>(from[k] * weight[k]);
      v[0] += g;
      v[1] += g * static_cast<double>(row[k] - mean[o]);
    }
    block_sums(v);
    const NormalizationGradient<T> d = normalization_gradient(static_cast<double>(n), mean[o], variance[o], epsilon, T(1), v[0], v[1]);
    for (int64_t k = threadIdx.x; k < n; k += BLOCK_THREADS) dx[o * n + k] = d(row[k], from[k] * weight[k]);
  }
}

// Sums of dy z and of dy over the rows of a part: [parts, 2, n].
template <class T>
__global__ void column_sums_kernel(int64_t rows, int64_t n, int64_t part, int64_t parts, double epsilon, const T *x, const T *mean,
                                   const T *variance, const T *dy, double *sums) {
  for (int64_t i = global_thread(); i < parts * n; i += all_threads()) {
    const int64_t s = i / n, k = i % n, begin = s * part, end = begin + part < rows ? begin + part : rows;
    double by_weight = 0, by_bias = 0;
    for (int64_t o = begin; o < end; ++o) {
      const Normalization<T> f = normalization(mean[o], variance[o], epsilon, T(1), T(0));
      const T g = dy[o * n + k];
      by_weight += static_cast<double>(g * ((x[o * n + k] - f.mean) * f.scale));
      by_bias += static_cast<double>(g);
    }
    sums[2 * s * n + k] = by_weight;
    sums[(2 * s + 1) * n + k] = by_bias;
  }
}

template <class T> __global__ void join_columns_kernel(int64_t n, int64_t parts, const double *sums, T *dweight, T *dbias) {
  for (int64_t k = global_thread(); k < n; k += all_threads()) {
    double by_weight = 0, by_bias = 0;
    for (int64_t s = 0; s < parts; ++s) {
      by_weight += sums[2 * s * n + k];
      by_bias += sums[(2 * s + 1) * n + k];
    }
    dweight[k] = static_cast<T>(by_weight);
    dbias[k] = static_cast<T>(by_bias);
  }
}

dim3 block_per_row(int64_t rows) { return dim3(static_cast<unsigned>(rows < (1 << 20) ? rows : 1 << 20)); }

int layer_norm(int64_t dtype, const tg_lines *p, double epsilon, const void *x, const void *weight, const void *bias, void *y, void *mean,
               void *variance) {
  return with_real(dtype, "layer_norm", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return run_kernel("layer_norm", rows_kernel<T>, block_per_row(p->outer), BLOCK_THREADS, 0, p->outer, p->n, epsilon,
                      static_cast<const T *>(x), static_cast<const T *>(weight), static_cast<const T *>(bias), static_cast<T *>(y),
                      static_cast<T *>(mean), static_cast<T *>(variance));
  });
}

int layer_norm_gradient(int64_t dtype, const tg_lines *p, double epsilon, const void *x_, const void *weight, const void *mean_,
                        const void *variance_, const void *dy_, void *dx, void *dweight, void *dbias) {
  return with_real(dtype, "layer_norm_gradient", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T *x = static_cast<const T *>(x_), *mean = static_cast<const T *>(mean_), *variance = static_cast<const T *>(variance_),
            *dy = static_cast<const T *>(dy_);
    const int64_t rows = p->outer, n = p->n, wanted = ceil_div(rows, 16), parts = wanted < MOST_PARTS ? wanted : MOST_PARTS,
                  part = parts > 0 ? ceil_div(rows, parts) : 0;
    Scratch sums(2 * parts * n * static_cast<int64_t>(sizeof(double)));
    if (!sums.ok()) return fail("layer_norm_gradient: out of memory for rows of %lld", (long long)n);
    int status = run_kernel("layer_norm_gradient", column_sums_kernel<T>, blocks_for(parts * n), THREADS, 0, rows, n, part, parts, epsilon,
                            x, mean, variance, dy, sums.as<double>());
    if (status != TG_OK) return status;
    status = run_kernel("layer_norm_gradient", join_columns_kernel<T>, blocks_for(n), THREADS, 0, n, parts, sums.as<double>(),
                        static_cast<T *>(dweight), static_cast<T *>(dbias));
    if (status != TG_OK || !dx) return status;
    return run_kernel("layer_norm_gradient", row_gradient_kernel<T>, block_per_row(rows), BLOCK_THREADS, 0, rows, n, epsilon, x,
                      static_cast<const T *>(weight), mean, variance, dy, static_cast<T *>(dx));
  });
}

} // namespace

void register_layer_norm(tg_backend *t) {
  t->layer_norm = layer_norm;
  t->layer_norm_gradient = layer_norm_gradient;
}

} // namespace tautgrad::cuda
