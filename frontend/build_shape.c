/* Operations that move elements: pooling, concatenation, shapes, and argmax. They take any element type. */
#include "lower.h"

Item build_pool(Lower *l, Call *call) {
  ValueId x = call_tensor(call);
  Attrs attrs = attrs_default();
  if (!need_rank(l, call, x, 3)) return item_none();
  call_pair(call, "kernel", attrs.kernel);
  call_pair(call, "kernel", attrs.stride);
  call_pair(call, "stride", attrs.stride);
  call_pad(call, graph_type(l->graph, x), &attrs, attrs.pad);
  return emit(l, call, true, call->operation->op, &attrs, &x, 1, (Type){0});
}

Item build_global_pool(Lower *l, Call *call) {
  ValueId x = call_tensor(call);
  Attrs attrs = attrs_default();
  if (!need_rank(l, call, x, 3)) return item_none();
  for (int i = 0; i < 2; i++) attrs.kernel[i] = graph_type(l->graph, x)->dim[i];
  return emit(l, call, true, call->operation->op, &attrs, &x, 1, (Type){0});
}

static bool same_element(const Type *a, const Type *b) {
  return a->kind == b->kind && a->bits == b->bits && a->zero2 == b->zero2;
}

/* Whether the tensors can stand side by side as they are; channels that meet keep scales of their own. */
static bool alike(const Lower *l, const ValueId *tensors, uint32_t count, bool channels) {
  const Type *first = graph_type(l->graph, tensors[0]);
  for (uint32_t i = 1; i < count; i++) {
    const Type *t = graph_type(l->graph, tensors[i]);
    bool own_scales = channels && first->scales != NO_VALUE && t->scales != NO_VALUE;
    if (!same_element(first, t) || !(own_scales || type_same_quant(first, t))) return false;
  }
  return true;
}

static bool all_quantized(const Lower *l, const ValueId *tensors, uint32_t count) {
  for (uint32_t i = 0; i < count; i++)
    if (!type_is_quantized(graph_type(l->graph, tensors[i]))) return false;
  return true;
}

/* Quantized tensors of different types stay a fault, as going real would be a silent cost; sums become real numbers. */
static bool differs(Lower *l, const Call *call) {
  const Type *first = graph_type(l->graph, call->tensors[0]);
  for (uint32_t i = 1; i < call->tensor_count; i++) {
    const Type *t = graph_type(l->graph, call->tensors[i]);
    if (type_same_quant(first, t)) continue;
    diag(l->context, DIAG_CONCAT_TYPES, call->loc);
    diag_seen(l->context, "%s and %s", type_string(l->context, l->graph, first), type_string(l->context, l->graph, t));
    diag_hint(l->context, "quantize them alike, or put dequantize in front of each");
    break;
  }
  return true;
}

Item build_concat(Lower *l, Call *call) {
  Attrs attrs = attrs_default();
  int32_t rank = graph_type(l->graph, call->tensors[0])->rank, axis = call_integer(call, "axis", rank - 1);
  if (axis < 0 || axis >= rank) {
    const Item *item = call_argument(call, "axis");
    diag(l->context, DIAG_WRONG_ARGUMENT, item->loc, "axis", "concat");
    diag_expected(l->context, rank > 1 ? "0 to %d, counted without the batch" : "%d", rank - 1);
    diag_seen(l->context, "%s", item_words(l, item));
    return item_none();
  }
  attrs.axis = axis;
  if (!alike(l, call->tensors, call->tensor_count, axis == rank - 1)) {
    if (all_quantized(l, call->tensors, call->tensor_count) && differs(l, call)) return item_none();
    for (uint32_t i = 0; i < call->tensor_count; i++) {
      call->tensors[i] = emit_real(l, call, call->tensors[i]);
      if (call->tensors[i] == NO_VALUE) return item_none();
    }
  }
  return emit(l, call, true, OP_CONCAT, &attrs, call->tensors, call->tensor_count, (Type){0});
}

Item build_flatten(Lower *l, Call *call) {
  const Item *order = call_argument(call, "order");
  ValueId x = call_tensor(call);
  Attrs attrs = attrs_default();
  attrs.chw = order && order->text[0] == 'c';
  return emit(l, call, true, OP_FLATTEN, &attrs, &x, 1, (Type){0});
}

Item build_reshape(Lower *l, Call *call) {
  const Item *shape = call_argument(call, "shape");
  ValueId x = call_tensor(call);
  /* Scales of channels go along where the last dimension holds whole sets of channels. */
  if (shape->items[shape->count - 1].integer % type_channels(graph_type(l->graph, x))) x = emit_one_scale(l, call, x);
  if (x == NO_VALUE) return item_none();
  Type wanted = *graph_type(l->graph, x);
  wanted.rank = (uint8_t)shape->count;
  for (uint32_t i = 0; i < MAX_RANK; i++) wanted.dim[i] = i < shape->count ? (int32_t)shape->items[i].integer : 0;
  return emit(l, call, true, OP_RESHAPE, NULL, &x, 1, wanted);
}

Item build_upsample(Lower *l, Call *call) {
  ValueId x = call_tensor(call);
  Attrs attrs = attrs_default();
  if (!need_rank(l, call, x, 3)) return item_none();
  call_pair(call, "factor", attrs.factor);
  return emit(l, call, true, OP_UPSAMPLE, &attrs, &x, 1, (Type){0});
}

Item build_argmax(Lower *l, Call *call) {
  ValueId x = emit_one_scale(l, call, call_tensor(call));
  return x == NO_VALUE ? item_none() : emit(l, call, true, OP_ARGMAX, NULL, &x, 1, (Type){0});
}
