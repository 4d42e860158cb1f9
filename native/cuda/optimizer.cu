// Optimiser steps, in place: one launch for many tensors. Their table travels with the launch, so that a captured step carries it, too;
// what changes from step to step (rates, the factor of clipping) is read from device memory.
#include "block_sums.cuh"

#include "../kernels/optimizer.h"
#include "../kernels/scalar_math.h"

namespace tautgrad::cuda {
namespace {

constexpr int64_t PER_BLOCK = 2048; // elements of a block
constexpr int TABLE = 80;           // tensors of a launch: with them a kernel's parameters stay below 4 KB

struct PartTable {
  int count;
  unsigned first_block[TABLE]; // blocks of the tensors before
  int64_t n[TABLE];
  void *value[TABLE], *first[TABLE], *second[TABLE];
  const void *source[TABLE];
  int16_t dtype[TABLE], group[TABLE];
};

// What one block works on.
struct BlockPart {
  int part;
  int64_t begin, end;
};
__device__ inline BlockPart block_part(const PartTable &table) {
  int low = 0, high = table.count - 1; // the last tensor that begins at or before this block
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (table.first_block[middle] <= blockIdx.x)
      low = middle;
    else
      high = middle - 1;
  }
  const int64_t begin = int64_t(blockIdx.x - table.first_block[low]) * PER_BLOCK, n = table.n[low];
  return {low, begin, begin + PER_BLOCK < n ? begin + PER_BLOCK : n};
}

// visit(type_tag, part, i) for every element of the block's share.
template <class Visit> __device__ void for_block_elements(const PartTable &table, const Visit &visit) {
  const BlockPart p = block_part(table);
  if (table.dtype[p.part] == TG_F64)
    visit(type_tag<double>{}, p.part, p.begin + threadIdx.x, p.end);
  else
    visit(type_tag<float>{}, p.part, p.begin + threadIdx.x, p.end);
}

__global__ void adam_kernel(const __grid_constant__ PartTable table, const double *rates, double beta1, double beta2, double epsilon,
                            const double *factor) {
  for_block_elements(table, [&](auto tag, int part, int64_t begin, int64_t end) {
    using T = typename decltype(tag)::type;
    const kernels::AdamStep<T> step(rates + TG_RATES * table.group[part], factor ? *factor : 1, beta1, beta2, epsilon);
    T *param = static_cast<T *>(table.value[part]), *m = static_cast<T *>(table.first[part]), *v = static_cast<T *>(table.second[part]);
    const T *gradient = static_cast<const T *>(table.source[part]);
    for (int64_t i = begin; i < end; i += THREADS) {
      T mi = m[i], vi = v[i];
      param[i] = step(param[i], gradient[i], mi, vi, [](T x) { return sqrt_of(x); });
      m[i] = mi;
      v[i] = vi;
    }
  });
}

__global__ void sgd_kernel(const __grid_constant__ PartTable table, const double *rates, double momentum, bool nesterov,
                           const double *factor) {
  for_block_elements(table, [&](auto tag, int part, int64_t begin, int64_t end) {
    using T = typename decltype(tag)::type;
    const kernels::SgdStep<T> step(rates + TG_RATES * table.group[part], factor ? *factor : 1, momentum, nesterov);
    T *param = static_cast<T *>(table.value[part]), *velocity = static_cast<T *>(table.first[part]);
    const T *gradient = static_cast<const T *>(table.source[part]);
    for (int64_t i = begin; i < end; i += THREADS)
      param[i] = velocity ? step.with_velocity(param[i], gradient[i], velocity[i]) : step.plain(param[i], gradient[i]);
  });
}

__global__ void moving_average_kernel(const __grid_constant__ PartTable table, double decay) {
  for_block_elements(table, [&](auto tag, int part, int64_t begin, int64_t end) {
    using T = typename decltype(tag)::type;
    const T keep = T(decay), take = T(1 - decay);
    T *average = static_cast<T *>(table.value[part]);
    const T *value = static_cast<const T *>(table.source[part]);
    for (int64_t i = begin; i < end; i += THREADS) average[i] = keep * average[i] + take * value[i];
  });
}

// The last block of the last launch adds up what all of them stored. `before`: blocks of the launches before this one.
__global__ void global_norm_kernel(const __grid_constant__ PartTable table, int64_t before, int64_t blocks, double limit, double *shares,
                                   uint32_t *arrived, double *out) {
  double sum[1] = {0};
  for_block_elements(table, [&](auto tag, int part, int64_t begin, int64_t end) {
    using T = typename decltype(tag)::type;
    const T *x = static_cast<const T *>(table.source[part]);
    for (int64_t i = begin; i < end; i += THREADS) sum[0] += double(x[i]) * double(x[i]);
  });
  block_sums(sum);
  if (!last_to_arrive(arrived, sum, shares, before + blockIdx.x, blocks)) return;
  sum_shares(shares, blocks, sum);
  if (block_thread() == 0) {
    out[0] = sqrt(sum[0]);
    out[1] = kernels::clipping_factor(out[0], limit);
  }
}

// launch(table, blocks, blocks of the launches before) for as many tensors at a time as a table holds.
template <class Launch> int for_tables(const tg_parts &parts, const Launch &launch) {
  int64_t before = 0;
  PartTable table;
  unsigned blocks = 0;
  table.count = 0;
  const auto flush = [&] {
    const int status = blocks == 0 ? TG_OK : launch(table, blocks, before);
    before += blocks;
    blocks = 0;
    table.count = 0;
    return status;
  };
  for (int64_t k = 0; k < parts.count; ++k) {
    const tg_part &part = parts.part[k];
    const int64_t wanted = ceil_div(part.n, PER_BLOCK);
    if (wanted == 0) continue;
    if (table.count == TABLE || wanted > 0x7fffffff - int64_t(blocks)) {
      const int status = flush();
      if (status != TG_OK) return status;
    }
    const int at = table.count++;
    table.first_block[at] = blocks;
    table.n[at] = part.n;
    table.value[at] = part.value;
    table.source[at] = part.source;
    table.first[at] = part.first;
    table.second[at] = part.second;
    table.dtype[at] = static_cast<int16_t>(part.dtype);
    table.group[at] = static_cast<int16_t>(part.group);
    blocks += static_cast<unsigned>(wanted);
  }
  return flush();
}

int adam(const tg_parts *parts, const void *rates, double beta1, double beta2, double epsilon, const void *factor) {
  return for_tables(*parts, [&](const PartTable &table, unsigned blocks, int64_t) {
    return run_kernel("adam", adam_kernel, dim3(blocks), THREADS, 0, table, static_cast<const double *>(rates), beta1, beta2, epsilon,
                      static_cast<const double *>(factor));
  });
}

int sgd(const tg_parts *parts, const void *rates, double momentum, int64_t nesterov, const void *factor) {
  return for_tables(*parts, [&](const PartTable &table, unsigned blocks, int64_t) {
    return run_kernel("sgd", sgd_kernel, dim3(blocks), THREADS, 0, table, static_cast<const double *>(rates), momentum, nesterov != 0,
                      static_cast<const double *>(factor));
  });
}

int global_norm(const tg_parts *parts, double limit, void *out) {
  int64_t blocks = 0;
  for (int64_t k = 0; k < parts->count; ++k) blocks += ceil_div(parts->part[k].n, PER_BLOCK);
  if (blocks == 0) {
    const double none[] = {0, 1};
    return upload(out, none, sizeof none);
  }
  Pieces pieces;
  pieces.take<uint32_t>(1);
  pieces.take<double>(blocks);
  const Scratch memory(pieces.used);
  if (!memory.ok()) return fail("global_norm: out of memory for %lld sums", static_cast<long long>(blocks));
  pieces = {0, memory.as<unsigned char>()};
  uint32_t *arrived = pieces.take<uint32_t>(1);
  double *shares = pieces.take<double>(blocks);
  const int status = zero(arrived, sizeof *arrived, "global_norm");
  if (status != TG_OK) return status;
  return for_tables(*parts, [&](const PartTable &table, unsigned own, int64_t before) {
    return run_kernel("global_norm", global_norm_kernel, dim3(own), THREADS, 0, table, before, blocks, limit, shares, arrived,
                      static_cast<double *>(out));
  });
}

int moving_average(const tg_parts *parts, double decay) {
  return for_tables(*parts, [&](const PartTable &table, unsigned blocks, int64_t) {
    return run_kernel("moving_average", moving_average_kernel, dim3(blocks), THREADS, 0, table, decay);
  });
}

} // namespace

void register_optimizer(tg_backend *t) {
  t->adam = adam;
  t->sgd = sgd;
  t->global_norm = global_norm;
  t->moving_average = moving_average;
}

} // namespace tautgrad::cuda
