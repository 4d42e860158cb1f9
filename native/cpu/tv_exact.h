// The exact finish of anisotropic total variation on grids: from a nearly optimal dual to the solution itself.
#pragma once

#include "../kernels/grid_flow.h"

namespace tautgrad::cpu {

// The problem, a feasible dual and room for the solution, in one block of the memory pool. D = 2: axis 0 joins horizontal neighbours
// (stride 1), axis 1 vertical ones.
template <int D> struct ExactGrid {
  int64_t n;
  int64_t stride[D];
  double *x;
  FlowEdge *edge[D]; // edge[k][i].u and .w; w = u = 0 for edges that would leave the grid
  int32_t *label;    // in: connected components (any pixel of it that is its own label); out: the solution's, label = smallest pixel
  double *value;     // out: value[label[i]] is the solution at i

  bool allocate(int64_t pixels, const int64_t *strides); // x is left unset, everything else is 0
  void release();

  // Rounds of: merge neighbours whose means stand in the wrong order, level every changed component or cut it. Returns the rounds, or 0
  // when cancelled (checked between rounds).
  int finish(const int32_t *cancel);

  // Primal minus dual objective at the values and u, and the primal objective.
  void certify(double *gap, double *objective) const;

private:
  static constexpr int64_t BLOCK = 1 << 14;

  void *memory_;
  double *pixel_, *parts_; // scratch per pixel (readable max stride beyond the end) and two numbers per block
  int32_t *count_, *height_, *queue_, *list_;
  uint8_t *toward_, *changed_;

  void means();
  bool merge(double noise);
  void unite(int32_t a, int32_t b);
  void level_changed();
  double noise() const;
  int64_t blocks() const { return (n + BLOCK - 1) / BLOCK; }
  template <class Body> void each_block(const Body &body) const;
};

extern template struct ExactGrid<2>;

} // namespace tautgrad::cpu
