/* Layers on patches and on strips with few blocks: each walks over many tiles, of several images, filling one patch
 * while it multiplies the other. On the CPU device, which looks for races between warps, bit for bit against the
 * evaluator, at the largest batch and below it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#include "../../frontend/frontend.h"
#include "../../ir/patch.h"
#include "../../ir/strip.h"
#include "../../runtime/apnn.h"

enum { BATCH = 3 };

typedef struct Layer {
  const char *input, *conv; /* as the language has them */
  uint32_t blocks;          /* along x */
  Tile tile;                /* of strips; zeros: as the passes choose */
} Layer;

static const Layer patch_layers[] = {
    {"u8[50, 64, 3]", "70, kernel=7, stride=2, pad=3, w=i8", 1, {0}}, /* groups of pixels */
    {"u8[40, 60, 3](zero=7)", "64, kernel=[3, 4], pad=2, w=u8(zero=9)", 3, {0}},
    {"i8[99, 96, 2]", "32, kernel=[9, 3], stride=[7, 5], w=i8", 1, {0}}, /* more than are held */
    {"u6[33, 40, 1]", "32, kernel=[5, 9], pad=[3, 1], w=u8(zero=5)", 2, {0}},
    {"u8[50, 61, 3]", "70, kernel=7, stride=2, pad=3, w=i8", 1, {0}},     /* bytes held while multiplying */
    {"u8[75, 90, 3](zero=128)", "64, kernel=11, stride=4, w=i8", 2, {0}}, /* more bytes than are held; a border */
    {"i8[40, 33, 1]", "32, kernel=5, pad=2, w=u8(zero=5)", 3, {0}},       /* sums of the input */
    {"u4[30, 40, 4]", "33, kernel=3, pad=1, w=i4", 1, {0}},               /* whole words */
    {"u8[30, 40, 12]", "40, kernel=3, stride=2, pad=1, w=i8", 2, {0}},    /* of three words a pixel */
    {"i5[30, 40, 16]", "16, kernel=[2, 3], w=i8", 1, {0}},                /* of four */
    {"u8[30, 40, 7]", "16, kernel=3, dilation=3, w=ternary", 2, {0}},
    {"u8[12, 700, 3]",
     "16, kernel=[2, 40], stride=[1, 9], dilation=[1, 4], w=i8",
     1,
     {0}}, /* rows longer than the block */
};

/* On strips. */
static const Layer strip_layers[] = {
    {"u8[50, 64, 3]", "70, kernel=7, stride=2, pad=3, w=i8", 1, {0}}, /* two strips a filter row, begun at any byte */
    {"u8[50, 64, 3]", "70, kernel=7, stride=2, pad=3, w=i8", 2, {256, 64, 8, 8, 1, 1, 1, 0}},
    {"u8[20, 140, 3]",
     "64, kernel=7, stride=2, pad=3, w=bipolar",
     2,
     {256, 64, 8, 8, 1, 1, 1, 0}},                                                   /* squares in a row */
    {"u8[140, 12, 3]", "64, kernel=3, pad=1, w=i8", 1, {128, 64, 8, 4, 1, 1, 1, 0}}, /* squares in a column */
    {"u8[75, 88, 3](zero=128)", "64, kernel=11, stride=4, w=i8", 2, {64, 32, 8, 4, 1, 1, 1, 0}}, /* a border */
    {"u8[40, 60, 3](zero=7)", "64, kernel=[3, 4], pad=2, w=i8", 3, {128, 64, 8, 8, 1, 1, 1, 0}},
    {"i8[99, 96, 2]", "32, kernel=[9, 3], stride=[7, 5], w=i8", 1, {64, 32, 8, 4, 1, 1, 1, 0}}, /* eight passes */
    {"i8[40, 36, 1]", "32, kernel=[5, 9], pad=[3, 1], w=u8", 3, {256, 32, 8, 8, 1, 1, 1, 0}},
    {"u4[30, 40, 4]", "33, kernel=3, pad=1, w=i4", 1, {0}},           /* whole words */
    {"u8[30, 44, 5]", "40, kernel=3, stride=3, pad=1, w=i8", 2, {0}}, /* five words hold fifteen bytes */
    {"i5[30, 40, 16]", "16, kernel=[2, 3], w=i8", 1, {0}},            /* a strip a tap */
    {"u8[30, 40, 6]", "16, kernel=[3, 2], dilation=[3, 1], w=ternary", 2, {0}},
};

static uint32_t seed = 11;
static uint8_t random_byte(void) {
  seed = seed * 1664525 + 1013904223;
  return (uint8_t)(seed >> 24);
}

