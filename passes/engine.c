/* engine: which unit computes each layer.
 *
 * Guarantees: every node has an engine that can compute it: the one that the options force where it can do the layer,
 * else the one that the tuning file names (tuning.c), else of several the one that cost.c estimates fastest. A reshape
 * is a view until the layout pass finds that it moves data, and a pooling layer has the POOL engine until it finds
 * layouts that do not go together.
 */
#include "plan.h"
#include "tuning.h"

enum { MOST_ENGINES = 8 };

/* The engines that an operation can run on, best first where they cost the same. */
typedef struct Choice {
  Op op;
  Engine engines[MOST_ENGINES];
} Choice;

static const Choice choices[] = {
    {OP_CONV2D,
     {ENGINE_MMA_B1, ENGINE_PATCH_S8, ENGINE_STRIP_S8, ENGINE_MMA_S8, ENGINE_WGMMA_B1, ENGINE_WGMMA_S8, ENGINE_DIRECT}},
    {OP_LINEAR,
     {ENGINE_MMA_B1, ENGINE_MMA_S8, ENGINE_WGMMA_B1, ENGINE_WGMMA_S8, ENGINE_SKINNY_B1, ENGINE_GEMV_B1, ENGINE_GEMV_S8,
      ENGINE_DIRECT}},
    {OP_MAXPOOL, {ENGINE_POOL, ENGINE_DIRECT}},
    {OP_AVGPOOL, {ENGINE_POOL, ENGINE_DIRECT}},
    {OP_ARGMAX, {ENGINE_ROW}},
    {OP_SOFTMAX, {ENGINE_ROW}},
    {OP_RESHAPE, {ENGINE_VIEW, ENGINE_DIRECT}},
    {OP_NONE, {ENGINE_DIRECT}}, /* every other operation */
};

static const Engine *engines_of(Op op) {
  const Choice *choice = choices;
  while (choice->op != op && choice->op != OP_NONE) choice++;
  return choice->engines;
}

/* The memory of a graph input or output belongs to the user, so no other value can share it. */
static bool can_share_memory(const Graph *g, ValueId v) {
  return graph_value(g, v)->kind == VALUE_RESULT && !graph_is_output(g, v);
}

bool engine_can_compute(const Graph *g, const Node *node, Engine engine, const Target *target, const char **why) {
  const Engine *engines = engines_of(node->op);
  int i = 0;
  while (i < MOST_ENGINES && engines[i] != engine) i++;
  *why = NULL;
  if (i == MOST_ENGINES || engine == ENGINE_NONE)
    *why = "it does not have this operation";
  else if (engine_uses_tensor_cores(engine) && node->op == OP_CONV2D && node->attrs.groups != 1)
    *why = "groups share no operand that a matrix product could reuse";
  else if (engine_reads_pieces(engine) && node->op == OP_CONV2D &&
           (node->attrs.stride[0] > 1 || node->attrs.stride[1] > 1))
    *why = "a stride takes taps apart that it reads as one offset";
  else if (engine == ENGINE_PATCH_S8 && !patch_fits(g, node, target))
    *why = "it keeps all taps of few channels in shared memory, and these are too many";
  else if (engine == ENGINE_STRIP_S8 && !strip_fits(g, node, target))
    *why = "it keeps taps that neighbour each other as rows of few bytes, which this filter or image does not allow";
  else if (engine_uses_tensor_cores(engine) && engine_tera_ops(target, engine) == 0)
    *why = "the target has no native instruction for it";
  else if (engine == ENGINE_POOL && !type_is_quantized(graph_type(g, node->inputs[0])))
    *why = "its operand is no quantized number";
  else if (engine == ENGINE_VIEW &&
           (node->step_count || !can_share_memory(g, node->inputs[0]) || !can_share_memory(g, node->result)))
    *why = "the network's inputs and outputs have memory of their own";
  return *why == NULL;
}

void list_engines(const Graph *g, const Node *node, const Target *target, uint32_t batch, EngineList *out) {
  static const double within = 3;
  double cost[ENGINE_COUNT], least = -1;
  *out = (EngineList){0};
  for (int e = ENGINE_NONE + 1; e < ENGINE_COUNT; e++) {
    cost[e] = cost_of_node(g, node, (Engine)e, target, batch, NULL);
    if (cost[e] >= 0 && (least < 0 || cost[e] < least)) least = cost[e];
  }
  for (int e = ENGINE_NONE + 1; e < ENGINE_COUNT; e++) {
    if (cost[e] < 0 || cost[e] > within * least) continue;
    out->engines[out->count] = (Engine)e;
    out->microseconds[out->count++] = cost[e];
  }
}

/* The engine that the tuning file names; ENGINE_NONE where there is none or it cannot do the layer. */
static Engine tuned_engine(const Graph *g, const Node *node, const PassOptions *options) {
  const TuningEntry *entry = tuning_of_node(g, node, options);
  const char *why;
  if (!entry) return ENGINE_NONE;
  if (cost_of_node(g, node, entry->engine, options->target, options->max_batch, &why) >= 0) return entry->engine;
  tuning_warn(g, node, entry, arena_printf(g->context, "engine %s: %s", engine_name[entry->engine], why));
  return ENGINE_NONE;
}

/* Other engines than the portable ones are for where they gain something: their estimates count this much more, so that
 * an error of the model does not make a layer slower than it is on every target. */
static double weighed(Engine engine, double microseconds) {
  static const double doubt = 1.1;
  return engine == ENGINE_MMA_B1 || engine == ENGINE_MMA_S8 ? microseconds : microseconds * doubt;
}

static Engine choose_engine(const Graph *g, const Node *node, const PassOptions *options, uint32_t batch) {
  const Engine *engines = engines_of(node->op);
  const char *why;
  Engine best = ENGINE_NONE, tuned = tuned_engine(g, node, options);
  double least = 0;
  for (int i = 0; i < MOST_ENGINES && engines[i] != ENGINE_NONE; i++) {
    double microseconds = cost_of_node(g, node, engines[i], options->target, batch, &why);
    if (microseconds < 0) continue;
    if (engines[i] == options->force_engine) return engines[i];
    microseconds = weighed(engines[i], microseconds);
    if (best != ENGINE_NONE && microseconds >= least) continue;
    best = engines[i];
    least = microseconds;
  }
  return tuned != ENGINE_NONE ? tuned : best;
}

bool pass_engine(Graph *g, const PassOptions *options) {
  for (NodeId n = 0; n < g->node_count; n++)
    g->nodes[n].engine = choose_engine(g, &g->nodes[n], options, options->max_batch);
  return true;
}
