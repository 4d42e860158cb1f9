// The emulated runtime's streams, events and graphs. Work runs when it is queued; with TAUTGRAD_EMULATION_ASYNC=1 it waits until the host
// synchronises, and the streams then take turns at random wherever their events allow it, so that a missing event, or memory given back
// too early, shows as a wrong result.
#include "cuda_runtime.h"

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <vector>

struct emulated_event {
  uint64_t recorded = 0, reached = 0; // how often
};
struct emulated_graph {
  std::vector<std::function<void()>> nodes;
};
struct emulated_graph_exec {
  std::vector<std::function<void()>> nodes;
};
struct emulated_stream {
  struct Operation {
    std::function<void()> work;
    const emulated_event *wait; // NULL, or the event that must have been reached `number` times
    uint64_t number;
  };
  std::deque<Operation> queue;
  emulated_graph *graph = nullptr; // being captured
  bool invalid = false;            // the capture met a call that it does not allow
};

namespace {

std::recursive_mutex mutex; // host functions may queue work
std::vector<emulated_stream *> streams;
uint64_t turns = 0x853C49E6748FEA9Bull;

bool asynchronous() {
  static const bool asked = [] {
    const char *value = std::getenv("TAUTGRAD_EMULATION_ASYNC");
    if (const char *seed = std::getenv("TAUTGRAD_EMULATION_SEED")) turns += std::strtoull(seed, nullptr, 10) * 0x9E3779B97F4A7C15ull;
    return value && *value && *value != '0';
  }();
  return asked;
}

uint64_t random_turn() {
  turns ^= turns << 13;
  turns ^= turns >> 7;
  turns ^= turns << 17;
  return turns;
}

bool can_run(const emulated_stream &s) {
  return !s.queue.empty() && (!s.queue.front().wait || s.queue.front().wait->reached >= s.queue.front().number);
}

// One operation of some stream. False when there is none that could run.
bool run_one() {
  std::vector<emulated_stream *> able;
  for (emulated_stream *s : streams)
    if (can_run(*s)) able.push_back(s);
  if (able.empty()) return false;
  emulated_stream *s = able[random_turn() % able.size()];
  const auto operation = std::move(s->queue.front());
  s->queue.pop_front();
  if (operation.work) operation.work();
  return true;
}

template <class Done> void run_until(const Done &done) {
  while (!done())
    if (!run_one()) {
      std::fprintf(stderr, "emulated GPU: the streams wait for events that nobody records\n");
      std::abort();
    }
}

void queue(cudaStream_t s, emulated_stream::Operation operation) {
  s->queue.push_back(std::move(operation));
  if (!asynchronous()) run_until([&] { return s->queue.empty(); });
}

// What waits for the device is no part of a graph.
cudaError_t refuse_capture(cudaStream_t s) {
  if (!s->graph) return cudaSuccess;
  s->invalid = true;
  return cudaErrorStreamCaptureUnsupported;
}

} // namespace

namespace emulation {
void enqueue(cudaStream_t stream, std::function<void()> work) {
  const std::lock_guard<std::recursive_mutex> lock(mutex);
  if (stream->graph)
    stream->graph->nodes.push_back(std::move(work));
  else
    queue(stream, {std::move(work), nullptr, 0});
}
} // namespace emulation

// For stand-ins of the vendor's libraries.
extern "C" __attribute__((visibility("default"))) void tg_emulation_enqueue(cudaStream_t s, void (*work)(void *), void *context) {
  emulation::enqueue(s, [=] { work(context); });
}

const char *cudaGetErrorString(cudaError_t e) {
  switch (e) {
  case cudaSuccess:
    return "no error";
  case cudaErrorMemoryAllocation:
    return "out of memory";
  case cudaErrorStreamCaptureUnsupported:
    return "operation not permitted when stream is capturing";
  case cudaErrorStreamCaptureInvalidated:
    return "operation failed due to a previous error during capture";
  case cudaErrorStreamCaptureIsolation:
    return "dependency created on uncaptured work in another stream";
  default:
    return "error";
  }
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned) {
  const std::lock_guard<std::recursive_mutex> lock(mutex);
  streams.push_back(*s = new emulated_stream);
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t s) {
  const std::lock_guard<std::recursive_mutex> lock(mutex);
  if (const cudaError_t refused = refuse_capture(s)) return refused;
  run_until([&] { return s->queue.empty(); });
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  const std::lock_guard<std::recursive_mutex> lock(mutex);
  for (emulated_stream *s : streams) run_until([&] { return s->queue.empty(); });
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned) { return *e = new emulated_event, cudaSuccess; }

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) {
  const std::lock_guard<std::recursive_mutex> lock(mutex);
  if (const cudaError_t refused = refuse_capture(s)) return refused; // native/cuda records none inside a capture
  const uint64_t number = ++e->recorded;
  queue(s, {[e, number] { e->reached = number; }, nullptr, 0});
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t e) {
  const std::lock_guard<std::recursive_mutex> lock(mutex);
  run_until([number = e->recorded, e] { return e->reached >= number; });
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t e) {
  const std::lock_guard<std::recursive_mutex> lock(mutex);
  if (e->reached < e->recorded) run_one(); // time goes by
  return e->reached >= e->recorded ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaEventDestroy(cudaEvent_t e) {
  cudaDeviceSynchronize();
  delete e;
  return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned) {
  const std::lock_guard<std::recursive_mutex> lock(mutex);
  if (s->graph) {
    s->invalid = true;
    return cudaErrorStreamCaptureIsolation;
  }
  queue(s, {nullptr, e, e->recorded});
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind, cudaStream_t s) {
  if (bytes) emulation::enqueue(s, [=] { std::memmove(to, from, bytes); });
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t s) {
  if (bytes) emulation::enqueue(s, [=] { std::memset(to, value, bytes); });
  return cudaSuccess;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t s, void (*f)(void *), void *context) {
  emulation::enqueue(s, [=] { f(context); });
  // The caller waits for the call without touching the device again.
  return s->graph ? cudaSuccess : cudaStreamSynchronize(s);
}

cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode) {
  const std::lock_guard<std::recursive_mutex> lock(mutex);
  if (s->graph) return cudaErrorInvalidValue;
  s->graph = new emulated_graph;
  s->invalid = false;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g) {
  const std::lock_guard<std::recursive_mutex> lock(mutex);
  if (!s->graph) return cudaErrorInvalidValue;
  *g = s->graph;
  s->graph = nullptr;
  if (!s->invalid) return cudaSuccess;
  delete *g;
  *g = nullptr;
  return cudaErrorStreamCaptureInvalidated;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *e, cudaGraph_t g, unsigned long long) {
  *e = new emulated_graph_exec{g->nodes};
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t e, cudaStream_t s) {
  for (const auto &node : e->nodes) emulation::enqueue(s, node);
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t g) {
  delete g;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t e) {
  delete e;
  return cudaSuccess;
}
