// The Node-API binding: storage, dispatch of kernels, asynchronous calls. TypeScript validates; this file trusts its callers in
// src/backend, except that a stale storage address is refused.
#include "cuda_loader.h"
#include "environment.h"
#include "kernel_list.h"

#include <napi.h>

#include <array>
#include <cstring>
#include <memory>
#include <string>

namespace tautgrad::addon {
namespace {

Environment &environment(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

std::string failure(const tg_backend *backend, const Kernel &kernel) { return std::string(kernel.name) + ": " + backend->last_error(); }

const Kernel *find_kernel(Napi::Env env, const tg_backend *backend, int64_t index) {
  if (index < 0 || index >= KERNEL_COUNT || !backend) {
    Napi::Error::New(env, "no such kernel or device").ThrowAsJavaScriptException();
    return nullptr;
  }
  if (!KERNELS[index].present(backend)) {
    Napi::Error::New(env, std::string(backend->name) + " has no kernel " + KERNELS[index].name).ThrowAsJavaScriptException();
    return nullptr;
  }
  return &KERNELS[index];
}

// call(device, kernel): arguments lie in the argument block.
Napi::Value call(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Environment &own = environment(env);
  const tg_backend *backend = own.backends[info[0].As<Napi::Number>().Int32Value() & 1];
  const Kernel *kernel = find_kernel(env, backend, info[1].As<Napi::Number>().Int64Value());
  if (kernel && kernel->run(backend, own.arguments) != TG_OK) Napi::Error::New(env, failure(backend, *kernel)).ThrowAsJavaScriptException();
  return env.Undefined();
}

// One asynchronous call. Plain Node-API calls whose failures are passed over: while an environment ends (process exit, a terminated
// worker) nobody waits for the promise any more, and an exception thrown from here would end the whole process.
struct AsyncCall {
  const tg_backend *backend;
  const Kernel *kernel;
  std::array<double, ARGUMENT_SLOTS> arguments;
  napi_async_work work;
  napi_deferred deferred;
  std::string error;

  static void execute(napi_env, void *data) {
    auto *self = static_cast<AsyncCall *>(data);
    if (self->kernel->run(self->backend, self->arguments.data()) != TG_OK) self->error = failure(self->backend, *self->kernel);
  }

  static void complete(napi_env env, napi_status, void *data) {
    std::unique_ptr<AsyncCall> self(static_cast<AsyncCall *>(data));
    napi_value value = nullptr, message = nullptr;
    if (self->error.empty()) {
      if (napi_get_undefined(env, &value) == napi_ok) napi_resolve_deferred(env, self->deferred, value);
    } else if (napi_create_string_utf8(env, self->error.c_str(), self->error.size(), &message) == napi_ok &&
               napi_create_error(env, nullptr, message, &value) == napi_ok) {
      napi_reject_deferred(env, self->deferred, value);
    }
    napi_delete_async_work(env, self->work);
  }
};

// callAsync(device, kernel): the same on a worker thread. The caller keeps every storage alive until the promise settles.
Napi::Value call_async(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Environment &own = environment(env);
  const tg_backend *backend = own.backends[info[0].As<Napi::Number>().Int32Value() & 1];
  const Kernel *kernel = find_kernel(env, backend, info[1].As<Napi::Number>().Int64Value());
  if (!kernel) return env.Undefined();
  auto call = std::make_unique<AsyncCall>();
  call->backend = backend;
  call->kernel = kernel;
  std::memcpy(call->arguments.data(), own.arguments, sizeof call->arguments);
  napi_value promise, name;
  if (napi_create_promise(env, &call->deferred, &promise) != napi_ok ||
      napi_create_string_utf8(env, "tautgrad", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_async_work(env, nullptr, name, AsyncCall::execute, AsyncCall::complete, call.get(), &call->work) != napi_ok ||
      napi_queue_async_work(env, call->work) != napi_ok) {
    Napi::Error::New(env, "an asynchronous call could not be started").ThrowAsJavaScriptException();
    return env.Undefined();
  }
  call.release(); // complete() takes it back
  return Napi::Value(env, promise);
}

void *address(const Napi::Value &value) { return reinterpret_cast<void *>(static_cast<uintptr_t>(value.As<Napi::Number>().DoubleValue())); }

double number(const void *p) { return static_cast<double>(reinterpret_cast<uintptr_t>(p)); }

// alloc(bytes): address, or 0 when memory is exhausted.
Napi::Value alloc(const Napi::CallbackInfo &info) {
  return Napi::Number::New(info.Env(), number(environment(info.Env()).blocks->alloc(info[0].As<Napi::Number>().Int64Value())));
}

Napi::Value release(const Napi::CallbackInfo &info) {
  return Napi::Boolean::New(info.Env(), environment(info.Env()).blocks->release(address(info[0])));
}

// view(address, bytes): an ArrayBuffer over the block; the block lives until the storage is released and the buffer is collected.
Napi::Value view(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  void *block = address(info[0]);
  const int64_t bytes = info[1].As<Napi::Number>().Int64Value();
  std::shared_ptr<Blocks> blocks = environment(env).blocks;
  if (!blocks->retain(block)) {
    Napi::Error::New(env, "view of a released block").ThrowAsJavaScriptException();
    return env.Undefined();
  }
  // Node does not count external buffers: without this, a loop that makes views never triggers a collection.
  Napi::MemoryManagement::AdjustExternalMemory(env, bytes);
  auto *owner = new std::shared_ptr<Blocks>(std::move(blocks));
  return Napi::ArrayBuffer::New(
      env, block, static_cast<size_t>(bytes),
      [bytes](Napi::Env finalizing, void *data, std::shared_ptr<Blocks> *owner) {
        Napi::MemoryManagement::AdjustExternalMemory(finalizing, -bytes);
        (*owner)->release(data);
        delete owner;
      },
      owner);
}

// addressOf(typedArray): where its first element lies. The caller keeps the array reachable.
Napi::Value address_of(const Napi::CallbackInfo &info) {
  // Not through the array's buffer: a shared one (worker threads) is no ArrayBuffer to Node-API.
  void *data = nullptr;
  if (napi_get_typedarray_info(info.Env(), info[0], nullptr, nullptr, &data, nullptr, nullptr) != napi_ok)
    Napi::TypeError::New(info.Env(), "expected a typed array").ThrowAsJavaScriptException();
  return Napi::Number::New(info.Env(), number(data));
}

// copy(to, from, bytes) between host addresses.
Napi::Value copy(const Napi::CallbackInfo &info) {
  std::memcpy(address(info[0]), address(info[1]), static_cast<size_t>(info[2].As<Napi::Number>().Int64Value()));
  return info.Env().Undefined();
}

Napi::Value memory(const Napi::CallbackInfo &info) {
  int64_t live_bytes = 0, live_blocks = 0, cached_bytes = 0;
  environment(info.Env()).backends[0]->memory_stats(&live_bytes, &live_blocks, &cached_bytes);
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("liveBytes", static_cast<double>(live_bytes));
  result.Set("liveBlocks", static_cast<double>(live_blocks));
  result.Set("cachedBytes", static_cast<double>(cached_bytes));
  return result;
}

Napi::Value trim(const Napi::CallbackInfo &info) {
  environment(info.Env()).backends[0]->trim();
  return info.Env().Undefined();
}

// loadCuda(): '' when the CUDA backend is ready, else the sentence that says why it is not.
Napi::Value load_cuda_backend(const Napi::CallbackInfo &info) {
  Environment &own = environment(info.Env());
  std::string why;
  if (!own.backends[1]) own.backends[1] = load_cuda(why);
  return Napi::String::New(info.Env(), own.backends[1] ? "" : why);
}

Napi::Value describe(const Napi::CallbackInfo &info) {
  const tg_backend *backend = environment(info.Env()).backends[info[0].As<Napi::Number>().Int32Value() & 1];
  return Napi::String::New(info.Env(), backend ? backend->describe() : "");
}

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  auto *own = new Environment;
  own->backends[0] = tg_cpu_backend();
  own->blocks = std::make_shared<Blocks>(own->backends[0]);
  env.SetInstanceData(own);

  Napi::Float64Array arguments = Napi::Float64Array::New(env, ARGUMENT_SLOTS);
  own->arguments = arguments.Data();
  exports.Set("arguments", arguments);

  Napi::Array names = Napi::Array::New(env);
  for (int i = 0; i < KERNEL_COUNT; ++i) names.Set(static_cast<uint32_t>(i), KERNELS[i].name);
  exports.Set("kernelNames", names);
  exports.Set("tableVersion", Napi::Number::New(env, TG_BACKEND_VERSION));
  exports.Set("threads", Napi::Number::New(env, tg_cpu_threads()));

  const struct {
    const char *name;
    Napi::Value (*function)(const Napi::CallbackInfo &);
  } functions[] = {
      {"call", call}, {"callAsync", call_async},       {"alloc", alloc},       {"release", release},
      {"view", view}, {"addressOf", address_of},       {"copy", copy},         {"memory", memory},
      {"trim", trim}, {"loadCuda", load_cuda_backend}, {"describe", describe},
  };
  for (const auto &f : functions) exports.Set(f.name, Napi::Function::New(env, f.function, f.name));
  return exports;
}

} // namespace
} // namespace tautgrad::addon

using tautgrad::addon::initialise;
NODE_API_MODULE(tautgrad, initialise)
