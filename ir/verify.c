/* The verifier: every rule of graph.h and type.h. What passes here, the evaluator, the printer and the backend take.
 *
 * Rules are checked in an order in which each may rely on those before it: ids, then types, then meanings.
 */
#include "verify.h"
#include "eval.h"
#include "infer.h"
#include <string.h>

typedef struct Verifier {
  const Graph *g;
  DiagCode code;
  bool ok;
  bool *defined; /* values that stand before the current node */
} Verifier;

static void complain(Verifier *v, SourceLoc loc, const char *text) {
  v->ok = false;
  diag(v->g->context, v->code, loc, text);
}

#define COMPLAIN(v, loc, ...) complain((v), (loc), arena_printf((v)->g->context, __VA_ARGS__))

static const char *name_of(const Verifier *v, ValueId id) {
  return v->g->values[id].name;
}

/* --- values --- */

/* One byte in all eight of a word. */
static uint64_t eightfold(uint8_t byte) {
  return byte * UINT64_C(0x0101010101010101);
}

/* Whether a byte minus `least`, modulo 256, is greater than `span` < 128: the top bit of that byte. A borrow or carry
 * stays in its byte, as top bits are added apart. */
static uint64_t bytes_outside(uint64_t word, uint8_t least, uint8_t span) {
  const uint64_t top = eightfold(0x80), minus = eightfold(least);
  uint64_t above = ((word | top) - (minus & ~top)) ^ ((word ^ ~minus) & top);
  return (above | ((above & ~top) + eightfold((uint8_t)(127 - span)))) & top;
}

/* Eight bytes at a time, without branches: weights are many, and this runs after every pass. */
static bool elements_in_range(const Value *value) {
  const Type *t = &value->type;
  if (!type_is_quantized(t)) return true;
  const uint8_t *data = value->data;
  int64_t count = type_elements(t), i = 0;
  uint8_t least = (uint8_t)type_q_min(t), span = (uint8_t)(type_q_max(t) - type_q_min(t));
  if (span > 127) return true; /* types of eight bits have every byte */
  uint64_t outside = 0, word;
  for (; i + 8 <= count; i += 8) {
    memcpy(&word, data + i, sizeof word);
    outside |= bytes_outside(word, least, span);
  }
  for (; i < count; i++) outside |= (uint8_t)(data[i] - least) > span;
  return !outside;
}

static void verify_const(Verifier *v, const Value *value) {
  const SourceLoc nowhere = {0};
  if (!value->data)
    COMPLAIN(v, nowhere, "constant '%s' has no data", value->name);
  else if ((uintptr_t)value->data % type_element_bytes(&value->type))
    COMPLAIN(v, nowhere, "the data of constant '%s' are not aligned", value->name);
  else if (!elements_in_range(value))
    COMPLAIN(v, nowhere, "constant '%s' has elements outside the range of its type", value->name);
  if (value->type.batched) COMPLAIN(v, nowhere, "constant '%s' has a batch dimension", value->name);
}

static void verify_place(Verifier *v, ValueId id) {
  const Graph *g = v->g;
  const Value *value = &g->values[id];
  const SourceLoc nowhere = {0};
  if (value->arena_offset == NO_OFFSET) return;
  if (value->kind != VALUE_RESULT || graph_is_output(g, id)) {
    COMPLAIN(v, nowhere, "'%s' has a place in the arena, but is no value between layers", value->name);
    return;
  }
  uint64_t images = value->type.batched ? g->max_batch : 1, bytes = layout_image_bytes(&value->type);
  if (images && bytes > UINT64_MAX / images)
    bytes = UINT64_MAX;
  else
    bytes *= images;
  if (value->arena_offset > g->arena_bytes || bytes > g->arena_bytes - value->arena_offset)
    COMPLAIN(v, nowhere, "'%s' does not lie in the arena", value->name);
}

static void verify_value(Verifier *v, ValueId id) {
  const Value *value = &v->g->values[id];
  const SourceLoc nowhere = {0};
  const char *problem = type_problem(v->g, &value->type);
  if (problem) {
    COMPLAIN(v, nowhere, "the type of '%s': %s", value->name, problem);
    return;
  }
  if (value->kind == VALUE_CONST) verify_const(v, value);
  if (value->kind == VALUE_INPUT && !value->type.batched)
    COMPLAIN(v, nowhere, "input '%s' has no batch dimension", value->name);
  verify_place(v, id);
}

/* Names first: every other message uses them. */
static void verify_names(Verifier *v) {
  const Graph *g = v->g;
  if (!g->name) complain(v, (SourceLoc){0}, "the graph has no name");
  for (ValueId id = 0; id < g->value_count; id++) {
    const char *name = g->values[id].name;
    if (!name)
      complain(v, (SourceLoc){0}, "a value has no name");
    else if (graph_find(g, name) != id)
      COMPLAIN(v, (SourceLoc){0}, "the name '%s' is not unique", name);
  }
}

