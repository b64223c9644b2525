/* For the tests of the CPU device: its entry points, opened as a program would open a driver, and kernels run on
 * arrays. With APNN_TEST_DRIVER=libcuda.so.1 the same tests run on a GPU (those of faults are then left out). */
#ifndef TESTS_CPU_DEVICE_H
#define TESTS_CPU_DEVICE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "runtime/cpu/driver_api.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct Device {
  void *library;
  bool is_cpu;
  CUcontext context;
  const char *(*last_error)(void);
  void (*set_option)(const char *name, const char *value);
#define DRIVER_CALL(plain, name, parameters) CUresult(*name) parameters;
#include "runtime/cpu/driver_calls.def"
} Device;

static Device cu;

#define CHECK_CU(call)                                                                                                 \
  do {                                                                                                                 \
    CUresult check_result = (call);                                                                                    \
    if (check_result) fail_msg("%s gives %d: %s", #call, check_result, cu.last_error ? cu.last_error() : "");          \
  } while (0)

static void device_symbol(void *pointer, const char *name) {
  void *symbol = dlsym(cu.library, name);
  memcpy(pointer, &symbol, sizeof symbol);
}

/* The library lies in lib/ beside the tests' bin/. */
static const char *device_path(void) {
  static char path[PATH_MAX + 32];
  const char *named = getenv("APNN_TEST_DRIVER");
  ssize_t n = readlink("/proc/self/exe", path, PATH_MAX);
  if (named) return named;
  if (n <= 0) return NULL;
  path[n] = 0;
  char *slash = strrchr(path, '/');
  strcpy(slash, "/../lib/libapnn-cpu.so");
  return path;
}

static int device_open(void **state) {
  (void)state;
  const char *path = device_path();
  cu.library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) : NULL;
  if (!cu.library) {
    fprintf(stderr, "%s\n", dlerror());
    return -1;
  }
#define DRIVER_CALL(plain, name, parameters) device_symbol(&cu.name, #name);
#include "runtime/cpu/driver_calls.def"
  device_symbol(&cu.last_error, "apnn_cpu_last_error");
  device_symbol(&cu.set_option, "apnn_cpu_set_option");
  cu.is_cpu = cu.set_option != NULL;
  if (cu.cuInit(0)) return -1;
  return cu.cuDevicePrimaryCtxRetain(&cu.context, 0) || cu.cuCtxPushCurrent_v2(cu.context);
}

static int device_close(void **state) {
  (void)state;
  return cu.cuCtxPopCurrent_v2(NULL) || cu.cuDevicePrimaryCtxRelease_v2(0) || dlclose(cu.library);
}

#define PTX_HEADER ".version 8.4\n.target sm_90a\n.address_size 64\n"

static inline CUmodule device_module(const char *ptx) {
  CUmodule module;
  CHECK_CU(cu.cuModuleLoadData(&module, ptx));
  return module;
}

/* ---- kernels on arrays ---- */

typedef struct Array {
  void *data;
  size_t bytes;
  CUdeviceptr device;
} Array;

enum { MAX_ARRAYS = 8 };

typedef struct Run {
  const char *entry; /* of parameters: the address of each array, then `scalar` (.u32) */
  uint32_t grid, block, shared_bytes, scalar;
  Array arrays[MAX_ARRAYS]; /* ends with data == NULL; copied in, and out again */
} Run;

/* The result of the launch; the module stays loaded. */
static inline CUresult device_launch(CUmodule module, Run *run) {
  CUfunction function;
  void *params[MAX_ARRAYS + 1];
  int n = 0;
  CHECK_CU(cu.cuModuleGetFunction(&function, module, run->entry));
  for (; n < MAX_ARRAYS && run->arrays[n].data; n++) {
    Array *a = &run->arrays[n];
    CHECK_CU(cu.cuMemAlloc_v2(&a->device, a->bytes));
    CHECK_CU(cu.cuMemcpyHtoD_v2(a->device, a->data, a->bytes));
    params[n] = &a->device;
  }
  params[n] = &run->scalar;
  if (run->shared_bytes) CHECK_CU(cu.cuFuncSetAttribute(function, 8, (int)run->shared_bytes));
  CUresult result =
      cu.cuLaunchKernel(function, run->grid, 1, 1, run->block, 1, 1, run->shared_bytes, NULL, params, NULL);
  if (!result) result = cu.cuCtxSynchronize();
  for (int i = 0; i < n; i++) {
    Array *a = &run->arrays[i];
    if (!result) CHECK_CU(cu.cuMemcpyDtoH_v2(a->data, a->device, a->bytes));
    CHECK_CU(cu.cuMemFree_v2(a->device));
  }
  return result;
}

static inline void device_run(const char *ptx, Run *run) {
  CUmodule module = device_module(ptx);
  CHECK_CU(device_launch(module, run));
  CHECK_CU(cu.cuModuleUnload(module));
}

/* ---- random numbers: the same on every machine ---- */

static uint64_t random_state = 0x9e3779b97f4a7c15u;

static inline uint64_t random64(void) {
  uint64_t x = random_state;
  x ^= x << 13, x ^= x >> 7, x ^= x << 17;
  return random_state = x;
}

/* ---- text ---- */

typedef struct TextBuffer {
  char text[1 << 16];
  size_t used;
} TextBuffer;

static inline __attribute__((format(printf, 2, 3))) void text_add(TextBuffer *t, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int n = vsnprintf(t->text + t->used, sizeof t->text - t->used, format, arguments);
  va_end(arguments);
  assert_true(n >= 0 && t->used + (size_t)n < sizeof t->text);
  t->used += (size_t)n;
}

#endif
