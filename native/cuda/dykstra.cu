// Dykstra's method over the axes of images and volumes: dual block-coordinate descent whose blocks are the line proxes of one axis.
//
// p_k = in_k - out_k is the residual of the proxes along the k-th axis of the cycle, y = x - sum_k p_k after every cycle:
//   in_k = x - sum_{j < k} p_j - sum_{j > k} q_j
// where q_j is p_j of the cycle before: with Nesterov's momentum and gradient restart when accelerated. With two axes that converges
// (Chambolle & Pock 2015; Chambolle, Tan & Vaiter 2017); with three it is not proven to, and where the certified gap stops falling the
// plain method goes on. All decisions are taken on the device, grid by grid; the host reads two counters when the gap was worked out.
#include "dykstra.h"

#include "block_sums.cuh"
#include "components.cuh"
#include "line_layout.cuh"
#include "prox1d.h"

#include "../kernels/tv2d_certificate.h"

namespace tautgrad::cuda {
namespace {

struct SweepState { // of one grid
  double cap;       // no dual is larger (kernels/tv2d_certificate.h)
  double momentum, beta, gap, relative, objective, best, next_polish;
  int64_t iterations, best_at, patience;
  int32_t plain;    // momentum was given up
  int32_t done;     // needs no further cycles
  int32_t wants;    // to have the means over its components tried
  int32_t polished; // the means are its solution
  uint32_t arrived;
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

