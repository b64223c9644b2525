/* launch: grid, threads and shared memory of every layer that has a kernel.
 *
 *   mma.sync   x covers the result's positions of all images in tiles of m, y the channels in tiles of n; or, of few
 *              tiles, x as many blocks as give every multiprocessor the same number; 32 threads a warp
 *   patches    as many blocks as run at once, no more than there are tiles; y the channels in tiles of n
 *   wgmma      as many blocks as run at once, no more than there are tiles; y the channels where weights are resident
 *   skinny     clusters of split_k blocks, as many as run at once, no more than there are tiles of channels; y the
 *              positions of the largest batch in tiles of n
 *   gemv       as many blocks as run at once, no more than there are tiles of channels; y the positions of the largest
 *              batch in tiles of n
 *   DIRECT     one thread a 32-bit word of the result: in bit planes a column of 32 channels in all planes, in bytes 4
 *              channels (1 where the pitch is not a multiple of 4), in words 1
 *   POOL       one thread a unit of channels (ir/pooling.h), or several where the window is large
 *   ROW        one thread a pixel of the operand
 */
#include "../ir/gemv.h"
#include "../ir/patch.h"
#include "../ir/pooling.h"
#include "../ir/skinny.h"
#include "../ir/staging.h"
#include "../ir/strip.h"
#include "plan.h"

enum { DIRECT_THREADS = 128, POOL_THREADS = 128, ROW_THREADS = 32, MOST_BLOCKS_Y = 65535 };

static uint32_t pixels_of(const Type *t) {
  Image image = type_image(t);
  return (uint32_t)image.height * (uint32_t)image.width;
}

static uint32_t positions_of(const Type *t) {
  return (uint32_t)layout_image_positions(t);
}

static uint32_t tiles_of_channels(const Graph *g, const Node *node) {
  return tile_count_of_channels(&node->tile, graph_type(g, node->result));
}

/* Tiles are shared out evenly where each multiprocessor has equally many blocks. A kernel whose blocks begin while
 * others of the one before still run would find room for more on some: it asks for so much shared memory that there
 * never is. */
static uint32_t shared_of_blocks(uint64_t needed, int blocks_of_sm, const Target *target) {
  enum { UNIT = 128 };
  if (!target->overlaps_launches) return (uint32_t)needed;
  uint64_t with_one_more = target->sm_shared_bytes / ((uint64_t)blocks_of_sm + 1) / UNIT * UNIT + UNIT;
  return (uint32_t)(needed + BLOCK_SHARED_BYTES > with_one_more ? needed : with_one_more - BLOCK_SHARED_BYTES);
}

/* A block a tile. */
static Launch launch_tensor_cores(const Graph *g, const Node *node, const PassOptions *options) {
  const Tile *tile = &node->tile;
  SyncBlocks blocks = sync_blocks(g, node, tile, options);
  Launch launch = {.x_mul = positions_of(graph_type(g, node->result)),
                   .x_div = tile->m,
                   .y = tiles_of_channels(g, node),
                   .threads = 32u * tile->warps_m * tile->warps_n,
                   .shared_bytes = tile_shared_bytes(tile)};
  if (blocks.of_sm) launch.shared_bytes = shared_of_blocks(launch.shared_bytes, (int)blocks.of_sm, options->target);
  if (!blocks.all_start) return launch;
  launch.x_most = blocks.of_sm / 2 * (uint32_t)options->target->sm_count;
  launch.x_mul = launch.x_most * launch.x_div;
  launch.y = 1;
  return launch;
}

/* A block that keeps to the same rows of a band sums their input once (backend/wgmma_sums.c): a few blocks less, so
 * that rows share them evenly, where they take hardly longer for all tiles. */
