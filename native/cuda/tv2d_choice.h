// Which way an anisotropic image's gap is closed on the GPU: the whole rule, with every number that it rests on.
//
// How many iterations either way takes depends on lambda beside the differences of neighbours; what one costs, on how many pixels and lines
// share the device. The counts are those of the CPU backend, means of two images at 96^2 and 512^2 with noise of 25/255 and lambda 0.02 to
// 1, to a relative gap of 1e-6. The costs are PREDICTED for an H200 (bench/gpu-notes.md), not measured: `node bench/gpu.mjs --only choice`
// measures both ways at every point of the table, and these constants are what to change then.
#pragma once

#include "dykstra.h"

#include <cmath>

namespace tautgrad::cuda {

// Iterations by the ratio of the mean weight to the mean difference of neighbours; between and beyond, straight lines in logarithms.
struct TvCounts {
  double ratio, descents, sweeps;
};
constexpr TvCounts TV_COUNTS[] = {{0.18, 33, 9}, {0.45, 118, 21}, {0.9, 290, 36}, {1.8, 450, 41}, {4.5, 1000, 46}, {9, 1700, 60}};

inline TvCounts tv_counts(double ratio) {
  constexpr int LAST = sizeof TV_COUNTS / sizeof *TV_COUNTS - 1;
  if (!(ratio > 0.01)) ratio = 0.01;
  if (!(ratio < 100)) ratio = 100;
  int k = 0;
  while (k + 1 < LAST && ratio > TV_COUNTS[k + 1].ratio) ++k;
  const TvCounts &a = TV_COUNTS[k], &b = TV_COUNTS[k + 1];
  const double t = std::log(ratio / a.ratio) / std::log(b.ratio / a.ratio);
  return {ratio, a.descents * std::pow(b.descents / a.descents, t), a.sweeps * std::pow(b.sweeps / a.sweeps, t)};
}

// Costs in microseconds, of 132 multiprocessors where they share the work.
constexpr double LAUNCH = 2.5;         // a kernel that is queued behind another
constexpr double TILE_ALONE = 6;       // four iterations of one tile, as fast as it goes
constexpr double TILE_TOGETHER = 2;    // the same where a multiprocessor has several tiles to go on with
constexpr double VISIT_ALONE = 0.07;   // a visit of the line solver, waiting for the one before
constexpr double VISITS = 2;           // per sample
constexpr double LINE_SAMPLE = 6e-6;   // a sample of a line, where lines fill the device: the walk and the fill
constexpr double CYCLE_PIXEL = 1.6e-5; // the other passes over memory of one cycle: 64 bytes a pixel

// Four iterations of descent; a cycle of Dykstra's method.
inline double descent_cost(int64_t batch, int64_t height, int64_t width, int64_t processors) {
  const double tiles = double(batch) * double((height + 31) / 32) * double((width + 31) / 32);
  return LAUNCH + std::fmax(TILE_ALONE, TILE_TOGETHER * tiles / double(processors));
}
inline double sweep_cost(int64_t batch, int64_t height, int64_t width, int64_t processors) {
  const double pixels = double(batch) * double(height) * double(width), share = 132 / double(processors);
  const auto lines = [&](int64_t n) { return 4 * LAUNCH + std::fmax(VISIT_ALONE * VISITS * double(n), LINE_SAMPLE * share * pixels); };
  return 3 * LAUNCH + lines(width) + lines(height) + CYCLE_PIXEL * share * pixels;
}

inline TvWay choose_tv2d(double ratio, int64_t batch, int64_t height, int64_t width, int64_t processors) {
  const TvCounts counts = tv_counts(ratio);
  const double descent = counts.descents / 4 * descent_cost(batch, height, width, processors),
               sweeps = counts.sweeps * sweep_cost(batch, height, width, processors);
  return descent <= sweeps ? TvWay::descent : TvWay::sweeps;
}

} // namespace tautgrad::cuda
