/* What kernels take for granted of a planned graph, checked before any of them is emitted: every layer has an engine
 * that computes it, layouts, memory and the launch that its kernel expects, and every index stays within 32 bits.
 *
 * The passes give such plans, but a plug-in may change them last, and a graph can be read as text at any stage. Shapes
 * of tiles are checked in kernel_mma.c, which knows what it can compute.
 */
#include "../ir/gemv.h"
#include "../ir/patch.h"
#include "../ir/pooling.h"
#include "../ir/skinny.h"
#include "../ir/staging.h"
#include "../ir/strip.h"
#include "emit.h"

#include <inttypes.h>

enum { ARENA_ALIGN = 256, MOST_THREADS = 1024, MOST_BLOCKS_Y = 65535, MOST_ROWS = 1 << 30, MOST_SUM_WORDS = 1 << 24 };

typedef struct Check {
  const Graph *g;
  const Target *target;
  const Node *node; /* under way */
} Check;

bool bad_plan(const Graph *g, const Node *node, const char *format, ...) {
  char text[256];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  diag(g->context, DIAG_LAYER_PLAN, node->loc, graph_value(g, node->result)->name, text);
  return false;
}

bool same_positions(const Graph *g, const Node *node) {
  const Type *in = graph_type(g, node->inputs[0]), *out = graph_type(g, node->result);
  Grid from = grid_of(in), to = grid_of(out);
  if (!layout_is_pieces(out->layout)) return true;
  if (from.row_pitch == to.row_pitch && from.image_pitch == to.image_pitch) return true;
  return bad_plan(g, node, "its result has another pitch of rows or images than its input");
}

static bool within(const Check *c, const char *what, uint64_t seen, uint64_t most) {
  if (seen <= most) return true;
  Context *context = c->g->context;
  diag(context, DIAG_LAYER_LIMIT, c->node->loc, graph_value(c->g, c->node->result)->name, what);
  diag_expected(context, "at most %" PRIu64, most);
  diag_seen(context, "%" PRIu64, seen);
  if (c->g->max_batch > 1) diag_hint(context, "compile for a smaller batch than %" PRIu32, c->g->max_batch);
  return false;
}

/* --- tensors --- */

static uint64_t pixels_of(const Type *t) {
  Image image = type_image(t);
  return (uint64_t)image.height * (uint64_t)image.width;
}

/* The greatest strides in bytes are those of pieces. */
static bool check_pieces(const Check *c, const Type *t) {
  if (!layout_is_pieces(t->layout)) return true;
  if (t->layout.positions / t->layout.image_pitch != c->g->max_batch)
    return bad_plan(c->g, c->node, "it has pieces of %u images", t->layout.positions / t->layout.image_pitch);
  return within(c, "bytes in a block of pieces", layout_strides(t).block, INT32_MAX);
}

static bool is_dense(const Type *t) {
  return layout_equal(t->layout, layout_dense(t));
}

static bool check_tensor(const Check *c, ValueId v) {
  const Value *value = graph_value(c->g, v);
  const Type *t = &value->type;
  if (value->kind == VALUE_CONST)
    return bad_plan(c->g, c->node, "it reads constant '%.64s' as activations", value->name);
  if (t->layout.kind == LAYOUT_NONE) return bad_plan(c->g, c->node, "'%.64s' has no layout", value->name);
  return within(c, "bytes in a pixel", layout_pixel_bytes(t), INT32_MAX) &&
         within(c, "positions in a batch", layout_image_positions(t) * c->g->max_batch, INT32_MAX) &&
         check_pieces(c, t);
}

static bool check_tensors(const Check *c) {
  const Node *node = c->node;
  bool weights = node->op == OP_CONV2D || node->op == OP_LINEAR;
  bool good = check_tensor(c, node->result);
  for (uint32_t i = 0; i < node->input_count; i++)
    if (operand_is_activation(node->op, i)) good = check_tensor(c, node->inputs[i]) && good;
  if (weights && graph_value(c->g, node->inputs[1])->kind != VALUE_CONST)
    good = bad_plan(c->g, node, "its weights are no constant");
  for (uint32_t s = 0; s < node->step_count; s++)
    if (step_operand(&node->steps[s]) != NO_VALUE) good = check_tensor(c, step_operand(&node->steps[s])) && good;
  return good;
}

