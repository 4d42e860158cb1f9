// Anisotropic total variation of grids by one of two methods, image by image to a certified gap. All decisions are taken on the device,
// grid by grid; the host reads two counters when the gap was worked out.
//
// Dykstra's method over the axes: dual block-coordinate descent whose blocks are the line proxes of one axis. p_k = in_k - out_k is the
// residual of the proxes along the k-th axis of the cycle, y = x - sum_k p_k after every cycle:
//   in_k = x - sum_{j < k} p_j - sum_{j > k} q_j
// where q_j is p_j of the cycle before: with Nesterov's momentum and gradient restart when accelerated. With two axes that converges
// (Chambolle & Pock 2015; Chambolle, Tan & Vaiter 2017); with three it is not proven to, and where the certified gap stops falling the
// plain method goes on.
//
// Descent: FISTA on the duals of the pixels' edges, of images (pixel_tiles.cuh).
#include "dykstra.h"

#include "prox1d.h"
#include "sweeps.cuh"

namespace tautgrad::cuda {
namespace {

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

  int solve(TvWay way, double tolerance, int64_t max_iterations, const T *init, T *y, T *dual, int32_t *labels, double *report,
            const int32_t *cancel) {
    const bool accelerated = way != TvWay::plain;
    descending_ = way == TvWay::descent;
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
    int64_t k = 0, next_check = descending_ ? 16 : 1;
    while (status == TG_OK && k < max_iterations) {
      if (cancel && __atomic_load_n(cancel, __ATOMIC_RELAXED)) return fail("cancelled");
      const int64_t rest = max_iterations - k, steps = !descending_ ? 1 : rest < LEVELS ? rest : LEVELS;
      status = descending_ ? descend(static_cast<int>(steps)) : cycle(accelerated);
      k += steps;
      if (status != TG_OK || !accelerated || (k < next_check && k < max_iterations)) continue;
      status = certify(tolerance, true, k);
      SweepCounters left{};
      if (status == TG_OK) status = download(&left, s_.counters, sizeof left);
      if (status == TG_OK && left.wanting > 0) {
        status = polish(tolerance);
        if (status == TG_OK) status = download(&left, s_.counters, sizeof left);
      }
      if (left.pending <= 0) break;
      next_check = k + (descending_ ? 16 : 2) + k / 8;
    }
    if (status == TG_OK && (!accelerated || k == 0)) status = certify(tolerance, false, k);
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
    if (descending_) {
      tiles_ = DescentBuffers<T>::take(m, images());
      s_.u = tiles_.u[0];
      s_.out[s_.p.axes - 1] = y;
    }
    for (int k = 0; k < s_.p.axes && !descending_; ++k) {
      const tg_lines g = s_.lines(k);
      s_.in[k] = m->take<T>(n);
      s_.out[k] = k + 1 < s_.p.axes ? m->take<T>(n) : y;
      s_.old[k] = k > 0 ? m->take<T>(n) : nullptr;
      s_.ahead[k] = k > 0 ? m->take<T>(n) : nullptr;
      lambda_[k] = m->take<T>(g.outer * g.inner);
    }
    if (!descending_) s_.u = m->take<T>(s_.p.axes * n);
    s_.z = m->take<T>(n);
    s_.means = m->take<T>(n);
    spread_ = m->take<ImageSpread>(s_.p.batch);
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
    if (status == TG_OK) status = image_spread(name_, s_.p.batch, 1, s_.pixels, s_.p.x, spread_);
    if (status == TG_OK)
      status = run_kernel(name_, start_sweeps_kernel<T>, blocks_for(s_.p.batch), THREADS, 0, s_, spread_, first_polish,
                          descending_ ? 500 : 20, descending_);
    if (descending_) {
      if (status == TG_OK) status = pixelwise(start_duals_kernel<T>, init);
      return status == TG_OK ? copy(tiles_.other[0], s_.u, 2 * s_.p.batch * s_.pixels * int64_t(sizeof(T))) : status; // no momentum yet
    }
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

  // Rows are the swept lines of axis 2, the first of two.
  TvImages<T> images() const {
    return {s_.p.batch, s_.p.extent[1], s_.p.extent[2], s_.p.x, s_.p.lambda[0], s_.p.lambda[1], s_.p.weights[0], s_.p.weights[1]};
  }
  int descend(int steps) {
    TileLevels levels = {};
    levels.count = steps;
    const int status = tiles_.template descend<Descent::edges>(name_, images(), s_.states, levels);
    s_.u = tiles_.u[0];
    return status;
  }

  int certify(double tolerance, bool accelerated, int64_t iterations) {
    int status = descending_ ? pixelwise(descended_kernel<T>, s_.out[s_.p.axes - 1]) : int(TG_OK);
    for (int k = 0; k < s_.p.axes && status == TG_OK && !descending_; ++k) {
      const tg_lines g = s_.lines(k);
      status = run_kernel(name_, line_duals_kernel<T>, blocks_for(g.outer * g.inner, 64), 64, 0, s_, g, k);
    }
    return status == TG_OK ? summing(certify_kernel<T, false>, s_.out[s_.p.axes - 1], tolerance, accelerated, iterations) : status;
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
    return status == TG_OK ? summing(certify_kernel<T, true>, s_.means, tolerance, true, 0) : status;
  }

  const char *const name_;
  Sweeps<T> s_{};
  T *lambda_[3] = {nullptr, nullptr, nullptr};
  int32_t *labels_ = nullptr;
  ImageSpread *spread_ = nullptr;
  DescentBuffers<T> tiles_{};
  bool descending_ = false;
};

} // namespace

template <class T>
int dykstra(const char *name, const SweepProblem<T> &p, TvWay way, double tolerance, int64_t max_iterations, const T *init, T *y, T *dual,
            int32_t *labels, double *report, const int32_t *cancel) {
  return DykstraSolver<T>(name, p).solve(way, tolerance, max_iterations, p.axes == 2 ? init : nullptr, y, dual, labels, report, cancel);
}

template int dykstra<float>(const char *, const SweepProblem<float> &, TvWay, double, int64_t, const float *, float *, float *, int32_t *,
                            double *, const int32_t *);
template int dykstra<double>(const char *, const SweepProblem<double> &, TvWay, double, int64_t, const double *, double *, double *,
                             int32_t *, double *, const int32_t *);

} // namespace tautgrad::cuda
