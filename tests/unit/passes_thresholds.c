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

/* --- additions --- */

/* A second activation of all_sums' shape. */
static ValueId second_activation(Build *b, Type like, int32_t channels) {
  int32_t dim[3] = {64, 64, channels};
  Type t = type_make(like.kind, like.bits, true, 3, dim);
  t.zero2 = like.zero2;
  t.scale = like.scale;
  return graph_add_input(b->g, "other", t);
}

static ValueId scales(Build *b, int32_t channels) {
  return vector(b, channels, 0.25f, 40);
}

static Type small_type(ElemKind kind, int bits, int16_t zero2, float scale) {
  Type t = {.kind = kind, .bits = (uint8_t)bits, .zero2 = zero2, .scale = scale};
  return t;
}

/* Every sum with every number of the second activation; either order of the operands; channels that rise and fall. */
static void an_addition_gives_a_row_for_each_number(void **state) {
  (void)state;
  const Type others[] = {small_type(ELEM_UINT, 1, 1, 50),     small_type(ELEM_TERNARY, 2, 0, 33.3f),
                         small_type(ELEM_INT, 2, 0, 17),      small_type(ELEM_UINT, 3, 0, 12.5f),
                         small_type(ELEM_UINT, 4, 15, 3.75f), small_type(ELEM_UINT, 2, 0, 1e-3f)};
  const Type results[] = {small_type(ELEM_UINT, 2, 0, 23.7f), small_type(ELEM_UINT, 1, 1, 2),
                          small_type(ELEM_TERNARY, 2, 0, 40), small_type(ELEM_INT, 2, -1, 30)};
  for (size_t i = 0; i < 6; i++)
    for (size_t k = 0; k < 4; k++) {
      Build b = build_new(i * 4 + k);
      ValueId y = second_activation(&b, others[i], 12);
      if (k % 2) graph_type(b.g, y)->scales = scales(&b, 12);
      ValueId v = affine(&b, dequantize(&b, all_sums(&b, 12)), -2, 2), real = dequantize(&b, y);
      v = (i + k) % 2 ? op2(&b, OP_ADD, v, real) : op2(&b, OP_ADD, real, v);
      v = k == 0 ? op1(&b, OP_RELU, v) : k == 1 ? affine(&b, v, -2, 2) : v;
      Type t = result_like(&b, v, results[k].kind, results[k].bits, results[k].scale);
      t.zero2 = results[k].zero2;
      graph_add_output(b.g, op_with(&b, OP_QUANTIZE, NULL, t, &v, 1));
      expect_thresholds(&b, true, 2);
      const Node *node = node_of(&b, OP_THRESHOLDS);
      int32_t rows = type_q_max(&others[i]) - type_q_min(&others[i]) + 1, levels = type_q_max(&t) - type_q_min(&t);
      assert_int_equal(node->input_count, 4);
      assert_int_equal(node->inputs[3], y);
      assert_int_equal(graph_type(b.g, node->inputs[1])->dim[1], rows * levels);
      build_free(&b);
    }
}

/* x's own dequantize and one of its own chain may be the same value. */
static void a_shared_residual_stays_where_others_read_it(void **state) {
  (void)state;
  Build b = build_new(20);
  ValueId d = dequantize(&b, second_activation(&b, small_type(ELEM_UINT, 2, 0, 9), 5));
  ValueId v = op2(&b, OP_ADD, d, affine(&b, dequantize(&b, all_sums(&b, 5)), -2, 2));
  graph_add_output(b.g, quantize(&b, op1(&b, OP_RELU, v), ELEM_UINT, 2, 20));
  graph_add_output(b.g, op1(&b, OP_SIGN, d));
  expect_thresholds(&b, true, 4);
  build_free(&b);
}

/* Of two activations of few bits the later one is the source, so that its layer takes the step. */
static void of_two_small_activations_the_later_is_the_source(void **state) {
  (void)state;
  for (int order = 0; order < 2; order++) {
    Build b = build_new(21);
    ValueId early = second_activation(&b, small_type(ELEM_INT, 3, 0, 0.75f), 6);
    ValueId late = pool(&b, OP_MAXPOOL, second_activation(&b, small_type(ELEM_TERNARY, 2, 0, 1.5f), 6), 1, 0);
    ValueId p = dequantize(&b, order ? early : late), q = dequantize(&b, order ? late : early);
    graph_add_output(b.g, quantize(&b, op2(&b, OP_ADD, p, q), ELEM_UINT, 2, 1));
    expect_thresholds(&b, true, 2);
    assert_int_equal(node_of(&b, OP_THRESHOLDS)->inputs[0], late);
    assert_int_equal(node_of(&b, OP_THRESHOLDS)->inputs[3], early);
    build_free(&b);
  }
}

/* 16 numbers x 15 thresholds are too many to be looked up, but a product counts those that are evenly spaced, of sums
 * whose bound the kernel knows. */
