// Reductions and running sums along the middle axis of [outer, n, inner].
// A long axis is cut into segments whose number depends on the shape alone; their partial results are combined in order. Sums of
// float32 run over short blocks in float32 and across blocks in float64.
#include "dispatch.hpp"

#include <math.h>

namespace tautgrad::cpu::TG_ISA {
namespace {

constexpr int64_t BLOCK = 2048;      // elements summed in the element type before they go to the accumulator
constexpr int64_t SEGMENT = 1 << 15; // elements of a segment
constexpr int64_t ROW_BLOCK = 8;     // rows of columns summed in the element type before they go to the accumulator
constexpr int64_t COLUMN_TILE = 256; // inner positions reduced together

// What a sum or product is carried in.
template <class T> struct accumulator { using type = double; };
template <> struct accumulator<int32_t> { using type = uint32_t; }; // wraps without undefined behaviour
template <> struct accumulator<uint8_t> { using type = uint32_t; };

// What a few dozen elements are summed in.
template <class T> struct partial_sum { using type = T; };
template <> struct partial_sum<uint8_t> { using type = uint16_t; };

// Lanes whose overflow is defined.
template <class T> struct wrapping { using type = T; };
template <> struct wrapping<int32_t> { using type = uint32_t; };

template <class T> constexpr T lowest() {
  if constexpr (sizeof(T) == 1) return 0;
  if constexpr (T(0.5) != T(0)) return T(-INFINITY);
  return T(-2147483647 - 1);
}
template <class T> constexpr T highest() {
  if constexpr (sizeof(T) == 1) return 255;
  if constexpr (T(0.5) != T(0)) return T(INFINITY);
  return T(2147483647);
}

// A fold: `start`, how a run of consecutive elements joins the accumulator, how rows of columns join theirs, and how two accumulators join.
template <class Fold, class T, class A> TG_INLINE void fold_rows(A *a, const T *x, int64_t count, int64_t stride, int64_t width) {
  for (int64_t k = 0; k < count; ++k)
    for (int64_t i = 0; i < width; ++i) a[i] = Fold::step(a[i], x[k * stride + i]);
}
template <class T> struct Sum {
  using A = typename accumulator<T>::type;
  static constexpr A start = 0;
  static TG_INLINE A join(A a, A b) { return a + b; }
  static TG_INLINE A step(A a, T v) { return a + static_cast<A>(v); }
  static TG_INLINE void rows(A *a, const T *x, int64_t count, int64_t stride, int64_t width) {
    if constexpr (sizeof(A) == sizeof(T)) return fold_rows<Sum>(a, x, count, stride, width);
    using P = typename partial_sum<T>::type;
    P sum[COLUMN_TILE];
    for (int64_t i = 0; i < width; ++i) sum[i] = static_cast<P>(x[i]);
    for (int64_t k = 1; k < count; ++k)
      for (int64_t i = 0; i < width; ++i) sum[i] += static_cast<P>(x[k * stride + i]);
    for (int64_t i = 0; i < width; ++i) a[i] += static_cast<A>(sum[i]);
  }
  static TG_INLINE A run(A a, const T *x, int64_t n) {
    constexpr int L = lanes<T>;
    if constexpr (sizeof(T) == 1) {
      for (int64_t i = 0; i < n; ++i) a += x[i];
      return a;
    } else {
      using U = typename wrapping<T>::type;
      int64_t i = 0;
      while (n - i >= 4 * L) {
        const int64_t end = n - i < BLOCK ? i + (n - i) / (4 * L) * (4 * L) : i + BLOCK;
        typename vector_types<U>::type s0{}, s1{}, s2{}, s3{};
        for (; i < end; i += 4 * L) {
          s0 += bits_as<typename vector_types<U>::type>(load(x + i));
          s1 += bits_as<typename vector_types<U>::type>(load(x + i + L));
          s2 += bits_as<typename vector_types<U>::type>(load(x + i + 2 * L));
          s3 += bits_as<typename vector_types<U>::type>(load(x + i + 3 * L));
        }
        a += static_cast<A>(horizontal_sum<U>((s0 + s1) + (s2 + s3)));
      }
      if (n - i >= L) {
        typename vector_types<U>::type s{};
        for (; i + L <= n; i += L) s += bits_as<typename vector_types<U>::type>(load(x + i));
        a += static_cast<A>(horizontal_sum<U>(s));
      }
      for (; i < n; ++i) a += static_cast<A>(x[i]);
      return a;
    }
  }
};

template <class T> struct Product {
  using A = typename accumulator<T>::type;
  static constexpr A start = 1;
  static TG_INLINE A join(A a, A b) { return a * b; }
  static TG_INLINE A step(A a, T v) { return a * static_cast<A>(v); }
  static TG_INLINE void rows(A *a, const T *x, int64_t count, int64_t stride, int64_t width) {
    fold_rows<Product>(a, x, count, stride, width);
  }
  static TG_INLINE A run(A a, const T *x, int64_t n) {
    for (int64_t i = 0; i < n; ++i) a = step(a, x[i]);
    return a;
  }
};

template <class T, bool Largest> struct Extreme {
  using A = T;
  static constexpr A start = Largest ? lowest<T>() : highest<T>();
  static TG_INLINE T join(T a, T b) {
    if constexpr (Largest) return (a > b) | (a != a) ? a : b;
    return (a < b) | (a != a) ? a : b;
  }
  static TG_INLINE T step(T a, T v) { return join(a, v); }
  static TG_INLINE void rows(T *a, const T *x, int64_t count, int64_t stride, int64_t width) {
    fold_rows<Extreme>(a, x, count, stride, width);
  }
  static TG_INLINE T run(T a, const T *x, int64_t n) {
    constexpr int L = lanes<T>;
    int64_t i = 0;
    if (n >= 2 * L) {
      vec<T> m0 = splat(a), m1 = m0;
      for (; i + 2 * L <= n; i += 2 * L) {
        m0 = Largest ? max_nan(m0, load(x + i)) : min_nan(m0, load(x + i));
        m1 = Largest ? max_nan(m1, load(x + i + L)) : min_nan(m1, load(x + i + L));
      }
      m0 = Largest ? max_nan(m0, m1) : min_nan(m0, m1);
      for (int l = 0; l < L; ++l) a = join(a, m0[l]);
    }
    for (; i < n; ++i) a = join(a, x[i]);
    return a;
  }
};

// Segments along n: enough of them to keep threads busy when there are few lines.
int64_t segment_length(const tg_lines *lines, int64_t work_per_k) {
  const int64_t length = SEGMENT / (work_per_k < 1 ? 1 : work_per_k);
  const int64_t at_least = length < 64 ? 64 : length;
  return at_least < lines->n ? at_least : (lines->n > 0 ? lines->n : 1);
}

// inner = 1: contiguous lines
template <class T, class Fold> int reduce_rows(const tg_lines *lines, const T *x, T *y) {
  using A = typename Fold::A;
  const int64_t n = lines->n;
  if (n <= 2 * SEGMENT || lines->outer >= 64) {
    for_chunks(lines->outer, n >= SEGMENT ? 1 : SEGMENT / (n + 16), [=](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) y[o] = static_cast<T>(Fold::run(Fold::start, x + o * n, n));
    });
    return TG_OK;
  }
  const int64_t segments = (n + SEGMENT - 1) / SEGMENT;
  A *partial = static_cast<A *>(scratch(0, lines->outer * segments * static_cast<int64_t>(sizeof(A))));
  if (!partial) return fail("reduce: out of memory");
  parallel_for(lines->outer * segments, [=](int64_t task) {
    const int64_t o = task / segments, k = task % segments * SEGMENT;
    partial[task] = Fold::run(Fold::start, x + o * n + k, n - k < SEGMENT ? n - k : SEGMENT);
  });
  for (int64_t o = 0; o < lines->outer; ++o) {
    A a = Fold::start;
    for (int64_t s = 0; s < segments; ++s) a = Fold::join(a, partial[o * segments + s]);
    y[o] = static_cast<T>(a);
  }
  return TG_OK;
}

// inner > 1: tiles of columns, each cut into segments along n
template <class T, class Fold> int reduce_columns(const tg_lines *lines, const T *x, T *y) {
  using A = typename Fold::A;
  const int64_t n = lines->n, inner = lines->inner, tiles = (inner + COLUMN_TILE - 1) / COLUMN_TILE;
  const int64_t length = segment_length(lines, inner < COLUMN_TILE ? inner : COLUMN_TILE), segments = n > 0 ? (n + length - 1) / length : 1;
  A *partial = static_cast<A *>(scratch(0, lines->outer * segments * inner * static_cast<int64_t>(sizeof(A))));
  if (!partial) return fail("reduce: out of memory");
  const int64_t tasks = lines->outer * segments * tiles,
                per_task = 1 + SEGMENT / (length * (inner < COLUMN_TILE ? inner : COLUMN_TILE) + 1);
  for_chunks(tasks, per_task, [=](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t tile = task % tiles, segment = task / tiles % segments, o = task / (tiles * segments);
      const int64_t i0 = tile * COLUMN_TILE, width = inner - i0 < COLUMN_TILE ? inner - i0 : COLUMN_TILE;
      const int64_t k0 = segment * length, k1 = k0 + length < n ? k0 + length : n;
      A a[COLUMN_TILE];
      for (int64_t i = 0; i < width; ++i) a[i] = Fold::start;
      for (int64_t k = k0; k < k1; k += ROW_BLOCK)
        Fold::rows(a, x + (o * n + k) * inner + i0, k1 - k < ROW_BLOCK ? k1 - k : ROW_BLOCK, inner, width);
      A *out = partial + (o * segments + segment) * inner + i0;
      for (int64_t i = 0; i < width; ++i) out[i] = a[i];
    }
  });
  for_chunks(lines->outer * inner, [=](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const int64_t o = p / inner, i = p % inner;
      A a = Fold::start;
      for (int64_t s = 0; s < segments; ++s) a = Fold::join(a, partial[(o * segments + s) * inner + i]);
      y[p] = static_cast<T>(a);
    }
  });
  return TG_OK;
}

