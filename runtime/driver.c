/* Opening a driver library: every row of driver.def is looked up through the library's own cuGetProcAddress at a fixed
 * version, so the renaming of entry points between CUDA releases does not matter. A library is either open with every
 * required entry point, or closed. */
#define _GNU_SOURCE
#include "driver.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef enum Need { REQUIRED, OPTIONAL } Need;

typedef struct DriverRow {
  const char *symbol;
  int version;
  Need need;
  size_t offset; /* of the member in ApnnDriver */
} DriverRow;

static const DriverRow rows[] = {
#define DRIVER(field, symbol, version, need, arguments) {symbol, version, need, offsetof(ApnnDriver, field)},
#include "driver.def"
#undef DRIVER
};

/* A library's own look-up: cuGetProcAddress_v2 (CUDA 12) or cuGetProcAddress (CUDA 11.3). */
typedef struct Lookup {
  CuResult (*second)(const char *symbol, void **pointer, int version, uint64_t flags, int *status);
  CuResult (*first)(const char *symbol, void **pointer, int version, uint64_t flags);
} Lookup;

/* dlsym gives a data pointer; ISO C converts it to a function pointer only by its bytes. */
static void copy_function(void *to, void *address) {
  memcpy(to, &address, sizeof address);
}

/* The entry point of a row, or NULL. */
static void *look_up(const Lookup *lookup, const DriverRow *row) {
  void *address = NULL;
  int status;
  CuResult result = lookup->second ? lookup->second(row->symbol, &address, row->version, 0, &status)
                                   : lookup->first(row->symbol, &address, row->version, 0);
  return result == CU_SUCCESS ? address : NULL;
}

static ApnnStatus fill_table(ApnnDriver *driver, const char *path, ErrorText *error) {
  Lookup lookup;
  copy_function(&lookup.second, dlsym(driver->library, "cuGetProcAddress_v2"));
  copy_function(&lookup.first, dlsym(driver->library, "cuGetProcAddress"));
  if (!lookup.second && !lookup.first)
    return apnn_fail(error, APNN_ERROR_DRIVER, "%s has no cuGetProcAddress: the driver must be of CUDA 11.4 or later",
                     path);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    void *address = look_up(&lookup, &rows[i]);
    if (!address && rows[i].need == REQUIRED)
      return apnn_fail(error, APNN_ERROR_DRIVER, "%s has no %s: the driver must be of CUDA 11.4 or later", path,
                       rows[i].symbol);
    copy_function((char *)driver + rows[i].offset, address);
  }
  copy_function(&driver->cpu_last_error, dlsym(driver->library, "apnn_cpu_last_error"));
  return APNN_OK;
}

/* The library stays mapped after the last dlclose: drivers keep threads that must not lose their code. */
static void *open_library(const char *path) {
  return dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
}

static ApnnStatus finish_open(ApnnDriver *driver, void *library, const char *path, ErrorText *error) {
  driver->library = library;
  ApnnStatus status = fill_table(driver, path, error);
  if (status != APNN_OK) apnn_driver_close(driver);
  return status;
}

ApnnStatus apnn_driver_open_cuda(ApnnDriver *driver, ErrorText *error) {
  memset(driver, 0, sizeof *driver);
  static const char path[] = "libcuda.so.1";
  void *library = open_library(path);
  if (!library) return apnn_fail(error, APNN_ERROR_DRIVER, "no CUDA driver: %s", dlerror());
  return finish_open(driver, library, path, error);
}

/* Try `folder of path` + `relative`. */
static void *open_beside(const char *path, const char *relative, char found[PATH_MAX]) {
  const char *slash = strrchr(path, '/');
  if (!slash) return NULL;
  int length = snprintf(found, PATH_MAX, "%.*s%s", (int)(slash + 1 - path), path, relative);
  if (length < 0 || length >= PATH_MAX || access(found, R_OK) != 0) return NULL;
  return open_library(found);
}

#define CPU_LIBRARY "libapnn-cpu.so"

static void *find_cpu_library(char found[PATH_MAX]) {
  static const char *const places[] = {CPU_LIBRARY, "../lib/" CPU_LIBRARY};
  char program[PATH_MAX];
  ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
  program[length > 0 ? length : 0] = 0;
  Dl_info here;
  const char *own = dladdr((void *)(uintptr_t)apnn_driver_open_cpu, &here) && here.dli_fname ? here.dli_fname : "";
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    void *library = open_beside(own, places[i], found);
    if (!library) library = open_beside(program, places[i], found);
    if (library) return library;
  }
  snprintf(found, PATH_MAX, "%s", CPU_LIBRARY);
  return open_library(found);
}

ApnnStatus apnn_driver_open_cpu(ApnnDriver *driver, ErrorText *error) {
  memset(driver, 0, sizeof *driver);
  driver->is_cpu = true;
  char found[PATH_MAX];
  const char *chosen = getenv("APNN_CPU_DEVICE");
  if (chosen && *chosen) {
    void *library = open_library(chosen);
    if (!library) return apnn_fail(error, APNN_ERROR_DRIVER, "APNN_CPU_DEVICE: %s", dlerror());
    return finish_open(driver, library, chosen, error);
  }
  void *library = find_cpu_library(found);
  if (!library)
    return apnn_fail(error, APNN_ERROR_DRIVER, "no CPU device: %s (APNN_CPU_DEVICE may give its path)", dlerror());
  return finish_open(driver, library, found, error);
}

void apnn_driver_close(ApnnDriver *driver) {
  if (driver->library) dlclose(driver->library);
  driver->library = NULL;
}

ApnnStatus apnn_driver_check(const ApnnDriver *driver, CuResult result, ErrorText *error, const char *what, ...) {
  if (result == CU_SUCCESS) return APNN_OK;
  va_list arguments;
  va_start(arguments, what);
  apnn_fail_list(error, APNN_ERROR_DEVICE, what, arguments);
  va_end(arguments);
  const char *name = NULL, *text = NULL;
  if (driver->error_name(result, &name) == CU_SUCCESS && name) {
    apnn_error_append(error, ": ");
    apnn_error_append(error, name);
  }
  const char *own = driver->cpu_last_error ? driver->cpu_last_error() : NULL;
  if (own && *own)
    text = own;
  else if (driver->error_string(result, &text) != CU_SUCCESS)
    text = NULL;
  if (text) {
    apnn_error_append(error, ": ");
    apnn_error_append(error, text);
  }
  return result == CU_ERROR_OUT_OF_MEMORY ? APNN_ERROR_MEMORY : APNN_ERROR_DEVICE;
}

bool apnn_driver_has_graphs(const ApnnDriver *d) {
  return !d->is_cpu && d->capture_begin && d->capture_end && d->graph_instantiate && d->graph_launch &&
         d->graph_exec_destroy && d->graph_destroy;
}
