// The kernels of total deep variation against plain loops in float64: replicate-padded convolutions in three directions, the
// anti-aliasing blur and its transpose, the activation and its derivatives.
#include "engine_check.h"

using namespace engine;

namespace {

int64_t clamp_index(int64_t i, int64_t n) { return i < 0 ? 0 : i >= n ? n - 1 : i; }
int64_t reflect(int64_t p, int64_t n) {
  const int64_t k = (p % (2 * n) + 2 * n) % (2 * n);
  return k < n ? k : 2 * n - 1 - k;
}

template <class T> void check_conv(const tg_backend *t, int64_t n, int64_t c_in, int64_t c_out, int64_t h, int64_t w) {
  Random r(31);
  const Buffer<T> x = random_buffer<T>(r, n * c_in * h * w), weights = random_buffer<T>(r, c_out * c_in * 9),
                  dy = random_buffer<T>(r, n * c_out * h * w);
  Buffer<T> y(n * c_out * h * w), dx(n * c_in * h * w), dw(c_out * c_in * 9);
  std::vector<double> ey(y.v.size()), ex(dx.v.size()), ew(dw.v.size());
  for (int64_t b = 0; b < n; ++b)
    for (int64_t o = 0; o < c_out; ++o)
      for (int64_t c = 0; c < c_in; ++c)
        for (int64_t i = 0; i < h; ++i)
          for (int64_t j = 0; j < w; ++j)
            for (int64_t a = 0; a < 9; ++a) {
              const int64_t from = ((b * c_in + c) * h + clamp_index(i + a / 3 - 1, h)) * w + clamp_index(j + a % 3 - 1, w);
              const int64_t to = ((b * c_out + o) * h + i) * w + j, tap = (o * c_in + c) * 9 + a;
              ey[static_cast<size_t>(to)] += static_cast<double>(x[from]) * static_cast<double>(weights[tap]);
              ex[static_cast<size_t>(from)] += static_cast<double>(dy[to]) * static_cast<double>(weights[tap]);
              ew[static_cast<size_t>(tap)] += static_cast<double>(x[from]) * static_cast<double>(dy[to]);
            }
  tg_conv p{};
  p.n = n, p.c_in = c_in, p.h = h, p.w = w, p.c_out = c_out, p.kh = p.kw = 3, p.out_h = h, p.out_w = w;
  p.stride_h = p.stride_w = p.dilation_h = p.dilation_w = p.pad_h = p.pad_w = p.groups = 1;
  const int64_t type = dtype_of<T>::value;
  EXPECT(t->conv_forward(type, &p, x.data(), weights.data(), y.data()) == TG_OK, "conv_forward");
  EXPECT(t->conv_frame_forward(type, n, c_in, c_out, h, w, x.data(), weights.data(), y.data()) == TG_OK, "conv_frame_forward");
  EXPECT(t->conv_data(type, &p, dy.data(), weights.data(), dx.data()) == TG_OK, "conv_data");
  EXPECT(t->conv_frame_data(type, n, c_in, c_out, h, w, dy.data(), weights.data(), dx.data()) == TG_OK, "conv_frame_data");
  EXPECT(t->conv_weights(type, &p, x.data(), dy.data(), dw.data()) == TG_OK, "conv_weights");
  EXPECT(t->conv_frame_weights(type, n, c_in, c_out, h, w, x.data(), dy.data(), dw.data()) == TG_OK, "conv_frame_weights");
  const double tolerance = sizeof(T) == 4 ? 4e-6 : 1e-14;
  const double sums = std::sqrt(static_cast<double>(9 * (c_in + c_out)));
  expect_close("replicate conv", y, ey, tolerance, sums);
  expect_close("replicate conv, data", dx, ex, tolerance, 2 * sums);
  expect_close("replicate conv, weights", dw, ew, tolerance, std::sqrt(static_cast<double>(n * h * w)) + 4);
}

template <class T> void check_blur(const tg_backend *t, int64_t planes, int64_t h, int64_t w) {
  Random r(32);
  const double k[5] = {0.0625, 0.25, 0.375, 0.25, 0.0625};
  const Buffer<T> x = random_buffer<T>(r, planes * h * w), z = random_buffer<T>(r, planes * (h + 2) * (w + 2));
  Buffer<T> y(z.size()), back(x.size());
  std::vector<double> ey(y.v.size()), eb(back.v.size());
  for (int64_t p = 0; p < planes; ++p)
    for (int64_t i = 0; i < h + 2; ++i)
      for (int64_t j = 0; j < w + 2; ++j)
        for (int64_t a = 0; a < 25; ++a) {
          const int64_t from = (p * h + reflect(i - 3 + a / 5, h)) * w + reflect(j - 3 + a % 5, w), to = (p * (h + 2) + i) * (w + 2) + j;
          ey[static_cast<size_t>(to)] += k[a / 5] * k[a % 5] * static_cast<double>(x[from]);
          eb[static_cast<size_t>(from)] += k[a / 5] * k[a % 5] * static_cast<double>(z[to]);
        }
  EXPECT(t->scale_blur(dtype_of<T>::value, planes, h, w, 0, x.data(), y.data()) == TG_OK, "scale_blur");
  EXPECT(t->scale_blur(dtype_of<T>::value, planes, h, w, 1, z.data(), back.data()) == TG_OK, "scale_blur, transposed");
  const double tolerance = sizeof(T) == 4 ? 1e-6 : 1e-14;
  expect_close("blur", y, ey, tolerance);
  expect_close("blur, transposed", back, eb, tolerance, 9); // an image of one pixel collects all
}

template <class T> void check_activation(const tg_backend *t, int64_t n, double nu) {
  Random r(33);
  const Buffer<T> x = random_buffer<T>(r, n, -3, 3), a = random_buffer<T>(r, n), b = random_buffer<T>(r, n);
  for (int64_t order = 0; order < 4; ++order)
    for (int factors = 0; factors < 3; ++factors) {
      Buffer<T> y(n);
      std::vector<double> e(y.v.size());
      for (int64_t i = 0; i < n; ++i) {
        const double v = static_cast<double>(x[i]), q = nu * v * v, s = 1 / (1 + q);
        const double phi[4] = {std::log1p(q) / (2 * nu), v * s, (1 - q) * s * s, -2 * nu * v * (3 - q) * s * s * s};
        e[static_cast<size_t>(i)] =
            phi[order] * (factors > 0 ? static_cast<double>(a[i]) : 1) * (factors > 1 ? static_cast<double>(b[i]) : 1);
      }
      EXPECT(t->log_student(dtype_of<T>::value, order, nu, n, x.data(), factors > 0 ? a.data() : nullptr, factors > 1 ? b.data() : nullptr,
                            y.data()) == TG_OK,
             "log_student");
      expect_close("log-student-t", y, e, sizeof(T) == 4 ? 2e-6 : 4e-15, 1 + nu);
    }
}

template <class T> void check_softplus(const tg_backend *t, int64_t n) {
  Random r(34);
  const Buffer<T> x = random_buffer<T>(r, n, -40, 40), a = random_buffer<T>(r, n), b = random_buffer<T>(r, n);
  for (int64_t order = 1; order < 4; ++order)
    for (int factors = 0; factors < 3; ++factors) {
      Buffer<T> y(n);
      std::vector<double> e(y.v.size());
      for (int64_t i = 0; i < n; ++i) {
        const double v = static_cast<double>(x[i]), q = std::exp(-std::abs(v)), p = 1 / (1 + q);
        const double slope[4] = {0, v < 0 ? q * p : p, q * p * p, q * p * p * p * (v < 0 ? 1 - q : q - 1)};
        e[static_cast<size_t>(i)] =
            slope[order] * (factors > 0 ? static_cast<double>(a[i]) : 1) * (factors > 1 ? static_cast<double>(b[i]) : 1);
      }
      EXPECT(t->softplus_derivative(dtype_of<T>::value, order, n, x.data(), factors > 0 ? a.data() : nullptr,
                                    factors > 1 ? b.data() : nullptr, y.data()) == TG_OK,
             "softplus_derivative");
      expect_close("derivative of softplus", y, e, sizeof(T) == 4 ? 2e-6 : 4e-15);
    }
}

template <class T> void check_type(const tg_backend *t) {
  const int64_t shapes[][5] = {{1, 1, 1, 1, 1},     {1, 2, 3, 1, 5},     {2, 3, 2, 6, 1},    {1, 13, 17, 9, 7},
                               {2, 16, 16, 33, 40}, {1, 32, 32, 64, 61}, {3, 1, 16, 30, 20}, {1, 16, 1, 40, 41}};
  for (const auto &s : shapes) check_conv<T>(t, s[0], s[1], s[2], s[3], s[4]);
  const int64_t planes[][3] = {{1, 1, 1}, {1, 2, 1}, {2, 1, 3}, {1, 3, 4}, {2, 5, 5}, {1, 7, 30}, {3, 61, 83}, {1, 16, 128}};
  for (const auto &s : planes) check_blur<T>(t, s[0], s[1], s[2]);
  for (const int64_t n : {0, 1, 15, 67, 40000}) {
    check_activation<T>(t, n, 1);
    check_activation<T>(t, n, 9);
    check_softplus<T>(t, n);
  }
}

void tests(const tg_backend *t) {
  check_type<float>(t);
  check_type<double>(t);
}

} // namespace

int main() { return run_everywhere(tests); }
