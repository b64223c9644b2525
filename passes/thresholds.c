/* thresholds: a chain of elementwise steps from an integer down to a quantize of few bits becomes integer thresholds.
 *
 *     q = q_min + sum_i ((x ^ flip[c]) >= t[c][i])
 *
 * x is the level of the chain's source: an i32 sum, or a quantized value. The thresholds are found by searching the
 * reference function of the chain itself (eval_chain) over the levels that x can reach, so counting gives its bits
 * exactly. That holds where the chain is monotone on every channel: each of its steps must be monotone in its rounded
 * form (chain.h), which for finite operands is a fact of its constants; and the real numbers in between must be finite
 * at both ends of the range, and therefore everywhere inside. A falling channel has flip -1: x ^ -1 = -1 - x rises
 * where x falls. A level out of reach has the threshold INT32_MAX, which no source attains.
 *
 * One step of the chain may add a second activation, quantized to few bits (a residual), or be thresholds that have
 * one. For each of its numbers, the r-th, the chain is such a function too, in a direction that does not depend on r;
 * t[c] holds a row of thresholds for each r.
 */
#include "../ir/requantize.h"
#include "chain.h"
#include <math.h>
#include <string.h>

enum {
  MOST_BITS = 4,                 /* of the result: 15 comparisons; with more, computing the chain is cheaper */
  MOST_LOOKED_UP = 64,           /* thresholds a channel, where a second activation has a row for each of its numbers */
  MOST_TABLE = MOST_REQUANTIZED, /* where a product counts them instead (../ir/requantize.h) */
};
static const uint32_t NO_OPERAND = UINT32_MAX;

typedef struct Chain {
  ValueId source, other; /* other: the activation that is added, or NO_VALUE */
  NodeId *nodes;
  Step *steps; /* the nodes, each as a step on what the one before gives */
  uint32_t count;
  Type source_type, result_type;
  int64_t least, count_of_levels; /* levels least + i * spacing, 0 <= i < count_of_levels */
  int32_t spacing;
  int32_t other_min, numbers; /* of `other`: least q and how many there are; 0 and 1 without */
} Chain;

/* --- the chain --- */

static int32_t numbers_of(const Type *t) {
  return type_q_max(t) - type_q_min(t) + 1;
}

/* What v was dequantized from, if that is quantized; else NO_VALUE. */
static ValueId quantized_behind(const Graph *g, ValueId v) {
  const Node *node = defined_by(g, v, OP_DEQUANTIZE);
  return node && type_is_quantized(graph_type(g, node->inputs[0])) ? node->inputs[0] : NO_VALUE;
}

/* Whether a value (or NO_VALUE) can be the second activation of thresholds to a result type. */
static bool has_few_numbers(const Graph *g, ValueId other, const Type *result) {
  return other != NO_VALUE && numbers_of(graph_type(g, other)) * (numbers_of(result) - 1) <= MOST_TABLE;
}

/* A value's position in the order of nodes: the greater, the later it is computed. */
static uint32_t computed_at(const Graph *g, ValueId v) {
  NodeId n = graph_definition(g, v);
  return n == NO_NODE ? 0 : n + 1;
}

/* The operand of an addition that is not the second activation; of two that could be that, the one computed later. */
static uint32_t operand_of_add(const Graph *g, const Node *add, const Type *result) {
  ValueId other[2] = {quantized_behind(g, add->inputs[0]), quantized_behind(g, add->inputs[1])};
  bool few[2] = {has_few_numbers(g, other[0], result), has_few_numbers(g, other[1], result)};
  if (few[0] && few[1]) return computed_at(g, other[1]) > computed_at(g, other[0]) ? 1 : 0;
  return few[1] ? 0 : few[0] ? 1 : NO_OPERAND;
}

/* The operand through which a chain to a result type goes back over a node; NO_OPERAND if it is no link of one. Nodes
 * with a second activation are links where `adds` says so. */
static uint32_t operand_of_link(const Graph *g, NodeId n, const Type *result, bool adds) {
  const Node *node = &g->nodes[n];
  if (is_chain_link(g, node)) return 0;
  if (!adds || !node_is_plain(node)) return NO_OPERAND;
  if (node->op == OP_ADD) return operand_of_add(g, node, result);
  if (node->op == OP_THRESHOLDS && node->input_count == 4 && has_few_numbers(g, node->inputs[3], result)) return 0;
  return NO_OPERAND;
}

/* The node as a step on its operand. An addition reads what its other operand was dequantized from. */
static Step step_of_node(const Graph *g, const Node *node, uint32_t operand) {
  Step step = {.op = node->op, .attrs = node->attrs, .type = *graph_type(g, node->result)};
  for (uint32_t i = 0; i < node->input_count; i++)
    if (i != operand)
      step.args[step.arg_count++] = node->op == OP_ADD ? quantized_behind(g, node->inputs[i]) : node->inputs[i];
  return step;
}

