// radon_forward and radon_adjoint: against the dense matrix on random geometries (sizes of 1, detectors finer and coarser than pixels,
// angles on the axes and diagonals), and against each other on larger ones.
#include "check.h"
#include "native/backend.h"
#include "native/kernels/radon.h"

#include <algorithm>

namespace {
const tg_backend *B = tg_cpu_backend();

template <class T> int64_t dtype_of() { return sizeof(T) == 4 ? TG_F32 : TG_F64; }

// The weight of a pixel in a ray, from the ray's equation.
double weight(const tg_radon &p, double spacing, double angle, int64_t d, int64_t row, int64_t column) {
  const double c = std::cos(angle), s = std::sin(angle);
  const double x = double(column) - 0.5 * double(p.width - 1), y = 0.5 * double(p.height - 1) - double(row);
  const double place = spacing * (double(d) - 0.5 * double(p.detectors - 1));
  const bool across = std::fabs(c) >= std::fabs(s);
  const double distance = across ? x - (place - y * s) / c : y - (place - x * c) / s;
  return std::max(0.0, 1 - std::fabs(distance)) / std::fabs(across ? c : s);
}

template <class T> std::vector<T> random_values(check::Random &random, int64_t n) {
  std::vector<T> v(static_cast<size_t>(n));
  for (T &value : v) value = T(random.normal());
  return v;
}

double random_angle(check::Random &random) {
  const double quarter = 1.5707963267948966;
  if (random.below(3) == 0) return quarter / 2 * double(random.below(17) - 8);
  return (random.uniform() - 0.5) * 8 * quarter;
}

template <class T> double dot(const std::vector<T> &a, const std::vector<T> &b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += double(a[i]) * double(b[i]);
  return sum;
}

template <class T> void dense(double tolerance) {
  check::Random random(1);
  for (int round = 0; round < 200; ++round) {
    const tg_radon p{1 + random.below(2), 1 + random.below(40), 1 + random.below(40), 1 + random.below(4), 1 + random.below(70)};
    const double spacing = std::exp((random.uniform() - 0.5) * 4);
    std::vector<double> angles;
    for (int64_t a = 0; a < p.views; ++a) angles.push_back(random_angle(random));
    const int64_t pixels = p.height * p.width, rays = p.views * p.detectors;
    const auto x = random_values<T>(random, p.batch * pixels), y = random_values<T>(random, p.batch * rays);
    std::vector<T> forward(y.size()), back(x.size());
    CHECK(B->radon_forward(dtype_of<T>(), &p, spacing, angles.data(), x.data(), forward.data()) == TG_OK);
    CHECK(B->radon_adjoint(dtype_of<T>(), &p, spacing, angles.data(), y.data(), back.data()) == TG_OK);
    double worst = 0;
    std::vector<double> spread(x.size(), 0);
    for (int64_t b = 0; b < p.batch; ++b)
      for (int64_t r = 0; r < rays; ++r) {
        double sum = 0;
        for (int64_t k = 0; k < pixels; ++k) {
          const double w = weight(p, spacing, angles[size_t(r / p.detectors)], r % p.detectors, k / p.width, k % p.width);
          sum += w * double(x[size_t(b * pixels + k)]);
          spread[size_t(b * pixels + k)] += w * double(y[size_t(b * rays + r)]);
        }
        worst = std::max(worst, std::fabs(sum - double(forward[size_t(b * rays + r)])));
      }
    for (size_t k = 0; k < spread.size(); ++k) worst = std::max(worst, std::fabs(spread[k] - double(back[k])));
    CHECK_NEAR(worst, 0, tolerance);
  }
}

template <class T> void adjointness(double tolerance) {
  check::Random random(2);
  for (const double spacing : {0.4, 1.0, 2.3}) {
    const tg_radon p{1, 150, 131, 23, int64_t(200 / spacing)};
    std::vector<double> angles;
    for (int64_t a = 0; a < p.views; ++a) angles.push_back(random_angle(random));
    const auto x = random_values<T>(random, p.height * p.width), y = random_values<T>(random, p.views * p.detectors);
    std::vector<T> forward(y.size()), back(x.size());
    CHECK(B->radon_forward(dtype_of<T>(), &p, spacing, angles.data(), x.data(), forward.data()) == TG_OK);
    CHECK(B->radon_adjoint(dtype_of<T>(), &p, spacing, angles.data(), y.data(), back.data()) == TG_OK);
    CHECK_NEAR(dot(forward, y) - dot(x, back), 0, tolerance * std::sqrt(dot(forward, forward) * dot(y, y)));
  }
}

// Bad data must not crash, and stays in the rays and pixels that meet it.
void not_numbers() {
  const tg_radon p{1, 33, 20, 1, 20};
  const double angle = 0;
  std::vector<float> x(33 * 20, 1), y(20);
  x[5] = std::numeric_limits<float>::quiet_NaN();
  CHECK(B->radon_forward(TG_F32, &p, 1, &angle, x.data(), y.data()) == TG_OK);
  // Its right neighbour counts with weight 0, and 0 NaN is NaN.
  for (int d = 0; d < 20; ++d) CHECK(std::isnan(y[size_t(d)]) ? d == 4 || d == 5 : d != 5);
}
} // namespace

int main() {
  dense<double>(1e-10);
  dense<float>(2e-4);
  adjointness<double>(1e-13);
  adjointness<float>(1e-6);
  not_numbers();
  return check::finish("radon");
}
