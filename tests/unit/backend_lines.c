/* Results that keep channels in their order, stored as lines: words and bytes, rows of every alignment, whole and cut
 * tiles of channels, on every engine that puts fragments together in shared memory; blocks that go through several
 * tiles with stages being filled meanwhile, groups of warps that go through tiles by themselves or finish in turn. On
 * the CPU device with its race check, bit for bit against the evaluator, at the largest batch and below it. And that
 * what is stored at once is as wide as the rows' alignment allows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#include "../../frontend/frontend.h"
#include "../../passes/tuning.h"
#include "backend_device.h"

enum { BATCH = 3 };

typedef struct Layer {
  const char *input, *layer, *steps; /* as the language has them */
  Engine engine;
  Tile tile;
  uint32_t blocks; /* along x; 0: as planned */
  const char *store;
} Layer;

#define TO_BYTES "| batchnorm | relu | quantize(u8)"
#define TO_FEW_BITS "| batchnorm | relu | quantize(u2)"

static const Layer layers[] = {
    /* streamed weights: one group of warps, two, with rows of 64 and of 128 a group */
    {"u2[9, 9, 512]", "conv2d(x, 128, kernel=1, w=i3)", "", ENGINE_WGMMA_B1, {64, 64, 8, 4, 1, 2, 1, 0}, 1, "v4.b32"},
    {"u2[9, 9, 512]", "conv2d(x, 130, kernel=1, w=i3)", "", ENGINE_WGMMA_B1, {128, 128, 8, 8, 1, 2, 1, 0}, 1, "v2.b32"},
    {"u2[9, 9, 256]", "conv2d(x, 257, kernel=1, w=u1)", "", ENGINE_WGMMA_B1, {128, 64, 8, 4, 1, 2, 1, 0}, 2, "b32"},
    {"u2[9, 9, 256]",
     "conv2d(x, 96, kernel=3, pad=1, w=u1)",
     "",
     ENGINE_WGMMA_B1,
     {256, 128, 4, 8, 1, 2, 1, 0},
     1,
     "v4.b32"},
    {"u2[9, 9, 256]", "conv2d(x, 256, kernel=3, w=u1)", "", ENGINE_WGMMA_B1, {128, 256, 4, 8, 1, 2, 1, 0}, 1, "v4.b32"},
    /* the last pixel's end within the sector that a line ends with */
    {"u2[9, 9, 256]", "conv2d(x, 95, kernel=1, w=u1)", "", ENGINE_WGMMA_B1, {64, 64, 8, 4, 1, 2, 1, 0}, 2, "b32"},
    {"u2[9, 9, 256]", "conv2d(x, 92, kernel=3, w=u1)", "", ENGINE_WGMMA_B1, {64, 64, 4, 4, 1, 2, 1, 0}, 2, "v4.b32"},
    /* resident ones, also in walks of four warps */
    {"u2[9, 8, 128]",
     "conv2d(x, 63, kernel=3, pad=1, w=i2)",
     "",
     ENGINE_WGMMA_B1,
     {64, 64, 4, 4, 1, 2, 1, 1},
     1,
     "b32"},
    {"u2[9, 8, 128]",
     "conv2d(x, 36, kernel=3, pad=1, w=u1)",
     "",
     ENGINE_WGMMA_B1,
     {128, 32, 4, 8, 1, 1, 1, 1},
     1,
     "v4.b32"},
    {"u2[17, 17, 64]",
     "conv2d(x, 62, kernel=3, pad=1, w=u1)",
     "",
     ENGINE_WGMMA_B1,
     {64, 64, 4, 16, 1, 2, 1, 1},
     1,
     "v2.b32"},
    {"u8[17, 17, 64]",
     "conv2d(x, 61, kernel=3, pad=1, w=i8)",
     "",
     ENGINE_WGMMA_S8,
     {128, 64, 16, 12, 1, 1, 1, 1},
     1,
     "b32"},
    {"u8[9, 9, 64]",
     "conv2d(x, 33, kernel=1, w=i8)",
     "| batchnorm",
     ENGINE_WGMMA_S8,
     {64, 32, 8, 4, 1, 2, 1, 0},
     1,
     "b32"},
    /* bytes */
    {"u2[9, 9, 128]",
     "conv2d(x, 256, kernel=1, w=u1)",
     TO_BYTES,
     ENGINE_WGMMA_B1,
     {128, 256, 4, 8, 1, 2, 1, 0},
     1,
     "v4.b32"},
    {"u2[9, 9, 128]",
     "conv2d(x, 72, kernel=3, pad=1, w=u1)",
     TO_BYTES,
     ENGINE_WGMMA_B1,
     {64, 64, 4, 4, 1, 2, 1, 0},
     1,
     "v2.b32"},
    {"u2[9, 9, 128]",
     "conv2d(x, 36, kernel=1, w=u1)",
     TO_FEW_BITS,
     ENGINE_WGMMA_B1,
     {64, 32, 4, 4, 1, 2, 1, 1},
     1,
     "b32"},
    {"u2[17, 9, 128]",
     "conv2d(x, 130, kernel=3, pad=1, w=u1)",
     TO_BYTES,
     ENGINE_WGMMA_B1,
     {64, 128, 4, 16, 1, 1, 1, 1},
     1,
     "u16"},
    {"u2[9, 9, 128]",
     "conv2d(x, 131, kernel=1, w=u1)",
     TO_FEW_BITS,
     ENGINE_WGMMA_B1,
     {128, 128, 4, 8, 1, 2, 1, 0},
     1,
     "u8"},
    /* images on wgmma and on mma.sync */
    {"u8[32, 32, 3]",
     "conv2d(x, 64, kernel=3, pad=1, w=i4)",
     "",
     ENGINE_STRIP_S8,
     {256, 64, 8, 8, 1, 1, 1, 0},
     2,
     "v4.b32"},
    {"u8[20, 36, 3]",
     "conv2d(x, 33, kernel=3, pad=1, w=i4)",
     "",
     ENGINE_STRIP_S8,
     {128, 32, 8, 4, 1, 1, 1, 0},
     2,
     "b32"},
    {"u8[20, 36, 3]",
     "conv2d(x, 40, kernel=3, pad=1, w=i4)",
     TO_BYTES,
     ENGINE_STRIP_S8,
     {128, 64, 8, 4, 1, 1, 1, 0},
     2,
     "v2.b32"},
    {"u8[21, 33, 3]",
     "conv2d(x, 33, kernel=3, pad=1, w=i4)",
     "",
     ENGINE_PATCH_S8,
     {128, 32, 8, 4, 1, 1, 1, 0},
     2,
     "b32"},
    {"u8[21, 33, 3]",
     "conv2d(x, 48, kernel=3, pad=1, w=i4)",
     TO_BYTES,
     ENGINE_PATCH_S8,
     {64, 64, 8, 2, 1, 1, 1, 0},
     2,
     "v4.b32"},
    /* a tile a block, warps along the channels, of 8 columns too */
    {"u2[9, 9, 96]", "conv2d(x, 65, kernel=3, w=i2)", "", ENGINE_MMA_B1, {32, 64, 16, 2, 2, 2, 1, 0}, 0, "b32"},
    {"u2[9, 9, 96]", "conv2d(x, 68, kernel=3, w=i2)", "", ENGINE_MMA_B1, {64, 128, 8, 4, 4, 2, 1, 0}, 0, "v4.b32"},
    {"u4[9, 9, 96]",
     "conv2d(x, 24, kernel=3, pad=1, w=i4)",
     TO_BYTES,
     ENGINE_MMA_S8,
     {32, 32, 16, 1, 1, 3, 1, 0},
     0,
     "v2.b32"},
    {"u4[9, 9, 96]",
     "conv2d(x, 24, kernel=3, pad=1, w=i4)",
     "",
     ENGINE_MMA_S8,
     {32, 32, 16, 2, 4, 3, 1, 0},
     0,
     "v4.b32"},
    {"u4[9, 9, 96]", "conv2d(x, 25, kernel=3, w=i4)", "", ENGINE_MMA_S8, {32, 32, 16, 2, 4, 3, 1, 0}, 0, "b32"},
    {"u4[9, 9, 96]", "conv2d(x, 30, kernel=3, w=i4)", "", ENGINE_MMA_S8, {32, 32, 16, 1, 2, 3, 1, 0}, 0, "v2.b32"},
    {"u4[9, 9, 96]", "conv2d(x, 48, kernel=3, w=i4)", TO_BYTES, ENGINE_MMA_S8, {32, 32, 16, 1, 4, 2, 1, 0}, 0, "b32"},
    {"u4[9, 9, 96]",
     "conv2d(x, 18, kernel=3, pad=1, w=i4)",
     TO_BYTES,
     ENGINE_MMA_S8,
     {16, 32, 16, 1, 2, 2, 1, 0},
     0,
     "u16"},
};

