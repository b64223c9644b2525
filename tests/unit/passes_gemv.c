/* Gemv layers: who computes them, on which targets, and tiles that their kernel can have. */
#include "backend/backend.h"
#include "ir/gemv.h"
#include "passes/tile.h"
#include "passes_graphs.h"

/* A linear layer of w bits on x bits between two others. */
static const Node *plan(Build *b, const char *target, uint32_t batch, int32_t outputs, int32_t depth, int w_bits,
                        int x_bits, Engine force) {
  *b = build_new((uint64_t)(outputs + depth));
  ValueId x = quantize(b, graph_add_input(b->g, "x", type_make(ELEM_F32, 32, true, 1, &depth)), ELEM_UINT, x_bits, 1);
  int32_t dim[2] = {outputs, depth};
  Type w = w_bits == 1 ? bipolar(false, 2, dim) : type_make(ELEM_INT, w_bits, false, 2, dim);
  ValueId y = op_with(b, OP_LINEAR, NULL, (Type){0}, (ValueId[]){x, weights(b, w)}, 2);
  graph_add_output(b->g, activation(b, y));
  b->g->max_batch = batch;
  PassOptions options = {.target = target_find(target), .max_batch = batch, .force_engine = force};
  assert_true(passes_run(b->g, &options, NULL));
  return node_of(b, OP_LINEAR);
}

static void few_images_are_for_gemv(void **state) {
  (void)state;
  Build b;
  for (int bits = 1; bits <= 8; bits++) {
    assert_int_equal(plan(&b, "sm_90a", 1, 4096, 4096, bits, 8, ENGINE_NONE)->engine, ENGINE_GEMV_B1);
    build_free(&b);
  }
  for (int bits = 1; bits <= 4; bits++) {
    assert_int_equal(plan(&b, "sm_90a", 8 * (1 + bits % 2), 4096, 4096, bits, 8, ENGINE_NONE)->engine, ENGINE_GEMV_S8);
    build_free(&b);
  }
  assert_int_equal(plan(&b, "sm_90a", 8, 4096, 4096, 1, 1, ENGINE_NONE)->engine, ENGINE_GEMV_B1);
  build_free(&b);
  assert_false(engine_is_gemv(plan(&b, "sm_90a", 512, 1024, 1024, 1, 1, ENGINE_NONE)->engine));
  build_free(&b);
}

static void expect_tile(const Build *b, const Node *node, const Target *target) {
  const Tile *t = &node->tile;
  const Launch *l = &node->launch;
  Gemv s = gemv_of(b->g, node, t);
  assert_true(gemv_tile_fits(b->g, node, t, target) && s.shared_bytes <= target->shared_bytes);
  assert_true(s.units * t->warps_m * GEMV_UNIT_BLOCKS >= s.blocks && s.groups * 8 >= s.input_planes * t->n);
  assert_true(s.passes * s.steps * s.step_units == s.units * s.weight_planes && t->stages <= s.steps);
  assert_true(s.row_tiles * GEMV_ROWS >= (uint32_t)type_channels(graph_type(b->g, node->result)));
  assert_true(s.column_tiles * t->n >= b->g->max_batch);
  assert_true(l->x_most >= 1 && l->x_most <= s.row_tiles && l->x_mul == l->x_most);
  uint32_t warps = (t->warps_m + 3u) / 4 * 4, blocks = gemv_blocks_of_sm(&s, t);
  assert_true(blocks >= 1 && blocks * warps * 32 * s.registers <= 65536);
  assert_int_equal(l->y, s.column_tiles);
  assert_int_equal(l->threads, 32 * t->warps_m);
}

