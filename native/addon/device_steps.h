#pragma once

#include <napi.h>

namespace tautgrad::addon {
// Adds to the exports what captured steps, staged batches and settings need of a device.
void export_device_steps(Napi::Env env, Napi::Object exports);
} // namespace tautgrad::addon
