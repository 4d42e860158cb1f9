// copy_strided against index arithmetic (permutations, flips, slices, pads, broadcasts), gather and scatter_add against loops.
#include "engine_check.h"

using namespace engine;

namespace {

// A random permuted, flipped, sliced, broadcast view of a dense x is copied into a window of a larger dense y.
template <class T> void check_copy(const tg_backend *t, int64_t largest_side) {
  Random r(5 + sizeof(T) + static_cast<uint64_t>(largest_side));
  for (int round = 0; round < 150; ++round) {
    tg_dims shape{}, source{}, target{};
    const int64_t rank = r.between(0, largest_side > 20 ? 3 : TG_MAX_RANK);
    shape.rank = source.rank = target.rank = rank;
    int64_t order[TG_MAX_RANK];
    for (int64_t a = 0; a < rank; ++a) order[a] = a;
    for (int64_t a = rank - 1; a > 0; --a) {
      const int64_t b = r.below(a + 1), swap = order[a];
      order[a] = order[b];
      order[b] = swap;
    }
    int64_t begin[TG_MAX_RANK], step[TG_MAX_RANK], first[TG_MAX_RANK];
    for (int64_t a = 0; a < rank; ++a) {
      shape.d[a] = r.between(rank > 5 ? 1 : 0, rank > 5 ? 3 : largest_side);
      step[a] = r.below(4) == 0 ? -r.between(1, 2) : r.below(5) == 0 ? 0 : r.between(1, 2);
      if (largest_side > 20 && r.below(2)) step[a] = 1;
      const int64_t reach = shape.d[a] > 0 ? (shape.d[a] - 1) * std::abs(step[a]) + 1 : 1;
      source.d[order[a]] = reach + r.below(2);
      begin[a] = step[a] < 0 ? reach - 1 : r.below(source.d[order[a]] - reach + 1);
      first[a] = r.below(3);
      target.d[a] = shape.d[a] + first[a] + r.below(2);
    }
    const tg_dims dense_source = dense_strides(source), y_strides = dense_strides(target);
    tg_dims x_strides{};
    x_strides.rank = rank;
    int64_t x_offset = 0, y_offset = 0;
    for (int64_t a = 0; a < rank; ++a) {
      x_strides.d[a] = step[a] * dense_source.d[order[a]];
      x_offset += begin[a] * dense_source.d[order[a]];
      y_offset += first[a] * y_strides.d[a];
    }
    const Buffer<T> x = random_buffer<T>(r, elements(source), 0, 100);
    Buffer<T> y(elements(target), T(3)), expected = y;
    const int64_t n = elements(shape);
    for (int64_t i = 0; i < n; ++i) expected[y_offset + offset_of(shape, y_strides, i)] = x[x_offset + offset_of(shape, x_strides, i)];
    EXPECT(t->copy_strided(dtype_of<T>::value, &shape, x.data(), x_offset, &x_strides, y.data(), y_offset, &y_strides) == TG_OK, "copy");
    EXPECT(y.size() == 0 || std::memcmp(y.data(), expected.data(), static_cast<size_t>(y.size()) * sizeof(T)) == 0,
           "copy_strided rank %d round %d", static_cast<int>(rank), round);
  }
}

template <class T> void check_gather(const tg_backend *t) {
  Random r(9);
  for (int round = 0; round < 60; ++round) {
    const tg_lines lines{r.between(0, 5), r.between(1, 40), round % 3 == 0 ? 1 : r.between(0, 1500)};
    const int64_t count = r.between(0, 60);
    Buffer<int32_t> index(count);
    for (int64_t k = 0; k < count; ++k) index[k] = static_cast<int32_t>(r.below(lines.n));
    const Buffer<T> x = random_buffer<T>(r, lines.outer * lines.n * lines.inner, 0, 9),
                    u = random_buffer<T>(r, lines.outer * count * lines.inner, 0, 2);
    Buffer<T> y(lines.outer * count * lines.inner), z(x.size());
    t->gather(dtype_of<T>::value, &lines, count, x.data(), index.data(), y.data());
    t->scatter_add(dtype_of<T>::value, &lines, count, u.data(), index.data(), z.data());
    Buffer<T> sums(x.size());
    for (int64_t o = 0; o < lines.outer; ++o)
      for (int64_t k = 0; k < count; ++k)
        for (int64_t i = 0; i < lines.inner; ++i) {
          const int64_t from = (o * lines.n + index[k]) * lines.inner + i, to = (o * count + k) * lines.inner + i;
          EXPECT(y[to] == x[from], "gather");
          sums[from] = static_cast<T>(sums[from] + u[to]);
        }
    for (int64_t i = 0; i < z.size(); ++i) EXPECT(z[i] == sums[i], "scatter_add");
  }
}

void tests(const tg_backend *t) {
  check_copy<float>(t, 9);
  check_copy<double>(t, 9);
  check_copy<int32_t>(t, 9);
  check_copy<uint8_t>(t, 9);
  check_copy<float>(t, 70);
  check_copy<double>(t, 70);
  check_copy<uint8_t>(t, 70);
  check_gather<float>(t);
  check_gather<double>(t);
  check_gather<int32_t>(t);
  check_gather<uint8_t>(t);
}
} // namespace

int main() { return run_everywhere(tests); }