static bool check_memory(const Check *c) {
  const Value *v = graph_value(c->g, c->node->result);
  if (graph_is_output(c->g, c->node->result))
    return (c->node->engine != ENGINE_VIEW && is_dense(&v->type)) ||
           bad_plan(c->g, c->node, "a network output is dense and has memory of its own");
  if (c->node->engine == ENGINE_VIEW || (v->arena_offset != NO_OFFSET && v->arena_offset % ARENA_ALIGN == 0))
    return true;
  return bad_plan(c->g, c->node, "its result has no place in the arena, or none at a multiple of %d bytes",
                  ARENA_ALIGN);
}

/* Rows and columns are computed modulo 2^32, and -2^30 is a row that no window reaches. */
static bool check_window(const Check *c) {
  const Attrs *a = &c->node->attrs;
  if (!(op_info[c->node->op].attrs & A_PAD)) return true;
  Image in = type_image(graph_type(c->g, c->node->inputs[0]));
  return within(c, "rows with padding", (uint64_t)in.height + (uint64_t)a->pad[0] + (uint64_t)a->pad[2], MOST_ROWS) &&
         within(c, "columns with padding", (uint64_t)in.width + (uint64_t)a->pad[1] + (uint64_t)a->pad[3], MOST_ROWS);
}

/* --- engines: what each computes --- */

static bool check_no_engine(const Check *c) {
  return bad_plan(c->g, c->node, "it has no engine");
}

static bool check_view(const Check *c) {
  const Type *from = graph_type(c->g, c->node->inputs[0]), *to = graph_type(c->g, c->node->result);
  bool same_pixels = type_channels(from) == type_channels(to) && layout_equal(from->layout, to->layout);
  if (c->node->op == OP_RESHAPE && !c->node->step_count && (same_pixels || (is_dense(from) && is_dense(to))))
    return true;
  return bad_plan(c->g, c->node, "a view is a reshape whose result has the bytes of its operand");
}

static bool check_row(const Check *c) {
  const Node *node = c->node;
  bool known = node->op == OP_ARGMAX || node->op == OP_SOFTMAX;
  if (known && !node->step_count && is_dense(graph_type(c->g, node->result))) return true;
  return bad_plan(c->g, node, "the row engine computes argmax and softmax, without steps, to dense results");
}

static bool check_direct(const Check *c) {
  Op op = c->node->op;
  if (direct_has(op) || epilogue_has(op)) return true;
  return bad_plan(c->g, c->node, "the direct engine has no form of %s", op_info[op].name);
}

static bool check_pool(const Check *c) {
  Pooling unused;
  return pooling_of(c->g, c->node, &unused) ||
         bad_plan(c->g, c->node, "the pool engine has no form of this operation between these layouts");
}

static bool check_mma(const Check *c) {
  const Node *node = c->node;
  const Tile *t = &node->tile;
  const Layout in = graph_type(c->g, node->inputs[0])->layout;
  bool planes = engine_uses_planes(node->engine);
  if ((node->op != OP_CONV2D && node->op != OP_LINEAR) || node->attrs.groups != 1)
    return bad_plan(c->g, node, "tensor cores compute linear, and conv2d without groups");
  if (planes ? in.kind != LAYOUT_PLANES : in.kind != LAYOUT_BYTES || in.pitch % 4)
    return bad_plan(c->g, node, "its input must lie in %s", planes ? "bit planes" : "bytes of whole words");
  if (!t->m || !t->n || !t->k || !t->warps_m || !t->warps_n) return bad_plan(c->g, node, "it has no tile");
  const Type *w = graph_type(c->g, node->inputs[1]);
  uint64_t taps = w->rank == 4 ? (uint64_t)w->dim[1] * (uint64_t)w->dim[2] : 1;
  return within(c, "words in a sum", taps * (in.pitch / (planes ? 32 : 4)), MOST_SUM_WORDS);
}

