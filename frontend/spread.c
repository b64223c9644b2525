/* How the values of a network are distributed, estimated while the graph grows: what random parameters are fitted to.
 *
 * A spread holds SPREAD_SAMPLES equally likely real numbers for each channel. Operations on single elements act on the
 * samples; sums of many products become normal distributions of the mean and variance that independent terms would
 * have. Inputs are taken as uniform over their levels, f32 inputs as normal. Estimates only steer random parameters:
 * nothing a compiled network promises rests on them. Only correctly rounded operations are used, so that they are the
 * same on every machine.
 */
#include "../ir/exact.h"
#include "lower.h"
#include <math.h>

enum { MAX_CHANNELS = 1 << 14 };

/* Quantiles of a normal distribution, of mean 0 and variance 1 as they stand: the upper half. */
static const double normal_half[SPREAD_SAMPLES / 2] = {0.0400, 0.1201, 0.2010, 0.2832, 0.3673, 0.4540, 0.5441, 0.6386,
                                                       0.7390, 0.8471, 0.9657, 1.0991, 1.2545, 1.4462, 1.7095, 2.1970};

static double normal_sample(int i) {
  int half = SPREAD_SAMPLES / 2;
  return i < half ? -normal_half[half - 1 - i] : normal_half[i - half];
}

/* Another order of the samples, so that two spreads can be joined as if independent. `turn` gives different orders. */
static int shuffled(int i, int turn) {
  return (i * 13 + 7 * turn + 5) % SPREAD_SAMPLES;
}

/* Past MAX_CHANNELS channels number c is taken to be as number c % MAX_CHANNELS. */
static Spread new_spread(const Lower *l, int32_t channels) {
  if (channels > MAX_CHANNELS) channels = MAX_CHANNELS;
  return (Spread){channels, ARENA_NEW(l->context, double, (size_t)channels *SPREAD_SAMPLES)};
}

static const double *samples_of(const Spread *s, int32_t channel) {
  return s->samples + (size_t)(channel % s->channels) * SPREAD_SAMPLES;
}

static void set_normal(double *samples, double mean, double deviation) {
  for (int i = 0; i < SPREAD_SAMPLES; i++) samples[i] = mean + deviation * normal_sample(i);
}

Moments spread_moments(const Spread *s, int32_t channel) {
  double mean = 0, square = 0;
  if (!s->samples) return (Moments){0, 1};
  const double *samples = samples_of(s, channel);
  for (int i = 0; i < SPREAD_SAMPLES; i++) mean += samples[i] / SPREAD_SAMPLES;
  for (int i = 0; i < SPREAD_SAMPLES; i++) square += (samples[i] - mean) * (samples[i] - mean) / SPREAD_SAMPLES;
  return (Moments){mean, sqrt(square)};
}

Moments spread_joined(const Spread *s) {
  double mean = 0, square = 0;
  if (!s->samples) return (Moments){0, 1};
  for (int32_t c = 0; c < s->channels; c++) {
    Moments m = spread_moments(s, c);
    mean += m.mean / s->channels;
    square += (m.mean * m.mean + m.deviation * m.deviation) / s->channels;
  }
  double variance = square - mean * mean;
  return (Moments){mean, variance > 0 ? sqrt(variance) : 0};
}

double spread_most(const Spread *s) {
  double most = 0;
  for (int64_t i = 0; i < (int64_t)s->channels * SPREAD_SAMPLES; i++)
    if (fabs(s->samples[i]) > most) most = fabs(s->samples[i]);
  return most;
}

Spread spread_of(const Lower *l, ValueId value) {
  return value < l->spread_capacity ? l->spreads[value] : (Spread){0, NULL};
}

static void set_spread(Lower *l, ValueId value, Spread s) {
  if (value >= l->spread_capacity) {
    uint32_t capacity = l->spread_capacity ? l->spread_capacity : 64;
    while (capacity <= value) capacity *= 2;
    l->spreads =
        arena_grow(l->context, l->spreads, sizeof(Spread) * l->spread_capacity, sizeof(Spread) * (size_t)capacity);
    l->spread_capacity = capacity;
  }
  l->spreads[value] = s;
}

