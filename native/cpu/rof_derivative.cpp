// The derivative of isotropic total variation at a solution (y, u), applied to a vector by conjugate gradients.
//
// The solution is the fixed point y = x - D^T u, u = project(p), p = u + D y. Differentiated (n = p / |p|):
//   |p| > lambda:   du = dlambda n + H D dy,   H = lambda / (|p| - lambda) (I - n n^T)
//   |p| <= lambda:  D dy = 0
// so dy solves the symmetric system (I + D^T H D) dy = dx - D^T (n dlambda) among the images that are constant on the components which the
// pixels of the second kind connect. This kernel is the inverse: self-adjoint in v.
#include "isa.h"
#include "memory.h"
#include "parallel.h"

#include "../kernels/components.h"

namespace tautgrad::cpu::TG_ISA {
namespace {

constexpr double RESIDUAL = 1e-13; // |r| / |b| at which conjugate gradients stop
constexpr double STEEPEST = 1e-12; // |p| - lambda is taken to be at least this share of lambda
constexpr int64_t MAX_STEPS = 20000;

class RofDerivative {
public:
  explicit RofDerivative(const tg_rof &p)
      : dims_(int(p.dims)), channels_(p.channels), pixels_(p.depth * p.height * p.width), n_(channels_ * pixels_) {
    const int64_t size[3] = {p.depth, p.height, p.width}, stride[3] = {p.height * p.width, p.width, 1};
    for (int k = 0; k < dims_; ++k) {
      size_[k] = size[3 - dims_ + k];
      stride_[k] = stride[3 - dims_ + k];
    }
  }

  bool allocate() {
    const int64_t doubles = channels_ * dims_ * pixels_ + pixels_ + 6 * n_;
    memory_ = pool_alloc(doubles * int64_t(sizeof(double)) + n_ * int64_t(sizeof(int32_t)));
    if (!memory_) return false;
    normal_ = static_cast<double *>(memory_);
    gain_ = normal_ + channels_ * dims_ * pixels_;
    z_ = gain_ + pixels_;
    r_ = z_ + n_;
    s_ = r_ + n_;
    d_ = s_ + n_;
    a_ = d_ + n_;
    full_ = a_ + n_;
    label_ = reinterpret_cast<int32_t *>(full_ + n_);
    return true;
  }
  void release() { pool_release(memory_); }

  void solve(const double *y, const double *dual, double lambda, const double *v, double *out) {
    if (!(lambda > 0)) { // the identity, also for NaN
      for (int64_t i = 0; i < n_; ++i) out[i] = v[i];
      return;
    }
    linearise(y, dual, lambda);
    // On component space: z and the rest are indexed by a component's root.
    gather(v, r_);
    diagonal();
    double residual = 0, target = 0, rho = 0;
    for (int64_t i = 0; i < n_; ++i) {
      z_[i] = 0;
      s_[i] = root(i) ? r_[i] / d_[i] : 0;
      target += r_[i] * r_[i];
      rho += r_[i] * s_[i];
    }
    residual = target;
    target *= RESIDUAL * RESIDUAL;
    for (int64_t k = 0; k < MAX_STEPS && residual > target; ++k) {
      apply();
      double curvature = 0;
      for (int64_t i = 0; i < n_; ++i) curvature += s_[i] * a_[i];
      if (!(curvature > 0)) break;
      const double step = rho / curvature;
      double next = 0;
      residual = 0;
      for (int64_t i = 0; i < n_; ++i) {
        z_[i] += step * s_[i];
        r_[i] -= step * a_[i];
        residual += r_[i] * r_[i];
        next += root(i) ? r_[i] * r_[i] / d_[i] : 0;
      }
      const double beta = next / rho;
      rho = next;
      for (int64_t i = 0; i < n_; ++i) s_[i] = root(i) ? r_[i] / d_[i] + beta * s_[i] : 0;
    }
    for (int64_t i = 0; i < n_; ++i) out[i] = z_[label_[i]];
  }

private:
  bool root(int64_t i) const { return label_[i] == i; }
  // Whether pixel i has a next one along axis k.
  bool has_next(int64_t i, int k) const { return i / stride_[k] % size_[k] + 1 < size_[k]; }

