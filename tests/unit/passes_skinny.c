/* Fully connected layers of few images: who computes them, and tiles that their kernel can have. */
#include "backend/backend.h"
#include "ir/skinny.h"
#include "passes/tile.h"
#include "passes_graphs.h"

/* A linear layer of w bits on x bits between two others, planned for sm_90a. */
static const Node *plan(Build *b, uint32_t batch, int32_t outputs, int32_t depth, int w_bits, int x_bits,
                        Engine force) {
  *b = build_new((uint64_t)(outputs + depth));
  ValueId x = quantize(b, graph_add_input(b->g, "x", type_make(ELEM_F32, 32, true, 1, &depth)), ELEM_UINT, x_bits, 1);
  int32_t dim[2] = {outputs, depth};
  Type w = w_bits == 1 ? bipolar(false, 2, dim) : type_make(ELEM_INT, w_bits, false, 2, dim);
  ValueId y = op_with(b, OP_LINEAR, NULL, (Type){0}, (ValueId[]){x, weights(b, w)}, 2);
  graph_add_output(b->g, activation(b, y));
  b->g->max_batch = batch;
  PassOptions options = {.target = target_find("sm_90a"), .max_batch = batch, .force_engine = force};
  assert_true(passes_run(b->g, &options, NULL));
  return node_of(b, OP_LINEAR);
}

static void few_images_stream_the_weights(void **state) {
  (void)state;
  static const uint32_t batches[] = {1, 4, 16};
  static const int bits[][2] = {{1, 8}, {2, 8}, {4, 8}, {1, 2}};
  for (int i = 0; i < 12; i++) {
    Build b;
    const Node *node = plan(&b, batches[i % 3], 2048, 2048, bits[i / 3][0], bits[i / 3][1], ENGINE_NONE);
    assert_true(node->engine == ENGINE_SKINNY_B1 || engine_is_gemv(node->engine));
    build_free(&b);
  }
  Build b;
  assert_int_not_equal(plan(&b, 4096, 1024, 1024, 1, 1, ENGINE_NONE)->engine, ENGINE_SKINNY_B1);
  build_free(&b);
}

static void expect_tile(const Build *b, const Node *node) {
  const Target *target = target_find("sm_90a");
  const Tile *t = &node->tile;
  const Launch *l = &node->launch;
  Skinny s = skinny_of(b->g, node, t);
  assert_true(skinny_tile_fits(b->g, node, t, target) && s.shared_bytes <= target->shared_bytes);
  assert_true(s.share_blocks * t->split_k >= s.blocks && s.columns >= s.input_planes * t->n);
  assert_true(s.own * t->split_k == t->n && s.column_tiles * t->n >= b->g->max_batch);
  assert_true(l->x_most % t->split_k == 0 && l->x_most / t->split_k <= s.row_tiles);
  assert_true(s.column_tiles > 1 || l->x_most <= (uint32_t)target->sm_count);
  assert_int_equal(l->y, s.column_tiles);
  assert_int_equal(l->threads, 32 * (t->warps_m + 1));
}

static void tiles_of_many_sizes_fit(void **state) {
  (void)state;
  static const int32_t sizes[][2] = {{1, 1}, {10, 130}, {300, 77}, {1000, 2048}, {64, 20000}};
  for (int i = 0; i < 5 * 8; i++) {
    Build b;
    int w_bits = 1 + i % 8, x_bits = 1 + (i * 3 + 2) % 8;
    const Node *node =
        plan(&b, 1 + (uint32_t)(i * 5) % 33, sizes[i % 5][0], sizes[i % 5][1], w_bits, x_bits, ENGINE_SKINNY_B1);
    assert_int_equal(node->engine, ENGINE_SKINNY_B1);
    expect_tile(&b, node);
    build_free(&b);
  }
}

/* Eight tiles of channels on 132 multiprocessors; and an input that one block's shared memory does not hold. */
static void few_tiles_share_their_sums(void **state) {
  (void)state;
  Build b;
  assert_true(plan(&b, 1, 512, 16384, 4, 8, ENGINE_SKINNY_B1)->tile.split_k > 1);
  build_free(&b);
  const Node *node = plan(&b, 16, 512, 28672, 2, 8, ENGINE_SKINNY_B1);
  assert_int_equal(node->engine, ENGINE_SKINNY_B1);
  assert_true(node->tile.split_k > 1);
  expect_tile(&b, node);
  build_free(&b);
}

static void tiles_that_no_kernel_has(void **state) {
  (void)state;
  static const Tile good = {64, 16, 16, 8, 1, 4, 2, 0};
  static const Tile bad[] = {{32, 16, 16, 8, 1, 4, 2, 0}, {64, 12, 16, 8, 1, 4, 2, 0}, {64, 16, 4, 8, 1, 4, 2, 0},
                             {64, 16, 16, 6, 1, 4, 2, 0}, {64, 16, 16, 8, 2, 4, 2, 0}, {64, 16, 16, 8, 1, 3, 2, 0},
                             {64, 16, 16, 8, 1, 4, 3, 0}, {64, 24, 16, 8, 1, 4, 8, 0}, {64, 16, 16, 8, 1, 4, 2, 1},
                             {64, 16, 16, 8, 1, 1, 2, 0}, {64, 64, 16, 8, 1, 4, 2, 0}, {64, 16, 128, 8, 1, 4, 2, 0}};
  Build b;
  const Node *node = plan(&b, 16, 256, 1024, 2, 8, ENGINE_SKINNY_B1);
  assert_true(skinny_tile_fits(b.g, node, &good, target_find("sm_90a")));
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_false(skinny_tile_fits(b.g, node, &bad[i], target_find("sm_90a")));
  build_free(&b);
}

static void convolutions_are_for_others(void **state) {
  (void)state;
  Build b = build_new(9);
  ValueId x = quantize(&b, image_input(&b, ELEM_F32, 32, 6, 6, 64), ELEM_UINT, 2, 1);
  graph_add_output(b.g, bipolar_conv(&b, x, 64));
  PassOptions options = {.target = target_find("sm_90a"), .max_batch = 1, .force_engine = ENGINE_SKINNY_B1};
  assert_true(passes_run(b.g, &options, NULL));
  const char *why = NULL;
  const Node *node = node_of(&b, OP_CONV2D);
  assert_int_not_equal(node->engine, ENGINE_SKINNY_B1);
  assert_true(cost_of_node(b.g, node, ENGINE_SKINNY_B1, options.target, 1, &why) < 0);
  assert_non_null(strstr(why, "does not have this operation"));
  build_free(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(few_images_stream_the_weights), cmocka_unit_test(tiles_of_many_sizes_fit),
      cmocka_unit_test(few_tiles_share_their_sums),    cmocka_unit_test(tiles_that_no_kernel_has),
      cmocka_unit_test(convolutions_are_for_others),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
