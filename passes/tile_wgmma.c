/* Tiles of layers on wgmma: rows and columns of the table below, stages as deep as shared memory allows, weights kept
 * in shared memory where they fit beside two stages.
 *
 * The estimate counts cycles of the SM with most tiles: those in which its tensor cores multiply, in which its warps
 * issue the epilogue, and in which copies come from L2. Blocks that share the SM overlap them, not wholly; a tile by
 * itself takes them one after the other. The constants are fitted to some three hundred tiles measured on Hopper (H100
 * and H200), of convolutions and products from 2 to 100 microseconds.
 */
#include "../ir/staging.h"
#include "tile.h"

/* Those with less than 16 rows a warp are walks of four warps each over resident weights (../ir/staging.h). */
typedef struct Shape {
  uint16_t m, n;
  uint8_t warps_m;
} Shape;

/* Larger ones first: of equals the larger wins. */
static const Shape shapes[] = {
    {128, 256, 8}, {64, 256, 4},  {256, 128, 8}, {256, 64, 8},  {256, 128, 16},
    {128, 128, 8}, {128, 128, 4}, {128, 64, 8},  {128, 64, 4},  {128, 32, 4},
    {64, 128, 4},  {64, 64, 4},   {64, 32, 4},   {64, 128, 16}, {128, 64, 16},
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
  OTHER_REGISTERS = 32, /* besides accumulators; of streamed weights, and of other results than signs: */
  MORE_REGISTERS = 48,
  MOST_BLOCKS = 6,     /* of an SM, that pay */
  MOST_BARRIERS = 128, /* of a block: their initialisation is unrolled */
};

static const double cycles_a_second = 1.9e9, l2_bytes_a_cycle = 41, shared_bytes_a_cycle = 100; /* of 128 */
static const double start_seconds = 0.3e-6;  /* besides a launch: barriers, last results */
static const double first_bytes = 600;       /* cycles until they come */
static const double early = 0.5;             /* of resident weights, what comes after the layer before has ended */
static const double waiting = 900;           /* cycles of a tile by itself in which nothing of it is computed */
static const double summing = 500;           /* the same, where inputs are summed beside the products */
static const double apart = 0.4;             /* of what is not the longest, the part that does not overlap */
static const double chunk_start = 200;       /* until a streamed chunk's copies are under way */
static const double chunk_waiting = 150;     /* of a streamed chunk by itself */
static const double schedulers = 4;          /* of an SM, each issues for a warp a cycle, */
static const double dependent = 2;           /* and for one warp by itself every so many cycles */
static const double block_start = 500;       /* until the next block of an SM runs */
static const double warp_instructions = 150; /* of a tile, whatever its size, and of each product: */
static const double product_instructions = 4;

static int accumulators(const Tile *tile, const Staging *s) {
  return (int)(staging_group_rows(tile) / 64 * s->weight_rows / 2);
}

/* Registers that a multiplying thread can have where one block has the SM, whose four parts share out its warps. */
static int registers_of_thread(const Tile *tile) {
  if (staging_moves_registers(tile)) return 240;
  int warps_of_part = ((int)staging_threads(tile) / 32 + 3) / 4, registers = SM_REGISTERS / 4 / 32 / warps_of_part;
  return registers > 255 ? 255 : registers;
}

/* Signs of one or two bits take the least. */
static int registers_needed(const Graph *g, const Node *node, const Tile *tile, const Staging *s) {
  bool signs = node->step_count == 1 && node->steps[0].op == OP_THRESHOLDS && graph_type(g, node->result)->bits <= 2;
  return accumulators(tile, s) + (tile->resident && signs ? OTHER_REGISTERS : MORE_REGISTERS);
}

static uint32_t room_for_blocks(const Graph *g, const Node *node, const Tile *tile, const Target *target) {
  Staging s = staging_of(g, node, tile);
  if (staging_moves_registers(tile)) return 1;
  int by_registers = SM_REGISTERS / ((int)staging_threads(tile) * registers_needed(g, node, tile, &s));
  int by_shared = (int)(target->sm_shared_bytes / (s.shared_bytes + BLOCK_SHARED_BYTES));
  int blocks = by_registers < by_shared ? by_registers : by_shared;
  return blocks < 1 ? 1 : blocks > MOST_BLOCKS ? MOST_BLOCKS : (uint32_t)blocks;
}

static double tiles_of_positions(const Graph *g, const Node *node, const Tile *tile, const PassOptions *options) {
  double positions = (double)staging_image_rows(g, node, tile) * options->max_batch;
  return divide_up(positions, tile->m);
}

/* Where the next launch begins while this one runs, its blocks go where there is room, and unevenly so if this one
 * leaves it unevenly. Few tiles leave it SMs of its own; otherwise as many blocks of each have room on every SM, and
 * all of them start. With many tiles what matters most is that this launch has all the room. */
