/* thresholds: counting gives the chain's bits on every reachable level, or the chain stays. */
#include "passes_graphs.h"

/* Every sum in [-1000, 1000] goes through the chain: a u8 image of one pixel a channel, weights 1. */
static ValueId all_sums(Build *b, int32_t channels) {
  int32_t dim[4] = {channels, 1, 1, 1};
  Type w = type_make(ELEM_INT, 2, false, 4, dim);
  int8_t *data = arena_alloc(b->context, (size_t)channels);
  memset(data, 1, (size_t)channels);
  ValueId image = image_input(b, ELEM_UINT, 8, 64, 64, 1);
  graph_type(b->g, image)->zero2 = 250;
  return op2(b, OP_CONV2D, image, graph_add_const(b->g, "w", w, data));
}

static void expect_thresholds(Build *b, bool wanted, uint32_t nodes) {
  run_exactly(b, "fold,thresholds", ENGINE_NONE);
  assert_int_equal(count_ops(b, OP_THRESHOLDS), wanted);
  if (nodes) assert_int_equal(b->g->node_count, nodes);
}

static void every_level_counts_like_the_chain(void **state) {
  (void)state;
  static const struct {
    ElemKind kind;
    int bits;
    int16_t zero2;
    float scale;
  } results[] = {{ELEM_UINT, 1, 1, 2},        {ELEM_UINT, 2, 0, 3.7f},  {ELEM_UINT, 4, 7, 1.5f},
                 {ELEM_TERNARY, 2, 0, 20.5f}, {ELEM_INT, 4, 0, 9.25f},  {ELEM_INT, 2, -1, 30},
                 {ELEM_UINT, 3, 3, 0.01f},    {ELEM_UINT, 4, 0, 1e30f}, {ELEM_INT, 3, 0, 1e-30f}};
  for (size_t i = 0; i < sizeof results / sizeof results[0]; i++) {
    Build b = build_new(i);
    ValueId v = affine(&b, dequantize(&b, all_sums(&b, 40)), -2, 2);
    v = op2(&b, OP_PRELU, op1(&b, OP_LEAKY_RELU, v), vector(&b, 40, 0, 2));
    Type t = result_like(&b, v, results[i].kind, results[i].bits, results[i].scale);
    t.zero2 = results[i].zero2;
    graph_add_output(b.g, op_with(&b, OP_QUANTIZE, NULL, t, &v, 1));
    expect_thresholds(&b, true, 2);
    build_free(&b);
  }
}

static void tables_are_sorted_and_never_is_the_greatest(void **state) {
  (void)state;
  Build b = build_new(1);
  ValueId v = affine(&b, dequantize(&b, all_sums(&b, 30)), -2, 2);
  graph_add_output(b.g, quantize(&b, v, ELEM_UINT, 4, 20));
  expect_thresholds(&b, true, 2);
  const Node *node = node_of(&b, OP_THRESHOLDS);
  const int32_t *t = graph_value(b.g, node->inputs[1])->data;
  bool never = false;
  for (int c = 0; c < 30; c++)
    for (int i = 0; i < 15; i++) {
      if (i) assert_true(t[c * 15 + i] >= t[c * 15 + i - 1]);
      assert_true(t[c * 15 + i] == INT32_MAX || (t[c * 15 + i] >= -300 && t[c * 15 + i] <= 300));
      never = never || t[c * 15 + i] == INT32_MAX;
    }
  assert_true(never);
  build_free(&b);
}

static void equal_channels_share_a_row(void **state) {
  (void)state;
  Build b = build_new(2);
  ValueId v = op1(&b, OP_HARDTANH, dequantize(&b, all_sums(&b, 30)));
  graph_add_output(b.g, quantize(&b, v, ELEM_INT, 2, 0.5f));
  expect_thresholds(&b, true, 2);
  const Node *node = node_of(&b, OP_THRESHOLDS);
  assert_int_equal(graph_type(b.g, node->inputs[1])->dim[0], 1);
  assert_int_equal(graph_type(b.g, node->inputs[2])->dim[0], 1);
  build_free(&b);
}

/* From quantized values x is the level: half zero points, falling channels, quantize behind quantize. */
static void quantized_sources_compare_levels(void **state) {
  (void)state;
  Build b = build_new(3);
  ValueId x = image_input(&b, ELEM_INT, 5, 12, 12, 9);
  graph_type(b.g, x)->zero2 = 3;
  ValueId v = quantize(&b, affine(&b, dequantize(&b, x), -2, 2), ELEM_INT, 8, 0.25f);
  v = quantize(&b, op1(&b, OP_RELU, affine(&b, dequantize(&b, v), -2, 2)), ELEM_UINT, 3, 4);
  graph_add_output(b.g, v);
  expect_thresholds(&b, true, 1);
  build_free(&b);
}

