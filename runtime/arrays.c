/* Arrays of apnn-run: reading, checking, cutting into pieces, writing. */
#include "arrays.h"

#include "tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct ElementType {
  char kind;
  int bytes;
  const char *name;
} ElementType;

static const ElementType element_types[] = {
    [APNN_UINT] = {'u', 1, "uint8"},
    [APNN_INT] = {'i', 1, "int8"},
    [APNN_I32] = {'i', 4, "int32"},
    [APNN_F32] = {'f', 4, "float32"},
};

static bool shape_matches(const Npy *npy, const ApnnTensorInfo *info) {
  if (npy->rank != info->rank + 1) return false;
  for (int i = 0; i < info->rank; i++)
    if (npy->dims[i + 1] != info->dims[i]) return false;
  return true;
}

/* The array's dtype and shape for messages, in numpy's words: "float64 [3, 8, 8]". */
static void describe(const Npy *npy, char *text, size_t bytes) {
  const char *kind = npy->kind == 'u' ? "uint" : npy->kind == 'i' ? "int" : npy->kind == 'f' ? "float" : NULL;
  int used = kind ? snprintf(text, bytes, "%s%d [", kind, 8 * npy->item_bytes) : snprintf(text, bytes, "bool [");
  for (int i = 0; i < npy->rank; i++)
    used += snprintf(text + used, bytes - (size_t)used, "%s%lld", i ? ", " : "", (long long)npy->dims[i]);
  snprintf(text + used, bytes - (size_t)used, "]");
}

static ApnnStatus check_range(const Npy *npy, const ApnnTensorInfo *info, const char *path, ErrorText *error) {
  if (info->elem != APNN_UINT && info->elem != APNN_INT) return APNN_OK;
  for (size_t i = 0; i < npy->items; i++) {
    int q = info->elem == APNN_UINT ? ((const uint8_t *)npy->data)[i] : ((const int8_t *)npy->data)[i];
    if (q < info->q_min || q > info->q_max)
      return apnn_fail(error, APNN_ERROR_FORMAT, "%s: element %zu of image %zu is %d, input %s takes %d to %d", path,
                       i % tool_elements(info), i / tool_elements(info), q, info->name, info->q_min, info->q_max);
  }
  return APNN_OK;
}

static ApnnStatus check_input(const Npy *npy, const ApnnTensorInfo *info, const char *path, ErrorText *error) {
  const ElementType *type = &element_types[info->elem];
  char wanted[256], got[256];
  tool_type_text(info, wanted, sizeof wanted);
  describe(npy, got, sizeof got);
  if (npy->kind != type->kind || npy->item_bytes != type->bytes || !shape_matches(npy, info))
    return apnn_fail(error, APNN_ERROR_FORMAT, "%s: input %s is %s and takes %s with the batch in front, got %s", path,
                     info->name, wanted, type->name, got);
  if (npy->dims[0] < 1) return apnn_fail(error, APNN_ERROR_FORMAT, "%s: no images", path);
  return check_range(npy, info, path, error);
}

static ApnnStatus read_inputs(Arrays *a, const char *const *paths, ErrorText *error) {
  ApnnTensorInfo info;
  ApnnStatus status = APNN_OK;
  for (int i = 0; status == APNN_OK && i < a->input_count; i++) {
    apnn_input_info(a->network, i, &info);
    status = npy_read(paths[i], &a->inputs[i], error);
    if (status == APNN_OK) status = check_input(&a->inputs[i], &info, paths[i], error);
    if (status == APNN_OK && i && a->inputs[i].dims[0] != a->images)
      status = apnn_fail(error, APNN_ERROR_FORMAT, "%s: %lld images, %s has %lld", paths[i],
                         (long long)a->inputs[i].dims[0], paths[0], (long long)a->images);
    if (status == APNN_OK) a->images = a->inputs[i].dims[0];
  }
  return status;
}

static ApnnStatus allocate_outputs(Arrays *a, ErrorText *error) {
  ApnnTensorInfo info;
  for (int i = 0; i < a->output_count; i++) {
    apnn_output_info(a->network, i, &info);
    a->outputs[i] = calloc((size_t)a->images, info.image_bytes);
    if (!a->outputs[i])
      return apnn_fail(error, APNN_ERROR_MEMORY, "out of memory for %lld images of %s", (long long)a->images,
                       info.name);
  }
  return APNN_OK;
}

ApnnStatus arrays_open(const ApnnNetwork *network, const char *const *paths, Arrays *a, ErrorText *error) {
  memset(a, 0, sizeof *a);
  a->network = network;
  a->input_count = apnn_input_count(network);
  a->output_count = apnn_output_count(network);
  size_t inputs = (size_t)a->input_count, outputs = (size_t)a->output_count;
  a->inputs = calloc(inputs, sizeof *a->inputs);
  a->outputs = calloc(outputs, sizeof *a->outputs);
  a->piece_inputs = calloc(inputs, sizeof *a->piece_inputs);
  a->piece_outputs = calloc(outputs, sizeof *a->piece_outputs);
  ApnnStatus status;
  if (!a->inputs || !a->outputs || !a->piece_inputs || !a->piece_outputs)
    status = apnn_fail(error, APNN_ERROR_MEMORY, "out of memory");
  else
    status = read_inputs(a, paths, error);
  if (status == APNN_OK) status = allocate_outputs(a, error);
  if (status != APNN_OK) arrays_free(a);
  return status;
}

