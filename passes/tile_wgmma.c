/* Tiles of layers on wgmma: rows and columns of the table below, stages as deep as shared memory allows, weights kept in
 * shared memory where they fit beside two stages.
 *
 * The estimate counts, for the SM with most tiles, the longer of products and copies from L2 of a tile, and its
 * epilogue, which products hide where several blocks share the SM.
 */
#include "../ir/staging.h"
#include "tile.h"

typedef struct Shape {
  uint16_t m, n;
  uint8_t warps_m;
} Shape;

/* Larger ones first: of equals the larger wins. */
static const Shape shapes[] = {
    {256, 128, 8}, {256, 64, 8}, {256, 128, 16}, {128, 128, 8}, {128, 128, 4}, {128, 64, 8}, {128, 64, 4},
    {128, 32, 4},  {64, 128, 4}, {64, 64, 4},   {64, 32, 4},
};
static const uint8_t chunk_blocks[] = {8, 4, 2, 1};

enum {
  MOST_STAGES = 6,
  RESIDENT_STAGES = 3,
  MOST_WARPS = 16,
  MOST_PIECES = 40, /* of a chunk: the products of one are unrolled */
  SM_REGISTERS = 65536,
  OTHER_REGISTERS = 56, /* besides accumulators */
  MOST_BLOCKS = 4       /* of an SM, that pay */
};

static const double latency = 2e-6;          /* launch, first copies, last epilogue */
static const double l2_bytes = 7e10;         /* a second and SM */
static const double epilogue_rate = 2.2e10;  /* results a second and SM */
static const double shared_sm_bytes = 233472; /* of an SM; a block takes 1 KB more than it asks for */

int wgmma_blocks_at_once(const Graph *g, const Node *node, const Tile *tile, const Target *target) {
  (void)target;
  Staging s = staging_of(g, node, tile);
  if (staging_moves_registers(tile)) return 1;
  int threads = (int)staging_threads(tile);
  int accumulators = tile->m / tile->warps_m / 16 * (int)s.weight_rows / 2;
  int by_registers = SM_REGISTERS / (threads * (accumulators + OTHER_REGISTERS));
  int by_shared = (int)(shared_sm_bytes / (double)(s.shared_bytes + 1024));
  int blocks = by_registers < by_shared ? by_registers : by_shared;
  return blocks < 1 ? 1 : blocks > MOST_BLOCKS ? MOST_BLOCKS : blocks;
}

/* Share of the instruction's rate by its columns: narrow ones wait for the rows of the input. */
static double share_of_rate(uint32_t columns) {
  return columns >= 96 ? 1 : columns >= 64 ? 0.95 : columns >= 32 ? 0.64 : 0.38;
}

double wgmma_microseconds(const Graph *g, const Node *node, const Tile *tile, const PassOptions *options) {
  const Target *target = options->target;
  Staging s = staging_of(g, node, tile);
  double positions = (double)layout_image_positions(graph_type(g, node->inputs[0])) * options->max_batch;
  double columns = tile_count_of_channels(tile, graph_type(g, node->result));
  double tiles = divide_up(positions, tile->m) * columns, tiles_of_sm = divide_up(tiles, target->sm_count);
  double pairs = s.weight_planes * s.input_planes;
  double bits = 2.0 * tile->m * s.weight_rows * s.pieces * s.chunks * PIECE_BYTES * pairs;
  double per_byte = engine_uses_planes(node->engine) ? 8 : 1;
  double rate = engine_tera_ops(target, node->engine) * 1e12 / target->sm_count * share_of_rate(s.weight_rows);
  double products = bits * per_byte / rate;
  double stages = tile->resident ? 1 : pairs * s.chunks;
  double copies = stages * s.stage_bytes / l2_bytes;
  double epilogue = (double)tile->m * tile->n / epilogue_rate;
  double at_once = lesser(tiles_of_sm, wgmma_blocks_at_once(g, node, tile, target));
  double work = greater(products, copies);
  double of_tile = at_once > 1 ? greater(work, epilogue) + lesser(work, epilogue) / at_once : work + epilogue;
  double first = tile->resident ? at_once * s.resident_bytes / l2_bytes : 0;
  return (latency + first + tiles_of_sm * of_tile) * 1e6;
}

bool wgmma_tile_fits(const Graph *g, const Node *node, const Tile *tile, const Target *target) {
  const Type *x = graph_type(g, node->inputs[0]);
  uint32_t blocks = x->layout.pitch / x->layout.block, chunk = tile->k / 4u;
  bool columns = tile->n == 32 || tile->n == 64 || tile->n == 128;
  bool warps = tile->warps_m && tile->warps_m % 4 == 0 && tile->warps_m <= MOST_WARPS && tile->warps_n == 1;
  if (!columns || !warps || !chunk || tile->k % 4 || chunk > blocks || tile->split_k != 1 || tile->stages < 2)
    return false;
  int row_tiles = tile->m / tile->warps_m / 16;
  if ((row_tiles != 1 && row_tiles != 2) || row_tiles * 16 * tile->warps_m != tile->m) return false;
  if (staging_moves_registers(tile) && tile->warps_m != 8) return false;
  if (tile->resident && chunk != blocks) return false;
  Staging staging = staging_of(g, node, tile);
  if (staging.pieces > MOST_PIECES && chunk > 1 && !tile->resident) return false;
  return staging.shared_bytes <= target->shared_bytes && tile_covers_blocks(graph_type(g, node->result), tile->n);
}

typedef struct Search {
  const Graph *g;
  const Node *node;
  const PassOptions *options;
  Tile best;
  double least;
} Search;

/* With the most stages that fit: those of streamed weights hide the latency of copies, with resident ones few serve. */
static void consider(Search *s, Tile tile) {
  tile.stages = tile.resident ? RESIDENT_STAGES : MOST_STAGES;
  while (tile.stages >= 2 && !wgmma_tile_fits(s->g, s->node, &tile, s->options->target)) tile.stages--;
  if (tile.stages < 2) return;
  double microseconds = wgmma_microseconds(s->g, s->node, &tile, s->options);
  if (s->best.m && microseconds >= s->least) return;
  s->best = tile;
  s->least = microseconds;
}

Tile wgmma_tile(const Graph *g, const Node *node, const PassOptions *options) {
  Search s = {.g = g, .node = node, .options = options};
  const Type *x = graph_type(g, node->inputs[0]);
  uint32_t blocks = x->layout.pitch / x->layout.block;
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
    Tile tile = {shapes[i].m, shapes[i].n, 0, shapes[i].warps_m, 1, 2, 1, 0};
    for (size_t k = 0; k < sizeof chunk_blocks; k++) {
      tile.k = chunk_blocks[k] * 4u;
      consider(&s, tile);
    }
    tile.resident = 1;
    tile.k = (uint16_t)(blocks * 4);
    if (blocks * 4 <= UINT16_MAX) consider(&s, tile);
  }
  return s.best;
}
