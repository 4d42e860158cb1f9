// The caching pool of device memory, and copies between host and device.
#include "device.h"

#include <cstring>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace tautgrad::cuda {
namespace {

// Four classes per power of two from 256 bytes on, as in native/cpu/memory.cpp: at most a quarter of a block is waste.
constexpr int CLASSES = 4 * 40;
int64_t class_capacity(int c) { return (int64_t(256) << (c / 4)) / 4 * (4 + c % 4); }
int class_of(int64_t bytes) {
  if (bytes <= 256) return 0;
  const int power = 63 - __builtin_clzll(static_cast<unsigned long long>(bytes - 1)) - 8; // largest 256 << power < bytes
  for (int c = power * 4;; ++c)
    if (class_capacity(c) >= bytes) return c;
}

struct Pool {
  std::mutex mutex;
  std::unordered_map<void *, int> live; // block -> class
  std::vector<void *> cached[CLASSES];
  int64_t live_bytes = 0, cached_bytes = 0;

  void trim() {
    // Kernels that still use a cached block were queued before its release: they must be over before it goes back.
    cudaStreamSynchronize(compute_stream());
    for (auto &list : cached) {
      for (void *block : list) cudaFree(block);
      list.clear();
    }
    cached_bytes = 0;
  }
};

// Never destroyed: at process exit the driver may be gone before static objects are.
Pool &pool() {
  static Pool *one = new Pool;
  return *one;
}

// Page-locked memory that small copies pass through, so that they neither wait for the device nor keep the caller's array alive.
constexpr int64_t STAGING = int64_t(4) << 20;
struct Staging {
  std::mutex mutex;
  unsigned char *block = nullptr;
  int64_t used = 0;
  cudaEvent_t drained = nullptr;
};
Staging &staging() {
  static Staging *one = new Staging;
  return *one;
}
} // namespace

void *device_alloc(int64_t bytes) {
  if (bytes < 0 || bytes > (int64_t(1) << 44)) return nullptr;
  const int size_class = class_of(bytes);
  const int64_t capacity = class_capacity(size_class);
  Pool &p = pool();
  const std::lock_guard<std::mutex> lock(p.mutex);
  void *block = nullptr;
  if (!p.cached[size_class].empty()) {
    block = p.cached[size_class].back();
    p.cached[size_class].pop_back();
    p.cached_bytes -= capacity;
  } else if (cudaMalloc(&block, static_cast<size_t>(capacity)) != cudaSuccess) {
    cudaGetLastError(); // an allocation that failed is no error of the next launch
    p.trim();
    if (cudaMalloc(&block, static_cast<size_t>(capacity)) != cudaSuccess) {
      cudaGetLastError();
      return nullptr;
    }
  }
  p.live.emplace(block, size_class);
  p.live_bytes += capacity;
  return block;
}

void device_release(void *block) {
  if (!block) return;
  Pool &p = pool();
  const std::lock_guard<std::mutex> lock(p.mutex);
  const auto entry = p.live.find(block);
  if (entry == p.live.end()) return;
  const int size_class = entry->second;
  p.live.erase(entry);
  p.live_bytes -= class_capacity(size_class);
  p.cached[size_class].push_back(block);
  p.cached_bytes += class_capacity(size_class);
}

void device_memory_stats(int64_t *live_bytes, int64_t *live_blocks, int64_t *cached_bytes) {
  Pool &p = pool();
  const std::lock_guard<std::mutex> lock(p.mutex);
  *live_bytes = p.live_bytes;
  *live_blocks = static_cast<int64_t>(p.live.size());
  *cached_bytes = p.cached_bytes;
}

void device_trim() {
  Pool &p = pool();
  const std::lock_guard<std::mutex> lock(p.mutex);
  p.trim();
}

int upload(void *to, const void *from, int64_t bytes) {
  if (bytes == 0) return TG_OK;
  Staging &s = staging();
  if (bytes <= STAGING / 4) {
    const std::lock_guard<std::mutex> lock(s.mutex);
    if (!s.block) {
      void *block = nullptr;
      if (check(cudaMallocHost(&block, STAGING), "page-locked memory") != TG_OK) return TG_FAILED;
      if (check(cudaEventCreateWithFlags(&s.drained, cudaEventDisableTiming), "event") != TG_OK) return TG_FAILED;
      s.block = static_cast<unsigned char *>(block);
    }
    if (s.used + bytes > STAGING) { // once round: what lies in the ring must have been read
      if (check(cudaEventRecord(s.drained, compute_stream()), "upload") != TG_OK) return TG_FAILED;
      if (check(cudaEventSynchronize(s.drained), "upload") != TG_OK) return TG_FAILED;
      s.used = 0;
    }
    unsigned char *at = s.block + s.used;
    s.used += (bytes + 63) / 64 * 64;
    std::memcpy(at, from, static_cast<size_t>(bytes));
    return check(cudaMemcpyAsync(to, at, static_cast<size_t>(bytes), cudaMemcpyHostToDevice, compute_stream()), "upload");
  }
  if (check(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyHostToDevice, compute_stream()), "upload") != TG_OK)
    return TG_FAILED;
  return check(cudaStreamSynchronize(compute_stream()), "upload"); // the caller may change its array now
}

int download(void *to, const void *from, int64_t bytes) {
  if (bytes > 0 &&
      check(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost, compute_stream()), "download") != TG_OK)
    return TG_FAILED;
  return check(cudaStreamSynchronize(compute_stream()), "download");
}

int copy(void *to, const void *from, int64_t bytes) {
  if (bytes == 0) return TG_OK;
  return check(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice, compute_stream()), "copy");
}

int synchronize() { return check(cudaStreamSynchronize(compute_stream()), "synchronize"); }

int download_async(void *to, const void *from, int64_t bytes, void (*done)(void *), void *context) {
  if (bytes > 0 &&
      check(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost, compute_stream()), "download") != TG_OK)
    return TG_FAILED;
  return check(cudaLaunchHostFunc(compute_stream(), done, context), "download");
}

} // namespace tautgrad::cuda
