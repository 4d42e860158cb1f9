// softmax, log softmax and log sum exp along the middle axis of [outer, n, inner], and their gradients. A line is read from memory once;
// the further passes over it find it in the cache. Columns lie side by side in vectors.
#include "dispatch.hpp"
#include "vector_math.hpp"

#include <math.h>

namespace tautgrad::cpu::TG_ISA {
namespace {

constexpr int64_t BLOCK = 2048;   // exponentials summed in the element type before they go to a float64
constexpr int64_t ROWS = 16;      // of columns: summed by themselves, so that rounding errors do not add up over long axes
constexpr int64_t WORK = 1 << 13; // elements of one task

template <class T> TG_INLINE vec<T> load_filled(const T *p, int64_t count, T rest) {
  vec<T> v = splat(rest);
  memcpy(&v, p, static_cast<size_t>(count) * sizeof(T));
  return v;
}

// What is subtracted before exp: the largest number of a line, or 0 where that is infinite.
template <class V, class T> TG_INLINE V shift_of(V largest, T infinity) {
  return (largest < infinity) & (largest > -infinity) ? largest : V{};
}
template <class T> constexpr T INF = static_cast<T>(INFINITY);

// exp of numbers that are at most 0 but for rounding, or else infinite: what vector_math<T>::exp does for large arguments and subnormal
// results is left out (0 instead of a subnormal number).
template <class T> TG_INLINE vec<T> exp_low(vec<T> x) {
  using M = vector_math<T>;
  const T least = sizeof(T) == 4 ? T(-87.3365) : T(-708.396); // the logarithm of the smallest normal number
  vec<T> k;
  const vec<T> p = M::reduced_expm1(x < least ? splat(least) : x, k);
  return x < least ? vec<T>{} : x > T(80) ? splat(static_cast<T>(INFINITY)) : (p + T(1)) * M::pow2(k); // NaN passes
}

// ---- inner = 1 ----

// f(vector, store) over a line; elements past its end read as `rest` and are not stored.
template <class T, class F> TG_INLINE void over_row(const T *x, int64_t n, T rest, const F &f) {
  constexpr int L = lanes<T>;
  int64_t k = 0;
  for (; k + L <= n; k += L) f(load(x + k), k, int64_t(L));
  if (k < n) f(load_filled(x + k, n - k, rest), k, n - k);
}
template <class T> TG_INLINE void put(T *p, vec<T> v, int64_t count) {
  if (count == lanes<T>)
    store(p, v);
  else
    store_partial(p, v, count);
}

// f(vector at k) summed over a line; f of `rest` must be 0.
template <class T, class F> TG_INLINE double sum_row(const T *x, int64_t n, T rest, const F &f) {
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += BLOCK) {
    vec<T> sum[2] = {};
    over_row(x + begin, n - begin < BLOCK ? n - begin : BLOCK, rest,
             [&](vec<T> v, int64_t k, int64_t count) TG_LAMBDA { sum[k / lanes<T> % 2] += f(v, begin + k, count); });
    total += static_cast<double>(horizontal_sum<T>(sum[0] + sum[1]));
  }
  return total;
}

template <class T> TG_INLINE T largest_of(const T *x, int64_t n) {
  vec<T> most[2] = {splat(-INF<T>), splat(-INF<T>)};
  over_row(x, n, -INF<T>, [&](vec<T> v, int64_t k, int64_t) TG_LAMBDA {
    vec<T> &m = most[k / lanes<T> % 2];
    m = v > m ? v : m; // a NaN is not kept: its exponential makes the sum NaN
  });
  const vec<T> m = most[0] > most[1] ? most[0] : most[1];
  T result = m[0];
  for (int l = 1; l < lanes<T>; ++l) result = m[l] > result ? m[l] : result;
  return result;
}

// The shift of a line and the sum of its exponentials after it, which go to y unless that is NULL.
template <class T> TG_INLINE double exponentials(const T *x, int64_t n, T &shift, T *y) {
  const T largest = largest_of(x, n), moved = largest < INF<T> && largest > -INF<T> ? largest : T(0);
  shift = moved;
  return sum_row(x, n, -INF<T>, [=](vec<T> v, int64_t k, int64_t count) TG_LAMBDA {
    const vec<T> e = exp_low<T>(v - moved);
    if (y) put(y + k, e, count);
    return e;
  });
}

template <class T> void softmax_row(const T *x, int64_t n, bool log_of_it, T *y) {
  T shift;
  const double sum = exponentials(x, n, shift, log_of_it ? nullptr : y);
  if (log_of_it) {
    const T lse = static_cast<T>(log(sum) + static_cast<double>(shift));
    over_row(x, n, T(0), [=](vec<T> v, int64_t k, int64_t count) TG_LAMBDA { put(y + k, v - lse, count); });
  } else {
    const T factor = static_cast<T>(1 / sum);
    over_row(y, n, T(0), [=](vec<T> v, int64_t k, int64_t count) TG_LAMBDA { put(y + k, v * factor, count); });
  }
}

template <class T> void softmax_gradient_row(const T *y, const T *v, int64_t n, bool log_of_it, T *out) {
  if (log_of_it) {
    const T sum = static_cast<T>(sum_row(v, n, T(0), [](vec<T> u, int64_t, int64_t) TG_LAMBDA { return u; }));
    over_row(y, n, T(0), [=](vec<T> u, int64_t k, int64_t count) TG_LAMBDA {
      put(out + k, load_filled(v + k, count, T(0)) - exp_low<T>(u) * sum, count);
    });
    return;
  }
  const T dot = static_cast<T>(sum_row(y, n, T(0), [=](vec<T> u, int64_t k, int64_t count) TG_LAMBDA {
    return u * (count == lanes<T> ? load(v + k) : load_filled(v + k, count, T(0)));
  }));
  over_row(y, n, T(0), [=](vec<T> u, int64_t k, int64_t count) TG_LAMBDA {
    put(out + k, u * ((count == lanes<T> ? load(v + k) : load_filled(v + k, count, T(0))) - dot), count);
  });
}

// ---- inner > 1: `count` columns, at most V vectors side by side ----

template <class T, int V> struct Columns {
  static constexpr int vectors = V;
  int64_t n, stride, count;
  TG_INLINE vec<T> get(const T *p, int64_t k, int v) const {
    p += k * stride + v * lanes<T>;
    return count == V * lanes<T> ? load(p) : load_partial(p, count);
  }
  TG_INLINE void set(T *p, int64_t k, int v, vec<T> value) const {
    p += k * stride + v * lanes<T>;
    if (count == V * lanes<T>)
      store(p, value);
    else
      store_partial(p, value, count);
  }
  // sum[v] = sum over k of f(k, v)
  template <class F> TG_INLINE void sum(vec<T> *sum, const F &f) const {
    for (int v = 0; v < V; ++v) sum[v] = vec<T>{};
    for (int64_t k = 0; k < n; k += ROWS) {
      vec<T> part[V] = {};
      for (int64_t j = k; j < n && j < k + ROWS; ++j)
        for (int v = 0; v < V; ++v) part[v] += f(j, v);
      for (int v = 0; v < V; ++v) sum[v] += part[v];
    }
  }
  TG_INLINE void exponentials(const T *x, vec<T> *shift, vec<T> *total, T *y) const {
    for (int v = 0; v < V; ++v) shift[v] = splat(-INF<T>);
    for (int64_t k = 0; k < n; ++k)
      for (int v = 0; v < V; ++v) {
        const vec<T> u = get(x, k, v);
        shift[v] = u > shift[v] ? u : shift[v];
      }
    for (int v = 0; v < V; ++v) shift[v] = shift_of(shift[v], INF<T>);
    sum(total, [&](int64_t k, int v) TG_LAMBDA {
      const vec<T> e = exp_low<T>(get(x, k, v) - shift[v]);
      if (y) set(y, k, v, e);
      return e;
    });
  }
  template <class F> TG_INLINE void map(T *y, const F &f) const {
    for (int64_t k = 0; k < n; ++k)
      for (int v = 0; v < V; ++v) set(y, k, v, f(k, v));
  }
};

template <class T, int V> void softmax_columns(const Columns<T, V> &c, const T *x, bool log_of_it, T *y) {
  vec<T> shift[V], sum[V];
  c.exponentials(x, shift, sum, log_of_it ? nullptr : y);
  if (log_of_it) {
    for (int v = 0; v < V; ++v) shift[v] += vector_math<T>::log(sum[v]);
    c.map(y, [&](int64_t k, int v) TG_LAMBDA { return c.get(x, k, v) - shift[v]; });
  } else {
    for (int v = 0; v < V; ++v) sum[v] = T(1) / sum[v];
    c.map(y, [&](int64_t k, int v) TG_LAMBDA { return c.get(y, k, v) * sum[v]; });
  }
}

template <class T, int V> void softmax_gradient_columns(const Columns<T, V> &c, const T *y, const T *v_, bool log_of_it, T *out) {
  vec<T> sum[V];
  if (log_of_it) {
    c.sum(sum, [&](int64_t k, int v) TG_LAMBDA { return c.get(v_, k, v); });
    c.map(out, [&](int64_t k, int v) TG_LAMBDA { return c.get(v_, k, v) - exp_low<T>(c.get(y, k, v)) * sum[v]; });
  } else {
    c.sum(sum, [&](int64_t k, int v) TG_LAMBDA { return c.get(y, k, v) * c.get(v_, k, v); });
    c.map(out, [&](int64_t k, int v) TG_LAMBDA { return c.get(y, k, v) * (c.get(v_, k, v) - sum[v]); });
  }
}

// ---- which lines go where ----

// row(line) for contiguous lines, columns(Columns, offset of the first element, its line) for the others.
template <class T, class Row, class Column> int over_lines(const tg_lines &p, const Row &row, const Column &columns) {
  if (p.n == 0) return TG_OK;
  if (p.inner == 1) {
    for_chunks(p.outer, 1 + WORK / p.n, [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) row(o);
    });
    return TG_OK;
  }
  constexpr int L = lanes<T>, V = 4;
  const int64_t width = 1 + WORK / p.n > V * L ? (1 + WORK / p.n) / (V * L) * (V * L) : V * L, tiles = (p.inner + width - 1) / width;
  for_chunks(p.outer * tiles, 1 + WORK / (p.n * (p.inner < width ? p.inner : width)), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t o = task / tiles, first = task % tiles * width, last = first + width < p.inner ? first + width : p.inner;
      int64_t i = first;
      for (; i + V * L <= last; i += V * L) columns(Columns<T, V>{p.n, p.inner, V * L}, o * p.n * p.inner + i, o * p.inner + i);
      for (; i < last; i += L) columns(Columns<T, 1>{p.n, p.inner, last - i < L ? last - i : L}, o * p.n * p.inner + i, o * p.inner + i);
    }
  });
  return TG_OK;
}

