/* Chains of elementwise operations; see chain.h. The slopes are those of the rounded operations: rounding is monotone,
 * so a real-valued monotone step stays one in binary32. */
#include "chain.h"
#include <math.h>

static Slope slope_of_factor(float a) {
  if (!isfinite(a)) return SLOPE_UNKNOWN;
  return a > 0 ? SLOPE_RISING : a < 0 ? SLOPE_FALLING : SLOPE_RISING_FINITE;
}

/* x > 0 ? x : x * alpha. alpha 0 makes a NaN of -infinity. */
static Slope slope_of_leak(float alpha) {
  if (!isfinite(alpha) || alpha < 0) return SLOPE_UNKNOWN;
  return alpha > 0 ? SLOPE_RISING : SLOPE_RISING_FINITE;
}

static Slope rising_if(bool condition) {
  return condition ? SLOPE_RISING : SLOPE_UNKNOWN;
}

/* Counting thresholds rises with its operand, or with the operand's complement where the channel is flipped. */
static Slope slope_of_flip(const Graph *g, ValueId flip, uint32_t channel) {
  const int32_t *data = graph_value(g, flip)->data;
  int32_t flipped = data[type_elements(graph_type(g, flip)) == 1 ? 0 : channel];
  return flipped == 0 ? SLOPE_RISING : flipped == -1 ? SLOPE_FALLING : SLOPE_UNKNOWN;
}

static bool is_positive(float scale) {
  return scale > 0 && isfinite(scale);
}

Slope step_slope(const Graph *g, const Node *node, uint32_t channel) {
  switch (node->op) {
  case OP_AFFINE:
    if (!isfinite(const_f32_at(g, node->inputs[2], channel))) return SLOPE_UNKNOWN;
    return slope_of_factor(const_f32_at(g, node->inputs[1], channel));
  case OP_BIAS:
    return rising_if(isfinite(const_f32_at(g, node->inputs[1], channel)));
  case OP_RELU:
  case OP_RELU6:
  case OP_SIGN:
    return SLOPE_RISING;
  case OP_LEAKY_RELU:
    return slope_of_leak(node->attrs.alpha);
  case OP_PRELU:
    return slope_of_leak(const_f32_at(g, node->inputs[1], channel));
  case OP_HARDTANH:
    return rising_if(!isnan(node->attrs.lo) && !isnan(node->attrs.hi));
  case OP_QUANTIZE:
    return rising_if(is_positive(type_scale(g, graph_type(g, node->result), (int32_t)channel)));
  case OP_DEQUANTIZE:
    return rising_if(is_positive(type_scale(g, graph_type(g, node->inputs[0]), (int32_t)channel)));
  case OP_ADD:
    return SLOPE_RISING_FINITE;
  case OP_THRESHOLDS:
    return slope_of_flip(g, node->inputs[2], channel);
  default:
    return SLOPE_UNKNOWN;
  }
}

bool step_rises(const Graph *g, const Node *node) {
  uint32_t channels = acts_on_all_channels_alike(g, node) ? 1 : (uint32_t)type_channels(graph_type(g, node->result));
  for (uint32_t c = 0; c < channels; c++)
    if (step_slope(g, node, c) != SLOPE_RISING) return false;
  return true;
}

bool is_chain_link(const Graph *g, const Node *node) {
  if (!node || !node_is_plain(node) || !(op_info[node->op].flags & F_STEP)) return false;
  for (uint32_t i = 1; i < node->input_count; i++)
    if (graph_value(g, node->inputs[i])->kind != VALUE_CONST) return false;
  return true;
}
