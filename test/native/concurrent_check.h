// What the tests with threads need: CHECK from any thread prints the failed condition, report() gives the exit status.
#pragma once

#include <atomic>
#include <cstdio>

namespace check {
inline std::atomic<int> failures{0};
inline std::atomic<int> checks{0};

inline bool that(bool condition, const char *text, const char *file, int line) {
  ++checks;
  // A broken inner loop must not bury the first failures under millions of lines.
  if (!condition && ++failures <= 20) std::fprintf(stderr, "%s:%d: failed: %s\n", file, line, text);
  return condition;
}

inline int report() {
  std::printf("%d checks, %d failed\n", checks.load(), failures.load());
  return failures.load() || !checks.load() ? 1 : 0;
}
} // namespace check

#define CHECK(...) check::that(static_cast<bool>(__VA_ARGS__), #__VA_ARGS__, __FILE__, __LINE__)
