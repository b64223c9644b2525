/* Loading: the file is parsed and checked whole, then the device is chosen and held against it, and only then is
 * anything allocated there. A network is complete or absent. */
#include "network.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATIC_SHARED_BYTES = 48 * 1024 }; /* what a block has without asking */

static ApnnStatus check(const ApnnNetwork *n, CuResult result, ErrorText *error, const char *what) {
  return apnn_driver_check(&n->device.driver, result, error, "%s", what);
}

/* Load a module; what the driver's JIT says of PTX goes behind the error. */
static ApnnStatus load_image(ApnnNetwork *n, const void *image, bool is_ptx, ErrorText *error) {
  char log[2048] = "";
  static const int options[] = {CU_JIT_ERROR_LOG, CU_JIT_ERROR_LOG_BYTES};
  void *values[] = {log, (void *)(uintptr_t)(sizeof log - 1)};
  unsigned count = is_ptx && !n->device.driver.is_cpu ? 2 : 0;
  CuResult result = n->device.driver.module_load(&n->module, image, count, options, values);
  ApnnStatus status = check(n, result, error, "the driver does not load the image");
  if (status != APNN_OK && log[0]) {
    apnn_error_append(error, ": ");
    apnn_error_append(error, log);
  }
  return status;
}

static ApnnStatus load_ptx_file(ApnnNetwork *n, ErrorText *error) {
  size_t bytes = n->file.header.image_bytes;
  char *text = malloc(bytes + 1);
  if (!text) return apnn_fail(error, APNN_ERROR_MEMORY, "out of memory for %zu bytes of PTX", bytes);
  memcpy(text, n->file.image, bytes);
  text[bytes] = 0;
  ApnnStatus status = load_image(n, text, true, error);
  free(text);
  return status;
}

static ApnnStatus load_module(ApnnNetwork *n, ImageChoice choice, ErrorText *error) {
  if (choice == IMAGE_PTX_FILE) return load_ptx_file(n, error);
  bool is_ptx = choice == IMAGE_PTX_BESIDE;
  return load_image(n, is_ptx ? (const void *)n->file.ptx : n->file.image, is_ptx, error);
}

static ApnnStatus find_kernel(ApnnNetwork *n, uint32_t index, ErrorText *error) {
  const ApnnDriver *d = &n->device.driver;
  const ApnnFileKernel *kernel = &n->file.kernels[index];
  const char *name = apnn_file_name(&n->file, kernel->name);
  CuResult result = d->module_function(&n->functions[index], n->module, name);
  ApnnStatus status = apnn_driver_check(d, result, error, "cuModuleGetFunction(%s)", name);
  if (status != APNN_OK || !kernel->shared_bytes) return status;
  /* Blocks that share an SM hide each other's waiting: as many as registers allow. Only a preference. */
  (void)d->function_set(n->functions[index], CU_FUNCTION_PREFERRED_SHARED_CARVEOUT, 100);
  if (kernel->shared_bytes <= STATIC_SHARED_BYTES) return status;
  result = d->function_set(n->functions[index], CU_FUNCTION_MAX_DYNAMIC_SHARED_BYTES, (int)kernel->shared_bytes);
  return apnn_driver_check(d, result, error, "kernel %s: cuFuncSetAttribute(%u bytes of shared memory)", name,
                           kernel->shared_bytes);
}

static ApnnStatus upload_constants(ApnnNetwork *n, ErrorText *error) {
  size_t bytes = n->file.header.constants_bytes;
  if (!bytes) return APNN_OK;
  const ApnnDriver *d = &n->device.driver;
  CuResult result = d->memory_allocate(&n->constants, bytes);
  if (result != CU_SUCCESS) {
    n->constants = 0;
    return apnn_driver_check(d, result, error, "cuMemAlloc(%zu bytes of constants)", bytes);
  }
  ApnnStatus status = check(n, d->copy_in(n->constants, n->file.constants, bytes), error, "cuMemcpyHtoD");
  if (status != APNN_OK) return status;
  /* A copy from pageable memory may still be on its way, and sessions' streams need not wait for the default stream. */
  return check(n, d->stream_synchronize(NULL), error, "cuStreamSynchronize");
}

static ApnnStatus fill_device(ApnnNetwork *n, ImageChoice choice, ErrorText *error) {
  ApnnStatus status = load_module(n, choice, error);
  for (uint32_t i = 0; status == APNN_OK && i < n->file.header.kernel_count; i++) status = find_kernel(n, i, error);
  return status == APNN_OK ? upload_constants(n, error) : status;
}

