// Convolutions by cuDNN 9, through its older interface (a function per pass, one descriptor per tensor), which every release since 5 has
// exported. The fastest deterministic algorithm of a shape is measured once and kept.
#include "library.h"
#include "vendor.h"

#include <cstring>
#include <map>
#include <mutex>
#include <vector>

namespace tautgrad::cuda {
namespace {

// cuDNN's own numbers (cudnn_ops.h, cudnn_cnn.h).
using Handle = void *;
using Descriptor = void *;
constexpr int NCHW = 0, FLOAT = 0, DOUBLE = 1, CROSS_CORRELATION = 1, DEFAULT_MATH = 0, FMA_MATH = 3, DETERMINISTIC = 1;
constexpr int SMALLEST_VERSION = 90000;

struct Performance { // cudnnConvolution{Fwd,BwdData,BwdFilter}AlgoPerf_t
  int algorithm, status;
  float time;
  size_t memory;
  int determinism, math;
  int reserved[3];
};
constexpr int MOST_ALGORITHMS = 16;

// The three passes' functions have the same parameters: two operands, the convolution, the result.
struct PassFunctions {
  int (*run)(Handle, const void *alpha, Descriptor, const void *, Descriptor, const void *, Descriptor, int algorithm, void *workspace,
             size_t bytes, const void *beta, Descriptor, void *);
  int (*find)(Handle, Descriptor, const void *, Descriptor, const void *, Descriptor, Descriptor, void *, int requested, int *returned,
              Performance *, void *workspace, size_t bytes); // NULL: not exported
  int (*guess)(Handle, Descriptor, Descriptor, Descriptor, Descriptor, int requested, int *returned, Performance *);
  int (*workspace)(Handle, Descriptor, Descriptor, Descriptor, Descriptor, int algorithm, size_t *bytes);
};

struct Cudnn {
  Library library{"cuDNN", "TAUTGRAD_CUDNN", {"libcudnn.so.9"}};
  std::mutex mutex; // a handle serves one thread at a time
  Handle handle = nullptr;
  size_t (*version)() = nullptr;
  const char *(*error_string)(int) = nullptr;
  int (*create)(Handle *) = nullptr;
  int (*set_stream)(Handle, cudaStream_t) = nullptr;
  int (*create_tensor)(Descriptor *) = nullptr;
  int (*set_tensor)(Descriptor, int format, int type, int n, int c, int h, int w) = nullptr;
  int (*destroy_tensor)(Descriptor) = nullptr;
  int (*create_filter)(Descriptor *) = nullptr;
  int (*set_filter)(Descriptor, int type, int format, int k, int c, int h, int w) = nullptr;
  int (*destroy_filter)(Descriptor) = nullptr;
  int (*create_convolution)(Descriptor *) = nullptr;
  int (*set_convolution)(Descriptor, int pad_h, int pad_w, int stride_h, int stride_w, int dilation_h, int dilation_w, int mode,
                         int type) = nullptr;
  int (*set_groups)(Descriptor, int) = nullptr;
  int (*set_math)(Descriptor, int) = nullptr;
  int (*destroy_convolution)(Descriptor) = nullptr;
  PassFunctions passes[3] = {};

  template <class F> void need(F &function, const char *symbol) {
    if (library.usable()) function = reinterpret_cast<F>(library.need(symbol));
  }
  void need_pass(PassFunctions &pass, const char *run, const char *find, const char *guess, const char *workspace) {
    need(pass.run, run);
    need(pass.guess, guess);
    need(pass.workspace, workspace);
    pass.find = reinterpret_cast<decltype(pass.find)>(library.want(find));
  }

