// Broadcasting maps, comparisons, selection, fill, arange and cast against naive loops over random shapes and strides.
#include "engine_check.h"

#include <limits>

using namespace engine;

namespace {

// A random shape of rank 0..8 and strides of an operand that broadcasts along some of its axes.
tg_dims random_shape(Random &r) {
  tg_dims shape{};
  shape.rank = r.between(0, TG_MAX_RANK);
  for (int64_t a = 0; a < shape.rank; ++a) shape.d[a] = shape.rank > 5 ? r.between(1, 3) : r.between(1, 7);
  if (shape.rank > 0 && r.below(3) == 0) shape.d[shape.rank - 1] = r.between(20, 150);
  if (shape.rank > 0 && r.below(12) == 0) shape.d[r.below(shape.rank)] = 0;
  return shape;
}

struct Operand {
  tg_dims strides;
  int64_t size;
};
Operand random_operand(Random &r, const tg_dims &shape) {
  tg_dims own = shape;
  const int64_t style = r.below(3);
  for (int64_t a = 0; a < shape.rank; ++a)
    if ((style == 1 && r.below(2)) || style == 2) own.d[a] = own.d[a] == 0 ? 0 : 1;
  Operand operand{dense_strides(own), elements(own)};
  for (int64_t a = 0; a < shape.rank; ++a)
    if (own.d[a] != shape.d[a]) operand.strides.d[a] = 0;
  if (r.below(4) == 0 && shape.rank >= 2) { // a transposed view: reverse axes
    tg_dims reversed = own;
    for (int64_t a = 0; a < shape.rank; ++a) reversed.d[a] = own.d[shape.rank - 1 - a];
    const tg_dims s = dense_strides(reversed);
    for (int64_t a = 0; a < shape.rank; ++a) operand.strides.d[a] = own.d[a] == shape.d[a] ? s.d[shape.rank - 1 - a] : 0;
  }
  return operand;
}

double nan_min(double a, double b) { return std::isnan(a) ? a : std::isnan(b) ? b : a < b ? a : b; }
double nan_max(double a, double b) { return std::isnan(a) ? a : std::isnan(b) ? b : a > b ? a : b; }

double reference(int64_t op, double a, double b, bool real) {
  switch (op) {
  case TG_ADD:
    return a + b;
  case TG_SUB:
    return a - b;
  case TG_MUL:
    return a * b;
  case TG_DIV:
    return real ? a / b : b == 0 ? 0 : std::trunc(a / b);
  case TG_POW:
    return real ? std::pow(a, b) : b < 0 && std::fabs(a) != 1 ? 0 : std::pow(a, b);
  case TG_MIN:
    return nan_min(a, b);
  case TG_MAX:
    return nan_max(a, b);
  case TG_MASK_POSITIVE:
    return a > 0 ? b : 0;
  }
  return 0;
}

template <class T> void check_binary(const tg_backend *t, uint64_t seed) {
  constexpr bool real = std::numeric_limits<T>::is_iec559;
  Random r(seed);
  for (int round = 0; round < 240; ++round) {
    const int64_t op = round % 8;
    const tg_dims shape = random_shape(r);
    const Operand pa = random_operand(r, shape), pb = random_operand(r, shape);
    const double low = real ? -2 : 0, high = real ? 2 : op == TG_POW ? 3.99 : 15.99;
    Buffer<T> a = random_buffer<T>(r, pa.size, low, high), b = random_buffer<T>(r, pb.size, low, high);
    if (real && op != TG_POW)
      for (int64_t i = 3; i < a.size(); i += 17) a[i] = static_cast<T>(NAN);
    if (real && op != TG_POW)
      for (int64_t i = 5; i < b.size(); i += 19) b[i] = static_cast<T>(i % 2 ? NAN : INFINITY);
    if (sizeof(T) == 4 && !real) // negative integers too
      for (int64_t i = 0; i < a.size(); i += 3) a[i] = static_cast<T>(0 - a[i]);
    const int64_t n = elements(shape);
    Buffer<T> y(n);
    EXPECT(t->binary(op, dtype_of<T>::value, &shape, a.data(), &pa.strides, b.data(), &pb.strides, y.data()) == TG_OK, "%s",
           t->last_error());
    for (int64_t i = 0; i < n; ++i) {
      const double va = static_cast<double>(a[offset_of(shape, pa.strides, i)]),
                   vb = static_cast<double>(b[offset_of(shape, pb.strides, i)]);
      const double e = reference(op, va, vb, real), g = static_cast<double>(y[i]), wrapped = sizeof(T) == 1 ? std::fmod(e + 256, 256) : e;
      const double tolerance = (sizeof(T) == 4 ? 1e-6 : 1e-15) * std::fabs(e);
      const bool same = std::isnan(e) ? std::isnan(g) : g == wrapped || std::fabs(g - e) <= (real ? tolerance : 0);
      EXPECT(same, "%s op %d (%g, %g): got %.17g expected %.17g", dtype_of<T>::name, static_cast<int>(op), va, vb, g, e);
      if (!same) break;
    }
    digest_add(y.data(), n);

    Buffer<uint8_t> flags(n);
    const int64_t comparison = round % 6;
    t->compare(comparison, dtype_of<T>::value, &shape, a.data(), &pa.strides, b.data(), &pb.strides, flags.data());
    for (int64_t i = 0; i < n; ++i) {
      const T va = a[offset_of(shape, pa.strides, i)], vb = b[offset_of(shape, pb.strides, i)];
      const bool all[] = {va == vb, va != vb, va<vb, va <= vb, va> vb, va >= vb};
      EXPECT(flags[i] == (all[comparison] ? 1 : 0), "compare %d", static_cast<int>(comparison));
    }

    const Operand pc = random_operand(r, shape);
    Buffer<uint8_t> condition = random_buffer<uint8_t>(r, pc.size, 0, 2.99);
    t->select(dtype_of<T>::value, &shape, condition.data(), &pc.strides, a.data(), &pa.strides, b.data(), &pb.strides, y.data());
    for (int64_t i = 0; i < n; ++i) {
      const T e = condition[offset_of(shape, pc.strides, i)] ? a[offset_of(shape, pa.strides, i)] : b[offset_of(shape, pb.strides, i)];
      EXPECT(std::memcmp(&y[i], &e, sizeof(T)) == 0, "select");
    }
  }
}

// A large broadcast (several tasks) and the result written over an operand.
void check_large(const tg_backend *t) {
  Random r(3);
  const tg_dims shape = dims({3, 17, 41, 43}), bias = dims({0, 1, 0, 0}), dense = dense_strides(shape);
  const int64_t n = elements(shape);
  Buffer<float> a = random_buffer<float>(r, n), b = random_buffer<float>(r, 17), original = a;
  t->binary(TG_ADD, TG_F32, &shape, a.data(), &dense, b.data(), &bias, a.data());
  for (int64_t i = 0; i < n; ++i) EXPECT(a[i] == original[i] + b[i / (41 * 43) % 17], "bias at %lld", static_cast<long long>(i));
  digest_add(a.data(), n);
}

void check_integer_traps(const tg_backend *t) {
  const tg_dims shape = dims({3}), dense = dims({1});
  const int32_t lowest = std::numeric_limits<int32_t>::min();
  Buffer<int32_t> a(3), b(3), y(3);
  a[0] = lowest, a[1] = 5, a[2] = -7;
  b[0] = -1, b[1] = 0, b[2] = 2;
  t->binary(TG_DIV, TG_I32, &shape, a.data(), &dense, b.data(), &dense, y.data());
  EXPECT(y[0] == lowest && y[1] == 0 && y[2] == -3, "%d %d %d", y[0], y[1], y[2]);
}

template <class From, class To> To cast_reference(From v) {
  const double d = static_cast<double>(v);
  if (std::numeric_limits<To>::is_iec559) return static_cast<To>(v);
  if (std::isnan(d)) return To(0);
  const double low = static_cast<double>(std::numeric_limits<To>::min()), high = static_cast<double>(std::numeric_limits<To>::max());
  return d <= low ? std::numeric_limits<To>::min() : d >= high ? std::numeric_limits<To>::max() : static_cast<To>(d);
}
template <class From, class To> void check_cast(const tg_backend *t) {
  Random r(11);
  const int64_t n = 20011;
  Buffer<From> x =
      random_buffer<From>(r, n, std::numeric_limits<From>::is_signed ? -400 : 0, std::numeric_limits<From>::is_iec559 ? 400 : 120);
  if (std::numeric_limits<From>::is_iec559) {
    const double values[] = {NAN, INFINITY, -INFINITY, 3e9, -3e9, 1e300, 255.9, -0.9, 2147483647.0};
    for (int i = 0; i < 9; ++i) x[i * 5] = static_cast<From>(values[i]);
  }
  Buffer<To> y(n);
  EXPECT(t->cast(dtype_of<From>::value, dtype_of<To>::value, n, x.data(), y.data()) == TG_OK, "%s", t->last_error());
  for (int64_t i = 0; i < n; ++i) {
    const To e = cast_reference<From, To>(x[i]);
    EXPECT(y[i] == e || (y[i] != y[i] && e != e), "cast %s %g to %s: %g", dtype_of<From>::name, static_cast<double>(x[i]),
           dtype_of<To>::name, static_cast<double>(y[i]));
  }
}
template <class From> void check_casts(const tg_backend *t) {
  check_cast<From, float>(t);
  check_cast<From, double>(t);
  check_cast<From, int32_t>(t);
  check_cast<From, uint8_t>(t);
}

template <class T> void check_fill(const tg_backend *t) {
  const int64_t sizes[] = {0, 1, 77, 50000};
  for (const int64_t n : sizes) {
    Buffer<T> y(n);
    t->fill(dtype_of<T>::value, n, 7, y.data());
    for (int64_t i = 0; i < n; ++i) EXPECT(y[i] == T(7), "fill");
    t->arange(dtype_of<T>::value, n, 3, 0.25, y.data());
    for (int64_t i = 0; i < n; ++i) EXPECT(y[i] == (cast_reference<double, T>(3 + 0.25 * static_cast<double>(i))), "arange");
  }
}

void tests(const tg_backend *t) {
  check_binary<float>(t, 1);
  check_binary<double>(t, 2);
  check_binary<int32_t>(t, 3);
  check_binary<uint8_t>(t, 4);
  check_large(t);
  check_integer_traps(t);
  check_casts<float>(t);
  check_casts<double>(t);
  check_casts<int32_t>(t);
  check_casts<uint8_t>(t);
  check_fill<float>(t);
  check_fill<double>(t);
  check_fill<int32_t>(t);
  check_fill<uint8_t>(t);
}
} // namespace

int main() { return run_everywhere(tests); }
