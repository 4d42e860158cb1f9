// Batches on their way to the device: host memory -> page-locked memory -> device memory on the copy stream, while the compute stream
// works on the batch before. Two events order them: the copy waits until the device memory was last read, readers wait for the copy.
#include "device.h"

#include <cstring>

namespace tautgrad::cuda {
namespace {

struct Stage {
  void *pinned = nullptr, *to = nullptr;
  size_t bytes = 0;
  cudaEvent_t arrived = nullptr;  // on the copy stream
  cudaEvent_t consumed = nullptr; // on the compute stream
};

// Also of a stage that was half made.
void free_stage(Stage *s) {
  if (s->arrived) {
    cudaEventSynchronize(s->arrived);
    // Whoever gets the device memory next works on the compute stream.
    const Turn turn;
    cudaStreamWaitEvent(compute_stream(), s->arrived, 0);
    cudaEventDestroy(s->arrived);
  }
  if (s->consumed) cudaEventDestroy(s->consumed);
  if (s->pinned) cudaFreeHost(s->pinned);
  delete s;
}

int stage_free(void *handle) {
  if (require_no_capture("disposing a batch") != TG_OK) return TG_FAILED;
  free_stage(static_cast<Stage *>(handle));
  return TG_OK;
}

int stage_done(void *handle) {
  if (require_no_capture("giving a batch back") != TG_OK) return TG_FAILED;
  const Turn turn;
  return check(cudaEventRecord(static_cast<Stage *>(handle)->consumed, compute_stream()), "stage");
}

int stage_make(void *to, int64_t bytes, void **result) {
  auto *s = new Stage;
  s->to = to;
  s->bytes = static_cast<size_t>(bytes);
  // What was queued before may still use the memory under another name.
  if (check(cudaMallocHost(&s->pinned, s->bytes > 0 ? s->bytes : 1), "page-locked memory") != TG_OK ||
      check(cudaEventCreateWithFlags(&s->arrived, cudaEventDisableTiming), "event") != TG_OK ||
      check(cudaEventCreateWithFlags(&s->consumed, cudaEventDisableTiming), "event") != TG_OK || stage_done(s) != TG_OK) {
    cudaGetLastError();
    free_stage(s);
    return TG_FAILED;
  }
  *result = s;
  return TG_OK;
}

int stage_send(void *handle, const void *from) {
  auto *s = static_cast<Stage *>(handle);
  if (s->bytes == 0) return TG_OK;
  const Turn turn;
  if (check(cudaEventSynchronize(s->arrived), "stage") != TG_OK) return TG_FAILED; // the page-locked memory is free again
  std::memcpy(s->pinned, from, s->bytes);
  if (check(cudaStreamWaitEvent(copy_stream(), s->consumed, 0), "stage") != TG_OK ||
      check(cudaMemcpyAsync(s->to, s->pinned, s->bytes, cudaMemcpyHostToDevice, copy_stream()), "stage") != TG_OK)
    return TG_FAILED;
  return check(cudaEventRecord(s->arrived, copy_stream()), "stage");
}

int stage_receive(void *handle) {
  if (require_no_capture("receiving a batch") != TG_OK) return TG_FAILED;
  const Turn turn;
  return check(cudaStreamWaitEvent(compute_stream(), static_cast<Stage *>(handle)->arrived, 0), "stage");
}

} // namespace

void register_stage(tg_backend *t) {
  t->stage_make = stage_make;
  t->stage_send = stage_send;
  t->stage_receive = stage_receive;
  t->stage_done = stage_done;
  t->stage_free = stage_free;
}

} // namespace tautgrad::cuda