  Cudnn() {
    need(version, "cudnnGetVersion");
    if (library.usable()) {
      const size_t v = version();
      library.set_version(std::to_string(v / 10000) + "." + std::to_string(v / 100 % 100) + "." + std::to_string(v % 100));
      if (v < SMALLEST_VERSION) library.refuse("version 9 or newer is needed, this one answers " + std::to_string(v));
    }
    need(error_string, "cudnnGetErrorString");
    need(create, "cudnnCreate");
    need(set_stream, "cudnnSetStream");
    need(create_tensor, "cudnnCreateTensorDescriptor");
    need(set_tensor, "cudnnSetTensor4dDescriptor");
    need(destroy_tensor, "cudnnDestroyTensorDescriptor");
    need(create_filter, "cudnnCreateFilterDescriptor");
    need(set_filter, "cudnnSetFilter4dDescriptor");
    need(destroy_filter, "cudnnDestroyFilterDescriptor");
    need(create_convolution, "cudnnCreateConvolutionDescriptor");
    need(set_convolution, "cudnnSetConvolution2dDescriptor");
    need(set_groups, "cudnnSetConvolutionGroupCount");
    need(set_math, "cudnnSetConvolutionMathType");
    need(destroy_convolution, "cudnnDestroyConvolutionDescriptor");
    need_pass(passes[0], "cudnnConvolutionForward", "cudnnFindConvolutionForwardAlgorithmEx", "cudnnGetConvolutionForwardAlgorithm_v7",
              "cudnnGetConvolutionForwardWorkspaceSize");
    need_pass(passes[1], "cudnnConvolutionBackwardData", "cudnnFindConvolutionBackwardDataAlgorithmEx",
              "cudnnGetConvolutionBackwardDataAlgorithm_v7", "cudnnGetConvolutionBackwardDataWorkspaceSize");
    need_pass(passes[2], "cudnnConvolutionBackwardFilter", "cudnnFindConvolutionBackwardFilterAlgorithmEx",
              "cudnnGetConvolutionBackwardFilterAlgorithm_v7", "cudnnGetConvolutionBackwardFilterWorkspaceSize");
    if (!library.usable()) return;
    int status = create(&handle);
    if (status == 0) status = set_stream(handle, compute_stream());
    if (status != 0) library.refuse(std::string("it does not start here: ") + error_string(status));
  }
};

Cudnn &cudnn() {
  static Cudnn *one = new Cudnn; // never closed
  return *one;
}

// Everything that the choice of an algorithm depends on.
using Key = std::vector<int64_t>;

struct Plan {
  bool usable = false;
  Descriptor first = nullptr, second = nullptr, result = nullptr, convolution = nullptr;
  int algorithm = 0;
  size_t workspace = 0;
};

// Memory that an algorithm may ask for.
constexpr size_t MOST_WORKSPACE = size_t(1) << 30;

// cuDNN pads both sides alike and counts in int.
bool expressible(const tg_conv &p) {
  const auto fits = [](int64_t size, int64_t k, int64_t stride, int64_t pad, int64_t dilation, int64_t out) {
    return pad >= 0 && out > 0 && out == (size + 2 * pad - dilation * (k - 1) - 1) / stride + 1 && size + 2 * pad >= dilation * (k - 1) + 1;
  };
  constexpr int64_t most = (int64_t(1) << 31) - 1;
  return p.n > 0 && p.c_in > 0 && p.c_out > 0 && p.groups <= most && p.n * p.c_in * p.h * p.w <= most &&
         p.n * p.c_out * p.out_h * p.out_w <= most && p.c_out * p.c_in * p.kh * p.kw <= most &&
         fits(p.h, p.kh, p.stride_h, p.pad_h, p.dilation_h, p.out_h) && fits(p.w, p.kw, p.stride_w, p.pad_w, p.dilation_w, p.out_w);
}

// Algorithms that multiply the factors themselves, not transforms of them, which TensorFloat-32 would round (cudnnConvolution*Algo_t).
bool multiplies_factors(ConvPass pass, int algorithm) {
  return pass == ConvPass::forward ? algorithm <= 3 : pass == ConvPass::data ? algorithm <= 1 : algorithm <= 1 || algorithm == 3;
}

// The quickest deterministic algorithm among those that ran. tensor_float: products of the factors as they are.
bool choose(ConvPass pass, bool tensor_float, const Performance *performances, int count, Plan *plan) {
  for (int i = 0; i < count; ++i) { // they come sorted by time
    const Performance &found = performances[i];
    if (found.status != 0 || found.determinism != DETERMINISTIC || found.memory > MOST_WORKSPACE) continue;
    if (tensor_float && !multiplies_factors(pass, found.algorithm)) continue;
    plan->algorithm = found.algorithm;
    return true;
  }
  return false;
}

Plan make_plan(Cudnn &dnn, ConvPass pass, int64_t dtype, const tg_conv &p, const void *first, const void *second, void *result,
               bool tensor_float) {
  Plan plan;
  const int type = dtype == TG_F32 ? FLOAT : DOUBLE;
  const auto i = [](int64_t v) { return static_cast<int>(v); };
  const PassFunctions &call = dnn.passes[static_cast<int>(pass)];
  Descriptor x, y, w;
  if (dnn.create_tensor(&x) != 0 || dnn.create_tensor(&y) != 0 || dnn.create_filter(&w) != 0 ||
      dnn.create_convolution(&plan.convolution) != 0)
    return plan; // out of host memory: a few bytes stay behind
  const bool described = dnn.set_tensor(x, NCHW, type, i(p.n), i(p.c_in), i(p.h), i(p.w)) == 0 &&
                         dnn.set_tensor(y, NCHW, type, i(p.n), i(p.c_out), i(p.out_h), i(p.out_w)) == 0 &&
                         dnn.set_filter(w, type, NCHW, i(p.c_out), i(p.c_in / p.groups), i(p.kh), i(p.kw)) == 0 &&
                         dnn.set_convolution(plan.convolution, i(p.pad_h), i(p.pad_w), i(p.stride_h), i(p.stride_w), i(p.dilation_h),
                                             i(p.dilation_w), CROSS_CORRELATION, type) == 0 &&
                         dnn.set_groups(plan.convolution, i(p.groups)) == 0 &&
                         dnn.set_math(plan.convolution, dtype == TG_F32 && !tensor_float && !allow_tf32() ? FMA_MATH : DEFAULT_MATH) == 0;
  // In the order of the functions' parameters: the data pass takes the weights first.
  plan.first = pass == ConvPass::data ? w : x;
  plan.second = pass == ConvPass::forward ? w : y;
  plan.result = pass == ConvPass::forward ? y : pass == ConvPass::data ? x : w;
  if (!described) return plan;

  Performance performances[MOST_ALGORITHMS];
  int count = 0;
  bool chosen = false;
  if (call.find && !capturing()) { // measuring waits for the device
    size_t most = 0;
    if (call.guess(dnn.handle, plan.first, plan.second, plan.convolution, plan.result, MOST_ALGORITHMS, &count, performances) == 0)
      for (int k = 0; k < count; ++k)
        if (performances[k].status == 0 && performances[k].memory <= MOST_WORKSPACE && performances[k].memory > most)
          most = performances[k].memory;
    const Scratch workspace(static_cast<int64_t>(most));
    const Turn turn;
    chosen = workspace.ok() &&
             call.find(dnn.handle, plan.first, first, plan.second, second, plan.convolution, plan.result, result, MOST_ALGORITHMS, &count,
                       performances, workspace.as<void>(), most) == 0 &&
             choose(pass, tensor_float, performances, count, &plan);
  }
  if (!chosen)
    chosen = call.guess(dnn.handle, plan.first, plan.second, plan.convolution, plan.result, MOST_ALGORITHMS, &count, performances) == 0 &&
             choose(pass, tensor_float, performances, count, &plan);
  plan.usable =
      chosen && call.workspace(dnn.handle, plan.first, plan.second, plan.convolution, plan.result, plan.algorithm, &plan.workspace) == 0;
  return plan;
}

} // namespace

bool cudnn_serves() { return cudnn().library.usable(); }

int cudnn_convolution(ConvPass pass, int64_t dtype, const tg_conv &p, const void *first, const void *second, void *result,
                      bool tensor_float) {
  Cudnn &dnn = cudnn();
  if (!dnn.library.usable() || (dtype != TG_F32 && dtype != TG_F64) || !expressible(p)) return TG_UNSUPPORTED;
  const std::lock_guard<std::mutex> lock(dnn.mutex);
  static std::map<Key, Plan> plans;
  Key key(reinterpret_cast<const int64_t *>(&p), reinterpret_cast<const int64_t *>(&p + 1));
  key.insert(key.end(), {static_cast<int64_t>(pass), dtype, int64_t(allow_tf32()), int64_t(tensor_float)});
  if (pass == ConvPass::data) { // the weights come first
    const void *weights = second;
    second = first;
    first = weights;
  }
  auto found = plans.find(key);
  if (found == plans.end()) found = plans.emplace(key, make_plan(dnn, pass, dtype, p, first, second, result, tensor_float)).first;
  const Plan &plan = found->second;
  if (!plan.usable) return TG_UNSUPPORTED;
  const Scratch workspace(static_cast<int64_t>(plan.workspace));
  if (!workspace.ok()) return TG_UNSUPPORTED; // our kernels need less
  const float one = 1, none = 0;
  const double one64 = 1, none64 = 0;
  const bool single = dtype == TG_F32;
  const Turn turn;
  const int status = dnn.passes[static_cast<int>(pass)].run(
      dnn.handle, single ? static_cast<const void *>(&one) : &one64, plan.first, first, plan.second, second, plan.convolution,
      plan.algorithm, workspace.as<void>(), plan.workspace, single ? static_cast<const void *>(&none) : &none64, plan.result, result);
  if (status == 0) return TG_OK;
  found->second.usable = false;
  cudaGetLastError();
  return TG_UNSUPPORTED;
}

std::string cudnn_description() { return cudnn().library.description(); }

} // namespace tautgrad::cuda
