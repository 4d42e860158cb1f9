// The derivative of isotropic total variation at a solution, applied to a vector by conjugate gradients (the system: native/cpu/
// rof_derivative.cpp). Vectors stay whole images here, constant on the components; a mean over components takes the place of the CPU's
// sums, so that iterates are the same: the preconditioner and the products of the components' space, written over pixels.
#include "block_sums.cuh"
#include "components.cuh"
#include "rof_grid.cuh"

namespace tautgrad::cuda {
namespace {

constexpr double RESIDUAL = 1e-13; // |r| / |b| at which conjugate gradients stop
constexpr double STEEPEST = 1e-12; // |p| - lambda is taken to be at least this share of lambda
constexpr int64_t MAX_STEPS = 20000;

struct DescentState { // of one image
  double rho, target, step, beta;
  int32_t done, identity;
  uint32_t arrived;
};

struct RofSystem {
  RofGrid g;
  int64_t blocks;                // of one image in kernels that sum
  double *normal, *gain, *along; // [batch, channels, dims, pixels], [batch, pixels], [batch, pixels]
  double *z, *r, *s, *d, *a;     // [batch, channels, pixels]
  int32_t *label, *pending;
  DescentState *states;
  double *shares;
};

// n = p / |p| with p = u + D y, the gain lambda / (|p| - lambda) of every pixel (0: all its differences vanish), and the components.
__global__ void linearise_kernel(RofSystem q, const double *y_all, const double *dual_all, const double *lambda) {
  const RofGrid &g = q.g;
  for (int64_t e = global_thread(); e < g.batch * g.pixels; e += all_threads()) {
    const int64_t b = e / g.pixels, i = e % g.pixels;
    const double *y = y_all + b * g.values, *dual = dual_all + b * g.duals();
    double *normal = q.normal + b * g.duals();
    double square = 0;
    for (int64_t c = 0; c < g.channels; ++c)
      for (int k = 0; k < g.dims; ++k) {
        const int64_t at = (c * g.dims + k) * g.pixels + i, pixel = c * g.pixels + i;
        const double p = g.has_next(i, k) ? dual[at] + y[pixel + g.stride[k]] - y[pixel] : 0;
        normal[at] = p;
        square += p * p;
      }
    const double length = sqrt(square), excess = length - lambda[b], least = STEEPEST * lambda[b];
    q.gain[e] = excess > 0 ? lambda[b] / (excess > least ? excess : least) : 0;
    for (int64_t c = 0; c < g.channels; ++c)
      for (int k = 0; k < g.dims; ++k) {
        const int64_t pixel = c * g.pixels + i;
        normal[(c * g.dims + k) * g.pixels + i] /= length > 0 ? length : 1;
        if (!(excess > 0) && g.has_next(i, k))
          unite(q.label + b * g.values, static_cast<int32_t>(pixel), static_cast<int32_t>(pixel + g.stride[k]));
      }
  }
}

// The diagonal of the system but for differences inside one component.
__global__ void diagonal_kernel(RofSystem q, double *full) {
  const RofGrid &g = q.g;
  for (int64_t e = global_thread(); e < g.batch * g.values; e += all_threads()) {
    const int64_t b = e / g.values, i = e % g.pixels, first = e / g.pixels * g.dims * g.pixels + i;
    const auto weight = [&](int k, int64_t back) {
      const double gain = q.gain[b * g.pixels + i - back], m = q.normal[first + k * g.pixels - back];
      return q.label[e - back] == q.label[e - back + g.stride[k]] ? 0 : gain * (1 - m * m);
    };
    double sum = 1;
    for (int k = 0; k < g.dims; ++k) {
      if (g.has_next(i, k)) sum += weight(k, 0);
      if (g.has_previous(i, k)) sum += weight(k, g.stride[k]);
    }
    full[e] = sum;
  }
}

// z = 0, s = r / d; the first products.
__global__ void __launch_bounds__(BLOCK_THREADS) begin_kernel(RofSystem q, const double *lambda) {
  const int64_t b = blockIdx.x / q.blocks, block = blockIdx.x % q.blocks;
  DescentState &state = q.states[b];
  double sums[2] = {0, 0};
  for (int64_t i = block * BLOCK_THREADS + threadIdx.x; i < q.g.values; i += q.blocks * BLOCK_THREADS) {
    const int64_t e = b * q.g.values + i;
    q.z[e] = 0;
    q.s[e] = q.r[e] / q.d[e];
    sums[0] += q.r[e] * q.r[e];
    sums[1] += q.r[e] * q.s[e];
  }
  if (!image_sums(sums, &state.arrived, q.shares + b * q.blocks * 2, block, q.blocks)) return;
  state.target = RESIDUAL * RESIDUAL * sums[0];
  state.rho = sums[1];
  state.identity = !(lambda[b] > 0); // also for NaN
  state.done = state.identity || !(sums[0] > state.target);
  if (state.done) atomicAdd(q.pending, -1);
}

// <n, D s> of every pixel.
__global__ void along_kernel(RofSystem q) {
  const RofGrid &g = q.g;
  for (int64_t e = global_thread(); e < g.batch * g.pixels; e += all_threads()) {
    const int64_t b = e / g.pixels, i = e % g.pixels;
    if (q.states[b].done) continue;
    double sum = 0;
    if (q.gain[e] != 0)
      for (int64_t c = 0; c < g.channels; ++c)
        for (int k = 0; k < g.dims; ++k) {
          const double *s = q.s + b * g.values + c * g.pixels + i;
          if (g.has_next(i, k)) sum += q.normal[b * g.duals() + (c * g.dims + k) * g.pixels + i] * (s[g.stride[k]] - s[0]);
        }
    q.along[e] = sum;
  }
}

// full = (I + D^T H D) s, before the mean over components.
__global__ void apply_kernel(RofSystem q, double *full) {
  const RofGrid &g = q.g;
  for (int64_t e = global_thread(); e < g.batch * g.values; e += all_threads()) {
    const int64_t b = e / g.values, i = e % g.pixels, first = e / g.pixels * g.dims * g.pixels + i;
    if (q.states[b].done) {
      full[e] = 0;
      continue;
    }
    const auto flow = [&](int k, int64_t back) {
      const int64_t pixel = b * g.pixels + i - back;
      const double gain = q.gain[pixel];
      return gain == 0 ? 0 : gain * (q.s[e - back + g.stride[k]] - q.s[e - back] - q.along[pixel] * q.normal[first + k * g.pixels - back]);
    };
    double sum = q.s[e];
    for (int k = 0; k < g.dims; ++k) {
      if (g.has_previous(i, k)) sum += flow(k, g.stride[k]);
      if (g.has_next(i, k)) sum -= flow(k, 0);
    }
    full[e] = sum;
  }
}

__global__ void __launch_bounds__(BLOCK_THREADS) curvature_kernel(RofSystem q) {
  const int64_t b = blockIdx.x / q.blocks, block = blockIdx.x % q.blocks;
  DescentState &state = q.states[b];
  if (state.done) return;
  double sums[1] = {0};
  for (int64_t i = block * BLOCK_THREADS + threadIdx.x; i < q.g.values; i += q.blocks * BLOCK_THREADS)
    sums[0] += q.s[b * q.g.values + i] * q.a[b * q.g.values + i];
  if (!image_sums(sums, &state.arrived, q.shares + b * q.blocks * 2, block, q.blocks)) return;
  state.step = state.rho / sums[0];
  if (sums[0] > 0) return;
  state.done = 1;
  atomicAdd(q.pending, -1);
}

__global__ void __launch_bounds__(BLOCK_THREADS) update_kernel(RofSystem q) {
  const int64_t b = blockIdx.x / q.blocks, block = blockIdx.x % q.blocks;
  DescentState &state = q.states[b];
  if (state.done) return;
  const double step = state.step;
  double sums[2] = {0, 0};
  for (int64_t i = block * BLOCK_THREADS + threadIdx.x; i < q.g.values; i += q.blocks * BLOCK_THREADS) {
    const int64_t e = b * q.g.values + i;
    q.z[e] += step * q.s[e];
    const double r = q.r[e] -= step * q.a[e];
    sums[0] += r * r;
    sums[1] += r * r / q.d[e];
  }
  if (!image_sums(sums, &state.arrived, q.shares + b * q.blocks * 2, block, q.blocks)) return;
  state.beta = sums[1] / state.rho;
  state.rho = sums[1];
  if (sums[0] > state.target) return;
  state.done = 1;
  atomicAdd(q.pending, -1);
}

__global__ void direction_kernel(RofSystem q) {
  for (int64_t e = global_thread(); e < q.g.batch * q.g.values; e += all_threads()) {
    const DescentState &state = q.states[e / q.g.values];
    if (!state.done) q.s[e] = q.r[e] / q.d[e] + state.beta * q.s[e];
  }
}

__global__ void result_kernel(RofSystem q, const double *v, double *out) {
  for (int64_t e = global_thread(); e < q.g.batch * q.g.values; e += all_threads())
    out[e] = q.states[e / q.g.values].identity ? v[e] : q.z[e];
}

const char *const NAME = "rof_derivative";

class RofDerivative {
public:
  explicit RofDerivative(const tg_rof &p) : q_{RofGrid(p), 1, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}} {
    q_.blocks = blocks_of_image(q_.g.values, q_.g.batch);
  }

