/* canonicalize: linear over an image, reshapes, identities. */
#include "passes_graphs.h"

static void linear_over_an_image_becomes_a_convolution(void **state) {
  (void)state;
  for (int channel_major = 0; channel_major < 2; channel_major++) {
    Build b = build_new(1);
    ValueId x = image_input(&b, ELEM_UINT, 3, 3, 5, 7);
    ValueId h = activation(&b, linear(&b, flatten(&b, x, channel_major), 12, 4));
    graph_add_output(b.g, dequantize(&b, linear(&b, h, 5, 4)));
    run_exactly(&b, "canonicalize", ENGINE_NONE);
    const Node *c = node_of(&b, OP_CONV2D);
    assert_non_null(c);
    assert_int_equal(c->attrs.kernel[0], 3);
    assert_int_equal(c->attrs.kernel[1], 5);
    assert_int_equal(count_ops(&b, OP_FLATTEN), 0);
    assert_int_equal(count_ops(&b, OP_LINEAR), 1);
    /* the reshape stands below the whole chain, in front of the second linear */
    assert_int_equal(count_ops(&b, OP_RESHAPE), 1);
    assert_ptr_equal(defined_by(b.g, node_of(&b, OP_RESHAPE)->inputs[0], OP_QUANTIZE), node_of(&b, OP_QUANTIZE));
    build_free(&b);
  }
}

static void linear_over_one_pixel_stays_linear(void **state) {
  (void)state;
  Build b = build_new(2);
  ValueId x = image_input(&b, ELEM_UINT, 3, 1, 1, 7);
  graph_add_output(b.g, linear(&b, flatten(&b, x, true), 4, 4));
  run_exactly(&b, "canonicalize", ENGINE_NONE);
  assert_int_equal(count_ops(&b, OP_LINEAR), 1);
  assert_int_equal(count_ops(&b, OP_RESHAPE), 1);
  build_free(&b);
}

static void linear_as_an_output_keeps_its_name(void **state) {
  (void)state;
  Build b = build_new(3);
  ValueId x = image_input(&b, ELEM_INT, 4, 2, 2, 3);
  ValueId sums = linear(&b, flatten(&b, x, false), 4, 4);
  graph_rename(b.g, sums, "sums");
  graph_add_output(b.g, sums);
  run_exactly(&b, "canonicalize", ENGINE_NONE);
  assert_int_equal(count_ops(&b, OP_CONV2D), 1);
  assert_string_equal(graph_value(b.g, b.g->outputs[0])->name, "sums");
  build_free(&b);
}

/* A channel-major flatten that something else reads must stay one. */
static void per_channel_step_holds_a_flatten_back(void **state) {
  (void)state;
  Build b = build_new(4);
  ValueId x = image_input(&b, ELEM_UINT, 4, 2, 3, 4);
  ValueId flat = flatten(&b, dequantize(&b, x), true);
  graph_add_output(b.g, affine(&b, flat, -1, 1));
  run_exactly(&b, "canonicalize", ENGINE_NONE);
  assert_int_equal(count_ops(&b, OP_FLATTEN), 1);
  assert_int_equal(last_node(&b)->op, OP_AFFINE);
  build_free(&b);
}

static void identities_go(void **state) {
  (void)state;
  Build b = build_new(5);
  ValueId x = image_input(&b, ELEM_UINT, 4, 4, 4, 6);
  ValueId v = upsample(&b, x, 1);
  v = op_with(&b, OP_CONCAT, NULL, (Type){0}, &v, 1);
  v = pool(&b, OP_MAXPOOL, v, 1, 0);
  v = reshape(&b, v, 3, (int32_t[]){4, 4, 6});
  v = op1(&b, OP_COPY, v);
  v = bipolar_conv(&b, v, 5);
  v = dequantize(&b, v);
  v = op1(&b, OP_RELU6, op1(&b, OP_RELU6, v));
  v = op1(&b, OP_RELU, v);
  graph_add_output(b.g, v);
  run_exactly(&b, "canonicalize", ENGINE_NONE);
  assert_int_equal(b.g->node_count, 3);
  build_free(&b);
}

