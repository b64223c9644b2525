/* Plans that no kernel carries out are refused with an error that names the layer, whatever was planned wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "../../frontend/frontend.h"
#include "../../ir/staging.h"

static const char source[] = "network n {\n"
                             "  input image : u4[6, 6, 8]\n"
                             "  c = conv2d(image, 16, kernel=3, pad=1, w=i2)\n"
                             "  conv = c | batchnorm | relu | quantize(u2)\n"
                             "  d = depthwise_conv2d(conv, kernel=3, pad=1, w=i3)\n"
                             "  deep = d | batchnorm | quantize(u3)\n"
                             "  top = maxpool(deep, kernel=2)\n"
                             "  logits = linear(flatten(top), 5, w=bipolar)\n"
                             "  output best = argmax(logits)\n"
                             "}\n";

typedef struct Plan {
  Context *context;
  Graph *g;
  const Target *target;
} Plan;

static char *said(Plan *p) {
  static char text[4096];
  memset(text, 0, sizeof text);
  FILE *out = fmemopen(text, sizeof text - 1, "w");
  assert_non_null(out);
  diag_flush(p->context, out);
  fclose(out);
  return text;
}

static Plan plan_through(const char *text, const char *pipeline, Engine engine, uint32_t batch) {
  Plan p = {.context = context_new(NULL), .target = target_find("sm_90a")};
  FrontendOptions options = {.random_params = true, .seed = 5};
  p.g = frontend_load(p.context, "n.apnn", text, strlen(text), &options);
  if (!p.g) fail_msg("%s", said(&p));
  PassOptions passes = {.target = p.target, .max_batch = batch, .force_engine = engine, .pipeline = pipeline};
  assert_true(passes_run(p.g, &passes, NULL));
  return p;
}

static Plan plan(const char *text, Engine engine, uint32_t batch) {
  return plan_through(text, NULL, engine, batch);
}

static Node *node_of(Plan *p, Op op) {
  for (NodeId n = 0; n < p->g->node_count; n++)
    if (p->g->nodes[n].op == op) return &p->g->nodes[n];
  fail_msg("the plan has no %s", op_info[op].name);
  return NULL;
}

/* The plan is refused in these words, and not as an internal error. */
static void refused(Plan *p, const char *words) {
  Module module;
  assert_false(backend_emit(p->g, p->target, &module));
  const char *text = said(p);
  if (!strstr(text, words) || strstr(text, "internal")) fail_msg("'%s' is not in: %s", words, text);
  context_free(p->context);
}

static void good_plans_pass(void **state) {
  (void)state;
  for (int e = 0; e < ENGINE_COUNT; e++) {
    if (e == ENGINE_ROW || e == ENGINE_VIEW) continue;
    Plan p = plan(source, (Engine)e, 4);
    Module module;
    assert_true(backend_emit(p.g, p.target, &module));
    assert_int_equal(diag_error_count(p.context), 0);
    context_free(p.context);
  }
}

/* Tiles: each edit makes one that the engine's code cannot compute. */
static void bad_tiles(void **state) {
  (void)state;
  static const Tile tiles[] = {{16, 32, 8, 1, 1, 5, 1, 0},  {16, 32, 8, 1, 1, 2, 2, 0},  {16, 32, 12, 1, 1, 2, 1, 0},
                               {48, 32, 8, 1, 1, 2, 1, 0},  {16, 96, 8, 1, 1, 2, 1, 0},  {24, 32, 8, 1, 1, 2, 1, 0},
                               {16, 32, 64, 1, 1, 2, 1, 0}, {16, 256, 8, 1, 1, 2, 1, 0}, {17, 32, 8, 1, 1, 2, 1, 0},
                               {16, 32, 24, 1, 1, 2, 1, 0}, {16, 4, 8, 1, 1, 2, 1, 0},   {16, 32, 8, 1, 1, 2, 1, 1}};
  for (size_t i = 0; i < sizeof tiles / sizeof *tiles; i++) {
    Plan p = plan(source, ENGINE_MMA_B1, 4);
    Node *node = node_of(&p, OP_CONV2D);
    const Tile *t = &tiles[i];
    node->tile = *t;
    node->launch = (Launch){.x_mul = 36,
                            .x_div = t->m,
                            .y = (16u + t->n - 1) / t->n,
                            .threads = 32u * t->warps_m * t->warps_n,
                            .shared_bytes = tile_shared_bytes(t)};
    refused(&p, "E0702");
  }
  Plan p = plan(source, ENGINE_MMA_B1, 4);
  node_of(&p, OP_CONV2D)->tile = (Tile){0};
  refused(&p, "it has no tile");
}

