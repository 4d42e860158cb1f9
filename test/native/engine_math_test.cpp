// The unary maps against libm in higher precision: errors in units in the last place, special values, every tail length.
#include "engine_check.h"

#include <limits>

using namespace engine;

namespace {

long double reference(int64_t op, long double x) {
  switch (op) {
  case TG_NEG:
    return -x;
  case TG_EXP:
    return expl(x);
  case TG_LOG:
    return logl(x);
  case TG_LOG1P:
    return log1pl(x);
  case TG_EXPM1:
    return expm1l(x);
  case TG_SQRT:
    return sqrtl(x);
  case TG_RSQRT:
    return 1 / sqrtl(x);
  case TG_SQUARE:
    return x * x;
  case TG_RECIPROCAL:
    return 1 / x;
  case TG_TANH:
    return tanhl(x);
  case TG_SIGMOID:
    return x >= 0 ? 1 / (1 + expl(-x)) : expl(x) / (1 + expl(x));
  case TG_SOFTPLUS:
    return std::isnan(x) ? x : std::fmax(x, 0.0L) + log1pl(expl(-fabsl(x)));
  case TG_RELU:
    return x < 0 ? 0 : x;
  case TG_ABS:
    return fabsl(x);
  case TG_SIGN:
    return std::isnan(x) ? x : (x > 0) - (x < 0);
  case TG_SIN:
    return sinl(x);
  case TG_COS:
    return cosl(x);
  case TG_FLOOR:
    return floorl(x);
  case TG_ROUND:
    return rintl(x);
  case TG_IS_NAN:
    return std::isnan(x);
  case TG_ROUND_BF16: {
    if (!std::isfinite(x) || x == 0) return x;
    int exponent;
    frexpl(x, &exponent);
    const long double unit = ldexpl(1, (exponent - 1 > -126 ? exponent - 1 : -126) - 7);
    return rintl(x / unit) * unit;
  }
  }
  return 0;
}

template <class T> double error_in_ulp(T got, long double expected) {
  if (std::isnan(expected)) return std::isnan(got) ? 0 : 1e30;
  const T rounded = static_cast<T>(expected);
  if (std::isinf(rounded) || std::isinf(got)) return got == rounded ? 0 : 1e30;
  const T magnitude = std::fabs(rounded);
  const long double ulp = std::nextafter(magnitude, static_cast<T>(INFINITY)) - static_cast<long double>(magnitude);
  return static_cast<double>(fabsl(got - expected) / ulp);
}

struct Case {
  int64_t op;
  double low, high, limit; // limit: ulp
};

template <class T> void check_op(const tg_backend *t, const Case &c) {
  Random r(42 + static_cast<uint64_t>(c.op));
  const T special[] = {T(0),
                       T(-0.0),
                       T(1),
                       T(-1),
                       T(INFINITY),
                       T(-INFINITY),
                       T(NAN),
                       std::numeric_limits<T>::min(),
                       std::numeric_limits<T>::denorm_min(),
                       std::numeric_limits<T>::max(),
                       std::numeric_limits<T>::lowest(),
                       T(0.5),
                       T(1.5),
                       T(2.5),
                       T(-0.5),
                       T(-1.5),
                       T(88.7),
                       T(-88.7),
                       T(-103),
                       T(709.7),
                       T(-745),
                       T(1e-20),
                       T(-1e-20),
                       T(1e5),
                       T(3e7)};
  const int64_t specials = sizeof special / sizeof special[0], n = 40003;
  Buffer<T> x = random_buffer<T>(r, n, c.low, c.high), y(n);
  for (int64_t i = 0; i < n / 4; ++i)
    x[i] = static_cast<T>(static_cast<double>(x[i]) * std::pow(10.0, r.uniform(-6, 0))); // small arguments too
  for (int64_t i = 0; i < specials; ++i) x[n / 2 + i * 7] = special[i];
  EXPECT(t->unary(c.op, dtype_of<T>::value, n, x.data(), y.data()) == TG_OK, "%s", t->last_error());
  double worst = 0;
  int64_t at = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double e = error_in_ulp<T>(y[i], reference(c.op, static_cast<long double>(x[i])));
    if (e > worst) worst = e, at = i;
  }
  if (std::getenv("TAUTGRAD_TEST_VERBOSE"))
    std::printf("%s op %d: %.2f ulp at %.9g\n", dtype_of<T>::name, static_cast<int>(c.op), worst, static_cast<double>(x[at]));
  EXPECT(worst <= c.limit, "%s op %d at %.17g: got %.17g, %.2f ulp", dtype_of<T>::name, static_cast<int>(c.op), static_cast<double>(x[at]),
         static_cast<double>(y[at]), worst);
  digest_add(y.data(), n);
  // every tail length, in place, gives what the long vector gave
  for (int64_t length = 0; length <= 70; ++length) {
    Buffer<T> z(length);
    for (int64_t i = 0; i < length; ++i) z[i] = x[i];
    t->unary(c.op, dtype_of<T>::value, length, z.data(), z.data());
    for (int64_t i = 0; i < length; ++i)
      EXPECT(std::memcmp(&z[i], &y[i], sizeof(T)) == 0 || std::isnan(y[i]), "op %d tail %d", static_cast<int>(c.op),
             static_cast<int>(length));
  }
}

