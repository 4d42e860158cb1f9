// Batch norm of [outer, n, inner] with the statistics of each of the n channels, and its gradient: as many passes over memory as there are
// tensors, as long as a channel fits in the second-level cache. A channel is summed in segments whose borders depend on the shape alone,
// and the segments are joined in order: how they are shared out among threads changes no bit.
#include "normalization.hpp"

namespace tautgrad::cpu::TG_ISA {
namespace {

constexpr int64_t SEGMENT =
    8192; // positions of a channel that are summed together: both passes over them find them in the first-level cache
constexpr int64_t CACHED = 1 << 19;  // bytes of a channel's tensors that its task finds in the second-level cache the second time
constexpr int64_t FEW = 8;           // channels: fewer are no work for many threads
constexpr int64_t NARROW = 16;       // shorter runs are treated as columns
constexpr int64_t COLUMN_TILE = 256; // neighbouring columns summed together

// f(offset, length) for the runs of at most RUN elements that make up positions [begin, end) of channel c.
template <class F> TG_INLINE void for_runs(const tg_lines &p, int64_t c, int64_t begin, int64_t end, const F &f) {
  while (begin < end) {
    const int64_t i = begin % p.inner, length = smaller(smaller(p.inner - i, end - begin), RUN);
    f((begin / p.inner * p.n + c) * p.inner + i, length);
    begin += length;
  }
}

// One call of either kernel: how segments are summed into `Sums`, how a channel's are joined, and how a segment of the result is made.
//   Sums sums(c, begin, end), Sums join(Sums, Sums), void finish(c, Sums), void map(c, begin, end)
template <class Sums, class Kernel> int by_channels(const tg_lines &p, int64_t bytes_per_position, const Kernel &kernel) {
  const int64_t total = p.outer * p.inner, segments = total > 0 ? (total + SEGMENT - 1) / SEGMENT : 1;
  const auto end_of = [=](int64_t s) { return smaller((s + 1) * SEGMENT, total); };
  if (total * bytes_per_position <= CACHED && (p.n >= FEW || segments == 1)) {
    for_chunks(p.n, 1 + CHUNK / (total + 1), [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c) {
        Sums all = kernel.sums(c, 0, end_of(0));
        for (int64_t s = 1; s < segments; ++s) all = kernel.join(all, kernel.sums(c, s * SEGMENT, end_of(s)));
        kernel.finish(c, all);
        kernel.map(c, 0, total);
      }
    });
    return TG_OK;
  }
  Sums *partial = static_cast<Sums *>(scratch(0, p.n * segments * static_cast<int64_t>(sizeof(Sums))));
  if (!partial) return fail("batch_norm: out of memory");
  parallel_for(p.n * segments, [&](int64_t task) {
    const int64_t s = task % segments;
    partial[task] = kernel.sums(task / segments, s * SEGMENT, end_of(s));
  });
  for (int64_t c = 0; c < p.n; ++c) {
    Sums all = partial[c * segments];
    for (int64_t s = 1; s < segments; ++s) all = kernel.join(all, partial[c * segments + s]);
    kernel.finish(c, all);
  }
  parallel_for(p.n * segments, [&](int64_t task) {
    const int64_t s = task % segments;
    kernel.map(task / segments, s * SEGMENT, end_of(s));
  });
  return TG_OK;
}

template <class T> struct Forward {
  tg_lines p;
  double epsilon;
  bool relu;
  const T *x, *weight, *bias;
  T *y, *mean, *variance;

  Moments sums(int64_t c, int64_t begin, int64_t end) const {
    const double n = static_cast<double>(end - begin);
    double sum[1] = {}, deviations[2] = {};
    for_runs(p, c, begin, end, [&](int64_t offset, int64_t length) {
      const T *line = x + offset;
      sum_run<T>(length, sum, [=](auto *acc, int64_t k, auto tag) TG_LAMBDA { acc[0] += read(line + k, tag); });
    });
    const T shift = static_cast<T>(n > 0 ? sum[0] / n : 0);
    for_runs(p, c, begin, end, [&](int64_t offset, int64_t length) {
      const T *line = x + offset;
      sum_run<T>(length, deviations, [=](auto *acc, int64_t k, auto tag) TG_LAMBDA {
        const auto d = read(line + k, tag) - shift;
        acc[0] += d;
        acc[1] += d * d;
      });
    });
    return moments_of(n, static_cast<double>(shift), deviations[0], deviations[1]);
  }
  static Moments join(Moments a, Moments b) { return join_moments(a, b); }
  void finish(int64_t c, Moments m) const {
    mean[c] = static_cast<T>(m.mean);
    variance[c] = variance_of<T>(m);
  }
  Normalization<T> of(int64_t c) const { return normalization(mean[c], variance[c], epsilon, weight[c], bias[c]); }
  void map(int64_t c, int64_t begin, int64_t end) const {
    const Normalization<T> f = of(c);
    for_runs(p, c, begin, end, [&](int64_t offset, int64_t length) {
      const T *line = x + offset;
      if (relu)
        map_run(length, y + offset, [=](auto at) TG_LAMBDA { return positive_part<T>(f(at(line))); });
      else
        map_run(length, y + offset, [=](auto at) TG_LAMBDA { return f(at(line)); });
    });
  }
};

// The sums of g and g (x - mean).
struct Products {
  double g, moment;
};

template <class T> struct Gradient {
  tg_lines p;
  double epsilon;
  bool relu;
  const T *x, *weight, *bias, *mean, *variance, *dy;
  T *dx, *dweight, *dbias;
  Products *products; // of every channel

  Normalization<T> of(int64_t c) const { return normalization(mean[c], variance[c], epsilon, weight[c], bias[c]); }
  Products sums(int64_t c, int64_t begin, int64_t end) const {
    const Normalization<T> f = of(c);
    double sum[2] = {};
    for_runs(p, c, begin, end, [&](int64_t offset, int64_t length) {
      const T *line = x + offset, *from = dy + offset;
      if (relu)
        sum_run<T>(length, sum, [=](auto *acc, int64_t k, auto tag) TG_LAMBDA {
          const auto v = read(line + k, tag), g = where_positive(f(v), read(from + k, tag));
          acc[0] += g;
          acc[1] += g * (v - f.mean);
        });
      else
        sum_run<T>(length, sum, [=](auto *acc, int64_t k, auto tag) TG_LAMBDA {
          const auto g = read(from + k, tag);
          acc[0] += g;
          acc[1] += g * (read(line + k, tag) - f.mean);
        });
    });
    return {sum[0], sum[1]};
  }
  static Products join(Products a, Products b) { return {a.g + b.g, a.moment + b.moment}; }
  void finish(int64_t c, Products s) const {
    products[c] = s;
    dweight[c] = static_cast<T>(s.moment * inverse_deviation(variance[c], epsilon));
    dbias[c] = static_cast<T>(s.g);
  }
  NormalizationGradient<T> slope_of(int64_t c) const {
    return normalization_gradient(static_cast<double>(p.outer * p.inner), mean[c], variance[c], epsilon, weight[c], products[c].g,
                                  products[c].moment);
  }
  void map(int64_t c, int64_t begin, int64_t end) const {
    if (!dx) return;
    const Normalization<T> f = of(c);
    const NormalizationGradient<T> d = slope_of(c);
    for_runs(p, c, begin, end, [&](int64_t offset, int64_t length) {
      const T *line = x + offset, *from = dy + offset;
      if (relu)
        map_run(length, dx + offset, [=](auto at) TG_LAMBDA {
          const auto v = at(line);
          return d(v, where_positive(f(v), at(from)));
        });
      else
        map_run(length, dx + offset, [=](auto at) TG_LAMBDA { return d(at(line), at(from)); });
    });
  }
};

// Short runs: [outer, n inner] as rows of columns, tiles of whole channels. Sums are carried in float64.
//   void sums(c, columns, row0, rows, first column, width, Sums *), where Sums has one entry per channel of the tile.
template <class Sums, class Kernel, class Add, class Map>
int by_columns(const tg_lines &p, const Kernel &kernel, const Add &add_rows, const Map &map_row) {
  const int64_t row = p.n * p.inner, channels = COLUMN_TILE / p.inner, tiles = (p.n + channels - 1) / channels,
                rows = 1 + CHUNK / smaller(row, channels * p.inner), segments = p.outer > 0 ? (p.outer + rows - 1) / rows : 1;
  Sums *partial = static_cast<Sums *>(scratch(0, p.n * segments * static_cast<int64_t>(sizeof(Sums))));
  if (!partial) return fail("batch_norm: out of memory");
  parallel_for(tiles * segments, [&](int64_t task) {
    const int64_t c0 = task / segments * channels, count = smaller(channels, p.n - c0), s = task % segments;
    add_rows(c0, count, s * rows, smaller((s + 1) * rows, p.outer), partial + s * p.n + c0);
  });
  for (int64_t c = 0; c < p.n; ++c) {
    Sums all = partial[c];
    for (int64_t s = 1; s < segments; ++s) all = kernel.join(all, partial[s * p.n + c]);
    kernel.finish(c, all);
  }
  parallel_for(tiles * segments, [&](int64_t task) {
    const int64_t c0 = task / segments * channels, count = smaller(channels, p.n - c0), s = task % segments;
    map_row(c0, count, s * rows, smaller((s + 1) * rows, p.outer));
  });
  return TG_OK;
}

// values[j] = f(channel of column j) for the columns of channels [c0, c0 + count)
template <class V, class F> TG_INLINE void per_column(int64_t c0, int64_t count, int64_t inner, V *values, const F &f) {
  for (int64_t c = 0; c < count; ++c) {
    const V v = f(c0 + c);
    for (int64_t i = 0; i < inner; ++i) values[c * inner + i] = v;
  }
}
TG_INLINE double over_channel(const double *columns, int64_t c, int64_t inner) {
  double sum = 0;
  for (int64_t i = 0; i < inner; ++i) sum += columns[c * inner + i];
  return sum;
}

template <class T> int forward_columns(const Forward<T> &k) {
  const tg_lines p = k.p;
  const int64_t row = p.n * p.inner;
  return by_columns<Moments>(
      p, k,
      [&](int64_t c0, int64_t count, int64_t begin, int64_t end, Moments *out) {
        const int64_t width = count * p.inner;
        const double n = static_cast<double>((end - begin) * p.inner);
        double sum[COLUMN_TILE] = {}, squares[COLUMN_TILE] = {};
        T shift[COLUMN_TILE];
        const T *x = k.x + c0 * p.inner;
        for (int64_t o = begin; o < end; ++o)
          for (int64_t j = 0; j < width; ++j) sum[j] += static_cast<double>(x[o * row + j]);
        per_column(0, count, p.inner, shift, [&](int64_t c) { return static_cast<T>(n > 0 ? over_channel(sum, c, p.inner) / n : 0); });
        for (int64_t j = 0; j < width; ++j) sum[j] = 0;
        for (int64_t o = begin; o < end; ++o)
          for (int64_t j = 0; j < width; ++j) {
            const double d = static_cast<double>(x[o * row + j] - shift[j]);
            sum[j] += d;
            squares[j] += d * d;
          }
        for (int64_t c = 0; c < count; ++c)
          out[c] = moments_of(n, static_cast<double>(shift[c * p.inner]), over_channel(sum, c, p.inner), over_channel(squares, c, p.inner));
      },
      [&](int64_t c0, int64_t count, int64_t begin, int64_t end) {
        Normalization<T> f[COLUMN_TILE];
        per_column(c0, count, p.inner, f, [&](int64_t c) { return k.of(c); });
        const int64_t width = count * p.inner;
        for (int64_t o = begin; o < end; ++o)
          for (int64_t j = 0; j < width; ++j) {
            const int64_t at = o * row + c0 * p.inner + j;
            const T z = f[j](k.x[at]);
            k.y[at] = k.relu && z < T(0) ? T(0) : z;
          }
      });
}

template <class T> int gradient_columns(const Gradient<T> &k) {
  const tg_lines p = k.p;
  const int64_t row = p.n * p.inner;
  return by_columns<Products>(
      p, k,
      [&](int64_t c0, int64_t count, int64_t begin, int64_t end, Products *out) {
        const int64_t width = count * p.inner;
        double sum[COLUMN_TILE] = {}, moment[COLUMN_TILE] = {};
        Normalization<T> f[COLUMN_TILE];
        per_column(c0, count, p.inner, f, [&](int64_t c) { return k.of(c); });
        for (int64_t o = begin; o < end; ++o)
          for (int64_t j = 0; j < width; ++j) {
            const int64_t at = o * row + c0 * p.inner + j;
            const double g = k.relu && !(f[j](k.x[at]) > T(0)) ? 0 : static_cast<double>(k.dy[at]);
            sum[j] += g;
            moment[j] += g * static_cast<double>(k.x[at] - f[j].mean);
          }
        for (int64_t c = 0; c < count; ++c) out[c] = {over_channel(sum, c, p.inner), over_channel(moment, c, p.inner)};
      },
      [&](int64_t c0, int64_t count, int64_t begin, int64_t end) {
        if (!k.dx) return;
        Normalization<T> f[COLUMN_TILE];
        NormalizationGradient<T> d[COLUMN_TILE];
        per_column(c0, count, p.inner, f, [&](int64_t c) { return k.of(c); });
        per_column(c0, count, p.inner, d, [&](int64_t c) { return k.slope_of(c); });
        const int64_t width = count * p.inner;
        for (int64_t o = begin; o < end; ++o)
          for (int64_t j = 0; j < width; ++j) {
            const int64_t at = o * row + c0 * p.inner + j;
            k.dx[at] = d[j](k.x[at], k.relu && !(f[j](k.x[at]) > T(0)) ? T(0) : k.dy[at]);
          }
      });
}

int batch_norm(int64_t dtype, const tg_lines *p, double epsilon, int64_t relu, const void *x, const void *weight, const void *bias, void *y,
               void *mean, void *variance) {
  return with_real(dtype, "batch_norm", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Forward<T> k{*p,
                       epsilon,
                       relu != 0,
                       static_cast<const T *>(x),
                       static_cast<const T *>(weight),
                       static_cast<const T *>(bias),
                       static_cast<T *>(y),
                       static_cast<T *>(mean),
                       static_cast<T *>(variance)};
    if (p->n == 0) return static_cast<int>(TG_OK);
    return p->inner > 0 && p->inner < NARROW ? forward_columns(k) : by_channels<Moments>(*p, sizeof(T), k);
  });
}

