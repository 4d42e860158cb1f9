// The exact finish of prox2d: the optimality conditions of its result and dual, whatever the image and wherever the iterations stopped;
// agreement with independent solvers; degenerate images; isolation; warm starts.
// TAUTGRAD_FUZZ_IMAGES raises the number of fuzzed images.
#include "native/backend.h"
#include "tv_oracle.h"

#include <cstring>

namespace {
const tg_backend *B = tg_cpu_backend();
constexpr double INF = std::numeric_limits<double>::infinity();

template <class T> struct Problem {
  int64_t batch = 1, h = 1, w = 1;
  std::vector<T> x, rows{T(0)}, cols{T(0)}, wx, wy; // no weights: empty
  double row_weight(int64_t r, int64_t j) const { return weight(rows[0], wx.empty() ? T(1) : wx[size_t(r * (w - 1) + j)]); }
  double col_weight(int64_t r, int64_t j) const { return weight(cols[0], wy.empty() ? T(1) : wy[size_t(r * w + j)]); }
  static double weight(T lambda, T v) { return v == 0 ? 0 : double(T(lambda * v)); }
};

template <class T> struct Solution {
  std::vector<T> y, dual;
  std::vector<int32_t> labels;
  std::vector<double> report;
};

template <class T>
Solution<T> solve(const Problem<T> &p, double tolerance, int64_t method = TG_TV2D_EXACT, const std::vector<T> *init = nullptr,
                  int64_t iterations = 100000) {
  Solution<T> s{std::vector<T>(p.x.size()), std::vector<T>(2 * p.x.size()), std::vector<int32_t>(p.x.size()),
                std::vector<double>(size_t(p.batch * TG_TV_REPORT))};
  const tg_tv2d q{p.batch, p.h, p.w, method, iterations};
  CHECK(B->prox2d(sizeof(T) == 4 ? TG_F32 : TG_F64, &q, tolerance, p.x.data(), p.rows.data(), p.cols.data(),
                  p.wx.empty() ? nullptr : p.wx.data(), p.wy.empty() ? nullptr : p.wy.data(), init ? init->data() : nullptr, s.y.data(),
                  s.dual.data(), s.labels.data(), s.report.data(), nullptr) == TG_OK);
  return s;
}

// The optimality conditions of one image, relative to the largest number in them: |u| <= w, u = +-w across every jump of y, y = x - D^T u.
// Labels: the smallest pixel of a connected set of equal values.
template <class T> double violation(const Problem<T> &p, const Solution<T> &s) {
  double worst = 0, scale = 0;
  const T *horizontal = s.dual.data(), *vertical = horizontal + p.x.size();
  for (size_t i = 0; i < p.x.size(); ++i)
    scale = std::max({scale, std::fabs(double(p.x[i])), std::fabs(double(horizontal[i])), std::fabs(double(vertical[i]))});
  if (scale == 0) scale = 1;
  const auto edge = [&](double u, double w, size_t a, size_t b) {
    const double rise = double(s.y[b]) - double(s.y[a]);
    worst = std::max(worst, (std::fabs(u) - w) / scale);
    if (rise != 0) worst = std::max(worst, std::fabs(u - std::min(w, 1e300) * (rise > 0 ? 1 : -1)) / scale);
    if (s.labels[a] == s.labels[b] && rise != 0) worst = INF;
  };
  for (int64_t r = 0; r < p.h; ++r)
    for (int64_t j = 0; j < p.w; ++j) {
      const size_t i = size_t(r * p.w + j);
      double z = double(p.x[i]) + double(horizontal[i]) + double(vertical[i]);
      if (j > 0) z -= double(horizontal[i - 1]);
      if (r > 0) z -= double(vertical[i - size_t(p.w)]);
      worst = std::max(worst, std::fabs(z - double(s.y[i])) / scale);
      if (j + 1 < p.w)
        edge(double(horizontal[i]), p.row_weight(r, j), i, i + 1);
      else if (horizontal[i] != 0)
        worst = INF;
      if (r + 1 < p.h)
        edge(double(vertical[i]), p.col_weight(r, j), i, i + size_t(p.w));
      else if (vertical[i] != 0)
        worst = INF;
      if (s.labels[i] > int32_t(i) || s.labels[size_t(s.labels[i])] != s.labels[i] || s.y[size_t(s.labels[i])] != s.y[i]) worst = INF;
    }
  return worst;
}

template <class T> Problem<T> random_problem(check::Random &random, int most) {
  Problem<T> p;
  p.h = 1 + random.below(most);
  p.w = 1 + random.below(most);
  const double scale = std::pow(10, double(random.below(13)) - 6);
  const int family = int(random.below(6));
  p.x.resize(size_t(p.h * p.w));
  for (int64_t r = 0; r < p.h; ++r)
    for (int64_t c = 0; c < p.w; ++c) {
      const double v = family == 0   ? random.normal()
                       : family == 1 ? double(random.below(3))                                               // ties
                       : family == 2 ? (r > p.h / 2) + (c > p.w / 3) + 0.2 * random.normal()                 // edges
                       : family == 3 ? double((r + c) % 2)                                                   // checkerboard
                       : family == 4 ? std::round(8 * std::sin(0.3 * double(r)) * std::cos(0.2 * double(c))) // smooth, in levels
                                     : double(r) / double(p.h) + 0.01 * random.normal();
      p.x[size_t(r * p.w + c)] = T(scale * (v + (family == 5 ? 100 : 0)));
    }
  const auto lambda = [&] {
    const int64_t kind = random.below(8);
    return kind == 0   ? 0.0
           : kind == 1 ? 1e20 * scale
           : kind == 2 ? INF
           : kind == 3 ? 0.5 * scale
                       : 2 * scale * random.uniform() * random.uniform();
  };
  p.rows = {T(lambda())};
  p.cols = {random.below(2) ? p.rows[0] : T(lambda())};
  if (random.below(3) == 0) {
    p.wx.resize(size_t(p.h * (p.w - 1)));
    for (T &v : p.wx) v = T(random.below(4) ? random.uniform() : 0);
  }
  if (random.below(3) == 0) {
    p.wy.resize(size_t((p.h - 1) * p.w));
    for (T &v : p.wy) v = T(random.below(4) ? random.uniform() : random.below(2) ? 0 : 3);
  }
  return p;
}

int fuzzed_images(int otherwise) {
  const char *named = std::getenv("TAUTGRAD_FUZZ_IMAGES");
  return named && *named ? std::atoi(named) : otherwise;
}

// From good starts and from bad ones, which the finish must survive.
template <class T> void fuzz(int images, uint64_t seed) {
  check::Random random(seed);
  double largest = 0;
  for (int trial = 0; trial < images; ++trial) {
    const auto p = random_problem<T>(random, trial % 20 == 0 ? 60 : 16);
    const int64_t start = random.below(3);
    const auto s = start == 0   ? solve(p, 0)
                   : start == 1 ? solve(p, 0.3)
                                : solve(p, 1e-9, TG_TV2D_EXACT, static_cast<const std::vector<T> *>(nullptr), 1 + random.below(3));
    const double found = violation(p, s);
    largest = std::max(largest, found);
    check::report(found <= (sizeof(T) == 8 ? 1e-12 : 1e-6), __FILE__, __LINE__, "optimality of a fuzzed image", check::text(found, trial));
    check::report(s.report[0] >= 0 && s.report[1] <= (sizeof(T) == 8 ? 1e-13 : 1e-9), __FILE__, __LINE__, "gap of a fuzzed image",
                  check::text(s.report[0], s.report[1]));
  }
  std::printf("%d fuzzed images: largest violation of the optimality conditions %.1e\n", images, largest);
}

void against_independent_solvers() {
  check::Random random(5);
  for (int trial = 0; trial < 60; ++trial) {
    auto p = random_problem<double>(random, 7);
    for (double &v : p.x) v /= p.x.empty() ? 1 : std::max(1e-12, std::fabs(p.x[0]) + 1);
    p.rows[0] = random.uniform();
    p.cols[0] = random.uniform();
    std::vector<double> bx(size_t(p.h * (p.w - 1))), by(size_t((p.h - 1) * p.w));
    for (size_t e = 0; e < bx.size(); ++e) bx[e] = p.rows[0] * (p.wx.empty() ? 1 : p.wx[e]);
    for (size_t e = 0; e < by.size(); ++e) by[e] = p.cols[0] * (p.wy.empty() ? 1 : p.wy[e]);
    double spread = 1;
    for (double v : p.x) spread = std::max(spread, std::fabs(v - p.x[0]));
    for (double &v : p.x) v = (v - p.x[0]) / spread;
    const auto expected = oracle::prox_image(int(p.h), int(p.w), p.x, bx, by, 6000);
    const auto s = solve(p, 0);
    double worst = 0;
    for (size_t i = 0; i < p.x.size(); ++i) worst = std::max(worst, std::fabs(s.y[i] - expected[i]));
    CHECK_NEAR(worst, 0, 1e-6);
    const double best = oracle::image_objective(int(p.h), int(p.w), p.x, expected, bx, by);
    CHECK_NEAR(s.report[3], best, 1e-9 * (1 + best));
    CHECK(s.report[3] <= best + 1e-14 * (1 + best));
  }
  // Lines, by the dynamic programme.
  for (int trial = 0; trial < 40; ++trial) {
    const int64_t n = 1 + random.below(300);
    Problem<double> p;
    for (int64_t i = 0; i < n; ++i) p.x.push_back(std::sin(0.05 * double(i)) + 0.3 * random.normal());
    const double lambda = 2 * random.uniform();
    const auto expected = oracle::prox_line(p.x, std::vector<double>(size_t(n - 1), lambda));
    for (int transposed = 0; transposed < 2; ++transposed) {
      p.h = transposed ? n : 1;
      p.w = transposed ? 1 : n;
      p.rows[0] = transposed ? 17 : lambda;
      p.cols[0] = transposed ? lambda : 17;
      const auto s = solve(p, 0);
      for (int64_t i = 0; i < n; ++i) CHECK_NEAR(s.y[size_t(i)], expected[size_t(i)], 1e-12);
    }
  }
}

// 1/2 |y - x|^2 + sum w |dy| of one image, in long double.
template <class T, class Y> double objective(const Problem<T> &p, const std::vector<Y> &y) {
  long double sum = 0;
  for (int64_t r = 0; r < p.h; ++r)
    for (int64_t j = 0; j < p.w; ++j) {
      const size_t i = size_t(r * p.w + j);
      const long double d = (long double)p.x[i] - (long double)y[i];
      sum += 0.5L * d * d;
      if (j + 1 < p.w) sum += p.row_weight(r, j) * std::fabs((long double)y[i + 1] - (long double)y[i]);
      if (r + 1 < p.h) sum += p.col_weight(r, j) * std::fabs((long double)y[i + size_t(p.w)] - (long double)y[i]);
    }
  return double(sum);
}

// The reported gap is never less than the excess over the minimum, which the exact solution of the same data gives in float64.
template <class T> void gaps_bound_the_excess(int images, uint64_t seed) {
  check::Random random(seed);
  for (int trial = 0; trial < images; ++trial) {
    auto p = random_problem<T>(random, 30);
    if (!(p.rows[0] < 1e10)) p.rows[0] = T(0.3) * std::fabs(p.x[0]);
    if (!(p.cols[0] < 1e10)) p.cols[0] = T(0.3) * std::fabs(p.x[0]);
    Problem<double> q;
    q.h = p.h;
    q.w = p.w;
    q.x.assign(p.x.begin(), p.x.end());
    q.rows = q.cols = {1};
    for (int64_t r = 0; r < p.h; ++r)
      for (int64_t j = 0; j + 1 < p.w; ++j) q.wx.push_back(p.row_weight(r, j));
    for (int64_t r = 0; r + 1 < p.h; ++r)
      for (int64_t j = 0; j < p.w; ++j) q.wy.push_back(p.col_weight(r, j));
    const auto best = solve(q, 0);
    CHECK(violation(q, best) <= 1e-12);
    const double least = objective(q, best.y), tolerance = std::pow(10, -1 - double(random.below(6)));
    const bool plain = random.below(4) == 0;
    const auto s = plain ? solve(p, 0, TG_TV2D_DYKSTRA, static_cast<const std::vector<T> *>(nullptr), 1 + random.below(6))
                         : solve(p, tolerance, TG_TV2D_ACCELERATED);
    const double excess = objective(p, s.y) - least;
    check::report(s.report[0] >= 0 && excess <= s.report[0] + 1e-13 * least, __FILE__, __LINE__, "the gap bounds the excess",
                  check::text(s.report[0], excess));
    if (!plain) check::report(s.report[1] <= tolerance, __FILE__, __LINE__, "the gap is met", check::text(s.report[1], tolerance));
    CHECK_NEAR(s.report[3], objective(p, s.y), 1e-12 * least + 1e-300);
  }
}

void certified_vector() {
  const std::string base = check::shared_folder() + "/vectors/tv/t9_img32_lam0.1";
  Problem<double> p;
  std::vector<double> expected;
  if (!check::read_doubles(base + ".y.f64", &p.x) || !check::read_doubles(base + ".x.f64", &expected)) {
    std::printf("skipped t9_img32_lam0.1: no certified vectors beside the repository\n");
    return;
  }
  p.h = p.w = 32;
  p.rows = p.cols = {0.1};
  const auto s = solve(p, 0);
  for (size_t i = 0; i < expected.size(); ++i) CHECK_NEAR(s.y[i], expected[i], 1e-8);
  CHECK(s.report[1] <= 1e-15);
  std::vector<int32_t> roots(s.labels);
  std::sort(roots.begin(), roots.end());
  CHECK(std::unique(roots.begin(), roots.end()) - roots.begin() == 140);
}

// The threads share one image, images share the threads: the same bits. NaN and infinity stay in their image.
template <class T> void batch_is_loop() {
  check::Random random(10);
  Problem<T> all;
  all.batch = 5;
  all.h = 130;
  all.w = 117;
  const int64_t n = all.h * all.w;
  for (int64_t i = 0; i < all.batch * n; ++i) all.x.push_back(T(std::sin(0.01 * double(i % n)) + 0.3 * random.normal()));
  all.rows = {T(0.1), T(0.3), T(0.2), T(0.3), T(1.5)};
  all.cols = {T(0.1), T(0), T(0.2), T(0.2), T(2)};
  all.x[size_t(2 * n + 17)] = std::numeric_limits<T>::quiet_NaN();
  all.x[size_t(3 * n + 5)] = std::numeric_limits<T>::infinity();
  const auto together = solve(all, 0);
  for (int64_t b = 0; b < all.batch; ++b) {
    Problem<T> one;
    one.h = all.h;
    one.w = all.w;
    one.x.assign(all.x.begin() + b * n, all.x.begin() + (b + 1) * n);
    one.rows = {all.rows[size_t(b)]};
    one.cols = {all.cols[size_t(b)]};
    const auto s = solve(one, 0);
    if (b == 2 || b == 3) continue;
    CHECK(std::memcmp(s.y.data(), together.y.data() + b * n, sizeof(T) * size_t(n)) == 0);
    CHECK(std::memcmp(s.labels.data(), together.labels.data() + b * n, sizeof(int32_t) * size_t(n)) == 0);
    CHECK(std::memcmp(s.dual.data(), together.dual.data() + 2 * b * n, 2 * sizeof(T) * size_t(n)) == 0);
    CHECK(violation(one, s) <= (sizeof(T) == 8 ? 1e-13 : 1e-6));
  }
}

// One component of many pixels, and data far from its mean; the flows then are much larger than the data.
void large_components() {
  Problem<double> p;
  p.h = 300;
  p.w = 211;
  for (int64_t i = 0; i < p.h * p.w; ++i) p.x.push_back(1e3 + double(i / p.w) / double(p.h));
  p.rows = p.cols = {1e6};
  CHECK(violation(p, solve(p, 0)) <= 1e-12);
  p.rows = p.cols = {10};
  CHECK(violation(p, solve(p, 0)) <= 1e-12);
  p.h = 1;
  p.w = 300 * 211;
  p.rows = {100};
  CHECK(violation(p, solve(p, 0)) <= 1e-12);
}

// A dual to start from saves sweeps and changes nothing else; one of another problem does no harm.
template <class T> void warm_starts() {
  check::Random random(11);
  for (int trial = 0; trial < 20; ++trial) {
    auto p = random_problem<T>(random, 30);
    const auto cold = solve(p, 1e-5, TG_TV2D_ACCELERATED);
    const auto again = solve(p, 1e-5, TG_TV2D_ACCELERATED, &cold.dual);
    CHECK(again.report[2] <= std::max(1.0, cold.report[2]));
    CHECK(again.report[1] <= 1e-5);
    std::vector<T> wild(2 * p.x.size());
    for (T &v : wild) v = random.below(9) ? T(1e6 * random.normal()) : std::numeric_limits<T>::quiet_NaN();
    const auto s = solve(p, 0, TG_TV2D_EXACT, &wild), cold_exact = solve(p, 0);
    CHECK(violation(p, s) <= (sizeof(T) == 8 ? 1e-12 : 1e-6));
    double scale = 0, worst = 0;
    for (size_t i = 0; i < p.x.size(); ++i) {
      scale = std::max(scale, std::fabs(double(p.x[i])));
      worst = std::max(worst, std::fabs(double(s.y[i]) - double(cold_exact.y[i])));
    }
    CHECK(worst <= (sizeof(T) == 8 ? 1e-12 : 1e-6) * scale);
  }
}
} // namespace

int main() {
  certified_vector();
  against_independent_solvers();
  fuzz<double>(fuzzed_images(1000), 21);
  fuzz<float>(fuzzed_images(1000), 22);
  gaps_bound_the_excess<double>(200, 23);
  gaps_bound_the_excess<float>(200, 24);
  batch_is_loop<float>();
  batch_is_loop<double>();
  large_components();
  warm_starts<float>();
  warm_starts<double>();
  return check::finish("tv_exact_test");
}
