// What an optimiser's step depends on besides the tensors, worked out once in float64.
#pragma once

#include <math.h>
#include <stdint.h>

namespace tautgrad::kernels {

// Adam (Kingma, Ba 2015, algorithm 1) and AdamW (Loshchilov, Hutter 2019, algorithm 2): p <- shrink p - rate m / (sqrt(v) root + epsilon).
// TG_ISA sources see this header too: no function of external linkage.
struct AdamRates {
  double rate, root, shrink;
};

static inline AdamRates adam_rates(double lr, double beta1, double beta2, double decay, bool decoupled, int64_t step) {
  const double correction1 = 1 - pow(beta1, static_cast<double>(step)), correction2 = 1 - pow(beta2, static_cast<double>(step));
  return {lr / correction1, 1 / sqrt(correction2), decoupled ? 1 - lr * decay : 1};
}

} // namespace tautgrad::kernels
