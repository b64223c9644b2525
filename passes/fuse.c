/* fuse: elementwise operations join the epilogue of the layer that computes their operand.
 *
 * Guarantees: every node's main operation can head a layer (F_MAIN). A step joins the node that computes its first
 * operand where nobody else reads that value; an addition joins the operand computed last, and reads the other one as
 * it lies in memory, quantized where it is. A dequantize of quantized data with several readers is repeated in each, so
 * that real numbers do not travel. What is left heads a layer of its own, behind a copy where it cannot do so itself.
 */
#include "rewrite.h"
#include <string.h>

enum { MOST_STEPS = 16 }; /* an epilogue's, so that its constants find registers */

static bool can_host(const Node *node) {
  static const Op without_epilogue[] = {OP_ARGMAX, OP_SOFTMAX, OP_RESHAPE, OP_FLATTEN};
  for (size_t i = 0; i < sizeof without_epilogue / sizeof without_epilogue[0]; i++)
    if (node->op == without_epilogue[i]) return false;
  return (op_info[node->op].flags & F_MAIN) != 0;
}

/* Defined before node `n` runs. */
static bool is_defined_before(const Graph *g, ValueId v, NodeId n) {
  NodeId definition = graph_definition(g, v);
  return definition == NO_NODE || definition < n;
}

/* The operand that an addition reads in place of v: what a dequantize reads, if v is one, else v. */
static ValueId without_dequantize(const Graph *g, ValueId v) {
  const Node *node = defined_by(g, v, OP_DEQUANTIZE);
  return node ? node->inputs[0] : v;
}

/* Operand `i` of node n comes from a node that can take n into its epilogue. */
static bool can_join(const Graph *g, NodeId n, uint32_t i) {
  const Node *node = &g->nodes[n];
  ValueId v = node->inputs[i];
  NodeId host = graph_definition(g, v);
  if (host == NO_NODE || !is_private(g, v) || !can_host(&g->nodes[host])) return false;
  if (g->nodes[host].step_count + 1 + node->step_count > MOST_STEPS) return false;
  for (uint32_t j = 0; j < node->input_count; j++) {
    ValueId other = node->op == OP_ADD ? without_dequantize(g, node->inputs[j]) : node->inputs[j];
    if (j != i && !is_defined_before(g, other, host)) return false;
  }
  for (uint32_t s = 0; s < node->step_count; s++)
    for (uint32_t j = 0; j < node->steps[s].arg_count; j++)
      if (!is_defined_before(g, node->steps[s].args[j], host)) return false;
  return true;
}

/* Which operand's layer an addition had better join: one that does more than convert, then the later one. */
static uint32_t choose_operand(const Graph *g, const Node *add) {
  bool converts[2];
  NodeId at[2];
  for (int i = 0; i < 2; i++) {
    at[i] = graph_definition(g, add->inputs[i]);
    converts[i] = defined_by(g, add->inputs[i], OP_DEQUANTIZE) != NULL;
  }
  if (converts[0] != converts[1]) return converts[0] ? 1 : 0;
  return at[1] != NO_NODE && (at[0] == NO_NODE || at[1] > at[0]) ? 1 : 0;
}

/* The operand through which n joins a layer; input_count if it heads its own. */
static uint32_t joining_operand(const Graph *g, NodeId n) {
  const Node *node = &g->nodes[n];
  uint32_t first = node->op == OP_ADD ? choose_operand(g, node) : 0;
  if (can_join(g, n, first)) return first;
  if (node->op == OP_ADD && can_join(g, n, 1 - first)) return 1 - first;
  return node->input_count;
}

static void append_as_step(Graph *g, NodeId host, const Node *node, uint32_t operand) {
  ValueId args[4];
  uint32_t count = 0;
  for (uint32_t i = 0; i < node->input_count; i++)
    if (i != operand) args[count++] = node->op == OP_ADD ? without_dequantize(g, node->inputs[i]) : node->inputs[i];
  Type type = node->step_count ? node->main_type : *graph_type(g, node->result);
  graph_append_step(g, host, node->op, &node->attrs, args, count, type);
}

static void join(Graph *g, NodeId n, uint32_t operand) {
  Node node = g->nodes[n];
  NodeId host = graph_definition(g, node.inputs[operand]);
  append_as_step(g, host, &node, operand);
  for (uint32_t s = 0; s < node.step_count; s++) {
    const Step *step = &node.steps[s];
    graph_append_step(g, host, step->op, &step->attrs, step->args, step->arg_count, step->type);
  }
  graph_take_result(g, host, n);
}

/* v is a dequantize of quantized data that others read too. */
static bool is_shared_dequantize(const Graph *g, ValueId v) {
  const Node *node = defined_by(g, v, OP_DEQUANTIZE);
  return node && type_is_quantized(graph_type(g, node->inputs[0])) && graph_use_count(g, v) > 1;
}

/* Gives node n a dequantize of its own in front of it. */
static void repeat_dequantize(Graph *g, NodeId n, uint32_t operand) {
  const Node *shared = defining_node(g, g->nodes[n].inputs[operand]);
  ValueId source = shared->inputs[0];
  ValueId own = graph_insert_node(g, n, OP_DEQUANTIZE, &shared->attrs, &source, 1, *graph_type(g, shared->result), NULL,
                                  shared->loc);
  graph_set_input(g, n + 1, operand, own);
}

/* A step without a layer to join: COPY heads it if it cannot head itself. */
static void head_with_copy(Graph *g, NodeId n) {
  if (op_info[g->nodes[n].op].flags & F_MAIN) return;
  ValueId source = g->nodes[n].inputs[0];
  Attrs none = attrs_default();
  ValueId copy = graph_insert_node(g, n, OP_COPY, &none, &source, 1, *graph_type(g, source), NULL, g->nodes[n].loc);
  graph_set_input(g, n + 1, 0, copy);
  join(g, n + 1, 0);
}

static void fuse_node(Graph *g, NodeId n) {
  const Node *node = &g->nodes[n];
  if (node->op == OP_DEQUANTIZE && is_shared_dequantize(g, node->result)) return;
  uint32_t operand = joining_operand(g, n);
  if (operand < node->input_count) {
    join(g, n, operand);
    return;
  }
  for (uint32_t i = 0; i < (node->op == OP_ADD ? 2u : 1u); i++)
    if (is_shared_dequantize(g, node->inputs[i])) {
      repeat_dequantize(g, n, i);
      join(g, n + 1, i);
      return;
    }
  head_with_copy(g, n);
}

bool pass_fuse(Graph *g, const PassOptions *options) {
  (void)options;
  for (NodeId n = 0; n < g->node_count; n++)
    if (g->nodes[n].op != OP_NONE && (op_info[g->nodes[n].op].flags & F_STEP)) fuse_node(g, n);
  graph_compact(g);
  return true;
}
