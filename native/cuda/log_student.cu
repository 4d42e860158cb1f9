// y = phi^(order)(x) a b with the log-student-t function phi (native/kernels/log_student.h).
#include "launch.h"

#include "../kernels/log_student.h"
#include "../kernels/scalar_math.h"

namespace tautgrad::cuda {
namespace {

template <int Order, class T> __global__ void log_student_kernel(int64_t n, T nu, const T *x, const T *a, const T *b, T *y) {
  for (int64_t i = global_thread(); i < n; i += all_threads()) {
    T v;
    if constexpr (Order == 0)
      v = log1p_of(nu * (x[i] * x[i])) * (T(0.5) / nu);
    else
      v = log_student_derivative<Order>(nu, x[i]);
    if (a) v *= a[i];
    if (b) v *= b[i];
    y[i] = v;
  }
}

int log_student(int64_t dtype, int64_t order, double nu, int64_t n, const void *x, const void *a, const void *b, void *y) {
  return with_real(dtype, "log_student", [&](auto tag) {
    using T = typename decltype(tag)::type;
    void (*const kernels[])(int64_t, T, const T *, const T *, const T *, T *) = {log_student_kernel<0, T>, log_student_kernel<1, T>,
                                                                                 log_student_kernel<2, T>, log_student_kernel<3, T>};
    if (order < 0 || order > 3) return fail("log_student: unknown order %d", static_cast<int>(order));
    return run_kernel("log_student", kernels[order], blocks_for(n), THREADS, 0, n, static_cast<T>(nu), static_cast<const T *>(x),
                      static_cast<const T *>(a), static_cast<const T *>(b), static_cast<T *>(y));
  });
}

} // namespace

void register_log_student(tg_backend *t) { t->log_student = log_student; }

} // namespace tautgrad::cuda