static void fail_with_reports(Context *c) {
  diag_flush(c, stderr);
  fail();
}

/* Tiles of an image. */
static uint32_t tiles_of(const Graph *g, const Node *node) {
  if (node->engine == ENGINE_PATCH_S8) {
    Patch p = patch_of(g, node, &node->tile);
    return p.across * p.down;
  }
  Strips s;
  assert_true(strips_of(g, node, &node->tile, &s));
  return s.across * s.down;
}

static Graph *planned(Context *c, const Layer *l, Engine engine, const Target *target) {
  const char *text = arena_printf(c,
                                  "network n {\n  input x : %s\n  y = conv2d(x, %s)\n  output sums = y\n"
                                  "  output z = y | batchnorm | relu | quantize(u2)\n}\n",
                                  l->input, l->conv);
  FrontendOptions options = {.random_params = true, .seed = 3};
  Graph *g = frontend_load(c, "n.apnn", text, strlen(text), &options);
  PassOptions passes = {.target = target, .max_batch = BATCH, .force_engine = engine};
  if (l->tile.m) passes.force_tile = &l->tile;
  if (!g || !passes_run(g, &passes, NULL)) fail_with_reports(c);
  for (NodeId n = 0; n < g->node_count; n++) {
    Node *node = &g->nodes[n];
    if (node->op != OP_CONV2D) continue;
    assert_int_equal(node->engine, engine);
    assert_true(!l->tile.m || !memcmp(&node->tile, &l->tile, sizeof l->tile));
    assert_true(tiles_of(g, node) * BATCH > l->blocks);
    node->launch.x_most = l->blocks;
  }
  return g;
}

static void *random_images(Context *c, const Type *t) {
  uint8_t *images = arena_alloc(c, type_dense_bytes(t) * BATCH);
  int32_t least = type_q_min(t), count = type_q_max(t) - least + 1;
  for (size_t i = 0; i < type_dense_bytes(t) * BATCH; i++) images[i] = (uint8_t)(least + random_byte() % count);
  return images;
}

static void outputs_of(Context *c, const Graph *g, void **outputs) {
  for (uint32_t i = 0; i < g->output_count; i++)
    outputs[i] = arena_alloc(c, type_dense_bytes(graph_type(g, g->outputs[i])) * BATCH);
}

static void run(Context *c, const Graph *g, ApnnSession *session, uint32_t batch) {
  void *expected[2], *outputs[2];
  const void *input = random_images(c, graph_type(g, g->inputs[0]));
  assert_int_equal(g->output_count, 2);
  outputs_of(c, g, expected);
  outputs_of(c, g, outputs);
  assert_true(graph_eval(g, batch, &input, expected));
  if (apnn_run(session, (int)batch, &input, outputs) != APNN_OK) fail_msg("%s", apnn_session_error(session));
  for (int i = 0; i < 2; i++)
    assert_memory_equal(outputs[i], expected[i], type_dense_bytes(graph_type(g, g->outputs[i])) * batch);
}

static void walk_over_tiles(const Layer *layers, size_t count, Engine engine, const Target *target) {
  for (size_t i = 0; i < count; i++) {
    Context *c = context_new(NULL);
    Graph *g = planned(c, &layers[i], engine, target);
    Module module;
    Text bytes;
    if (!backend_emit(g, target, &module)) fail_with_reports(c);
    backend_ptx_bytes(c, &module, &bytes);
    char words[1000] = "";
    ApnnNetwork *network = NULL;
    ApnnSession *session = NULL;
    if (apnn_load_memory(bytes.data, bytes.length, "cpu", &network, words, sizeof words) != APNN_OK ||
        apnn_session_new(network, NULL, &session, words, sizeof words) != APNN_OK)
      fail_msg("%s", words);
    run(c, g, session, BATCH);
    run(c, g, session, 1);
    apnn_session_free(session);
    apnn_network_free(network);
    context_free(c);
  }
}

static void blocks_on_patches(void **state) {
  (void)state;
  walk_over_tiles(patch_layers, sizeof patch_layers / sizeof *patch_layers, ENGINE_PATCH_S8, target_find("sm_80"));
}

static void blocks_on_strips(void **state) {
  (void)state;
  walk_over_tiles(strip_layers, sizeof strip_layers / sizeof *strip_layers, ENGINE_STRIP_S8, target_find("sm_90a"));
}

int main(void) {
  setenv("APNN_CPU_CHECK", "race", 1);
  const struct CMUnitTest tests[] = {cmocka_unit_test(blocks_on_patches), cmocka_unit_test(blocks_on_strips)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
