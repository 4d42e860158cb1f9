// What the vendor's libraries compute. The functions answer TG_UNSUPPORTED where our own kernels shall do it.
#pragma once

#include "device.h"

#include <string>

namespace tautgrad::cuda {

bool allow_tf32();

enum class ConvPass { forward, data, weights }; // first, second -> result as in backend.h: x, w -> y; dy, w -> dx; x, dy -> dw
bool cudnn_serves();                            // whether it was found and started
// tensor_float: the factors are known to fit TensorFloat-32.
int cudnn_convolution(ConvPass pass, int64_t dtype, const tg_conv &p, const void *first, const void *second, void *result,
                      bool tensor_float);
std::string cudnn_description();

int cublas_product(int64_t dtype, int64_t batch, int64_t m, int64_t n, int64_t k, int64_t transpose_a, int64_t transpose_b, const void *a,
                   int64_t a_stride, const void *b, int64_t b_stride, void *c);
std::string cublas_description();

// Lines of n complex samples, one after another, in place: sum_j x_j exp(direction 2 pi i j k / n). What a failed call leaves is not
// defined.
int cufft_lines(int64_t dtype, int64_t n, int64_t lines, int64_t direction, void *data);
bool cufft_usable();
std::string cufft_description();

} // namespace tautgrad::cuda
