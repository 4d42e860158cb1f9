// fill, arange, cast, and the unary, binary, comparing and selecting maps.
#include "launch.h"

#include "../kernels/nest.h"
#include "../kernels/scalar_math.h"

namespace tautgrad::cuda {
namespace {

// 16 bytes at a time: a dense operand is read and written in words of this size.
template <class T> struct alignas(16) Pack {
  static constexpr int size = 16 / sizeof(T);
  T v[size];
};

// ---- one operand ----

template <class From, class To, class F> __global__ void map_kernel(int64_t n, const From *x, To *y, F f) {
  for (int64_t i = global_thread(); i < n; i += all_threads()) y[i] = f(x[i]);
}

template <class T, class F> __global__ void map_packed_kernel(int64_t n, const T *x, T *y, F f) {
  constexpr int P = Pack<T>::size;
  const int64_t packs = n / P;
  for (int64_t p = global_thread(); p < packs; p += all_threads()) {
    Pack<T> v = reinterpret_cast<const Pack<T> *>(x)[p];
    for (int k = 0; k < P; ++k) v.v[k] = f(v.v[k]);
    reinterpret_cast<Pack<T> *>(y)[p] = v;
  }
  for (int64_t i = packs * P + global_thread(); i < n; i += all_threads()) y[i] = f(x[i]);
}

inline bool packable(const void *a, const void *b, const void *c = nullptr) {
  return ((reinterpret_cast<uintptr_t>(a) | reinterpret_cast<uintptr_t>(b) | reinterpret_cast<uintptr_t>(c)) & 15) == 0;
}

template <class T, class F> int map(const char *name, int64_t n, const T *x, T *y, F f) {
  if (packable(x, y)) return run_kernel(name, map_packed_kernel<T, F>, blocks_for(ceil_div(n, Pack<T>::size)), THREADS, 0, n, x, y, f);
  return run_kernel(name, map_kernel<T, T, F>, blocks_for(n), THREADS, 0, n, x, y, f);
}

template <int64_t Op, class T> struct Unary {
  __device__ T operator()(T v) const {
    if constexpr (Op == TG_NEG)
      return static_cast<T>(-v);
    else if constexpr (Op == TG_SQUARE)
      return static_cast<T>(v * v);
    else if constexpr (Op == TG_RELU)
      return v < T(0) ? T(0) : v; // relu(NaN) = NaN
    else if constexpr (Op == TG_SIGN)
      return sign_of_value(v);
    else if constexpr (Op == TG_IS_NAN)
      return v != v ? T(1) : T(0);
    else if constexpr (Op == TG_ABS) {
      if constexpr (is_real_type<T>::value)
        return static_cast<T>(fabs(v));
      else
        return static_cast<T>(v < T(0) ? 0u - static_cast<unsigned>(v) : static_cast<unsigned>(v));
    } else if constexpr (!is_real_type<T>::value)
      return v; // floor and round of integers; nothing else arrives here
    else if constexpr (Op == TG_EXP)
      return exp_of(v);
    else if constexpr (Op == TG_LOG)
      return log_of(v);
    else if constexpr (Op == TG_LOG1P)
      return log1p_of(v);
    else if constexpr (Op == TG_EXPM1)
      return expm1_of(v);
    else if constexpr (Op == TG_SQRT)
      return sqrt_of(v);
    else if constexpr (Op == TG_RSQRT)
      return T(1) / sqrt_of(v);
    else if constexpr (Op == TG_RECIPROCAL)
      return T(1) / v;
    else if constexpr (Op == TG_TANH)
      return tanh_of(v);
    else if constexpr (Op == TG_SIGMOID)
      return sigmoid_of(v);
    else if constexpr (Op == TG_SOFTPLUS)
      return softplus_of(v);
    else if constexpr (Op == TG_SIN)
      return sin_of(v);
    else if constexpr (Op == TG_COS)
      return cos_of(v);
    else if constexpr (Op == TG_FLOOR)
      return floor_of(v);
    else if constexpr (Op == TG_ROUND_BF16) {
      if constexpr (sizeof(T) == 4)
        return round_to_bfloat16(v);
      else
        return v; // nothing else arrives here
    } else
      return round_of(v);
  }
};

template <int64_t Op>
constexpr bool needs_real = !(Op == TG_NEG || Op == TG_SQUARE || Op == TG_RELU || Op == TG_ABS || Op == TG_SIGN || Op == TG_IS_NAN ||
                              Op == TG_FLOOR || Op == TG_ROUND);

template <int64_t Op> int unary_op(int64_t dtype, int64_t n, const void *x, void *y) {
  return with_dtype(dtype, "unary", [&](auto tag) {
    using T = typename decltype(tag)::type;
    if constexpr ((needs_real<Op> && !is_real_type<T>::value) || (Op == TG_ROUND_BF16 && sizeof(T) != 4))
      return fail("unary: operation %d has no meaning for element type %d", static_cast<int>(Op), static_cast<int>(dtype));
    else
      return map("unary", n, static_cast<const T *>(x), static_cast<T *>(y), Unary<Op, T>{});
  });
}

int unary(int64_t op, int64_t dtype, int64_t n, const void *x, void *y) {
  switch (op) {
#define TG_CASE(o)                                                                                                                         \
  case o:                                                                                                                                  \
    return unary_op<o>(dtype, n, x, y);
    TG_CASE(TG_NEG)
    TG_CASE(TG_EXP)
    TG_CASE(TG_LOG)
    TG_CASE(TG_LOG1P)
    TG_CASE(TG_EXPM1)
    TG_CASE(TG_SQRT)
    TG_CASE(TG_RSQRT)
    TG_CASE(TG_SQUARE)
    TG_CASE(TG_RECIPROCAL)
    TG_CASE(TG_TANH)
    TG_CASE(TG_SIGMOID)
    TG_CASE(TG_SOFTPLUS)
    TG_CASE(TG_RELU)
    TG_CASE(TG_ABS)
    TG_CASE(TG_SIGN)
    TG_CASE(TG_SIN)
    TG_CASE(TG_COS)
    TG_CASE(TG_FLOOR)
    TG_CASE(TG_ROUND)
    TG_CASE(TG_IS_NAN)
    TG_CASE(TG_ROUND_BF16)
#undef TG_CASE
  }
  return fail("unary: unknown operation %d", static_cast<int>(op));
}

// ---- two operands ----

template <int64_t Op, class T> struct Binary {
  using Result = T;
  __device__ T operator()(T a, T b) const {
    if constexpr (Op == TG_ADD)
      return static_cast<T>(a + b);
    else if constexpr (Op == TG_SUB)
      return static_cast<T>(a - b);
    else if constexpr (Op == TG_MUL)
      return static_cast<T>(a * b);
    else if constexpr (Op == TG_DIV)
      return divide_values(a, b);
    else if constexpr (Op == TG_POW)
      return power_of(a, b);
    else if constexpr (Op == TG_MIN)
      return min_or_nan(a, b);
    else if constexpr (Op == TG_MAX)
      return max_or_nan(a, b);
    else
      return a > T(0) ? b : T(0);
  }
};
template <int64_t Op, class T> struct Compare {
  using Result = uint8_t;
  __device__ uint8_t operator()(T a, T b) const {
    if constexpr (Op == TG_EQ)
      return a == b;
    else if constexpr (Op == TG_NE)
      return a != b;
    else if constexpr (Op == TG_LT)
      return a < b;
    else if constexpr (Op == TG_LE)
      return a <= b;
    else if constexpr (Op == TG_GT)
      return a > b;
    else
      return a >= b;
  }
};

// Both operands dense, or one of them a single element (StepA, StepB: 1 or 0).
template <class T, class F, int StepA, int StepB> __global__ void zip_packed_kernel(int64_t n, const T *a, const T *b, T *y, F f) {
  constexpr int P = Pack<T>::size;
  const int64_t packs = n / P;
  for (int64_t p = global_thread(); p < packs; p += all_threads()) {
    Pack<T> va, vb, vy;
    if (StepA) va = reinterpret_cast<const Pack<T> *>(a)[p];
    if (StepB) vb = reinterpret_cast<const Pack<T> *>(b)[p];
    for (int k = 0; k < P; ++k) vy.v[k] = f(StepA ? va.v[k] : a[0], StepB ? vb.v[k] : b[0]);
    reinterpret_cast<Pack<T> *>(y)[p] = vy;
  }
  for (int64_t i = packs * P + global_thread(); i < n; i += all_threads()) y[i] = f(a[i * StepA], b[i * StepB]);
}

template <class T, class F, class Index> __global__ void zip_nest_kernel(Nest<2> nest, const T *a, const T *b, typename F::Result *y, F f) {
  for (int64_t i = global_thread(); i < nest.total; i += all_threads()) {
    int64_t offset[2];
    nest_offsets<Index>(nest, static_cast<Index>(i), offset);
    y[i] = f(a[offset[0]], b[offset[1]]);
  }
}

template <class T, class F>
int zip(const char *name, const tg_dims *shape, const void *a_, const tg_dims *sa, const void *b_, const tg_dims *sb, void *y_, F f) {
  const T *a = static_cast<const T *>(a_), *b = static_cast<const T *>(b_);
  auto *y = static_cast<typename F::Result *>(y_);
  const Nest<2> nest = simplify<2>(shape, {sa, sb});
  const int64_t n = nest.total;
  if constexpr (sizeof(T) == sizeof(typename F::Result)) {
    if (nest.rank == 1 && packable(a, b, y)) {
      const int64_t step_a = nest.stride[0][0], step_b = nest.stride[1][0];
      const dim3 grid = blocks_for(ceil_div(n, Pack<T>::size));
      auto *out = reinterpret_cast<T *>(y);
      if (step_a == 1 && step_b == 1) return run_kernel(name, zip_packed_kernel<T, F, 1, 1>, grid, THREADS, 0, n, a, b, out, f);
      if (step_a == 1 && step_b == 0) return run_kernel(name, zip_packed_kernel<T, F, 1, 0>, grid, THREADS, 0, n, a, b, out, f);
      if (step_a == 0 && step_b == 1) return run_kernel(name, zip_packed_kernel<T, F, 0, 1>, grid, THREADS, 0, n, a, b, out, f);
    }
  }
  if (n < (int64_t(1) << 31)) return run_kernel(name, zip_nest_kernel<T, F, uint32_t>, blocks_for(n), THREADS, 0, nest, a, b, y, f);
  return run_kernel(name, zip_nest_kernel<T, F, uint64_t>, blocks_for(n), THREADS, 0, nest, a, b, y, f);
}

template <template <int64_t, class> class F, int64_t Op>
int zip_op(const char *name, int64_t dtype, const tg_dims *shape, const void *a, const tg_dims *sa, const void *b, const tg_dims *sb,
           void *y) {
  return with_dtype(dtype, name, [&](auto tag) {
    using T = typename decltype(tag)::type;
    return zip<T>(name, shape, a, sa, b, sb, y, F<Op, T>{});
  });
}

int binary(int64_t op, int64_t dtype, const tg_dims *shape, const void *a, const tg_dims *sa, const void *b, const tg_dims *sb, void *y) {
  switch (op) {
#define TG_CASE(o)                                                                                                                         \
  case o:                                                                                                                                  \
    return zip_op<Binary, o>("binary", dtype, shape, a, sa, b, sb, y);
    TG_CASE(TG_ADD)
    TG_CASE(TG_SUB)
    TG_CASE(TG_MUL)
    TG_CASE(TG_DIV)
    TG_CASE(TG_POW)
    TG_CASE(TG_MIN)
    TG_CASE(TG_MAX)
    TG_CASE(TG_MASK_POSITIVE)
#undef TG_CASE
  }
  return fail("binary: unknown operation %d", static_cast<int>(op));
}

int compare(int64_t op, int64_t dtype, const tg_dims *shape, const void *a, const tg_dims *sa, const void *b, const tg_dims *sb, void *y) {
  switch (op) {
#define TG_CASE(o)                                                                                                                         \
  case o:                                                                                                                                  \
    return zip_op<Compare, o>("compare", dtype, shape, a, sa, b, sb, y);
    TG_CASE(TG_EQ)
    TG_CASE(TG_NE)
    TG_CASE(TG_LT)
    TG_CASE(TG_LE)
    TG_CASE(TG_GT)
    TG_CASE(TG_GE)
#undef TG_CASE
  }
  return fail("compare: unknown operation %d", static_cast<int>(op));
}

template <class T, class Index> __global__ void select_kernel(Nest<3> nest, const uint8_t *c, const T *a, const T *b, T *y) {
  for (int64_t i = global_thread(); i < nest.total; i += all_threads()) {
    int64_t offset[3];
    nest_offsets<Index>(nest, static_cast<Index>(i), offset);
    y[i] = c[offset[0]] ? a[offset[1]] : b[offset[2]];
  }
}

int select(int64_t dtype, const tg_dims *shape, const void *c, const tg_dims *sc, const void *a, const tg_dims *sa, const void *b,
           const tg_dims *sb, void *y) {
  return with_size(dtype, "select", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Nest<3> nest = simplify<3>(shape, {sc, sa, sb});
    const auto kernel = nest.total < (int64_t(1) << 31) ? select_kernel<T, uint32_t> : select_kernel<T, uint64_t>;
    return run_kernel("select", kernel, blocks_for(nest.total), THREADS, 0, nest, static_cast<const uint8_t *>(c),
                      static_cast<const T *>(a), static_cast<const T *>(b), static_cast<T *>(y));
  });
}

// ---- fill, arange, cast ----

template <class T> __global__ void fill_kernel(int64_t n, T value, T *y) {
  for (int64_t i = global_thread(); i < n; i += all_threads()) y[i] = value;
}

int fill(int64_t dtype, int64_t n, double value, void *y) {
  return with_dtype(dtype, "fill", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return run_kernel("fill", fill_kernel<T>, blocks_for(n), THREADS, 0, n, convert_value<T>(value), static_cast<T *>(y));
  });
}

