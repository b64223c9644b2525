/* tile, memory and launch: what kernels rely on. */
#include "passes_graphs.h"

/* Convolutions of many sizes, one behind the other, with residual additions that keep values alive. */
static void add_tower(Build *b, int32_t size, int32_t channels) {
  ValueId v = activation(b, bipolar_conv(b, image_input(b, ELEM_UINT, 2, size, size, 3), channels));
  ValueId kept = v;
  for (int i = 0; i < 3; i++) {
    v = activation(b, bipolar_conv(b, v, channels + 8 * i));
    v = dequantize(b, bipolar_conv(b, v, channels));
    v = quantize(b, op2(b, OP_ADD, v, dequantize(b, kept)), ELEM_UINT, 3, 2);
    v = upsample(b, pool(b, OP_MAXPOOL, v, 2, 0), 2);
  }
  v = reshape(b, v, 2, (int32_t[]){size * size, channels});
  graph_add_output(b->g, v);
  graph_add_output(b->g, op1(b, OP_ARGMAX, dequantize(b, v)));
}

static void expect_tile(const Graph *g, const Node *node) {
  const Tile *t = &node->tile;
  const Type *result = graph_type(g, node->result);
  if (!engine_uses_tensor_cores(node->engine)) {
    assert_int_equal(t->m, 0);
    return;
  }
  int warp_m = t->m / t->warps_m, warp_n = t->n / t->warps_n;
  assert_int_equal(t->m % (16 * t->warps_m), 0);
  assert_int_equal(t->n % (8 * t->warps_n), 0);
  assert_true(warp_m * warp_n / 32 <= 64 && t->warps_m * t->warps_n <= 8);
  assert_true(t->k == 8 || t->k == 16 || t->k == 32);
  if (result->layout.kind == LAYOUT_PLANES) assert_int_equal(warp_n % result->layout.block, 0);
  assert_true(node->launch.shared_bytes <= test_target.shared_bytes);
  assert_true(node->launch.y * t->n >= (uint32_t)type_channels(&node->main_type));
  assert_true((node->launch.y - 1) * t->n < (uint32_t)type_channels(&node->main_type));
  assert_int_equal(node->launch.threads, 32 * t->warps_m * t->warps_n);
}

/* Every word of the result has a thread. */
static void expect_direct_launch(const Graph *g, const Node *node) {
  if (node->engine != ENGINE_DIRECT) return;
  const Type *t = graph_type(g, node->result);
  size_t unit = t->layout.kind == LAYOUT_PLANES  ? 4 * (size_t)t->bits
                : t->layout.kind == LAYOUT_WORDS ? 4
                : t->layout.pitch % 4            ? 1
                                                 : 4;
  assert_int_equal(node->launch.x_mul * unit, layout_image_bytes(t));
  assert_int_equal(node->launch.x_div, node->launch.threads);
}

static void plans_hold_for_many_sizes(void **state) {
  (void)state;
  static const int32_t cases[][2] = {{4, 8}, {6, 33}, {6, 64}, {4, 100}, {4, 130}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    Outcome meant[EVALUATIONS];
    Build unplanned = build_new(i); /* of the same network for every engine */
    add_tower(&unplanned, cases[i][0], cases[i][1]);
    evaluate_all(&unplanned, meant);
    for (int force = ENGINE_NONE; force <= ENGINE_DIRECT; force++) {
      Build b = build_new(i);
      add_tower(&b, cases[i][0], cases[i][1]);
      run_exactly_as(&b, meant, NULL, (Engine)force);
      for (NodeId n = 0; n < b.g->node_count; n++) {
        const Node *node = &b.g->nodes[n];
        expect_tile(b.g, node);
        expect_direct_launch(b.g, node);
        assert_true(node->engine == ENGINE_VIEW ? node->launch.x_div == 0 : node->launch.x_div > 0);
      }
      build_free(&b);
    }
    build_free(&unplanned);
  }
}

static bool reads(const Graph *g, const Node *node, ValueId v) {
  for (uint32_t i = 0; i < node->input_count; i++)
    if (node->inputs[i] == v) return true;
  for (uint32_t s = 0; s < node->step_count; s++)
    for (uint32_t i = 0; i < node->steps[s].arg_count; i++)
      if (node->steps[s].args[i] == v) return true;
  (void)g;
  return false;
}

