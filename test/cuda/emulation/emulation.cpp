// The scheduler behind the emulated CUDA runtime: every thread of a block is a fiber. A fiber whose thread ends takes the next thread, so
// that kernels without barriers cost no switches.
#include "cuda_runtime.h"

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <sys/mman.h>
#include <ucontext.h>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define TG_SWITCH_OUT(save, bottom, size) __sanitizer_start_switch_fiber(save, bottom, size)
#define TG_SWITCH_IN(save, bottom, size) __sanitizer_finish_switch_fiber(save, bottom, size)
#else
#define TG_SWITCH_OUT(save, bottom, size) ((void)0)
#define TG_SWITCH_IN(save, bottom, size) ((void)0)
#endif

namespace emulation {

uint3 thread_index, block_index;
dim3 block_shape, grid_shape;

namespace {

constexpr size_t STACK = 128 * 1024;
enum class Wait { none, block, warp };

struct Fiber {
  ucontext_t context;
  void *stack = nullptr;
  int thread = -1; // its linear index in the block
  Wait wait = Wait::none;
  unsigned mask = 0; // of the warp barrier it waits at
  bool idle = true;
};

std::vector<Fiber *> fibers; // reused by every launch
ucontext_t scheduler;
[[maybe_unused]] void *scheduler_fake = nullptr;
[[maybe_unused]] const void *scheduler_bottom = nullptr;
[[maybe_unused]] size_t scheduler_size = 0;
Fiber *running = nullptr;

void (*body)(void *);
void *body_context;
std::vector<int> order;   // in which the block's threads start
size_t started, finished; // threads of the block
std::vector<char> done;
std::vector<uint64_t> slots; // 32 for every warp
int threads = 0, predicate_sum = 0, predicate_result = 0;
std::vector<unsigned char> shared_memory;
uint64_t state = 0x9E3779B97F4A7C15ull;

uint64_t random_word() {
  uint64_t z = state += 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

template <class T> void shuffle(std::vector<T> &v) {
  for (size_t i = v.size(); i > 1; --i) std::swap(v[i - 1], v[random_word() % i]);
}

void place(int thread) {
  const unsigned t = static_cast<unsigned>(thread);
  thread_index = {t % block_shape.x, t / block_shape.x % block_shape.y, t / (block_shape.x * block_shape.y)};
}

void to_scheduler() {
  Fiber *self = running;
  void *fake = nullptr;
  (void)fake;
  TG_SWITCH_OUT(&fake, scheduler_bottom, scheduler_size);
  swapcontext(&self->context, &scheduler);
  TG_SWITCH_IN(fake, nullptr, nullptr);
  place(self->thread);
}

void fiber_main() {
  TG_SWITCH_IN(nullptr, &scheduler_bottom, &scheduler_size);
  for (;;) {
    Fiber *self = running;
    while (started < order.size()) {
      self->thread = order[started++];
      place(self->thread);
      body(body_context);
      done[static_cast<size_t>(self->thread)] = 1;
      ++finished;
    }
    self->idle = true;
    to_scheduler();
  }
}

void enter(Fiber *f) {
  running = f;
  TG_SWITCH_OUT(&scheduler_fake, f->stack, STACK);
  swapcontext(&scheduler, &f->context);
  TG_SWITCH_IN(scheduler_fake, nullptr, nullptr);
}

Fiber *idle_fiber() {
  for (Fiber *f : fibers)
    if (f->idle) return f;
  Fiber *f = new Fiber;
  f->stack = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  getcontext(&f->context);
  f->context.uc_stack.ss_sp = f->stack;
  f->context.uc_stack.ss_size = STACK;
  f->context.uc_link = nullptr;
  makecontext(&f->context, fiber_main, 0);
  fibers.push_back(f);
  return f;
}

// Whether every live thread of the mask waits at a warp barrier with the same mask.
bool warp_complete(const Fiber *f) {
  const int first = f->thread / 32 * 32;
  unsigned waiting = 0;
  for (const Fiber *g : fibers)
    if (!g->idle && g->wait == Wait::warp && g->mask == f->mask && g->thread / 32 * 32 == first) waiting |= 1u << (g->thread - first);
  for (int l = 0; l < 32; ++l)
    if ((f->mask >> l & 1u) && first + l < threads && !done[static_cast<size_t>(first + l)] && !(waiting >> l & 1u)) return false;
  return true;
}

void run_block() {
  started = finished = 0;
  const size_t total = static_cast<size_t>(threads);
  done.assign(total, 0);
  slots.assign((total + 31) / 32 * 32, 0);
  order.resize(total);
  for (size_t i = 0; i < total; ++i) order[i] = static_cast<int>(i);
  shuffle(order);
  std::fill(shared_memory.begin(), shared_memory.end(), static_cast<unsigned char>(0xFB)); // a NaN, or a wild index
  std::vector<Fiber *> ready;
  while (finished < total) {
    bool moved = false;
    while (started < total) {
      Fiber *f = idle_fiber();
      f->idle = false;
      f->wait = Wait::none;
      enter(f);
      moved = true;
    }
    size_t at_barrier = 0;
    for (Fiber *f : fibers) at_barrier += !f->idle && f->wait == Wait::block;
    ready.clear();
    if (at_barrier > 0 && at_barrier == total - finished) {
      predicate_result = predicate_sum;
      predicate_sum = 0;
      for (Fiber *f : fibers)
        if (!f->idle) ready.push_back(f);
    } else {
      for (Fiber *f : fibers)
        if (!f->idle && f->wait == Wait::warp && warp_complete(f)) ready.push_back(f);
    }
    for (Fiber *f : ready) f->wait = Wait::none;
    shuffle(ready);
    for (Fiber *f : ready) {
      enter(f);
      moved = true;
    }
    if (!moved) {
      std::fprintf(stderr, "emulated GPU: %zu of %d threads wait at a barrier that the others never reach (block %u, %u, %u)\n",
                   total - finished, threads, block_index.x, block_index.y, block_index.z);
      std::abort();
    }
  }
}
} // namespace

void barrier() {
  running->wait = Wait::block;
  to_scheduler();
}

int barrier_count(int predicate) {
  predicate_sum += predicate != 0;
  barrier();
  return predicate_result;
}

void warp_barrier(unsigned mask) {
  running->wait = Wait::warp;
  running->mask = mask;
  to_scheduler();
}

int lane() { return running->thread % 32; }
uint64_t *warp_slots() { return slots.data() + running->thread / 32 * 32; }
unsigned warp_live_mask() {
  const int first = running->thread / 32 * 32, count = threads - first;
  return count >= 32 ? 0xffffffffu : (1u << count) - 1u;
}
void *dynamic_shared() {
  // The allocator's block may be aligned to 16 bytes only.
  return reinterpret_cast<void *>((reinterpret_cast<uintptr_t>(shared_memory.data()) + 127) / 128 * 128);
}

std::mutex one_at_a_time;

void run(dim3 grid, dim3 block, size_t shared_bytes, void (*kernel)(void *), void *context) {
  const std::lock_guard<std::mutex> lock(one_at_a_time); // calls may come from several threads of the process
  static const bool seeded = [] {
    if (const char *seed = std::getenv("TAUTGRAD_EMULATION_SEED")) state += std::strtoull(seed, nullptr, 10) * 0x2545F4914F6CDD1Dull;
    return true;
  }();
  (void)seeded;
  grid_shape = grid;
  block_shape = block;
  threads = static_cast<int>(block.x * block.y * block.z);
  if (threads < 1 || threads > 1024 || shared_bytes > 227 * 1024 || grid.y > 65535 || grid.z > 65535 || grid.x > 2147483647u) {
    std::fprintf(stderr, "emulated GPU: a launch of %u x %u x %u blocks of %d threads with %zu bytes of shared memory is impossible\n", grid.x,
                 grid.y, grid.z, threads, shared_bytes);
    std::abort();
  }
  body = kernel;
  body_context = context;
  shared_memory.resize(shared_bytes + 128);
  const uint64_t blocks = uint64_t(grid.x) * grid.y * grid.z;
  // A stride that is coprime to the count visits every block once, in another order each time.
  uint64_t stride = blocks > 2 ? random_word() % blocks | 1 : 1;
  const auto gcd = [](uint64_t a, uint64_t b) {
    while (b) {
      const uint64_t t = a % b;
      a = b;
      b = t;
    }
    return a;
  };
  while (gcd(stride, blocks) != 1) stride += 2;
  uint64_t at = random_word() % blocks;
  for (uint64_t i = 0; i < blocks; ++i, at = (at + stride) % blocks) {
    block_index = {static_cast<unsigned>(at % grid.x), static_cast<unsigned>(at / grid.x % grid.y),
                   static_cast<unsigned>(at / (uint64_t(grid.x) * grid.y))};
    run_block();
  }
}

} // namespace emulation

namespace {
int64_t allowed_bytes = -1; // no limit
int64_t used_bytes = 0;
struct Header {
  size_t bytes;
  char padding[256 - sizeof(size_t)];
};
} // namespace

// Lets the next allocations fail once the live device memory would exceed this many bytes; -1: no limit.
extern "C" __attribute__((visibility("default"))) void tg_emulation_limit(int64_t bytes) { allowed_bytes = bytes; }

cudaError_t cudaMalloc(void **p, size_t bytes) {
  if (allowed_bytes >= 0 && used_bytes + static_cast<int64_t>(bytes) > allowed_bytes) return cudaErrorMemoryAllocation;
  auto *head = static_cast<Header *>(std::aligned_alloc(256, sizeof(Header) + (bytes + 255) / 256 * 256));
  if (!head) return cudaErrorMemoryAllocation;
  head->bytes = bytes;
  used_bytes += static_cast<int64_t>(bytes);
  *p = head + 1;
  std::memset(*p, 0xFB, bytes); // uninitialised reads show as NaN
  return cudaSuccess;
}

cudaError_t cudaFree(void *p) {
  if (!p) return cudaSuccess;
  auto *head = static_cast<Header *>(p) - 1;
  used_bytes -= static_cast<int64_t>(head->bytes);
  std::free(head);
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void **p, size_t bytes) {
  *p = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
  return *p ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFreeHost(void *p) {
  std::free(p);
  return cudaSuccess;
}