  int solve(const double *y, const double *dual, const double *lambda, const double *v, double *out) {
    const RofGrid &g = q_.g;
    Pieces count;
    lay_out(&count);
    Scratch memory(count.used);
    if (!memory.ok()) return fail("rof_derivative: out of memory for %lld values", (long long)(g.batch * g.values));
    Pieces pieces{0, memory.as<unsigned char>()};
    lay_out(&pieces);
    const int64_t values = g.batch * g.values;
    const int32_t all = static_cast<int32_t>(g.batch);
    int status = upload(q_.pending, &all, sizeof all);
    if (status == TG_OK) status = zero(q_.states, g.batch * int64_t(sizeof(DescentState)), NAME);
    if (status == TG_OK) status = run_kernel(NAME, singletons_kernel, blocks_for(values), THREADS, 0, values, g.values, q_.label);
    if (status == TG_OK) status = run_kernel(NAME, linearise_kernel, blocks_for(g.batch * g.pixels), THREADS, 0, q_, y, dual, lambda);
    if (status == TG_OK) status = run_kernel(NAME, flatten_kernel, blocks_for(values), THREADS, 0, values, g.values, q_.label);
    if (status == TG_OK) status = run_kernel(NAME, diagonal_kernel, blocks_for(values), THREADS, 0, q_, q_.a);
    if (status == TG_OK) status = means(q_.a, q_.d);
    if (status == TG_OK) status = means(v, q_.r);
    if (status == TG_OK) status = run_kernel(NAME, begin_kernel, summing(), BLOCK_THREADS, 0, q_, lambda);
    for (int64_t k = 0; status == TG_OK && k < MAX_STEPS;) {
      int32_t left = 0;
      status = download(&left, q_.pending, sizeof left);
      if (left <= 0) break;
      const int64_t steps = 8 + k / 8;
      for (int64_t s = 0; s < steps && status == TG_OK; ++s) status = step();
      k += steps;
    }
    return status == TG_OK ? run_kernel(NAME, result_kernel, blocks_for(values), THREADS, 0, q_, v, out) : status;
  }

private:
  void lay_out(Pieces *m) {
    const RofGrid &g = q_.g;
    q_.normal = m->take<double>(g.batch * g.duals());
    q_.gain = m->take<double>(g.batch * g.pixels);
    q_.along = m->take<double>(g.batch * g.pixels);
    for (double **vector : {&q_.z, &q_.r, &q_.s, &q_.d, &q_.a}) *vector = m->take<double>(g.batch * g.values);
    q_.label = m->take<int32_t>(g.batch * g.values);
    q_.pending = m->take<int32_t>(1);
    q_.states = m->take<DescentState>(g.batch);
    q_.shares = m->take<double>(g.batch * q_.blocks * 2);
  }
  dim3 summing() const { return dim3(static_cast<unsigned>(q_.g.batch * q_.blocks)); }
  int means(const double *v, double *out) const { return component_means(q_.g.batch, q_.g.values, q_.label, v, out); }

