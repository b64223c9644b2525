/* Initialisation, errors, the device and its contexts. A context of this device holds nothing: it is a handle that has
 * to be current, as with a driver. */
#include "driver.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONTEXT_STACK = 32, DRIVER_VERSION = 13000 };

struct Context {
  bool primary;
};

static struct {
  pthread_mutex_t lock;
  bool initialised;
  struct Context *primary;
  uint32_t primary_count;
} device = {.lock = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local struct {
  CUcontext stack[CONTEXT_STACK];
  int depth;
  char error[FAULT_TEXT];
} thread;

/* ---- errors ---- */

CUresult driver_fail(CUresult code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(thread.error, sizeof thread.error, format, arguments);
  va_end(arguments);
  return code;
}

const char *apnn_cpu_last_error(void) {
  return thread.error;
}
void apnn_cpu_set_option(const char *name, const char *value) {
  options_set(name, value);
}

static const struct {
  CUresult code;
  const char *name, *text;
} error_rows[] = {
#define DRIVER_ERROR(name, code, text) {code, #name, text},
#include "driver_errors.def"
};

static int find_error(CUresult code) {
  for (size_t i = 0; i < sizeof error_rows / sizeof *error_rows; i++)
    if (error_rows[i].code == code) return (int)i;
  return -1;
}

CUresult cuGetErrorName(CUresult error, const char **name) {
  int row = find_error(error);
  if (!name) return CUDA_ERROR_INVALID_VALUE;
  *name = row < 0 ? NULL : error_rows[row].name;
  return row < 0 ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult error, const char **text) {
  int row = find_error(error);
  if (!text) return CUDA_ERROR_INVALID_VALUE;
  *text = row < 0 ? NULL : error_rows[row].text;
  return row < 0 ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

/* ---- start ---- */

CUresult cuInit(unsigned int flags) {
  if (flags) return driver_fail(CUDA_ERROR_INVALID_VALUE, "cuInit: flags must be 0");
  __atomic_store_n(&device.initialised, true, __ATOMIC_RELEASE);
  return CUDA_SUCCESS;
}

CUresult cuDriverGetVersion(int *version) {
  if (!version) return CUDA_ERROR_INVALID_VALUE;
  *version = DRIVER_VERSION;
  return CUDA_SUCCESS;
}

static bool initialised(void) {
  return __atomic_load_n(&device.initialised, __ATOMIC_ACQUIRE);
}

CUresult driver_enter(void) {
  if (!initialised()) return driver_fail(CUDA_ERROR_NOT_INITIALIZED, "cuInit was not called");
  CUcontext current = thread.depth ? thread.stack[thread.depth - 1] : NULL;
  if (!current || !object_known(OBJECT_CONTEXT, current)) {
    return driver_fail(CUDA_ERROR_INVALID_CONTEXT, "the thread has no current context");
  }
  return CUDA_SUCCESS;
}

/* ---- the device ---- */

static CUresult check_device(CUdevice number) {
  if (!initialised()) return driver_fail(CUDA_ERROR_NOT_INITIALIZED, "cuInit was not called");
  return number ? driver_fail(CUDA_ERROR_INVALID_DEVICE, "there is one device, number 0") : CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *count) {
  if (!count) return CUDA_ERROR_INVALID_VALUE;
  *count = 1;
  return check_device(0);
}

CUresult cuDeviceGet(CUdevice *result, int ordinal) {
  if (!result) return CUDA_ERROR_INVALID_VALUE;
  *result = 0;
  return check_device(ordinal);
}

CUresult cuDeviceGetName(char *name, int length, CUdevice number) {
  if (!name || length <= 0) return CUDA_ERROR_INVALID_VALUE;
  snprintf(name, (size_t)length, "apnn CPU device");
  return check_device(number);
}

static int cores(void) {
  return (int)options_now().threads;
}

CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice number) {
  const struct {
    int attribute, value;
  } rows[] = {
#define DEVICE_ATTRIBUTE(number, value) {number, value},
#include "driver_attributes.def"
  };
  if (!value || attribute <= 0) return CUDA_ERROR_INVALID_VALUE;
  *value = 0;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    if (rows[i].attribute == attribute) *value = rows[i].value;
  return check_device(number);
}

CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice number) {
  if (!bytes) return CUDA_ERROR_INVALID_VALUE;
  *bytes = memory_bytes_total();
  return check_device(number);
}

/* ---- contexts ---- */

