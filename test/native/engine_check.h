// Helpers of the engine's native tests: seeded inputs, buffers that end where the sanitizer watches, comparisons, and a runner that
// repeats a test for every instruction set, with one thread and with three, and demands the same bits from both.
#pragma once

#include "../../native/backend.h"

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace engine {

inline int failures = 0;
inline uint64_t digest = 1469598103934665603ull; // FNV-1a over every checked result

#define EXPECT(condition, ...)                                                                                                             \
  do {                                                                                                                                     \
    if (!(condition) && ++engine::failures <= 20) {                                                                                        \
      std::fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);                                                                 \
      std::fprintf(stderr, __VA_ARGS__);                                                                                                   \
      std::fputc('\n', stderr);                                                                                                            \
    }                                                                                                                                      \
  } while (0)

// splitmix64
struct Random {
  uint64_t state;
  explicit Random(uint64_t seed) : state(seed) {}
  uint64_t next() {
    uint64_t z = state += 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
  }
  int64_t below(int64_t n) { return static_cast<int64_t>(next() % static_cast<uint64_t>(n)); }
  int64_t between(int64_t low, int64_t high) { return low + below(high - low + 1); }
  double uniform(double low = -1, double high = 1) { return low + (high - low) * static_cast<double>(next() >> 11) * 0x1p-53; }
};

template <class T> struct dtype_of;
template <> struct dtype_of<float> {
  static constexpr int64_t value = TG_F32;
  static constexpr const char *name = "float32";
};
template <> struct dtype_of<double> {
  static constexpr int64_t value = TG_F64;
  static constexpr const char *name = "float64";
};
template <> struct dtype_of<int32_t> {
  static constexpr int64_t value = TG_I32;
  static constexpr const char *name = "int32";
};
template <> struct dtype_of<uint8_t> {
  static constexpr int64_t value = TG_U8;
  static constexpr const char *name = "uint8";
};

// Exactly n elements on the heap, so that the address sanitizer sees any access beyond them.
template <class T> struct Buffer {
  std::vector<T> v;
  explicit Buffer(int64_t n, T value = T(0)) : v(static_cast<size_t>(n), value) { v.shrink_to_fit(); }
  T *data() { return v.data(); }
  const T *data() const { return v.data(); }
  T &operator[](int64_t i) { return v[static_cast<size_t>(i)]; }
  const T &operator[](int64_t i) const { return v[static_cast<size_t>(i)]; }
  int64_t size() const { return static_cast<int64_t>(v.size()); }
};

template <class T> Buffer<T> random_buffer(Random &r, int64_t n, double low = -1, double high = 1) {
  Buffer<T> b(n);
  for (int64_t i = 0; i < n; ++i) b[i] = static_cast<T>(r.uniform(low, high));
  return b;
}

template <class T> void digest_add(const T *p, int64_t n) {
  const unsigned char *bytes = reinterpret_cast<const unsigned char *>(p);
  for (size_t i = 0; i < static_cast<size_t>(n) * sizeof(T); ++i) digest = (digest ^ bytes[i]) * 1099511628211ull;
}

// |got - expected| <= tolerance * scale everywhere; NaN equals NaN.
template <class T>
void expect_close(const char *what, const Buffer<T> &got, const std::vector<double> &expected, double tolerance, double scale = 1) {
  EXPECT(static_cast<size_t>(got.size()) == expected.size(), "%s: size", what);
  for (int64_t i = 0; i < got.size(); ++i) {
    const double g = static_cast<double>(got[i]), e = expected[static_cast<size_t>(i)];
    const bool same = g == e || (std::isnan(g) && std::isnan(e)) || std::fabs(g - e) <= tolerance * scale;
    EXPECT(same, "%s (%s)[%lld] = %.17g, expected %.17g", what, dtype_of<T>::name, static_cast<long long>(i), g, e);
    if (!same) break;
  }
  digest_add(got.data(), got.size());
}

inline tg_dims dims(std::initializer_list<int64_t> values) {
  tg_dims d{};
  for (int64_t v : values) d.d[d.rank++] = v;
  return d;
}
inline tg_dims dense_strides(const tg_dims &shape) {
  tg_dims s{};
  s.rank = shape.rank;
  int64_t stride = 1;
  for (int64_t a = shape.rank - 1; a >= 0; --a) {
    s.d[a] = stride;
    stride *= shape.d[a];
  }
  return s;
}
inline int64_t elements(const tg_dims &shape) {
  int64_t n = 1;
  for (int64_t a = 0; a < shape.rank; ++a) n *= shape.d[a];
  return n;
}
// Where the row-major position of `shape` lies under `strides`.
inline int64_t offset_of(const tg_dims &shape, const tg_dims &strides, int64_t position) {
  int64_t offset = 0;
  for (int64_t a = shape.rank - 1; a >= 0; --a) {
    offset += position % shape.d[a] * strides.d[a];
    position /= shape.d[a];
  }
  return offset;
}

// Runs `tests` in child processes: every instruction set x {1, 3} threads.
inline int run_everywhere(void (*tests)(const tg_backend *)) {
  int bad = 0;
  for (const char *isa : {"baseline", "avx2", "avx512"}) {
    uint64_t digests[2] = {};
    const char *threads[2] = {"1", "3"};
    for (int run = 0; run < 2; ++run) {
      int channel[2];
      if (pipe(channel) != 0) return 1;
      const pid_t child = fork();
      if (child == 0) {
        setenv("TAUTGRAD_ISA", isa, 1);
        setenv("TAUTGRAD_THREADS", threads[run], 1);
        const tg_backend *backend = tg_cpu_backend();
        tests(backend);
        if (write(channel[1], &digest, sizeof digest) != sizeof digest) _exit(3);
        if (failures)
          std::fprintf(stderr, "%d failures with %s (asked for %s), %s threads\n", failures, backend->describe(), isa, threads[run]);
        std::fflush(nullptr);
        _exit(failures ? 1 : 0);
      }
      close(channel[1]);
      if (read(channel[0], &digests[run], sizeof digests[run]) != sizeof digests[run]) bad = 1;
      close(channel[0]);
      int status = 0;
      waitpid(child, &status, 0);
      if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) bad = 1;
    }
    if (digests[0] != digests[1]) {
      std::fprintf(stderr, "%s: results differ between 1 and 3 threads\n", isa);
      bad = 1;
    }
  }
  return bad;
}

} // namespace engine