static void verify_values(Verifier *v) {
  const Graph *g = v->g;
  uint32_t inputs = 0;
  for (ValueId id = 0; id < g->value_count; id++) {
    verify_value(v, id);
    inputs += g->values[id].kind == VALUE_INPUT;
  }
  for (uint32_t i = 0; i < g->input_count; i++) {
    ValueId id = g->inputs[i];
    if (id >= g->value_count || g->values[id].kind != VALUE_INPUT || v->defined[id])
      complain(v, (SourceLoc){0}, "the list of inputs names a value that is none, or one twice");
    else
      v->defined[id] = true;
  }
  if (inputs != g->input_count) complain(v, (SourceLoc){0}, "an input is missing in the list of inputs");
  for (ValueId id = 0; id < g->value_count; id++) v->defined[id] |= g->values[id].kind == VALUE_CONST;
}

/* --- nodes --- */

static bool verify_operand(Verifier *v, const Node *node, Op op, ValueId id, uint32_t i) {
  const char *result = name_of(v, node->result);
  if (id >= v->g->value_count || !v->defined[id]) {
    COMPLAIN(v, node->loc, "an operand of layer '%s' is not defined before it", result);
    return false;
  }
  if (operand_is_activation(op, i) || v->g->values[id].kind == VALUE_CONST) return true;
  COMPLAIN(v, node->loc, "operand '%s' of %s in layer '%s' is not a constant", name_of(v, id), op_info[op].name,
           result);
  return false;
}

static bool verify_operands(Verifier *v, const Node *node) {
  bool ok = true;
  for (uint32_t i = 0; i < node->input_count; i++) ok &= verify_operand(v, node, node->op, node->inputs[i], i);
  for (uint32_t s = 0; s < node->step_count; s++) {
    const Step *step = &node->steps[s];
    if (step->op <= OP_NONE || step->op >= OP_COUNT || !(op_info[step->op].flags & F_STEP) || step->arg_count > 4) {
      COMPLAIN(v, node->loc, "an operation of layer '%s' cannot be a step", name_of(v, node->result));
      return false;
    }
    for (uint32_t i = 0; i < step->arg_count; i++) ok &= verify_operand(v, node, step->op, step->args[i], i + 1);
  }
  return ok;
}

static bool same_numbers(const Graph *g, const Type *t, const float *scales, int32_t count) {
  const float *own = type_scales(g, t);
  return own && type_scale_channels(t) == count && !memcmp(own, scales, sizeof(float) * (size_t)count);
}

/* The stated type against the inferred one; layouts are the passes' affair. */
static bool same_type(const Graph *g, const Type *stated, const Inference *in) {
  Type a = *stated, b = *in->result;
  const float *scales = in->scales ? in->scales : type_scales(g, &b);
  int32_t count = in->scales ? in->scale_count : type_scale_channels(&b);
  if (type_is_integer(&b) && scales) {
    if (!type_scales(g, &a) || !same_numbers(g, &a, scales, count)) return false;
    a.scales = b.scales = 0;
  }
  return type_same_shape(&a, &b) && type_same_quant(&a, &b);
}

static bool verify_operation(Verifier *v, const Node *node, Op op, const Attrs *attrs, const Type *const *operands,
                             uint32_t count, const Type *stated, bool is_step) {
  const Graph *g = v->g;
  Type inferred = *stated;
  Inference in = {.graph = g,
                  .op = op,
                  .attrs = attrs,
                  .operands = operands,
                  .count = count,
                  .is_step = is_step,
                  .loc = node->loc,
                  .result = &inferred};
  const char *problem = type_problem(g, stated);
  if (problem)
    COMPLAIN(v, node->loc, "the type of %s in layer '%s': %s", op_info[op].name, name_of(v, node->result), problem);
  else if (!infer_without_adding(&in)) {
    diag_note(g->context, node->loc, "in layer '%s'", name_of(v, node->result));
    v->ok = false;
  } else if (!same_type(g, stated, &in)) {
    COMPLAIN(v, node->loc, "%s in layer '%s' gives another type", op_info[op].name, name_of(v, node->result));
    diag_expected(g->context, "%s", type_string(g->context, g, &inferred));
    diag_seen(g->context, "%s", type_string(g->context, g, stated));
  } else
    return true;
  return false;
}

static bool verify_steps(Verifier *v, const Node *node) {
  const Type *type = &node->main_type;
  for (uint32_t s = 0; s < node->step_count; s++) {
    const Step *step = &node->steps[s];
    const Type *operands[5] = {type};
    for (uint32_t i = 0; i < step->arg_count; i++) operands[i + 1] = graph_type(v->g, step->args[i]);
    if (!verify_operation(v, node, step->op, &step->attrs, operands, step->arg_count + 1, &step->type, true))
      return false;
    type = &step->type;
  }
  const Type *result = graph_type(v->g, node->result);
  if (type_same_shape(type, result) && type_same_quant(type, result)) return true;
  COMPLAIN(v, node->loc, "the type of '%s' is not that of its last operation", name_of(v, node->result));
  diag_expected(v->g->context, "%s", type_string(v->g->context, v->g, type));
  diag_seen(v->g->context, "%s", type_string(v->g->context, v->g, result));
  return false;
}

