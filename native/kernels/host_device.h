// What every header of native/kernels opens with. TG_HD marks what CUDA compiles for host and device.
// The headers keep their functions in an unnamed namespace: a translation unit of one instruction set must not share them with another's
// (native/cpu/isa.h).
#pragma once

#include <stdint.h>

#ifdef __CUDACC__
#define TG_HD __host__ __device__
#else
#define TG_HD
#endif

namespace tautgrad {
namespace {

TG_HD inline double absolute(double v) { return v < 0 ? -v : v; }
TG_HD inline double clamp(double v, double low, double high) { return v < low ? low : (v > high ? high : v); }

// The weight of an edge: lambda * w, where an edge of weight 0 stays uncoupled even for lambda = inf.
TG_HD inline double edge_weight(double lambda, double w) { return w == 0 ? 0 : lambda * w; }

} // namespace
} // namespace tautgrad