/* The same of an engine whose tiles are rectangles, and plans of layers that are not of its kind. */
static void bad_rectangles(Engine engine, const Tile *tiles, size_t count, const char *serves, const char *reads) {
  for (size_t i = 0; i < count; i++) {
    Plan p = plan(source, engine, 4);
    Node *node = node_of(&p, OP_CONV2D);
    assert_int_equal(node->engine, engine);
    node->tile = tiles[i];
    refused(&p, "E0702");
  }
  Plan p = plan(source, engine, 4);
  ++node_of(&p, OP_CONV2D)->launch.x_mul;
  refused(&p, "its kernel needs another launch");
  p = plan(source, engine, 4);
  node_of(&p, OP_MAXPOOL)->engine = engine;
  refused(&p, serves);
  p = plan(source, ENGINE_MMA_B1, 4);
  node_of(&p, OP_CONV2D)->engine = engine;
  refused(&p, reads);
}

static void bad_patches(void **state) {
  (void)state;
  static const Tile tiles[] = {{48, 32, 8, 1, 1, 1, 1, 0}, {64, 32, 8, 1, 1, 1, 1, 0}, {32, 32, 8, 1, 1, 2, 1, 0},
                               {32, 48, 8, 1, 1, 1, 1, 0}, {32, 32, 4, 1, 1, 1, 1, 0}, {32, 32, 8, 1, 1, 1, 2, 0},
                               {32, 32, 8, 1, 2, 1, 1, 0}, {32, 32, 8, 1, 1, 1, 1, 1}, {32, 128, 8, 1, 1, 1, 1, 0},
                               {0, 32, 8, 1, 1, 1, 1, 0},  {32, 0, 8, 1, 1, 1, 1, 0}};
  bad_rectangles(ENGINE_PATCH_S8, tiles, sizeof tiles / sizeof *tiles, "patches serve convolutions",
                 "its input must lie in bytes");
  Plan p = plan(source, ENGINE_PATCH_S8, 4);
  node_of(&p, OP_CONV2D)->attrs.stride[1] = 1 << 20;
  refused(&p, "bytes of shared memory");
}

static void bad_strips(void **state) {
  (void)state;
  static const Tile tiles[] = {{96, 32, 8, 4, 1, 1, 1, 0},  {192, 32, 8, 4, 1, 1, 1, 0}, {64, 32, 8, 4, 1, 2, 1, 0},
                               {64, 48, 8, 4, 1, 1, 1, 0},  {64, 32, 4, 4, 1, 1, 1, 0},  {64, 32, 8, 4, 1, 1, 2, 0},
                               {64, 32, 8, 4, 2, 1, 1, 0},  {64, 32, 8, 4, 1, 1, 1, 1},  {64, 128, 8, 4, 1, 1, 1, 0},
                               {0, 32, 8, 4, 1, 1, 1, 0},   {64, 0, 8, 4, 1, 1, 1, 0},   {64, 32, 8, 2, 1, 1, 1, 0},
                               {128, 32, 8, 6, 1, 1, 1, 0}, {64, 32, 8, 0, 1, 1, 1, 0}};
  bad_rectangles(ENGINE_STRIP_S8, tiles, sizeof tiles / sizeof *tiles, "strips serve convolutions",
                 "its input must be dense");
  Plan p = plan(source, ENGINE_STRIP_S8, 4);
  node_of(&p, OP_CONV2D)->attrs.stride[0] = 1 << 20;
  refused(&p, "cannot fill its patch");
}

