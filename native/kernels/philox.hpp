// Philox4x32-10, the counter-based generator of Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
// The word type is a template argument: uint32_t on a device, a vector of uint32_t on a CPU.
//
// Which counter serves which value of a stream (both backends keep to it):
//   counter = {low 32 bits of q, high 32 bits of q, kind, 0}, key = {low, high 32 bits of the seed}, kind 0 uniform, 1 normal;
//   float32: q = k / 4, value k comes from words w0..w3 of that block; uniform: (w >> 8) 2^-24;
//            normal: Box-Muller on the pairs (w0, w1) -> values 0, 1 and (w2, w3) -> values 2, 3;
//   float64: q = k / 2, value k comes from the pair (w0, w1) or (w2, w3); uniform: 53 bits, high word first;
//            normal: Box-Muller on the two 53-bit uniforms of the block -> values 0, 1.
//   Box-Muller: sqrt(-2 ln u) cos(2 pi v), then the same with sin; u in (0, 1], v in [-1/2, 1/2).
//   float32: u = float((w >> 1) 2^-31 + 2^-32), v = float(signed w) 2^-32.  float64: u = (53 bits + 1) 2^-53, v = 53 bits 2^-53, less 1
//   from 1/2 on.
#pragma once

#include <stdint.h>

#if defined(__CUDACC__)
#define TG_PHILOX_FUNCTION static __host__ __device__ __forceinline__
#else
#define TG_PHILOX_FUNCTION static inline __attribute__((always_inline))
#endif

namespace tautgrad::kernels {

constexpr uint32_t PHILOX_UNIFORM = 0, PHILOX_NORMAL = 1;

// high and low word of the product with a constant; an overload for vectors lies with the backend that has them
TG_PHILOX_FUNCTION void philox_multiply(uint32_t a, uint32_t b, uint32_t &high, uint32_t &low) {
  const uint64_t product = static_cast<uint64_t>(a) * b;
  high = static_cast<uint32_t>(product >> 32);
  low = static_cast<uint32_t>(product);
}

// Ten rounds in place on c[4].
template <class Word> TG_PHILOX_FUNCTION void philox_rounds(Word *c, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    Word high0, low0, high1, low1;
    philox_multiply(0xD2511F53u, c[0], high0, low0);
    philox_multiply(0xCD9E8D57u, c[2], high1, low1);
    const Word c0 = high1 ^ c[1] ^ key0, c2 = high0 ^ c[3] ^ key1;
    c[0] = c0;
    c[1] = low1;
    c[2] = c2;
    c[3] = low0;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
}

} // namespace tautgrad::kernels