  int step() const {
    const int64_t values = q_.g.batch * q_.g.values;
    int status = run_kernel(NAME, along_kernel, blocks_for(q_.g.batch * q_.g.pixels), THREADS, 0, q_);
    if (status == TG_OK) status = run_kernel(NAME, apply_kernel, blocks_for(values), THREADS, 0, q_, q_.a);
    if (status == TG_OK) status = means(q_.a, q_.a);
    if (status == TG_OK) status = run_kernel(NAME, curvature_kernel, summing(), BLOCK_THREADS, 0, q_);
    if (status == TG_OK) status = run_kernel(NAME, update_kernel, summing(), BLOCK_THREADS, 0, q_);
    return status == TG_OK ? run_kernel(NAME, direction_kernel, blocks_for(values), THREADS, 0, q_) : status;
  }

  RofSystem q_;
};

int rof_derivative(const tg_rof *p, const void *y, const void *dual, const void *lambda, const void *v, void *out) {
  if (p->batch * p->channels * p->depth * p->height * p->width == 0) return TG_OK;
  return RofDerivative(*p).solve(static_cast<const double *>(y), static_cast<const double *>(dual), static_cast<const double *>(lambda),
                                 static_cast<const double *>(v), static_cast<double *>(out));
}

} // namespace

void register_rof_derivative(tg_backend *t) { t->rof_derivative = rof_derivative; }

} // namespace tautgrad::cuda
