/* Operations on real numbers: what is quantized or an integer sum is dequantized in front of them. */
#include "lower.h"
#include <math.h>

/* The real operand of a call and its spread; false after an error. */
static bool real_input(Lower *l, const Call *call, ValueId *x, Spread *spread, int32_t *channels) {
  *x = emit_real(l, call, call_tensor(call));
  if (*x == NO_VALUE) return false;
  *spread = spread_of(l, *x);
  *channels = type_channels(graph_type(l->graph, *x));
  return true;
}

static const float *constant(const Lower *l, ValueId v) {
  return graph_value(l->graph, v)->data;
}

/* a = gamma / sqrt(variance + eps) and b = beta - mean * a must be finite in binary32. */
static bool check_factors(Lower *l, const Call *call, const ValueId inputs[5], float eps, int32_t channels) {
  for (int32_t i = 0; i < channels; i++) {
    double a = (double)constant(l, inputs[1])[i] / sqrt((double)constant(l, inputs[4])[i] + (double)eps);
    double b = (double)constant(l, inputs[2])[i] - (double)constant(l, inputs[3])[i] * a;
    if (isfinite((float)a) && isfinite((float)b)) continue;
    diag(l->context, DIAG_PARAM_FACTOR, call->loc, call->site.path, i);
    diag_seen(l->context, "weight %.9g, bias %.9g, running_mean %.9g, running_var %.9g, eps %.9g",
              (double)constant(l, inputs[1])[i], (double)constant(l, inputs[2])[i], (double)constant(l, inputs[3])[i],
              (double)constant(l, inputs[4])[i], (double)eps);
    l->param_errors++;
    return false;
  }
  return true;
}

Item build_batchnorm(Lower *l, Call *call) {
  static const ParamRole roles[4] = {ROLE_GAMMA, ROLE_BETA, ROLE_MEAN, ROLE_VARIANCE};
  ValueId inputs[5];
  Spread spread;
  int32_t channels;
  Attrs attrs = attrs_default();
  attrs.eps = call_real(call, "eps", attrs.eps);
  if (attrs.eps < 0) {
    const Item *eps = call_argument(call, "eps");
    diag(l->context, DIAG_WRONG_ARGUMENT, eps->loc, "eps", "batchnorm");
    diag_expected(l->context, "a number of at least 0");
    diag_seen(l->context, "%s", item_words(l, eps));
    return item_none();
  }
  if (!real_input(l, call, &inputs[0], &spread, &channels)) return item_none();
  for (int i = 0; i < 4; i++) inputs[i + 1] = param_vector(l, call, roles[i], channels, &spread);
  if (!check_factors(l, call, inputs, attrs.eps, channels)) return item_none();
  return emit(l, call, true, OP_BATCHNORM, &attrs, inputs, 5, (Type){0});
}

Item build_affine(Lower *l, Call *call) {
  ValueId inputs[3];
  Spread spread;
  int32_t channels;
  if (!real_input(l, call, &inputs[0], &spread, &channels)) return item_none();
  inputs[1] = param_vector(l, call, ROLE_FACTOR, channels, &spread);
  inputs[2] = param_vector(l, call, ROLE_OFFSET, channels, &spread);
  return emit(l, call, true, OP_AFFINE, NULL, inputs, 3, (Type){0});
}

static Item with_vector(Lower *l, Call *call, ParamRole role) {
  ValueId inputs[2];
  Spread spread;
  int32_t channels;
  if (!real_input(l, call, &inputs[0], &spread, &channels)) return item_none();
  inputs[1] = param_vector(l, call, role, channels, &spread);
  return emit(l, call, true, call->operation->op, NULL, inputs, 2, (Type){0});
}

Item build_bias(Lower *l, Call *call) {
  return with_vector(l, call, ROLE_BIAS);
}

Item build_prelu(Lower *l, Call *call) {
  return with_vector(l, call, ROLE_SLOPE);
}

