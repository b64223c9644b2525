/* fuse: which steps join which layer. */
#include "passes_graphs.h"

static void chain_joins_its_layer(void **state) {
  (void)state;
  Build b = build_new(1);
  ValueId v = activation(&b, bipolar_conv(&b, image_input(&b, ELEM_UINT, 2, 5, 5, 3), 6));
  v = dequantize(&b, pool(&b, OP_MAXPOOL, v, 2, 0));
  graph_add_output(b.g, op1(&b, OP_RELU, pool(&b, OP_AVGPOOL, v, 2, 0)));
  run_exactly(&b, "fold,fuse", ENGINE_NONE);
  assert_int_equal(b.g->node_count, 3);
  assert_int_equal(b.g->nodes[0].step_count, 4);
  assert_int_equal(b.g->nodes[1].step_count, 1);
  assert_int_equal(b.g->nodes[2].step_count, 1);
  build_free(&b);
}

static void addition_joins_the_later_layer_and_reads_few_bits(void **state) {
  (void)state;
  for (int order = 0; order < 2; order++) {
    Build b = build_new(2);
    ValueId x = image_input(&b, ELEM_UINT, 2, 5, 5, 6);
    ValueId real = dequantize(&b, x), sums = dequantize(&b, bipolar_conv(&b, x, 6));
    ValueId sum = order ? op2(&b, OP_ADD, real, sums) : op2(&b, OP_ADD, sums, real);
    graph_add_output(b.g, quantize(&b, op1(&b, OP_RELU, sum), ELEM_UINT, 2, 1));
    run_exactly(&b, "fold,fuse", ENGINE_NONE);
    assert_int_equal(b.g->node_count, 1);
    assert_int_equal(b.g->nodes[0].steps[1].op, OP_ADD);
    assert_int_equal(b.g->nodes[0].steps[1].args[0], x);
    build_free(&b);
  }
}

static void thresholds_of_two_activations_join_the_layer_of_the_first(void **state) {
  (void)state;
  Build b = build_new(12);
  ValueId x = image_input(&b, ELEM_UINT, 2, 5, 5, 6);
  ValueId sum = op2(&b, OP_ADD, dequantize(&b, x), affine(&b, dequantize(&b, bipolar_conv(&b, x, 6)), -2, 2));
  graph_add_output(b.g, quantize(&b, op1(&b, OP_RELU, sum), ELEM_UINT, 2, 1));
  run_exactly(&b, "fold,thresholds,fuse", ENGINE_NONE);
  assert_int_equal(b.g->node_count, 1);
  assert_int_equal(b.g->nodes[0].op, OP_CONV2D);
  assert_int_equal(b.g->nodes[0].step_count, 1);
  assert_int_equal(b.g->nodes[0].steps[0].op, OP_THRESHOLDS);
  assert_int_equal(step_operand(&b.g->nodes[0].steps[0]), x);
  build_free(&b);
  b = build_new(13); /* the second activation comes after the sums: a layer of its own */
  x = image_input(&b, ELEM_UINT, 2, 5, 5, 6);
  ValueId sums = dequantize(&b, bipolar_conv(&b, x, 6));
  ValueId later = activation(&b, bipolar_conv(&b, x, 6));
  graph_add_output(b.g, later);
  graph_add_output(b.g, quantize(&b, op2(&b, OP_ADD, sums, dequantize(&b, later)), ELEM_UINT, 2, 1));
  run_exactly(&b, "fold,thresholds,fuse", ENGINE_NONE);
  assert_int_equal(b.g->node_count, 3);
  assert_int_equal(b.g->nodes[2].op, OP_COPY);
  assert_int_equal(step_operand(&b.g->nodes[2].steps[0]), later);
  build_free(&b);
}

static void addition_of_two_layers_joins_the_second(void **state) {
  (void)state;
  for (int order = 0; order < 2; order++) {
    Build b = build_new(3);
    ValueId x = image_input(&b, ELEM_UINT, 2, 5, 5, 6);
    ValueId p = op1(&b, OP_RELU, dequantize(&b, bipolar_conv(&b, x, 6)));
    ValueId q = op1(&b, OP_SIGN, dequantize(&b, bipolar_conv(&b, x, 6)));
    graph_add_output(b.g, order ? op2(&b, OP_ADD, p, q) : op2(&b, OP_ADD, q, p));
    run_exactly(&b, "fold,fuse", ENGINE_NONE);
    assert_int_equal(b.g->node_count, 2);
    assert_int_equal(b.g->nodes[1].step_count, 3);
    build_free(&b);
  }
}