// The first position of the extreme; the first NaN, if there is one (NumPy's rule).
template <class T, bool Largest> int reduce_position(const tg_lines *lines, const T *x, int32_t *y) {
  const int64_t n = lines->n, inner = lines->inner;
  for_chunks(lines->outer * inner, n >= SEGMENT ? 1 : SEGMENT / (n + 1), [=](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const T *line = x + p / inner * n * inner + p % inner;
      int64_t best = 0;
      for (int64_t k = 1; k < n; ++k) {
        const T v = line[k * inner], champion = line[best * inner];
        if (champion != champion) break;
        if ((Largest ? v > champion : v < champion) || v != v) best = k;
      }
      y[p] = static_cast<int32_t>(best);
    }
  });
  return TG_OK;
}

template <class T, class Fold> int reduce_with(const tg_lines *lines, const T *x, T *y) {
  return lines->inner == 1 ? reduce_rows<T, Fold>(lines, x, y) : reduce_columns<T, Fold>(lines, x, y);
}

int reduce(int64_t op, int64_t dtype, const tg_lines *lines, const void *x_, void *y_) {
  return with_dtype(dtype, "reduce", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T *x = static_cast<const T *>(x_);
    T *y = static_cast<T *>(y_);
    if (lines->outer == 0 || lines->inner == 0) return static_cast<int>(TG_OK);
    switch (op) {
    case TG_SUM:
      return reduce_with<T, Sum<T>>(lines, x, y);
    case TG_PROD:
      return reduce_with<T, Product<T>>(lines, x, y);
    case TG_REDUCE_MIN:
      return reduce_with<T, Extreme<T, false>>(lines, x, y);
    case TG_REDUCE_MAX:
      return reduce_with<T, Extreme<T, true>>(lines, x, y);
    case TG_ARG_MIN:
      return reduce_position<T, false>(lines, x, static_cast<int32_t *>(y_));
    case TG_ARG_MAX:
      return reduce_position<T, true>(lines, x, static_cast<int32_t *>(y_));
    }
    return fail("reduce: unknown operation %d", static_cast<int>(op));
  });
}

