/* Types of results: the drivers, and the rules of operations that work element for element.
 *
 * Every rule guarantees a result type that type_problem accepts, or a report with the shapes.
 */
#include "eval.h"
#include "infer.h"
#include <string.h>

typedef bool (*Rule)(Inference *in);
static const Rule rules[OP_COUNT] = {
#define OP(ENUM, name, least, most, attrs, flags) [OP_##ENUM] = infer_##name,
#include "ops.def"
#undef OP
};

/* --- shared by the rules --- */

bool infer_reject_operand(Inference *in, uint32_t index, const char *expected, const char *hint) {
  Context *c = in->context;
  diag(c, DIAG_OPERAND_TYPE, in->loc, index + 1, in->name, type_string(c, in->graph, in->operands[index]));
  diag_expected(c, "%s", expected);
  if (hint) diag_hint(c, "%s", hint);
  return false;
}

bool infer_real_operand(Inference *in, uint32_t index) {
  if (in->operands[index]->kind == ELEM_F32) return true;
  return infer_reject_operand(in, index, "f32", "put dequantize in front");
}

bool infer_same_as(Inference *in, const Type *type) {
  *in->result = *type;
  in->result->layout = (Layout){0};
  return true;
}

/* An operand after the first: a constant f32 [C] or [1] of the first operand's channels. */
static bool parameter(Inference *in, uint32_t index) {
  const Type *x = in->operands[0], *p = in->operands[index];
  Context *c = in->context;
  int32_t channels = type_channels(x);
  if (p->kind == ELEM_F32 && p->rank == 1 && !p->batched && (p->dim[0] == 1 || p->dim[0] == channels)) return true;
  return infer_reject_operand(in, index, arena_printf(c, "f32[%d] or f32[1], for %s", channels, shape_string(c, x)),
                              NULL);
}

bool infer_range(Inference *in, bool ok, const char *attribute, const char *expected) {
  if (ok) return true;
  diag(in->context, DIAG_ATTRIBUTE_RANGE, in->loc, attribute, in->name);
  diag_expected(in->context, "%s", expected);
  return false;
}

/* Room for `count` per-channel scales of the result. */
static float *new_scales(Inference *in, int32_t count) {
  in->scale_count = count;
  return in->scales = ARENA_NEW(in->context, float, count);
}

bool infer_scales(Inference *in, bool per_channel, float (*scale_of)(const Inference *in, int32_t channel)) {
  in->result->scales = NO_VALUE;
  in->result->scale = 1.0f;
  if (!per_channel) {
    in->result->scale = scale_of(in, 0);
    return true;
  }
  int32_t count = type_scale_channels(in->result);
  float *scales = new_scales(in, count);
  for (int32_t i = 0; i < count; i++) scales[i] = scale_of(in, i);
  return true;
}

/* --- drivers --- */

static const char *operand_count_text(Context *c, const OpInfo *info) {
  const char *s = info->least_inputs == 1 ? "" : "s";
  if (info->most_inputs < 0) return arena_printf(c, "at least %d operand%s", info->least_inputs, s);
  return arena_printf(c, "%d operand%s", info->least_inputs, s);
}

static bool check_operands(Inference *in) {
  const OpInfo *info = &op_info[in->op];
  Context *c = in->context;
  if (in->count < (uint32_t)info->least_inputs || (info->most_inputs >= 0 && in->count > (uint32_t)info->most_inputs)) {
    diag(c, DIAG_OPERAND_COUNT, in->loc, in->name, operand_count_text(c, info), in->count);
    return false;
  }
  for (uint32_t i = 0; i < in->count; i++) {
    const char *problem = type_problem(in->graph, in->operands[i]);
    if (!problem) continue;
    diag(c, DIAG_BAD_TYPE, in->loc, type_string(c, in->graph, in->operands[i]), problem);
    return false;
  }
  return true;
}

/* Only scales can be impossible here, or the number of elements. */
static bool check_result(Inference *in) {
  Context *c = in->context;
  Type t = *in->result;
  const char *problem = NULL;
  for (int32_t i = 0; !problem && i < in->scale_count; i++) {
    t.scale = in->scales[i];
    t.scales = NO_VALUE;
    problem = type_problem(in->graph, &t);
  }
  if (!in->scales) problem = type_problem(in->graph, &t);
  if (!problem) return true;
  Type one = t;
  one.scale = 1.0f;
  if (!type_problem(in->graph, &one))
    diag(c, DIAG_SCALE_RANGE, in->loc, in->name);
  else
    diag(c, DIAG_BAD_TYPE, in->loc, type_string(c, in->graph, &t), problem);
  return false;
}

