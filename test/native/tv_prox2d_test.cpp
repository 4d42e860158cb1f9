// prox2d, component_average and rof: certified vectors, independent slow solvers, certificates, degenerate images, isolation.
#include "native/backend.h"
#include "tv_oracle.h"

#include <cstring>

namespace {
const tg_backend *B = tg_cpu_backend();

template <class T> int64_t dtype_of() { return sizeof(T) == 4 ? TG_F32 : TG_F64; }

template <class T> struct Solution {
  std::vector<T> y;
  std::vector<int32_t> labels;
  std::vector<double> report;
};

template <class T>
Solution<T> solve(const tg_tv2d &p, double tolerance, const std::vector<T> &x, const std::vector<T> &rows, const std::vector<T> &cols,
                  const std::vector<T> *wx = nullptr, const std::vector<T> *wy = nullptr) {
  Solution<T> s{std::vector<T>(x.size()), std::vector<int32_t>(x.size()), std::vector<double>(size_t(p.batch * TG_TV_REPORT))};
  CHECK(B->prox2d(dtype_of<T>(), &p, tolerance, x.data(), rows.data(), cols.data(), wx ? wx->data() : nullptr, wy ? wy->data() : nullptr,
                  nullptr, s.y.data(), nullptr, s.labels.data(), s.report.data(), nullptr) == TG_OK);
  return s;
}

tg_tv2d problem(int64_t batch, int64_t h, int64_t w, int64_t iterations = 100000, int64_t method = TG_TV2D_ACCELERATED) {
  return {batch, h, w, method, iterations};
}

tg_rof rof_problem(const tg_tv2d &p, int64_t method = TG_ROF_AUTO) {
  return {p.batch, 1, 1, p.height, p.width, 2, method, p.max_iterations};
}

template <class A, class C> double distance(const A &a, const C &b) {
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::fabs(double(a[i]) - double(b[i])));
  return worst;
}

void certified_vector() {
  const std::string base = check::shared_folder() + "/vectors/tv/t9_img32_lam0.1";
  std::vector<double> input, expected;
  if (!check::read_doubles(base + ".y.f64", &input) || !check::read_doubles(base + ".x.f64", &expected)) {
    std::printf("skipped t9_img32_lam0.1: no certified vectors beside the repository\n");
    return;
  }
  const auto s = solve<double>(problem(1, 32, 32), 1e-12, input, {0.1}, {0.1});
  CHECK_NEAR(distance(s.y, expected), 0, 1e-8);
  CHECK(s.report[1] <= 1e-12);
  CHECK_NEAR(s.report[3], 6.29896052890571, 1e-9);
  std::vector<int32_t> roots(s.labels);
  std::sort(roots.begin(), roots.end());
  CHECK(std::unique(roots.begin(), roots.end()) - roots.begin() == 140);
  std::vector<float> input32(input.begin(), input.end());
  const auto f = solve<float>(problem(1, 32, 32), 1e-6, input32, {0.1f}, {0.1f});
  CHECK(f.report[1] <= 1e-6);
  CHECK_NEAR(distance(f.y, expected), 0, 2e-3);
}

std::vector<double> random_image(check::Random &random, int h, int w) {
  std::vector<double> x(size_t(h * w));
  const int family = int(random.below(3));
  for (int r = 0; r < h; ++r)
    for (int c = 0; c < w; ++c)
      x[size_t(r * w + c)] = family == 0   ? random.normal()
                             : family == 1 ? double(random.below(3))
                                           : (r > h / 2) + (c > w / 3) + 0.2 * random.normal();
  return x;
}