// Columns of neighbouring lines advance together, so that memory is read in rows.
int cumsum(int64_t dtype, const tg_lines *lines, int64_t reverse, const void *x_, void *y_) {
  return with_dtype(dtype, "cumsum", [&](auto tag) {
    using T = typename decltype(tag)::type;
    using A = typename accumulator<T>::type;
    const T *x = static_cast<const T *>(x_);
    T *y = static_cast<T *>(y_);
    const int64_t n = lines->n, inner = lines->inner;
    if (n == 0 || inner == 0) return TG_OK;
    if (inner == 1) {
      const int64_t step = reverse ? -1 : 1;
      for_chunks(lines->outer, 4 * (1 + SEGMENT / (4 * n)), [=](int64_t begin, int64_t end) {
        int64_t line = begin;
        for (; line + 4 <= end; line += 4) { // four lines side by side hide the latency of the additions
          A a[4] = {};
          int64_t p = reverse ? (line + 1) * n - 1 : line * n;
          for (int64_t k = 0; k < n; ++k, p += step)
            for (int64_t l = 0; l < 4; ++l) y[p + l * n] = static_cast<T>(a[l] += static_cast<A>(x[p + l * n]));
        }
        for (; line < end; ++line) {
          A a = 0;
          int64_t p = reverse ? (line + 1) * n - 1 : line * n;
          for (int64_t k = 0; k < n; ++k, p += step) y[p] = static_cast<T>(a += static_cast<A>(x[p]));
        }
      });
      return TG_OK;
    }
    const int64_t width = inner < COLUMN_TILE ? inner : COLUMN_TILE, tiles = (inner + width - 1) / width;
    for_chunks(lines->outer * tiles, 1 + SEGMENT / (n * width), [=](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t o = task / tiles, i0 = task % tiles * width, count = inner - i0 < width ? inner - i0 : width;
        A a[COLUMN_TILE];
        for (int64_t i = 0; i < count; ++i) a[i] = 0;
        for (int64_t step = 0; step < n; ++step) {
          const int64_t row = (o * n + (reverse ? n - 1 - step : step)) * inner + i0;
          for (int64_t i = 0; i < count; ++i) {
            a[i] += static_cast<A>(x[row + i]);
            y[row + i] = static_cast<T>(a[i]);
          }
        }
      }
    });
    return TG_OK;
  });
}

} // namespace

void register_reduce(tg_backend *t) {
  t->reduce = reduce;
  t->cumsum = cumsum;
}

} // namespace tautgrad::cpu::TG_ISA