void spread_of_input(Lower *l, ValueId input) {
  if (!params_random(l)) return;
  const Type *t = graph_type(l->graph, input);
  Spread s = new_spread(l, 1);
  double step = (double)type_step(l->graph, t, 0);
  if (type_is_quantized(t)) {
    LevelMap map = type_level_map(t);
    int32_t low = type_q_min(t), count = type_q_max(t) - low + 1;
    for (int i = 0; i < SPREAD_SAMPLES; i++)
      s.samples[i] = step * (map.mult * (low + (int32_t)((2 * i + 1) * count / (2 * SPREAD_SAMPLES))) - map.offset);
  } else {
    set_normal(s.samples, 0, step);
  }
  set_spread(l, input, s);
}

/* --- sums --- */

/* What the channels of a convolution's input weigh: output channel o sees those of its group. */
static Spread after_sums(Lower *l, const Node *n, const Spread *x) {
  const Value *w = graph_value(l->graph, n->inputs[1]);
  int32_t out = w->type.dim[0], in = w->type.dim[w->type.rank - 1], low = type_q_min(&w->type);
  int32_t groups = n->op == OP_CONV2D ? n->attrs.groups : 1;
  int64_t taps = type_elements(&w->type) / out / in;
  LevelMap map = type_level_map(&w->type);
  double *means = ARENA_NEW(l->context, double, x->channels), *variances = ARENA_NEW(l->context, double, x->channels);
  for (int32_t c = 0; c < x->channels; c++) {
    Moments m = spread_moments(x, c);
    means[c] = m.mean;
    variances[c] = m.deviation * m.deviation;
  }
  Spread result = new_spread(l, out);
  const uint8_t *q = w->data;
  for (int32_t o = 0; o < result.channels; o++) {
    int32_t first = (int32_t)((int64_t)(o / (out / groups)) * in % x->channels);
    double mean = 0, variance = 0, step = (double)type_step(l->graph, &w->type, o);
    for (int64_t t = 0; t < taps; t++)
      for (int32_t i = 0, c = first; i < in; i++, c = c + 1 < x->channels ? c + 1 : 0) {
        double level = map.mult * (low < 0 ? (int8_t)*q++ : *q++) - map.offset;
        mean += level * means[c];
        variance += level * level * variances[c];
      }
    set_normal(result.samples + (size_t)o * SPREAD_SAMPLES, step * mean, step * sqrt(variance));
  }
  return result;
}

/* --- single elements --- */

static double parameter(const Lower *l, const Node *n, uint32_t input, int32_t channel) {
  const Value *v = graph_value(l->graph, n->inputs[input]);
  return (double)((const float *)v->data)[channel % v->type.dim[0]];
}

static double quantized(const Lower *l, const Node *n, int32_t channel, double x) {
  const Type *t = graph_type(l->graph, n->result);
  LevelMap map = type_level_map(t);
  int32_t q = exact_quantize((float)x, type_scale(l->graph, t, channel), t->zero2, type_q_min(t), type_q_max(t));
  return (double)type_step(l->graph, t, channel) * (map.mult * q - map.offset);
}

static double element(const Lower *l, const Node *n, int32_t channel, double x) {
  switch (n->op) {
  case OP_BATCHNORM:
    return (x - parameter(l, n, 3, channel)) * parameter(l, n, 1, channel) /
               sqrt(parameter(l, n, 4, channel) + (double)n->attrs.eps) +
           parameter(l, n, 2, channel);
  case OP_AFFINE:
    return x * parameter(l, n, 1, channel) + parameter(l, n, 2, channel);
  case OP_BIAS:
    return x + parameter(l, n, 1, channel);
  case OP_RELU:
    return x > 0 ? x : 0;
  case OP_RELU6:
    return x > 6 ? 6 : x > 0 ? x : 0;
  case OP_LEAKY_RELU:
    return x > 0 ? x : x * (double)n->attrs.alpha;
  case OP_PRELU:
    return x > 0 ? x : x * parameter(l, n, 1, channel);
  case OP_HARDTANH:
    return x < (double)n->attrs.lo ? (double)n->attrs.lo : x > (double)n->attrs.hi ? (double)n->attrs.hi : x;
  case OP_SIGN:
    return x >= 0 ? 1 : -1;
  case OP_QUANTIZE:
    return quantized(l, n, channel, x);
  default:
    return x;
  }
}

/* Each channel of the result from the operand's, where parameters or scales belong to channels. */
static Spread after_elements(Lower *l, const Node *n, const Spread *x) {
  const Type *t = graph_type(l->graph, n->result);
  bool by_channel = n->input_count > 1 || (n->op == OP_QUANTIZE && t->scales != NO_VALUE);
  Spread result = new_spread(l, by_channel ? type_channels(t) : x->channels);
  for (int32_t c = 0; c < result.channels; c++)
    for (int i = 0; i < SPREAD_SAMPLES; i++)
      result.samples[(size_t)c * SPREAD_SAMPLES + i] = element(l, n, c, samples_of(x, c)[i]);
  return result;
}

