#pragma once

#include "../backend.h"

#include <string>

namespace tautgrad::addon {
// Opens libtautgrad_cuda.so beside the addon. Returns its table, or NULL and the reason in `why`.
const tg_backend *load_cuda(std::string &why);
} // namespace tautgrad::addon
