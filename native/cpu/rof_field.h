// The iterations of isotropic total variation on one image or volume, layer by layer (a layer is a row in 2D, a slice in 3D).
//
// Primal y = x - D^T u with the dual field u, one vector of DIMS components per pixel and channel, |u| <= bound over the components and
// channels of a pixel. Component k belongs to the k-th of the last DIMS axes; its entries at the end of that axis stay 0 (Neumann
// boundary).
//   FISTA (Beck & Teboulle 2009):  u+ = project(v + D (x - D^T v) / |D|^2),  v = u + beta (u - u-)
//   accelerated primal-dual (Chambolle & Pock 2011, algorithm 2):
//     u+ = project(u + sigma D ybar),  y+ = (y + tau (x - D^T u+)) / (1 + tau),  ybar = y+ + theta (y+ - y)
// Both need their neighbours in the next layer (first half) and in the layer before (second half) only. So a serial run lets several
// iterations follow each other at a distance of one layer while everything they touch is in the cache; a parallel one spreads the layers of
// each half over the threads. Every pixel goes through the same operations either way: the results are bitwise the same.
#pragma once

#include "inverse_sqrt.hpp"
#include "memory.h"
#include "parallel.h"

namespace tautgrad::cpu::TG_ISA {
namespace {

constexpr int ROF_LEVELS = 4; // iterations that follow each other through the layers

struct RofLevel {
  double beta;              // FISTA
  double sigma, tau, theta; // primal-dual
};

template <class T, int DIMS> struct RofField {
  using V = vec<T>;
  static constexpr int64_t step = lanes<T>;

  int64_t channels, layers, rows, width;
  bool parallel, primal_dual;
  int64_t stride = 0, layer = 0, volume = 0, vectors = 0; // elements; at least one 0 behind every row
  T bound = 0;
  mask<T> inner{};                // of a row's last vector: the lanes that have a right neighbour
  T *x = nullptr;                 // [channels][layers][rows][stride]
  T *u[2] = {nullptr, nullptr};   // [channels][DIMS][layers][rows][stride]: the newest and the one before; the primal-dual method has one
  T *y = nullptr, *bar = nullptr; // FISTA: y in slots of one layer of all channels; primal-dual: whole, laid out as x
  T *zeros = nullptr;
  double *products = nullptr; // per level and layer
  void *memory = nullptr;

  bool allocate() {
    stride = (width + step) / step * step;
    layer = rows * stride;
    volume = layers * layer;
    vectors = (width + step - 1) / step;
    for (int64_t k = 0; k < step; ++k) inner[k] = (vectors - 1) * step + k < width - 1 ? -1 : 0;
    const int64_t field = channels * DIMS * volume, image = channels * volume;
    const int64_t slots = primal_dual ? 2 * image : channels * layer * (parallel ? layers : 2 * ROF_LEVELS);
    const int64_t count = 2 * step + image + (primal_dual ? 1 : 2) * field + slots + layer;
    const int64_t bytes = ROF_LEVELS * layers * int64_t(sizeof(double)) + count * int64_t(sizeof(T));
    memory = pool_alloc(bytes);
    if (!memory) return false;
    memset(memory, 0, size_t(bytes));
    products = static_cast<double *>(memory);
    T *at = reinterpret_cast<T *>(products + ROF_LEVELS * layers) + step; // the sample before the first is read
    const auto take = [&](int64_t n) {
      T *here = at;
      at += n;
      return here;
    };
    u[0] = take(field);
    u[1] = primal_dual ? u[0] : take(field);
    x = take(image);
    y = take(primal_dual ? image : slots);
    if (primal_dual) bar = take(image);
    zeros = take(layer);
    return true;
  }
  void release() { pool_release(memory); }

  // The layers in tasks of some thousand pixels; the cut depends on the sizes only.
  template <class Body> void each_layer(const Body &body) const {
    const int64_t size = channels * layer, fits = 8192 / (size > 0 ? size : 1), block = fits > 1 ? fits : 1;
    const auto run = [&](int64_t task) {
      for (int64_t l = task * block; l < (task + 1) * block && l < layers; ++l) body(l);
    };
    const int64_t tasks = (layers + block - 1) / block;
    if (parallel) return parallel_for(tasks, run);
    for (int64_t t = 0; t < tasks; ++t) run(t);
  }

  // `count` iterations; returns the product that decides on a restart, of the last one.
  double iterate(int count, const RofLevel *levels) {
    if (parallel) {
      for (int m = 0; m < count; ++m) {
        each_layer([&](int64_t l) { first_half(m, levels[m], l); });
        each_layer([&](int64_t l) { second_half(m, levels[m], l); });
      }
    } else {
      for (int64_t t = 0; t < layers + count - 1; ++t)
        for (int m = 0; m < count; ++m) {
          const int64_t l = t - m;
          if (l < 0 || l >= layers) continue;
          if (primal_dual) {
            first_half(m, levels[m], l);
          } else {
            if (l == 0) first_half(m, levels[m], 0);
            if (l + 1 < layers) first_half(m, levels[m], l + 1);
          }
          second_half(m, levels[m], l);
        }
    }
    if (count % 2 && !primal_dual) {
      T *newest = u[1];
      u[1] = u[0];
      u[0] = newest;
    }
    double product = 0;
    for (int64_t l = 0; l < layers; ++l) product += products[(count - 1) * layers + l];
    return product;
  }

  void first_half(int m, const RofLevel &p, int64_t l) {
    if (primal_dual)
      channels == 1 ? update<true, true>(m, p, l) : update<true, false>(m, p, l);
    else
      primal(m, p, l);
  }
  void second_half(int m, const RofLevel &p, int64_t l) {
    if (primal_dual)
      primal(m, p, l);
    else
      channels == 1 ? update<false, true>(m, p, l) : update<false, false>(m, p, l);
  }

  T *slot(int m, int64_t l) const { return y + (parallel ? l : 2 * m + (l & 1)) * channels * layer; }

  // FISTA: y = x - D^T v of one layer. Primal-dual: the primal step.
  void primal(int m, const RofLevel &p, int64_t l) {
    const T beta = T(p.beta), tau = T(p.tau), shrink = T(1 / (1 + p.tau)), theta = T(p.theta);
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t at = l * layer + r * stride;
        const T *now[DIMS], *old[DIMS], *now_before[DIMS], *old_before[DIMS];
        for (int k = 0; k < DIMS; ++k) {
          const int64_t here = (c * DIMS + k) * volume + at, back = k == DIMS - 1 ? 1 : k == 0 ? layer : stride;
          const bool first = k == DIMS - 1 ? false : k == 0 ? l == 0 : r == 0;
          now[k] = u[m & 1] + here;
          old[k] = u[(m & 1) ^ 1] + here;
          now_before[k] = first ? zeros : now[k] - back;
          old_before[k] = first ? zeros : old[k] - back;
        }
        const T *xs = x + c * volume + at;
        T *ys = primal_dual ? y + c * volume + at : slot(m, l) + c * layer + r * stride;
        T *bars = primal_dual ? bar + c * volume + at : nullptr;
        for (int64_t j = 0; j < vectors * step; j += step) {
          V sum = load(xs + j);
          for (int k = 0; k < DIMS; ++k) {
            const V a = load(now[k] + j), b = load(now_before[k] + j);
            if (primal_dual)
              sum += a - b;
            else
              sum += (a + beta * (a - load(old[k] + j))) - (b + beta * (b - load(old_before[k] + j)));
          }
          if (primal_dual) {
            const V before = load(ys + j), after = (before + tau * sum) * shrink;
            store(ys + j, after);
            store(bars + j, after + theta * (after - before));
          } else
            store(ys + j, sum);
        }
      }
  }