// Different lambdas per axis and edge weights, against a slow independent solver; the reported gap bounds the excess, in float32 too.
void against_projected_gradient() {
  check::Random random(3);
  for (int trial = 0; trial < 200; ++trial) {
    const int h = 1 + int(random.below(7)), w = 1 + int(random.below(7));
    const auto x = random_image(random, h, w);
    const double lr = random.uniform(), lc = random.below(4) ? random.uniform() : 0;
    const bool weighted = random.below(2);
    std::vector<double> wx(size_t(h * (w - 1)), 1.0), wy(size_t((h - 1) * w), 1.0);
    if (weighted) {
      for (double &v : wx) v = random.below(4) ? 2 * random.uniform() : 0;
      for (double &v : wy) v = random.below(4) ? 2 * random.uniform() : 0;
    }
    auto bx = wx, by = wy;
    for (double &v : bx) v *= lr;
    for (double &v : by) v *= lc;
    const auto expected = oracle::prox_image(h, w, x, bx, by, 4000);
    const auto s = solve<double>(problem(1, h, w), 1e-13, x, {lr}, {lc}, weighted ? &wx : nullptr, weighted ? &wy : nullptr);
    CHECK_NEAR(distance(s.y, expected), 0, 1e-6);
    const double best = oracle::image_objective(h, w, x, s.y, bx, by);
    CHECK_NEAR(s.report[3], best, 1e-12 * (1 + best));
    CHECK(s.report[0] >= 0 && s.report[1] <= 1e-10);

    const auto rough = solve<double>(problem(1, h, w), 1e-2, x, {lr}, {lc}, weighted ? &wx : nullptr, weighted ? &wy : nullptr);
    CHECK(oracle::image_objective(h, w, x, rough.y, bx, by) - best <= rough.report[0] + 1e-12 * (1 + best));

    const std::vector<float> x32(x.begin(), x.end()), wx32(wx.begin(), wx.end()), wy32(wy.begin(), wy.end());
    const auto f =
        solve<float>(problem(1, h, w, 500), 1e-6, x32, {float(lr)}, {float(lc)}, weighted ? &wx32 : nullptr, weighted ? &wy32 : nullptr);
    CHECK(f.report[0] >= 0);
    CHECK_NEAR(distance(f.y, expected), 0, 4e-3);
  }
}

// Algorithm 1 of Yeh et al. 2022, written out with the line solver.
void plain_dykstra() {
  check::Random random(4);
  for (int trial = 0; trial < 30; ++trial) {
    const int64_t h = 1 + random.below(20), w = 1 + random.below(20);
    std::vector<double> x(size_t(h * w));
    for (double &v : x) v = random.normal();
    const double lambda = random.uniform();
    std::vector<double> y(x), p(x.size(), 0), q(x.size(), 0), z(x.size()), in(x.size());
    const std::vector<double> lambdas(size_t(std::max(h, w)), lambda);
    const tg_lines rows{h, w, 1}, cols{1, h, w};
    for (int k = 0; k < 4; ++k) {
      for (size_t i = 0; i < x.size(); ++i) in[i] = y[i] + p[i];
      CHECK(B->prox1d(TG_F64, &rows, in.data(), lambdas.data(), nullptr, z.data()) == TG_OK);
      for (size_t i = 0; i < x.size(); ++i) p[i] = in[i] - z[i], in[i] = z[i] + q[i];
      CHECK(B->prox1d(TG_F64, &cols, in.data(), lambdas.data(), nullptr, y.data()) == TG_OK);
      for (size_t i = 0; i < x.size(); ++i) q[i] = in[i] - y[i];
    }
    const auto s = solve<double>(problem(1, h, w, 4, TG_TV2D_DYKSTRA), 0, x, {lambda}, {lambda});
    CHECK_NEAR(distance(s.y, y), 0, 1e-12);
    CHECK(s.report[2] == 4);
  }
}

void degenerate_images() {
  const double inf = std::numeric_limits<double>::infinity();
  for (const auto &size : {std::pair<int, int>{1, 1}, {1, 9}, {9, 1}, {2, 2}, {6, 5}}) {
    const int h = size.first, w = size.second;
    std::vector<double> constant(size_t(h * w), 0.1), ramp(constant.size());
    for (size_t i = 0; i < ramp.size(); ++i) ramp[i] = double(i) * 0.37 + double(i % 3);
    double mean = 0;
    for (double v : ramp) mean += v / double(ramp.size());
    for (double lambda : {0.0, 0.3, 1e30, inf}) {
      const auto s = solve<double>(problem(1, h, w, 200), 1e-9, constant, {lambda}, {lambda});
      CHECK(s.y == constant && s.report[0] == 0 && s.report[1] == 0);
      const std::vector<float> c32(constant.begin(), constant.end());
      const auto f = solve<float>(problem(1, h, w, 200), 1e-6, c32, {float(lambda)}, {float(lambda)});
      CHECK(f.y == c32 && f.report[1] == 0);
      const auto r = solve<double>(problem(1, h, w, 200), 1e-9, ramp, {lambda}, {lambda});
      CHECK(r.report[1] <= 1e-9);
      if (lambda == 0) CHECK(r.y == ramp);
      if (lambda > 1)
        for (double v : r.y) CHECK_NEAR(v, mean, 1e-12);
      for (size_t i = 0; i < ramp.size(); ++i) CHECK(r.labels[i] <= int32_t(i) && r.labels[size_t(r.labels[i])] == r.labels[i]);
    }
  }
  // One row or one column is the line solver's problem.
  check::Random random(9);
  std::vector<double> line(40), y(40);
  for (double &v : line) v = random.normal();
  const tg_lines g{1, 40, 1};
  const double lambda = 0.4;
  CHECK(B->prox1d(TG_F64, &g, line.data(), &lambda, nullptr, y.data()) == TG_OK);
  CHECK_NEAR(distance(solve<double>(problem(1, 1, 40), 1e-12, line, {lambda}, {0.9}).y, y), 0, 1e-12);
  CHECK_NEAR(distance(solve<double>(problem(1, 40, 1), 1e-12, line, {0.9}, {lambda}).y, y), 0, 1e-12);
}