static struct Context *new_context(bool primary) {
  struct Context *context = calloc(1, sizeof *context);
  if (!context) return NULL;
  context->primary = primary;
  if (object_add(OBJECT_CONTEXT, context)) return context;
  free(context);
  return NULL;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice number) {
  CUresult result = check_device(number);
  if (!context) return CUDA_ERROR_INVALID_VALUE;
  if (result) return result;
  pthread_mutex_lock(&device.lock);
  if (!device.primary) device.primary = new_context(true);
  *context = device.primary;
  device.primary_count += device.primary != NULL;
  pthread_mutex_unlock(&device.lock);
  return *context ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice number) {
  CUresult result = check_device(number);
  if (result) return result;
  pthread_mutex_lock(&device.lock);
  if (!device.primary_count)
    result = CUDA_ERROR_INVALID_CONTEXT;
  else if (!--device.primary_count) {
    object_remove(OBJECT_CONTEXT, device.primary);
    free(device.primary);
    device.primary = NULL;
  }
  pthread_mutex_unlock(&device.lock);
  return result;
}

static bool context_known(CUcontext context) {
  return context && object_known(OBJECT_CONTEXT, context);
}

CUresult cuCtxPushCurrent_v2(CUcontext context) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (!context_known(context)) return driver_fail(CUDA_ERROR_INVALID_CONTEXT, "not a context");
  if (thread.depth == CONTEXT_STACK) return driver_fail(CUDA_ERROR_INVALID_VALUE, "context stack is full");
  thread.stack[thread.depth++] = context;
  return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent_v2(CUcontext *context) {
  if (!thread.depth) return driver_fail(CUDA_ERROR_INVALID_CONTEXT, "the thread has no current context");
  CUcontext top = thread.stack[--thread.depth];
  if (context) *context = top;
  return CUDA_SUCCESS;
}

CUresult cuCtxCreate_v2(CUcontext *context, unsigned int flags, CUdevice number) {
  CUresult result = check_device(number);
  (void)flags;
  if (!context) return CUDA_ERROR_INVALID_VALUE;
  if (result) return result;
  *context = new_context(false);
  return *context ? cuCtxPushCurrent_v2(*context) : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuCtxDestroy_v2(CUcontext context) {
  if (!context_known(context)) return driver_fail(CUDA_ERROR_INVALID_CONTEXT, "not a context");
  if (context->primary)
    return driver_fail(CUDA_ERROR_INVALID_CONTEXT, "the primary context is released, not destroyed");
  if (!object_remove(OBJECT_CONTEXT, context)) return CUDA_ERROR_INVALID_CONTEXT;
  if (thread.depth && thread.stack[thread.depth - 1] == context) thread.depth--;
  free(context);
  return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext *context) {
  if (!context) return CUDA_ERROR_INVALID_VALUE;
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  *context = thread.depth ? thread.stack[thread.depth - 1] : NULL;
  return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext context) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (thread.depth) thread.depth--;
  return context ? cuCtxPushCurrent_v2(context) : CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice *number) {
  CUresult result = driver_enter();
  if (!number) return CUDA_ERROR_INVALID_VALUE;
  *number = 0;
  return result;
}

CUresult cuCtxSynchronize(void) {
  return driver_enter();
}

/* ---- cuGetProcAddress ---- */

typedef void (*AnyFunction)(void);

static const struct {
  const char *plain, *name;
  AnyFunction function;
} call_rows[] = {
#define DRIVER_CALL(plain, name, parameters) {plain, #name, (AnyFunction)name},
#include "driver_calls.def"
};

/* An unknown name is no error where the caller asks for the status. */
CUresult cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags, int *status) {
  enum { FOUND = 0, NOT_FOUND = 1 };
  (void)version, (void)flags;
  if (!symbol || !function) return CUDA_ERROR_INVALID_VALUE;
  *function = NULL;
  if (status) *status = NOT_FOUND;
  for (size_t i = 0; i < sizeof call_rows / sizeof *call_rows; i++) {
    if (strcmp(call_rows[i].plain, symbol) && strcmp(call_rows[i].name, symbol)) continue;
    memcpy(function, &call_rows[i].function, sizeof *function);
    if (status) *status = FOUND;
    return CUDA_SUCCESS;
  }
  driver_fail(CUDA_ERROR_NOT_FOUND, "the CPU device has no entry point \"%s\"", symbol);
  return status ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

CUresult cuGetProcAddress(const char *symbol, void **function, int version, uint64_t flags) {
  return cuGetProcAddress_v2(symbol, function, version, flags, NULL);
}
