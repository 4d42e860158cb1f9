// prox1d: certified vectors, an independent dynamic programme, and the optimality certificate on fuzzed lines of every kind.
// TAUTGRAD_FUZZ_LINES: how many fuzzed lines of each type (default 60000). The digest of all fuzzed results, printed at the end, is the
// same for every number of threads.
#include "native/backend.h"
#include "tv_oracle.h"

#include <cstdlib>
#include <cstring>

namespace {
const tg_backend *B = tg_cpu_backend();

// The largest violation of optimality met, relative to the allowed one's unit: a sum of n samples.
double worst_f32 = 0, worst_f64 = 0;
uint64_t digest = 1469598103934665603u;

int64_t fuzzed_lines() {
  const char *wanted = std::getenv("TAUTGRAD_FUZZ_LINES");
  return wanted ? std::atoll(wanted) : 60000;
}

template <class T> int64_t dtype_of() { return sizeof(T) == 4 ? TG_F32 : TG_F64; }

template <class T>
std::vector<T> prox(const tg_lines &g, const std::vector<T> &x, const std::vector<T> &lambda, const std::vector<T> *weights = nullptr) {
  std::vector<T> y(x.size());
  CHECK(B->prox1d(dtype_of<T>(), &g, x.data(), lambda.data(), weights ? weights->data() : nullptr, y.data()) == TG_OK);
  return y;
}

void certified_vectors() {
  const std::string folder = check::shared_folder() + "/vectors/tv/";
  struct Case {
    const char *name;
    double lambda;
    bool weighted;
  };
  for (const Case &c : {Case{"t1_step32_lam1", 1, false}, Case{"t2_blocks1000_lam0.5", 0.5, false}, Case{"t4_blocks1000_lam0", 0, false},
                        Case{"t6_integers_ties_lam1", 1, false}, Case{"t7_weighted500", 1, true}}) {
    std::vector<double> input, solution, weights;
    if (!check::read_doubles(folder + c.name + ".y.f64", &input)) {
      std::printf("skipped %s: no certified vectors beside the repository\n", c.name);
      continue;
    }
    CHECK(check::read_doubles(folder + c.name + ".x.f64", &solution));
    if (c.weighted) CHECK(check::read_doubles(folder + c.name + ".w.f64", &weights));
    const tg_lines g{1, int64_t(input.size()), 1};
    const auto y = prox<double>(g, input, {c.lambda}, c.weighted ? &weights : nullptr);
    double worst = 0;
    for (size_t i = 0; i < y.size(); ++i) worst = std::max(worst, std::fabs(y[i] - solution[i]));
    CHECK_NEAR(worst, 0, 1e-10);
  }
}

// One line of a random family: noise, walks, ties, constants, ramps, extreme scales.
template <class T> void random_line(check::Random &random, int64_t n, T *x, int64_t stride) {
  const int family = int(random.below(8));
  const double scale = std::pow(10, double(random.below(13)) - 6);
  double walk = random.normal();
  for (int64_t i = 0; i < n; ++i) {
    double v = 0;
    switch (family) {
    case 0:
      v = random.normal();
      break;
    case 1:
      v = walk += 0.1 * random.normal();
      break;
    case 2:
      v = double(random.below(4));
      break;
    case 3:
      v = walk;
      break;
    case 4:
      v = double(i) * 0.01 + walk;
      break;
    case 5:
      v = (i / 7 % 2) + 0.1 * random.normal();
      break;
    case 6:
      v = double(i) * double(i) * 1e-4;
      break;
    default:
      v = random.below(10) == 0 ? 100 * random.normal() : random.normal();
      break;
    }
    x[i * stride] = T(v * scale);
  }
}

template <class T> double random_lambda(check::Random &random, double scale) {
  switch (random.below(8)) {
  case 0:
    return 0;
  case 1:
    return 1e30;
  case 2:
    return double(std::numeric_limits<T>::infinity());
  case 3:
    return scale * 1e-3;
  case 4:
    return scale * 100;
  default:
    return scale * random.uniform() * 2;
  }
}

template <class T>
void certify(const tg_lines &g, const std::vector<T> &x, const std::vector<T> &y, const std::vector<T> &lambda,
             const std::vector<T> *weights) {
  for (int64_t line = 0; line < g.outer * g.inner; ++line) {
    const int64_t at = line / g.inner * g.n * g.inner + line % g.inner, edge = line / g.inner * (g.n - 1) * g.inner + line % g.inner;
    double largest = 0;
    for (int64_t i = 0; i < g.n; ++i) largest = std::max(largest, std::fabs(double(x[size_t(at + i * g.inner)])));
    const double violation = oracle::line_violation(g.n, x.data() + at, y.data() + at, g.inner, double(lambda[size_t(line)]),
                                                    weights ? weights->data() + edge : nullptr);
    // A value may be off by 3e-7 of the range in float32, and each sample adds that to the partial sums.
    const double allowed = sizeof(T) == 8 ? 1e-14 * largest * std::max(100.0, double(g.n)) : 3e-7 * largest * std::max(4.0, double(g.n));
    double &worst = sizeof(T) == 8 ? worst_f64 : worst_f32;
    if (largest > 1e-300) worst = std::max(worst, violation / (largest * double(g.n)));
    check::report(violation <= allowed + 1e-320, __FILE__, __LINE__, "optimality of a line", check::text(violation, allowed));
  }
}

template <class T> void fuzz(int64_t lines_wanted, uint64_t seed) {
  check::Random random(seed);
  for (int64_t done = 0; done < lines_wanted;) {
    tg_lines g{1 + random.below(4), 1 + random.below(random.below(8) == 0 ? 700 : 70), 1 + random.below(random.below(3) == 0 ? 70 : 3)};
    if (random.below(6) == 0) g.n = 1 + random.below(3);
    if (random.below(5) == 0) g.outer = 1 + random.below(90), g.inner = 1;
    const int64_t lines = g.outer * g.inner;
    done += lines;
    std::vector<T> x(size_t(lines * g.n)), lambda(size_t(lines), T(0)), weights(size_t(lines * (g.n - 1)));
    for (int64_t line = 0; line < lines; ++line) {
      T *first = x.data() + line / g.inner * g.n * g.inner + line % g.inner;
      random_line(random, g.n, first, g.inner);
      lambda[size_t(line)] = T(random_lambda<T>(random, std::fabs(double(first[0])) + 1e-6));
    }
    for (T &w : weights) w = T(random.below(5) == 0 ? 0 : random.below(9) == 0 ? 50 : 2 * random.uniform());
    const bool weighted = random.below(3) == 0;
    const auto y = prox(g, x, lambda, weighted ? &weights : nullptr);
    certify(g, x, y, lambda, weighted ? &weights : nullptr);
    const unsigned char *bytes = reinterpret_cast<const unsigned char *>(y.data());
    for (size_t i = 0; i < y.size() * sizeof(T); ++i) digest = (digest ^ bytes[i]) * 1099511628211u;
  }
}

void against_dynamic_programme() {
  check::Random random(5);
  for (int trial = 0; trial < 3000; ++trial) {
    const int64_t n = 1 + random.below(60);
    std::vector<double> x(size_t(n), 0.0), w(size_t(n - 1), 0.0);
    for (double &v : x) v = random.below(3) ? random.normal() : double(random.below(3));
    const bool weighted = random.below(2);
    const double lambda = 1.5 * random.uniform();
    for (double &v : w) v = weighted ? (random.below(4) ? 2 * random.uniform() : 0) : 1;
    std::vector<double> scaled(w);
    for (double &v : scaled) v *= lambda;
    const auto y = prox<double>({1, n, 1}, x, {lambda}, weighted ? &w : nullptr);
    const auto expected = oracle::prox_line(x, scaled);
    double worst = 0;
    for (size_t i = 0; i < y.size(); ++i) worst = std::max(worst, std::fabs(y[i] - expected[i]));
    CHECK_NEAR(worst, 0, 1e-12);
  }
}

// What is not a number stays in its own line, and every other line is bitwise what it would be alone.
template <class T> void isolation(uint64_t seed) {
  check::Random random(seed);
  const T odd[] = {std::numeric_limits<T>::quiet_NaN(), std::numeric_limits<T>::infinity(), -std::numeric_limits<T>::infinity(),
                   std::numeric_limits<T>::max(), std::numeric_limits<T>::denorm_min()};
  for (int trial = 0; trial < 300; ++trial) {
    const tg_lines g{1 + random.below(3), 1 + random.below(90), 1 + random.below(40)};
    const int64_t lines = g.outer * g.inner;
    std::vector<T> x(size_t(lines * g.n)), lambda(size_t(lines), T(0.7));
    for (T &v : x) v = T(random.normal());
    const auto clean = prox(g, x, lambda);
    std::vector<bool> dirty(size_t(lines), false);
    for (int hit = 0; hit < 4; ++hit) {
      const int64_t line = random.below(lines), k = random.below(g.n);
      x[size_t((line / g.inner * g.n + k) * g.inner + line % g.inner)] = odd[random.below(5)];
      dirty[size_t(line)] = true;
    }
    const auto y = prox(g, x, lambda);
    for (int64_t line = 0; line < lines; ++line) {
      if (dirty[size_t(line)]) continue;
      for (int64_t k = 0; k < g.n; ++k) {
        const size_t i = size_t((line / g.inner * g.n + k) * g.inner + line % g.inner);
        CHECK(y[i] == clean[i]);
      }
    }
  }
}

void denormals_and_extremes() {
  for (double scale : {5e-324, 1e-310, 1e-300, 1e250}) {
    std::vector<double> x{3 * scale, 1 * scale, 7 * scale, 7 * scale, 2 * scale};
    const auto y = prox<double>({1, 5, 1}, x, {0});
    CHECK(std::memcmp(x.data(), y.data(), sizeof(double) * 5) == 0);
    const auto mean = prox<double>({1, 5, 1}, x, {std::numeric_limits<double>::infinity()});
    for (double v : mean) CHECK_NEAR(v, 4 * scale, 1e-15 * scale + 5e-324);
  }
  std::vector<float> x{1e30f, -1e30f, 3e38f, 0, 5};
  const auto y = prox<float>({1, 5, 1}, x, {0});
  CHECK(std::memcmp(x.data(), y.data(), sizeof(float) * 5) == 0);
}

// lambda_max = max_k |sum_{i<=k} (x_i - mean)|: just above it the solution is the mean, just below it is not. Symmetries of the prox.
void exact_properties() {
  check::Random random(11);
  for (int trial = 0; trial < 200; ++trial) {
    const int64_t n = 2 + random.below(50);
    std::vector<double> x(size_t(n), 0.0);
    double mean = 0;
    for (double &v : x) mean += (v = random.normal()) / double(n);
    double sum = 0, largest = 0;
    for (double v : x) largest = std::max(largest, std::fabs(sum += v - mean));
    const tg_lines g{1, n, 1};
    for (double v : prox<double>(g, x, {largest * 1.0001})) CHECK_NEAR(v, mean, 1e-13);
    const auto below = prox<double>(g, x, {largest * 0.999});
    CHECK(*std::max_element(below.begin(), below.end()) > *std::min_element(below.begin(), below.end()));

    const double lambda = random.uniform();
    const auto y = prox<double>(g, x, {lambda});
    std::vector<double> negated(x), reversed(x.rbegin(), x.rend()), scaled(x), shifted(x);
    for (size_t i = 0; i < x.size(); ++i) negated[i] = -x[i], scaled[i] = 4096 * x[i], shifted[i] = x[i] + 3;
    const auto yn = prox<double>(g, negated, {lambda}), yr = prox<double>(g, reversed, {lambda}),
               ys = prox<double>(g, scaled, {4096 * lambda}), yt = prox<double>(g, shifted, {lambda});
    for (size_t i = 0; i < x.size(); ++i) {
      CHECK_NEAR(yn[i], -y[i], 1e-14);
      CHECK_NEAR(yr[x.size() - 1 - i], y[i], 1e-13);
      CHECK(ys[i] == 4096 * y[i]); // a power of two changes no rounding: no absolute epsilon anywhere
      CHECK_NEAR(yt[i], y[i] + 3, 1e-13);
    }
  }
}

template <class T> void averages(uint64_t seed) {
  check::Random random(seed);
  for (int trial = 0; trial < 300; ++trial) {
    const tg_lines g{1 + random.below(5), 1 + random.below(100), 1 + random.below(40)};
    std::vector<T> y(size_t(g.outer * g.n * g.inner)), v(y.size()), out(y.size());
    for (T &e : y) e = T(random.below(3));
    for (T &e : v) e = T(random.normal());
    CHECK(B->prox1d_average(dtype_of<T>(), &g, y.data(), v.data(), out.data()) == TG_OK);
    for (int64_t line = 0; line < g.outer * g.inner; ++line) {
      const int64_t at = line / g.inner * g.n * g.inner + line % g.inner;
      for (int64_t begin = 0; begin < g.n;) {
        int64_t end = begin;
        double sum = 0;
        while (end < g.n && y[size_t(at + end * g.inner)] == y[size_t(at + begin * g.inner)])
          sum += double(v[size_t(at + end++ * g.inner)]);
        for (int64_t k = begin; k < end; ++k)
          CHECK_NEAR(out[size_t(at + k * g.inner)], sum / double(end - begin), sizeof(T) == 4 ? 2e-6 : 1e-14);
        begin = end;
      }
    }
  }
}
// Lines long enough to be cut into chunks: optimal, and bitwise the same whether the line lies alone, in a column or in a batch.
template <class T> void long_lines(uint64_t seed) {
  check::Random random(seed);
  for (int trial = 0; trial < 24; ++trial) {
    const int64_t n = 8192 + random.below(60000);
    const double lambda = trial % 8 == 7 ? 1e30 : trial % 8 == 6 ? 0 : std::pow(10, 4 * random.uniform() - 1);
    std::vector<T> x(static_cast<size_t>(n)), columns(x.size() * 3), weights(x.size() - 1), wide(weights.size() * 3);
    for (int64_t i = 0; i < n; ++i) {
      const double smooth = 3 * std::sin(double(i) * 1e-3), steps = double(i / 300 % 4);
      x[size_t(i)] = T(trial % 4 == 0 ? smooth : trial % 4 == 1 ? double(random.below(4)) : steps + 0.5 * random.normal());
      if (trial % 12 == 10 && i == n / 2) x[size_t(i)] = std::numeric_limits<T>::quiet_NaN();
      for (int c = 0; c < 3; ++c) columns[size_t(i * 3 + c)] = c == 1 ? x[size_t(i)] : T(random.normal());
    }
    for (size_t i = 0; i < weights.size(); ++i) {
      weights[i] = T(random.below(5) == 0 ? 0 : 2 * random.uniform());
      for (size_t c = 0; c < 3; ++c) wide[i * 3 + c] = c == 1 ? weights[i] : T(1);
    }
    for (const bool weighted : {false, true}) {
      const tg_lines g{1, n, 1};
      const auto y = prox<T>(g, x, {T(lambda)}, weighted ? &weights : nullptr);
      if (trial % 12 != 10) certify<T>(g, x, y, {T(lambda)}, weighted ? &weights : nullptr);
      const auto c = prox<T>({1, n, 3}, columns, {T(0.3), T(lambda), T(2)}, weighted ? &wide : nullptr);
      bool equal = true;
      for (int64_t i = 0; i < n; ++i) equal = equal && std::memcmp(&c[size_t(i * 3 + 1)], &y[size_t(i)], sizeof(T)) == 0;
      CHECK(equal);
    }
  }
}
// A few lines of medium length are cut into chunks, a batch of them is not: the same bits.
template <class T> void few_lines(uint64_t seed) {
  check::Random random(seed);
  for (int trial = 0; trial < 400; ++trial) {
    const int64_t n = 200 + random.below(trial % 4 ? 3000 : 7990), count = 1 + random.below(4), batch = 40;
    const bool weighted = trial % 5 == 4;
    const double offset = trial % 7 == 6 ? 1000 : 0, levels = 1 + double(random.below(4)),
                 shared = std::pow(10, 2.5 * random.uniform() - 1);
    std::vector<T> x(static_cast<size_t>(batch * n)), lambda(static_cast<size_t>(batch), static_cast<T>(shared));
    std::vector<T> weights(static_cast<size_t>(batch * (n - 1)), T(1));
    for (int64_t i = 0; i < batch * n; ++i) x[size_t(i)] = T(offset + levels * double(i % n / 150 % 3) + 0.5 * random.normal());
    if (trial % 9 == 8) // a smooth stretch
      for (int64_t i = 0; i < batch * n; ++i)
        if (i / 400 % 3 == 2) x[size_t(i)] = T(0.003 * double(i % 400));
    if (trial % 11 == 10) x[size_t(random.below(n))] = std::numeric_limits<T>::quiet_NaN();
    if (weighted)
      for (T &w : weights) w = T(random.below(50) == 0 ? 0 : 2 * random.uniform());
    const auto whole = prox<T>({batch, n, 1}, x, lambda, weighted ? &weights : nullptr);
    std::vector<T> part(x.begin(), x.begin() + count * n), columns(part.size()), own(lambda.begin(), lambda.begin() + count);
    std::vector<T> edges(weights.begin(), weights.begin() + count * (n - 1)), beside(edges.size());
    for (int64_t line = 0; line < count; ++line)
      for (int64_t k = 0; k < n; ++k) {
        columns[size_t(k * count + line)] = part[size_t(line * n + k)];
        if (k + 1 < n) beside[size_t(k * count + line)] = edges[size_t(line * (n - 1) + k)];
      }
    const auto y = prox<T>({count, n, 1}, part, own, weighted ? &edges : nullptr);
    const auto c = prox<T>({1, n, count}, columns, own, weighted ? &beside : nullptr);
    CHECK(std::memcmp(y.data(), whole.data(), y.size() * sizeof(T)) == 0);
    bool equal = true;
    for (int64_t line = 0; line < count; ++line)
      for (int64_t k = 0; k < n; ++k) equal = equal && std::memcmp(&c[size_t(k * count + line)], &y[size_t(line * n + k)], sizeof(T)) == 0;
    CHECK(equal);
  }
}
// Smooth lines, which a linear-time solver takes over from the lanes: ramps, waves, parabolas, kinks, steps of quantised values (ties),
// with jumps, spikes or a little noise. Optimal, against the dynamic programme, and bitwise the same in rows and columns.
template <class T> void smooth_line(check::Random &random, int64_t n, T *x) {
  const int family = int(random.below(6)), blemish = int(random.below(6));
  const double steep = std::pow(10, 4 * random.uniform() - 3), phase = 6 * random.uniform(), turns = 1 + double(random.below(20));
  const double quantum = random.below(3) ? 0 : steep * std::pow(10, 2 * random.uniform() - 1), offset = random.below(4) ? 0 : 300;
  double jump = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double t = double(i) / double(n), angle = turns * 6.28 * t + phase;
    double v = 0;
    switch (family) {
    case 0:
      v = t * double(n) * 0.1;
      break;
    case 1:
      v = 10 * std::sin(angle);
      break;
    case 2:
      v = double(n) * 0.1 * (t - 0.3) * (t - 0.3);
      break;
    case 3:
      v = 10 * std::fabs(std::fmod(angle, 2) - 1);
      break;
    case 4:
      v = std::max(-3.0, std::min(4.0, 10 * std::sin(angle)));
      break;
    default:
      v = 10 * std::sin(angle) + std::sin(11 * angle);
      break;
    }
    v *= steep;
    if (blemish == 1 && random.below(200) == 0) jump += steep * random.normal();
    if (blemish == 2 && random.below(100) == 0) v += 10 * steep * random.normal();
    if (blemish == 3) v += 1e-3 * steep * random.normal();
    if (quantum > 0) v = std::round(v / quantum) * quantum;
    x[i] = T(v + jump + offset);
  }
  if (random.below(2)) std::reverse(x, x + n);
}