bool infer_without_adding(Inference *in) {
  if (in->op <= OP_NONE || in->op >= OP_COUNT) {
    diag(in->context, DIAG_INTERNAL, in->loc, "an operation of unknown kind");
    return false;
  }
  in->context = in->graph->context;
  in->name = op_info[in->op].name;
  return check_operands(in) && rules[in->op](in) && check_result(in);
}

/* Whether the value is a constant of exactly these scales. */
static bool names_scales(const Graph *g, ValueId value, const float *scales, int32_t count) {
  if (value >= g->value_count) return false;
  const Value *v = &g->values[value];
  return v->kind == VALUE_CONST && v->type.kind == ELEM_F32 && v->type.rank == 1 && v->type.dim[0] == count &&
         v->data && !memcmp(v->data, scales, sizeof(float) * (size_t)count);
}

static bool infer_and_add(Graph *g, Inference *in) {
  Type wanted = *in->result;
  if (!infer_without_adding(in)) return false;
  if (!in->scales) return true;
  if (names_scales(g, wanted.scales, in->scales, in->scale_count)) {
    in->result->scales = wanted.scales;
    return true;
  }
  Type vector = type_make(ELEM_F32, 32, false, 1, &in->scale_count);
  char *name = arena_printf(g->context, "scale.%u", g->value_count);
  in->result->scales = graph_add_const(g, name, vector, in->scales);
  return true;
}

bool infer_op(Graph *g, Op op, const Attrs *attrs, const Type *const *operands, uint32_t operand_count, Type *result,
              SourceLoc loc) {
  Attrs defaults = attrs_default();
  Inference in = {.graph = g,
                  .context = g->context,
                  .op = op,
                  .attrs = attrs ? attrs : &defaults,
                  .operands = operands,
                  .count = operand_count,
                  .loc = loc,
                  .result = result};
  return infer_and_add(g, &in);
}

static bool check_sums(Graph *g, NodeId id) {
  const Node *node = &g->nodes[id];
  if (accumulator_fits(g, id)) return true;
  int64_t bound = accumulator_bound(g, id);
  diag(g->context, DIAG_SUM_OVERFLOW, node->loc, g->values[node->result].name, (long long)bound);
  diag_expected(g->context, "at most %d", ACCUMULATOR_LIMIT);
  diag_hint(g->context, "fewer channels, a smaller window or fewer bits");
  return false;
}

static bool infer_step(Graph *g, NodeId id, uint32_t index, const Type *from) {
  Node *node = &g->nodes[id];
  Step step = node->steps[index];
  Type first = *from;
  const Type *operands[5] = {&first};
  for (uint32_t i = 0; i < step.arg_count; i++) operands[i + 1] = graph_type(g, step.args[i]);
  Inference in = {.graph = g,
                  .context = g->context,
                  .op = step.op,
                  .attrs = &step.attrs,
                  .operands = operands,
                  .count = step.arg_count + 1,
                  .is_step = true,
                  .loc = node->loc,
                  .result = &step.type};
  if (!infer_and_add(g, &in)) return false;
  node->steps[index].type = step.type;
  return true;
}

bool infer_node(Graph *g, NodeId id) {
  Node *node = &g->nodes[id];
  const Type **operands = ARENA_NEW(g->context, const Type *, node->input_count);
  for (uint32_t i = 0; i < node->input_count; i++) operands[i] = graph_type(g, node->inputs[i]);
  Type type = node->main_type;
  if (!infer_op(g, node->op, &node->attrs, operands, node->input_count, &type, node->loc)) return false;
  node->main_type = type;
  for (uint32_t s = 0; s < node->step_count; s++) {
    if (!infer_step(g, id, s, &type)) return false;
    type = node->steps[s].type;
  }
  type.layout = graph_type(g, node->result)->layout;
  *graph_type(g, node->result) = type;
  return check_sums(g, id);
}

/* --- element for element --- */

static bool infer_real(Inference *in) {
  if (!infer_real_operand(in, 0)) return false;
  for (uint32_t i = 1; i < in->count; i++)
    if (!parameter(in, i)) return false;
  return infer_same_as(in, in->operands[0]);
}

