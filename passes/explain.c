/* explain: why every layer is computed as it is.
 *
 * For each layer: its engine and the estimate that chose it, the engines it could have had and theirs; the bytes of
 * activations that it reads and writes in an image, against the least possible (every element at its own width, no
 * padding) and against the same operations unfused (every step reads and writes memory); tile, and estimated time. A
 * summary of the network ends it. All of it follows from the planned graph alone.
 */
#include "plan.h"
#include "tuning.h"

typedef struct Totals {
  double microseconds;
  uint64_t moved, least, unfused;
  uint32_t launches;
} Totals;

static uint64_t least_bytes_of(const Graph *g, ValueId v) {
  const Value *value = graph_value(g, v);
  if (value->kind == VALUE_CONST) return 0;
  return ((uint64_t)type_elements(&value->type) * value->type.bits + 7) / 8;
}

static uint64_t least_bytes(const Graph *g, const Node *node) {
  uint64_t bytes = least_bytes_of(g, node->result);
  for (uint32_t i = 0; i < node->input_count; i++) bytes += least_bytes_of(g, node->inputs[i]);
  for (uint32_t s = 0; s < node->step_count; s++)
    for (uint32_t i = 0; i < node->steps[s].arg_count; i++) bytes += least_bytes_of(g, node->steps[s].args[i]);
  return bytes;
}

/* Every operation a kernel of its own that writes its dense result, which the next one reads. */
static uint64_t unfused_bytes(const Graph *g, const Node *node) {
  uint64_t bytes = bytes_read(g, node) + bytes_written(g, node);
  const Type *between = &node->main_type;
  for (uint32_t s = 0; s < node->step_count; s++) {
    bytes += 2 * type_dense_bytes(between);
    between = &node->steps[s].type;
  }
  return bytes;
}

static double layer_microseconds(const Graph *g, const Node *node, const PassOptions *options) {
  if (!engine_uses_tensor_cores(node->engine) || !node->tile.m)
    return cost_of_node(g, node, node->engine, options->target, options->max_batch, NULL);
  double traffic = (double)(bytes_read(g, node) + bytes_written(g, node)) * options->max_batch;
  double memory = traffic / (options->target->copy_gb_per_s * 1e3);
  double tiles = tile_microseconds(g, node, options);
  return (tiles > memory ? tiles : memory) + options->target->launch_us;
}

static void explain_heading(const Graph *g, const Node *node, FILE *out) {
  fprintf(out, "%s: %s", graph_value(g, node->result)->name, op_info[node->op].name);
  for (uint32_t s = 0; s < node->step_count; s++) fprintf(out, " + %s", op_info[node->steps[s].op].name);
  fprintf(out, " -> %s\n", type_string(g->context, g, graph_type(g, node->result)));
}

static void explain_engine(const Graph *g, const Node *node, const PassOptions *options, FILE *out) {
  double own = cost_of_node(g, node, node->engine, options->target, options->max_batch, NULL);
  fprintf(out, "  engine    %s", engine_name[node->engine]);
  if (own >= 0) fprintf(out, ", estimated %.2f us", own);
  int pairs = plane_pairs(g, node, node->engine);
  if (engine_uses_planes(node->engine)) fprintf(out, " for %d one-bit product%s", pairs, pairs == 1 ? "" : "s");
  bool forced = options->force_engine != ENGINE_NONE && node->engine == options->force_engine;
  const TuningEntry *entry = tuning_of_node(g, node, options);
  bool tuned = !forced && entry && entry->engine == node->engine;
  fprintf(out, "%s\n", forced ? ", as the options say" : tuned ? ", as the tuning file says" : "");
}

/* Only products have a choice worth a line. */
static void explain_rejected(const Graph *g, const Node *node, const PassOptions *options, FILE *out) {
  if (node->op != OP_CONV2D && node->op != OP_LINEAR) return;
  for (int i = 0; i < PRODUCT_ENGINES; i++) {
    Engine rival = product_engines[i];
    if (rival == node->engine) continue;
    const char *why = NULL;
    double cost = cost_of_node(g, node, rival, options->target, options->max_batch, &why);
    if (cost < 0)
      fprintf(out, "  rejected  %s: %s\n", engine_name[rival], why);
    else
      fprintf(out, "  rejected  %s: estimated %.2f us\n", engine_name[rival], cost);
  }
}

static void explain_bytes(const Graph *g, const Node *node, Totals *totals, FILE *out) {
  uint64_t read = bytes_read(g, node), written = bytes_written(g, node);
  uint64_t least = least_bytes(g, node), unfused = unfused_bytes(g, node);
  fprintf(out, "  bytes     reads %llu, writes %llu an image; least %llu (x%.2f), unfused %llu (x%.2f)\n",
          (unsigned long long)read, (unsigned long long)written, (unsigned long long)least,
          (double)(read + written) / (double)least, (unsigned long long)unfused,
          (double)unfused / (double)(read + written));
  totals->moved += read + written;
  totals->least += least;
  totals->unfused += unfused;
}

static void explain_tile(const Graph *g, const Node *node, const PassOptions *options, FILE *out) {
  const Tile *t = &node->tile;
  if (!t->m) return;
  const TuningEntry *entry = tuning_of_node(g, node, options);
  bool tuned = entry && entry->engine == node->engine && tile_equal(&entry->tile, t);
  bool skinny = node->engine == ENGINE_SKINNY_B1 || engine_is_gemv(node->engine); /* channels are on the other side */
  fprintf(out, "  tile      %u %s x %u %s x %u words, %u x %u warps, %u stages", t->m, skinny ? "channels" : "pixels",
          t->n, skinny ? "pixels" : "channels", t->k, t->warps_m, t->warps_n, t->stages);
  if (t->split_k > 1) fprintf(out, ", %u blocks share a sum", t->split_k);
  fprintf(out, "%s\n", tuned ? ", as the tuning file says" : "");
}

static void explain_node(const Graph *g, const Node *node, const PassOptions *options, Totals *totals, FILE *out) {
  explain_heading(g, node, out);
  if (node->engine == ENGINE_VIEW) {
    fprintf(out, "  engine    view: its operand's memory, no kernel\n");
    return;
  }
  explain_engine(g, node, options, out);
  explain_rejected(g, node, options, out);
  explain_bytes(g, node, totals, out);
  explain_tile(g, node, options, out);
  double microseconds = layer_microseconds(g, node, options);
  if (microseconds >= 0) {
    fprintf(out, "  time      estimated %.2f us at batch %u\n", microseconds, options->max_batch);
    totals->microseconds += microseconds;
  }
  totals->launches++;
}

void passes_explain(const Graph *g, const PassOptions *options, FILE *out) {
  PassOptions settled = *options;
  if (!settled.max_batch) settled.max_batch = g->max_batch ? g->max_batch : 1;
  Totals totals = {0};
  for (NodeId n = 0; n < g->node_count; n++) {
    const Node *node = &g->nodes[n];
    if (node->engine == ENGINE_NONE || graph_type(g, node->result)->layout.kind == LAYOUT_NONE) continue;
    explain_node(g, node, &settled, &totals, out);
  }
  fprintf(out, "network %s on %s: %u launches, estimated %.2f us at batch %u\n", g->name, settled.target->name,
          totals.launches, totals.microseconds, settled.max_batch);
  fprintf(out, "  %llu bytes of activations move an image; least %llu, unfused %llu; arena %llu bytes\n",
          (unsigned long long)totals.moved, (unsigned long long)totals.least, (unsigned long long)totals.unfused,
          (unsigned long long)g->arena_bytes);
}
