// The caching pool of device memory. Blocks that a captured step may name stay where they are for as long as it lives.
#include "device.h"

#include <mutex>
#include <unordered_map>
#include <vector>

namespace tautgrad::cuda {

// The blocks that a captured step holds: those in use when its capture began and those made during it. A held block that is released
// waits until the last holder goes; inside the capture itself, its own released blocks serve later allocations in the order of the stream.
struct HeldBlocks {
  std::vector<void *> blocks;
  std::unordered_map<void *, int> own;               // made during the capture -> class
  std::unordered_map<int, std::vector<void *>> free; // of those, released again
};

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

struct Block {
  int size_class;
  int holders; // captured steps
  bool released;
};

struct Pool {
  std::mutex mutex;
  std::unordered_map<void *, Block> known; // live, or released but held
  std::vector<void *> cached[CLASSES];
  int64_t live_bytes = 0, live_blocks = 0, cached_bytes = 0;

  void trim() {
    // Kernels that still use a cached block were queued before its release: they must be over before it goes back.
    cudaStreamSynchronize(compute_stream());
    for (auto &list : cached) {
      const int64_t capacity = class_capacity(static_cast<int>(&list - cached));
      for (void *block : list) cudaFree(block);
      cached_bytes -= capacity * static_cast<int64_t>(list.size());
      list.clear();
    }
  }

  // A block of the class that nobody uses; NULL when the device is full.
  void *take(int size_class, HeldBlocks *capture) {
    if (capture && !capture->free[size_class].empty()) {
      void *block = capture->free[size_class].back();
      capture->free[size_class].pop_back();
      known.find(block)->second.released = false;
      cached_bytes -= class_capacity(size_class);
      return block;
    }
    void *block = nullptr;
    const auto capacity = static_cast<size_t>(class_capacity(size_class));
    if (!cached[size_class].empty()) {
      block = cached[size_class].back();
      cached[size_class].pop_back();
      cached_bytes -= class_capacity(size_class);
    } else if (cudaMalloc(&block, capacity) != cudaSuccess) {
      cudaGetLastError();          // an allocation that failed is no error of the next launch
      if (capture) return nullptr; // nothing can be waited for now
      trim();
      if (cudaMalloc(&block, capacity) != cudaSuccess) {
        cudaGetLastError();
        return nullptr;
      }
    }
    known.emplace(block, Block{size_class, capture ? 1 : 0, false});
    if (capture) {
      capture->blocks.push_back(block);
      capture->own.emplace(block, size_class);
    }
    return block;
  }
};

// Never destroyed: at process exit the driver may be gone before static objects are.
Pool &pool() {
  static Pool *one = new Pool;
  return *one;
}
thread_local HeldBlocks *capturing_into = nullptr;
} // namespace

void *device_alloc(int64_t bytes) {
  if (bytes < 0 || bytes > (int64_t(1) << 44)) return nullptr;
  const int size_class = class_of(bytes);
  const Turn turn; // before the lock: a full device is synchronised
  Pool &p = pool();
  const std::lock_guard<std::mutex> lock(p.mutex);
  void *block = p.take(size_class, capturing_into);
  if (!block) return nullptr;
  p.live_bytes += class_capacity(size_class);
  ++p.live_blocks;
  return block;
}

void device_release(void *block) {
  if (!block) return;
  Pool &p = pool();
  const std::lock_guard<std::mutex> lock(p.mutex);
  const auto entry = p.known.find(block);
  if (entry == p.known.end() || entry->second.released) return;
  const int size_class = entry->second.size_class;
  const int64_t capacity = class_capacity(size_class);
  p.live_bytes -= capacity;
  --p.live_blocks;
  p.cached_bytes += capacity;
  if (entry->second.holders > 0) {
    entry->second.released = true;
    if (capturing_into && capturing_into->own.count(block)) capturing_into->free[size_class].push_back(block);
    return;
  }
  p.known.erase(entry);
  p.cached[size_class].push_back(block);
}

HeldBlocks *hold_blocks() {
  Pool &p = pool();
  const std::lock_guard<std::mutex> lock(p.mutex);
  auto *held = new HeldBlocks;
  for (auto &[block, state] : p.known)
    if (!state.released) {
      ++state.holders;
      held->blocks.push_back(block);
    }
  return capturing_into = held;
}

void stop_holding_new_blocks() { capturing_into = nullptr; }

void give_up_blocks(HeldBlocks *held) {
  Pool &p = pool();
  const std::lock_guard<std::mutex> lock(p.mutex);
  for (void *block : held->blocks) {
    const auto entry = p.known.find(block);
    if (--entry->second.holders > 0 || !entry->second.released) continue;
    p.cached[entry->second.size_class].push_back(block);
    p.known.erase(entry);
  }
  delete held;
}

void device_memory_stats(int64_t *live_bytes, int64_t *live_blocks, int64_t *cached_bytes) {
  Pool &p = pool();
  const std::lock_guard<std::mutex> lock(p.mutex);
  *live_bytes = p.live_bytes;
  *live_blocks = p.live_blocks;
  *cached_bytes = p.cached_bytes;
}

void device_trim() {
  if (capturing()) return; // nothing can be waited for now
  const Turn turn;
  Pool &p = pool();
  const std::lock_guard<std::mutex> lock(p.mutex);
  p.trim();
}

} // namespace tautgrad::cuda
