// The geometry of parallel-beam projections after Joseph (1982): a ray crosses the lines of the image (its rows, or its columns where
// they are met more steeply) one by one, and each crossing takes the linear interpolation of the line's two nearest pixels.
//
// Pixels are unit squares, the image's centre is the centre of rotation, angles are counter-clockwise with the row index pointing down:
// the ray of detector d at angle a is  (column - cx) cos a - (row - cy) sin a = spacing (d - (detectors - 1) / 2).
#pragma once

#include "host_device.h"

#include <math.h>

namespace tautgrad {
namespace {

// Ray d meets line l at start + slope l + step d pixels along the line, step > 0.
struct RadonView {
  bool transposed; // the lines are the image's columns
  bool reversed;   // the detectors count from the other end
  double start, slope, step;
  double length; // of the ray between two lines: the weight of every crossing
};

TG_HD inline RadonView radon_view(double angle, int64_t height, int64_t width, int64_t detectors, double spacing) {
  const double c = cos(angle), s = sin(angle), cx = 0.5 * double(width - 1), cy = 0.5 * double(height - 1);
  const double middle = 0.5 * double(detectors - 1);
  RadonView v;
  v.transposed = absolute(c) < absolute(s);
  if (v.transposed) { // row = cy + ((column - cx) c - spacing (d - middle)) / s
    v.slope = c / s;
    v.step = -spacing / s;
    v.start = cy - cx * v.slope - v.step * middle;
    v.length = 1 / absolute(s);
  } else { // column = cx + ((row - cy) s + spacing (d - middle)) / c
    v.slope = s / c;
    v.step = spacing / c;
    v.start = cx - cy * v.slope - v.step * middle;
    v.length = 1 / absolute(c);
  }
  v.reversed = v.step < 0;
  if (v.reversed) {
    v.start += v.step * double(detectors - 1);
    v.step = -v.step;
  }
  return v;
}

// The lines [first, last) of `lines` at which some position between low + slope l and high + slope l may lie inside (-1, extent); a line
// too many on either side does no harm.
TG_HD inline void radon_lines(double low, double high, double slope, int64_t lines, int64_t extent, int64_t *first, int64_t *last) {
  double from = 0, to = double(lines - 1);
  if (absolute(slope) > 1e-9) {
    // high + slope l > -1 and low + slope l < extent
    const double a = (-1 - high) / slope, b = (double(extent) - low) / slope;
    from = a < b ? a : b;
    to = a < b ? b : a;
  } else if (high + absolute(slope) * double(lines) <= -1 || low - absolute(slope) * double(lines) >= double(extent)) {
    to = -1;
  }
  *first = int64_t(floor(clamp(from, 0, double(lines))));
  *last = int64_t(ceil(clamp(to, -1, double(lines - 1)))) + 1;
}

} // namespace
} // namespace tautgrad
