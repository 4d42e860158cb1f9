// Vendor libraries, opened at run time where they are found and never closed. Without them our own kernels serve.
#pragma once

#include <initializer_list>
#include <string>

namespace tautgrad::cuda {

class Library {
public:
  // title: for people; variable: the environment variable that names a file (or "off"); files: names to look for, best first.
  Library(const char *title, const char *variable, std::initializer_list<const char *> files);
  // The symbol, or NULL; a library that lacks a symbol which is needed is given up.
  void *need(const char *symbol);
  void *want(const char *symbol) const;
  bool usable() const { return handle_ && refusal_.empty(); }
  void refuse(const std::string &why); // not used any more, and why
  void set_version(const std::string &version) { version_ = version; }
  std::string description() const; // one line

private:
  bool open(const std::string &path);
  const char *title_;
  void *handle_ = nullptr;
  std::string path_, version_, refusal_;
};

} // namespace tautgrad::cuda
