// Products whose factors are rounded to bfloat16, with float32 sums (train.mixedPrecision). Three ways lead to the same numbers: tensor
// cores with packed factors (tensor_gemm.cuh, cuBLAS), TensorFloat-32, which holds every bfloat16 number (cuDNN), and float32 (older
// devices).
#pragma once

#include "device.h"

namespace tautgrad::cuda {

bool products_in_bfloat16(); // of float32 tensors, by calls of this thread
bool tensor_cores();         // whether this device multiplies bfloat16 (compute capability 8.0)

int round_factors(const char *name, int64_t n, const float *x, float *y);
int pack_factors(const char *name, int64_t n, const float *x, uint16_t *y);

// The two factors of a convolution as its kernels want them. With products in bfloat16 they are rounded copies where a kernel takes float32
// as it is.
class Factors {
public:
  // own_tensor: whether our own kernel for this call is one that rounds by itself; library: whether one of the vendor's is tried before.
  Factors(const char *name, int64_t dtype, const void *a, int64_t a_count, const void *b, int64_t b_count, bool own_tensor, bool library)
      : coarse(dtype == TG_F32 && products_in_bfloat16()), tensor(coarse && own_tensor && tensor_cores()), first(a), second(b),
        copies_(coarse && (library || !tensor)), a_(copies_ ? a_count * int64_t(sizeof(float)) : 0),
        b_(copies_ ? b_count * int64_t(sizeof(float)) : 0) {
    if (!copies_) return;
    if (!a_.ok() || !b_.ok()) {
      status = fail("%s: out of memory for rounded factors", name);
      return;
    }
    status = round_factors(name, a_count, static_cast<const float *>(a), a_.as<float>());
    if (status == TG_OK) status = round_factors(name, b_count, static_cast<const float *>(b), b_.as<float>());
    first = a_.as<void>();
    second = b_.as<void>();
  }

  const bool coarse, tensor;
  int status = TG_OK;
  const void *first, *second;

private:
  const bool copies_;
  Scratch a_, b_;
};

} // namespace tautgrad::cuda
