// What normalisation layers need of a group of numbers and of one number, on scalars and on vectors of lanes.
#pragma once

#include "host_device.h"

#include <math.h>

namespace tautgrad {
namespace {

// How many numbers, their mean, and the sum of their squared deviations from it.
struct Moments {
  double count, mean, squares;
};

// The moments of n numbers from the sums of d = v - shift and of d^2: exact to rounding when the shift lies near the mean.
TG_HD inline Moments moments_of(double n, double shift, double sum, double squares) {
  const double mean = n > 0 ? sum / n : 0;
  return {n, shift + mean, squares - sum * mean};
}

// Both groups together (Chan, Golub and LeVeque 1979).
TG_HD inline Moments join_moments(Moments a, Moments b) {
  const double n = a.count + b.count;
  if (!(n > 0)) return a;
  const double step = b.mean - a.mean, share = b.count / n;
  return {n, a.mean + step * share, a.squares + b.squares + step * step * (a.count * share)};
}

template <class T> TG_HD inline T variance_of(Moments m) {
  return static_cast<T>(m.count > 0 ? (m.squares > 0 || m.squares != m.squares ? m.squares / m.count : 0) : NAN);
}

// y = (x - mean) scale + bias with scale = weight / sqrt(variance + epsilon)
template <class T> struct Normalization {
  T mean, scale, bias;
  template <class V> TG_HD V operator()(V x) const { return (x - mean) * scale + bias; }
};

template <class T> TG_HD inline double inverse_deviation(T variance, double epsilon) { return 1 / sqrt(double(variance) + epsilon); }

template <class T> TG_HD inline Normalization<T> normalization(T mean, T variance, double epsilon, T weight, T bias) {
  return {mean, static_cast<T>(weight * inverse_deviation(variance, epsilon)), bias};
}

// The derivative of the n normalised numbers of a group is self-adjoint: dx = scale (g - mean(g) - z mean(g z)), z the normalised x.
// From the sums of g and of g (x - mean); dx = scale g - offset - (x - mean) slope.
template <class T> struct NormalizationGradient {
  T mean, scale, offset, slope;
  template <class V> TG_HD V operator()(V x, V g) const { return (g * scale - offset) - (x - mean) * slope; }
};

template <class T>
TG_HD inline NormalizationGradient<T> normalization_gradient(double n, T mean, T variance, double epsilon, T weight, double sum,
                                                             double moment) {
  const double inverse = inverse_deviation(variance, epsilon), scale = weight * inverse;
  return {mean, static_cast<T>(scale), static_cast<T>(scale * sum / n), static_cast<T>(scale * moment * inverse * inverse / n)};
}

} // namespace
} // namespace tautgrad
