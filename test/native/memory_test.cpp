// The caching pool: alignment, reuse, counts, trimming, concurrent use, and answering NULL when memory runs out.
#include "concurrent_check.h"
#include "cpu/memory.h"

#include <cstdint>
#include <cstring>
#include <random>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace tautgrad::cpu;

namespace {
struct Stats {
  int64_t bytes, blocks, cached;
};

Stats stats() {
  Stats s;
  pool_stats(&s.bytes, &s.blocks, &s.cached);
  return s;
}

void blocks_are_aligned_and_apart() {
  std::vector<std::pair<unsigned char *, int64_t>> blocks;
  std::vector<int64_t> sizes = {
      0, 1, 63, 64, 65, 79, 80, 81, 127, 128, 129, 4095, 4096, 4097, (int64_t(4) << 20) - 64, (int64_t(4) << 20) + 1};
  std::mt19937 random(1);
  for (int i = 0; i < 300; ++i) sizes.push_back(static_cast<int64_t>(random() % 100000));
  for (int64_t size : sizes) {
    auto *block = static_cast<unsigned char *>(pool_alloc(size));
    if (!CHECK(block != nullptr)) return;
    CHECK(reinterpret_cast<uintptr_t>(block) % 64 == 0);
    std::memset(block, static_cast<int>(blocks.size() & 255), static_cast<size_t>(size));
    blocks.emplace_back(block, size);
  }
  // Each block still holds its own pattern: none overlaps another.
  for (size_t i = 0; i < blocks.size(); ++i) {
    bool intact = true;
    for (int64_t k = 0; k < blocks[i].second; ++k) intact = intact && blocks[i].first[k] == (i & 255);
    CHECK(intact);
  }
  for (auto &block : blocks) pool_release(block.first);
  pool_trim();
}

void counts_follow_use() {
  pool_trim();
  const Stats before = stats();
  CHECK(before.bytes == 0 && before.blocks == 0 && before.cached == 0);
  void *a = pool_alloc(1000);
  void *b = pool_alloc(100000);
  const Stats during = stats();
  CHECK(during.blocks == 2 && during.cached == 0);
  CHECK(during.bytes >= 101000 && during.bytes <= 101000 * 5 / 4 + 128); // a size class wastes at most a quarter
  pool_release(a);
  pool_release(b);
  pool_release(nullptr);
  const Stats after = stats();
  CHECK(after.blocks == 0 && after.bytes == 0 && after.cached == during.bytes);
  pool_trim();
  CHECK(stats().cached == 0);
}

void released_blocks_are_reused() {
  void *first = pool_alloc(5000);
  pool_release(first);
  void *again = pool_alloc(5100); // the same size class
  CHECK(again == first);
  void *other = pool_alloc(5000);
  CHECK(other != again);
  pool_release(again);
  pool_release(other);
  // A steady loop, such as a training step, takes nothing new from the system.
  const int64_t cached = stats().cached;
  for (int i = 0; i < 1000; ++i) {
    void *x = pool_alloc(4900), *y = pool_alloc(4900);
    CHECK(x != y && (x == again || x == other) && (y == again || y == other));
    pool_release(x);
    pool_release(y);
  }
  CHECK(stats().cached == cached);
  pool_trim();
}

void impossible_sizes_answer_null() {
  for (int64_t size : {int64_t(-1), INT64_MIN, INT64_MAX, int64_t(1) << 62, (int64_t(1) << 46) + 1}) CHECK(pool_alloc(size) == nullptr);
  CHECK(stats().blocks == 0 && stats().bytes == 0);
}

// In a child with a small address space: NULL comes back, the cache is given up before that, and the pool stays usable.
// (Sanitizers reserve terabytes of address space and cannot live under this limit.)
void exhaustion_answers_null() {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  const pid_t child = fork();
  if (child == 0) {
    const int64_t mib = int64_t(1) << 20;
    const rlimit limit = {512u << 20, 512u << 20};
    setrlimit(RLIMIT_AS, &limit);
    std::vector<void *> held;
    for (int i = 0; i < 1000; ++i) {
      void *block = pool_alloc(8 * mib);
      if (!block) break;
      held.push_back(block);
    }
    if (held.size() < 10 || held.size() > 64 || pool_alloc(8 * mib)) _exit(1);
    for (void *block : held) pool_release(block);
    if (stats().cached == 0) _exit(2);
    // Larger than what is left beside the cached blocks: only possible when the cache is given back.
    void *large = pool_alloc(300 * mib);
    if (!large || stats().cached != 0) _exit(3);
    std::memset(large, 1, static_cast<size_t>(300 * mib));
    pool_release(large);
    _exit(0);
  }
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
#endif
}

// Blocks cross threads: allocated in one, released in another, as finalizers and workers do.
void concurrent_use() {
  constexpr int THREADS = 8, ROUNDS = 2000;
  std::vector<std::thread> threads;
  for (int t = 0; t < THREADS; ++t)
    threads.emplace_back([t] {
      std::mt19937 random(static_cast<unsigned>(t));
      std::vector<std::pair<int64_t *, int64_t>> held;
      for (int i = 0; i < ROUNDS; ++i) {
        const int64_t words = 1 + static_cast<int64_t>(random() % 2000);
        auto *block = static_cast<int64_t *>(pool_alloc(words * 8));
        if (!CHECK(block != nullptr)) return;
        block[0] = block[words - 1] = (int64_t(t) << 32) + i;
        held.emplace_back(block, words);
        if (held.size() > 16) {
          const size_t k = random() % held.size();
          CHECK(held[k].first[0] == held[k].first[held[k].second - 1]);
          pool_release(held[k].first);
          held.erase(held.begin() + static_cast<long>(k));
        }
        if (i % 500 == 0) pool_trim();
      }
      for (auto &block : held) std::thread([&] { pool_release(block.first); }).join();
    });
  for (auto &thread : threads) thread.join();
  CHECK(stats().blocks == 0 && stats().bytes == 0);
  pool_trim();
  CHECK(stats().cached == 0);
}
} // namespace

int main() {
  counts_follow_use();
  exhaustion_answers_null(); // forks: before there are threads
  blocks_are_aligned_and_apart();
  released_blocks_are_reused();
  impossible_sizes_answer_null();
  concurrent_use();
  return check::report();
}
