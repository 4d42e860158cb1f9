# Every source of the CPU addon, in one place. test/packaging holds binding.gyp equal to these lists.
set(TG_COMMON_SOURCES
  native/cpu/backend.cpp
  native/cpu/thread_pool.cpp
  native/cpu/memory.cpp)
# Compiled once per instruction set (native/cpu/isa.h).
set(TG_ISA_SOURCES
  native/cpu/isa_table.cpp
  native/cpu/elementwise.cpp
  native/cpu/movement.cpp
  native/cpu/reduce.cpp
  native/cpu/matmul.cpp
  native/cpu/conv.cpp
  native/cpu/conv_direct.cpp
  native/cpu/conv_weights.cpp
  native/cpu/conv_winograd.cpp
  native/cpu/conv_winograd_weights.cpp
  native/cpu/tridiagonal.cpp
  native/cpu/random.cpp
  native/cpu/optimizer.cpp
  native/cpu/prox1d.cpp
  native/cpu/jumps.cpp
  native/cpu/prox2d.cpp
  native/cpu/rof.cpp
  native/cpu/radon.cpp)
set(TG_ADDON_SOURCES
  native/addon/addon.cpp
  native/addon/cuda_loader.cpp)