static void bad_launches(void **state) {
  (void)state;
  for (int field = 0; field < 6; field++) {
    Plan p = plan(source, ENGINE_MMA_S8, 4);
    Launch *l = &node_of(&p, OP_CONV2D)->launch;
    if (field == 4) l->shared_bytes = tile_shared_bytes(&node_of(&p, OP_CONV2D)->tile) - 2;
    uint32_t *fields[] = {&l->x_mul, &l->x_div, &l->y, &l->threads, &l->shared_bytes, &l->x_most};
    ++*fields[field];
    refused(&p, "layer 'conv' does not serve: its kernel needs another launch");
  }
  Plan p = plan(source, ENGINE_DIRECT, 4);
  node_of(&p, OP_MAXPOOL)->launch.threads = 2048;
  refused(&p, "layer 'top' does not serve: its launch has 2048 threads");
  p = plan(source, ENGINE_MMA_B1, 4);
  Launch *pool = &node_of(&p, OP_MAXPOOL)->launch;
  pool->threads = pool->x_div = 48;
  refused(&p, "layer 'top' does not serve: its launch has 48 threads");
  p = plan(source, ENGINE_DIRECT, 4);
  node_of(&p, OP_ARGMAX)->launch.x_div = 0;
  refused(&p, "another launch");
}

/* Blocks without a tile may start too, but not fewer blocks than there are tiles. */
static void mma_launches(void **state) {
  (void)state;
  for (uint32_t more = 0; more < 4; more++) {
    Plan p = plan(source, ENGINE_MMA_S8, 4);
    Node *node = node_of(&p, OP_CONV2D);
    Launch *l = &node->launch;
    const Type *result = graph_type(p.g, node->result);
    uint32_t row_tiles = ceil_div((uint32_t)layout_image_positions(result) * 4, node->tile.m);
    l->x_most = row_tiles * tile_count_of_channels(&node->tile, result) + more - 1;
    l->x_mul = l->x_most * node->tile.m;
    l->y = 1;
    Module module;
    if (!more) {
      refused(&p, "layer 'conv' does not serve: its kernel needs another launch");
      continue;
    }
    assert_true(backend_emit(p.g, p.target, &module));
    context_free(p.context);
  }
}

static void bad_engines(void **state) {
  (void)state;
  Plan p = plan(source, ENGINE_MMA_B1, 4);
  node_of(&p, OP_MAXPOOL)->engine = ENGINE_MMA_B1;
  refused(&p, "tensor cores compute linear");
  p = plan(source, ENGINE_MMA_B1, 4);
  node_of(&p, OP_ARGMAX)->engine = ENGINE_POOL;
  refused(&p, "the pool engine has no form of this operation between these layouts");
  p = plan(source, ENGINE_MMA_B1, 4);
  node_of(&p, OP_MAXPOOL)->engine = ENGINE_ROW;
  refused(&p, "the row engine computes argmax and softmax");
  p = plan(source, ENGINE_MMA_B1, 4);
  node_of(&p, OP_ARGMAX)->engine = ENGINE_DIRECT;
  refused(&p, "the direct engine has no form of argmax");
  p = plan(source, ENGINE_MMA_B1, 4);
  node_of(&p, OP_MAXPOOL)->engine = ENGINE_VIEW;
  refused(&p, "a view is a reshape");
  p = plan(source, ENGINE_MMA_B1, 4);
  node_of(&p, OP_CONV2D)->engine = ENGINE_NONE;
  refused(&p, "it has no engine");
  p = plan(source, ENGINE_WGMMA_B1, 4);
  p.target = target_find("sm_80");
  refused(&p, "sm_80 has no m64k256_b1");
}

