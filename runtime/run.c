/* A run: finds out where each of the caller's arrays lies, copies those of the host through the session's own device
 * arrays, and launches the layers one by one or as a graph. When it returns with an error, nothing writes the caller's
 * arrays any more. */
#include "session.h"

enum { DEVICE_POINTER_ALIGN = 16 };

static ApnnStatus check(ApnnSession *s, CuResult result, const char *what) {
  return apnn_driver_check(&s->network->device.driver, result, &s->error, "%s", what);
}

static uint32_t tensor_count(const ApnnSession *s) {
  return s->network->file.header.tensor_count;
}

/* The arguments of apnn_run, and whether one of the arrays is of the host. A position counts inputs, then outputs. */
typedef struct Run {
  int batch;
  const void *const *inputs;
  void *const *outputs;
  bool any_host;
} Run;

static const ApnnFileTensor *tensor_at(const ApnnSession *s, uint32_t position) {
  return &s->network->file.tensors[s->network->tensor_order[position]];
}

static const void *caller_pointer(const ApnnSession *s, const Run *run, uint32_t position) {
  uint32_t inputs = s->network->input_count;
  return position < inputs ? run->inputs[position] : run->outputs[position - inputs];
}

static const char *tensor_name(const ApnnSession *s, uint32_t position) {
  return apnn_file_name(&s->network->file, tensor_at(s, position)->name);
}

static bool is_device_pointer(const ApnnSession *s, const void *pointer) {
  unsigned type = 0;
  const ApnnDriver *d = &s->network->device.driver;
  CuResult result = d->pointer_attribute(&type, CU_POINTER_MEMORY_TYPE, (CuPointer)(uintptr_t)pointer);
  return result == CU_SUCCESS && type == CU_MEMORY_TYPE_DEVICE;
}

/* The session's own device array for a host pointer, large enough for the largest batch. */
static ApnnStatus stage(ApnnSession *s, uint32_t position, CuPointer *pointer) {
  const ApnnDriver *d = &s->network->device.driver;
  CuPointer *staging = &s->staging[s->network->tensor_order[position]];
  if (!*staging) {
    size_t bytes = tensor_at(s, position)->image_bytes * s->network->file.header.max_batch;
    CuPointer made = 0;
    CuResult result = d->memory_allocate(&made, bytes);
    if (result != CU_SUCCESS)
      return apnn_driver_check(d, result, &s->error, "cuMemAlloc(%zu bytes for %s)", bytes, tensor_name(s, position));
    *staging = made;
  }
  *pointer = *staging;
  return APNN_OK;
}

/* A device array must be aligned and reach over the whole batch, as far as the driver knows its allocation. */
static ApnnStatus check_device_array(ApnnSession *s, const Run *run, uint32_t position, CuPointer pointer) {
  const ApnnDriver *d = &s->network->device.driver;
  if (pointer % DEVICE_POINTER_ALIGN)
    return apnn_fail(&s->error, APNN_ERROR_ARGUMENT, "the device pointer for %s is not aligned to %d bytes",
                     tensor_name(s, position), DEVICE_POINTER_ALIGN);
  CuPointer base = 0;
  size_t bytes = 0, needed = tensor_at(s, position)->image_bytes * (size_t)run->batch;
  if (!d->address_range || d->address_range(&base, &bytes, pointer) != CU_SUCCESS || pointer < base) return APNN_OK;
  if (pointer - base > bytes || bytes - (pointer - base) < needed)
    return apnn_fail(&s->error, APNN_ERROR_ARGUMENT, "the device array for %s has %zu bytes, a batch of %d needs %zu",
                     tensor_name(s, position), bytes - (size_t)(pointer - base), run->batch, needed);
  return APNN_OK;
}

/* Fill session->pointers. */
static ApnnStatus place_arrays(ApnnSession *s, Run *run) {
  ApnnStatus status = APNN_OK;
  for (uint32_t i = 0; status == APNN_OK && i < tensor_count(s); i++) {
    const void *pointer = caller_pointer(s, run, i);
    CuPointer *place = &s->pointers[s->network->tensor_order[i]];
    if (!pointer)
      status = apnn_fail(&s->error, APNN_ERROR_ARGUMENT, "the pointer for %s is NULL", tensor_name(s, i));
    else if (is_device_pointer(s, pointer))
      status = check_device_array(s, run, i, *place = (CuPointer)(uintptr_t)pointer);
    else {
      run->any_host = true;
      status = stage(s, i, place);
    }
  }
  return status;
}

