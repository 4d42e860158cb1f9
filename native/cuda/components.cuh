// Connected components of pixel graphs by union-find with atomic hooks: a component's label is its smallest pixel, whatever the order in
// which threads run.
#pragma once

#include "launch.h"

#include "../kernels/components.h"

namespace tautgrad::cuda {

// out = the means of v over the pixels of each label; v and out may be the same. The result does not depend on the order of threads.
template <class T> int component_means(int64_t batch, int64_t pixels, const int32_t *labels, const T *v, T *out);

namespace {

__device__ inline int32_t root_of(const int32_t *parent, int32_t i) {
  // Parents only ever move towards the root: a stale one is still an ancestor.
  const volatile int32_t *p = parent;
  while (p[i] != i) i = p[i];
  return i;
}

__device__ inline void unite(int32_t *parent, int32_t a, int32_t b) {
  for (;;) {
    a = root_of(parent, a);
    b = root_of(parent, b);
    if (a == b) return;
    if (a > b) {
      const int32_t t = a;
      a = b;
      b = t;
    }
    // b is the larger root: hook it below a, unless another thread has hooked it elsewhere meanwhile.
    if (atomicCAS(parent + b, b, a) == b) return;
  }
}

__global__ void singletons_kernel(int64_t total, int64_t pixels, int32_t *label) {
  for (int64_t k = global_thread(); k < total; k += all_threads()) label[k] = static_cast<int32_t>(k % pixels);
}

__global__ void flatten_kernel(int64_t total, int64_t pixels, int32_t *label) {
  for (int64_t k = global_thread(); k < total; k += all_threads()) {
    const int64_t image = k / pixels * pixels;
    label[k] = root_of(label + image, static_cast<int32_t>(k - image));
  }
}

} // namespace
} // namespace tautgrad::cuda