template <class T> void check_all(const tg_backend *t) {
  const double e = sizeof(T) == 4 ? 90 : 720;
  const Case cases[] = {{TG_NEG, -9, 9, 0},          {TG_EXP, -e, e, 2},     {TG_LOG, 0, 50, 2},       {TG_LOG1P, -1, 9, 3},
                        {TG_EXPM1, -20, 20, 3},      {TG_SQRT, 0, 9, 0.5},   {TG_RSQRT, 0, 9, 1.5},    {TG_SQUARE, -9, 9, 0.5},
                        {TG_RECIPROCAL, -9, 9, 0.5}, {TG_TANH, -9, 9, 4},    {TG_SIGMOID, -90, 30, 4}, {TG_SOFTPLUS, -90, 90, 4},
                        {TG_RELU, -9, 9, 0},         {TG_ABS, -9, 9, 0},     {TG_SIGN, -9, 9, 0},      {TG_SIN, -900, 900, 4},
                        {TG_COS, -900, 900, 4},      {TG_FLOOR, -99, 99, 0}, {TG_ROUND, -99, 99, 0},   {TG_IS_NAN, -9, 9, 0}};
  for (const Case &c : cases) check_op<T>(t, c);
  if (sizeof(T) == 4) check_op<T>(t, {TG_ROUND_BF16, -9, 9, 0});
}

template <class T> void check_integers(const tg_backend *t) {
  Random r(7);
  Buffer<T> x = random_buffer<T>(r, 333, sizeof(T) == 1 ? 0 : -1000, 200), y(333);
  const int64_t ops[] = {TG_NEG, TG_SQUARE, TG_RELU, TG_ABS, TG_SIGN, TG_IS_NAN, TG_FLOOR, TG_ROUND};
  for (const int64_t op : ops) {
    EXPECT(t->unary(op, dtype_of<T>::value, 333, x.data(), y.data()) == TG_OK, "%s", t->last_error());
    for (int64_t i = 0; i < 333; ++i)
      EXPECT(y[i] == static_cast<T>(static_cast<int64_t>(reference(op, static_cast<long double>(x[i])))), "%s op %d", dtype_of<T>::name,
             static_cast<int>(op));
  }
  EXPECT(t->unary(TG_EXP, dtype_of<T>::value, 333, x.data(), y.data()) == TG_FAILED, "exp of integers");
  EXPECT(std::strstr(t->last_error(), "float32 or float64") != nullptr, "%s", t->last_error());
}

void tests(const tg_backend *t) {
  check_all<float>(t);
  check_all<double>(t);
  check_integers<int32_t>(t);
  check_integers<uint8_t>(t);
}
} // namespace

int main() { return run_everywhere(tests); }
