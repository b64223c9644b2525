/* Devices by name: which driver is opened, which GPU of it, and whose context. */
#include "network.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static ApnnStatus check(const ApnnDevice *device, CuResult result, ErrorText *error, const char *what) {
  return apnn_driver_check(&device->driver, result, error, "%s", what);
}

static ApnnStatus read_attributes(ApnnDevice *device, ErrorText *error) {
  const ApnnDriver *d = &device->driver;
  int major = 0, minor = 0;
  ApnnStatus status =
      check(device, d->device_name(device->model, sizeof device->model, device->ordinal), error, "cuDeviceGetName");
  if (status == APNN_OK)
    status = check(device, d->device_attribute(&device->shared_bytes, CU_DEVICE_SHARED_BYTES_OPTIN, device->ordinal),
                   error, "cuDeviceGetAttribute");
  if (status != APNN_OK || d->is_cpu) return status;
  status = check(device, d->device_attribute(&major, CU_DEVICE_CAPABILITY_MAJOR, device->ordinal), error,
                 "cuDeviceGetAttribute");
  if (status == APNN_OK)
    status = check(device, d->device_attribute(&minor, CU_DEVICE_CAPABILITY_MINOR, device->ordinal), error,
                   "cuDeviceGetAttribute");
  device->capability = 10 * major + minor;
  return status;
}

/* Device number `index` of the open driver. APNN_ERROR_DRIVER where the driver has no such device. */
static ApnnStatus pick(ApnnDevice *device, int index, ErrorText *error) {
  const ApnnDriver *d = &device->driver;
  int count = 0;
  CuResult result = d->init(0);
  if (result == CU_SUCCESS) result = d->device_count(&count);
  if (result != CU_SUCCESS) {
    check(device, result, error, "the driver does not start");
    return result == CU_ERROR_OUT_OF_MEMORY ? APNN_ERROR_MEMORY : APNN_ERROR_DRIVER;
  }
  if (index >= count)
    return apnn_fail(error, APNN_ERROR_DRIVER, "there is no cuda:%d, this machine has %d GPU%s", index, count,
                     count == 1 ? "" : "s");
  ApnnStatus status = check(device, d->device_get(&device->ordinal, index), error, "cuDeviceGet");
  if (status != APNN_OK) return status;
  snprintf(device->name, sizeof device->name, d->is_cpu ? "cpu" : "cuda:%d", index);
  return read_attributes(device, error);
}

static ApnnStatus open_cpu(ApnnDevice *device, ErrorText *error) {
  ApnnStatus status = apnn_driver_open_cpu(&device->driver, error);
  return status == APNN_OK ? pick(device, 0, error) : status;
}

static ApnnStatus open_cuda(ApnnDevice *device, int index, ErrorText *error) {
  ApnnStatus status = apnn_driver_open_cuda(&device->driver, error);
  return status == APNN_OK ? pick(device, index, error) : status;
}

static ApnnStatus open_current(ApnnDevice *device, ErrorText *error) {
  ApnnStatus status = apnn_driver_open_cuda(&device->driver, error);
  if (status != APNN_OK) return status;
  const ApnnDriver *d = &device->driver;
  if (d->init(0) != CU_SUCCESS || d->context_current(&device->context) != CU_SUCCESS || !device->context)
    return apnn_fail(error, APNN_ERROR_DRIVER, "device \"current\": no CUDA context is current in this thread");
  status = check(device, d->context_device(&device->ordinal), error, "cuCtxGetDevice");
  if (status != APNN_OK) return status;
  snprintf(device->name, sizeof device->name, "cuda:%d", device->ordinal);
  return read_attributes(device, error);
}

/* CUDA where there is a driver with a GPU; the CPU device otherwise. */
static ApnnStatus open_default(ApnnDevice *device, ErrorText *error) {
  ApnnStatus status = open_cuda(device, 0, error);
  if (status != APNN_ERROR_DRIVER) return status;
  apnn_device_close(device);
  memset(device, 0, sizeof *device);
  return open_cpu(device, error);
}

/* The number behind "cuda:", or -1. */
static int cuda_index(const char *spec) {
  if (strcmp(spec, "cuda") == 0) return 0;
  const char *digits = spec + 5;
  if (strncmp(spec, "cuda:", 5) != 0 || *digits < '0' || *digits > '9') return -1;
  char *end;
  errno = 0;
  long index = strtol(digits, &end, 10);
  return *end || errno || index > INT_MAX ? -1 : (int)index;
}

static ApnnStatus open_spec(ApnnDevice *device, const char *spec, ErrorText *error) {
  if (!spec) return open_default(device, error);
  if (strcmp(spec, "cpu") == 0) return open_cpu(device, error);
  if (strcmp(spec, "current") == 0) return open_current(device, error);
  int index = cuda_index(spec);
  if (index < 0)
    return apnn_fail(error, APNN_ERROR_ARGUMENT, "unknown device \"%s\": expected cpu, cuda:0, cuda:1, ... or current",
                     spec);
  return open_cuda(device, index, error);
}

ApnnStatus apnn_device_open(ApnnDevice *device, const char *spec, ErrorText *error) {
  memset(device, 0, sizeof *device);
  ApnnStatus status = open_spec(device, spec, error);
  if (status != APNN_OK) apnn_device_close(device);
  return status;
}

ApnnStatus apnn_device_retain(ApnnDevice *device, ErrorText *error) {
  if (device->context) return APNN_OK;
  ApnnStatus status = check(device, device->driver.primary_retain(&device->context, device->ordinal), error,
                            "cuDevicePrimaryCtxRetain");
  device->owns_primary = status == APNN_OK;
  return status;
}

void apnn_device_close(ApnnDevice *device) {
  if (device->owns_primary) device->driver.primary_release(device->ordinal);
  device->owns_primary = false;
  device->context = NULL;
  apnn_driver_close(&device->driver);
}

ApnnStatus apnn_device_enter(const ApnnDevice *device, ErrorText *error) {
  return check(device, device->driver.context_push(device->context), error, "cuCtxPushCurrent");
}

void apnn_device_leave(const ApnnDevice *device) {
  CuContext popped;
  device->driver.context_pop(&popped);
}
