/* engine and cost: who computes what, and why not. */
#include "passes_graphs.h"

static const char planned[] = "fold,hoist,thresholds,fuse,engine";

/* A convolution of w bits on x bits whose operand is no network input; returns its engine. */
static Engine engine_of(int w_bits, int x_bits, int32_t channels, int32_t size, Engine force) {
  Build b = build_new(1);
  ValueId x = quantize(&b, image_input(&b, ELEM_F32, 32, size, size, channels), ELEM_UINT, x_bits, 1);
  int32_t dim[4] = {channels, 3, 3, channels};
  Type w = w_bits == 1 ? bipolar(false, 4, dim) : type_make(ELEM_INT, w_bits, false, 4, dim);
  graph_add_output(b.g, conv(&b, x, w, 1, 1, 0));
  PassOptions options = {.target = &test_target, .max_batch = 64, .pipeline = planned, .force_engine = force};
  assert_true(passes_run(b.g, &options, NULL));
  Engine engine = node_of(&b, OP_CONV2D)->engine;
  build_free(&b);
  return engine;
}

static void few_planes_take_bits_and_many_take_bytes(void **state) {
  (void)state;
  assert_int_equal(engine_of(1, 1, 128, 32, ENGINE_NONE), ENGINE_MMA_B1);
  assert_int_equal(engine_of(1, 2, 128, 32, ENGINE_NONE), ENGINE_MMA_B1);
  assert_int_equal(engine_of(2, 2, 128, 32, ENGINE_NONE), ENGINE_MMA_B1);
  assert_int_equal(engine_of(4, 4, 128, 32, ENGINE_NONE), ENGINE_MMA_S8);
  assert_int_equal(engine_of(8, 8, 128, 32, ENGINE_NONE), ENGINE_MMA_S8);
}

/* A fully connected layer of bipolar weights on 2-bit numbers. */
static void long_sums_are_not_for_one_thread(void **state) {
  (void)state;
  for (int32_t depth = 32; depth <= 8192; depth *= 4) {
    Build b = build_new(7);
    ValueId x = quantize(&b, graph_add_input(b.g, "x", type_make(ELEM_F32, 32, true, 1, &depth)), ELEM_UINT, 2, 1);
    ValueId inputs[] = {x, weights(&b, bipolar(false, 2, (int32_t[]){128, depth}))};
    ValueId y = op_with(&b, OP_LINEAR, NULL, (Type){0}, inputs, 2);
    graph_add_output(b.g, activation(&b, y));
    PassOptions options = {.target = &test_target, .max_batch = 1, .pipeline = planned};
    assert_true(passes_run(b.g, &options, NULL));
    const Node *node = node_of(&b, OP_LINEAR);
    assert_true(engine_uses_tensor_cores(node->engine));
    assert_true(cost_of_node(b.g, node, ENGINE_DIRECT, &test_target, 1, NULL) > depth * 0.05);
    build_free(&b);
  }
}

static void options_force_an_engine(void **state) {
  (void)state;
  static const Engine forced[] = {ENGINE_MMA_B1, ENGINE_MMA_S8, ENGINE_DIRECT};
  for (int i = 0; i < 3; i++) {
    assert_int_equal(engine_of(8, 8, 16, 8, forced[i]), forced[i]);
    assert_int_equal(engine_of(1, 1, 16, 8, forced[i]), forced[i]);
  }
  assert_int_equal(engine_of(1, 1, 128, 32, ENGINE_ROW), ENGINE_MMA_B1); /* ROW has no convolution */
}