WgmmaBlocks wgmma_blocks(const Graph *g, const Node *node, const Tile *tile, const PassOptions *options) {
  const Target *target = options->target;
  enum { FEW_ROUNDS = 2 };
  uint32_t room = room_for_blocks(g, node, tile, target);
  double tiles = tiles_of_positions(g, node, tile, options);
  tiles *= tile_count_of_channels(tile, graph_type(g, node->result));
  if (!target->overlaps_launches) return (WgmmaBlocks){room, room, false};
  if (2 * tiles <= target->sm_count) return (WgmmaBlocks){1, 1, false};
  double needed = divide_up(tiles, target->sm_count), half = room / 2;
  if (needed > FEW_ROUNDS * half) return (WgmmaBlocks){room, room, false};
  uint32_t blocks = (uint32_t)lesser(needed, half);
  return (WgmmaBlocks){blocks, 2 * blocks, true};
}

/* Cycles of one instruction of 64 rows: what its operations need at the target's rate (at the clock that this is
 * measured at), or its rows of shared memory; and what a group of four warps by itself loses between two of them. */
static double product_cycles(const Node *node, uint32_t columns, double groups, const Target *target) {
  static const double clock = 1.755e9, between = 16;
  double bits = 2.0 * 64 * columns * 2 * PIECE_BYTES * (engine_uses_planes(node->engine) ? 8 : 1);
  double rate = engine_tera_ops(target, node->engine) * 1e12 / target->sm_count / clock;
  return greater(bits / rate, (64.0 + columns) * 2 * PIECE_BYTES / shared_bytes_a_cycle) + (groups > 1 ? 0 : between);
}

/* Instructions a result. Thresholds alone are signs of differences (backend/mma_signs.c) or, of more bits, in bytes or
 * with a second activation, a product (../ir/requantize.h). */
static double epilogue_instructions(const Graph *g, const Node *node) {
  static const double of_signs[] = {0, 3, 5.2};
  const Type *result = graph_type(g, node->result);
  if (node->step_count != 1 || node->steps[0].op != OP_THRESHOLDS) return 8 + 8.0 * node->step_count;
  if (step_operand(&node->steps[0]) != NO_VALUE) return 11;
  if (result->layout.kind != LAYOUT_PLANES) return 6;
  return result->bits <= 2 ? of_signs[result->bits] : 7;
}

/* Cycles of a tile. */
typedef struct Work {
  double products, epilogue, copies;
  double epilogue_alone;
  double chunks; /* how many it streams */
} Work;

static Work work_of_tile(const Graph *g, const Node *node, const Tile *tile, double at_once, const Target *target) {
  const Staging staging = staging_of(g, node, tile), *s = &staging;
  double pairs = s->weight_planes * s->input_planes, products = s->pieces / 2.0 * s->chunks * pairs * tile->m / 64;
  double warps = (double)tile->warps_m / s->walks; /* at work on the tile */
  double results = tile->m * tile->n / (32.0 * warps), of_warp = products / (warps / 4);
  double stage = s->stage_bytes / l2_bytes_a_cycle;
  double issued = results * epilogue_instructions(g, node) + warp_instructions + product_instructions * of_warp;
  return (Work){.products = products * product_cycles(node, s->weight_rows, at_once * warps / 4, target),
                .epilogue = issued * warps / schedulers,
                .epilogue_alone = issued * greater(warps / schedulers, dependent),
                .copies = tile->resident ? stage : pairs * s->chunks * (stage + chunk_start),
                .chunks = pairs * s->chunks};
}

/* Tiles of the walk with most of them. With resident weights each block keeps to one tile of channels. */
static double tiles_of_walk(const Tile *tile, double row_tiles, double columns, double blocks) {
  if (!tile->resident) return divide_up(row_tiles * columns, blocks);
  double of_column = staging_walks(tile) * (double)(int64_t)(blocks / columns);
  return divide_up(row_tiles, greater(of_column, 1)) * divide_up(columns, greater(blocks, columns));
}

static double most_tiles_of_walk(const Graph *g, const Node *node, const Tile *tile, const PassOptions *options) {
  double columns = tile_count_of_channels(tile, graph_type(g, node->result));
  double blocks = (double)wgmma_blocks(g, node, tile, options).of_launch * options->target->sm_count;
  return tiles_of_walk(tile, tiles_of_positions(g, node, tile, options), columns, blocks);
}

