// The thread pool: every index once, nesting, several callers, its size from the environment, and life without enough threads.
#include "concurrent_check.h"
#include "cpu/parallel.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

using tautgrad::cpu::scratch;
using tautgrad::cpu::SCRATCH_SLOTS;
using tautgrad::cpu::thread_count;

namespace {
// Plain counters on purpose: that two threads never run the same index is what the thread sanitizer then proves.
void every_index_runs_once() {
  for (int64_t count : {0, 1, 2, 3, 7, 64, 1000, 20000}) {
    std::vector<int> runs(static_cast<size_t>(count), 0);
    parallel_for(count, [&](int64_t i) { ++runs[static_cast<size_t>(i)]; });
    bool once = true;
    for (int r : runs) once = once && r == 1;
    CHECK(once);
  }
  bool ran = false;
  parallel_for(-5, [&](int64_t) { ran = true; });
  CHECK(!ran);
}

// What a body writes is visible to the caller afterwards, what the caller wrote before is visible to the bodies.
void many_small_jobs() {
  std::vector<int64_t> values(16, 0);
  for (int64_t round = 1; round <= 5000; ++round) {
    const int64_t add = round;
    parallel_for(16, [&](int64_t i) { values[static_cast<size_t>(i)] += add; });
  }
  for (int64_t value : values) CHECK(value == 5000 * 5001 / 2);
}

// Workers fall asleep between jobs; a wake-up that got lost would hang here.
void wakes_after_sleep() {
  for (int round = 0; round < 50; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(round % 5));
    std::atomic<int> runs{0};
    parallel_for(64, [&](int64_t) { ++runs; });
    CHECK(runs == 64);
  }
}

void nested_calls_stay_on_their_thread() {
  std::atomic<int> inner{0}, moved{0};
  parallel_for(32, [&](int64_t) {
    const auto self = std::this_thread::get_id();
    parallel_for(32, [&](int64_t) {
      ++inner;
      if (std::this_thread::get_id() != self) ++moved;
      parallel_for(2, [&](int64_t) { ++inner; });
    });
  });
  CHECK(inner == 32 * 32 * 3);
  CHECK(moved == 0);
}

void several_callers_at_once() {
  std::vector<std::thread> callers;
  for (int t = 0; t < 6; ++t)
    callers.emplace_back([t] {
      for (int round = 0; round < 300; ++round) {
        const int64_t count = 1 + (t * 37 + round) % 200;
        std::vector<int64_t> seen(static_cast<size_t>(count), -1);
        parallel_for(count, [&](int64_t i) { seen[static_cast<size_t>(i)] = i; });
        for (int64_t i = 0; i < count; ++i) CHECK(seen[static_cast<size_t>(i)] == i);
      }
    });
  for (auto &caller : callers) caller.join();
}

void work_is_shared() {
  if (thread_count() < 2) return;
  std::atomic<int> inside{0};
  std::atomic<bool> met{false};
  // Two bodies that wait for each other end only if two threads run them.
  parallel_for(2, [&](int64_t) {
    ++inside;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (inside < 2 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    if (inside == 2) met = true;
  });
  CHECK(met);
}

void scratch_is_private_and_kept() {
  std::vector<unsigned char *> blocks;
  for (int slot = 0; slot < SCRATCH_SLOTS; ++slot) {
    auto *block = static_cast<unsigned char *>(scratch(slot, 1000));
    CHECK(block && reinterpret_cast<uintptr_t>(block) % 64 == 0);
    for (auto *other : blocks) CHECK(other != block);
    blocks.push_back(block);
    block[999] = static_cast<unsigned char>(slot);
  }
  for (int slot = 0; slot < SCRATCH_SLOTS; ++slot) {
    CHECK(scratch(slot, 10) == blocks[static_cast<size_t>(slot)]); // a smaller wish keeps the block
    CHECK(blocks[static_cast<size_t>(slot)][999] == slot);
  }
  auto *larger = static_cast<unsigned char *>(scratch(0, 1 << 20));
  CHECK(larger != nullptr);
  larger[(1 << 20) - 1] = 1;

  // Threads write their own blocks at the same time: the sanitizers would see a shared or short one.
  std::atomic<int> wrong{0};
  parallel_for(200, [&](int64_t i) {
    auto *own = static_cast<int64_t *>(scratch(1, 8 * 512));
    for (int64_t k = 0; k < 512; ++k) own[k] = i;
    for (int64_t k = 0; k < 512; ++k)
      if (own[k] != i) ++wrong;
  });
  CHECK(wrong == 0);
  std::thread([&] { CHECK(scratch(0, 0) != nullptr); }).join(); // nothing wanted is not "out of memory"
  CHECK(scratch(2, int64_t(1) << 60) == nullptr);
  CHECK(scratch(2, 100) != nullptr); // and the slot recovers
}

// The pool reads its size once per process, so each case is a child of its own.
template <class Body> int in_child(const Body &body) {
  const pid_t child = fork();
  if (child == 0) _exit(body() ? 0 : 1);
  int status = -1;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

bool sums_right() {
  std::atomic<int64_t> sum{0};
  parallel_for(1000, [&](int64_t i) { sum += i; });
  return sum == 999 * 1000 / 2;
}

void size_from_environment() {
  for (int threads : {1, 2, 3, 5}) {
    CHECK(in_child([threads] {
            setenv("TAUTGRAD_THREADS", std::to_string(threads).c_str(), 1);
            return thread_count() == threads && sums_right();
          }) == 0);
  }
  for (const char *nonsense : {"", "0", "-3", "many", "99999999999999999999", "4x"}) {
    CHECK(in_child([nonsense] {
            unsetenv("TAUTGRAD_THREADS");
            setenv("TAUTGRAD_THREADS", nonsense, 1);
            return thread_count() >= 1 && thread_count() <= 1024 && sums_right();
          }) == 0);
  }
}

// A container may allow fewer threads than it has cores: the pool works with those that it gets.
void too_few_threads_to_be_had() {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  CHECK(in_child([] {
          setenv("TAUTGRAD_THREADS", "1000", 1);
          const rlimit limit = {256u << 20, 256u << 20}; // room for some of the threads' stacks
          setrlimit(RLIMIT_AS, &limit);
          return thread_count() >= 1 && thread_count() < 1000 && sums_right();
        }) == 0);
#endif
}

// A forked child has no workers (fork copies only the calling thread): it computes alone.
void works_after_fork() {
#if !defined(__SANITIZE_THREAD__)
  CHECK(sums_right());
  CHECK(in_child([] { return sums_right(); }) == 0);
#endif
}
} // namespace

int main() {
  // First what forks, while this process has one thread.
  size_from_environment();
  too_few_threads_to_be_had();
  // More threads than cores: the interleavings are richer.
  setenv("TAUTGRAD_THREADS", "4", 1);
  CHECK(thread_count() == 4);
  every_index_runs_once();
  many_small_jobs();
  wakes_after_sleep();
  nested_calls_stay_on_their_thread();
  several_callers_at_once();
  work_is_shared();
  scratch_is_private_and_kept();
  works_after_fork();
  return check::report();
}
