#include "cuda_loader.h"

#include <cstdlib>
#include <dlfcn.h>

namespace tautgrad::addon {

const tg_backend *load_cuda(std::string &why) {
  Dl_info self{};
  if (dladdr(reinterpret_cast<const void *>(&load_cuda), &self) == 0 || self.dli_fname == nullptr) {
    why = "the folder of the native addon could not be found";
    return nullptr;
  }
  std::string path = self.dli_fname;
  const size_t slash = path.rfind('/');
  path = (slash == std::string::npos ? std::string(".") : path.substr(0, slash)) + "/libtautgrad_cuda.so";
  const char *named = std::getenv("TAUTGRAD_CUDA_LIBRARY");
  if (named && *named) path = named;
  // RTLD_LOCAL: the library brings its own static CUDA runtime, which must not meet another one in this process.
  void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    why = named && *named ? std::string("TAUTGRAD_CUDA_LIBRARY names a library that cannot be opened: ") + dlerror()
                          : "this build has no CUDA library (libtautgrad_cuda.so is not beside the addon)";
    return nullptr;
  }
  auto entry = reinterpret_cast<tg_backend_entry>(dlsym(library, TG_CUDA_ENTRY));
  auto reason = reinterpret_cast<const char *(*)()>(dlsym(library, TG_CUDA_REASON));
  const tg_backend *table = entry ? entry() : nullptr;
  if (!table) {
    why = reason ? reason() : "libtautgrad_cuda.so does not export " TG_CUDA_ENTRY;
    return nullptr;
  }
  if (table->version != TG_BACKEND_VERSION) {
    why = "libtautgrad_cuda.so has kernel table version " + std::to_string(table->version) + ", this addon needs " +
          std::to_string(TG_BACKEND_VERSION);
    return nullptr;
  }
  return table;
}

} // namespace tautgrad::addon