static void tiles_of_many_sizes_fit(void **state) {
  (void)state;
  static const int32_t sizes[][2] = {{1, 1}, {10, 130}, {300, 77}, {1000, 2048}, {64, 20000}, {32, 65536}};
  static const char *const targets[] = {"sm_80", "sm_86", "sm_89", "sm_90a"};
  for (int i = 0; i < 6 * 8 * 2; i++) {
    Build b;
    Engine engine = i < 6 * 8 || sizes[i % 6][1] > 32768 ? ENGINE_GEMV_B1 : ENGINE_GEMV_S8; /* 16 warps of 32 units */
    int w_bits = 1 + i % 8, x_bits = 1 + (i * 3 + 2) % 8;
    const Node *node =
        plan(&b, targets[i % 4], 1 + (uint32_t)(i * 5) % 33, sizes[i % 6][0], sizes[i % 6][1], w_bits, x_bits, engine);
    assert_int_equal(node->engine, engine);
    expect_tile(&b, node, target_find(targets[i % 4]));
    build_free(&b);
  }
}

/* No warps are without a unit, where fewer can have as many. */
static void units_are_shared_out(void **state) {
  (void)state;
  static const int32_t depths[] = {512, 4096, 11264, 28672};
  for (int i = 0; i < 4; i++) {
    Build b;
    const Node *node = plan(&b, "sm_90a", 1, 4096, depths[i], 1, 8, ENGINE_GEMV_B1);
    Gemv s = gemv_of(b.g, node, &node->tile);
    assert_true((node->tile.warps_m - 1u) * s.units * GEMV_UNIT_BLOCKS < s.blocks);
    assert_int_equal(node->tile.n, 1);
    build_free(&b);
  }
}

static void tiles_that_no_kernel_has(void **state) {
  (void)state;
  static const Tile good = {32, 16, 16, 2, 1, 2, 1, 0};
  static const Tile bad[] = {{64, 16, 16, 2, 1, 2, 1, 0}, {32, 12, 16, 2, 1, 2, 1, 0},  {32, 32, 16, 2, 1, 2, 1, 0},
                             {32, 16, 8, 2, 1, 2, 1, 0},  {32, 16, 16, 17, 1, 1, 1, 0}, {32, 16, 16, 2, 2, 2, 1, 0},
                             {32, 16, 16, 2, 1, 5, 1, 0}, {32, 16, 16, 2, 1, 2, 2, 0},  {32, 16, 16, 2, 1, 2, 1, 1},
                             {32, 0, 16, 2, 1, 2, 1, 0}};
  Build b;
  const Target *target = target_find("sm_90a");
  const Node *node = plan(&b, "sm_90a", 16, 256, 1024, 2, 8, ENGINE_GEMV_B1);
  assert_true(gemv_tile_fits(b.g, node, &good, target));
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(gemv_tile_fits(b.g, node, &bad[i], target));
  build_free(&b);
  node = plan(&b, "sm_90a", 16, 64, 16384, 2, 8, ENGINE_GEMV_B1); /* 32 units; 128 accumulators */
  assert_false(gemv_tile_fits(b.g, node, &(Tile){32, 8, 16, 1, 1, 1, 1, 0}, target));
  assert_false(gemv_tile_fits(b.g, node, &(Tile){32, 16, 16, 16, 1, 1, 1, 0}, target));
  assert_true(gemv_tile_fits(b.g, node, &(Tile){32, 16, 16, 8, 1, 1, 1, 0}, target));
  build_free(&b);
  node = plan(&b, "sm_90a", 16, 64, 8192, 2, 8, ENGINE_GEMV_S8); /* 128 units */
  assert_true(gemv_tile_fits(b.g, node, &(Tile){32, 16, 16, 4, 1, 8, 1, 0}, target));
  assert_false(gemv_tile_fits(b.g, node, &(Tile){32, 16, 16, 3, 1, 8, 1, 0}, target));
  assert_false(gemv_tile_fits(b.g, node, &(Tile){32, 4, 16, 4, 1, 8, 1, 0}, target));
  assert_false(gemv_tile_fits(b.g, node, &(Tile){32, 16, 16, 4, 1, 9, 1, 0}, target));
  build_free(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(few_images_are_for_gemv),
      cmocka_unit_test(tiles_of_many_sizes_fit),
      cmocka_unit_test(units_are_shared_out),
      cmocka_unit_test(tiles_that_no_kernel_has),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
