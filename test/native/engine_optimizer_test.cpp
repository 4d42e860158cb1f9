// Adam, AdamW and SGD over several steps against the papers' formulas in float64.
#include "engine_check.h"

using namespace engine;

namespace {

template <class T> void check_adam(const tg_backend *t, int64_t n, double decay, bool decoupled) {
  Random r(21);
  Buffer<T> p = random_buffer<T>(r, n), m(n), v(n);
  std::vector<double> ep(p.v.begin(), p.v.end()), em(static_cast<size_t>(n)), ev(static_cast<size_t>(n));
  const double lr = 1e-2, b1 = 0.9, b2 = 0.999, epsilon = 1e-8;
  for (int64_t step = 1; step <= 5; ++step) {
    const Buffer<T> g = random_buffer<T>(r, n);
    const double done = static_cast<double>(step);
    const double rates[] = {lr / (1 - std::pow(b1, done)), 1 / std::sqrt(1 - std::pow(b2, done)), decoupled ? 1 - lr * decay : 1,
                            decoupled ? 0 : decay};
    const tg_part part = {dtype_of<T>::value, n, 0, p.data(), g.data(), m.data(), v.data()};
    const tg_parts parts = {1, &part};
    EXPECT(t->adam(&parts, rates, b1, b2, epsilon, nullptr) == TG_OK, "adam");
    for (int64_t j = 0; j < n; ++j) {
      const size_t i = static_cast<size_t>(j);
      const double gi = static_cast<double>(g[j]) + (decoupled ? 0 : decay * ep[i]);
      if (decoupled) ep[i] -= lr * decay * ep[i];
      em[i] = b1 * em[i] + (1 - b1) * gi;
      ev[i] = b2 * ev[i] + (1 - b2) * gi * gi;
      const double mh = em[i] / (1 - std::pow(b1, static_cast<double>(step))), vh = ev[i] / (1 - std::pow(b2, static_cast<double>(step)));
      ep[i] -= lr * mh / (std::sqrt(vh) + epsilon);
    }
  }
  expect_close("adam", p, ep, sizeof(T) == 4 ? 1e-6 : 1e-14);
}

template <class T> void check_sgd(const tg_backend *t, int64_t n, double momentum, double dampening, double decay, bool nesterov) {
  Random r(22);
  Buffer<T> p = random_buffer<T>(r, n), u(n);
  std::vector<double> ep(p.v.begin(), p.v.end()), eu(static_cast<size_t>(n));
  for (int step = 0; step < 4; ++step) {
    const Buffer<T> g = random_buffer<T>(r, n);
    const double rates[] = {0.1, step == 0 ? 1 : 1 - dampening, step == 0 ? 0 : momentum, decay};
    const tg_part part = {dtype_of<T>::value, n, 0, p.data(), g.data(), momentum != 0 ? u.data() : nullptr, nullptr};
    const tg_parts parts = {1, &part};
    t->sgd(&parts, rates, momentum, nesterov, nullptr);
    for (int64_t j = 0; j < n; ++j) {
      const size_t i = static_cast<size_t>(j);
      double gi = static_cast<double>(g[j]) + decay * ep[i];
      if (momentum != 0) {
        eu[i] = step == 0 ? gi : momentum * eu[i] + (1 - dampening) * gi;
        gi = nesterov ? gi + momentum * eu[i] : eu[i];
      }
      ep[i] -= 0.1 * gi;
    }
  }
  expect_close("sgd", p, ep, sizeof(T) == 4 ? 1e-6 : 1e-14);
}

// Tensors of both types, some longer than a task, with two groups of rates: what the same calls do one by one, bit for bit.
void check_together(const tg_backend *t) {
  Random r(23);
  const int64_t sizes[] = {3, 40000, 0, 17, 16384, 1};
  const double rates[] = {0.1, 1, 1, 0, 0.05, 1, 0.9, 0.2}, factor = 0.5;
  std::vector<Buffer<float>> p, g, m, v;
  for (const int64_t n : sizes) {
    p.push_back(random_buffer<float>(r, n));
    g.push_back(random_buffer<float>(r, n));
    m.push_back(Buffer<float>(n));
    v.push_back(Buffer<float>(n));
  }
  Buffer<double> p64 = random_buffer<double>(r, 100), g64 = random_buffer<double>(r, 100), m64(100), v64(100);
  auto q = p, mq = m, vq = v;
  Buffer<double> q64 = p64, mq64 = m64, vq64 = v64;
  std::vector<tg_part> rows, single;
  for (size_t k = 0; k < p.size(); ++k) {
    rows.push_back({TG_F32, sizes[k], static_cast<int64_t>(k % 2), p[k].data(), g[k].data(), m[k].data(), v[k].data()});
    single.push_back({TG_F32, sizes[k], static_cast<int64_t>(k % 2), q[k].data(), g[k].data(), mq[k].data(), vq[k].data()});
  }
  rows.push_back({TG_F64, 100, 1, p64.data(), g64.data(), m64.data(), v64.data()});
  single.push_back({TG_F64, 100, 1, q64.data(), g64.data(), mq64.data(), vq64.data()});
  const tg_parts all = {static_cast<int64_t>(rows.size()), rows.data()};
  EXPECT(t->adam(&all, rates, 0.9, 0.999, 1e-8, &factor) == TG_OK, "adam of many");
  for (const tg_part &part : single) {
    const tg_parts one = {1, &part};
    EXPECT(t->adam(&one, rates, 0.9, 0.999, 1e-8, &factor) == TG_OK, "adam of one");
  }
  for (size_t k = 0; k < p.size(); ++k) EXPECT(p[k].v == q[k].v && m[k].v == mq[k].v && v[k].v == vq[k].v, "adam of many is adam of each");
  EXPECT(p64.v == q64.v && vq64.v == v64.v, "adam of float64 among float32");

  double norm[2], sum = 0;
  for (const Buffer<float> &b : g)
    for (const float x : b.v) sum += static_cast<double>(x) * x;
  for (const double x : g64.v) sum += x * x;
  EXPECT(t->global_norm(&all, 1.5, norm) == TG_OK, "norm");
  EXPECT(std::abs(norm[0] - std::sqrt(sum)) <= 1e-12 * norm[0] && norm[1] == 1.5 / norm[0], "norm and factor");
  EXPECT(t->global_norm(&all, 1e9, norm) == TG_OK && norm[1] == 1, "a norm below the limit");
  g64[7] = std::nan("");
  EXPECT(t->global_norm(&all, 1.5, norm) == TG_OK && norm[0] != norm[0] && norm[1] == 1, "a norm that is no number");
  const tg_parts none = {0, nullptr};
  EXPECT(t->global_norm(&none, 1, norm) == TG_OK && norm[0] == 0 && norm[1] == 1, "the norm of nothing");

  const auto before = m[1].v;
  EXPECT(t->moving_average(&all, 0.75) == TG_OK, "average");
  for (size_t i = 0; i < p[1].v.size(); ++i)
    EXPECT(std::abs(p[1].v[i] - (0.75 * q[1].v[i] + 0.25 * g[1].v[i])) < 1e-6, "average of value and source");
  EXPECT(m[1].v == before, "the average leaves the state alone");
}

template <class T> void check_type(const tg_backend *t) {
  const int64_t sizes[] = {0, 1, 15, 67, 40000};
  for (const int64_t n : sizes) {
    check_adam<T>(t, n, 0, false);
    check_adam<T>(t, n, 0.1, false);
    check_adam<T>(t, n, 0.1, true);
    check_sgd<T>(t, n, 0, 0, 0, false);
    check_sgd<T>(t, n, 0, 0, 0.1, false);
    check_sgd<T>(t, n, 0.9, 0, 0.1, false);
    check_sgd<T>(t, n, 0.9, 0.3, 0, false);
    check_sgd<T>(t, n, 0.9, 0, 0.1, true);
  }
}

void tests(const tg_backend *t) {
  check_type<float>(t);
  check_type<double>(t);
  check_together(t);
}
} // namespace

int main() { return run_everywhere(tests); }
