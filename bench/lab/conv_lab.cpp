// The three convolutions on plain NCHW float32 beside oneDNN, contestants alternating, medians. Shapes come from shapes.txt.
//   TAUTGRAD_THREADS=1 OMP_NUM_THREADS=1 conv_lab shapes.txt [substring of a shape's name]
// oneDNN gets NCHW tensors and its own choice of algorithm; where it wants another layout, the reorders count: that is what a caller
// who holds NCHW tensors pays. Build with -DTG_LAB_WITHOUT_ONEDNN where the library is missing.
#include "../../native/backend.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#ifndef TG_LAB_WITHOUT_ONEDNN
#include <oneapi/dnnl/dnnl.hpp>
#endif

namespace {

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

struct Contest {
  std::vector<std::function<void()>> run;
  std::vector<double> median;
};

// Alternates the contestants until each has had `rounds` turns of at least 20 ms.
void measure(Contest &c, int rounds = 9) {
  std::vector<std::vector<double>> times(c.run.size());
  std::vector<int> repeats(c.run.size(), 1);
  for (size_t i = 0; i < c.run.size(); ++i) {
    c.run[i]();
    const double t0 = seconds();
    c.run[i]();
    repeats[i] = std::max(1, static_cast<int>(0.02 / std::max(1e-6, seconds() - t0)));
  }
  for (int r = 0; r < rounds; ++r)
    for (size_t i = 0; i < c.run.size(); ++i) {
      const double t0 = seconds();
      for (int k = 0; k < repeats[i]; ++k) c.run[i]();
      times[i].push_back((seconds() - t0) / repeats[i]);
    }
  for (auto &t : times) {
    std::sort(t.begin(), t.end());
    c.median.push_back(t[t.size() / 2]);
  }
}

std::vector<float> random_values(int64_t n) {
  std::vector<float> v(static_cast<size_t>(n));
  uint32_t s = 12345;
  for (float &x : v) {
    s = s * 1664525u + 1013904223u;
    x = static_cast<float>(s >> 8) * 0x1p-23f - 1;
  }
  return v;
}

#ifndef TG_LAB_WITHOUT_ONEDNN
struct OneDnn {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  using tag = dnnl::memory::format_tag;

  // A convolution primitive of any direction with the reorders that its layouts ask for, as one callable.
  template <class PrimitiveDesc>
  std::function<void()> wrap(const PrimitiveDesc &pd, dnnl::primitive primitive, std::vector<std::pair<int, dnnl::memory>> inputs, int output,
                             dnnl::memory result, std::function<dnnl::memory::desc(int)> wanted) {
    struct Step {
      dnnl::primitive primitive;
      std::unordered_map<int, dnnl::memory> arguments;
    };
    auto steps = std::make_shared<std::vector<Step>>();
    std::unordered_map<int, dnnl::memory> arguments;
    for (auto &[role, memory] : inputs) {
      if (wanted(role) != memory.get_desc()) {
        dnnl::memory other(wanted(role), engine);
        steps->push_back({dnnl::reorder(memory, other), {{DNNL_ARG_FROM, memory}, {DNNL_ARG_TO, other}}});
        arguments.insert({role, other});
      } else {
        arguments.insert({role, memory});
      }
    }
    dnnl::memory target = result;
    if (wanted(output) != result.get_desc()) target = dnnl::memory(wanted(output), engine);
    arguments.insert({output, target});
    steps->push_back({primitive, arguments});
    if (wanted(output) != result.get_desc())
      steps->push_back({dnnl::reorder(target, result), {{DNNL_ARG_FROM, target}, {DNNL_ARG_TO, result}}});
    (void)pd;
    return [steps, this] {
      for (auto &s : *steps) s.primitive.execute(stream, s.arguments);
      stream.wait();
    };
  }

