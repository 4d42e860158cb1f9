// Captured steps: what one thread queues on the compute stream is recorded into a CUDA graph, which is then launched as often as wanted.
// The addresses inside a graph stay valid because the pool holds every block that it may name (memory.cu).
#include "device.h"

#include <vector>

namespace tautgrad::cuda {
namespace {

struct Graph {
  cudaGraphExec_t executable = nullptr;
  HeldBlocks *held = nullptr;
  std::vector<void *> host; // page-locked, read at every launch
};

// Never destroyed, as the pool.
std::shared_mutex &gate() {
  static auto *one = new std::shared_mutex;
  return *one;
}
thread_local Graph *capture = nullptr; // in progress on this thread

// Nothing that a launch still reads may go.
void free_graph(Graph *graph) {
  if (graph->executable) cudaGraphExecDestroy(graph->executable);
  if (graph->held) give_up_blocks(graph->held);
  if (!graph->host.empty()) cudaStreamSynchronize(compute_stream());
  for (void *block : graph->host) cudaFreeHost(block);
  delete graph;
}

int capture_begin() {
  if (capture) return fail("capture: a step is being captured already");
  gate().lock();
  // Relaxed: the pool may ask for memory inside the capture.
  const int status = check(cudaStreamBeginCapture(compute_stream(), cudaStreamCaptureModeRelaxed), "capture");
  if (status != TG_OK) {
    gate().unlock();
    return status;
  }
  capture = new Graph;
  capture->held = hold_blocks();
  return TG_OK;
}

// Ends the capture in any case; keep: 0 throws away what was recorded.
int capture_end(int64_t keep, void **result) {
  *result = nullptr;
  Graph *graph = capture;
  if (!graph) return fail("capture: no step is being captured");
  cudaGraph_t recorded = nullptr;
  int status = check(cudaStreamEndCapture(compute_stream(), &recorded), "capture");
  cudaGetLastError(); // a capture that failed is no error of the next launch
  stop_holding_new_blocks();
  capture = nullptr;
  gate().unlock();
  if (status == TG_OK && keep) status = check(cudaGraphInstantiate(&graph->executable, recorded, 0), "capture");
  if (recorded) cudaGraphDestroy(recorded);
  if (status == TG_OK && keep)
    *result = graph;
  else
    free_graph(graph);
  return status;
}

int graph_launch(void *graph) {
  if (require_no_capture("a captured step") != TG_OK) return TG_FAILED;
  const Turn turn;
  return check(cudaGraphLaunch(static_cast<Graph *>(graph)->executable, compute_stream()), "captured step");
}

int graph_destroy(void *graph) {
  if (require_no_capture("disposing a captured step") != TG_OK) return TG_FAILED;
  const Turn turn;
  free_graph(static_cast<Graph *>(graph));
  return TG_OK;
}

} // namespace

bool capturing() { return capture != nullptr; }

int require_no_capture(const char *what) {
  if (!capture) return TG_OK;
  return fail("%s cannot be part of a captured step, which the host queues once and the GPU repeats: no data() or item(), no operation "
              "that the CPU computes, no solver that stops at a tolerance; return tensors from the step and read them afterwards",
              what);
}

Turn::Turn() : shared_(!capture) {
  if (shared_) gate().lock_shared();
}
Turn::~Turn() {
  if (shared_) gate().unlock_shared();
}

void *captured_host_memory(int64_t bytes) {
  void *block = nullptr;
  if (cudaMallocHost(&block, static_cast<size_t>(bytes)) != cudaSuccess) {
    cudaGetLastError();
    return nullptr;
  }
  capture->host.push_back(block);
  return block;
}

void register_graph(tg_backend *t) {
  t->capture_begin = capture_begin;
  t->capture_end = capture_end;
  t->graph_launch = graph_launch;
  t->graph_destroy = graph_destroy;
}

} // namespace tautgrad::cuda
