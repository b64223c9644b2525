/* Types of operations that move elements or reduce the last dimension. Per-channel scales follow the elements: where
 * the last dimension changes, the result gets scales of its own. */
#include "infer.h"
#include <string.h>

/* --- concat --- */

static const Type *concat_operand(const Inference *in, int32_t channel, int32_t *inner) {
  for (uint32_t i = 0; i < in->count; i++) {
    int32_t channels = type_channels(in->operands[i]);
    if (channel < channels) {
      *inner = channel;
      return in->operands[i];
    }
    channel -= channels;
  }
  *inner = 0;
  return in->operands[0];
}

static float concat_scale(const Inference *in, int32_t channel) {
  int32_t inner;
  const Type *t = concat_operand(in, channel, &inner);
  return type_scale(in->graph, t, inner);
}

/* Whether every element keeps its meaning under the first operand's scale(s). */
static bool same_scales(const Inference *in, const Type *a, const Type *b) {
  const float *left = type_scales(in->graph, a), *right = type_scales(in->graph, b);
  if (!left && !right) return a->kind == ELEM_F32 || a->scale == b->scale;
  return left && right && type_scale_channels(a) == type_scale_channels(b) &&
         !memcmp(left, right, sizeof(float) * (size_t)type_scale_channels(a));
}

static bool concat_fits(const Inference *in, uint32_t index) {
  const Type *a = in->operands[0], *b = in->operands[index];
  if (a->rank != b->rank || a->batched != b->batched) return false;
  for (int i = 0; i < a->rank; i++)
    if (i != in->attrs->axis && a->dim[i] != b->dim[i]) return false;
  return true;
}

static bool concat_rejects_shape(Inference *in, uint32_t index) {
  Context *c = in->context;
  diag(c, DIAG_SHAPE_MISMATCH, in->loc, in->name);
  diag_expected(c, "equal dimensions but for number %d", in->attrs->axis);
  diag_seen(c, "%s and %s", shape_string(c, in->operands[0]), shape_string(c, in->operands[index]));
  return false;
}

bool infer_concat(Inference *in) {
  const Type *a = in->operands[0];
  int32_t axis = in->attrs->axis;
  int64_t size = 0;
  bool per_channel = a->scales != NO_VALUE, last = axis == a->rank - 1;
  if (!infer_range(in, axis >= 0 && axis < a->rank, "axis", "a dimension of the operands, counted from 0"))
    return false;
  for (uint32_t i = 0; i < in->count; i++) {
    const Type *b = in->operands[i];
    if (!concat_fits(in, i)) return concat_rejects_shape(in, i);
    bool same = a->kind == b->kind && a->bits == b->bits && a->zero2 == b->zero2;
    if (per_channel && last)
      same = same && b->scales != NO_VALUE;
    else
      same = same && same_scales(in, a, b);
    if (!same)
      return infer_reject_operand(in, i, type_string(in->context, in->graph, a),
                                  "quantize all to one type, or dequantize all");
    size += b->dim[axis];
  }
  if (!infer_range(in, size <= INT32_MAX, "axis", "a smaller result")) return false;
  infer_same_as(in, a);
  in->result->dim[axis] = (int32_t)size;
  return per_channel && last ? infer_scales(in, true, concat_scale) : true;
}

/* --- other shapes of the same elements --- */

static float tiled_scale(const Inference *in, int32_t channel) {
  return type_scale(in->graph, in->operands[0], channel % type_channels(in->operands[0]));
}

static float channel_major_scale(const Inference *in, int32_t channel) {
  const Type *x = in->operands[0];
  return type_scale(in->graph, x, channel / (int32_t)(type_elements(x) / type_channels(x)));
}

bool infer_flatten(Inference *in) {
  const Type *x = in->operands[0];
  infer_same_as(in, x);
  in->result->rank = 1;
  memset(in->result->dim, 0, sizeof in->result->dim);
  in->result->dim[0] = (int32_t)type_elements(x);
  if (x->scales == NO_VALUE || type_elements(x) == type_channels(x)) return true;
  return infer_scales(in, true, in->attrs->chw ? channel_major_scale : tiled_scale);
}

bool infer_reshape(Inference *in) {
  const Type *x = in->operands[0];
  Type wanted = *in->result;
  Context *c = in->context;
  wanted.kind = ELEM_F32;
  wanted.bits = 32;
  wanted.layout = (Layout){0};
  wanted.batched = x->batched;
  if (type_problem(in->graph, &wanted) || type_elements(&wanted) != type_elements(x)) {
    diag(c, DIAG_SHAPE_MISMATCH, in->loc, in->name);
    diag_expected(c, "a shape of %lld elements, for %s", (long long)type_elements(x), shape_string(c, x));
    diag_seen(c, "%s", shape_string(c, &wanted));
    return false;
  }
  infer_same_as(in, x);
  in->result->rank = wanted.rank;
  memset(in->result->dim, 0, sizeof in->result->dim);
  memcpy(in->result->dim, wanted.dim, sizeof(int32_t) * wanted.rank);
  int32_t from = type_scale_channels(x), to = type_scale_channels(in->result);
  if (x->scales == NO_VALUE || from == to) return true;
  if (x->batched && to % from == 0) return infer_scales(in, true, tiled_scale);
  return infer_reject_operand(in, 0, "one scale, or a shape whose last dimension is a multiple of the channels",
                              "dequantize it first");
}

bool infer_copy(Inference *in) {
  return infer_same_as(in, in->operands[0]);
}

/* --- over the last dimension --- */

bool infer_softmax(Inference *in) {
  return infer_real_operand(in, 0) && infer_same_as(in, in->operands[0]);
}

bool infer_argmax(Inference *in) {
  const Type *x = in->operands[0];
  static const int32_t one[] = {1};
  if (x->scales != NO_VALUE && type_is_integer(x))
    return infer_reject_operand(in, 0, "f32, or integers of one scale", "put dequantize in front");
  if (x->rank == 1)
    *in->result = type_make(ELEM_I32, 32, x->batched, 1, one);
  else
    *in->result = type_make(ELEM_I32, 32, x->batched, x->rank - 1, x->dim);
  return true;
}
