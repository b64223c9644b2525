/* The whole pipeline on networks: same bits on every road, on every engine, and what the manager guarantees. */
#include "passes_graphs.h"

/* A residual network: padding, stride, shared activations, a projection, pooling, a head of linear layers. */
static void add_residual_network(Build *b) {
  ValueId image = image_input(b, ELEM_UINT, 4, 9, 8, 3);
  ValueId a = activation(b, bipolar_conv(b, image, 40));
  ValueId p = pool(b, OP_MAXPOOL, a, 2, 0);
  ValueId c1 = activation(b, bipolar_conv(b, p, 40));
  ValueId c2 = batchnorm(b, dequantize(b, bipolar_conv(b, c1, 40)));
  ValueId sum = op1(b, OP_RELU, op2(b, OP_ADD, c2, dequantize(b, p)));
  ValueId q = quantize(b, sum, ELEM_UINT, 3, 0.75f);
  int32_t dim[4] = {66, 1, 1, 40};
  Type w = type_make(ELEM_INT, 3, false, 4, dim);
  ValueId down = batchnorm(b, dequantize(b, conv(b, q, w, 2, 0, 0)));
  int32_t dim3[4] = {66, 3, 3, 40};
  ValueId main_path = batchnorm(b, dequantize(b, conv(b, q, bipolar(false, 4, dim3), 2, 1, 0)));
  ValueId joined = quantize(b, op1(b, OP_RELU, op2(b, OP_ADD, main_path, down)), ELEM_UINT, 2, 1);
  ValueId h = activation(b, linear(b, flatten(b, joined, true), 33, 4));
  ValueId logits = op2(b, OP_BIAS, dequantize(b, linear(b, h, 10, 8)), vector(b, 10, -1, 1));
  graph_add_output(b->g, logits);
  graph_add_output(b->g, op1(b, OP_ARGMAX, logits));
  graph_add_output(b->g, op1(b, OP_SOFTMAX, logits));
}

static void residual_network_keeps_its_bits(void **state) {
  (void)state;
  for (int force = 0; force < ENGINE_COUNT; force++) {
    Build b = build_new(3);
    add_residual_network(&b);
    run_exactly(&b, NULL, (Engine)force);
    build_free(&b);
  }
}

static void every_prefix_of_the_pipeline_keeps_the_bits(void **state) {
  (void)state;
  Build b = build_new(4);
  add_residual_network(&b);
  for (uint32_t i = 0; pass_at(i); i++) run_exactly(&b, pass_at(i)->name, ENGINE_NONE);
  run_exactly(&b, NULL, ENGINE_NONE); /* and once more on the planned graph */
  build_free(&b);
}

static void properties_are_reported(void **state) {
  (void)state;
  Build b = build_new(5);
  add_residual_network(&b);
  PassOptions options = {.target = &test_target, .max_batch = 8, .stop_after = "layout"};
  uint32_t properties = 0;
  assert_true(passes_run(b.g, &options, &properties));
  assert_int_equal(properties, PROP_FOLDED | PROP_THRESHOLDS | PROP_FUSED | PROP_ENGINES | PROP_LAYOUTS);
  options.stop_after = NULL;
  assert_true(passes_run(b.g, &options, &properties));
  assert_int_equal(properties, 255);
  build_free(&b);
}

static void expect_report(const PassOptions *options, const char *wanted) {
  Build b = build_new(6);
  add_residual_network(&b);
  assert_false(passes_run(b.g, options, NULL));
  expect_text(reports(&b), wanted);
  context_free(b.context);
}

static void what_cannot_run_is_reported(void **state) {
  (void)state;
  expect_report(&(PassOptions){.target = &test_target, .pipeline = "fold,engine"}, "run pass 'fuse' before it");
  expect_report(&(PassOptions){.target = &test_target, .pipeline = "thresholds"}, "a graph free of batchnorm");
  expect_report(&(PassOptions){.target = &test_target, .pipeline = "fold,tidy"}, "no pass is called 'tidy'");
  expect_report(&(PassOptions){.target = &test_target, .stop_after = "end"}, "no pass is called 'end'");
  expect_report(&(PassOptions){.target = &test_target, .print_after = "fold,mid"}, "no pass is called 'mid'");
  const char *missing[] = {"./no_such_plugin.so"};
  expect_report(&(PassOptions){.target = &test_target, .plugins = missing, .plugin_count = 1},
                "cannot load plug-in './no_such_plugin.so'");
  expect_report(&(PassOptions){.target = &test_target, .max_batch = 4000000000u}, "needs a grid of");
}

static void printing_names_every_pass(void **state) {
  (void)state;
  Build b = build_new(7);
  add_residual_network(&b);
  FILE *out = tmpfile();
  PassOptions options = {.target = &test_target, .print_after = "fuse,layout", .print_to = out};
  assert_true(passes_run(b.g, &options, NULL));
  char *text = read_back(&b, out);
  expect_text(text, "conv2d");
  expect_text(strstr(text, "\n}\n"), "layout=planes"); /* the first graph has none yet */
  out = tmpfile();
  passes_list(out);
  text = read_back(&b, out);
  for (uint32_t i = 0; pass_at(i); i++) expect_text(text, pass_at(i)->about);
  build_free(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(residual_network_keeps_its_bits), cmocka_unit_test(every_prefix_of_the_pipeline_keeps_the_bits),
      cmocka_unit_test(properties_are_reported),         cmocka_unit_test(what_cannot_run_is_reported),
      cmocka_unit_test(printing_names_every_pass),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
