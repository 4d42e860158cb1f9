// FISTA (Beck & Teboulle 2009) with gradient restart for isotropic total variation of volumes and coupled channels: two launches an
// iteration, y = x - D^T v, then u+ = P(v + D y / (4 dims)), with a thread per pixel that sees all of its channels. Plain images of one
// channel have kernels of their own (dual_fista.cuh), with one launch an iteration.
#include "rof_volume.h"

#include "dual_fista.cuh"
#include "rof_grid.cuh"

namespace tautgrad::cuda {
namespace {

template <class T> struct RofVolume {
  RofGrid g;
  int64_t blocks; // of one image in kernels that sum
  const T *x, *lambda;
  ImageState *states;
  double *shares, *scale; // scale: [batch, pixels], what brings a pixel's dual into the ball
  int32_t *pending;
  T *y; // the caller's

  __device__ double bound(int64_t b) const { return double(lambda[b]) < states[b].cap ? double(lambda[b]) : states[b].cap; }
};

template <class T> __global__ void volume_start_kernel(RofVolume<T> p, const T *init, T *u) {
  const RofGrid &g = p.g;
  for (int64_t e = global_thread(); e < g.batch * g.pixels; e += all_threads()) {
    const int64_t b = e / g.pixels, i = e % g.pixels;
    const double bound = p.bound(b);
    double square = 0;
    for (int pass = 0; pass < 2; ++pass) {
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

template <class T> __global__ void volume_primal_kernel(RofVolume<T> p, const T *u, const T *before, T *y) {
  const RofGrid &g = p.g;
  for (int64_t e = global_thread(); e < g.batch * g.values; e += all_threads()) {
    const int64_t b = e / g.values, i = e % g.pixels, first = e / g.pixels * g.dims * g.pixels + i;
    if (p.states[b].done) continue;
    const T beta = T(p.states[b].beta);
    const auto v = [&](int64_t at) { return u[at] + beta * (u[at] - before[at]); };
    T sum = p.x[e];
    for (int k = 0; k < g.dims; ++k) {
      const int64_t at = first + k * g.pixels;
      sum += v(at) - (g.has_previous(i, k) ? v(at - g.stride[k]) : T(0));
    }
    y[e] = sum;
  }
}

template <class T>
__global__ void __launch_bounds__(BLOCK_THREADS)
    volume_dual_kernel(RofVolume<T> p, const T *y, const T *u_all, const T *before_all, T *next_all) {
  const RofGrid &g = p.g;
  const int64_t b = blockIdx.x / p.blocks, block = blockIdx.x % p.blocks;
  ImageState &state = p.states[b];
  const T *u = u_all + b * g.duals(), *before = before_all + b * g.duals(), *image = y + b * g.values;
  T *next = next_all + b * g.duals();
  const bool done = state.done;
  const T beta = T(state.beta), gain = T(1.0 / (4 * g.dims)), bound = T(p.bound(b));
  double product[1] = {0};
  for (int64_t i = block * BLOCK_THREADS + threadIdx.x; i < g.pixels; i += p.blocks * BLOCK_THREADS) {
    if (done) { // the three buffers rotate: what is finished moves along
      for (int64_t q = i; q < g.duals(); q += g.pixels) next[q] = u[q];
      continue;
    }
    // The unprojected step of one component, and the point that it starts from.
    const auto tentative = [&](int64_t c, int k, T *v) {
      const int64_t q = (c * g.dims + k) * g.pixels + i, at = c * g.pixels + i;
      *v = u[q] + beta * (u[q] - before[q]);
      return g.has_next(i, k) ? *v + gain * (image[at + g.stride[k]] - image[at]) : T(0);
    };
    T v, square = 0;
    for (int64_t c = 0; c < g.channels; ++c)
      for (int k = 0; k < g.dims; ++k) {
        const T a = tentative(c, k, &v);
        square += a * a;
      }
    const T length = T(sqrt(double(square))), scale = length > bound ? bound / length : T(1);
    for (int64_t c = 0; c < g.channels; ++c)
      for (int k = 0; k < g.dims; ++k) {
        const T a = tentative(c, k, &v) * scale;
        const int64_t q = (c * g.dims + k) * g.pixels + i;
        product[0] += double((v - a) * (a - u[q]));
        next[q] = a;
      }
  }
  if (done) return;
  block_sums(product);
  double *own = p.shares + b * p.blocks * 2;
  if (!last_to_arrive(&state.arrived, product, own, block, p.blocks)) return;
  sum_shares(own, p.blocks, product);
  if (threadIdx.x > 0) return;
  const bool restart = product[0] > 0;
  state.beta = restart ? 0 : double(state.since_restart) / double(state.since_restart + 5);
  state.since_restart = restart ? 0 : state.since_restart + 1;
  ++state.iterations;
  state.arrived = 0;
}

// ---- the certificate: duals are pulled into the ball in double, y is what they give, the gap is a sum of non-negative terms ----

template <class T> __global__ void volume_scale_kernel(RofVolume<T> p, const T *u) {
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
template <class T> __device__ inline double feasible_primal(const RofVolume<T> &p, const T *u, int64_t e) {
  const RofGrid &g = p.g;
  const int64_t b = e / g.values, i = e % g.pixels, first = e / g.pixels * g.dims * g.pixels + i;
  const double *scale = p.scale + b * g.pixels;
  double sum = double(p.x[e]);
  for (int k = 0; k < g.dims; ++k) {
    const int64_t at = first + k * g.pixels;
    sum += scale[i] * double(u[at]) - (g.has_previous(i, k) ? scale[i - g.stride[k]] * double(u[at - g.stride[k]]) : 0);
  }
  return sum;
}

template <class T> __global__ void volume_image_kernel(RofVolume<T> p, const T *u) {
  for (int64_t e = global_thread(); e < p.g.batch * p.g.values; e += all_threads())
    if (!p.states[e / p.g.values].done) p.y[e] = T(feasible_primal(p, u, e));
}

template <class T>
__global__ void __launch_bounds__(BLOCK_THREADS) volume_certify_kernel(RofVolume<T> p, const T *u_all, double tolerance) {
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
  block_sums(sums);
  double *own = p.shares + b * p.blocks * 2;
  if (!last_to_arrive(&state.arrived, sums, own, block, p.blocks)) return;
  sum_shares(own, p.blocks, sums);
  if (threadIdx.x > 0) return;
  state.arrived = 0;
  if (take_certificate(&state, sums, tolerance)) atomicAdd(p.pending, -1);
}

template <class T> class VolumeFista {
public:
  VolumeFista(const tg_rof &p, const T *x, const T *lambda, T *y) : p_{RofGrid(p), 1, x, lambda, nullptr, nullptr, nullptr, nullptr, y} {
    const int64_t blocks = blocks_of_image(p_.g.pixels, p_.g.batch);
    p_.blocks = blocks > 0 ? blocks : 1;
  }

  int solve(double tolerance, int64_t max_iterations, const T *init, T *dual, double *report, const int32_t *cancel) {
    const RofGrid &g = p_.g;
    Pieces count;
    lay_out(&count);
    Scratch memory(count.used);
    if (!memory.ok()) return fail("rof: out of memory for %lld images of %lld values", (long long)g.batch, (long long)g.values);
    Pieces pieces{0, memory.as<unsigned char>()};
    lay_out(&pieces);
    const int32_t all = static_cast<int32_t>(g.batch);
    int status = upload(p_.pending, &all, sizeof all);
    // An image of all values: only their mean and spread count here.
    const TvImages<T> images = {g.batch, 1, g.values, p_.x, p_.lambda, p_.lambda, nullptr, nullptr, 1, 1};
    if (status == TG_OK)
      status = run_kernel("rof", start_kernel<T>, dim3(static_cast<unsigned>(g.batch)), dim3(TILE_W, TILE_H), 0, images, p_.states);
    if (status == TG_OK) status = run_kernel("rof", volume_start_kernel<T>, blocks_for(g.batch * g.pixels), THREADS, 0, p_, init, u_[0]);
    if (status == TG_OK) status = copy(u_[1], u_[0], g.batch * g.duals() * int64_t(sizeof(T))); // no momentum yet
    for (int64_t k = 0; status == TG_OK;) {
      status = certify(tolerance);
      int32_t left = 0;
      if (status == TG_OK) status = download(&left, p_.pending, sizeof left);
      if (left <= 0 || k >= max_iterations) break;
      if (cancel && __atomic_load_n(cancel, __ATOMIC_RELAXED)) return fail("cancelled");
      int64_t steps = 16 + k / 8;
      steps = steps < max_iterations - k ? steps : max_iterations - k;
      for (int64_t s = 0; s < steps && status == TG_OK; ++s) status = iterate();
      k += steps;
    }
    if (status == TG_OK && dual) status = copy(dual, u_[0], g.batch * g.duals() * int64_t(sizeof(T)));
    return status == TG_OK ? run_kernel("rof", report_kernel<T>, blocks_for(g.batch), THREADS, 0, g.batch, p_.states, report) : status;
  }

private:
  void lay_out(Pieces *m) {
    const RofGrid &g = p_.g;
    for (T *&u : u_) u = m->take<T>(g.batch * g.duals());
    image_ = m->take<T>(g.batch * g.values);
    p_.scale = m->take<double>(g.batch * g.pixels);
    p_.shares = m->take<double>(g.batch * p_.blocks * 2);
    p_.states = m->take<ImageState>(g.batch);
    p_.pending = m->take<int32_t>(1);
  }
  dim3 summing() const { return dim3(static_cast<unsigned>(p_.g.batch * p_.blocks)); }

  int certify(double tolerance) {
    const RofGrid &g = p_.g;
    int status = run_kernel("rof", volume_scale_kernel<T>, blocks_for(g.batch * g.pixels), THREADS, 0, p_, u_[0]);
    if (status == TG_OK) status = run_kernel("rof", volume_image_kernel<T>, blocks_for(g.batch * g.values), THREADS, 0, p_, u_[0]);
    return status == TG_OK ? run_kernel("rof", volume_certify_kernel<T>, summing(), BLOCK_THREADS, 0, p_, u_[0], tolerance) : status;
  }

  int iterate() {
    const int status =
        run_kernel("rof", volume_primal_kernel<T>, blocks_for(p_.g.batch * p_.g.values), THREADS, 0, p_, u_[0], u_[1], image_);
    if (status != TG_OK) return status;
    const int outcome = run_kernel("rof", volume_dual_kernel<T>, summing(), BLOCK_THREADS, 0, p_, image_, u_[0], u_[1], u_[2]);
    T *oldest = u_[1];
    u_[1] = u_[0];
    u_[0] = u_[2];
    u_[2] = oldest;
    return outcome;
  }

  RofVolume<T> p_;
  T *u_[3] = {nullptr, nullptr, nullptr}, *image_ = nullptr;
};

} // namespace

template <class T>
int rof_volume(const tg_rof &p, double tolerance, const T *x, const T *lambda, const T *init, T *y, T *dual, double *report,
               const int32_t *cancel) {
  return VolumeFista<T>(p, x, lambda, y).solve(tolerance, p.max_iterations, init, dual, report, cancel);
}

template int rof_volume<float>(const tg_rof &, double, const float *, const float *, const float *, float *, float *, double *,
                               const int32_t *);
template int rof_volume<double>(const tg_rof &, double, const double *, const double *, const double *, double *, double *, double *,
                                const int32_t *);

} // namespace tautgrad::cuda
