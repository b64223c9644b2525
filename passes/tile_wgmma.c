/* Tiles of layers on wgmma: rows and columns of the table below, stages as deep as shared memory allows, weights kept
 * in shared memory where they fit beside two stages.
 *
 * The estimate counts cycles of the SM with most tiles: those in which its tensor cores multiply, in which its warps
 * issue epilogues, and in which copies come from L2 or are asked for, one after the other by one thread. Streamed
 * chunks take the longest of these and of what the stages ahead cannot hide; with resident weights tiles do, and blocks
 * that share the SM overlap theirs, not wholly. What a block does before the layer before has ended is hidden. The
 * constants are fitted to some 2500 tiles of random layers and of the benchmark suite, of 1 to 300 microseconds on an
 * H200.
 */
#include "../ir/staging.h"
#include "tile.h"

#include <math.h>

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
static const Shape gathered_shapes[] = {{64, 128, 16}, {64, 128, 12}, {64, 128, 8}};
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
  MOST_BLOCKS = 6, /* of an SM, that pay */
};

static const double cycles_a_second = 1.755e9, shared_bytes_a_cycle = 100; /* of 128 */
static const double l2_bytes_a_cycle = 45;   /* of an SM, where all of them read; few get more */
static const double first = 300;             /* until copies are on their way */
static const double early = 0.58;            /* of resident weights, what comes after the layer before has ended */
static const double window_copy = 44;        /* of a window, in the thread of a walk; */
static const double chunk_copy = 86;         /* of a window or weights of a streamed chunk, in the loading thread */
static const double stage_waiting = 1570;    /* from a free stage to its bytes, besides their own time */
static const double half_filled = 0.5;       /* of the stages, of the one that is filled */
static const double line_of_ones = 60;       /* of a thread that writes them where columns sum inputs up */
static const double summed_piece = 74;       /* of a position's 16 bytes in a thread that sums inputs */
static const double joined_line = 0.5;       /* of a line of 16 bytes that gets other taps' channels (wgmma_join.c) */
static const double gathered_tile = 500;     /* of a tile of gathered rows, more than others take (wgmma_gather.c) */
static const double plane_pair = 50;         /* until the products of a pair of planes are done and the next begin */
static const double apart[] = {0.28, 0.23};  /* of what is not the longest of a tile, the part that does not overlap: of
                                                a block that has the SM to itself, and of several walks; */
static const double apart_streamed = 0.71;   /* of the epilogue of a streamed one */
static const double schedulers = 4;          /* of an SM, each issues for a warp a cycle */
static const double block_start = 375;       /* until the next block of an SM runs */
static const double tile_instructions = 162; /* of a warp and tile, whatever its size */
static const double double_instructions = 2.7; /* to double an accumulator where the significance of pairs falls */

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
 * measured at), or its rows of shared memory. */
static double product_cycles(const Node *node, uint32_t columns, const Target *target) {
  bool planes = engine_uses_planes(node->engine);
  double bits = 2.0 * 64 * columns * 2 * PIECE_BYTES * (planes ? 8 : 1);
  double rate = engine_tera_ops(target, node->engine) * 1e12 / target->sm_count / cycles_a_second;
  return greater(bits / rate, (64.0 + columns) * 2 * PIECE_BYTES / shared_bytes_a_cycle);
}

/* Instructions a result. Thresholds alone are signs of differences (backend/mma_signs.c) or, of more bits, in bytes or
 * with a second activation, a product (../ir/requantize.h). Stores of 32-bit results: see cost.c too. */
static double epilogue_instructions(const Graph *g, const Node *node) {
  static const double of_signs[] = {0, 3.1, 7.3}, of_words = 8, of_bytes = 9.5, of_planes = 9.4, of_pairs = 13;
  static const double of_step = 3.9;
  const Type *result = graph_type(g, node->result);
  if (!type_is_quantized(result)) return of_words + of_step * node->step_count;
  if (node->step_count != 1 || node->steps[0].op != OP_THRESHOLDS) return of_step * (1 + node->step_count);
  if (step_operand(&node->steps[0]) != NO_VALUE) return of_pairs;
  if (result->layout.kind != LAYOUT_PLANES) return of_bytes;
  return result->bits <= 2 ? of_signs[result->bits] : of_planes;
}

/* Columns of a tile that are channels: of several tiles those of a full one. */
static double columns_of_tile(const Graph *g, const Node *node, const Tile *tile) {
  return lesser(tile->n, divide_up(type_channels(graph_type(g, node->result)), 8) * 8);
}