static void every_operation_finds_its_engine(void **state) {
  (void)state;
  Build b = build_new(2);
  ValueId x = quantize(&b, image_input(&b, ELEM_F32, 32, 6, 6, 8), ELEM_UINT, 3, 1);
  int32_t depthwise[4] = {8, 3, 3, 1};
  ValueId v = activation(&b, conv(&b, x, type_make(ELEM_INT, 2, false, 4, depthwise), 1, 1, 0));
  v = upsample(&b, pool(&b, OP_MAXPOOL, v, 2, 0), 2);
  v = reshape(&b, v, 2, (int32_t[]){36, 8});
  ValueId real = dequantize(&b, v);
  graph_add_output(b.g, op1(&b, OP_ARGMAX, real));
  graph_add_output(b.g, op1(&b, OP_SOFTMAX, real));
  graph_add_output(b.g, reshape(&b, x, 1, (int32_t[]){288}));
  run_exactly(&b, planned, ENGINE_NONE);
  for (NodeId n = 0; n < b.g->node_count; n++) {
    const Node *node = &b.g->nodes[n];
    Engine wanted = node->op == OP_ARGMAX || node->op == OP_SOFTMAX ? ENGINE_ROW : ENGINE_DIRECT;
    if (node->op == OP_MAXPOOL && type_is_quantized(graph_type(b.g, node->inputs[0]))) wanted = ENGINE_POOL;
    if (node->op == OP_RESHAPE && !graph_is_output(b.g, node->result)) wanted = ENGINE_VIEW;
    assert_int_equal(node->engine, wanted);
  }
  build_free(&b);
}

/* A first layer of 8 bits on few channels, of a network input. */
static Engine engine_of_stem(int32_t channels, int32_t kernel, Engine force, const char **why) {
  Build b = build_new(6);
  ValueId x = image_input(&b, ELEM_UINT, 8, 96, 96, channels);
  int32_t dim[4] = {64, kernel, kernel, channels};
  ValueId stem = activation(&b, conv(&b, x, type_make(ELEM_INT, 8, false, 4, dim), 2, 1, 0));
  graph_add_output(b.g, activation(&b, bipolar_conv(&b, stem, 64)));
  PassOptions options = {.target = &test_target, .max_batch = 64, .pipeline = planned, .force_engine = force};
  assert_true(passes_run(b.g, &options, NULL));
  const Node *node = node_of(&b, OP_CONV2D);
  cost_of_node(b.g, node, ENGINE_PATCH_S8, &test_target, 64, why);
  Engine engine = node->engine;
  build_free(&b);
  return engine;
}

static void few_channels_take_patches(void **state) {
  (void)state;
  const char *why = NULL;
  for (int32_t channels = 1; channels <= 8; channels++)
    assert_int_equal(engine_of_stem(channels, 7, ENGINE_NONE, &why), ENGINE_PATCH_S8);
  assert_int_equal(engine_of_stem(3, 7, ENGINE_MMA_S8, &why), ENGINE_MMA_S8);
  assert_null(why);
  assert_int_equal(engine_of_stem(17, 3, ENGINE_PATCH_S8, &why), ENGINE_MMA_S8);
  assert_non_null(strstr(why, "few channels"));
  assert_int_not_equal(engine_of_stem(16, 11, ENGINE_PATCH_S8, &why), ENGINE_PATCH_S8);
  assert_non_null(strstr(why, "too many"));
}

/* Where wgmma has an instruction: strips, if the image's rows are words and strips serve the filter. */
static void few_channels_take_strips(void **state) {
  (void)state;
  static const struct {
    int32_t width, channels, stride;
    Engine wanted;
  } cases[] = {{224, 3, 2, ENGINE_STRIP_S8}, {224, 1, 1, ENGINE_STRIP_S8}, {225, 3, 2, ENGINE_PATCH_S8},
               {224, 3, 7, ENGINE_PATCH_S8}, {224, 8, 2, ENGINE_STRIP_S8}, {224, 9, 2, ENGINE_PATCH_S8}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    Build b = build_new(7);
    ValueId x = image_input(&b, ELEM_UINT, 8, 64, cases[i].width, cases[i].channels);
    int32_t dim[4] = {64, 7, 7, cases[i].channels};
    ValueId sums = conv(&b, x, type_make(ELEM_INT, 8, false, 4, dim), cases[i].stride, 1, 0);
    graph_add_output(b.g, activation(&b, sums));
    PassOptions options = {.target = target_find("sm_90a"), .max_batch = 256, .pipeline = planned};
    assert_true(passes_run(b.g, &options, NULL));
    const Node *node = node_of(&b, OP_CONV2D);
    const char *why = NULL;
    bool serves = cost_of_node(b.g, node, ENGINE_STRIP_S8, options.target, 256, &why) >= 0;
    assert_int_equal(node->engine, cases[i].wanted);
    assert_int_equal(serves, cases[i].wanted == ENGINE_STRIP_S8);
    assert_true(serves || strstr(why, "neighbour each other"));
    build_free(&b);
  }
}