static uint32_t blocks_of_bands(const Graph *g, const Node *node, uint32_t blocks, uint32_t columns) {
  const Tile *tile = &node->tile;
  enum { HARDLY = 32 };
  uint32_t rows = (uint32_t)staging_band_rows(tile), fewer = blocks / rows * rows;
  if (columns == 1 || !fewer || !staging_of(g, node, tile).summed) return blocks;
  uint64_t positions = (uint64_t)positions_of(graph_type(g, node->inputs[0])) * g->max_batch;
  uint64_t tiles = (positions + tile->m - 1) / tile->m * columns;
  uint64_t rounds = (tiles + blocks - 1) / blocks, rounds_of_fewer = (tiles + fewer - 1) / fewer;
  return rounds_of_fewer <= rounds + rounds / HARDLY ? fewer : blocks;
}

/* As many blocks as run at once, which walk over the tiles. */
static Launch launch_wgmma(const Graph *g, const Node *node, const PassOptions *options) {
  const Tile *tile = &node->tile;
  uint32_t columns = tiles_of_channels(g, node), y = tile->resident ? columns : 1;
  WgmmaBlocks at_once = wgmma_blocks(g, node, tile, options);
  uint32_t blocks = (uint32_t)options->target->sm_count * at_once.of_launch;
  uint64_t shared_bytes = staging_of(g, node, tile).shared_bytes;
  Launch launch = {.x_mul = positions_of(graph_type(g, node->inputs[0])) * (columns / y),
                   .x_div = tile->m,
                   .y = y,
                   .threads = staging_threads(tile),
                   .shared_bytes = shared_of_blocks(shared_bytes, (int)at_once.of_sm, options->target),
                   .x_most = tile->resident ? blocks > y ? blocks / y : 1 : blocks_of_bands(g, node, blocks, columns)};
  if (at_once.all_start) launch.x_mul = launch.x_most * launch.x_div; /* all of them, also those without a tile */
  return launch;
}

static Launch launch_skinny(const Graph *g, const Node *node, const PassOptions *options) {
  Skinny s = skinny_of(g, node, &node->tile);
  uint32_t blocks = skinny_clusters(&s, &node->tile, options->target) * node->tile.split_k;
  return (Launch){.x_mul = blocks,
                  .x_div = 1,
                  .y = s.column_tiles,
                  .threads = skinny_threads(&node->tile),
                  .shared_bytes = (uint32_t)s.shared_bytes,
                  .x_most = blocks};
}

static Launch launch_gemv(const Graph *g, const Node *node, const PassOptions *options) {
  const Tile *tile = &node->tile;
  Gemv s = gemv_of(g, node, tile);
  uint32_t blocks = (uint32_t)options->target->sm_count * gemv_blocks_at_once(&s, tile, options->target);
  blocks = blocks > s.column_tiles ? blocks / s.column_tiles : 1;
  if (blocks > s.row_tiles) blocks = s.row_tiles;
  return (Launch){.x_mul = blocks,
                  .x_div = 1,
                  .y = s.column_tiles,
                  .threads = 32u * tile->warps_m,
                  .shared_bytes = s.shared_bytes,
                  .x_most = blocks};
}

/* Tiles are rectangles of an image; blocks walk over those of all. */
static Launch launch_rectangles(const Graph *g, const Node *node, const PassOptions *options, uint32_t rectangles,
                                uint64_t shared_bytes, int blocks_of_sm) {
  uint32_t columns = tiles_of_channels(g, node), blocks = (uint32_t)(options->target->sm_count * blocks_of_sm);
  return (Launch){.x_mul = rectangles,
                  .x_div = 1,
                  .y = columns,
                  .threads = 32u * node->tile.warps_m,
                  .shared_bytes = shared_of_blocks(shared_bytes, blocks_of_sm, options->target),
                  .x_most = blocks > columns ? blocks / columns : 1};
}

static Launch launch_patch(const Graph *g, const Node *node, const PassOptions *options) {
  Patch p = patch_of(g, node, &node->tile);
  int blocks = patch_blocks_at_once(g, node, &node->tile, options->target);
  return launch_rectangles(g, node, options, p.across * p.down, p.shared_bytes, blocks);
}

