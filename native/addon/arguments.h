// Unpacks the argument block of a kernel call (backend.h, "Calling convention of the addon") into the C function's parameters.
#pragma once

#include "../backend.h"

#include <tuple>

namespace tautgrad::addon {

constexpr int ARGUMENT_SLOTS = 128;

struct Reader {
  const double *at;
  double next() { return *at++; }
};

template <class T> struct Argument;

template <> struct Argument<int64_t> {
  int64_t value;
  explicit Argument(Reader &r) : value(static_cast<int64_t>(r.next())) {}
  int64_t get() const { return value; }
};

template <> struct Argument<double> {
  double value;
  explicit Argument(Reader &r) : value(r.next()) {}
  double get() const { return value; }
};

template <> struct Argument<void *> {
  void *value;
  explicit Argument(Reader &r) : value(reinterpret_cast<void *>(static_cast<uintptr_t>(r.next()))) {}
  void *get() const { return value; }
};

template <> struct Argument<const void *> : Argument<void *> { using Argument<void *>::Argument; };

template <> struct Argument<const tg_dims *> {
  tg_dims value;
  explicit Argument(Reader &r) {
    value.rank = static_cast<int64_t>(r.next());
    for (int64_t i = 0; i < value.rank; ++i) value.d[i] = static_cast<int64_t>(r.next());
  }
  const tg_dims *get() const { return &value; }
};

// Parameter structs consist of int64_t members only.
template <class Struct> struct Argument<const Struct *> {
  static_assert(sizeof(Struct) % sizeof(int64_t) == 0, "int64_t members only");
  union {
    Struct value;
    int64_t member[sizeof(Struct) / sizeof(int64_t)];
  };
  explicit Argument(Reader &r) {
    for (int64_t &m : member) m = static_cast<int64_t>(r.next());
  }
  const Struct *get() const { return &value; }
};

template <class... Parameters> int invoke(int (*kernel)(Parameters...), const double *block) {
  Reader reader{block};
  // Braces fix the order of evaluation: left to right.
  std::tuple<Argument<Parameters>...> arguments{Argument<Parameters>(reader)...};
  return std::apply([&](const auto &...a) { return kernel(a.get()...); }, arguments);
}

} // namespace tautgrad::addon
