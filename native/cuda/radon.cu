// The parallel-beam Radon transform and its exact adjoint: a thread per ray and a thread per pixel. Both gather, so that neither needs
// atomic additions. Positions are in double, values in the image's precision, as on the CPU.
#include "line_layout.cuh"

#include "../kernels/radon.h"

namespace tautgrad::cuda {
namespace {

__global__ void views_kernel(tg_radon p, double spacing, const double *angles, RadonView *views) {
  for (int64_t a = global_thread(); a < p.views; a += all_threads())
    views[a] = radon_view(angles[a], p.height, p.width, p.detectors, spacing);
}

// columns: the images transposed, [batch, width, height], so that neighbouring rays read neighbours in either direction.
template <class T>
__global__ void forward_kernel(tg_radon p, int64_t total, const RadonView *views, const T *rows, const T *columns, T *y) {
  for (int64_t e = global_thread(); e < total; e += all_threads()) {
    const int64_t b = e / (p.views * p.detectors), a = e / p.detectors % p.views, detector = e % p.detectors;
    const RadonView v = views[a];
    const int64_t lines = v.transposed ? p.width : p.height, extent = v.transposed ? p.height : p.width;
    const T *image = (v.transposed ? columns : rows) + b * p.height * p.width;
    const double low = v.start + v.step * double(v.reversed ? p.detectors - 1 - detector : detector);
    int64_t first, last;
    radon_lines(low, low, v.slope, lines, extent, &first, &last);
    T sum = 0;
    for (int64_t l = first; l < last; ++l) {
      const double position = low + v.slope * double(l);
      if (!(position > -1 && position < double(extent))) continue;
      const double below = floor(position);
      const int64_t i = static_cast<int64_t>(below);
      const T *line = image + l * extent;
      const T left = i >= 0 ? line[i] : T(0), right = i + 1 < extent ? line[i + 1] : T(0);
      sum += left + T(position - below) * (right - left);
    }
    y[e] = sum * T(v.length);
  }
}

template <class T> __global__ void adjoint_kernel(tg_radon p, int64_t total, const RadonView *views, const T *y, T *x) {
  for (int64_t e = global_thread(); e < total; e += all_threads()) {
    const int64_t b = e / (p.height * p.width), row = e / p.width % p.height, column = e % p.width;
    T sum = 0;
    for (int64_t a = 0; a < p.views; ++a) {
      const RadonView v = views[a];
      const T *measured = y + (b * p.views + a) * p.detectors;
      const double inverse = 1 / v.step,
                   at = (double(v.transposed ? row : column) - v.start - v.slope * double(v.transposed ? column : row)) * inverse;
      // The pixel meets the detectors whose distance is below 1 / step.
      const double reach = ceil(inverse);
      if (!(at > -reach && at < double(p.detectors - 1) + reach)) continue;
      const int64_t low = static_cast<int64_t>(floor(at) - reach) + 1, high = low + 2 * static_cast<int64_t>(reach);
      T part = 0;
      for (int64_t d = low < 0 ? 0 : low; d < high && d < p.detectors; ++d) {
        const double weight = 1 - v.step * absolute(at - double(d));
        if (weight > 0) part += T(weight) * measured[v.reversed ? p.detectors - 1 - d : d];
      }
      sum += T(v.length) * part;
    }
    x[e] = sum;
  }
}

int make_views(const char *name, const tg_radon &p, double spacing, const void *angles, const Scratch &views) {
  if (!views.ok()) return fail("%s: out of memory for %lld views", name, (long long)p.views);
  return run_kernel(name, views_kernel, blocks_for(p.views), THREADS, 0, p, spacing, static_cast<const double *>(angles),
                    views.as<RadonView>());
}

int radon_forward(int64_t dtype, const tg_radon *p, double spacing, const void *angles, const void *x, void *y) {
  return with_real(dtype, "radon_forward", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t pixels = p->height * p->width, total = p->batch * p->views * p->detectors;
    Scratch views(p->views * int64_t(sizeof(RadonView))), columns(p->batch * pixels * int64_t(sizeof(T)));
    int status = make_views("radon_forward", *p, spacing, angles, views);
    if (status != TG_OK) return status;
    if (!columns.ok()) return fail("radon_forward: out of memory for an image of %lld x %lld", (long long)p->height, (long long)p->width);
    const T *images = static_cast<const T *>(x);
    for (int64_t b = 0; b < p->batch && pixels > 0 && status == TG_OK; ++b)
      status = transpose(images + b * pixels, columns.as<T>() + b * pixels, p->height, p->width);
    if (status != TG_OK) return status;
    return run_kernel("radon_forward", forward_kernel<T>, blocks_for(total, 128), 128, 0, *p, total, views.as<RadonView>(), images,
                      columns.as<T>(), static_cast<T *>(y));
  });
}

int radon_adjoint(int64_t dtype, const tg_radon *p, double spacing, const void *angles, const void *y, void *x) {
  return with_real(dtype, "radon_adjoint", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t total = p->batch * p->height * p->width;
    Scratch views(p->views * int64_t(sizeof(RadonView)));
    const int status = make_views("radon_adjoint", *p, spacing, angles, views);
    if (status != TG_OK) return status;
    return run_kernel("radon_adjoint", adjoint_kernel<T>, blocks_for(total), THREADS, 0, *p, total, views.as<RadonView>(),
                      static_cast<const T *>(y), static_cast<T *>(x));
  });
}

} // namespace

void register_radon(tg_backend *t) {
  t->radon_forward = radon_forward;
  t->radon_adjoint = radon_adjoint;
}

} // namespace tautgrad::cuda
