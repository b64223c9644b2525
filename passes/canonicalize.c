/* canonicalize: one form for things that can be written in several ways.
 *
 * Guarantees: every linear layer over an image stands as a convolution whose kernel is the image, so no element moves;
 * reshapes that keep the channel stand below the elementwise operations that follow them; operations that change
 * nothing are gone; no concat has more operands than a kernel reads. Every rewrite keeps all bits.
 */
#include "chain.h"
#include "../ir/exact.h"
#include <string.h>

typedef bool Rule(Graph *g, NodeId node); /* true if it changed the graph */

/* Weights [O, K] over a channel-major flattened [H, W, C] image, in the order [O, H, W, C]. */
static const void *weights_from_channel_major(Graph *g, const Value *weights, const int32_t *image) {
  size_t pixels = (size_t)image[0] * image[1], channels = image[2], count = weights->type.dim[0];
  const uint8_t *from = weights->data;
  uint8_t *to = arena_alloc(g->context, count * pixels * channels);
  for (size_t o = 0; o < count; o++, from += pixels * channels, to += pixels * channels)
    for (size_t p = 0; p < pixels; p++)
      for (size_t c = 0; c < channels; c++) to[p * channels + c] = from[c * pixels + p];
  return to - count * pixels * channels;
}

static ValueId add_image_weights(Graph *g, ValueId weights, const int32_t *image, bool channel_major) {
  Value old = *graph_value(g, weights);
  Type type = old.type;
  type.rank = 4;
  for (int i = 0; i < 3; i++) type.dim[i + 1] = image[i];
  const void *data = channel_major ? weights_from_channel_major(g, &old, image) : old.data;
  return graph_add_const(g, arena_printf(g->context, "%s.image", old.name), type, data);
}

/* linear(flatten(image)) -> reshape(conv2d(image)). */
static bool linear_over_image(Graph *g, NodeId n) {
  Node node = g->nodes[n];
  if (node.op != OP_LINEAR || !node_is_plain(&node)) return false;
  const Node *flat = defined_by(g, node.inputs[0], OP_FLATTEN);
  if (!flat) flat = defined_by(g, node.inputs[0], OP_RESHAPE);
  if (!flat) return false;
  ValueId image = flat->inputs[0];
  Type image_type = *graph_type(g, image);
  if (image_type.rank != 3 || image_type.dim[0] * image_type.dim[1] == 1) return false;
  bool channel_major = flat->op == OP_FLATTEN && flat->attrs.chw;

  Attrs attrs = attrs_default();
  attrs.kernel[0] = image_type.dim[0];
  attrs.kernel[1] = image_type.dim[1];
  ValueId operands[2] = {image, add_image_weights(g, node.inputs[1], image_type.dim, channel_major)};
  int32_t one_pixel[3] = {1, 1, graph_type(g, node.result)->dim[0]};
  Type shape = type_make(ELEM_I32, 32, true, 3, one_pixel);
  Type type = type_reshaped(graph_type(g, node.result), &shape);
  ValueId sums =
      graph_insert_node(g, n, OP_CONV2D, &attrs, operands, 2, type, graph_value(g, node.result)->name, node.loc);
  become(g, n + 1, OP_RESHAPE, NULL, &sums, 1);
  return true;
}

/* flatten in memory order is a reshape. */
static bool flatten_is_reshape(Graph *g, NodeId n) {
  const Node *node = &g->nodes[n];
  if (node->op != OP_FLATTEN) return false;
  Image image = type_image(graph_type(g, node->inputs[0]));
  if (node->attrs.chw && image.channels != 1 && image.height * image.width != 1) return false;
  ValueId operand = node->inputs[0];
  become(g, n, OP_RESHAPE, NULL, &operand, 1);
  return true;
}

static bool merge_reshapes(Graph *g, NodeId n) {
  const Node *node = &g->nodes[n];
  if (node->op != OP_RESHAPE) return false;
  const Node *before = defined_by(g, node->inputs[0], OP_RESHAPE);
  if (!before) return false;
  ValueId operand = before->inputs[0];
  become(g, n, OP_RESHAPE, NULL, &operand, 1);
  return true;
}

static bool is_reordering(const Node *node) {
  return node && (node->op == OP_RESHAPE || node->op == OP_FLATTEN) && node_is_plain(node);
}

/* step(reshape(x)) -> reshape(step(x)), so that the step can join the layer that computes x. */
static bool sink_reshape_below_step(Graph *g, NodeId n) {
  Node node = g->nodes[n];
  if (!is_chain_link(g, &node)) return false;
  const Node *found = defining_node(g, node.inputs[0]);
  if (!is_reordering(found) || !is_private(g, node.inputs[0])) return false;
  Node reshape = *found;
  const Type *from = graph_type(g, reshape.inputs[0]);
  bool keeps_channel = reshape.op == OP_RESHAPE && type_channels(from) == type_channels(graph_type(g, node.result));
  if (!keeps_channel && !acts_on_all_channels_alike(g, &node)) return false;

  ValueId *inputs = ARENA_NEW(g->context, ValueId, node.input_count);
  memcpy(inputs, node.inputs, node.input_count * sizeof *inputs);
  inputs[0] = reshape.inputs[0];
  Type type = type_reshaped(graph_type(g, node.result), from);
  ValueId moved = graph_insert_node(g, n, node.op, &node.attrs, inputs, node.input_count, type,
                                    graph_value(g, node.result)->name, node.loc);
  become(g, n + 1, reshape.op, &reshape.attrs, &moved, 1);
  return true;
}

