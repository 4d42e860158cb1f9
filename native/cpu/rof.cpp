// Isotropic total variation (Rudin, Osher & Fatemi 1992) of images and volumes on the CPU, certified by its duality gap.
#include "isa.h"
#include "memory.h"
#include "parallel.h"

#include "rof_gap.h"

namespace tautgrad::cpu::TG_ISA {
namespace {

enum Outcome { SOLVED, OUT_OF_MEMORY, CANCELLED };

struct RofTask {
  const tg_rof *p;
  double tolerance;
  bool parallel;
  const int32_t *cancel;
};

// The steps of the accelerated primal-dual method, for values of a range of about 1. The first one hardly matters. The last one does: the
// steps stay there, which turned 20,000 iterations without a gap of 1e-6 into 5,200 with one (512^2, lambda 0.5; bench/lab/tv.md).
constexpr double FIRST_TAU = 10, LAST_TAU = 0.003;
// From this lambda on (range 1 to 2) `auto` takes the primal-dual method.
constexpr double SWITCH_LAMBDA = 0.08;

template <class T, int DIMS> class RofSolver {
public:
  RofSolver(const RofTask &task, const T *x, double lambda, T *y) : task_(task), p_(*task.p), x_(x), y_(y) {
    n_ = p_.depth * p_.height * p_.width;
    const double cap = tv_weight_cap(n_ * p_.channels, x);
    lambda_ = lambda < cap ? lambda : cap;
  }

  Outcome solve(const T *init, T *dual, double *report) {
    choose(init != nullptr);
    field_.channels = p_.channels;
    field_.layers = DIMS == 3 ? p_.depth : p_.height;
    field_.rows = DIMS == 3 ? p_.height : 1;
    field_.width = p_.width;
    field_.parallel = task_.parallel;
    if (!field_.allocate()) return OUT_OF_MEMORY;
    double *sums = static_cast<double *>(pool_alloc(4 * field_.layers * int64_t(sizeof(double))));
    const Outcome outcome = sums ? run(init, dual, report, sums) : OUT_OF_MEMORY;
    pool_release(sums);
    field_.release();
    return outcome;
  }

private:
  // Scales the problem to a range between 1 and 2 and picks the method.
  void choose(bool warm) {
    double range = 0;
    for (int64_t c = 0; c < p_.channels; ++c) {
      constexpr int PARTS = 8; // minima of their own, for the vectors
      const T *const values = x_ + c * n_;
      T lows[PARTS], highs[PARTS];
      for (int k = 0; k < PARTS; ++k) lows[k] = highs[k] = values[0];
      for (int64_t i = 0; i < n_; ++i) {
        const T v = values[i];
        lows[i % PARTS] = v < lows[i % PARTS] ? v : lows[i % PARTS];
        highs[i % PARTS] = v > highs[i % PARTS] ? v : highs[i % PARTS];
      }
      for (int k = 1; k < PARTS; ++k) {
        lows[0] = lows[k] < lows[0] ? lows[k] : lows[0];
        highs[0] = highs[k] > highs[0] ? highs[k] : highs[0];
      }
      const double extent = double(highs[0]) - double(lows[0]);
      range = extent > range ? extent : range;
    }
    unit_ = range > 0 && range < __builtin_inf() ? __builtin_ldexp(1, __builtin_ilogb(range)) : 1;
    const bool primal_dual = p_.method == TG_ROF_AUTO ? !warm && lambda_ / unit_ >= SWITCH_LAMBDA : p_.method == TG_ROF_PRIMAL_DUAL;
    field_.primal_dual = primal_dual;
    field_.bound = T(lambda_ / unit_);
  }

  void load_problem(const T *init) {
    const int64_t w = field_.width, layers = field_.layers, rows = field_.rows;
    const auto line = [&](int64_t c, int64_t l, int64_t r) { return c * field_.volume + l * field_.layer + r * field_.stride; };
    for (int64_t c = 0; c < p_.channels; ++c)
      for (int64_t l = 0; l < layers; ++l)
        for (int64_t r = 0; r < rows; ++r) {
          const T *from = x_ + ((c * layers + l) * rows + r) * w;
          T *to = field_.x + line(c, l, r);
          for (int64_t j = 0; j < w; ++j) to[j] = T((double(from[j]) - double(x_[c * n_])) / unit_);
        }
    if (init)
      for (int64_t c = 0; c < p_.channels * DIMS; ++c) {
        const int k = int(c % DIMS);
        for (int64_t l = 0; l < (k == 0 ? layers - 1 : layers); ++l)
          for (int64_t r = 0; r < (DIMS == 3 && k == 1 ? rows - 1 : rows); ++r) {
            const T *from = init + ((c * layers + l) * rows + r) * w;
            T *to = field_.u[0] + line(c, l, r);
            for (int64_t j = 0; j < (k == DIMS - 1 ? w - 1 : w); ++j) to[j] = T(double(from[j]) / unit_);
          }
      }
    if (!field_.primal_dual) return field_.forget_momentum();
    // y = x - D^T u: a step without memory (tau = inf would do; a large one is enough).
    const RofLevel start{0, 0, 1e30, 0};
    for (int64_t l = 0; l < layers; ++l) field_.primal(0, start, l);
  }

  Outcome run(const T *init, T *dual, double *report, double *sums) {
    load_problem(init);
    const RofCertificate<T, DIMS> certificate{field_, x_, y_, lambda_, unit_, sums};
    Tv2dGap found{0, 0};
    if (!certificate.evaluate(&found)) return OUT_OF_MEMORY;
    int64_t k = 0, since_restart = 0, next_check = 8, best_at = 0;
    double best = found.gap, tau = FIRST_TAU, sigma = 1 / (4 * DIMS * tau);
    while (k < p_.max_iterations && relative_gap(found.gap, found.objective) > task_.tolerance) {
      if (task_.cancel && __atomic_load_n(task_.cancel, __ATOMIC_RELAXED)) return CANCELLED;
      RofLevel levels[ROF_LEVELS] = {};
      const int count = int(p_.max_iterations - k < ROF_LEVELS ? p_.max_iterations - k : ROF_LEVELS);
      for (int m = 0; m < count; ++m) {
        levels[m].beta = double(since_restart) / double(since_restart + 5);
        ++since_restart;
        const double theta = 1 / __builtin_sqrt(1 + 2 * tau);
        levels[m].sigma = sigma;
        levels[m].tau = tau;
        levels[m].theta = theta;
        if (tau * theta < LAST_TAU) {
          levels[m].theta = 1 / (1 + tau);
          continue;
        }
        tau *= theta;
        sigma /= theta;
      }
      const double product = field_.iterate(count, levels);
      k += count;
      if (!field_.primal_dual && product > 0) {
        field_.forget_momentum();
        since_restart = 0;
      }
      if (k < next_check && k < p_.max_iterations) continue;
      next_check = k + 8 + k / 8;
      if (!certificate.evaluate(&found)) return OUT_OF_MEMORY;
      if (found.gap < 0.9 * best) {
        best = found.gap;
        best_at = k;
      } else if (k - best_at > 500 + best_at / 2)
        break; // rounding holds the gap where it is
    }
    if (dual && !certificate.dual(dual)) return OUT_OF_MEMORY;
    report[0] = found.gap;
    report[1] = relative_gap(found.gap, found.objective);
    report[2] = double(k);
    report[3] = found.objective;
    return SOLVED;
  }

  const RofTask &task_;
  const tg_rof &p_;
  const T *const x_;
  T *const y_;
  RofField<T, DIMS> field_{};
  int64_t n_ = 0;
  double lambda_ = 0, unit_ = 1;
};

template <class T>
int rof_typed(const tg_rof &p, double tolerance, const T *x, const T *lambda, const T *init, T *y, T *dual, double *report,
              const int32_t *cancel) {
  const int64_t dims = p.dims, size = p.channels * p.depth * p.height * p.width;
  if (size == 0 || p.batch == 0) return TG_OK;
  // One big image is worth the threads; the pixels' arithmetic is the same either way.
  const RofTask task{&p, tolerance, p.batch == 1 && thread_count() > 1 && size >= 1 << 15, cancel};
  int outcome = SOLVED;
  const auto solve = [&](int64_t b) {
    const T *from = init ? init + b * size * dims : nullptr;
    T *to = dual ? dual + b * size * dims : nullptr;
    double *line = report + b * TG_TV_REPORT;
    const Outcome o = dims == 3 ? RofSolver<T, 3>(task, x + b * size, double(lambda[b]), y + b * size).solve(from, to, line)
                                : RofSolver<T, 2>(task, x + b * size, double(lambda[b]), y + b * size).solve(from, to, line);
    if (o != SOLVED) __atomic_store_n(&outcome, int(o), __ATOMIC_RELAXED);
  };
  if (p.batch == 1)
    solve(0); // not inside a parallel loop, whose nested loops would be serial
  else
    parallel_for(p.batch, solve);
  if (outcome == CANCELLED) return fail("cancelled");
  if (outcome == OUT_OF_MEMORY)
    return fail("rof: out of memory for images of %lld x %lld x %lld x %lld values", (long long)p.channels, (long long)p.depth,
                (long long)p.height, (long long)p.width);
  return TG_OK;
}

int rof(int64_t dtype, const tg_rof *p, double tolerance, const void *x, const void *lambda, const void *init, void *y, void *dual,
        void *report, const int32_t *cancel) {
  if (dtype == TG_F32)
    return rof_typed(*p, tolerance, static_cast<const float *>(x), static_cast<const float *>(lambda), static_cast<const float *>(init),
                     static_cast<float *>(y), static_cast<float *>(dual), static_cast<double *>(report), cancel);
  return rof_typed(*p, tolerance, static_cast<const double *>(x), static_cast<const double *>(lambda), static_cast<const double *>(init),
                   static_cast<double *>(y), static_cast<double *>(dual), static_cast<double *>(report), cancel);
}
} // namespace

void register_rof(tg_backend *t) { t->rof = rof; }
} // namespace tautgrad::cpu::TG_ISA
