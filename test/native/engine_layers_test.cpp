// Normalisation, softmax and pooling against loops in float64: channels of one segment and of several, runs and columns, rows, windows of
// all kinds; NaN stays in its group; numbers far from 0 keep their variance.
#include "engine_check.h"

#include <limits>

using namespace engine;

namespace {

template <class T> constexpr double precision() { return sizeof(T) == 4 ? 4e-6 : 1e-12; }

struct Group {
  double mean = 0, variance = 0;
};

// Statistics of the numbers x[at(k)], k < n.
template <class T, class At> Group statistics(const Buffer<T> &x, int64_t n, const At &at) {
  Group g;
  long double sum = 0, squares = 0;
  for (int64_t k = 0; k < n; ++k) sum += static_cast<double>(x[at(k)]);
  g.mean = static_cast<double>(sum / n);
  for (int64_t k = 0; k < n; ++k) squares += (static_cast<double>(x[at(k)]) - g.mean) * (static_cast<double>(x[at(k)]) - g.mean);
  g.variance = static_cast<double>(squares / n);
  return g;
}

template <class T> void batch_norm(const tg_backend *t, const tg_lines &p, uint64_t seed, double offset) {
  Random r(seed);
  const int64_t total = p.outer * p.inner, size = total * p.n, relu = r.below(2);
  const double epsilon = 1e-3;
  Buffer<T> x = random_buffer<T>(r, size, offset - 1, offset + 2), w = random_buffer<T>(r, p.n, 0.5, 2), b = random_buffer<T>(r, p.n),
            dy = random_buffer<T>(r, size), y(size), mean(p.n), variance(p.n), dx(size), dw(p.n), db(p.n);
  const int64_t d = dtype_of<T>::value;
  EXPECT(t->batch_norm(d, &p, epsilon, relu, x.data(), w.data(), b.data(), y.data(), mean.data(), variance.data()) == TG_OK, "%s",
         t->last_error());
  EXPECT(t->batch_norm_gradient(d, &p, epsilon, relu, x.data(), w.data(), b.data(), mean.data(), variance.data(), dy.data(), dx.data(),
                                dw.data(), db.data()) == TG_OK,
         "%s", t->last_error());
  std::vector<double> ey(size), em(p.n), ev(p.n), edx(size), edw(p.n), edb(p.n);
  for (int64_t c = 0; c < p.n; ++c) {
    const auto at = [&](int64_t k) { return (k / p.inner * p.n + c) * p.inner + k % p.inner; };
    const Group g = statistics(x, total, at);
    em[c] = g.mean;
    ev[c] = g.variance;
    const double inverse = 1 / std::sqrt(g.variance + epsilon);
    long double sum = 0, moment = 0;
    for (int64_t k = 0; k < total; ++k) {
      const double z = (static_cast<double>(x[at(k)]) - g.mean) * inverse, v = z * static_cast<double>(w[c]) + static_cast<double>(b[c]);
      ey[at(k)] = relu && v < 0 ? 0 : v;
      // Where rounding decides about the mask the kernel's own decision counts.
      const double passed = relu && !(static_cast<double>(y[at(k)]) > 0) ? 0 : static_cast<double>(dy[at(k)]);
      sum += passed;
      moment += passed * z;
    }
    edw[c] = static_cast<double>(moment);
    edb[c] = static_cast<double>(sum);
    for (int64_t k = 0; k < total; ++k) {
      const double z = (static_cast<double>(x[at(k)]) - g.mean) * inverse;
      const double passed = relu && !(static_cast<double>(y[at(k)]) > 0) ? 0 : static_cast<double>(dy[at(k)]);
      edx[at(k)] =
          static_cast<double>(w[c]) * inverse * (passed - static_cast<double>(sum / total) - z * static_cast<double>(moment / total));
    }
  }
  const double e = precision<T>(), far = 1 + std::fabs(offset); // x itself is known to a rounding error of that size
  expect_close("batch norm: mean", mean, em, e, far);
  expect_close("batch norm: variance", variance, ev, e, 2);
  expect_close("batch norm: y", y, ey, e, 4 * far);
  expect_close("batch norm: dx", dx, edx, e, 4 * far);
  expect_close("batch norm: dweight", dw, edw, e, far * std::sqrt(static_cast<double>(total)));
  expect_close("batch norm: dbias", db, edb, e, std::sqrt(static_cast<double>(total)));
}

template <class T> void layer_norm(const tg_backend *t, int64_t rows, int64_t n, uint64_t seed) {
  Random r(seed);
  const tg_lines p{rows, n, 1};
  const double epsilon = 1e-3;
  const int64_t d = dtype_of<T>::value;
  Buffer<T> x = random_buffer<T>(r, rows * n, -1, 2), w = random_buffer<T>(r, n, 0.5, 2), b = random_buffer<T>(r, n),
            dy = random_buffer<T>(r, rows * n), y(rows * n), mean(rows), variance(rows), dx(rows * n), dw(n), db(n);
  t->layer_norm(d, &p, epsilon, x.data(), w.data(), b.data(), y.data(), mean.data(), variance.data());
  t->layer_norm_gradient(d, &p, epsilon, x.data(), w.data(), mean.data(), variance.data(), dy.data(), dx.data(), dw.data(), db.data());
  std::vector<double> ey(rows * n), edx(rows * n), edw(n), edb(n);
  for (int64_t o = 0; o < rows; ++o) {
    const Group g = statistics(x, n, [&](int64_t k) { return o * n + k; });
    const double inverse = 1 / std::sqrt(g.variance + epsilon);
    double sum = 0, moment = 0;
    for (int64_t k = 0; k < n; ++k) {
      const double z = (static_cast<double>(x[o * n + k]) - g.mean) * inverse, v = static_cast<double>(dy[o * n + k]);
      ey[o * n + k] = z * static_cast<double>(w[k]) + static_cast<double>(b[k]);
      edw[k] += v * z;
      edb[k] += v;
      sum += v * static_cast<double>(w[k]);
      moment += v * static_cast<double>(w[k]) * z;
    }
    for (int64_t k = 0; k < n; ++k) {
      const double z = (static_cast<double>(x[o * n + k]) - g.mean) * inverse;
      edx[o * n + k] =
          inverse * (static_cast<double>(dy[o * n + k] * w[k]) - sum / static_cast<double>(n) - z * moment / static_cast<double>(n));
    }
  }
  const double e = precision<T>();
  expect_close("layer norm: y", y, ey, e, 4);
  // A row of one number has no variance: 1 / sqrt(epsilon) multiplies rounding errors.
  expect_close("layer norm: dx", dx, edx, e, n == 1 ? 100 : 8);
  expect_close("layer norm: dweight", dw, edw, e, 2 * std::sqrt(static_cast<double>(rows)));
  expect_close("layer norm: dbias", db, edb, e, 2 * std::sqrt(static_cast<double>(rows)));
}

template <class T> void softmax(const tg_backend *t, const tg_lines &p, uint64_t seed) {
  Random r(seed);
  const int64_t d = dtype_of<T>::value, lines = p.outer * p.inner, size = lines * p.n;
  const double low = r.below(2) ? -3 : -60;
  Buffer<T> x = random_buffer<T>(r, size, low, -low), v = random_buffer<T>(r, size), u = random_buffer<T>(r, lines);
  // A NaN spoils its own line alone; -Inf is a probability of 0.
  for (int64_t k = 0; k < 1 + size / 50; ++k) x[r.below(size)] = static_cast<T>(r.below(3) ? -INFINITY : NAN);
  Buffer<int32_t> labels(lines);
  for (int64_t i = 0; i < lines; ++i) labels[i] = static_cast<int32_t>(r.below(p.n));
  Buffer<T> soft(size), logs(size), dsoft(size), dlogs(size), loss(lines), lse(lines), dx(size);
  t->softmax(d, &p, 0, x.data(), soft.data());
  t->softmax(d, &p, 1, x.data(), logs.data());
  t->softmax_gradient(d, &p, 0, soft.data(), v.data(), dsoft.data());
  t->softmax_gradient(d, &p, 1, logs.data(), v.data(), dlogs.data());
  t->log_sum_exp(d, &p, x.data(), labels.data(), loss.data(), lse.data());
  t->log_sum_exp_gradient(d, &p, x.data(), labels.data(), lse.data(), u.data(), dx.data());
  std::vector<double> es(size), el(size), eds(size), edl(size), eloss(lines), else_(lines), edx(size);
  for (int64_t line = 0; line < lines; ++line) {
    const auto at = [&](int64_t k) { return (line / p.inner * p.n + k) * p.inner + line % p.inner; };
    double top = -INFINITY, sum = 0, dot = 0, total = 0;
    for (int64_t k = 0; k < p.n; ++k) top = std::fmax(top, static_cast<double>(x[at(k)]));
    if (!std::isfinite(top)) top = 0;
    for (int64_t k = 0; k < p.n; ++k) sum += std::exp(static_cast<double>(x[at(k)]) - top);
    else_[line] = std::log(sum) + top;
    eloss[line] = else_[line] - static_cast<double>(x[at(labels[line])]);
    for (int64_t k = 0; k < p.n; ++k) {
      es[at(k)] = std::exp(static_cast<double>(x[at(k)]) - top) / sum;
      el[at(k)] = static_cast<double>(x[at(k)]) - else_[line];
      dot += es[at(k)] * static_cast<double>(v[at(k)]);
      total += static_cast<double>(v[at(k)]);
    }
    for (int64_t k = 0; k < p.n; ++k) {
      eds[at(k)] = es[at(k)] * (static_cast<double>(v[at(k)]) - dot);
      edl[at(k)] = static_cast<double>(v[at(k)]) - std::exp(el[at(k)]) * total;
      edx[at(k)] = (std::exp(static_cast<double>(x[at(k)]) - else_[line]) - (k == labels[line] ? 1 : 0)) * static_cast<double>(u[line]);
    }
  }
  const double e = precision<T>();
  expect_close("softmax", soft, es, e, 2);
  expect_close("log softmax", logs, el, e, 30);
  expect_close("softmax gradient", dsoft, eds, e, 4);
  expect_close("log softmax gradient", dlogs, edl, e, 2 * (2 + std::sqrt(static_cast<double>(p.n))));
  expect_close("log sum exp", lse, else_, e, 30);
  expect_close("cross-entropy", loss, eloss, e, 30);
  expect_close("cross-entropy gradient", dx, edx, e, 8);
}

template <class T> void pools(const tg_backend *t, const tg_pool &p, uint64_t seed) {
  Random r(seed);
  const int64_t d = dtype_of<T>::value, pixels = p.h * p.w, outputs = p.out_h * p.out_w;
  Buffer<T> x = random_buffer<T>(r, p.planes * pixels, -3, 3), v = random_buffer<T>(r, p.planes * outputs);
  if (r.below(2)) // ties: the first of the largest wins
    for (int64_t i = 0; i < x.size(); ++i) x[i] = std::floor(x[i]);
  for (int64_t k = 0; k < x.size() / 40; ++k) x[r.below(x.size())] = static_cast<T>(r.below(2) ? -INFINITY : NAN);
  Buffer<T> y(p.planes * outputs), picked(p.planes * outputs), spread(p.planes * pixels), mean(p.planes * outputs), back(p.planes * pixels);
  Buffer<int32_t> index(p.planes * outputs);
  t->max_pool(d, &p, x.data(), y.data(), index.data());
  t->max_pool_pick(d, &p, index.data(), x.data(), picked.data());
  t->max_pool_spread(d, &p, index.data(), v.data(), spread.data());
  t->average_pool(d, &p, 0, x.data(), mean.data());
  t->average_pool(d, &p, 1, v.data(), back.data());
  std::vector<double> ey(y.size()), em(y.size()), es(spread.size()), eb(back.size());
  for (int64_t q = 0; q < y.size(); ++q) {
    const int64_t plane = q / outputs, i = q / p.out_w % p.out_h, j = q % p.out_w;
    double best = -INFINITY, sum = 0;
    int64_t at = -1;
    for (int64_t a = 0; a < p.kh; ++a)
      for (int64_t b = 0; b < p.kw; ++b) {
        const int64_t row = i * p.stride_h + a - p.pad_h, column = j * p.stride_w + b - p.pad_w;
        if (row < 0 || row >= p.h || column < 0 || column >= p.w) continue;
        const double u = static_cast<double>(x[plane * pixels + row * p.w + column]);
        if (at < 0 || u > best || (std::isnan(u) && !std::isnan(best))) best = u, at = row * p.w + column;
        sum += u;
        eb[plane * pixels + row * p.w + column] += static_cast<double>(v[q]) / static_cast<double>(p.kh * p.kw);
      }
    EXPECT(index[q] == at, "max pool: index %d, expected %d", index[q], static_cast<int>(at));
    ey[q] = best;
    em[q] = sum / static_cast<double>(p.kh * p.kw);
    es[plane * pixels + at] += static_cast<double>(v[q]);
  }
  expect_close("max pool", y, ey, 0);
  expect_close("max pool: picked", picked, ey, 0);
  expect_close("max pool: spread", spread, es, precision<T>(), 4);
  expect_close("average pool", mean, em, precision<T>(), 4);
  expect_close("average pool: transposed", back, eb, precision<T>(), 4);
}

template <class T> void check_type(const tg_backend *t) {
  const tg_lines channels[] = {{1, 1, 1},   {7, 3, 1},     {3, 2, 5},     {2, 9, 21},      {8, 16, 4096},
                               {2, 3, 700}, {1, 2, 40000}, {1, 1, 70000}, {3000, 40, 1},   {300, 300, 3},
                               {2, 8, 33},  {1, 20, 9000}, {3, 1, 17000}, {2000, 1, 2049}, {5, 600, 1}};
  uint64_t seed = 1;
  for (const tg_lines &p : channels) {
    if (p.outer * p.n * p.inner > 1000000 && sizeof(T) == 8) continue;
    batch_norm<T>(t, p, ++seed, 0);
    batch_norm<T>(t, p, ++seed, 100);
  }
  for (const int64_t n : {1, 3, 16, 67, 512, 5000})
    for (const int64_t rows : {1, 5, 40, 700}) layer_norm<T>(t, rows, n, ++seed);
  Random r(9);
  for (int round = 0; round < 60; ++round) {
    const tg_lines p{r.between(1, 9), r.between(1, 90), r.below(2) ? 1 : r.between(1, 150)};
    softmax<T>(t, p, ++seed);
    batch_norm<T>(t, p, ++seed, 3);
  }
  softmax<T>(t, {3, 5000, 1}, ++seed);
  softmax<T>(t, {2, 21, 4096}, ++seed);
  for (int round = 0; round < 80; ++round) {
    tg_pool p{};
    p.kh = r.between(1, 4), p.kw = r.between(1, 4), p.stride_h = r.between(1, 3), p.stride_w = r.between(1, 4);
    p.pad_h = r.below(p.kh / 2 + 1), p.pad_w = r.below(p.kw / 2 + 1);
    p.planes = r.between(1, 5), p.h = r.between(p.kh, 40), p.w = r.between(p.kw, 90);
    p.out_h = (p.h + 2 * p.pad_h - p.kh) / p.stride_h + 1, p.out_w = (p.w + 2 * p.pad_w - p.kw) / p.stride_w + 1;
    pools<T>(t, p, ++seed);
  }
}

void tests(const tg_backend *t) {
  check_type<float>(t);
  check_type<double>(t);
}
} // namespace

int main() { return run_everywhere(tests); }
