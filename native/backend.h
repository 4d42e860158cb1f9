/* The kernel table: one versioned C struct that every backend fills (DESIGN §2).
 *
 * All tensors are dense and row-major; a kernel that takes strides says so. Kernels trust their arguments:
 * validation lives in TypeScript. Every kernel returns one of the codes below; after TG_FAILED, last_error() holds
 * the sentence for the calling thread. Data (NaN, Inf, denormals) never makes a kernel fail or read out of bounds.
 *
 * Calling convention of the addon: each argument travels as a double (pointers and sizes are exact below 2^53),
 * and each struct below but tg_parts consists of int64_t members only, so that it travels as that many doubles.
 */
#ifndef TAUTGRAD_BACKEND_H
#define TAUTGRAD_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TG_BACKEND_VERSION 4
#define TG_MAX_RANK 8

/* TG_UNSUPPORTED: this backend has no kernel for these arguments, and nothing was written: the caller computes on the CPU. */
enum { TG_OK = 0, TG_FAILED = 1, TG_UNSUPPORTED = 2 };

typedef enum tg_dtype { TG_F32 = 0, TG_F64 = 1, TG_I32 = 2, TG_U8 = 3 } tg_dtype;

/* Settings, 0 at first: tg_backend.set_option. */
typedef enum tg_option {
  /* 1: float32 products of the vendor's libraries may round their factors to TensorFloat-32. Of the process. */
  TG_OPTION_TF32 = 0,
  /* 1: matmul, conv_forward, conv_data, conv_weights and their fused forms round float32 factors to bfloat16. Of the calling thread. */
  TG_OPTION_BFLOAT16 = 1
} tg_option;

/* A shape, or strides counted in elements. */
typedef struct tg_dims {
  int64_t rank;
  int64_t d[TG_MAX_RANK];
} tg_dims;

/* Tensors that one call works through together, so that many small ones cost one launch. The members that a kernel does not mention are
 * not looked at. Travels as the count and the host's address of rows of TG_PART_NUMBERS doubles: these members in this order. */
typedef struct tg_part {
  int64_t dtype; /* TG_F32 or TG_F64 */
  int64_t n;
  int64_t group; /* which row of the call's rates */
  void *value;   /* changed in place */
  const void *source;
  void *first, *second; /* the optimiser's state; NULL where it keeps none */
} tg_part;
#define TG_PART_NUMBERS 7
typedef struct tg_parts {
  int64_t count;
  const tg_part *part;
} tg_parts;

/* float64 numbers of a group of parameters: tg_backend.adam, tg_backend.sgd. */
#define TG_RATES 4

typedef enum tg_unary_op {
  TG_NEG = 0,
  TG_EXP,
  TG_LOG,
  TG_LOG1P,
  TG_EXPM1,
  TG_SQRT,
  TG_RSQRT,
  TG_SQUARE,
  TG_RECIPROCAL,
  TG_TANH,
  TG_SIGMOID,
  TG_SOFTPLUS,
  TG_RELU,
  TG_ABS,
  TG_SIGN,
  TG_SIN,
  TG_COS,
  TG_FLOOR,
  TG_ROUND,
  TG_IS_NAN,    /* 1 or 0 in the same dtype */
  TG_ROUND_BF16 /* float32 to the nearest bfloat16 (ties to even), kept as float32 */
} tg_unary_op;

/* MASK_POSITIVE(a, b) = a > 0 ? b : 0, the derivative of relu as a linear map of b. */
typedef enum tg_binary_op { TG_ADD = 0, TG_SUB, TG_MUL, TG_DIV, TG_POW, TG_MIN, TG_MAX, TG_MASK_POSITIVE } tg_binary_op;

typedef enum tg_compare_op { TG_EQ = 0, TG_NE, TG_LT, TG_LE, TG_GT, TG_GE } tg_compare_op;

typedef enum tg_reduce_op { TG_SUM = 0, TG_PROD, TG_REDUCE_MIN, TG_REDUCE_MAX, TG_ARG_MIN, TG_ARG_MAX } tg_reduce_op;