  // n, the gain lambda / (|p| - lambda) of every pixel (0: all its differences vanish), and the components.
  void linearise(const double *y, const double *dual, double lambda) {
    for (int64_t i = 0; i < n_; ++i) label_[i] = int32_t(i);
    for (int64_t i = 0; i < pixels_; ++i) {
      double square = 0;
      for (int64_t c = 0; c < channels_; ++c)
        for (int k = 0; k < dims_; ++k) {
          const int64_t q = (c * dims_ + k) * pixels_ + i, at = c * pixels_ + i;
          const double p = has_next(i, k) ? dual[q] + y[at + stride_[k]] - y[at] : 0;
          normal_[q] = p;
          square += p * p;
        }
      const double length = __builtin_sqrt(square), excess = length - lambda;
      gain_[i] = excess > 0 ? lambda / (excess > STEEPEST * lambda ? excess : STEEPEST * lambda) : 0;
      for (int64_t c = 0; c < channels_; ++c)
        for (int k = 0; k < dims_; ++k) {
          normal_[(c * dims_ + k) * pixels_ + i] /= length > 0 ? length : 1;
          if (!(excess > 0) && has_next(i, k)) join(label_, int32_t(c * pixels_ + i), int32_t(c * pixels_ + i + stride_[k]));
        }
    }
    flatten(label_, n_);
  }

  // out = the sums of v over the components, at their roots. v and out may not overlap.
  void gather(const double *v, double *out) const {
    for (int64_t i = 0; i < n_; ++i) out[i] = 0;
    for (int64_t i = 0; i < n_; ++i) out[label_[i]] += v[i];
  }

  // d: the diagonal of the system but for differences inside one component. Jacobi's preconditioner.
  void diagonal() {
    for (int64_t i = 0; i < n_; ++i) full_[i] = 1;
    for (int64_t i = 0; i < pixels_; ++i) {
      if (gain_[i] == 0) continue;
      for (int64_t c = 0; c < channels_; ++c)
        for (int k = 0; k < dims_; ++k) {
          if (!has_next(i, k)) continue;
          const int64_t at = c * pixels_ + i;
          if (label_[at] == label_[at + stride_[k]]) continue;
          const double m = normal_[(c * dims_ + k) * pixels_ + i], h = gain_[i] * (1 - m * m);
          full_[at] += h;
          full_[at + stride_[k]] += h;
        }
    }
    gather(full_, d_);
  }

  // a = (I + D^T H D) s in component space.
  void apply() {
    for (int64_t i = 0; i < n_; ++i) full_[i] = s_[label_[i]];
    for (int64_t i = 0; i < n_; ++i) a_[i] = 0;
    for (int64_t i = 0; i < n_; ++i) a_[label_[i]] += full_[i];
    for (int64_t i = 0; i < pixels_; ++i) {
      const double gain = gain_[i];
      if (gain == 0) continue;
      double along = 0;
      for (int64_t c = 0; c < channels_; ++c)
        for (int k = 0; k < dims_; ++k) {
          const int64_t at = c * pixels_ + i;
          if (has_next(i, k)) along += normal_[(c * dims_ + k) * pixels_ + i] * (full_[at + stride_[k]] - full_[at]);
        }
      for (int64_t c = 0; c < channels_; ++c)
        for (int k = 0; k < dims_; ++k) {
          const int64_t at = c * pixels_ + i;
          if (!has_next(i, k)) continue;
          const double flow = gain * (full_[at + stride_[k]] - full_[at] - along * normal_[(c * dims_ + k) * pixels_ + i]);
          a_[label_[at + stride_[k]]] += flow;
          a_[label_[at]] -= flow;
        }
    }
  }

  const int dims_;
  const int64_t channels_, pixels_, n_;
  int64_t size_[3] = {}, stride_[3] = {};
  void *memory_ = nullptr;
  double *normal_ = nullptr, *gain_ = nullptr, *z_ = nullptr, *r_ = nullptr, *s_ = nullptr, *d_ = nullptr, *a_ = nullptr, *full_ = nullptr;
  int32_t *label_ = nullptr;
};

int rof_derivative(const tg_rof *p, const void *y, const void *dual, const void *lambda, const void *v, void *out) {
  const int64_t n = p->channels * p->depth * p->height * p->width;
  if (n == 0) return TG_OK;
  int out_of_memory = 0;
  parallel_for(p->batch, [&](int64_t b) {
    RofDerivative derivative(*p);
    if (!derivative.allocate()) return __atomic_store_n(&out_of_memory, 1, __ATOMIC_RELAXED);
    derivative.solve(static_cast<const double *>(y) + b * n, static_cast<const double *>(dual) + b * n * p->dims,
                     static_cast<const double *>(lambda)[b], static_cast<const double *>(v) + b * n, static_cast<double *>(out) + b * n);
    derivative.release();
  });
  return out_of_memory ? fail("rof_derivative: out of memory for %lld values", (long long)n) : int(TG_OK);
}
} // namespace

void register_rof_derivative(tg_backend *t) { t->rof_derivative = rof_derivative; }
} // namespace tautgrad::cpu::TG_ISA