int softmax(int64_t dtype, const tg_lines *p, int64_t log_of_it, const void *x_, void *y_) {
  return with_real(dtype, "softmax", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T *x = static_cast<const T *>(x_);
    T *y = static_cast<T *>(y_);
    const int64_t n = p->n;
    const bool l = log_of_it != 0;
    return over_lines<T>(
        *p, [=](int64_t o) { softmax_row(x + o * n, n, l, y + o * n); },
        [=](auto columns, int64_t at, int64_t) { softmax_columns(columns, x + at, l, y + at); });
  });
}

int softmax_gradient(int64_t dtype, const tg_lines *p, int64_t log_of_it, const void *y_, const void *v_, void *out_) {
  return with_real(dtype, "softmax_gradient", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T *y = static_cast<const T *>(y_), *v = static_cast<const T *>(v_);
    T *out = static_cast<T *>(out_);
    const int64_t n = p->n;
    const bool l = log_of_it != 0;
    return over_lines<T>(
        *p, [=](int64_t o) { softmax_gradient_row(y + o * n, v + o * n, n, l, out + o * n); },
        [=](auto columns, int64_t at, int64_t) { softmax_gradient_columns(columns, y + at, v + at, l, out + at); });
  });
}

int log_sum_exp(int64_t dtype, const tg_lines *p, const void *x_, const void *labels_, void *y_, void *lse_) {
  return with_real(dtype, "log_sum_exp", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T *x = static_cast<const T *>(x_);
    const int32_t *labels = static_cast<const int32_t *>(labels_);
    T *y = static_cast<T *>(y_), *lse = static_cast<T *>(lse_);
    const int64_t n = p->n, inner = p->inner;
    return over_lines<T>(
        *p,
        [=](int64_t o) {
          T shift;
          const double sum = exponentials<T>(x + o * n, n, shift, nullptr);
          lse[o] = static_cast<T>(log(sum) + static_cast<double>(shift));
          // In this order the rounding of large logits does not swallow a small loss.
          if (labels) y[o] = static_cast<T>(log(sum) + static_cast<double>(shift - x[o * n + labels[o]]));
        },
        [=](auto columns, int64_t at, int64_t line) {
          constexpr int V = decltype(columns)::vectors;
          vec<T> shift[V], sum[V];
          columns.exponentials(x + at, shift, sum, nullptr);
          for (int v = 0; v < V; ++v) sum[v] = vector_math<T>::log(sum[v]);
          for (int64_t i = 0; i < columns.count; ++i) {
            const T s = shift[i / lanes<T>][i % lanes<T>], l = sum[i / lanes<T>][i % lanes<T>];
            lse[line + i] = l + s;
            if (labels) y[line + i] = l + (s - x[at + i + labels[line + i] * inner]);
          }
        });
  });
}

