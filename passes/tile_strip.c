/* Tiles of layers on strips: one of the table below whose weights and patch fit shared memory.
 *
 * The estimate counts cycles of the SM with most tiles: those in which its tensor cores multiply and those in which its
 * warps issue everything else, which overlap little. Constants are fitted to layers of 7 x 7 and 3 x 3 taps on an H200.
 */
#include "../ir/strip.h"
#include "tile.h"
#include "tuning.h"

typedef struct Shape {
  uint16_t m;
  uint8_t n, warps_m;
} Shape;

/* Larger ones first: of equals the larger wins. */
static const Shape shapes[] = {{256, 64, 8}, {128, 64, 4}, {128, 64, 8}, {64, 64, 4},
                               {256, 32, 8}, {128, 32, 4}, {128, 32, 8}, {64, 32, 4}};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

enum {
  STEP_WORDS = 8,
  OTHER_REGISTERS = 32, /* besides accumulators; for epilogues of more than a step or two bits: */
  STEPS_REGISTERS = 64,
  SM_REGISTERS = 65536,
  MOST_BLOCKS = 8 /* of an SM, that pay */
};

static const double cycles_a_second = 1.8e9;
static const double latency = 2e-6;          /* launch, weights, first patch, last epilogue */
static const double not_hidden = 0.85;       /* of the products' cycles */
static const double warp_instructions = 120; /* of a tile, whatever its size, and of each result of a lane: */
static const double result_instructions = 8.3;
static const double schedulers = 4;     /* of an SM, each issues for a warp a cycle */
static const double alone = 0.25;       /* of a tile's time, what blocks on the same SM share in waiting */
static const double least_columns = 50; /* products of fewer take as long */

static Tile tile_of(const Shape *s) {
  return (Tile){s->m, s->n, STEP_WORDS, s->warps_m, 1, 1, 1, 0};
}

static bool fits(const Graph *g, const Node *node, const Tile *tile, const Target *target) {
  Strips s;
  return strips_of(g, node, tile, &s) && s.shared_bytes <= target->shared_bytes &&
         tile_covers_blocks(graph_type(g, node->result), tile->n);
}

bool strip_fits(const Graph *g, const Node *node, const Target *target) {
  Tile least = tile_of(&shapes[SHAPES - 1]);
  Strips s;
  return strip_serves(g, node) && strips_of(g, node, &least, &s) && s.shared_bytes <= target->shared_bytes;
}

int strip_blocks_at_once(const Graph *g, const Node *node, const Tile *tile, const Target *target) {
  Strips s;
  strips_of(g, node, tile, &s);
  int threads = 32 * tile->warps_m, accumulators = tile->m * tile->n / threads;
  const Type *result = graph_type(g, node->result);
  bool signs = node->step_count <= 1 && (!type_is_quantized(result) || result->bits <= 2 || result->bits == 8);
  int others = signs ? OTHER_REGISTERS : STEPS_REGISTERS;
  int by_registers = SM_REGISTERS / (threads * (accumulators + others));
  int by_shared = (int)(target->sm_shared_bytes / (s.shared_bytes + BLOCK_SHARED_BYTES));
  int blocks = by_shared < by_registers ? by_shared : by_registers;
  return blocks < 1 ? 1 : blocks > MOST_BLOCKS ? MOST_BLOCKS : blocks;
}

double strip_microseconds(const Graph *g, const Node *node, const Tile *tile, const PassOptions *options) {
  const Target *target = options->target;
  Strips s;
  strips_of(g, node, tile, &s);
  double columns = tile_count_of_channels(tile, graph_type(g, node->result));
  double tiles_of_sm = divide_up((double)s.across * s.down * options->max_batch * columns, target->sm_count);
  double rate = engine_tera_ops(target, node->engine) * 1e12 / target->sm_count;
  double products = 2.0 * tile->m * greater(tile->n, least_columns) * s.steps * STEP_WORDS * 4 / rate;
  double results = (double)tile->m * tile->n / (32 * tile->warps_m);
  double issue = tile->warps_m / schedulers * (warp_instructions + result_instructions * results) / cycles_a_second;
  double blocks = lesser(tiles_of_sm, strip_blocks_at_once(g, node, tile, target));
  double of_tile = (not_hidden * products + issue) * (1 + alone / greater(1, blocks));
  return (latency + tiles_of_sm * of_tile) * 1e6;
}

bool strip_tile_fits(const Graph *g, const Node *node, const Tile *tile, const Target *target) {
  for (int i = 0; i < SHAPES; i++) {
    Tile listed = tile_of(&shapes[i]);
    if (tile_equal(&listed, tile)) return fits(g, node, tile, target);
  }
  return false;
}

void strip_tiles(const Graph *g, const Node *node, const PassOptions *options, TileList *out) {
  for (int i = 0; i < SHAPES; i++) {
    Tile tile = tile_of(&shapes[i]);
    if (fits(g, node, &tile, options->target)) tile_list_add(out, tile, strip_microseconds(g, node, &tile, options));
  }
}
