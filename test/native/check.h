// What the native tests share: CHECK, a small seeded generator, and the way to read /shared vectors. Each test is one executable that
// prints its failures and exits with 1 when there are any.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

namespace check {

inline int failures = 0;
inline long long checks = 0;

inline void report(bool ok, const char *file, int line, const char *what, const std::string &detail) {
  ++checks;
  if (ok) return;
  if (++failures <= 20) std::printf("%s:%d: %s failed%s%s\n", file, line, what, detail.empty() ? "" : ": ", detail.c_str());
}

inline int finish(const char *name) {
  std::printf("%s: %lld checks, %d failures\n", name, checks, failures);
  return failures == 0 ? 0 : 1;
}

inline std::string text(double a, double b) {
  char buffer[96];
  std::snprintf(buffer, sizeof buffer, "%.17g against %.17g", a, b);
  return buffer;
}

// xorshift64*: the same numbers on every machine.
class Random {
public:
  explicit Random(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15ull + 1) {
    for (int i = 0; i < 4; ++i) next();
  }
  uint64_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545F4914F6CDD1Dull;
  }
  double uniform() { return double(next() >> 11) * 0x1p-53; } // [0, 1)
  int64_t below(int64_t n) { return int64_t(next() % uint64_t(n)); }
  double normal() {
    const double radius = std::sqrt(-2 * std::log(1 - uniform()));
    return radius * std::cos(6.283185307179586 * uniform());
  }

private:
  uint64_t state_;
};

// The folder of certified inputs and outputs: $TAUTGRAD_SHARED, else ../shared beside the repository; empty when it is absent.
inline std::string shared_folder() {
  if (const char *named = std::getenv("TAUTGRAD_SHARED")) return named;
  std::string path = __FILE__;
  for (int up = 0; up < 3; ++up) path = path.substr(0, path.find_last_of('/'));
  return path + "/../shared";
}

inline bool read_doubles(const std::string &path, std::vector<double> *values) {
  std::FILE *f = std::fopen(path.c_str(), "rb");
  if (!f) return false;
  std::fseek(f, 0, SEEK_END);
  values->resize(size_t(std::ftell(f)) / sizeof(double));
  std::rewind(f);
  const size_t got = std::fread(values->data(), sizeof(double), values->size(), f);
  std::fclose(f);
  return got == values->size();
}

} // namespace check

#define CHECK(condition) check::report((condition), __FILE__, __LINE__, #condition, "")
#define CHECK_NEAR(a, b, tolerance)                                                                                                        \
  check::report(std::fabs(double(a) - double(b)) <= (tolerance), __FILE__, __LINE__, #a " ~ " #b, check::text(double(a), double(b)))
