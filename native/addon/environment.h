// What one JavaScript environment (the main thread or a worker) owns: its argument block and its storage blocks.
#pragma once

#include "arguments.h"

#include <memory>
#include <mutex>
#include <unordered_map>

namespace tautgrad::addon {

// One device's storage blocks of one environment, counted by the JavaScript storage object and by the zero-copy view that may outlive it.
// Blocks that the environment still holds when it ends (a worker that exits) go back to the pool.
class Blocks {
public:
  explicit Blocks(const tg_backend *backend) : backend_(backend) {}

  void *alloc(int64_t bytes) {
    void *block = backend_->alloc(bytes);
    if (block) {
      std::lock_guard<std::mutex> lock(mutex_);
      references_[block] = 1;
    }
    return block;
  }

  bool retain(void *block) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto entry = references_.find(block);
    if (entry == references_.end()) return false;
    ++entry->second;
    return true;
  }

  bool release(void *block) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      auto entry = references_.find(block);
      if (entry == references_.end()) return false;
      if (--entry->second > 0) return true;
      references_.erase(entry);
    }
    backend_->release(block);
    return true;
  }

  ~Blocks() {
    for (auto &entry : references_) backend_->release(entry.first);
  }

private:
  const tg_backend *backend_;
  std::mutex mutex_;
  std::unordered_map<void *, int> references_;
};

struct Environment {
  std::shared_ptr<Blocks> blocks[DEVICES]; // made when the device is first used
  double *arguments = nullptr;             // memory of the Float64Array that TypeScript writes
  const tg_backend *backends[DEVICES] = {nullptr, nullptr};
};

} // namespace tautgrad::addon
