/* The scales of a type, which may stand in a constant of the graph, and the rules that every type obeys. */
#include "ir.h"
#include <float.h>
#include <math.h>

const float *type_scales(const Graph *g, const Type *t) {
  return t->scales == NO_VALUE ? NULL : g->values[t->scales].data;
}

float type_scale(const Graph *g, const Type *t, int32_t channel) {
  const float *scales = type_scales(g, t);
  return scales ? scales[channel] : t->scale;
}

float type_step(const Graph *g, const Type *t, int32_t channel) {
  float scale = type_scale(g, t, channel);
  return type_level_map(t).mult == 2 ? scale * 0.5f : scale;
}

int32_t type_scale_channels(const Type *t) {
  return t->batched ? type_channels(t) : t->rank ? t->dim[0] : 1;
}

static bool good_scale(float scale) {
  return scale >= 2 * FLT_MIN && scale <= FLT_MAX;
}

static const char *bits_problem(const Type *t) {
  switch (t->kind) {
  case ELEM_UINT:
    return t->bits >= 1 && t->bits <= 8 ? NULL : "unsigned elements have 1 to 8 bits";
  case ELEM_INT:
    return t->bits >= 2 && t->bits <= 8 ? NULL : "signed elements have 2 to 8 bits";
  case ELEM_TERNARY:
    return t->bits == 2 ? NULL : "ternary elements have 2 bits";
  case ELEM_I32:
  case ELEM_F32:
    return t->bits == 32 ? NULL : "i32 and f32 elements have 32 bits";
  default:
    return "it has no element type";
  }
}

static const char *shape_problem(const Type *t) {
  if (t->rank < 1 || t->rank > MAX_RANK) return "tensors have 1 to 4 dimensions (the batch not counted)";
  int64_t elements = 1;
  for (int i = 0; i < t->rank; i++) {
    if (t->dim[i] < 1) return "every dimension must be at least 1";
    elements *= t->dim[i];
    if (elements > INT32_MAX) return "a tensor has at most 2147483647 elements (the batch not counted)";
  }
  return NULL;
}

static const char *scales_problem(const Graph *g, const Type *t) {
  if (!g || t->scales >= g->value_count) return "its per-channel scales are not a value of the graph";
  const Value *v = &g->values[t->scales];
  const float *scale = v->data;
  if (v->kind != VALUE_CONST || v->type.kind != ELEM_F32 || v->type.rank != 1 || !scale)
    return "its per-channel scales are not a constant f32 vector";
  if (v->type.dim[0] != type_scale_channels(t)) return "it has not as many per-channel scales as channels";
  for (int32_t i = 0; i < v->type.dim[0]; i++)
    if (!good_scale(scale[i])) return "a per-channel scale is not a positive, finite, normal number";
  return NULL;
}

static const char *pieces_problem(const Type *t) {
  const Layout *l = &t->layout;
  Image image = type_image(t);
  uint64_t rows_end = (uint64_t)l->row_pitch * (uint64_t)image.height;
  if (!layout_is_pieces(*l))
    return l->row_pitch || l->image_pitch ? "only pieces have a pitch of rows and images" : NULL;
  uint32_t block = l->kind == LAYOUT_PLANES ? 128 : layout_byte_block(l->pitch);
  if (l->kind == LAYOUT_WORDS || l->pitch % layout_piece_channels(*l) || l->block != block)
    return "pieces are 128 channels of a bit plane or 16 of bytes";
  if (l->row_pitch < (uint32_t)image.width || l->image_pitch < rows_end) return "its pixels do not fit its pitches";
  return l->positions % l->image_pitch ? "its positions are no whole number of images" : NULL;
}

static const char *layout_problem(const Type *t) {
  const Layout *l = &t->layout;
  bool words = type_element_bytes(t) == 4;
  const char *problem = pieces_problem(t);
  if (problem) return problem;
  if (l->kind == LAYOUT_NONE) return l->block || l->pitch ? "it has no layout, yet a block or a pitch" : NULL;
  if (l->pitch < (uint32_t)type_channels(t)) return "its pitch is less than its channels";
  if (l->kind == LAYOUT_PLANES) {
    if (words) return "i32 and f32 elements do not lie in bit planes";
    if (l->block != 32 && l->block != 64 && l->block != 128) return "the block of bit planes is 32, 64 or 128";
    return l->pitch % l->block ? "its pitch is not a multiple of its block" : NULL;
  }
  if (l->block && !layout_is_pieces(*l)) return "only bit planes and pieces have a block";
  if (l->block && l->pitch % l->block) return "its pitch is not a multiple of its block";
  return (l->kind == LAYOUT_WORDS) == words ? NULL : "words are for i32 and f32, bytes for elements of up to 8 bits";
}

const char *type_problem(const Graph *g, const Type *t) {
  const char *problem = bits_problem(t);
  if (!problem) problem = shape_problem(t);
  if (!problem) problem = layout_problem(t);
  if (problem || t->kind == ELEM_F32) return problem;
  if (t->kind == ELEM_I32 && t->zero2) return "i32 has no zero point";
  if (t->zero2 < -512 || t->zero2 > 512) return "zero points lie between -256 and 256";
  if (t->scales != NO_VALUE) return scales_problem(g, t);
  return good_scale(t->scale) ? NULL : "its scale is not a positive, finite, normal number";
}
