/* A pass of one's own: relu in front of a quantize to unsigned numbers with zero point 0 goes away.
 *
 *     quantize(relu(x))  ->  quantize(x)
 *
 * Exact: quantize clamps to q_min = 0, so every x that relu would make +0 gives q = 0 either way, and a NaN gives
 * relu(NaN) = +0 -> q = 0 or, alone, q_min = 0. relu itself stays where something else reads it.
 */
#include <passes/passes.h>

static bool clamps_at_zero(const Type *t) {
  return t->kind == ELEM_UINT && t->zero2 == 0;
}

/* The relu that computes a value, as a node without epilogue steps; NULL otherwise. */
static const Node *relu_before(const Graph *g, ValueId v) {
  NodeId n = graph_definition(g, v);
  if (n == NO_NODE || g->nodes[n].op != OP_RELU || g->nodes[n].step_count) return NULL;
  return &g->nodes[n];
}

static bool run(Graph *g, const PassOptions *options) {
  (void)options;
  for (NodeId n = 0; n < g->node_count; n++) {
    const Node *node = &g->nodes[n];
    if (node->op != OP_QUANTIZE || !clamps_at_zero(graph_type(g, node->result))) continue;
    const Node *relu = relu_before(g, node->inputs[0]);
    if (relu) graph_set_input(g, n, 0, relu->inputs[0]);
  }
  graph_compact(g); /* drops every relu that nobody reads any more */
  return true;
}

APNN_PLUGIN_EXPORT const ApnnPlugin apnn_plugin = {
    .version = APNN_PLUGIN_VERSION,
    .after = "fold",
    .pass = {.name = "drop_relu",
             .about = "quantize to unsigned numbers clamps, so no relu is needed in front",
             .needs = PROP_FOLDED,
             .run = run},
};
