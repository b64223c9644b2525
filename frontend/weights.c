/* Weight tensors: read in the files' order, brought to the graph's, quantized where they are floats.
 *
 * Files hold [O, I/groups, KH, KW] or [O, K]; the graph holds [O, KH, KW, I/groups] or [O, K], one byte q an element.
 * An integer tensor holds q itself (bipolar: -1 and +1), a float tensor real weights. The scale is that of the type in
 * the network, or the parameter weight_scale, or for floats one derived from each output channel's weights, or 1
 * (bipolar 2).
 */
#include "lower.h"
#include "../ir/exact.h"
#include <float.h>
#include <math.h>
#include <string.h>

typedef struct Weights {
  Lower *lower;
  const Call *call;
  WeightShape shape;
  Type type;           /* of the constant */
  int64_t per_channel; /* elements of an output channel */
  const float *scales; /* weight_scale, scale_count of them; NULL: absent */
  int32_t scale_count;
  uint8_t *q;
} Weights;

static bool is_bipolar(const Type *t) {
  return t->kind == ELEM_UINT && t->bits == 1 && t->zero2 == 1;
}

static bool is_linear(const Weights *w) {
  return !w->shape.height;
}

static Type constant_type(const Item *item, WeightShape s) {
  int32_t conv[4] = {s.out, s.height, s.width, s.in}, linear[2] = {s.out, s.in};
  Type t = s.height ? type_make(item->type.kind, item->type.bits, false, 4, conv)
                    : type_make(item->type.kind, item->type.bits, false, 2, linear);
  t.zero2 = item->type.zero2;
  t.scale = item->type.scale;
  return t;
}

/* Where element i of the file's order [O, I, KH, KW] stands in [O, KH, KW, I]. */
static int64_t graph_place(const Weights *w, int64_t i) {
  if (is_linear(w)) return i;
  int64_t pixels = (int64_t)w->shape.height * w->shape.width, in = w->shape.in;
  int64_t pixel = i % pixels, channel = i / pixels % in, out = i / (pixels * in);
  return (out * pixels + pixel) * in + channel;
}

static const char *expected_shape(const Weights *w) {
  int64_t conv[4] = {w->shape.out, w->shape.in, w->shape.height, w->shape.width};
  int64_t linear[2] = {w->shape.out, w->shape.in};
  return is_linear(w) ? arena_printf(w->lower->context, "%s, [out, in]", dims_words(w->lower->context, linear, 2))
                      : arena_printf(w->lower->context, "%s, [out, in / groups, height, width]",
                                     dims_words(w->lower->context, conv, 4));
}

static bool shape_fits(const Weights *w, const ParamTensor *t) {
  if (is_linear(w)) return t->rank == 2 && t->dim[0] == w->shape.out && t->dim[1] == w->shape.in;
  return t->rank == 4 && t->dim[0] == w->shape.out && t->dim[1] == w->shape.in && t->dim[2] == w->shape.height &&
         t->dim[3] == w->shape.width;
}

/* --- integers --- */

static bool take_integers(Weights *w, const ParamTensor *t) {
  bool bipolar = is_bipolar(&w->type);
  int32_t low = bipolar ? -1 : type_q_min(&w->type), high = type_q_max(&w->type);
  for (int64_t i = 0; i < t->count; i++) {
    int64_t q = param_integer(t, i);
    if (q >= low && q <= high && !(bipolar && !q)) {
      w->q[graph_place(w, i)] = (uint8_t)(bipolar ? q > 0 : q);
      continue;
    }
    Context *c = w->lower->context;
    param_report_index(w->lower, w->call, DIAG_PARAM_RANGE, t, i);
    if (bipolar)
      diag_expected(c, "-1 or +1, as the weights are bipolar");
    else
      diag_expected(c, "%d to %d, as the weights are %s", low, high, elem_string(c, &w->type));
    diag_seen(c, "%lld in '%s'", (long long)q, t->file);
    return false;
  }
  return true;
}

/* --- floats --- */

/* The scale at which the channel's largest weight is the type's largest level; bipolar: -s and +s with s = mean |w|. */
static float derived_scale(const Weights *w, const float *weights) {
  double sum = 0, largest = 0;
  for (int64_t i = 0; i < w->per_channel; i++) {
    double magnitude = fabs((double)weights[i]);
    sum += magnitude;
    if (magnitude > largest) largest = magnitude;
  }
  int32_t mult = type_level_map(&w->type).mult;
  int32_t lowest = type_level_min(&w->type), highest = type_level_max(&w->type);
  double step = is_bipolar(&w->type) ? sum / (double)w->per_channel : largest / (highest > 0 ? highest : -lowest);
  double scale = mult * step;
  if (scale < (double)(2 * FLT_MIN)) return (float)mult; /* a channel of zeros */
  return scale > (double)FLT_MAX ? FLT_MAX : (float)scale;
}