bool infer_affine(Inference *in) {
  return infer_real(in);
}
bool infer_bias(Inference *in) {
  return infer_real(in);
}
bool infer_relu(Inference *in) {
  return infer_real(in);
}
bool infer_relu6(Inference *in) {
  return infer_real(in);
}
bool infer_prelu(Inference *in) {
  return infer_real(in);
}
bool infer_sign(Inference *in) {
  return infer_real(in);
}

bool infer_batchnorm(Inference *in) {
  return infer_range(in, in->attrs->eps >= 0 && in->attrs->eps <= 1e30f, "eps", "a number not below 0") &&
         infer_real(in);
}

bool infer_leaky_relu(Inference *in) {
  return infer_range(in, in->attrs->alpha == in->attrs->alpha, "alpha", "a number") && infer_real(in);
}

bool infer_hardtanh(Inference *in) {
  return infer_range(in, in->attrs->lo <= in->attrs->hi, "lo", "a number not above hi") && infer_real(in);
}

bool infer_add(Inference *in) {
  const Type *a = in->operands[0], *b = in->operands[1];
  Context *c = in->context;
  if (!infer_real_operand(in, 0) || (!in->is_step && !infer_real_operand(in, 1))) return false;
  if (type_same_shape(a, b)) return infer_same_as(in, a);
  diag(c, DIAG_SHAPE_MISMATCH, in->loc, in->name);
  diag_expected(c, "two tensors of one shape");
  diag_seen(c, "%s and %s", shape_string(c, a), shape_string(c, b));
  return false;
}

/* The wanted element type under the operand's shape. */
static bool infer_wanted(Inference *in) {
  const Type *x = in->operands[0];
  Type t = *in->result;
  Context *c = in->context;
  t.rank = x->rank;
  t.batched = x->batched;
  memcpy(t.dim, x->dim, sizeof t.dim);
  t.layout = (Layout){0};
  const char *problem = type_is_quantized(&t) ? type_problem(in->graph, &t) : "its elements are not u1..u8, i2..i8";
  if (!problem) return infer_same_as(in, &t);
  diag(c, DIAG_RESULT_TYPE, in->loc, in->name, type_string(c, in->graph, &t));
  diag_seen(c, "%s", problem);
  return false;
}

bool infer_quantize(Inference *in) {
  return infer_real_operand(in, 0) && infer_wanted(in);
}

bool infer_dequantize(Inference *in) {
  const Type *x = in->operands[0];
  if (!type_is_integer(x))
    return infer_reject_operand(in, 0, "quantized or i32 elements", "leave dequantize out: it is real already");
  *in->result = type_make(ELEM_F32, 32, x->batched, x->rank, x->dim);
  return true;
}

/* The numbers that the second activation of thresholds can be; 1 without one, 0 after a report. */
static int32_t infer_other_numbers(Inference *in) {
  if (in->count < 4) return 1;
  const Type *x = in->operands[0], *other = in->operands[3];
  if (type_is_quantized(other) && type_same_shape(x, other)) return type_q_max(other) - type_q_min(other) + 1;
  infer_reject_operand(in, 3, arena_printf(in->context, "quantized elements of shape %s", shape_string(in->context, x)),
                       NULL);
  return 0;
}

bool infer_thresholds(Inference *in) {
  const Type *x = in->operands[0], *t = in->operands[1], *flip = in->operands[2];
  Context *c = in->context;
  int32_t channels = type_channels(x);
  if (!type_is_integer(x)) return infer_reject_operand(in, 0, "quantized or i32 elements", NULL);
  if (!infer_wanted(in)) return false;
  int32_t numbers = infer_other_numbers(in), most = type_q_max(in->result) - type_q_min(in->result);
  if (!numbers) return false;
  if (t->kind != ELEM_I32 || t->batched || t->rank != 2 || (t->dim[0] != 1 && t->dim[0] != channels) ||
      t->dim[1] % numbers || t->dim[1] / numbers > most) {
    const char *rows = numbers == 1 ? "" : arena_printf(c, "%d times ", numbers);
    return infer_reject_operand(in, 1, arena_printf(c, "i32[%d or 1, %sat most %d]", channels, rows, most), NULL);
  }
  if (flip->kind != ELEM_I32 || flip->batched || flip->rank != 1 || (flip->dim[0] != 1 && flip->dim[0] != channels))
    return infer_reject_operand(in, 2, arena_printf(c, "i32[%d] or i32[1]", channels), NULL);
  return true;
}
