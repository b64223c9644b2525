/* How large integer sums can become.
 *
 * For an output channel with weights' levels w and input levels in [lo, hi], the largest partial sum of any subset of
 * the products is the sum of max(0, w * lo, w * hi), the least that of min(0, w * lo, w * hi). No order of adding, and
 * no part of it that lies in padding, leaves that range.
 */
#include "eval.h"
#include <string.h>

#define SATURATED (INT64_C(1) << 40) /* far past any limit, far from overflow */

static int64_t greater(int64_t a, int64_t b) {
  return a > b ? a : b;
}
static int64_t lesser(int64_t a, int64_t b) {
  return a < b ? a : b;
}

static int64_t level_magnitude(const Type *t) {
  return greater(type_level_max(t), -(int64_t)type_level_min(t));
}

/* The greatest |partial sum| of one output channel, whose `count` weights start at `first`. */
static int64_t channel_bound(const Type *x, const Type *w, const void *weights, int64_t first, int64_t count) {
  LevelMap map = type_level_map(w);
  int64_t lo = type_level_min(x), hi = type_level_max(x), least = 0, most = 0;
  for (int64_t i = first; i < first + count; i++) {
    int64_t level = map.mult * dense_integer(w, weights, (size_t)i) - map.offset;
    int64_t a = level * lo, b = level * hi;
    least += lesser(0, lesser(a, b));
    most += greater(0, greater(a, b));
  }
  return greater(most, -least);
}

static int64_t product_bound(const Graph *g, const Node *node) {
  const Type *x = graph_type(g, node->inputs[0]), *w = graph_type(g, node->inputs[1]);
  int64_t count = type_elements(w) / w->dim[0], bound = 0;
  const void *data = g->values[node->inputs[1]].data;
  if (!data) return SATURATED;
  for (int32_t o = 0; o < w->dim[0]; o++) bound = greater(bound, channel_bound(x, w, data, o * count, count));
  return bound;
}

/* Pixels of one window that can lie inside the image. */
static int64_t window_pixels(const Type *x, const Attrs *a) {
  return lesser(a->kernel[0], x->dim[0]) * lesser(a->kernel[1], x->dim[1]);
}

/* What a node's main operation can give, its operands bounded by `bounds`. */
static int64_t main_bound(const Graph *g, const Node *node, const int64_t *bounds) {
  int64_t most = 0;
  switch (node->op) {
  case OP_CONV2D:
  case OP_LINEAR:
    return product_bound(g, node);
  case OP_ARGMAX:
    return type_channels(graph_type(g, node->inputs[0])) - 1;
  case OP_AVGPOOL: {
    int64_t pixels = window_pixels(graph_type(g, node->inputs[0]), &node->attrs), bound = bounds[node->inputs[0]];
    return bound && pixels > SATURATED / bound ? SATURATED : pixels * bound;
  }
  default:
    for (uint32_t i = 0; i < node->input_count; i++) most = greater(most, bounds[node->inputs[i]]);
    return most;
  }
}

static int64_t type_bound(const Type *t) {
  if (type_is_quantized(t)) return level_magnitude(t);
  return t->kind == ELEM_I32 ? -(int64_t)INT32_MIN : 0;
}

static int64_t const_bound(const Value *v) {
  const int32_t *data = v->data;
  int64_t most = 0;
  if (v->type.kind != ELEM_I32 || !data) return type_bound(&v->type);
  for (int64_t i = 0; i < type_elements(&v->type); i++) most = greater(most, data[i] < 0 ? -(int64_t)data[i] : data[i]);
  return most;
}

/* Which values the bound of `value` depends on; returns the number of nodes up to its definition. */
static NodeId mark_needed(const Graph *g, ValueId value, bool *needed) {
  NodeId end = graph_definition(g, value) + 1;
  needed[value] = true;
  for (NodeId n = end; n-- > 0;) {
    const Node *node = &g->nodes[n];
    if (node->op == OP_NONE || !needed[node->result] || graph_type(g, node->result)->kind != ELEM_I32) continue;
    if (node->op == OP_CONV2D || node->op == OP_LINEAR) continue;
    for (uint32_t i = 0; i < node->input_count; i++) needed[node->inputs[i]] = true;
  }
  return end;
}

int64_t value_bound(const Graph *g, ValueId value) {
  const Value *v = &g->values[value];
  if (v->kind == VALUE_CONST) return const_bound(v);
  if (v->type.kind != ELEM_I32 || v->kind == VALUE_INPUT || graph_definition(g, value) == NO_NODE)
    return type_bound(&v->type);
  bool *needed = ARENA_NEW(g->context, bool, g->value_count);
  int64_t *bounds = ARENA_NEW(g->context, int64_t, g->value_count);
  NodeId end = mark_needed(g, value, needed);
  for (ValueId i = 0; i < g->value_count; i++)
    if (needed[i])
      bounds[i] = g->values[i].kind == VALUE_CONST ? const_bound(&g->values[i]) : type_bound(&g->values[i].type);
  for (NodeId n = 0; n < end; n++) {
    const Node *node = &g->nodes[n];
    if (node->op != OP_NONE && needed[node->result] && graph_type(g, node->result)->kind == ELEM_I32)
      bounds[node->result] = main_bound(g, node, bounds);
  }
  return bounds[value];
}

int64_t accumulator_bound(const Graph *g, NodeId id) {
  const Node *node = &g->nodes[id];
  if (node->op == OP_CONV2D || node->op == OP_LINEAR) return product_bound(g, node);
  if (node->op != OP_AVGPOOL || graph_type(g, node->inputs[0])->kind == ELEM_F32) return 0;
  int64_t pixels = window_pixels(graph_type(g, node->inputs[0]), &node->attrs);
  int64_t bound = value_bound(g, node->inputs[0]);
  return bound && pixels > SATURATED / bound ? SATURATED : pixels * bound;
}

bool accumulator_fits(const Graph *g, NodeId id) {
  const Node *node = &g->nodes[id];
  if (node->op == OP_CONV2D || node->op == OP_LINEAR) {
    const Type *x = graph_type(g, node->inputs[0]), *w = graph_type(g, node->inputs[1]);
    int64_t each = level_magnitude(x) * level_magnitude(w);
    if (type_elements(w) / w->dim[0] * each <= ACCUMULATOR_LIMIT) return true;
  }
  return accumulator_bound(g, id) <= ACCUMULATOR_LIMIT;
}
