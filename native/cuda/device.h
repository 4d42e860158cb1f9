// What the host side of the CUDA backend shares: errors, streams, memory, scratch space.
//
// Every kernel is queued on one compute stream and returns at once: a kernel's arguments are valid when it runs because blocks of the
// pool are reused in stream order. Errors of the device surface at the next synchronisation point (download, synchronize).
#pragma once

#include "../backend.h"

#include <cuda_runtime.h>
#include <shared_mutex>

namespace tautgrad::cuda {

// Records the sentence for last_error() and returns TG_FAILED.
int fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
// TG_OK, or the failure of a call of the CUDA runtime made by `what`.
int check(cudaError_t status, const char *what);

cudaStream_t compute_stream();
cudaStream_t copy_stream(); // batches on their way to the device (stage.cu)
int multiprocessors();
int compute_capability();      // 90 for 9.0
int64_t shared_memory_limit(); // bytes that one block may ask for

// Captured steps (graph.cu). While one thread captures, its calls are recorded and those of other threads wait.
bool capturing(); // on this thread
// What a captured step cannot contain: TG_FAILED with the sentence inside one.
int require_no_capture(const char *what);
// Held around every call that queues or awaits work. Not to be nested.
class Turn {
public:
  Turn();
  ~Turn();
  Turn(const Turn &) = delete;
  Turn &operator=(const Turn &) = delete;

private:
  bool shared_;
};
// Page-locked memory that lives as long as the step being captured; NULL when there is none left.
void *captured_host_memory(int64_t bytes);

// The caching pool of device memory: 256-byte aligned blocks.
void *device_alloc(int64_t bytes); // nullptr when the device is full, also after the cached blocks were given back
void device_release(void *block);
void device_memory_stats(int64_t *live_bytes, int64_t *live_blocks, int64_t *cached_bytes);
void device_trim();
// For a capture that begins on this thread: keeps every block in use, and every one made from now on, until they are given up.
struct HeldBlocks;
HeldBlocks *hold_blocks();
void stop_holding_new_blocks();
void give_up_blocks(HeldBlocks *);

// Device memory for the duration of one kernel call: given back to the pool in stream order.
class Scratch {
public:
  explicit Scratch(int64_t bytes) : block_(bytes > 0 ? device_alloc(bytes) : nullptr), ok_(bytes <= 0 || block_ != nullptr) {}
  ~Scratch() { device_release(block_); }
  Scratch(const Scratch &) = delete;
  Scratch &operator=(const Scratch &) = delete;
  bool ok() const { return ok_; }
  template <class T> T *as(int64_t offset_bytes = 0) const {
    return reinterpret_cast<T *>(static_cast<unsigned char *>(block_) + offset_bytes);
  }

private:
  void *block_;
  bool ok_;
};

// Scratch memory handed out in pieces: a first pass counts (base is null), a second one takes.
struct Pieces {
  int64_t used = 0;
  unsigned char *base = nullptr;
  template <class T> T *take(int64_t count) {
    const int64_t at = used;
    used += (count * int64_t(sizeof(T)) + 255) / 256 * 256;
    return base ? reinterpret_cast<T *>(base + at) : nullptr;
  }
};

// Copies between host and device; `download` waits for everything queued before it.
int upload(void *to, const void *from, int64_t bytes);
int download(void *to, const void *from, int64_t bytes);
int copy(void *to, const void *from, int64_t bytes);
int zero(void *to, int64_t bytes, const char *what); // fills with zero bytes
int synchronize();
int download_async(void *to, const void *from, int64_t bytes, void (*done)(void *context), void *context);

void register_graph(tg_backend *);
void register_stage(tg_backend *);
void register_libraries(tg_backend *);
void register_elementwise(tg_backend *);
void register_movement(tg_backend *);
void register_reduce(tg_backend *);
void register_matmul(tg_backend *);
void register_conv(tg_backend *);
void register_tridiagonal(tg_backend *);
void register_random(tg_backend *);
void register_optimizer(tg_backend *);
void register_prox1d(tg_backend *);
void register_jumps(tg_backend *);
void register_prox2d(tg_backend *);
void register_components(tg_backend *);
void register_prox3d(tg_backend *);
void register_rof(tg_backend *);
void register_rof_derivative(tg_backend *);
void register_fourier(tg_backend *);
void register_radon(tg_backend *);
void register_log_student(tg_backend *);
void register_softplus(tg_backend *);
void register_batch_norm(tg_backend *);
void register_softmax(tg_backend *);
void register_layer_norm(tg_backend *);
void register_pool(tg_backend *);
void register_scale_blur(tg_backend *);
void register_conv_frame(tg_backend *);

} // namespace tautgrad::cuda
