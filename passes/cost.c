/* cost: estimated microseconds of a layer on an engine.
 *
 * A layer takes the longer of its arithmetic and its traffic with device memory, and a launch; and what it takes to
 * bring a network input into the order that the engine reads. The estimate does not look at layouts chosen so far:
 * every engine is given the layouts that suit it, so estimates of different engines compare. Arithmetic of tensor cores
 * is that of the best tile (trial.c), that of CUDA cores counts operations at the target's rate, and no less than what
 * one thread does.
 */
#include "plan.h"

static int64_t window_elements(const Attrs *a) {
  return (int64_t)a->kernel[0] * a->kernel[1];
}

int64_t multiply_adds(const Graph *g, const Node *node) {
  int64_t results = type_elements(&node->main_type);
  switch (node->op) {
  case OP_CONV2D: {
    const Type *w = graph_type(g, node->inputs[1]);
    return results * (type_elements(w) / w->dim[0]);
  }
  case OP_LINEAR:
    return results * graph_type(g, node->inputs[1])->dim[1];
  case OP_MAXPOOL:
  case OP_AVGPOOL:
    return results * window_elements(&node->attrs);
  case OP_ARGMAX:
  case OP_SOFTMAX:
    return type_elements(graph_type(g, node->inputs[0]));
  default:
    return results;
  }
}

/* The greatest block that keeps no more channels than whole words do. */
static Layout planes_of_greatest_block(const Type *t) {
  uint32_t least = layout_planes(t, 32).pitch;
  for (int block = 128; block > 32; block /= 2)
    if (layout_planes(t, block).pitch == least) return layout_planes(t, block);
  return layout_planes(t, 32);
}

static Layout bytes_for_tensor_cores(const Type *t) {
  return layout_bytes(t, type_channels(t) >= 16 ? 16 : 4);
}

Layout preferred_layout(const Type *t, Engine engine) {
  if (!type_is_quantized(t)) return layout_dense(t);
  if (engine_reads_pieces(engine)) {
    Image image = type_image(t);
    return layout_pieces(t, engine_operand[engine], (uint32_t)image.width, (uint32_t)(image.width * image.height), 1);
  }
  if (engine == ENGINE_PATCH_S8 || engine == ENGINE_STRIP_S8) return layout_bytes(t, 1);
  if (engine_uses_tensor_cores(engine))
    return engine_uses_planes(engine) ? planes_of_greatest_block(t) : bytes_for_tensor_cores(t);
  Type planes = *t, bytes = *t;
  planes.layout = planes_of_greatest_block(t);
  bytes.layout = layout_bytes(t, type_channels(t) >= 4 ? 4 : 1);
  return layout_pixel_bytes(&planes) < layout_pixel_bytes(&bytes) ? planes.layout : bytes.layout;
}

uint32_t reduction_words(const Graph *g, const Node *node, const Type *x) {
  const Type *w = graph_type(g, node->inputs[1]);
  uint32_t taps = node->op == OP_CONV2D ? (uint32_t)(w->dim[1] * w->dim[2]) : 1;
  return taps * (x->layout.kind == LAYOUT_PLANES ? x->layout.pitch / 32 : (x->layout.pitch + 3) / 4);
}

int plane_pairs(const Graph *g, const Node *node, Engine engine) {
  if (!engine_uses_planes(engine)) return 1;
  return graph_type(g, node->inputs[0])->bits * graph_type(g, node->inputs[1])->bits;
}

double engine_tera_ops(const Target *target, Engine engine) {
  double best = 0;
  for (uint32_t i = 0; i < target->mma_count; i++) {
    const MmaRate *rate = &target->mma[i];
    if (rate->engine == engine_of_instructions(engine) && rate->native && rate->tera_ops > best) best = rate->tera_ops;
  }
  return best;
}

/* Multiply-adds that a thread of DIRECT does one after the other: those of all channels of its word of the result
 * (launch.c). */
static double multiply_adds_of_thread(const Graph *g, const Node *node) {
  if (node->op != OP_CONV2D && node->op != OP_LINEAR) return 0;
  const Type *t = graph_type(g, node->result), *w = graph_type(g, node->inputs[1]);
  Layout l = graph_is_output(g, node->result) ? layout_dense(t) : preferred_layout(t, ENGINE_DIRECT);
  int channels = l.kind == LAYOUT_PLANES ? 32 : l.kind == LAYOUT_BYTES && l.pitch % 4 == 0 ? 4 : 1;
  return (double)channels * (double)(type_elements(w) / w->dim[0]);
}

/* Words of an image's result that a thread each stores: sums, which nothing packs. */
static double words_stored(const Graph *g, const Node *node) {
  const Type *t = graph_type(g, node->result);
  bool product = node->op == OP_CONV2D || node->op == OP_LINEAR;
  return product && !type_is_quantized(t) ? (double)type_elements(t) : 0;
}

