/* Operations that move elements without changing them. */
#include "eval.h"

void eval_copy(const Eval *e) {
  memcpy(e->out, e->in[0].data, type_dense_bytes(e->type) * image_count(e->type, e->batch));
}

void eval_reshape(const Eval *e) {
  eval_copy(e);
}

/* [pixels][channels] -> [channels][pixels]. */
static void channel_major(const Type *x, const char *from, char *to) {
  size_t size = type_element_bytes(x), channels = (size_t)type_channels(x),
         pixels = (size_t)type_elements(x) / channels;
  for (size_t c = 0; c < channels; c++)
    for (size_t p = 0; p < pixels; p++, to += size) memcpy(to, from + (p * channels + c) * size, size);
}

void eval_flatten(const Eval *e) {
  if (!e->attrs->chw) {
    eval_copy(e);
    return;
  }
  for (uint32_t n = 0; n < image_count(e->type, e->batch); n++)
    channel_major(e->in[0].type, image_at(&e->in[0], n), result_at(e, n));
}

/* Bytes of one run along `axis` and all later dimensions. */
static size_t run_bytes(const Type *t, int32_t axis) {
  size_t bytes = type_element_bytes(t);
  for (int i = axis; i < t->rank; i++) bytes *= (size_t)t->dim[i];
  return bytes;
}

void eval_concat(const Eval *e) {
  int32_t axis = e->attrs->axis;
  size_t runs = type_dense_bytes(e->type) / run_bytes(e->type, axis) * image_count(e->type, e->batch);
  char *to = e->out;
  for (size_t run = 0; run < runs; run++)
    for (uint32_t i = 0; i < e->count; i++) {
      size_t bytes = run_bytes(e->in[i].type, axis);
      memcpy(to, (const char *)e->in[i].data + run * bytes, bytes);
      to += bytes;
    }
}

void eval_upsample(const Eval *e) {
  const Type *x = e->in[0].type;
  const int32_t *dim = e->type->dim, *factor = e->attrs->factor;
  size_t bytes = run_bytes(x, 2);
  char *to = e->out;
  for (uint32_t n = 0; n < image_count(e->type, e->batch); n++) {
    const char *image = image_at(&e->in[0], n);
    for (int32_t row = 0; row < dim[0]; row++)
      for (int32_t column = 0; column < dim[1]; column++, to += bytes) {
        size_t pixel = (size_t)(row / factor[0]) * (size_t)x->dim[1] + (size_t)(column / factor[1]);
        memcpy(to, image + pixel * bytes, bytes);
      }
  }
}
