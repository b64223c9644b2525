/* Tiles of layers on mma.sync: one of the table below whose warps each cover whole blocks of the result's bit planes
 * (or whole bytes of every run of one), whose accumulators fit 64 registers a thread, and whose stages, two to four,
 * fit the target's shared memory. A block of threads computes m positions x n channels; every step of the reduction
 * stages k words of each of the m + n rows.
 */
#include "../ir/staging.h"
#include "tile.h"

typedef struct Shape {
  uint16_t m, n;
  uint8_t warps_m, warps_n;
} Shape;

/* Smaller ones first: of equals the smaller wins. */
static const Shape shapes[] = {
    {16, 32, 1, 1},  {16, 64, 1, 1},  {16, 64, 1, 2},   {16, 128, 1, 1},  {16, 128, 1, 2}, {16, 128, 1, 4},
    {32, 32, 1, 1},  {32, 32, 2, 1},  {32, 64, 2, 1},   {32, 64, 2, 2},   {32, 128, 2, 1}, {32, 128, 2, 2},
    {32, 128, 2, 4}, {64, 32, 2, 1},  {64, 32, 4, 1},   {64, 64, 4, 1},   {64, 64, 2, 2},  {64, 64, 4, 2},
    {64, 128, 4, 1}, {64, 128, 2, 2}, {64, 128, 4, 2},  {128, 32, 4, 1},  {128, 32, 8, 1}, {128, 64, 4, 1},
    {128, 64, 8, 1}, {128, 64, 4, 2}, {128, 128, 8, 1}, {128, 128, 4, 2},
};
static const uint8_t step_words[] = {8, 16, 32};

enum {
  LEAST_STAGES = 2,
  MOST_STAGES = 4,
  CHANNELS_TOGETHER = 128,   /* tiles end where constants and weights, padded to this, do */
  MOST_ACCUMULATORS = 64,    /* registers a thread */
  OTHER_REGISTERS = 64,      /* addresses, fragments, constants of the epilogue, */
  MOST_OTHER_REGISTERS = 80, /* of some layers */
  SM_REGISTERS = 65536,
  MOST_WARPS = 32,     /* of a block */
  MOST_THREADS = 2048, /* of an SM */
  MOST_BLOCKS = 32
};

static int accumulators(const Tile *tile) {
  return tile->m * tile->n / (32 * tile->warps_m * tile->warps_n);
}

/* Whether tiles reach to the end of a pixel, where bytes that pad it are zeros. */
static bool fills_pixels(const Type *result, const Tile *tile) {
  bool padded = result->layout.kind == LAYOUT_BYTES && !layout_orders_channels(result->layout);
  return !padded || ceil_div((uint32_t)type_channels(result), tile->n) * tile->n >= result->layout.pitch;
}

bool sync_tile_fits(const Graph *g, const Node *node, const Tile *tile, const Target *target) {
  const Type *result = graph_type(g, node->result);
  bool words = tile->k == 8 || tile->k == 16 || tile->k == 32;
  if (!tile->m || !tile->n || tile->split_k != 1 || tile->resident || !words) return false;
  if (tile->stages < LEAST_STAGES || tile->stages > MOST_STAGES) return false;
  if (CHANNELS_TOGETHER % tile->n) return false;
  if (!tile->warps_m || !tile->warps_n || tile->m % (16 * tile->warps_m) || tile->n % (8 * tile->warps_n)) return false;
  if (tile->warps_m * tile->warps_n > MOST_WARPS || accumulators(tile) > MOST_ACCUMULATORS ||
      tile_shared_bytes(tile) > target->shared_bytes)
    return false;
  return fills_pixels(result, tile) && tile_covers_blocks(result, tile->n / tile->warps_n);
}

/* Blocks that an SM has room for. */
static uint32_t room_for_blocks(const Tile *tile, const Target *target, int other_registers) {
  uint32_t threads = 32u * tile->warps_m * tile->warps_n;
  uint32_t by_registers = SM_REGISTERS / (threads * (uint32_t)(accumulators(tile) + other_registers));
  uint32_t by_shared = target->sm_shared_bytes / (tile_shared_bytes(tile) + BLOCK_SHARED_BYTES);
  uint32_t by_threads = MOST_THREADS / threads, blocks = by_registers < by_shared ? by_registers : by_shared;
  blocks = by_threads < blocks ? by_threads : blocks;
  return blocks < 1 ? 1 : blocks > MOST_BLOCKS ? MOST_BLOCKS : blocks;
}

