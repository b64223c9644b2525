/* thresholds: a chain of elementwise steps from an integer down to a quantize of few bits becomes integer thresholds.
 *
 *     q = q_min + sum_i ((x ^ flip[c]) >= t[c][i])
 *
 * x is the level of the chain's source: an i32 sum, or a quantized value. The thresholds are found by bisecting the
 * reference function of the chain itself (eval_chain) over the levels that x can reach, so counting gives its bits
 * exactly. That holds where the chain is monotone on every channel: each of its steps must be monotone in its rounded
 * form (chain.h), which for finite operands is a fact of its constants; and the real numbers in between must be finite
 * at both ends of the range, and therefore everywhere inside. A falling channel has flip -1: x ^ -1 = -1 - x rises
 * where x falls. A level out of reach has the threshold INT32_MAX, which no source attains.
 */
#include "chain.h"
#include <math.h>
#include <string.h>

enum { MOST_BITS = 4 }; /* 15 comparisons a result; with more, computing the chain is cheaper */

typedef struct Chain {
  ValueId source;
  Step *steps;
  uint32_t count;
  Type source_type, result_type;
  int64_t least, count_of_levels; /* levels least + i * spacing, 0 <= i < count_of_levels */
  int32_t spacing;
} Chain;

static Step step_of_node(const Graph *g, const Node *node) {
  Step step = {.op = node->op, .attrs = node->attrs, .type = *graph_type(g, node->result)};
  step.arg_count = node->input_count - 1;
  memcpy(step.args, node->inputs + 1, step.arg_count * sizeof step.args[0]);
  return step;
}

/* Walks back from `last` through links that nobody else reads, and returns how many of them lead to the farthest
 * integer source, which is stored; 0 if there is none. A dequantize at the source may have other readers. */
static uint32_t find_source(const Graph *g, NodeId last, ValueId *source) {
  uint32_t links = 0, found = 0;
  for (NodeId n = last; n != NO_NODE && is_chain_link(g, &g->nodes[n]); n = graph_definition(g, *source)) {
    const Node *node = &g->nodes[n];
    bool shared = n != last && !is_private(g, node->result);
    if (shared && node->op != OP_DEQUANTIZE) break;
    links++;
    ValueId operand = node->inputs[0];
    if (type_is_integer(graph_type(g, operand))) found = links;
    if (shared) break;
    *source = operand;
  }
  ValueId v = g->nodes[last].result;
  for (uint32_t i = 0; i < found; i++) v = defining_node(g, v)->inputs[0];
  *source = v;
  return found;
}

/* The levels that the source can take. False if they may leave the range in which INT32_MAX means never. */
static bool find_levels(const Graph *g, Chain *chain) {
  const Type *t = &chain->source_type;
  if (type_is_quantized(t)) {
    chain->least = type_level_min(t);
    chain->spacing = type_level_map(t).mult;
    chain->count_of_levels = ((int64_t)type_level_max(t) - chain->least) / chain->spacing + 1;
    return true;
  }
  int64_t bound = value_bound(g, chain->source);
  chain->least = -bound;
  chain->spacing = 1;
  chain->count_of_levels = 2 * bound + 1;
  return bound <= ACCUMULATOR_LIMIT;
}

/* The chain that ends in node `last`; false if it has no integer source. */
static bool collect_chain(Graph *g, NodeId last, Chain *chain) {
  chain->count = find_source(g, last, &chain->source);
  if (!chain->count) return false;
  chain->source_type = *graph_type(g, chain->source);
  chain->result_type = *graph_type(g, g->nodes[last].result);
  chain->steps = ARENA_NEW(g->context, Step, chain->count);
  NodeId n = last;
  for (uint32_t i = chain->count; i-- > 0; n = graph_definition(g, g->nodes[n].inputs[0]))
    chain->steps[i] = step_of_node(g, &g->nodes[n]);
  return find_levels(g, chain);
}

static int32_t level_at(const Chain *chain, int64_t index) {
  return (int32_t)(chain->least + index * chain->spacing);
}

static int32_t chain_q(const Graph *g, const Chain *chain, int64_t index, uint32_t channel) {
  return eval_chain(g, &chain->source_type, chain->steps, chain->count, level_at(chain, index), (int32_t)channel, NULL);
}

/* Every real number along the chain is finite at this level. */
static bool is_finite_along(const Graph *g, const Chain *chain, int64_t index, uint32_t channel) {
  for (uint32_t count = 1; count <= chain->count; count++) {
    if (chain->steps[count - 1].type.kind != ELEM_F32) continue;
    float real = 0;
    eval_chain(g, &chain->source_type, chain->steps, count, level_at(chain, index), (int32_t)channel, &real);
    if (!isfinite(real)) return false;
  }
  return true;
}

