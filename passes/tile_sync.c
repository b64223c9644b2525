/* Tiles of layers on mma.sync: one of the table below whose warps each cover whole blocks of the result's bit planes
 * (or whole bytes of every run of one), whose accumulators fit 64 registers a thread, and whose two stages fit the
 * target's shared memory. A block of threads computes m positions x n channels; every step of the reduction stages k
 * words of each of the m + n rows.
 */
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
  STAGES = 2,
  CHANNELS_TOGETHER = 128, /* tiles end where constants and weights, padded to this, do */
  MOST_ACCUMULATORS = 64,  /* registers a thread */
  OTHER_REGISTERS = 64,    /* addresses, fragments, constants of the epilogue */
  SM_REGISTERS = 65536,
  MOST_WARPS = 32,        /* of a block */
  MOST_THREADS = 2048,    /* of an SM */
  WARPS_FOR_FULL_RATE = 8 /* of its tensor cores */
};

/* How fast it goes: shares of the instruction's rate that products reach, in planes and in bytes; seconds from the
 * start of a step's copy to its products where nothing else hides them (L2, barriers), and of a block outside of its
 * steps (first copy, epilogue). Tiles are compared at the full rate and with latencies that favour few steps; times are
 * those of products of 4096 cubes and of 400 random layers on an H200. */
typedef struct Pace {
  double planes, bytes, step_latency, block_latency, result_latency; /* the last for each accumulator of a thread */
} Pace;
static const Pace compared = {1, 1, 0.5e-6, 1.2e-6, 0}, reached = {0.27, 0.4, 0.26e-6, 0.1e-6, 17e-9};

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
  if (!tile->m || !tile->n || tile->stages != STAGES || tile->split_k != 1 || tile->resident || !words) return false;
  if (CHANNELS_TOGETHER % tile->n) return false;
  if (!tile->warps_m || !tile->warps_n || tile->m % (16 * tile->warps_m) || tile->n % (8 * tile->warps_n)) return false;
  if (tile->warps_m * tile->warps_n > MOST_WARPS || accumulators(tile) > MOST_ACCUMULATORS ||
      tile_shared_bytes(tile) > target->shared_bytes)
    return false;
  return fills_pixels(result, tile) && tile_covers_blocks(result, tile->n / tile->warps_n);
}

/* Blocks that an SM runs side by side. */
static double resident_blocks(const Tile *tile, const Target *target) {
  int threads = 32 * tile->warps_m * tile->warps_n;
  int by_registers = SM_REGISTERS / (threads * (accumulators(tile) + OTHER_REGISTERS));
  int by_shared = (int)(target->shared_bytes / tile_shared_bytes(tile));
  return lesser(lesser(by_registers, by_shared), (double)MOST_THREADS / threads);
}

/* Pixels of bytes that are no multiple of 16 go to shared memory 4 or 8 bytes a copy: a stem of 49 taps on 3 channels,
 * which copies 79 million words, took 258 us on an H200. */
static double copy_share(const Node *node, const Type *x) {
  static const double of_a_word = 0.14;
  if (engine_uses_planes(node->engine) || x->layout.pitch % 16 == 0) return 1;
  return x->layout.pitch % 8 == 0 ? 2 * of_a_word : of_a_word;
}

/* An SM with its share of the blocks takes the longest of three: products, copies from L2, and the latency of its
 * steps, which blocks side by side hide from each other; and what the first block waits for. A pair of planes goes
 * through all of the reduction before the next. */
static double estimate(const Graph *g, const Node *node, const Tile *tile, const PassOptions *options,
                       const Pace *pace) {
  const Target *target = options->target;
  double positions = (double)layout_image_positions(graph_type(g, node->result)) * options->max_batch;
  double grid = divide_up(positions, tile->m) * tile_count_of_channels(tile, graph_type(g, node->result));
  double blocks = divide_up(grid, target->sm_count), at_once = lesser(blocks, resident_blocks(tile, target));
  double words = reduction_words(g, node, graph_type(g, node->inputs[0]));
  double steps = divide_up(words, tile->k) * plane_pairs(g, node, node->engine);
  double warps = at_once * tile->warps_m * tile->warps_n;
  double share = engine_uses_planes(node->engine) ? pace->planes : pace->bytes;
  double rate =
      share * engine_tera_ops(target, node->engine) * 1e12 / target->sm_count * lesser(1, warps / WARPS_FOR_FULL_RATE);
  double products = 2.0 * tile->m * tile->n * tile->k * (engine_uses_planes(node->engine) ? 32 : 4) / rate;
  double l2_rate = 2e9 * target->copy_gb_per_s / target->sm_count; /* twice that of device memory */
  double input_rate = l2_rate * copy_share(node, graph_type(g, node->inputs[0]));
  double copies = 4.0 * tile->m * tile->k / input_rate + 4.0 * tile->n * tile->k / l2_rate;
  double end = pace->block_latency + accumulators(tile) * pace->result_latency;
  double waiting = divide_up(blocks, at_once) * (steps * pace->step_latency + end);
  return (greater(blocks * steps * greater(products, copies), waiting) + end) * 1e6;
}

double sync_microseconds(const Graph *g, const Node *node, const Tile *tile, const PassOptions *options) {
  return estimate(g, node, tile, options, &reached);
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
    for (size_t k = 0; k < sizeof step_words; k++) {
      const Shape *s = &shapes[i];
      Tile tile = {s->m, s->n, step_words[k], s->warps_m, s->warps_n, STAGES, 1, 0};
      if (sync_tile_fits(g, node, &tile, options->target))
        tile_list_add(out, tile, estimate(g, node, &tile, options, &compared));
    }
}

Tile sync_tile(const Graph *g, const Node *node, const PassOptions *options) {
  TileList list = {.most = 1};
  sync_tiles(g, node, options, &list);
  return list.tiles[0];
}