  std::vector<std::function<void()>> make(const tg_conv &p, float *x, float *w, float *y, float *dx, float *dw) {
    using namespace dnnl;
    const auto type = memory::data_type::f32;
    const memory::dims xd{p.n, p.c_in, p.h, p.w}, yd{p.n, p.c_out, p.out_h, p.out_w};
    const memory::dims wd = p.groups == 1 ? memory::dims{p.c_out, p.c_in, p.kh, p.kw}
                                          : memory::dims{p.groups, p.c_out / p.groups, p.c_in / p.groups, p.kh, p.kw};
    const auto wtag = p.groups == 1 ? tag::oihw : tag::goihw;
    const memory::dims strides{p.stride_h, p.stride_w};
    const memory::dims low{p.pad_h, p.pad_w};
    const memory::dims high{(p.out_h - 1) * p.stride_h + p.kh - p.h - p.pad_h, (p.out_w - 1) * p.stride_w + p.kw - p.w - p.pad_w};
    const memory::desc xa(xd, type, tag::any), wa(wd, type, tag::any), ya(yd, type, tag::any);
    const memory::desc xn(xd, type, tag::nchw), wn(wd, type, wtag), yn(yd, type, tag::nchw);
    const auto algorithm = algorithm::convolution_direct;
    convolution_forward::primitive_desc f({prop_kind::forward_training, algorithm, xa, wa, ya, strides, low, high}, engine);
    convolution_backward_data::primitive_desc d({algorithm, xa, wa, ya, strides, low, high}, engine, f);
    convolution_backward_weights::primitive_desc g({algorithm, xa, wa, ya, strides, low, high}, engine, f);
    const memory mx(xn, engine, x), mw(wn, engine, w), my(yn, engine, y), mdx(xn, engine, dx), mdw(wn, engine, dw);
    std::vector<std::function<void()>> out;
    out.push_back(wrap(f, convolution_forward(f), {{DNNL_ARG_SRC, mx}, {DNNL_ARG_WEIGHTS, mw}}, DNNL_ARG_DST, my, [f](int r) {
      return r == DNNL_ARG_SRC ? f.src_desc() : r == DNNL_ARG_WEIGHTS ? f.weights_desc() : f.dst_desc();
    }));
    out.push_back(wrap(d, convolution_backward_data(d), {{DNNL_ARG_DIFF_DST, my}, {DNNL_ARG_WEIGHTS, mw}}, DNNL_ARG_DIFF_SRC, mdx, [d](int r) {
      return r == DNNL_ARG_DIFF_DST ? d.diff_dst_desc() : r == DNNL_ARG_WEIGHTS ? d.weights_desc() : d.diff_src_desc();
    }));
    out.push_back(wrap(g, convolution_backward_weights(g), {{DNNL_ARG_SRC, mx}, {DNNL_ARG_DIFF_DST, my}}, DNNL_ARG_DIFF_WEIGHTS, mdw, [g](int r) {
      return r == DNNL_ARG_SRC ? g.src_desc() : r == DNNL_ARG_DIFF_DST ? g.diff_dst_desc() : g.diff_weights_desc();
    }));
    return out;
  }
};
#endif
} // namespace

int main(int count, char **arguments) {
  if (count < 2) return std::fprintf(stderr, "usage: conv_lab shapes.txt [name]\n"), 2;
  std::FILE *file = std::fopen(arguments[1], "r");
  if (!file) return std::fprintf(stderr, "cannot open %s\n", arguments[1]), 2;
  const tg_backend *t = tg_cpu_backend();
  const char *threads = std::getenv("TAUTGRAD_THREADS");
  std::printf("%s, %s threads; GFLOP/s of the direct algorithm's operations\n", t->describe(), threads ? threads : "all");
  std::printf("%-16s %23s %23s %23s\n", "", "forward", "data", "weights");
  std::printf("%-16s %8s %8s %5s  %8s %8s %5s  %8s %8s %5s\n", "shape", "ours", "oneDNN", "ratio", "ours", "oneDNN", "ratio", "ours", "oneDNN", "ratio");
  char line[256];
  while (std::fgets(line, sizeof line, file)) {
    char name[64];
    tg_conv p{};
    int64_t k, stride, pad;
    if (line[0] == '#' || std::sscanf(line, "%63s %ld %ld %ld %ld %ld %ld %ld %ld %ld", name, &p.n, &p.c_in, &p.h, &p.w, &p.c_out, &k, &stride, &pad, &p.groups) != 10) continue;
    if (count > 2 && !std::strstr(name, arguments[2])) continue;
    p.kh = p.kw = k;
    p.stride_h = p.stride_w = stride;
    p.pad_h = p.pad_w = pad;
    p.dilation_h = p.dilation_w = 1;
    p.out_h = (p.h + 2 * pad - k) / stride + 1;
    p.out_w = (p.w + 2 * pad - k) / stride + 1;
    std::vector<float> x = random_values(p.n * p.c_in * p.h * p.w), w = random_values(p.c_out * p.c_in / p.groups * k * k),
                       y = random_values(p.n * p.c_out * p.out_h * p.out_w), dx(x.size()), dw(w.size());
    const double flops = 2.0 * static_cast<double>(y.size()) * static_cast<double>(p.c_in / p.groups * k * k);
    std::function<void()> ours[3] = {[&] { t->conv_forward(TG_F32, &p, x.data(), w.data(), y.data()); },
                                     [&] { t->conv_data(TG_F32, &p, y.data(), w.data(), dx.data()); },
                                     [&] { t->conv_weights(TG_F32, &p, x.data(), y.data(), dw.data()); }};
#ifndef TG_LAB_WITHOUT_ONEDNN
    OneDnn one;
    auto theirs = one.make(p, x.data(), w.data(), y.data(), dx.data(), dw.data());
#endif
    std::printf("%-16s", name);
    for (int direction = 0; direction < 3; ++direction) {
      Contest c;
      c.run.push_back(ours[direction]);
#ifndef TG_LAB_WITHOUT_ONEDNN
      c.run.push_back(theirs[static_cast<size_t>(direction)]);
#endif
      measure(c);
      const double a = flops / c.median[0] / 1e9, b = c.median.size() > 1 ? flops / c.median[1] / 1e9 : NAN;
      std::printf(" %8.1f %8.1f %5.2f ", a, b, a / b);
      std::fflush(stdout);
    }
    std::printf("\n");
  }
  std::fclose(file);
  return 0;
}
