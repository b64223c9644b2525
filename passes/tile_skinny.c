/* Tiles of skinny layers (../ir/skinny.h): how many positions a block takes, how many blocks share a reduction, and how
 * the weights are cut into stages.
 *
 * The estimate is that of an SM: the input's copy, then the longer of the weights' way and of its groups' work, and
 * what follows the last products.
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

/* In cycles of an SM of an H200, but for the rates of weights: bytes that all SMs get in a cycle. Fitted to tiles of
 * layers of 8 and 16 images. */
static const double cycles_a_second = 1.755e9;
static const double l2_bytes = 30e6, l2_bytes_a_cycle = 2700; /* weights that stay in L2 come at this rate */
static const double input_bytes_a_cycle = 18.7;               /* of an SM */
static const double chunk_cycles = 165;                       /* barriers of a chunk, in its group */
static const double tile_cycles = 250;                        /* of a tile's ends: parts sent, constants loaded */
static const double first_cycles = 400;                 /* until the input comes; weights are on their way before */
static const double last_cycles = 750;                  /* of the last parts, until they are stored */
static const double result_cycles = 5, step_cycles = 3; /* of a word of results in a warp, several side by side */
static const double shared_result = 0.33;               /* of a result, of all groups; of one whose parts were sent: */
static const double sent_result = 0.75;
static const double cluster_cycles = 4000; /* of clusters of more than two blocks */
static const double overlap = 0.52;        /* of what is shorter: of work and of the weights' way */

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
  return greater(full, least);
}

/* Of an SM's weights, that come to so many of them. */
static double stream_cycles(const Skinny *s, const Tile *tile, const Target *target, double bytes, double sms) {
  double all = (double)s->row_tiles * tile->split_k * s->weight_planes * s->chunks * s->chunk_bytes;
  double from_memory = target->copy_gb_per_s * 1e9 / cycles_a_second;
  return bytes * sms / (all < l2_bytes ? l2_bytes_a_cycle : from_memory);
}

/* Positions of the largest batch that a block finishes of a tile. */
static double positions_of_tile(const Graph *g, const Node *node, const Skinny *s) {
  return lesser(s->own, graph_type(g, node->inputs[0])->layout.positions);
}

/* Of a tile, in its group: 32 channels a warp. */
static double end_cycles(const Graph *g, const Node *node, const Skinny *s) {
  double words = divide_up(positions_of_tile(g, node, s) * 2, 4);
  return tile_cycles + words * (result_cycles + step_cycles * node->step_count);
}

/* Of a tile, what its results take of all groups. */
static double results_cycles(const Graph *g, const Node *node, const Tile *tile, const Skinny *s) {
  double results = positions_of_tile(g, node, s) * SKINNY_ROWS;
  return results * (tile->split_k > 1 ? sent_result : shared_result);
}

/* An SM multiplies one tile after the other; a group does also what stands between products. What is shorter, that or
 * the weights' way, overlaps with the longer in part. */
double skinny_microseconds(const Graph *g, const Node *node, const Tile *tile, const PassOptions *options) {
  const Target *target = options->target;
  Skinny s = skinny_of(g, node, tile);
  double clusters = skinny_clusters(&s, tile, target), blocks = clusters * tile->split_k * s.column_tiles;
  double at_once = lesser(blocks, target->sm_count), rounds = divide_up(blocks, at_once);
  double tiles = divide_up(s.row_tiles, clusters), of_group = divide_up(tiles, s.groups);
  double chunks = (double)s.weight_planes * s.chunks;
  double product = product_cycles(&s, target, node->engine) * s.chunk_blocks / 2; /* of a chunk */
  double serial = chunks * (product + chunk_cycles) + end_cycles(g, node, &s);
  double work = greater(tiles * chunks * product, of_group * serial) + tiles * results_cycles(g, node, tile, &s);
  double stream = stream_cycles(&s, tile, target, tiles * chunks * s.chunk_bytes, at_once);
  double first = stream_cycles(&s, tile, target, s.chunk_bytes, at_once); /* chunk: products wait for all of it */
  double before = first_cycles + first + s.input_bytes / input_bytes_a_cycle + (tile->split_k > 2 ? cluster_cycles : 0);
  double cycles = before + greater(work, stream) + (1 - overlap) * lesser(work, stream) + last_cycles;
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
  if (s.group_barriers * s.groups > MOST_BARRIERS) return false;
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
