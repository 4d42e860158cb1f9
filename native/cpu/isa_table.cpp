// Compiled once per instruction set: gathers that set's kernels into a table.
#include "isa.h"

#define TG_CONCAT2(a, b) a##b
#define TG_CONCAT(a, b) TG_CONCAT2(a, b)

extern "C" void TG_CONCAT(tg_cpu_register_, TG_ISA)(tg_backend *t) {
  using namespace tautgrad::cpu::TG_ISA;
  register_elementwise(t);
  register_movement(t);
  register_reduce(t);
  register_matmul(t);
  register_conv(t);
  register_conv_frame(t);
  register_scale_blur(t);
  register_log_student(t);
  register_softplus(t);
  register_batch_norm(t);
  register_softmax(t);
  register_layer_norm(t);
  register_pool(t);
  register_tridiagonal(t);
  register_random(t);
  register_optimizer(t);
  register_prox1d(t);
  register_jumps(t);
  register_prox2d(t);
  register_rof(t);
  register_rof_derivative(t);
  register_fourier(t);
  register_radon(t);
  register_prox3d(t);
}