/* A CUDA core does one multiply-add where its popc serves 32 one-bit ones, and POOL takes 32 numbers a bit at a time.
 * More threads would not help one that has much to do: each of its multiply-adds waits for its loads, 110
 * cycles of an H200 (64 x 128 x 128 with 2-bit inputs took 258 us), and as a whole it stores 110 words a nanosecond. */
static double cuda_core_microseconds(const Graph *g, const Node *node, Engine engine, const Target *target,
                                     uint32_t batch) {
  static const double multiply_add_us = 110 / 1755.0, word_us = 9e-6;
  double width = engine == ENGINE_POOL ? graph_type(g, node->inputs[0])->bits : 32;
  double operations = 2.0 * (double)multiply_adds(g, node) * batch * width;
  operations += 2.0 * (double)type_elements(graph_type(g, node->result)) * node->step_count * batch * 32;
  double all = operations / (target->cuda_core_tera_ops * 1e6);
  double thread = multiply_adds_of_thread(g, node) * multiply_add_us;
  return (all > thread ? all : thread) + words_stored(g, node) * batch * word_us;
}

static double image_bytes(const Graph *g, ValueId v, Engine engine) {
  Type t = *graph_type(g, v);
  t.layout = preferred_layout(&t, engine);
  return (double)layout_image_bytes(&t);
}

/* Bytes of the weights as the engine keeps them. */
static double weight_bytes(const Graph *g, const Node *node, Engine engine) {
  if (node->op != OP_CONV2D && node->op != OP_LINEAR) return 0;
  const Type *w = graph_type(g, node->inputs[1]);
  if (!engine_uses_tensor_cores(engine)) return (double)type_elements(w);
  Type x = *graph_type(g, node->inputs[0]);
  x.layout = preferred_layout(&x, engine);
  return 4.0 * w->dim[0] * reduction_words(g, node, &x) * (engine_uses_planes(engine) ? w->bits : 1);
}

static double traffic_bytes(const Graph *g, const Node *node, Engine engine, uint32_t batch) {
  double bytes = image_bytes(g, node->result, ENGINE_DIRECT);
  for (uint32_t i = 0; i < node->input_count; i++)
    if (graph_value(g, node->inputs[i])->kind != VALUE_CONST) bytes += image_bytes(g, node->inputs[i], engine);
  for (uint32_t s = 0; s < node->step_count; s++)
    for (uint32_t i = 0; i < node->steps[s].arg_count; i++)
      if (graph_value(g, node->steps[s].args[i])->kind != VALUE_CONST)
        bytes += image_bytes(g, node->steps[s].args[i], ENGINE_DIRECT);
  return bytes * batch + weight_bytes(g, node, engine);
}

/* A network input or output is dense; where the engine cannot read that, a copy goes before the layer. */
static double copy_microseconds(const Graph *g, const Node *node, Engine engine, const Target *target, uint32_t batch) {
  ValueId x = node->inputs[0];
  if (graph_value(g, x)->kind == VALUE_RESULT && !graph_is_output(g, x)) return 0;
  Layout dense = layout_dense(graph_type(g, x));
  if (engine == ENGINE_PATCH_S8 || engine == ENGINE_STRIP_S8) return 0;
  bool words = dense.pitch % 4 == 0 && engine_operand[engine] == LAYOUT_BYTES && !engine_reads_pieces(engine);
  if (words || !engine_uses_tensor_cores(engine)) return 0;
  double bytes = (double)type_dense_bytes(graph_type(g, x)) + image_bytes(g, x, engine);
  return bytes * batch / (target->copy_gb_per_s * 1e3) + target->launch_us;
}

double cost_of_node(const Graph *g, const Node *node, Engine engine, const Target *target, uint32_t batch,
                    const char **why) {
  const char *unused;
  if (!why) why = &unused;
  if (!engine_can_compute(g, node, engine, target, why)) return -1;
  if (engine == ENGINE_VIEW) return 0;
  PassOptions options = {.target = target, .max_batch = batch};
  double arithmetic = engine_uses_tensor_cores(engine) ? trial_microseconds(g, node, engine, &options)
                                                       : cuda_core_microseconds(g, node, engine, target, batch);
  if (arithmetic < 0) *why = "no tile of it fits the layer";
  if (arithmetic < 0) return -1;
  double traffic = traffic_bytes(g, node, engine, batch) / (target->copy_gb_per_s * 1e3);
  double layer = (arithmetic > traffic ? arithmetic : traffic) + target->launch_us;
  return layer + copy_microseconds(g, node, engine, target, batch);
}