int log_sum_exp_gradient(int64_t dtype, const tg_lines *p, const void *x_, const void *labels_, const void *lse_, const void *v_,
                         void *out_) {
  return with_real(dtype, "log_sum_exp_gradient", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T *x = static_cast<const T *>(x_), *lse = static_cast<const T *>(lse_), *v = static_cast<const T *>(v_);
    const int32_t *labels = static_cast<const int32_t *>(labels_);
    T *out = static_cast<T *>(out_);
    const int64_t n = p->n, inner = p->inner;
    return over_lines<T>(
        *p,
        [=](int64_t o) {
          const T level = lse[o], factor = v[o];
          T *line = out + o * n;
          over_row(x + o * n, n, T(0),
                   [=](vec<T> u, int64_t k, int64_t count) TG_LAMBDA { put(line + k, exp_low<T>(u - level) * factor, count); });
          if (labels) line[labels[o]] -= factor;
        },
        [=](auto columns, int64_t at, int64_t line) {
          columns.map(out + at, [&](int64_t k, int w) TG_LAMBDA {
            return exp_low<T>(columns.get(x + at, k, w) - columns.get(lse + line, 0, w)) * columns.get(v + line, 0, w);
          });
          if (labels)
            for (int64_t i = 0; i < columns.count; ++i) out[at + i + labels[line + i] * inner] -= v[line + i];
        });
  });
}

} // namespace

void register_softmax(tg_backend *t) {
  t->softmax = softmax;
  t->softmax_gradient = softmax_gradient;
  t->log_sum_exp = log_sum_exp;
  t->log_sum_exp_gradient = log_sum_exp_gradient;
}

} // namespace tautgrad::cpu::TG_ISA