int batch_norm_gradient(int64_t dtype, const tg_lines *p, double epsilon, int64_t relu, const void *x, const void *weight, const void *bias,
                        const void *mean, const void *variance, const void *dy, void *dx, void *dweight, void *dbias) {
  return with_real(dtype, "batch_norm_gradient", [&](auto tag) {
    using T = typename decltype(tag)::type;
    if (p->n == 0) return static_cast<int>(TG_OK);
    Products *products = static_cast<Products *>(scratch(1, p->n * static_cast<int64_t>(sizeof(Products))));
    if (!products) return fail("batch_norm_gradient: out of memory");
    const Gradient<T> k{*p,
                        epsilon,
                        relu != 0,
                        static_cast<const T *>(x),
                        static_cast<const T *>(weight),
                        static_cast<const T *>(bias),
                        static_cast<const T *>(mean),
                        static_cast<const T *>(variance),
                        static_cast<const T *>(dy),
                        static_cast<T *>(dx),
                        static_cast<T *>(dweight),
                        static_cast<T *>(dbias),
                        products};
    return p->inner > 0 && p->inner < NARROW ? gradient_columns(k) : by_channels<Products>(*p, 2 * sizeof(T), k);
  });
}

int channel_affine(int64_t dtype, const tg_lines *p, int64_t relu, const void *x_, const void *mean, const void *scale, const void *bias,
                   void *y_) {
  return with_real(dtype, "channel_affine", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T *x = static_cast<const T *>(x_), *m = static_cast<const T *>(mean), *s = static_cast<const T *>(scale),
            *b = static_cast<const T *>(bias);
    T *y = static_cast<T *>(y_);
    const int64_t n = p->n, inner = p->inner;
    if (inner == 1) { // rows of channels
      for_chunks(p->outer, 1 + CHUNK / (n + 1), [=](int64_t begin, int64_t end) {
        for (int64_t o = begin; o < end; ++o) {
          const T *row = x + o * n;
          map_run(n, y + o * n, [=](auto at) TG_LAMBDA {
            const auto z = (at(row) - at(m)) * at(s) + at(b);
            return relu ? positive_part<T>(z) : z;
          });
        }
      });
      return static_cast<int>(TG_OK);
    }
    for_chunks(p->outer * n, 1 + CHUNK / (inner + 1), [=](int64_t begin, int64_t end) {
      for (int64_t plane = begin; plane < end; ++plane) {
        const T *line = x + plane * inner;
        const Normalization<T> f{m[plane % n], s[plane % n], b[plane % n]};
        if (relu)
          map_run(inner, y + plane * inner, [=](auto at) TG_LAMBDA { return positive_part<T>(f(at(line))); });
        else
          map_run(inner, y + plane * inner, [=](auto at) TG_LAMBDA { return f(at(line)); });
      }
    });
    return static_cast<int>(TG_OK);
  });
}

} // namespace

void register_batch_norm(tg_backend *t) {
  t->batch_norm = batch_norm;
  t->batch_norm_gradient = batch_norm_gradient;
  t->channel_affine = channel_affine;
}

} // namespace tautgrad::cpu::TG_ISA
