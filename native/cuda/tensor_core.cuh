// The tensor cores' product of bfloat16 factors with float32 sums (mma.sync, compute capability 8.0 and newer), and packing such factors.
#pragma once

#include "launch.h"

#include "../kernels/scalar_math.h"

namespace tautgrad::cuda {
namespace {

// The upper half of a float32, rounded to nearest; NaN stays NaN.
__device__ inline uint32_t bfloat16_bits(float v) { return v == v ? __float_as_uint(round_to_bfloat16(v)) >> 16 : 0x7fc0u; }
// Two numbers; the first one lies in the lower half.
__device__ inline uint32_t pack_bfloat16(float first, float second) { return bfloat16_bits(first) | bfloat16_bits(second) << 16; }

// d += a b of a 16 x 16 and a 16 x 8 matrix, by all lanes of a warp. Lane l = 4 g + t holds, of each pair along k the lower one first,
//   a: (g, 2t), (g + 8, 2t), (g, 2t + 8), (g + 8, 2t + 8);   b: (2t, g), (2t + 8, g);   d: (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t +
//   1)
__device__ inline void multiply_add(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#ifdef TG_CUDA_EMULATION
  ::emulation::multiply_add_bfloat16(d, a, b);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#elif defined(__CUDA_ARCH__)
  (void)d, (void)a, (void)b;
  __trap(); // the host calls no such kernel there
#endif
}

} // namespace
} // namespace tautgrad::cuda
