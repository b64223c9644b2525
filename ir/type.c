/* Types: ranges of q, levels and shapes. Nothing here needs the graph. */
#include "type.h"

Type type_make(ElemKind kind, int bits, bool batched, int rank, const int32_t *dim) {
  Type t = {.kind = kind, .bits = (uint8_t)bits, .rank = (uint8_t)rank, .batched = batched, .scale = 1.0f};
  t.scales = NO_VALUE;
  if (kind == ELEM_I32 || kind == ELEM_F32) t.bits = 32;
  if (kind == ELEM_TERNARY) t.bits = 2;
  for (int i = 0; i < rank && i < MAX_RANK; i++) t.dim[i] = dim[i];
  return t;
}

bool type_is_quantized(const Type *t) {
  return t->kind == ELEM_UINT || t->kind == ELEM_INT || t->kind == ELEM_TERNARY;
}

bool type_is_integer(const Type *t) {
  return type_is_quantized(t) || t->kind == ELEM_I32;
}

int32_t type_q_min(const Type *t) {
  if (t->kind == ELEM_UINT) return 0;
  return t->kind == ELEM_TERNARY ? -1 : -(1 << (t->bits - 1));
}

int32_t type_q_max(const Type *t) {
  if (t->kind == ELEM_UINT) return (1 << t->bits) - 1;
  return t->kind == ELEM_TERNARY ? 1 : (1 << (t->bits - 1)) - 1;
}

LevelMap type_level_map(const Type *t) {
  if (!type_is_quantized(t)) return (LevelMap){1, 0};
  return t->zero2 & 1 ? (LevelMap){2, t->zero2} : (LevelMap){1, t->zero2 / 2};
}

int32_t type_level_min(const Type *t) {
  LevelMap m = type_level_map(t);
  return m.mult * type_q_min(t) - m.offset;
}

int32_t type_level_max(const Type *t) {
  LevelMap m = type_level_map(t);
  return m.mult * type_q_max(t) - m.offset;
}

bool type_has_zero(const Type *t) {
  if (!type_is_quantized(t)) return true;
  return !(t->zero2 & 1) && t->zero2 / 2 >= type_q_min(t) && t->zero2 / 2 <= type_q_max(t);
}

int64_t type_elements(const Type *t) {
  int64_t n = 1;
  for (int i = 0; i < t->rank; i++) n *= t->dim[i];
  return n;
}

size_t type_element_bytes(const Type *t) {
  return t->kind == ELEM_I32 || t->kind == ELEM_F32 ? 4 : 1;
}

size_t type_dense_bytes(const Type *t) {
  return (size_t)type_elements(t) * type_element_bytes(t);
}

Image type_image(const Type *t) {
  const int32_t *d = t->dim;
  switch (t->rank) {
  case 1:
    return (Image){1, 1, d[0]};
  case 2:
    return (Image){1, d[0], d[1]};
  case 3:
    return (Image){d[0], d[1], d[2]};
  default:
    return (Image){d[0] * d[1], d[2], d[3]};
  }
}

int32_t type_channels(const Type *t) {
  return t->rank ? t->dim[t->rank - 1] : 1;
}

bool type_same_shape(const Type *a, const Type *b) {
  if (a->rank != b->rank || a->batched != b->batched) return false;
  for (int i = 0; i < a->rank; i++)
    if (a->dim[i] != b->dim[i]) return false;
  return true;
}

bool type_same_quant(const Type *a, const Type *b) {
  if (a->kind != b->kind || a->bits != b->bits) return false;
  if (a->kind == ELEM_F32) return true;
  if (a->zero2 != b->zero2 || a->scales != b->scales) return false;
  return a->scales != NO_VALUE || a->scale == b->scale;
}

bool type_equal(const Type *a, const Type *b) {
  return type_same_shape(a, b) && type_same_quant(a, b) && layout_equal(a->layout, b->layout);
}
