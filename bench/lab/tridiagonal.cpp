// Tridiagonal batches against LAPACK (netlib or OpenBLAS, whichever liblapack resolves to), one thread, same process, medians.
// ns per unknown. Link with -llapack.
#include "native/backend.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <random>
#include <vector>

extern "C" {
void dpttrf_(const int *, double *, double *, int *);
void dpttrs_(const int *, const int *, const double *, const double *, double *, const int *, int *);
void sptsv_(const int *, const int *, float *, float *, float *, const int *, int *);
void dptsv_(const int *, const int *, double *, double *, double *, const int *, int *);
void dgtsv_(const int *, const int *, double *, double *, double *, double *, const int *, int *);
}

namespace {
double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }
double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}
} // namespace

int main() {
  const tg_backend *b = tg_cpu_backend();
  std::printf("%s, ns per unknown: ours (rows) | ours (columns) | LAPACK | ratio of rows\n", b->describe());
  for (int n : {8, 16, 32, 64, 128, 512, 1024}) {
    const int systems = 32768 / n;
    const size_t count = size_t(systems) * n;
    std::mt19937_64 g(3);
    std::normal_distribution<double> normal;
    std::vector<double> d(count), e(count), rhs(count), x(count), f(count), l(count), du(count), dl(count), gd(count);
    for (size_t i = 0; i < count; ++i) {
      e[i] = normal(g), rhs[i] = normal(g), du[i] = normal(g), dl[i] = normal(g), gd[i] = normal(g);
      d[i] = 8 + std::abs(normal(g));
    }
    std::vector<float> d32(d.begin(), d.end()), e32(e.begin(), e.end()), rhs32(rhs.begin(), rhs.end()), x32(count);
    std::vector<int32_t> status(static_cast<size_t>(systems));
    const tg_lines rows{systems, n, 1}, cols{1, n, systems};
    std::vector<double> wd(d), we(e), wb(rhs), wu(du);
    std::vector<float> wd32(d32), we32(e32), wb32(rhs32);
    const int one = 1;
    int info;
    struct Contest {
      const char *name;
      std::function<void(const tg_lines &)> ours;
      std::function<void(int)> lapack;
      std::function<void()> reset;
    };
    const std::vector<Contest> contests = {
        {"dpttrf", [&](const tg_lines &q) { b->pttrf(TG_F64, &q, d.data(), e.data(), f.data(), l.data(), status.data()); },
         [&](int s) { dpttrf_(&n, &wd[size_t(s) * n], &we[size_t(s) * n], &info); }, [&] { wd = d, we = e; }},
        {"dpttrs", [&](const tg_lines &q) { b->pttrs(TG_F64, &q, f.data(), l.data(), rhs.data(), x.data()); },
         [&](int s) { dpttrs_(&n, &one, &wd[size_t(s) * n], &we[size_t(s) * n], &wb[size_t(s) * n], &n, &info); }, [&] { wb = rhs; }},
        {"dptsv", [&](const tg_lines &q) { b->ptsv(TG_F64, &q, d.data(), e.data(), rhs.data(), x.data(), status.data()); },
         [&](int s) { dptsv_(&n, &one, &wd[size_t(s) * n], &we[size_t(s) * n], &wb[size_t(s) * n], &n, &info); },
         [&] { wd = d, we = e, wb = rhs; }},
        {"sptsv", [&](const tg_lines &q) { b->ptsv(TG_F32, &q, d32.data(), e32.data(), rhs32.data(), x32.data(), status.data()); },
         [&](int s) { sptsv_(&n, &one, &wd32[size_t(s) * n], &we32[size_t(s) * n], &wb32[size_t(s) * n], &n, &info); },
         [&] { wd32 = d32, we32 = e32, wb32 = rhs32; }},
        {"dgtsv", [&](const tg_lines &q) { b->gtsv(TG_F64, &q, dl.data(), gd.data(), du.data(), rhs.data(), x.data(), status.data()); },
         [&](int s) { dgtsv_(&n, &one, &we[size_t(s) * n], &wd[size_t(s) * n], &wu[size_t(s) * n], &wb[size_t(s) * n], &n, &info); },
         [&] { wd = gd, we = dl, wu = du, wb = rhs; }},
    };
    for (const Contest &c : contests) {
      std::vector<double> r, k, p;
      c.ours(rows);
      for (int repeat = 0; repeat < 31; ++repeat) {
        double t = seconds();
        c.ours(rows);
        r.push_back((seconds() - t) * 1e9 / double(count));
        t = seconds();
        c.ours(cols);
        k.push_back((seconds() - t) * 1e9 / double(count));
        c.reset();
        t = seconds();
        for (int s = 0; s < systems; ++s) c.lapack(s);
        p.push_back((seconds() - t) * 1e9 / double(count));
      }
      std::printf("%-7s %5d x %4d  %7.3f %7.3f %7.3f  %6.1f\n", c.name, systems, n, median(r), median(k), median(p), median(p) / median(r));
    }
  }
}
