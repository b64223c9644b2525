/* What the type rules of infer*.c share. A rule infer_<op> reads `operands` and `attrs`, fills *result and returns
 * false after reporting what is wrong. */
#ifndef IR_INFER_H
#define IR_INFER_H

#include "ir.h"

typedef struct Inference {
  const Graph *graph;
  Context *context;
  Op op;
  const char *name; /* of the operation */
  const Attrs *attrs;
  const Type *const *operands;
  uint32_t count;
  bool is_step; /* add then takes a quantized or i32 second operand */
  SourceLoc loc;
  Type *result;  /* comes in as the wanted type */
  float *scales; /* per-channel scales of the result that have to become a constant; or NULL */
  int32_t scale_count;
} Inference;

#define OP(ENUM, name, least, most, attrs, flags) bool infer_##name(Inference *in);
#include "ops.def"
#undef OP

/* The rules without materialised scales: for the verifier, which adds nothing to the graph. */
bool infer_without_adding(Inference *in);

bool infer_reject_operand(Inference *in, uint32_t index, const char *expected, const char *hint); /* false */
bool infer_real_operand(Inference *in, uint32_t index);                                           /* f32 */
bool infer_same_as(Inference *in, const Type *type); /* result: this type without its layout; true */
bool infer_range(Inference *in, bool ok, const char *attribute, const char *expected); /* reports if not ok */
/* Sets the result's scale or, with per_channel, its scales from scale_of(in, channel). */
bool infer_scales(Inference *in, bool per_channel, float (*scale_of)(const Inference *in, int32_t channel));

#endif
