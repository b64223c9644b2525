/* Parameters drawn from a seed: the same every time, and such that activations use the levels of their quantizers. */
#include "frontend_sample.h"

static const char residual[] =
    "block basic(x, channels, stride=1) {\n"
    "  c1 = conv2d(x, channels, kernel=3, stride=stride, pad=1, w=bipolar)\n"
    "  a1 = c1 | batchnorm(name=\"bn1\") | relu | quantize(u2)\n"
    "  c2 = conv2d(a1, channels, kernel=3, pad=1, w=ternary) | batchnorm(name=\"bn2\")\n"
    "  s = conv2d(x, channels, kernel=1, stride=stride, w=i4)\n"
    "  return add(c2, s) | relu | quantize(u2)\n}\n"
    "network n {\n  input x : u4[12, 12, 3](scale=1/15)\n  l1 = basic(x, 16)\n  l2 = basic(l1, 32, stride=2)\n"
    "  l3 = basic(l2, 32)\n  l4 = basic(l3, 32)\n  l5 = basic(l4, 32)\n  output y = basic(l5, 32)\n"
    "  output z = conv2d(l5, 8, kernel=3, w=i8) | sign | quantize(bipolar)\n}\n";

static const char plain[] =
    "network n {\n  input x : i8[64](scale=0.1)\n  a = linear(x, 64, w=i8) | affine(name=\"f\") | quantize(i4)\n"
    "  b = linear(a, 64, w=u3, bias=true) | quantize(i4)\n  c = linear(b, 64, w=bipolar) | prelu(name=\"p\") | "
    "quantize(u3)\n"
    "  output y = linear(c, 64, w=i5) | hardtanh(-9, 9) | quantize(i3)\n}\n";

static void test_same_seed_same_parameters(void **state) {
  (void)state;
  Context *c = context_new(NULL);
  const char *first = graph_print_string(load_random(c, residual, 5), PRINT_FULL);
  assert_string_equal(first, graph_print_string(load_random(c, residual, 5), PRINT_FULL));
  assert_string_not_equal(first, graph_print_string(load_random(c, residual, 6), PRINT_FULL));
  context_free(c);
}

/* Parameters follow from the seed and their names: another layer in front changes none of the weights behind. */
static void test_names_decide(void **state) {
  (void)state;
  Context *c = context_new(NULL);
  Graph *a = load_random(c, "network n {\n  input x : u4[9]\n  output y = linear(x, 7, w=i8, name=\"fc\")\n}\n", 3);
  Graph *b = load_random(c,
                         "network n {\n  input x : u4[9]\n  z = linear(x, 9, w=i8) | quantize(u4)\n"
                         "  output y = linear(z, 7, w=i8, name=\"fc\")\n}\n",
                         3);
  assert_memory_equal(graph_value(a, graph_find(a, "fc.weight"))->data,
                      graph_value(b, graph_find(b, "fc.weight"))->data, 63);
  context_free(c);
}

enum { BATCH = 16 };

/* Every level of the outputs' types must occur, each in at least one element of 200. */
static void check_levels(const char *text, uint64_t seed) {
  Context *c = context_new(NULL);
  Graph *g = load_random(c, text, seed);
  assert_non_null(g);
  const Type *in = graph_type(g, g->inputs[0]);
  size_t in_bytes = type_dense_bytes(in) * BATCH;
  uint8_t *x = malloc(in_bytes);
  void *outputs[8];
  uint64_t numbers = seed;
  for (size_t i = 0; i < in_bytes; i++)
    x[i] = (uint8_t)(type_q_min(in) + (int)(random_number(&numbers) % (uint64_t)(type_q_max(in) - type_q_min(in) + 1)));
  for (uint32_t i = 0; i < g->output_count; i++)
    outputs[i] = calloc(BATCH, type_dense_bytes(graph_type(g, g->outputs[i])));
  assert_true(graph_eval(g, BATCH, (const void *const[]){x}, outputs));
  for (uint32_t i = 0; i < g->output_count; i++) {
    const Type *t = graph_type(g, g->outputs[i]);
    size_t count[256] = {0}, total = type_dense_bytes(t) * BATCH;
    for (size_t k = 0; k < total; k++) count[((uint8_t *)outputs[i])[k]]++;
    for (int q = type_q_min(t); q <= type_q_max(t); q++)
      if (count[(uint8_t)q] < total / 200)
        fail_msg("seed %llu, output %u: level %d occurs %zu times in %zu", (unsigned long long)seed, i, q,
                 count[(uint8_t)q], total);
    free(outputs[i]);
  }
  free(x);
  context_free(c);
}

static void test_levels_are_used(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 8; seed++) {
    check_levels(residual, seed);
    check_levels(plain, seed);
  }
}

/* Past 16384 channels the spread of a value is that of its first channels; every operation meets such values here. */
static void test_wide_values(void **state) {
  (void)state;
  static const char text[] = "network wide {\n"
                             "  input x : u4[1, 1, 8]\n"
                             "  a = conv2d(x, 20001, kernel=1, w=i2) | batchnorm(name=\"bn\") | relu | quantize(u2)\n"
                             "  b = conv2d(x, 20001, kernel=1, w=i2) | quantize(u2, scale=1)\n"
                             "  c = add(a, b) | maxpool(kernel=1) | avgpool(kernel=1)\n"
                             "  d = concat(c, c) | quantize(u3)\n"
                             "  output y = linear(flatten(d), 5, w=bipolar)\n"
                             "  output z = conv2d(a, 3, kernel=1, w=i3)\n"
                             "}\n";
  Context *c = context_new(NULL);
  assert_non_null(load_good(c, text));
  context_free(c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_same_seed_same_parameters),
      cmocka_unit_test(test_names_decide),
      cmocka_unit_test(test_levels_are_used),
      cmocka_unit_test(test_wide_values),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