/* +1: the chain rises on the channel, -1: it falls, 0: neither is sure. */
static int chain_direction(const Graph *g, const Chain *chain, NodeId last, uint32_t channel) {
  int direction = 1;
  NodeId n = last;
  for (uint32_t i = 0; i < chain->count; i++, n = graph_definition(g, g->nodes[n].inputs[0])) {
    Slope slope = step_slope(g, &g->nodes[n], channel);
    if (slope == SLOPE_UNKNOWN) return 0;
    if (slope == SLOPE_FALLING) direction = -direction;
  }
  bool finite = is_finite_along(g, chain, 0, channel) && is_finite_along(g, chain, chain->count_of_levels - 1, channel);
  return finite ? direction : 0;
}

/* Least number of steps, from the end where the chain is least, after which it reaches q; levels' count if never.
 * `from` is a number known not to pass it. */
static int64_t bisect(const Graph *g, const Chain *chain, int direction, uint32_t channel, int32_t q, int64_t from) {
  int64_t low = from, high = chain->count_of_levels; /* below low: less than q; from high on: q or more, or the end */
  while (low < high) {
    int64_t middle = low + (high - low) / 2;
    int64_t index = direction > 0 ? middle : chain->count_of_levels - 1 - middle;
    if (chain_q(g, chain, index, channel) >= q)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

static void find_thresholds(const Graph *g, const Chain *chain, int direction, uint32_t channel, int32_t *t) {
  int32_t q_min = type_q_min(&chain->result_type), q_max = type_q_max(&chain->result_type);
  int64_t steps = 0;
  for (int32_t q = q_min + 1; q <= q_max; q++) {
    steps = bisect(g, chain, direction, channel, q, steps);
    int32_t *threshold = &t[q - q_min - 1];
    if (steps == chain->count_of_levels)
      *threshold = INT32_MAX;
    else if (direction > 0)
      *threshold = level_at(chain, steps);
    else
      *threshold = -1 - level_at(chain, chain->count_of_levels - 1 - steps);
  }
}

static ValueId add_table(Graph *g, const char *name, const char *part, int rank, int32_t rows, int32_t columns,
                         const int32_t *data) {
  int32_t dim[2] = {rows, columns};
  Type type = type_make(ELEM_I32, 32, false, rank, dim);
  return graph_add_const(g, arena_printf(g->context, "%s.%s", name, part), type, data);
}

static bool rows_are_equal(const int32_t *t, const int32_t *flip, int32_t rows, int32_t columns) {
  for (int32_t r = 1; r < rows; r++)
    if (flip[r] != flip[0] || memcmp(t + (size_t)r * columns, t, (size_t)columns * sizeof *t) != 0) return false;
  return true;
}

static void replace_by_thresholds(Graph *g, NodeId last, const Chain *chain, const int32_t *t, const int32_t *flip,
                                  int32_t rows, int32_t columns) {
  if (rows_are_equal(t, flip, rows, columns)) rows = 1;
  const char *name = graph_value(g, g->nodes[last].result)->name;
  ValueId inputs[3] = {chain->source, add_table(g, name, "thresholds", 2, rows, columns, t),
                       add_table(g, name, "flip", 1, rows, 1, flip)};
  become(g, last, OP_THRESHOLDS, NULL, inputs, 3);
}

static void threshold_chain(Graph *g, NodeId last) {
  Chain chain;
  if (!collect_chain(g, last, &chain)) return;
  int32_t rows = type_channels(&chain.result_type);
  int32_t columns = type_q_max(&chain.result_type) - type_q_min(&chain.result_type);
  int32_t *t = ARENA_NEW(g->context, int32_t, (size_t)rows * columns), *flip = ARENA_NEW(g->context, int32_t, rows);
  for (int32_t c = 0; c < rows; c++) {
    int direction = chain_direction(g, &chain, last, (uint32_t)c);
    if (direction == 0) return;
    flip[c] = direction > 0 ? 0 : -1;
    find_thresholds(g, &chain, direction, (uint32_t)c, t + (size_t)c * columns);
  }
  replace_by_thresholds(g, last, &chain, t, flip, rows, columns);
}

bool pass_thresholds(Graph *g, const PassOptions *options) {
  (void)options;
  for (NodeId n = 0; n < g->node_count; n++) {
    const Node *node = &g->nodes[n];
    if (node->op == OP_QUANTIZE && node_is_plain(node) && graph_type(g, node->result)->bits <= MOST_BITS)
      threshold_chain(g, n);
  }
  graph_compact(g);
  return true;
}
