/* layout: where every bit of every tensor lies.
 *
 * Guarantees: network inputs and outputs are dense; every tensor-core layer finds its first operand in bit planes
 * (MMA_B1) or in bytes, of whole words for MMA_S8; a reshape is a view exactly where its result has its operand's
 * bytes. Pooling that was given POOL keeps it where POOL has a form between its layouts; otherwise it is DIRECT.
 *
 * A tensor takes the layout that makes the fewest bytes move: its own write, every read, and for each reader that
 * cannot take it a copy in that reader's layout (read, write, a launch). Readers behind a view that keeps the channels
 * count too. Copies that several readers want are made once.
 */
#include "../ir/pooling.h"
#include "plan.h"

/* The engines that read a tensor as their first operand; ENGINE_DIRECT for a reader that takes any layout. */
typedef struct Readers {
  Engine *engines;
  uint32_t count;
} Readers;

static bool engine_reads(Engine engine, const Type *t, Layout layout) {
  if (!engine_uses_tensor_cores(engine)) return true;
  if (layout.kind != engine_operand[engine]) return false;
  if (engine_reads_pieces(engine)) return layout_is_pieces(layout);
  if (engine == ENGINE_STRIP_S8) return layout_equal(layout, layout_bytes(t, 1));
  if (engine == ENGINE_PATCH_S8) return !layout_is_pieces(layout);
  return layout.kind == LAYOUT_PLANES || layout.pitch % 4 == 0;
}

/* The choice under way. */
typedef struct Chooser {
  Graph *g;
  const PassOptions *options;
  Pitches *pitches; /* by value: those of pieces (pieces.c) */
  Readers readers;
} Chooser;

/* The layout of a value that suits an engine best. */
static Layout suited(const Chooser *c, ValueId v, Engine engine) {
  const Type *t = graph_type(c->g, v);
  const Pitches *p = &c->pitches[v];
  if (!engine_reads_pieces(engine)) return preferred_layout(t, engine);
  return layout_pieces(t, engine_operand[engine], p->row, p->row * p->rows, c->options->max_batch);
}

/* --- bytes --- */

static uint64_t bytes_under(const Type *t, Layout layout) {
  Type laid = *t;
  laid.layout = layout;
  return layout_image_bytes(&laid);
}

static uint64_t activation_bytes(const Graph *g, ValueId v) {
  return graph_value(g, v)->kind == VALUE_CONST ? 0 : layout_image_bytes(graph_type(g, v));
}

uint64_t bytes_read(const Graph *g, const Node *node) {
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < node->input_count; i++) bytes += activation_bytes(g, node->inputs[i]);
  for (uint32_t s = 0; s < node->step_count; s++)
    for (uint32_t i = 0; i < node->steps[s].arg_count; i++) bytes += activation_bytes(g, node->steps[s].args[i]);
  return bytes;
}

uint64_t bytes_written(const Graph *g, const Node *node) {
  return activation_bytes(g, node->result);
}

/* --- readers --- */

static bool keeps_channels(const Graph *g, const Node *view) {
  return type_channels(graph_type(g, view->inputs[0])) == type_channels(graph_type(g, view->result));
}

static void add_reader(Readers *readers, Engine engine) {
  readers->engines[readers->count++] = engine;
}

static uint32_t count_operands(const Graph *g) {
  uint32_t count = 0;
  for (NodeId n = 0; n < g->node_count; n++) {
    count += g->nodes[n].input_count;
    for (uint32_t s = 0; s < g->nodes[n].step_count; s++) count += g->nodes[n].steps[s].arg_count;
  }
  return count;
}

/* Who reads v, itself or through views with its channels. */
static void find_readers(Chooser *c, ValueId v) {
  const Graph *g = c->g;
  Readers *readers = &c->readers;
  for (NodeId n = 0; n < g->node_count; n++) {
    const Node *node = &g->nodes[n];
    for (uint32_t i = 0; i < node->input_count; i++) {
      if (node->inputs[i] != v) continue;
      if (node->engine == ENGINE_VIEW && keeps_channels(g, node))
        find_readers(c, node->result);
      else
        add_reader(readers, i == 0 ? node->engine : ENGINE_DIRECT);
    }
    for (uint32_t s = 0; s < node->step_count; s++)
      for (uint32_t i = 0; i < node->steps[s].arg_count; i++)
        if (node->steps[s].args[i] == v) add_reader(readers, ENGINE_DIRECT);
  }
}

