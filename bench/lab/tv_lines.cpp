// Lines of total variation: this library against proxTV (the shared library that PROXTV_LIB names), one thread unless TAUTGRAD_THREADS says
// otherwise, both in this process, alternating, medians. ns per sample.
// usage: TAUTGRAD_THREADS=1 [TAUTGRAD_ISA=avx2] tv_lines [case filter]
#include "native/backend.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <dlfcn.h>
#include <functional>
#include <random>
#include <string>
#include <vector>

namespace {
// With one thread, the processor time of the process: others on the machine count less.
double seconds() {
  const char *threads = std::getenv("TAUTGRAD_THREADS");
  timespec t;
  clock_gettime(threads && std::strcmp(threads, "1") == 0 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

struct ProxTv {
  using Line = void (*)(double *, int, double, double *);
  using Linear = int (*)(double *, double, double *, int);
  using Dp = void (*)(int, double *, double, double *);
  using Weighted = int (*)(double *, double *, double *, int);
  Line classic = nullptr, hybrid = nullptr;
  void (*condat)(double *, double *, int, double) = nullptr;
  Linear linear = nullptr;
  Dp dp = nullptr;
  Weighted weighted = nullptr;
  bool load() {
    const char *path = std::getenv("PROXTV_LIB");
    void *lib = path ? dlopen(path, RTLD_NOW) : nullptr;
    if (!lib) return false;
    classic = reinterpret_cast<Line>(dlsym(lib, "classicTautString_TV1"));
    hybrid = reinterpret_cast<Line>(dlsym(lib, "hybridTautString_TV1"));
    condat = reinterpret_cast<void (*)(double *, double *, int, double)>(dlsym(lib, "TV1D_denoise"));
    linear = reinterpret_cast<Linear>(dlsym(lib, "linearizedTautString_TV1"));
    dp = reinterpret_cast<Dp>(dlsym(lib, "dp"));
    weighted = reinterpret_cast<Weighted>(dlsym(lib, "tautString_TV1_Weighted"));
    return classic && hybrid && condat && linear && dp && weighted;
  }
};

struct Case {
  const char *name;
  int lines, n;
  double lambda;
  std::function<double(int, int, std::mt19937_64 &)> sample; // (line, index)
  bool smooth;
};

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}
} // namespace

int main(int argc, char **argv) {
  const tg_backend *b = tg_cpu_backend();
  ProxTv peer;
  const bool has_peer = peer.load();
  if (!has_peer) std::printf("PROXTV_LIB does not name proxTV's shared library: no comparison\n");
  std::printf("%s\n%-26s %8s %8s %8s %8s | %8s %8s %8s %8s %8s | %6s\n", b->describe(), "case", "f32", "f32 col", "f64", "mean32",
              "classic", "hybrid", "condat", "linear", "dp", "ratio");
  const auto noise = [](double step, double sigma) {
    return [=](int, int i, std::mt19937_64 &g) { return step * (i / 16 % 2) + sigma * std::normal_distribution<double>()(g); };
  };
  const auto paper = [](double sigma) {
    return [=](int, int i, std::mt19937_64 &g) { return (i >= 16) + sigma * std::normal_distribution<double>()(g); };
  };
  const auto blocks = [](double sigma) {
    return
        [=](int l, int i, std::mt19937_64 &g) { return ((i / 37 * 7919 + l) % 5) * 0.25 + sigma * std::normal_distribution<double>()(g); };
  };
  (void)noise;
  std::vector<Case> cases = {
      {"8192x32 s.1 l1", 8192, 32, 1, paper(.1), false},
      {"8192x32 s.3 l1", 8192, 32, 1, paper(.3), false},
      {"8192x32 s.5 l1", 8192, 32, 1, paper(.5), false},
      {"8192x32 s.5 l.1", 8192, 32, .1, paper(.5), false},
      {"1024x1024 s.5 l.1", 1024, 1024, .1, blocks(.5), false},
      {"1024x1024 s.5 l1", 1024, 1024, 1, blocks(.5), false},
      {"1024x1024 s.5 l10", 1024, 1024, 10, blocks(.5), false},
      {"512x512 s.1 l.05", 512, 512, .05, blocks(.1), false},
      {"512x512 s.1 l.2", 512, 512, .2, blocks(.1), false},
      {"512x512 ramp", 512, 512, 1, [](int l, int i, std::mt19937_64 &) { return i * 0.01 + l * 0.1; }, true},
      {"512x512 sine", 512, 512, 1, [](int l, int i, std::mt19937_64 &) { return std::sin(i * 0.02 + l); }, true},
      {"256x4096 ramp", 256, 4096, 10, [](int, int i, std::mt19937_64 &) { return i * (100.0 / 4096); }, true},
      {"256x4096 sine", 256, 4096, 10, [](int, int i, std::mt19937_64 &) { return 100 * std::sin(i * (6.0 / 4096)); }, true},
      {"256x4096 parabola", 256, 4096, 10, [](int, int i, std::mt19937_64 &) { return 100 * (i / 4096.0) * (i / 4096.0); }, true},
      {"256x4096 noisy sine", 256, 4096, 10, [](int, int i, std::mt19937_64 &g) { return 100 * std::sin(i * (6.0 / 4096)) + .02 * std::normal_distribution<double>()(g); }, true},
      {"64x4096 parabola l1000", 64, 4096, 1000, [](int, int i, std::mt19937_64 &) { return 1e-6 * i * double(i); }, true},
      {"64x4096 sine l100", 64, 4096, 100, [](int l, int i, std::mt19937_64 &) { return std::sin(i * 0.005 + l); }, true},
      {"1x1e6 s.5 l1", 1, 1000000, 1, blocks(.5), false},
      {"1x1e6 s.5 l10", 1, 1000000, 10, blocks(.5), false},
      {"1x1e6 s.1 l100", 1, 1000000, 100, blocks(.1), false},
  };
  for (const Case &c : cases) {
    if (argc > 1 && !std::strstr(c.name, argv[1])) continue;
    const size_t count = size_t(c.lines) * size_t(c.n);
    std::mt19937_64 g(7);
    std::vector<double> x(count), y(count), xt(count);
    for (int l = 0; l < c.lines; ++l)
      for (int i = 0; i < c.n; ++i) xt[size_t(i) * c.lines + l] = x[size_t(l) * c.n + i] = c.sample(l, i, g);
    std::vector<float> x32(x.begin(), x.end()), xt32(xt.begin(), xt.end()), y32(count), m32(count);
    std::vector<double> lambda(size_t(c.lines), c.lambda);
    std::vector<float> lambda32(size_t(c.lines), float(c.lambda));
    const tg_lines rows{c.lines, c.n, 1}, cols{1, c.n, c.lines};
    std::vector<std::function<void()>> runs = {
        [&] { b->prox1d(TG_F32, &rows, x32.data(), lambda32.data(), nullptr, y32.data()); },
        [&] { b->prox1d(TG_F32, &cols, xt32.data(), lambda32.data(), nullptr, m32.data()); },
        [&] { b->prox1d(TG_F64, &rows, x.data(), lambda.data(), nullptr, y.data()); },
        [&] { b->prox1d_average(TG_F32, &rows, y32.data(), x32.data(), m32.data()); },
    };
    if (has_peer) {
      const auto each = [&](auto f) {
        return [&, f] {
          for (int l = 0; l < c.lines; ++l) f(x.data() + size_t(l) * c.n, y.data() + size_t(l) * c.n);
        };
      };
      runs.push_back(each([&](double *in, double *out) { peer.classic(in, c.n, c.lambda, out); }));
      runs.push_back(each([&](double *in, double *out) { peer.hybrid(in, c.n, c.lambda, out); }));
      runs.push_back(each([&](double *in, double *out) { peer.condat(in, out, c.n, c.lambda); }));
      runs.push_back(each([&](double *in, double *out) { peer.linear(in, c.lambda, out, c.n); }));
      runs.push_back(each([&](double *in, double *out) { peer.dp(c.n, in, c.lambda, out); }));
    }
    std::vector<std::vector<double>> times(runs.size());
    const int repeats = 3;
    for (int r = 0; r < repeats; ++r)
      for (size_t k = 0; k < runs.size(); ++k) {
        runs[k](); // warm: what came before must not count
        for (int again = 0; again < 3; ++again) {
          const double t0 = seconds();
          runs[k]();
          times[k].push_back((seconds() - t0) * 1e9 / double(count));
        }
      }
    std::printf("%-26s", c.name);
    double best = 1e300, best_linear = 1e300;
    for (size_t k = 0; k < runs.size(); ++k) {
      const double t = median(times[k]);
      if (k >= 4) best = std::min(best, t);
      if (k >= 7) best_linear = std::min(best_linear, t);
      std::printf(" %8.3f%s", t, k == 3 ? " |" : "");
    }
    std::printf(" | %6.2f f64 %.2f\n", (c.smooth ? best_linear : best) / median(times[0]),
                (c.smooth ? best_linear : best) / median(times[2]));
    std::fflush(stdout);
  }
}
