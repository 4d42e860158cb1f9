// Images of anisotropic total variation: this library (float32 and float64, certified) against proxTV's default DR2_TV (35 iterations), one
// thread unless TAUTGRAD_THREADS says otherwise. Values 0 .. 1, noise 25/255. The synthetic image has discs, ramps and texture; a natural
// one is read from a binary PGM given as the first argument.
#include "native/backend.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <dlfcn.h>
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
using Dr = int (*)(size_t, size_t, double *, double, double, double, double, double *, int, int, double *);

std::vector<double> synthetic(int h, int w, int seed) {
  std::mt19937_64 g(seed);
  std::normal_distribution<double> noise(0, 25 / 255.);
  std::vector<double> x(size_t(h) * w);
  for (int r = 0; r < h; ++r)
    for (int c = 0; c < w; ++c) {
      double v = 0.3 + 0.2 * c / w;
      for (int k = 0; k < 12; ++k) {
        const double cy = (k * 37 % 97) / 97. * h, cx = (k * 53 % 89) / 89. * w, radius = (0.04 + 0.015 * (k % 5)) * h;
        if ((r - cy) * (r - cy) + (c - cx) * (c - cx) < radius * radius) v = 0.1 + 0.07 * k;
      }
      if (r > 0.7 * h && c > 0.6 * w) v += 0.1 * std::sin(0.8 * r) * std::sin(0.5 * c);
      x[size_t(r) * w + c] = v + noise(g);
    }
  return x;
}

bool read_pgm(const char *path, int *h, int *w, std::vector<double> *x) {
  std::FILE *f = std::fopen(path, "rb");
  int depth;
  if (!f || std::fscanf(f, "P5 %d %d %d", w, h, &depth) != 3) return false;
  std::fgetc(f);
  std::vector<unsigned char> raw(size_t(*h) * *w);
  const bool ok = std::fread(raw.data(), 1, raw.size(), f) == raw.size();
  std::fclose(f);
  std::mt19937_64 g(1);
  std::normal_distribution<double> noise(0, 25 / 255.);
  x->clear();
  for (unsigned char v : raw) x->push_back(v / 255. + noise(g));
  return ok;
}

double objective(int h, int w, const std::vector<double> &x, const double *y, double lambda) {
  double p = 0;
  for (int r = 0; r < h; ++r)
    for (int c = 0; c < w; ++c) {
      const size_t i = size_t(r) * w + c;
      p += 0.5 * (x[i] - y[i]) * (x[i] - y[i]);
      if (c + 1 < w) p += lambda * std::fabs(y[i + 1] - y[i]);
      if (r + 1 < h) p += lambda * std::fabs(y[i + w] - y[i]);
    }
  return p;
}

template <class T>
void ours(int batch, int h, int w, const std::vector<double> &x, double lambda, double tolerance, int method, const char *name) {
  const tg_backend *b = tg_cpu_backend();
  const std::vector<T> in(x.begin(), x.end());
  std::vector<T> y(in.size());
  const std::vector<T> l(static_cast<size_t>(batch), T(lambda));
  std::vector<double> report(size_t(batch) * TG_TV_REPORT);
  const tg_tv2d p{batch, h, w, method, 100000};
  std::vector<double> times;
  for (int k = 0; k < 3 && (k == 0 || times[0] < 3); ++k) {
    const double t = seconds();
    b->prox2d(sizeof(T) == 4 ? TG_F32 : TG_F64, &p, tolerance, in.data(), l.data(), l.data(), nullptr, nullptr, nullptr, y.data(), nullptr, nullptr,
              report.data(), nullptr);
    times.push_back(seconds() - t);
  }
  std::sort(times.begin(), times.end());
  double worst = 0;
  for (int i = 0; i < batch; ++i) worst = std::max(worst, report[size_t(i) * TG_TV_REPORT + 1]);
  std::printf("  %-14s %-8s %9.1f ms  relative gap %.2e  iterations %4.0f  objective %.8f\n", name, sizeof(T) == 4 ? "float32" : "float64",
              1e3 * times[times.size() / 2], worst, report[2], report[3]);
}
} // namespace

int main(int argc, char **argv) {
  int h = 512, w = 512, batch = 1;
  std::vector<double> x = synthetic(h, w, 1);
  if (argc > 1 && std::strcmp(argv[1], "-") && !read_pgm(argv[1], &h, &w, &x)) return std::printf("cannot read %s\n", argv[1]), 1;
  if (argc > 3) { // "- <batch> <size>"
    batch = std::atoi(argv[2]);
    h = w = std::atoi(argv[3]);
    x.clear();
    for (int i = 0; i < batch; ++i) {
      const auto one = synthetic(h, w, i + 1);
      x.insert(x.end(), one.begin(), one.end());
    }
  }
  const char *path = std::getenv("PROXTV_LIB");
  void *lib = path && *path ? dlopen(path, RTLD_NOW) : nullptr;
  const Dr dr = lib ? reinterpret_cast<Dr>(dlsym(lib, "DR2_TV")) : nullptr;
  for (double lambda : {0.02, 0.05, 0.1, 0.2, 1.0}) {
    if (const char *only = std::getenv("TV_LAMBDA"))
      if (std::fabs(std::atof(only) - lambda) > 1e-9) continue;
    std::printf("%d x %d x %d, lambda %g\n", batch, h, w, lambda);
    const size_t n = size_t(h) * w;
    if (dr) {
      std::vector<double> in(x), y(x.size());
      double info[3];
      const double t = seconds();
      for (int i = 0; i < batch; ++i) dr(size_t(w), size_t(h), &in[i * n], lambda, lambda, 1, 1, &y[i * n], 1, 35, info);
      std::printf("  %-14s %-8s %9.1f ms  objective %.8f\n", "proxTV DR2", "float64", 1e3 * (seconds() - t),
                  objective(h, w, x, y.data(), lambda));
    }
    for (double tolerance : {1e-4, 1e-6}) {
      char name[32];
      std::snprintf(name, sizeof name, "tolerance %g", tolerance);
      ours<float>(batch, h, w, x, lambda, tolerance, TG_TV2D_ACCELERATED, name);
    }
    ours<double>(batch, h, w, x, lambda, 1e-6, TG_TV2D_ACCELERATED, "tolerance 1e-6");
    ours<double>(batch, h, w, x, lambda, 1e-9, TG_TV2D_ACCELERATED, "tolerance 1e-9");
    ours<double>(batch, h, w, x, lambda, 1e-13, TG_TV2D_ACCELERATED, "tolerance 1e-13");
  }
}
