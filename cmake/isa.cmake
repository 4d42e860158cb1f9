# Instruction sets that the kernels are compiled for. Each gets the same sources under its own namespace (TG_ISA).
# test/packaging holds binding.gyp equal to these lists.
# Multiply-adds may be fused where the set has them: results may differ between instruction sets by rounding, never between threads.
set(TG_INSTRUCTION_SETS baseline)
set(TG_FLAGS_kernels -fno-math-errno -fno-trapping-math)
set(TG_FLAGS_baseline "")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  list(APPEND TG_INSTRUCTION_SETS avx2 avx512)
  set(TG_FLAGS_avx2 -mavx2 -mfma -mbmi -mbmi2 -mf16c -mtune=haswell)
  set(TG_FLAGS_avx512 -mavx512f -mavx512dq -mavx512bw -mavx512vl -mavx512cd -mfma -mbmi -mbmi2 -mf16c -mprefer-vector-width=512)
endif()

# One object library per instruction set, all of them inside `library`; backend.cpp chooses among them at load time.
function(tg_add_instruction_sets library)
  foreach(isa IN LISTS TG_INSTRUCTION_SETS)
    add_library(${library}_${isa} OBJECT ${TG_ISA_SOURCES})
    target_compile_definitions(${library}_${isa} PRIVATE TG_ISA=${isa})
    target_compile_options(${library}_${isa} PRIVATE ${TG_FLAGS_kernels} ${TG_FLAGS_${isa}})
    target_sources(${library} PRIVATE $<TARGET_OBJECTS:${library}_${isa}>)
    string(TOUPPER ${isa} upper)
    target_compile_definitions(${library} PRIVATE TG_HAVE_${upper}=1)
  endforeach()
endfunction()
