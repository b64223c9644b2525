/* The contents of a payload: names, tensors, kernels, launches and parameters, each held against what the others and
 * the header say. Guarantees that a launch's grid, block and parameters are ones a device can take, and that every
 * parameter points into the arena, the constants or a tensor. */
#include "file.h"

#include <math.h>
#include <string.h>

enum {
  MAX_THREADS = 1024,
  MAX_GRID_X = INT32_MAX,
  MAX_GRID_Y = 65535,
  MAX_SHARED_BYTES = 227 * 1024, /* the most that any architecture gives a block */
  MAX_PARAMS = 4096 / 8,         /* a kernel's parameters have 4096 bytes */
  POINTER_ALIGN = 16             /* of offsets into arena and constants */
};
static const uint64_t max_bytes = UINT64_C(1) << 44; /* of one allocation */

static ApnnStatus check_strings(const ApnnFile *file, ErrorText *error) {
  const ApnnFileHeader *h = &file->header;
  const char *strings = file->strings;
  if (!h->strings_bytes || strings[0] || strings[h->strings_bytes - 1])
    return apnn_fail(error, APNN_ERROR_FORMAT, "the table of names is not terminated");
  for (uint64_t i = 0; i < h->strings_bytes; i++)
    if ((strings[i] && (unsigned char)strings[i] < ' ') || strings[i] == 0x7f)
      return apnn_fail(error, APNN_ERROR_FORMAT, "a name holds the control character %d", strings[i]);
  return APNN_OK;
}

static bool is_name(const ApnnFile *file, uint32_t offset) {
  return offset < file->header.strings_bytes && file->strings[offset];
}

static ApnnStatus check_head(const ApnnFile *file, ErrorText *error) {
  const ApnnFileHeader *h = &file->header;
  if (!is_name(file, h->network_name)) return apnn_fail(error, APNN_ERROR_FORMAT, "the network has no name");
  if (h->arch < 50 || h->arch > 999 || h->arch_exact > 1)
    return apnn_fail(error, APNN_ERROR_FORMAT, "the GPU architecture %u is out of range", h->arch);
  if (h->max_batch < 1 || h->max_batch > INT32_MAX)
    return apnn_fail(error, APNN_ERROR_FORMAT, "the largest batch %u is out of range", h->max_batch);
  if (h->flags || h->reserved[0] || h->reserved[1] || h->reserved[2])
    return apnn_fail(error, APNN_ERROR_VERSION, "the file uses flags %#x that this libapnn does not know", h->flags);
  if (h->arena_bytes > max_bytes)
    return apnn_fail(error, APNN_ERROR_FORMAT, "the arena of %llu bytes is out of range",
                     (unsigned long long)h->arena_bytes);
  if (file->ptx && (file->is_ptx || memchr(file->ptx, 0, h->ptx_bytes) != file->ptx + h->ptx_bytes - 1))
    return apnn_fail(error, APNN_ERROR_FORMAT, "the PTX beside the image is not one terminated text");
  return APNN_OK;
}

static bool tensor_range_ok(const ApnnFileTensor *t) {
  if (t->elem == APNN_ELEM_I32 || t->elem == APNN_ELEM_F32) return t->bits == 32;
  if (t->bits < 1 || t->bits > 8) return false;
  int32_t low = t->elem == APNN_ELEM_INT ? -(1 << (t->bits - 1)) : 0, high = low + (1 << t->bits) - 1;
  return t->q_min >= low && t->q_max <= high && t->q_min <= t->q_max;
}

static bool tensor_size_ok(const ApnnFileTensor *t, uint32_t max_batch) {
  uint64_t bytes = t->elem == APNN_ELEM_I32 || t->elem == APNN_ELEM_F32 ? 4 : 1;
  if (t->rank < 1 || t->rank > 4) return false;
  for (uint32_t i = 0; i < t->rank; i++) {
    if (t->dim[i] < 1 || bytes > max_bytes / (uint64_t)t->dim[i]) return false;
    bytes *= (uint64_t)t->dim[i];
  }
  return bytes == t->image_bytes && bytes <= max_bytes / max_batch;
}

