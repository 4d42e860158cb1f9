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
    EXPECT(t->adam(dtype_of<T>::value, n, p.data(), g.data(), m.data(), v.data(), lr, b1, b2, epsilon, decay, decoupled, step) == TG_OK,
           "adam");
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
    t->sgd(dtype_of<T>::value, n, p.data(), g.data(), momentum != 0 ? u.data() : nullptr, 0.1, momentum, dampening, decay, nesterov,
           step == 0);
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
}
} // namespace

int main() { return run_everywhere(tests); }
