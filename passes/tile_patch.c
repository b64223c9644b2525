/* Tiles of layers on patches: one of the table below whose weights and patch fit shared memory.
 *
 * The estimate counts, for the SM with most tiles, products and what else a tile takes, the patch and the epilogue, of
 * which warps on the same SM hide next to nothing from each other: both are bound by what they issue.
 */
#include "../ir/patch.h"
#include "tile.h"
#include "tuning.h"

/* Larger ones first: of equals the larger wins. The last fits wherever one does. */
static const uint8_t tile_warps[] = {8, 4, 2, 1}, tile_channels[] = {64, 32};

enum {
  STEP_WORDS = 8,
  OTHER_REGISTERS = 76, /* besides accumulators */
  SM_REGISTERS = 65536,
  SM_THREADS = 2048,
  MOST_BLOCKS = 8 /* of an SM, that pay */
};

static const double latency = 2e-6;         /* launch, weights, first patch, last epilogue */
static const double fill_rate = 2e10;       /* elements of patches, idle threads' too, a second and SM */
static const double shared_rate = 1.7e9;    /* accesses of 128 bytes to shared memory a second and SM */
static const double epilogue_rate = 2.2e10; /* results a second and SM */
static const double waiting = 1.06;         /* cycles in which no warp issues */

static Tile tile_of(uint8_t warps_m, uint8_t n) {
  return (Tile){(uint16_t)(PATCH_WARP_ROWS * warps_m), n, STEP_WORDS, warps_m, 1, 1, 1, 0};
}

bool patch_fits(const Graph *g, const Node *node, const Target *target) {
  Tile least = tile_of(1, 32);
  return patch_serves(g, node) && patch_of(g, node, &least).shared_bytes <= target->shared_bytes;
}

int patch_blocks_at_once(const Graph *g, const Node *node, const Tile *tile, const Target *target) {
  int threads = 32 * tile->warps_m, accumulators = PATCH_WARP_ROWS * tile->n / 32;
  int by_registers = SM_REGISTERS / (threads * (accumulators + OTHER_REGISTERS)), by_threads = SM_THREADS / threads;
  int by_shared = (int)(target->shared_bytes / (patch_of(g, node, tile).shared_bytes + 1024));
  int blocks = by_registers < by_threads ? by_registers : by_threads;
  blocks = by_shared < blocks ? by_shared : blocks;
  return blocks < 1 ? 1 : blocks > MOST_BLOCKS ? MOST_BLOCKS : blocks;
}

/* A step of a warp reads 8 registers of its two row tiles, and of every 8 columns 256 bytes. */
static double products_of_tile(const Patch *p, const Tile *tile, double rate) {
  double accesses = (double)p->steps * tile->warps_m * (8 + tile->n / 8 * 2);
  return greater(2.0 * tile->m * tile->n * p->steps * STEP_WORDS * 4 / rate, accesses / shared_rate);
}

double patch_microseconds(const Graph *g, const Node *node, const Tile *tile, const PassOptions *options) {
  const Target *target = options->target;
  Patch p = patch_of(g, node, tile);
  double columns = tile_count_of_channels(tile, graph_type(g, node->result));
  double tiles = (double)p.across * p.down * options->max_batch * columns;
  double tiles_of_sm = divide_up(tiles, target->sm_count);
  double rate = engine_tera_ops(target, node->engine) * 1e12 / target->sm_count;
  double products = products_of_tile(&p, tile, rate);
  double elements = (double)patch_elements_of_thread(&p, tile) * 32 * tile->warps_m;
  double rest = elements / fill_rate + (double)tile->m * tile->n / epilogue_rate;
  return (latency + tiles_of_sm * waiting * (products + rest)) * 1e6;
}

static bool fits(const Graph *g, const Node *node, const Tile *tile, const Target *target) {
  return patch_of(g, node, tile).shared_bytes <= target->shared_bytes &&
         tile_covers_blocks(graph_type(g, node->result), tile->n);
}

bool patch_tile_fits(const Graph *g, const Node *node, const Tile *tile, const Target *target) {
  for (size_t w = 0; w < sizeof tile_warps; w++)
    for (size_t n = 0; n < sizeof tile_channels; n++) {
      Tile listed = tile_of(tile_warps[w], tile_channels[n]);
      if (tile_equal(&listed, tile)) return fits(g, node, tile, target);
    }
  return false;
}

void patch_tiles(const Graph *g, const Node *node, const PassOptions *options, TileList *out) {
  for (size_t w = 0; w < sizeof tile_warps; w++)
    for (size_t n = 0; n < sizeof tile_channels; n++) {
      Tile tile = tile_of(tile_warps[w], tile_channels[n]);
      if (fits(g, node, &tile, options->target)) tile_list_add(out, tile, patch_microseconds(g, node, &tile, options));
    }
}