static bool check_patch(const Check *c) {
  const Node *node = c->node;
  const Layout in = graph_type(c->g, node->inputs[0])->layout, out = graph_type(c->g, node->result)->layout;
  const Tile *t = &node->tile;
  if (node->op != OP_CONV2D || !patch_serves(c->g, node))
    return bad_plan(c->g, node, "patches serve convolutions of at most %d channels and %d steps", MOST_PATCH_CHANNELS,
                    MOST_PATCH_STEPS);
  if (in.kind != LAYOUT_BYTES || layout_is_pieces(in) || in.pitch > MOST_PATCH_CHANNELS)
    return bad_plan(c->g, node, "its input must lie in bytes, pixel after pixel, at most %d each", MOST_PATCH_CHANNELS);
  if (layout_is_pieces(out) && out.image_pitch % out.row_pitch)
    return bad_plan(c->g, node, "its result has no whole number of rows in an image");
  return (t->m && t->m % PATCH_WARP_ROWS == 0 && t->n) || bad_plan(c->g, node, "it has no tile of whole warps");
}

static bool check_strip(const Check *c) {
  const Node *node = c->node;
  const Type *x = graph_type(c->g, node->inputs[0]);
  const Layout out = graph_type(c->g, node->result)->layout;
  const Tile *t = &node->tile;
  Strips unused;
  if (!strip_serves(c->g, node))
    return bad_plan(c->g, node, "strips serve convolutions of at most %d channels and %d steps whose rows are words",
                    STRIP_BYTES, MOST_STRIP_STEPS);
  if (!is_dense(x)) return bad_plan(c->g, node, "its input must be dense");
  if (layout_is_pieces(out) && out.image_pitch % out.row_pitch)
    return bad_plan(c->g, node, "its result has no whole number of rows in an image");
  uint32_t group_rows = STRIP_SQUARE * STRIP_SQUARE * (t->warps_m / 4u);
  if (!t->n || !t->m || t->warps_m < 4 || t->warps_m % 4 || t->m % group_rows)
    return bad_plan(c->g, node, "it has no tile of whole squares");
  return strips_of(c->g, node, t, &unused) || bad_plan(c->g, node, "the threads of its tile cannot fill its patch");
}

/* wgmma reads pieces; a tap is one offset for all positions where the stride is 1 and gaps hold the padding. */
static bool check_wgmma(const Check *c) {
  const Node *node = c->node;
  const Attrs *a = &node->attrs;
  const Type *t = graph_type(c->g, node->inputs[0]);
  if (!check_mma(c)) return false;
  if (!layout_is_pieces(t->layout)) return bad_plan(c->g, node, "its input must lie in pieces");
  if (node->tile.k % 4) return bad_plan(c->g, node, "its tile takes no whole pieces");
  if (engine_uses_wgmma(node->engine) && node->tile.warps_m < 4)
    return bad_plan(c->g, node, "it has no tile of four warps");
  if (node->op != OP_CONV2D) return true;
  if (a->stride[0] != 1 || a->stride[1] != 1) return bad_plan(c->g, node, "wgmma computes convolutions of stride 1");
  Image in = type_image(t), out = type_image(&node->main_type);
  int32_t rows = (int32_t)(t->layout.image_pitch / t->layout.row_pitch), width = (int32_t)t->layout.row_pitch;
  bool gaps = rows >= in.height + a->pad[0] && rows >= in.height + a->pad[2] && rows >= out.height &&
              width >= in.width + a->pad[1] && width >= in.width + a->pad[3] && width >= out.width;
  return gaps || bad_plan(c->g, node, "its input has too few positions between rows or images for the padding");
}

