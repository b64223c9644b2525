/* Layers on wgmma with few blocks: each walks over many tiles, or its groups of warps do by themselves, of the same
 * rows and of others, of several images; with inputs that are summed, in either way, and without; with taps that share
 * pieces, and rows that are gathered. On the CPU device with its race check, bit for bit against the evaluator, at the
 * largest batch and below it. Where a layer is followed by itself, what it leaves between pixels is read too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#include "../../frontend/frontend.h"
#include "../../ir/staging.h"
#include "../../passes/tuning.h"
#include "backend_device.h"

enum { BATCH = 3 };

typedef enum Way { NO_SUMS, BY_COLUMNS, BESIDE_PRODUCTS } Way;

typedef struct Layer {
  const char *input, *conv; /* as the language has them */
  Engine engine;
  Tile tile;
  uint32_t blocks; /* along x */
  Way way;
} Layer;

static const Layer layers[] = {
    {"u2[9, 9, 512]", "320, kernel=1, w=i3", ENGINE_WGMMA_B1, {128, 128, 8, 8, 1, 3, 1, 0}, 1, BESIDE_PRODUCTS},
    {"u2[9, 9, 512]", "300, kernel=1, w=i4", ENGINE_WGMMA_B1, {64, 64, 16, 4, 1, 2, 1, 0}, 2, BESIDE_PRODUCTS},
    {"u3[7, 9, 300]", "512, kernel=1, w=bipolar", ENGINE_WGMMA_B1, {128, 256, 4, 8, 1, 3, 1, 0}, 1, BESIDE_PRODUCTS},
    {"u2[7, 5, 200]", "256, kernel=3, pad=1, w=i2", ENGINE_WGMMA_B1, {128, 256, 4, 8, 1, 2, 1, 0}, 1, BESIDE_PRODUCTS},
    {"u2[9, 8, 256]", "64, kernel=3, pad=1, w=i2", ENGINE_WGMMA_B1, {64, 64, 8, 4, 1, 2, 1, 1}, 1, BESIDE_PRODUCTS},
    {"u1[12, 9, 1200]", "32, kernel=3, w=i3", ENGINE_WGMMA_B1, {64, 32, 40, 4, 1, 2, 1, 1}, 2, BESIDE_PRODUCTS},
    {"u8[9, 9, 300]", "512, kernel=1, w=u8(zero=9)", ENGINE_WGMMA_S8, {128, 256, 8, 8, 1, 2, 1, 0}, 1, BESIDE_PRODUCTS},
    {"i8[9, 9, 130]", "64, kernel=3, pad=1, w=u8(zero=9)", ENGINE_WGMMA_S8, {64, 64, 12, 4, 1, 2, 1, 0}, 2, BY_COLUMNS},
    {"u2[9, 9, 64]", "64, kernel=3, pad=1, w=i3", ENGINE_WGMMA_B1, {128, 64, 4, 8, 1, 2, 1, 0}, 1, BY_COLUMNS},
    {"u2[9, 9, 64]", "64, kernel=3, pad=1, w=bipolar", ENGINE_WGMMA_B1, {64, 64, 4, 4, 1, 2, 1, 1}, 1, BY_COLUMNS},
    /* weights in several parts */
    {"u2[9, 9, 256]",
     "128, kernel=3, pad=1, w=bipolar",
     ENGINE_WGMMA_B1,
     {128, 128, 8, 8, 1, 1, 1, 1},
     1,
     BESIDE_PRODUCTS},
    {"u2[9, 9, 512]", "64, kernel=3, pad=1, w=u2", ENGINE_WGMMA_B1, {128, 64, 16, 8, 1, 2, 1, 1}, 1, NO_SUMS},
    {"u1[9, 9, 640]",
     "32, kernel=[1, 3], pad=[0, 1], w=i2",
     ENGINE_WGMMA_B1,
     {128, 32, 20, 8, 1, 2, 1, 1},
     1,
     BY_COLUMNS},
    /* walks of four warps each */
    {"u2[14, 14, 256]",
     "128, kernel=3, pad=1, w=bipolar",
     ENGINE_WGMMA_B1,
     {64, 128, 8, 16, 1, 2, 1, 1},
     1,
     BESIDE_PRODUCTS},
    {"u2[9, 9, 512]", "64, kernel=3, pad=1, w=i2", ENGINE_WGMMA_B1, {64, 64, 16, 8, 1, 1, 1, 1}, 1, BESIDE_PRODUCTS},
    {"u3[9, 9, 256]", "64, kernel=3, pad=1, w=i3", ENGINE_WGMMA_B1, {64, 64, 8, 8, 1, 2, 1, 1}, 2, BESIDE_PRODUCTS},
    {"u3[17, 17, 128]", "64, kernel=3, pad=1, w=u2", ENGINE_WGMMA_B1, {128, 64, 4, 12, 1, 1, 1, 1}, 1, NO_SUMS},
    {"u1[14, 9, 64]", "64, kernel=3, pad=1, w=bipolar", ENGINE_WGMMA_B1, {64, 64, 4, 16, 1, 3, 1, 1}, 1, BY_COLUMNS},
    {"u8[14, 14, 64]", "64, kernel=3, pad=1, w=i8", ENGINE_WGMMA_S8, {64, 64, 16, 16, 1, 2, 1, 1}, 1, NO_SUMS},
    /* taps that share pieces: two and four, joined ahead or not, by one group of warps or several */
    {"u2[19, 9, 64]", "64, kernel=3, pad=1, w=bipolar", ENGINE_WGMMA_B1, {64, 64, 4, 8, 1, 1, 1, 1}, 1, BY_COLUMNS},
    {"u1[19, 9, 39]", "64, kernel=5, pad=2, w=ternary", ENGINE_WGMMA_B1, {128, 64, 4, 8, 1, 2, 1, 1}, 1, BY_COLUMNS},
    {"u3[19, 9, 30]", "32, kernel=5, pad=2, w=i2", ENGINE_WGMMA_B1, {128, 32, 4, 4, 1, 3, 1, 1}, 1, BY_COLUMNS},
    {"u2[12, 17, 32]",
     "32, kernel=3, dilation=2, w=bipolar",
     ENGINE_WGMMA_B1,
     {64, 32, 4, 8, 1, 2, 1, 1},
     1,
     BY_COLUMNS},
    {"u8[19, 9, 50]", "32, kernel=[3, 2], w=u2", ENGINE_WGMMA_B1, {64, 32, 4, 4, 1, 2, 1, 1}, 1, NO_SUMS},
    /* gathered rows */
    {"u1[9, 9, 300]", "32, kernel=[2, 3], w=u2", ENGINE_WGMMA_B1, {128, 32, 12, 8, 1, 2, 1, 2}, 1, NO_SUMS},
    {"u8[9, 9, 64]",
     "64, kernel=3, pad=1, w=u8(zero=9)",
     ENGINE_WGMMA_S8,
     {64, 64, 16, 4, 1, 2, 1, 2},
     1,
     BESIDE_PRODUCTS},
};