/* Plays the run: every byte of the arena knows which value wrote it last, and readers must find their own. */
static void no_value_is_overwritten_before_its_last_reader(void **state) {
  (void)state;
  Build b = build_new(7);
  add_tower(&b, 8, 40);
  run_exactly(&b, NULL, ENGINE_NONE);
  const Graph *g = b.g;
  assert_true(g->arena_bytes > 0 && g->arena_bytes % 256 == 0);
  ValueId *owner = malloc(g->arena_bytes * sizeof *owner);
  for (NodeId n = 0; n < g->node_count; n++) {
    const Node *node = &g->nodes[n];
    for (ValueId v = 0; v < g->value_count; v++) {
      const Value *value = graph_value(g, v);
      if (!reads(g, node, v) || value->kind != VALUE_RESULT || graph_is_output(g, v)) continue;
      assert_int_equal(value->arena_offset % 256, 0);
      for (uint64_t i = 0; i < layout_image_bytes(&value->type) * g->max_batch; i++)
        assert_int_equal(owner[value->arena_offset + i], v);
    }
    const Value *result = graph_value(g, node->result);
    if (graph_is_output(g, node->result)) {
      assert_true(result->arena_offset == NO_OFFSET);
      continue;
    }
    for (uint64_t i = 0; i < layout_image_bytes(&result->type) * g->max_batch; i++)
      owner[result->arena_offset + i] = node->result;
    if (node->engine == ENGINE_VIEW) assert_true(result->arena_offset == graph_value(g, node->inputs[0])->arena_offset);
  }
  free(owner);
  build_free(&b);
}

static void memory_is_used_again(void **state) {
  (void)state;
  Build b = build_new(8);
  ValueId v = activation(&b, bipolar_conv(&b, image_input(&b, ELEM_UINT, 2, 8, 8, 3), 64));
  for (int i = 0; i < 20; i++) v = activation(&b, bipolar_conv(&b, v, 64));
  graph_add_output(b.g, v);
  run_exactly(&b, NULL, ENGINE_MMA_B1);
  assert_int_equal(b.g->arena_bytes, 2 * 8 * (8 * 8 * 2 * 8)); /* two tensors of eight images */
  build_free(&b);
}

static void larger_images_get_larger_tiles(void **state) {
  (void)state;
  Tile small, large;
  for (int i = 0; i < 2; i++) {
    Build b = build_new(9);
    int32_t size = i ? 64 : 4, channels = i ? 128 : 32;
    ValueId x = quantize(&b, image_input(&b, ELEM_F32, 32, size, size, channels), ELEM_UINT, 1, 1);
    graph_add_output(b.g, activation(&b, bipolar_conv(&b, x, channels)));
    PassOptions options = {.target = &test_target, .max_batch = i ? 128 : 1};
    assert_true(passes_run(b.g, &options, NULL));
    *(i ? &large : &small) = node_of(&b, OP_CONV2D)->tile;
    build_free(&b);
  }
  assert_true(small.m < large.m && small.n < large.n);
}

static void long_reductions_come_in_large_chunks_and_many_stages(void **state) {
  (void)state;
  for (int i = 0; i < 2; i++) {
    Build b = build_new(10);
    int32_t depth = i ? 8192 : 64;
    ValueId x = graph_add_input(b.g, "x", type_make(ELEM_F32, 32, true, 1, &depth));
    graph_add_output(b.g, activation(&b, linear(&b, quantize(&b, x, ELEM_UINT, 1, 1), 64, 2)));
    PassOptions options = {.target = &test_target, .max_batch = 64, .force_engine = ENGINE_MMA_B1};
    assert_true(passes_run(b.g, &options, NULL));
    const Tile *tile = &node_of(&b, OP_LINEAR)->tile;
    assert_int_equal(tile->k, i ? 32 : 8);
    assert_true(i ? tile->stages > 2 : tile->stages <= 3); /* two weight planes of one chunk each */
    build_free(&b);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(plans_hold_for_many_sizes),
      cmocka_unit_test(no_value_is_overwritten_before_its_last_reader),
      cmocka_unit_test(memory_is_used_again),
      cmocka_unit_test(larger_images_get_larger_tiles),
      cmocka_unit_test(long_reductions_come_in_large_chunks_and_many_stages),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
