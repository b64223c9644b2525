/* Tiles of skinny layers (../ir/skinny.h): how many positions a block takes, how many blocks share a reduction, and how
 * the weights are cut into stages.
 *
 * The estimate follows the stream of weights: blocks that run side by side share the rate of L2, or of device memory
 * where the weights do not fit, and each waits for the longer of its share and of its products and epilogue. What comes
 * before, the input's copy and its sums, overlaps with the first stages.
 */
#include "../ir/skinny.h"
#include "../ir/staging.h"
#include "tile.h"

static const uint8_t positions[] = {8, 16, 24, 32, 48, 64, 96, 128};
static const uint8_t splits[] = {1, 2, 4, 8};
static const uint8_t chunk_words[] = {64, 32, 16, 8};

enum {
  MOST_POSITIONS = 128,
  MOST_CHUNK_WORDS = 64, /* the products of a chunk are unrolled */
  MOST_STAGES = 16,
  BYTES_IN_FLIGHT = 131072, /* of a block: more hide nothing */
  OTHER_REGISTERS = 56,     /* besides accumulators and sums of the input */
  MOST_COLUMN_TILES = 64    /* with more of them wgmma_b1 reuses weights better */
};

/* In cycles of an SM, measured on an H200 or derived from what was. */
static const double cycles_a_second = 1.755e9;
static const double l2_bytes = 30e6, l2_gb_per_s = 5000; /* weights that stay in L2 come at this rate */
static const double sm_bytes_a_cycle = 27;               /* the most that one SM gets */
static const double copy_cycles = 1300;                  /* from the request of a stage to its bytes */
static const double issue_cycles = 300;                  /* of a copy, in the thread that loads */
static const double chunk_cycles = 250;                  /* barriers of a chunk, in its group */
static const double plane_cycles = 120;                  /* of a group: the last products of a plane, then twice all */
static const double exchange_cycles = 300, cluster_cycles = 2500;
static const double tile_cycles = 1700;                   /* of a tile's ends: parts sent, constants loaded */
static const double first_cycles = 600;                   /* until the input comes; weights are on their way before */
static const double result_cycles = 60, step_cycles = 40; /* of a word of results in a warp */

/* Registers of a thread, as a part of the SM may have a warp more than the others: that which loads. */
static uint32_t most_registers(const Tile *tile) {
  uint32_t most = 16384 / (32u * (tile->warps_m / 4u + 1)) / 8 * 8;
  return most < 255 ? most : 255;
}

/* SMs that clusters of more than two blocks leave idle: they find room in one part of the chip, which has 14 to 18. Of
 * an H200, where a cluster more would run after all others. */
static uint32_t idle_sms(uint32_t split) {
  return split == 8 ? 12 : split == 4 ? 8 : 0;
}

uint32_t skinny_clusters(const Skinny *s, const Tile *tile, const Target *target) {
  uint32_t sms = (uint32_t)target->sm_count, idle = idle_sms(tile->split_k);
  uint32_t most = (sms > idle ? sms - idle : 0) / tile->split_k / s->column_tiles;
  if (!most) most = 1;
  return most < s->row_tiles ? most : s->row_tiles;
}

/* Cycles of an instruction of 64 rows, which few columns do not fill. */
static double product_cycles(const Skinny *s, const Target *target, Engine engine) {
  double rate = engine_tera_ops(target, engine) * 1e12 / target->sm_count / cycles_a_second;
  double full = 2.0 * SKINNY_ROWS * s->columns * 8 * 2 * PIECE_BYTES / rate;
  double least = 17 + s->columns / 4.0;
  return greater(full, least) + (s->groups == 1 ? 17 : 0);
}

static double bytes_a_cycle(const Skinny *s, const Tile *tile, const Target *target, double blocks) {
  double weights = (double)s->row_tiles * tile->split_k * s->weight_planes * s->chunks * s->chunk_bytes;
  double all = (weights < l2_bytes ? l2_gb_per_s : target->copy_gb_per_s * 0.93) * 1e9 / cycles_a_second;
  double in_flight = (double)tile->stages * s->chunk_bytes / copy_cycles, started = s->chunk_bytes / issue_cycles;
  return lesser(lesser(all / blocks, sm_bytes_a_cycle), lesser(in_flight, started));
}

/* Of a tile: positions of the largest batch that a block finishes, 32 channels a warp. */
static double epilogue_cycles(const Graph *g, const Node *node, const Skinny *s, const Tile *tile) {
  double taken = lesser(s->own, graph_type(g, node->inputs[0])->layout.positions);
  double words = divide_up(taken * 2, tile->warps_m);
  return tile_cycles + words * (result_cycles + step_cycles * node->step_count);
}

/* The input's sums are products too. */
static double input_cycles(const Graph *g, const Node *node, const Skinny *s, double product) {
  bool as_level, summed = weight_storage(graph_type(g, node->inputs[1]), true, &as_level).offset != 0;
  return s->input_bytes / sm_bytes_a_cycle + (summed ? divide_up(s->chunks, s->groups) * product : 0);
}

