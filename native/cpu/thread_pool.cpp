#include "parallel.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <deque>
#include <mutex>
#include <pthread.h>
#include <sched.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <vector>

namespace tautgrad::cpu {
namespace {

// A container's share of processor time in cores (control groups, version 2), rounded up; 0 without a limit. More threads than that
// would use the share up early in each period and then all stand still.
int quota_cores() {
  double quota = 0, period = 0;
  if (FILE *file = std::fopen("/sys/fs/cgroup/cpu.max", "r")) {
    if (std::fscanf(file, "%lf %lf", &quota, &period) != 2) quota = period = 0; // "max 100000": no limit
    std::fclose(file);
  }
  return quota > 0 && period > 0 ? static_cast<int>(std::ceil(std::min(quota / period, 1024.0))) : 0;
}

int usable_cores() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) >= 1) return CPU_COUNT(&set);
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

int configured_threads() {
  if (const char *text = std::getenv("TAUTGRAD_THREADS")) {
    const long n = std::strtol(text, nullptr, 10);
    if (n >= 1 && n <= 1024) return static_cast<int>(n);
  }
  const int quota = quota_cores();
  return quota ? std::min(quota, usable_cores()) : usable_cores();
}

// One parallel_for in flight. It lives on its caller's stack: a worker may touch it only between taking `workers` under the
// pool's mutex and giving it back.
struct Job {
  void (*body)(void *, int64_t);
  void *context;
  int64_t count;
  std::atomic<int64_t> next{0};
  std::atomic<int> workers{0};
  Job *following = nullptr;
};

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

thread_local bool inside_job = false;

void drain(Job &job) {
  const bool outer = inside_job;
  inside_job = true;
  for (;;) {
    const int64_t i = job.next.fetch_add(1, std::memory_order_relaxed);
    if (i >= job.count) break;
    job.body(job.context, i);
  }
  inside_job = outer;
}

// Never destroyed: workers may still run while the process exits.
class Pool {
public:
  explicit Pool(int threads) : owner_(getpid()) {
    try {
      for (; size_ < threads; ++size_) {
        Worker &own = workers_.emplace_back();
        std::thread worker([this, &own] { work(own); });
#if defined(__linux__)
        own.thread = worker.native_handle();
        if (pthread_getcpuclockid(own.thread, &own.clock) != 0) own.clock = CLOCK_MONOTONIC; // never stands still
#endif
        worker.detach();
      }
    } catch (const std::system_error &) {
      // A limit on processes or memory: the threads that there are do the work.
    }
#if defined(__linux__)
    if (pthread_getaffinity_np(pthread_self(), sizeof allowed_, &allowed_) != 0) CPU_ZERO(&allowed_);
#endif
  }

  void run(Job &job) {
    bool sleeping, alone;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      alone = jobs_ == nullptr;
      job.following = jobs_;
      jobs_ = &job;
      epoch_.fetch_add(1, std::memory_order_release);
      sleeping = sleepers_ > 0;
    }
    if (alone) leave_callers_core(); // several callers at once would drive the workers back and forth
    if (sleeping) wake_.notify_all();
    drain(job);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      for (Job **p = &jobs_; *p; p = &(*p)->following)
        if (*p == &job) {
          *p = job.following;
          break;
        }
    }
    // Off the list: no further worker can take it. Wait for those inside.
    if (!await(job)) fetch(job);
  }

  int size() const { return size_; }
  bool usable() const { return owner_ == getpid(); } // a forked child has no workers

private:
  struct Worker {
    std::atomic<Job *> job{nullptr};
#if defined(__linux__)
    pthread_t thread;
    clockid_t clock; // its processor time
#endif
  };

  // Spins for about as long as a short task takes; returns whether all workers have left the job.
  static bool await(const Job &job) {
    for (int spins = 0; spins < 4096; ++spins) {
      if (job.workers.load(std::memory_order_acquire) == 0) return true;
      pause();
    }
    return false;
  }

  // Another process may have taken the core of a worker in the middle of its task, for milliseconds. A worker inside the job whose
  // processor time stands still comes to this core instead, which has nothing else to do.
  void fetch(const Job &job) {
#if defined(__linux__)
    const int core = sched_getcpu();
    bool fetched = false;
    if (core >= 0 && core < CPU_SETSIZE && CPU_ISSET(core, &allowed_)) {
      cpu_set_t here;
      CPU_ZERO(&here);
      CPU_SET(core, &here);
      std::vector<int64_t> before;
      for (const Worker &w : workers_) before.push_back(w.job.load(std::memory_order_relaxed) == &job ? processor_time(w) : -1);
      if (await(job)) return;
      size_t i = 0;
      for (const Worker &w : workers_) {
        const int64_t then = before[i++];
        if (then < 0 || w.job.load(std::memory_order_relaxed) != &job || processor_time(w) != then) continue;
        fetched = pthread_setaffinity_np(w.thread, sizeof here, &here) == 0 || fetched;
      }
    }
#endif
    while (job.workers.load(std::memory_order_acquire) != 0) std::this_thread::yield();
#if defined(__linux__)
    if (fetched) keep_off(left_core_.load(std::memory_order_relaxed));
#endif
  }

  // Where cores share no cache (virtual machines often have it so), Linux wakes a thread on the core of the one that wakes it, and both
  // stay there while another core stands idle. So the workers are kept off the caller's core, if the others suffice for them.
  void leave_callers_core() {
#if defined(__linux__)
    const int core = sched_getcpu();
    if (core < 0 || core >= CPU_SETSIZE || size_ > CPU_COUNT(&allowed_) || left_core_.exchange(core, std::memory_order_relaxed) == core)
      return;
    keep_off(core);
#endif
  }

