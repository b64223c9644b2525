/* The beginning of a graph as a graph of its own, node by node in their order. */
#include "graph_part.h"

#include <string.h>

static ValueId gathered_constant(Graph *part, const Value *v, const ChannelCut *cut) {
  Type type = v->type;
  size_t row = type_dense_bytes(&type) / (size_t)type.dim[0];
  char *data = arena_alloc(part->context, row * (size_t)cut->count);
  for (int32_t i = 0; i < cut->count; i++)
    memcpy(data + (size_t)i * row, (const char *)v->data + (size_t)cut->channels[i] * row, row);
  type.dim[0] = cut->count;
  return graph_add_const(part, v->name, type, data);
}

/* The operand's value in the part; constants come along with their first use. `channels`: of the layer that is cut, 0
 * before it. */
static ValueId part_operand(Graph *part, const Graph *g, ValueId v, const ChannelCut *cut, int32_t channels,
                            ValueId *map) {
  const Value *value = graph_value(g, v);
  if (map[v] != NO_VALUE || value->kind != VALUE_CONST) return map[v];
  map[v] = channels && value->type.dim[0] == channels ? gathered_constant(part, value, cut)
                                                      : graph_add_const(part, value->name, value->type, value->data);
  return map[v];
}

static void add_part_node(Graph *part, const Graph *g, const Node *node, const ChannelCut *cut, int32_t channels,
                          ValueId *map) {
  ValueId *inputs = ARENA_NEW(g->context, ValueId, node->input_count);
  for (uint32_t i = 0; i < node->input_count; i++)
    inputs[i] = part_operand(part, g, node->inputs[i], cut, channels, map);
  const Value *result = graph_value(g, node->result);
  Type type = result->type;
  if (channels) type.dim[type.rank - 1] = cut->count;
  map[node->result] = graph_insert_node(part, part->node_count, node->op, &node->attrs, inputs, node->input_count, type,
                                        result->name, node->loc);
}

Graph *graph_part(const Graph *g, ValueId last, const ChannelCut *cut) {
  Graph *part = graph_new(g->context, g->name);
  ValueId *map = ARENA_NEW(g->context, ValueId, g->value_count);
  for (ValueId v = 0; v < g->value_count; v++) map[v] = NO_VALUE;
  for (uint32_t i = 0; i < (cut ? 1 : g->input_count); i++) {
    const Value *v = graph_value(g, g->inputs[i]);
    map[g->inputs[i]] = graph_add_input(part, v->name, v->type);
  }
  int32_t channels = 0;
  for (NodeId n = 0; n < g->node_count; n++) {
    const Node *node = &g->nodes[n];
    if (cut && node->result == cut->layer) channels = type_channels(graph_type(g, cut->layer));
    add_part_node(part, g, node, cut, channels, map);
    if (node->result == last) break;
  }
  if (last != NO_VALUE) graph_add_output(part, map[last]);
  for (uint32_t i = 0; last == NO_VALUE && i < g->output_count; i++) graph_add_output(part, map[g->outputs[i]]);
  return part;
}