/* add(reshape(x), reshape(y)) -> reshape(add(x, y)). */
static bool sink_reshapes_below_add(Graph *g, NodeId n) {
  Node node = g->nodes[n];
  if (node.op != OP_ADD || !node_is_plain(&node)) return false;
  const Node *a = defined_by(g, node.inputs[0], OP_RESHAPE), *b = defined_by(g, node.inputs[1], OP_RESHAPE);
  if (!a || !b || !is_private(g, node.inputs[0]) || !is_private(g, node.inputs[1])) return false;
  ValueId operands[2] = {a->inputs[0], b->inputs[0]};
  const Type *from = graph_type(g, operands[0]);
  if (!type_same_shape(from, graph_type(g, operands[1]))) return false;
  Type type = type_reshaped(graph_type(g, node.result), from);
  ValueId sum =
      graph_insert_node(g, n, OP_ADD, &node.attrs, operands, 2, type, graph_value(g, node.result)->name, node.loc);
  become(g, n + 1, OP_RESHAPE, NULL, &sum, 1);
  return true;
}

/* quantize(dequantize(x)) to x's own type gives x back, unless a rounding moves one of its at most 256 numbers. */
static bool requantizing_is_exact(const Graph *g, const Type *t) {
  LevelMap map = type_level_map(t);
  uint32_t channels = t->scales == NO_VALUE ? 1 : (uint32_t)type_channels(t);
  for (uint32_t c = 0; c < channels; c++)
    for (int32_t q = type_q_min(t); q <= type_q_max(t); q++) {
      float x = exact_dequantize(map.mult * q - map.offset, type_step(g, t, (int32_t)c));
      if (exact_quantize(x, type_scale(g, t, (int32_t)c), t->zero2, type_q_min(t), type_q_max(t)) != q) return false;
    }
  return true;
}

static bool requantizes_same(const Graph *g, const Node *node) {
  const Node *before = defined_by(g, node->inputs[0], OP_DEQUANTIZE);
  if (!before) return false;
  const Type *t = graph_type(g, before->inputs[0]);
  return type_is_quantized(t) && type_same_quant(t, graph_type(g, node->result)) && requantizing_is_exact(g, t);
}

static bool drop_requantize(Graph *g, NodeId n) {
  const Node *node = &g->nodes[n];
  if (node->op != OP_QUANTIZE || !requantizes_same(g, node)) return false;
  return replace_by_operand(g, n, defining_node(g, node->inputs[0])->inputs[0]);
}

/* Applied to a result of `before`, does the operation change nothing? */
static bool is_idempotent_after(const Node *node, const Node *before) {
  switch (node->op) {
  case OP_RELU:
    return before->op == OP_RELU || before->op == OP_RELU6;
  case OP_RELU6:
    return before->op == OP_RELU6;
  case OP_SIGN:
    return before->op == OP_SIGN;
  case OP_HARDTANH:
    return before->op == OP_HARDTANH && before->attrs.lo == node->attrs.lo && before->attrs.hi == node->attrs.hi &&
           node->attrs.lo <= node->attrs.hi;
  default:
    return false;
  }
}

/* Does the operation give its operand, bit for bit? A 1 x 1 maximum does so for integers only: of real numbers it turns
 * a NaN into -infinity. */
static bool is_identity(const Graph *g, const Node *node) {
  const Attrs *a = &node->attrs;
  const Type *from = graph_type(g, node->inputs[0]), *to = graph_type(g, node->result);
  switch (node->op) {
  case OP_COPY:
    return true;
  case OP_CONCAT:
    return node->input_count == 1;
  case OP_RESHAPE:
    return type_same_shape(from, to);
  case OP_UPSAMPLE:
    return a->factor[0] == 1 && a->factor[1] == 1;
  case OP_MAXPOOL:
    return from->kind != ELEM_F32 && a->kernel[0] * a->kernel[1] == 1 && type_same_shape(from, to);
  default:
    break;
  }
  const Node *before = defining_node(g, node->inputs[0]);
  return before && node_is_plain(before) && is_idempotent_after(node, before);
}

static bool drop_identity(Graph *g, NodeId n) {
  return is_identity(g, &g->nodes[n]) && replace_by_operand(g, n, g->nodes[n].inputs[0]);
}

enum { MOST_CONCAT_OPERANDS = 16 }; /* what one kernel reads */

/* concat of many -> concat of a concat of the first ones. */
static bool split_concat(Graph *g, NodeId n) {
  Node node = g->nodes[n];
  if (node.op != OP_CONCAT || node.input_count <= MOST_CONCAT_OPERANDS) return false;
  uint32_t rest = node.input_count - MOST_CONCAT_OPERANDS;
  ValueId *inputs = ARENA_NEW(g->context, ValueId, rest + 1);
  memcpy(inputs + 1, node.inputs + MOST_CONCAT_OPERANDS, rest * sizeof *inputs);
  inputs[0] = graph_insert_node(g, n, OP_CONCAT, &node.attrs, node.inputs, MOST_CONCAT_OPERANDS, (Type){0},
                                graph_value(g, node.result)->name, node.loc);
  become(g, n + 1, OP_CONCAT, &node.attrs, inputs, rest + 1);
  return true;
}

static Rule *const rules[] = {
    flatten_is_reshape,      merge_reshapes,          drop_identity,     drop_requantize,
    sink_reshape_below_step, sink_reshapes_below_add, linear_over_image, split_concat,
};

static bool apply_rules(Graph *g, NodeId n) {
  for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
    if (node_is_plain(&g->nodes[n]) && rules[i](g, n)) return true;
  return false;
}

bool pass_canonicalize(Graph *g, const PassOptions *options) {
  (void)options;
  for (NodeId n = 0; n < g->node_count; n++)
    while (g->nodes[n].op != OP_NONE && apply_rules(g, n)) continue;
  graph_compact(g);
  return true;
}
