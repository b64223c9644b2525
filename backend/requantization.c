/* Which thresholds of a layer a product can count (../ir/requantize.h): those of whose channels every one has a
 * requantizer that is right at every number that can come in.
 */
#include "emit.h"

typedef struct SearchedStep {
  bool searched;
  const Requantization *found;
} SearchedStep;

/* Levels that can come into a step. */
static void find_reach(const Kernel *k, uint32_t step, ThresholdRows *rows) {
  const Type *in = step ? &k->node->steps[step - 1].type : &k->node->main_type;
  int64_t bound = step ? 0 : accumulator_bound(k->graph, graph_definition(k->graph, k->node->result));
  bool is_sum = bound > 0 && bound <= ACCUMULATOR_LIMIT;
  rows->least = type_is_quantized(in) ? type_level_min(in) : is_sum ? (int32_t)-bound : INT32_MIN;
  rows->most = type_is_quantized(in) ? type_level_max(in) : is_sum ? (int32_t)bound : INT32_MAX;
}

static const Requantization *search(Kernel *k, uint32_t step) {
  const Graph *g = k->graph;
  const Step *s = &k->node->steps[step];
  if (s->op != OP_THRESHOLDS) return NULL;
  const Value *table = graph_value(g, s->args[0]), *flips = graph_value(g, s->args[1]);
  ValueId other = step_operand(s);
  int numbers = other == NO_VALUE ? 1 : type_q_max(graph_type(g, other)) - type_q_min(graph_type(g, other)) + 1;
  ThresholdRows rows = {.numbers = numbers, .levels = table->type.dim[1] / numbers, .first = type_q_min(&s->type)};
  if (table->type.dim[1] == 1) return NULL;
  find_reach(k, step, &rows);
  int32_t count = table->type.dim[0] > flips->type.dim[0] ? table->type.dim[0] : flips->type.dim[0];
  Requantizer *of_row = ARENA_NEW(g->context, Requantizer, count);
  bool has_gain = false;
  for (int32_t r = 0; r < count; r++) {
    rows.t = constant_row(table, r);
    rows.flip = *constant_row(flips, r);
    if (!requantizer_find(&rows, &of_row[r])) return NULL;
    has_gain |= !requantizer_is_plain(&of_row[r]);
  }
  Requantization *found = ARENA_NEW(g->context, Requantization, 1);
  *found = (Requantization){rows.levels, numbers, count, has_gain, of_row};
  return found;
}

const Requantization *requantization_of(Kernel *k, uint32_t step) {
  if (!k->searched) k->searched = ARENA_NEW(k->graph->context, SearchedStep, k->node->step_count);
  SearchedStep *s = &k->searched[step];
  if (!s->searched) *s = (SearchedStep){true, search(k, step)};
  return s->found;
}
