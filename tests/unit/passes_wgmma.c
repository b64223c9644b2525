/* Tiles of layers on wgmma: those with resident weights, whose stages and walks have as many tiles as they are made
 * for; and launches of streamed ones, which have as many blocks as tiles.
 */
#include "ir/staging.h"
#include "passes/tile.h"
#include "passes/tuning.h"
#include "passes_graphs.h"

/* A bipolar convolution of 3 x 3 between two layers. */
static Build planned(uint32_t batch, int32_t pixels, int32_t channels) {
  Build b = build_new(3);
  ValueId x = image_input(&b, ELEM_UINT, 8, pixels, pixels, channels);
  x = quantize(&b, dequantize(&b, x), ELEM_UINT, 2, 1);
  ValueId y = activation(&b, bipolar_conv(&b, x, channels));
  graph_add_output(b.g, bipolar_conv(&b, y, 16));
  b.g->max_batch = batch;
  PassOptions options = {.target = target_find("sm_90a"), .max_batch = batch, .force_engine = ENGINE_WGMMA_B1};
  assert_true(passes_run(b.g, &options, NULL));
  return b;
}

/* Of all positions and channels. */
static uint32_t count_tiles(const Build *b, const Node *node) {
  uint64_t positions = staging_image_rows(b->g, node, &node->tile) * b->g->max_batch;
  uint32_t rows = (uint32_t)((positions + node->tile.m - 1) / node->tile.m);
  return rows * tile_count_of_channels(&node->tile, graph_type(b->g, node->result));
}

static const Node *layer_of(const Build *b) {
  for (NodeId n = 0; n < b->g->node_count; n++)
    if (b->g->nodes[n].op == OP_CONV2D) return &b->g->nodes[n];
  fail_msg("no convolution");
  return NULL;
}

static void walks_have_tiles(void **state) {
  (void)state;
  static const struct {
    uint32_t batch;
    int32_t pixels, channels;
    bool walks;
  } rows[] = {{128, 14, 256, true}, {128, 56, 64, false}, {128, 7, 512, true},
              {1, 14, 256, false},  {8, 7, 512, false},   {2, 30, 64, false}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    Build b = planned(rows[i].batch, rows[i].pixels, rows[i].channels);
    const Node *node = layer_of(&b);
    uint32_t walks = staging_walks(&node->tile), sms = target_find("sm_90a")->sm_count;
    assert_int_equal(walks > 1, rows[i].walks);
    assert_true(walks == 1 || count_tiles(&b, node) > (walks - 1) * sms);
    build_free(&b);
  }
}

/* A stage that no tile ever takes would be room that others could have. */
static void stages_have_tiles(void **state) {
  (void)state;
  static const struct {
    uint32_t batch;
    int32_t pixels, channels;
  } rows[] = {{1, 14, 256}, {8, 7, 512}, {8, 28, 128}, {8, 56, 64}, {128, 14, 256}, {128, 56, 64}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    Build b = planned(rows[i].batch, rows[i].pixels, rows[i].channels);
    const Node *node = layer_of(&b);
    uint32_t walks = node->launch.x_most * node->launch.y * staging_walks(&node->tile), tiles = count_tiles(&b, node);
    assert_true(node->tile.resident && node->tile.stages >= 1);
    assert_true(node->tile.stages <= (tiles + walks - 1) / walks);
    build_free(&b);
  }
}

/* Rows of 1001 words begin anywhere in a sector of memory, those of 1000 with one. */
static void rows_within_sectors_cost_more(void **state) {
  (void)state;
  enum { IMAGES = 8192 };
  const Target *target = target_find("sm_90a");
  double us[2];
  for (int odd = 0; odd < 2; odd++) {
    Build b = build_new(3);
    ValueId x = graph_add_input(b.g, "x", type_make(ELEM_UINT, 2, true, 1, (int32_t[]){1024}));
    graph_add_output(b.g, linear(&b, x, 1000 + odd, 2));
    PassOptions options = {.target = target, .max_batch = IMAGES, .pipeline = "fold,hoist,thresholds,fuse,engine"};
    assert_true(passes_run(b.g, &options, NULL));
    us[odd] = cost_of_node(b.g, node_of(&b, OP_LINEAR), ENGINE_WGMMA_B1, target, IMAGES, NULL);
    build_free(&b);
  }
  assert_true(us[0] > 0 && us[1] > us[0] + 3);
}

static uint32_t blocks_of(const Launch *l, uint32_t batch) {
  uint64_t blocks = ((uint64_t)l->x_mul * batch + l->x_div - 1) / l->x_div;
  return l->x_most && blocks > l->x_most ? l->x_most : (uint32_t)blocks;
}

/* The batch may fill the last tile of positions in part, of every tile of channels: a block less than there are tiles
 * would have one block take two. */
static void tiles_have_blocks(void **state) {
  (void)state;
  static const uint32_t batches[] = {8, 1250, 1280, 2500, 2560};
  static const Tile tile = {128, 64, 32, 8, 1, 6, 1, 0};
  for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
    Build b = build_new(5);
    int32_t depth = 512;
    ValueId x = graph_add_input(b.g, "x", type_make(ELEM_F32, 32, true, 1, &depth));
    ValueId y = activation(&b, linear(&b, quantize(&b, x, ELEM_UINT, 4, 1), 384, 4));
    graph_add_output(b.g, linear(&b, y, 16, 4));
    b.g->max_batch = batches[i];
    PassOptions options = {.target = target_find("sm_90a"), .max_batch = batches[i], .force_engine = ENGINE_WGMMA_S8};
    options.force_tile = &tile;
    assert_true(passes_run(b.g, &options, NULL));
    const Node *node = node_of(&b, OP_LINEAR);
    assert_true(tile_equal(&node->tile, &tile));
    assert_int_equal(blocks_of(&node->launch, batches[i]), count_tiles(&b, node));
    build_free(&b);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(walks_have_tiles), cmocka_unit_test(stages_have_tiles),
                                     cmocka_unit_test(rows_within_sectors_cost_more),
                                     cmocka_unit_test(tiles_have_blocks)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
