// The Node-API binding: storage, dispatch of kernels, asynchronous calls. TypeScript validates; this file trusts its callers in
// src/backend, except that a stale storage address is refused.
#include "cuda_loader.h"
#include "device_steps.h"
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

// The sentence of a call that did not succeed.
std::string failure(const Environment &own, const Kernel &kernel, Call call) {
  switch (call.outcome) {
  case Outcome::mixed_devices:
    return "Expected every tensor on one device for " + std::string(kernel.name) +
           " but received some on the CPU and some on the GPU: move them with x.to(device)";
  case Outcome::no_device:
    return std::string(kernel.name) + ": the device is not there";
  case Outcome::no_kernel:
    return std::string(own.backends[call.device]->name) + " has no kernel " + kernel.name;
  default:
    return std::string(kernel.name) + ": " + own.backends[call.device]->last_error();
  }
}

const Kernel *find_kernel(Napi::Env env, int64_t index) {
  if (index >= 0 && index < KERNEL_COUNT) return &KERNELS[index];
  Napi::Error::New(env, "no such kernel").ThrowAsJavaScriptException();
  return nullptr;
}

// call(kernel): arguments lie in the argument block.
Napi::Value call(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Environment &own = environment(env);
  const Kernel *kernel = find_kernel(env, info[0].As<Napi::Number>().Int64Value());
  if (!kernel) return env.Undefined();
  const Call result = kernel->run(own.backends, own.arguments);
  if (result.outcome == Outcome::done) return env.Undefined();
  Napi::Error error = Napi::Error::New(env, failure(own, *kernel, result));
  // TypeScript computes on the CPU instead.
  if (result.outcome == Outcome::no_kernel) error.Set("code", "TAUTGRAD_NO_KERNEL");
  error.ThrowAsJavaScriptException();
  return env.Undefined();
}

// One asynchronous call. Plain Node-API calls whose failures are passed over: while an environment ends (process exit, a terminated
// worker) nobody waits for the promise any more, and an exception thrown from here would end the whole process.
struct AsyncCall {
  Environment *own;
  const Kernel *kernel;
  std::array<double, ARGUMENT_SLOTS> arguments;
  napi_async_work work;
  napi_deferred deferred;
  std::string error;

