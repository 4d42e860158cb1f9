// Matrix products by cuBLAS.
#include "bfloat16.h"
#include "library.h"
#include "vendor.h"

#include <mutex>

namespace tautgrad::cuda {
namespace {

// cuBLAS's own numbers (cublas_api.h, library_types.h).
constexpr int PLAIN = 0, TRANSPOSED = 1, R_32F = 0, R_64F = 1, R_16BF = 14, COMPUTE_32F = 68, COMPUTE_64F = 70, COMPUTE_32F_FAST_TF32 = 77,
              ALGORITHM = -1;
constexpr int64_t WORKSPACE = int64_t(32) << 20; // ours, so that products can be captured

struct Cublas {
  Library library{"cuBLAS", "TAUTGRAD_CUBLAS", {"libcublas.so.13", "libcublas.so.12"}};
  std::mutex mutex; // a handle serves one thread at a time
  void *handle = nullptr;
  int (*create)(void **) = nullptr;
  int (*version)(void *, int *) = nullptr;
  int (*set_stream)(void *, cudaStream_t) = nullptr;
  int (*set_workspace)(void *, void *, size_t) = nullptr;
  int (*multiply)(void *, int, int, int m, int n, int k, const void *alpha, const void *a, int, int lda, long long stride_a, const void *b,
                  int, int ldb, long long stride_b, const void *beta, void *c, int, int ldc, long long stride_c, int batch, int compute,
                  int algorithm) = nullptr;

  template <class F> void need(F &function, const char *symbol) {
    if (library.usable()) function = reinterpret_cast<F>(library.need(symbol));
  }

  Cublas() {
    need(create, "cublasCreate_v2");
    need(version, "cublasGetVersion_v2");
    need(set_stream, "cublasSetStream_v2");
    need(set_workspace, "cublasSetWorkspace_v2");
    need(multiply, "cublasGemmStridedBatchedEx");
    if (!library.usable()) return;
    void *workspace = device_alloc(WORKSPACE);
    int number = 0;
    int status = workspace ? create(&handle) : 3; // its own number for memory that is not there
    if (status == 0) status = set_stream(handle, compute_stream());
    if (status == 0) status = set_workspace(handle, workspace, WORKSPACE);
    if (status == 0) status = version(handle, &number);
    if (status != 0) {
      device_release(workspace);
      library.refuse("it does not start here: status " + std::to_string(status));
      return;
    }
    library.set_version(std::to_string(number / 10000) + "." + std::to_string(number / 100 % 100) + "." + std::to_string(number % 100));
    if (number < 120000) library.refuse("version 12 or newer is needed, this one answers " + std::to_string(number));
  }
};

Cublas &cublas() {
  static Cublas *one = new Cublas; // never closed
  return *one;
}

} // namespace

int cublas_product(int64_t dtype, int64_t batch, int64_t m, int64_t n, int64_t k, int64_t transpose_a, int64_t transpose_b, const void *a,
                   int64_t a_stride, const void *b, int64_t b_stride, void *c) {
  constexpr int64_t most = (int64_t(1) << 31) - 1;
  if (batch < 1 || m < 1 || n < 1 || k < 1 || batch > most || m > most || n > most || k > most) return TG_UNSUPPORTED;
  Cublas &blas = cublas();
  if (!blas.library.usable() || (dtype != TG_F32 && dtype != TG_F64)) return TG_UNSUPPORTED;
  const bool single = dtype == TG_F32, packed = single && products_in_bfloat16() && tensor_cores();
  const int64_t a_count = packed ? (batch - 1) * a_stride + m * k : 0, b_count = packed ? (batch - 1) * b_stride + k * n : 0;
  Scratch small_a(a_count * int64_t(sizeof(uint16_t))), small_b(b_count * int64_t(sizeof(uint16_t)));
  if (packed) {
    if (!small_a.ok() || !small_b.ok() || pack_factors("matmul", a_count, static_cast<const float *>(a), small_a.as<uint16_t>()) != TG_OK ||
        pack_factors("matmul", b_count, static_cast<const float *>(b), small_b.as<uint16_t>()) != TG_OK)
      return TG_UNSUPPORTED;
    a = small_a.as<void>();
    b = small_b.as<void>();
  }
  const std::lock_guard<std::mutex> lock(blas.mutex);
  const Turn turn;
  const float one = 1, none = 0;
  const double one64 = 1, none64 = 0;
  const int result = single ? R_32F : R_64F, type = packed ? R_16BF : result;
  const int compute = !single ? COMPUTE_64F : !packed && allow_tf32() ? COMPUTE_32F_FAST_TF32 : COMPUTE_32F;
  // It counts columns first: of the same memory it sees the transposes, and c' = op(b)' op(a)'.
  const int status = blas.multiply(blas.handle, transpose_b ? TRANSPOSED : PLAIN, transpose_a ? TRANSPOSED : PLAIN, static_cast<int>(n),
                                   static_cast<int>(m), static_cast<int>(k), single ? static_cast<const void *>(&one) : &one64, b, type,
                                   static_cast<int>(transpose_b ? k : n), b_stride, a, type, static_cast<int>(transpose_a ? m : k),
                                   a_stride, single ? static_cast<const void *>(&none) : &none64, c, result, static_cast<int>(n), m * n,
                                   static_cast<int>(batch), compute, ALGORITHM);
  if (status == 0) return TG_OK;
  cudaGetLastError();
  return TG_UNSUPPORTED;
}

std::string cublas_description() { return cublas().library.description(); }

} // namespace tautgrad::cuda
