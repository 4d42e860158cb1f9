// Makes a shared library of the CPU backend for the lab's Python scripts: its table under an exported name.
#include "../../native/backend.h"

extern "C" __attribute__((visibility("default"))) const tg_backend *tg_lab_backend(void) { return tg_cpu_backend(); }
