/* The pitches of tensors in pieces: how many positions lie between rows and between images.
 *
 * A layer on wgmma needs gaps as wide as its padding, and room for its result, whose positions are those of its
 * operand: so where the result is read by such a layer too, both have the same pitches. Pitches only grow until all
 * layers have what they need.
 */
#include "plan.h"

static bool raise_to(Pitches *p, uint32_t row, uint32_t rows) {
  bool raised = p->row < row || p->rows < rows;
  if (p->row < row) p->row = row;
  if (p->rows < rows) p->rows = rows;
  return raised;
}

static uint32_t greatest(int32_t a, int32_t b, int32_t c) {
  int32_t most = a > b ? a : b;
  return (uint32_t)(most > c ? most : c);
}

Pitches pitches_of_operand(const Node *node, const Type *operand) {
  const Attrs *a = &node->attrs;
  Image in = type_image(operand), out = type_image(&node->main_type);
  if (node->op == OP_LINEAR) return (Pitches){(uint32_t)in.width, (uint32_t)in.height};
  return (Pitches){greatest(in.width + a->pad[1], in.width + a->pad[3], out.width),
                   greatest(in.height + a->pad[0], in.height + a->pad[2], out.height)};
}

static bool raise_for_layer(const Graph *g, const Node *node, Pitches *operand) {
  Pitches needed = pitches_of_operand(node, graph_type(g, node->inputs[0]));
  return raise_to(operand, needed.row, needed.rows);
}

static bool read_on_wgmma(const Graph *g, ValueId v) {
  for (NodeId n = 0; n < g->node_count; n++) {
    const Node *node = &g->nodes[n];
    if (node->input_count == 0 || node->inputs[0] != v) continue;
    if (engine_reads_pieces(node->engine) || (node->engine == ENGINE_VIEW && read_on_wgmma(g, node->result)))
      return true;
  }
  return false;
}

/* Views pass pitches on: both have one memory. */
static bool raise_together(Pitches *a, Pitches *b) {
  bool raised = raise_to(a, b->row, b->rows);
  return raise_to(b, a->row, a->rows) || raised;
}

Pitches *pitches_of_pieces(const Graph *g) {
  Pitches *pitches = ARENA_NEW(g->context, Pitches, g->value_count);
  bool *joined = ARENA_NEW(g->context, bool, g->node_count);
  for (ValueId v = 0; v < g->value_count; v++) {
    Image image = type_image(graph_type(g, v));
    pitches[v] = (Pitches){(uint32_t)image.width, (uint32_t)image.height};
  }
  for (NodeId n = 0; n < g->node_count; n++) {
    const Node *node = &g->nodes[n];
    joined[n] = node->engine == ENGINE_VIEW || (engine_reads_pieces(node->engine) && read_on_wgmma(g, node->result));
  }
  for (bool raised = true; raised;) {
    raised = false;
    for (NodeId n = 0; n < g->node_count; n++) {
      const Node *node = &g->nodes[n];
      Pitches *operand = &pitches[node->inputs[0]];
      if (engine_reads_pieces(node->engine)) raised = raise_for_layer(g, node, operand) || raised;
      if (joined[n]) raised = raise_together(operand, &pitches[node->result]) || raised;
    }
  }
  return pitches;
}
