// The CUDA backend's table, made when the first caller asks and a GPU answers.
#include "device.h"

#include <cstdarg>
#include <cstdio>
#include <mutex>

namespace tautgrad::cuda {
namespace {
thread_local char error_text[512] = "";
char reason[256] = "";
char description[320] = "";
cudaStream_t stream = nullptr, copying = nullptr;
int processors = 1, capability = 0;
int64_t shared_limit = 48 * 1024;
} // namespace

int fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(error_text, sizeof error_text, format, arguments);
  va_end(arguments);
  return TG_FAILED;
}

int check(cudaError_t status, const char *what) {
  if (status == cudaSuccess) return TG_OK;
  return fail("%s: %s", what, cudaGetErrorString(status));
}

cudaStream_t compute_stream() { return stream; }
cudaStream_t copy_stream() { return copying; }
int multiprocessors() { return processors; }
int compute_capability() { return capability; }
int64_t shared_memory_limit() { return shared_limit; }

namespace {

// False, with the reason, where no GPU can be used.
bool start() {
  int count = 0;
  const cudaError_t counted = cudaGetDeviceCount(&count);
  if (counted != cudaSuccess || count == 0) {
    int driver = 0;
    cudaDriverGetVersion(&driver);
    if (driver == 0)
      std::snprintf(reason, sizeof reason, "this machine has no NVIDIA driver");
    else if (static_cast<int>(counted) == 35)
      std::snprintf(reason, sizeof reason, "the NVIDIA driver supports CUDA %d.%d, and 13.0 (driver R580 or newer) is needed",
                    driver / 1000, driver % 1000 / 10);
    else
      std::snprintf(reason, sizeof reason, "no NVIDIA GPU was found (%s)", cudaGetErrorString(counted));
    return false;
  }
  int device = 0;
  cudaDeviceProp properties{};
  cudaError_t status = cudaGetDevice(&device);
  if (status == cudaSuccess) status = cudaGetDeviceProperties(&properties, device);
  if (status == cudaSuccess) status = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  if (status == cudaSuccess) status = cudaStreamCreateWithFlags(&copying, cudaStreamNonBlocking);
  if (status != cudaSuccess) {
    std::snprintf(reason, sizeof reason, "the GPU could not be opened: %s", cudaGetErrorString(status));
    return false;
  }
  processors = properties.multiProcessorCount;
  capability = 10 * properties.major + properties.minor;
  shared_limit = static_cast<int64_t>(properties.sharedMemPerBlockOptin);
  std::snprintf(description, sizeof description, "%s, compute capability %d.%d", properties.name, properties.major, properties.minor);
  return true;
}

const tg_backend *make_table() {
  if (!start()) return nullptr;
  static tg_backend t{};
  t.version = TG_BACKEND_VERSION;
  t.name = "cuda";
  t.last_error = [] { return static_cast<const char *>(error_text); };
  t.describe = [] { return static_cast<const char *>(description); };
  t.alloc = device_alloc;
  t.release = device_release;
  t.memory_stats = device_memory_stats;
  t.trim = device_trim;
  t.upload = upload;
  t.download = download;
  t.copy = copy;
  t.synchronize = synchronize;
  t.download_async = download_async;
  register_graph(&t);
  register_stage(&t);
  register_libraries(&t);
  register_elementwise(&t);
  register_movement(&t);
  register_reduce(&t);
  register_matmul(&t);
  register_conv(&t);
  register_tridiagonal(&t);
  register_random(&t);
  register_optimizer(&t);
  register_prox1d(&t);
  register_jumps(&t);
  register_prox2d(&t);
  register_components(&t);
  register_prox3d(&t);
  register_rof(&t);
  register_rof_derivative(&t);
  register_fourier(&t);
  register_radon(&t);
  register_log_student(&t);
  register_softplus(&t);
  register_batch_norm(&t);
  register_softmax(&t);
  register_layer_norm(&t);
  register_pool(&t);
  register_scale_blur(&t);
  register_conv_frame(&t);
  return &t;
}
} // namespace
} // namespace tautgrad::cuda

extern "C" __attribute__((visibility("default"))) const tg_backend *tg_cuda_backend(void) {
  static const tg_backend *table = tautgrad::cuda::make_table();
  return table;
}

extern "C" __attribute__((visibility("default"))) const char *tg_cuda_reason(void) { return tautgrad::cuda::reason; }