static ValueId planned(Build *b, const Layer *l) {
  PassOptions passes = {
      .target = target_find("sm_90a"), .max_batch = BATCH, .force_engine = l->engine, .force_tile = &l->tile};
  if (!passes_run(b->g, &passes, NULL)) {
    diag_flush(b->context, stderr);
    fail();
  }
  for (NodeId n = 0; n < b->g->node_count; n++) {
    Node *node = &b->g->nodes[n];
    if (node->op != OP_CONV2D) continue;
    if (node->engine != l->engine || !tile_equal(&node->tile, &l->tile))
      fail_msg("another tile than that of %s", l->layer);
    if (l->blocks) {
      assert_true(node->launch.x_most > l->blocks);
      node->launch.x_most = l->blocks;
    }
    return node->result;
  }
  fail_msg("no convolution");
  return NO_VALUE;
}

/* All stores to memory are of that width. */
static void check_stores(const char *kernel, const char *store) {
  const char *at = kernel;
  int count = 0;
  while ((at = strstr(at, "st.global."))) {
    at += strlen("st.global.");
    if (!strncmp(at, "cs.", 3)) at += 3;
    if (strncmp(at, store, strlen(store)) || at[strlen(store)] != ' ') fail_msg("not %s: %.12s", store, at);
    count++;
  }
  assert_true(count > 0);
}

