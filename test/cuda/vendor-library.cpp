// Stand-ins for cuDNN, cuBLAS (STANDIN_CUBLAS) and cuFFT (STANDIN_CUFFT), for tests of how they are found, called and replaced. They convolve,
// multiply and transform really, on the host, in the order of the emulated stream. Macros make the broken ones: STANDIN_VERSION (cuDNN's
// number), STANDIN_WITHOUT_GROUPS (a symbol is missing), STANDIN_REFUSES (no algorithm runs). What was called is counted and printed at the end of the
// process when STANDIN_REPORT is set (compute: the last product's, plus 1000 where its factors were bfloat16).
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <functional>

#ifndef STANDIN_VERSION
#define STANDIN_VERSION 92400
#endif
#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

struct Counts {
  int convolutions[3] = {}, searches = 0, products = 0, math = -1, compute = -1, plans = 0, transforms = 0;
  ~Counts() {
    if (std::getenv("STANDIN_REPORT") && plans > 0) std::fprintf(stderr, "stand-in: %d plans, %d transforms\n", plans, transforms);
    if (std::getenv("STANDIN_REPORT") && plans == 0)
      std::fprintf(stderr, "stand-in: %d forward, %d data, %d weights, %d searches, %d products, math %d, compute %d\n", convolutions[0],
                   convolutions[1], convolutions[2], searches, products, math, compute);
  }
} counts;

// The emulation's queue (emulation.cpp); this file is opened by the emulated library, whose file the environment names.
void enqueue(void *stream, std::function<void()> work) {
  using Enqueue = void (*)(void *, void (*)(void *), void *);
  static const auto queue = reinterpret_cast<Enqueue>(
      dlsym(dlopen(std::getenv("TAUTGRAD_CUDA_LIBRARY"), RTLD_NOW | RTLD_NOLOAD), "tg_emulation_enqueue"));
  // A graph runs it again and again: it stays.
  auto *kept = new std::function<void()>(std::move(work));
  queue(stream, [](void *f) { (*static_cast<std::function<void()> *>(f))(); }, kept);
}

struct Shape {
  int type = 0, d[4] = {};
};
struct Convolution {
  int pad[2], stride[2], dilation[2], groups = 1, math = 0;
};
struct Performance {
  int algorithm, status;
  float time;
  size_t memory;
  int determinism, math;
  int reserved[3];
};
struct Handle {
  void *stream = nullptr;
};

template <class T, int Pass>
void convolve(const T *first, const T *second, T *result, const Shape &x, const Shape &w, const Shape &y, const Convolution &c) {
  const int per = w.d[1], out = y.d[1] / c.groups;
  const size_t sizes[] = {size_t(y.d[0]) * y.d[1] * y.d[2] * y.d[3], size_t(x.d[0]) * x.d[1] * x.d[2] * x.d[3],
                          size_t(w.d[0]) * w.d[1] * w.d[2] * w.d[3]};
  double *sums = new double[sizes[Pass]]();
  for (int n = 0; n < y.d[0]; ++n)
    for (int o = 0; o < y.d[1]; ++o)
      for (int i = 0; i < y.d[2]; ++i)
        for (int j = 0; j < y.d[3]; ++j)
          for (int k = 0; k < per; ++k)
            for (int a = 0; a < w.d[2]; ++a)
              for (int b = 0; b < w.d[3]; ++b) {
                const int u = i * c.stride[0] + a * c.dilation[0] - c.pad[0], v = j * c.stride[1] + b * c.dilation[1] - c.pad[1];
                if (u < 0 || u >= x.d[2] || v < 0 || v >= x.d[3]) continue;
                const size_t at_y = ((size_t(n) * y.d[1] + o) * y.d[2] + i) * y.d[3] + j,
                             at_x = ((size_t(n) * x.d[1] + o / out * per + k) * x.d[2] + u) * x.d[3] + v,
                             at_w = ((size_t(o) * per + k) * w.d[2] + a) * w.d[3] + b;
                if (Pass == 0) sums[at_y] += double(first[at_x]) * double(second[at_w]);
                if (Pass == 1) sums[at_x] += double(first[at_w]) * double(second[at_y]);
                if (Pass == 2) sums[at_w] += double(first[at_x]) * double(second[at_y]);
              }
  for (size_t i = 0; i < sizes[Pass]; ++i) result[i] = static_cast<T>(sums[i]);
  delete[] sums;
}

