/* Tiles of layers on wgmma: rows and columns of the table below, stages as deep as shared memory allows, weights kept
 * in shared memory where they fit beside two stages.
 *
 * The estimate counts, for the SM with most tiles, the longest of products, copies from L2 and epilogue of a tile, and
 * what they wait for each other where few blocks share the SM.
 */
#include "../ir/staging.h"
#include "tile.h"

typedef struct Shape {
  uint16_t m, n;
  uint8_t warps_m;
} Shape;

/* Larger ones first: of equals the larger wins. */
static const Shape shapes[] = {
    {256, 128, 8}, {256, 64, 8}, {256, 128, 16}, {128, 128, 8}, {128, 128, 4}, {128, 64, 8},
    {128, 64, 4},  {128, 32, 4}, {64, 128, 4},   {64, 64, 4},   {64, 32, 4},
};
static const uint8_t chunk_blocks[] = {8, 4, 2, 1};

enum {
  MOST_STAGES = 6,
  RESIDENT_STAGES = 3,
  MOST_WARPS = 16,
  MOST_WINDOWS = 64, /* of a tile with resident weights: their copies are unrolled */
  MOST_PIECES = 40,  /* of a chunk: the products of one are unrolled */
  MOST_RESIDENT_PIECES = 160,
  SM_REGISTERS = 65536,
  OTHER_REGISTERS = 56, /* besides accumulators */
  MOST_BLOCKS = 4       /* of an SM, that pay */
};

static const double shared_sm_bytes = 233472; /* of an SM; a block takes 1 KB more than it asks for */

/* The estimate in cycles of an SM, at this rate. An instruction of 64 rows takes what its operations need at the
 * target's rate, or its rows of shared memory. */
static const double cycles_a_second = 1.755e9, l2_bytes_a_cycle = 41, shared_bytes_a_cycle = 128;
static const double start_seconds = 1.2e-6; /* barriers, first copies, last results */
static const double waiting = 700;          /* cycles of a tile in which nothing of it is computed */
static const double lanes = 128;            /* that issue an instruction each cycle */

static int accumulators(const Tile *tile, const Staging *s) {
  return tile->m / tile->warps_m / 16 * (int)s->weight_rows / 2;
}

/* Registers that a multiplying thread can have where one block has the SM, whose four parts share out its warps. */
static int registers_of_thread(const Tile *tile) {
  if (staging_moves_registers(tile)) return 240;
  int warps_of_part = ((int)staging_threads(tile) / 32 + 3) / 4, registers = SM_REGISTERS / 4 / 32 / warps_of_part;
  return registers > 255 ? 255 : registers;
}

int wgmma_blocks_at_once(const Graph *g, const Node *node, const Tile *tile, const Target *target) {
  (void)target;
  Staging s = staging_of(g, node, tile);
  if (staging_moves_registers(tile)) return 1;
  int threads = (int)staging_threads(tile);
  int by_registers = SM_REGISTERS / (threads * (accumulators(tile, &s) + OTHER_REGISTERS));
  int by_shared = (int)(shared_sm_bytes / (double)(s.shared_bytes + 1024));
  int blocks = by_registers < by_shared ? by_registers : by_shared;
  return blocks < 1 ? 1 : blocks > MOST_BLOCKS ? MOST_BLOCKS : blocks;
}

/* Cycles of one instruction of 64 rows. */
static double product_cycles(const Node *node, uint32_t columns, const Target *target) {
  double bits = 2.0 * 64 * columns * 2 * PIECE_BYTES * (engine_uses_planes(node->engine) ? 8 : 1);
  double rate = engine_tera_ops(target, node->engine) * 1e12 / target->sm_count / cycles_a_second;
  return greater(bits / rate, (64.0 + columns) * 2 * PIECE_BYTES / shared_bytes_a_cycle);
}

