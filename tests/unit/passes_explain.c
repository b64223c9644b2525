/* explain: what it says about a network whose figures are known. */
#include "passes_graphs.h"

static char *explain(Build *b, const PassOptions *options) {
  FILE *f = tmpfile();
  passes_explain(b->g, options, f);
  return read_back(b, f);
}

static void layers_are_explained(void **state) {
  (void)state;
  Build b = build_new(1);
  ValueId x = quantize(&b, image_input(&b, ELEM_F32, 32, 16, 16, 64), ELEM_UINT, 2, 1);
  ValueId a = activation(&b, bipolar_conv(&b, x, 40));
  graph_rename(b.g, a, "a1");
  graph_add_output(b.g, op1(&b, OP_ARGMAX, reshape(&b, a, 2, (int32_t[]){256, 40})));
  PassOptions options = {.target = &test_target, .max_batch = 16};
  assert_true(passes_run(b.g, &options, NULL));
  char *text = explain(&b, &options);
  expect_text(text, "a1: conv2d + thresholds -> u2[N,16,16,40](scale=0.5)\n");
  expect_text(text, "engine    mma_b1");
  expect_text(text, "for 2 one-bit products");
  expect_text(text, "rejected  mma_s8: estimated ");
  expect_text(text, "rejected  direct: estimated ");
  /* reads 2 planes of 64 channels, writes 2 of 64 where 40 would do; unfused, the i32 sums go out and in again */
  expect_text(text, "reads 4096, writes 4096 an image; least 6656 (x1.23), unfused 90112 (x11.00)");
  expect_text(text, "view: its operand's memory, no kernel");
  expect_text(text, "at batch 16\n");
  expect_text(text, "3 launches");
  build_free(&b);
}

static void forced_and_missing_engines_are_named(void **state) {
  (void)state;
  Build b = build_new(2);
  ValueId x = quantize(&b, image_input(&b, ELEM_F32, 32, 6, 6, 8), ELEM_UINT, 2, 1);
  int32_t grouped[4] = {8, 3, 3, 1}, full[4] = {8, 3, 3, 8};
  graph_add_output(b.g, conv(&b, x, bipolar(false, 4, grouped), 1, 1, 0));
  graph_add_output(b.g, conv(&b, x, bipolar(false, 4, full), 1, 1, 0));
  PassOptions options = {.target = &test_target, .max_batch = 1, .force_engine = ENGINE_MMA_S8};
  assert_true(passes_run(b.g, &options, NULL));
  char *text = explain(&b, &options);
  expect_text(text, "rejected  mma_b1: groups share no operand");
  expect_text(text, "engine    mma_s8");
  expect_text(text, ", as the options say\n");
  build_free(&b);
}

static void an_unplanned_network_has_no_layers(void **state) {
  (void)state;
  Build b = build_new(3);
  graph_add_output(b.g, bipolar_conv(&b, image_input(&b, ELEM_UINT, 2, 6, 6, 8), 8));
  PassOptions options = {.target = &test_target};
  char *text = explain(&b, &options);
  assert_ptr_equal(strstr(text, "network test on test: 0 launches"), text);
  build_free(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(layers_are_explained),
      cmocka_unit_test(forced_and_missing_engines_are_named),
      cmocka_unit_test(an_unplanned_network_has_no_layers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
