/* fold: batchnorm, constants, steps that change nothing. */
#include "passes_graphs.h"

static void batchnorm_becomes_affine(void **state) {
  (void)state;
  Build b = build_new(1);
  ValueId x = image_input(&b, ELEM_F32, 32, 3, 3, 5);
  graph_add_output(b.g, batchnorm(&b, x));
  run_exactly(&b, "fold", ENGINE_NONE);
  assert_int_equal(b.g->node_count, 1);
  assert_int_equal(b.g->nodes[0].op, OP_AFFINE);
  build_free(&b);
}

static void constants_are_evaluated(void **state) {
  (void)state;
  Build b = build_new(2);
  int32_t dim[3] = {3, 3, 5};
  ValueId table = weights(&b, type_make(ELEM_INT, 8, false, 3, dim));
  ValueId real = op1(&b, OP_LEAKY_RELU, dequantize(&b, table));
  graph_add_output(b.g, op1(&b, OP_RELU, batchnorm(&b, real)));
  run_exactly(&b, "fold", ENGINE_NONE);
  assert_int_equal(b.g->node_count, 1); /* an output is a result, so its operation stays */
  assert_int_equal(graph_value(b.g, b.g->nodes[0].inputs[0])->kind, VALUE_CONST);
  build_free(&b);
}

/* +0 changes a -0, which a plain input may hold; it changes nothing behind a dequantize. */
static void adding_zero_goes_where_no_bit_tells(void **state) {
  (void)state;
  Build b = build_new(3);
  ValueId x = image_input(&b, ELEM_F32, 32, 3, 3, 5), q = quantize(&b, x, ELEM_INT, 4, 0.5f);
  graph_add_output(b.g, op2(&b, OP_BIAS, op1(&b, OP_LEAKY_RELU, x), constant(&b, 0)));
  graph_add_output(b.g, op2(&b, OP_BIAS, dequantize(&b, q), constant(&b, 0)));
  graph_add_output(b.g, op2(&b, OP_BIAS, affine(&b, x, -1, 1), constant(&b, -0.0f)));
  graph_add_output(b.g, op2(&b, OP_BIAS, x, constant(&b, -0.0f))); /* its NaNs may have other bits */
  run_exactly(&b, "fold", ENGINE_NONE);
  assert_int_equal(count_ops(&b, OP_BIAS), 2);
  assert_int_equal(last_node(&b)->op, OP_BIAS);
  build_free(&b);
}

static void factor_one_becomes_a_bias(void **state) {
  (void)state;
  Build b = build_new(4);
  ValueId x = image_input(&b, ELEM_F32, 32, 3, 3, 5);
  graph_add_output(b.g, op3(&b, OP_AFFINE, x, constant(&b, 1), vector(&b, 5, -1, 1)));
  graph_add_output(b.g, op3(&b, OP_AFFINE, x, constant(&b, 1.5f), constant(&b, 0)));
  run_exactly(&b, "fold", ENGINE_NONE);
  assert_int_equal(count_ops(&b, OP_BIAS), 1);
  assert_int_equal(count_ops(&b, OP_AFFINE), 1);
  build_free(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(batchnorm_becomes_affine),
      cmocka_unit_test(constants_are_evaluated),
      cmocka_unit_test(adding_zero_goes_where_no_bit_tells),
      cmocka_unit_test(factor_one_becomes_a_bias),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