static float channel_scale(const Weights *w, int32_t channel) {
  return w->scale_count == 1 ? w->scales[0] : w->scales[channel];
}

static void quantize_channels(Weights *w, const float *weights, float *derived) {
  int32_t low = type_q_min(&w->type), high = type_q_max(&w->type);
  for (int32_t o = 0; o < w->shape.out; o++) {
    const float *channel = weights + o * w->per_channel;
    float scale = derived ? derived_scale(w, channel) : w->scales ? channel_scale(w, o) : w->type.scale;
    if (derived) derived[o] = scale;
    for (int64_t i = 0; i < w->per_channel; i++)
      w->q[graph_place(w, o * w->per_channel + i)] =
          (uint8_t)exact_quantize(channel[i], scale, w->type.zero2, low, high);
  }
}

static bool take_floats(Weights *w, const ParamTensor *t, bool scale_given) {
  Context *c = w->lower->context;
  float *weights = context_alloc(c, sizeof(float) * (size_t)t->count);
  bool good = param_to_floats(w->lower, w->call, t, weights);
  if (good) {
    float *derived = scale_given || w->scales ? NULL : ARENA_NEW(c, float, w->shape.out);
    quantize_channels(w, weights, derived);
    if (derived) {
      w->scales = derived;
      w->scale_count = w->shape.out;
    }
  }
  context_release(c, weights);
  return good;
}

/* --- scales --- */

static void read_scales(Weights *w) {
  Lower *l = w->lower;
  const char *name = param_path(l, w->call, "weight_scale");
  if (!param_find(l, w->call, name)) return;
  ValueId v = param_vector(l, w->call, ROLE_WEIGHT_SCALE, w->shape.out, NULL);
  w->scales = graph_value(l->graph, v)->data;
  w->scale_count = graph_type(l->graph, v)->dim[0];
}

static void set_scales(Weights *w) {
  if (!w->scales) return;
  if (w->scale_count == 1) {
    w->type.scale = w->scales[0];
    return;
  }
  Type type = type_make(ELEM_F32, 32, false, 1, &w->scale_count);
  w->type.scales = graph_add_const(w->lower->graph, param_path(w->lower, w->call, "weight_scale"), type, w->scales);
}

/* --- all together --- */

static void take_random(Weights *w, bool scale_given) {
  Lower *l = w->lower;
  const char *name = param_path(l, w->call, "weight");
  param_register(l, w->call, name);
  random_weights(l->options->seed, name, &w->type, w->q, w->shape.out * w->per_channel);
  if (scale_given) return;
  float *scales = ARENA_NEW(l->context, float, w->shape.out);
  random_weight_scales(l->options->seed, name, &w->type, w->per_channel, w->shape.out, scales);
  w->scales = scales;
  w->scale_count = w->shape.out;
}

static void take_file(Weights *w, bool scale_given) {
  Lower *l = w->lower;
  const char *name = param_path(l, w->call, "weight");
  const ParamTensor *t = param_find(l, w->call, name);
  if (!scale_given) read_scales(w);
  if (!t) {
    param_missing(l, w->call, name, arena_printf(l->context, "the weights, a tensor %s,", expected_shape(w)));
  } else if (!t->dtype) {
    param_report_dtype(l, w->call, t, "F32, F64, F16, BF16 or an integer type");
  } else if (!shape_fits(w, t)) {
    param_report_shape(l, w->call, t, expected_shape(w));
  } else if (dtype_info[t->dtype].integer) {
    take_integers(w, t);
  } else {
    take_floats(w, t, scale_given);
  }
}

static bool too_many(const Weights *w) {
  int64_t count;
  return __builtin_mul_overflow(w->per_channel, w->shape.out, &count) || count > INT32_MAX;
}

ValueId weights_load(Lower *l, Call *call, const Item *type, WeightShape shape) {
  Weights w = {.lower = l, .call = call, .shape = shape, .type = constant_type(type, shape)};
  w.per_channel = shape.height ? (int64_t)shape.height * shape.width * shape.in : shape.in;
  if (too_many(&w)) {
    diag(l->context, DIAG_WEIGHT_COUNT, call->loc, call->operation->name);
    diag_expected(l->context, "at most %d weights", INT32_MAX);
    diag_seen(l->context, "a weight tensor %s", expected_shape(&w));
    return NO_VALUE;
  }
  w.q = ARENA_NEW(l->context, uint8_t, w.per_channel * shape.out);
  if (params_random(l))
    take_random(&w, type->scale_given);
  else
    take_file(&w, type->scale_given);
  set_scales(&w);
  return graph_add_const(l->graph, param_path(l, call, "weight"), w.type, w.q);
}
