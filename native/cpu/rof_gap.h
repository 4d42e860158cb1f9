// The certificate of an isotropic image: y = x - D^T u and its duality gap, in double, with u pulled into the ball pixel by pixel.
//
//   P(y) - D(u) = lambda sum |Dy| - <u, Dy> + 1/2 |y - z|^2,  z = x - D^T u,  and  <u, Dy> = <y, x - z> by parts,
// where x - z sums to 0, so that y may be taken from any level. y is z (FISTA) or the primal iterate, in the image's precision: with z the
// primal-dual method's gap closes several times later, and in float32 not to 1e-6.
#pragma once

#include "../kernels/tv2d_certificate.h"
#include "rof_field.h"

namespace tautgrad::cpu::TG_ISA {
namespace {

template <class T, int DIMS> struct RofCertificate {
  const RofField<T, DIMS> &field;
  const T *x; // [channels][layers][rows][width], as the caller has it
  T *y;
  double lambda, unit; // the field's values are those of the dual divided by unit
  double *sums;        // 4 per layer

  int64_t plane() const { return field.rows * field.width; }

  // The feasible dual of one layer in double: [channels][DIMS][rows][width + 1], a row's first entry being the 0 before it. row: width doubles.
  void feasible(int64_t l, double *out, double *row) const {
    const int64_t w = field.width, part = field.rows * (w + 1), parts = field.channels * DIMS;
    const double limit = lambda * lambda;
    for (int64_t r = 0; r < field.rows; ++r) {
      for (int64_t j = 0; j < w; ++j) row[j] = 0;
      for (int64_t c = 0; c < parts; ++c) {
        const T *from = field.u[0] + c * field.volume + l * field.layer + r * field.stride;
        double *to = out + c * part + r * (w + 1);
        *to++ = 0;
        for (int64_t j = 0; j < w; ++j) {
          to[j] = unit * double(from[j]);
          row[j] += to[j] * to[j];
        }
      }
      // Without a branch, for the vectors: about half of the pixels that lie on the ball are rounded to its outside.
      for (int64_t j = 0; j < w; ++j) {
        const double scale = lambda / __builtin_sqrt(row[j]);
        row[j] = row[j] > limit ? scale : 1;
      }
      for (int64_t c = 0; c < parts; ++c) {
        double *to = out + c * part + r * (w + 1) + 1;
        for (int64_t j = 0; j < w; ++j) to[j] *= row[j];
      }
    }
  }

  // y of layer l, and its sums; `before` and `here` are the feasible duals of the layers l - 1 and l.
  void primal(int64_t l, const double *before, const double *here) const {
    const int64_t w = field.width, part = field.rows * (w + 1);
    double pairing = 0, rounding = 0, fidelity = 0;
    for (int64_t c = 0; c < field.channels; ++c) {
      const int64_t volume = field.layers * plane();
      const double base = double(x[c * volume]);
      for (int64_t r = 0; r < field.rows; ++r) {
        const int64_t at = c * volume + l * plane() + r * w;
        const double *deep = here + c * DIMS * part + r * (w + 1) + 1, *deep_before = before + (deep - here);
        const double *wide = deep + (DIMS - 1) * part, *high = deep + part; // high: the rows' component in 3D
        const T *iterate = field.primal_dual ? field.y + c * field.volume + l * field.layer + r * field.stride : nullptr;
        constexpr int PARTS = 8;
        double a[PARTS] = {}, b[PARTS] = {}, d[PARTS] = {};
        const auto pixel = [&](int64_t j, int k) TG_LAMBDA {
          double flow = wide[j] - wide[j - 1] + deep[j] - deep_before[j];
          if (DIMS == 3) flow += high[j] - (r > 0 ? high[j - (w + 1)] : 0);
          const double xi = double(x[at + j]), z = xi + flow;
          y[at + j] = iterate ? T(base + unit * double(iterate[j])) : T(z);
          const double yi = double(y[at + j]);
          a[k] += (yi - base) * flow; // = -(y - base) (x - z)
          b[k] += (yi - z) * (yi - z);
          d[k] += (xi - yi) * (xi - yi);
        };
        int64_t j = 0;
        for (; j + PARTS <= w; j += PARTS)
          for (int k = 0; k < PARTS; ++k) pixel(j + k, k);
        for (; j < w; ++j) pixel(j, 0);
        for (int k = 0; k < PARTS; ++k) {
          pairing += a[k];
          rounding += b[k];
          fidelity += d[k];
        }
      }
    }
    sums[4 * l] = pairing;
    sums[4 * l + 1] = rounding;
    sums[4 * l + 2] = fidelity;
  }

  // lambda sum |Dy| of layer l; squares: width doubles.
  void variation(int64_t l, double *squares) const {
    const int64_t w = field.width, h = field.rows;
    double total = 0;
    for (int64_t r = 0; r < h; ++r) {
      for (int64_t j = 0; j < w; ++j) squares[j] = 0;
      for (int64_t c = 0; c < field.channels; ++c) {
        const T *here = y + (c * field.layers + l) * plane() + r * w;
        const T *next = l + 1 < field.layers ? here + plane() : here, *below = r + 1 < h ? here + w : here;
        for (int64_t j = 0; j < w; ++j) {
          const double d = double(next[j]) - double(here[j]);
          squares[j] += d * d;
        }
        if (DIMS == 3)
          for (int64_t j = 0; j < w; ++j) {
            const double d = double(below[j]) - double(here[j]);
            squares[j] += d * d;
          }
        for (int64_t j = 0; j + 1 < w; ++j) {
          const double d = double(here[j + 1]) - double(here[j]);
          squares[j] += d * d;
        }
      }
      constexpr int PARTS = 8;
      double roots[PARTS] = {};
      int64_t j = 0;
      for (; j + PARTS <= w; j += PARTS)
        for (int k = 0; k < PARTS; ++k) roots[k] += __builtin_sqrt(squares[j + k]);
      for (; j < w; ++j) roots[0] += __builtin_sqrt(squares[j]);
      for (int k = 0; k < PARTS; ++k) total += roots[k];
    }
    sums[4 * l + 3] = total > 0 || total != total ? lambda * total : 0;
  }

  // Doubles of scratch that a task needs.
  int64_t scratch_doubles() const { return 2 * layer_doubles() + field.width; }
  int64_t layer_doubles() const { return field.channels * DIMS * field.rows * (field.width + 1); }

  // Writes y. Returns false when out of memory.
  bool evaluate(Tv2dGap *found) const {
    const int64_t half = layer_doubles(), block = 16, tasks = (field.layers + block - 1) / block;
    int out_of_memory = 0;
    const auto spread = [&](const auto &task) {
      if (field.parallel) return parallel_for(tasks, task);
      for (int64_t t = 0; t < tasks; ++t) task(t);
    };
    const auto with_scratch = [&](const auto &body) {
      spread([&](int64_t t) {
        void *memory = pool_alloc(scratch_doubles() * int64_t(sizeof(double)));
        if (!memory) return __atomic_store_n(&out_of_memory, 1, __ATOMIC_RELAXED);
        body(t * block, (t + 1) * block < field.layers ? (t + 1) * block : field.layers, static_cast<double *>(memory));
        pool_release(memory);
      });
    };
    with_scratch([&](int64_t first, int64_t end, double *memory) {
      double *before = memory, *here = memory + half, *const row = memory + 2 * half;
      if (first > 0)
        feasible(first - 1, before, row);
      else
        memset(before, 0, size_t(half) * sizeof(double));
      for (int64_t l = first; l < end; ++l) {
        feasible(l, here, row);
        primal(l, before, here);
        double *free = before;
        before = here;
        here = free;
      }
    });
    if (out_of_memory) return false;
    with_scratch([&](int64_t first, int64_t end, double *memory) {
      for (int64_t l = first; l < end; ++l) variation(l, memory);
    });
    double gap = 0, objective = 0;
    for (int64_t l = 0; l < field.layers; ++l) {
      gap += sums[4 * l + 3] + sums[4 * l] + 0.5 * sums[4 * l + 1];
      objective += sums[4 * l + 3] + 0.5 * sums[4 * l + 2];
    }
    *found = {gap < 0 ? 0 : gap, objective};
    return out_of_memory == 0;
  }

  // The feasible dual in the caller's layout [channels][DIMS][layers][rows][width].
  bool dual(T *out) const {
    const int64_t w = field.width, part = field.rows * (w + 1);
    double *u = static_cast<double *>(pool_alloc(scratch_doubles() * int64_t(sizeof(double))));
    if (!u) return false;
    for (int64_t l = 0; l < field.layers; ++l) {
      feasible(l, u, u + 2 * layer_doubles());
      for (int64_t c = 0; c < field.channels * DIMS; ++c)
        for (int64_t r = 0; r < field.rows; ++r)
          for (int64_t j = 0; j < w; ++j) out[(c * field.layers + l) * plane() + r * w + j] = T(u[c * part + r * (w + 1) + 1 + j]);
    }
    pool_release(u);
    return true;
  }
};

} // namespace
} // namespace tautgrad::cpu::TG_ISA
