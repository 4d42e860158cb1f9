// A stand-in for the CUDA toolkit's cuda_runtime.h, for tests on machines without a GPU: the kernels of native/cuda compile as ordinary
// C++ and run block by block on the CPU. Blocks, and the threads of a block, run in an order shuffled by TAUTGRAD_EMULATION_SEED, so that
// a result which depends on the order is found; a barrier that not every thread reaches ends the process with a message.
//
// What the stand-in is not: threads of different blocks never run at the same time, so that a race between blocks shows only through the
// shuffled order; nothing here says anything about speed.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#define TG_CUDA_EMULATION 1
#define __global__
#define __host__
#define __device__
#define __forceinline__ inline
#define __shared__ static
#define __constant__ static
#define __launch_bounds__(...)
#define __grid_constant__

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct uint3 {
  unsigned x, y, z;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }

namespace emulation {

// The kernel's view of where it runs.
extern uint3 thread_index, block_index;
extern dim3 block_shape, grid_shape;

void barrier();                   // __syncthreads
int barrier_count(int predicate); // __syncthreads_count
void warp_barrier(unsigned mask); // __syncwarp
uint64_t *warp_slots();           // 32 words that the running warp shares
int lane();
unsigned warp_live_mask(); // lanes of the warp that exist in this block
void *dynamic_shared();

// Runs body() once for every thread of every block.
void run(dim3 grid, dim3 block, size_t shared_bytes, void (*body)(void *), void *context);

template <class T> uint64_t to_word(T value) {
  static_assert(sizeof(T) <= 8, "one word");
  uint64_t word = 0;
  std::memcpy(&word, &value, sizeof(T));
  return word;
}
template <class T> T from_word(uint64_t word) {
  T value;
  std::memcpy(&value, &word, sizeof(T));
  return value;
}

// Every lane of the mask writes, then reads the lane it asks for.
template <class T> T exchange(unsigned mask, T value, int source) {
  const int me = lane();
  warp_slots()[me] = to_word(value);
  warp_barrier(mask);
  const T result = source >= 0 && source < 32 && ((mask >> source) & 1u) ? from_word<T>(warp_slots()[source]) : value;
  warp_barrier(mask);
  return result;
}

// The tensor cores' product (native/cuda/tensor_core.cuh): every lane leaves its factors, then sums up its own four results.
uint32_t (*warp_factors())[6]; // of the 32 lanes
inline void multiply_add_bfloat16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  uint32_t(*all)[6] = warp_factors();
  const int me = lane(), group = me / 4, pair = me % 4;
  for (int i = 0; i < 4; ++i) all[me][i] = a[i];
  for (int i = 0; i < 2; ++i) all[me][4 + i] = b[i];
  warp_barrier(0xffffffffu);
  for (int e = 0; e < 4; ++e)
    for (int k = 0; k < 16; ++k) {
      const uint32_t left = all[group * 4 + k % 8 / 2][e / 2 + k / 8 * 2], right = all[(2 * pair + e % 2) * 4 + k % 8 / 2][4 + k / 8];
      const auto half = [k](uint32_t word) { return from_word<float>(k % 2 ? word & 0xffff0000u : word << 16); };
      d[e] += half(left) * half(right);
    }
  warp_barrier(0xffffffffu);
}

} // namespace emulation

#define threadIdx (::emulation::thread_index)
#define blockIdx (::emulation::block_index)
#define blockDim (::emulation::block_shape)
#define gridDim (::emulation::grid_shape)
constexpr int warpSize = 32;

inline void __syncthreads() { emulation::barrier(); }
inline int __syncthreads_count(int predicate) { return emulation::barrier_count(predicate); }
inline int __syncthreads_or(int predicate) { return emulation::barrier_count(predicate) != 0; }
inline int __syncthreads_and(int predicate) { return emulation::barrier_count(!predicate) == 0; }
inline void __syncwarp(unsigned mask = 0xffffffffu) { emulation::warp_barrier(mask); }
inline void __threadfence() {}
inline void __threadfence_block() {}

template <class T> T __shfl_sync(unsigned mask, T v, int source, int width = 32) {
  const int me = emulation::lane();
  return emulation::exchange(mask, v, (me & ~(width - 1)) | (source & (width - 1)));
}
template <class T> T __shfl_up_sync(unsigned mask, T v, unsigned delta, int width = 32) {
  const int me = emulation::lane(), from = me - static_cast<int>(delta);
  return emulation::exchange(mask, v, from < (me & ~(width - 1)) ? me : from);
}
template <class T> T __shfl_down_sync(unsigned mask, T v, unsigned delta, int width = 32) {
  const int me = emulation::lane(), from = me + static_cast<int>(delta);
  return emulation::exchange(mask, v, from > (me | (width - 1)) ? me : from);
}
template <class T> T __shfl_xor_sync(unsigned mask, T v, int lane_mask, int width = 32) {
  const int me = emulation::lane(), from = me ^ lane_mask;
  return emulation::exchange(mask, v, from > (me | (width - 1)) ? me : from);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  emulation::warp_slots()[emulation::lane()] = predicate != 0;
  emulation::warp_barrier(mask);
  unsigned votes = 0;
  for (int l = 0; l < 32; ++l)
    if ((mask & emulation::warp_live_mask()) >> l & 1u) votes |= static_cast<unsigned>(emulation::warp_slots()[l]) << l;
  emulation::warp_barrier(mask);
  return votes;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == (mask & emulation::warp_live_mask()); }

inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline int __clz(int v) { return v ? __builtin_clz(static_cast<unsigned>(v)) : 32; }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>((uint64_t(a) * b) >> 32); }
template <class T> T __ldg(const T *p) { return *p; }
inline float __fdividef(float a, float b) { return a / b; }
inline float rsqrtf(float v) { return 1.0f / std::sqrt(v); }
inline double rsqrt(double v) { return 1.0 / std::sqrt(v); }
inline unsigned __float_as_uint(float v) { return emulation::from_word<unsigned>(emulation::to_word(v)); }
inline float __uint_as_float(unsigned v) { return emulation::from_word<float>(emulation::to_word(v)); }
inline int __float_as_int(float v) { return emulation::from_word<int>(emulation::to_word(v)); }
inline float __int_as_float(int v) { return emulation::from_word<float>(emulation::to_word(v)); }
using std::max;
using std::min;

// One operating-system thread runs every kernel: plain operations are atomic.
template <class T, class U> T atomicAdd(T *p, U v) {
  const T old = *p;
  *p = static_cast<T>(old + v);
  return old;
}
template <class T, class U> T atomicMin(T *p, U v) {
  const T old = *p;
  if (v < old) *p = v;
  return old;
}
template <class T, class U> T atomicMax(T *p, U v) {
  const T old = *p;
  if (v > old) *p = v;
  return old;
}
template <class T, class U> T atomicExch(T *p, U v) {
  const T old = *p;
  *p = v;
  return old;
}
template <class T, class U, class V> T atomicCAS(T *p, U expected, V v) {
  const T old = *p;
  if (old == static_cast<T>(expected)) *p = static_cast<T>(v);
  return old;
}
template <class T, class U> T atomicOr(T *p, U v) {
  const T old = *p;
  *p = old | v;
  return old;
}

// ---- the part of the runtime API that native/cuda uses ----

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorNotReady = 600,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorStreamCaptureInvalidated = 901,
  cudaErrorStreamCaptureIsolation = 905
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1, cudaStreamCaptureModeRelaxed = 2 };
struct emulated_stream;
struct emulated_event;
struct emulated_graph;
struct emulated_graph_exec;
using cudaStream_t = emulated_stream *;
using cudaEvent_t = emulated_event *;
using cudaGraph_t = emulated_graph *;
using cudaGraphExec_t = emulated_graph_exec *;
struct cudaDeviceProp {
  char name[256];
  int multiProcessorCount, major, minor;
  size_t totalGlobalMem, sharedMemPerBlockOptin, sharedMemPerMultiprocessor;
};
constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2, cudaHostAllocDefault = 0;

namespace emulation {
// Queues work on a stream, or adds it to the graph that the stream is capturing.
void enqueue(cudaStream_t stream, std::function<void()> work);
} // namespace emulation

const char *cudaGetErrorString(cudaError_t e);
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaPeekAtLastError() { return cudaSuccess; }
inline cudaError_t cudaGetDeviceCount(int *n) { return *n = 1, cudaSuccess; }
inline cudaError_t cudaGetDevice(int *d) { return *d = 0, cudaSuccess; }
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaDriverGetVersion(int *v) { return *v = 13000, cudaSuccess; }
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int) {
  *p = {};
  std::strcpy(p->name, "emulated GPU");
  p->multiProcessorCount = 2;
  p->major = 9;
  p->sharedMemPerBlockOptin = 227 * 1024;
  p->sharedMemPerMultiprocessor = 228 * 1024;
  return cudaSuccess;
}
// Streams, events and graphs: streams.cpp.
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned);
cudaError_t cudaStreamSynchronize(cudaStream_t);
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned);
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t);
cudaError_t cudaEventSynchronize(cudaEvent_t);
cudaError_t cudaEventQuery(cudaEvent_t);
cudaError_t cudaEventDestroy(cudaEvent_t);
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned = 0);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind, cudaStream_t);
cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t);
cudaError_t cudaLaunchHostFunc(cudaStream_t, void (*f)(void *), void *context);
cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode);
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t *);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *, cudaGraph_t, unsigned long long = 0);
cudaError_t cudaGraphLaunch(cudaGraphExec_t, cudaStream_t);
cudaError_t cudaGraphDestroy(cudaGraph_t);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t);
// Device memory fails on demand (emulation_fail_allocations) so that running out of it can be tested.
cudaError_t cudaMalloc(void **p, size_t bytes);
cudaError_t cudaFree(void *p);
cudaError_t cudaMallocHost(void **p, size_t bytes);
cudaError_t cudaFreeHost(void *p);
inline cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) { return *free_bytes = *total = size_t(1) << 34, cudaSuccess; }
template <class F> cudaError_t cudaFuncSetAttribute(F *, int, int) { return cudaSuccess; }
constexpr int cudaFuncAttributeMaxDynamicSharedMemorySize = 8;
