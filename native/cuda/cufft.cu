// Fourier transforms by cuFFT of lines that lie one after another, real and imaginary parts interleaved. A plan is made once for each
// shape; its work area comes from the pool at every call, so that a captured step names memory that it holds.
#include "library.h"
#include "vendor.h"

#include <map>
#include <mutex>
#include <tuple>

namespace tautgrad::cuda {
namespace {

// cuFFT's own numbers (cufft.h).
constexpr int C2C = 0x29, Z2Z = 0x69;
constexpr int SMALLEST_VERSION = 11000; // of CUDA 12
// Plans are never destroyed: captured steps name their tables. Shapes beyond these go to our own kernels.
constexpr size_t MOST_PLANS = 256;

struct Cufft {
  Library library{"cuFFT", "TAUTGRAD_CUFFT", {"libcufft.so.12", "libcufft.so.11"}};
  std::mutex mutex; // a plan serves one thread at a time
  int (*version)(int *) = nullptr;
  int (*create)(int *) = nullptr;
  int (*destroy)(int) = nullptr;
  int (*set_auto_allocation)(int, int) = nullptr;
  int (*make_plan)(int, int rank, long long *n, long long *inembed, long long istride, long long idist, long long *onembed,
                   long long ostride, long long odist, int type, long long batch, size_t *work) = nullptr;
  int (*set_work_area)(int, void *) = nullptr;
  int (*set_stream)(int, cudaStream_t) = nullptr;
  int (*run)(int, void *, void *, int direction) = nullptr;
  int (*run64)(int, void *, void *, int direction) = nullptr;

  template <class F> void need(F &function, const char *symbol) {
    if (library.usable()) function = reinterpret_cast<F>(library.need(symbol));
  }

  Cufft() {
    need(version, "cufftGetVersion");
    need(create, "cufftCreate");
    need(destroy, "cufftDestroy");
    need(set_auto_allocation, "cufftSetAutoAllocation");
    need(make_plan, "cufftMakePlanMany64");
    need(set_work_area, "cufftSetWorkArea");
    need(set_stream, "cufftSetStream");
    need(run, "cufftExecC2C");
    need(run64, "cufftExecZ2Z");
    if (!library.usable()) return;
    int number = 0;
    const int status = version(&number);
    library.set_version(std::to_string(number / 1000) + "." + std::to_string(number / 100 % 10) + "." + std::to_string(number % 100));
    if (status != 0)
      library.refuse("it does not start here: status " + std::to_string(status));
    else if (number < SMALLEST_VERSION)
      library.refuse("version 11 or newer is needed, this one answers " + std::to_string(number));
  }
};

Cufft &cufft() {
  static Cufft *one = new Cufft; // never closed
  return *one;
}

struct Plan {
  bool usable = false;
  int handle = 0;
  size_t work = 0;
};

Plan make_plan(Cufft &fft, int64_t dtype, int64_t n, int64_t lines) {
  Plan plan;
  if (fft.create(&plan.handle) != 0) return plan;
  long long length = n;
  plan.usable = fft.set_auto_allocation(plan.handle, 0) == 0 &&
                fft.make_plan(plan.handle, 1, &length, nullptr, 1, n, nullptr, 1, n, dtype == TG_F32 ? C2C : Z2Z, lines, &plan.work) == 0 &&
                fft.set_stream(plan.handle, compute_stream()) == 0;
  if (!plan.usable) {
    fft.destroy(plan.handle);
    cudaGetLastError();
  }
  return plan;
}

} // namespace

int cufft_lines(int64_t dtype, int64_t n, int64_t lines, int64_t direction, void *data) {
  if (dtype != TG_F32 && dtype != TG_F64) return TG_UNSUPPORTED;
  Cufft &fft = cufft();
  if (!fft.library.usable()) return TG_UNSUPPORTED;
  const std::lock_guard<std::mutex> lock(fft.mutex);
  static std::map<std::tuple<int64_t, int64_t, int64_t>, Plan> plans;
  const auto key = std::make_tuple(dtype, n, lines);
  auto found = plans.find(key);
  if (found == plans.end()) {
    // A new plan asks for memory and copies its tables, which a capture cannot hold.
    if (capturing() || plans.size() >= MOST_PLANS) return TG_UNSUPPORTED;
    const Turn turn;
    found = plans.emplace(key, make_plan(fft, dtype, n, lines)).first;
  }
  Plan &plan = found->second;
  if (!plan.usable) return TG_UNSUPPORTED;
  const Scratch work(static_cast<int64_t>(plan.work) + 1); // an area even where none is needed: cuFFT wants to be given one
  if (!work.ok()) return TG_UNSUPPORTED;                   // our kernels need less
  const Turn turn;
  const auto run = dtype == TG_F32 ? fft.run : fft.run64;
  if (fft.set_work_area(plan.handle, work.as<void>()) == 0 && run(plan.handle, data, data, static_cast<int>(direction)) == 0) return TG_OK;
  plan.usable = false;
  cudaGetLastError();
  return TG_UNSUPPORTED;
}

bool cufft_usable() { return cufft().library.usable(); }

std::string cufft_description() { return cufft().library.description(); }

} // namespace tautgrad::cuda
