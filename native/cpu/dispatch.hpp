// From runtime element types to template arguments, and the cut of elementwise work into tasks.
#pragma once

#include "parallel.h"
#include "simd.hpp"

namespace tautgrad::cpu::TG_ISA {
namespace {

template <class T> struct type_tag { using type = T; };

// Calls f(type_tag<T>{}) with the element type; f returns TG_OK or TG_FAILED.
template <class F> TG_INLINE int with_dtype(int64_t dtype, const char *kernel, const F &f) {
  switch (dtype) {
  case TG_F32:
    return f(type_tag<float>{});
  case TG_F64:
    return f(type_tag<double>{});
  case TG_I32:
    return f(type_tag<int32_t>{});
  case TG_U8:
    return f(type_tag<uint8_t>{});
  }
  return fail("%s: unknown element type %d", kernel, static_cast<int>(dtype));
}

template <class F> TG_INLINE int with_real(int64_t dtype, const char *kernel, const F &f) {
  switch (dtype) {
  case TG_F32:
    return f(type_tag<float>{});
  case TG_F64:
    return f(type_tag<double>{});
  }
  return fail("%s: expected float32 or float64 but received element type %d", kernel, static_cast<int>(dtype));
}

// Only the element's size matters to kernels that move data.
template <class F> TG_INLINE int with_size(int64_t dtype, const char *kernel, const F &f) {
  switch (dtype) {
  case TG_F64:
    return f(type_tag<uint64_t>{});
  case TG_F32:
  case TG_I32:
    return f(type_tag<uint32_t>{});
  case TG_U8:
    return f(type_tag<uint8_t>{});
  }
  return fail("%s: unknown element type %d", kernel, static_cast<int>(dtype));
}

constexpr int64_t CHUNK = 1 << 14; // elements of one elementwise task: some microseconds, and its operands fit in L2

// body(begin, end) over [0, n) in tasks of `chunk` elements.
template <class Body> void for_chunks(int64_t n, int64_t chunk, const Body &body) {
  const int64_t tasks = (n + chunk - 1) / chunk;
  parallel_for(tasks, [&](int64_t t) {
    const int64_t begin = t * chunk;
    body(begin, begin + chunk < n ? begin + chunk : n);
  });
}
template <class Body> void for_chunks(int64_t n, const Body &body) { for_chunks(n, CHUNK, body); }

// parallel_for, unless the whole is so little work (multiply-adds) that waking a thread would cost more.
template <class Body> void for_tasks(int64_t count, double work, const Body &body) {
  if (work >= 1 << 18) return parallel_for(count, body);
  for (int64_t i = 0; i < count; ++i) body(i);
}

} // namespace
} // namespace tautgrad::cpu::TG_ISA
