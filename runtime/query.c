/* What a network says of itself. */
#include "network.h"

#include <string.h>

_Static_assert((int)APNN_UINT == (int)APNN_ELEM_UINT && (int)APNN_INT == (int)APNN_ELEM_INT &&
                   (int)APNN_I32 == (int)APNN_ELEM_I32 && (int)APNN_F32 == (int)APNN_ELEM_F32,
               "ApnnElem numbers the elements as the file does");

const char *apnn_network_name(const ApnnNetwork *n) {
  return apnn_file_name(&n->file, n->file.header.network_name);
}

int apnn_max_batch(const ApnnNetwork *n) {
  return (int)n->file.header.max_batch;
}

int apnn_input_count(const ApnnNetwork *n) {
  return (int)n->input_count;
}

int apnn_output_count(const ApnnNetwork *n) {
  return (int)n->output_count;
}

const char *apnn_device_name(const ApnnNetwork *n) {
  return n->device.name;
}

size_t apnn_constant_bytes(const ApnnNetwork *n) {
  return n->file.header.constants_bytes;
}

size_t apnn_session_bytes(const ApnnNetwork *n) {
  return n->file.header.arena_bytes;
}

static void describe(const ApnnNetwork *n, uint32_t number, ApnnTensorInfo *info) {
  const ApnnFileTensor *t = &n->file.tensors[number];
  info->name = apnn_file_name(&n->file, t->name);
  info->elem = (ApnnElem)t->elem;
  info->bits = (int)t->bits;
  info->rank = (int)t->rank;
  for (uint32_t i = 0; i < 4; i++) info->dims[i] = i < t->rank ? t->dim[i] : 1;
  info->scale = t->scale;
  info->zero2 = t->zero2;
  info->q_min = t->q_min;
  info->q_max = t->q_max;
  info->image_bytes = t->image_bytes;
}

ApnnStatus apnn_input_info(const ApnnNetwork *n, int index, ApnnTensorInfo *info) {
  memset(info, 0, sizeof *info);
  if (index < 0 || (uint32_t)index >= n->input_count) return APNN_ERROR_ARGUMENT;
  describe(n, n->tensor_order[index], info);
  return APNN_OK;
}

ApnnStatus apnn_output_info(const ApnnNetwork *n, int index, ApnnTensorInfo *info) {
  memset(info, 0, sizeof *info);
  if (index < 0 || (uint32_t)index >= n->output_count) return APNN_ERROR_ARGUMENT;
  describe(n, n->tensor_order[n->input_count + (uint32_t)index], info);
  return APNN_OK;
}
