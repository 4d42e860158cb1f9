#include "bfloat16.h"

#include "tensor_core.cuh"

#include <cstdlib>
#include <cstring>

namespace tautgrad::cuda {
namespace {

__global__ void round_kernel(int64_t n, const float *x, float *y) {
  for (int64_t i = global_thread(); i < n; i += all_threads()) y[i] = round_to_bfloat16(x[i]);
}

__global__ void pack_kernel(int64_t n, const float *x, uint16_t *y) {
  for (int64_t i = global_thread(); i < n; i += all_threads()) y[i] = static_cast<uint16_t>(bfloat16_bits(x[i]));
}

} // namespace

int round_factors(const char *name, int64_t n, const float *x, float *y) {
  return run_kernel(name, round_kernel, blocks_for(n), THREADS, 0, n, x, y);
}
int pack_factors(const char *name, int64_t n, const float *x, uint16_t *y) {
  return run_kernel(name, pack_kernel, blocks_for(n), THREADS, 0, n, x, y);
}

// TAUTGRAD_CUDA_TENSOR_CORES=off: as on a device without them, for tests and measurements.
bool tensor_cores() {
  const char *wish = std::getenv("TAUTGRAD_CUDA_TENSOR_CORES");
  return compute_capability() >= 80 && !(wish && !std::strcmp(wish, "off"));
}

} // namespace tautgrad::cuda
