// Runs of bitwise equal values: the constant segments of a line's solution. The direct solvers write one value per segment, so equality
// is exact; an absolute threshold would split or join segments according to the data's scale.
#pragma once

#include "host_device.h"

namespace tautgrad {
namespace {

// out = mean of v over each run of equal y; every array has its own stride. Sums relative to the run's first element, in double.
template <class T> TG_HD inline void average_runs(int64_t n, const T *y, const T *v, T *out, int64_t stride) {
  for (int64_t begin = 0; begin < n;) {
    const T level = y[begin * stride];
    const double base = double(v[begin * stride]);
    double sum = 0;
    int64_t end = begin + 1;
    for (; end < n && y[end * stride] == level; ++end) sum += double(v[end * stride]) - base;
    const T mean = T(base + sum / double(end - begin));
    for (int64_t i = begin; i < end; ++i) out[i * stride] = mean;
    begin = end;
  }
}

} // namespace
} // namespace tautgrad