/* --- choice --- */

/* Bytes that a copy for `engine` costs besides those that its readers read. */
static double copy_bytes(const Chooser *c, ValueId v, Layout from, Engine engine) {
  const Type *t = graph_type(c->g, v);
  const Target *target = c->options->target;
  double launch = (double)target->launch_us * target->copy_gb_per_s * 1e3 / c->options->max_batch;
  return (double)(bytes_under(t, from) + bytes_under(t, suited(c, v, engine))) + launch;
}

static double bytes_moved(const Chooser *c, ValueId v, Layout layout) {
  const Type *t = graph_type(c->g, v);
  double bytes = (double)bytes_under(t, layout);
  bool copied[ENGINE_COUNT] = {false};
  for (uint32_t i = 0; i < c->readers.count; i++) {
    Engine engine = c->readers.engines[i];
    bool fits = engine_reads(engine, t, layout);
    bytes += (double)bytes_under(t, fits ? layout : suited(c, v, engine));
    if (!fits && !copied[engine]) bytes += copy_bytes(c, v, layout, engine);
    copied[engine] = copied[engine] || !fits;
  }
  return bytes;
}

static bool has_reader(const Readers *readers, Engine engine) {
  for (uint32_t i = 0; i < readers->count; i++)
    if (readers->engines[i] == engine) return true;
  return false;
}

/* A warp computes whole blocks of channels, so small blocks make more warps and large ones read and write fewer, longer
 * words: the block shrinks, which moves no more bytes, until the warps of 32 pixels fill the chip. */
static Layout fill_chip(const Type *t, Layout layout, const PassOptions *options) {
  enum { WARP_PIXELS = 32, WARPS_A_MULTIPROCESSOR = 4, LEAST_BLOCK = 32 };
  Image image = type_image(t);
  int64_t rows = ((int64_t)image.height * image.width * options->max_batch + WARP_PIXELS - 1) / WARP_PIXELS;
  int64_t wanted = (int64_t)options->target->sm_count * WARPS_A_MULTIPROCESSOR;
  while (layout.block > LEAST_BLOCK && rows * (layout.pitch / layout.block) < wanted) layout.block /= 2;
  return layout;
}

/* Bytes in whole words at least where tensor cores read them: pixels at 16-byte addresses copy faster than dense ones.
 */
static uint32_t list_candidates(const Chooser *c, ValueId v, Layout *candidates) {
  uint32_t count = 0;
  for (int i = 0; i < PRODUCT_ENGINES; i++) {
    Engine e = product_engines[i];
    if (engine_is_portable(e) || (engine_reads_pieces(e) && has_reader(&c->readers, e)))
      candidates[count++] = suited(c, v, e);
  }
  if (!has_reader(&c->readers, ENGINE_MMA_S8)) candidates[count++] = layout_dense(graph_type(c->g, v));
  return count;
}

static Layout choose_layout(Chooser *c, ValueId v) {
  const Graph *g = c->g;
  const Type *t = graph_type(g, v);
  if (graph_value(g, v)->kind == VALUE_INPUT || graph_is_output(g, v) || !type_is_quantized(t)) return layout_dense(t);
  c->readers.count = 0;
  find_readers(c, v);
  Layout candidates[PRODUCT_ENGINES + 1];
  uint32_t count = list_candidates(c, v, candidates);
  Layout best = candidates[0];
  double least = bytes_moved(c, v, best);
  for (uint32_t i = 1; i < count; i++) {
    double bytes = bytes_moved(c, v, candidates[i]);
    if (bytes >= least) continue;
    best = candidates[i];
    least = bytes;
  }
  return best.kind == LAYOUT_PLANES && !layout_is_pieces(best) ? fill_chip(t, best, c->options) : best;
}

