#include "library.h"

#include "bfloat16.h"
#include "vendor.h"

#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <glob.h>
#include <unistd.h>
#include <vector>

namespace tautgrad::cuda {
namespace {

// Places of a file, best first: what the process has loaded already, Python's wheels, conda, the toolkit, the loader's default.
std::vector<std::string> places(const char *file) {
  std::vector<std::string> found;
  const auto add_matches = [&](const std::string &pattern) {
    glob_t matches{};
    if (glob(pattern.c_str(), 0, nullptr, &matches) == 0)
      for (size_t i = 0; i < matches.gl_pathc; ++i) found.push_back(matches.gl_pathv[i]);
    globfree(&matches);
  };
  const auto add_python = [&](const std::string &prefix) {
    for (const char *packages : {"/lib/python3*/site-packages", "/lib/python3*/dist-packages"})
      add_matches(prefix + packages + "/nvidia/*/lib/" + file);
  };
  for (const char *variable : {"VIRTUAL_ENV", "CONDA_PREFIX"})
    if (const char *prefix = std::getenv(variable); prefix && *prefix) add_python(prefix);
  if (const char *home = std::getenv("HOME"); home && *home) add_python(std::string(home) + "/.local");
  // The Python that the user would start brings its wheels, wherever it lives.
  const char *path = std::getenv("PATH");
  for (std::string rest = path ? path : ""; !rest.empty();) {
    const size_t end = rest.find(':');
    const std::string folder = rest.substr(0, end);
    rest = end == std::string::npos ? "" : rest.substr(end + 1);
    if (!folder.empty() && access((folder + "/python3").c_str(), X_OK) == 0) add_python(folder + "/..");
  }
  add_matches(std::string("/usr/lib/python3/dist-packages/nvidia/*/lib/") + file);
  if (const char *prefix = std::getenv("CONDA_PREFIX"); prefix && *prefix) add_matches(std::string(prefix) + "/lib/" + file);
  for (const char *variable : {"CUDA_HOME", "CUDA_PATH"})
    if (const char *prefix = std::getenv(variable); prefix && *prefix) add_matches(std::string(prefix) + "/lib64/" + file);
  add_matches(std::string("/usr/local/cuda/lib64/") + file);
  found.push_back(file);
  return found;
}

} // namespace

bool Library::open(const std::string &path) {
  handle_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle_) path_ = path;
  return handle_ != nullptr;
}

Library::Library(const char *title, const char *variable, std::initializer_list<const char *> files) : title_(title) {
  if (const char *named = std::getenv(variable); named && *named) {
    if (std::strcmp(named, "off") == 0)
      refusal_ = std::string("turned off by ") + variable;
    else if (!open(named))
      refusal_ = std::string(variable) + " names a file that cannot be opened: " + dlerror();
    return;
  }
#ifndef TG_CUDA_EMULATION // a library of this machine could not compute in the emulation's memory
  for (const char *file : files) {
    handle_ = dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
    if (handle_) {
      path_ = file;
      return;
    }
  }
  for (const char *file : files)
    for (const std::string &place : places(file))
      if (open(place)) return;
#else
  (void)places;
#endif
  refusal_ = std::string("not found (") + *files.begin() + "; " + variable + " may name it)";
}

void *Library::want(const char *symbol) const { return handle_ ? dlsym(handle_, symbol) : nullptr; }

void *Library::need(const char *symbol) {
  void *address = want(symbol);
  if (!address) refuse(std::string("it lacks ") + symbol);
  return address;
}

void Library::refuse(const std::string &why) {
  if (refusal_.empty()) refusal_ = path_ + " is not used: " + why;
}

std::string Library::description() const {
  if (!refusal_.empty()) return std::string(title_) + ": " + refusal_ + "; own kernels serve";
  return std::string(title_) + " " + version_ + " (" + path_ + ")";
}

namespace {
bool tf32 = false;
thread_local bool bfloat16 = false;

int set_option(int64_t option, int64_t value) {
  if (option == TG_OPTION_TF32)
    tf32 = value != 0;
  else if (option == TG_OPTION_BFLOAT16)
    bfloat16 = value != 0;
  else
    return fail("unknown option %d", static_cast<int>(option));
  return TG_OK;
}

const char *libraries() {
  static thread_local std::string text;
  text = cudnn_description() + "\n" + cublas_description() + "\n" + cufft_description();
  return text.c_str();
}
} // namespace

bool allow_tf32() { return tf32; }
bool products_in_bfloat16() { return bfloat16; }

void register_libraries(tg_backend *t) {
  t->set_option = set_option;
  t->libraries = libraries;
}

} // namespace tautgrad::cuda
