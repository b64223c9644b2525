/* The moves that passes make on a graph; see rewrite.h. */
#include "rewrite.h"
#include <string.h>

Node *defining_node(const Graph *g, ValueId v) {
  NodeId n = graph_definition(g, v);
  return n == NO_NODE ? NULL : &g->nodes[n];
}

bool node_is_plain(const Node *node) {
  return node->op != OP_NONE && node->step_count == 0;
}

Node *defined_by(const Graph *g, ValueId v, Op op) {
  Node *node = defining_node(g, v);
  return node && node->op == op && node_is_plain(node) ? node : NULL;
}

bool is_private(const Graph *g, ValueId v) {
  return graph_value(g, v)->kind == VALUE_RESULT && !graph_is_output(g, v) && graph_use_count(g, v) == 1;
}

bool replace_by_operand(Graph *g, NodeId node, ValueId v) {
  ValueId result = g->nodes[node].result;
  if (graph_is_output(g, result)) {
    if (graph_value(g, v)->kind != VALUE_RESULT || graph_is_output(g, v)) return false;
    const char *name = graph_value(g, result)->name;
    graph_rename(g, result, arena_printf(g->context, "%s.gone", name));
    graph_rename(g, v, name);
  }
  graph_delete_node(g, node);
  graph_replace_uses(g, result, v);
  return true;
}

void become(Graph *g, NodeId node, Op op, const Attrs *attrs, const ValueId *inputs, uint32_t input_count) {
  Node *n = &g->nodes[node];
  graph_set_inputs(g, node, inputs, input_count);
  n->op = op;
  n->attrs = attrs ? *attrs : attrs_default();
  infer_node(g, node);
}

Type type_reshaped(const Type *t, const Type *shape) {
  Type result = *t;
  result.rank = shape->rank;
  memcpy(result.dim, shape->dim, sizeof result.dim);
  return result;
}

float const_f32_at(const Graph *g, ValueId v, uint32_t channel) {
  const Value *value = graph_value(g, v);
  const float *data = value->data;
  return data[type_elements(&value->type) == 1 ? 0 : channel];
}

bool acts_on_all_channels_alike(const Graph *g, const Node *node) {
  for (uint32_t i = 1; i < node->input_count; i++)
    if (type_elements(graph_type(g, node->inputs[i])) != 1) return false;
  return graph_type(g, node->inputs[0])->scales == NO_VALUE && graph_type(g, node->result)->scales == NO_VALUE;
}
