// Loop nests over strided operands: axes of size 1 dropped, axes that are contiguous for every operand merged.
#pragma once

#include "../backend.h"
#include "host_device.h"

namespace tautgrad {
namespace {

template <int K> struct Nest {
  int rank = 0;
  int64_t total = 1;
  int64_t size[TG_MAX_RANK];
  int64_t stride[K][TG_MAX_RANK];
};

// Where the row-major position lies for operand k. Index is uint32_t where every position fits: 64-bit divisions are slow on a GPU.
template <class Index, int K> TG_HD inline void nest_offsets(const Nest<K> &nest, Index position, int64_t (&offset)[K]) {
  for (int k = 0; k < K; ++k) offset[k] = 0;
  for (int axis = nest.rank - 1; axis > 0; --axis) {
    const Index size = static_cast<Index>(nest.size[axis]), next = position / size;
    const int64_t index = static_cast<int64_t>(position - next * size);
    for (int k = 0; k < K; ++k) offset[k] += index * nest.stride[k][axis];
    position = next;
  }
  for (int k = 0; k < K; ++k) offset[k] += static_cast<int64_t>(position) * nest.stride[k][0];
}

// At least one axis comes out, so that the caller's innermost loop always exists.
template <int K> Nest<K> simplify(const tg_dims *shape, const tg_dims *const (&strides)[K]) {
  Nest<K> nest;
  for (int64_t axis = 0; axis < shape->rank; ++axis) {
    const int64_t size = shape->d[axis];
    nest.total *= size;
    if (size == 1) continue;
    bool merges = nest.rank > 0;
    for (int k = 0; k < K && merges; ++k) merges = nest.stride[k][nest.rank - 1] == strides[k]->d[axis] * size;
    if (!merges) nest.size[nest.rank++] = 1;
    nest.size[nest.rank - 1] *= size;
    for (int k = 0; k < K; ++k) nest.stride[k][nest.rank - 1] = strides[k]->d[axis];
  }
  if (nest.rank == 0) {
    nest.rank = 1;
    nest.size[0] = 1;
    for (int k = 0; k < K; ++k) nest.stride[k][0] = 0;
  }
  return nest;
}

// Visits the row-major positions [begin, end) as runs along the innermost axis: run(position, length, offsets).
template <int K, class Run> void walk(const Nest<K> &nest, int64_t begin, int64_t end, const Run &run) {
  const int last = nest.rank - 1;
  int64_t index[TG_MAX_RANK];
  int64_t offset[K] = {};
  for (int64_t rest = begin, axis = last; axis >= 0; --axis) {
    index[axis] = rest % nest.size[axis];
    rest /= nest.size[axis];
    for (int k = 0; k < K; ++k) offset[k] += index[axis] * nest.stride[k][axis];
  }
  for (int64_t position = begin; position < end;) {
    const int64_t left = nest.size[last] - index[last], length = left < end - position ? left : end - position;
    run(position, length, offset);
    position += length;
    if (position >= end) return;
    for (int k = 0; k < K; ++k) offset[k] -= index[last] * nest.stride[k][last];
    index[last] = 0;
    for (int axis = last - 1; axis >= 0; --axis) {
      for (int k = 0; k < K; ++k) offset[k] += nest.stride[k][axis];
      if (++index[axis] < nest.size[axis]) break;
      for (int k = 0; k < K; ++k) offset[k] -= nest.size[axis] * nest.stride[k][axis];
      index[axis] = 0;
    }
  }
}

} // namespace
} // namespace tautgrad
