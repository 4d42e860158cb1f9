// Reductions and running sums against float64 loops: long and short axes, many and few lines, NaN, empty axes.
#include "engine_check.h"

#include <limits>

using namespace engine;

namespace {

template <class T> void check_shape(const tg_backend *t, const tg_lines &lines, uint64_t seed, bool with_nan) {
  constexpr bool real = std::numeric_limits<T>::is_iec559;
  Random r(seed);
  const int64_t n = lines.n, inner = lines.inner, count = lines.outer * inner;
  Buffer<T> x = random_buffer<T>(r, lines.outer * n * inner, real || sizeof(T) == 1 ? (real ? -1 : 0) : -9, real ? 1 : 9);
  if (with_nan && real)
    for (int64_t i = r.below(7); i < x.size(); i += 1 + r.below(3 * n + 5)) x[i] = static_cast<T>(NAN);
  for (int64_t op = TG_SUM; op <= TG_ARG_MAX; ++op) {
    if (op == TG_PROD && n > 40) continue; // the product of many numbers in [-1, 1] vanishes
    if (op >= TG_ARG_MIN && n == 0) continue;
    const bool position = op >= TG_ARG_MIN;
    Buffer<T> y(position ? 0 : count);
    Buffer<int32_t> at(position ? count : 0);
    EXPECT(t->reduce(op, dtype_of<T>::value, &lines, x.data(), position ? static_cast<void *>(at.data()) : y.data()) == TG_OK, "%s",
           t->last_error());
    for (int64_t o = 0; o < lines.outer; ++o)
      for (int64_t i = 0; i < inner; ++i) {
        long double sum = 0, product = 1;
        double absolute = 0, low = real ? INFINITY : static_cast<double>(std::numeric_limits<T>::max()),
               high = real ? -INFINITY : static_cast<double>(std::numeric_limits<T>::lowest());
        int64_t at_low = 0, at_high = 0, first_nan = -1;
        for (int64_t k = 0; k < n; ++k) {
          const double v = static_cast<double>(x[(o * n + k) * inner + i]);
          if (std::isnan(v) && first_nan < 0) first_nan = k;
          sum += v;
          absolute += std::fabs(v);
          product *= v;
          if (v < low) low = v, at_low = k;
          if (v > high) high = v, at_high = k;
        }
        if (first_nan >= 0) low = high = NAN, at_low = at_high = first_nan;
        const int64_t p = o * inner + i;
        if (position) {
          EXPECT(at[p] == (op == TG_ARG_MIN ? at_low : at_high), "arg %d n %d inner %d: %d", static_cast<int>(op), static_cast<int>(n),
                 static_cast<int>(inner), at[p]);
          continue;
        }
        double e = op == TG_SUM          ? static_cast<double>(sum)
                   : op == TG_PROD       ? static_cast<double>(product)
                   : op == TG_REDUCE_MIN ? low
                                         : high;
        if (!real && (op == TG_SUM || op == TG_PROD)) {
          uint32_t wrapped = op == TG_PROD;
          for (int64_t k = 0; k < n; ++k) {
            const uint32_t v = static_cast<uint32_t>(x[(o * n + k) * inner + i]);
            wrapped = op == TG_PROD ? wrapped * v : wrapped + v;
          }
          e = static_cast<double>(static_cast<T>(wrapped));
        }
        const double epsilon = sizeof(T) == 4 ? 1.2e-7 : 2.3e-16;
        const double tolerance = !real || op >= TG_REDUCE_MIN ? 0
                                 : op == TG_SUM               ? epsilon * (std::fabs(e) + absolute * (sizeof(T) == 4 ? 0.5 : 1.0))
                                                              : 4 * epsilon * std::fabs(e);
        const double g = static_cast<double>(y[p]);
        const bool same = g == e || (std::isnan(g) && std::isnan(e)) || std::fabs(g - e) <= tolerance;
        EXPECT(same, "%s reduce %d [%d, %d, %d] got %.17g expected %.17g", dtype_of<T>::name, static_cast<int>(op),
               static_cast<int>(lines.outer), static_cast<int>(n), static_cast<int>(inner), g, e);
      }
    digest_add(y.data(), y.size());
  }
  for (int64_t reverse = 0; reverse < 2; ++reverse) {
    Buffer<T> y(x.size());
    t->cumsum(dtype_of<T>::value, &lines, reverse, x.data(), y.data());
    for (int64_t o = 0; o < lines.outer; ++o)
      for (int64_t i = 0; i < inner; ++i) {
        long double sum = 0;
        double absolute = 0;
        for (int64_t step = 0; step < n; ++step) {
          const int64_t p = (o * n + (reverse ? n - 1 - step : step)) * inner + i;
          sum += static_cast<double>(x[p]);
          absolute += std::fabs(static_cast<double>(x[p]));
          const double e = real ? static_cast<double>(sum) : static_cast<double>(static_cast<T>(static_cast<int64_t>(sum))),
                       g = static_cast<double>(y[p]);
          const bool same = g == e || (std::isnan(g) && std::isnan(e)) || std::fabs(g - e) <= (sizeof(T) == 4 ? 1.2e-7 : 1e-14) * absolute;
          EXPECT(same, "cumsum got %.17g expected %.17g", g, e);
          if (!same) return;
        }
      }
    digest_add(y.data(), y.size());
  }
}

template <class T> void check_type(const tg_backend *t) {
  const tg_lines shapes[] = {{1, 1, 1},   {0, 5, 3},     {3, 0, 4},      {2, 0, 1},    {5, 0, 0},    {1, 300000, 1},
                             {70, 33, 1}, {3, 70000, 1}, {1, 5000, 64},  {2, 9, 700},  {40, 17, 33}, {1, 40000, 3},
                             {7, 2, 1},   {200, 3, 5},   {100, 1100, 1}, {1, 3, 40000}};
  uint64_t seed = 100;
  for (const tg_lines &lines : shapes) {
    check_shape<T>(t, lines, ++seed, false);
    check_shape<T>(t, lines, ++seed, true);
  }
  Random r(8);
  for (int round = 0; round < 80; ++round)
    check_shape<T>(t, {r.between(1, 9), r.between(1, 90), r.below(2) ? 1 : r.between(1, 90)}, 500 + static_cast<uint64_t>(round),
                   round % 2 == 1);
}

void tests(const tg_backend *t) {
  check_type<float>(t);
  check_type<double>(t);
  check_type<int32_t>(t);
  check_type<uint8_t>(t);
}
} // namespace

int main() { return run_everywhere(tests); }