static const Node *planned_conv(Build *b, int32_t size) {
  ValueId x = quantize(b, image_input(b, ELEM_F32, 32, size, size, 64), ELEM_UINT, 2, 1);
  graph_add_output(b->g, bipolar_conv(b, x, 64));
  PassOptions options = {.target = &test_target, .max_batch = 1, .pipeline = planned};
  assert_true(passes_run(b->g, &options, NULL));
  return node_of(b, OP_CONV2D);
}

static void estimates_grow_with_work_and_say_why_not(void **state) {
  (void)state;
  Build small = build_new(3), large = build_new(4);
  const Node *s = planned_conv(&small, 8), *l = planned_conv(&large, 256);
  static const Engine engines[] = {ENGINE_MMA_B1, ENGINE_MMA_S8, ENGINE_DIRECT};
  for (int i = 0; i < 3; i++) {
    double few = cost_of_node(small.g, s, engines[i], &test_target, 1, NULL);
    double more = cost_of_node(large.g, l, engines[i], &test_target, 1, NULL);
    assert_true(few >= test_target.launch_us && more > few);
    assert_true(cost_of_node(large.g, l, engines[i], &test_target, 16, NULL) > more);
  }
  const char *why = NULL;
  assert_true(cost_of_node(large.g, l, ENGINE_ROW, &test_target, 1, &why) < 0);
  assert_non_null(why);
  static const MmaRate emulated[] = {{"b1", ENGINE_MMA_B1, 10000, .native = false},
                                     {"s8", ENGINE_MMA_S8, 1250, .native = true}};
  Target target = test_target;
  target.mma = emulated;
  assert_true(cost_of_node(large.g, l, ENGINE_MMA_B1, &target, 1, &why) < 0);
  assert_non_null(strstr(why, "native"));
  assert_true(cost_of_node(large.g, l, ENGINE_MMA_S8, &target, 1, &why) > 0);
  build_free(&small);
  build_free(&large);
}

static void groups_have_no_tensor_core_engine(void **state) {
  (void)state;
  Build b = build_new(5);
  ValueId x = quantize(&b, image_input(&b, ELEM_F32, 32, 6, 6, 8), ELEM_UINT, 2, 1);
  int32_t grouped[4] = {12, 3, 3, 4};
  graph_add_output(b.g, conv(&b, x, bipolar(false, 4, grouped), 1, 1, 0));
  run_exactly(&b, planned, ENGINE_MMA_B1);
  const Node *node = node_of(&b, OP_CONV2D);
  const char *why;
  assert_int_equal(node->engine, ENGINE_DIRECT);
  assert_true(cost_of_node(b.g, node, ENGINE_MMA_B1, &test_target, 1, &why) < 0);
  assert_non_null(strstr(why, "groups"));
  build_free(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(few_planes_take_bits_and_many_take_bytes),
      cmocka_unit_test(long_sums_are_not_for_one_thread),
      cmocka_unit_test(options_force_an_engine),
      cmocka_unit_test(few_channels_take_patches),
      cmocka_unit_test(few_channels_take_strips),
      cmocka_unit_test(every_operation_finds_its_engine),
      cmocka_unit_test(estimates_grow_with_work_and_say_why_not),
      cmocka_unit_test(groups_have_no_tensor_core_engine),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
