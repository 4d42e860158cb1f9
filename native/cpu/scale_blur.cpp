// The anti-aliasing blur of TDV's scale changes: the binomial filter [1 4 6 4 1] / 16 along both axes of an image that is extended by
// three reflected pixels (edge repeated), which leaves one more pixel on every side; and its exact transpose. Either is a sparse matrix
// per axis, applied to the columns of a few rows at a time and then along the rows.
#include "dispatch.hpp"

namespace tautgrad::cpu::TG_ISA {
namespace {

constexpr int REACH = 3, WIDTH = 5;
constexpr int64_t ROWS = 8;
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
template <class T> TG_INLINE T five(T a, T b, T c, T d, T e) { return T(0.0625) * (a + e) + (T(0.25) * (b + d) + T(0.375) * c); }

constexpr int64_t EDGES = 4; // output rows at either end whose terms may differ from the sliding filter's

// out = the combination of rows of `width` that output row i needs
template <class T> void combine_rows(int64_t i, int64_t n, bool transposed, const T *plane, int64_t width, T *out) {
  if (i >= EDGES && i < (transposed ? n : n + 2) - EDGES) {
    constexpr int L = lanes<T>;
    const T *r = plane + (i - (transposed ? 1 : REACH)) * width;
    int64_t j = 0;
    for (; j + L <= width; j += L, r += L)
      store(out + j, T(0.0625) * (load(r) + load(r + 4 * width)) +
                         (T(0.25) * (load(r + width) + load(r + 3 * width)) + T(0.375) * load(r + 2 * width)));
    for (; j < width; ++j, ++r) out[j] = five(r[0], r[width], r[2 * width], r[3 * width], r[4 * width]);
    return;
  }
  const Terms t = transposed ? transposed_terms(i, n) : forward_terms(i, n);
  for (int64_t j = 0; j < width; ++j) out[j] = 0;
  for (int64_t k = 0; k < t.count; ++k) {
    const T *r = plane + t.index[k] * width;
    const T w = static_cast<T>(t.weight[k]);
    for (int64_t j = 0; j < width; ++j) out[j] += w * r[j];
  }
}

// out[j] = the filter on row[j .. j + 4]; row has WIDTH - 1 more samples than out.
template <class T> void slide(const T *row, int64_t count, T *out) {
  constexpr int L = lanes<T>;
  int64_t j = 0;
  for (; j + L <= count; j += L)
    store(out + j, T(0.0625) * (load(row + j) + load(row + j + 4)) +
                       (T(0.25) * (load(row + j + 1) + load(row + j + 3)) + T(0.375) * load(row + j + 2)));
  for (; j < count; ++j) out[j] = five(row[j], row[j + 1], row[j + 2], row[j + 3], row[j + 4]);
}

// `h`, `w`: the image without the extra frame, on either side of the map.
template <class T> int blur(int64_t planes, int64_t h, int64_t w, bool transposed, const T *x, T *y) {
  const int64_t in_h = transposed ? h + 2 : h, in_w = transposed ? w + 2 : w, out_h = transposed ? h : h + 2,
                out_w = transposed ? w : w + 2;
  const int64_t pitch = w + 2 + 2 * WIDTH; // of a row with zeros or reflected samples around it
  // The samples that the frame's columns show, from the border outwards.
  const int64_t before[REACH] = {reflect(-1, w), reflect(-2, w), reflect(-3, w)};
  const int64_t after[REACH] = {reflect(w, w), reflect(w + 1, w), reflect(w + 2, w)};
  int failed = 0;
  for_tasks(planes, static_cast<double>(planes * h * w * 10), [&](int64_t plane) {
    T *buffer = static_cast<T *>(scratch(BLUR_SCRATCH, ROWS * pitch * static_cast<int64_t>(sizeof(T))));
    if (!buffer) {
      __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
      return;
    }
    // Some rows at a time: what one pass has stored, the next one reads shifted, which must not follow at once.
    for (int64_t first = 0; first < out_h; first += ROWS) {
      const int64_t count = out_h - first < ROWS ? out_h - first : ROWS;
      for (int64_t i = 0; i < count; ++i)
        combine_rows(first + i, h, transposed, x + plane * in_h * in_w, in_w, buffer + i * pitch + (transposed ? WIDTH - 1 : REACH));
      for (int64_t i = 0; i < count; ++i) {
        T *row = buffer + i * pitch, *out = y + (plane * out_h + first + i) * out_w;
        if (!transposed) { // the row with its reflected ends, then the filter
          for (int64_t k = 1; k <= REACH; ++k) {
            row[REACH - k] = row[REACH + before[k - 1]];
            row[REACH + w - 1 + k] = row[REACH + after[k - 1]];
          }
          slide(row, out_w, out);
        } else { // the filter on the row between zeros, then the ends folded back
          T wide[2 * REACH];
          for (int64_t k = 0; k < WIDTH - 1; ++k) row[k] = row[in_w + WIDTH - 1 + k] = 0;
          slide(row, REACH, wide);
          slide(row + REACH, w, out);
          slide(row + REACH + w, REACH, wide + REACH);
          for (int64_t k = 1; k <= REACH; ++k) {
            out[before[k - 1]] += wide[REACH - k];
            out[after[k - 1]] += wide[REACH + k - 1];
          }
        }
      }
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
