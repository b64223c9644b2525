/* What `apnn-bench layer` calls exact: the reference's outputs are, whole or sampled, and one wrong bit is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "runtime/bench/layer_check.c" /* its choice of samples is looked at from inside */

#include <stdlib.h>

enum { MOST_TENSORS = 4 };

/* A layer's network, inputs of every kind of bits, and the outputs that the reference computes from them. */
typedef struct Layer {
  LayerNetwork network;
  uint32_t batch;
  void *inputs[MOST_TENSORS], *outputs[MOST_TENSORS];
  size_t output_bytes;
} Layer;

static Layer make_layer(LayerSpec spec, const char *precision, const char *out) {
  char error[NETWORK_ERROR];
  Layer l = {.batch = (uint32_t)spec.batch};
  assert_true(precision_read(precision, &spec));
  strcpy(spec.out, out);
  spec.target = target_find("sm_90a");
  if (!layer_network_new(&spec, &l.network, error)) fail_msg("%s", error);
  const Graph *g = l.network.reference;
  for (uint32_t i = 0; i < g->input_count; i++) {
    const Type *t = graph_type(g, g->inputs[i]);
    size_t bytes = type_dense_bytes(t) * l.batch;
    uint8_t *data = l.inputs[i] = malloc(bytes);
    for (size_t b = 0; b < bytes; b++) data[b] = (uint8_t)(b * 37 % (size_t)(type_q_max(t) + 1));
  }
  for (uint32_t i = 0; i < g->output_count; i++)
    l.outputs[i] = malloc(type_dense_bytes(graph_type(g, g->outputs[i])) * l.batch);
  l.output_bytes = type_dense_bytes(graph_type(g, g->outputs[0])) * l.batch;
  assert_true(graph_eval(g, l.batch, (const void *const *)l.inputs, l.outputs));
  return l;
}

static void free_layer(Layer *l) {
  for (int i = 0; i < MOST_TENSORS; i++) {
    free(l->inputs[i]);
    free(l->outputs[i]);
  }
  layer_network_free(&l->network);
}

static Exactness exactness(const Layer *l, bool sample) {
  char error[NETWORK_ERROR];
  Exactness exact;
  if (!layer_network_check(&l->network, l->batch, sample, (const void *const *)l->inputs,
                           (const void *const *)l->outputs, &exact, error))
    fail_msg("%s", error);
  return exact;
}

/* Every byte of the result is looked at by a whole check; a sample sees some of them. */
static void check_layer(Layer l) {
  uint8_t *result = l.outputs[0];
  size_t seen = 0;
  assert_int_equal(exactness(&l, false), EXACT_ALL);
  assert_int_equal(exactness(&l, true), EXACT_SAMPLED);
  for (size_t i = 0; i < l.output_bytes; i += 7) {
    result[i] ^= 1;
    assert_int_equal(exactness(&l, false), EXACT_NO);
    seen += exactness(&l, true) == EXACT_NO;
    result[i] ^= 1;
  }
  assert_true(seen > 0);
  ((uint8_t *)l.outputs[l.network.reference->output_count - 1])[0] ^= 1;
  assert_int_equal(exactness(&l, false), EXACT_NO);
  free_layer(&l);
}

static const LayerSpec product = {.batch = 5, .channels_in = 40, .channels_out = 24};
static const LayerSpec convolution = {
    .conv = true, .batch = 2, .height = 4, .width = 3, .channels_in = 8, .channels_out = 12, .kernel = 3, .stride = 2};

static void test_product(void **state) {
  (void)state;
  check_layer(make_layer(product, "w1a2", "u2"));
  check_layer(make_layer(product, "w3a5", "i32"));
  check_layer(make_layer(product, "ternaryxi4", "bipolar"));
}

static void test_convolution(void **state) {
  (void)state;
  check_layer(make_layer(convolution, "w2a8", "u8"));
  check_layer(make_layer(convolution, "w1a1", "i32"));
  check_layer(make_layer(convolution, "bipolarxbipolar", "i3"));
}

