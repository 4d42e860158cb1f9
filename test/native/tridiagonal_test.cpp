// pttrf, pttrs, ptsv, gtsv: LAPACK's meanings, residuals at rounding, every layout, failing pivots.
#include "check.h"
#include "native/backend.h"

#include <algorithm>

namespace {
const tg_backend *B = tg_cpu_backend();

template <class T> int64_t dtype_of() { return sizeof(T) == 4 ? TG_F32 : TG_F64; }

// A dense solve with partial pivoting, in long double.
std::vector<double> dense_solve(int n, std::vector<long double> a, std::vector<long double> b) {
  for (int k = 0; k < n; ++k) {
    int best = k;
    for (int i = k + 1; i < n; ++i)
      if (std::fabs(double(a[size_t(i * n + k)])) > std::fabs(double(a[size_t(best * n + k)]))) best = i;
    for (int j = 0; j < n; ++j) std::swap(a[size_t(k * n + j)], a[size_t(best * n + j)]);
    std::swap(b[size_t(k)], b[size_t(best)]);
    for (int i = k + 1; i < n; ++i) {
      const long double f = a[size_t(i * n + k)] / a[size_t(k * n + k)];
      for (int j = k; j < n; ++j) a[size_t(i * n + j)] -= f * a[size_t(k * n + j)];
      b[size_t(i)] -= f * b[size_t(k)];
    }
  }
  std::vector<double> x(size_t(n), 0.0);
  for (int k = n - 1; k >= 0; --k) {
    long double s = b[size_t(k)];
    for (int j = k + 1; j < n; ++j) s -= a[size_t(k * n + j)] * (long double)x[size_t(j)];
    x[size_t(k)] = double(s / a[size_t(k * n + k)]);
  }
  return x;
}

template <class T> void systems(const tg_lines &g, uint64_t seed) {
  check::Random random(seed);
  const int64_t count = g.outer * g.inner, n = g.n;
  std::vector<T> d(size_t(count * n)), e(size_t(count * (n - 1))), dl(e.size()), du(e.size()), gd(d.size()), b(d.size());
  for (T &v : e) v = T(random.normal());
  for (T &v : b) v = T(random.normal());
  const auto at = [&](int64_t s, int64_t k) { return size_t((s / g.inner * n + k) * g.inner + s % g.inner); };
  const auto off = [&](int64_t s, int64_t k) { return size_t((s / g.inner * (n - 1) + k) * g.inner + s % g.inner); };
  for (int64_t s = 0; s < count; ++s)
    for (int64_t k = 0; k < n; ++k) {
      const double left = k > 0 ? std::fabs(double(e[off(s, k - 1)])) : 0, right = k + 1 < n ? std::fabs(double(e[off(s, k)])) : 0;
      d[at(s, k)] = T(left + right + 0.1 + random.uniform());
      gd[at(s, k)] = T(random.normal()); // no dominance: pivots must be exchanged
      if (k + 1 < n) dl[off(s, k)] = T(random.normal()), du[off(s, k)] = T(random.normal());
    }
  const double eps = double(std::numeric_limits<T>::epsilon());
  std::vector<T> fd(d.size()), fl(e.size()), x(d.size()), x2(d.size()), x3(d.size());
  std::vector<int32_t> status(size_t(count), -1);
  CHECK(B->pttrf(dtype_of<T>(), &g, d.data(), e.data(), fd.data(), fl.data(), status.data()) == TG_OK);
  for (int32_t v : status) CHECK(v == 0);
  CHECK(B->pttrs(dtype_of<T>(), &g, fd.data(), fl.data(), b.data(), x.data()) == TG_OK);
  status.assign(status.size(), -1);
  CHECK(B->ptsv(dtype_of<T>(), &g, d.data(), e.data(), b.data(), x2.data(), status.data()) == TG_OK);
  for (int32_t v : status) CHECK(v == 0);
  CHECK(B->gtsv(dtype_of<T>(), &g, dl.data(), gd.data(), du.data(), b.data(), x3.data(), status.data()) == TG_OK);
  for (int32_t v : status) CHECK(v == 0);
  double worst = 0, worst_general = 0, worst_factor = 0;
  for (int64_t s = 0; s < count; ++s) {
    // Backward errors, normwise: |b - A x| <= c eps |A| |x|.
    double residual = 0, size = 0, residual3 = 0, size3 = 0;
    for (int64_t k = 0; k < n; ++k) {
      long double r = b[at(s, k)], r2 = r, r3 = r;
      const auto take = [&](long double c, int64_t j, long double cg) {
        r -= c * x[at(s, j)];
        r2 -= c * x2[at(s, j)];
        r3 -= cg * x3[at(s, j)];
        size = std::max(size, std::fabs(double(c * x[at(s, j)])));
        size3 = std::max(size3, std::fabs(double(x3[at(s, j)])) * 3);
      };
      take(d[at(s, k)], k, gd[at(s, k)]);
      if (k > 0) take(e[off(s, k - 1)], k - 1, dl[off(s, k - 1)]);
      if (k + 1 < n) take(e[off(s, k)], k + 1, du[off(s, k)]);
      residual = std::max({residual, std::fabs(double(r)), std::fabs(double(r2))});
      residual3 = std::max(residual3, std::fabs(double(r3)));
      // L D L^T gives the matrix back.
      long double back = fd[at(s, k)];
      if (k > 0) back += (long double)fl[off(s, k - 1)] * fl[off(s, k - 1)] * fd[at(s, k - 1)];
      worst_factor = std::max(worst_factor, std::fabs(double(back - d[at(s, k)])) / double(d[at(s, k)]));
    }
    worst = std::max(worst, residual / (eps * (size + 1)));
    worst_general = std::max(worst_general, residual3 / (eps * (size3 + 1)));
  }
  CHECK_NEAR(worst, 0, 20);
  CHECK_NEAR(worst_general, 0, 40);
  CHECK_NEAR(worst_factor, 0, 8 * eps);
}

void against_dense() {
  check::Random random(77);
  for (int trial = 0; trial < 300; ++trial) {
    const int n = 1 + int(random.below(12));
    std::vector<double> dl, d, du, b, x(size_t(n), 0.0);
    std::vector<long double> a(size_t(n * n), 0), rhs;
    for (int k = 0; k < n; ++k) {
      d.push_back(random.below(4) ? random.normal() : 0);
      b.push_back(random.normal());
      rhs.push_back(b.back());
      a[size_t(k * n + k)] = d.back();
      if (k + 1 < n) {
        dl.push_back(0.5 + random.uniform());
        du.push_back(0.5 + random.uniform());
        a[size_t((k + 1) * n + k)] = dl.back();
        a[size_t(k * n + k + 1)] = du.back();
      }
    }
    const tg_lines g{1, n, 1};
    int32_t status = -1;
    CHECK(B->gtsv(TG_F64, &g, dl.data(), d.data(), du.data(), b.data(), x.data(), &status) == TG_OK);
    if (status) continue;
    const auto expected = dense_solve(n, a, rhs);
    double largest = 1;
    for (double v : expected) largest = std::max(largest, std::fabs(v));
    if (largest > 1e5) continue;
    for (int k = 0; k < n; ++k) CHECK_NEAR(x[size_t(k)], expected[size_t(k)], 1e-9 * largest);
  }
}

// LAPACK's info: the first pivot that is not positive, or exactly zero; other systems of the batch are untouched by it.
void failing_pivots() {
  const tg_lines g{1, 3, 40};
  std::vector<double> d(120, 2), e(80, 1), dl(80, 1), du(80, 1), b(120, 1), x(120), fd(120), fl(80);
  d[0 * 40 + 5] = -1;  // system 5: first pivot
  d[1 * 40 + 6] = 0.5; // system 6: 0.5 - 1/2 = 0, second pivot
  d[2 * 40 + 7] = -3;  // system 7: third
  d[1 * 40 + 8] = std::nan("");
  std::vector<int32_t> status(40, -1), expected(40, 0);
  expected[5] = 1, expected[6] = 2, expected[7] = 3, expected[8] = 2;
  CHECK(B->pttrf(TG_F64, &g, d.data(), e.data(), fd.data(), fl.data(), status.data()) == TG_OK);
  CHECK(status == expected);
  CHECK(B->ptsv(TG_F64, &g, d.data(), e.data(), b.data(), x.data(), status.data()) == TG_OK);
  CHECK(status == expected);
  for (int s = 0; s < 40; ++s)
    for (int k = 0; k < 3; ++k) CHECK(expected[size_t(s)] ? std::isnan(x[size_t(k * 40 + s)]) : std::fabs(x[size_t(k * 40 + s)]) < 2);
  // Singular general systems: a zero column; equal rows.
  std::vector<double> gd(120, 1), gx(120);
  gd[0 * 40 + 3] = 0, dl[0 * 40 + 3] = 0;                     // system 3: first column is zero
  du[0 * 40 + 4] = 1, gd[1 * 40 + 4] = 1, dl[1 * 40 + 4] = 0; // system 4: second column vanishes
  gd[2 * 40 + 9] = 1, gd[1 * 40 + 9] = 2;
  CHECK(B->gtsv(TG_F64, &g, dl.data(), gd.data(), du.data(), b.data(), gx.data(), status.data()) == TG_OK);
  CHECK(status[3] == 1);
  CHECK(status[4] == 2);
  CHECK(status[9] == 3 || status[9] == 0);
  CHECK(std::isnan(gx[3]) && std::isnan(gx[43]));
  for (int s = 10; s < 40; ++s) CHECK(status[size_t(s)] == 0 && !std::isnan(gx[size_t(s)]));
}

// Long general systems, which are cut into chunks: no dominance, zeros on the diagonal, chunks that are singular by themselves, entries of
// very different size; singular systems are told by the first pivot that vanishes in order.
void long_general() {
  check::Random random(9);
  for (const int64_t n : {4096, 4097, 4343, 4344, 5000, 12345})
    for (int kind = 0; kind < 8; ++kind) {
      std::vector<double> dl(static_cast<size_t>(n - 1)), d(static_cast<size_t>(n)), du(dl.size()), b(d.size()), x(d.size(), 7);
      for (int64_t k = 0; k < n; ++k) {
        const double size = kind == 4 ? std::pow(10, double(random.below(9)) - 4) : 1;
        d[size_t(k)] = kind == 1 ? 0 : size * random.normal();
        b[size_t(k)] = size * random.normal();
        if (k + 1 == n) continue;
        dl[size_t(k)] = kind == 1 ? 1 : size * random.normal();
        du[size_t(k)] = kind == 1 ? 1 : size * random.normal();
        // Rows 300 .. 302 alone would be singular; the rows around make up for it.
        if (kind == 2 && k >= 299 && k <= 303) d[size_t(k)] = k == 299 || k == 303 ? 3 : 0, dl[size_t(k)] = du[size_t(k)] = 1;
        if (kind == 3) d[size_t(k)] = 4, dl[size_t(k)] = du[size_t(k)] = 1;
        if (kind >= 6) d[size_t(k)] = 2, dl[size_t(k)] = du[size_t(k)] = -1;
      }
      // Second differences: with free ends they have the constants in their kernel, with fixed ones they are only ill-conditioned.
      if (kind >= 6) d[0] = d[size_t(n - 1)] = kind == 6 ? 1 : 2;
      if (kind == 5) d[size_t(n / 2)] = dl[size_t(n / 2)] = du[size_t(n / 2 - 1)] = 0; // an empty column
      const tg_lines g{1, n, 1};
      int32_t status = -1;
      CHECK(B->gtsv(TG_F64, &g, dl.data(), d.data(), du.data(), b.data(), x.data(), &status) == TG_OK);
      const bool singular = kind == 5 || kind == 6 || (kind == 1 && n % 2 == 1);
      CHECK((status != 0) == singular);
      if (singular) {
        CHECK(status == (kind == 5 ? int32_t(n / 2 + 1) : int32_t(n)) && std::isnan(x[0]) && std::isnan(x[size_t(n - 1)]));
        continue;
      }
      double worst = 0; // componentwise, beside what elimination in order allows
      double scale = 0;
      for (double v : x) scale = std::max(scale, std::fabs(v));
      for (int64_t k = 0; k < n; ++k) {
        long double r = b[size_t(k)];
        double row = std::fabs(d[size_t(k)]);
        r -= (long double)d[size_t(k)] * x[size_t(k)];
        if (k > 0) r -= (long double)dl[size_t(k - 1)] * x[size_t(k - 1)], row += std::fabs(dl[size_t(k - 1)]);
        if (k + 1 < n) r -= (long double)du[size_t(k)] * x[size_t(k + 1)], row += std::fabs(du[size_t(k)]);
        worst = std::max(worst, std::fabs(double(r)) / ((kind == 4 ? 1e5 : row + 1) * (scale + 1)));
      }
      CHECK_NEAR(worst, 0, 40 * 2.3e-16);
    }
}
} // namespace

int main() {
  uint64_t seed = 1;
  for (int64_t n : {1, 2, 3, 7, 8, 31, 32, 33, 100, 1000})
    for (const auto &layout : {std::pair<int64_t, int64_t>{1, 1}, {3, 1}, {37, 1}, {1, 16}, {2, 37}, {1, 100}}) {
      systems<double>({layout.first, n, layout.second}, seed++);
      systems<float>({layout.first, n, layout.second}, seed++);
    }
  systems<double>({1, 1000000, 1}, 500);
  systems<float>({1, 100000, 1}, 501);
  long_general();
  against_dense();
  failing_pivots();
  return check::finish("tridiagonal_test");
}
