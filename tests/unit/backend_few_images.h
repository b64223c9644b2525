/* What the tests of the engines for few images share: plans with one layer under test, which are emitted or refused,
 * and fully connected layers by themselves, whose weights are packed. */
#ifndef TESTS_UNIT_BACKEND_FEW_IMAGES_H
#define TESTS_UNIT_BACKEND_FEW_IMAGES_H

#include "backend/weights.h"
#include "frontend/frontend.h"
#include "ir_sample.h"

/* --- plans --- */

typedef struct Plan {
  Context *context;
  Graph *g;
  const Target *target;
  Node *layer; /* under test */
} Plan;

/* Ends the plan; `said`: what was reported. */
static inline bool emits(Plan *p, char *said, size_t size) {
  Module module;
  bool good = backend_emit(p->g, p->target, &module);
  memset(said, 0, size);
  FILE *out = fmemopen(said, size - 1, "w");
  assert_non_null(out);
  diag_flush(p->context, out);
  fclose(out);
  context_free(p->context);
  return good;
}

static inline void refused(Plan *p, const char *words) {
  char said[4096];
  assert_false(emits(p, said, sizeof said));
  if (!strstr(said, words) || strstr(said, "internal")) fail_msg("'%s' is not in: %s", words, said);
}

/* --- layers --- */

typedef struct Layer {
  Context *context;
  Graph *g;
  Node node;
} Layer;

static inline Layer layer_new(Type x, Type w, Layout out, uint32_t batch, Engine engine, Tile tile) {
  Layer l = {.context = context_new(NULL)};
  Random r = {7};
  l.g = graph_new(l.context, "g");
  l.g->max_batch = batch;
  x.layout = layout_pieces(&x, engine_operand[engine], 1, 1, batch);
  ValueId *inputs = ARENA_NEW(l.context, ValueId, 2);
  inputs[0] = graph_add_input(l.g, "x", x);
  inputs[1] = graph_add_const(l.g, "w", w, random_elements(l.context, &r, &w, 1));
  Type y = type_make(ELEM_UINT, 2, true, 1, DIMS(w.dim[0]));
  y.layout = out;
  l.node = (Node){.op = OP_LINEAR, .attrs = attrs_default(), .inputs = inputs, .input_count = 2, .tile = tile};
  l.node.main_type = type_make(ELEM_I32, 32, true, 1, DIMS(w.dim[0]));
  l.node.engine = engine;
  l.node.result = graph_add_result(l.g, "y", y);
  return l;
}

/* The channel that a row of the result is, or -1. */
static inline int32_t channel_of_row(Layout l, int32_t channels, uint32_t row) {
  for (int32_t c = 0; c < channels; c++)
    if ((layout_orders_channels(l) ? layout_bit_of_channel(l, (uint32_t)c) : (uint32_t)c) == row) return c;
  return -1;
}

#endif
