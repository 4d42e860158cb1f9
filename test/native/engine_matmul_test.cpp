// Batched matrix products against float64 loops: odd sizes, transposes, shared operands, empty sides.
#include "engine_check.h"

using namespace engine;

namespace {

template <class T>
void check(const tg_backend *t, int64_t batch, int64_t m, int64_t n, int64_t k, bool ta, bool tb, bool share_a, bool share_b) {
  Random r(static_cast<uint64_t>(m * 131 + n * 17 + k));
  const Buffer<T> a = random_buffer<T>(r, (share_a ? 1 : batch) * m * k), b = random_buffer<T>(r, (share_b ? 1 : batch) * k * n);
  Buffer<T> c(batch * m * n, static_cast<T>(NAN)); // what was there must not matter
  EXPECT(t->matmul(dtype_of<T>::value, batch, m, n, k, ta, tb, a.data(), share_a ? 0 : m * k, b.data(), share_b ? 0 : k * n, c.data()) ==
             TG_OK,
         "%s", t->last_error());
  std::vector<double> expected;
  for (int64_t s = 0; s < batch; ++s)
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        long double sum = 0;
        for (int64_t p = 0; p < k; ++p)
          sum += static_cast<long double>(a[(share_a ? 0 : s * m * k) + (ta ? p * m + i : i * k + p)]) *
                 static_cast<long double>(b[(share_b ? 0 : s * k * n) + (tb ? j * k + p : p * n + j)]);
        expected.push_back(static_cast<double>(sum));
      }
  expect_close("matmul", c, expected, (sizeof(T) == 4 ? 8e-7 : 1e-15), 2 + std::sqrt(static_cast<double>(k)) * 2);
}

template <class T> void check_type(const tg_backend *t) {
  Random r(77);
  for (int round = 0; round < 60; ++round)
    check<T>(t, r.between(1, 3), r.between(1, 70), r.between(1, 90), r.between(1, 60), r.below(2), r.below(2), r.below(3) == 0,
             r.below(3) == 0);
  for (int transposes = 0; transposes < 4; ++transposes) {
    check<T>(t, 1, 201, 303, 517, transposes & 1, transposes & 2, false, false);
    check<T>(t, 2, 1, 130, 700, transposes & 1, transposes & 2, false, true);
    check<T>(t, 2, 130, 1, 700, transposes & 1, transposes & 2, true, false);
    check<T>(t, 1, 12, 20, 9000, transposes & 1, transposes & 2, false, false);
    check<T>(t, 300, 3, 3, 3, transposes & 1, transposes & 2, false, false);
  }
  check<T>(t, 2, 0, 5, 3, false, false, false, false);
  check<T>(t, 2, 5, 0, 3, false, false, false, false);
  check<T>(t, 2, 5, 7, 0, false, false, false, false);
  check<T>(t, 0, 5, 7, 3, false, false, false, false);
}

void tests(const tg_backend *t) {
  check_type<float>(t);
  check_type<double>(t);
  int32_t dummy[4] = {};
  EXPECT(t->matmul(TG_I32, 1, 1, 1, 1, 0, 0, dummy, 0, dummy, 0, dummy) == TG_FAILED, "integers");
}
} // namespace

int main() { return run_everywhere(tests); }
