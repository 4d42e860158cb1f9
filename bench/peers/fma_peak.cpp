// The float32 multiply-add rate of one core: independent vector accumulators, nothing else. bench/engine.ts compiles and runs it.
#include <chrono>
#include <cstdio>

#if defined(__AVX512F__)
constexpr int BYTES = 64;
#elif defined(__AVX2__)
constexpr int BYTES = 32;
#else
constexpr int BYTES = 16;
#endif
typedef float vec __attribute__((vector_size(BYTES)));
constexpr int CHAINS = 12;

int main() {
  vec sum[CHAINS] = {}, a, b;
  for (int k = 0; k < BYTES / 4; ++k) a[k] = 0.999f, b[k] = 1e-3f;
  double best = 0;
  for (int turn = 0; turn < 20; ++turn) {
    const long steps = 2000000;
    const auto start = std::chrono::steady_clock::now();
    for (long i = 0; i < steps; ++i) {
      for (vec &s : sum) s = s * a + b;
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const double rate = 2.0 * CHAINS * (BYTES / 4) * steps / seconds / 1e9;
    best = rate > best ? rate : best;
  }
  float check = 0;
  for (const vec &s : sum) check += s[0];
  std::printf("%.1f %g\n", best, check);
}