/* Inputs, then outputs, in file order. */
static void order_tensors(ApnnNetwork *n) {
  uint32_t count = n->file.header.tensor_count, used = 0;
  for (uint32_t role = APNN_TENSOR_INPUT; role <= APNN_TENSOR_OUTPUT; role++)
    for (uint32_t i = 0; i < count; i++)
      if (n->file.tensors[i].role == role) n->tensor_order[used++] = i;
  for (uint32_t i = 0; i < count; i++) n->input_count += n->file.tensors[i].role == APNN_TENSOR_INPUT;
  n->output_count = count - n->input_count;
}

static ApnnStatus load_parsed(ApnnNetwork *n, const char *device, ErrorText *error) {
  ImageChoice choice;
  n->functions = calloc(n->file.header.kernel_count + 1, sizeof *n->functions);
  n->tensor_order = calloc(n->file.header.tensor_count, sizeof *n->tensor_order);
  if (!n->functions || !n->tensor_order)
    return apnn_fail(error, APNN_ERROR_MEMORY, "out of memory for the network's tables");
  order_tensors(n);
  ApnnStatus status = apnn_device_open(&n->device, device, error);
  if (status == APNN_OK) status = apnn_choose_image(&n->file, &n->device, &choice, error);
  if (status == APNN_OK) status = apnn_device_retain(&n->device, error);
  if (status != APNN_OK) return status;
  status = apnn_device_enter(&n->device, error);
  if (status != APNN_OK) return status;
  status = fill_device(n, choice, error);
  apnn_device_leave(&n->device);
  return status == APNN_OK ? apnn_file_compact(&n->file, error) : status;
}

static ApnnStatus load(const void *data, size_t bytes, const char *device, ApnnNetwork **network, ErrorText *error) {
  ApnnNetwork *n = calloc(1, sizeof *n);
  if (!n) return apnn_fail(error, APNN_ERROR_MEMORY, "out of memory for the network");
  atomic_init(&n->references, 1);
  ApnnStatus status = apnn_file_parse(data, bytes, &n->file, error);
  if (status == APNN_OK) status = load_parsed(n, device, error);
  if (status == APNN_OK)
    *network = n;
  else
    apnn_network_release(n);
  return status;
}

ApnnStatus apnn_load_memory(const void *data, size_t bytes, const char *device, ApnnNetwork **network, char *buffer,
                            size_t buffer_bytes) {
  ErrorText error = apnn_error_text(buffer, buffer_bytes);
  if (!network) return apnn_fail(&error, APNN_ERROR_ARGUMENT, "apnn_load_memory: network is NULL");
  *network = NULL;
  if (!data) return apnn_fail(&error, APNN_ERROR_ARGUMENT, "apnn_load_memory: data is NULL");
  return load(data, bytes, device, network, &error);
}

ApnnStatus apnn_load_file(const char *path, const char *device, ApnnNetwork **network, char *buffer,
                          size_t buffer_bytes) {
  ErrorText error = apnn_error_text(buffer, buffer_bytes);
  if (!network) return apnn_fail(&error, APNN_ERROR_ARGUMENT, "apnn_load_file: network is NULL");
  *network = NULL;
  if (!path) return apnn_fail(&error, APNN_ERROR_ARGUMENT, "apnn_load_file: path is NULL");
  void *bytes = NULL;
  size_t size = 0;
  ApnnStatus status = apnn_file_read(path, &bytes, &size, &error);
  if (status != APNN_OK) return status;
  ErrorText behind = apnn_error_prefix(&error, path);
  status = load(bytes, size, device, network, &behind);
  free(bytes);
  if (status == APNN_OK) apnn_error_text(buffer, buffer_bytes);
  return status;
}

static void free_device_part(ApnnNetwork *n) {
  const ApnnDriver *d = &n->device.driver;
  ErrorText ignored = {NULL, 0};
  if (!n->device.context || apnn_device_enter(&n->device, &ignored) != APNN_OK) return;
  if (n->constants) d->memory_free(n->constants);
  if (n->module) d->module_unload(n->module);
  apnn_device_leave(&n->device);
}

void apnn_network_release(ApnnNetwork *n) {
  if (atomic_fetch_sub(&n->references, 1) != 1) return;
  free_device_part(n);
  apnn_device_close(&n->device);
  apnn_file_free(&n->file);
  free(n->functions);
  free(n->tensor_order);
  free(n);
}

void apnn_network_free(ApnnNetwork *network) {
  if (network) apnn_network_release(network);
}
