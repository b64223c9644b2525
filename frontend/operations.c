/* The operations of the language, one row each: name, whether it has parameters, arguments, and the function that
 * builds it. A new operation is a row here and a function in a build_*.c.
 */
#include "lower.h"
#include <string.h>

#define X                                                                                                              \
  { "x", ARG_TENSOR, true }
#define WINDOW(kernel_kind)                                                                                            \
  {"kernel", kernel_kind, true}, {"stride", ARG_PAIR, false}, {                                                        \
    "pad", ARG_PAD, false                                                                                              \
  }

static const Operation operations[] = {
    {"conv2d",
     true,
     OP_CONV2D,
     build_conv2d,
     {X,
      {"out", ARG_COUNT, true},
      WINDOW(ARG_PAIR),
      {"dilation", ARG_PAIR, false},
      {"groups", ARG_COUNT, false},
      {"w", ARG_TYPE, true},
      {"bias", ARG_TRUTH, false},
      {"pad_value", ARG_INTEGER, false}}},
    {"depthwise_conv2d",
     true,
     OP_CONV2D,
     build_depthwise_conv2d,
     {X,
      WINDOW(ARG_PAIR),
      {"dilation", ARG_PAIR, false},
      {"w", ARG_TYPE, true},
      {"bias", ARG_TRUTH, false},
      {"pad_value", ARG_INTEGER, false}}},
    {"linear",
     true,
     OP_LINEAR,
     build_linear,
     {X, {"out", ARG_COUNT, true}, {"w", ARG_TYPE, true}, {"bias", ARG_TRUTH, false}}},
    {"batchnorm", true, OP_BATCHNORM, build_batchnorm, {X, {"eps", ARG_REAL, false}}},
    {"affine", true, OP_AFFINE, build_affine, {X}},
    {"bias", true, OP_BIAS, build_bias, {X}},
    {"prelu", true, OP_PRELU, build_prelu, {X}},
    {"relu", false, OP_RELU, build_activation, {X}},
    {"relu6", false, OP_RELU6, build_activation, {X}},
    {"sign", false, OP_SIGN, build_activation, {X}},
    {"leaky_relu", false, OP_LEAKY_RELU, build_leaky_relu, {X, {"alpha", ARG_REAL, false}}},
    {"hardtanh", false, OP_HARDTANH, build_hardtanh, {X, {"lo", ARG_REAL, false}, {"hi", ARG_REAL, false}}},
    {"add", false, OP_ADD, build_add, {{"a", ARG_TENSOR, true}, {"b", ARG_TENSOR, true}}},
    {"quantize", true, OP_QUANTIZE, build_quantize, {X, {"type", ARG_TYPE, true}, {"scale", ARG_SCALE, false}}},
    {"dequantize", false, OP_DEQUANTIZE, build_dequantize, {X}},
    {"maxpool", false, OP_MAXPOOL, build_pool, {X, WINDOW(ARG_PAIR)}},
    {"avgpool", false, OP_AVGPOOL, build_pool, {X, WINDOW(ARG_PAIR)}},
    {"global_maxpool", false, OP_MAXPOOL, build_global_pool, {X}},
    {"global_avgpool", false, OP_AVGPOOL, build_global_pool, {X}},
    {"concat", false, OP_CONCAT, build_concat, {{"tensors", ARG_TENSORS, true}, {"axis", ARG_INTEGER, false}}},
    {"flatten", false, OP_FLATTEN, build_flatten, {X, {"order", ARG_ORDER, false}}},
    {"reshape", false, OP_RESHAPE, build_reshape, {X, {"shape", ARG_SHAPE, true}}},
    {"upsample", false, OP_UPSAMPLE, build_upsample, {X, {"factor", ARG_PAIR, true}}},
    {"argmax", false, OP_ARGMAX, build_argmax, {X}},
    {"softmax", false, OP_SOFTMAX, build_softmax, {X}},
};
enum { OPERATION_COUNT = sizeof operations / sizeof *operations };

const Operation *operation_by_name(const char *name) {
  for (int i = 0; i < OPERATION_COUNT; i++)
    if (!strcmp(operations[i].name, name)) return &operations[i];
  return NULL;
}

void suggest_operations(Suggestion *s) {
  for (int i = 0; i < OPERATION_COUNT; i++) suggestion_offer(s, operations[i].name);
}

Item operation_call(Lower *l, const Place *place, const Operation *operation, const Expression *e,
                    const char *result_name) {
  Call *call = ARENA_NEW(l->context, Call, 1); /* stays: parameters remember who read them */
  *call = (Call){.operation = operation, .loc = e->loc, .result_name = result_name};
  const char *own = NULL;
  bool good = !operation->parameters || argument_name(l, place, e, &own);
  if (!arguments_bind(l, place, e, call) || !good) return item_none();
  call->site = (Frame){.parent = place->frame,
                       .path = path_join(l->context, place->frame->path, own ? own : place->own),
                       .named = own != NULL,
                       .depth = place->frame->depth + 1,
                       .loc = e->loc};
  return operation->build(l, call);
}

Item emit(Lower *l, const Call *call, bool last, Op op, const Attrs *attrs, const ValueId *inputs, uint32_t input_count,
          Type wanted) {
  Graph *g = l->graph;
  uint32_t errors = diag_error_count(l->context);
  if (g->node_count >= MAX_EXPANSIONS) {
    if (!l->expansion_reported) diag(l->context, DIAG_EXPANSION, call->loc, MAX_EXPANSIONS, "operations");
    l->expansion_reported = true;
    return item_none();
  }
  const char *name = last ? call->result_name : path_join(l->context, call->result_name, op_info[op].name);
  ValueId v = graph_insert_node(g, g->node_count, op, attrs, inputs, input_count, wanted, name, call->loc);
  if (diag_error_count(l->context) != errors) return item_none();
  spread_after_node(l, g->node_count - 1);
  return item_tensor(v, call->loc);
}

static ValueId emit_dequantize(Lower *l, const Call *call, ValueId value) {
  Item result = emit(l, call, false, OP_DEQUANTIZE, NULL, &value, 1, (Type){0});
  return result.kind == ITEM_TENSOR ? result.value : NO_VALUE;
}

ValueId emit_real(Lower *l, const Call *call, ValueId value) {
  return graph_type(l->graph, value)->kind == ELEM_F32 ? value : emit_dequantize(l, call, value);
}

ValueId emit_one_scale(Lower *l, const Call *call, ValueId value) {
  const Type *t = graph_type(l->graph, value);
  return t->kind == ELEM_F32 || t->scales == NO_VALUE ? value : emit_dequantize(l, call, value);
}

bool need_rank(Lower *l, const Call *call, ValueId value, int rank) {
  const Type *t = graph_type(l->graph, value);
  if (t->rank == rank) return true;
  diag(l->context, DIAG_INPUT_SHAPE, call->loc, call->operation->name);
  diag_expected(l->context, rank == 3 ? "[N,height,width,channels]" : "[N,channels]");
  diag_seen(l->context, "%s", shape_string(l->context, t));
  if (rank == 1) diag_hint(l->context, "flatten makes one dimension of several");
  return false;
}
