// Layer norm of contiguous rows, and its gradient: a row is read from memory once. The gradients in weight and bias are summed over
// segments of rows whose borders depend on the shape alone, and the segments in order.
#include "normalization.hpp"

namespace tautgrad::cpu::TG_ISA {
namespace {

constexpr int64_t MOST_SEGMENTS = 64; // each holds two rows of sums
constexpr int64_t ROWS = 16;          // whose products are summed in the element type before they go to a float64

// f(start, length) for the runs of a row.
template <class F> TG_INLINE void for_runs(int64_t n, const F &f) {
  for (int64_t k = 0; k < n; k += RUN) f(k, smaller(n - k, RUN));
}

template <class T> Moments moments(const T *x, int64_t n) {
  double sum[1] = {}, deviations[2] = {};
  for_runs(n, [&](int64_t start, int64_t length) {
    const T *line = x + start;
    sum_run<T>(length, sum, [=](auto *acc, int64_t k, auto tag) TG_LAMBDA { acc[0] += read(line + k, tag); });
  });
  const T shift = static_cast<T>(sum[0] / static_cast<double>(n));
  for_runs(n, [&](int64_t start, int64_t length) {
    const T *line = x + start;
    sum_run<T>(length, deviations, [=](auto *acc, int64_t k, auto tag) TG_LAMBDA {
      const auto d = read(line + k, tag) - shift;
      acc[0] += d;
      acc[1] += d * d;
    });
  });
  return moments_of(static_cast<double>(n), static_cast<double>(shift), deviations[0], deviations[1]);
}

int layer_norm(int64_t dtype, const tg_lines *p, double epsilon, const void *x_, const void *weight_, const void *bias_, void *y_,
               void *mean_, void *variance_) {
  return with_real(dtype, "layer_norm", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T *x = static_cast<const T *>(x_), *weight = static_cast<const T *>(weight_), *bias = static_cast<const T *>(bias_);
    T *y = static_cast<T *>(y_), *mean = static_cast<T *>(mean_), *variance = static_cast<T *>(variance_);
    const int64_t n = p->n;
    for_chunks(p->outer, 1 + CHUNK / (n + 1), [=](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) {
        const T *row = x + o * n;
        const Moments m = moments(row, n);
        mean[o] = static_cast<T>(m.mean);
        variance[o] = variance_of<T>(m);
        const Normalization<T> f = normalization(mean[o], variance[o], epsilon, T(1), T(0));
        map_run(n, y + o * n, [=](auto at) TG_LAMBDA { return (at(row) - f.mean) * f.scale * at(weight) + at(bias); });
      }
    });
    return TG_OK;
  });
}

int layer_norm_gradient(int64_t dtype, const tg_lines *p, double epsilon, const void *x_, const void *weight_, const void *mean_,
                        const void *variance_, const void *dy_, void *dx_, void *dweight_, void *dbias_) {
  return with_real(dtype, "layer_norm_gradient", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T *x = static_cast<const T *>(x_), *weight = static_cast<const T *>(weight_), *mean = static_cast<const T *>(mean_),
            *variance = static_cast<const T *>(variance_), *dy = static_cast<const T *>(dy_);
    T *dx = static_cast<T *>(dx_), *dweight = static_cast<T *>(dweight_), *dbias = static_cast<T *>(dbias_);
    const int64_t n = p->n, rows = p->outer, fewest = (rows + MOST_SEGMENTS - 1) / MOST_SEGMENTS, small = 1 + CHUNK / (n + 1),
                  length = fewest > small ? fewest : small, segments = (rows + length - 1) / length;
    // Of each segment: sums for the weight, then for the bias; and the same of the latest rows in the element type.
    const int64_t bytes = 2 * n * static_cast<int64_t>(sizeof(double) + sizeof(T));
    unsigned char *sums = static_cast<unsigned char *>(scratch(0, (segments > 0 ? segments : 1) * bytes));
    if (!sums) return fail("layer_norm_gradient: out of memory");
    parallel_for(segments, [=](int64_t s) {
      double *total = reinterpret_cast<double *>(sums + s * bytes);
      T *latest = reinterpret_cast<T *>(total + 2 * n);
      for (int64_t k = 0; k < 2 * n; ++k) total[k] = 0;
      const int64_t first = s * length, last = smaller(first + length, rows);
      for (int64_t o = first; o < last; ++o) {
        const T *row = x + o * n, *from = dy + o * n;
        const Normalization<T> f = normalization(mean[o], variance[o], epsilon, T(1), T(0));
        double sum[2] = {};
        if (dx)
          for_runs(n, [&](int64_t start, int64_t count) {
            const T *line = row + start, *g_line = from + start, *w = weight + start;
            sum_run<T>(count, sum, [=](auto *acc, int64_t k, auto t) TG_LAMBDA {
              const auto g = read(g_line + k, t) * read(w + k, t);
              acc[0] += g;
              acc[1] += g * (read(line + k, t) - f.mean);
            });
          });
        const NormalizationGradient<T> d =
            normalization_gradient(static_cast<double>(n), mean[o], variance[o], epsilon, T(1), sum[0], sum[1]);
        const bool fresh = (o - first) % ROWS == 0;
        T *to = dx ? dx + o * n : nullptr, *by_weight = latest, *by_bias = latest + n;
        map_run(n, by_weight, [=](auto at) TG_LAMBDA {
          const auto v = at(row), g = at(from), product = g * ((v - f.mean) * f.scale);
          return fresh ? product : at(static_cast<const T *>(by_weight)) + product;
        });
        map_run(n, by_bias, [=](auto at) TG_LAMBDA {
          const auto g = at(from);
          return fresh ? g : at(static_cast<const T *>(by_bias)) + g;
        });
        if (to) map_run(n, to, [=](auto at) TG_LAMBDA { return d(at(row), at(from) * at(weight)); });
        if ((o - first) % ROWS == ROWS - 1 || o == last - 1)
          for (int64_t k = 0; k < 2 * n; ++k) total[k] += static_cast<double>(latest[k]);
      }
    });
    for_chunks(n, 1 + CHUNK / (segments + 1), [=](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        double by_weight = 0, by_bias = 0;
        for (int64_t s = 0; s < segments; ++s) {
          const double *total = reinterpret_cast<const double *>(sums + s * bytes);
          by_weight += total[k];
          by_bias += total[n + k];
        }
        dweight[k] = static_cast<T>(by_weight);
        dbias[k] = static_cast<T>(by_bias);
      }
    });
    return static_cast<int>(TG_OK);
  });
}

} // namespace

void register_layer_norm(tg_backend *t) {
  t->layer_norm = layer_norm;
  t->layer_norm_gradient = layer_norm_gradient;
}

} // namespace tautgrad::cpu::TG_ISA