/* A tile has all its numbers or none, and what staging.h derives from it on wgmma can be derived. */
static bool verify_tile(Verifier *v, const Node *node) {
  const Tile *t = &node->tile;
  bool whole = t->m && t->n && t->k && t->warps_m && t->warps_n && t->stages && t->split_k;
  bool none = !(t->m || t->n || t->k || t->warps_m || t->warps_n || t->stages || t->split_k || t->resident);
  if (none) return true;
  if (!whole)
    COMPLAIN(v, node->loc, "the tile of layer '%s' lacks a number", name_of(v, node->result));
  else if (!engine_reads_pieces(node->engine))
    return true;
  else if (node->op != OP_CONV2D && node->op != OP_LINEAR)
    COMPLAIN(v, node->loc, "layer '%s' has a tile over pieces, but is no conv2d or linear", name_of(v, node->result));
  else if (node->engine == ENGINE_SKINNY_B1 && t->warps_m < 4)
    COMPLAIN(v, node->loc, "the tile of layer '%s' has no four warps", name_of(v, node->result));
  else if (t->k % 4 || !layout_is_pieces(graph_type(v->g, node->inputs[0])->layout))
    COMPLAIN(v, node->loc, "layer '%s' has a tile over pieces, but does not read them whole", name_of(v, node->result));
  else
    return true;
  return false;
}

static void verify_node(Verifier *v, NodeId id) {
  const Graph *g = v->g;
  const Node *node = &g->nodes[id];
  if (node->op < OP_NONE || node->op >= OP_COUNT || node->engine >= ENGINE_COUNT) {
    complain(v, node->loc, "a node has no known operation or engine");
    return;
  }
  if (node->result >= g->value_count || g->values[node->result].kind != VALUE_RESULT || v->defined[node->result]) {
    complain(v, node->loc, "a node does not define a result of its own");
    return;
  }
  bool ok = verify_operands(v, node);
  v->defined[node->result] = true;
  if (!ok) return;
  const Type **operands = ARENA_NEW(g->context, const Type *, node->input_count);
  for (uint32_t i = 0; i < node->input_count; i++) operands[i] = graph_type(g, node->inputs[i]);
  if (!verify_operation(v, node, node->op, &node->attrs, operands, node->input_count, &node->main_type, false)) return;
  if (!verify_steps(v, node) || !verify_tile(v, node) || accumulator_fits(g, id)) return;
  diag(g->context, DIAG_SUM_OVERFLOW, node->loc, name_of(v, node->result), (long long)accumulator_bound(g, id));
  v->ok = false;
}

static void verify_outputs(Verifier *v) {
  const Graph *g = v->g;
  for (uint32_t i = 0; i < g->output_count; i++) {
    ValueId id = g->outputs[i];
    if (id >= g->value_count || g->values[id].kind != VALUE_RESULT || !v->defined[id])
      complain(v, (SourceLoc){0}, "an output is not the result of a layer");
  }
}

static void count_uses(const ValueId *values, uint32_t count, uint32_t *uses) {
  for (uint32_t i = 0; i < count; i++) uses[values[i]]++;
}

/* What the graph keeps of each value, its definition and its uses, is what its nodes and outputs say. */
static void verify_index(Verifier *v) {
  const Graph *g = v->g;
  uint32_t *uses = ARENA_NEW(g->context, uint32_t, g->value_count);
  for (NodeId n = 0; n < g->node_count; n++) {
    const Node *node = &g->nodes[n];
    if (node->op == OP_NONE) continue;
    if (g->values[node->result].definition != n)
      COMPLAIN(v, node->loc, "the graph does not know that this node defines '%s'", name_of(v, node->result));
    count_uses(node->inputs, node->input_count, uses);
    for (uint32_t s = 0; s < node->step_count; s++) count_uses(node->steps[s].args, node->steps[s].arg_count, uses);
  }
  count_uses(g->outputs, g->output_count, uses);
  for (ValueId id = 0; id < g->value_count; id++) {
    const Value *value = &g->values[id];
    if (value->uses != uses[id])
      COMPLAIN(v, (SourceLoc){0}, "the graph counts %u uses of '%s', but there are %u", value->uses, value->name,
               uses[id]);
    if (value->definition != NO_NODE && (value->kind != VALUE_RESULT || !v->defined[id]))
      COMPLAIN(v, (SourceLoc){0}, "the graph has a definition of '%s', but there is none", value->name);
  }
}

bool verify_graph(const Graph *g, DiagCode code) {
  Verifier v = {.g = g, .code = code, .ok = true, .defined = ARENA_NEW(g->context, bool, g->value_count)};
  verify_names(&v);
  if (v.ok) verify_values(&v);
  for (NodeId n = 0; v.ok && n < g->node_count; n++)
    if (g->nodes[n].op != OP_NONE) verify_node(&v, n);
  if (v.ok) verify_outputs(&v);
  if (v.ok) verify_index(&v);
  return v.ok;
}

bool graph_verify(const Graph *g) {
  return verify_graph(g, DIAG_INTERNAL);
}
