/* The work of a thread under the POOL engine. */
#include "pooling.h"

/* Words of all planes that a thread keeps, and levels between thresholds that it tries for each of its channels where
 * their code stands once a channel. */
enum { MOST_WORDS = 16, MOST_THRESHOLDS = 16, LEAST_SHARED_TAPS = 16, MOST_TAPS = 1 << 24 };

static uint32_t words_of(const Layout *l) {
  return l->pitch / 32;
}

/* Equal orders of channels: the longest loads. Other orders: the words among which channels move. */
static bool straight_planes(const Type *in, const Type *out, Pooling *p) {
  uint32_t from = words_of(&in->layout), to = words_of(&out->layout);
  uint32_t block = in->layout.block > out->layout.block ? in->layout.block : out->layout.block;
  p->straight = true;
  p->words = block / 32;
  if (in->layout.block == out->layout.block) {
    p->words = from % 4 == 0 ? 4 : from % 2 == 0 ? 2 : 1;
    while (p->words > 1 && p->words * in->bits > MOST_WORDS) p->words /= 2;
    if (from != to) return false;
  }
  p->units = ceil_div(from > to ? from : to, p->words);
  return true;
}

/* A word at a time, whose channels go through the steps. */
static bool stepped_planes(const Type *in, const Type *out, Pooling *p) {
  p->words = 1;
  p->units = words_of(&in->layout);
  if (out->layout.kind == LAYOUT_PLANES)
    return out->layout.block == in->layout.block && out->layout.pitch == in->layout.pitch;
  return out->layout.pitch <= in->layout.pitch;
}

static bool few_thresholds(const Graph *g, const Node *node) {
  for (uint32_t s = 0; s < node->step_count; s++) {
    if (node->steps[s].op != OP_THRESHOLDS) continue;
    const Type *t = graph_type(g, node->steps[s].args[0]);
    if (t->dim[t->rank - 1] > MOST_THRESHOLDS) return false;
  }
  return true;
}

static bool bytes(const Graph *g, const Node *node, Pooling *p) {
  const Type *in = graph_type(g, node->inputs[0]), *out = graph_type(g, node->result);
  p->units = ceil_div(out->layout.pitch, POOL_UNIT_BYTES);
  if (layout_orders_channels(in->layout) || layout_orders_channels(out->layout)) {
    p->straight = node->op == OP_MAXPOOL && !node->step_count && out->layout.kind == LAYOUT_BYTES;
    return p->straight && in->layout.block == out->layout.block && in->layout.pitch == out->layout.pitch;
  }
  return in->layout.pitch % 4 == 0 && few_thresholds(g, node);
}

bool pooling_of(const Graph *g, const Node *node, Pooling *pooling) {
  *pooling = (Pooling){.shares = 1};
  if (node->op != OP_MAXPOOL && node->op != OP_AVGPOOL) return false;
  const Type *in = graph_type(g, node->inputs[0]), *out = graph_type(g, node->result);
  if (!type_is_quantized(in) || out->layout.kind == LAYOUT_NONE) return false;
  int64_t taps = (int64_t)node->attrs.kernel[0] * node->attrs.kernel[1];
  if (taps > MOST_TAPS) return false;
  if (taps >= LEAST_SHARED_TAPS) pooling->shares = POOL_SHARES;
  if (in->layout.kind == LAYOUT_BYTES) return bytes(g, node, pooling);
  if (in->layout.kind != LAYOUT_PLANES) return false;
  bool straight = node->op == OP_MAXPOOL && !node->step_count && out->layout.kind == LAYOUT_PLANES;
  return straight ? straight_planes(in, out, pooling) : stepped_planes(in, out, pooling);
}
