// The process-wide thread pool. Size: TAUTGRAD_THREADS, else the cores this process may use.
// Any thread may call it, several at once; a nested call runs on the calling thread. How a kernel cuts its work must depend on the
// problem's size only, never on thread_count(), so that results do not depend on the number of threads.
#pragma once

#include <stdint.h>

namespace tautgrad::cpu {

int thread_count();

// Calls body(context, i) for every i in [0, count), on the pool and the calling thread; returns when all are done.
void parallel_for_raw(int64_t count, void (*body)(void *context, int64_t index), void *context);

// A per-thread scratch block of at least `bytes`, 64-byte aligned, kept until the thread ends. Slots are independent blocks:
// a kernel that calls another kernel must not use the same slot. Returns NULL when out of memory.
void *scratch(int slot, int64_t bytes);
enum { SCRATCH_SLOTS = 8 };

// Records the sentence that last_error() returns on this thread; returns TG_FAILED for `return fail(...)`.
int fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

} // namespace tautgrad::cpu

// The lambda form is a static function per call site, so that it never becomes a symbol shared between instruction sets.
namespace {
template <class Body> inline void parallel_for(int64_t count, const Body &body) {
  tautgrad::cpu::parallel_for_raw(
      count, [](void *context, int64_t index) { (*static_cast<const Body *>(context))(index); }, const_cast<Body *>(&body));
}
} // namespace
