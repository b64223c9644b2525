/* Operations over the last dimension, row by row. */
#include "eval.h"
#include "exact.h"
#include <math.h>

static size_t row_count(const Eval *e) {
  const Type *x = e->in[0].type;
  return (size_t)(type_elements(x) / type_channels(x)) * image_count(x, e->batch);
}

/* The least index whose element no other exceeds; a later element wins by being greater, which a NaN never is. */
static int32_t greatest_real(const float *row, int32_t channels) {
  int32_t best = 0;
  for (int32_t c = 1; c < channels; c++)
    if (row[c] > row[best]) best = c;
  return best;
}

static int32_t greatest_integer(const Type *t, const void *data, size_t first, int32_t channels) {
  int32_t best = 0, most = dense_integer(t, data, first);
  for (int32_t c = 1; c < channels; c++) {
    int32_t q = dense_integer(t, data, first + (size_t)c);
    if (q <= most) continue;
    most = q;
    best = c;
  }
  return best;
}

void eval_argmax(const Eval *e) {
  const Type *x = e->in[0].type;
  int32_t channels = type_channels(x), *out = e->out;
  size_t rows = row_count(e);
  for (size_t r = 0; r < rows; r++) {
    size_t first = r * (size_t)channels;
    out[r] = x->kind == ELEM_F32 ? greatest_real((const float *)e->in[0].data + first, channels)
                                 : greatest_integer(x, e->in[0].data, first, channels);
  }
}

static void softmax_row(const float *x, int32_t channels, float *out) {
  float most = -INFINITY, sum = 0;
  for (int32_t c = 0; c < channels; c++) most = exact_max(most, x[c]);
  for (int32_t c = 0; c < channels; c++) {
    out[c] = exact_exp(exact_sub(x[c], most));
    sum = exact_add(sum, out[c]);
  }
  for (int32_t c = 0; c < channels; c++) out[c] = exact_div(out[c], sum);
}

void eval_softmax(const Eval *e) {
  int32_t channels = type_channels(e->type);
  size_t rows = row_count(e);
  for (size_t r = 0; r < rows; r++) {
    size_t first = r * (size_t)channels;
    softmax_row((const float *)e->in[0].data + first, channels, (float *)e->out + first);
  }
}
