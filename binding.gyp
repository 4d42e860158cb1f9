# The compile fallback of the published package: node-gyp builds the CPU addon where no shipped binary fits and CMake may be missing.
# CMakeLists.txt is the source of truth; test/packaging/sources.test.ts holds the lists and flags here equal to its own.
# Keep this file JSON with comments on lines of their own, so that the test can read it.
{
  "variables": {
    "common_sources": [
      "native/cpu/backend.cpp",
      "native/cpu/thread_pool.cpp",
      "native/cpu/memory.cpp",
      "native/cpu/tv_exact.cpp"
    ],
    "isa_sources": [
      "native/cpu/isa_table.cpp",
      "native/cpu/elementwise.cpp",
      "native/cpu/movement.cpp",
      "native/cpu/reduce.cpp",
      "native/cpu/matmul.cpp",
      "native/cpu/conv.cpp",
      "native/cpu/conv_direct.cpp",
      "native/cpu/conv_weights.cpp",
      "native/cpu/conv_depthwise.cpp",
      "native/cpu/conv_winograd.cpp",
      "native/cpu/conv_strided.cpp",
      "native/cpu/conv_strided_data.cpp",
      "native/cpu/conv_strided_weights.cpp",
      "native/cpu/conv_winograd_weights.cpp",
      "native/cpu/conv_frame.cpp",
      "native/cpu/scale_blur.cpp",
      "native/cpu/log_student.cpp",
      "native/cpu/softplus.cpp",
      "native/cpu/batch_norm.cpp",
      "native/cpu/pool.cpp",
      "native/cpu/layer_norm.cpp",
      "native/cpu/softmax.cpp",
      "native/cpu/tridiagonal.cpp",
      "native/cpu/random.cpp",
      "native/cpu/optimizer.cpp",
      "native/cpu/prox1d.cpp",
      "native/cpu/jumps.cpp",
      "native/cpu/prox2d.cpp",
      "native/cpu/rof.cpp",
      "native/cpu/rof_derivative.cpp",
      "native/cpu/fourier.cpp",
      "native/cpu/radon.cpp",
      "native/cpu/prox3d.cpp"
    ],
    "addon_sources": [
      "native/addon/addon.cpp",
      "native/addon/cuda_loader.cpp",
      "native/addon/device_steps.cpp"
    ],
    "kernel_flags": ["-fno-math-errno", "-fno-trapping-math"]
  },
  "target_defaults": {
    # Node's own defaults turn exceptions off and ask newer compilers for a newer standard.
    "cflags_cc!": ["-fno-exceptions", "-fno-rtti", "-std=gnu++20"],
    "cflags_cc": ["-std=gnu++17"],
    "cflags": ["-O3", "-fPIC", "-fvisibility=hidden", "-fvisibility-inlines-hidden", "-Wall", "-Wextra", "-Wno-psabi", "-Wno-maybe-uninitialized"],
    "defines": ["NDEBUG"],
    "xcode_settings": {
      "GCC_ENABLE_CPP_EXCEPTIONS": "YES",
      "GCC_ENABLE_CPP_RTTI": "YES",
      "GCC_OPTIMIZATION_LEVEL": "3",
      "GCC_SYMBOLS_PRIVATE_EXTERN": "YES",
      "CLANG_CXX_LANGUAGE_STANDARD": "gnu++17",
      "MACOSX_DEPLOYMENT_TARGET": "11.0"
    }
  },
  "targets": [
    {
      "target_name": "tautgrad_cpu_baseline",
      "type": "static_library",
      "sources": ["<@(isa_sources)"],
      "defines": ["TG_ISA=baseline"],
      "cflags": ["<@(kernel_flags)"],
      "xcode_settings": { "OTHER_CFLAGS": ["<@(kernel_flags)"] }
    },
    {
      "target_name": "tautgrad",
      "sources": ["<@(addon_sources)", "<@(common_sources)"],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=8", "NODE_ADDON_API_CPP_EXCEPTIONS", "NODE_ADDON_API_DISABLE_DEPRECATED", "TG_HAVE_BASELINE=1"],
      "dependencies": ["tautgrad_cpu_baseline"],
      "conditions": [
        ["target_arch == 'x64'", {
          "defines": ["TG_HAVE_AVX2=1", "TG_HAVE_AVX512=1"],
          "dependencies": ["tautgrad_cpu_avx2", "tautgrad_cpu_avx512"]
        }],
        ["OS == 'linux'", {
          "ldflags": ["-static-libgcc", "-static-libstdc++", "-Wl,--exclude-libs,ALL"],
          "libraries": ["-ldl", "-lpthread"]
        }]
      ]
    }
  ],
  "conditions": [
    ["target_arch == 'x64'", {
      "targets": [
        {
          "target_name": "tautgrad_cpu_avx2",
          "type": "static_library",
          "variables": { "isa_flags": ["-mavx2", "-mfma", "-mbmi", "-mbmi2", "-mf16c", "-mtune=haswell"] },
          "sources": ["<@(isa_sources)"],
          "defines": ["TG_ISA=avx2"],
          "cflags": ["<@(kernel_flags)", "<@(isa_flags)"],
          "xcode_settings": { "OTHER_CFLAGS": ["<@(kernel_flags)", "<@(isa_flags)"] }
        },
        {
          "target_name": "tautgrad_cpu_avx512",
          "type": "static_library",
          "variables": {
            "isa_flags": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mavx512cd", "-mfma", "-mbmi", "-mbmi2", "-mf16c", "-mprefer-vector-width=512"]
          },
          "sources": ["<@(isa_sources)"],
          "defines": ["TG_ISA=avx512"],
          "cflags": ["<@(kernel_flags)", "<@(isa_flags)"],
          "xcode_settings": { "OTHER_CFLAGS": ["<@(kernel_flags)", "<@(isa_flags)"] }
        }
      ]
    }]
  ]
}
