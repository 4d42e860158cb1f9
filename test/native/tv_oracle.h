// Independent references for the total-variation tests: an exact dynamic programme for lines, a slow projected gradient for images, and the
// optimality certificate of a line.
#pragma once

#include "check.h"

#include <algorithm>
#include <deque>

namespace oracle {

// min_y 1/2 |y - x|^2 + sum w_k |y_{k+1} - y_k| by Johnson's dynamic programme (2013) in long double: the derivative of the message
// is piecewise linear; clipping it at +-w_k removes knots at its ends. w: n - 1 weights.
inline std::vector<double> prox_line(const std::vector<double> &x, const std::vector<double> &w) {
  struct Knot { // right of `at`, the derivative is slope * b + offset more than left of it
    long double at, slope, offset;
  };
  const size_t n = x.size();
  std::deque<Knot> knots;
  std::vector<long double> low(n), high(n);
  long double left_slope = 1, left_offset = -(long double)x[0], right_slope = 1, right_offset = -(long double)x[0];
  for (size_t k = 0; k + 1 < n; ++k) {
    const long double weight = w[k];
    // b where the derivative reaches -weight, coming from the left end
    long double slope = left_slope, offset = left_offset;
    while (!knots.empty() && slope * knots.front().at + offset < -weight) {
      slope += knots.front().slope;
      offset += knots.front().offset;
      knots.pop_front();
    }
    low[k] = slope == 0 ? (knots.empty() ? 0 : knots.front().at) : (-weight - offset) / slope;
    const long double low_slope = slope, low_offset = offset + weight;
    slope = right_slope, offset = right_offset;
    while (!knots.empty() && slope * knots.back().at + offset > weight) {
      slope -= knots.back().slope;
      offset -= knots.back().offset;
      knots.pop_back();
    }
    high[k] = (weight - offset) / slope;
    knots.push_front({low[k], low_slope, low_offset});
    knots.push_back({high[k], -slope, weight - offset});
    left_slope = 1, left_offset = -weight - (long double)x[k + 1];
    right_slope = 1, right_offset = weight - (long double)x[k + 1];
  }
  long double slope = left_slope, offset = left_offset;
  while (!knots.empty() && slope * knots.front().at + offset < 0) {
    slope += knots.front().slope;
    offset += knots.front().offset;
    knots.pop_front();
  }
  std::vector<double> y(n);
  long double b = -offset / slope;
  y[n - 1] = double(b);
  for (size_t k = n - 1; k-- > 0;) {
    b = std::min(std::max(b, low[k]), high[k]);
    y[k] = double(b);
  }
  return y;
}

// The largest violation of the optimality conditions of a line: |u| <= w, u = -+w at jumps, u_n = 0, with u the partial sums of x - y.
template <class T> double line_violation(int64_t n, const T *x, const T *y, int64_t stride, double lambda, const T *weights) {
  long double u = 0;
  double worst = 0;
  for (int64_t k = 0; k < n; ++k) {
    u += (long double)x[k * stride] - (long double)y[k * stride];
    if (k + 1 == n) {
      worst = std::max(worst, std::fabs(double(u)));
      break;
    }
    double w = lambda;
    if (weights) w = weights[k * stride] == 0 ? 0 : lambda * double(weights[k * stride]);
    const double rise = double(y[(k + 1) * stride]) - double(y[k * stride]);
    worst = std::max(worst, rise > 0 ? std::fabs(double(u) + w) : rise < 0 ? std::fabs(double(u) - w) : std::fabs(double(u)) - w);
  }
  return worst;
}

// Weighted anisotropic 2D by accelerated projected gradient on the edge duals, restarted; wx [h, w-1], wy [h-1, w].
inline std::vector<double> prox_image(int h, int w, const std::vector<double> &x, const std::vector<double> &wx,
                                      const std::vector<double> &wy, int iterations) {
  std::vector<double> u(wx.size() + wy.size(), 0), v(u), y(x);
  const size_t vertical = wx.size();
  double t = 1;
  const auto primal = [&](const std::vector<double> &d) {
    y = x;
    for (int r = 0; r < h; ++r)
      for (int c = 0; c + 1 < w; ++c) {
        const double e = d[size_t(r * (w - 1) + c)];
        y[size_t(r * w + c)] += e;
        y[size_t(r * w + c + 1)] -= e;
      }
    for (int r = 0; r + 1 < h; ++r)
      for (int c = 0; c < w; ++c) {
        const double e = d[vertical + size_t(r * w + c)];
        y[size_t(r * w + c)] += e;
        y[size_t((r + 1) * w + c)] -= e;
      }
  };
  for (int it = 0; it < iterations; ++it) {
    primal(v);
    double product = 0;
    const double next = 0.5 * (1 + std::sqrt(1 + 4 * t * t)), beta = (t - 1) / next;
    const auto move = [&](size_t e, double difference, double bound) {
      const double moved = std::min(std::max(v[e] + difference / 8, -bound), bound);
      product += (v[e] - moved) * (moved - u[e]);
      v[e] = moved + beta * (moved - u[e]);
      u[e] = moved;
    };
    for (int r = 0; r < h; ++r)
      for (int c = 0; c + 1 < w; ++c)
        move(size_t(r * (w - 1) + c), y[size_t(r * w + c + 1)] - y[size_t(r * w + c)], wx[size_t(r * (w - 1) + c)]);
    for (int r = 0; r + 1 < h; ++r)
      for (int c = 0; c < w; ++c)
        move(vertical + size_t(r * w + c), y[size_t((r + 1) * w + c)] - y[size_t(r * w + c)], wy[size_t(r * w + c)]);
    t = next;
    if (product > 0) {
      t = 1;
      v = u;
    }
  }
  primal(u);
  return y;
}

// 1/2 |x - y|^2 + TV(y) for the same weights.
inline double image_objective(int h, int w, const std::vector<double> &x, const std::vector<double> &y, const std::vector<double> &wx,
                              const std::vector<double> &wy) {
  long double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += 0.5L * (x[i] - y[i]) * (x[i] - y[i]);
  for (int r = 0; r < h; ++r)
    for (int c = 0; c + 1 < w; ++c) sum += wx[size_t(r * (w - 1) + c)] * std::fabs(y[size_t(r * w + c + 1)] - y[size_t(r * w + c)]);
  for (int r = 0; r + 1 < h; ++r)
    for (int c = 0; c < w; ++c) sum += wy[size_t(r * w + c)] * std::fabs(y[size_t((r + 1) * w + c)] - y[size_t(r * w + c)]);
  return double(sum);
}

} // namespace oracle