/* A tile's products and the epilogue of the one before overlap with the stream, as the input's copy does with as much
 * of it as stages hold. */
double skinny_microseconds(const Graph *g, const Node *node, const Tile *tile, const PassOptions *options) {
  const Target *target = options->target;
  Skinny s = skinny_of(g, node, tile);
  double clusters = skinny_clusters(&s, tile, target), blocks = clusters * tile->split_k * s.column_tiles;
  double at_once = lesser(blocks, target->sm_count), rounds = divide_up(blocks, at_once);
  double tiles = divide_up(s.row_tiles, clusters), bytes = (double)s.weight_planes * s.chunks * s.chunk_bytes;
  double product = product_cycles(&s, target, node->engine) * s.chunk_blocks / 2; /* of a chunk */
  double of_group = divide_up(s.chunks, s.groups) * (product + chunk_cycles) + plane_cycles;
  double products = s.weight_planes * greater(of_group, s.chunks * product);
  double rate = bytes_a_cycle(&s, tile, target, at_once), stream = bytes / rate;
  double epilogue = epilogue_cycles(g, node, &s, tile);
  double held = lesser((double)tile->stages * s.chunk_bytes, tiles * bytes) / rate;
  double before = first_cycles + greater(0, input_cycles(g, node, &s, product) - held);
  double of_tile = greater(stream, products + epilogue) + (tile->split_k > 1 ? cluster_cycles : 0);
  double last = greater(stream, products) + product + exchange_cycles + epilogue;
  double cycles = before + (tiles - 1) * of_tile + last + (tile->split_k > 1 ? cluster_cycles : 0);
  return rounds * cycles / cycles_a_second * 1e6;
}

/* Runs of positions of one owner begin and end with those that a thread holds. */
static bool owners_are_whole(const Tile *tile) {
  int own = tile->n / tile->split_k;
  return tile->n % tile->split_k == 0 && (own % 8 == 0 || own == 4 || own == 2 || own == 1);
}

bool skinny_tile_fits(const Graph *g, const Node *node, const Tile *tile, const Target *target) {
  bool whole = tile->m == SKINNY_ROWS && tile->n && tile->n % 8 == 0 && tile->n <= MOST_POSITIONS && !tile->resident;
  bool warps = skinny_warps_fit(tile);
  bool stages = tile->stages <= MOST_STAGES && !(tile->stages & (tile->stages - 1));
  stages = stages && tile->stages >= SKINNY_LEAST_STAGES;
  bool chunk = tile->k && tile->k % 8 == 0 && tile->k <= MOST_CHUNK_WORDS;
  bool split = tile->split_k && tile->split_k <= SKINNY_MOST_SPLIT && !(tile->split_k & (tile->split_k - 1));
  if (!whole || !warps || !stages || !chunk || !split || !owners_are_whole(tile)) return false;
  if (node->op != OP_LINEAR) return false;
  Skinny s = skinny_of(g, node, tile);
  if (s.columns > SKINNY_MOST_COLUMNS || s.columns / 2 + tile->n / 4u + OTHER_REGISTERS > most_registers(tile))
    return false;
  return s.shared_bytes <= target->shared_bytes && s.column_tiles <= MOST_COLUMN_TILES;
}

typedef struct Search {
  const Graph *g;
  const Node *node;
  const PassOptions *options;
  TileList *list;
} Search;

/* With the most stages that pay and fit. */
static void consider(const Search *s, Tile tile) {
  tile.stages = MOST_STAGES;
  uint32_t of_stages = tile.warps_m / 4u * SKINNY_ROWS * 4u * tile.k; /* one a group */
  while (tile.stages > SKINNY_LEAST_STAGES && tile.stages * of_stages > BYTES_IN_FLIGHT) tile.stages /= 2;
  while (tile.stages && !skinny_tile_fits(s->g, s->node, &tile, s->options->target)) tile.stages /= 2;
  if (!tile.stages) return;
  tile_list_add(s->list, tile, skinny_microseconds(s->g, s->node, &tile, s->options));
}

static void consider_columns(const Search *s, uint8_t n) {
  for (size_t split = 0; split < sizeof splits; split++)
    for (size_t k = 0; k < sizeof chunk_words; k++)
      for (uint8_t warps = 4 * SKINNY_MOST_GROUPS; warps >= 4; warps -= 4)
        consider(s, (Tile){SKINNY_ROWS, n, chunk_words[k], warps, 1, 2, splits[split], 0});
}

/* More positions than the largest batch has, rounded up, are of no use. */
void skinny_tiles(const Graph *g, const Node *node, const PassOptions *options, TileList *out) {
  Search s = {.g = g, .node = node, .options = options, .list = out};
  uint32_t most = graph_type(g, node->inputs[0])->layout.positions;
  for (size_t i = 0; i < sizeof positions; i++)
    if (i == 0 || positions[i - 1] < most) consider_columns(&s, positions[i]);
}