template <class T> void smooth_lines(uint64_t seed, int trials) {
  check::Random random(seed);
  for (int trial = 0; trial < trials; ++trial) {
    const int64_t n = 2 + random.below(trial % 8 == 0 ? 8000 : 700), lines = 1 + random.below(3);
    std::vector<T> x(size_t(n * lines)), columns(x.size()), lambda(static_cast<size_t>(lines));
    for (int64_t line = 0; line < lines; ++line) {
      smooth_line(random, n, x.data() + line * n);
      const double scale = std::fabs(double(x[size_t(line * n)]) - double(x[size_t(line * n + n / 2)])) + 1e-3;
      lambda[size_t(line)] = T(scale * std::pow(10, 5 * random.uniform() - 2.5));
    }
    if (trial % 16 == 3)
      x[size_t(random.below(n))] = random.below(2) ? std::numeric_limits<T>::quiet_NaN() : std::numeric_limits<T>::infinity();
    for (int64_t line = 0; line < lines; ++line)
      for (int64_t k = 0; k < n; ++k) columns[size_t(k * lines + line)] = x[size_t(line * n + k)];
    const auto y = prox<T>({lines, n, 1}, x, lambda), c = prox<T>({1, n, lines}, columns, lambda);
    bool equal = true;
    for (int64_t line = 0; line < lines; ++line)
      for (int64_t k = 0; k < n; ++k) equal = equal && std::memcmp(&c[size_t(k * lines + line)], &y[size_t(line * n + k)], sizeof(T)) == 0;
    CHECK(equal);
    for (size_t i = 0; i < y.size() * sizeof(T); ++i)
      digest = (digest ^ reinterpret_cast<const unsigned char *>(y.data())[i]) * 1099511628211u;
    if (trial % 16 == 3) continue;
    certify<T>({lines, n, 1}, x, y, lambda, nullptr);
    if (trial % 4 == 1 && n < 600) {
      const std::vector<double> line(x.begin(), x.begin() + n), w(size_t(n - 1), double(lambda[0]));
      const auto expected = oracle::prox_line(line, w);
      double worst = 0, largest = 0;
      for (size_t i = 0; i < size_t(n); ++i) {
        worst = std::max(worst, std::fabs(double(y[i]) - expected[i]));
        largest = std::max(largest, std::fabs(line[i]));
      }
      CHECK_NEAR(worst, 0, (sizeof(T) == 8 ? 1e-12 : 1e-6) * (largest + 1e-9));
    }
  }
}

