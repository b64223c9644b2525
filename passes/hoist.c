/* hoist: quantize, and the elementwise chain in front of it, moves above data movement.
 *
 *     quantize(chain(maxpool(x)))  ->  maxpool(quantize(chain(x)))      if every step of the chain never falls
 *     quantize(chain(upsample(x))) ->  upsample(quantize(chain(x)))
 *
 * Pooling then works on few bits, and the chain can join the layer that computes x. Exact: a maximum commutes with a
 * function that never falls; of zeros of two signs either one quantizes alike; a NaN, which a maximum ignores, acts
 * like -infinity in every step that chain.h calls SLOPE_RISING, and both quantize to the least q. Padding never wins.
 */
#include "chain.h"
#include <string.h>

static bool moves_data(const Node *node) {
  return node && node_is_plain(node) && (node->op == OP_MAXPOOL || node->op == OP_UPSAMPLE);
}

/* The node that moves data and whose result, through a private chain, ends in the quantize node; NO_NODE if none. */
static NodeId mover_before(const Graph *g, NodeId quantize) {
  bool rises = true;
  for (NodeId n = quantize; n != NO_NODE; n = graph_definition(g, g->nodes[n].inputs[0])) {
    const Node *node = &g->nodes[n];
    if (n != quantize && !is_private(g, node->result)) return NO_NODE;
    if (moves_data(node)) return node->op == OP_UPSAMPLE || rises ? n : NO_NODE;
    if (!is_chain_link(g, node)) return NO_NODE;
    rises = rises && step_rises(g, node);
  }
  return NO_NODE;
}

/* Repeats the chain from `mover`'s result to node `last` in front of `mover`, on `v`; returns the repeated end. `at` is
 * the position of the mover and follows it. */
static ValueId repeat_chain(Graph *g, NodeId *at, ValueId mover_result, NodeId last, ValueId v) {
  Node node = g->nodes[last];
  if (node.inputs[0] != mover_result) {
    NodeId position = *at;
    v = repeat_chain(g, at, mover_result, graph_definition(g, node.inputs[0]), v);
    last += *at - position;
    node = g->nodes[last];
  }
  ValueId *inputs = ARENA_NEW(g->context, ValueId, node.input_count);
  memcpy(inputs, node.inputs, node.input_count * sizeof *inputs);
  inputs[0] = v;
  Type type = type_reshaped(graph_type(g, node.result), graph_type(g, v));
  return graph_insert_node(g, (*at)++, node.op, &node.attrs, inputs, node.input_count, type,
                           graph_value(g, node.result)->name, node.loc);
}

/* Deletes the private nodes from the one that defines `v` back to the one that defines `first`. */
static void delete_chain(Graph *g, ValueId v, ValueId first) {
  for (bool more = true; more;) {
    NodeId n = graph_definition(g, v);
    more = v != first;
    v = g->nodes[n].inputs[0];
    graph_delete_node(g, n);
  }
}

/* The quantize node becomes the mover, on the chain's result; returns the chain's new last node. */
static NodeId hoist_above(Graph *g, NodeId mover, NodeId quantize) {
  Node old = g->nodes[mover];
  ValueId chain_end = g->nodes[quantize].inputs[0];
  NodeId at = mover;
  ValueId quantized = repeat_chain(g, &at, old.result, quantize, old.inputs[0]);
  become(g, quantize + (at - mover), old.op, &old.attrs, &quantized, 1);
  delete_chain(g, chain_end, old.result);
  return at - 1;
}

bool pass_hoist(Graph *g, const PassOptions *options) {
  (void)options;
  for (NodeId n = 0; n < g->node_count; n++) {
    if (g->nodes[n].op != OP_QUANTIZE || !node_is_plain(&g->nodes[n])) continue;
    NodeId mover = mover_before(g, n);
    /* Where x is an input or has other readers, it stays in memory as it is and moving the chain saves nothing. */
    if (mover == NO_NODE || !is_private(g, g->nodes[mover].inputs[0])) continue;
    n = hoist_above(g, mover, n) - 1; /* once more: the chain may stand behind another mover now */
  }
  graph_compact(g);
  return true;
}