static void a_product_counts_large_tables(void **state) {
  (void)state;
  for (int sums = 0; sums < 2; sums++) {
    Build b = build_new(27);
    ValueId x = sums ? all_sums(&b, 6) : image_input(&b, ELEM_INT, 8, 64, 64, 6);
    ValueId v = affine(&b, dequantize(&b, x), 0.5f, 2);
    ValueId y = dequantize(&b, second_activation(&b, small_type(ELEM_UINT, 4, 0, 9.3f), 6));
    graph_add_output(b.g, quantize(&b, op2(&b, OP_ADD, v, y), ELEM_UINT, 4, 20.7f));
    expect_thresholds(&b, sums, sums ? 2 : 0);
    if (sums) assert_int_equal(graph_type(b.g, node_of(&b, OP_THRESHOLDS)->inputs[1])->dim[1], 16 * 15);
    build_free(&b);
  }
}

static void only_one_small_addition_joins_a_chain(void **state) {
  (void)state;
  Build b = build_new(22); /* 16 numbers x 15 thresholds, uneven by ties that go to even numbers */
  ValueId y = dequantize(&b, second_activation(&b, small_type(ELEM_UINT, 4, 0, 9), 5));
  ValueId v = op2(&b, OP_ADD, dequantize(&b, all_sums(&b, 5)), y);
  graph_add_output(b.g, quantize(&b, v, ELEM_UINT, 4, 20));
  expect_thresholds(&b, false, 5);
  build_free(&b);
  b = build_new(23); /* two additions */
  y = dequantize(&b, second_activation(&b, small_type(ELEM_UINT, 2, 0, 9), 5));
  ValueId z = dequantize(&b, second_activation(&b, small_type(ELEM_UINT, 2, 0, 7), 5));
  v = op2(&b, OP_ADD, op2(&b, OP_ADD, dequantize(&b, all_sums(&b, 5)), y), z);
  graph_add_output(b.g, quantize(&b, v, ELEM_UINT, 2, 20));
  expect_thresholds(&b, false, 0);
  build_free(&b);
  b = build_new(24); /* infinite at one end of the second activation only */
  y = dequantize(&b, second_activation(&b, small_type(ELEM_UINT, 2, 0, 3e38f), 5));
  v = op2(&b, OP_ADD, dequantize(&b, all_sums(&b, 5)), y);
  graph_add_output(b.g, quantize(&b, op3(&b, OP_AFFINE, v, constant(&b, 0), constant(&b, 1)), ELEM_UINT, 2, 20));
  expect_thresholds(&b, false, 0);
  build_free(&b);
}

/* Thresholds that an earlier chain became are a step like others, in front of the addition and behind it. */
static void additions_and_thresholds_share_a_chain(void **state) {
  (void)state;
  for (int behind = 0; behind < 2; behind++) {
    Build b = build_new(26);
    ValueId v = affine(&b, dequantize(&b, all_sums(&b, 7)), -2, 2);
    ValueId y = dequantize(&b, second_activation(&b, small_type(ELEM_INT, 2, 0, 19), 7));
    if (behind) v = op2(&b, OP_ADD, v, y);
    v = affine(&b, dequantize(&b, quantize(&b, v, ELEM_UINT, 3, 30)), -2, 2);
    if (!behind) v = op2(&b, OP_ADD, v, y);
    graph_add_output(b.g, quantize(&b, v, ELEM_INT, 2, 20));
    expect_thresholds(&b, true, 2);
    build_free(&b);
  }
}

/* Where the chain has no direction before the addition, it begins at an integer behind it. */
static void a_chain_may_end_behind_the_addition(void **state) {
  (void)state;
  Build b = build_new(25);
  ValueId v = op2(&b, OP_PRELU, dequantize(&b, all_sums(&b, 6)), vector(&b, 6, -1, -0.5f));
  v = op2(&b, OP_ADD, v, dequantize(&b, second_activation(&b, small_type(ELEM_UINT, 2, 0, 9), 6)));
  v = affine(&b, dequantize(&b, quantize(&b, v, ELEM_UINT, 8, 3)), -2, 2);
  graph_add_output(b.g, quantize(&b, v, ELEM_INT, 2, 50));
  expect_thresholds(&b, true, 0);
  assert_int_equal(node_of(&b, OP_THRESHOLDS)->input_count, 3);
  assert_int_equal(count_ops(&b, OP_ADD), 1);
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
      cmocka_unit_test(an_addition_gives_a_row_for_each_number),
      cmocka_unit_test(a_shared_residual_stays_where_others_read_it),
      cmocka_unit_test(of_two_small_activations_the_later_is_the_source),
      cmocka_unit_test(a_product_counts_large_tables),
      cmocka_unit_test(only_one_small_addition_joins_a_chain),
      cmocka_unit_test(additions_and_thresholds_share_a_chain),
      cmocka_unit_test(a_chain_may_end_behind_the_addition),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