static void relu6_after_relu_stays(void **state) {
  (void)state;
  Build b = build_new(6);
  ValueId x = image_input(&b, ELEM_F32, 32, 4, 4, 6);
  graph_add_output(b.g, op1(&b, OP_RELU6, op1(&b, OP_RELU, x)));
  graph_add_output(b.g, pool(&b, OP_MAXPOOL, x, 1, 0)); /* a NaN becomes -infinity */
  run_exactly(&b, "canonicalize", ENGINE_NONE);
  assert_int_equal(b.g->node_count, 3);
  build_free(&b);
}

static void requantizing_to_the_same_type_goes(void **state) {
  (void)state;
  Build b = build_new(7);
  ValueId x = image_input(&b, ELEM_INT, 8, 2, 2, 3);
  graph_type(b.g, x)->scale = 0.1f;
  ValueId same = quantize(&b, dequantize(&b, x), ELEM_INT, 8, 0.1f);
  ValueId other = quantize(&b, dequantize(&b, same), ELEM_INT, 8, 0.2f);
  graph_add_output(b.g, op1(&b, OP_COPY, other));
  run_exactly(&b, "canonicalize", ENGINE_NONE);
  assert_int_equal(count_ops(&b, OP_QUANTIZE), 1);
  assert_int_equal(count_ops(&b, OP_COPY), 0);
  build_free(&b);
}

static void output_that_is_the_input_stays_a_copy(void **state) {
  (void)state;
  Build b = build_new(8);
  ValueId x = image_input(&b, ELEM_UINT, 2, 2, 2, 3);
  ValueId first = op1(&b, OP_COPY, x);
  graph_add_output(b.g, first);
  graph_add_output(b.g, op1(&b, OP_COPY, first));
  run_exactly(&b, "canonicalize", ENGINE_NONE);
  assert_int_equal(count_ops(&b, OP_COPY), 2);
  build_free(&b);
}

static void reshapes_merge_and_sink_below_an_addition(void **state) {
  (void)state;
  Build b = build_new(9);
  ValueId x = image_input(&b, ELEM_F32, 32, 2, 3, 4), y = op1(&b, OP_RELU, x);
  int32_t flat[2] = {6, 4}, back[3] = {3, 2, 4};
  ValueId p = reshape(&b, reshape(&b, y, 2, flat), 3, back);
  ValueId q = reshape(&b, op1(&b, OP_SIGN, x), 3, back);
  graph_add_output(b.g, op1(&b, OP_RELU, op2(&b, OP_ADD, p, q)));
  run_exactly(&b, "canonicalize", ENGINE_NONE);
  assert_int_equal(count_ops(&b, OP_RESHAPE), 1);
  assert_int_equal(last_node(&b)->op, OP_RESHAPE);
  build_free(&b);
}

static void wide_concats_are_split(void **state) {
  (void)state;
  Build b = build_new(10);
  ValueId x = image_input(&b, ELEM_UINT, 2, 2, 3, 2), many[40];
  for (int i = 0; i < 40; i++) many[i] = i % 3 ? x : pool(&b, OP_MAXPOOL, x, 1, 0);
  Attrs a = attrs_default();
  a.axis = 2;
  graph_add_output(b.g, op_with(&b, OP_CONCAT, &a, (Type){0}, many, 40));
  run_exactly(&b, "canonicalize", ENGINE_NONE);
  assert_int_equal(count_ops(&b, OP_CONCAT), 3);
  assert_int_equal(type_channels(graph_type(b.g, b.g->outputs[0])), 80);
  build_free(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(linear_over_an_image_becomes_a_convolution),
      cmocka_unit_test(linear_over_one_pixel_stays_linear),
      cmocka_unit_test(linear_as_an_output_keeps_its_name),
      cmocka_unit_test(per_channel_step_holds_a_flatten_back),
      cmocka_unit_test(identities_go),
      cmocka_unit_test(relu6_after_relu_stays),
      cmocka_unit_test(requantizing_to_the_same_type_goes),
      cmocka_unit_test(output_that_is_the_input_stays_a_copy),
      cmocka_unit_test(reshapes_merge_and_sink_below_an_addition),
      cmocka_unit_test(wide_concats_are_split),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