// Noise above lambda is cut at its certain jumps and its short pieces are solved apart. Bitwise as by the whole walk, which weights of 1
// take; optimal too.
template <class T> void rough_lines(uint64_t seed) {
  check::Random random(seed);
  for (int trial = 0; trial < 600; ++trial) {
    const tg_lines g{1 + random.below(40), 1 + random.below(trial % 3 ? 300 : 900), trial % 4 == 3 ? 1 + random.below(40) : 1};
    const int64_t lines = g.outer * g.inner;
    std::vector<T> x(size_t(lines * g.n)), lambda(size_t(lines), T(0)), ones(size_t(lines * (g.n - 1)), T(1));
    const double offset = trial % 5 == 4 ? 1000 : 0, shared = 0.5 * random.uniform();
    for (T &v : lambda) v = T(trial % 2 ? shared : 0.5 * random.uniform());
    for (T &v : x) {
      v = T(offset + (trial % 7 == 6 ? 0.25 * double(random.below(16)) : random.normal()));
      if (trial % 11 == 10 && random.below(500) == 0) v = std::numeric_limits<T>::quiet_NaN();
      if (trial % 13 == 12 && random.below(200) == 0) v = T(1000 * random.normal());
    }
    if (trial % 9 == 8) // a smooth stretch
      for (int64_t i = 0; i < lines * g.n; ++i)
        if (i / 90 % 3 == 2) x[size_t(i)] = T(0.01 * double(i % 90));
    const auto y = prox<T>(g, x, lambda), whole = prox<T>(g, x, lambda, &ones);
    CHECK(std::memcmp(y.data(), whole.data(), y.size() * sizeof(T)) == 0);
    if (trial % 11 != 10) certify<T>(g, x, y, lambda, nullptr);
  }
}
} // namespace

int main() {
  few_lines<double>(61);
  few_lines<float>(62);
  rough_lines<double>(51);
  rough_lines<float>(52);
  long_lines<double>(41);
  long_lines<float>(42);
  certified_vectors();
  against_dynamic_programme();
  fuzz<double>(fuzzed_lines(), 1);
  fuzz<float>(fuzzed_lines(), 2);
  smooth_lines<double>(43, int(fuzzed_lines() / 30));
  smooth_lines<float>(44, int(fuzzed_lines() / 30));
  isolation<float>(3);
  isolation<double>(4);
  denormals_and_extremes();
  exact_properties();
  averages<float>(6);
  averages<double>(7);
  std::printf("largest violation over n * max |x|: float32 %.2g, float64 %.2g; digest %016llx\n", worst_f32, worst_f64,
              static_cast<unsigned long long>(digest));
  return check::finish("tv_prox1d_test");
}