double wgmma_microseconds(const Graph *g, const Node *node, const Tile *tile, const PassOptions *options) {
  const Target *target = options->target;
  Staging s = staging_of(g, node, tile);
  double row_tiles = tiles_of_positions(g, node, tile, options);
  double columns = tile_count_of_channels(tile, graph_type(g, node->result));
  double blocks_of_sm = wgmma_blocks(g, node, tile, options).of_launch;
  double at_once = lesser(blocks_of_sm * s.walks, divide_up(row_tiles * columns, target->sm_count));
  double blocks = divide_up(at_once, s.walks), warps = (double)tile->warps_m / s.walks;
  double rounds = most_tiles_of_walk(g, node, tile, options);
  Work w = work_of_tile(g, node, tile, at_once, target);
  double longest = greater(w.products, greater(w.epilogue, w.copies));
  double together = at_once * (longest + apart * (w.products + w.epilogue + w.copies - longest));
  double alone = w.products + w.epilogue_alone + waiting + (s.summed ? summing : 0);
  if (!tile->resident) alone = greater(w.products, w.copies) + w.epilogue_alone + waiting + chunk_waiting * w.chunks;
  double first = (blocks * early * s.resident_bytes + at_once * s.stage_bytes) / l2_bytes_a_cycle + first_bytes;
  first += (blocks - 1) * block_start;
  /* two groups of warps that wait for the same windows do not overlap, more of them do */
  if (tile->resident) together = greater(together, alone / greater(1, at_once * warps / 8));
  return (start_seconds + (first + (rounds - 1) * together + greater(together, alone)) / cycles_a_second) * 1e6;
}

bool wgmma_tile_fits(const Graph *g, const Node *node, const Tile *tile, const Target *target) {
  const Type *x = graph_type(g, node->inputs[0]);
  uint32_t blocks = x->layout.pitch / layout_piece_channels(x->layout), chunk = tile->k / 4u;
  bool columns = tile->n == 32 || tile->n == 64 || tile->n == 128 || tile->n == 256;
  bool warps = tile->warps_m && tile->warps_m % 4 == 0 && tile->warps_m <= MOST_WARPS && tile->warps_n == 1;
  columns = columns && tile_within_padding(tile, graph_type(g, node->result));
  if (!columns || !warps || !chunk || tile->k % 4 || chunk > blocks || tile->split_k != 1) return false;
  if (tile->stages < (tile->resident ? 1 : 2)) return false;
  uint32_t rows = staging_group_rows(tile), groups = tile->warps_m / 4u / staging_walks(tile);
  if ((rows != 64 && rows != 128) || rows * groups != tile->m) return false;
  if (staging_moves_registers(tile) && tile->warps_m != 8) return false;
  if (tile->resident && chunk != blocks) return false;
  if (tile->resident > GATHERED || (staging_gathers(tile) && node->op != OP_CONV2D)) return false;
  Staging staging = staging_of(g, node, tile);
  if (staging.pieces > MOST_PIECES && chunk > 1 && !tile->resident) return false;
  if (tile->resident && (staging.input_planes * blocks > MOST_WINDOWS || staging.pieces > MOST_RESIDENT_PIECES))
    return false;
  if (staging_gathers(tile) && staging_products(&staging, tile) > MOST_GATHERED_PRODUCTS) return false;
  if (registers_needed(g, node, tile, &staging) > registers_of_thread(tile)) return false;
  if (staging.barrier_bytes > 8 * MOST_BARRIERS) return false;
  return staging.shared_bytes <= target->shared_bytes && tile_covers_blocks(graph_type(g, node->result), tile->n);
}

typedef struct Search {
  const Graph *g;
  const Node *node;
  const PassOptions *options;
  TileList *list;
} Search;

/* Whether every walk of a block has a tile: otherwise fewer warps do the same. And whether filters have several taps,
 * which read the same windows: a tile of one tap is copied for few products. */
static bool walks_pay(const Search *s, const Tile *tile) {
  double tiles = tiles_of_positions(s->g, s->node, tile, s->options);
  if (staging_walks(tile) == 1) return true;
  tiles *= tile_count_of_channels(tile, graph_type(s->g, s->node->result));
  return divide_up(tiles, s->options->target->sm_count) >= staging_walks(tile) &&
         staging_of(s->g, s->node, tile).taps > 1;
}

/* With the most stages that fit, and two where there are copies for a next tile or chunk: those of streamed weights
 * hide their latency. With resident weights few serve, and no more than a walk has tiles. */
static void consider(const Search *s, Tile tile) {
  if (!walks_pay(s, &tile)) return;
  double most = MOST_STAGES, least = 2;
  tile.stages = tile.resident ? RESIDENT_STAGES : MOST_STAGES;
  while (tile.stages && !wgmma_tile_fits(s->g, s->node, &tile, s->options->target)) tile.stages--;
  if (!tile.stages) return;
  if (tile.resident) most = most_tiles_of_walk(s->g, s->node, &tile, s->options);
  if (tile.stages < lesser(least, most)) return;
  tile.stages = (uint8_t)lesser(tile.stages, most);
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
