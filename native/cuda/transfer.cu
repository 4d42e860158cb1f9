// Copies between host and device.
#include "device.h"

#include <cstring>
#include <mutex>

namespace tautgrad::cuda {
namespace {

// Page-locked memory that small copies pass through, so that they neither wait for the device nor keep the caller's array alive.
constexpr int64_t STAGING = int64_t(4) << 20;
struct Staging {
  std::mutex mutex;
  unsigned char *block = nullptr;
  int64_t used = 0;
  cudaEvent_t drained = nullptr;
};
Staging &staging() {
  static Staging *one = new Staging;
  return *one;
}
} // namespace

int upload(void *to, const void *from, int64_t bytes) {
  if (bytes == 0) return TG_OK;
  const Turn turn;
  const auto size = static_cast<size_t>(bytes);
  if (capturing()) { // replays copy what the host's memory holds now
    void *kept = captured_host_memory(bytes);
    if (!kept) return fail("upload: no page-locked memory is left");
    std::memcpy(kept, from, size);
    return check(cudaMemcpyAsync(to, kept, size, cudaMemcpyHostToDevice, compute_stream()), "upload");
  }
  Staging &s = staging();
  if (bytes <= STAGING / 4) {
    const std::lock_guard<std::mutex> lock(s.mutex);
    if (!s.block) {
      void *block = nullptr;
      if (check(cudaMallocHost(&block, STAGING), "page-locked memory") != TG_OK) return TG_FAILED;
      if (check(cudaEventCreateWithFlags(&s.drained, cudaEventDisableTiming), "event") != TG_OK) return TG_FAILED;
      s.block = static_cast<unsigned char *>(block);
    }
    if (s.used + bytes > STAGING) { // once round: what lies in the ring must have been read
      if (check(cudaEventRecord(s.drained, compute_stream()), "upload") != TG_OK) return TG_FAILED;
      if (check(cudaEventSynchronize(s.drained), "upload") != TG_OK) return TG_FAILED;
      s.used = 0;
    }
    unsigned char *at = s.block + s.used;
    s.used += (bytes + 63) / 64 * 64;
    std::memcpy(at, from, size);
    return check(cudaMemcpyAsync(to, at, size, cudaMemcpyHostToDevice, compute_stream()), "upload");
  }
  if (check(cudaMemcpyAsync(to, from, size, cudaMemcpyHostToDevice, compute_stream()), "upload") != TG_OK) return TG_FAILED;
  return check(cudaStreamSynchronize(compute_stream()), "upload"); // the caller may change its array now
}

int download(void *to, const void *from, int64_t bytes) {
  if (require_no_capture("download") != TG_OK) return TG_FAILED;
  const Turn turn;
  if (bytes > 0 &&
      check(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost, compute_stream()), "download") != TG_OK)
    return TG_FAILED;
  return check(cudaStreamSynchronize(compute_stream()), "download");
}

int copy(void *to, const void *from, int64_t bytes) {
  if (bytes == 0) return TG_OK;
  const Turn turn;
  return check(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice, compute_stream()), "copy");
}

int zero(void *to, int64_t bytes, const char *what) {
  const Turn turn;
  return check(cudaMemsetAsync(to, 0, static_cast<size_t>(bytes), compute_stream()), what);
}

int synchronize() {
  if (require_no_capture("synchronize") != TG_OK) return TG_FAILED;
  const Turn turn;
  return check(cudaStreamSynchronize(compute_stream()), "synchronize");
}

int download_async(void *to, const void *from, int64_t bytes, void (*done)(void *), void *context) {
  if (require_no_capture("download") != TG_OK) return TG_FAILED;
  const Turn turn;
  if (bytes > 0 &&
      check(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost, compute_stream()), "download") != TG_OK)
    return TG_FAILED;
  return check(cudaLaunchHostFunc(compute_stream(), done, context), "download");
}

} // namespace tautgrad::cuda
