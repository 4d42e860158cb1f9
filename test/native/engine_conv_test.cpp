// The three convolutions against the definition in backend.h, in float64, over random parameters and the shapes with fast paths.
#include "engine_check.h"

using namespace engine;

namespace {

template <class T> struct Problem {
  tg_conv p;
  Buffer<T> x, w, dy;
  Problem(const tg_conv &parameters, uint64_t seed) : p(parameters), x(0), w(0), dy(0) {
    Random r(seed);
    x = random_buffer<T>(r, p.n * p.c_in * p.h * p.w);
    w = random_buffer<T>(r, p.c_out * (p.c_in / p.groups) * p.kh * p.kw);
    dy = random_buffer<T>(r, p.n * p.c_out * p.out_h * p.out_w);
  }
};

// y, dx and dw by the definition. Most of this test's time goes here: the sanitizers, which watch the kernels, leave it out.
__attribute__((no_sanitize("address", "undefined"))) void reference(const tg_conv &p, const double *x, const double *w, const double *dy,
                                                                    double *y, double *dx, double *dw) {
  const int64_t cg = p.c_in / p.groups, og = p.c_out / p.groups;
  for (int64_t n = 0; n < p.n; ++n)
    for (int64_t o = 0; o < p.c_out; ++o)
      for (int64_t c = 0; c < cg; ++c)
        for (int64_t a = 0; a < p.kh; ++a)
          for (int64_t b = 0; b < p.kw; ++b) {
            const int64_t index = ((o * cg + c) * p.kh + a) * p.kw + b, shift = b * p.dilation_w - p.pad_w;
            int64_t first = 0, last = p.out_w; // outputs whose column lies inside the image
            while (first < last && first * p.stride_w + shift < 0) ++first;
            while (last > first && (last - 1) * p.stride_w + shift >= p.w) --last;
            const double weight = w[index];
            double sum = 0;
            for (int64_t i = 0; i < p.out_h; ++i) {
              const int64_t row = i * p.stride_h + a * p.dilation_h - p.pad_h;
              if (row < 0 || row >= p.h) continue;
              const int64_t out = ((n * p.c_out + o) * p.out_h + i) * p.out_w,
                            in = ((n * p.c_in + o / og * cg + c) * p.h + row) * p.w + shift;
              for (int64_t j = first; j < last; ++j) {
                const double pixel = x[in + j * p.stride_w], gradient = dy[out + j];
                y[out + j] += pixel * weight;
                dx[in + j * p.stride_w] += gradient * weight;
                sum += pixel * gradient;
              }
            }
            dw[index] += sum;
          }
}

// Errors are measured against the largest magnitude of the result, the norm in which Winograd's error is bounded.
template <class T> void expect_relative(const char *what, const tg_conv &p, const Buffer<T> &got, const std::vector<double> &expected) {
  double scale = 1e-30, worst = 0;
  for (const double e : expected) scale = std::fmax(scale, std::fabs(e));
  int64_t at = 0;
  for (int64_t i = 0; i < got.size(); ++i) {
    const double error = std::fabs(static_cast<double>(got[i]) - expected[static_cast<size_t>(i)]);
    if (!(error <= worst)) worst = error, at = i;
  }
  EXPECT(worst <= (sizeof(T) == 4 ? 5e-6 : 1e-13) * scale,
         "%s %s n%d %d->%d g%d %dx%d k%dx%d s%d,%d p%d,%d d%d,%d out %dx%d: [%lld] = %.9g expected %.9g (error %.2g of the largest value)",
         what, dtype_of<T>::name, int(p.n), int(p.c_in), int(p.c_out), int(p.groups), int(p.h), int(p.w), int(p.kh), int(p.kw),
         int(p.stride_h), int(p.stride_w), int(p.pad_h), int(p.pad_w), int(p.dilation_h), int(p.dilation_w), int(p.out_h), int(p.out_w),
         static_cast<long long>(at), static_cast<double>(got[at]), expected[static_cast<size_t>(at)], worst / scale);
  digest_add(got.data(), got.size());
}

// The fused forms against the plain ones followed by what they fuse.
template <class T>
void check_fused(const tg_backend *t, const tg_conv &p, const Problem<T> &q, const Buffer<T> &y, const Buffer<T> &dx, const Buffer<T> &dw) {
  Random r(5);
  const T junk = static_cast<T>(NAN);
  const int64_t out_plane = p.out_h * p.out_w;
  const Buffer<T> bias = random_buffer<T>(r, p.c_out);
  for (int relu = 0; relu < 2; ++relu) {
    Buffer<T> fused(y.size(), junk);
    EXPECT(t->conv_forward_bias(dtype_of<T>::value, &p, q.x.data(), q.w.data(), bias.data(), relu, fused.data()) == TG_OK, "%s",
           t->last_error());
    std::vector<double> expected(static_cast<size_t>(y.size()));
    for (int64_t i = 0; i < y.size(); ++i) {
      const double v = static_cast<double>(y[i]) + static_cast<double>(bias[i / out_plane % p.c_out]);
      expected[static_cast<size_t>(i)] = relu && v < 0 ? 0 : v;
    }
    expect_relative("conv_forward_bias", p, fused, expected);
  }
  const Buffer<T> mask = random_buffer<T>(r, q.x.size());
  Buffer<T> masked(dx.size(), junk), dw2(dw.size(), junk), db(p.c_out, junk);
  EXPECT(t->conv_data_masked(dtype_of<T>::value, &p, q.dy.data(), q.w.data(), mask.data(), masked.data()) == TG_OK, "%s", t->last_error());
  for (int64_t i = 0; i < dx.size(); ++i) EXPECT(masked[i] == (mask[i] > 0 ? dx[i] : T(0)), "conv_data_masked at %d", static_cast<int>(i));
  EXPECT(t->conv_weights_bias(dtype_of<T>::value, &p, q.x.data(), q.dy.data(), dw2.data(), db.data()) == TG_OK, "%s", t->last_error());
  EXPECT(dw.size() == 0 || std::memcmp(dw.data(), dw2.data(), static_cast<size_t>(dw.size()) * sizeof(T)) == 0,
         "conv_weights_bias: weights");
  std::vector<double> sums(static_cast<size_t>(p.c_out));
  for (int64_t i = 0; i < q.dy.size(); ++i) sums[static_cast<size_t>(i / out_plane % p.c_out)] += static_cast<double>(q.dy[i]);
  expect_relative("conv_weights_bias", p, db, sums);
}

template <class T> void check(const tg_backend *t, const tg_conv &p, uint64_t seed) {
  const Problem<T> q(p, seed);
  const T junk = static_cast<T>(NAN); // outputs are overwritten, never added to
  Buffer<T> y(q.dy.size(), junk), dx(q.x.size(), junk), dw(q.w.size(), junk);
  EXPECT(t->conv_forward(dtype_of<T>::value, &p, q.x.data(), q.w.data(), y.data()) == TG_OK, "%s", t->last_error());
  EXPECT(t->conv_data(dtype_of<T>::value, &p, q.dy.data(), q.w.data(), dx.data()) == TG_OK, "%s", t->last_error());
  EXPECT(t->conv_weights(dtype_of<T>::value, &p, q.x.data(), q.dy.data(), dw.data()) == TG_OK, "%s", t->last_error());
  std::vector<double> ey(static_cast<size_t>(y.size())), ex(static_cast<size_t>(dx.size())), ew(static_cast<size_t>(dw.size()));
  const auto exact = [](const Buffer<T> &v) { return std::vector<double>(v.v.begin(), v.v.end()); };
  reference(p, exact(q.x).data(), exact(q.w).data(), exact(q.dy).data(), ey.data(), ex.data(), ew.data());
  expect_relative("conv_forward", p, y, ey);
  expect_relative("conv_data", p, dx, ex);
  expect_relative("conv_weights", p, dw, ew);
  check_fused<T>(t, p, q, y, dx, dw);
}

// Output size for symmetric padding, as layers have it.
int64_t out_size(int64_t size, int64_t kernel, int64_t stride, int64_t pad, int64_t dilation) {
  const int64_t reach = dilation * (kernel - 1) + 1;
  return size + 2 * pad < reach ? 0 : (size + 2 * pad - reach) / stride + 1;
}
tg_conv layer(int64_t n, int64_t c_in, int64_t c_out, int64_t h, int64_t w, int64_t k, int64_t stride, int64_t pad, int64_t dilation = 1,
              int64_t groups = 1) {
  return {n,      c_in,   h,   w,   c_out,    k,        k,     out_size(h, k, stride, pad, dilation), out_size(w, k, stride, pad, dilation),
          stride, stride, pad, pad, dilation, dilation, groups};
}

template <class T> void check_random(const tg_backend *t, int rounds) {
  for (int round = 0; round < rounds; ++round) {
    Random r(1000 + static_cast<uint64_t>(round));
    tg_conv p{};
    p.n = r.between(1, 3);
    p.groups = r.below(3) ? 1 : r.between(1, 4);
    const int64_t depthwise = r.below(6) == 0;
    p.c_in = p.groups * (depthwise ? 1 : r.between(1, 9));
    p.c_out = p.groups * (depthwise ? 1 : r.between(1, 19));
    p.h = r.below(5) == 0 ? 1 : r.between(1, 20);
    p.w = r.between(1, 40);
    p.kh = p.h == 1 ? 1 : r.between(1, 5);
    p.kw = r.between(1, 5);
    if (r.below(2)) p.kh = p.kw = 3;
    p.stride_h = r.below(2) ? 1 : r.between(1, 3);
    p.stride_w = r.below(2) ? p.stride_h : r.between(1, 3);
    p.dilation_h = r.below(2) ? 1 : r.between(1, 3);
    p.dilation_w = r.below(2) ? p.dilation_h : r.between(1, 3);
    p.pad_h = r.between(-2, 4);
    p.pad_w = r.between(-2, 4);
    p.out_h = r.between(0, 14); // anything: more or less than the input covers
    p.out_w = r.between(0, 40);
    check<T>(t, p, static_cast<uint64_t>(round));
  }
}

// 3x3 kernels of stride 1 or 2 over enough channels and pixels for Winograd's algorithms, any padding and output size.
void check_winograd(const tg_backend *t, int rounds, int64_t stride) {
  for (int round = 0; round < rounds; ++round) {
    Random r(7000 + static_cast<uint64_t>(round + 1000 * (stride - 1)));
    tg_conv p{};
    p.n = r.between(1, 3);
    p.groups = r.below(4) ? 1 : 2;
    p.c_in = p.groups * r.between(12, stride == 1 ? 36 : 20);
    p.c_out = p.groups * r.between(12, 36);
    p.h = r.between(1, 40 * stride);
    p.w = r.between(1, 90);
    p.kh = p.kw = 3;
    p.stride_h = p.stride_w = stride;
    p.dilation_h = p.dilation_w = 1;
    p.pad_h = r.between(-3, 4);
    p.pad_w = r.between(-3, 4);
    p.out_h = r.below(2) ? (p.h + stride - 1) / stride : r.between(4, 44);
    p.out_w = r.below(2) ? (p.w + stride - 1) / stride : r.between(8, 94);
    check<float>(t, p, static_cast<uint64_t>(round));
  }
}

// One channel per group, images wide enough for the depthwise kernel, any kernel, stride, dilation, padding and output size.
template <class T> void check_depthwise(const tg_backend *t, int rounds) {
  for (int round = 0; round < rounds; ++round) {
    Random r(9000 + static_cast<uint64_t>(round));
    tg_conv p{};
    p.n = r.between(1, 2);
    p.groups = p.c_in = p.c_out = r.between(4, 7);
    p.h = r.between(1, 40);
    p.w = r.between(1, 150);
    p.kh = r.between(1, 7);
    p.kw = r.between(1, 7);
    p.stride_h = r.between(1, 3);
    p.stride_w = r.below(3) ? p.stride_h : r.between(1, 3);
    p.dilation_h = r.below(3) ? 1 : 2;
    p.dilation_w = r.below(3) ? 1 : 2;
    p.pad_h = r.between(-2, 5);
    p.pad_w = r.between(-2, 5);
    p.out_h = r.below(2) ? (p.h + p.stride_h - 1) / p.stride_h : r.between(1, 30);
    p.out_w = r.below(2) ? (p.w + p.stride_w - 1) / p.stride_w : r.between(1, 150);
    check<T>(t, p, static_cast<uint64_t>(round));
  }
}

template <class T> void check_layers(const tg_backend *t) {
  const tg_conv layers[] = {
      layer(1, 32, 32, 20, 37, 3, 1, 1),
      layer(2, 16, 16, 25, 24, 3, 1, 1),
      layer(2, 64, 64, 19, 16, 3, 1, 1),
      layer(2, 3, 64, 18, 33, 3, 1, 1),
      layer(2, 64, 1, 15, 40, 3, 1, 1),
      layer(2, 1, 64, 16, 16, 3, 1, 1),
      layer(1, 17, 34, 23, 25, 3, 1, 1),
      layer(3, 68, 34, 12, 19, 3, 1, 1),
      layer(2, 32, 32, 17, 22, 3, 2, 1),
      layer(2, 32, 32, 16, 16, 4, 2, 1),
      layer(1, 32, 32, 16, 32, 5, 1, 2),
      layer(1, 12, 8, 30, 31, 7, 1, 3),
      layer(2, 24, 40, 9, 33, 1, 1, 0),
      layer(2, 24, 40, 9, 33, 1, 2, 0),
      layer(1, 8, 8, 16, 40, 3, 1, 2, 2),
      layer(1, 32, 32, 20, 33, 3, 1, 1, 1, 32),
      layer(1, 32, 64, 11, 33, 3, 1, 1, 1, 4),
      layer(1, 32, 32, 21, 17, 5, 2, 2, 1, 32),
      layer(9, 5, 6, 4, 4, 3, 1, 1),
      layer(1, 2, 2, 1, 1, 3, 1, 1),
      layer(1, 2, 2, 130, 3, 3, 1, 1),
      {2, 16, 1, 300, 24, 1, 5, 1, 300, 1, 1, 0, 2, 1, 1, 1}, // 1D
      {1, 8, 9, 70, 8, 3, 3, 12, 70, 1, 1, 2, 1, 1, 1, 1},    // more rows out than same padding
      {1, 8, 9, 70, 8, 3, 3, 5, 60, 1, 1, -2, -3, 1, 1, 1},   // cropped
      {0, 8, 9, 7, 8, 3, 3, 9, 7, 1, 1, 1, 1, 1, 1, 1},       // empty batch
      {0, 16, 16, 16, 16, 3, 3, 8, 8, 2, 2, 1, 1, 1, 1, 1},   // empty batch, stride 2
      {2, 4, 5, 5, 8, 3, 3, 0, 5, 1, 1, 1, 1, 1, 1, 1},       // no output
  };
  uint64_t seed = 1;
  for (const tg_conv &p : layers) check<T>(t, p, ++seed);
}

void tests(const tg_backend *t) {
  check_random<float>(t, 160);
  check_random<double>(t, 80);
  check_winograd(t, 40, 1);
  check_winograd(t, 24, 2);
  check_depthwise<float>(t, 80);
  check_depthwise<double>(t, 40);
  check_layers<float>(t);
  check_layers<double>(t);
}
} // namespace

int main() { return run_everywhere(tests); }