/* Lanes of a warp hand rows over: barriers stand between what is put into shared memory and what is taken from there on
 * its way to memory, either way round. */
static void check_barriers(const char *kernel) {
  enum { BARRIER, PUT, TAKEN } last = BARRIER;
  int handed = 0;
  for (const char *line = kernel, *next; (next = strchr(line, '\n')); line = next + 1) {
    if (!strncmp(line, "\tbar.warp.sync", 14)) last = BARRIER;
    if (!strncmp(line, "\tst.shared", 10)) {
      assert_true(last != TAKEN);
      last = PUT;
    }
    if (!strstr(line, "ld.shared") || strstr(line, "ld.shared") > next ||
        !(strstr(next, "st.global") && strstr(next, "st.global") < next + 12))
      continue;
    assert_true(last != PUT);
    last = TAKEN;
    handed++;
  }
  assert_true(handed > 0);
}

static void check_layer(const Layer *l) {
  Context *c = context_new(NULL);
  const char *text =
      arena_printf(c, "network n {\n  input x : %s\n  y = %s\n  output z = y %s\n}\n", l->input, l->layer, l->steps);
  FrontendOptions options = {.random_params = true, .seed = 3};
  Build b = {.context = c, .g = frontend_load(c, "n.apnn", text, strlen(text), &options)};
  assert_non_null(b.g);
  ValueId result = planned(&b, l);
  const uint8_t *images = draw_images(&b, BATCH);
  for (uint32_t batch = 1; batch <= BATCH; batch++) {
    const char *kernel = kernel_of_layer(&b, check_on_device(&b, batch, images, l->layer), result);
    check_stores(kernel, l->store);
    check_barriers(kernel);
  }
  context_free(c);
}

static void lines_are_exact(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) check_layer(&layers[i]);
}

/* What a kernel reads soon is to stay in the cache, network outputs need not. */
static void outputs_are_streamed(void **state) {
  (void)state;
  static const char *const texts[] = {"output z = linear(x, 40, w=u1)",
                                      "y = linear(x, 40, w=u1)\n  output z = y | batchnorm | softmax"};
  for (int i = 0; i < 2; i++) {
    Context *c = context_new(NULL);
    const char *text = arena_printf(c, "network n {\n  input x : u2[512]\n  %s\n}\n", texts[i]);
    FrontendOptions options = {.random_params = true, .seed = 3};
    PassOptions passes = {.target = target_find("sm_90a"), .max_batch = 64, .force_engine = ENGINE_WGMMA_B1};
    Build b = {.context = c, .g = frontend_load(c, "n.apnn", text, strlen(text), &options)};
    assert_non_null(b.g);
    assert_true(passes_run(b.g, &passes, NULL));
    Module module;
    assert_true(backend_emit(b.g, passes.target, &module));
    for (NodeId n = 0; n < b.g->node_count; n++) {
      if (b.g->nodes[n].engine != ENGINE_WGMMA_B1) continue;
      const char *kernel = kernel_of_layer(&b, module.ptx.data, b.g->nodes[n].result);
      assert_int_equal(strstr(kernel, "st.global.cs.v4.b32") != NULL, i == 0);
      assert_int_equal(strstr(kernel, "st.global.v4.b32") != NULL, i == 1);
    }
    context_free(c);
  }
}

int main(void) {
  setenv("APNN_CPU_CHECK", "race", 1);
  const struct CMUnitTest tests[] = {cmocka_unit_test(lines_are_exact), cmocka_unit_test(outputs_are_streamed)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