static uint64_t tiles_of_layer(const Graph *g, const Node *node, const Tile *tile, const PassOptions *options) {
  const Type *result = graph_type(g, node->result);
  uint64_t positions = layout_image_positions(result) * (uint64_t)options->max_batch;
  return (positions + tile->m - 1) / tile->m * tile_count_of_channels(tile, result);
}

/* Where the next launch begins while this one runs, its blocks go where there is room, and several to an SM where this
 * one leaves some empty: the layer then takes twice as long. Few tiles have SMs of their own; of more, as many blocks
 * of either launch have room on every SM, and all of them start; where there is no room for both, the next launch's
 * blocks wait. With many tiles it evens out. */
SyncBlocks sync_blocks(const Graph *g, const Node *node, const Tile *tile, const PassOptions *options) {
  const Target *target = options->target;
  uint64_t tiles = tiles_of_layer(g, node, tile, options), sms = (uint64_t)target->sm_count;
  uint64_t needed = (tiles + sms - 1) / sms, room = room_for_blocks(tile, target, MOST_OTHER_REGISTERS);
  if (!target->overlaps_launches || needed > room) return (SyncBlocks){0, false};
  if (2 * tiles <= sms) return (SyncBlocks){1, false};
  if (2 * needed > room) return (SyncBlocks){(uint32_t)needed, false};
  return (SyncBlocks){2 * (uint32_t)needed, true};
}

/* Cycles of an H200 that fit its times of 4900 tiles of random layers and of the benchmark suite, of which half are
 * within 8%. */
static const double cycles_a_second = 1.755e9;
static const double hidden_seconds = 0.15e-6; /* of a launch, where it overlaps with the one before */
static const double copy_latency = 95;        /* of a chunk that nothing hides, shared out among the stages ahead */
static const double chunk_alone = 106;        /* barriers and the loop; */
static const double copy_alone = 20,
                    sum_alone = 22; /* of an input copy of a thread; of an input register to be summed */
static const double product_alone[] = {7, 8.7},
                    step_alone[] = {0, 23.5};                          /* of an instruction, and of 8 words; planes */
static const double copy_issue = 6.3, step_issue = 30, sum_issue = 12; /* the same where warps take turns */
static const double row_cycles = 0.54;                                 /* of a chunk's row on its way from L2 */
static const double end_issue = 450;                                   /* places of rows, addresses */
static const double schedulers = 4;                                    /* of an SM, each issues for a warp a cycle */

/* The end of a tile: cycles of a block by itself, and of each of a lane's accumulators, by itself and where warps take
 * turns. */
typedef struct Ending {
  double alone, each_alone, each;
} Ending;

static const Ending *ending_of(const Graph *g, const Node *node) {
  static const Ending words = {0, 7, 3.6}, bytes = {149, 25.6, 0}, counted_bytes = {0, 20.4, 0};
  static const Ending planes = {0, 35.4, 14.3}, counted_planes = {0, 43.7, 0}, signs = {0, 18.3, 0};
  const Type *result = graph_type(g, node->result);
  bool counted = node->step_count && node->steps[0].op == OP_THRESHOLDS;
  if (!type_is_quantized(result)) return &words;
  if (result->layout.kind == LAYOUT_BYTES) return counted ? &counted_bytes : &bytes;
  return !counted ? &planes : result->bits <= 2 ? &signs : &counted_planes;
}

/* Copies of input that a thread issues a chunk: pixels of whole 16 bytes go so many at a time, others 8 or 4. */
static double input_copies(const Graph *g, const Node *node, const Tile *tile, double words) {
  const Type *w = graph_type(g, node->inputs[1]);
  int of_tap = (int)words / (node->op == OP_CONV2D ? w->dim[1] * w->dim[2] : 1);
  int at_once = of_tap % 4 == 0 ? 4 : of_tap % 2 == 0 ? 2 : 1;
  return divide_up((double)tile->m * tile->k / at_once, 32.0 * tile->warps_m * tile->warps_n);
}