/* Cycles in which the warps of a tile issue its end, and double accumulators on the way to it. */
static double epilogue_cycles(const Graph *g, const Node *node, const Tile *tile, const Staging *s) {
  double warps = (double)tile->warps_m / s->walks, significances = s->weight_planes + s->input_planes - 1.0;
  double results = tile->m * columns_of_tile(g, node, tile) * epilogue_instructions(g, node);
  double doubled = tile->m * tile->n * (significances - 1) * double_instructions;
  return ((results + doubled) / 32 + tile_instructions * warps) / schedulers;
}

/* Cycles of a part of the reduction, a chunk of a pair of planes or, with resident weights, all of it. */
typedef struct Work {
  double products;       /* of the tensor cores; */
  double products_alone; /* of a group of warps, and of the sums of inputs beside them */
  double copies;         /* of their bytes; */
  double asking;         /* of the thread that asks for them */
  double threads;        /* of warps that join taps or place gathered rows: nothing overlaps that */
  double parts;          /* of a tile */
} Work;

/* The fewer SMs read from L2, the more comes to each. */
static double bytes_a_cycle(double active, const Target *target) {
  return l2_bytes_a_cycle * sqrt(target->sm_count / active);
}

/* Of sums of inputs beside the products. */
static double sum_cycles(const Staging *s) {
  return divide_up(s->summed, GROUP_THREADS) * s->chunks * s->chunk_blocks * s->input_planes * summed_piece;
}

static double thread_cycles(const Tile *tile, const Staging *s) {
  if (staging_gathers(tile)) return gathered_tile;
  return s->joined > 1 ? (double)s->input_planes * s->input_rows * joined_line : 0;
}

static Work work_of_part(const Node *node, const Tile *tile, const Staging *s, double rate, const Target *target) {
  double pairs = s->weight_planes * s->input_planes, parts = tile->resident ? 1 : pairs * s->chunks;
  double instructions = s->pieces / 2.0 * tile->m / 64 * (tile->resident ? pairs * s->chunks : 1);
  double products = instructions * product_cycles(node, s->weight_rows, target);
  double waits = engine_uses_planes(node->engine) ? plane_pair * (tile->resident ? pairs : 1) : 0;
  double groups = (double)tile->warps_m / s->walks / 4;
  double windows = s->chunk_blocks * (tile->resident ? s->input_planes : 1.0);
  return (Work){.products = products,
                .products_alone = products / groups + waits + sum_cycles(s) / parts,
                .copies = s->stage_bytes / rate,
                .threads = thread_cycles(tile, s),
                .asking = tile->resident ? windows * window_copy : (windows + 1) * chunk_copy,
                .parts = parts};
}

/* Tiles of the walk with most of them. With resident weights each block keeps to one tile of channels. */
static double tiles_of_walk(const Tile *tile, double row_tiles, double columns, double blocks) {
  if (!tile->resident) return divide_up(row_tiles * columns, blocks);
  double of_column = staging_walks(tile) * (double)(int64_t)(blocks / columns);
  return divide_up(row_tiles, greater(of_column, 1)) * divide_up(columns, greater(blocks, columns));
}

/* SMs that have a tile. */
static double active_sms(const Graph *g, const Node *node, const Tile *tile, const PassOptions *options) {
  double sms = options->target->sm_count, row_tiles = tiles_of_positions(g, node, tile, options);
  double columns = tile_count_of_channels(tile, graph_type(g, node->result));
  if (!tile->resident) return lesser(row_tiles * columns, sms);
  double blocks = wgmma_blocks(g, node, tile, options).of_launch * sms, at_once = lesser(columns, blocks);
  double of_column = greater(1, (double)(int64_t)(blocks / columns));
  return lesser(at_once * lesser(row_tiles, of_column), sms);
}

static double most_tiles_of_walk(const Graph *g, const Node *node, const Tile *tile, const PassOptions *options) {
  double columns = tile_count_of_channels(tile, graph_type(g, node->result));
  double blocks = (double)wgmma_blocks(g, node, tile, options).of_launch * options->target->sm_count;
  return tiles_of_walk(tile, tiles_of_positions(g, node, tile, options), columns, blocks);
}

/* What an SM has to do: blocks and walks that work on it side by side, and rounds of tiles. */
typedef struct Share {
  double blocks, at_once, rounds, epilogue;
} Share;

/* Of the rows of ones in all stages (backend/wgmma_sums.c). */
static double ones_cycles(const Tile *tile, const Staging *s) {
  return line_of_ones * tile->stages * s->pieces * (s->weight_rows - tile->n) / staging_threads(tile);
}

/* A chunk takes the longest of what the blocks of an SM do and of what one of them waits for: its stages hide the way
 * of as many chunks. */
static double streamed_cycles(const Tile *tile, const Staging *s, const Work *w, const Share *share) {
  double copies = share->at_once * w->copies, products = share->at_once * w->products;
  double waiting = (stage_waiting + copies + w->products_alone) / (tile->stages - half_filled);
  double chunk = greater(greater(copies, products), greater(greater(w->products_alone, w->asking), waiting));
  double epilogues = share->at_once * share->epilogue * (1 + (share->rounds - 1) * apart_streamed);
  return ones_cycles(tile, s) + lesser(copies, w->products_alone) + share->rounds * w->parts * chunk + epilogues;
}