static void bad_layouts_and_places(void **state) {
  (void)state;
  Plan p = plan(source, ENGINE_MMA_B1, 4);
  Node *conv = node_of(&p, OP_CONV2D);
  graph_type(p.g, conv->inputs[0])->layout = layout_bytes(graph_type(p.g, conv->inputs[0]), 4);
  refused(&p, "its input must lie in bit planes");
  p = plan(source, ENGINE_MMA_S8, 4);
  graph_type(p.g, node_of(&p, OP_CONV2D)->result)->layout = (Layout){0};
  refused(&p, "'conv' has no layout");
  p = plan(source, ENGINE_MMA_S8, 4);
  graph_value(p.g, node_of(&p, OP_CONV2D)->result)->arena_offset += 64;
  refused(&p, "its result has no place in the arena");
  p = plan(source, ENGINE_MMA_S8, 4);
  graph_type(p.g, p.g->inputs[0])->layout.pitch = 16;
  refused(&p, "a network input is not dense");
  p = plan(source, ENGINE_MMA_S8, 4);
  p.g->max_batch = 0;
  refused(&p, "it has no largest batch");
}

/* --- layers on wgmma --- */

/* Two convolutions on wgmma behind a copy: values image.planes, conv and y. */
static const char two_layers[] = "network n {\n"
                                 "  input image : u2[6, 6, 150]\n"
                                 "  c = conv2d(image, 40, kernel=3, pad=1, w=i2)\n"
                                 "  conv = c | batchnorm | relu | quantize(u2)\n"
                                 "  output y = conv2d(conv, 16, kernel=3, w=u2)\n"
                                 "}\n";

static void give_tile(Plan *p, Node *node, Tile tile) {
  const Type *x = graph_type(p->g, node->inputs[0]);
  uint32_t columns = tile_count_of_channels(&tile, graph_type(p->g, node->result));
  node->tile = tile;
  uint32_t positions = x->layout.image_pitch, rounded = ceil_div(positions, tile.m) * tile.m;
  node->launch = (Launch){.x_mul = tile.resident ? positions : rounded * columns,
                          .x_div = tile.m,
                          .y = tile.resident ? columns : 1,
                          .threads = staging_threads(&tile),
                          .shared_bytes = (uint32_t)staging_of(p->g, node, &tile).shared_bytes,
                          .x_most = 5};
}

/* Of the first layer, whose input has two blocks of channels. */
static void wgmma_tiles(void **state) {
  (void)state;
  static const Tile good[] = {{64, 32, 4, 4, 1, 2, 1, 0},
                              {64, 64, 8, 4, 1, 2, 1, 1},
                              {128, 64, 4, 4, 1, 3, 1, 0},
                              {128, 128, 4, 4, 1, 2, 1, 0},
                              {256, 32, 12, 8, 1, 2, 1, 1}};
  static const Tile bad[] = {
      {64, 48, 4, 4, 1, 2, 1, 0}, {64, 16, 4, 4, 1, 2, 1, 0}, {64, 256, 4, 4, 1, 2, 1, 0}, {64, 64, 4, 4, 2, 2, 1, 0},
      {48, 64, 4, 3, 1, 2, 1, 0}, {96, 64, 4, 4, 1, 2, 1, 0}, {192, 64, 4, 4, 1, 2, 1, 0}, {32, 64, 4, 4, 1, 2, 1, 0},
      {64, 64, 2, 4, 1, 2, 1, 0}, {64, 64, 6, 4, 1, 2, 1, 0}, {64, 64, 4, 4, 1, 1, 1, 0},  {64, 64, 4, 4, 1, 2, 2, 0},
      {64, 64, 4, 4, 1, 2, 1, 1}, {64, 64, 4, 4, 1, 2, 0, 0}, {16, 64, 8, 2, 1, 2, 1, 1},
  };
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    Plan p = plan(two_layers, ENGINE_WGMMA_B1, 4);
    Module module;
    give_tile(&p, node_of(&p, OP_CONV2D), good[i]);
    if (!backend_emit(p.g, p.target, &module)) fail_msg("%s", said(&p));
    context_free(p.context);
  }
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    Plan p = plan(two_layers, ENGINE_WGMMA_B1, 4);
    if (bad[i].k % 4 == 0)
      give_tile(&p, node_of(&p, OP_CONV2D), bad[i]);
    else
      node_of(&p, OP_CONV2D)->tile = bad[i];
    refused(&p, "E0702");
  }
  Plan p = plan(two_layers, ENGINE_WGMMA_B1, 4);
  give_tile(&p, node_of(&p, OP_CONV2D), (Tile){256, 128, 4, 8, 1, 40, 1, 0});
  refused(&p, "layer 'conv' passes a limit of the kernels: bytes of shared memory");
}

