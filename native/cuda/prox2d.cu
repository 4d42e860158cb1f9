#include "launch.h"
namespace tautgrad::cuda {
void register_prox2d(tg_backend *) {}
}
