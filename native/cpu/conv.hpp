// What the convolution files share: the correlation that forward and data both are, and the entry points of each algorithm.
#pragma once

#include "dispatch.hpp"

namespace tautgrad::cpu::TG_ISA {

// One kernel element: it reads `row`, `column` away from the output's place in the input grid and multiplies by w[.. + index].
struct Tap {
  int64_t row, column, index;
};

// y[n, o, row_first + i*row_step, column_first + j*column_step + r] =
//     sum_{c, taps of r} x[n, c, i*stride_h + tap.row, j*stride_w + tap.column] * w[o*w_out + c*w_in + tap.index],   i < rows, j < columns,
// with zeros outside x. Channels count inside one group; group g adds g*in to c, g*out to o and g*w_group to the weights.
// The forward convolution is one correlation. The data gradient of stride s is s*s of them, one per residue of row and column; two
// residues r of the column can go together, which writes whole rows.
template <class T> struct Correlation {
  const T *x, *w;
  T *y;
  int64_t n, groups, in, out;     // batch, groups, channels per group
  int64_t h, width, y_h, y_width; // planes of x and y
  int64_t stride_h, stride_w;
  int64_t rows, columns; // outputs; columns of residue 0, residue 1 may have one less
  int64_t row_first, column_first, row_step, column_step;
  int64_t w_out, w_in, w_group;
  const Tap *taps;
  int64_t tap_count;
  int residues;         // 1, or 2 with column_step = 2
  int64_t tap_begin[3]; // residue r has the taps [tap_begin[r], tap_begin[r + 1])
  const T *bias;        // one per output channel, or NULL
  bool relu;
  const T *mask; // NULL, or a tensor like y: outputs become 0 where it is not positive
};

// Multiply-adds of the plain algorithm.
template <class T> double work_of(const Correlation<T> &k) {
  return static_cast<double>(k.n * k.groups * k.in * k.out) * static_cast<double>(k.rows * k.columns * k.tap_count);
}

// Register-blocked, on rows packed with their borders. Serves every correlation.
template <class T> int correlate_direct(const Correlation<T> &k);
extern template int correlate_direct<float>(const Correlation<float> &);
extern template int correlate_direct<double>(const Correlation<double> &);

// Winograd's F(4x4, 3x3): 3x3 taps, stride 1, enough channels. winograd_serves says whether it applies and pays.
bool winograd_serves(const Correlation<float> &k);
int correlate_winograd(const Correlation<float> &k);

// 3x3 taps, stride 2: F(4, 2) down the columns of the residues of x.
bool strided_serves(const Correlation<float> &k);
int correlate_strided(const Correlation<float> &k);
// Its data gradient (backend.h, tg_conv); mask: NULL, or a tensor like dx.
bool strided_data_serves(const tg_conv &p);
int convolve_strided_data(const tg_conv &p, const float *dy, const float *w, const float *mask, float *dx);

// dw for the correlation k (its y and w are not read): the dot products of dy's planes with x's, tap by tap. db: NULL, or the sums of
// dy's planes over the batch.
template <class T> int correlate_weights(const Correlation<T> &k, const T *dy, T *dw, T *db);
extern template int correlate_weights<float>(const Correlation<float> &, const float *, float *, float *);
extern template int correlate_weights<double>(const Correlation<double> &, const double *, double *, double *);

// The same by the transposed algorithm F(3x3, 4x4).
bool winograd_weights_serves(const Correlation<float> &k);
int correlate_winograd_weights(const Correlation<float> &k, const float *dy, float *dw, float *db);

// The same for stride 2.
bool strided_weights_serves(const Correlation<float> &k);
int correlate_strided_weights(const Correlation<float> &k, const float *dy, float *dw, float *db);

// One input and one output channel per group, all three directions.
template <class T> bool depthwise_serves(const Correlation<T> &k);
template <class T> int correlate_depthwise(const Correlation<T> &k);
template <class T> int correlate_depthwise_weights(const Correlation<T> &k, const T *dy, T *dw, T *db);
extern template bool depthwise_serves<float>(const Correlation<float> &);
extern template bool depthwise_serves<double>(const Correlation<double> &);
extern template int correlate_depthwise<float>(const Correlation<float> &);
extern template int correlate_depthwise<double>(const Correlation<double> &);
extern template int correlate_depthwise_weights<float>(const Correlation<float> &, const float *, float *, float *);
extern template int correlate_depthwise_weights<double>(const Correlation<double> &, const double *, double *, double *);

// Scratch slots of the convolutions (parallel.h): the caller's packed weights, and a task's own tiles.
enum { CONV_SCRATCH_SHARED = 2, CONV_SCRATCH_TASK = 3, CONV_SCRATCH_TASK2 = 4, CONV_SCRATCH_PARTIAL = 5, CONV_SCRATCH_TAPS = 6 };

// body(task, block) for every task; block: a scratch block of `elements` that is the task's own meanwhile. So little work (multiply-adds)
// that waking a thread would cost more stays on this one. Returns false when out of memory.
template <class T, class Body> bool for_scratch_tasks(int64_t count, double work, int64_t elements, const Body &body) {
  int failed = 0;
  for_tasks(count, work, [&](int64_t task) {
    if (T *block = static_cast<T *>(scratch(CONV_SCRATCH_TASK, elements * static_cast<int64_t>(sizeof(T)))))
      body(task, block);
    else
      __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
  });
  return !failed;
}

constexpr int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }
constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

} // namespace tautgrad::cpu::TG_ISA
