/* A layer by itself, on an engine, in the layouts that suit the engine: what the engine pass estimates with before any
 * layout or tile is chosen.
 *
 * The trial's graph has three values (operand, weights, result) and is for estimates alone: no steps' operands, no
 * names.
 */
#include "tile.h"

enum { OPERAND, WEIGHTS, RESULT, VALUES };

static Layout operand_layout(const Node *node, const Type *t, Engine engine, uint32_t batch) {
  if (!engine_reads_pieces(engine)) return preferred_layout(t, engine);
  Pitches p = pitches_of_operand(node, t);
  return layout_pieces(t, engine_operand[engine], p.row, p.row * p.rows, batch);
}

double trial_microseconds(const Graph *g, const Node *node, Engine engine, const PassOptions *options) {
  Value values[VALUES] = {*graph_value(g, node->inputs[0]), *graph_value(g, node->inputs[1]),
                          *graph_value(g, node->result)};
  ValueId inputs[] = {OPERAND, WEIGHTS};
  Graph trial = {.context = g->context, .values = values, .value_count = VALUES, .max_batch = options->max_batch};
  Node layer = *node;
  Type *result = &values[RESULT].type;
  values[OPERAND].type.layout = operand_layout(node, &values[OPERAND].type, engine, options->max_batch);
  result->layout = preferred_layout(result, engine == ENGINE_MMA_S8 ? ENGINE_MMA_S8 : ENGINE_MMA_B1);
  layer.inputs = inputs;
  layer.input_count = 2;
  layer.result = RESULT;
  layer.engine = engine;
  layer.tile = best_tile(&trial, &layer, options);
  return layer.tile.m ? tile_microseconds(&trial, &layer, options) : -1;
}