static void shared_dequantize_is_repeated(void **state) {
  (void)state;
  Build b = build_new(4);
  ValueId x = activation(&b, bipolar_conv(&b, image_input(&b, ELEM_UINT, 2, 5, 5, 6), 6));
  ValueId d = dequantize(&b, x);
  ValueId p = quantize(&b, op1(&b, OP_SIGN, d), ELEM_INT, 2, 1);
  ValueId q = quantize(&b, affine(&b, d, -2, 2), ELEM_UINT, 4, 1);
  graph_add_output(b.g, p);
  graph_add_output(b.g, q);
  graph_add_output(b.g, op2(&b, OP_ADD, d, d));
  run_exactly(&b, "fold,fuse", ENGINE_NONE);
  assert_int_equal(b.g->node_count, 4);
  assert_int_equal(count_ops(&b, OP_DEQUANTIZE), 3);
  for (NodeId n = 1; n < 4; n++) assert_int_equal(b.g->nodes[n].inputs[0], x);
  build_free(&b);
}

static void lone_steps_head_a_layer_behind_a_copy(void **state) {
  (void)state;
  Build b = build_new(5);
  ValueId x = image_input(&b, ELEM_F32, 32, 5, 5, 6);
  graph_add_output(b.g, op1(&b, OP_RELU, affine(&b, x, -1, 1)));
  graph_add_output(b.g, quantize(&b, x, ELEM_UINT, 2, 1));
  graph_add_output(b.g, op2(&b, OP_ADD, x, x));
  run_exactly(&b, "fold,fuse", ENGINE_NONE);
  assert_int_equal(b.g->node_count, 3);
  assert_int_equal(b.g->nodes[0].op, OP_COPY);
  assert_int_equal(b.g->nodes[0].step_count, 2);
  assert_int_equal(count_ops(&b, OP_QUANTIZE), 1);
  assert_int_equal(count_ops(&b, OP_ADD), 1);
  build_free(&b);
}

/* An output that steps go on from stays a value of its own, as does what two steps read. */
static void outputs_and_shared_values_end_a_layer(void **state) {
  (void)state;
  Build b = build_new(6);
  ValueId sums = bipolar_conv(&b, image_input(&b, ELEM_UINT, 2, 5, 5, 6), 6);
  ValueId real = dequantize(&b, sums);
  graph_add_output(b.g, real);
  ValueId v = op1(&b, OP_RELU, real);
  graph_add_output(b.g, op1(&b, OP_SIGN, v));
  graph_add_output(b.g, affine(&b, v, -1, 1));
  run_exactly(&b, "fold,fuse", ENGINE_NONE);
  assert_int_equal(b.g->node_count, 4);
  for (NodeId n = 0; n < 4; n++) assert_true(op_info[b.g->nodes[n].op].flags & F_MAIN);
  build_free(&b);
}

/* The layer that an addition could join runs before its other operand: the addition stands alone. */
static void addition_waits_for_a_later_operand(void **state) {
  (void)state;
  Build b = build_new(7);
  ValueId x = image_input(&b, ELEM_UINT, 2, 5, 5, 6);
  ValueId p = dequantize(&b, bipolar_conv(&b, x, 6)), q = dequantize(&b, bipolar_conv(&b, x, 6));
  graph_add_output(b.g, op2(&b, OP_ADD, p, q));
  graph_add_output(b.g, op1(&b, OP_RELU, q));
  run_exactly(&b, "fold,fuse", ENGINE_NONE);
  assert_int_equal(count_ops(&b, OP_ADD), 1);
  assert_int_equal(b.g->node_count, 4);
  build_free(&b);
}

static void fusing_twice_changes_nothing(void **state) {
  (void)state;
  Build b = build_new(8);
  ValueId x = image_input(&b, ELEM_UINT, 2, 5, 5, 6);
  ValueId v = activation(&b, bipolar_conv(&b, x, 6));
  graph_add_output(b.g, op1(&b, OP_ARGMAX, op2(&b, OP_ADD, dequantize(&b, v), dequantize(&b, x))));
  run_exactly(&b, "fold,fuse", ENGINE_NONE);
  char *once = graph_print_string(b.g, PRINT_FULL);
  run_exactly(&b, "fuse", ENGINE_NONE);
  assert_string_equal(graph_print_string(b.g, PRINT_FULL), once);
  build_free(&b);
}

static void long_chains_are_cut(void **state) {
  (void)state;
  Build b = build_new(9);
  ValueId v = image_input(&b, ELEM_F32, 32, 3, 3, 4);
  for (int i = 0; i < 40; i++) v = affine(&b, v, -1, 1);
  graph_add_output(b.g, v);
  run_exactly(&b, "fuse", ENGINE_NONE);
  assert_int_equal(b.g->node_count, 3);
  assert_int_equal(count_steps(&b, OP_AFFINE), 40);
  build_free(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(chain_joins_its_layer),
      cmocka_unit_test(addition_joins_the_later_layer_and_reads_few_bits),
      cmocka_unit_test(thresholds_of_two_activations_join_the_layer_of_the_first),
      cmocka_unit_test(addition_of_two_layers_joins_the_second),
      cmocka_unit_test(shared_dequantize_is_repeated),
      cmocka_unit_test(lone_steps_head_a_layer_behind_a_copy),
      cmocka_unit_test(outputs_and_shared_values_end_a_layer),
      cmocka_unit_test(addition_waits_for_a_later_operand),
      cmocka_unit_test(fusing_twice_changes_nothing),
      cmocka_unit_test(long_chains_are_cut),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
