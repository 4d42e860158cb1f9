// Averages over the connected components of a solution: the Jacobian of prox2d and prox3d in x.
#include "components.cuh"

#include "block_sums.cuh"

namespace tautgrad::cuda {
namespace {

// Sums that do not depend on the order of additions: a value is split into two integers in fixed point, 40 bits each below the largest
// magnitude of its image, and integers are added exactly. A value that is not finite marks its component.
struct LabelSum {
  unsigned long long high, low; // two's complement
  int32_t count, broken;
};
constexpr double FIXED = 1099511627776.0; // 2^40

template <class T> __global__ void largest_kernel(int64_t pixels, const T *v_all, double *scale) {
  __shared__ double warps[BLOCK_THREADS / 32];
  const int thread = block_thread();
  const T *v = v_all + int64_t(blockIdx.x) * pixels;
  double largest = 0;
  for (int64_t i = thread; i < pixels; i += BLOCK_THREADS) {
    const double magnitude = absolute(double(v[i]));
    if (magnitude > largest && magnitude < 1e308) largest = magnitude;
  }
  for (int distance = 16; distance > 0; distance /= 2) {
    const double other = __shfl_xor_sync(0xffffffffu, largest, distance);
    largest = other > largest ? other : largest;
  }
  if (thread % 32 == 0) warps[thread / 32] = largest;
  __syncthreads();
  if (thread == 0) {
    for (int k = 0; k < BLOCK_THREADS / 32; ++k) largest = warps[k] > largest ? warps[k] : largest;
    scale[blockIdx.x] = largest > 0 ? largest : 1;
  }
}

template <class T>
__global__ void add_labels_kernel(int64_t total, int64_t pixels, const int32_t *label, const T *v, const double *scale, LabelSum *sums) {
  for (int64_t k = global_thread(); k < total; k += all_threads()) {
    LabelSum &sum = sums[k / pixels * pixels + label[k]];
    const double scaled = double(v[k]) / scale[k / pixels] * FIXED;
    atomicAdd(&sum.count, 1);
    if (!(absolute(scaled) <= FIXED)) {
      atomicOr(&sum.broken, 1);
      continue;
    }
    const double high = rint(scaled);
    atomicAdd(&sum.high, static_cast<unsigned long long>(static_cast<long long>(high)));
    atomicAdd(&sum.low, static_cast<unsigned long long>(static_cast<long long>(rint((scaled - high) * FIXED))));
  }
}

template <class T>
__global__ void mean_labels_kernel(int64_t total, int64_t pixels, const int32_t *label, const double *scale, const LabelSum *sums, T *out) {
  for (int64_t k = global_thread(); k < total; k += all_threads()) {
    const LabelSum &sum = sums[k / pixels * pixels + label[k]];
    const double whole = double(static_cast<long long>(sum.high)) + double(static_cast<long long>(sum.low)) / FIXED;
    out[k] = sum.broken ? T(NAN) : T(whole / FIXED * scale[k / pixels] / sum.count);
  }
}

} // namespace

template <class T> int component_means(int64_t batch, int64_t pixels, const int32_t *labels, const T *v, T *out) {
  const int64_t total = batch * pixels;
  if (total == 0) return TG_OK;
  Scratch sums(total * int64_t(sizeof(LabelSum))), scale(batch * int64_t(sizeof(double)));
  if (!sums.ok() || !scale.ok()) return fail("component_average: out of memory for %lld pixels", (long long)pixels);
  const char *name = "component_average";
  if (zero(sums.as<void>(), total * int64_t(sizeof(LabelSum)), name) != TG_OK) return TG_FAILED;
  if (run_kernel(name, largest_kernel<T>, dim3(static_cast<unsigned>(batch)), BLOCK_THREADS, 0, pixels, v, scale.as<double>()) != TG_OK)
    return TG_FAILED;
  if (run_kernel(name, add_labels_kernel<T>, blocks_for(total), THREADS, 0, total, pixels, labels, v, scale.as<double>(),
                 sums.as<LabelSum>()) != TG_OK)
    return TG_FAILED;
  return run_kernel(name, mean_labels_kernel<T>, blocks_for(total), THREADS, 0, total, pixels, labels, scale.as<double>(),
                    sums.as<LabelSum>(), out);
}

template int component_means<float>(int64_t, int64_t, const int32_t *, const float *, float *);
template int component_means<double>(int64_t, int64_t, const int32_t *, const double *, double *);

namespace {

int component_average(int64_t dtype, int64_t batch, int64_t pixels, const void *labels, const void *v, void *out) {
  return with_real(dtype, "component_average", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return component_means(batch, pixels, static_cast<const int32_t *>(labels), static_cast<const T *>(v), static_cast<T *>(out));
  });
}

} // namespace

void register_components(tg_backend *t) { t->component_average = component_average; }

} // namespace tautgrad::cuda
