// The scheduler behind the emulated CUDA runtime: every thread of a block is a fiber. A fiber whose thread ends takes the next thread, so
// that kernels without barriers cost no switches.
#include "cuda_runtime.h"

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <sys/mman.h>
#include <vector>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

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

// A switch between two stacks. Not swapcontext where it can be helped: that makes two system calls, and a barrier makes many switches.
#if defined(__x86_64__)
using Context = void *; // the stack pointer; what the callee preserves lies on the stack
asm(R"(
.text
.type tg_switch_stacks, @function
tg_switch_stacks:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq (%rsi), %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size tg_switch_stacks, .-tg_switch_stacks
)");
extern "C" void tg_switch_stacks(Context *from, Context *to);
void switch_to(Context *from, Context *to) { tg_switch_stacks(from, to); }
void make_context(Context *c, void *stack, void (*entry)()) {
  // Six registers, the address to return to, and one word that makes the stack look as a call leaves it.
  void **top = reinterpret_cast<void **>(static_cast<char *>(stack) + STACK) - 8;
  std::memset(top, 0, 8 * sizeof(void *));
  top[6] = reinterpret_cast<void *>(entry);
  *c = top;
}
#else
using Context = ucontext_t;
void switch_to(Context *from, Context *to) { swapcontext(from, to); }
void make_context(Context *c, void *stack, void (*entry)()) {
  getcontext(c);
  c->uc_stack.ss_sp = stack;
  c->uc_stack.ss_size = STACK;
  c->uc_link = nullptr;
  makecontext(c, entry, 0);
}
#endif

enum class Wait { none, block, warp };

struct Fiber {
  Context context;
  void *stack = nullptr;
  int thread = -1; // its linear index in the block
  Wait wait = Wait::none;
  unsigned mask = 0; // of the warp barrier it waits at
};

std::vector<Fiber *> idle;  // made once, used by every launch
std::vector<Fiber *> ready; // past their barrier, waiting for their turn
std::vector<Fiber *> of;    // the fiber that a blocked thread waits on
Context scheduler;
[[maybe_unused]] void *scheduler_fake = nullptr;
[[maybe_unused]] const void *scheduler_bottom = nullptr;
[[maybe_unused]] size_t scheduler_size = 0;
Fiber *running = nullptr;

void (*body)(void *);
void *body_context;
std::vector<int> order;   // in which the block's threads start
size_t started, finished; // threads of the block
std::vector<char> done;
std::vector<unsigned> waiting; // lanes of each warp at a warp barrier
int at_block_barrier;
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
  switch_to(&self->context, &scheduler);
  TG_SWITCH_IN(fake, nullptr, nullptr);
  place(self->thread);
}

void fiber_main() {
  TG_SWITCH_IN(nullptr, &scheduler_bottom, &scheduler_size);
  for (;;) {
    Fiber *self = running;
    // A fiber goes on with the next thread where nobody has waited yet.
    do {
      self->thread = order[started++];
      place(self->thread);
      body(body_context);
      done[static_cast<size_t>(self->thread)] = 1;
      ++finished;
    } while (started < order.size() && ready.empty());
    idle.push_back(self);
    self = nullptr;
    to_scheduler();
  }
}

void enter(Fiber *f) {
  running = f;
  TG_SWITCH_OUT(&scheduler_fake, f->stack, STACK);
  switch_to(&scheduler, &f->context);
  TG_SWITCH_IN(scheduler_fake, nullptr, nullptr);
}

Fiber *idle_fiber() {
  if (!idle.empty()) {
    Fiber *f = idle.back();
    idle.pop_back();
    return f;
  }
  Fiber *f = new Fiber;
  f->stack = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  make_context(&f->context, f->stack, fiber_main);
  return f;
}

// Lanes of the warp that the mask names and that still run.
unsigned expected_lanes(int warp, unsigned mask) {
  unsigned lanes = 0;
  for (int l = 0; l < 32; ++l)
    if ((mask >> l & 1u) && warp * 32 + l < threads && !done[static_cast<size_t>(warp * 32 + l)]) lanes |= 1u << l;
  return lanes;
}

bool release_warp(int warp, unsigned mask) {
  const unsigned lanes = expected_lanes(warp, mask);
  if (lanes == 0 || (waiting[static_cast<size_t>(warp)] & mask) != lanes) return false;
  for (int l = 0; l < 32; ++l)
    if (lanes >> l & 1u) {
      Fiber *f = of[static_cast<size_t>(warp * 32 + l)];
      f->wait = Wait::none;
      ready.push_back(f);
    }
  waiting[static_cast<size_t>(warp)] &= ~lanes;
  return true;
}

bool release_block() {
  if (at_block_barrier == 0 || static_cast<size_t>(at_block_barrier) != order.size() - finished) return false;
  predicate_result = predicate_sum;
  predicate_sum = at_block_barrier = 0;
  for (int t = 0; t < threads; ++t)
    if (!done[static_cast<size_t>(t)]) {
      of[static_cast<size_t>(t)]->wait = Wait::none;
      ready.push_back(of[static_cast<size_t>(t)]);
    }
  return true;
}

void run_block() {
  started = finished = 0;
  const size_t total = static_cast<size_t>(threads);
  done.assign(total, 0);
  of.assign(total, nullptr);
  waiting.assign((total + 31) / 32, 0);
  at_block_barrier = predicate_sum = 0;
  slots.assign((total + 31) / 32 * 32, 0);
  order.resize(total);
  for (size_t i = 0; i < total; ++i) order[i] = static_cast<int>(i);
  shuffle(order);
  std::fill(shared_memory.begin(), shared_memory.end(), static_cast<unsigned char>(0xFB)); // a NaN, or a wild index
  ready.clear();
  while (finished < total) {
    if (started < total && (ready.empty() || random_word() % 2)) {
      enter(idle_fiber());
    } else if (!ready.empty()) {
      std::swap(ready[random_word() % ready.size()], ready.back());
      Fiber *f = ready.back();
      ready.pop_back();
      enter(f);
    } else {
      // Threads that ended may have been the ones that the others wait for.
      bool moved = release_block();
      for (const Fiber *f : of)
        if (!moved && f && f->wait == Wait::warp) moved = release_warp(f->thread / 32, f->mask);
      if (moved) continue;
      std::fprintf(stderr, "emulated GPU: %zu of %d threads wait at a barrier that the others never reach (block %u, %u, %u)\n",
                   total - finished, threads, block_index.x, block_index.y, block_index.z);
      std::abort();
    }
  }
}
} // namespace

void barrier() {
  running->wait = Wait::block;
  of[static_cast<size_t>(running->thread)] = running;
  ++at_block_barrier;
  release_block();
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
  of[static_cast<size_t>(running->thread)] = running;
  waiting[static_cast<size_t>(running->thread / 32)] |= 1u << running->thread % 32;
  release_warp(running->thread / 32, mask);
  to_scheduler();
}

int lane() { return running->thread % 32; }
uint64_t *warp_slots() { return slots.data() + running->thread / 32 * 32; }
uint32_t (*warp_factors())[6] {
  static uint32_t factors[32][32][6];
  return factors[running->thread / 32];
}
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
    std::fprintf(stderr, "emulated GPU: a launch of %u x %u x %u blocks of %d threads with %zu bytes of shared memory is impossible\n",
                 grid.x, grid.y, grid.z, threads, shared_bytes);
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
  cudaDeviceSynchronize(); // as the real one does
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
