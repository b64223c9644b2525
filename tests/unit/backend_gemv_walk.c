/* Gemv layers whose blocks walk over many tiles, on planes and on bytes of every storage, and skinny layers whose
 * groups of warps do, alone and in clusters: on the CPU device with its race check, bit for bit against the evaluator,
 * at the largest batch and below it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#include "../../frontend/frontend.h"
#include "../../ir/gemv.h"
#include "../../ir/skinny.h"
#include "../../passes/tuning.h"
#include "backend_device.h"

typedef struct Layer {
  const char *input, *linear; /* as the language has them */
  Engine engine;
  Tile tile;
  uint32_t batch, blocks;       /* along x; of skinny layers clusters */
  bool keeps_input, one_behind; /* of gemv layers */
} Layer;

static const Layer layers[] = {
    {"u3[600]", "200, w=i2", ENGINE_GEMV_B1, {32, 2, 16, 2, 1, 2, 1, 0}, 3, 2, true, false},
    {"u3[600]", "130, w=i3", ENGINE_GEMV_B1, {32, 1, 16, 1, 1, 1, 1, 0}, 2, 1, true, false},
    {"u4[300]", "130, w=i3", ENGINE_GEMV_B1, {32, 8, 16, 1, 1, 3, 1, 0}, 7, 1, true, false},
    {"u8[700]", "130, w=i5", ENGINE_GEMV_B1, {32, 16, 16, 1, 1, 1, 1, 0}, 13, 1, false, false},
    {"u8[700]", "130, w=bipolar", ENGINE_GEMV_B1, {32, 16, 16, 1, 1, 1, 1, 0}, 13, 1, false, false},
    {"u8[700]", "230, w=bipolar", ENGINE_GEMV_S8, {32, 8, 16, 2, 1, 3, 1, 0}, 5, 2, true, true},
    {"u5[300]", "200, w=bipolar", ENGINE_GEMV_S8, {32, 16, 16, 3, 1, 1, 1, 0}, 16, 1, true, true},
    {"i4[520]", "170, w=ternary", ENGINE_GEMV_S8, {32, 16, 16, 4, 1, 2, 1, 0}, 11, 1, true, true},
    {"u8[520]", "170, w=i2", ENGINE_GEMV_S8, {32, 8, 16, 2, 1, 4, 1, 0}, 8, 2, true, false},
    {"u8[333]", "140, w=u2(zero=1/2)", ENGINE_GEMV_S8, {32, 16, 16, 2, 1, 2, 1, 0}, 9, 2, true, true},
    {"u8[500]", "140, w=i4", ENGINE_GEMV_S8, {32, 16, 16, 4, 1, 2, 1, 0}, 15, 2, true, false},
    {"i8[300]", "140, w=u3(zero=7/2)", ENGINE_GEMV_S8, {32, 8, 16, 1, 1, 5, 1, 0}, 3, 1, true, false},
    {"u6[300]", "140, w=u4", ENGINE_GEMV_S8, {32, 8, 16, 3, 1, 2, 1, 0}, 17, 2, true, false},
    {"u8[300]", "100, w=i8", ENGINE_GEMV_S8, {32, 8, 16, 2, 1, 3, 1, 0}, 2, 1, true, false},
    {"i8[200]", "100, w=u8(zero=9)", ENGINE_GEMV_S8, {32, 16, 16, 2, 1, 1, 1, 0}, 16, 1, true, false},
    {"u8[1900]", "100, w=bipolar", ENGINE_GEMV_S8, {32, 16, 16, 1, 1, 8, 1, 0}, 10, 1, false, true},
    {"u8[700]", "1300, w=bipolar", ENGINE_SKINNY_B1, {64, 8, 8, 12, 1, 2, 1, 0}, 5, 1, false, false},
    {"u8[1100]", "900, w=bipolar", ENGINE_SKINNY_B1, {64, 16, 8, 8, 1, 2, 2, 0}, 16, 1, false, false},
    {"u5[1100]", "1400, w=i2", ENGINE_SKINNY_B1, {64, 8, 16, 16, 1, 2, 4, 0}, 7, 1, false, false},
    {"u8[2100]", "800, w=u2(zero=1/2)", ENGINE_SKINNY_B1, {64, 8, 8, 4, 1, 4, 8, 0}, 3, 2, false, false},
    {"u3[900]", "700, w=i3", ENGINE_SKINNY_B1, {64, 32, 8, 8, 1, 2, 4, 0}, 40, 1, false, false},
};

static void plan_gemv(Build *b, const Layer *l, Node *node) {
  Gemv s = gemv_of(b->g, node, &node->tile);
  assert_int_equal(s.keeps_input, l->keeps_input);
  assert_int_equal(s.one_behind, l->one_behind);
  assert_true(s.row_tiles > 2 * l->blocks);
  node->launch.x_mul = node->launch.x_most = l->blocks;
}

/* A group has three tiles or more, so that parts take both places twice. */
static void plan_skinny(Build *b, const Layer *l, Node *node) {
  Skinny s = skinny_of(b->g, node, &node->tile);
  assert_true(s.row_tiles > 2 * l->blocks * s.groups);
  node->launch.x_mul = node->launch.x_most = l->blocks * node->tile.split_k;
}

static void plan(Build *b, const Layer *l, const char *target) {
  PassOptions passes = {
      .target = target_find(target), .max_batch = l->batch, .force_engine = l->engine, .force_tile = &l->tile};
  if (!passes_run(b->g, &passes, NULL)) {
    diag_flush(b->context, stderr);
    fail();
  }
  Node *node = b->g->nodes;
  while (node->op != OP_LINEAR) node++;
  assert_true(node->engine == l->engine && tile_equal(&node->tile, &l->tile));
  (engine_is_gemv(l->engine) ? plan_gemv : plan_skinny)(b, l, node);
}

static void check(const Layer *l, const char *target) {
  Context *c = context_new(NULL);
  const char *text = arena_printf(c,
                                  "network n {\n  input x : %s\n  y = linear(x, %s)\n"
                                  "  output z = y | batchnorm | relu | quantize(u3)\n}\n",
                                  l->input, l->linear);
  FrontendOptions options = {.random_params = true, .seed = 3};
  Build b = {.context = c, .g = frontend_load(c, "n.apnn", text, strlen(text), &options)};
  assert_non_null(b.g);
  plan(&b, l, target);
  const uint8_t *vectors = draw_images(&b, l->batch);
  const char *what = arena_printf(c, "%s, %s on %s", l->input, l->linear, target);
  const uint32_t batches[] = {1, (l->batch + 1) / 2, l->batch};
  for (int i = 0; i < 3; i++) check_on_device(&b, batches[i], vectors, what);
  context_free(c);
}

static void blocks_walk_over_tiles(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
    check(&layers[i], "sm_90a");
    if (engine_is_gemv(layers[i].engine)) check(&layers[i], "sm_80");
  }
}

int main(void) {
  setenv("APNN_CPU_CHECK", "race", 1);
  const struct CMUnitTest tests[] = {cmocka_unit_test(blocks_walk_over_tiles)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
