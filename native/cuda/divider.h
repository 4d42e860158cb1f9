// Division by a number that a whole launch shares: a multiplication and a shift.
#pragma once

#include <cstdint>

namespace tautgrad::cuda {

// floor(n / divisor) for 0 <= n < 2^31, 1 <= divisor < 2^31: with 2^s >= divisor, p = 31 + s and magic = ceil(2^p / divisor) < 2^32, the
// error n (magic divisor - 2^p) / (divisor 2^p) stays below 1 / divisor (Granlund & Montgomery 1994).
struct Divider {
  uint32_t divisor, magic, shift;
  explicit Divider(int64_t d) : divisor(static_cast<uint32_t>(d > 0 ? d : 1)), shift(31) {
    while ((uint64_t(1) << (shift - 31)) < divisor) ++shift;
    magic = static_cast<uint32_t>(((uint64_t(1) << shift) + divisor - 1) / divisor);
  }
  __host__ __device__ uint32_t divide(uint32_t n) const { return static_cast<uint32_t>(uint64_t(n) * magic >> shift); }
  // The quotient; *rest receives the remainder.
  __host__ __device__ uint32_t divide(uint32_t n, uint32_t *rest) const {
    const uint32_t q = divide(n);
    *rest = n - q * divisor;
    return q;
  }
};

} // namespace tautgrad::cuda
