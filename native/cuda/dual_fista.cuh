// Total variation of images by FISTA on the edge duals, anisotropic or isotropic, certified: y = x - D^T u, |u| within the bounds.
//
// One launch per iteration: a block computes y over its tile (with a halo) from the momentum point v = u + beta (u - u_before), takes the
// projected step u+ = P(v + D y / 8), and adds its share of <v - u+, u+ - u>; the image's last block sums the shares in a fixed order and
// decides on a restart (gradient restart of O'Donoghue & Candes 2015, momentum k / (k + 5)). The host reads a flag now and then, only
// after the certificate was worked out on the device.
#pragma once

#include "block_sums.cuh"

#include "../kernels/tv2d_certificate.h"

namespace tautgrad::cuda {
namespace {

constexpr int TILE_W = 32, TILE_H = 8, HALO_W = TILE_W + 1, HALO_H = TILE_H + 1; // a thread per pixel of the tile

template <class T> struct TvImages {
  int64_t batch, h, w;
  const T *x;
  const T *lambda_rows, *lambda_cols; // per image; equal pointers for the isotropic problem
  const T *wx, *wy;                   // null or per edge
  int64_t tiles_w, tiles;             // tiles of one image
  __host__ __device__ int64_t pixels() const { return h * w; }
};

struct ImageState {
  double cap; // no dual is larger (kernels/tv2d_certificate.h)
  double beta, gap, relative, objective, best;
  int64_t iterations, best_at, since_restart;
  int32_t done;
  uint32_t arrived; // blocks of the running launch that have finished
};

template <class T> __device__ inline double row_bound(const TvImages<T> &p, const ImageState &s, int64_t b, int64_t r, int64_t c) {
  const T w = p.wx ? p.wx[(b * p.h + r) * (p.w - 1) + c] : T(1), product = w == T(0) ? T(0) : p.lambda_rows[b] * w;
  return double(product) < s.cap ? double(product) : s.cap;
}
template <class T> __device__ inline double col_bound(const TvImages<T> &p, const ImageState &s, int64_t b, int64_t r, int64_t c) {
  const T w = p.wy ? p.wy[(b * (p.h - 1) + r) * p.w + c] : T(1), product = w == T(0) ? T(0) : p.lambda_cols[b] * w;
  return double(product) < s.cap ? double(product) : s.cap;
}

// y = x - D^T v over the tile and one pixel beyond it to the right and below. duals: [2, h, w] of one image.
template <class T>
__device__ void primal_tile(const TvImages<T> &p, const T *x, const T *u, const T *before, T beta, int64_t r0, int64_t c0, T *y) {
  const int64_t n = p.pixels();
  const auto v = [&](int64_t i) { return u[i] + beta * (u[i] - before[i]); };
  for (int e = threadIdx.y * TILE_W + threadIdx.x; e < HALO_W * HALO_H; e += TILE_W * TILE_H) {
    const int64_t r = r0 + e / HALO_W, c = c0 + e % HALO_W, i = r * p.w + c;
    if (r >= p.h || c >= p.w) continue;
    const T here = v(i), left = c > 0 ? v(i - 1) : T(0), below = v(n + i), above = r > 0 ? v(n + i - p.w) : T(0);
    y[e] = x[i] + (here - left) + (below - above);
  }
}

template <class T, bool Isotropic>
__global__ void __launch_bounds__(TILE_W *TILE_H)
    fista_step_kernel(TvImages<T> p, ImageState *states, const T *u_all, const T *before_all, T *next_all, double *shares) {
  __shared__ T y[HALO_W * HALO_H];
  const int64_t b = blockIdx.x / p.tiles, tile = blockIdx.x % p.tiles, n = p.pixels();
  ImageState &state = states[b];
  const T *u = u_all + 2 * b * n, *before = before_all + 2 * b * n;
  T *next = next_all + 2 * b * n;
  const int64_t r0 = tile / p.tiles_w * TILE_H, c0 = tile % p.tiles_w * TILE_W, r = r0 + threadIdx.y, c = c0 + threadIdx.x, i = r * p.w + c;
  const bool inside = r < p.h && c < p.w;
  if (state.done) {
    // The three buffers rotate: what is finished moves along.
    if (inside) next[i] = u[i], next[n + i] = u[n + i];
    return;
  }
  const T beta = T(state.beta);
  primal_tile(p, p.x + b * n, u, before, beta, r0, c0, y);
  __syncthreads();
  double product[1] = {0};
  if (inside) {
    const int at = threadIdx.y * HALO_W + threadIdx.x;
    const bool right = c + 1 < p.w, below = r + 1 < p.h;
    const T v1 = u[i] + beta * (u[i] - before[i]), v2 = u[n + i] + beta * (u[n + i] - before[n + i]);
    T a = right ? v1 + (y[at + 1] - y[at]) * T(0.125) : T(0), d = below ? v2 + (y[at + HALO_W] - y[at]) * T(0.125) : T(0);
    if (Isotropic) {
      const T bound = T(double(p.lambda_rows[b]) < state.cap ? double(p.lambda_rows[b]) : state.cap);
      const T length = T(sqrt(double(a * a + d * d)));
      if (length > bound) {
        const T scale = bound / length;
        a *= scale;
        d *= scale;
      }
    } else {
      const T wide = right ? T(row_bound(p, state, b, r, c)) : T(0), tall = below ? T(col_bound(p, state, b, r, c)) : T(0);
      a = a > wide ? wide : a < -wide ? -wide : a;
      d = d > tall ? tall : d < -tall ? -tall : d;
    }
    product[0] = double((v1 - a) * (a - u[i])) + double((v2 - d) * (d - u[n + i]));
    next[i] = a;
    next[n + i] = d;
  }
  block_sums(product);
  double *own = shares + b * p.tiles * 2;
  if (!last_to_arrive(&state.arrived, product, own, tile, p.tiles)) return;
  sum_shares(own, p.tiles, product);
  if (threadIdx.x == 0 && threadIdx.y == 0) {
    const bool restart = product[0] > 0;
    state.beta = restart ? 0 : double(state.since_restart) / double(state.since_restart + 5);
    state.since_restart = restart ? 0 : state.since_restart + 1;
    ++state.iterations;
    state.arrived = 0;
  }
}

// What a certificate means for an image: true where it needs no further iterations, which its state keeps. sums: the gap and the objective.
__device__ inline bool take_certificate(ImageState *state, const double (&sums)[2], double tolerance) {
  state->gap = sums[0];
  state->objective = sums[1];
  state->relative = relative_gap(sums[0], sums[1]);
  if (state->gap < 0.9 * state->best) {
    state->best = state->gap;
    state->best_at = state->iterations;
  }
  const bool stuck = state->iterations - state->best_at > 500 + state->best_at / 2; // rounding holds the gap where it is
  state->done = !(state->relative > tolerance) || stuck;
  return state->done;
}

// The certificate of u and of y = x - D^T u: the gap as a sum of non-negative terms in double. Marks the images that need no further
// iterations.
template <class T, bool Isotropic>
__global__ void __launch_bounds__(TILE_W *TILE_H)
    certify_kernel(TvImages<T> p, ImageState *states, const T *u_all, T *y_all, double tolerance, double *shares, int32_t *pending) {
  __shared__ T y[HALO_W * HALO_H];
  const int64_t b = blockIdx.x / p.tiles, tile = blockIdx.x % p.tiles, n = p.pixels();
  ImageState &state = states[b];
  if (state.done) return;
  const T *u = u_all + 2 * b * n, *x = p.x + b * n;
  const int64_t r0 = tile / p.tiles_w * TILE_H, c0 = tile % p.tiles_w * TILE_W, r = r0 + threadIdx.y, c = c0 + threadIdx.x, i = r * p.w + c;
  primal_tile(p, x, u, u, T(0), r0, c0, y);
  __syncthreads();
  double sums[2] = {0, 0};
  if (r < p.h && c < p.w) {
    const int at = threadIdx.y * HALO_W + threadIdx.x;
    const double yi = double(y[at]), dx = c + 1 < p.w ? double(y[at + 1]) - yi : 0, dy = r + 1 < p.h ? double(y[at + HALO_W]) - yi : 0;
    const double lambda = Isotropic ? (double(p.lambda_rows[b]) < state.cap ? double(p.lambda_rows[b]) : state.cap) : 0;
    // Isotropic duals are pulled into the ball in double: a division in float32 may leave them outside by rounding.
    const auto dual = [&](int64_t k, double *first, double *second) {
      *first = double(u[k]), *second = double(u[n + k]);
      if (!Isotropic) return;
      const double length = sqrt(*first * *first + *second * *second);
      if (length > lambda) *first *= lambda / length, *second *= lambda / length;
    };
    double right, down, left = 0, above = 0, unused;
    dual(i, &right, &down);
    if (c > 0) dual(i - 1, &left, &unused);
    if (r > 0) dual(i - p.w, &unused, &above);
    const double xi = double(x[i]), z = xi + (right - left) + (down - above);
    double slack, steep;
    if (Isotropic) {
      steep = dx == 0 && dy == 0 ? 0 : lambda * sqrt(dx * dx + dy * dy);
      slack = steep - (right * dx + down * dy);
      slack = slack > 0 || slack != slack ? slack : 0;
    } else {
      const double wide = c + 1 < p.w ? row_bound(p, state, b, r, c) : 0, tall = r + 1 < p.h ? col_bound(p, state, b, r, c) : 0;
      steep = wide * absolute(dx) + tall * absolute(dy);
      slack = edge_slack(wide, right, dx) + edge_slack(tall, down, dy);
    }
    sums[0] = slack + 0.5 * (yi - z) * (yi - z);
    sums[1] = steep + 0.5 * (xi - yi) * (xi - yi);
    y_all[b * n + i] = y[at];
  }
  block_sums(sums);
  double *own = shares + b * p.tiles * 2;
  if (!last_to_arrive(&state.arrived, sums, own, tile, p.tiles)) return;
  sum_shares(own, p.tiles, sums);
  if (threadIdx.x == 0 && threadIdx.y == 0) {
    if (take_certificate(&state, sums, tolerance)) atomicAdd(pending, -1);
    state.arrived = 0;
  }
}

// A block per image: the state at the start, with the cap on duals.
template <class T> __global__ void start_kernel(TvImages<T> p, ImageState *states) {
  const int64_t b = blockIdx.x, n = p.pixels();
  const T *x = p.x + b * n;
  const int thread = threadIdx.y * TILE_W + threadIdx.x;
  const double base = double(x[0]);
  double sum[1] = {0};
  for (int64_t i = thread; i < n; i += TILE_W * TILE_H) sum[0] += double(x[i]) - base;
  block_sums(sum);
  const double mean = base + sum[0] / double(n);
  sum[0] = 0;
  for (int64_t i = thread; i < n; i += TILE_W * TILE_H) sum[0] += absolute(double(x[i]) - mean);
  block_sums(sum);
  if (thread == 0) {
    ImageState s = {};
    s.cap = double(T(4 * sum[0]));
    s.best = 1e308;
    states[b] = s;
  }
}

// u = init brought within the bounds, or 0.
template <class T, bool Isotropic> __global__ void start_duals_kernel(TvImages<T> p, const ImageState *states, const T *init, T *u) {
  const int64_t n = p.pixels();
  for (int64_t k = global_thread(); k < p.batch * n; k += all_threads()) {
    const int64_t b = k / n, i = k % n, r = i / p.w, c = i % p.w;
    T a = init && c + 1 < p.w ? init[2 * b * n + i] : T(0), d = init && r + 1 < p.h ? init[(2 * b + 1) * n + i] : T(0);
    a = a == a ? a : T(0);
    d = d == d ? d : T(0);
    if (Isotropic) {
      const T bound = T(double(p.lambda_rows[b]) < states[b].cap ? double(p.lambda_rows[b]) : states[b].cap);
      const T length = T(sqrt(double(a) * double(a) + double(d) * double(d)));
      if (length > bound) a *= bound / length, d *= bound / length;
    } else {
      const T wide = c + 1 < p.w ? T(row_bound(p, states[b], b, r, c)) : T(0),
              tall = r + 1 < p.h ? T(col_bound(p, states[b], b, r, c)) : T(0);
      a = a > wide ? wide : a < -wide ? -wide : a;
      d = d > tall ? tall : d < -tall ? -tall : d;
    }
    u[2 * b * n + i] = a;
    u[(2 * b + 1) * n + i] = d;
  }
}

template <class T> __global__ void report_kernel(int64_t batch, const ImageState *states, double *report) {
  for (int64_t b = global_thread(); b < batch; b += all_threads()) {
    report[b * TG_TV_REPORT] = states[b].gap;
    report[b * TG_TV_REPORT + 1] = states[b].relative;
    report[b * TG_TV_REPORT + 2] = double(states[b].iterations);
    report[b * TG_TV_REPORT + 3] = states[b].objective;
  }
}

// The solver's buffers: three generations of duals that rotate, the states, the shares of blocks.
template <class T, bool Isotropic> class DualFista {
public:
  explicit DualFista(const TvImages<T> &p)
      : p_(p), dual_bytes_((2 * p.batch * p.pixels() * int64_t(sizeof(T)) + 255) / 256 * 256),
        state_bytes_((p.batch * int64_t(sizeof(ImageState)) + 255) / 256 * 256),
        memory_(3 * dual_bytes_ + state_bytes_ + p.batch * p.tiles * 2 * int64_t(sizeof(double)) + 256) {}

  // Iterates until every image is certified to the tolerance; y is complete then. cancel: see backend.h.
  int solve(const char *name, double tolerance, int64_t max_iterations, const T *init, T *y, double *report, const int32_t *cancel) {
    if (!memory_.ok()) return fail("%s: out of memory for images of %lld x %lld pixels", name, (long long)p_.h, (long long)p_.w);
    states_ = memory_.template as<ImageState>(3 * dual_bytes_);
    double *shares = memory_.template as<double>(3 * dual_bytes_ + state_bytes_);
    int32_t *pending = reinterpret_cast<int32_t *>(shares + p_.batch * p_.tiles * 2);
    for (int k = 0; k < 3; ++k) u_[k] = memory_.template as<T>(k * dual_bytes_);
    const dim3 block(TILE_W, TILE_H), grid(static_cast<unsigned>(p_.batch * p_.tiles)), images(static_cast<unsigned>(p_.batch));
    const int32_t all = static_cast<int32_t>(p_.batch);
    if (upload(pending, &all, sizeof all) != TG_OK) return TG_FAILED;
    if (run_kernel(name, start_kernel<T>, images, block, 0, p_, states_) != TG_OK) return TG_FAILED;
    if (run_kernel(name, start_duals_kernel<T, Isotropic>, blocks_for(p_.batch * p_.pixels()), THREADS, 0, p_, states_, init, u_[0]) !=
        TG_OK)
      return TG_FAILED;
    if (copy(u_[1], u_[0], dual_bytes_) != TG_OK) return TG_FAILED; // no momentum yet
    for (int64_t k = 0;;) {
      if (run_kernel(name, certify_kernel<T, Isotropic>, grid, block, 0, p_, states_, u_[0], y, tolerance, shares, pending) != TG_OK)
        return TG_FAILED;
      int32_t left = 0;
      if (download(&left, pending, sizeof left) != TG_OK) return TG_FAILED;
      if (left <= 0 || k >= max_iterations) break;
      if (cancel && __atomic_load_n(cancel, __ATOMIC_RELAXED)) return fail("cancelled");
      int64_t steps = 16 + k / 8;
      steps = steps < max_iterations - k ? steps : max_iterations - k;
      for (int64_t s = 0; s < steps; ++s) {
        if (run_kernel(name, fista_step_kernel<T, Isotropic>, grid, block, 0, p_, states_, u_[0], u_[1], u_[2], shares) != TG_OK)
          return TG_FAILED;
        T *oldest = u_[1];
        u_[1] = u_[0];
        u_[0] = u_[2];
        u_[2] = oldest;
      }
      k += steps;
    }
    return run_kernel(name, report_kernel<T>, blocks_for(p_.batch), THREADS, 0, p_.batch, states_, report);
  }

  // After solve(): the duals [batch, 2, h, w], and the states.
  const T *duals() const { return u_[0]; }
  const ImageState *states() const { return states_; }

private:
  const TvImages<T> p_;
  const int64_t dual_bytes_, state_bytes_;
  Scratch memory_;
  ImageState *states_ = nullptr;
  T *u_[3] = {nullptr, nullptr, nullptr};
};

template <class T>
TvImages<T> tv_images(const tg_tv2d &p, const void *x, const void *lambda_rows, const void *lambda_cols, const void *wx, const void *wy) {
  const int64_t tiles_w = ceil_div(p.width, TILE_W), tiles = tiles_w * ceil_div(p.height, TILE_H);
  return {p.batch,
          p.height,
          p.width,
          static_cast<const T *>(x),
          static_cast<const T *>(lambda_rows),
          static_cast<const T *>(lambda_cols),
          static_cast<const T *>(wx),
          static_cast<const T *>(wy),
          tiles_w,
          tiles};
}

} // namespace
} // namespace tautgrad::cuda