static Launch launch_strip(const Graph *g, const Node *node, const PassOptions *options) {
  Strips s;
  if (!strips_of(g, node, &node->tile, &s)) return (Launch){0};
  int blocks = strip_blocks_at_once(g, node, &node->tile, options->target);
  return launch_rectangles(g, node, options, s.across * s.down, s.shared_bytes, blocks);
}

static uint32_t words_of_pixel(const Type *t) {
  switch (t->layout.kind) {
  case LAYOUT_PLANES:
    return t->layout.pitch / 32;
  case LAYOUT_BYTES:
    return t->layout.pitch % 4 ? t->layout.pitch : t->layout.pitch / 4;
  default:
    return t->layout.pitch;
  }
}

static Launch launch_direct(const Graph *g, const Node *node, const PassOptions *options) {
  (void)options;
  const Type *t = graph_type(g, node->result);
  return (Launch){
      .x_mul = positions_of(t) * words_of_pixel(t), .x_div = DIRECT_THREADS, .y = 1, .threads = DIRECT_THREADS};
}

static Launch launch_pool(const Graph *g, const Node *node, const PassOptions *options) {
  (void)options;
  Pooling pooling;
  if (!pooling_of(g, node, &pooling)) return (Launch){0};
  return (Launch){.x_mul = positions_of(graph_type(g, node->result)) * pooling.units * pooling.shares,
                  .x_div = POOL_THREADS,
                  .y = 1,
                  .threads = POOL_THREADS};
}

static Launch launch_row(const Graph *g, const Node *node, const PassOptions *options) {
  (void)options;
  uint32_t pixels = pixels_of(graph_type(g, node->inputs[0]));
  return (Launch){.x_mul = pixels, .x_div = ROW_THREADS, .y = 1, .threads = ROW_THREADS};
}

static Launch launch_nothing(const Graph *g, const Node *node, const PassOptions *options) {
  (void)g, (void)node, (void)options;
  return (Launch){0};
}

typedef Launch LaunchOf(const Graph *g, const Node *node, const PassOptions *options);
static LaunchOf *const launch_of[ENGINE_COUNT] = {
    [ENGINE_NONE] = launch_nothing,   [ENGINE_MMA_B1] = launch_tensor_cores, [ENGINE_MMA_S8] = launch_tensor_cores,
    [ENGINE_PATCH_S8] = launch_patch, [ENGINE_STRIP_S8] = launch_strip,      [ENGINE_WGMMA_B1] = launch_wgmma,
    [ENGINE_WGMMA_S8] = launch_wgmma, [ENGINE_SKINNY_B1] = launch_skinny,    [ENGINE_DIRECT] = launch_direct,
    [ENGINE_POOL] = launch_pool,      [ENGINE_GEMV_B1] = launch_gemv,        [ENGINE_GEMV_S8] = launch_gemv,
    [ENGINE_ROW] = launch_row,        [ENGINE_VIEW] = launch_nothing,
};

static bool grid_is_possible(Graph *g, const Node *node) {
  const Launch *l = &node->launch;
  if (l->x_div == 0) return true;
  uint64_t x = ((uint64_t)l->x_mul * g->max_batch + l->x_div - 1) / l->x_div;
  if (x <= INT32_MAX && l->y <= MOST_BLOCKS_Y) return true;
  diag(g->context, DIAG_GRID_TOO_LARGE, node->loc, graph_value(g, node->result)->name, (unsigned long long)x, l->y);
  diag_expected(g->context, "at most %d by %d", INT32_MAX, MOST_BLOCKS_Y);
  diag_hint(g->context, "a smaller largest batch than %u", g->max_batch);
  return false;
}

bool pass_launch(Graph *g, const PassOptions *options) {
  bool possible = true;
  for (NodeId n = 0; n < g->node_count; n++) {
    g->nodes[n].launch = launch_of[g->nodes[n].engine](g, &g->nodes[n], options);
    possible = grid_is_possible(g, &g->nodes[n]) && possible;
  }
  return possible;
}
