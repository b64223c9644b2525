/* Convolutions and linear layers: exact integer sums of quantized inputs and weights. */
#include "lower.h"

/* Sums need quantized inputs of one scale. */
static bool check_input(Lower *l, const Call *call, ValueId x, int rank) {
  const Type *t = graph_type(l->graph, x);
  if (!type_is_quantized(t)) {
    diag(l->context, DIAG_NEEDS_QUANTIZED, call->loc, call->operation->name);
    diag_seen(l->context, "%s", type_string(l->context, l->graph, t));
    diag_hint(l->context, "put quantize(TYPE) in front");
    return false;
  }
  if (t->scales != NO_VALUE) {
    diag(l->context, DIAG_NEEDS_ONE_SCALE, call->loc, call->operation->name);
    diag_seen(l->context, "%s", type_string(l->context, l->graph, t));
    diag_hint(l->context, "quantize with one scale: scale=, or a parameter of a single element");
    return false;
  }
  return need_rank(l, call, x, rank);
}

static const char *level_words(Context *c, const Type *t) {
  Text text = {.context = c};
  LevelMap map = type_level_map(t);
  if (type_q_max(t) - type_q_min(t) > 7)
    return arena_printf(c, "%d, %d, ... or %d", type_level_min(t), type_level_min(t) + map.mult, type_level_max(t));
  for (int32_t q = type_q_min(t); q <= type_q_max(t); q++)
    text_add(&text, "%s%d", q == type_q_min(t) ? "" : q == type_q_max(t) ? " or " : ", ", map.mult * q - map.offset);
  return text.data;
}

static bool is_level(const Type *t, int32_t level) {
  LevelMap map = type_level_map(t);
  return level >= type_level_min(t) && level <= type_level_max(t) && (level - type_level_min(t)) % map.mult == 0;
}

/* Padding is with zero; where the type has none, pad_value says which level pads. */
static bool set_pad_level(Lower *l, const Call *call, const Type *t, Attrs *attrs) {
  const Item *value = call_argument(call, "pad_value");
  bool padded = attrs->pad[0] || attrs->pad[1] || attrs->pad[2] || attrs->pad[3];
  const char *type = elem_string(l->context, t);
  if (!padded && !value) return true;
  if (!value) {
    if (type_has_zero(t)) return true;
    const Item *pad = call_argument(call, "pad");
    diag(l->context, DIAG_NEEDS_PAD_VALUE, pad->loc, type);
    diag_expected(l->context, "pad_value=%s", level_words(l->context, t));
    return false;
  }
  bool good = type_has_zero(t) ? !value->integer : is_level(t, (int32_t)value->integer);
  if (!good) {
    diag(l->context, DIAG_BAD_PAD_VALUE, value->loc, type);
    if (type_has_zero(t))
      diag_expected(l->context, "no pad_value: %s is padded with zero", type);
    else
      diag_expected(l->context, "%s", level_words(l->context, t));
    diag_seen(l->context, "%lld", (long long)value->integer);
    return false;
  }
  if (padded) attrs->pad_level = (int32_t)value->integer;
  return true;
}

static Item finish(Lower *l, const Call *call, Op op, const Attrs *attrs, ValueId x, ValueId w, int32_t out) {
  bool bias = call_truth(call, "bias");
  ValueId inputs[2] = {x, w};
  if (w == NO_VALUE) return item_none();
  Item sums = emit(l, call, !bias, op, attrs, inputs, 2, (Type){0});
  if (!bias || sums.kind == ITEM_NONE) return sums;
  ValueId real = emit_real(l, call, sums.value);
  if (real == NO_VALUE) return item_none();
  Spread spread = spread_of(l, real);
  ValueId biased[2] = {real, param_vector(l, call, ROLE_BIAS, out, &spread)};
  return emit(l, call, true, OP_BIAS, NULL, biased, 2, (Type){0});
}

static Item convolution(Lower *l, Call *call, int32_t out, int32_t groups) {
  ValueId x = call_tensor(call);
  const Type t = *graph_type(l->graph, x);
  Attrs attrs = attrs_default();
  attrs.groups = groups;
  call_pair(call, "kernel", attrs.kernel);
  call_pair(call, "stride", attrs.stride);
  call_pair(call, "dilation", attrs.dilation);
  call_pad(call, &t, &attrs, attrs.pad);
  if (!set_pad_level(l, call, &t, &attrs)) return item_none();
  WeightShape shape = {out, attrs.kernel[0], attrs.kernel[1], t.dim[2] / groups};
  ValueId w = weights_load(l, call, call_argument(call, "w"), shape);
  return finish(l, call, OP_CONV2D, &attrs, x, w, out);
}

Item build_conv2d(Lower *l, Call *call) {
  ValueId x = call_tensor(call);
  if (!check_input(l, call, x, 3)) return item_none();
  int32_t channels = type_channels(graph_type(l->graph, x));
  int32_t out = call_integer(call, "out", 1), groups = call_integer(call, "groups", 1);
  if (channels % groups || out % groups) {
    diag(l->context, DIAG_GROUPS, call_argument(call, "groups")->loc);
    diag_seen(l->context, "%d groups, %d channels in, %d out", groups, channels, out);
    return item_none();
  }
  return convolution(l, call, out, groups);
}

Item build_depthwise_conv2d(Lower *l, Call *call) {
  ValueId x = call_tensor(call);
  if (!check_input(l, call, x, 3)) return item_none();
  int32_t channels = type_channels(graph_type(l->graph, x));
  return convolution(l, call, channels, channels);
}

Item build_linear(Lower *l, Call *call) {
  ValueId x = call_tensor(call);
  if (!check_input(l, call, x, 1)) return item_none();
  int32_t out = call_integer(call, "out", 1);
  WeightShape shape = {out, 0, 0, type_channels(graph_type(l->graph, x))};
  ValueId w = weights_load(l, call, call_argument(call, "w"), shape);
  return finish(l, call, OP_LINEAR, NULL, x, w, out);
}