/* 2D cross-correlation (1D: h = kh = 1):
 *   y[n,o,i,j] = sum_{c,a,b} x[n, c, i*stride_h + a*dilation_h - pad_h, j*stride_w + b*dilation_w - pad_w] * w[o,c,a,b]
 * with zeros outside; pad_h/pad_w are the paddings before the first row/column (may be negative), the padding after the last one
 * follows from out_h/out_w. x: [n, c_in, h, w]; w: [c_out, c_in/groups, kh, kw]; y: [n, c_out, out_h, out_w].
 * conv_data and conv_weights are the two partial transposes of the same trilinear form <y, conv(x, w)>. */
typedef struct tg_conv {
  int64_t n, c_in, h, w, c_out, kh, kw, out_h, out_w;
  int64_t stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups;
} tg_conv;

/* Windows of [planes, h, w]: output (i, j) covers rows i*stride_h - pad_h + 0 ... kh - 1, and columns alike. */
typedef struct tg_pool {
  int64_t planes, h, w, kh, kw, stride_h, stride_w, pad_h, pad_w, out_h, out_w;
} tg_pool;

/* Lines inside a dense tensor seen as [outer, n, inner]: line (o, i) has its k-th sample at (o*n + k)*inner + i. */
typedef struct tg_lines {
  int64_t outer, n, inner;
} tg_lines;

typedef enum tg_tv2d_method {
  TG_TV2D_ACCELERATED = 0, /* accelerated Dykstra with adaptive restart, stops at the tolerance */
  TG_TV2D_DYKSTRA = 1,     /* plain Dykstra, exactly max_iterations sweeps (Yeh et al. 2022, algorithm 1) */
  TG_TV2D_EXACT = 2,       /* the accelerated method to the tolerance (0: chosen), then the exact solution by flows */
  TG_TV2D_SWEEPS = 3,      /* as ACCELERATED, but Dykstra all the way and no finish */
  TG_TV2D_PIXELS = 4       /* as ACCELERATED, but descent on the pixels' edges all the way and no finish */
} tg_tv2d_method;

typedef struct tg_tv2d {
  int64_t batch, height, width;
  int64_t method;
  int64_t max_iterations;
} tg_tv2d;

typedef enum tg_rof_method { TG_ROF_AUTO = 0, TG_ROF_FISTA = 1, TG_ROF_PRIMAL_DUAL = 2 } tg_rof_method;

/* dims: 2 (depth = 1) or 3. The channels of one image share their gradient's norm (vectorial total variation); 1: plain images. */
typedef struct tg_rof {
  int64_t batch, channels, depth, height, width;
  int64_t dims, method, max_iterations;
} tg_rof;

typedef struct tg_tv3d {
  int64_t batch, depth, height, width;
  int64_t method; /* tg_tv2d_method, over three axes */
  int64_t max_iterations;
} tg_tv3d;

/* Solver report, one per image, in float64: TG_TV_REPORT numbers {gap, relative gap, iterations, objective}. */
#define TG_TV_REPORT 4

/* Parallel-beam projections of [batch, height, width] to [batch, views, detectors] (kernels/radon.h). */
typedef struct tg_radon {
  int64_t batch, height, width, views, detectors;
} tg_radon;