/* A tile takes the longest of its parts and some of the others; one by itself takes them one after the other, and two
 * groups of warps that wait for the same windows do not overlap, more of them do. */
static double resident_cycles(const Tile *tile, const Staging *s, const Work *w, const Share *share, double rate) {
  double warps = (double)tile->warps_m / s->walks, asking = share->rounds > 1 ? w->asking : 0;
  double longest = greater(greater(w->products, share->epilogue), w->copies);
  double others = w->products + share->epilogue + w->copies - longest;
  double alone = w->products_alone + share->epilogue + asking + w->threads;
  double together = share->at_once * (longest + apart[share->at_once > 1] * others + w->threads);
  together = greater(together, alone / greater(1, share->at_once * warps / 8));
  double before = share->blocks * early * s->resident_bytes / rate + (share->blocks - 1) * block_start;
  before += greater(share->at_once * w->copies, w->asking);
  return before + (share->rounds - 1) * together + greater(together, alone);
}

double wgmma_microseconds(const Graph *g, const Node *node, const Tile *tile, const PassOptions *options) {
  const Target *target = options->target;
  Staging s = staging_of(g, node, tile);
  double tiles = tiles_of_positions(g, node, tile, options);
  tiles *= tile_count_of_channels(tile, graph_type(g, node->result));
  double blocks_of_sm = wgmma_blocks(g, node, tile, options).of_launch;
  double at_once = lesser(blocks_of_sm * s.walks, divide_up(tiles, target->sm_count));
  double rate = bytes_a_cycle(active_sms(g, node, tile, options), target);
  Work w = work_of_part(node, tile, &s, rate, target);
  Share share = {.blocks = divide_up(at_once, s.walks),
                 .at_once = at_once,
                 .rounds = most_tiles_of_walk(g, node, tile, options),
                 .epilogue = epilogue_cycles(g, node, tile, &s)};
  double cycles = tile->resident ? resident_cycles(tile, &s, &w, &share, rate) : streamed_cycles(tile, &s, &w, &share);
  return (first + cycles) / cycles_a_second * 1e6;
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

/* Whether so many positions are gaps that rows without them gain more than gathering costs. */
static bool gathering_pays(const Search *s, const Tile *tile) {
  enum { LEAST_GAPS = 5 }; /* one of so many */
  uint64_t positions = layout_image_positions(graph_type(s->g, s->node->inputs[0]));
  return !staging_gathers(tile) || LEAST_GAPS * (positions - staging_image_rows(s->g, s->node, tile)) >= positions;
}

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
  if (!walks_pay(s, &tile) || !gathering_pays(s, &tile)) return;
  double most = MOST_STAGES, least = 2;
  tile.stages = tile.resident ? RESIDENT_STAGES : MOST_STAGES;
  while (tile.stages && !wgmma_tile_fits(s->g, s->node, &tile, s->options->target)) tile.stages--;
  if (!tile.stages) return;
  if (tile.resident) most = most_tiles_of_walk(s->g, s->node, &tile, s->options);
  if (tile.stages < lesser(least, most)) return;
  tile.stages = (uint8_t)lesser(tile.stages, most);
  tile_list_add(s->list, tile, wgmma_microseconds(s->g, s->node, &tile, s->options));
}

/* A chunk that is all of the reduction, whose weights stay. */
static void consider_whole(const Search *s, Tile tile) {
  const Type *x = graph_type(s->g, s->node->inputs[0]);
  uint32_t words = x->layout.pitch / layout_piece_channels(x->layout) * (PIECE_BYTES / 4);
  tile.k = (uint16_t)words;
  if (words <= UINT16_MAX) consider(s, tile);
}

void wgmma_tiles(const Graph *g, const Node *node, const PassOptions *options, TileList *out) {
  Search s = {.g = g, .node = node, .options = options, .list = out};
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
    Tile tile = {shapes[i].m, shapes[i].n, 0, shapes[i].warps_m, 1, 2, 1, STREAMED};
    for (size_t k = 0; k < sizeof chunk_blocks; k++) {
      tile.k = chunk_blocks[k] * 4u;
      consider(&s, tile);
    }
    tile.resident = RESIDENT;
    consider_whole(&s, tile);
  }
  for (size_t i = 0; i < sizeof gathered_shapes / sizeof gathered_shapes[0]; i++) {
    Tile tile = {gathered_shapes[i].m, gathered_shapes[i].n, 0, gathered_shapes[i].warps_m, 1, 2, 1, GATHERED};
    consider_whole(&s, tile);
  }
}
