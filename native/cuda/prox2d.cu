// Anisotropic 2D total variation on the GPU: to a certified gap by descent on the pixels' edges or by accelerated Dykstra, or a number of
// plain Dykstra sweeps. Exact solutions are left to the CPU.
#include "block_sums.cuh"
#include "tv2d_choice.h"

#include <cstdlib>
#include <cstring>
#include <vector>

namespace tautgrad::cuda {
namespace {

// The mean weight over the mean difference of neighbours, of the pixels of every `step`-th row. A block per image.
template <class T>
__global__ void __launch_bounds__(BLOCK_THREADS) ratio_kernel(int64_t h, int64_t w, int64_t step, const T *x_all, const T *rows,
                                                              const T *cols, const T *wx, const T *wy, double *ratio) {
  const int64_t b = blockIdx.x, sampled = ceil_div(h, step) * w;
  const T *x = x_all + b * h * w;
  double sums[2] = {0, 0};
  for (int64_t e = threadIdx.x; e < sampled; e += BLOCK_THREADS) {
    const int64_t r = e / w * step, c = e % w, i = r * w + c;
    const auto add = [&](int64_t next, T weight) {
      const double d = double(x[next]) - double(x[i]);
      sums[0] += double(weight);
      sums[1] += d < 0 ? -d : d;
    };
    if (c + 1 < w) add(i + 1, rows[b] * (wx ? wx[(b * h + r) * (w - 1) + c] : T(1)));
    if (r + 1 < h) add(i + w, cols[b] * (wy ? wy[(b * (h - 1) + r) * w + c] : T(1)));
  }
  block_sums(sums);
  if (threadIdx.x == 0) ratio[b] = sums[0] / sums[1];
}

// The largest ratio of the batch: its images go on together until the last one is done.
template <class T>
int largest_ratio(const tg_tv2d &p, const T *x, const T *rows, const T *cols, const T *wx, const T *wy, double *largest) {
  Scratch memory(p.batch * int64_t(sizeof(double)));
  if (!memory.ok()) return fail("prox2d: out of memory for %lld images", (long long)p.batch);
  std::vector<double> ratios(static_cast<size_t>(p.batch));
  int64_t step = 4; // some ten thousand pixels tell enough
  while (ceil_div(p.height, step) * p.width > 1 << 14 && step < p.height) step *= 2;
  int status = run_kernel("prox2d", ratio_kernel<T>, dim3(static_cast<unsigned>(p.batch)), BLOCK_THREADS, 0, p.height, p.width, step, x,
                          rows, cols, wx, wy, memory.as<double>());
  if (status == TG_OK) status = download(ratios.data(), memory.as<double>(), p.batch * int64_t(sizeof(double)));
  *largest = 0;
  for (const double ratio : ratios) *largest = ratio > *largest && std::isfinite(ratio) ? ratio : *largest;
  return status;
}

// TAUTGRAD_CUDA_TV2D=fista or dykstra takes the choice that the caller left open, for measurements.
const char *wish() {
  const char *named = std::getenv("TAUTGRAD_CUDA_TV2D");
  return named ? named : "";
}

template <class T> int choose(const tg_tv2d &p, const T *x, const T *rows, const T *cols, const T *wx, const T *wy, TvWay *way) {
  *way = p.method == TG_TV2D_DYKSTRA ? TvWay::plain : p.method == TG_TV2D_PIXELS ? TvWay::descent : TvWay::sweeps;
  if (p.method != TG_TV2D_ACCELERATED || !std::strcmp(wish(), "dykstra")) return TG_OK;
  *way = TvWay::descent;
  if (!std::strcmp(wish(), "fista")) return TG_OK;
  double ratio = 0;
  const int status = largest_ratio(p, x, rows, cols, wx, wy, &ratio);
  *way = choose_tv2d(ratio, p.batch, p.height, p.width, multiprocessors());
  return status;
}

int prox2d(int64_t dtype, const tg_tv2d *p, double tolerance, const void *x, const void *lambda_rows, const void *lambda_cols,
           const void *wx, const void *wy, const void *init, void *y, void *dual, void *labels, void *report, const int32_t *cancel) {
  if (p->method == TG_TV2D_EXACT) return TG_UNSUPPORTED; // finished on the CPU
  return with_real(dtype, "prox2d", [&](auto tag) {
    using T = typename decltype(tag)::type;
    if (p->batch * p->height * p->width == 0) return static_cast<int>(TG_OK);
    const auto in = [](const void *a) { return static_cast<const T *>(a); };
    TvWay way;
    if (choose(*p, in(x), in(lambda_rows), in(lambda_cols), in(wx), in(wy), &way) != TG_OK) return static_cast<int>(TG_FAILED);
    // Rows first, then columns.
    const SweepProblem<T> problem = {
        p->batch, {1, p->height, p->width}, 2, {2, 1, 0}, in(x), {in(lambda_rows), in(lambda_cols), nullptr}, {in(wx), in(wy), nullptr}};
    return dykstra<T>("prox2d", problem, way, tolerance, p->max_iterations, in(init), static_cast<T *>(y), static_cast<T *>(dual),
                      static_cast<int32_t *>(labels), static_cast<double *>(report), cancel);
  });
}

} // namespace

void register_prox2d(tg_backend *t) { t->prox2d = prox2d; }

} // namespace tautgrad::cuda
