/* cost: estimated microseconds of a layer on an engine.
 *
 * A layer takes the longer of its arithmetic and its traffic with device memory, and a launch; and what it takes to
 * bring a network input into the order that the engine reads. The estimate does not look at layouts chosen so far:
 * every engine is given the layouts that suit it, so estimates of different engines compare. Arithmetic of tensor cores
 * is that of the best tile (trial.c), that of CUDA cores counts operations at the target's rate or, of products, what
 * a thread does and all of them do.
 */
#include "../ir/gemv.h"
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

/* In blocks of 128, whose four words are copied at once, where that keeps at most a quarter more channels than whole
 * words do; else the greatest block that keeps no more. */
static Layout planes_for_tensor_cores(const Type *t) {
  uint32_t least = layout_planes(t, 32).pitch;
  if (4 * layout_planes(t, 128).pitch <= 5 * least) return layout_planes(t, 128);
  return layout_planes(t, layout_planes(t, 64).pitch == least ? 64 : 32);
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
    return engine_uses_planes(engine) ? planes_for_tensor_cores(t) : bytes_for_tensor_cores(t);
  Type planes = *t, bytes = *t;
  planes.layout = planes_for_tensor_cores(t);
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

/* Results that a thread of DIRECT computes one after the other: those of its word of the result (launch.c). */
static double results_of_thread(const Graph *g, const Node *node) {
  const Type *t = graph_type(g, node->result);
  Layout l = graph_is_output(g, node->result) ? layout_dense(t) : preferred_layout(t, ENGINE_DIRECT);
  int together = l.kind == LAYOUT_PLANES ? 32 : l.kind == LAYOUT_BYTES && l.pitch % 4 == 0 ? 4 : 1;
  return together < type_channels(t) ? together : type_channels(t);
}

/* Each multiply-add waits for its loads, as comparisons with thresholds and chains of other steps do: more threads
 * would not help one that has much to do. Times of 92 random layers on an H200. */
static double product_on_cuda_cores(const Graph *g, const Node *node, uint32_t batch) {
  static const double thread_multiply_add = 0.03, thread_comparison = 0.0012, thread_chain = 0.035;
  static const double multiply_add = 0.29e-6, comparison = 0.19e-6, result = 5.2e-6, word = 1.7e-6;
  const Type *t = graph_type(g, node->result), *w = graph_type(g, node->inputs[1]);
  bool counts = node->step_count && node->steps[0].op == OP_THRESHOLDS;
  double terms = (double)(type_elements(w) / w->dim[0]), levels = counts ? (1 << node->steps[0].type.bits) - 1 : 0;
  double chain = node->step_count && !counts ? thread_chain : 0;
  double thread = results_of_thread(g, node) * (terms * thread_multiply_add + levels * thread_comparison + chain);
  double each = terms * multiply_add + levels * comparison + result + (type_is_quantized(t) ? 0 : word);
  return thread + (double)type_elements(t) * batch * each;
}

/* A CUDA core does one operation where its popc serves 32 one-bit ones, and POOL takes 32 numbers a bit at a time. */
static double cuda_core_microseconds(const Graph *g, const Node *node, Engine engine, const Target *target,
                                     uint32_t batch) {
  if (node->op == OP_CONV2D || node->op == OP_LINEAR) return product_on_cuda_cores(g, node, batch);
  double width = engine == ENGINE_POOL ? graph_type(g, node->inputs[0])->bits : 32;
  double operations = 2.0 * (double)multiply_adds(g, node) * batch * width;
  operations += 2.0 * (double)type_elements(graph_type(g, node->result)) * node->step_count * batch * 32;
  return operations / (target->cuda_core_tera_ops * 1e6);
}

/* What storing words as lines (../backend/mma_lines.c) holds up on wgmma, where the estimates of tiles count packed
 * results; more of rows that begin within sectors of memory. Microseconds an element, of 24 layers on an H200. */
static double line_stores(const Graph *g, const Node *node, Engine engine, uint32_t batch) {
  enum { SECTOR_WORDS = 8 };
  static const double of_sectors = 0.4e-6, of_others = 0.9e-6;
  const Type *t = graph_type(g, node->result);
  bool wgmma = engine == ENGINE_WGMMA_B1 || engine == ENGINE_WGMMA_S8;
  if (!wgmma || type_is_quantized(t)) return 0;
  return (double)type_elements(t) * batch * (type_channels(t) % SECTOR_WORDS ? of_others : of_sectors);
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
  double rows = engine_uses_planes(engine) ? w->bits : engine == ENGINE_GEMV_S8 ? gemv_weights(w).bits / 8.0 : 1;
  return 4.0 * w->dim[0] * reduction_words(g, node, &x) * rows;
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
  layer += line_stores(g, node, engine, batch);
  return layer + copy_microseconds(g, node, engine, target, batch);
}