/* Any number of blocks along x serves, and more shared memory than the kernel needs; all else is as it needs it. */
static void wgmma_launches(void **state) {
  (void)state;
  for (int field = 0; field < 5; field++) {
    Plan p = plan(two_layers, ENGINE_WGMMA_B1, 4);
    Node *node = node_of(&p, OP_CONV2D);
    Launch *l = &node->launch;
    if (field == 4) l->shared_bytes = (uint32_t)staging_of(p.g, node, &node->tile).shared_bytes - 2;
    uint32_t *fields[] = {&l->x_mul, &l->x_div, &l->y, &l->threads, &l->shared_bytes};
    ++*fields[field];
    refused(&p, "layer 'conv' does not serve: its kernel needs another launch");
  }
  Plan most_shared = plan(two_layers, ENGINE_WGMMA_B1, 4);
  node_of(&most_shared, OP_CONV2D)->launch.shared_bytes = most_shared.target->shared_bytes + 1;
  refused(&most_shared, "layer 'conv' does not serve: its kernel needs another launch");
  for (uint32_t most = 0; most < 3; most++) {
    Plan p = plan(two_layers, ENGINE_WGMMA_B1, 4);
    Module module;
    node_of(&p, OP_CONV2D)->launch.x_most = most;
    node_of(&p, OP_CONV2D)->launch.shared_bytes += 128 * most;
    assert_true(backend_emit(p.g, p.target, &module));
    context_free(p.context);
  }
  Plan p = plan(two_layers, ENGINE_DIRECT, 4);
  node_of(&p, OP_CONV2D)->launch.x_most = 1;
  refused(&p, "another launch");
}

static Plan with_input(LayoutKind kind, uint32_t row_pitch, uint32_t image_pitch, uint32_t batch) {
  Plan p = plan(two_layers, ENGINE_WGMMA_B1, 4);
  Type *t = graph_type(p.g, node_of(&p, OP_CONV2D)->inputs[0]);
  t->layout = batch ? layout_pieces(t, kind, row_pitch, image_pitch, batch) : layout_planes(t, 128);
  return p;
}

/* The padding of the first layer asks for rows of 7 positions and 7 rows an image. */
static void wgmma_layouts(void **state) {
  (void)state;
  Plan p = with_input(LAYOUT_PLANES, 0, 0, 0);
  refused(&p, "layer 'conv' does not serve: its input must lie in pieces");
  p = with_input(LAYOUT_BYTES, 7, 49, 4);
  refused(&p, "layer 'conv' does not serve: its input must lie in bit planes");
  p = with_input(LAYOUT_PLANES, 6, 48, 4);
  refused(&p, "too few positions between rows or images for the padding");
  p = with_input(LAYOUT_PLANES, 7, 48, 4);
  refused(&p, "too few positions between rows or images for the padding");
  p = with_input(LAYOUT_PLANES, 7, 49, 3);
  refused(&p, "it has pieces of 3 images");
  p = with_input(LAYOUT_PLANES, 8, 72, 4);
  refused(&p, "another launch");
  p = with_input(LAYOUT_PLANES, 8, 72, 4);
  give_tile(&p, node_of(&p, OP_CONV2D), (Tile){64, 64, 4, 4, 1, 2, 1, 0});
  refused(&p, "layer 'image.planes' does not serve: its kernel needs another launch");
  p = plan(two_layers, ENGINE_WGMMA_B1, 4);
  node_of(&p, OP_CONV2D)->attrs.stride[1] = 2;
  refused(&p, "wgmma computes convolutions of stride 1");
  p = plan(two_layers, ENGINE_WGMMA_B1, 4);
  node_of(&p, OP_CONV2D)->attrs.pad[3] = 2;
  refused(&p, "too few positions between rows or images for the padding");
  p = plan(two_layers, ENGINE_WGMMA_B1, 4);
  Type *result = graph_type(p.g, node_of(&p, OP_CONV2D)->result);
  assert_true(layout_is_pieces(result->layout));
  result->layout = layout_pieces(result, LAYOUT_PLANES, 9, 81, 4);
  Node *last = &p.g->nodes[p.g->node_count - 1];
  give_tile(&p, last, last->tile);
  refused(&p, "layer 'conv' does not serve: its result has another pitch of rows or images than its input");
}