static bool check_skinny(const Check *c) {
  if (c->node->op != OP_LINEAR) return bad_plan(c->g, c->node, "skinny kernels compute linear");
  if (c->node->tile.warps_m < 4 || c->node->tile.k % 8) return bad_plan(c->g, c->node, "it has no tile of four warps");
  return check_wgmma(c);
}

/* Lanes read pieces as wgmma does. */
static bool check_gemv(const Check *c) {
  if (c->node->op != OP_LINEAR) return bad_plan(c->g, c->node, "gemv kernels compute linear");
  return check_wgmma(c);
}

static bool check_steps(const Check *c) {
  for (uint32_t s = 0; s < c->node->step_count; s++)
    if (!epilogue_has(c->node->steps[s].op))
      return bad_plan(c->g, c->node, "kernels have no form of step %s", op_info[c->node->steps[s].op].name);
  return true;
}

/* --- launches --- */

uint32_t pixel_units(const Type *t) {
  uint32_t pitch = t->layout.pitch;
  if (t->layout.kind == LAYOUT_PLANES) return pitch / 32;
  return t->layout.kind == LAYOUT_BYTES && pitch % 4 == 0 ? pitch / 4 : pitch;
}

/* On CUDA cores a block may have any number of threads. */
static bool check_threads(const Check *c, uint64_t threads_an_image, Launch *wanted) {
  uint32_t threads = c->node->launch.threads;
  uint64_t whole_grid = threads_an_image * c->g->max_batch + MOST_THREADS;
  *wanted = (Launch){.x_mul = (uint32_t)threads_an_image, .x_div = threads, .y = 1, .threads = threads};
  return ((threads >= 1 && threads <= MOST_THREADS) || bad_plan(c->g, c->node, "its launch has %u threads", threads)) &&
         within(c, "threads in a batch", whole_grid, UINT32_MAX);
}

static bool launch_direct(const Check *c, Launch *wanted) {
  const Type *result = graph_type(c->g, c->node->result);
  return check_threads(c, layout_image_positions(result) * pixel_units(result), wanted);
}

/* Threads of a warp share units. */
static bool launch_pool(const Check *c, Launch *wanted) {
  Pooling pooling;
  pooling_of(c->g, c->node, &pooling);
  uint32_t threads = c->node->launch.threads;
  uint64_t positions = layout_image_positions(graph_type(c->g, c->node->result));
  return (threads % 32 == 0 || bad_plan(c->g, c->node, "its launch has %u threads", threads)) &&
         check_threads(c, positions * pooling.units * pooling.shares, wanted);
}

static bool launch_row(const Check *c, Launch *wanted) {
  return check_threads(c, pixels_of(graph_type(c->g, c->node->inputs[0])), wanted);
}

static bool check_block(const Check *c, uint64_t shared_bytes, const Launch *wanted) {
  return within(c, "bytes of shared memory", shared_bytes, c->target->shared_bytes) &&
         within(c, "threads in a block", wanted->threads, MOST_THREADS) &&
         within(c, "blocks of channels", wanted->y, MOST_BLOCKS_Y);
}

static uint32_t column_tiles(const Check *c) {
  return tile_count_of_channels(&c->node->tile, graph_type(c->g, c->node->result));
}

/* Blocks may ask for more than they use, so that fewer of them share a multiprocessor. */
static uint32_t shared_or_more(const Check *c, uint64_t needed) {
  uint32_t asked = c->node->launch.shared_bytes;
  return asked > needed && asked <= c->target->shared_bytes ? asked : (uint32_t)needed;
}