// Images of a batch are bitwise what they are alone (alone, the threads share one image), and NaN stays in its own image.
template <class T> void batch_is_loop() {
  check::Random random(10);
  const int64_t batch = 5, h = 37, w = 29, n = h * w;
  std::vector<T> x(size_t(batch * n)), rows(batch), cols(batch);
  for (T &v : x) v = T(random.normal());
  for (int64_t b = 0; b < batch; ++b) rows[size_t(b)] = T(0.1 + 0.1 * double(b)), cols[size_t(b)] = T(0.3);
  x[size_t(2 * n + 17)] = std::numeric_limits<T>::quiet_NaN();
  x[size_t(3 * n + 5)] = std::numeric_limits<T>::infinity();
  const auto all = solve<T>(problem(batch, h, w, 300), 1e-5, x, rows, cols);
  for (int64_t b = 0; b < batch; ++b) {
    const std::vector<T> one(x.begin() + b * n, x.begin() + (b + 1) * n);
    const auto s = solve<T>(problem(1, h, w, 300), 1e-5, one, {rows[size_t(b)]}, {cols[size_t(b)]});
    if (b == 2 || b == 3) continue;
    CHECK(std::memcmp(s.y.data(), all.y.data() + b * n, sizeof(T) * size_t(n)) == 0);
    CHECK(std::memcmp(s.labels.data(), all.labels.data() + b * n, sizeof(int32_t) * size_t(n)) == 0);
    CHECK(s.report[1] <= 1e-5 && s.report[1] == all.report[size_t(b * TG_TV_REPORT + 1)]);
  }
}

template <class T> void fuzz_images(int images, uint64_t seed) {
  check::Random random(seed);
  for (int trial = 0; trial < images; ++trial) {
    const int h = 1 + int(random.below(12)), w = 1 + int(random.below(12));
    const double scale = std::pow(10, double(random.below(13)) - 6);
    const auto base = random_image(random, h, w);
    std::vector<T> x(base.size()), wx(size_t(h * (w - 1))), wy(size_t((h - 1) * w));
    for (size_t i = 0; i < x.size(); ++i) x[i] = T(base[i] * scale);
    const bool broken = random.below(10) == 0;
    if (broken) x[size_t(random.below(int64_t(x.size())))] = std::numeric_limits<T>::quiet_NaN();
    const T rows = T(scale * (random.below(6) ? random.uniform() : 1e30)), cols = T(random.below(6) ? scale * random.uniform() : 0);
    for (T &v : wx) v = T(random.below(4) ? random.uniform() : 0);
    for (T &v : wy) v = T(random.below(4) ? random.uniform() : 0);
    const bool weighted = random.below(2);
    const auto s = solve<T>(problem(1, h, w, 2000), sizeof(T) == 8 ? 1e-8 : 1e-4, x, {rows}, {cols}, weighted ? &wx : nullptr,
                            weighted ? &wy : nullptr);
    if (broken) continue;
    check::report(s.report[0] >= 0 && s.report[1] <= (sizeof(T) == 8 ? 1e-8 : 1e-4), __FILE__, __LINE__, "gap of a fuzzed image",
                  check::text(s.report[1], s.report[2]));
  }
}

void cancellation() {
  std::vector<double> x(64 * 64), y(x.size()), report(TG_TV_REPORT);
  check::Random random(12);
  for (double &v : x) v = random.normal();
  const double lambda = 0.5;
  const int32_t stop = 1;
  const auto p = problem(1, 64, 64);
  CHECK(B->prox2d(TG_F64, &p, 1e-9, x.data(), &lambda, &lambda, nullptr, nullptr, nullptr, y.data(), nullptr, nullptr, report.data(),
                  &stop) == TG_FAILED);
  CHECK(std::strstr(B->last_error(), "cancelled") != nullptr);
  const auto q = rof_problem(p);
  CHECK(B->rof(TG_F64, &q, 1e-9, x.data(), &lambda, nullptr, y.data(), nullptr, report.data(), &stop) == TG_FAILED);
}

