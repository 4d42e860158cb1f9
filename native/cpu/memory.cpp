#include "memory.h"

#include <atomic>
#include <cstdlib>
#include <mutex>
#include <sys/mman.h>

namespace tautgrad::cpu {
namespace {

// The header sits in the 64 bytes before the block.
struct alignas(64) Header {
  int64_t capacity;
  int size_class;
  Header *next;
};
static_assert(sizeof(Header) == 64, "blocks stay 64-byte aligned");

// Four classes per power of two from 64 bytes on: at most a quarter of a block is waste.
constexpr int CLASSES = 4 * 42;
constexpr int64_t MAX_CACHED = int64_t(2) << 30;

int64_t class_capacity(int c) { return (int64_t(64) << (c / 4)) / 4 * (4 + c % 4); }

int class_of(int64_t bytes) {
  if (bytes <= 64) return 0;
  const int power = 63 - __builtin_clzll(static_cast<uint64_t>(bytes - 1)) - 6; // largest 64 << power < bytes
  for (int c = power * 4;; ++c)
    if (class_capacity(c) >= bytes) return c;
}

std::mutex mutex;
Header *cached[CLASSES] = {};
int64_t cached_bytes = 0;
std::atomic<int64_t> live_bytes{0};
std::atomic<int64_t> live_blocks{0};

void trim_locked() {
  for (Header *&list : cached)
    while (list) {
      Header *head = list;
      list = head->next;
      std::free(head);
    }
  cached_bytes = 0;
}

Header *from_system(int64_t capacity) {
  const int64_t total = capacity + static_cast<int64_t>(sizeof(Header));
  const int64_t huge = int64_t(2) << 20;
  // Large blocks on huge pages: convolutions over many channels otherwise spend their time in page walks.
  const int64_t alignment = total >= 2 * huge ? huge : 64;
  void *p = std::aligned_alloc(static_cast<size_t>(alignment), static_cast<size_t>((total + alignment - 1) / alignment * alignment));
#if defined(MADV_HUGEPAGE)
  if (p && alignment == huge) madvise(p, static_cast<size_t>(total), MADV_HUGEPAGE);
#endif
  return static_cast<Header *>(p);
}
} // namespace

void *pool_alloc(int64_t bytes) {
  if (bytes < 0 || bytes > (int64_t(1) << 46)) return nullptr;
  const int size_class = class_of(bytes);
  const int64_t capacity = class_capacity(size_class);
  Header *head;
  {
    std::lock_guard<std::mutex> lock(mutex);
    head = cached[size_class];
    if (head) {
      cached[size_class] = head->next;
      cached_bytes -= capacity;
    }
  }
  if (!head) {
    head = from_system(capacity);
    if (!head) {
      std::lock_guard<std::mutex> lock(mutex);
      trim_locked();
      head = from_system(capacity);
    }
    if (!head) return nullptr;
    head->capacity = capacity;
    head->size_class = size_class;
  }
  live_bytes.fetch_add(capacity, std::memory_order_relaxed);
  live_blocks.fetch_add(1, std::memory_order_relaxed);
  return head + 1;
}

void pool_release(void *block) {
  if (!block) return;
  Header *head = static_cast<Header *>(block) - 1;
  live_bytes.fetch_sub(head->capacity, std::memory_order_relaxed);
  live_blocks.fetch_sub(1, std::memory_order_relaxed);
  std::lock_guard<std::mutex> lock(mutex);
  if (cached_bytes + head->capacity > MAX_CACHED) {
    std::free(head);
    return;
  }
  head->next = cached[head->size_class];
  cached[head->size_class] = head;
  cached_bytes += head->capacity;
}

void pool_stats(int64_t *bytes, int64_t *blocks, int64_t *cache) {
  *bytes = live_bytes.load(std::memory_order_relaxed);
  *blocks = live_blocks.load(std::memory_order_relaxed);
  std::lock_guard<std::mutex> lock(mutex);
  *cache = cached_bytes;
}

void pool_trim() {
  std::lock_guard<std::mutex> lock(mutex);
  trim_locked();
}
} // namespace tautgrad::cpu