/* Pooling keeps channels where they are: planes of the operand's blocks where these keep no more channels. */
static Layout order_of_operand(const Type *result, const Type *operand) {
  Layout chosen = result->layout;
  if (chosen.kind != LAYOUT_PLANES || layout_is_pieces(chosen) || operand->layout.kind != LAYOUT_PLANES) return chosen;
  Layout same = layout_planes(result, operand->layout.block);
  return same.pitch > chosen.pitch ? chosen : same;
}

static bool same_image(const Type *a, const Type *b) {
  Image x = type_image(a), y = type_image(b);
  return x.height == y.height && x.width == y.width && x.channels == y.channels;
}

/* A view's result takes its operand's layout where it keeps the channels (and, of pieces, the image); else both must be
 * dense for it to stay one. */
static void lay_out_result(Chooser *c, Node *node) {
  Type *result = graph_type(c->g, node->result);
  const Type *operand = graph_type(c->g, node->inputs[0]);
  bool kept = keeps_channels(c->g, node) && (!layout_is_pieces(operand->layout) || same_image(operand, result));
  if (node->engine == ENGINE_VIEW && kept) {
    result->layout = operand->layout;
    return;
  }
  result->layout = choose_layout(c, node->result);
  if (node->engine == ENGINE_POOL) result->layout = order_of_operand(result, operand);
  bool dense =
      layout_equal(operand->layout, layout_dense(operand)) && layout_equal(result->layout, layout_dense(result));
  if (node->engine == ENGINE_VIEW && !dense) node->engine = ENGINE_DIRECT;
}

/* --- copies --- */

static ValueId find_copy(const Graph *g, NodeId before, ValueId v, Layout layout) {
  for (NodeId n = 0; n < before; n++) {
    const Node *node = &g->nodes[n];
    if (node->op == OP_COPY && node->step_count == 0 && node->inputs[0] == v &&
        layout_equal(graph_type(g, node->result)->layout, layout))
      return node->result;
  }
  return NO_VALUE;
}

static ValueId insert_copy(Graph *g, NodeId before, ValueId v, Layout layout) {
  Type type = *graph_type(g, v);
  type.layout = layout;
  const char *name =
      arena_printf(g->context, "%s.%s", graph_value(g, v)->name, layout.kind == LAYOUT_PLANES ? "planes" : "bytes");
  ValueId copy = graph_insert_node(g, before, OP_COPY, NULL, &v, 1, type, name, g->nodes[before].loc);
  graph_type(g, copy)->layout = layout;
  g->nodes[before].engine = ENGINE_DIRECT;
  return copy;
}

/* Gives tensor-core layers their operand in a layout that they read. */
static void insert_copies(Chooser *c) {
  Graph *g = c->g;
  for (NodeId n = 0; n < g->node_count; n++) {
    Engine engine = g->nodes[n].engine;
    ValueId x = g->nodes[n].inputs[0];
    if (engine_reads(engine, graph_type(g, x), graph_type(g, x)->layout)) continue;
    Layout wanted = suited(c, x, engine);
    ValueId copy = find_copy(g, n, x, wanted);
    if (copy == NO_VALUE) copy = insert_copy(g, n++, x, wanted);
    graph_set_input(g, n, 0, copy);
  }
}

/* Pooling that POOL has no form for between its layouts is DIRECT's. */
static void settle_pooling(Graph *g) {
  Pooling unused;
  for (NodeId n = 0; n < g->node_count; n++)
    if (g->nodes[n].engine == ENGINE_POOL && !pooling_of(g, &g->nodes[n], &unused)) g->nodes[n].engine = ENGINE_DIRECT;
}

bool pass_layout(Graph *g, const PassOptions *options) {
  Chooser c = {.g = g, .options = options, .pitches = pitches_of_pieces(g)};
  c.readers.engines = ARENA_NEW(g->context, Engine, count_operands(g));
  for (uint32_t i = 0; i < g->input_count; i++) {
    Type *t = graph_type(g, g->inputs[i]);
    t->layout = layout_dense(t);
  }
  for (NodeId n = 0; n < g->node_count; n++) lay_out_result(&c, &g->nodes[n]);
  insert_copies(&c);
  settle_pooling(g);
  return true;
}