typedef struct tg_backend {
  uint32_t version; /* TG_BACKEND_VERSION */
  const char *name; /* "cpu" or "cuda" */
  const char *(*last_error)(void);
  const char *(*describe)(void); /* instruction set or GPU name */

  /* ---- memory: 64-byte aligned blocks of a caching pool ---- */
  void *(*alloc)(int64_t bytes); /* NULL when out of memory */
  void (*release)(void *block);
  void (*memory_stats)(int64_t *live_bytes, int64_t *live_blocks, int64_t *cached_bytes);
  void (*trim)(void); /* gives cached blocks back to the system */
  /* Between host memory and the backend's (on the CPU both are the same). After upload and download the host's side is free for other
   * uses; kernels are queued and run in the order of their calls, download and synchronize wait for them. */
  int (*upload)(void *to, const void *from_host, int64_t bytes);
  int (*download)(void *to_host, const void *from, int64_t bytes);
  int (*copy)(void *to, const void *from, int64_t bytes);
  int (*synchronize)(void);
  /* Calls done(context) from any thread once the bytes have arrived. */
  int (*download_async)(void *to_host, const void *from, int64_t bytes, void (*done)(void *context), void *context);

  /* ---- elementwise; n counts elements; y may alias an input of the same size ---- */
  int (*fill)(int64_t dtype, int64_t n, double value, void *y);
  int (*arange)(int64_t dtype, int64_t n, double start, double step, void *y);
  int (*cast)(int64_t from, int64_t to, int64_t n, const void *x, void *y); /* float to int: towards zero, saturating, NaN -> 0 */
  int (*unary)(int64_t op, int64_t dtype, int64_t n, const void *x, void *y);
  /* broadcasting: shape is that of y, strides are 0 along broadcast axes. TG_POW takes a and b elementwise. */
  int (*binary)(int64_t op, int64_t dtype, const tg_dims *shape, const void *a, const tg_dims *a_strides, const void *b,
                const tg_dims *b_strides, void *y);
  int (*compare)(int64_t op, int64_t dtype, const tg_dims *shape, const void *a, const tg_dims *a_strides, const void *b,
                 const tg_dims *b_strides, void *y /* uint8 0 or 1 */);
  int (*select)(int64_t dtype, const tg_dims *shape, const void *condition /* uint8 */, const tg_dims *c_strides, const void *a,
                const tg_dims *a_strides, const void *b, const tg_dims *b_strides, void *y);
  /* y[strided] = x[strided]; offsets in elements; strides may be negative or 0 (x only). Serves transpose, flip, slice, pad, concat,
   * broadcast. */
  int (*copy_strided)(int64_t dtype, const tg_dims *shape, const void *x, int64_t x_offset, const tg_dims *x_strides, void *y,
                      int64_t y_offset, const tg_dims *y_strides);
  /* along the middle axis of [outer, n, inner]; arg reductions write int32. Sums are pairwise or wider: the result does not depend on
   * threads. */
  int (*reduce)(int64_t op, int64_t dtype, const tg_lines *lines, const void *x, void *y);
  int (*cumsum)(int64_t dtype, const tg_lines *lines, int64_t reverse, const void *x, void *y);
  /* y[o, k, i] = x[o, index[k], i] for k < count;   x: [outer, n, inner] */
  int (*gather)(int64_t dtype, const tg_lines *lines, int64_t count, const void *x, const void *index /* int32 */, void *y);
  /* y[o, index[k], i] += x[o, k, i] into a y of zeros [outer, n, inner] */
  int (*scatter_add)(int64_t dtype, const tg_lines *lines, int64_t count, const void *x, const void *index, void *y);

  /* ---- linear algebra ---- */
  /* c[b] = op(a[b]) op(b[b]), op(a): [m, k], op(b): [k, n]; batch strides in elements, 0 = shared */
  int (*matmul)(int64_t dtype, int64_t batch, int64_t m, int64_t n, int64_t k, int64_t transpose_a, int64_t transpose_b, const void *a,
                int64_t a_stride, const void *b, int64_t b_stride, void *c);
  int (*conv_forward)(int64_t dtype, const tg_conv *p, const void *x, const void *w, void *y);
  int (*conv_data)(int64_t dtype, const tg_conv *p, const void *dy, const void *w, void *dx);
  int (*conv_weights)(int64_t dtype, const tg_conv *p, const void *x, const void *dy, void *dw);
  /* Fused forms for training steps, each one pass over memory less; NULL where a backend has none.
   * y = activation(conv(x, w) + bias[c_out]); bias: NULL or [c_out]; relu: 0 or 1. */
  int (*conv_forward_bias)(int64_t dtype, const tg_conv *p, const void *x, const void *w, const void *bias, int64_t relu, void *y);
  /* dx as conv_data, then 0 wherever mask is not positive; mask: [n, c_in, h, w], the output of the relu that made x. */
  int (*conv_data_masked)(int64_t dtype, const tg_conv *p, const void *dy, const void *w, const void *mask, void *dx);
  /* dw as conv_weights, and db[c_out] = sum of dy over everything but the channel. */
  int (*conv_weights_bias)(int64_t dtype, const tg_conv *p, const void *x, const void *dy, void *dw, void *db);
  /* What a 3x3 convolution of stride 1 gains over zeros around the image when the image is extended by one pixel of its own border; added
   * to y, dx or dw, which the kernels above have filled with padding 1. x: [n, c_in, h, w]; weights: [c_out, c_in, 3, 3];
   * y: [n, c_out, h, w]. */
  int (*conv_frame_forward)(int64_t dtype, int64_t n, int64_t c_in, int64_t c_out, int64_t h, int64_t w, const void *x, const void *weights,
                            void *y);
  int (*conv_frame_data)(int64_t dtype, int64_t n, int64_t c_in, int64_t c_out, int64_t h, int64_t w, const void *dy, const void *weights,
                         void *dx);
  int (*conv_frame_weights)(int64_t dtype, int64_t n, int64_t c_in, int64_t c_out, int64_t h, int64_t w, const void *x, const void *dy,
                            void *dw);
  /* y [planes, h + 2, w + 2] = binomial filter [1 4 6 4 1]^2 / 256 of x [planes, h, w] extended by three reflected pixels (edge repeated);
   * transposed: from [planes, h + 2, w + 2] to [planes, h, w]. */
  int (*scale_blur)(int64_t dtype, int64_t planes, int64_t h, int64_t w, int64_t transposed, const void *x, void *y);
  /* y = phi^(order)(x) a b, order 0 to 3, with phi(x) = log(1 + nu x^2) / (2 nu); a, b: NULL (both, or b) or like x. */
  int (*log_student)(int64_t dtype, int64_t order, double nu, int64_t n, const void *x, const void *a, const void *b, void *y);
  /* y = softplus^(order)(x) a b, order 1 to 3; a, b: NULL (both, or b) or like x. */
  int (*softplus_derivative)(int64_t dtype, int64_t order, int64_t n, const void *x, const void *a, const void *b, void *y);
  /* Batch norm of x [outer, n, inner] with the statistics of each of the n channels: y = (x - mean) weight / sqrt(variance + epsilon) +
   * bias per channel, then 0 where that is negative if relu is 1. weight, bias, mean, variance: [n]; the variance is the biased one. */
  int (*batch_norm)(int64_t dtype, const tg_lines *lines, double epsilon, int64_t relu, const void *x, const void *weight, const void *bias,
                    void *y, void *mean, void *variance);
  /* Its transposed derivative applied to dy, the statistics being functions of x; mean, variance: as batch_norm left them. dx: NULL or
   * like x; dweight, dbias: [n]. */
  int (*batch_norm_gradient)(int64_t dtype, const tg_lines *lines, double epsilon, int64_t relu, const void *x, const void *weight,
                             const void *bias, const void *mean, const void *variance, const void *dy, void *dx, void *dweight,
                             void *dbias);
  /* Along the middle axis of [outer, n, inner]: y = softmax(x), or its logarithm with log_of_it 1. */
  int (*softmax)(int64_t dtype, const tg_lines *lines, int64_t log_of_it, const void *x, void *y);
  /* Its transposed derivative at the result y: y (v - sum y v), or v - exp(y) sum v for the logarithm. */
  int (*softmax_gradient)(int64_t dtype, const tg_lines *lines, int64_t log_of_it, const void *y, const void *v, void *out);
  /* lse[o, i] = log sum_k exp(x[o, k, i]); with labels (int32 [outer, inner]; else NULL, and y too) y = lse - x at the label. */
  int (*log_sum_exp)(int64_t dtype, const tg_lines *lines, const void *x, const void *labels, void *y, void *lse);
  /* out[o, k, i] = (exp(x[o, k, i] - lse[o, i]) - (1 where k is the label)) v[o, i] */
  int (*log_sum_exp_gradient)(int64_t dtype, const tg_lines *lines, const void *x, const void *labels, const void *lse, const void *v,
                              void *out);
  /* Layer norm of rows, inner being 1: y = (x - mean) / sqrt(variance + epsilon) weight + bias with the statistics of each row. weight,
   * bias: [n]; mean, variance: [outer]. The gradient as for batch_norm. */
  int (*layer_norm)(int64_t dtype, const tg_lines *lines, double epsilon, const void *x, const void *weight, const void *bias, void *y,
                    void *mean, void *variance);
  int (*layer_norm_gradient)(int64_t dtype, const tg_lines *lines, double epsilon, const void *x, const void *weight, const void *mean,
                             const void *variance, const void *dy, void *dx, void *dweight, void *dbias);
  /* y[planes, out_h, out_w] = the largest pixel of each window of x [planes, h, w], the first one at a tie and NaN before all others, and
   * index (int32) where it lies in its plane. Windows reach beyond the image by the padding, and each holds a pixel. */
  int (*max_pool)(int64_t dtype, const tg_pool *p, const void *x, void *y, void *index);
  /* out[plane, q] = v[plane, index[plane, q]]: the derivative; and its adjoint, sums over the q of each pixel. */
  int (*max_pool_pick)(int64_t dtype, const tg_pool *p, const void *index, const void *v, void *out);
  int (*max_pool_spread)(int64_t dtype, const tg_pool *p, const void *index, const void *v, void *out);
  /* y = sum over each window / (kh kw), zeros in the padding; transposed: from [planes, out_h, out_w] to [planes, h, w]. */
  int (*average_pool)(int64_t dtype, const tg_pool *p, int64_t transposed, const void *x, void *y);
  /* y = (x - mean) scale + bias per channel of x [outer, n, inner], then 0 where that is negative if relu is 1. */
  int (*channel_affine)(int64_t dtype, const tg_lines *lines, int64_t relu, const void *x, const void *mean, const void *scale,
                        const void *bias, void *y);
  /* Batched tridiagonal systems, LAPACK's meanings, systems along the middle axis; rhs has the layout of `lines`, d too; e, dl, du have n
   * - 1. status (int32 per system): 0, or the 1-based index of the first pivot that is not positive (pttrf) or is zero (gtsv). */
  int (*pttrf)(int64_t dtype, const tg_lines *lines, const void *d, const void *e, void *d_out, void *l_out, void *status);
  int (*pttrs)(int64_t dtype, const tg_lines *lines, const void *d, const void *l, const void *b, void *x);
  int (*ptsv)(int64_t dtype, const tg_lines *lines, const void *d, const void *e, const void *b, void *x, void *status);
  int (*gtsv)(int64_t dtype, const tg_lines *lines, const void *dl, const void *d, const void *du, const void *b, void *x, void *status);

  /* ---- random numbers: Philox 4x32-10, value k of the stream depends only on (seed, offset + k) ---- */
  int (*random_uniform)(int64_t dtype, int64_t n, int64_t seed, int64_t offset, void *y); /* [0, 1) */
  int (*random_normal)(int64_t dtype, int64_t n, int64_t seed, int64_t offset, void *y);

  /* ---- optimisers, in place: value is the parameter, source its gradient ----
   * rates: float64 [groups, TG_RATES] and factor: NULL or one float64, both in memory of the backend, so that a captured step finds new
   * ones there. The factor scales every gradient first. */
  /* g = factor source + penalty value;  first = beta1 first + (1 - beta1) g;  second = beta2 second + (1 - beta2) g^2;
   * value = shrink value - rate first / (sqrt(second) root + epsilon);  rates: {rate, root, shrink, penalty} */
  int (*adam)(const tg_parts *parts, const void *rates, double beta1, double beta2, double epsilon, const void *factor);
  /* g = factor source + penalty value;  with first: first = carried first + take g, and g = nesterov ? g + momentum first : first;
   * value -= rate g;  rates: {rate, take, carried, penalty} */
  int (*sgd)(const tg_parts *parts, const void *rates, double momentum, int64_t nesterov, const void *factor);
  /* out: float64 [2], the Euclidean norm of all sources together, summed in float64, and min(1, limit / norm), which is 1 for a norm that
   * is no number. */
  int (*global_norm)(const tg_parts *parts, double limit, void *out);
  /* value = decay value + (1 - decay) source */
  int (*moving_average)(const tg_parts *parts, double decay);

  /* ---- total variation (float32 and float64) ---- */
  /* y = argmin 1/2|y - x|^2 + sum_e lambda_line w_e |y_{e+1} - y_e| per line. lambda: [outer*inner]; weights: NULL or [outer, n-1, inner],
   * >= 0. */
  int (*prox1d)(int64_t dtype, const tg_lines *lines, const void *x, const void *lambda, const void *weights, void *y);
  /* The same by projected Newton on the dual: until the relative duality gap is at most `tolerance`, max_iterations at most. gap: NULL or
   * float64 [outer*inner], what was reached. */
  int (*prox1d_newton)(int64_t dtype, const tg_lines *lines, const void *x, const void *lambda, const void *weights, double tolerance,
                       int64_t max_iterations, void *y, void *gap);
  /* out = mean of v over the runs of bitwise equal y along each line: the Jacobian of prox1d in x, self-adjoint. */
  int (*prox1d_average)(int64_t dtype, const tg_lines *lines, const void *y, const void *v, void *out);
  /* The derivative of prox1d in lambda, at its solution y, s_e = sign(y_{e+1} - y_e), w = 1 when weights is NULL, lines as above:
   * out[line] = sum_e w_e s_e (a_{e+1} - a_e), and its adjoint out_i = v[line] (w_{i-1} s_{i-1} - w_i s_i). */
  int (*jump_sum)(int64_t dtype, const tg_lines *lines, const void *y, const void *weights, const void *a, void *out);
  int (*jump_spread)(int64_t dtype, const tg_lines *lines, const void *y, const void *weights, const void *v, void *out);
  /* anisotropic 2D: y = argmin 1/2|y-x|^2 + sum lambda_rows wx |horizontal differences| + sum lambda_cols wy |vertical differences|.
   * lambda_rows, lambda_cols: [batch]; wx: NULL or [batch, height, width-1]; wy: NULL or [batch, height-1, width].
   * lambda_rows weighs the differences inside a row. tolerance: relative gap; report: float64 [batch, TG_TV_REPORT].
   * labels: NULL or int32 [batch, height, width]: connected components of the solution (label = smallest pixel index of the component
   * inside its image). dual: NULL or [batch, 2, height, width]: the feasible dual of the certificate, that of the edge from a pixel to its
   * right neighbour, then to the one below; 0 where there is none. init: NULL or such a dual to start from. cancel: NULL or an int32 in
   * host memory that another thread sets to nonzero; the kernel then fails with "cancelled". */
  int (*prox2d)(int64_t dtype, const tg_tv2d *p, double tolerance, const void *x, const void *lambda_rows, const void *lambda_cols,
                const void *wx, const void *wy, const void *init, void *y, void *dual, void *labels, void *report, const int32_t *cancel);
  /* out = mean of v over each label's pixels: the Jacobian of prox2d in x, self-adjoint. labels: int32 [batch, pixels] as above. */
  int (*component_average)(int64_t dtype, int64_t batch, int64_t pixels, const void *labels, const void *v, void *out);
  /* isotropic (Rudin-Osher-Fatemi), forward differences, Neumann boundary: y = argmin 1/2|y-x|^2 + lambda sum |Dy|, the norm over the
   * last `dims` axes and the channels of a pixel; certified gap as in prox2d. x, y: [batch, channels, depth, height, width];
   * lambda: [batch]. init, dual: NULL or [batch, channels, dims, depth, height, width], y = x + div(dual), |dual| <= lambda; init is where
   * the solver starts (0 when NULL), dual receives the last one. */
  int (*rof)(int64_t dtype, const tg_rof *p, double tolerance, const void *x, const void *lambda, const void *init, void *y, void *dual,
             void *report, const int32_t *cancel);
  /* The Jacobian of rof in x at its solution (y, dual) times v, self-adjoint; all in float64, laid out as in rof. */
  int (*rof_derivative)(const tg_rof *p, const void *y, const void *dual, const void *lambda, const void *v, void *out);

  /* ---- Fourier transforms (float32 and float64) ----
   * y_k = scale sum_j x_j exp(direction 2 pi i j k / n) along the middle axis, direction 1 or -1; no prime factor of n above 13.
   * im: NULL stands for zeros. */
  int (*fft)(int64_t dtype, const tg_lines *lines, int64_t direction, double scale, const void *re, const void *im, void *out_re,
             void *out_im);

  /* ---- tomography (float32 and float64) ---- */
  /* y = the integrals of x along the rays; angles: float64 [views], radians; spacing of the detectors in pixels. The adjoint is exact. */
  int (*radon_forward)(int64_t dtype, const tg_radon *p, double spacing, const void *angles, const void *x, void *y);
  int (*radon_adjoint)(int64_t dtype, const tg_radon *p, double spacing, const void *angles, const void *y, void *x);
  /* anisotropic 3D, as prox2d with one lambda [batch] and weights (NULL, or one entry per edge: [batch, depth-1, height, width],
   * [batch, depth, height-1, width], [batch, depth, height, width-1]) for the differences along depth, height and width. */
  int (*prox3d)(int64_t dtype, const tg_tv3d *p, double tolerance, const void *x, const void *lambda_depth, const void *lambda_height,
                const void *lambda_width, const void *w_depth, const void *w_height, const void *w_width, void *y, void *labels,
                void *report, const int32_t *cancel);

  /* ---- captured steps; NULL where a backend has none ----
   * From capture_begin to capture_end the calling thread's calls are recorded instead of run (those of other threads wait), and what would
   * wait for the device fails. capture_end with keep 0 throws the record away; otherwise graph_launch queues all of it once more. Every
   * block in use when the capture began or made during it stays where it is until graph_destroy, also after its release. */
  int (*capture_begin)(void);
  int (*capture_end)(int64_t keep, void **graph);
  int (*graph_launch)(void *graph);
  int (*graph_destroy)(void *graph);
  /* Kernels whose numbers a replay finds in memory of the device. state: float64 [2], {seed, offset} of random_uniform. */
  int (*random_uniform_at)(int64_t dtype, int64_t n, const void *state, void *y);
  int (*random_normal_at)(int64_t dtype, int64_t n, const void *state, void *y);

  /* ---- batches on their way to the device; NULL where a backend has none ----
   * A stage is page-locked memory in front of the block `to`. stage_send copies from the host's memory, which is free at once, and then to
   * the block beside the kernels that run; stage_receive lets later calls read it; stage_done says that no later call will. */
  int (*stage_make)(void *to, int64_t bytes, void **stage);
  int (*stage_send)(void *stage, const void *from_host);
  int (*stage_receive)(void *stage);
  int (*stage_done)(void *stage);
  int (*stage_free)(void *stage);

  /* ---- NULL where a backend has none ---- */
  int (*set_option)(int64_t option, int64_t value);
  const char *(*libraries)(void); /* one line per library that was looked for: what was found where, or why not */
} tg_backend;

/* Fills the CPU backend's table with the widest instruction set this machine has (or the one TAUTGRAD_ISA names). */
const tg_backend *tg_cpu_backend(void);

/* Threads of the process-wide pool, the calling one included. */
int tg_cpu_threads(void);

/* Exported by libtautgrad_cuda.so: the table, or NULL without a usable GPU; then the second one says why. */
typedef const tg_backend *(*tg_backend_entry)(void);
#define TG_CUDA_ENTRY "tg_cuda_backend"
#define TG_CUDA_REASON "tg_cuda_reason"

#ifdef __cplusplus
}
#endif
#endif
