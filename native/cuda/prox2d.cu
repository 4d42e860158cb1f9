// Anisotropic 2D total variation on the GPU: to a certified gap by FISTA on the edge duals, or a number of Dykstra sweeps; averages over
// components. Exact solutions are left to the CPU.
#include "components.cuh"
#include "dual_fista.cuh"
#include "prox1d.h"

namespace tautgrad::cuda {
namespace {

// ---- components of a solution ----

template <class T> __global__ void join_kernel(TvImages<T> p, const ImageState *states, const T *u_all, const T *y_all, int32_t *label) {
  const int64_t n = p.pixels();
  for (int64_t k = global_thread(); k < p.batch * n; k += all_threads()) {
    const int64_t b = k / n, i = k % n, r = i / p.w, c = i % p.w;
    const T *u = u_all + 2 * b * n, *y = y_all + b * n;
    int32_t *own = label + b * n;
    if (c + 1 < p.w && edge_is_inside(double(u[i]), double(T(row_bound(p, states[b], b, r, c))), double(y[i + 1]) - double(y[i])))
      unite(own, static_cast<int32_t>(i), static_cast<int32_t>(i + 1));
    if (r + 1 < p.h && edge_is_inside(double(u[n + i]), double(T(col_bound(p, states[b], b, r, c))), double(y[i + p.w]) - double(y[i])))
      unite(own, static_cast<int32_t>(i), static_cast<int32_t>(i + p.w));
  }
}

template <class T> int components(const TvImages<T> &p, const ImageState *states, const T *u, const T *y, int32_t *label) {
  const int64_t n = p.pixels(), total = p.batch * n;
  const dim3 grid = blocks_for(total);
  if (run_kernel("prox2d", singletons_kernel, grid, THREADS, 0, total, n, label) != TG_OK) return TG_FAILED;
  if (run_kernel("prox2d", join_kernel<T>, grid, THREADS, 0, p, states, u, y, label) != TG_OK) return TG_FAILED;
  return run_kernel("prox2d", flatten_kernel, grid, THREADS, 0, total, n, label);
}

// ---- plain Dykstra (Yeh et al. 2022, algorithm 1): p = x - q - rows(x - q), q = x - p - columns(x - p), y = x - p - q ----

template <class T> __global__ void spread_lambda_kernel(int64_t batch, int64_t lines, const T *lambda, T *out) {
  for (int64_t k = global_thread(); k < batch * lines; k += all_threads()) out[k] = lambda[k / lines];
}

// in = x - (before - after), the residual of the sweep before; `residual` receives it.
template <class T> __global__ void sweep_input_kernel(int64_t n, const T *x, const T *before, const T *after, T *residual, T *in) {
  for (int64_t i = global_thread(); i < n; i += all_threads()) {
    residual[i] = before[i] - after[i];
    in[i] = x[i] - residual[i];
  }
}

// before - after = D^T u of the vertical duals.
template <class T> __global__ void column_residual_kernel(TvImages<T> p, const T *u_all, T *before, T *after) {
  const int64_t n = p.pixels();
  for (int64_t k = global_thread(); k < p.batch * n; k += all_threads()) {
    const int64_t b = k / n, i = k % n;
    const T *u = u_all + (2 * b + 1) * n;
    before[k] = (i >= p.w ? u[i - p.w] : T(0)) - u[i];
    after[k] = T(0);
  }
}

__global__ void count_iterations_kernel(int64_t batch, int64_t iterations, ImageState *states) {
  for (int64_t b = global_thread(); b < batch; b += all_threads()) states[b].iterations = iterations;
}

// A thread per line: edge duals as partial sums of the prox's residual, started afresh at jumps and clipped (native/cpu/line_duals.h).
template <class T>
__global__ void line_duals_kernel(TvImages<T> p, const ImageState *states, bool rows, const T *in_all, const T *out_all, T *u_all) {
  const int64_t n = p.pixels(), per_image = rows ? p.h : p.w, length = rows ? p.w : p.h, step = rows ? 1 : p.w;
  for (int64_t line = global_thread(); line < p.batch * per_image; line += all_threads()) {
    const int64_t b = line / per_image, at = line % per_image, start = rows ? at * p.w : at;
    const T *in = in_all + b * n + start, *out = out_all + b * n + start;
    T *u = u_all + (2 * b + (rows ? 0 : 1)) * n + start;
    double sum = 0;
    for (int64_t k = 0; k < length; ++k) {
      if (k + 1 == length) {
        u[k * step] = T(0);
        break;
      }
      const T here = out[k * step], next = out[(k + 1) * step];
      const double w = double(T(rows ? row_bound(p, states[b], b, at, k) : col_bound(p, states[b], b, k, at)));
      sum += double(here) - double(in[k * step]);
      const double target = next > here ? w : -w;
      if (next != here && absolute(sum - target) < 0.01 * w) sum = target;
      u[k * step] = T(clamp(sum, -w, w));
    }
  }
}

template <class T>
int dykstra(const tg_tv2d &p, const TvImages<T> &images, const T *init, T *y, T *dual, int32_t *labels, double *report,
            const int32_t *cancel) {
  const int64_t n = images.pixels(), total = p.batch * n, size = (total * int64_t(sizeof(T)) + 255) / 256 * 256;
  const int64_t lambda_rows = (p.batch * p.height * int64_t(sizeof(T)) + 255) / 256 * 256,
                lambda_cols = (p.batch * p.width * int64_t(sizeof(T)) + 255) / 256 * 256;
  Scratch memory(6 * size + lambda_rows + lambda_cols + 2 * size + (p.batch * int64_t(sizeof(ImageState)) + 255) / 256 * 256 +
                 p.batch * images.tiles * 2 * int64_t(sizeof(double)) + 256);
  if (!memory.ok()) return fail("prox2d: out of memory for images of %lld x %lld pixels", (long long)p.height, (long long)p.width);
  int64_t used = 0;
  const auto take = [&](int64_t bytes) {
    unsigned char *at = memory.as<unsigned char>(used);
    used += bytes;
    return at;
  };
  T *row_in = reinterpret_cast<T *>(take(size)), *row_out = reinterpret_cast<T *>(take(size)), *col_in = reinterpret_cast<T *>(take(size)),
    *residual = reinterpret_cast<T *>(take(size)), *col_out = reinterpret_cast<T *>(take(size)), *spare = reinterpret_cast<T *>(take(size)),
    *rows = reinterpret_cast<T *>(take(lambda_rows)), *cols = reinterpret_cast<T *>(take(lambda_cols)),
    *u = reinterpret_cast<T *>(take(2 * size));
  ImageState *states = reinterpret_cast<ImageState *>(take((p.batch * int64_t(sizeof(ImageState)) + 255) / 256 * 256));
  double *shares = reinterpret_cast<double *>(take(p.batch * images.tiles * 2 * int64_t(sizeof(double))));
  int32_t *pending = reinterpret_cast<int32_t *>(take(256));
  const dim3 grid = blocks_for(total), block(TILE_W, TILE_H);
  const char *name = "prox2d";

  if (run_kernel(name, start_kernel<T>, dim3(static_cast<unsigned>(p.batch)), block, 0, images, states) != TG_OK) return TG_FAILED;
  if (run_kernel(name, spread_lambda_kernel<T>, blocks_for(p.batch * p.height), THREADS, 0, p.batch, p.height, images.lambda_rows, rows) !=
      TG_OK)
    return TG_FAILED;
  if (run_kernel(name, spread_lambda_kernel<T>, blocks_for(p.batch * p.width), THREADS, 0, p.batch, p.width, images.lambda_cols, cols) !=
      TG_OK)
    return TG_FAILED;
  if (run_kernel(name, start_duals_kernel<T, false>, grid, THREADS, 0, images, states, init, u) != TG_OK) return TG_FAILED;
  // The columns' residual at the start: q = D^T u of the vertical duals, here as before - after of a sweep.
  if (run_kernel(name, column_residual_kernel<T>, grid, THREADS, 0, images, u, col_in, col_out) != TG_OK) return TG_FAILED;
  int64_t k = 0;
  for (; k < p.max_iterations; ++k) {
    if (cancel && __atomic_load_n(cancel, __ATOMIC_RELAXED)) return fail("cancelled");
    if (run_kernel(name, sweep_input_kernel<T>, grid, THREADS, 0, total, images.x, col_in, col_out, residual, row_in) != TG_OK)
      return TG_FAILED;
    if (prox_lines<T>(tg_lines{p.batch * p.height, p.width, 1}, row_in, rows, images.wx, row_out) != TG_OK) return TG_FAILED;
    if (run_kernel(name, sweep_input_kernel<T>, grid, THREADS, 0, total, images.x, row_in, row_out, spare, col_in) != TG_OK)
      return TG_FAILED;
    if (prox_lines<T>(tg_lines{p.batch, p.height, p.width}, col_in, cols, images.wy, col_out) != TG_OK) return TG_FAILED;
  }
  if (k > 0) {
    if (run_kernel(name, line_duals_kernel<T>, blocks_for(p.batch * p.height, 64), 64, 0, images, states, true, row_in, row_out, u) !=
        TG_OK)
      return TG_FAILED;
    if (run_kernel(name, line_duals_kernel<T>, blocks_for(p.batch * p.width, 64), 64, 0, images, states, false, col_in, col_out, u) !=
        TG_OK)
      return TG_FAILED;
    if (copy(y, col_out, total * int64_t(sizeof(T))) != TG_OK) return TG_FAILED;
  } else if (copy(y, images.x, total * int64_t(sizeof(T))) != TG_OK) {
    return TG_FAILED;
  }
  if (run_kernel(name, certify_kernel<T, false, true>, dim3(static_cast<unsigned>(p.batch * images.tiles)), block, 0, images, states, u, y,
                 0.0, shares, pending) != TG_OK)
    return TG_FAILED;
  if (labels && components(images, states, u, y, labels) != TG_OK) return TG_FAILED;
  if (dual && copy(dual, u, 2 * total * int64_t(sizeof(T))) != TG_OK) return TG_FAILED;
  if (run_kernel(name, count_iterations_kernel, blocks_for(p.batch), THREADS, 0, p.batch, k, states) != TG_OK) return TG_FAILED;
  return run_kernel(name, report_kernel<T>, blocks_for(p.batch), THREADS, 0, p.batch, states, report);
}

template <class T>
int prox2d_typed(const tg_tv2d &p, double tolerance, const TvImages<T> &images, const T *init, T *y, T *dual, int32_t *labels,
                 double *report, const int32_t *cancel) {
  if (p.method == TG_TV2D_DYKSTRA) return dykstra(p, images, init, y, dual, labels, report, cancel);
  if (p.method != TG_TV2D_ACCELERATED) return TG_UNSUPPORTED; // exact solutions are finished on the CPU
  DualFista<T, false> solver(images);
  if (solver.solve("prox2d", tolerance, p.max_iterations, init, y, report, cancel) != TG_OK) return TG_FAILED;
  if (labels && components(images, solver.states(), solver.duals(), y, labels) != TG_OK) return TG_FAILED;
  return dual ? copy(dual, solver.duals(), 2 * p.batch * images.pixels() * int64_t(sizeof(T))) : int(TG_OK);
}

int prox2d(int64_t dtype, const tg_tv2d *p, double tolerance, const void *x, const void *lambda_rows, const void *lambda_cols,
           const void *wx, const void *wy, const void *init, void *y, void *dual, void *labels, void *report, const int32_t *cancel) {
  return with_real(dtype, "prox2d", [&](auto tag) {
    using T = typename decltype(tag)::type;
    if (p->batch * p->height * p->width == 0) return static_cast<int>(TG_OK);
    return prox2d_typed<T>(*p, tolerance, tv_images<T>(*p, x, lambda_rows, lambda_cols, wx, wy), static_cast<const T *>(init),
                           static_cast<T *>(y), static_cast<T *>(dual), static_cast<int32_t *>(labels), static_cast<double *>(report),
                           cancel);
  });
}

// ---- averages over components ----

// Sums that do not depend on the order of additions: a value is split into two integers in fixed point, 40 bits each below the largest
// magnitude of its image, and integers are added exactly. A value that is not finite marks its component.
struct LabelSum {
  unsigned long long high, low; // two's complement
  int32_t count, broken;
};
constexpr double FIXED = 1099511627776.0; // 2^40

template <class T> __global__ void largest_kernel(int64_t pixels, const T *v_all, double *scale) {
  __shared__ double warps[TILE_H];
  const int thread = threadIdx.y * TILE_W + threadIdx.x;
  const T *v = v_all + int64_t(blockIdx.x) * pixels;
  double largest = 0;
  for (int64_t i = thread; i < pixels; i += TILE_W * TILE_H) {
    const double magnitude = absolute(double(v[i]));
    if (magnitude > largest && magnitude < 1e308) largest = magnitude;
  }
  for (int distance = 16; distance > 0; distance /= 2) {
    const double other = __shfl_xor_sync(0xffffffffu, largest, distance);
    largest = other > largest ? other : largest;
  }
  if (thread % 32 == 0) warps[thread / 32] = largest;
  __syncthreads();
  if (thread == 0) {
    for (int k = 0; k < TILE_H; ++k) largest = warps[k] > largest ? warps[k] : largest;
    scale[blockIdx.x] = largest > 0 ? largest : 1;
  }
}

template <class T>
__global__ void add_labels_kernel(int64_t total, int64_t pixels, const int32_t *label, const T *v, const double *scale, LabelSum *sums) {
  for (int64_t k = global_thread(); k < total; k += all_threads()) {
    LabelSum &sum = sums[k / pixels * pixels + label[k]];
    const double scaled = double(v[k]) / scale[k / pixels] * FIXED;
    atomicAdd(&sum.count, 1);
    if (!(absolute(scaled) <= FIXED)) {
      atomicOr(&sum.broken, 1);
      continue;
    }
    const double high = rint(scaled);
    atomicAdd(&sum.high, static_cast<unsigned long long>(static_cast<long long>(high)));
    atomicAdd(&sum.low, static_cast<unsigned long long>(static_cast<long long>(rint((scaled - high) * FIXED))));
  }
}

template <class T>
__global__ void mean_labels_kernel(int64_t total, int64_t pixels, const int32_t *label, const double *scale, const LabelSum *sums, T *out) {
  for (int64_t k = global_thread(); k < total; k += all_threads()) {
    const LabelSum &sum = sums[k / pixels * pixels + label[k]];
    const double whole = double(static_cast<long long>(sum.high)) + double(static_cast<long long>(sum.low)) / FIXED;
    out[k] = sum.broken ? T(NAN) : T(whole / FIXED * scale[k / pixels] / sum.count);
  }
}

template <class T> int average(int64_t batch, int64_t pixels, const int32_t *labels, const T *v, T *out) {
  const int64_t total = batch * pixels;
  if (total == 0) return TG_OK;
  Scratch sums(total * int64_t(sizeof(LabelSum))), scale(batch * int64_t(sizeof(double)));
  if (!sums.ok() || !scale.ok()) return fail("component_average: out of memory for %lld pixels", (long long)pixels);
  const char *name = "component_average";
  if (check(cudaMemsetAsync(sums.as<void>(), 0, static_cast<size_t>(total) * sizeof(LabelSum), compute_stream()), name) != TG_OK)
    return TG_FAILED;
  if (run_kernel(name, largest_kernel<T>, dim3(static_cast<unsigned>(batch)), dim3(TILE_W, TILE_H), 0, pixels, v, scale.as<double>()) !=
      TG_OK)
    return TG_FAILED;
  if (run_kernel(name, add_labels_kernel<T>, blocks_for(total), THREADS, 0, total, pixels, labels, v, scale.as<double>(),
                 sums.as<LabelSum>()) != TG_OK)
    return TG_FAILED;
  return run_kernel(name, mean_labels_kernel<T>, blocks_for(total), THREADS, 0, total, pixels, labels, scale.as<double>(),
                    sums.as<LabelSum>(), out);
}

int component_average(int64_t dtype, int64_t batch, int64_t pixels, const void *labels, const void *v, void *out) {
  return with_real(dtype, "component_average", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return average(batch, pixels, static_cast<const int32_t *>(labels), static_cast<const T *>(v), static_cast<T *>(out));
  });
}

} // namespace

void register_prox2d(tg_backend *t) {
  t->prox2d = prox2d;
  t->component_average = component_average;
}

} // namespace tautgrad::cuda
