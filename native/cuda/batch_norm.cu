// Batch norm of [outer, n, inner] with the statistics of each of the n channels, and its gradient: sums, then a map. A channel is cut into
// parts whose number depends on the shape alone, and the parts are joined in order.
#include "block_sums.cuh"

#include "../kernels/normalization.h"

namespace tautgrad::cuda {
namespace {

constexpr int64_t PART = 1 << 15; // positions of a channel that one block sums

struct Cut {
  int64_t total, parts; // positions of a channel, and blocks that sum it
  explicit Cut(const tg_lines *p) : total(p->outer * p->inner), parts(total > PART ? ceil_div(total, PART) : 1) {}
  dim3 grid(int64_t channels) const {
    const int64_t blocks = parts * channels, most = 1 << 20;
    return dim3(static_cast<unsigned>(blocks < most ? blocks : most));
  }
};

__device__ inline int64_t offset_of(const tg_lines &p, int64_t c, int64_t at) { return (at / p.inner * p.n + c) * p.inner + at % p.inner; }

// The moments of every part, about the channel's first number.
template <class T> __global__ void moments_kernel(tg_lines p, int64_t total, int64_t parts, const T *x, Moments *partial) {
  for (int64_t b = blockIdx.x; b < p.n * parts; b += gridDim.x) {
    const int64_t c = b / parts, begin = b % parts * PART, end = begin + PART < total ? begin + PART : total;
    const double shift = total > 0 ? static_cast<double>(x[offset_of(p, c, 0)]) : 0;
    double v[2] = {0, 0};
    for (int64_t at = begin + threadIdx.x; at < end; at += BLOCK_THREADS) {
      const double d = static_cast<double>(x[offset_of(p, c, at)]) - shift;
      v[0] += d;
      v[1] += d * d;
    }
    block_sums(v);
    if (threadIdx.x == 0) partial[b] = moments_of(static_cast<double>(end - begin), shift, v[0], v[1]);
  }
}

template <class T> __global__ void statistics_kernel(int64_t channels, int64_t parts, const Moments *partial, T *mean, T *variance) {
  for (int64_t c = global_thread(); c < channels; c += all_threads()) {
    Moments m = partial[c * parts];
    for (int64_t s = 1; s < parts; ++s) m = join_moments(m, partial[c * parts + s]);
    mean[c] = static_cast<T>(m.mean);
    variance[c] = variance_of<T>(m);
  }
}

template <class T>
__global__ void normalize_kernel(tg_lines p, double epsilon, bool relu, const T *x, const T *weight, const T *bias, const T *mean,
                                 const T *variance, T *y) {
  for (int64_t i = global_thread(); i < p.outer * p.n * p.inner; i += all_threads()) {
    const int64_t c = i / p.inner % p.n;
    const T z = normalization(mean[c], variance[c], epsilon, weight[c], bias[c])(x[i]);
    y[i] = relu && z < T(0) ? T(0) : z;
  }
}

// What comes back through the ReLU.
template <class T> __device__ inline T passed(const Normalization<T> &f, bool relu, T x, T dy) {
  return relu && !(f(x) > T(0)) ? T(0) : dy;
}

template <class T>
__global__ void products_kernel(tg_lines p, int64_t total, int64_t parts, double epsilon, bool relu, const T *x, const T *weight,
                                const T *bias, const T *mean, const T *variance, const T *dy, double *partial) {
  for (int64_t b = blockIdx.x; b < p.n * parts; b += gridDim.x) {
    const int64_t c = b / parts, begin = b % parts * PART, end = begin + PART < total ? begin + PART : total;
    const Normalization<T> f = normalization(mean[c], variance[c], epsilon, weight[c], bias[c]);
    double v[2] = {0, 0};
    for (int64_t at = begin + threadIdx.x; at < end; at += BLOCK_THREADS) {
      const int64_t i = offset_of(p, c, at);
      const double g = static_cast<double>(passed(f, relu, x[i], dy[i]));
      v[0] += g;
      v[1] += g * static_cast<double>(x[i] - f.mean);
    }
    block_sums(v);
    if (threadIdx.x < 2) partial[2 * b + threadIdx.x] = threadIdx.x == 0 ? v[0] : v[1];
  }
}

template <class T>
__global__ void join_products_kernel(int64_t channels, int64_t parts, double epsilon, const T *variance, const double *partial,
                                     double *products, T *dweight, T *dbias) {
  for (int64_t c = global_thread(); c < channels; c += all_threads()) {
    double g = 0, moment = 0;
    for (int64_t s = 0; s < parts; ++s) {
      g += partial[2 * (c * parts + s)];
      moment += partial[2 * (c * parts + s) + 1];
    }
    products[2 * c] = g;
    products[2 * c + 1] = moment;
    dweight[c] = static_cast<T>(moment * inverse_deviation(variance[c], epsilon));
    dbias[c] = static_cast<T>(g);
  }
}

template <class T>
__global__ void gradient_kernel(tg_lines p, double epsilon, bool relu, const T *x, const T *weight, const T *bias, const T *mean,
                                const T *variance, const T *dy, const double *products, T *dx) {
  for (int64_t i = global_thread(); i < p.outer * p.n * p.inner; i += all_threads()) {
    const int64_t c = i / p.inner % p.n;
    const Normalization<T> f = normalization(mean[c], variance[c], epsilon, weight[c], bias[c]);
    const NormalizationGradient<T> d = normalization_gradient(static_cast<double>(p.outer * p.inner), mean[c], variance[c], epsilon,
                                                              weight[c], products[2 * c], products[2 * c + 1]);
    dx[i] = d(x[i], passed(f, relu, x[i], dy[i]));
  }
}

int batch_norm(int64_t dtype, const tg_lines *p, double epsilon, int64_t relu, const void *x_, const void *weight, const void *bias,
               void *y, void *mean_, void *variance_) {
  return with_real(dtype, "batch_norm", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T *x = static_cast<const T *>(x_);
    T *mean = static_cast<T *>(mean_), *variance = static_cast<T *>(variance_);
    const Cut cut(p);
    Scratch partial(p->n * cut.parts * static_cast<int64_t>(sizeof(Moments)));
    if (!partial.ok()) return fail("batch_norm: out of memory for %lld channels", (long long)p->n);
    int status =
        run_kernel("batch_norm", moments_kernel<T>, cut.grid(p->n), BLOCK_THREADS, 0, *p, cut.total, cut.parts, x, partial.as<Moments>());
    if (status != TG_OK) return status;
    status = run_kernel("batch_norm", statistics_kernel<T>, blocks_for(p->n), THREADS, 0, p->n, cut.parts, partial.as<Moments>(), mean,
                        variance);
    if (status != TG_OK) return status;
    return run_kernel("batch_norm", normalize_kernel<T>, blocks_for(cut.total * p->n), THREADS, 0, *p, epsilon, relu != 0, x,
                      static_cast<const T *>(weight), static_cast<const T *>(bias), mean, variance, static_cast<T *>(y));
  });
}

int batch_norm_gradient(int64_t dtype, const tg_lines *p, double epsilon, int64_t relu, const void *x_, const void *weight_,
                        const void *bias_, const void *mean_, const void *variance_, const void *dy_, void *dx, void *dweight,
                        void *dbias) {
  return with_real(dtype, "batch_norm_gradient", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T *x = static_cast<const T *>(x_), *weight = static_cast<const T *>(weight_), *bias = static_cast<const T *>(bias_),
            *mean = static_cast<const T *>(mean_), *variance = static_cast<const T *>(variance_), *dy = static_cast<const T *>(dy_);
    const Cut cut(p);
    Scratch sums(2 * p->n * (cut.parts + 1) * static_cast<int64_t>(sizeof(double)));
    if (!sums.ok()) return fail("batch_norm_gradient: out of memory for %lld channels", (long long)p->n);
    double *products = sums.as<double>(), *partial = products + 2 * p->n;
    int status = run_kernel("batch_norm_gradient", products_kernel<T>, cut.grid(p->n), BLOCK_THREADS, 0, *p, cut.total, cut.parts, epsilon,
                            relu != 0, x, weight, bias, mean, variance, dy, partial);
    if (status != TG_OK) return status;
    status = run_kernel("batch_norm_gradient", join_products_kernel<T>, blocks_for(p->n), THREADS, 0, p->n, cut.parts, epsilon, variance,
                        partial, products, static_cast<T *>(dweight), static_cast<T *>(dbias));
    if (status != TG_OK || !dx) return status;
    return run_kernel("batch_norm_gradient", gradient_kernel<T>, blocks_for(cut.total * p->n), THREADS, 0, *p, epsilon, relu != 0, x,
                      weight, bias, mean, variance, dy, products, static_cast<T *>(dx));
  });
}

template <class T>
__global__ void channel_affine_kernel(tg_lines p, bool relu, const T *x, const T *mean, const T *scale, const T *bias, T *y) {
  for (int64_t i = global_thread(); i < p.outer * p.n * p.inner; i += all_threads()) {
    const int64_t c = i / p.inner % p.n;
    const T z = Normalization<T>{mean[c], scale[c], bias[c]}(x[i]);
    y[i] = relu && z < T(0) ? T(0) : z;
  }
}

int channel_affine(int64_t dtype, const tg_lines *p, int64_t relu, const void *x, const void *mean, const void *scale, const void *bias,
                   void *y) {
  return with_real(dtype, "channel_affine", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return run_kernel("channel_affine", channel_affine_kernel<T>, blocks_for(p->outer * p->n * p->inner), THREADS, 0, *p, relu != 0,
                      static_cast<const T *>(x), static_cast<const T *>(mean), static_cast<const T *>(scale), static_cast<const T *>(bias),
                      static_cast<T *>(y));
  });
}

} // namespace

void register_batch_norm(tg_backend *t) {
  t->batch_norm = batch_norm;
  t->batch_norm_gradient = batch_norm_gradient;
  t->channel_affine = channel_affine;
}

} // namespace tautgrad::cuda