void arrays_free(Arrays *a) {
  for (int i = 0; a->inputs && i < a->input_count; i++) npy_free(&a->inputs[i]);
  for (int i = 0; a->outputs && i < a->output_count; i++) free(a->outputs[i]);
  free(a->inputs);
  free(a->outputs);
  free(a->piece_inputs);
  free(a->piece_outputs);
  memset(a, 0, sizeof *a);
}

void arrays_piece(Arrays *a, int64_t first) {
  ApnnTensorInfo info;
  for (int i = 0; i < a->input_count; i++) {
    apnn_input_info(a->network, i, &info);
    a->piece_inputs[i] = (const char *)a->inputs[i].data + (size_t)first * info.image_bytes;
  }
  for (int i = 0; i < a->output_count; i++) {
    apnn_output_info(a->network, i, &info);
    a->piece_outputs[i] = (char *)a->outputs[i] + (size_t)first * info.image_bytes;
  }
}

ApnnStatus arrays_write(const Arrays *a, int index, const char *path, ErrorText *error) {
  ApnnTensorInfo info;
  apnn_output_info(a->network, index, &info);
  const ElementType *type = &element_types[info.elem];
  Npy npy = {.kind = type->kind, .item_bytes = type->bytes, .rank = info.rank + 1, .data = a->outputs[index]};
  npy.dims[0] = a->images;
  for (int i = 0; i < info.rank; i++) npy.dims[i + 1] = info.dims[i];
  return npy_write(path, &npy, error);
}

/* --- labels --- */

static double element_at(const void *data, ApnnElem elem, size_t index) {
  switch (elem) {
  case APNN_UINT:
    return ((const uint8_t *)data)[index];
  case APNN_INT:
    return ((const int8_t *)data)[index];
  case APNN_I32:
    return ((const int32_t *)data)[index];
  case APNN_F32:
    return (double)((const float *)data)[index];
  }
  return 0;
}

static int64_t class_of(const Arrays *a, const ApnnTensorInfo *info, int64_t image) {
  size_t elements = tool_elements(info), best = 0;
  const char *data = (const char *)a->outputs[0] + (size_t)image * info->image_bytes;
  if (elements == 1) return ((const int32_t *)(const void *)data)[0];
  for (size_t i = 1; i < elements; i++)
    if (element_at(data, info->elem, i) > element_at(data, info->elem, best)) best = i;
  return (int64_t)best;
}

/* An integer of the labels; they may be unaligned. */
static int64_t label_at(const Npy *npy, size_t index) {
  int64_t value = 0;
  size_t bytes = (size_t)npy->item_bytes;
  memcpy(&value, (const char *)npy->data + index * bytes, bytes);
  if (npy->kind == 'i' && bytes < 8 && value >> (8 * bytes - 1)) value -= INT64_C(1) << (8 * bytes);
  return value;
}

static ApnnStatus check_labels(const Arrays *a, const Npy *npy, const ApnnTensorInfo *info, const char *path,
                               ErrorText *error) {
  size_t classes = tool_elements(info);
  if (classes == 1 && info->elem != APNN_I32)
    return apnn_fail(error, APNN_ERROR_FORMAT, "--labels: output %s is neither classes nor an argmax", info->name);
  if ((npy->kind != 'u' && npy->kind != 'i') || npy->rank != 1 || npy->dims[0] != a->images)
    return apnn_fail(error, APNN_ERROR_FORMAT, "%s: expected integers of shape [%lld], one label an image", path,
                     (long long)a->images);
  for (size_t i = 0; i < npy->items; i++) {
    int64_t label = label_at(npy, i);
    if (label < 0)
      return apnn_fail(error, APNN_ERROR_FORMAT, "%s: label %zu is %lld, classes count from 0", path, i,
                       (long long)label);
    if (classes > 1 && (uint64_t)label >= classes)
      return apnn_fail(error, APNN_ERROR_FORMAT, "%s: label %zu is %lld, output %s has classes 0 to %zu", path, i,
                       (long long)label, info->name, classes - 1);
  }
  return APNN_OK;
}

ApnnStatus arrays_compare(const Arrays *a, const char *path, int64_t *right, ErrorText *error) {
  ApnnTensorInfo info;
  Npy labels;
  *right = 0;
  apnn_output_info(a->network, 0, &info);
  ApnnStatus status = npy_read(path, &labels, error);
  if (status == APNN_OK) status = check_labels(a, &labels, &info, path, error);
  for (int64_t i = 0; status == APNN_OK && i < a->images; i++)
    *right += class_of(a, &info, i) == label_at(&labels, (size_t)i);
  npy_free(&labels);
  return status;
}