/* A block a tile, of which y counts those of channels; or x of both, where there are blocks without a tile too. */
static bool launch_mma(const Check *c, Launch *wanted) {
  const Type *result = graph_type(c->g, c->node->result);
  const Tile *t = &c->node->tile;
  const Launch *l = &c->node->launch;
  uint64_t positions = layout_image_positions(result) * (uint64_t)c->g->max_batch;
  uint64_t tiles = (positions + t->m - 1) / t->m * column_tiles(c);
  bool all_blocks = l->x_most >= tiles && l->x_mul == (uint64_t)l->x_most * t->m;
  *wanted = (Launch){.x_mul = all_blocks ? l->x_mul : (uint32_t)layout_image_positions(result),
                     .x_div = t->m,
                     .y = all_blocks ? 1 : column_tiles(c),
                     .threads = 32u * t->warps_m * t->warps_n,
                     .shared_bytes = shared_or_more(c, tile_shared_bytes(t)),
                     .x_most = all_blocks ? l->x_most : 0};
  return check_block(c, wanted->shared_bytes, wanted);
}

/* Blocks walk over tiles, so that any number of them along x serves. */
static bool launch_rectangles(const Check *c, uint64_t rectangles, uint64_t shared_bytes, Launch *wanted) {
  *wanted = (Launch){.x_mul = (uint32_t)rectangles,
                     .x_div = 1,
                     .y = column_tiles(c),
                     .threads = 32u * c->node->tile.warps_m,
                     .shared_bytes = shared_or_more(c, shared_bytes),
                     .x_most = c->node->launch.x_most};
  return within(c, "tiles in a batch", rectangles * c->g->max_batch, INT32_MAX) && check_block(c, shared_bytes, wanted);
}

static bool launch_patch(const Check *c, Launch *wanted) {
  Patch p = patch_of(c->g, c->node, &c->node->tile);
  return launch_rectangles(c, (uint64_t)p.across * p.down, p.shared_bytes, wanted);
}

static bool launch_strip(const Check *c, Launch *wanted) {
  Strips s;
  strips_of(c->g, c->node, &c->node->tile, &s);
  return launch_rectangles(c, (uint64_t)s.across * s.down, s.shared_bytes, wanted);
}

/* Blocks walk over tiles, so that any number of them along x serves. Streamed weights: over those of all channels. */
static bool launch_wgmma(const Check *c, Launch *wanted) {
  const Type *x = graph_type(c->g, c->node->inputs[0]);
  const Tile *t = &c->node->tile;
  uint64_t shared_bytes = staging_of(c->g, c->node, t).shared_bytes;
  uint64_t positions = layout_image_positions(x) * (t->resident ? 1 : column_tiles(c));
  const Launch *l = &c->node->launch;
  bool all_blocks = l->x_most && l->x_mul == l->x_most * t->m; /* also those without a tile */
  *wanted = (Launch){.x_mul = all_blocks ? l->x_mul : (uint32_t)positions,
                     .x_div = t->m,
                     .y = t->resident ? column_tiles(c) : 1,
                     .threads = staging_threads(t),
                     .shared_bytes = shared_or_more(c, shared_bytes),
                     .x_most = c->node->launch.x_most};
  return within(c, "positions of an image in tiles of channels", positions, UINT32_MAX) &&
         check_block(c, shared_bytes, wanted);
}

/* Clusters walk over tiles, so that any number of them along x serves. */
static bool launch_skinny(const Check *c, Launch *wanted) {
  const Tile *t = &c->node->tile;
  const Launch *l = &c->node->launch;
  Skinny s = skinny_of(c->g, c->node, t);
  uint64_t chunks = (uint64_t)s.row_tiles * t->split_k * s.weight_planes * s.chunks;
  *wanted = (Launch){.x_mul = l->x_most,
                     .x_div = 1,
                     .y = s.column_tiles,
                     .threads = skinny_threads(t),
                     .shared_bytes = (uint32_t)s.shared_bytes,
                     .x_most = l->x_most};
  if (!l->x_most || l->x_most % t->split_k) return bad_plan(c->g, c->node, "its launch has no whole clusters");
  return within(c, "chunks of weights", chunks, INT32_MAX) && check_block(c, s.shared_bytes, wanted);
}

