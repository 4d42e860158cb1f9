// Philox streams: the published known answers, independence of how a stream is cut, moments, and agreement between value and counter.
#include "../../native/kernels/philox.hpp"
#include "engine_check.h"

using namespace engine;

namespace {

// Known answers of Random123's kat_vectors for philox4x32-10.
void check_known_answers() {
  const uint32_t inputs[3][6] = {
      {0, 0, 0, 0, 0, 0}, {~0u, ~0u, ~0u, ~0u, ~0u, ~0u}, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0}};
  const uint32_t outputs[3][4] = {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
                                  {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
                                  {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}};
  for (int i = 0; i < 3; ++i) {
    uint32_t c[4] = {inputs[i][0], inputs[i][1], inputs[i][2], inputs[i][3]};
    tautgrad::kernels::philox_rounds(c, inputs[i][4], inputs[i][5]);
    for (int k = 0; k < 4; ++k) EXPECT(c[k] == outputs[i][k], "answer %d word %d: %08x", i, k, c[k]);
  }
}

void words_of(int64_t seed, uint64_t block, uint32_t kind, uint32_t *c) {
  c[0] = static_cast<uint32_t>(block);
  c[1] = static_cast<uint32_t>(block >> 32);
  c[2] = kind;
  c[3] = 0;
  tautgrad::kernels::philox_rounds(c, static_cast<uint32_t>(seed), static_cast<uint32_t>(static_cast<uint64_t>(seed) >> 32));
}

// The values as philox.hpp defines them.
template <class T> double value_of(bool normal, int64_t seed, uint64_t k) {
  uint32_t c[4];
  const uint64_t per_block = sizeof(T) == 4 ? 4 : 2;
  words_of(seed, k / per_block, normal ? tautgrad::kernels::PHILOX_NORMAL : tautgrad::kernels::PHILOX_UNIFORM, c);
  const uint64_t at = k % per_block;
  if (sizeof(T) == 4) {
    if (!normal) return (c[at] >> 8) * 0x1p-24;
    const float u = static_cast<float>((c[at / 2 * 2] >> 1) * 0x1p-31 + 0x1p-32);
    const double v = static_cast<int32_t>(c[at / 2 * 2 + 1]) * 0x1p-32;
    return std::sqrt(-2 * std::log(static_cast<double>(u))) * (at % 2 ? std::sin(2 * M_PI * v) : std::cos(2 * M_PI * v));
  }
  const uint64_t a = (static_cast<uint64_t>(c[0]) << 32 | c[1]) >> 11, b = (static_cast<uint64_t>(c[2]) << 32 | c[3]) >> 11;
  if (!normal) return static_cast<double>(at ? b : a) * 0x1p-53;
  const double u = static_cast<double>(a + 1) * 0x1p-53, v = static_cast<double>(b) * 0x1p-53;
  return std::sqrt(-2 * std::log(u)) * (at % 2 ? std::sin(2 * M_PI * v) : std::cos(2 * M_PI * v));
}

template <class T> void check_stream(const tg_backend *t, bool normal) {
  const int64_t n = 30011, seed = 0x123456789ab, dtype = dtype_of<T>::value;
  auto draw = normal ? t->random_normal : t->random_uniform;
  Buffer<T> all(n);
  EXPECT(draw(dtype, n, seed, 0, all.data()) == TG_OK, "%s", t->last_error());
  double sum = 0, square = 0, cube = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double v = static_cast<double>(all[i]), e = value_of<T>(normal, seed, static_cast<uint64_t>(i));
    EXPECT(std::fabs(v - e) <= (sizeof(T) == 4 ? 2e-6 : 1e-14), "value %d: %.17g, defined as %.17g", static_cast<int>(i), v, e);
    EXPECT(normal || (v >= 0 && v < 1), "uniform outside [0, 1): %g", v);
    sum += v;
    square += v * v;
    cube += v * v * v;
  }
  const double mean = sum / n, spread = square / n - mean * mean;
  EXPECT(std::fabs(mean - (normal ? 0 : 0.5)) < 0.02, "mean %g", mean);
  EXPECT(std::fabs(spread - (normal ? 1 : 1. / 12)) < 0.03, "variance %g", spread);
  EXPECT(std::fabs(cube / n - (normal ? 0 : 0.25)) < 0.08, "third moment %g", cube / n);
  digest_add(all.data(), n);
  Random r(4);
  for (int round = 0; round < 40; ++round) { // any cut gives the same values
    const int64_t offset = r.below(n), length = r.below(r.below(2) ? 40 : n - offset + 1);
    const int64_t count = length < n - offset ? length : n - offset;
    Buffer<T> part(count);
    draw(dtype, count, seed, offset, part.data());
    EXPECT(count == 0 || std::memcmp(part.data(), all.data() + offset, static_cast<size_t>(count) * sizeof(T)) == 0, "cut at %d",
           static_cast<int>(offset));
  }
  Buffer<T> far(9);
  draw(dtype, 9, seed, int64_t(1) << 40, far.data()); // beyond 32-bit counters
  for (int64_t i = 0; i < 9; ++i)
    EXPECT(std::fabs(static_cast<double>(far[i]) - value_of<T>(normal, seed, (uint64_t(1) << 40) + static_cast<uint64_t>(i))) < 2e-6,
           "far");
}

void tests(const tg_backend *t) {
  check_known_answers();
  for (int normal = 0; normal < 2; ++normal) {
    check_stream<float>(t, normal);
    check_stream<double>(t, normal);
  }
}
} // namespace

int main() { return run_everywhere(tests); }