/* A chain goes on behind thresholds that an earlier one became. */
static void chains_run_through_thresholds(void **state) {
  (void)state;
  Build b = build_new(13);
  ValueId v = quantize(&b, affine(&b, dequantize(&b, all_sums(&b, 30)), -2, 2), ELEM_UINT, 4, 20);
  v = quantize(&b, op1(&b, OP_SIGN, affine(&b, dequantize(&b, v), -2, 2)), ELEM_INT, 2, 1);
  graph_add_output(b.g, v);
  expect_thresholds(&b, true, 2);
  build_free(&b);
}

/* A batchnorm of gamma 0 is constant on its channel. */
static void constant_channels_work(void **state) {
  (void)state;
  Build b = build_new(4);
  ValueId v = op3(&b, OP_AFFINE, dequantize(&b, all_sums(&b, 6)), constant(&b, 0), vector(&b, 6, -3, 3));
  graph_add_output(b.g, quantize(&b, v, ELEM_INT, 3, 1));
  expect_thresholds(&b, true, 2);
  build_free(&b);
}

static void chains_of_no_direction_stay(void **state) {
  (void)state;
  Build b = build_new(5); /* one channel of a prelu folds the axis */
  ValueId v = op2(&b, OP_PRELU, dequantize(&b, all_sums(&b, 6)), vector(&b, 6, -1, 1));
  graph_add_output(b.g, quantize(&b, v, ELEM_UINT, 2, 20));
  expect_thresholds(&b, false, 4);
  build_free(&b);
  b = build_new(6); /* infinities in between */
  v = op3(&b, OP_AFFINE, dequantize(&b, all_sums(&b, 6)), constant(&b, 3e38f), constant(&b, 0));
  v = op3(&b, OP_AFFINE, v, constant(&b, 0), constant(&b, 1));
  graph_add_output(b.g, quantize(&b, v, ELEM_UINT, 2, 20));
  expect_thresholds(&b, false, 0);
  build_free(&b);
  b = build_new(7); /* too many bits to count */
  graph_add_output(b.g, quantize(&b, dequantize(&b, all_sums(&b, 6)), ELEM_UINT, 5, 2));
  expect_thresholds(&b, false, 3);
  build_free(&b);
  b = build_new(8); /* an i32 input may hold INT32_MAX, which must not mean never */
  graph_add_output(b.g, quantize(&b, dequantize(&b, image_input(&b, ELEM_I32, 32, 2, 2, 3)), ELEM_UINT, 2, 2));
  expect_thresholds(&b, false, 2);
  build_free(&b);
  b = build_new(9); /* a real source */
  graph_add_output(b.g, quantize(&b, op1(&b, OP_RELU, image_input(&b, ELEM_F32, 32, 2, 2, 3)), ELEM_UINT, 2, 2));
  expect_thresholds(&b, false, 2);
  build_free(&b);
}

static void shared_steps_stay_and_a_shared_dequantize_does_not_matter(void **state) {
  (void)state;
  Build b = build_new(10);
  ValueId d = dequantize(&b, all_sums(&b, 6));
  graph_add_output(b.g, quantize(&b, op1(&b, OP_RELU, d), ELEM_UINT, 2, 20));
  graph_add_output(b.g, op1(&b, OP_SIGN, d));
  expect_thresholds(&b, true, 4);
  build_free(&b);
  b = build_new(11);
  ValueId r = op1(&b, OP_RELU, dequantize(&b, all_sums(&b, 6)));
  graph_add_output(b.g, quantize(&b, r, ELEM_UINT, 2, 20));
  graph_add_output(b.g, op1(&b, OP_SIGN, r));
  expect_thresholds(&b, false, 5);
  build_free(&b);
}

static void pooled_sums_have_a_bound_too(void **state) {
  (void)state;
  Build b = build_new(12);
  ValueId x = image_input(&b, ELEM_UINT, 6, 12, 12, 9);
  ValueId v = pool(&b, OP_MAXPOOL, pool(&b, OP_AVGPOOL, x, 3, 1), 2, 0);
  graph_add_output(b.g, quantize(&b, affine(&b, dequantize(&b, v), -2, 2), ELEM_UINT, 3, 8));
  expect_thresholds(&b, true, 3);
  build_free(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_level_counts_like_the_chain),
      cmocka_unit_test(tables_are_sorted_and_never_is_the_greatest),
      cmocka_unit_test(equal_channels_share_a_row),
      cmocka_unit_test(quantized_sources_compare_levels),
      cmocka_unit_test(chains_run_through_thresholds),
      cmocka_unit_test(constant_channels_work),
      cmocka_unit_test(chains_of_no_direction_stay),
      cmocka_unit_test(shared_steps_stay_and_a_shared_dequantize_does_not_matter),
      cmocka_unit_test(pooled_sums_have_a_bound_too),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