  static void execute(napi_env, void *data) {
    auto *self = static_cast<AsyncCall *>(data);
    const Call result = self->kernel->run(self->own->backends, self->arguments.data());
    if (result.outcome != Outcome::done) self->error = failure(*self->own, *self->kernel, result);
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

// callAsync(kernel): the same on a worker thread. The caller keeps every storage alive until the promise settles.
Napi::Value call_async(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Environment &own = environment(env);
  const Kernel *kernel = find_kernel(env, info[0].As<Napi::Number>().Int64Value());
  if (!kernel) return env.Undefined();
  auto call = std::make_unique<AsyncCall>();
  call->own = &own;
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

Address address(const Napi::Value &value) { return Address(value.As<Napi::Number>().DoubleValue()); }

// alloc(device, bytes): address, or 0 when memory is exhausted.
Napi::Value alloc(const Napi::CallbackInfo &info) {
  Environment &own = environment(info.Env());
  const int device = info[0].As<Napi::Number>().Int32Value() & 1;
  void *block = own.blocks[device] ? own.blocks[device]->alloc(info[1].As<Napi::Number>().Int64Value()) : nullptr;
  return Napi::Number::New(info.Env(), block ? Address::pack(device, block) : 0.0);
}

Napi::Value release(const Napi::CallbackInfo &info) {
  const Address block = address(info[0]);
  return Napi::Boolean::New(info.Env(), environment(info.Env()).blocks[block.device]->release(block.pointer));
}

// view(address, bytes): an ArrayBuffer over a block of the CPU; the block lives until the storage is released and the buffer is collected.
Napi::Value view(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const Address block = address(info[0]);
  const int64_t bytes = info[1].As<Napi::Number>().Int64Value();
  std::shared_ptr<Blocks> blocks = environment(env).blocks[0];
  if (block.device != 0 || !blocks->retain(block.pointer)) {
    Napi::Error::New(env, "view of a released block, or of another device's").ThrowAsJavaScriptException();
    return env.Undefined();
  }
  // Node does not count external buffers: without this, a loop that makes views never triggers a collection.
  Napi::MemoryManagement::AdjustExternalMemory(env, bytes);
  auto *owner = new std::shared_ptr<Blocks>(std::move(blocks));
  return Napi::ArrayBuffer::New(
      env, block.pointer, static_cast<size_t>(bytes),
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
  return Napi::Number::New(info.Env(), Address::pack(0, data));
}

// copy(to, from, bytes): within a device or between two; what is read on the CPU is complete when the call returns.
Napi::Value copy(const Napi::CallbackInfo &info) {
  Environment &own = environment(info.Env());
  const Address to = address(info[0]), from = address(info[1]);
  const int64_t bytes = info[2].As<Napi::Number>().Int64Value();
  const tg_backend *backend = own.backends[to.device ? to.device : from.device];
  const int status = to.device == from.device ? backend->copy(to.pointer, from.pointer, bytes)
                     : to.device              ? backend->upload(to.pointer, from.pointer, bytes)
                                              : backend->download(to.pointer, from.pointer, bytes);
  if (status != TG_OK) Napi::Error::New(info.Env(), std::string("copy: ") + backend->last_error()).ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

// download(typedArray, from): copies into the array without blocking this thread; a promise.
struct Download {
  napi_threadsafe_function arrived;
  napi_deferred deferred;
  napi_ref array; // keeps the destination reachable

  static void done(void *context) {
    napi_call_threadsafe_function(static_cast<Download *>(context)->arrived, context, napi_tsfn_nonblocking);
  }
  static void settle(napi_env env, napi_value, void *, void *context) {
    std::unique_ptr<Download> self(static_cast<Download *>(context));
    napi_release_threadsafe_function(self->arrived, napi_tsfn_release);
    if (!env) return; // the environment is ending: nobody waits any more
    napi_value array = nullptr;
    napi_get_reference_value(env, self->array, &array);
    napi_delete_reference(env, self->array);
    napi_resolve_deferred(env, self->deferred, array);
  }
};

Napi::Value download(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const Address from = address(info[1]);
  const tg_backend *backend = environment(env).backends[from.device];
  void *data = nullptr;
  size_t length = 0;
  napi_typedarray_type type;
  napi_get_typedarray_info(env, info[0], &type, &length, &data, nullptr, nullptr);
  const int64_t bytes = info[2].As<Napi::Number>().Int64Value();
  auto self = std::make_unique<Download>();
  napi_value promise, name;
  if (napi_create_promise(env, &self->deferred, &promise) != napi_ok || napi_create_reference(env, info[0], 1, &self->array) != napi_ok ||
      napi_create_string_utf8(env, "tautgrad download", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, nullptr, Download::settle, &self->arrived) !=
          napi_ok) {
    Napi::Error::New(env, "an asynchronous copy could not be started").ThrowAsJavaScriptException();
    return env.Undefined();
  }
  Download *context = self.release();
  if (backend->download_async(data, from.pointer, bytes, Download::done, context) != TG_OK) {
    napi_release_threadsafe_function(context->arrived, napi_tsfn_abort);
    napi_delete_reference(env, context->array);
    delete context;
    Napi::Error::New(env, std::string("download: ") + backend->last_error()).ThrowAsJavaScriptException();
    return env.Undefined();
  }
  return Napi::Value(env, promise);
}

Napi::Value synchronize(const Napi::CallbackInfo &info) {
  for (const tg_backend *backend : environment(info.Env()).backends)
    if (backend && backend->synchronize() != TG_OK)
      Napi::Error::New(info.Env(), std::string("synchronize: ") + backend->last_error()).ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

// memory(device)
Napi::Value memory(const Napi::CallbackInfo &info) {
  int64_t live_bytes = 0, live_blocks = 0, cached_bytes = 0;
  const tg_backend *backend = environment(info.Env()).backends[info[0].As<Napi::Number>().Int32Value() & 1];
  if (backend) backend->memory_stats(&live_bytes, &live_blocks, &cached_bytes);
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("liveBytes", static_cast<double>(live_bytes));
  result.Set("liveBlocks", static_cast<double>(live_blocks));
  result.Set("cachedBytes", static_cast<double>(cached_bytes));
  return result;
}

Napi::Value trim(const Napi::CallbackInfo &info) {
  for (const tg_backend *backend : environment(info.Env()).backends)
    if (backend) backend->trim();
  return info.Env().Undefined();
}

// loadCuda(): '' when the CUDA backend is ready, else the sentence that says why it is not.
Napi::Value load_cuda_backend(const Napi::CallbackInfo &info) {
  Environment &own = environment(info.Env());
  std::string why;
  if (!own.backends[1]) {
    own.backends[1] = load_cuda(why);
    if (own.backends[1]) own.blocks[1] = std::make_shared<Blocks>(own.backends[1]);
  }
  return Napi::String::New(info.Env(), own.backends[1] ? "" : why);
}

// hasKernel(device, name)
Napi::Value has_kernel(const Napi::CallbackInfo &info) {
  const tg_backend *backend = environment(info.Env()).backends[info[0].As<Napi::Number>().Int32Value() & 1];
  const std::string name = info[1].As<Napi::String>();
  for (const Kernel &kernel : KERNELS)
    if (backend && name == kernel.name) return Napi::Boolean::New(info.Env(), kernel.present(backend));
  return Napi::Boolean::New(info.Env(), false);
}

Napi::Value describe(const Napi::CallbackInfo &info) {
  const tg_backend *backend = environment(info.Env()).backends[info[0].As<Napi::Number>().Int32Value() & 1];
  return Napi::String::New(info.Env(), backend ? backend->describe() : "");
}

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  auto *own = new Environment;
  own->backends[0] = tg_cpu_backend();
  own->blocks[0] = std::make_shared<Blocks>(own->backends[0]);
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
      {"call", call},
      {"callAsync", call_async},
      {"alloc", alloc},
      {"release", release},
      {"view", view},
      {"addressOf", address_of},
      {"copy", copy},
      {"download", download},
      {"synchronize", synchronize},
      {"memory", memory},
      {"trim", trim},
      {"loadCuda", load_cuda_backend},
      {"describe", describe},
      {"hasKernel", has_kernel},
  };
  for (const auto &f : functions) exports.Set(f.name, Napi::Function::New(env, f.function, f.name));
  export_device_steps(env, exports);
  return exports;
}

} // namespace
} // namespace tautgrad::addon

using tautgrad::addon::initialise;
NODE_API_MODULE(tautgrad, initialise)