/* Registers of input that a warp sums up a chunk: those of weight plane 0 alone. */
static double summed_registers(const Graph *g, const Node *node, const Tile *tile) {
  bool as_level, planes = engine_uses_planes(node->engine);
  const Type *w = graph_type(g, node->inputs[1]);
  if (!weight_storage(w, planes, &as_level).offset) return 0;
  return tile->m / 16.0 / tile->warps_m * (tile->k / 8) / (planes ? w->bits : 1);
}

static double result_bytes(const Graph *g, const Node *node, const PassOptions *options) {
  const Type *t = graph_type(g, node->result);
  double bytes = !type_is_quantized(t) ? 4 : t->layout.kind == LAYOUT_BYTES ? 1 : t->bits / 8.0;
  return bytes * type_channels(t) * (double)layout_image_positions(t) * options->max_batch;
}

/* Cycles of a block: by itself, and those in which others of its SM wait. A pair of planes goes through all of the
 * reduction before the next. */
typedef struct BlockCycles {
  double alone, shared;
} BlockCycles;

static BlockCycles cycles_of_block(const Graph *g, const Node *node, const Tile *tile, const Target *target) {
  bool planes = engine_uses_planes(node->engine);
  double words = reduction_words(g, node, graph_type(g, node->inputs[0])), k_steps = tile->k / 8.0;
  double chunks = divide_up(words, tile->k) * plane_pairs(g, node, node->engine);
  double warps = tile->warps_m * tile->warps_n, instructions = accumulators(tile) / 4.0 * k_steps;
  double copies = input_copies(g, node, tile, words), summed = summed_registers(g, node, tile);
  double rate = engine_tera_ops(target, node->engine) * 1e12 / target->sm_count / cycles_a_second;
  double products = 2.0 * tile->m * tile->n * tile->k * (planes ? 32 : 4) / rate;
  const Ending *end = ending_of(g, node);
  double alone = chunk_alone + copies * copy_alone + instructions * product_alone[planes] +
                 k_steps * step_alone[planes] + summed * sum_alone + copy_latency / lesser(tile->stages - 1, chunks);
  double issue = copies * copy_issue + k_steps * step_issue + summed * sum_issue;
  double chunk = warps * issue / schedulers + products + (tile->m + tile->n) * row_cycles;
  double results = accumulators(tile);
  return (BlockCycles){.alone = copy_latency + chunks * alone + end->alone + results * end->each_alone,
                       .shared = chunks * chunk + warps * (end_issue + results * end->each) / schedulers};
}

/* What the blocks of the SM with most of them take, and the result's way to memory. Tiles behind the last channel are
 * not multiplied. */
double sync_microseconds(const Graph *g, const Node *node, const Tile *tile, const PassOptions *options) {
  const Target *target = options->target;
  const Type *result = graph_type(g, node->result);
  double positions = (double)layout_image_positions(result) * options->max_batch;
  double tiles = divide_up(positions, tile->m) * divide_up(type_channels(result), tile->n);
  double blocks = divide_up(tiles, target->sm_count);
  double rounds = divide_up(blocks, room_for_blocks(tile, target, OTHER_REGISTERS));
  BlockCycles cycles = cycles_of_block(g, node, tile, target);
  double seconds = (rounds * cycles.alone + blocks * cycles.shared) / cycles_a_second;
  if (target->overlaps_launches) seconds -= hidden_seconds;
  return seconds * 1e6 + result_bytes(g, node, options) / (target->copy_gb_per_s * 1e3);
}

bool sync_tile_is_listed(const Tile *tile) {
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
    if (tile->m == shapes[i].m && tile->n == shapes[i].n && tile->warps_m == shapes[i].warps_m &&
        tile->warps_n == shapes[i].warps_n)
      return true;
  return false;
}

void sync_tiles(const Graph *g, const Node *node, const PassOptions *options, TileList *out) {
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
    for (size_t k = 0; k < sizeof step_words; k++)
      for (uint8_t stages = LEAST_STAGES; stages <= MOST_STAGES; stages++) {
        const Shape *s = &shapes[i];
        Tile tile = {s->m, s->n, step_words[k], s->warps_m, s->warps_n, stages, 1, 0};
        if (sync_tile_fits(g, node, &tile, options->target))
          tile_list_add(out, tile, sync_microseconds(g, node, &tile, options));
      }
}
