// fill, arange, cast, and the unary, binary, comparing and selecting maps.
#include "../kernels/nest.h"
#include "dispatch.hpp"
#include "vector_math.hpp"

#include <math.h>

namespace tautgrad::cpu::TG_ISA {
namespace {

template <class T> constexpr bool is_real = false;
template <> constexpr bool is_real<float> = true;
template <> constexpr bool is_real<double> = true;

// ---- one operand ----

// y = f(x) over vectors; the last, partial one is computed on zero-filled lanes. f is a plain value that inlines.
template <class T, class F> TG_INLINE int map(int64_t n, const void *x_, void *y_, const F &f) {
  const T *x = static_cast<const T *>(x_);
  T *y = static_cast<T *>(y_);
  constexpr int L = lanes<T>;
  for_chunks(n, [=](int64_t begin, int64_t end) {
    int64_t i = begin;
    for (; i + L <= end; i += L) store(y + i, f(load(x + i)));
    if (i < end) store_partial(y + i, f(load_partial(x + i, end - i)), end - i);
  });
  return TG_OK;
}

template <class T> TG_INLINE vec<T> ones_where(mask<T> m) { return bits_as<vec<T>>(m & bits_as<mask<T>>(splat<T>(T(1)))); }
template <class T> TG_INLINE vec<T> sign_of(vec<T> v) {
  if constexpr (is_real<T>) {
    const vec<T> unit = ones_where<T>(v > T(0)) - ones_where<T>(v < T(0));
    return v == v ? unit : v; // sign(NaN) = NaN
  } else if constexpr (sizeof(T) == 1) {
    return ones_where<T>(v != T(0));
  } else {
    return ones_where<T>(v > T(0)) - ones_where<T>(v < T(0));
  }
}

TG_INLINE vec<float> rounded_to_bfloat16(vec<float> v) { // ties to even, as in kernels/scalar_math.h
  const mask<float> bits = bits_as<mask<float>>(v);
  const vec<float> rounded = bits_as<vec<float>>((bits + 0x7fff + ((bits >> 16) & 1)) & ~0xffff);
  return v == v ? rounded : v;
}

template <class T> int unary_real(int64_t op, int64_t n, const void *x, void *y) {
  using M = vector_math<T>;
  using V = vec<T>;
  switch (op) {
  case TG_EXP:
    return map<T>(n, x, y, [](V v) TG_LAMBDA { return M::exp(v); });
  case TG_LOG:
    return map<T>(n, x, y, [](V v) TG_LAMBDA { return M::log(v); });
  case TG_LOG1P:
    return map<T>(n, x, y, [](V v) TG_LAMBDA { return M::log1p(v); });
  case TG_EXPM1:
    return map<T>(n, x, y, [](V v) TG_LAMBDA { return M::expm1(v); });
  case TG_SQRT:
    return map<T>(n, x, y, [](V v) TG_LAMBDA { return M::sqrt(v); });
  case TG_RSQRT:
    return map<T>(n, x, y, [](V v) TG_LAMBDA { return T(1) / M::sqrt(v); });
  case TG_RECIPROCAL:
    return map<T>(n, x, y, [](V v) TG_LAMBDA { return T(1) / v; });
  case TG_TANH:
    return map<T>(n, x, y, [](V v) TG_LAMBDA { return M::tanh(v); });
  case TG_SIGMOID:
    return map<T>(n, x, y, [](V v) TG_LAMBDA { return M::sigmoid(v); });
  case TG_SOFTPLUS:
    return map<T>(n, x, y, [](V v) TG_LAMBDA { return M::softplus(v); });
  case TG_SIN:
    return map<T>(n, x, y, [](V v) TG_LAMBDA { return M::sin(v); });
  case TG_COS:
    return map<T>(n, x, y, [](V v) TG_LAMBDA { return M::cos(v); });
  case TG_FLOOR:
    return map<T>(n, x, y, [](V v) TG_LAMBDA {
      for (int i = 0; i < lanes<T>; ++i) v[i] = __builtin_floor(v[i]);
      return v;
    });
  case TG_ROUND: // to nearest, ties to even, as in NumPy
    return map<T>(n, x, y, [](V v) TG_LAMBDA {
      for (int i = 0; i < lanes<T>; ++i) v[i] = __builtin_rint(v[i]);
      return v;
    });
  case TG_ROUND_BF16:
    if constexpr (sizeof(T) == 4) return map<T>(n, x, y, [](V v) TG_LAMBDA { return rounded_to_bfloat16(v); });
  }
  return fail("unary: operation %d has no meaning for this element type", static_cast<int>(op));
}

int unary(int64_t op, int64_t dtype, int64_t n, const void *x, void *y) {
  return with_dtype(dtype, "unary", [&](auto tag) {
    using T = typename decltype(tag)::type;
    using V = vec<T>;
    switch (op) {
    case TG_NEG:
      return map<T>(n, x, y, [](V v) TG_LAMBDA { return -v; });
    case TG_SQUARE:
      return map<T>(n, x, y, [](V v) TG_LAMBDA { return v * v; });
    case TG_RELU:
      return map<T>(n, x, y, [](V v) TG_LAMBDA { return v < T(0) ? V{} : v; }); // relu(NaN) = NaN
    case TG_ABS:
      if constexpr (is_real<T>) return map<T>(n, x, y, [](V v) TG_LAMBDA { return vector_math<T>::abs(v); });
      return map<T>(n, x, y, [](V v) TG_LAMBDA { return v < T(0) ? -v : v; });
    case TG_SIGN:
      return map<T>(n, x, y, [](V v) TG_LAMBDA { return sign_of<T>(v); });
    case TG_IS_NAN:
      return map<T>(n, x, y, [](V v) TG_LAMBDA { return ones_where<T>(v != v); });
    }
    if constexpr (is_real<T>) return unary_real<T>(op, n, x, y);
    if (op == TG_FLOOR || op == TG_ROUND) return map<T>(n, x, y, [](V v) TG_LAMBDA { return v; });
    return fail("unary: operation %d needs float32 or float64 but received element type %d", static_cast<int>(op), static_cast<int>(dtype));
  });
}

// ---- two operands ----

// A run of the innermost axis; an operand advances by one element or (BroadcastX) stays.
template <class T, bool BroadcastA, bool BroadcastB, class F>
TG_INLINE void binary_run(int64_t n, const T *a, const T *b, T *y, const F &f) {
  constexpr int L = lanes<T>;
  const vec<T> fixed_a = BroadcastA ? splat(*a) : vec<T>{}, fixed_b = BroadcastB ? splat(*b) : vec<T>{};
  int64_t i = 0;
  for (; i + L <= n; i += L) store(y + i, f(BroadcastA ? fixed_a : load(a + i), BroadcastB ? fixed_b : load(b + i)));
  if (i < n)
    store_partial(y + i, f(BroadcastA ? fixed_a : load_partial(a + i, n - i), BroadcastB ? fixed_b : load_partial(b + i, n - i)), n - i);
}

constexpr int64_t GATHERED = 512; // elements of a strided operand brought together at a time

template <class T> TG_INLINE const T *brought_together(const T *p, int64_t stride, int64_t n, T *buffer) {
  if (stride == 1) return p;
  for (int64_t i = 0; i < n; ++i) buffer[i] = p[i * stride];
  return buffer;
}

template <class T, class F>
TG_INLINE int zip(const tg_dims *shape, const void *a_, const tg_dims *a_strides, const void *b_, const tg_dims *b_strides, void *y_,
                  const F &f) {
  const T *a = static_cast<const T *>(a_), *b = static_cast<const T *>(b_);
  T *y = static_cast<T *>(y_);
  const Nest<2> nest = simplify<2>(shape, {a_strides, b_strides});
  const int64_t sa = nest.stride[0][nest.rank - 1], sb = nest.stride[1][nest.rank - 1];
  for_chunks(nest.total, [&](int64_t begin, int64_t end) {
    walk(nest, begin, end, [&](int64_t position, int64_t n, const int64_t(&offset)[2]) {
      const T *pa = a + offset[0], *pb = b + offset[1];
      T *py = y + position;
      if (sa == 1 && sb == 1) return binary_run<T, false, false>(n, pa, pb, py, f);
      if (sa == 1 && sb == 0) return binary_run<T, false, true>(n, pa, pb, py, f);
      if (sa == 0 && sb == 1) return binary_run<T, true, false>(n, pa, pb, py, f);
      T buffer_a[GATHERED], buffer_b[GATHERED];
      for (int64_t i = 0; i < n; i += GATHERED) {
        const int64_t part = n - i < GATHERED ? n - i : GATHERED;
        binary_run<T, false, false>(part, brought_together(pa + i * sa, sa, part, buffer_a),
                                    brought_together(pb + i * sb, sb, part, buffer_b), py + i, f);
      }
    });
  });
  return TG_OK;
}

// Integer division truncates; the two cases that trap on hardware get values: x / 0 = 0, and x / -1 = -x wraps.
template <class T> TG_INLINE vec<T> divide(vec<T> a, vec<T> b) {
  if constexpr (is_real<T>) return a / b;
  for (int i = 0; i < lanes<T>; ++i) {
    if constexpr (sizeof(T) == 1)
      a[i] = b[i] == 0 ? T(0) : T(a[i] / b[i]);
    else
      a[i] = b[i] == 0 ? T(0) : b[i] == T(-1) ? T(0u - static_cast<uint32_t>(a[i])) : T(a[i] / b[i]);
  }
  return a;
}

template <class T> TG_INLINE vec<T> power(vec<T> a, vec<T> b) {
  if constexpr (is_real<T>) {
    return vector_math<T>::pow_by_libm(a, b);
  } else { // by squaring, wrapping around; a negative exponent of anything but 1 and -1 truncates to 0
    for (int i = 0; i < lanes<T>; ++i) {
      uint32_t base = static_cast<uint32_t>(a[i]), result = 1;
      int64_t exponent = b[i];
      if (exponent < 0) {
        if (base != 1 && base != ~0u) base = 0;
        exponent = base == 0 ? 1 : -exponent;
      }
      for (; exponent; exponent >>= 1, base *= base)
        if (exponent & 1) result *= base;
      a[i] = static_cast<T>(result);
    }
    return a;
  }
}

int binary(int64_t op, int64_t dtype, const tg_dims *shape, const void *a, const tg_dims *sa, const void *b, const tg_dims *sb, void *y) {
  return with_dtype(dtype, "binary", [&](auto tag) {
    using T = typename decltype(tag)::type;
    using V = vec<T>;
    switch (op) {
    case TG_ADD:
      return zip<T>(shape, a, sa, b, sb, y, [](V p, V q) TG_LAMBDA { return p + q; });
    case TG_SUB:
      return zip<T>(shape, a, sa, b, sb, y, [](V p, V q) TG_LAMBDA { return p - q; });
    case TG_MUL:
      return zip<T>(shape, a, sa, b, sb, y, [](V p, V q) TG_LAMBDA { return p * q; });
    case TG_DIV:
      return zip<T>(shape, a, sa, b, sb, y, [](V p, V q) TG_LAMBDA { return divide<T>(p, q); });
    case TG_POW:
      return zip<T>(shape, a, sa, b, sb, y, [](V p, V q) TG_LAMBDA { return power<T>(p, q); });
    case TG_MIN:
      return zip<T>(shape, a, sa, b, sb, y, [](V p, V q) TG_LAMBDA { return min_nan(p, q); });
    case TG_MAX:
      return zip<T>(shape, a, sa, b, sb, y, [](V p, V q) TG_LAMBDA { return max_nan(p, q); });
    case TG_MASK_POSITIVE:
      return zip<T>(shape, a, sa, b, sb, y, [](V p, V q) TG_LAMBDA { return p > T(0) ? q : V{}; });
    }
    return fail("binary: unknown operation %d", static_cast<int>(op));
  });
}

template <class T, class F>
TG_INLINE int compare_with(const tg_dims *shape, const T *a, const tg_dims *a_strides, const T *b, const tg_dims *b_strides, uint8_t *y,
                           const F &f) {
  const Nest<2> nest = simplify<2>(shape, {a_strides, b_strides});
  const int64_t sa = nest.stride[0][nest.rank - 1], sb = nest.stride[1][nest.rank - 1];
  for_chunks(nest.total, [&](int64_t begin, int64_t end) {
    walk(nest, begin, end, [&](int64_t position, int64_t n, const int64_t(&offset)[2]) {
      const T *pa = a + offset[0], *pb = b + offset[1];
      uint8_t *py = y + position;
      if (sa == 1 && sb == 1) {
        for (int64_t i = 0; i < n; ++i) py[i] = f(pa[i], pb[i]);
      } else if (sa == 1 && sb == 0) {
        const T fixed = *pb;
        for (int64_t i = 0; i < n; ++i) py[i] = f(pa[i], fixed);
      } else {
        for (int64_t i = 0; i < n; ++i) py[i] = f(pa[i * sa], pb[i * sb]);
      }
    });
  });
  return TG_OK;
}

int compare(int64_t op, int64_t dtype, const tg_dims *shape, const void *a_, const tg_dims *sa, const void *b_, const tg_dims *sb,
            void *y_) {
  return with_dtype(dtype, "compare", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T *a = static_cast<const T *>(a_), *b = static_cast<const T *>(b_);
    uint8_t *y = static_cast<uint8_t *>(y_);
    switch (op) {
    case TG_EQ:
      return compare_with(shape, a, sa, b, sb, y, [](T p, T q) TG_LAMBDA { return p == q; });
    case TG_NE:
      return compare_with(shape, a, sa, b, sb, y, [](T p, T q) TG_LAMBDA { return p != q; });
    case TG_LT:
      return compare_with(shape, a, sa, b, sb, y, [](T p, T q) TG_LAMBDA { return p < q; });
    case TG_LE:
      return compare_with(shape, a, sa, b, sb, y, [](T p, T q) TG_LAMBDA { return p <= q; });
    case TG_GT:
      return compare_with(shape, a, sa, b, sb, y, [](T p, T q) TG_LAMBDA { return p > q; });
    case TG_GE:
      return compare_with(shape, a, sa, b, sb, y, [](T p, T q) TG_LAMBDA { return p >= q; });
    }
    return fail("compare: unknown operation %d", static_cast<int>(op));
  });
}

int select(int64_t dtype, const tg_dims *shape, const void *c_, const tg_dims *c_strides, const void *a_, const tg_dims *a_strides,
           const void *b_, const tg_dims *b_strides, void *y_) {
  return with_size(dtype, "select", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const uint8_t *c = static_cast<const uint8_t *>(c_);
    const T *a = static_cast<const T *>(a_), *b = static_cast<const T *>(b_);
    T *y = static_cast<T *>(y_);
    const Nest<3> nest = simplify<3>(shape, {c_strides, a_strides, b_strides});
    const int last = nest.rank - 1;
    const int64_t sc = nest.stride[0][last], sa = nest.stride[1][last], sb = nest.stride[2][last];
    for_chunks(nest.total, [&](int64_t begin, int64_t end) {
      walk(nest, begin, end, [&](int64_t position, int64_t n, const int64_t(&offset)[3]) {
        const uint8_t *pc = c + offset[0];
        const T *pa = a + offset[1], *pb = b + offset[2];
        T *py = y + position;
        if (sc == 1 && sa == 1 && sb == 1) {
          for (int64_t i = 0; i < n; ++i) {
            const T p = pa[i], q = pb[i];
            py[i] = pc[i] ? p : q;
          }
        } else {
          for (int64_t i = 0; i < n; ++i) {
            const T p = pa[i * sa], q = pb[i * sb];
            py[i] = pc[i * sc] ? p : q;
          }
        }
      });
    });
    return TG_OK;
  });
}