template <int Pass>
int run(Handle *h, const void *first, const void *second, void *result, const Shape &x, const Shape &w, const Shape &y,
        const Convolution &c, void *workspace, size_t bytes) {
#ifdef STANDIN_REFUSES
  return 3000;
#endif
  if (bytes != 4096 || !workspace) return 2000; // what the workspace function asked for
  ++counts.convolutions[Pass];
  counts.math = c.math;
  enqueue(h->stream, [=] {
    std::memset(workspace, 0xAB, bytes);
    if (x.type == 0)
      convolve<float, Pass>(static_cast<const float *>(first), static_cast<const float *>(second), static_cast<float *>(result), x, w, y, c);
    else
      convolve<double, Pass>(static_cast<const double *>(first), static_cast<const double *>(second), static_cast<double *>(result), x, w,
                             y, c);
  });
  return 0;
}

int algorithms(int requested, int *returned, Performance *found) {
#ifdef STANDIN_REFUSES
  return *returned = 0, 3000;
#endif
  const Performance quick = {0, 0, 0.1f, 64, 0, 0, {}}, steady = {1, 0, 0.2f, 4096, 1, 0, {}}, failed = {7, 3000, -1, 0, 1, 0, {}};
  *returned = 0;
  for (const Performance &p : {quick, steady, failed})
    if (*returned < requested) found[(*returned)++] = p;
  return 0;
}
int search(int requested, int *returned, Performance *found) {
  ++counts.searches;
  return algorithms(requested, returned, found);
}
// The quick one is not deterministic and must not be taken.
int workspace_of(int algorithm, size_t *bytes) { return *bytes = 4096, algorithm == 1 ? 0 : 2000; }

} // namespace

#if !defined(STANDIN_CUBLAS) && !defined(STANDIN_CUFFT)
EXPORT size_t cudnnGetVersion() { return STANDIN_VERSION; }
EXPORT const char *cudnnGetErrorString(int) { return "stand-in error"; }
EXPORT int cudnnCreate(Handle **h) { return *h = new Handle, 0; }
EXPORT int cudnnSetStream(Handle *h, void *stream) { return h->stream = stream, 0; }
EXPORT int cudnnCreateTensorDescriptor(Shape **d) { return *d = new Shape, 0; }
EXPORT int cudnnSetTensor4dDescriptor(Shape *s, int format, int type, int n, int c, int h, int w) {
  *s = {type, {n, c, h, w}};
  return format == 0 ? 0 : 2000;
}
EXPORT int cudnnDestroyTensorDescriptor(Shape *d) { return delete d, 0; }
EXPORT int cudnnCreateFilterDescriptor(Shape **d) { return *d = new Shape, 0; }
EXPORT int cudnnSetFilter4dDescriptor(Shape *s, int type, int format, int k, int c, int h, int w) {
  *s = {type, {k, c, h, w}};
  return format == 0 ? 0 : 2000;
}
EXPORT int cudnnDestroyFilterDescriptor(Shape *d) { return delete d, 0; }
EXPORT int cudnnCreateConvolutionDescriptor(Convolution **c) { return *c = new Convolution, 0; }
EXPORT int cudnnSetConvolution2dDescriptor(Convolution *c, int ph, int pw, int sh, int sw, int dh, int dw, int mode, int) {
  c->pad[0] = ph, c->pad[1] = pw, c->stride[0] = sh, c->stride[1] = sw, c->dilation[0] = dh, c->dilation[1] = dw;
  return mode == 1 ? 0 : 2000;
}
#ifndef STANDIN_WITHOUT_GROUPS
EXPORT int cudnnSetConvolutionGroupCount(Convolution *c, int groups) { return c->groups = groups, 0; }
#endif
EXPORT int cudnnSetConvolutionMathType(Convolution *c, int math) { return c->math = math, 0; }
EXPORT int cudnnDestroyConvolutionDescriptor(Convolution *c) { return delete c, 0; }

