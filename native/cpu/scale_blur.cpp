// The anti-aliasing blur of TDV's scale changes: the binomial filter [1 4 6 4 1] / 16 along both axes of an image that is extended by
// three reflected pixels (edge repeated), which leaves one more pixel on every side; and its exact transpose. Either is a sparse matrix
// per axis, applied to the columns of a few rows at a time and then along the rows.
#include "dispatch.hpp"

namespace tautgrad::cpu::TG_ISA {
namespace {

constexpr int REACH = 3, WIDTH = 5;
enum { BLUR_SCRATCH = 3 };

// The extended line's sample p is the line's sample reflect(p).
TG_INLINE int64_t reflect(int64_t p, int64_t n) {
  const int64_t k = (p % (2 * n) + 2 * n) % (2 * n);
  return k < n ? k : 2 * n - 1 - k;
}
TG_INLINE double binomial(int64_t a) { return a == 2 ? 0.375 : a == 1 || a == 3 ? 0.25 : 0.0625; }

// One output sample as a combination of input samples. Two rows of the forward matrix meet in one input sample by reflection only, so
// 2 * WIDTH terms are enough, short lines of a few samples aside, whose terms are added up.
struct Terms {
  int64_t count;
  int64_t index[4 * WIDTH];
  double weight[4 * WIDTH];
  void add(int64_t i, double w) {
    for (int64_t k = 0; k < count; ++k)
      if (index[k] == i) {
        weight[k] += w;
        return;
      }
    index[count] = i;
    weight[count++] = w;
  }
};

// Forward: output i of n + 2 from the line's n samples.
Terms forward_terms(int64_t i, int64_t n) {
  Terms t{};
  for (int64_t a = 0; a < WIDTH; ++a) t.add(reflect(i - REACH + a, n), binomial(a));
  return t;
}
// Transposed: output i of n from the n + 2 samples.
Terms transposed_terms(int64_t i, int64_t n) {
  Terms t{};
  // Where the extended line shows sample i: in the frame before, at its own place, in the frame after.
  for (int64_t k = -REACH; k <= REACH; ++k) {
    const int64_t p = k < 0 ? k : k == 0 ? i : n + k - 1;
    if (reflect(p, n) != i) continue;
    for (int64_t a = 0; a < WIDTH; ++a) {
      const int64_t source = p + REACH - a;
      if (source >= 0 && source < n + 2) t.add(source, binomial(a));
    }
  }
  return t;
}
constexpr int64_t EDGES = 4; // outputs at either end whose terms may differ from the sliding filter's
Terms terms_of(int64_t i, int64_t n, bool transposed) {
  if (i >= EDGES && i < (transposed ? n : n + 2) - EDGES) {
    Terms t{};
    t.count = WIDTH;
    for (int64_t a = 0; a < WIDTH; ++a) t.index[a] = i - (transposed ? 1 : REACH) + a, t.weight[a] = binomial(a);
    return t;
  }
  return transposed ? transposed_terms(i, n) : forward_terms(i, n);
}

// out = sum of weighted rows of `width`
template <class T> void combine_rows(const Terms &t, const T *plane, int64_t width, T *out) {
  constexpr int L = lanes<T>;
  if (t.count == WIDTH) {
    const T *r[WIDTH];
    T w[WIDTH];
    for (int k = 0; k < WIDTH; ++k) r[k] = plane + t.index[k] * width, w[k] = static_cast<T>(t.weight[k]);
    int64_t j = 0;
    for (; j + L <= width; j += L)
      store(out + j, w[0] * load(r[0] + j) + w[1] * load(r[1] + j) + w[2] * load(r[2] + j) + w[3] * load(r[3] + j) + w[4] * load(r[4] + j));
    for (; j < width; ++j) out[j] = w[0] * r[0][j] + w[1] * r[1][j] + w[2] * r[2][j] + w[3] * r[3][j] + w[4] * r[4][j];
    return;
  }
  for (int64_t j = 0; j < width; ++j) out[j] = 0;
  for (int64_t k = 0; k < t.count; ++k) {
    const T *r = plane + t.index[k] * width;
    const T w = static_cast<T>(t.weight[k]);
    for (int64_t j = 0; j < width; ++j) out[j] += w * r[j];
  }
}

// The same along a row: `edge` holds the terms of the first and last outputs, between them the filter slides.
template <class T> void filter_row(const T *row, bool transposed, const Terms *edge, int64_t out_width, T *out) {
  constexpr int L = lanes<T>;
  const int64_t low = EDGES < out_width ? EDGES : out_width, high = out_width - EDGES > low ? out_width - EDGES : low;
  for (int64_t j = 0; j < low; ++j) {
    T sum = 0;
    for (int64_t k = 0; k < edge[j].count; ++k) sum += static_cast<T>(edge[j].weight[k]) * row[edge[j].index[k]];
    out[j] = sum;
  }
  for (int64_t j = high; j < out_width; ++j) {
    const Terms &t = edge[EDGES + j - (out_width - EDGES)];
    T sum = 0;
    for (int64_t k = 0; k < t.count; ++k) sum += static_cast<T>(t.weight[k]) * row[t.index[k]];
    out[j] = sum;
  }
  // Output j of the interior reads the samples from j - 3 on (forward), or from j - 1 on (transposed).
  const T *source = row - (transposed ? 1 : REACH);
  int64_t j = low;
  for (; j + L <= high; j += L)
    store(out + j, T(0.0625) * (load(source + j) + load(source + j + 4)) + T(0.25) * (load(source + j + 1) + load(source + j + 3)) +
                       T(0.375) * load(source + j + 2));
  for (; j < high; ++j)
    out[j] = T(0.0625) * (source[j] + source[j + 4]) + T(0.25) * (source[j + 1] + source[j + 3]) + T(0.375) * source[j + 2];
}

// `h`, `w`: the image without the extra frame, on either side of the map.
template <class T> int blur(int64_t planes, int64_t h, int64_t w, bool transposed, const T *x, T *y) {
  const int64_t in_h = transposed ? h + 2 : h, in_w = transposed ? w + 2 : w, out_h = transposed ? h : h + 2,
                out_w = transposed ? w : w + 2;
  Terms edge[2 * EDGES];
  for (int64_t j = 0; j < EDGES && j < out_w; ++j) {
    edge[j] = terms_of(j, w, transposed);
    if (out_w >= EDGES) edge[EDGES + j] = terms_of(out_w - EDGES + j, w, transposed);
  }
  int failed = 0;
  for_tasks(planes, static_cast<double>(planes * h * w * 10), [&](int64_t plane) {
    T *buffer = static_cast<T *>(scratch(BLUR_SCRATCH, (in_w + lanes<T>)*static_cast<int64_t>(sizeof(T))));
    if (!buffer) {
      __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
      return;
    }
    for (int64_t i = 0; i < out_h; ++i) {
      combine_rows(terms_of(i, h, transposed), x + plane * in_h * in_w, in_w, buffer);
      filter_row(buffer, transposed, edge, out_w, y + (plane * out_h + i) * out_w);
    }
  });
  return failed ? fail("scale_blur: out of memory for a row of %lld elements", static_cast<long long>(in_w)) : static_cast<int>(TG_OK);
}

int scale_blur(int64_t dtype, int64_t planes, int64_t h, int64_t w, int64_t transposed, const void *x, void *y) {
  return with_real(dtype, "scale_blur", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return blur<T>(planes, h, w, transposed != 0, static_cast<const T *>(x), static_cast<T *>(y));
  });
}

} // namespace

void register_scale_blur(tg_backend *t) { t->scale_blur = scale_blur; }

} // namespace tautgrad::cpu::TG_ISA
