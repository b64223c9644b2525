/* Pooling: windows in row-major order over the pixels inside the image. Padding never wins a maximum and adds nothing
 * to an average, but counts. */
#include "eval.h"
#include "exact.h"
#include <math.h>

typedef struct Window { /* rows y0 .. y1 - 1 and columns x0 .. x1 - 1 of the image */
  int32_t y0, y1, x0, x1;
} Window;

static int32_t clamp(int64_t v, int32_t most) {
  return (int32_t)(v < 0 ? 0 : v > most ? most : v);
}

static Window window_at(const Attrs *a, const int32_t *dim, int32_t row, int32_t column) {
  int64_t top = (int64_t)row * a->stride[0] - a->pad[0], left = (int64_t)column * a->stride[1] - a->pad[1];
  return (Window){clamp(top, dim[0]), clamp(top + a->kernel[0], dim[0]), clamp(left, dim[1]),
                  clamp(left + a->kernel[1], dim[1])};
}

/* The result's element of one window and channel; `image` is the operand's image. */
typedef void (*Pool)(const Eval *e, const void *image, Window w, int32_t channel, void *out, size_t at);

static size_t element_index(const Type *x, int32_t row, int32_t column, int32_t channel) {
  return ((size_t)row * (size_t)x->dim[1] + (size_t)column) * (size_t)x->dim[2] + (size_t)channel;
}

#define EACH_PIXEL(w, i, x, channel)                                                                                   \
  for (int32_t row_ = (w).y0; row_ < (w).y1; row_++)                                                                   \
    for (size_t i = element_index(x, row_, (w).x0, channel), end_ = element_index(x, row_, (w).x1, channel); i < end_; \
         i += (size_t)(x)->dim[2])

static void max_integer(const Eval *e, const void *image, Window w, int32_t channel, void *out, size_t at) {
  const Type *x = e->in[0].type;
  int32_t most = INT32_MIN;
  EACH_PIXEL(w, i, x, channel) {
    int32_t q = dense_integer(x, image, i);
    if (q > most) most = q;
  }
  store_integer(e->type, out, at, most);
}

static void max_real(const Eval *e, const void *image, Window w, int32_t channel, void *out, size_t at) {
  float most = -INFINITY;
  EACH_PIXEL(w, i, e->in[0].type, channel) most = exact_max(most, ((const float *)image)[i]);
  ((float *)out)[at] = most;
}

static void sum_integer(const Eval *e, const void *image, Window w, int32_t channel, void *out, size_t at) {
  const Type *x = e->in[0].type;
  uint32_t sum = 0;
  EACH_PIXEL(w, i, x, channel) sum += (uint32_t)dense_level(x, image, i);
  ((int32_t *)out)[at] = (int32_t)sum;
}

static void average_real(const Eval *e, const void *image, Window w, int32_t channel, void *out, size_t at) {
  float sum = 0, count = (float)((int64_t)e->attrs->kernel[0] * e->attrs->kernel[1]);
  EACH_PIXEL(w, i, e->in[0].type, channel) sum = exact_add(sum, ((const float *)image)[i]);
  ((float *)out)[at] = exact_div(sum, count);
}

static void pool_image(const Eval *e, Pool pool, const void *image, void *out) {
  const int32_t *dim = e->type->dim;
  size_t at = 0;
  for (int32_t row = 0; row < dim[0]; row++)
    for (int32_t column = 0; column < dim[1]; column++) {
      Window w = window_at(e->attrs, e->in[0].type->dim, row, column);
      for (int32_t channel = 0; channel < dim[2]; channel++) pool(e, image, w, channel, out, at++);
    }
}

static void pool_images(const Eval *e, Pool pool) {
  for (uint32_t n = 0; n < image_count(e->type, e->batch); n++)
    pool_image(e, pool, image_at(&e->in[0], n), result_at(e, n));
}

void eval_maxpool(const Eval *e) {
  pool_images(e, e->type->kind == ELEM_F32 ? max_real : max_integer);
}
void eval_avgpool(const Eval *e) {
  pool_images(e, e->type->kind == ELEM_F32 ? average_real : sum_integer);
}