/* Indices past 32 bits are errors of the network and its batch, not wrong results. */
static void limits(void **state) {
  (void)state;
  Plan p = plan("network n { input x : f32[1024, 1024, 64]\noutput y = relu(x) }", ENGINE_NONE, 64);
  refused(&p, "E0701]: layer 'y' passes a limit of the kernels: threads in a batch");
  p = plan("network n { input x : u1[2048, 2048, 1]\noutput y = upsample(x, 1) | relu }", ENGINE_NONE, 1024);
  refused(&p, "positions in a batch");
  p = plan(source, ENGINE_MMA_B1, 4);
  node_of(&p, OP_CONV2D)->attrs.pad[2] = INT32_MAX;
  refused(&p, "rows with padding");
}

static bool emits(const char *text) {
  Plan p = plan(text, ENGINE_NONE, 1);
  Module module;
  bool good = backend_emit(p.g, p.target, &module);
  if (!good) fputs(said(&p), stderr);
  context_free(p.context);
  return good;
}

/* A dequantize that heads a layer of 16 steps makes 17. */
static void many_steps(void **state) {
  (void)state;
  char text[1024] = "network n { input x : u5[4]\noutput y = x";
  for (int i = 0; i < 20; i++) strcat(text, i % 2 ? " | sign" : " | leaky_relu(alpha=1/2)");
  assert_true(emits(strcat(text, " | quantize(i8) }")));
}

/* A kernel reads at most 511 arrays; canonicalize, left out here, splits what has more. */
static void too_many_pointers(void **state) {
  (void)state;
  enum { OPERANDS = 520 };
  Context *c = context_new(NULL);
  Text text = {.context = c};
  text_add(&text, "network n {\n");
  for (int i = 0; i < OPERANDS; i++) text_add(&text, "input x%d : u4[1]\n", i);
  text_add(&text, "output y = concat(");
  for (int i = 0; i < OPERANDS; i++) text_add(&text, "x%d, ", i);
  text_add(&text, "axis=0)\n}\n");
  Plan p = plan_through(text.data, "fold,fuse,engine,layout,tile,memory,launch", ENGINE_NONE, 1);
  refused(&p, "layer 'y' passes a limit of the kernels: pointers to tensors and constants");
  p = plan(text.data, ENGINE_NONE, 1);
  Module module;
  assert_true(backend_emit(p.g, p.target, &module));
  context_free(p.context);
  context_free(c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(good_plans_pass), cmocka_unit_test(bad_tiles),
      cmocka_unit_test(bad_patches),     cmocka_unit_test(bad_strips),
      cmocka_unit_test(bad_launches),    cmocka_unit_test(mma_launches),
      cmocka_unit_test(bad_engines),     cmocka_unit_test(bad_layouts_and_places),
      cmocka_unit_test(wgmma_tiles),     cmocka_unit_test(wgmma_launches),
      cmocka_unit_test(wgmma_layouts),   cmocka_unit_test(limits),
      cmocka_unit_test(many_steps),      cmocka_unit_test(too_many_pointers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