/* Every block along x has a tile of channels. */
static bool launch_gemv(const Check *c, Launch *wanted) {
  const Tile *t = &c->node->tile;
  const Launch *l = &c->node->launch;
  Gemv s = gemv_of(c->g, c->node, t);
  uint64_t steps = (uint64_t)s.row_tiles * t->warps_m * s.passes * s.steps;
  *wanted = (Launch){.x_mul = l->x_most,
                     .x_div = 1,
                     .y = s.column_tiles,
                     .threads = 32u * t->warps_m,
                     .shared_bytes = s.shared_bytes,
                     .x_most = l->x_most};
  if (!l->x_most || l->x_most > s.row_tiles) return bad_plan(c->g, c->node, "its launch has blocks without a tile");
  return within(c, "steps of weights", steps, INT32_MAX) && check_block(c, s.shared_bytes, wanted);
}

/* The launch must be the one that the kernel is written for. */
static bool same_launch(const Check *c, const Launch *w) {
  const Launch *l = &c->node->launch;
  if (l->x_mul == w->x_mul && l->x_div == w->x_div && l->y == w->y && l->threads == w->threads &&
      l->shared_bytes == w->shared_bytes && l->x_most == w->x_most)
    return true;
  bad_plan(c->g, c->node, "its kernel needs another launch");
  diag_expected(c->g->context, "%u,%u,%u,%u,%u,%u", w->x_mul, w->x_div, w->y, w->threads, w->shared_bytes, w->x_most);
  diag_seen(c->g->context, "%u,%u,%u,%u,%u,%u", l->x_mul, l->x_div, l->y, l->threads, l->shared_bytes, l->x_most);
  return false;
}

/* --- all of it --- */

typedef struct EngineRules {
  bool (*computes)(const Check *c);
  bool (*launch)(const Check *c, Launch *wanted); /* NULL: no kernel */
} EngineRules;

static const EngineRules rules[ENGINE_COUNT] = {
    [ENGINE_NONE] = {check_no_engine, NULL},         [ENGINE_MMA_B1] = {check_mma, launch_mma},
    [ENGINE_MMA_S8] = {check_mma, launch_mma},       [ENGINE_WGMMA_B1] = {check_wgmma, launch_wgmma},
    [ENGINE_PATCH_S8] = {check_patch, launch_patch}, [ENGINE_STRIP_S8] = {check_strip, launch_strip},
    [ENGINE_WGMMA_S8] = {check_wgmma, launch_wgmma}, [ENGINE_DIRECT] = {check_direct, launch_direct},
    [ENGINE_POOL] = {check_pool, launch_pool},       [ENGINE_SKINNY_B1] = {check_skinny, launch_skinny},
    [ENGINE_GEMV_B1] = {check_gemv, launch_gemv},    [ENGINE_GEMV_S8] = {check_gemv, launch_gemv},
    [ENGINE_ROW] = {check_row, launch_row},          [ENGINE_VIEW] = {check_view, NULL},
};

static bool check_layer(const Check *c) {
  const EngineRules *r = &rules[c->node->engine];
  Launch wanted;
  if (!check_tensors(c) || !check_window(c) || !check_memory(c) || !r->computes(c) || !check_steps(c)) return false;
  return !r->launch || (r->launch(c, &wanted) && same_launch(c, &wanted));
}

static bool check_inputs(const Graph *g) {
  for (uint32_t i = 0; i < g->input_count; i++)
    if (!is_dense(graph_type(g, g->inputs[i]))) {
      diag(g->context, DIAG_GRAPH_PLAN, (SourceLoc){0}, "a network input is not dense");
      diag_seen(g->context, "'%s'", graph_value(g, g->inputs[i])->name);
      return false;
    }
  return true;
}

bool check_plan(const Graph *g, const Target *target) {
  if (!g->max_batch) {
    diag(g->context, DIAG_GRAPH_PLAN, (SourceLoc){0}, "it has no largest batch");
    return false;
  }
  bool good = check_inputs(g);
  for (NodeId n = 0; n < g->node_count; n++) {
    Check c = {g, target, &g->nodes[n]};
    good = check_layer(&c) && good;
  }
  return good;
}