static Item plain(Lower *l, Call *call, const Attrs *attrs) {
  ValueId x = emit_real(l, call, call_tensor(call));
  return x == NO_VALUE ? item_none() : emit(l, call, true, call->operation->op, attrs, &x, 1, (Type){0});
}

Item build_activation(Lower *l, Call *call) {
  return plain(l, call, NULL);
}

Item build_softmax(Lower *l, Call *call) {
  return plain(l, call, NULL);
}

Item build_leaky_relu(Lower *l, Call *call) {
  Attrs attrs = attrs_default();
  attrs.alpha = call_real(call, "alpha", attrs.alpha);
  return plain(l, call, &attrs);
}

Item build_hardtanh(Lower *l, Call *call) {
  Attrs attrs = attrs_default();
  attrs.lo = call_real(call, "lo", attrs.lo);
  attrs.hi = call_real(call, "hi", attrs.hi);
  if (attrs.lo < attrs.hi) return plain(l, call, &attrs);
  const Item *hi = call_argument(call, "hi") ? call_argument(call, "hi") : call_argument(call, "lo");
  diag(l->context, DIAG_WRONG_ARGUMENT, hi->loc, call_argument(call, "hi") ? "hi" : "lo", "hardtanh");
  diag_expected(l->context, "lo less than hi");
  diag_seen(l->context, "lo=%.9g, hi=%.9g", (double)attrs.lo, (double)attrs.hi);
  return item_none();
}

Item build_add(Lower *l, Call *call) {
  ValueId inputs[2];
  for (int i = 0; i < 2; i++) {
    inputs[i] = emit_real(l, call, call->args[i].value);
    if (inputs[i] == NO_VALUE) return item_none();
  }
  return emit(l, call, true, OP_ADD, NULL, inputs, 2, (Type){0});
}

/* --- quantize --- */

static bool is_bipolar(const Type *t) {
  return t->kind == ELEM_UINT && t->bits == 1 && t->zero2 == 1;
}

/* The scale: scale=, or the type's, or the parameter; for bipolar, without a parameter, 2: -1 and +1. */
static void set_scale(Lower *l, const Call *call, const Item *type, const Spread *spread, int32_t channels, Type *t) {
  const Item *given = call_argument(call, "scale");
  const char *name = param_path(l, call, "scale");
  if (given) {
    number_to_scale(item_number(given), &t->scale);
  } else if (params_random(l) && !type->scale_given) {
    param_register(l, call, name);
    t->scale = random_quantize_scale(spread, t);
  } else if (!type->scale_given && (!is_bipolar(t) || param_find(l, call, name))) {
    ValueId scales = param_vector(l, call, ROLE_STEP, channels, spread);
    if (graph_type(l->graph, scales)->dim[0] == 1)
      t->scale = constant(l, scales)[0];
    else
      t->scales = scales;
  }
}

Item build_quantize(Lower *l, Call *call) {
  const Item *type = call_argument(call, "type");
  ValueId x;
  Spread spread;
  int32_t channels;
  if (!real_input(l, call, &x, &spread, &channels)) return item_none();
  Type wanted = *graph_type(l->graph, x);
  wanted.kind = type->type.kind;
  wanted.bits = type->type.bits;
  wanted.zero2 = type->type.zero2;
  wanted.scale = type->type.scale;
  wanted.scales = NO_VALUE;
  set_scale(l, call, type, &spread, channels, &wanted);
  return emit(l, call, true, OP_QUANTIZE, NULL, &x, 1, wanted);
}

Item build_dequantize(Lower *l, Call *call) {
  ValueId x = call_tensor(call);
  if (graph_type(l->graph, x)->kind != ELEM_F32) return emit(l, call, true, OP_DEQUANTIZE, NULL, &x, 1, (Type){0});
  diag(l->context, DIAG_WRONG_ARGUMENT, call->args[0].loc, "x", "dequantize");
  diag_expected(l->context, "a quantized tensor or sums (i32)");
  diag_seen(l->context, "%s", item_words(l, &call->args[0]));
  return item_none();
}
