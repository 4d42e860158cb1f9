// y = softplus^(order)(x) a b, order 1 to 3: what derivatives of networks with softplus multiply by, each in one pass.
#include "../kernels/softplus.h"
#include "dispatch.hpp"
#include "vector_math.hpp"

namespace tautgrad::cpu::TG_ISA {
namespace {

template <int Order, class T> TG_INLINE vec<T> value(vec<T> x) {
  const vec<T> e = vector_math<T>::exp(-vector_math<T>::abs(x)), v = softplus_derivative_of_size<Order, T>(e);
  if constexpr (Order == 1) return x >= T(0) ? v : x != x ? x : e * v;
  if constexpr (Order == 2) return v;
  return x < T(0) ? -v : v;
}

template <int Order, int Factors, class T> int run(int64_t n, const void *x_, const void *a_, const void *b_, void *y_) {
  const T *x = static_cast<const T *>(x_), *a = static_cast<const T *>(a_), *b = static_cast<const T *>(b_);
  T *y = static_cast<T *>(y_);
  constexpr int L = lanes<T>;
  for_chunks(n, [=](int64_t begin, int64_t end) {
    int64_t i = begin;
    for (; i + L <= end; i += L) {
      vec<T> v = value<Order, T>(load(x + i));
      if (Factors > 0) v *= load(a + i);
      if (Factors > 1) v *= load(b + i);
      store(y + i, v);
    }
    if (i < end) {
      vec<T> v = value<Order, T>(load_partial(x + i, end - i));
      if (Factors > 0) v *= load_partial(a + i, end - i);
      if (Factors > 1) v *= load_partial(b + i, end - i);
      store_partial(y + i, v, end - i);
    }
  });
  return TG_OK;
}

template <int Order, class T> int with_factors(int64_t n, const void *x, const void *a, const void *b, void *y) {
  return b != nullptr ? run<Order, 2, T>(n, x, a, b, y) : a != nullptr ? run<Order, 1, T>(n, x, a, b, y) : run<Order, 0, T>(n, x, a, b, y);
}

int softplus_derivative(int64_t dtype, int64_t order, int64_t n, const void *x, const void *a, const void *b, void *y) {
  return with_real(dtype, "softplus_derivative", [&](auto tag) {
    using T = typename decltype(tag)::type;
    switch (order) {
    case 1:
      return with_factors<1, T>(n, x, a, b, y);
    case 2:
      return with_factors<2, T>(n, x, a, b, y);
    case 3:
      return with_factors<3, T>(n, x, a, b, y);
    }
    return fail("softplus_derivative: unknown order %d", static_cast<int>(order));
  });
}

} // namespace

void register_softplus(tg_backend *t) { t->softplus_derivative = softplus_derivative; }

} // namespace tautgrad::cpu::TG_ISA
