// Philox streams (native/kernels/philox.hpp says which counter serves which value).
#include "../kernels/philox.hpp"
#include "dispatch.hpp"
#include "vector_math.hpp"

namespace tautgrad::cpu::TG_ISA {
namespace {

constexpr int L = lanes<float>; // 32-bit words in a vector: that many counters run side by side

struct Words { // word w of counter l is w[word][l]
  uint32_t w[4][L];
};

Words philox_blocks(uint64_t seed, uint64_t first, uint32_t kind) {
  Words out;
  for (int l = 0; l < L; ++l) {
    const uint64_t q = first + static_cast<uint64_t>(l);
    out.w[0][l] = static_cast<uint32_t>(q);
    out.w[1][l] = static_cast<uint32_t>(q >> 32);
    out.w[2][l] = kind;
    out.w[3][l] = 0;
  }
  uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
  for (int l = 0; l < L; ++l) {
    uint32_t c[4] = {out.w[0][l], out.w[1][l], out.w[2][l], out.w[3][l]};
    kernels::philox_rounds(c, key0, key1);
    for (int k = 0; k < 4; ++k) out.w[k][l] = c[k];
  }
  return out;
}

// `values` receives the 4 L float32 values of L consecutive blocks, in order.
struct Float32Stream {
  using T = float;
  static constexpr int per_block = 4;
  static void uniform(const Words &b, float *values) {
    for (int l = 0; l < L; ++l)
      for (int k = 0; k < 4; ++k) values[4 * l + k] = static_cast<float>(b.w[k][l] >> 8) * 0x1p-24f;
  }
  static void normal(const Words &b, float *values) {
    using M = vector_math<float>;
    for (int pair = 0; pair < 2; ++pair) {
      vec<float> u, v;
      for (int l = 0; l < L; ++l) {
        u[l] = static_cast<float>(static_cast<int32_t>(b.w[2 * pair][l] >> 1)) * 0x1p-31f + 0x1p-32f;
        v[l] = static_cast<float>(static_cast<int32_t>(b.w[2 * pair + 1][l])) * 0x1p-32f;
      }
      const vec<float> radius = M::sqrt(-2.0f * M::log(u)), angle = v * 6.28318530717958647692f;
      const vec<float> c = radius * M::cos(angle), s = radius * M::sin(angle);
      for (int l = 0; l < L; ++l) {
        values[4 * l + 2 * pair] = c[l];
        values[4 * l + 2 * pair + 1] = s[l];
      }
    }
  }
};

struct Float64Stream {
  using T = double;
  static constexpr int per_block = 2;
  static uint64_t bits53(const Words &b, int pair, int l) {
    return (static_cast<uint64_t>(b.w[2 * pair][l]) << 32 | b.w[2 * pair + 1][l]) >> 11;
  }
  static void uniform(const Words &b, double *values) {
    for (int l = 0; l < L; ++l)
      for (int k = 0; k < 2; ++k) values[2 * l + k] = static_cast<double>(bits53(b, k, l)) * 0x1p-53;
  }
  static void normal(const Words &b, double *values) {
    using M = vector_math<double>;
    constexpr int LD = lanes<double>;
    for (int l0 = 0; l0 < L; l0 += LD) {
      vec<double> u, v;
      for (int l = 0; l < LD; ++l) {
        u[l] = static_cast<double>(bits53(b, 0, l0 + l) + 1) * 0x1p-53;
        v[l] = static_cast<double>(bits53(b, 1, l0 + l)) * 0x1p-53;
        v[l] = v[l] >= 0.5 ? v[l] - 1 : v[l];
      }
      const vec<double> radius = M::sqrt(-2.0 * M::log(u)), angle = v * 6.28318530717958647692;
      const vec<double> c = radius * M::cos(angle), s = radius * M::sin(angle);
      for (int l = 0; l < LD; ++l) {
        values[2 * (l0 + l)] = c[l];
        values[2 * (l0 + l) + 1] = s[l];
      }
    }
  }
};

template <class Stream> int draw(int64_t n, int64_t seed, int64_t offset, uint32_t kind, void *y_) {
  using T = typename Stream::T;
  T *y = static_cast<T *>(y_);
  constexpr int64_t batch = Stream::per_block * L; // values of one philox_blocks call
  for_chunks(n, 4096, [=](int64_t begin, int64_t end) {
    T values[batch];
    for (int64_t i = begin; i < end;) {
      const uint64_t k = static_cast<uint64_t>(offset + i), block = k / Stream::per_block;
      const int64_t skip = static_cast<int64_t>(k % Stream::per_block), take = end - i < batch - skip ? end - i : batch - skip;
      const Words words = philox_blocks(static_cast<uint64_t>(seed), block, kind);
      if (kind == kernels::PHILOX_UNIFORM)
        Stream::uniform(words, values);
      else
        Stream::normal(words, values);
      memcpy(y + i, values + skip, static_cast<size_t>(take) * sizeof(T));
      i += take;
    }
  });
  return TG_OK;
}

template <uint32_t Kind> int draw_any(int64_t dtype, int64_t n, int64_t seed, int64_t offset, void *y) {
  if (dtype == TG_F32) return draw<Float32Stream>(n, seed, offset, Kind, y);
  if (dtype == TG_F64) return draw<Float64Stream>(n, seed, offset, Kind, y);
  return fail("random: expected float32 or float64 but received element type %d", static_cast<int>(dtype));
}

template <uint32_t Kind> int draw_at(int64_t dtype, int64_t n, const void *state, void *y) {
  const double *numbers = static_cast<const double *>(state);
  return draw_any<Kind>(dtype, n, static_cast<int64_t>(numbers[0]), static_cast<int64_t>(numbers[1]), y);
}

} // namespace

void register_random(tg_backend *t) {
  t->random_uniform = draw_any<kernels::PHILOX_UNIFORM>;
  t->random_normal = draw_any<kernels::PHILOX_NORMAL>;
  t->random_uniform_at = draw_at<kernels::PHILOX_UNIFORM>;
  t->random_normal_at = draw_at<kernels::PHILOX_NORMAL>;
}

} // namespace tautgrad::cpu::TG_ISA