#define STANDIN_PASS(Pass, Run, Find, Guess, Workspace, x, w, y)                                                                              \
  EXPORT int Run(Handle *h, const void *, Shape *a, const void *first, Shape *b, const void *second, Convolution *c, int, void *ws,       \
                 size_t bytes, const void *, Shape *r, void *result) {                                                                     \
    return run<Pass>(h, first, second, result, *x, *w, *y, *c, ws, bytes);                                                                 \
  }                                                                                                                                        \
  EXPORT int Find(Handle *, Shape *, const void *, Shape *, const void *, Convolution *, Shape *, void *, int n, int *m, Performance *p,  \
                  void *, size_t) {                                                                                                        \
    return search(n, m, p);                                                                                                                \
  }                                                                                                                                        \
  EXPORT int Guess(Handle *, Shape *, Shape *, Convolution *, Shape *, int n, int *m, Performance *p) { return algorithms(n, m, p); }      \
  EXPORT int Workspace(Handle *, Shape *, Shape *, Convolution *, Shape *, int algorithm, size_t *bytes) {                                 \
    return workspace_of(algorithm, bytes);                                                                                                 \
  }
STANDIN_PASS(0, cudnnConvolutionForward, cudnnFindConvolutionForwardAlgorithmEx, cudnnGetConvolutionForwardAlgorithm_v7,
          cudnnGetConvolutionForwardWorkspaceSize, a, b, r)
STANDIN_PASS(1, cudnnConvolutionBackwardData, cudnnFindConvolutionBackwardDataAlgorithmEx, cudnnGetConvolutionBackwardDataAlgorithm_v7,
          cudnnGetConvolutionBackwardDataWorkspaceSize, r, a, b)
STANDIN_PASS(2, cudnnConvolutionBackwardFilter, cudnnFindConvolutionBackwardFilterAlgorithmEx, cudnnGetConvolutionBackwardFilterAlgorithm_v7,
          cudnnGetConvolutionBackwardFilterWorkspaceSize, a, r, b)
#elif defined(STANDIN_CUBLAS)
EXPORT int cublasCreate_v2(Handle **h) { return *h = new Handle, 0; }
EXPORT int cublasGetVersion_v2(Handle *, int *version) { return *version = 130100, 0; }
EXPORT int cublasSetStream_v2(Handle *h, void *stream) { return h->stream = stream, 0; }
EXPORT int cublasSetWorkspace_v2(Handle *, void *, size_t) { return 0; }

struct Bfloat16 {
  uint16_t bits;
  explicit operator double() const {
    const uint32_t word = uint32_t(bits) << 16;
    float v;
    std::memcpy(&v, &word, sizeof v);
    return double(v);
  }
};

