# libtautgrad_cuda.so: static CUDA runtime, the driver alone is needed at run time.
set(TG_CUDA_ARCHITECTURES "75-real;80-real;86-real;89-real;90-real;100-real;120" CACHE STRING "as CMAKE_CUDA_ARCHITECTURES; the last one with PTX")
set(CMAKE_CUDA_ARCHITECTURES ${TG_CUDA_ARCHITECTURES})
enable_language(CUDA)
# Of the host's code, which only launches: a smaller library, quicker to build. The kernels are optimised regardless.
set(CMAKE_CUDA_FLAGS_RELEASE "-O1 -DNDEBUG")
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)

add_library(tautgrad_cuda SHARED ${TG_CUDA_SOURCES})
set_target_properties(tautgrad_cuda PROPERTIES CUDA_RUNTIME_LIBRARY Static CUDA_VISIBILITY_PRESET hidden)
target_compile_options(tautgrad_cuda PRIVATE
  # 186: templates compare unsigned elements with zero, which is constant there and meant so.
  $<$<COMPILE_LANGUAGE:CUDA>:--compress-mode=size --expt-relaxed-constexpr -diag-suppress=186 -Wno-deprecated-gpu-targets
  -Xcompiler=-Wall,-Wextra>)
if(TG_WERROR)
  target_compile_options(tautgrad_cuda PRIVATE "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:-Werror all-warnings>")
endif()
# Registers, spills and shared memory of every kernel: scripts/build-cuda.cjs --report
option(TG_CUDA_REPORT "print each kernel's registers and spills" OFF)
if(TG_CUDA_REPORT)
  target_compile_options(tautgrad_cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:--resource-usage>)
endif()
target_link_options(tautgrad_cuda PRIVATE -static-libgcc -static-libstdc++ -Wl,--exclude-libs,ALL -Wl,-s -Wl,--gc-sections)
target_link_libraries(tautgrad_cuda PRIVATE ${CMAKE_DL_LIBS})
