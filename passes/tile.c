/* tile: block and warp shape of every tensor-core layer.
 *
 * Guarantees: a tile of the table below whose warps each cover whole blocks of the result's bit planes, whose
 * accumulators fit 64 registers a thread, and whose two stages fit the target's shared memory. Of these the one with the
 * least estimated time at the largest batch. A block of threads computes m pixels x n channels; every step of the
 * reduction stages k words of each of the m + n rows.
 */
#include "plan.h"

typedef struct Shape {
  uint16_t m, n;
  uint8_t warps_m, warps_n;
} Shape;

/* Smaller ones first: of equals the smaller wins. */
static const Shape shapes[] = {
    {16, 32, 1, 1}, {16, 64, 1, 1}, {16, 64, 1, 2}, {16, 128, 1, 1}, {16, 128, 1, 2}, {16, 128, 1, 4}, {32, 32, 1, 1},
    {32, 32, 2, 1}, {32, 64, 2, 1}, {32, 64, 2, 2}, {32, 128, 2, 1}, {32, 128, 2, 2}, {32, 128, 2, 4}, {64, 32, 2, 1},
    {64, 32, 4, 1}, {64, 64, 4, 1}, {64, 64, 2, 2}, {64, 64, 4, 2}, {64, 128, 4, 1}, {64, 128, 2, 2}, {64, 128, 4, 2},
    {128, 32, 4, 1}, {128, 32, 8, 1}, {128, 64, 4, 1}, {128, 64, 8, 1}, {128, 64, 4, 2}, {128, 128, 8, 1},
    {128, 128, 4, 2},
};
static const uint8_t step_words[] = {8, 16, 32};

enum {
  STAGES = 2,
  MOST_ACCUMULATORS = 64, /* registers a thread */
  WARPS_FOR_FULL_RATE = 8 /* of one SM's tensor cores */
};

/* Seconds spent at a step besides its products and loads (waiting for the copy, a barrier), and outside of the steps
 * (first loads, epilogue). */
static const double step_overhead = 60e-9, block_overhead = 1.2e-6;

static bool tile_fits(const Tile *tile, const Type *result, const Target *target) {
  int warp_m = tile->m / tile->warps_m, warp_n = tile->n / tile->warps_n;
  if (warp_m * warp_n / 32 > MOST_ACCUMULATORS) return false;
  if (result->layout.kind == LAYOUT_PLANES && warp_n % result->layout.block) return false;
  return tile_shared_bytes(tile) <= target->shared_bytes;
}

static double divide_up(double a, double b) {
  double quotient = a / b;
  double whole = (double)(int64_t)quotient;
  return whole < quotient ? whole + 1 : whole;
}

/* Blocks of a wave, one an SM, run side by side; a wave's time is its steps', each the longer of products and loads. */
double tile_microseconds(const Graph *g, const Node *node, const Tile *tile, const Target *target, uint32_t batch) {
  const Type *x = graph_type(g, node->inputs[0]), *w = graph_type(g, node->inputs[1]);
  bool planes = node->engine == ENGINE_MMA_B1;
  Image image = type_image(&node->main_type);
  double blocks = divide_up((double)image.height * image.width * batch, tile->m) * divide_up(image.channels, tile->n);
  double steps = divide_up(reduction_words(g, node, x), tile->k);
  double rate = engine_tera_ops(target, node->engine) * 1e12 / target->sm_count;
  double warps = (double)tile->warps_m * tile->warps_n;
  if (warps < WARPS_FOR_FULL_RATE) rate *= warps / WARPS_FOR_FULL_RATE;
  double products = 2.0 * tile->m * tile->n * tile->k * (planes ? 32.0 * x->bits * w->bits : 4.0) / rate;
  double words = planes ? tile->m * (double)x->bits + tile->n * (double)w->bits : tile->m + (double)tile->n;
  double loads = words * tile->k * 4 / (2e9 * target->copy_gb_per_s / target->sm_count); /* L2: twice the memory's rate */
  double wave = steps * ((products > loads ? products : loads) + step_overhead) + block_overhead;
  return divide_up(blocks, target->sm_count) * wave * 1e6;
}

static Tile choose_tile(const Graph *g, const Node *node, const PassOptions *options) {
  const Type *result = graph_type(g, node->result);
  Tile best = {0};
  double least = 0;
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
    for (size_t k = 0; k < sizeof step_words; k++) {
      const Shape *s = &shapes[i];
      Tile tile = {s->m, s->n, step_words[k], s->warps_m, s->warps_n, STAGES, 1};
      if (!tile_fits(&tile, result, options->target)) continue;
      double microseconds = tile_microseconds(g, node, &tile, options->target, options->max_batch);
      if (best.m && microseconds >= least) continue;
      best = tile;
      least = microseconds;
    }
  return best;
}

bool pass_tile(Graph *g, const PassOptions *options) {
  for (NodeId n = 0; n < g->node_count; n++) {
    Node *node = &g->nodes[n];
    node->tile = (Tile){0};
    if (!engine_uses_tensor_cores(node->engine)) continue;
    node->tile = choose_tile(g, node, options);
  }
  return true;
}