template <class T> __global__ void arange_kernel(int64_t n, double start, double step, T *y) {
  for (int64_t i = global_thread(); i < n; i += all_threads()) y[i] = convert_value<T>(start + step * static_cast<double>(i));
}

int arange(int64_t dtype, int64_t n, double start, double step, void *y) {
  return with_dtype(dtype, "arange", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return run_kernel("arange", arange_kernel<T>, blocks_for(n), THREADS, 0, n, start, step, static_cast<T *>(y));
  });
}

template <class To, class From> struct Convert {
  __device__ To operator()(From v) const { return convert_value<To>(v); }
};

int cast(int64_t from, int64_t to, int64_t n, const void *x, void *y) {
  return with_dtype(from, "cast", [&](auto from_tag) {
    using From = typename decltype(from_tag)::type;
    return with_dtype(to, "cast", [&](auto to_tag) {
      using To = typename decltype(to_tag)::type;
      return run_kernel("cast", map_kernel<From, To, Convert<To, From>>, blocks_for(n), THREADS, 0, n, static_cast<const From *>(x),
                        static_cast<To *>(y), Convert<To, From>{});
    });
  });
}

} // namespace

void register_elementwise(tg_backend *t) {
  t->fill = fill;
  t->arange = arange;
  t->cast = cast;
  t->unary = unary;
  t->binary = binary;
  t->compare = compare;
  t->select = select;
}

} // namespace tautgrad::cuda