  __device__ bool has_next(int64_t i, int k) const {
    const int a = p.axis[k];
    return i / stride[a] % p.extent[a] + 1 < p.extent[a];
  }
  // The weight of the edge from pixel i to the next along the k-th axis, in the grid's own precision, as the line solvers multiply it.
  __device__ double weight(int64_t b, int64_t i, int k) const {
    T w = p.lambda[k][b];
    if (p.weights[k]) {
      const int a = p.axis[k];
      // The array of edges is one shorter along the axis: everything before it in memory shrinks by that.
      const int64_t outer = i / (stride[a] * p.extent[a]), slab = stride[a] * (p.extent[a] - 1),
                    edges = pixels / p.extent[a] * (p.extent[a] - 1);
      const T factor = p.weights[k][b * edges + outer * slab + i % (stride[a] * p.extent[a])];
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

// A block per grid.
template <class T> __global__ void __launch_bounds__(BLOCK_THREADS) start_sweeps_kernel(Sweeps<T> s, double first_polish) {
  const int64_t b = blockIdx.x, n = s.pixels;
  const T *x = s.p.x + b * n;
  const double base = double(x[0]);
  double sum[1] = {0};
  for (int64_t i = threadIdx.x; i < n; i += BLOCK_THREADS) sum[0] += double(x[i]) - base;
  block_sums(sum);
  const double mean = base + sum[0] / double(n);
  sum[0] = 0;
  for (int64_t i = threadIdx.x; i < n; i += BLOCK_THREADS) sum[0] += absolute(double(x[i]) - mean);
  block_sums(sum);
  if (threadIdx.x > 0) return;
  SweepState state = {};
  state.cap = double(T(4 * sum[0]));
  state.momentum = 1;
  state.best = 1e308;
  state.next_polish = first_polish;
  state.patience = 20;
  s.states[b] = state;
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
      const auto clipped = [&](int64_t at) {
        const T v = u[at], w = T(s.weight(b, at, last));
        return v > w ? w : v < -w ? -w : v == v ? v : T(0);
      };
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
  block_sums(product);
  double *own = s.shares + b * s.blocks * 2;
  if (!last_to_arrive(&state.arrived, product, own, block, s.blocks)) return;
  sum_shares(own, s.blocks, product);
  if (threadIdx.x > 0) return;
  state.arrived = 0;
  ++state.iterations;
  if (!accelerated || state.plain) return;
  const double next = 0.5 * (1 + sqrt(1 + 4 * state.momentum * state.momentum));
  const bool restart = product[0] > 0;
  state.beta = restart ? 0 : (state.momentum - 1) / next;
  state.momentum = restart ? 1 : next;
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
__global__ void __launch_bounds__(BLOCK_THREADS) certify_kernel(Sweeps<T> s, const T *y_all, double tolerance, bool accelerated) {
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
      zi += here - (i / s.stride[a] % s.p.extent[a] > 0 ? double(u[k * n + i - s.stride[a]]) : 0);
      if (!s.has_next(i, k)) continue;
      const double dy = double(y[i + s.stride[a]]) - yi, w = s.weight(b, i, k);
      slack += edge_slack(w, here, dy);
      steep += w * absolute(dy);
    }
    if (!Means) s.z[b * n + i] = T(zi);
    sums[0] += slack + 0.5 * (yi - zi) * (yi - zi);
    sums[1] += steep + 0.5 * (xi - yi) * (xi - yi);
  }
  block_sums(sums);
  double *own = s.shares + b * s.blocks * 2;
  if (!last_to_arrive(&state.arrived, sums, own, block, s.blocks)) return;
  sum_shares(own, s.blocks, sums);
  if (threadIdx.x > 0) return;
  state.arrived = 0;
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

template <class T> class DykstraSolver {
public:
  DykstraSolver(const char *name, const SweepProblem<T> &p) : name_(name) {
    s_.p = p;
    s_.pixels = p.extent[0] * p.extent[1] * p.extent[2];
    s_.stride[0] = p.extent[1] * p.extent[2];
    s_.stride[1] = p.extent[2];
    s_.stride[2] = 1;
    s_.blocks = blocks_of_image(s_.pixels, p.batch);
    s_.blocks = s_.blocks > 0 ? s_.blocks : 1;
  }

  int solve(bool accelerated, double tolerance, int64_t max_iterations, const T *init, T *y, T *dual, int32_t *labels, double *report,
            const int32_t *cancel) {
    Pieces count;
    lay_out(&count, y, labels);
    Scratch memory(count.used);
    if (!memory.ok())
      return fail("%s: out of memory for %lld grids of %lld x %lld x %lld", name_, (long long)s_.p.batch, (long long)s_.p.extent[0],
                  (long long)s_.p.extent[1], (long long)s_.p.extent[2]);
    Pieces pieces{0, memory.as<unsigned char>()};
    lay_out(&pieces, y, labels);
    const double linear = 60 * tolerance, square = 0.3 * sqrt(tolerance);
    int status = start(init, tolerance > 1e-7 || linear > square ? linear : square);
    int64_t k = 0, next_check = 1;
    while (status == TG_OK && k < max_iterations) {
      if (cancel && __atomic_load_n(cancel, __ATOMIC_RELAXED)) return fail("cancelled");
      status = cycle(accelerated);
      ++k;
      if (status != TG_OK || !accelerated || (k < next_check && k < max_iterations)) continue;
      status = certify(tolerance, true);
      SweepCounters left{};
      if (status == TG_OK) status = download(&left, s_.counters, sizeof left);
      if (status == TG_OK && left.wanting > 0) {
        status = polish(tolerance);
        if (status == TG_OK) status = download(&left, s_.counters, sizeof left);
      }
      if (left.pending <= 0) break;
      next_check = k + 2 + k / 8;
    }
    if (status == TG_OK && (!accelerated || k == 0)) status = certify(tolerance, false);
    if (status == TG_OK && accelerated && k > 0) {
      status = run_kernel(name_, want_rest_kernel, blocks_for(s_.p.batch), THREADS, 0, s_.p.batch, s_.states);
      if (status == TG_OK) status = polish(tolerance);
    } else if (status == TG_OK && labels) {
      status = components();
    }
    if (status == TG_OK && dual) status = copy(dual, s_.u, s_.p.batch * s_.p.axes * s_.pixels * int64_t(sizeof(T)));
    if (status != TG_OK) return status;
    return pixelwise(finish_sweeps_kernel<T>, y, report);
  }

private:
  void lay_out(Pieces *m, T *y, int32_t *labels) {
    const int64_t n = s_.p.batch * s_.pixels;
    for (int k = 0; k < s_.p.axes; ++k) {
      const tg_lines g = s_.lines(k);
      s_.in[k] = m->take<T>(n);
      s_.out[k] = k + 1 < s_.p.axes ? m->take<T>(n) : y;
      s_.old[k] = k > 0 ? m->take<T>(n) : nullptr;
      s_.ahead[k] = k > 0 ? m->take<T>(n) : nullptr;
      lambda_[k] = m->take<T>(g.outer * g.inner);
    }
    s_.u = m->take<T>(s_.p.axes * n);
    s_.z = m->take<T>(n);
    s_.means = m->take<T>(n);
    s_.states = m->take<SweepState>(s_.p.batch);
    s_.shares = m->take<double>(s_.p.batch * s_.blocks * 2);
    s_.counters = m->take<SweepCounters>(1);
    labels_ = labels ? labels : m->take<int32_t>(n);
  }

  template <class... Parameters, class... Arguments> int pixelwise(void (*kernel)(Sweeps<T>, Parameters...), Arguments... arguments) {
    return run_kernel(name_, kernel, blocks_for(s_.p.batch * s_.pixels), THREADS, 0, s_, arguments...);
  }
  template <class... Parameters, class... Arguments> int summing(void (*kernel)(Sweeps<T>, Parameters...), Arguments... arguments) {
    return run_kernel(name_, kernel, dim3(static_cast<unsigned>(s_.p.batch * s_.blocks)), BLOCK_THREADS, 0, s_, arguments...);
  }

  int start(const T *init, double first_polish) {
    const SweepCounters all{static_cast<int32_t>(s_.p.batch), 0};
    int status = upload(s_.counters, &all, sizeof all);
    if (status == TG_OK)
      status = run_kernel(name_, start_sweeps_kernel<T>, dim3(static_cast<unsigned>(s_.p.batch)), BLOCK_THREADS, 0, s_, first_polish);
    for (int k = 0; k < s_.p.axes && status == TG_OK; ++k) {
      const tg_lines g = s_.lines(k);
      const int64_t lines = g.outer * g.inner;
      status = run_kernel(name_, spread_lambda_kernel<T>, blocks_for(lines), THREADS, 0, s_.p.batch, lines / s_.p.batch, s_.p.lambda[k],
                          lambda_[k]);
    }
    return status == TG_OK ? pixelwise(start_residuals_kernel<T>, init) : status;
  }

  int cycle(bool accelerated) {
    int status = pixelwise(extrapolate_kernel<T>);
    for (int k = 0; k < s_.p.axes && status == TG_OK; ++k) {
      if (k > 0) status = pixelwise(sweep_input_kernel<T>, k);
      if (status == TG_OK) status = prox_lines<T>(s_.lines(k), s_.in[k], lambda_[k], s_.p.weights[k], s_.out[k]);
    }
    return status == TG_OK ? summing(momentum_kernel<T>, accelerated) : status;
  }

  int certify(double tolerance, bool accelerated) {
    int status = TG_OK;
    for (int k = 0; k < s_.p.axes && status == TG_OK; ++k) {
      const tg_lines g = s_.lines(k);
      status = run_kernel(name_, line_duals_kernel<T>, blocks_for(g.outer * g.inner, 64), 64, 0, s_, g, k);
    }
    return status == TG_OK ? summing(certify_kernel<T, false>, s_.out[s_.p.axes - 1], tolerance, accelerated) : status;
  }

  int components() {
    const int64_t total = s_.p.batch * s_.pixels;
    int status = run_kernel(name_, singletons_kernel, blocks_for(total), THREADS, 0, total, s_.pixels, labels_);
    if (status == TG_OK) status = pixelwise(join_grid_kernel<T>, s_.out[s_.p.axes - 1], labels_);
    return status == TG_OK ? run_kernel(name_, flatten_kernel, blocks_for(total), THREADS, 0, total, s_.pixels, labels_) : status;
  }

  // With the true partition the mean of z over each component is the solution, whatever u is inside the components.
  int polish(double tolerance) {
    int status = components();
    if (status == TG_OK) status = component_means(s_.p.batch, s_.pixels, labels_, s_.z, s_.means);
    return status == TG_OK ? summing(certify_kernel<T, true>, s_.means, tolerance, true) : status;
  }

  const char *const name_;
  Sweeps<T> s_{};
  T *lambda_[3] = {nullptr, nullptr, nullptr};
  int32_t *labels_ = nullptr;
};

} // namespace

template <class T>
int dykstra(const char *name, const SweepProblem<T> &p, bool accelerated, double tolerance, int64_t max_iterations, const T *init, T *y,
            T *dual, int32_t *labels, double *report, const int32_t *cancel) {
  return DykstraSolver<T>(name, p).solve(accelerated, tolerance, max_iterations, p.axes == 2 ? init : nullptr, y, dual, labels, report,
                                         cancel);
}

template int dykstra<float>(const char *, const SweepProblem<float> &, bool, double, int64_t, const float *, float *, float *, int32_t *,
                            double *, const int32_t *);
template int dykstra<double>(const char *, const SweepProblem<double> &, bool, double, int64_t, const double *, double *, double *,
                             int32_t *, double *, const int32_t *);

} // namespace tautgrad::cuda
