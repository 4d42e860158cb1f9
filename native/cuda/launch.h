// Launching kernels, and the few device functions that every kernel file needs.
#pragma once

#include "device.h"

namespace tautgrad::cuda {

constexpr int THREADS = 256; // of a block, where nothing speaks for another number

// Launches kernel<<<grid, block, shared, compute stream>>>(arguments...). Arguments convert to the kernel's parameter types.
#ifdef TG_CUDA_EMULATION
template <class... Parameters>
int launch(const char *, void (*kernel)(Parameters...), dim3 grid, dim3 block, int64_t shared_bytes, Parameters... arguments) {
  const Turn turn;
  ::emulation::enqueue(compute_stream(), [=] {
    auto body = [&] { kernel(arguments...); };
    ::emulation::run(
        grid, block, static_cast<size_t>(shared_bytes), [](void *f) { (*static_cast<decltype(body) *>(f))(); }, &body);
  });
  return TG_OK;
}
#else
template <class... Parameters>
int launch(const char *name, void (*kernel)(Parameters...), dim3 grid, dim3 block, int64_t shared_bytes, Parameters... arguments) {
  const Turn turn;
  if (shared_bytes > 48 * 1024) {
    const int status =
        check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)), name);
    if (status != TG_OK) return status;
  }
  kernel<<<grid, block, static_cast<size_t>(shared_bytes), compute_stream()>>>(arguments...);
  return check(cudaGetLastError(), name);
}
#endif
// Deduces the parameters from the kernel alone, so that arguments may convert.
template <class T> struct as_given { using type = T; };
template <class... Parameters>
int run_kernel(const char *name, void (*kernel)(Parameters...), dim3 grid, dim3 block, int64_t shared_bytes,
               typename as_given<Parameters>::type... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return TG_OK;
  return launch<Parameters...>(name, kernel, grid, block, shared_bytes, arguments...);
}

// Blocks for n items, one thread each in a grid-stride loop.
inline dim3 blocks_for(int64_t n, int threads = THREADS) {
  const int64_t wanted = (n + threads - 1) / threads, most = int64_t(multiprocessors()) * 32;
  return dim3(static_cast<unsigned>(wanted < most ? wanted : most));
}
__host__ __device__ inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

__device__ inline int64_t global_thread() { return int64_t(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline int64_t all_threads() { return int64_t(gridDim.x) * blockDim.x; }

// The block's dynamic shared memory, seen as T from a byte offset on.
#ifdef TG_CUDA_EMULATION
template <class T> T *shared_memory(int64_t offset_bytes = 0) {
  return reinterpret_cast<T *>(static_cast<unsigned char *>(::emulation::dynamic_shared()) + offset_bytes);
}
#else
extern __shared__ __align__(16) unsigned char tg_shared_memory[];
template <class T> __device__ __forceinline__ T *shared_memory(int64_t offset_bytes = 0) {
  return reinterpret_cast<T *>(tg_shared_memory + offset_bytes);
}
#endif

// From runtime element types to template arguments.
template <class T> struct type_tag { using type = T; };

template <class F> int with_dtype(int64_t dtype, const char *kernel, const F &f) {
  switch (dtype) {
  case TG_F32:
    return f(type_tag<float>{});
  case TG_F64:
    return f(type_tag<double>{});
  case TG_I32:
    return f(type_tag<int32_t>{});
  case TG_U8:
    return f(type_tag<uint8_t>{});
  }
  return fail("%s: unknown element type %d", kernel, static_cast<int>(dtype));
}
template <class F> int with_real(int64_t dtype, const char *kernel, const F &f) {
  if (dtype == TG_F32) return f(type_tag<float>{});
  if (dtype == TG_F64) return f(type_tag<double>{});
  return fail("%s: expected float32 or float64 but received element type %d", kernel, static_cast<int>(dtype));
}
// Only the element's size matters to kernels that move data.
template <class F> int with_size(int64_t dtype, const char *kernel, const F &f) {
  switch (dtype) {
  case TG_F64:
    return f(type_tag<uint64_t>{});
  case TG_F32:
  case TG_I32:
    return f(type_tag<uint32_t>{});
  case TG_U8:
    return f(type_tag<uint8_t>{});
  }
  return fail("%s: unknown element type %d", kernel, static_cast<int>(dtype));
}

} // namespace tautgrad::cuda
