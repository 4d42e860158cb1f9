// Connected components of a pixel graph by union-find. A component's root is its smallest pixel index.
#pragma once

#include "host_device.h"

namespace tautgrad {
namespace {

TG_HD inline int32_t find_root(int32_t *parent, int32_t i) {
  while (parent[i] != i) {
    parent[i] = parent[parent[i]]; // path halving
    i = parent[i];
  }
  return i;
}

TG_HD inline void join(int32_t *parent, int32_t a, int32_t b) {
  a = find_root(parent, a);
  b = find_root(parent, b);
  if (a < b)
    parent[b] = a;
  else
    parent[a] = b;
}

// Points every pixel at its root: parents precede their children, so one pass in order is enough.
TG_HD inline void flatten(int32_t *parent, int64_t n) {
  for (int64_t i = 0; i < n; ++i) parent[i] = parent[parent[i]];
}

// Whether the optimal dual u of an edge of weight w and difference dy = y_b - y_a shows that its ends share one value: strictly inside the
// bounds, or pointing against the difference. Comparing |dy| with a threshold instead was measured to misjudge a hundred times more
// often.
TG_HD inline bool edge_is_inside(double u, double w, double dy) { return absolute(u) < w || u * dy < 0; }

// out = mean of v over the pixels of each label; sums relative to the root's value, in double. sum, count: n each, scratch.
template <class T> TG_HD inline void average_components(int64_t n, const int32_t *label, const T *v, T *out, double *sum, int32_t *count) {
  for (int64_t i = 0; i < n; ++i) {
    sum[i] = 0;
    count[i] = 0;
  }
  for (int64_t i = 0; i < n; ++i) {
    const int32_t root = label[i];
    sum[root] += double(v[i]) - double(v[root]);
    ++count[root];
  }
  for (int64_t i = 0; i < n; ++i)
    if (count[i]) sum[i] = double(v[i]) + sum[i] / count[i];
  for (int64_t i = 0; i < n; ++i) out[i] = T(sum[label[i]]);
}

} // namespace
} // namespace tautgrad