/* Those whose result is their input once more. */
static const Layer chains[] = {
    {"u2[8, 8, 128]",
     "128, kernel=3, pad=1, w=bipolar",
     ENGINE_WGMMA_B1,
     {64, 64, 4, 4, 1, 1, 1, 2},
     1,
     BESIDE_PRODUCTS},
    {"u2[19, 9, 64]", "64, kernel=3, pad=1, w=bipolar", ENGINE_WGMMA_B1, {128, 64, 4, 8, 1, 2, 1, 1}, 1, BY_COLUMNS},
    {"u2[7, 7, 256]",
     "256, kernel=3, pad=1, w=bipolar",
     ENGINE_WGMMA_B1,
     {64, 64, 8, 4, 1, 1, 1, 2},
     1,
     BESIDE_PRODUCTS},
    {"u2[9, 9, 128]", "128, kernel=3, pad=1, w=i2", ENGINE_WGMMA_B1, {64, 128, 4, 8, 1, 2, 1, 2}, 1, BESIDE_PRODUCTS},
    {"u2[9, 9, 48]", "48, kernel=3, pad=1, w=i4", ENGINE_WGMMA_S8, {64, 64, 16, 8, 1, 2, 1, 2}, 1, NO_SUMS},
};

static void plan(Build *b, const Layer *l, bool twice) {
  int found = 0;
  PassOptions passes = {
      .target = target_find("sm_90a"), .max_batch = BATCH, .force_engine = l->engine, .force_tile = &l->tile};
  if (!passes_run(b->g, &passes, NULL)) {
    diag_flush(b->context, stderr);
    fail();
  }
  for (NodeId n = 0; n < b->g->node_count; n++) {
    Node *node = &b->g->nodes[n];
    if (node->op != OP_CONV2D) continue;
    assert_true(node->engine == l->engine && tile_equal(&node->tile, &l->tile));
    Staging s = staging_of(b->g, node, &node->tile);
    assert_int_equal(s.summed > 0, l->way == BESIDE_PRODUCTS);
    assert_int_equal(s.weight_rows, l->tile.n + (l->way == BY_COLUMNS ? (uint32_t)SUM_ROWS : 0));
    assert_true(BATCH * staging_image_rows(b->g, node, &node->tile) > l->tile.m * l->blocks);
    node->launch.x_most = l->blocks;
    node->launch.x_mul = l->blocks * l->tile.m;
    found++;
  }
  assert_int_equal(found, twice ? 2 : 1);
}

static const char *layer_text(Context *c, const Layer *l, const char *input, const char *name) {
  return arena_printf(c, "conv2d(%s, %s, name=\"%s\") | batchnorm(name=\"%s.bn\") | relu | quantize(u2)", input,
                      l->conv, name, name);
}

static void check(const Layer *l, bool twice) {
  Context *c = context_new(NULL);
  const char *y = layer_text(c, l, "x", "a"), *z = twice ? layer_text(c, l, "y", "b") : "y";
  const char *text = arena_printf(c, "network n {\n  input x : %s\n  y = %s\n  output z = %s\n}\n", l->input, y, z);
  FrontendOptions options = {.random_params = true, .seed = 3};
  Build b = {.context = c, .g = frontend_load(c, "n.apnn", text, strlen(text), &options)};
  assert_non_null(b.g);
  plan(&b, l, twice);
  const uint8_t *images = draw_images(&b, BATCH);
  for (uint32_t batch = 1; batch <= BATCH; batch++) check_on_device(&b, batch, images, y);
  context_free(c);
}

static void blocks_walk_over_tiles(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) check(&layers[i], false);
}

/* What a layer leaves between its pixels and behind them, its reader takes for zeros. */
static void gaps_are_zeros(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof chains / sizeof *chains; i++) check(&chains[i], true);
}

int main(void) {
  setenv("APNN_CPU_CHECK", "race", 1);
  const struct CMUnitTest tests[] = {cmocka_unit_test(blocks_walk_over_tiles), cmocka_unit_test(gaps_are_zeros)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
