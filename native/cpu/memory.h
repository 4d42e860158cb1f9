// The caching pool behind CPU storage: 64-byte aligned blocks, reused by size class.
#pragma once
#include <stdint.h>

namespace tautgrad::cpu {
void *pool_alloc(int64_t bytes);
void pool_release(void *block);
void pool_stats(int64_t *live_bytes, int64_t *live_blocks, int64_t *cached_bytes);
void pool_trim();
} // namespace tautgrad::cpu
