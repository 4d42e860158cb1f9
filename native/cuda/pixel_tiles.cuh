// Iterations on the pixels of plain images, several to a launch: a block keeps a tile with a margin of one pixel per iteration in shared
// memory and registers, so that nothing leaves it in between; the margin is computed twice, by the neighbours too.
//
//   FISTA (Beck & Teboulle 2009):  u+ = P(v + 1/8 D (x - D^T v)),  v = u + beta (u - u before),  beta = age / (age + 5)
//   accelerated primal-dual (Chambolle & Pock 2011, algorithm 2):
//     u+ = P(u + sigma D ybar),  y+ = (y + tau (x - D^T u+)) / (1 + tau),  ybar = y+ + theta (y+ - y)
// P clips every edge's dual (anisotropic) or pulls a pixel's pair into the ball (isotropic). FISTA's restart (gradient restart of
// O'Donoghue & Candes 2015) is decided once per launch by the image's last block, from <v - u+, u+ - u> of the last iteration.
#pragma once

#include "block_sums.cuh"

#include "../kernels/tv2d_certificate.h"

namespace tautgrad::cuda {
namespace {

enum class Descent { edges, isotropic, primal_dual };

constexpr int TILE = 32, LEVELS = 4, REGION = TILE + 2 * LEVELS, CELLS = REGION * REGION,
              SLOTS = (CELLS + BLOCK_THREADS - 1) / BLOCK_THREADS; // cells of a thread

// What an image's kernels agree on.
struct ImageState {
  double cap; // no dual is larger (kernels/tv2d_certificate.h)
  double gap, relative, objective, best;
  int64_t iterations, best_at, age; // age: iterations since the last restart
  int32_t done;                     // needs no further iterations
  uint32_t arrived;                 // blocks of the running launch that have finished
};

template <class T> struct TvImages {
  int64_t batch, h, w;
  const T *x;
  const T *lambda_rows, *lambda_cols; // per image; equal pointers for the isotropic problem
  const T *wx, *wy;                   // null or per edge
  int64_t tiles_w, tiles;             // tiles of one image
  TvImages(int64_t batch_, int64_t h_, int64_t w_, const T *x_, const T *rows, const T *cols, const T *wx_, const T *wy_)
      : batch(batch_), h(h_), w(w_), x(x_), lambda_rows(rows), lambda_cols(cols), wx(wx_), wy(wy_), tiles_w(ceil_div(w_, TILE)),
        tiles(tiles_w * ceil_div(h_, TILE)) {}
  __host__ __device__ int64_t pixels() const { return h * w; }

  __device__ T row_bound(double cap, int64_t b, int64_t r, int64_t c) const {
    return within(cap, lambda_rows[b], wx ? wx[(b * h + r) * (w - 1) + c] : T(1));
  }
  __device__ T col_bound(double cap, int64_t b, int64_t r, int64_t c) const {
    return within(cap, lambda_cols[b], wy ? wy[(b * (h - 1) + r) * w + c] : T(1));
  }
  __device__ static T within(double cap, T lambda, T weight) {
    const T bound = weight == T(0) ? T(0) : lambda * weight;
    return double(bound) < cap ? bound : T(cap);
  }
};

struct TileLevels { // of one launch
  int count;        // 1 to LEVELS
  double sigma[LEVELS], tau[LEVELS], theta[LEVELS];
};

__device__ inline float root(float v) { return sqrtf(v); }
__device__ inline double root(double v) { return sqrt(v); }

// Brings a pair into the ball.
template <class T> __device__ inline void pull(T bound, T &a, T &d) {
  const T length = root(a * a + d * d);
  if (!(length > bound)) return;
  const T scale = bound / length;
  a *= scale;
  d *= scale;
}
template <class T> __device__ inline T clip(T bound, T a) { return a > bound ? bound : a < -bound ? -bound : a; }

// u: the duals [batch, 2, h, w], of the differences inside rows first (edges), or of those inside columns (backend.h); other: the duals
// before (FISTA), or y and ybar (primal-dual), laid out alike. What comes out goes to buffers of its own, because neighbours read what went
// in.
template <class T, Descent Kind, class State>
__global__ void __launch_bounds__(BLOCK_THREADS) descend_kernel(TvImages<T> p, State *states, TileLevels levels, const T *u_all,
                                                                const T *other_all, T *u_next, T *other_next, double *shares) {
  constexpr bool PD = Kind == Descent::primal_dual;
  __shared__ T first[CELLS], second[CELLS], image[CELLS]; // v, or u; y, or ybar
  const int64_t b = blockIdx.x / p.tiles, tile = blockIdx.x % p.tiles, n = p.pixels();
  const int64_t wide_at = Kind == Descent::edges ? 0 : n, tall_at = n - wide_at;
  State &state = states[b];
  const T *u = u_all + 2 * b * n, *other = other_all + 2 * b * n, *x = p.x + b * n;
  u_next += 2 * b * n;
  other_next += 2 * b * n;
  const int h = static_cast<int>(p.h), w = static_cast<int>(p.w), r0 = static_cast<int>(tile / p.tiles_w) * TILE - LEVELS,
            c0 = static_cast<int>(tile % p.tiles_w) * TILE - LEVELS, thread = static_cast<int>(threadIdx.x);
  const bool done = state.done;
  const double age = double(state.age);
  const auto momentum = [&](int level) { return T((age + level) / (age + level + 5)); };
  const T ball = TvImages<T>::within(state.cap, p.lambda_rows[b], T(1)); // the pixel's, of the isotropic problem

  T u1[SLOTS], u2[SLOTS], xs[SLOTS], ys[SLOTS], wide[SLOTS], tall[SLOTS];
  unsigned left = 0, above = 0, right = 0, below = 0, out = 0; // bits of the slots: neighbours in the region, pixels of the tile itself
#pragma unroll
  for (int s = 0; s < SLOTS; ++s) {
    const int e = s * BLOCK_THREADS + thread, rr = e / REGION, rc = e % REGION, r = r0 + rr, c = c0 + rc;
    u1[s] = u2[s] = xs[s] = ys[s] = wide[s] = tall[s] = 0;
    if (e >= CELLS) continue;
    T a = 0, d = 0, y = 0;
    if (r >= 0 && r < h && c >= 0 && c < w) {
      const int64_t i = int64_t(r) * w + c;
      left |= unsigned(c > 0 && rc > 0) << s;
      above |= unsigned(r > 0 && rr > 0) << s;
      right |= unsigned(c + 1 < w && rc + 1 < REGION) << s;
      below |= unsigned(r + 1 < h && rr + 1 < REGION) << s;
      out |= unsigned(rr >= LEVELS && rr < LEVELS + TILE && rc >= LEVELS && rc < LEVELS + TILE) << s;
      a = u1[s] = u[wide_at + i];
      d = u2[s] = u[tall_at + i];
      xs[s] = x[i];
      if (PD) {
        ys[s] = other[i];
        y = other[n + i];
      } else {
        a += momentum(0) * (a - other[wide_at + i]);
        d += momentum(0) * (d - other[tall_at + i]);
      }
      if (Kind == Descent::edges) {
        wide[s] = c + 1 < w ? p.row_bound(state.cap, b, r, c) : T(0);
        tall[s] = r + 1 < h ? p.col_bound(state.cap, b, r, c) : T(0);
      }
      if (done && out >> s & 1u) { // the buffers rotate: what is finished moves along
        u_next[wide_at + i] = u1[s], u_next[tall_at + i] = u2[s];
        other_next[i] = other[i], other_next[n + i] = other[n + i];
      }
    }
    first[e] = a;
    second[e] = d;
    image[e] = y;
  }
  if (done) return;

  const auto primal = [&](int s, int e) { // x - D^T of what is in first and second
    return xs[s] + (first[e] - (left >> s & 1u ? first[e - 1] : T(0))) + (second[e] - (above >> s & 1u ? second[e - REGION] : T(0)));
  };
  double product[1] = {0};
  for (int m = 0; m < levels.count; ++m) {
    const bool last = m + 1 == levels.count;
    const T gain = PD ? T(levels.sigma[m]) : T(0.125), beta = momentum(m + 1);
    __syncthreads();
    if (!PD) {
#pragma unroll
      for (int s = 0; s < SLOTS; ++s) {
        const int e = s * BLOCK_THREADS + thread;
        if (e < CELLS) image[e] = primal(s, e);
      }
      __syncthreads();
    }
#pragma unroll
    for (int s = 0; s < SLOTS; ++s) {
      const int e = s * BLOCK_THREADS + thread;
      if (e >= CELLS) continue;
      const T v1 = first[e], v2 = second[e];
      T a = right >> s & 1u ? v1 + gain * (image[e + 1] - image[e]) : T(0),
        d = below >> s & 1u ? v2 + gain * (image[e + REGION] - image[e]) : T(0);
      if (Kind == Descent::edges) {
        a = clip(wide[s], a);
        d = clip(tall[s], d);
      } else {
        pull(ball, a, d);
      }
      if (PD) {
        first[e] = a;
        second[e] = d;
      } else {
        if (last && out >> s & 1u) {
          const int64_t i = int64_t(r0 + e / REGION) * w + c0 + e % REGION;
          product[0] += double((v1 - a) * (a - u1[s])) + double((v2 - d) * (d - u2[s]));
          other_next[wide_at + i] = u1[s], other_next[tall_at + i] = u2[s];
        }
        first[e] = a + beta * (a - u1[s]);
        second[e] = d + beta * (d - u2[s]);
      }
      u1[s] = a;
      u2[s] = d;
    }
    if (PD) {
      const T tau = T(levels.tau[m]), shrink = T(1 / (1 + levels.tau[m])), theta = T(levels.theta[m]);
      __syncthreads();
#pragma unroll
      for (int s = 0; s < SLOTS; ++s) {
        const int e = s * BLOCK_THREADS + thread;
        if (e >= CELLS) continue;
        const T after = (ys[s] + tau * primal(s, e)) * shrink;
        image[e] = after + theta * (after - ys[s]);
        ys[s] = after;
      }
    }
  }
#pragma unroll
  for (int s = 0; s < SLOTS; ++s) {
    const int e = s * BLOCK_THREADS + thread;
    if (!(out >> s & 1u)) continue;
    const int64_t i = int64_t(r0 + e / REGION) * w + c0 + e % REGION;
    u_next[wide_at + i] = u1[s], u_next[tall_at + i] = u2[s];
    if (PD) other_next[i] = ys[s], other_next[n + i] = image[e];
  }
  if (PD) return;
  if (!image_sums(product, &state.arrived, shares + b * p.tiles, tile, p.tiles)) return;
  state.age = product[0] > 0 ? 0 : state.age + levels.count;
}

// Two generations of duals and of what goes with them.
template <class T> struct DescentBuffers {
  T *u[2], *other[2];
  double *shares; // a tile each
  static DescentBuffers take(Pieces *m, const TvImages<T> &p) {
    const int64_t n = 2 * p.batch * p.pixels();
    DescentBuffers buffers;
    for (T **array : {&buffers.u[0], &buffers.u[1], &buffers.other[0], &buffers.other[1]}) *array = m->take<T>(n);
    buffers.shares = m->take<double>(p.batch * p.tiles);
    return buffers;
  }
  // Further iterations; the newest duals are u[0] again afterwards.
  template <Descent Kind, class State> int descend(const char *name, const TvImages<T> &p, State *states, const TileLevels &levels) {
    const int status = run_kernel(name, descend_kernel<T, Kind, State>, dim3(static_cast<unsigned>(p.batch * p.tiles)), BLOCK_THREADS, 0, p,
                                  states, levels, u[0], other[0], u[1], other[1], shares);
    T *swap = u[0];
    u[0] = u[1];
    u[1] = swap;
    swap = other[0];
    other[0] = other[1];
    other[1] = swap;
    return status;
  }
};

} // namespace
} // namespace tautgrad::cuda
