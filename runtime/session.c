/* Sessions: made, waited for and freed. A session is complete or absent. */
#include "session.h"

#include <stdlib.h>
#include <string.h>

static ApnnStatus check(ApnnSession *s, CuResult result, const char *what) {
  return apnn_driver_check(&s->network->device.driver, result, &s->error, "%s", what);
}

static uint32_t tensor_count(const ApnnSession *s) {
  return s->network->file.header.tensor_count;
}

static ApnnStatus allocate_tables(ApnnSession *s) {
  uint32_t tensors = tensor_count(s), most = 1;
  const ApnnFile *file = &s->network->file;
  for (uint32_t i = 0; i < file->header.launch_count; i++)
    most = file->launches[i].param_count > most ? file->launches[i].param_count : most;
  s->staging = calloc(tensors, sizeof *s->staging);
  s->pointers = calloc(tensors, sizeof *s->pointers);
  s->values = calloc(most, sizeof *s->values);
  s->parameters = calloc(most, sizeof *s->parameters);
  s->graph_keys = calloc((size_t)tensors * GRAPH_SLOTS, sizeof *s->graph_keys);
  if (!s->staging || !s->pointers || !s->values || !s->parameters || !s->graph_keys)
    return apnn_fail(&s->error, APNN_ERROR_MEMORY, "out of memory for a session's tables");
  for (uint32_t i = 0; i < most; i++) s->parameters[i] = &s->values[i];
  for (int i = 0; i < GRAPH_SLOTS; i++) s->graphs[i].pointers = s->graph_keys + (size_t)i * tensors;
  return APNN_OK;
}

static ApnnStatus allocate_device(ApnnSession *s, bool own_stream) {
  const ApnnDriver *d = &s->network->device.driver;
  size_t bytes = s->network->file.header.arena_bytes;
  if (own_stream) {
    ApnnStatus status = check(s, d->stream_create(&s->stream, CU_STREAM_DEFAULT), "cuStreamCreate");
    if (status != APNN_OK) return status;
    s->owns_stream = true;
  }
  if (!bytes) return APNN_OK;
  CuPointer arena = 0;
  CuResult result = d->memory_allocate(&arena, bytes);
  if (result == CU_SUCCESS) s->arena = arena;
  return apnn_driver_check(d, result, &s->error, "cuMemAlloc(%zu bytes of arena)", bytes);
}

static ApnnStatus fill_session(ApnnSession *s, bool own_stream) {
  ApnnStatus status = allocate_tables(s);
  if (status != APNN_OK) return status;
  status = apnn_device_enter(&s->network->device, &s->error);
  if (status != APNN_OK) return status;
  status = allocate_device(s, own_stream);
  apnn_device_leave(&s->network->device);
  return status;
}

ApnnStatus apnn_session_new(ApnnNetwork *network, void *stream, ApnnSession **session, char *buffer,
                            size_t buffer_bytes) {
  ErrorText error = apnn_error_text(buffer, buffer_bytes);
  if (session) *session = NULL;
  if (!network || !session)
    return apnn_fail(&error, APNN_ERROR_ARGUMENT, "apnn_session_new: network or session is NULL");
  ApnnSession *s = calloc(1, sizeof *s);
  if (!s) return apnn_fail(&error, APNN_ERROR_MEMORY, "out of memory for a session");
  bool own = network->device.driver.is_cpu || !stream;
  atomic_fetch_add(&network->references, 1);
  s->network = network;
  s->stream = own ? NULL : stream;
  s->error = error;
  ApnnStatus status = fill_session(s, own);
  s->error = apnn_error_text(s->error_buffer, sizeof s->error_buffer);
  if (status != APNN_OK) {
    apnn_session_free(s);
    return status;
  }
  *session = s;
  return APNN_OK;
}

static void free_device_part(ApnnSession *s) {
  const ApnnDriver *d = &s->network->device.driver;
  ErrorText ignored = {NULL, 0};
  if (apnn_device_enter(&s->network->device, &ignored) != APNN_OK) return;
  if (s->owns_stream || s->stream) d->stream_synchronize(s->stream);
  apnn_graphs_free(s);
  for (uint32_t i = 0; s->staging && i < tensor_count(s); i++)
    if (s->staging[i]) d->memory_free(s->staging[i]);
  if (s->arena) d->memory_free(s->arena);
  if (s->owns_stream) d->stream_destroy(s->stream);
  apnn_device_leave(&s->network->device);
}

void apnn_session_free(ApnnSession *s) {
  if (!s) return;
  free_device_part(s);
  free(s->staging);
  free(s->pointers);
  free(s->values);
  free(s->parameters);
  free(s->graph_keys);
  apnn_network_release(s->network);
  free(s);
}

const char *apnn_session_error(const ApnnSession *s) {
  return s->error_buffer;
}

ApnnStatus apnn_session_wait(ApnnSession *s) {
  if (!s) return APNN_ERROR_ARGUMENT;
  s->error = apnn_error_text(s->error_buffer, sizeof s->error_buffer);
  ApnnStatus status = apnn_device_enter(&s->network->device, &s->error);
  if (status != APNN_OK) return status;
  status = check(s, s->network->device.driver.stream_synchronize(s->stream), "cuStreamSynchronize");
  apnn_device_leave(&s->network->device);
  return status;
}
