// Unpacks the argument block of a kernel call (backend.h, "Calling convention of the addon") into the C function's parameters.
#pragma once

#include "../backend.h"

#include <tuple>
#include <vector>

namespace tautgrad::addon {

constexpr int ARGUMENT_SLOTS = 128;

// An address as TypeScript holds it: the device's index above bit 48, the pointer below. The CPU is device 0.
constexpr int DEVICE_SHIFT = 48;
constexpr int DEVICES = 2; // cpu, cuda

struct Address {
  int device;
  void *pointer;
  explicit Address(double packed) {
    const auto bits = static_cast<uint64_t>(packed);
    device = static_cast<int>(bits >> DEVICE_SHIFT);
    pointer = reinterpret_cast<void *>(static_cast<uintptr_t>(bits & ((uint64_t(1) << DEVICE_SHIFT) - 1)));
  }
  static double pack(int device, const void *pointer) {
    return static_cast<double>((static_cast<uint64_t>(device) << DEVICE_SHIFT) | reinterpret_cast<uintptr_t>(pointer));
  }
};

struct Reader {
  const double *at;
  unsigned devices = 0; // a bit for every device whose memory was named
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
  explicit Argument(Reader &r) {
    const Address address(r.next());
    value = address.pointer;
    if (value) r.devices |= 1u << address.device;
  }
  void *get() const { return value; }
};

template <> struct Argument<const void *> : Argument<void *> { using Argument<void *>::Argument; };

// Flags lie in host memory whatever the device.
template <> struct Argument<const int32_t *> {
  const int32_t *value;
  explicit Argument(Reader &r) : value(static_cast<const int32_t *>(Address(r.next()).pointer)) {}
  const int32_t *get() const { return value; }
};

template <> struct Argument<const tg_dims *> {
  tg_dims value;
  explicit Argument(Reader &r) {
    value.rank = static_cast<int64_t>(r.next());
    for (int64_t i = 0; i < value.rank; ++i) value.d[i] = static_cast<int64_t>(r.next());
  }
  const tg_dims *get() const { return &value; }
};

// Rows of host memory, whose addresses say which device is meant as those of the argument block do.
template <> struct Argument<const tg_parts *> {
  std::vector<tg_part> rows;
  mutable tg_parts value{};
  explicit Argument(Reader &r) : rows(static_cast<size_t>(r.next())) {
    Reader row{static_cast<const double *>(Address(r.next()).pointer)};
    for (tg_part &part : rows) {
      part.dtype = static_cast<int64_t>(row.next());
      part.n = static_cast<int64_t>(row.next());
      part.group = static_cast<int64_t>(row.next());
      part.value = Argument<void *>(row).get();
      part.source = Argument<void *>(row).get();
      part.first = Argument<void *>(row).get();
      part.second = Argument<void *>(row).get();
    }
    r.devices |= row.devices;
  }
  const tg_parts *get() const {
    value = {static_cast<int64_t>(rows.size()), rows.data()};
    return &value;
  }
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

// What became of a call: the kernel's own status, or why it could not be made.
enum class Outcome { done, failed, mixed_devices, no_device, no_kernel };

struct Call {
  Outcome outcome;
  int device; // whose kernel was called
};

// Calls the entry of the backend whose memory the arguments name (the CPU's when they name none).
template <class... Parameters>
Call invoke(int (*tg_backend::*entry)(Parameters...), const tg_backend *const (&backends)[DEVICES], const double *block) {
  Reader reader{block};
  // Braces fix the order of evaluation: left to right.
  std::tuple<Argument<Parameters>...> arguments{Argument<Parameters>(reader)...};
  if (reader.devices & (reader.devices - 1)) return {Outcome::mixed_devices, 0};
  const int device = reader.devices >> 1;
  const tg_backend *backend = backends[device];
  if (!backend) return {Outcome::no_device, device};
  const auto kernel = backend->*entry;
  if (!kernel) return {Outcome::no_kernel, device};
  const int status = std::apply([&](const auto &...a) { return kernel(a.get()...); }, arguments);
  return {status == TG_OK ? Outcome::done : status == TG_UNSUPPORTED ? Outcome::no_kernel : Outcome::failed, device};
}

} // namespace tautgrad::addon