template <class T> void component_averages(uint64_t seed) {
  check::Random random(seed);
  const int64_t batch = 3, n = 500;
  std::vector<int32_t> labels(size_t(batch * n));
  std::vector<T> v(labels.size()), out(v.size());
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t i = 0; i < n; ++i) {
      const int32_t candidate = int32_t(random.below(i + 1));
      labels[size_t(b * n + i)] = random.below(3) ? labels[size_t(b * n) + size_t(candidate == i ? 0 : candidate)] : int32_t(i);
      if (i == 0) labels[size_t(b * n)] = 0;
    }
  for (T &e : v) e = T(5 + random.normal());
  CHECK(B->component_average(dtype_of<T>(), batch, n, labels.data(), v.data(), out.data()) == TG_OK);
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t i = 0; i < n; ++i) {
      double sum = 0;
      int count = 0;
      for (int64_t j = 0; j < n; ++j)
        if (labels[size_t(b * n + j)] == labels[size_t(b * n + i)]) sum += double(v[size_t(b * n + j)]), ++count;
      CHECK_NEAR(out[size_t(b * n + i)], sum / count, sizeof(T) == 4 ? 2e-6 : 1e-13);
    }
}

// Isotropic: against a plain projected gradient on the dual field; one row is the anisotropic line problem; certified gaps.
void isotropic() {
  check::Random random(14);
  for (int trial = 0; trial < 30; ++trial) {
    const int h = 1 + int(random.below(8)), w = 1 + int(random.below(8));
    const auto x = random_image(random, h, w);
    const double lambda = 0.05 + 0.5 * random.uniform();
    const size_t n = x.size();
    std::vector<double> a(n, 0), b(n, 0), y(x);
    const auto primal = [&] {
      for (int r = 0; r < h; ++r)
        for (int c = 0; c < w; ++c) {
          const size_t i = size_t(r * w + c);
          y[i] = x[i] + a[i] - (c ? a[i - 1] : 0) + b[i] - (r ? b[i - size_t(w)] : 0);
        }
    };
    for (int it = 0; it < 30000; ++it) {
      primal();
      for (int r = 0; r < h; ++r)
        for (int c = 0; c < w; ++c) {
          const size_t i = size_t(r * w + c);
          a[i] += 0.24 * (c + 1 < w ? y[i + 1] - y[i] : 0);
          b[i] += 0.24 * (r + 1 < h ? y[i + size_t(w)] - y[i] : 0);
          const double length = std::hypot(a[i], b[i]);
          if (length > lambda) a[i] *= lambda / length, b[i] *= lambda / length;
        }
    }
    primal();
    std::vector<double> got(n), report(TG_TV_REPORT);
    const auto q = rof_problem(problem(1, h, w), trial % 3);
    CHECK(B->rof(TG_F64, &q, 1e-10, x.data(), &lambda, nullptr, got.data(), nullptr, report.data(), nullptr) == TG_OK);
    CHECK(report[1] <= 1e-10 && report[0] >= 0);
    CHECK_NEAR(distance(got, y), 0, 1e-4);
    const std::vector<float> x32(x.begin(), x.end());
    std::vector<float> got32(n);
    const float lambda32 = float(lambda);
    CHECK(B->rof(TG_F32, &q, 1e-5, x32.data(), &lambda32, nullptr, got32.data(), nullptr, report.data(), nullptr) == TG_OK);
    CHECK(report[1] <= 1e-5);
    CHECK_NEAR(distance(got32, y), 0, 2e-2);
  }
  std::vector<double> line(50), y(50), got(50), report(TG_TV_REPORT);
  for (double &v : line) v = random.normal();
  const double lambda = 0.7;
  const tg_lines g{1, 50, 1};
  CHECK(B->prox1d(TG_F64, &g, line.data(), &lambda, nullptr, y.data()) == TG_OK);
  for (const auto &p : {problem(1, 1, 50), problem(1, 50, 1)}) {
    const auto q = rof_problem(p);
    CHECK(B->rof(TG_F64, &q, 1e-13, line.data(), &lambda, nullptr, got.data(), nullptr, report.data(), nullptr) == TG_OK);
    CHECK_NEAR(distance(got, y), 0, 1e-5);
  }
  const std::vector<double> constant(50, 0.1);
  const auto q = rof_problem(problem(1, 5, 10));
  for (double l : {0.0, 1.0, 1e30, std::numeric_limits<double>::infinity()}) {
    CHECK(B->rof(TG_F64, &q, 1e-9, constant.data(), &l, nullptr, got.data(), nullptr, report.data(), nullptr) == TG_OK);
    CHECK(got == constant && report[1] == 0);
  }
}
} // namespace

int main() {
  certified_vector();
  against_projected_gradient();
  plain_dykstra();
  degenerate_images();
  batch_is_loop<float>();
  batch_is_loop<double>();
  fuzz_images<double>(1500, 21);
  fuzz_images<float>(1500, 22);
  cancellation();
  component_averages<float>(30);
  component_averages<double>(31);
  isotropic();
  return check::finish("tv_prox2d_test");
}
