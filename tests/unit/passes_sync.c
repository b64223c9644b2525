/* Layers on mma.sync: how their blocks share the multiprocessors out, and what their estimates count. */
#include "../../passes/tile.h"
#include "../../passes/tuning.h"
#include "passes_graphs.h"

static Target overlapping(void) {
  Target t = test_target;
  t.overlaps_launches = true;
  return t;
}

/* A product of `rows` vectors of 64 bytes with 64 x 64 weights, up to where its launch is known. */
static const Node *planned(Build *b, const Target *target, const Tile *tile, uint32_t rows) {
  ValueId x =
      quantize(b, graph_add_input(b->g, "x", type_make(ELEM_F32, 32, true, 1, (int32_t[]){64})), ELEM_UINT, 8, 1);
  graph_add_output(b->g, linear(b, x, 64, 8));
  PassOptions options = {.target = target, .max_batch = rows, .force_engine = ENGINE_MMA_S8, .force_tile = tile};
  assert_true(passes_run(b->g, &options, NULL));
  const Node *node = node_of(b, OP_LINEAR);
  assert_true(tile_equal(&node->tile, tile));
  return node;
}

/* Blocks that fit a multiprocessor beside each other, as far as shared memory says. */
static uint32_t blocks_by_shared(const Target *target, const Launch *l) {
  return target->sm_shared_bytes / (l->shared_bytes + BLOCK_SHARED_BYTES);
}

static void few_tiles_have_multiprocessors_of_their_own(void **state) {
  (void)state;
  Target target = overlapping();
  static const Tile tile = {16, 64, 8, 1, 2, 2, 1, 0};
  Build b = build_new(1);
  const Launch *l = &planned(&b, &target, &tile, 16 * 64)->launch;
  assert_int_equal(l->x_most, 0);
  assert_int_equal(l->y, 1);
  assert_int_equal(blocks_by_shared(&target, l), 1);
  build_free(&b);
}

static void more_tiles_start_equally_many_blocks(void **state) {
  (void)state;
  Target target = overlapping();
  static const Tile tiles[] = {{16, 64, 8, 1, 2, 2, 1, 0}, {16, 32, 8, 1, 1, 2, 1, 0}};
  for (int i = 0; i < 2; i++)
    for (uint32_t each = 1; each <= 3; each++) {
      Build b = build_new(2);
      uint32_t columns = 64 / tiles[i].n, tiles_of_rows = (uint32_t)target.sm_count * each / columns - 3;
      const Launch *l = &planned(&b, &target, &tiles[i], 16 * tiles_of_rows)->launch;
      assert_int_equal(l->x_most, (uint32_t)target.sm_count * each);
      assert_int_equal(l->x_mul, l->x_most * l->x_div);
      assert_int_equal(l->y, 1);
      assert_int_equal(blocks_by_shared(&target, l), 2 * each);
      build_free(&b);
    }
}

static void without_room_for_two_launches_the_next_waits(void **state) {
  (void)state;
  Target target = overlapping();
  static const Tile tile = {128, 64, 32, 4, 1, 4, 1, 0}; /* one block has room */
  Build b = build_new(3);
  const Launch *l = &planned(&b, &target, &tile, 128 * 100)->launch;
  assert_int_equal(l->x_most, 0);
  assert_int_equal(blocks_by_shared(&target, l), 1);
  build_free(&b);
}

static void many_tiles_and_older_targets_take_what_there_is(void **state) {
  (void)state;
  Target target = overlapping();
  static const Tile tile = {16, 64, 8, 1, 2, 2, 1, 0};
  for (int old = 0; old < 2; old++) {
    Build b = build_new(4);
    const Launch *l = &planned(&b, old ? &test_target : &target, &tile, old ? 16 * 64 : 16 * 128 * 40)->launch;
    assert_int_equal(l->x_most, 0);
    assert_int_equal(l->shared_bytes, tile_shared_bytes(&tile));
    build_free(&b);
  }
}

/* An engine that only some layers have is taken where it gains a tenth. */
static void other_engines_have_to_gain_something(void **state) {
  (void)state;
  int portable = 0, patches = 0;
  for (int32_t size = 4; size <= 64; size += 4)
    for (int32_t channels = 1; channels <= 7; channels += 2) {
      Build b = build_new(6);
      ValueId x = image_input(&b, ELEM_UINT, 8, size, size, channels);
      int32_t dim[4] = {32, 3, 3, channels};
      ValueId y = activation(&b, conv(&b, x, type_make(ELEM_INT, 8, false, 4, dim), 1, 1, 0));
      graph_add_output(b.g, activation(&b, bipolar_conv(&b, y, 32)));
      PassOptions options = {.target = &test_target, .max_batch = 8, .pipeline = "fold,hoist,thresholds,fuse,engine"};
      assert_true(passes_run(b.g, &options, NULL));
      const Node *node = node_of(&b, OP_CONV2D);
      double of_mma = cost_of_node(b.g, node, ENGINE_MMA_S8, &test_target, 8, NULL);
      double of_patch = cost_of_node(b.g, node, ENGINE_PATCH_S8, &test_target, 8, NULL);
      if (of_patch > of_mma / 1.09) assert_int_not_equal(node->engine, ENGINE_PATCH_S8);
      if (of_patch < of_mma / 1.11) assert_int_not_equal(node->engine, ENGINE_MMA_S8);
      *(node->engine == ENGINE_PATCH_S8 ? &patches : &portable) += 1;
      build_free(&b);
    }
  assert_true(portable && patches);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(few_tiles_have_multiprocessors_of_their_own),
      cmocka_unit_test(more_tiles_start_equally_many_blocks),
      cmocka_unit_test(without_room_for_two_launches_the_next_waits),
      cmocka_unit_test(many_tiles_and_older_targets_take_what_there_is),
      cmocka_unit_test(other_engines_have_to_gain_something),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
