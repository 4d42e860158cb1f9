// Isotropic total variation (Rudin, Osher & Fatemi 1992) on the GPU: images, volumes, channels that share their gradient's norm. As on the
// CPU (native/cpu/rof.cpp) by FISTA, or by the accelerated primal-dual method where lambda is large beside the data's range; image by
// image, so that a batch may need both. Plain images iterate in tiles (pixel_tiles.cuh), everything else in two launches an iteration, with
// a thread per pixel that sees all of its channels. The host reads one counter each time the gap was worked out.
#include "image_spread.cuh"
#include "pixel_tiles.cuh"
#include "rof_grid.cuh"

namespace tautgrad::cuda {
namespace {

// The steps of the primal-dual method, and the lambda (range 1 to 2) from which `auto` takes it: native/cpu/rof.cpp.
constexpr double FIRST_TAU = 10, LAST_TAU = 0.003, SWITCH_LAMBDA = 0.08;

template <class T> struct RofProblem {
  RofGrid g;
  int64_t blocks; // of one image in kernels that sum
  const T *x;     // the caller's
  const T *lambda;
  T *moved; // x less the first value of each channel, so that float32 keeps the digits of what varies
  ImageState *states;
  int32_t *mine, *pending; // mine: [batch], the images that this method solves; pending: how many of them go on
  double *shares, *scale;  // scale: [batch, pixels], what brings a pixel's dual into the ball
  T *y;                    // the caller's

  __device__ double bound(int64_t b) const { return double(lambda[b]) < states[b].cap ? double(lambda[b]) : states[b].cap; }
  __device__ double base(int64_t e) const { return double(x[e / g.pixels * g.pixels]); }
};

// Which images are this method's. A warm start has the duals that FISTA needs.
template <class T> __global__ void choose_kernel(RofProblem<T> p, const ImageSpread *spread, int64_t method, bool warm, bool primal_dual) {
  for (int64_t b = global_thread(); b < p.g.batch; b += all_threads()) {
    ImageState state = {};
    state.cap = spread[b].cap;
    state.best = 1e308;
    const double lambda = double(p.lambda[b]) < state.cap ? double(p.lambda[b]) : state.cap, range = spread[b].range;
    const double unit = range > 0 && range < 1e308 ? ldexp(1.0, ilogb(range)) : 1;
    const bool large = method == TG_ROF_AUTO ? !warm && lambda / unit >= SWITCH_LAMBDA : method == TG_ROF_PRIMAL_DUAL;
    p.mine[b] = large == primal_dual;
    state.done = !p.mine[b];
    p.states[b] = state;
    if (p.mine[b]) atomicAdd(p.pending, 1);
  }
}

template <class T> __global__ void move_kernel(RofProblem<T> p) {
  for (int64_t e = global_thread(); e < p.g.batch * p.g.values; e += all_threads()) p.moved[e] = T(double(p.x[e]) - p.base(e));
}

template <class T> __global__ void start_duals_kernel(RofProblem<T> p, const T *init, T *u) {
  const RofGrid &g = p.g;
  for (int64_t e = global_thread(); e < g.batch * g.pixels; e += all_threads()) {
    const int64_t b = e / g.pixels, i = e % g.pixels;
    const double bound = p.bound(b);
    double square = 0;
    for (int pass = init ? 0 : 1; pass < 2; ++pass) {
      const double length = sqrt(square), scale = length > bound ? bound / length : 1;
      for (int64_t c = 0; c < g.channels * g.dims; ++c) {
        const int64_t at = b * g.duals() + c * g.pixels + i;
        T v = init && g.has_next(i, static_cast<int>(c % g.dims)) ? init[at] : T(0);
        v = v == v ? v : T(0);
        if (pass == 0)
          square += double(v) * double(v);
        else
          u[at] = T(double(v) * scale);
      }
    }
  }
}

// x - D^T of duals; dual(at) is the entry at a place of [batch, channels, dims, pixels].
template <class Values, class Dual> __device__ inline auto primal_of(const RofGrid &g, int64_t e, const Values *x, const Dual &dual) {
  const int64_t i = e % g.pixels, first = e / g.pixels * g.dims * g.pixels + i;
  auto sum = x[e];
  for (int k = 0; k < g.dims; ++k) {
    const int64_t at = first + k * g.pixels;
    sum += dual(at) - (g.has_previous(i, k) ? dual(at - g.stride[k]) : decltype(sum)(0));
  }
  return sum;
}

// The primal-dual method's first iterate: y = ybar = x - D^T u, image by image `step` apart.
template <class T> __global__ void start_primal_kernel(RofProblem<T> p, const T *u, T *y, T *bar, int64_t step) {
  for (int64_t e = global_thread(); e < p.g.batch * p.g.values; e += all_threads()) {
    const int64_t at = e / p.g.values * step + e % p.g.values;
    y[at] = bar[at] = primal_of(p.g, e, p.moved, [&](int64_t k) { return u[k]; });
  }
}

// ---- one iteration of any grid ----

template <class T> __global__ void fista_primal_kernel(RofProblem<T> p, int level, const T *u, const T *before, T *y) {
  for (int64_t e = global_thread(); e < p.g.batch * p.g.values; e += all_threads()) {
    const ImageState &state = p.states[e / p.g.values];
    if (state.done) continue;
    const double age = double(state.age + level);
    const T beta = T(age / (age + 5));
    y[e] = primal_of(p.g, e, p.moved, [&](int64_t k) { return u[k] + beta * (u[k] - before[k]); });
  }
}

template <class T> __global__ void relaxed_primal_kernel(RofProblem<T> p, double tau, double theta, const T *u, T *y, T *bar) {
  const T step = T(tau), shrink = T(1 / (1 + tau)), ahead = T(theta);
  for (int64_t e = global_thread(); e < p.g.batch * p.g.values; e += all_threads()) {
    if (p.states[e / p.g.values].done) continue;
    const T before = y[e], after = (before + step * primal_of(p.g, e, p.moved, [&](int64_t k) { return u[k]; })) * shrink;
    y[e] = after;
    bar[e] = after + ahead * (after - before);
  }
}

// The projected step u+ = P(v + gain D y). FISTA: v = u + beta (u - before), next is another buffer; primal-dual: v = u, next is u.
// `last`, of the iterations between two decisions on a restart: the decision.
template <class T, bool PD>
__global__ void __launch_bounds__(BLOCK_THREADS)
    dual_kernel(RofProblem<T> p, int level, bool last, T gain, const T *y, const T *u_all, const T *before_all, T *next_all) {
  const RofGrid &g = p.g;
  const int64_t b = blockIdx.x / p.blocks, block = blockIdx.x % p.blocks;
  ImageState &state = p.states[b];
  const T *u = u_all + b * g.duals(), *before = before_all + b * g.duals(), *image = y + b * g.values;
  T *next = next_all + b * g.duals();
  const bool done = state.done;
  if (done && PD) return;
  const double age = double(state.age + level);
  const T beta = T(age / (age + 5)), bound = T(p.bound(b));
  double product[1] = {0};
  for (int64_t i = block * BLOCK_THREADS + threadIdx.x; i < g.pixels; i += p.blocks * BLOCK_THREADS) {
    if (done) { // the three buffers rotate: what is finished moves along
      for (int64_t q = i; q < g.duals(); q += g.pixels) next[q] = u[q];
      continue;
    }
    // The unprojected step of one component, and the point that it starts from.
    const auto tentative = [&](int64_t c, int k, T *v) {
      const int64_t q = (c * g.dims + k) * g.pixels + i, at = c * g.pixels + i;
      *v = PD ? u[q] : u[q] + beta * (u[q] - before[q]);
      return g.has_next(i, k) ? *v + gain * (image[at + g.stride[k]] - image[at]) : T(0);
    };
    T v, square = 0;
    for (int64_t c = 0; c < g.channels; ++c)
      for (int k = 0; k < g.dims; ++k) {
        const T a = tentative(c, k, &v);
        square += a * a;
      }
    const T length = root(square), scale = length > bound ? bound / length : T(1);
    for (int64_t c = 0; c < g.channels; ++c)
      for (int k = 0; k < g.dims; ++k) {
        const T a = tentative(c, k, &v) * scale;
        const int64_t q = (c * g.dims + k) * g.pixels + i;
        if (!PD) product[0] += double((v - a) * (a - u[q]));
        next[q] = a;
      }
  }
  if (PD || done || !last) return;
  if (!image_sums(product, &state.arrived, p.shares + b * p.blocks * 2, block, p.blocks)) return;
  state.age = product[0] > 0 ? 0 : state.age + level + 1;
}

// ---- the certificate: duals are pulled into the ball in double, y is what they give, the gap is a sum of non-negative terms ----

template <class T> __global__ void scale_kernel(RofProblem<T> p, const T *u) {
  const RofGrid &g = p.g;
  for (int64_t e = global_thread(); e < g.batch * g.pixels; e += all_threads()) {
    const int64_t b = e / g.pixels, i = e % g.pixels;
    if (p.states[b].done) continue;
    double square = 0;
    for (int64_t q = b * g.duals() + i; q < (b + 1) * g.duals(); q += g.pixels) square += double(u[q]) * double(u[q]);
    const double length = sqrt(square), bound = p.bound(b);
    p.scale[e] = length > bound ? bound / length : 1;
  }
}

// x - D^T u of one value, with the feasible duals.
template <class T> __device__ inline double feasible_primal(const RofProblem<T> &p, const T *u, int64_t e) {
  const RofGrid &g = p.g;
  const int64_t i = e % g.pixels, first = e / g.pixels * g.dims * g.pixels + i;
  const double *scale = p.scale + e / g.values * g.pixels;
  double sum = double(p.x[e]);
  for (int k = 0; k < g.dims; ++k) {
    const int64_t at = first + k * g.pixels;
    sum += scale[i] * double(u[at]) - (g.has_previous(i, k) ? scale[i - g.stride[k]] * double(u[at - g.stride[k]]) : 0);
  }
  return sum;
}

// iterate: null, or the primal-dual method's, image by image `step` apart.
template <class T> __global__ void image_kernel(RofProblem<T> p, const T *u, const T *iterate, int64_t step) {
  for (int64_t e = global_thread(); e < p.g.batch * p.g.values; e += all_threads())
    if (!p.states[e / p.g.values].done)
      p.y[e] = iterate ? T(p.base(e) + double(iterate[e / p.g.values * step + e % p.g.values])) : T(feasible_primal(p, u, e));
}

template <class T>
__global__ void __launch_bounds__(BLOCK_THREADS) certify_kernel(RofProblem<T> p, const T *u_all, double tolerance, int64_t iterations) {
  const RofGrid &g = p.g;
  const int64_t b = blockIdx.x / p.blocks, block = blockIdx.x % p.blocks;
  ImageState &state = p.states[b];
  if (state.done) return;
  const double bound = p.bound(b);
  double sums[2] = {0, 0};
  for (int64_t i = block * BLOCK_THREADS + threadIdx.x; i < g.pixels; i += p.blocks * BLOCK_THREADS) {
    double square = 0, pairing = 0;
    for (int64_t c = 0; c < g.channels; ++c) {
      const int64_t e = b * g.values + c * g.pixels + i;
      const double yi = double(p.y[e]), xi = double(p.x[e]), off = yi - feasible_primal(p, u_all, e);
      sums[0] += 0.5 * off * off;
      sums[1] += 0.5 * (xi - yi) * (xi - yi);
      for (int k = 0; k < g.dims; ++k) {
        if (!g.has_next(i, k)) continue;
        const double d = double(p.y[e + g.stride[k]]) - yi;
        square += d * d;
        pairing += p.scale[b * g.pixels + i] * double(u_all[b * g.duals() + (c * g.dims + k) * g.pixels + i]) * d;
      }
    }
    const double steep = square == 0 ? 0 : bound * sqrt(square), slack = steep - pairing;
    sums[0] += slack > 0 || slack != slack ? slack : 0;
    sums[1] += steep;
  }
  if (!image_sums(sums, &state.arrived, p.shares + b * p.blocks * 2, block, p.blocks)) return;
  state.gap = sums[0];
  state.objective = sums[1];
  state.relative = relative_gap(sums[0], sums[1]);
  state.iterations = iterations;
  if (state.gap < 0.9 * state.best) {
    state.best = state.gap;
    state.best_at = iterations;
  }
  const bool stuck = iterations - state.best_at > 500 + state.best_at / 2; // rounding holds the gap where it is
  state.done = !(state.relative > tolerance) || stuck;
  if (state.done) atomicAdd(p.pending, -1);
}

template <class T> __global__ void report_kernel(RofProblem<T> p, double *report) {
  for (int64_t b = global_thread(); b < p.g.batch; b += all_threads()) {
    if (!p.mine[b]) continue;
    report[b * TG_TV_REPORT] = p.states[b].gap;
    report[b * TG_TV_REPORT + 1] = p.states[b].relative;
    report[b * TG_TV_REPORT + 2] = double(p.states[b].iterations);
    report[b * TG_TV_REPORT + 3] = p.states[b].objective;
  }
}

// The feasible duals.
template <class T> __global__ void dual_result_kernel(RofProblem<T> p, const T *u, T *dual) {
  for (int64_t e = global_thread(); e < p.g.batch * p.g.duals(); e += all_threads()) {
    const int64_t b = e / p.g.duals();
    if (p.mine[b]) dual[e] = T(p.scale[b * p.g.pixels + e % p.g.pixels] * double(u[e]));
  }
}

template <class T> class RofSolver {
public:
  RofSolver(const tg_rof &p, const T *x, const T *lambda, T *y, bool primal_dual)
      : p_{RofGrid(p), 1, x, lambda, {}, {}, {}, {}, {}, {}, y}, method_(p.method), primal_dual_(primal_dual),
        images_(p.batch, p.height, p.width, nullptr, lambda, lambda, nullptr, nullptr), tiled_(p.dims == 2 && p.channels == 1),
        sigma_(1 / (4 * double(p.dims) * FIRST_TAU)) {
    p_.blocks = blocks_of_image(p_.g.pixels, p_.g.batch);
  }

  int solve(const ImageSpread *spread, double tolerance, int64_t max_iterations, const T *init, T *dual, double *report,
            const int32_t *cancel) {
    const RofGrid &g = p_.g;
    Pieces count;
    lay_out(&count);
    Scratch memory(count.used);
    if (!memory.ok()) return fail("rof: out of memory for %lld images of %lld values", (long long)g.batch, (long long)g.values);
    Pieces pieces{0, memory.as<unsigned char>()};
    lay_out(&pieces);
    int status = zero(p_.pending, sizeof(int32_t), NAME);
    if (status == TG_OK)
      status = run_kernel(NAME, choose_kernel<T>, blocks_for(g.batch), THREADS, 0, p_, spread, method_, init != nullptr, primal_dual_);
    if (status == TG_OK) status = start(init);
    int64_t k = 0, next_check = 8;
    for (;;) {
      if (status == TG_OK) status = certify(tolerance, k);
      int32_t left = 0;
      if (status == TG_OK) status = download(&left, p_.pending, sizeof left);
      if (status != TG_OK || left <= 0 || k >= max_iterations) break;
      if (cancel && __atomic_load_n(cancel, __ATOMIC_RELAXED)) return fail("cancelled");
      while (status == TG_OK && k < next_check && k < max_iterations) {
        const int64_t rest = max_iterations - k;
        const TileLevels levels = next_levels(rest < LEVELS ? static_cast<int>(rest) : LEVELS);
        status = iterate(levels);
        k += levels.count;
      }
      next_check = k + 8 + k / 8;
    }
    if (status == TG_OK && dual)
      status = run_kernel(NAME, dual_result_kernel<T>, blocks_for(g.batch * g.duals()), THREADS, 0, p_, u(), dual);
    return status == TG_OK ? run_kernel(NAME, report_kernel<T>, blocks_for(g.batch), THREADS, 0, p_, report) : status;
  }

private:
  static constexpr const char *NAME = "rof";

  void lay_out(Pieces *m) {
    const RofGrid &g = p_.g;
    p_.moved = m->take<T>(g.batch * g.values);
    images_.x = p_.moved;
    if (tiled_) {
      tiles_ = DescentBuffers<T>::take(m, images_);
    } else {
      for (int k = 0; k < (primal_dual_ ? 1 : 3); ++k) u_[k] = m->take<T>(g.batch * g.duals());
      image_ = m->take<T>(g.batch * g.values);
      bar_ = primal_dual_ ? m->take<T>(g.batch * g.values) : nullptr;
    }
    p_.scale = m->take<double>(g.batch * g.pixels);
    p_.shares = m->take<double>(g.batch * p_.blocks * 2);
    p_.states = m->take<ImageState>(g.batch);
    p_.mine = m->take<int32_t>(g.batch);
    p_.pending = m->take<int32_t>(1);
  }
  const T *u() const { return tiled_ ? tiles_.u[0] : u_[0]; }
  int64_t step() const { return tiled_ ? 2 * p_.g.values : p_.g.values; } // from image to image of the primal-dual method's iterate
  const T *iterate() const { return !primal_dual_ ? nullptr : tiled_ ? tiles_.other[0] : image_; }
  dim3 summing() const { return dim3(static_cast<unsigned>(p_.g.batch * p_.blocks)); }
  dim3 per_value() const { return blocks_for(p_.g.batch * p_.g.values); }

  int start(const T *init) {
    const RofGrid &g = p_.g;
    T *first = tiled_ ? tiles_.u[0] : u_[0];
    int status = run_kernel(NAME, move_kernel<T>, per_value(), THREADS, 0, p_);
    if (status == TG_OK) status = run_kernel(NAME, start_duals_kernel<T>, blocks_for(g.batch * g.pixels), THREADS, 0, p_, init, first);
    if (status != TG_OK) return status;
    if (!primal_dual_) // no momentum yet
      return copy(tiled_ ? tiles_.other[0] : u_[1], first, g.batch * g.duals() * int64_t(sizeof(T)));
    T *y = tiled_ ? tiles_.other[0] : image_;
    return run_kernel(NAME, start_primal_kernel<T>, per_value(), THREADS, 0, p_, first, y, tiled_ ? y + g.values : bar_, step());
  }

  TileLevels next_levels(int count) {
    TileLevels levels = {};
    levels.count = count;
    for (int m = 0; m < count; ++m) {
      const double theta = 1 / sqrt(1 + 2 * tau_);
      levels.sigma[m] = sigma_;
      levels.tau[m] = tau_;
      levels.theta[m] = theta;
      if (tau_ * theta < LAST_TAU) {
        levels.theta[m] = 1 / (1 + tau_);
        continue;
      }
      tau_ *= theta;
      sigma_ /= theta;
    }
    return levels;
  }

  int iterate(const TileLevels &levels) {
    if (tiled_ && primal_dual_) return tiles_.template descend<Descent::primal_dual>(NAME, images_, p_.states, levels);
    if (tiled_) return tiles_.template descend<Descent::isotropic>(NAME, images_, p_.states, levels);
    int status = TG_OK;
    for (int m = 0; m < levels.count && status == TG_OK; ++m) {
      if (primal_dual_) {
        status = run_kernel(NAME, dual_kernel<T, true>, summing(), BLOCK_THREADS, 0, p_, m, false, T(levels.sigma[m]), bar_, u_[0], u_[0],
                            u_[0]);
        if (status == TG_OK)
          status =
              run_kernel(NAME, relaxed_primal_kernel<T>, per_value(), THREADS, 0, p_, levels.tau[m], levels.theta[m], u_[0], image_, bar_);
        continue;
      }
      status = run_kernel(NAME, fista_primal_kernel<T>, per_value(), THREADS, 0, p_, m, u_[0], u_[1], image_);
      if (status == TG_OK)
        status = run_kernel(NAME, dual_kernel<T, false>, summing(), BLOCK_THREADS, 0, p_, m, m + 1 == levels.count,
                            T(1.0 / (4 * p_.g.dims)), image_, u_[0], u_[1], u_[2]);
      T *oldest = u_[1];
      u_[1] = u_[0];
      u_[0] = u_[2];
      u_[2] = oldest;
    }
    return status;
  }

  int certify(double tolerance, int64_t iterations) {
    int status = run_kernel(NAME, scale_kernel<T>, blocks_for(p_.g.batch * p_.g.pixels), THREADS, 0, p_, u());
    if (status == TG_OK) status = run_kernel(NAME, image_kernel<T>, per_value(), THREADS, 0, p_, u(), iterate(), step());
    return status == TG_OK ? run_kernel(NAME, certify_kernel<T>, summing(), BLOCK_THREADS, 0, p_, u(), tolerance, iterations) : status;
  }

  RofProblem<T> p_;
  const int64_t method_;
  const bool primal_dual_;
  TvImages<T> images_;
  const bool tiled_;
  DescentBuffers<T> tiles_{};
  T *u_[3] = {nullptr, nullptr, nullptr}, *image_ = nullptr, *bar_ = nullptr;
  double tau_ = FIRST_TAU, sigma_;
};

int rof(int64_t dtype, const tg_rof *p, double tolerance, const void *x, const void *lambda, const void *init, void *y, void *dual,
        void *report, const int32_t *cancel) {
  return with_real(dtype, "rof", [&](auto tag) {
    using T = typename decltype(tag)::type;
    if (p->batch * p->channels * p->depth * p->height * p->width == 0) return static_cast<int>(TG_OK);
    const Scratch spread(p->batch * int64_t(sizeof(ImageSpread)));
    if (!spread.ok()) return fail("rof: out of memory for %lld images", (long long)p->batch);
    const T *from = static_cast<const T *>(x);
    int status = image_spread("rof", p->batch, p->channels, p->depth * p->height * p->width, from, spread.as<ImageSpread>());
    for (const bool primal_dual : {false, true}) {
      const bool possible = p->method == TG_ROF_AUTO ? !(primal_dual && init) : primal_dual == (p->method == TG_ROF_PRIMAL_DUAL);
      if (status != TG_OK || !possible) continue;
      RofSolver<T> solver(*p, from, static_cast<const T *>(lambda), static_cast<T *>(y), primal_dual);
      status = solver.solve(spread.as<ImageSpread>(), tolerance, p->max_iterations, static_cast<const T *>(init), static_cast<T *>(dual),
                            static_cast<double *>(report), cancel);
    }
    return status;
  });
}

} // namespace

void register_rof(tg_backend *t) { t->rof = rof; }

} // namespace tautgrad::cuda