#if defined(__linux__)
  void keep_off(int core) {
    cpu_set_t others = allowed_;
    if (core >= 0) CPU_CLR(core, &others);
    for (const Worker &w : workers_) pthread_setaffinity_np(w.thread, sizeof others, &others);
  }

  static int64_t processor_time(const Worker &w) {
    timespec t;
    return clock_gettime(w.clock, &t) == 0 ? int64_t(t.tv_sec) * 1000000000 + t.tv_nsec : 0;
  }
#endif

  Job *take() {
    for (Job *job = jobs_; job; job = job->following)
      if (job->next.load(std::memory_order_relaxed) < job->count) {
        job->workers.fetch_add(1, std::memory_order_acquire);
        return job;
      }
    return nullptr;
  }

  void work(Worker &own) {
    for (;;) {
      const uint64_t seen = epoch_.load(std::memory_order_acquire);
      Job *job;
      {
        std::lock_guard<std::mutex> lock(mutex_);
        job = take();
      }
      if (job) {
        own.job.store(job, std::memory_order_relaxed);
        drain(*job);
        own.job.store(nullptr, std::memory_order_relaxed);
        job->workers.fetch_sub(1, std::memory_order_release);
        continue;
      }
      // A short spin bridges the gap between the kernels of one training step; a longer one would steal time from others.
      bool changed = false;
      for (int spins = 0; spins < 2000 && !changed; ++spins) {
        pause();
        changed = epoch_.load(std::memory_order_acquire) != seen;
      }
      if (changed) continue;
      std::unique_lock<std::mutex> lock(mutex_);
      ++sleepers_;
      wake_.wait(lock, [&] { return epoch_.load(std::memory_order_acquire) != seen; });
      --sleepers_;
    }
  }

  std::deque<Worker> workers_; // they stay where they are; all but the pool's own threads only read, once it is constructed
  int size_ = 1;               // the calling thread and the workers; fixed once constructed
  const pid_t owner_;
  std::mutex mutex_;
  std::condition_variable wake_;
  Job *jobs_ = nullptr;
  std::atomic<uint64_t> epoch_{0};
  int sleepers_ = 0; // guarded by mutex_
#if defined(__linux__)
  cpu_set_t allowed_; // the cores of this process
  std::atomic<int> left_core_{-1};
#endif
};

Pool &pool() {
  static Pool *instance = new Pool(configured_threads());
  return *instance;
}

struct ScratchBlocks {
  void *block[SCRATCH_SLOTS] = {};
  int64_t bytes[SCRATCH_SLOTS] = {};
  ~ScratchBlocks() {
    for (void *b : block) std::free(b);
  }
};
} // namespace

int thread_count() { return pool().size(); }

void parallel_for_raw(int64_t count, void (*body)(void *, int64_t), void *context) {
  if (count <= 0) return;
  if (count == 1 || inside_job || pool().size() == 1 || !pool().usable()) {
    for (int64_t i = 0; i < count; ++i) body(context, i);
    return;
  }
  Job job;
  job.body = body;
  job.context = context;
  job.count = count;
  pool().run(job);
}

void *scratch(int slot, int64_t bytes) {
  thread_local ScratchBlocks own;
  if (!own.block[slot] || own.bytes[slot] < bytes) {
    std::free(own.block[slot]);
    // A quarter more than asked for, so that slowly growing wishes do not allocate each time.
    const int64_t rounded = std::max<int64_t>(4096, (bytes + bytes / 4 + 4095) / 4096 * 4096);
    own.block[slot] = std::aligned_alloc(64, static_cast<size_t>(rounded));
    own.bytes[slot] = own.block[slot] ? rounded : 0;
  }
  return own.block[slot];
}

} // namespace tautgrad::cpu
