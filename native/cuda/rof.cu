#include "launch.h"
namespace tautgrad::cuda {
void register_rof(tg_backend *) {}
}
