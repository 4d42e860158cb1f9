// The parallel-beam Radon transform and its exact adjoint on the CPU. Lanes are neighbouring detectors (forward) or neighbouring pixels of
// a line (adjoint): a vector of either looks at a short run of the other, which is loaded once and permuted. Both directions gather, so
// that neither depends on the order of tasks.
#include "dispatch.hpp"
#include "parallel.h"
#include "simd.hpp"

#include "../kernels/radon.h"

namespace tautgrad::cpu::TG_ISA {
namespace {

template <class T> constexpr int64_t MARGIN = 3 * lanes<T>; // zeros before and after each line: windows reach out by less
constexpr int64_t TILE_LINES = 8;                           // lines whose pixels share the detectors in cache

template <class T> TG_INLINE vec<T> lane_index() {
  T values[lanes<T>];
  for (int k = 0; k < lanes<T>; ++k) values[k] = T(k);
  return load(values);
}

// A window of two vectors serves while the positions of one vector, `step` apart, and `beyond` neighbours stay inside it.
template <class T> bool window_serves(double step, int64_t beyond) { return step * (lanes<T> - 1) + 1 + double(beyond) < 2 * lanes<T>; }

// lines of `extent` elements, `stride` apart from p; line l of the result starts at to + l (extent + 2 MARGIN) with MARGIN zeros.
template <class T> void pad_lines(const T *p, int64_t lines, int64_t extent, int64_t line_stride, int64_t stride, T *to) {
  const int64_t pitch = extent + 2 * MARGIN<T>;
  for_chunks(lines, 16, [&](int64_t begin, int64_t end) {
    for (int64_t l = begin; l < end; ++l) {
      T *line = to + l * pitch;
      memset(line, 0, MARGIN<T> * sizeof(T));
      memset(line + MARGIN<T> + extent, 0, MARGIN<T> * sizeof(T));
    }
    if (stride == 1) {
      for (int64_t l = begin; l < end; ++l) memcpy(to + l * pitch + MARGIN<T>, p + l * line_stride, size_t(extent) * sizeof(T));
    } else { // sixteen lines at a time: each cache line of the image is used whole
      for (int64_t i = 0; i < extent; ++i)
        for (int64_t l = begin; l < end; ++l) to[l * pitch + MARGIN<T> + i] = p[l * line_stride + i * stride];
    }
  });
}

// One vector of detectors, from d on.
template <class T, bool Window> TG_INLINE vec<T> project(const RadonView &v, const T *image, int64_t lines, int64_t extent, int64_t d) {
  const int64_t pitch = extent + 2 * MARGIN<T>;
  const vec<T> offset = splat<T>(T(v.step)) * lane_index<T>();
  const double low = v.start + v.step * double(d);
  int64_t first, last;
  radon_lines(low, low + v.step * (lanes<T> - 1), v.slope, lines, extent, &first, &last);
  // Positions count from the line's first zero, so that they are positive and truncation rounds down.
  const double base = low + double(MARGIN<T>);
  vec<T> sum{};
  for (int64_t l = first; l < last; ++l) {
    const double at = base + v.slope * double(l);
    const T *line = image + l * pitch;
    if constexpr (Window) {
      const int64_t whole = int64_t(at);
      const vec<T> position = splat<T>(T(at - double(whole))) + offset;
      const mask<T> index = __builtin_convertvector(position, mask<T>);
      const vec<T> fraction = position - __builtin_convertvector(index, vec<T>);
      const vec<T> left = pick(line + whole, index), right = pick(line + whole, index + 1);
      sum += left + fraction * (right - left);
    } else {
      T terms[lanes<T>];
      for (int k = 0; k < lanes<T>; ++k) {
        const double position = clamp(at + v.step * k, 0, double(pitch - 2));
        const int64_t whole = int64_t(position);
        const T fraction = T(position - double(whole));
        terms[k] = line[whole] + fraction * (line[whole + 1] - line[whole]);
      }
      sum += load(terms);
    }
  }
  return sum * splat<T>(T(v.length));
}

template <class T, bool Window>
void project_view(const RadonView &v, const T *image, int64_t lines, int64_t extent, int64_t detectors, T *y) {
  for (int64_t d = 0; d < detectors; d += lanes<T>) {
    const vec<T> sum = project<T, Window>(v, image, lines, extent, d);
    const int64_t count = detectors - d < lanes<T> ? detectors - d : lanes<T>;
    if (!v.reversed) {
      store_partial(y + d, sum, count);
    } else {
      for (int64_t k = 0; k < count; ++k) y[detectors - 1 - d - k] = sum[k];
    }
  }
}

template <class T> int forward_typed(const tg_radon &p, double spacing, const double *angles, const T *x, T *y) {
  const int64_t h = p.height, w = p.width;
  T *rows = static_cast<T *>(scratch(0, h * (w + 2 * MARGIN<T>)*int64_t(sizeof(T))));
  T *columns = static_cast<T *>(scratch(1, w * (h + 2 * MARGIN<T>)*int64_t(sizeof(T))));
  if (!rows || !columns) return fail("radon_forward: out of memory for an image of %lld x %lld", (long long)h, (long long)w);
  for (int64_t b = 0; b < p.batch; ++b, x += h * w, y += p.views * p.detectors) {
    pad_lines(x, h, w, w, 1, rows);
    pad_lines(x, w, h, 1, w, columns);
    for_tasks(p.views, double(p.views) * double(h) * double(w), [&](int64_t a) {
      const RadonView v = radon_view(angles[a], h, w, p.detectors, spacing);
      const T *image = v.transposed ? columns : rows;
      const int64_t lines = v.transposed ? w : h, extent = v.transposed ? h : w;
      // The right neighbour lies one beyond.
      if (window_serves<T>(v.step, 1))
        project_view<T, true>(v, image, lines, extent, p.detectors, y + a * p.detectors);
      else
        project_view<T, false>(v, image, lines, extent, p.detectors, y + a * p.detectors);
    });
  }
  return TG_OK;
}

// A view as the adjoint needs it: pixel i of line l lies at (i - start - slope l) / step detectors.
struct Beam {
  double start, slope, inverse;
  double step;
  int64_t row;   // of the padded measurements
  int64_t reach; // a pixel meets the detectors whose distance is below 1 / step: `reach` on either side
  bool window;
};

// One vector of pixels, from i on, of the TILE_LINES lines from l on: adds max(0, 1 - step |u - d|) y_d over the detectors d.
// Near: reach is 1 (detectors at least a pixel apart), so that only the two neighbours count.
template <class T, bool Window, bool Near>
TG_INLINE void spread_back(const Beam &beam, const T *measured, int64_t detectors, int64_t l, int64_t i, vec<T> *sums) {
  const int64_t pitch = detectors + 2 * MARGIN<T>;
  const T *y = measured + beam.row * pitch;
  const vec<T> offset = splat<T>(T(beam.inverse)) * lane_index<T>(), step = splat<T>(T(beam.step)), one = splat<T>(1), near = one - step,
               zero{};
  const double reach = double(beam.reach), span = beam.inverse * (lanes<T> - 1);
  const double first = (double(i) - beam.start - beam.slope * double(l)) * beam.inverse, down = -beam.slope * beam.inverse;
#pragma GCC unroll 8
  for (int k = 0; k < TILE_LINES; ++k) {
    const double at = first + down * k;
    if (!(at + span > -reach && at < double(detectors - 1) + reach)) continue;
    if constexpr (Window) {
      const double from_margin = at + double(MARGIN<T>) - (reach - 1);
      const int64_t whole = int64_t(from_margin);
      const vec<T> position = splat<T>(T(from_margin - double(whole))) + offset;
      mask<T> index = __builtin_convertvector(position, mask<T>);
      const vec<T> fraction = position - __builtin_convertvector(index, vec<T>);
      if constexpr (Near) {
        const vec<T> left = one - step * fraction, right = near + step * fraction;
        sums[k] += (left > zero ? left : zero) * pick(y + whole, index) + (right > zero ? right : zero) * pick(y + whole, index + 1);
        continue;
      }
      vec<T> sum = sums[k];
      // Detectors on the left, the farthest first: distances reach - 1 + fraction … fraction; then those on the right.
      for (int64_t n = 0; n < 2 * beam.reach; ++n) {
        const vec<T> signed_distance = fraction + splat<T>(T(reach - 1 - double(n)));
        const vec<T> distance = signed_distance < zero ? -signed_distance : signed_distance;
        const vec<T> weight = one - step * distance;
        sum += (weight > zero ? weight : zero) * pick(y + whole, index);
        index += 1;
      }
      sums[k] = sum;
    } else {
      T terms[lanes<T>];
      for (int j = 0; j < lanes<T>; ++j) {
        const double u = at + beam.inverse * j;
        const int64_t low = int64_t(floor(u)) - beam.reach + 1, high = low + 2 * beam.reach;
        T term = 0;
        for (int64_t d = low < 0 ? 0 : low; d < high && d < detectors; ++d) {
          const double weight = 1 - beam.step * absolute(u - double(d));
          if (weight > 0) term += T(weight) * y[MARGIN<T> + d];
        }
        terms[j] = term;
      }
      sums[k] += load(terms);
    }
  }
}

// image[lines, extent] = the sum over the beams.
template <class T>
void spread_lines(const Beam *beams, int64_t count, const T *measured, int64_t detectors, int64_t lines, int64_t extent, T *image) {
  const int64_t tiles = (lines + TILE_LINES - 1) / TILE_LINES;
  for_tasks(tiles, double(count) * double(lines) * double(extent), [&](int64_t tile) {
    const int64_t l = tile * TILE_LINES, rows = lines - l < TILE_LINES ? lines - l : TILE_LINES;
    for (int64_t i = 0; i < extent; i += lanes<T>) {
      vec<T> sums[TILE_LINES] = {};
      for (int64_t n = 0; n < count; ++n) {
        if (beams[n].window && beams[n].reach == 1)
          spread_back<T, true, true>(beams[n], measured, detectors, l, i, sums);
        else if (beams[n].window)
          spread_back<T, true, false>(beams[n], measured, detectors, l, i, sums);
        else
          spread_back<T, false, false>(beams[n], measured, detectors, l, i, sums);
      }
      const int64_t width = extent - i < lanes<T> ? extent - i : lanes<T>;
      for (int64_t k = 0; k < rows; ++k) store_partial(image + (l + k) * extent + i, sums[k], width);
    }
  });
}

template <class T> int adjoint_typed(const tg_radon &p, double spacing, const double *angles, const T *y, T *x) {
  const int64_t h = p.height, w = p.width, pitch = p.detectors + 2 * MARGIN<T>;
  T *measured = static_cast<T *>(scratch(0, p.views * pitch * int64_t(sizeof(T))));
  T *columns = static_cast<T *>(scratch(1, h * w * int64_t(sizeof(T))));
  Beam *beams = static_cast<Beam *>(scratch(2, p.views * int64_t(sizeof(Beam))));
  if (!measured || !columns || !beams) return fail("radon_adjoint: out of memory for %lld views", (long long)p.views);
  // Beams that meet rows from the front, those that meet columns from the back.
  int64_t along_rows = 0, along_columns = p.views;
  for (int64_t b = 0; b < p.batch; ++b, x += h * w, y += p.views * p.detectors) {
    along_rows = 0, along_columns = p.views;
    for (int64_t a = 0; a < p.views; ++a) {
      const RadonView v = radon_view(angles[a], h, w, p.detectors, spacing);
      const int64_t reach = int64_t(ceil(1 / v.step));
      const Beam beam{v.start, v.slope, 1 / v.step, v.step, a, reach, window_serves<T>(1 / v.step, 2 * reach - 1)};
      beams[v.transposed ? --along_columns : along_rows++] = beam;
      T *to = measured + a * pitch;
      memset(to, 0, MARGIN<T> * sizeof(T));
      memset(to + MARGIN<T> + p.detectors, 0, MARGIN<T> * sizeof(T));
      const T *from = y + a * p.detectors, length = T(v.length);
      for (int64_t d = 0; d < p.detectors; ++d) to[MARGIN<T> + d] = length * from[v.reversed ? p.detectors - 1 - d : d];
    }
    spread_lines(beams, along_rows, measured, p.detectors, h, w, x);
    if (along_columns == p.views) continue;
    spread_lines(beams + along_columns, p.views - along_columns, measured, p.detectors, w, h, columns);
    for_chunks(h, 16, [&](int64_t begin, int64_t end) {
      for (int64_t j = 0; j < w; ++j)
        for (int64_t i = begin; i < end; ++i) x[i * w + j] += columns[j * h + i];
    });
  }
  return TG_OK;
}

int radon_forward(int64_t dtype, const tg_radon *p, double spacing, const void *angles, const void *x, void *y) {
  return with_real(dtype, "radon_forward", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return forward_typed<T>(*p, spacing, static_cast<const double *>(angles), static_cast<const T *>(x), static_cast<T *>(y));
  });
}

int radon_adjoint(int64_t dtype, const tg_radon *p, double spacing, const void *angles, const void *y, void *x) {
  return with_real(dtype, "radon_adjoint", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return adjoint_typed<T>(*p, spacing, static_cast<const double *>(angles), static_cast<const T *>(y), static_cast<T *>(x));
  });
}
} // namespace

void register_radon(tg_backend *t) {
  t->radon_forward = radon_forward;
  t->radon_adjoint = radon_adjoint;
}
} // namespace tautgrad::cpu::TG_ISA