/* Whether the array at a position goes through the session's own array. */
static bool is_staged(const ApnnSession *s, uint32_t position) {
  uint32_t number = s->network->tensor_order[position];
  return s->staging[number] && s->pointers[number] == s->staging[number];
}

static ApnnStatus copy_inputs(ApnnSession *s, const Run *run) {
  const ApnnDriver *d = &s->network->device.driver;
  ApnnStatus status = APNN_OK;
  for (uint32_t i = 0; status == APNN_OK && i < s->network->input_count; i++)
    if (is_staged(s, i))
      status = check(s,
                     d->copy_in_async(s->pointers[s->network->tensor_order[i]], run->inputs[i],
                                      tensor_at(s, i)->image_bytes * (size_t)run->batch, s->stream),
                     "cuMemcpyHtoDAsync");
  return status;
}

static ApnnStatus copy_outputs(ApnnSession *s, const Run *run) {
  const ApnnDriver *d = &s->network->device.driver;
  uint32_t inputs = s->network->input_count;
  ApnnStatus status = APNN_OK;
  for (uint32_t i = inputs; status == APNN_OK && i < tensor_count(s); i++)
    if (is_staged(s, i))
      status = check(s,
                     d->copy_out_async(run->outputs[i - inputs], s->pointers[s->network->tensor_order[i]],
                                       tensor_at(s, i)->image_bytes * (size_t)run->batch, s->stream),
                     "cuMemcpyDtoHAsync");
  return status;
}

/* A caller's stream that is being captured takes the launches themselves into the caller's graph. */
static bool stream_is_captured(const ApnnSession *s) {
  const ApnnDriver *d = &s->network->device.driver;
  int status = CU_CAPTURE_STATUS_NONE;
  return !s->owns_stream && d->stream_is_capturing &&
         (d->stream_is_capturing(s->stream, &status) != CU_SUCCESS || status != CU_CAPTURE_STATUS_NONE);
}

static ApnnStatus launch(ApnnSession *s, const Run *run, bool captured) {
  const ApnnNetwork *n = s->network;
  if (captured || !apnn_driver_has_graphs(&n->device.driver) || n->file.header.launch_count < 2)
    return apnn_launch_all(s, run->batch, s->stream);
  bool known;
  GraphSlot *slot = apnn_graph_slot(s, run->batch, &known);
  if (!known) return apnn_launch_all(s, run->batch, s->stream);
  if (!slot->exec) {
    ApnnStatus status = apnn_graph_capture(s, run->batch, 0, n->file.header.launch_count, 1, &slot->exec);
    if (status != APNN_OK) return status;
  }
  return check(s, n->device.driver.graph_launch(slot->exec, s->stream), "cuGraphLaunch");
}

static ApnnStatus run_entered(ApnnSession *s, Run *run) {
  const ApnnDriver *d = &s->network->device.driver;
  ApnnStatus status = place_arrays(s, run);
  if (status != APNN_OK) return status;
  bool captured = stream_is_captured(s), blocking = s->owns_stream || run->any_host;
  if (captured && run->any_host)
    return apnn_fail(&s->error, APNN_ERROR_ARGUMENT,
                     "the stream is being captured: all pointers must be of the device");
  status = copy_inputs(s, run);
  if (status == APNN_OK) status = launch(s, run, captured);
  if (status == APNN_OK) status = copy_outputs(s, run);
  if (status == APNN_OK && blocking) return check(s, d->stream_synchronize(s->stream), "cuStreamSynchronize");
  if (status != APNN_OK && !captured) /* nothing may write the caller's arrays after the call */
    d->stream_synchronize(s->stream);
  return status;
}

ApnnStatus apnn_run(ApnnSession *s, int batch, const void *const *inputs, void *const *outputs) {
  if (!s) return APNN_ERROR_ARGUMENT;
  s->error = apnn_error_text(s->error_buffer, sizeof s->error_buffer);
  int most = apnn_max_batch(s->network);
  if (batch < 1 || batch > most)
    return apnn_fail(&s->error, APNN_ERROR_ARGUMENT, "the batch is %d, this network takes 1 to %d", batch, most);
  if (!inputs || !outputs) return apnn_fail(&s->error, APNN_ERROR_ARGUMENT, "apnn_run: inputs or outputs is NULL");
  Run run = {batch, inputs, outputs, false};
  ApnnStatus status = apnn_device_enter(&s->network->device, &s->error);
  if (status != APNN_OK) return status;
  status = run_entered(s, &run);
  apnn_device_leave(&s->network->device);
  return status;
}
