#include "launch.h"
namespace tautgrad::cuda {
void register_conv(tg_backend *) {}
}
