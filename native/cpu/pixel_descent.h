// Accelerated projected gradient on the edge duals of one anisotropic image (FISTA; Beck & Teboulle 2009), all pixels at once.
//
//   u+ = clip(v + 1/8 D (x - D^T v)),   v = u+ + t/(t + 6) (u+ - u)
// One sweep streams through the duals once; for small lambda the solution's components are small and few sweeps suffice.
#pragma once

#include "lanes.hpp"
#include "parallel.h"
#include "tv2d_gap.h"

namespace tautgrad::cpu::TG_ISA {
namespace {

template <class T> class PixelDescent {
public:
  // Values of T that the memory must hold.
  static int64_t room(int64_t height, int64_t width) { return 5 * blocks(height) * width; }
  static int64_t blocks(int64_t height) { return (height + ROWS - 1) / ROWS; }

  // u of the image and v: [height, width] each, feasible at the start; products: one per block.
  PixelDescent(const DualImage<T> &image, T *u_rows, T *u_cols, T *v_rows, T *v_cols, T *memory, double *products)
      : p_(image), width_(image.width), ur_(u_rows), uc_(u_cols), vr_(v_rows), vc_(v_cols), memory_(memory), products_(products) {}

  void sweep() {
    age_ += 1;
    const T beta = T((age_ - 1) / (age_ + 5));
    // The neighbours of a block are used as they were before the sweep.
    const int64_t count = blocks(p_.height);
    for (int64_t b = 0; b + 1 < count; ++b) {
      const int64_t below = (b + 1) * ROWS * width_;
      for (int64_t j = 0; j < width_; ++j) {
        saved(b + 1, 0)[j] = vc_[below - width_ + j];
        saved(b, 1)[j] = vr_[below + j];
        saved(b, 2)[j] = vc_[below + j];
      }
    }
    parallel_for(count, [&](int64_t b) { products_[b] = block(b, beta); });
    double product = 0;
    for (int64_t b = 0; b < count; ++b) product += products_[b];
    if (product > 0) age_ = 1; // momentum points uphill (O'Donoghue & Candes 2015)
  }

  // y = x - D^T u
  void primal(T *y) const {
    parallel_for(p_.height, [&](int64_t r) {
      primal_row(r, ur_ + r * width_, uc_ + r * width_, r > 0 ? uc_ + (r - 1) * width_ : nullptr, y + r * width_);
    });
  }

private:
  using L = Lanes<T>;
  using V = typename L::V;
  static constexpr int64_t ROWS = 64;
  struct Product {
    V lanes;
    double rest;
  };

  T *saved(int64_t b, int row) const { return memory_ + (5 * b + row) * width_; }

  double block(int64_t b, T beta) {
    const int64_t first = b * ROWS, last = first + ROWS < p_.height ? first + ROWS : p_.height;
    T *y = saved(b, 3), *above = saved(b, 4);
    Product product{L::splat(0), 0};
    for (int64_t r = first; r < last; ++r) {
      T *swap = y;
      y = above;
      above = swap;
      T *vr = vr_ + r * width_, *vc = vc_ + r * width_;
      primal_row(r, vr, vc, r == 0 ? nullptr : r == first ? saved(b, 0) : vc - width_, y);
      if (r > first) edges(r - 1, false, above, y, beta, &product);
      edges(r, true, y, y + 1, beta, &product);
    }
    if (last < p_.height) {
      primal_row(last, saved(b, 1), saved(b, 2), vc_ + (last - 1) * width_, above);
      edges(last - 1, false, y, above, beta, &product);
    }
    double sum = product.rest;
    for (int k = 0; k < L::width; ++k) sum += double(product.lanes[k]);
    return sum;
  }

  void primal_row(int64_t r, const T *vr, const T *vc, const T *vc_above, T *y) const {
    const T *x = p_.x + r * width_;
    y[0] = x[0] + vr[0] + vc[0] - (vc_above ? vc_above[0] : T(0));
    int64_t j = 1;
    while (width_ > L::width && j < width_) {
      if (j + L::width > width_) j = width_ - L::width; // the last vector overlaps the one before
      V v = L::load(x + j) + (L::load(vr + j) - L::load(vr + j - 1)) + L::load(vc + j);
      if (vc_above) v -= L::load(vc_above + j);
      L::store(y + j, v);
      j += L::width;
    }
    for (; j < width_; ++j) y[j] = x[j] + (vr[j] - vr[j - 1]) + vc[j] - (vc_above ? vc_above[j] : T(0));
  }

  // The edges inside row r, or from row r to the next; `from` and `to` are the values at their ends. Adds <v - u+, u+ - u>.
  TG_INLINE void edges(int64_t r, bool inside, const T *from, const T *to, T beta, Product *product) {
    const int64_t count = inside ? width_ - 1 : width_;
    T *u = (inside ? ur_ : uc_) + r * width_, *v = (inside ? vr_ : vc_) + r * width_;
    const T *weights = inside ? p_.wx : p_.wy, lambda = inside ? p_.lambda_rows : p_.lambda_cols, step = T(0.125);
    if (weights) weights += r * count;
    const T uniform = lambda < p_.cap ? lambda : p_.cap;
    V sum = product->lanes, bound = L::splat(uniform);
    const V zero = L::splat(0), cap = L::splat(p_.cap);
    const auto vector = [&](int64_t j) {
      if (weights) {
        const V w = L::load(weights + j);
        bound = L::select(L::equal(w, zero), zero, L::min(cap, L::splat(lambda) * w));
      }
      return L::min(bound, L::max(-bound, L::load(v + j) + step * (L::load(to + j) - L::load(from + j))));
    };
    int64_t j = 0;
    for (; j + L::width <= count; j += L::width) {
      const V old = L::load(v + j), moved = vector(j), change = moved - L::load(u + j);
      sum += (old - moved) * change;
      L::store(v + j, moved + beta * change);
      L::store(u + j, moved);
    }
    if (j < count && count >= L::width) { // the last vector overlaps the one before, whose lanes stay as they are
      V lane;
      for (int i = 0; i < L::width; ++i) lane[i] = T(i);
      const auto fresh = L::not_less(lane, L::splat(T(j - (count - L::width))));
      j = count - L::width;
      const V old = L::load(v + j), before = L::load(u + j), moved = L::select(fresh, vector(j), before), change = moved - before;
      sum += L::select(fresh, (old - moved) * change, zero);
      L::store(v + j, L::select(fresh, moved + beta * change, old));
      L::store(u + j, moved);
      j = count;
    }
    product->lanes = sum;
    for (; j < count; ++j) {
      const T w = weights ? (weights[j] == 0 ? T(0) : lambda * weights[j] < p_.cap ? lambda * weights[j] : p_.cap) : uniform;
      const T aim = v[j] + step * (to[j] - from[j]), moved = aim > w ? w : aim < -w ? -w : aim, change = moved - u[j];
      product->rest += double((v[j] - moved) * change);
      v[j] = moved + beta * change;
      u[j] = moved;
    }
  }

  const DualImage<T> &p_;
  const int64_t width_;
  T *ur_, *uc_, *vr_, *vc_, *memory_;
  double *products_;
  double age_ = 1;
};

} // namespace
} // namespace tautgrad::cpu::TG_ISA
