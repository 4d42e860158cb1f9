// Captured steps, staged batches and settings: the backend's handles as addresses of its device.
#include "device_steps.h"

#include "environment.h"

#include <string>

namespace tautgrad::addon {
namespace {

const tg_backend *backend_of(const Napi::CallbackInfo &info, int device) {
  return info.Env().GetInstanceData<Environment>()->backends[device];
}
Address address(const Napi::Value &value) { return Address(value.As<Napi::Number>().DoubleValue()); }

// Throws the backend's sentence unless the call succeeded.
Napi::Value finish(const Napi::CallbackInfo &info, const tg_backend *backend, int status) {
  if (status != TG_OK) Napi::Error::New(info.Env(), backend->last_error()).ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

// captureBegin(device)
Napi::Value capture_begin(const Napi::CallbackInfo &info) {
  const tg_backend *backend = backend_of(info, info[0].As<Napi::Number>().Int32Value() & 1);
  return finish(info, backend, backend->capture_begin());
}

// captureEnd(device, keep): the graph, or 0 where nothing was to be kept
Napi::Value capture_end(const Napi::CallbackInfo &info) {
  const int device = info[0].As<Napi::Number>().Int32Value() & 1;
  const tg_backend *backend = backend_of(info, device);
  void *graph = nullptr;
  const int status = backend->capture_end(info[1].As<Napi::Boolean>().Value(), &graph);
  finish(info, backend, status);
  return Napi::Number::New(info.Env(), graph ? Address::pack(device, graph) : 0.0);
}

// stageMake(to, bytes): a stage in front of the block `to`
Napi::Value stage_make(const Napi::CallbackInfo &info) {
  const Address to = address(info[0]);
  const tg_backend *backend = backend_of(info, to.device);
  void *stage = nullptr;
  finish(info, backend, backend->stage_make(to.pointer, info[1].As<Napi::Number>().Int64Value(), &stage));
  return Napi::Number::New(info.Env(), stage ? Address::pack(to.device, stage) : 0.0);
}

// stageSend(stage, from)
Napi::Value stage_send(const Napi::CallbackInfo &info) {
  const Address stage = address(info[0]);
  const tg_backend *backend = backend_of(info, stage.device);
  return finish(info, backend, backend->stage_send(stage.pointer, address(info[1]).pointer));
}

// setOption(device, option, value)
Napi::Value set_option(const Napi::CallbackInfo &info) {
  const tg_backend *backend = backend_of(info, info[0].As<Napi::Number>().Int32Value() & 1);
  if (!backend || !backend->set_option) return info.Env().Undefined(); // nothing to choose there
  return finish(info, backend, backend->set_option(info[1].As<Napi::Number>().Int64Value(), info[2].As<Napi::Number>().Int64Value()));
}

// libraries(device): one line for each
Napi::Value libraries(const Napi::CallbackInfo &info) {
  const tg_backend *backend = backend_of(info, info[0].As<Napi::Number>().Int32Value() & 1);
  return Napi::String::New(info.Env(), backend && backend->libraries ? backend->libraries() : "");
}

// One call on one handle.
template <int (*tg_backend::*Entry)(void *)> Napi::Value on_handle(const Napi::CallbackInfo &info) {
  const Address handle = address(info[0]);
  const tg_backend *backend = backend_of(info, handle.device);
  return finish(info, backend, (backend->*Entry)(handle.pointer));
}

} // namespace

void export_device_steps(Napi::Env env, Napi::Object exports) {
  const struct {
    const char *name;
    Napi::Value (*function)(const Napi::CallbackInfo &);
  } functions[] = {
      {"captureBegin", capture_begin},
      {"captureEnd", capture_end},
      {"graphLaunch", on_handle<&tg_backend::graph_launch>},
      {"graphDestroy", on_handle<&tg_backend::graph_destroy>},
      {"setOption", set_option},
      {"libraries", libraries},
      {"stageMake", stage_make},
      {"stageSend", stage_send},
      {"stageReceive", on_handle<&tg_backend::stage_receive>},
      {"stageDone", on_handle<&tg_backend::stage_done>},
      {"stageFree", on_handle<&tg_backend::stage_free>},
  };
  for (const auto &f : functions) exports.Set(f.name, Napi::Function::New(env, f.function, f.name));
}

} // namespace tautgrad::addon