/* How many links, from node `last` back through values that nobody else reads, lead to the farthest integer source; 0
 * if there is none. A dequantize at the source may have other readers. At most one link has a second activation. */
static uint32_t count_links(const Graph *g, NodeId last, bool adds) {
  const Type *result = graph_type(g, g->nodes[last].result);
  uint32_t links = 0, found = 0;
  for (NodeId n = last; n != NO_NODE;) {
    const Node *node = &g->nodes[n];
    uint32_t operand = operand_of_link(g, n, result, adds);
    bool shared = n != last && !is_private(g, node->result);
    if (operand == NO_OPERAND || (shared && node->op != OP_DEQUANTIZE)) break;
    links++;
    adds = adds && is_chain_link(g, node);
    if (type_is_integer(graph_type(g, node->inputs[operand]))) found = links;
    if (shared) break;
    n = graph_definition(g, node->inputs[operand]);
  }
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

static void find_other(const Graph *g, Chain *chain) {
  chain->other = NO_VALUE;
  chain->numbers = 1;
  for (uint32_t i = 0; i < chain->count; i++) {
    ValueId other = step_operand(&chain->steps[i]);
    if (other == NO_VALUE) continue;
    chain->other = other;
    chain->other_min = type_q_min(graph_type(g, chain->other));
    chain->numbers = numbers_of(graph_type(g, chain->other));
  }
}

/* The chain that ends in node `last`; false if it has no integer source. */
static bool collect_chain(Graph *g, NodeId last, bool adds, Chain *chain) {
  *chain = (Chain){.count = count_links(g, last, adds), .result_type = *graph_type(g, g->nodes[last].result)};
  if (!chain->count) return false;
  chain->steps = ARENA_NEW(g->context, Step, chain->count);
  chain->nodes = ARENA_NEW(g->context, NodeId, chain->count);
  NodeId n = last;
  for (uint32_t i = chain->count; i-- > 0;) {
    uint32_t operand = operand_of_link(g, n, &chain->result_type, adds);
    chain->nodes[i] = n;
    chain->steps[i] = step_of_node(g, &g->nodes[n], operand);
    chain->source = g->nodes[n].inputs[operand];
    n = graph_definition(g, chain->source);
  }
  chain->source_type = *graph_type(g, chain->source);
  find_other(g, chain);
  return find_levels(g, chain);
}

/* --- thresholds --- */

static int32_t level_at(const Chain *chain, int64_t index) {
  return (int32_t)(chain->least + index * chain->spacing);
}

static int32_t chain_q(const Graph *g, const Chain *chain, int64_t index, int32_t r, uint32_t channel) {
  return eval_chain(g, &chain->source_type, chain->steps, chain->count, level_at(chain, index), chain->other_min + r,
                    (int32_t)channel, NULL);
}

/* Every real number along the chain is finite at this level of the source and this number of `other`. */
static bool is_finite_at(const Graph *g, const Chain *chain, int64_t index, int32_t r, uint32_t channel) {
  for (uint32_t count = 1; count <= chain->count; count++) {
    if (chain->steps[count - 1].type.kind != ELEM_F32) continue;
    float real = 0;
    eval_chain(g, &chain->source_type, chain->steps, count, level_at(chain, index), chain->other_min + r,
               (int32_t)channel, &real);
    if (!isfinite(real)) return false;
  }
  return true;
}

static bool is_finite_along(const Graph *g, const Chain *chain, uint32_t channel) {
  int64_t last = chain->count_of_levels - 1;
  for (int32_t r = 0; r < chain->numbers; r++)
    if (!is_finite_at(g, chain, 0, r, channel) || !is_finite_at(g, chain, last, r, channel)) return false;
  return true;
}

/* +1: the chain rises on the channel, -1: it falls, 0: neither is sure. */
static int chain_direction(const Graph *g, const Chain *chain, uint32_t channel) {
  int direction = 1;
  for (uint32_t i = 0; i < chain->count; i++) {
    Slope slope = step_slope(g, &g->nodes[chain->nodes[i]], channel);
    if (slope == SLOPE_UNKNOWN) return 0;
    if (slope == SLOPE_FALLING) direction = -direction;
  }
  return is_finite_along(g, chain, channel) ? direction : 0;
}

/* Thresholds of one channel under way, counted in steps from the end where the chain is least. */
typedef struct Search {
  const Graph *g;
  const Chain *chain;
  int direction;
  uint32_t channel;
  int32_t columns;           /* thresholds a row */
  int64_t steps[MOST_TABLE]; /* [r][columns] */
} Search;

/* Where threshold i of row r would lie if the chain were a straight line before its last step; -1: unknown. */
static int64_t expected_steps(const Search *s, int32_t r, int32_t i) {
  const int64_t *at = &s->steps[r * s->columns + i], *above = at - s->columns;
  if (r > 0 && i > 0) return above[0] + at[-1] - above[-1];
  if (r > 1) return 2 * above[0] - above[-s->columns];
  return i > 1 ? 2 * at[-1] - at[-2] : -1;
}

/* Least number of steps after which the chain reaches q; levels' count if never. `low` is a number known not to pass
 * it. The search goes out from the expected number, by doubling, and then halves what is left. */
static int64_t find_steps(const Search *s, int32_t q, int32_t r, int64_t low, int64_t expected) {
  int64_t high = s->chain->count_of_levels; /* below low: less than q; from high on: q or more, or the end */
  int64_t probe = expected, reach = expected >= low && expected < high ? 1 : high;
  while (low < high) {
    int64_t middle = probe >= low && probe < high ? probe : low + (high - low) / 2;
    int64_t index = s->direction > 0 ? middle : s->chain->count_of_levels - 1 - middle;
    bool reached = chain_q(s->g, s->chain, index, r, s->channel) >= q;
    probe = reached ? middle - reach : middle + reach;
    reach *= 2;
    if (reached)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

static int32_t threshold_at(const Search *s, int64_t steps) {
  const Chain *chain = s->chain;
  if (steps == chain->count_of_levels) return INT32_MAX;
  return s->direction > 0 ? level_at(chain, steps) : -1 - level_at(chain, chain->count_of_levels - 1 - steps);
}

/* Whether a kernel that has the thresholds of a channel can do with them: with long tables only by a product, if the
 * source is a sum whose bound it knows. */
static bool serves(const Search *s, const int32_t *t, int32_t flip) {
  const Chain *chain = s->chain;
  if (chain->numbers * s->columns <= MOST_LOOKED_UP) return true;
  bool is_sum = defined_by(s->g, chain->source, OP_CONV2D) || defined_by(s->g, chain->source, OP_LINEAR);
  ThresholdRows rows = {.t = t, .numbers = chain->numbers, .levels = s->columns, .flip = flip};
  rows.first = type_q_min(&chain->result_type);
  rows.least = level_at(chain, 0);
  rows.most = level_at(chain, chain->count_of_levels - 1);
  Requantizer unused;
  return is_sum && is_private(s->g, chain->source) && requantizer_find(&rows, &unused);
}

static void find_thresholds(Search *s, int32_t *t) {
  int32_t first_q = type_q_min(&s->chain->result_type) + 1;
  for (int32_t r = 0; r < s->chain->numbers; r++)
    for (int32_t i = 0; i < s->columns; i++) {
      int32_t at = r * s->columns + i;
      s->steps[at] = find_steps(s, first_q + i, r, i ? s->steps[at - 1] : 0, expected_steps(s, r, i));
      t[at] = threshold_at(s, s->steps[at]);
    }
}

/* --- the step --- */

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
  ValueId inputs[4] = {chain->source, add_table(g, name, "thresholds", 2, rows, columns, t),
                       add_table(g, name, "flip", 1, rows, 1, flip), chain->other};
  become(g, last, OP_THRESHOLDS, NULL, inputs, chain->other == NO_VALUE ? 3 : 4);
}

/* False, and the chain stays, where it is not known to be monotone, or its thresholds would serve no kernel. */
static bool threshold_chain(Graph *g, NodeId last, bool adds) {
  Chain chain;
  if (!collect_chain(g, last, adds, &chain)) return false;
  Search search = {.g = g, .chain = &chain, .columns = numbers_of(&chain.result_type) - 1};
  int32_t rows = type_channels(&chain.result_type), columns = chain.numbers * search.columns;
  int32_t *t = ARENA_NEW(g->context, int32_t, (size_t)rows * columns), *flip = ARENA_NEW(g->context, int32_t, rows);
  for (int32_t c = 0; c < rows; c++) {
    search.channel = (uint32_t)c;
    search.direction = chain_direction(g, &chain, search.channel);
    if (search.direction == 0) return false;
    flip[c] = search.direction > 0 ? 0 : -1;
    find_thresholds(&search, t + (size_t)c * columns);
    if (!serves(&search, t + (size_t)c * columns, flip[c])) return false;
  }
  replace_by_thresholds(g, last, &chain, t, flip, rows, columns);
  return true;
}

bool pass_thresholds(Graph *g, const PassOptions *options) {
  (void)options;
  for (NodeId n = 0; n < g->node_count; n++) {
    const Node *node = &g->nodes[n];
    if (node->op == OP_QUANTIZE && node_is_plain(node) && graph_type(g, node->result)->bits <= MOST_BITS &&
        !threshold_chain(g, n, true))
      threshold_chain(g, n, false);
  }
  graph_compact(g);
  return true;
}
