/* hoist: quantize above pooling and upsampling, where every step rises. */
#include "passes_graphs.h"

static uint32_t bits_of_pool(const Build *b) {
  return graph_type(b->g, node_of(b, OP_MAXPOOL)->inputs[0])->bits;
}

static void quantize_moves_above_pooling(void **state) {
  (void)state;
  Build b = build_new(1);
  ValueId x = bipolar_conv(&b, image_input(&b, ELEM_UINT, 3, 7, 7, 5), 6);
  ValueId v = affine(&b, dequantize(&b, x), 0.1f, 2);
  v = op1(&b, OP_LEAKY_RELU, pool(&b, OP_MAXPOOL, v, 2, 1));
  v = op2(&b, OP_PRELU, v, constant(&b, 0.5f));
  graph_add_output(b.g, quantize(&b, v, ELEM_UINT, 2, 3));
  run_exactly(&b, "hoist", ENGINE_NONE);
  assert_int_equal(bits_of_pool(&b), 2);
  assert_int_equal(last_node(&b)->op, OP_MAXPOOL);
  build_free(&b);
}

static void two_poolings_and_an_upsampling_of_sums(void **state) {
  (void)state;
  Build b = build_new(2);
  ValueId x = bipolar_conv(&b, image_input(&b, ELEM_UINT, 3, 9, 9, 5), 6);
  ValueId v = pool(&b, OP_MAXPOOL, x, 2, 0);
  v = pool(&b, OP_MAXPOOL, upsample(&b, v, 3), 2, 0);
  v = op1(&b, OP_RELU, affine(&b, dequantize(&b, v), 0.1f, 2));
  graph_add_output(b.g, quantize(&b, v, ELEM_UINT, 2, 3));
  run_exactly(&b, "hoist", ENGINE_NONE);
  for (NodeId n = 0; n < b.g->node_count; n++)
    if (b.g->nodes[n].op == OP_MAXPOOL || b.g->nodes[n].op == OP_UPSAMPLE)
      assert_int_equal(graph_type(b.g, b.g->nodes[n].result)->bits, 2);
  assert_int_equal(b.g->node_count, 8);
  build_free(&b);
}

/* conv -> pool -> `step` -> quantize: does the quantize stay below? */
static void expect_stays(Build *b, ValueId pooled_then_step) {
  graph_add_output(b->g, quantize(b, pooled_then_step, ELEM_UINT, 2, 3));
  run_exactly(b, "hoist", ENGINE_NONE);
  assert_int_equal(last_node(b)->op, OP_QUANTIZE);
  build_free(b);
}

static ValueId pooled(Build *b) {
  ValueId sums = bipolar_conv(b, image_input(b, ELEM_UINT, 3, 6, 6, 5), 6);
  return pool(b, OP_MAXPOOL, dequantize(b, sums), 2, 0);
}

static void what_falls_stays_below(void **state) {
  (void)state;
  Build b = build_new(3);
  expect_stays(&b, affine(&b, pooled(&b), -1, 1));
  b = build_new(4);
  expect_stays(&b, op3(&b, OP_AFFINE, pooled(&b), constant(&b, 0), constant(&b, 1))); /* 0 * infinity */
  b = build_new(5);
  expect_stays(&b, op2(&b, OP_PRELU, pooled(&b), vector(&b, 6, -1, 1)));
  b = build_new(6);
  expect_stays(&b, op2(&b, OP_ADD, pooled(&b), op1(&b, OP_RELU, pooled(&b))));
}

static void shared_operands_stay(void **state) {
  (void)state;
  Build b = build_new(7);
  ValueId v = dequantize(&b, bipolar_conv(&b, image_input(&b, ELEM_UINT, 3, 6, 6, 5), 6));
  graph_add_output(b.g, op1(&b, OP_RELU, v));
  expect_stays(&b, op1(&b, OP_RELU, pool(&b, OP_MAXPOOL, v, 2, 0)));
  b = build_new(8);
  ValueId p = pooled(&b);
  graph_add_output(b.g, op1(&b, OP_SIGN, p));
  expect_stays(&b, op1(&b, OP_RELU, p));
}

/* Infinities and NaN reach the pooling: real inputs times infinite factors. */
static void nan_acts_like_minus_infinity(void **state) {
  (void)state;
  Build b = build_new(9);
  ValueId x = op1(&b, OP_COPY, image_input(&b, ELEM_F32, 32, 6, 6, 4));
  float *a = ARENA_NEW(b.context, float, 4);
  a[0] = (float)(1e308 * 10), a[1] = -a[0], a[2] = a[0] - a[0], a[3] = 3e38f;
  int32_t four = 4;
  ValueId factor = graph_add_const(b.g, "a", type_make(ELEM_F32, 32, false, 1, &four), a);
  ValueId v = op3(&b, OP_AFFINE, op1(&b, OP_SIGN, x), factor, vector(&b, 4, -1, 1));
  v = op3(&b, OP_AFFINE, pool(&b, OP_MAXPOOL, v, 2, 1), constant(&b, 2), constant(&b, 1));
  v = quantize(&b, op1(&b, OP_LEAKY_RELU, v), ELEM_INT, 4, 0.5f);
  graph_add_output(b.g, v);
  run_exactly(&b, "hoist", ENGINE_NONE);
  assert_int_equal(bits_of_pool(&b), 4);
  build_free(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(quantize_moves_above_pooling), cmocka_unit_test(two_poolings_and_an_upsampling_of_sums),
      cmocka_unit_test(what_falls_stays_below),       cmocka_unit_test(shared_operands_stay),
      cmocka_unit_test(nan_acts_like_minus_infinity),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
