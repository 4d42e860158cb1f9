// y = phi^(order)(x) a b with the log-student-t function phi: the activation of total deep variation and what its gradient and the
// gradient's derivative multiply by, each in one pass.
#include "../kernels/log_student.h"
#include "dispatch.hpp"
#include "vector_math.hpp"

namespace tautgrad::cpu::TG_ISA {
namespace {

template <int Order, class T> TG_INLINE vec<T> value(T nu, vec<T> x) {
  if constexpr (Order == 0)
    return vector_math<T>::log1p(nu * (x * x)) * (T(0.5) / nu);
  else
    return log_student_derivative<Order>(nu, x);
}

template <int Order, int Factors, class T> int run(double nu_, int64_t n, const void *x_, const void *a_, const void *b_, void *y_) {
  const T nu = static_cast<T>(nu_);
  const T *x = static_cast<const T *>(x_), *a = static_cast<const T *>(a_), *b = static_cast<const T *>(b_);
  T *y = static_cast<T *>(y_);
  constexpr int L = lanes<T>;
  for_chunks(n, [=](int64_t begin, int64_t end) {
    int64_t i = begin;
    for (; i + L <= end; i += L) {
      vec<T> v = value<Order>(nu, load(x + i));
      if (Factors > 0) v *= load(a + i);
      if (Factors > 1) v *= load(b + i);
      store(y + i, v);
    }
    if (i < end) {
      vec<T> v = value<Order>(nu, load_partial(x + i, end - i));
      if (Factors > 0) v *= load_partial(a + i, end - i);
      if (Factors > 1) v *= load_partial(b + i, end - i);
      store_partial(y + i, v, end - i);
    }
  });
  return TG_OK;
}

int log_student(int64_t dtype, int64_t order, double nu, int64_t n, const void *x, const void *a, const void *b, void *y) {
  return with_real(dtype, "log_student", [&](auto tag) {
    using T = typename decltype(tag)::type;
    switch (order * 3 + (a != nullptr) + (b != nullptr)) {
    case 0:
      return run<0, 0, T>(nu, n, x, a, b, y);
    case 1:
      return run<0, 1, T>(nu, n, x, a, b, y);
    case 2:
      return run<0, 2, T>(nu, n, x, a, b, y);
    case 3:
      return run<1, 0, T>(nu, n, x, a, b, y);
    case 4:
      return run<1, 1, T>(nu, n, x, a, b, y);
    case 5:
      return run<1, 2, T>(nu, n, x, a, b, y);
    case 6:
      return run<2, 0, T>(nu, n, x, a, b, y);
    case 7:
      return run<2, 1, T>(nu, n, x, a, b, y);
    case 8:
      return run<2, 2, T>(nu, n, x, a, b, y);
    case 9:
      return run<3, 0, T>(nu, n, x, a, b, y);
    case 10:
      return run<3, 1, T>(nu, n, x, a, b, y);
    case 11:
      return run<3, 2, T>(nu, n, x, a, b, y);
    }
    return fail("log_student: unknown order %d", static_cast<int>(order));
  });
}

} // namespace

void register_log_student(tg_backend *t) { t->log_student = log_student; }

} // namespace tautgrad::cpu::TG_ISA
