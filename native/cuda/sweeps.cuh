// What Dykstra's method and the descent on pixels share (dykstra.cu): grids and their states, the certificate, the means over components.
#pragma once

#include "components.cuh"
#include "dykstra.h"
#include "image_spread.cuh"
#include "line_layout.cuh"
#include "pixel_tiles.cuh"

namespace tautgrad::cuda {
namespace {

struct SweepState : ImageState { // of one grid
  double momentum, beta, next_polish;
  int64_t patience;
  int32_t plain;    // momentum was given up
  int32_t wants;    // to have the means over its components tried
  int32_t polished; // the means are its solution
};
struct SweepCounters {
  int32_t pending, wanting;
};

// A problem with what its kernels work on; arrays hold [batch, pixels], or [batch, axes, pixels] (u).
template <class T> struct Sweeps {
  SweepProblem<T> p;
  int64_t pixels, stride[3], blocks; // blocks: of one grid in kernels that sum
  T *in[3], *out[3], *old[3], *ahead[3], *u, *z, *means;
  SweepState *states;
  double *shares; // 2 per block
  SweepCounters *counters;

  // Where a pixel lies along the k-th axis. Components have labels of 31 bits: so have pixels, and divisions of 64 bits are slow.
  __device__ uint32_t at(int64_t i, int k) const {
    const int a = p.axis[k];
    return static_cast<uint32_t>(i) / static_cast<uint32_t>(stride[a]) % static_cast<uint32_t>(p.extent[a]);
  }
  __device__ bool has_next(int64_t i, int k) const { return at(i, k) + 1 < static_cast<uint32_t>(p.extent[p.axis[k]]); }
  // The weight of the edge from pixel i to the next along the k-th axis, in the grid's own precision, as the line solvers multiply it.
  __device__ double weight(int64_t b, int64_t i, int k) const {
    T w = p.lambda[k][b];
    if (p.weights[k]) {
      const int a = p.axis[k];
      // The array of edges is one shorter along the axis: everything before it in memory shrinks by that.
      const uint32_t slab = static_cast<uint32_t>(stride[a] * p.extent[a]), pixel = static_cast<uint32_t>(i), outer = pixel / slab;
      const int64_t edges = pixels - pixels / p.extent[a];
      const T factor = p.weights[k][b * edges + int64_t(outer) * (slab - stride[a]) + (pixel - outer * slab)];
      w = factor == T(0) ? T(0) : w * factor;
    }
    return double(w) < states[b].cap ? double(w) : states[b].cap;
  }
  // Where the lines of the k-th axis lie, over the whole batch.
  tg_lines lines(int k) const {
    const int a = p.axis[k];
    return {p.batch * pixels / (stride[a] * p.extent[a]), p.extent[a], stride[a]};
  }
};

template <class T>
__global__ void start_sweeps_kernel(Sweeps<T> s, const ImageSpread *spread, double first_polish, int64_t patience, bool plain) {
  for (int64_t b = global_thread(); b < s.p.batch; b += all_threads()) {
    SweepState state = {};
    state.cap = spread[b].cap;
    state.momentum = 1;
    state.best = 1e308;
    state.next_polish = first_polish;
    state.patience = patience;
    state.plain = plain;
    s.states[b] = state;
  }
}

// Descent: u = init brought within the weights, or 0.
template <class T> __global__ void start_duals_kernel(Sweeps<T> s, const T *init) {
  const int64_t n = s.pixels;
  for (int64_t e = global_thread(); e < s.p.batch * n; e += all_threads()) {
    const int64_t b = e / n, i = e % n;
    for (int k = 0; k < s.p.axes; ++k) {
      const int64_t at = (b * s.p.axes + k) * n + i;
      const bool edge = init && s.has_next(i, k) && init[at] == init[at]; // weights are of edges alone
      s.u[at] = edge ? clip(T(s.weight(b, i, k)), init[at]) : T(0);
    }
  }
}

// p = 0; or, with the last axis' duals to start from, p of that axis = D^T u.
template <class T> __global__ void start_residuals_kernel(Sweeps<T> s, const T *init) {
  const int last = s.p.axes - 1;
  const int64_t n = s.pixels, step = s.stride[s.p.axis[last]], length = s.p.extent[s.p.axis[last]];
  for (int64_t e = global_thread(); e < s.p.batch * n; e += all_threads()) {
    const int64_t b = e / n, i = e % n;
    T residual = 0;
    if (init) {
      const T *u = init + (b * s.p.axes + last) * n;
      const auto clipped = [&](int64_t at) { return u[at] == u[at] ? clip(T(s.weight(b, at, last)), u[at]) : T(0); };
      const int64_t k = i / step % length;
      residual = (k > 0 ? clipped(i - step) : T(0)) - (k + 1 < length ? clipped(i) : T(0));
    }
    const T x = s.p.x[e];
    for (int k = 0; k < s.p.axes; ++k) {
      s.in[k][e] = k == last ? x + residual : x;
      s.out[k][e] = x;
      if (k > 0) s.old[k][e] = k == last ? residual : T(0);
    }
  }
}

template <class T> __global__ void spread_lambda_kernel(int64_t batch, int64_t lines, const T *lambda, T *out) {
  for (int64_t k = global_thread(); k < batch * lines; k += all_threads()) out[k] = lambda[k / lines];
}

// q of all axes but the first, and in_0.
template <class T> __global__ void extrapolate_kernel(Sweeps<T> s) {
  for (int64_t e = global_thread(); e < s.p.batch * s.pixels; e += all_threads()) {
    const SweepState &state = s.states[e / s.pixels];
    if (state.done) continue;
    const T beta = T(state.beta);
    T sum = s.p.x[e];
    for (int k = 1; k < s.p.axes; ++k) {
      const T now = s.in[k][e] - s.out[k][e], q = now + beta * (now - s.old[k][e]);
      s.old[k][e] = now;
      s.ahead[k][e] = q;
      sum -= q;
    }
    s.in[0][e] = sum;
  }
}

// in_k of a later axis. A grid that is done keeps its inputs, and so its outputs.
template <class T> __global__ void sweep_input_kernel(Sweeps<T> s, int k) {
  for (int64_t e = global_thread(); e < s.p.batch * s.pixels; e += all_threads()) {
    if (s.states[e / s.pixels].done) continue;
    T sum = s.p.x[e];
    for (int j = 0; j < s.p.axes; ++j)
      if (j != k) sum -= j < k ? s.in[j][e] - s.out[j][e] : s.ahead[j][e];
    s.in[k][e] = sum;
  }
}

// The end of a cycle: <q - p, p - p before>, positive where momentum points uphill, decides on the next momentum.
template <class T> __global__ void __launch_bounds__(BLOCK_THREADS) momentum_kernel(Sweeps<T> s, bool accelerated) {
  const int64_t b = blockIdx.x / s.blocks, block = blockIdx.x % s.blocks;
  SweepState &state = s.states[b];
  if (state.done) return;
  double product[1] = {0};
  if (accelerated)
    for (int64_t i = block * BLOCK_THREADS + threadIdx.x; i < s.pixels; i += s.blocks * BLOCK_THREADS) {
      const int64_t e = b * s.pixels + i;
      for (int k = 1; k < s.p.axes; ++k) {
        const T now = s.in[k][e] - s.out[k][e];
        product[0] += double((s.ahead[k][e] - now) * (now - s.old[k][e]));
      }
    }
  if (!image_sums(product, &state.arrived, s.shares + b * s.blocks * 2, block, s.blocks)) return;
  if (!accelerated || state.plain) return;
  const double next = 0.5 * (1 + sqrt(1 + 4 * state.momentum * state.momentum));
  const bool restart = product[0] > 0;
  state.beta = restart ? 0 : (state.momentum - 1) / next;
  state.momentum = restart ? 1 : next;
}

// Descent: y = x - D^T u.
template <class T> __global__ void descended_kernel(Sweeps<T> s, T *y) {
  const int64_t n = s.pixels;
  for (int64_t e = global_thread(); e < s.p.batch * n; e += all_threads()) {
    const int64_t b = e / n, i = e % n;
    if (s.states[b].done) continue;
    T sum = s.p.x[e];
    for (int k = 0; k < s.p.axes; ++k) {
      const T *u = s.u + (b * s.p.axes + k) * n + i;
      sum += *u - (s.at(i, k) > 0 ? *(u - s.stride[s.p.axis[k]]) : T(0));
    }
    y[e] = sum;
  }
}

// A thread per line: edge duals as partial sums of the prox's residual, started afresh at jumps and clipped (native/cpu/line_duals.h).
template <class T> __global__ void line_duals_kernel(Sweeps<T> s, tg_lines g, int k) {
  for (int64_t line = global_thread(); line < g.outer * g.inner; line += all_threads()) {
    const int64_t at = line_start(g, line, g.n), b = at / s.pixels, start = at % s.pixels;
    if (s.states[b].done) continue;
    const T *in = s.in[k] + at, *out = s.out[k] + at;
    T *u = s.u + (b * s.p.axes + k) * s.pixels + start;
    double sum = 0;
    for (int64_t e = 0; e + 1 < g.n; ++e) {
      const T here = out[e * g.inner], next = out[(e + 1) * g.inner];
      const double w = s.weight(b, start + e * g.inner, k), target = next > here ? w : -w;
      sum += double(here) - double(in[e * g.inner]);
      if (next != here && absolute(sum - target) < 0.01 * w) sum = target;
      u[e * g.inner] = T(clamp(sum, -w, w));
    }
    u[(g.n - 1) * g.inner] = T(0);
  }
}

// The certificate of y (Means: of the means over components) and the duals. Without Means also z = x - D^T u, which the means are taken of.
template <class T, bool Means>
__global__ void __launch_bounds__(BLOCK_THREADS)
    certify_kernel(Sweeps<T> s, const T *y_all, double tolerance, bool accelerated, int64_t iterations) {
  const int64_t b = blockIdx.x / s.blocks, block = blockIdx.x % s.blocks, n = s.pixels;
  SweepState &state = s.states[b];
  if (Means ? !state.wants : state.done) return;
  const T *x = s.p.x + b * n, *y = y_all + b * n, *u = s.u + b * s.p.axes * n;
  double sums[2] = {0, 0};
  for (int64_t i = block * BLOCK_THREADS + threadIdx.x; i < n; i += s.blocks * BLOCK_THREADS) {
    const double yi = double(y[i]), xi = double(x[i]);
    double zi = xi, steep = 0, slack = 0;
    for (int k = 0; k < s.p.axes; ++k) {
      const int a = s.p.axis[k];
      const double here = double(u[k * n + i]);
      zi += here - (s.at(i, k) > 0 ? double(u[k * n + i - s.stride[a]]) : 0);
      if (!s.has_next(i, k)) continue;
      const double dy = double(y[i + s.stride[a]]) - yi, w = s.weight(b, i, k);
      slack += edge_slack(w, here, dy);
      steep += w * absolute(dy);
    }
    if (!Means) s.z[b * n + i] = T(zi);
    sums[0] += slack + 0.5 * (yi - zi) * (yi - zi);
    sums[1] += steep + 0.5 * (xi - yi) * (xi - yi);
  }
  if (!image_sums(sums, &state.arrived, s.shares + b * s.blocks * 2, block, s.blocks)) return;
  const double relative = relative_gap(sums[0], sums[1]);
  bool done = !(relative > tolerance); // negated, so that NaN data stops at once
  if (Means) {
    state.wants = 0;
    atomicAdd(&s.counters->wanting, -1);
    state.next_polish = state.relative / 4;
    if (!(sums[0] < state.gap)) return;
    state.polished = 1;
    done = done && !state.done;
  } else {
    state.polished = 0;
    state.iterations = iterations;
    // The partition is usually right long before the values are: the means over it may pass already.
    state.wants = accelerated && !done && relative <= state.next_polish;
    if (state.wants) atomicAdd(&s.counters->wanting, 1);
    if (sums[0] < 0.9 * state.best) {
      state.best = sums[0];
      state.best_at = state.iterations;
    } else if (state.iterations - state.best_at > state.patience + state.best_at / 4) {
      done = done || state.plain || !accelerated; // rounding holds the gap where it is
      state.plain = 1;
      state.beta = 0;
      state.best_at = state.iterations;
      state.patience = 100;
    }
  }
  state.gap = sums[0];
  state.relative = relative;
  state.objective = sums[1];
  if (!done) return;
  state.done = 1;
  atomicAdd(&s.counters->pending, -1);
}

// At the end: grids whose means were not tried since their last cycle.
__global__ void want_rest_kernel(int64_t batch, SweepState *states) {
  for (int64_t b = global_thread(); b < batch; b += all_threads()) states[b].wants = !states[b].polished && states[b].gap > 0;
}

template <class T> __global__ void join_grid_kernel(Sweeps<T> s, const T *y_all, int32_t *label) {
  const int64_t n = s.pixels;
  for (int64_t e = global_thread(); e < s.p.batch * n; e += all_threads()) {
    const int64_t b = e / n, i = e % n;
    const T *u = s.u + b * s.p.axes * n, *y = y_all + b * n;
    for (int k = 0; k < s.p.axes; ++k) {
      if (!s.has_next(i, k)) continue;
      const int64_t next = i + s.stride[s.p.axis[k]];
      if (edge_is_inside(double(u[k * n + i]), s.weight(b, i, k), double(y[next]) - double(y[i])))
        unite(label + b * n, static_cast<int32_t>(i), static_cast<int32_t>(next));
    }
  }
}

template <class T> __global__ void finish_sweeps_kernel(Sweeps<T> s, T *y, double *report) {
  for (int64_t e = global_thread(); e < s.p.batch * s.pixels; e += all_threads()) {
    const int64_t b = e / s.pixels;
    const SweepState &state = s.states[b];
    if (state.polished) y[e] = s.means[e];
    if (e % s.pixels > 0) continue;
    report[b * TG_TV_REPORT] = state.gap;
    report[b * TG_TV_REPORT + 1] = state.relative;
    report[b * TG_TV_REPORT + 2] = double(state.iterations);
    report[b * TG_TV_REPORT + 3] = state.objective;
  }
}

} // namespace
} // namespace tautgrad::cuda