  // The dual step of one layer, from y of FISTA or ybar of the primal-dual method.
  template <bool PD, bool ONE> void update(int m, const RofLevel &p, int64_t l) {
    const T gain = PD ? T(p.sigma) : T(1.0 / (4 * DIMS)), beta = T(p.beta);
    const T square = bound * bound;
    const bool last_layer = l + 1 == layers;
    const int64_t channel_step = PD ? volume : layer;
    const T *here = PD ? bar + l * layer : slot(m, l);
    const T *next = last_layer ? here : PD ? here + layer : slot(m, l + 1);
    V product{};
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t at = l * layer + r * stride;
      const T *below = r + 1 < rows ? here + stride : here; // differences with itself are 0
      const auto pixels = [&](int64_t j, bool last) TG_LAMBDA {
        // The unprojected step of one channel, and the point that it starts from.
        const auto tentative = [&](int64_t c, V *a, V *v) TG_LAMBDA {
          const int64_t i = r * stride + c * channel_step + j;
          const V center = load(here + i);
          V d = load(here + i + 1) - center;
          if (last) d = inner ? d : V{};
          V g[3];
          g[0] = load(next + i) - center;
          if (DIMS == 3) g[1] = load(below + i) - center;
          g[DIMS - 1] = d;
          for (int k = 0; k < DIMS; ++k) {
            const int64_t q = (c * DIMS + k) * volume + at + j;
            const V now = load(u[PD ? 0 : m & 1] + q);
            v[k] = PD ? now : now + beta * (now - load(u[(m & 1) ^ 1] + q));
            a[k] = v[k] + gain * g[k];
          }
        };
        V a[3], v[3], length{};
        for (int64_t c = 0; c < (ONE ? 1 : channels); ++c) {
          tentative(c, a, v);
          for (int k = 0; k < DIMS; ++k) length += a[k] * a[k];
        }
        const V scale = length > square ? bound * inverse_sqrt(length) : splat<T>(1);
        for (int64_t c = 0; c < (ONE ? 1 : channels); ++c) {
          if (!ONE) tentative(c, a, v);
          for (int k = 0; k < DIMS; ++k) {
            const int64_t q = (c * DIMS + k) * volume + at + j;
            const V projected = a[k] * scale;
            if (!PD) product += (v[k] - projected) * (projected - load(u[m & 1] + q));
            store(u[PD ? 0 : (m & 1) ^ 1] + q, projected);
          }
        }
      };
      int64_t j = 0;
      for (; j + step < vectors * step; j += step) pixels(j, false);
      pixels(j, true);
    }
    if (!PD) products[m * layers + l] = double(horizontal_sum<T>(product));
  }

  void forget_momentum() { memcpy(u[1], u[0], size_t(channels * DIMS * volume) * sizeof(T)); }
};

} // namespace
} // namespace tautgrad::cpu::TG_ISA
