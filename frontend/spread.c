/* How far values spread, estimated while the graph grows: what random parameters are fitted to.
 *
 * Inputs are taken as uniform over their levels, f32 inputs as of mean 0 and deviation 1; sums add means and variances as
 * if their terms were independent. Estimates only steer random parameters: nothing a compiled file promises rests on them.
 */
#include "lower.h"
#include <math.h>

static const Spread unit_spread = {0, 1, NULL, NULL};

Spread spread_of(const Lower *l, ValueId value) {
  return params_random(l) && value < l->spread_capacity ? l->spreads[value] : unit_spread;
}

static void set_spread(Lower *l, ValueId value, Spread s) {
  if (value >= l->spread_capacity) {
    uint32_t capacity = l->spread_capacity ? l->spread_capacity : 64;
    while (capacity <= value) capacity *= 2;
    l->spreads = arena_grow(l->context, l->spreads, sizeof(Spread) * l->spread_capacity, sizeof(Spread) * (size_t)capacity);
    l->spread_capacity = capacity;
  }
  if (!isfinite(s.mean) || !isfinite(s.deviation)) s = unit_spread;
  l->spreads[value] = s;
}

/* All channels taken together. */
static Spread joined(Spread s, int32_t channels) {
  if (!s.means) return s;
  double mean = 0, square = 0;
  for (int32_t i = 0; i < channels; i++) {
    mean += s.means[i] / channels;
    square += (s.means[i] * s.means[i] + s.deviations[i] * s.deviations[i]) / channels;
  }
  double variance = square - mean * mean;
  return (Spread){mean, variance > 0 ? sqrt(variance) : 0, NULL, NULL};
}

static Spread uniform_levels(const Lower *l, const Type *t) {
  double step = (double)type_step(l->graph, t, 0), low = type_level_min(t), high = type_level_max(t);
  int32_t mult = type_level_map(t).mult;
  double count = (high - low) / mult + 1;
  return (Spread){step * (low + high) / 2, step * mult * sqrt((count * count - 1) / 12), NULL, NULL};
}

void spread_of_input(Lower *l, ValueId input) {
  if (!params_random(l)) return;
  const Type *t = graph_type(l->graph, input);
  set_spread(l, input, type_is_quantized(t) ? uniform_levels(l, t) : (Spread){0, type_step(l->graph, t, 0), NULL, NULL});
}

/* Means and deviations of every output channel, from its weights. */
static Spread after_sums(Lower *l, const Node *n, Spread x) {
  const Value *w = graph_value(l->graph, n->inputs[1]);
  int32_t out = w->type.dim[0], low = type_q_min(&w->type);
  int64_t per_channel = type_elements(&w->type) / out;
  LevelMap map = type_level_map(&w->type);
  double *means = ARENA_NEW(l->context, double, out), *deviations = ARENA_NEW(l->context, double, out);
  const uint8_t *q = w->data;
  for (int32_t o = 0; o < out; o++) {
    int64_t sum = 0, squares = 0;
    for (int64_t i = 0; i < per_channel; i++) {
      int32_t level = map.mult * (low < 0 ? (int8_t)*q++ : *q++) - map.offset;
      sum += level;
      squares += level * level;
    }
    double step = (double)type_step(l->graph, &w->type, o);
    means[o] = step * (double)sum * x.mean;
    deviations[o] = step * sqrt((double)squares) * x.deviation;
  }
  return (Spread){means[0], deviations[0], means, deviations};
}

/* What is left above 0 of a bell curve: exact at mean 0, near enough elsewhere. */
static Spread after_relu(Spread x) {
  if (x.mean >= x.deviation) return x;
  double mean = 0.4 * x.deviation + 0.5 * x.mean;
  return (Spread){mean > 0 ? mean : 0, 0.6 * x.deviation, NULL, NULL};
}

static Spread limited(Spread x, double low, double high) {
  double mean = x.mean < low ? low : x.mean > high ? high : x.mean, most = (high - low) / 2;
  return (Spread){mean, x.deviation < most ? x.deviation : most, NULL, NULL};
}

static Spread after_quantize(const Lower *l, const Type *t, Spread x) {
  double step = (double)type_step(l->graph, t, 0);
  return limited(x, step * type_level_min(t), step * type_level_max(t));
}

static Spread after_avgpool(const Node *n, Spread x) {
  double count = (double)n->attrs.kernel[0] * n->attrs.kernel[1];
  return (Spread){x.mean, count > 2.25 ? 1.5 * x.deviation / sqrt(count) : x.deviation, NULL, NULL};
}

static Spread several(const Lower *l, const Node *n, bool add) {
  double mean = 0, variance = 0;
  for (uint32_t i = 0; i < n->input_count; i++) {
    Spread s = joined(spread_of(l, n->inputs[i]), type_channels(graph_type(l->graph, n->inputs[i])));
    mean += s.mean;
    variance += s.deviation * s.deviation;
  }
  double share = add ? 1 : n->input_count;
  return (Spread){mean / share, sqrt(variance / share), NULL, NULL};
}

void spread_after_node(Lower *l, NodeId node) {
  if (!params_random(l)) return;
  const Node *n = &l->graph->nodes[node];
  Spread all = spread_of(l, n->inputs[0]), x = joined(all, type_channels(graph_type(l->graph, n->inputs[0])));
  Spread result = x;
  switch (n->op) {
  case OP_CONV2D:
  case OP_LINEAR: result = after_sums(l, n, x); break;
  case OP_DEQUANTIZE:
  case OP_COPY: result = all; break;
  case OP_BATCHNORM:
  case OP_AFFINE: result = unit_spread; break;
  case OP_RELU:
  case OP_PRELU:
  case OP_LEAKY_RELU: result = after_relu(x); break;
  case OP_RELU6: result = limited(after_relu(x), 0, 6); break;
  case OP_HARDTANH: result = limited(x, (double)n->attrs.lo, (double)n->attrs.hi); break;
  case OP_SIGN: result = limited(x, -1, 1); break;
  case OP_QUANTIZE: result = after_quantize(l, graph_type(l->graph, n->result), x); break;
  case OP_MAXPOOL: result = (Spread){x.mean + x.deviation, 0.7 * x.deviation, NULL, NULL}; break;
  case OP_AVGPOOL: result = after_avgpool(n, x); break;
  case OP_ADD: result = several(l, n, true); break;
  case OP_CONCAT: result = several(l, n, false); break;
  default: break;
  }
  set_spread(l, n->result, result);
}
