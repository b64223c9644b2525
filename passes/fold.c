/* fold: what is known when compiling is computed now.
 *
 * Guarantees: no batchnorm is left (each became the affine step that it means: a and b computed in binary64 and
 * rounded once); no operation has constants only; no affine or bias step is left that gives its operand
 * back. Every rewrite keeps all bits: affine chains merge only where no rounding can tell.
 */
#include "rewrite.h"
#include "../ir/exact.h"
#include <string.h>

static ValueId add_vector(Graph *g, NodeId n, const char *part, int32_t count, const float *data) {
  const char *name = graph_value(g, g->nodes[n].result)->name;
  Type type = type_make(ELEM_F32, 32, false, 1, &count);
  return graph_add_const(g, arena_printf(g->context, "%s.%s", name, part), type, data);
}

/* Channels for which the node's constants say something: 1 where every constant has one element. */
static int32_t parameter_count(const Graph *g, const Node *node) {
  int64_t most = 1;
  for (uint32_t i = 1; i < node->input_count; i++) {
    int64_t count = type_elements(graph_type(g, node->inputs[i]));
    if (count > most) most = count;
  }
  return (int32_t)most;
}

/* batchnorm(x) = x * a + b with a = gamma / sqrt(variance + eps), b = beta - mean * a. */
static bool batchnorm_to_affine(Graph *g, NodeId n) {
  Node node = g->nodes[n];
  if (node.op != OP_BATCHNORM) return false;
  int32_t count = parameter_count(g, &node);
  float *a = ARENA_NEW(g->context, float, count), *b = ARENA_NEW(g->context, float, count);
  for (int32_t c = 0; c < count; c++) {
    float p[4]; /* gamma, beta, mean, variance */
    for (int i = 0; i < 4; i++) p[i] = const_f32_at(g, node.inputs[i + 1], (uint32_t)c);
    exact_batchnorm(p[0], p[1], p[2], p[3], node.attrs.eps, &a[c], &b[c]);
  }
  ValueId inputs[3] = {node.inputs[0], add_vector(g, n, "a", count, a), add_vector(g, n, "b", count, b)};
  become(g, n, OP_AFFINE, NULL, inputs, 3);
  return true;
}

static bool every_element_is(const Graph *g, ValueId v, float wanted) {
  const float *data = graph_value(g, v)->data;
  for (int64_t i = 0; i < type_elements(graph_type(g, v)); i++)
    if (memcmp(&data[i], &wanted, sizeof wanted) != 0) return false; /* +0 is not -0 */
  return true;
}

/* x cannot be -0 nor a NaN of other bits than the contract's: it is a step's result that rules both out. */
static bool has_plain_zeros(const Graph *g, ValueId x) {
  const Node *node = defining_node(g, x);
  if (!node || !node_is_plain(node)) return false;
  return node->op == OP_DEQUANTIZE || node->op == OP_RELU || node->op == OP_RELU6;
}

/* Every NaN that x may hold has the contract's bits, as after any arithmetic. */
static bool has_plain_nans(const Graph *g, ValueId x) {
  const Node *node = defining_node(g, x);
  return has_plain_zeros(g, x) || (node && node_is_plain(node) && (node->op == OP_AFFINE || node->op == OP_BIAS));
}

/* x + b gives x where b is -0, or +0 and x has no -0. */
static bool adds_nothing(const Graph *g, ValueId x, ValueId b) {
  return (every_element_is(g, b, -0.0f) && has_plain_nans(g, x)) ||
         (every_element_is(g, b, 0.0f) && has_plain_zeros(g, x));
}

static bool drop_bias(Graph *g, NodeId n) {
  const Node *node = &g->nodes[n];
  return node->op == OP_BIAS && adds_nothing(g, node->inputs[0], node->inputs[1]) &&
         replace_by_operand(g, n, node->inputs[0]);
}

/* x * 1 + b is x + b: multiplying by one is exact, and the addition settles the bits of a NaN. */
static bool affine_to_bias(Graph *g, NodeId n) {
  const Node *node = &g->nodes[n];
  if (node->op != OP_AFFINE || !every_element_is(g, node->inputs[1], 1.0f)) return false;
  ValueId inputs[2] = {node->inputs[0], node->inputs[2]};
  become(g, n, OP_BIAS, NULL, inputs, 2);
  return true;
}

/* An operation on constants alone is a constant. Its batch dimension, if it has one, stays an operation's. */
static bool evaluate(Graph *g, NodeId n) {
  Node node = g->nodes[n];
  const Type *type = graph_type(g, node.result);
  if (type->batched || graph_is_output(g, node.result)) return false;
  Operand *operands = ARENA_NEW(g->context, Operand, node.input_count);
  for (uint32_t i = 0; i < node.input_count; i++) {
    const Value *v = graph_value(g, node.inputs[i]);
    if (v->kind != VALUE_CONST) return false;
    operands[i] = (Operand){&v->type, v->data};
  }
  void *data = arena_alloc(g->context, type_dense_bytes(type));
  if (!eval_op(g, node.op, &node.attrs, 1, operands, node.input_count, type, data)) return false;
  const char *name = arena_printf(g->context, "%s.constant", graph_value(g, node.result)->name);
  ValueId constant = graph_add_const(g, name, *type, data);
  graph_delete_node(g, n);
  graph_replace_uses(g, node.result, constant);
  return true;
}

typedef bool Rule(Graph *g, NodeId n); /* true if it changed the graph */
static Rule *const rules[] = {evaluate, batchnorm_to_affine, affine_to_bias, drop_bias};

bool pass_fold(Graph *g, const PassOptions *options) {
  (void)options;
  for (NodeId n = 0; n < g->node_count; n++)
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
      if (node_is_plain(&g->nodes[n])) rules[i](g, n);
  graph_compact(g);
  return true;
}