// ---- fill, arange, cast ----

// A float becomes an integer towards zero, saturating, NaN -> 0.
template <class To, class From> TG_INLINE To convert(From v) {
  if constexpr (is_real<From> && !is_real<To>) {
    constexpr double low = sizeof(To) == 1 ? 0.0 : -2147483648.0, high = sizeof(To) == 1 ? 255.0 : 2147483647.0;
    const double d = static_cast<double>(v);
    const double inside = d >= high ? high : d > low ? d : low;
    return static_cast<To>(static_cast<int32_t>(d == d ? inside : 0.0));
  } else if constexpr (sizeof(To) == 1 && sizeof(From) == 4 && !is_real<From>) {
    return static_cast<To>(v < 0 ? 0 : v > 255 ? 255 : v);
  } else {
    return static_cast<To>(v);
  }
}

int fill(int64_t dtype, int64_t n, double value, void *y_) {
  return with_dtype(dtype, "fill", [&](auto tag) {
    using T = typename decltype(tag)::type;
    T *y = static_cast<T *>(y_);
    const T v = convert<T>(value);
    for_chunks(n, [=](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) y[i] = v;
    });
    return TG_OK;
  });
}

int arange(int64_t dtype, int64_t n, double start, double step, void *y_) {
  return with_dtype(dtype, "arange", [&](auto tag) {
    using T = typename decltype(tag)::type;
    T *y = static_cast<T *>(y_);
    for_chunks(n, [=](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) y[i] = convert<T>(start + step * static_cast<double>(i));
    });
    return TG_OK;
  });
}

int cast(int64_t from, int64_t to, int64_t n, const void *x_, void *y_) {
  return with_dtype(from, "cast", [&](auto from_tag) {
    using From = typename decltype(from_tag)::type;
    const From *x = static_cast<const From *>(x_);
    return with_dtype(to, "cast", [&](auto to_tag) {
      using To = typename decltype(to_tag)::type;
      To *y = static_cast<To *>(y_);
      for_chunks(n, [=](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) y[i] = convert<To>(x[i]);
      });
      return TG_OK;
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

} // namespace tautgrad::cpu::TG_ISA