static ApnnStatus check_tensors(const ApnnFile *file, ErrorText *error) {
  uint32_t count[2] = {0, 0};
  for (uint32_t i = 0; i < file->header.tensor_count; i++) {
    const ApnnFileTensor *t = &file->tensors[i];
    if (!is_name(file, t->name) || t->role > APNN_TENSOR_OUTPUT || t->elem < APNN_ELEM_UINT || t->elem > APNN_ELEM_F32)
      return apnn_fail(error, APNN_ERROR_FORMAT, "tensor %u has no name, role or element type", i);
    const char *name = apnn_file_name(file, t->name);
    if (!tensor_range_ok(t) || !isfinite(t->scale))
      return apnn_fail(error, APNN_ERROR_FORMAT, "tensor %s: its bits, range or scale contradict its type", name);
    if (!tensor_size_ok(t, file->header.max_batch))
      return apnn_fail(error, APNN_ERROR_FORMAT, "tensor %s: its dimensions and size contradict each other", name);
    count[t->role]++;
  }
  if (!count[APNN_TENSOR_INPUT] || !count[APNN_TENSOR_OUTPUT])
    return apnn_fail(error, APNN_ERROR_FORMAT, "the network has %u inputs and %u outputs, it must have both",
                     count[APNN_TENSOR_INPUT], count[APNN_TENSOR_OUTPUT]);
  return APNN_OK;
}

static ApnnStatus check_kernels(const ApnnFile *file, ErrorText *error) {
  for (uint32_t i = 0; i < file->header.kernel_count; i++) {
    const ApnnFileKernel *k = &file->kernels[i];
    if (!is_name(file, k->name)) return apnn_fail(error, APNN_ERROR_FORMAT, "kernel %u has no name", i);
    if (k->threads < 1 || k->threads > MAX_THREADS || k->shared_bytes > MAX_SHARED_BYTES)
      return apnn_fail(error, APNN_ERROR_FORMAT, "kernel %s: %u threads and %u bytes of shared memory are out of range",
                       apnn_file_name(file, k->name), k->threads, k->shared_bytes);
    if (k->flags & ~(uint32_t)APNN_KERNEL_WAITS)
      return apnn_fail(error, APNN_ERROR_VERSION, "kernel %s uses flags %#x that this libapnn does not know",
                       apnn_file_name(file, k->name), k->flags);
  }
  return APNN_OK;
}

static bool param_ok(const ApnnFile *file, const ApnnFileParam *p) {
  const ApnnFileHeader *h = &file->header;
  if (p->reserved) return false;
  switch (p->kind) {
  case APNN_PARAM_ARENA:
    return p->value < h->arena_bytes && p->value % POINTER_ALIGN == 0;
  case APNN_PARAM_CONSTANT:
    return p->value < h->constants_bytes && p->value % POINTER_ALIGN == 0;
  case APNN_PARAM_TENSOR:
    return p->value < h->tensor_count;
  case APNN_PARAM_BATCH:
    return true;
  }
  return false;
}

static ApnnStatus check_launch(const ApnnFile *file, uint32_t index, ErrorText *error) {
  const ApnnFileHeader *h = &file->header;
  const ApnnFileLaunch *l = &file->launches[index];
  if (l->kernel >= h->kernel_count || !is_name(file, l->layer_name) || !is_name(file, l->engine_name))
    return apnn_fail(error, APNN_ERROR_FORMAT, "launch %u has no kernel or name", index);
  const char *name = apnn_file_name(file, l->layer_name);
  bool grid = l->x_mul && l->x_div && l->y && l->y <= MAX_GRID_Y &&
              ((uint64_t)h->max_batch * l->x_mul + l->x_div - 1) / l->x_div <= MAX_GRID_X;
  if (!grid)
    return apnn_fail(error, APNN_ERROR_FORMAT, "layer %s: its grid (batch * %u / %u, %u) is out of range", name,
                     l->x_mul, l->x_div, l->y);
  if (l->first_param > h->param_count || l->param_count > h->param_count - l->first_param ||
      l->param_count > MAX_PARAMS)
    return apnn_fail(error, APNN_ERROR_FORMAT, "layer %s: its parameters are outside their table", name);
  for (uint32_t i = 0; i < l->param_count; i++)
    if (!param_ok(file, &file->params[l->first_param + i]))
      return apnn_fail(error, APNN_ERROR_FORMAT, "layer %s: parameter %u points outside its memory or is misaligned",
                       name, i);
  return APNN_OK;
}

ApnnStatus apnn_file_check_tables(const ApnnFile *file, ErrorText *error) {
  ApnnStatus status = check_strings(file, error);
  if (status == APNN_OK) status = check_head(file, error);
  if (status == APNN_OK) status = check_tensors(file, error);
  if (status == APNN_OK) status = check_kernels(file, error);
  if (status == APNN_OK && !file->header.launch_count)
    status = apnn_fail(error, APNN_ERROR_FORMAT, "the network launches nothing");
  for (uint32_t i = 0; status == APNN_OK && i < file->header.launch_count; i++) status = check_launch(file, i, error);
  return status;
}