template <class In, class T>
void multiply(bool ta, bool tb, int m, int n, int k, const In *a, int lda, long long sa, const In *b, int ldb, long long sb, T *c, int ldc,
              long long sc, int batch) {
  for (int z = 0; z < batch; ++z)
    for (int i = 0; i < m; ++i)
      for (int j = 0; j < n; ++j) {
        double sum = 0;
        for (int l = 0; l < k; ++l)
          sum += double(a[z * sa + (ta ? int64_t(i) * lda + l : int64_t(l) * lda + i)]) *
                 double(b[z * sb + (tb ? int64_t(l) * ldb + j : int64_t(j) * ldb + l)]);
        c[z * sc + int64_t(j) * ldc + i] = static_cast<T>(sum);
      }
}
EXPORT int cublasGemmStridedBatchedEx(Handle *h, int ta, int tb, int m, int n, int k, const void *, const void *a, int type, int lda,
                                      long long sa, const void *b, int, int ldb, long long sb, const void *, void *c, int, int ldc,
                                      long long sc, int batch, int compute, int) {
  ++counts.products;
  counts.compute = type == 14 ? 1000 + compute : compute;
  enqueue(h->stream, [=] {
    if (type == 14)
      multiply(ta, tb, m, n, k, static_cast<const Bfloat16 *>(a), lda, sa, static_cast<const Bfloat16 *>(b), ldb, sb,
               static_cast<float *>(c), ldc, sc, batch);
    else if (type == 0)
      multiply(ta, tb, m, n, k, static_cast<const float *>(a), lda, sa, static_cast<const float *>(b), ldb, sb, static_cast<float *>(c), ldc,
               sc, batch);
    else
      multiply(ta, tb, m, n, k, static_cast<const double *>(a), lda, sa, static_cast<const double *>(b), ldb, sb, static_cast<double *>(c),
               ldc, sc, batch);
  });
  return 0;
}
#else
namespace {
struct Transform {
  long long n = 0, lines = 0;
  int type = 0;
  void *work = nullptr, *stream = nullptr;
  bool own_memory = true;
} transforms[1000];
constexpr size_t WORK = 512;

template <class T> int transform(int plan, void *from, void *to, int direction, int type) {
  const Transform t = transforms[plan];
  if (t.type != type || !t.stream || !t.work || t.own_memory) return 4;
  ++counts.transforms;
  enqueue(t.stream, [=] {
    std::memset(t.work, 0xAB, WORK);
    T *line = static_cast<T *>(from), *sums = new T[2 * t.n];
    double *cosine = new double[t.n], *sine = new double[t.n];
    for (long long k = 0; k < t.n; ++k) {
      const double angle = direction * 6.283185307179586476925 * double(k) / double(t.n);
      cosine[k] = std::cos(angle);
      sine[k] = std::sin(angle);
    }
    for (long long l = 0; l < t.lines; ++l, line += 2 * t.n) {
      for (long long k = 0; k < t.n; ++k) {
        double re = 0, im = 0;
        for (long long j = 0; j < t.n; ++j) {
          const double c = cosine[j * k % t.n], s = sine[j * k % t.n];
          re += line[2 * j] * c - line[2 * j + 1] * s;
          im += line[2 * j] * s + line[2 * j + 1] * c;
        }
        sums[2 * k] = T(re);
        sums[2 * k + 1] = T(im);
      }
      std::memcpy(static_cast<T *>(to) + l * 2 * t.n, sums, size_t(2 * t.n) * sizeof(T));
    }
    delete[] sums;
    delete[] cosine;
    delete[] sine;
  });
  return 0;
}
} // namespace
EXPORT int cufftGetVersion(int *version) { return *version = STANDIN_VERSION == 92400 ? 12000 : STANDIN_VERSION, 0; }
EXPORT int cufftCreate(int *plan) { return *plan = ++counts.plans, 0; }
EXPORT int cufftDestroy(int) { return 0; }
EXPORT int cufftSetAutoAllocation(int plan, int automatic) { return transforms[plan].own_memory = automatic != 0, 0; }
EXPORT int cufftMakePlanMany64(int plan, int rank, long long *n, long long *, long long istride, long long idist, long long *,
                               long long ostride, long long odist, int type, long long batch, size_t *work) {
#ifdef STANDIN_REFUSES
  return 5;
#endif
  transforms[plan].n = *n;
  transforms[plan].lines = batch;
  transforms[plan].type = type;
  *work = WORK;
  return rank == 1 && istride == 1 && ostride == 1 && idist == *n && odist == *n ? 0 : 5;
}
EXPORT int cufftSetWorkArea(int plan, void *work) { return transforms[plan].work = work, 0; }
#ifndef STANDIN_WITHOUT_STREAM
EXPORT int cufftSetStream(int plan, void *stream) { return transforms[plan].stream = stream, 0; }
#endif
EXPORT int cufftExecC2C(int plan, void *from, void *to, int direction) { return transform<float>(plan, from, to, direction, 0x29); }
EXPORT int cufftExecZ2Z(int plan, void *from, void *to, int direction) { return transform<double>(plan, from, to, direction, 0x69); }
#endif