/* A sample reaches past the images and channels that it could take all of. */
static void test_sample_is_spread(void **state) {
  (void)state;
  LayerSpec wide = {.batch = 40, .channels_in = 16, .channels_out = 200};
  Layer l = make_layer(wide, "w1a2", "u2");
  Check k = {.network = &l.network, .batch = l.batch, .random = 1};
  Sample s = choose_sample(&k);
  assert_int_equal(s.image_count, MOST_IMAGES);
  assert_int_equal(s.channel_count, MOST_CHANNELS);
  for (int i = 1; i < MOST_IMAGES; i++) assert_true(s.images[i] > s.images[i - 1]);
  for (int i = 1; i < MOST_CHANNELS; i++) assert_true(s.channels[i] > s.channels[i - 1]);
  assert_in_range(s.images[MOST_IMAGES - 1], 37, 39);
  assert_in_range(s.channels[MOST_CHANNELS - 1], 193, 199);
  memset(l.outputs[0], 3, l.output_bytes);
  assert_int_equal(exactness(&l, true), EXACT_NO);
  free_layer(&l);
}

/* The layer gets the engine asked for, reads what that engine reads, and writes for a next layer of the same kind. */
static void check_engine(Engine engine, const char *precision, const char *out, LayoutKind layout) {
  LayerSpec spec = product;
  spec.engine = engine;
  Layer l = make_layer(spec, precision, out);
  assert_int_equal(l.network.engine, engine);
  assert_int_equal(l.network.reads, layout);
  assert_int_equal(l.network.writes, layout);
  free_layer(&l);
}

static void test_engines(void **state) {
  (void)state;
  check_engine(ENGINE_MMA_B1, "w1a2", "u2", LAYOUT_PLANES);
  check_engine(ENGINE_WGMMA_B1, "w1a1", "u1", LAYOUT_PLANES);
  check_engine(ENGINE_MMA_S8, "w8a8", "u8", LAYOUT_BYTES);
  check_engine(ENGINE_WGMMA_S8, "w8a8", "u8", LAYOUT_BYTES);
  LayerSpec spec = product;
  spec.engine = ENGINE_MMA_B1;
  Layer l = make_layer(spec, "w3a5", "i32");
  assert_int_equal(l.network.planes, 15);
  assert_int_equal(l.network.writes, LAYOUT_WORDS);
  free_layer(&l);
}

static void test_precisions(void **state) {
  (void)state;
  static const char *const wrong[] = {"",     "w1",     "w0a1",   "w1a9",          "a1w1", "w1a2 ",
                                      "u2xu", "u9xu1",  "i1xu1",  "u2xu2xu2",      "xu2",  "u2x",
                                      "f32",  "i32xu2", "u2xi32", "ternarynaryxu2"};
  LayerSpec s = {0};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
    if (precision_read(wrong[i], &s)) fail_msg("\"%s\" is taken for a precision", wrong[i]);
  assert_true(precision_read("w1a8", &s));
  assert_string_equal(s.w, "bipolar");
  assert_string_equal(s.a, "u8");
  assert_true(precision_read("u3xternary", &s));
  assert_string_equal(s.w, "u3");
  assert_string_equal(s.a, "ternary");
}

static void test_refusals(void **state) {
  (void)state;
  char error[NETWORK_ERROR];
  LayerNetwork network;
  LayerSpec s = product;
  s.target = target_find("sm_80");
  s.engine = ENGINE_WGMMA_B1;
  assert_true(precision_read("w1a2", &s));
  strcpy(s.out, "u2");
  assert_false(layer_network_new(&s, &network, error));
  assert_non_null(strstr(error, "engine wgmma_b1 cannot compute this layer: the target has no native instruction"));
  layer_network_free(&network);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_product), cmocka_unit_test(test_convolution), cmocka_unit_test(test_sample_is_spread),
      cmocka_unit_test(test_engines), cmocka_unit_test(test_precisions),  cmocka_unit_test(test_refusals),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
