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

// The bits of the largest magnitude of an image, zeros at first: those of numbers that are not negative have the numbers' order.
__device__ inline double scale_of(const unsigned long long *largest) {
  double v;
  memcpy(&v, largest, sizeof v);
  return v > 0 ? v : 1;
}

template <class T>
__global__ void __launch_bounds__(BLOCK_THREADS) largest_kernel(int64_t pixels, int64_t blocks, const T *v_all, unsigned long long *scale) {
  const int64_t b = blockIdx.x / blocks;
  const T *v = v_all + b * pixels;
  double largest = 0;
  for (int64_t i = blockIdx.x % blocks * BLOCK_THREADS + threadIdx.x; i < pixels; i += blocks * BLOCK_THREADS) {
    const double magnitude = absolute(double(v[i]));
    if (magnitude > largest && magnitude < 1e308) largest = magnitude;
  }
  for (int distance = 16; distance > 0; distance /= 2) {
    const double other = __shfl_xor_sync(0xffffffffu, largest, distance);
    largest = other > largest ? other : largest;
  }
  unsigned long long bits;
  memcpy(&bits, &largest, sizeof bits);
  if (threadIdx.x % 32 == 0 && bits > 0) atomicMax(scale + b, bits);
}

// A warp whose pixels lie in one component, as most do where components are large, adds up before it goes to memory, where all additions to
// one component wait for each other.
template <class T>
__global__ void add_labels_kernel(int64_t total, int64_t pixels, const int32_t *label, const T *v, const unsigned long long *scale,
                                  LabelSum *sums) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int64_t first = global_thread() - lane; first < total; first += all_threads()) {
    const int64_t k = first + lane, at = k < total ? k / pixels * pixels + label[k] : -1;
    const double scaled = k < total ? double(v[k]) / scale_of(scale + k / pixels) * FIXED : 0, whole = rint(scaled);
    int32_t count = 1, broken = !(absolute(scaled) <= FIXED);
    unsigned long long high = broken ? 0 : static_cast<unsigned long long>(static_cast<long long>(whole)),
                       low = broken ? 0 : static_cast<unsigned long long>(static_cast<long long>(rint((scaled - whole) * FIXED)));
    const bool together = __all_sync(0xffffffffu, at == __shfl_sync(0xffffffffu, at, 0)) != 0;
    if (together) {
      for (int distance = 16; distance > 0; distance /= 2) {
        high += __shfl_xor_sync(0xffffffffu, high, distance);
        low += __shfl_xor_sync(0xffffffffu, low, distance);
        broken |= __shfl_xor_sync(0xffffffffu, broken, distance);
      }
      count = 32;
    }
    if (at < 0 || (together && lane > 0)) continue;
    LabelSum &sum = sums[at];
    atomicAdd(&sum.count, count);
    if (broken) atomicOr(&sum.broken, 1);
    if (high != 0) atomicAdd(&sum.high, high);
    if (low != 0) atomicAdd(&sum.low, low);
  }
}

template <class T>
__global__ void mean_labels_kernel(int64_t total, int64_t pixels, const int32_t *label, const unsigned long long *scale,
                                   const LabelSum *sums, T *out) {
  for (int64_t k = global_thread(); k < total; k += all_threads()) {
    const LabelSum &sum = sums[k / pixels * pixels + label[k]];
    const double whole = double(static_cast<long long>(sum.high)) + double(static_cast<long long>(sum.low)) / FIXED;
    out[k] = sum.broken ? T(NAN) : T(whole / FIXED * scale_of(scale + k / pixels) / sum.count);
  }
}

} // namespace

template <class T> int component_means(int64_t batch, int64_t pixels, const int32_t *labels, const T *v, T *out) {
  const int64_t total = batch * pixels;
  if (total == 0) return TG_OK;
  // The sums, then the images' scales: both are cleared.
  const int64_t sum_bytes = total * int64_t(sizeof(LabelSum)), bytes = sum_bytes + batch * int64_t(sizeof(double));
  Scratch memory(bytes);
  const char *name = "component_average";
  if (!memory.ok()) return fail("%s: out of memory for %lld pixels", name, (long long)pixels);
  LabelSum *sums = memory.as<LabelSum>();
  auto *scale = memory.as<unsigned long long>(sum_bytes);
  const int64_t blocks = blocks_of_image(pixels, batch);
  int status = zero(sums, bytes, name);
  if (status == TG_OK)
    status = run_kernel(name, largest_kernel<T>, dim3(static_cast<unsigned>(batch * blocks)), BLOCK_THREADS, 0, pixels, blocks, v, scale);
  if (status == TG_OK)
    status = run_kernel(name, add_labels_kernel<T>, blocks_for(total), THREADS, 0, total, pixels, labels, v, scale, sums);
  return status == TG_OK ? run_kernel(name, mean_labels_kernel<T>, blocks_for(total), THREADS, 0, total, pixels, labels, scale, sums, out)
                         : status;
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
