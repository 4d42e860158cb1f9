// The namespace of the instruction set that a translation unit is compiled for.
// Hot files are compiled once per instruction set (DESIGN §2). They must not emit weak symbols outside this namespace
// (no std containers, no std algorithms that are not always inlined): the linker would merge such a symbol across the
// instruction sets and could hand AVX-512 code to a machine without it. A test reads the symbol tables.
#pragma once

#ifndef TG_ISA
#define TG_ISA baseline
#endif

#include "../backend.h"

namespace tautgrad::cpu::TG_ISA {
// Each kernel family writes its entries into the table.
void register_elementwise(tg_backend *t);
void register_movement(tg_backend *t);
void register_reduce(tg_backend *t);
void register_matmul(tg_backend *t);
void register_conv(tg_backend *t);
void register_conv_frame(tg_backend *t);
void register_scale_blur(tg_backend *t);
void register_log_student(tg_backend *t);
void register_softplus(tg_backend *t);
void register_batch_norm(tg_backend *t);
void register_softmax(tg_backend *t);
void register_layer_norm(tg_backend *t);
void register_pool(tg_backend *t);
void register_tridiagonal(tg_backend *t);
void register_random(tg_backend *t);
void register_optimizer(tg_backend *t);
void register_prox1d(tg_backend *t);
void register_jumps(tg_backend *t);
void register_prox2d(tg_backend *t);
void register_rof(tg_backend *t);
void register_rof_derivative(tg_backend *t);
void register_fourier(tg_backend *t);
void register_radon(tg_backend *t);
void register_prox3d(tg_backend *t);
} // namespace tautgrad::cpu::TG_ISA
