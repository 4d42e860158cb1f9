// The kernels that TypeScript may call, in the order of their indices. kernel_names() hands this order to TypeScript.
#pragma once

#include "arguments.h"

namespace tautgrad::addon {

struct Kernel {
  const char *name;
  bool (*present)(const tg_backend *);
  Call (*run)(const tg_backend *const (&backends)[DEVICES], const double *block);
};

#define TG_KERNEL(entry)                                                                                                                   \
  Kernel {                                                                                                                                 \
#entry, [](const tg_backend *b) { return b->entry != nullptr; }, [](const tg_backend *const(&backends)[DEVICES],                       \
                                                                        const double *                                                     \
                                                                            block) { return invoke(&tg_backend::entry, backends, block); } \
  }

static const Kernel KERNELS[] = {
    TG_KERNEL(fill),
    TG_KERNEL(arange),
    TG_KERNEL(cast),
    TG_KERNEL(unary),
    TG_KERNEL(binary),
    TG_KERNEL(compare),
    TG_KERNEL(select),
    TG_KERNEL(copy_strided),
    TG_KERNEL(reduce),
    TG_KERNEL(cumsum),
    TG_KERNEL(gather),
    TG_KERNEL(scatter_add),
    TG_KERNEL(matmul),
    TG_KERNEL(conv_forward),
    TG_KERNEL(conv_data),
    TG_KERNEL(conv_weights),
    TG_KERNEL(conv_forward_bias),
    TG_KERNEL(conv_data_masked),
    TG_KERNEL(conv_weights_bias),
    TG_KERNEL(conv_frame_forward),
    TG_KERNEL(conv_frame_data),
    TG_KERNEL(conv_frame_weights),
    TG_KERNEL(scale_blur),
    TG_KERNEL(log_student),
    TG_KERNEL(softplus_derivative),
    TG_KERNEL(batch_norm),
    TG_KERNEL(batch_norm_gradient),
    TG_KERNEL(softmax),
    TG_KERNEL(softmax_gradient),
    TG_KERNEL(log_sum_exp),
    TG_KERNEL(log_sum_exp_gradient),
    TG_KERNEL(layer_norm),
    TG_KERNEL(layer_norm_gradient),
    TG_KERNEL(max_pool),
    TG_KERNEL(max_pool_pick),
    TG_KERNEL(max_pool_spread),
    TG_KERNEL(average_pool),
    TG_KERNEL(channel_affine),
    TG_KERNEL(pttrf),
    TG_KERNEL(pttrs),
    TG_KERNEL(ptsv),
    TG_KERNEL(gtsv),
    TG_KERNEL(random_uniform),
    TG_KERNEL(random_normal),
    TG_KERNEL(adam),
    TG_KERNEL(sgd),
    TG_KERNEL(global_norm),
    TG_KERNEL(moving_average),
    TG_KERNEL(prox1d),
    TG_KERNEL(prox1d_newton),
    TG_KERNEL(prox1d_average),
    TG_KERNEL(jump_sum),
    TG_KERNEL(jump_spread),
    TG_KERNEL(prox2d),
    TG_KERNEL(component_average),
    TG_KERNEL(rof),
    TG_KERNEL(rof_derivative),
    TG_KERNEL(fft),
    TG_KERNEL(radon_forward),
    TG_KERNEL(radon_adjoint),
    TG_KERNEL(prox3d),
    TG_KERNEL(random_uniform_at),
    TG_KERNEL(random_normal_at),
};
constexpr int KERNEL_COUNT = sizeof KERNELS / sizeof KERNELS[0];

} // namespace tautgrad::addon
