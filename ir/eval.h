/* What the evaluator's files share: operands as dense arrays, and one function an operation.
 *
 * An eval_<op> reads e->in and writes e->out, all dense row-major (type.h), `images` of them (e->batch, or 1 where the
 * result has no batch). Types have passed infer_op. Element-for-element operations stand in eval_element.c.
 */
#ifndef IR_EVAL_H
#define IR_EVAL_H

#include "ir.h"
#include <string.h>

typedef struct Eval {
  const Graph *graph;
  const Attrs *attrs;
  uint32_t batch;
  const Operand *in; /* in[0].data and the others are never NULL */
  uint32_t count;
  const Type *type; /* of the result */
  void *out;
} Eval;

#define OP(ENUM, name, least, most, attrs, flags) void eval_##name(const Eval *e);
#include "ops.def"
#undef OP

/* accumulate.c: accumulator_bound <= ACCUMULATOR_LIMIT, cheaply where the shapes already say so. */
bool accumulator_fits(const Graph *g, NodeId node);

/* q (or the integer) of element i of a dense array. */
static inline int32_t dense_integer(const Type *t, const void *data, size_t i) {
  if (t->kind == ELEM_UINT) return ((const uint8_t *)data)[i];
  if (t->kind == ELEM_I32) return ((const int32_t *)data)[i];
  return ((const int8_t *)data)[i];
}

static inline void store_integer(const Type *t, void *data, size_t i, int32_t q) {
  if (t->kind == ELEM_I32)
    ((int32_t *)data)[i] = q;
  else
    ((uint8_t *)data)[i] = (uint8_t)q;
}

static inline int32_t dense_level(const Type *t, const void *data, size_t i) {
  LevelMap map = type_level_map(t);
  return map.mult * dense_integer(t, data, i) - map.offset;
}

static inline uint32_t image_count(const Type *t, uint32_t batch) {
  return t->batched ? batch : 1;
}

/* Image number n of an operand, of the result. */
static inline void *result_at(const Eval *e, uint32_t n) {
  return (char *)e->out + n * type_dense_bytes(e->type);
}

static inline const void *image_at(const Operand *operand, uint32_t n) {
  size_t bytes = operand->type->batched ? type_dense_bytes(operand->type) : 0;
  return (const char *)operand->data + n * bytes;
}

#endif
