// Optimiser steps, in place: the tensors of a call are cut into tasks together, so that many small ones keep every thread busy.
#include "dispatch.hpp"

#include "../kernels/optimizer.h"

namespace tautgrad::cpu::TG_ISA {
namespace {

// The cut of all tensors into tasks of CHUNK elements at most; it depends on their sizes only.
struct Tasks {
  const tg_parts &parts;
  int64_t *after; // tasks of this tensor and of those before it
  int64_t count = 0;
  double elements = 0;

  explicit Tasks(const tg_parts &p) : parts(p), after(static_cast<int64_t *>(scratch(0, (p.count + 1) * int64_t(sizeof(int64_t))))) {
    for (int64_t k = 0; after && k < parts.count; ++k) {
      after[k] = count += (parts.part[k].n + CHUNK - 1) / CHUNK;
      elements += static_cast<double>(parts.part[k].n);
    }
  }

  // body(type_tag, part, begin, end, task) for every task.
  template <class Body> int run(const char *kernel, const Body &body) const {
    if (!after) return fail("%s: out of memory", kernel);
    for_tasks(count, 8 * elements, [&](int64_t task) {
      int64_t low = 0, high = parts.count - 1; // the first tensor that ends after this task
      while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (after[middle] > task)
          high = middle;
        else
          low = middle + 1;
      }
      const tg_part &part = parts.part[low];
      const int64_t begin = (task - (low > 0 ? after[low - 1] : 0)) * CHUNK, end = begin + CHUNK < part.n ? begin + CHUNK : part.n;
      if (part.dtype == TG_F64)
        body(type_tag<double>{}, part, begin, end, task);
      else
        body(type_tag<float>{}, part, begin, end, task);
    });
    return TG_OK;
  }
};

double factor_of(const void *factor) { return factor ? *static_cast<const double *>(factor) : 1; }
const double *rates_of(const void *rates, const tg_part &part) { return static_cast<const double *>(rates) + TG_RATES * part.group; }

template <class T> void adam_range(const kernels::AdamStep<T> &step, const tg_part &part, int64_t begin, int64_t end) {
  constexpr int L = lanes<T>;
  T *param = static_cast<T *>(part.value), *m = static_cast<T *>(part.first), *v = static_cast<T *>(part.second);
  const T *gradient = static_cast<const T *>(part.source);
  const auto root = [](vec<T> x) TG_LAMBDA {
    for (int l = 0; l < L; ++l) x[l] = __builtin_sqrt(x[l]);
    return x;
  };
  int64_t i = begin;
  for (; i + L <= end; i += L) {
    vec<T> mi = load(m + i), vi = load(v + i);
    store(param + i, step(load(param + i), load(gradient + i), mi, vi, root));
    store(m + i, mi);
    store(v + i, vi);
  }
  if (const int64_t rest = end - i; rest > 0) {
    vec<T> mi = load_partial(m + i, rest), vi = load_partial(v + i, rest);
    store_partial(param + i, step(load_partial(param + i, rest), load_partial(gradient + i, rest), mi, vi, root), rest);
    store_partial(m + i, mi, rest);
    store_partial(v + i, vi, rest);
  }
}

int adam(const tg_parts *parts, const void *rates, double beta1, double beta2, double epsilon, const void *factor) {
  return Tasks(*parts).run("adam", [&](auto tag, const tg_part &part, int64_t begin, int64_t end, int64_t) {
    using T = typename decltype(tag)::type;
    adam_range<T>({rates_of(rates, part), factor_of(factor), beta1, beta2, epsilon}, part, begin, end);
  });
}

int sgd(const tg_parts *parts, const void *rates, double momentum, int64_t nesterov, const void *factor) {
  return Tasks(*parts).run("sgd", [&](auto tag, const tg_part &part, int64_t begin, int64_t end, int64_t) {
    using T = typename decltype(tag)::type;
    const kernels::SgdStep<T> step(rates_of(rates, part), factor_of(factor), momentum, nesterov != 0);
    T *param = static_cast<T *>(part.value), *velocity = static_cast<T *>(part.first);
    const T *gradient = static_cast<const T *>(part.source);
    if (velocity)
      for (int64_t i = begin; i < end; ++i) param[i] = step.with_velocity(param[i], gradient[i], velocity[i]);
    else
      for (int64_t i = begin; i < end; ++i) param[i] = step.plain(param[i], gradient[i]);
  });
}

// A task's sum of squares in float64, in eight running sums that the compiler keeps in vectors.
template <class T> double squares(const T *x, int64_t begin, int64_t end) {
  double sums[8] = {};
  int64_t i = begin;
  for (; i + 8 <= end; i += 8)
    for (int l = 0; l < 8; ++l) sums[l] += static_cast<double>(x[i + l]) * static_cast<double>(x[i + l]);
  for (; i < end; ++i) sums[0] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

int global_norm(const tg_parts *parts, double limit, void *out) {
  const Tasks tasks(*parts);
  double *shares = static_cast<double *>(scratch(1, (tasks.count + 1) * int64_t(sizeof(double))));
  if (!shares) return fail("global_norm: out of memory");
  const int status = tasks.run("global_norm", [&](auto tag, const tg_part &part, int64_t begin, int64_t end, int64_t task) {
    using T = typename decltype(tag)::type;
    shares[task] = squares(static_cast<const T *>(part.source), begin, end);
  });
  if (status != TG_OK) return status;
  double sum = 0;
  for (int64_t t = 0; t < tasks.count; ++t) sum += shares[t];
  double *result = static_cast<double *>(out);
  result[0] = __builtin_sqrt(sum);
  result[1] = kernels::clipping_factor(result[0], limit);
  return TG_OK;
}

int moving_average(const tg_parts *parts, double decay) {
  return Tasks(*parts).run("moving_average", [&](auto tag, const tg_part &part, int64_t begin, int64_t end, int64_t) {
    using T = typename decltype(tag)::type;
    const T keep = static_cast<T>(decay), take = static_cast<T>(1 - decay);
    T *average = static_cast<T *>(part.value);
    const T *value = static_cast<const T *>(part.source);
    for (int64_t i = begin; i < end; ++i) average[i] = keep * average[i] + take * value[i];
  });
}

} // namespace

void register_optimizer(tg_backend *t) {
  t->adam = adam;
  t->sgd = sgd;
  t->global_norm = global_norm;
  t->moving_average = moving_average;
}

} // namespace tautgrad::cpu::TG_ISA