/* --- pooling, adding, joining --- */

static Spread after_maxpool(Lower *l, const Node *n, const Spread *x) {
  int64_t window = (int64_t)n->attrs.kernel[0] * n->attrs.kernel[1];
  Spread result = new_spread(l, x->channels);
  for (int32_t c = 0; c < x->channels; c++)
    for (int i = 0; i < SPREAD_SAMPLES; i++) {
      const double *samples = samples_of(x, c);
      double most = samples[i];
      for (int turn = 1; turn < 16 && turn < window; turn++)
        if (samples[shuffled(i, turn)] > most) most = samples[shuffled(i, turn)];
      result.samples[(size_t)c * SPREAD_SAMPLES + i] = most;
    }
  return result;
}

static Spread after_avgpool(Lower *l, const Node *n, const Spread *x) {
  double root = sqrt((double)n->attrs.kernel[0] * n->attrs.kernel[1]);
  Spread result = new_spread(l, x->channels);
  for (int32_t c = 0; c < x->channels; c++) {
    Moments m = spread_moments(x, c);
    for (int i = 0; i < SPREAD_SAMPLES; i++)
      result.samples[(size_t)c * SPREAD_SAMPLES + i] = m.mean + (samples_of(x, c)[i] - m.mean) / root;
  }
  return result;
}

static Spread after_add(Lower *l, const Node *n, const Spread *a) {
  Spread b = spread_of(l, n->inputs[1]);
  Spread result = new_spread(l, a->channels > b.channels ? a->channels : b.channels);
  for (int32_t c = 0; c < result.channels; c++)
    for (int i = 0; i < SPREAD_SAMPLES; i++)
      result.samples[(size_t)c * SPREAD_SAMPLES + i] = samples_of(a, c)[i] + samples_of(&b, c)[shuffled(i, 0)];
  return result;
}

static Spread after_concat(Lower *l, const Node *n) {
  const Type *t = graph_type(l->graph, n->result);
  bool channels = n->attrs.axis == t->rank - 1;
  Spread result = new_spread(l, type_channels(t));
  int32_t first = 0;
  for (uint32_t k = 0; k < n->input_count; k++) {
    Spread x = spread_of(l, n->inputs[k]);
    int32_t count = type_channels(graph_type(l->graph, n->inputs[k]));
    for (int32_t c = 0; c < count && first + c < result.channels; c++)
      for (int i = 0; i < SPREAD_SAMPLES; i++)
        result.samples[(size_t)(first + c) * SPREAD_SAMPLES + i] = samples_of(&x, c)[i];
    if (channels) first += count;
  }
  return result;
}

/* All channels as one, where the result's last dimension no longer counts the operand's channels. */
static Spread after_reorder(Lower *l, const Spread *x) {
  Moments m = spread_joined(x);
  Spread result = new_spread(l, 1);
  set_normal(result.samples, m.mean, m.deviation);
  return result;
}

static Spread after_shape(Lower *l, const Node *n, const Spread *x) {
  bool keeps = type_channels(graph_type(l->graph, n->result)) % x->channels == 0 && !n->attrs.chw;
  return keeps ? *x : after_reorder(l, x);
}

void spread_after_node(Lower *l, NodeId node) {
  if (!params_random(l)) return;
  const Node *n = &l->graph->nodes[node];
  Spread x = spread_of(l, n->inputs[0]), result;
  switch (n->op) {
  case OP_CONV2D:
  case OP_LINEAR:
    result = after_sums(l, n, &x);
    break;
  case OP_MAXPOOL:
    result = after_maxpool(l, n, &x);
    break;
  case OP_AVGPOOL:
    result = after_avgpool(l, n, &x);
    break;
  case OP_ADD:
    result = after_add(l, n, &x);
    break;
  case OP_CONCAT:
    result = after_concat(l, n);
    break;
  case OP_FLATTEN:
  case OP_RESHAPE:
    result = after_shape(l, n, &x);
    break;
  case OP_ARGMAX:
  case OP_SOFTMAX:
    result = after_reorder(l, &x);
    break;
  default:
    result = after_elements(l, n, &x);
  }
  set_spread(l, n->result, result);
}
