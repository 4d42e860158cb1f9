// The CPU backend's table: common entries, then the kernels of the widest instruction set that this machine runs.
#include "../backend.h"
#include "memory.h"
#include "parallel.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

extern "C" {
void tg_cpu_register_baseline(tg_backend *);
void tg_cpu_register_avx2(tg_backend *);
void tg_cpu_register_avx512(tg_backend *);
}

namespace tautgrad::cpu {
namespace {
thread_local char error_text[512] = "";
const char *chosen = "baseline";

bool machine_has(const char *isa) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  if (std::strcmp(isa, "avx2") == 0) return avx2;
  if (std::strcmp(isa, "avx512") == 0)
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd");
#endif
  return std::strcmp(isa, "baseline") == 0;
}

int copy_bytes(void *to, const void *from, int64_t bytes) {
  if (bytes > 0) std::memmove(to, from, static_cast<size_t>(bytes));
  return TG_OK;
}

tg_backend make_table() {
  tg_backend t{};
  t.version = TG_BACKEND_VERSION;
  t.name = "cpu";
  t.last_error = [] { return static_cast<const char *>(error_text); };
  t.describe = [] { return chosen; };
  t.alloc = pool_alloc;
  t.release = pool_release;
  t.memory_stats = pool_stats;
  t.trim = pool_trim;
  t.upload = t.download = t.copy = copy_bytes;
  t.synchronize = [] { return static_cast<int>(TG_OK); };
  t.download_async = [](void *to, const void *from, int64_t bytes, void (*done)(void *), void *context) {
    copy_bytes(to, from, bytes);
    done(context);
    return static_cast<int>(TG_OK);
  };

  struct Set {
    const char *name;
    void (*fill)(tg_backend *);
  };
  static const Set sets[] = {
#ifdef TG_HAVE_AVX512
      {"avx512", tg_cpu_register_avx512},
#endif
#ifdef TG_HAVE_AVX2
      {"avx2", tg_cpu_register_avx2},
#endif
      {"baseline", tg_cpu_register_baseline},
  };
  // A set that the machine lacks is passed over even when it is named: asking for too much must not crash the process.
  const char *wanted = std::getenv("TAUTGRAD_ISA");
  bool reached = wanted == nullptr || *wanted == 0;
  for (const Set &set : sets) {
    reached = reached || std::strcmp(wanted, set.name) == 0;
    if (!reached || !machine_has(set.name)) continue;
    chosen = set.name;
    set.fill(&t);
    return t;
  }
  tg_cpu_register_baseline(&t);
  return t;
}
} // namespace

int fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(error_text, sizeof error_text, format, arguments);
  va_end(arguments);
  return TG_FAILED;
}
} // namespace tautgrad::cpu

extern "C" const tg_backend *tg_cpu_backend(void) {
  static const tg_backend table = tautgrad::cpu::make_table();
  return &table;
}

extern "C" int tg_cpu_threads(void) { return tautgrad::cpu::thread_count(); }