/* Instructions a result. Thresholds alone are signs of differences (backend/mma_signs.c) or, of more bits, in bytes or
 * with a second activation, a product (../ir/requantize.h). */
static double epilogue_instructions(const Graph *g, const Node *node) {
  const Type *result = graph_type(g, node->result);
  if (node->step_count != 1 || node->steps[0].op != OP_THRESHOLDS) return 8 + 8.0 * node->step_count;
  if (step_operand(&node->steps[0]) != NO_VALUE) return 11;
  if (result->layout.kind != LAYOUT_PLANES) return 6;
  return result->bits <= 2 ? 2 + (1 << result->bits) : 7;
}

/* A tile's products, copies and epilogue overlap with those of the blocks beside it, and copies with all of its block's
 * own. */
double wgmma_microseconds(const Graph *g, const Node *node, const Tile *tile, const PassOptions *options) {
  const Target *target = options->target;
  Staging s = staging_of(g, node, tile);
  double positions = (double)layout_image_positions(graph_type(g, node->inputs[0])) * options->max_batch;
  double tiles = divide_up(positions, tile->m) * tile_count_of_channels(tile, graph_type(g, node->result));
  double tiles_of_sm = divide_up(tiles, target->sm_count);
  double at_once = lesser(tiles_of_sm, wgmma_blocks_at_once(g, node, tile, target));
  double pairs = s.weight_planes * s.input_planes, steps = s.pieces / 2.0 * s.chunks * pairs;
  double products = steps * tile->m / 64 * product_cycles(node, s.weight_rows, target);
  double copies = (tile->resident ? 1 : pairs * s.chunks) * s.stage_bytes / l2_bytes_a_cycle;
  double epilogue = tile->m * tile->n / lanes * epilogue_instructions(g, node);
  double alone = greater(products, copies) + epilogue + waiting;
  double of_tile = greater(alone / at_once, greater(products, greater(copies, epilogue)));
  double first = at_once * s.resident_bytes / l2_bytes_a_cycle;
  return (start_seconds + (first + tiles_of_sm * of_tile + alone - of_tile) / cycles_a_second) * 1e6;
}

bool wgmma_tile_fits(const Graph *g, const Node *node, const Tile *tile, const Target *target) {
  const Type *x = graph_type(g, node->inputs[0]);
  uint32_t blocks = x->layout.pitch / layout_piece_channels(x->layout), chunk = tile->k / 4u;
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
  if (tile->resident && (staging.input_planes * blocks > MOST_WINDOWS || staging.pieces > MOST_RESIDENT_PIECES))
    return false;
  if (accumulators(tile, &staging) + OTHER_REGISTERS > registers_of_thread(tile)) return false;
  return staging.shared_bytes <= target->shared_bytes && tile_covers_blocks(graph_type(g, node->result), tile->n);
}

typedef struct Search {
  const Graph *g;
  const Node *node;
  const PassOptions *options;
  TileList *list;
} Search;

/* With the most stages that fit: those of streamed weights hide the latency of copies, with resident ones few serve. */
static void consider(const Search *s, Tile tile) {
  tile.stages = tile.resident ? RESIDENT_STAGES : MOST_STAGES;
  while (tile.stages >= 2 && !wgmma_tile_fits(s->g, s->node, &tile, s->options->target)) tile.stages--;
  if (tile.stages < 2) return;
  tile_list_add(s->list, tile, wgmma_microseconds(s->g, s->node, &tile, s->options));
}

void wgmma_tiles(const Graph *g, const Node *node, const PassOptions *options, TileList *out) {
  Search s = {.g = g, .node = node, .options = options, .list = out};
  const Type *x = graph_type(g, node->inputs[0]);
  uint32_t blocks = x->layout.pitch / layout_piece_channels(x->layout);
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
}

Tile wgmma_tile(const Graph *g, const Node *node, const PassOptions *options) {
  TileList list = {.most = 1};
  wgmma_tiles(g, node, options, &list);
  return list.tiles[0];
}
