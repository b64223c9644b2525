/* Operations that work element for element, chains of them on one number, and fused layers: against binary64 arithmetic
 * rounded once an operation. */
#include "ir/exact.h"
#include "ir_sample.h"
#include <math.h>

enum { CHANNELS = 5, PIXELS = 60, ELEMENTS = CHANNELS * PIXELS };

static int setup(void **state) {
  return (*state = context_new(NULL)) ? 0 : -1;
}
static int teardown(void **state) {
  context_free(*state);
  return 0;
}

static float once(double x) {
  return x != x ? float_of_bits(EXACT_NAN_BITS) : (float)x;
}

/* What an operation should give for x, with its constants' elements p[1..] of this channel. */
typedef float (*Meaning)(float x, const float *p, const Attrs *a);

static float mean_affine(float x, const float *p, const Attrs *a) {
  (void)a;
  return once((double)once((double)x * (double)p[1]) + (double)p[2]);
}
static float mean_batchnorm(float x, const float *p, const Attrs *a) {
  double slope = (double)p[1] / sqrt((double)p[4] + (double)a->eps);
  double offset = (double)p[2] - (double)p[3] * slope;
  return once((double)once((double)x * (double)once(slope)) + (double)once(offset));
}
static float mean_bias(float x, const float *p, const Attrs *a) {
  (void)a;
  return once((double)x + (double)p[1]);
}
static float mean_relu(float x, const float *p, const Attrs *a) {
  (void)p, (void)a;
  return x > 0 ? x : 0;
}
static float mean_relu6(float x, const float *p, const Attrs *a) {
  (void)p, (void)a;
  return x > 6 ? 6 : x > 0 ? x : 0;
}
static float mean_leaky_relu(float x, const float *p, const Attrs *a) {
  (void)p;
  return x > 0 ? x : once((double)x * (double)a->alpha);
}
static float mean_prelu(float x, const float *p, const Attrs *a) {
  (void)a;
  return x > 0 ? x : once((double)x * (double)p[1]);
}
static float mean_hardtanh(float x, const float *p, const Attrs *a) {
  (void)p;
  return x != x || x < a->lo ? a->lo : x > a->hi ? a->hi : x;
}
static float mean_sign(float x, const float *p, const Attrs *a) {
  (void)p, (void)a;
  return x >= 0 ? 1 : -1;
}

static const struct {
  Op op;
  uint32_t constants;
  Meaning meaning;
} real_ops[] = {
    {OP_AFFINE, 2, mean_affine}, {OP_BATCHNORM, 4, mean_batchnorm}, {OP_BIAS, 1, mean_bias},
    {OP_RELU, 0, mean_relu},     {OP_RELU6, 0, mean_relu6},         {OP_LEAKY_RELU, 0, mean_leaky_relu},
    {OP_PRELU, 1, mean_prelu},   {OP_HARDTANH, 0, mean_hardtanh},   {OP_SIGN, 0, mean_sign},
};

static void test_real_operations(void **state) {
  Context *c = *state;
  Random r = {21};
  for (size_t k = 0; k < COUNT(real_ops); k++)
    for (int round = 0; round < 60; round++) {
      Attrs a = attrs_default();
      a.eps = 0.001f;
      a.alpha = round & 1 ? 0.1f : -2;
      a.lo = -3;
      a.hi = 2.5f;
      int32_t width = round % 3 ? CHANNELS : 1;
      Type x = type_make(ELEM_F32, 32, true, 2, DIMS(6, CHANNELS)), types[4];
      const void *data[4];
      for (int i = 0; i < 4; i++) {
        types[i] = type_make(ELEM_F32, 32, false, 1, &width);
        data[i] = random_elements(c, &r, &types[i], 1);
      }
      const float *in = random_elements(c, &r, &x, PIXELS / 6);
      Single s = eval_single(c, real_ops[k].op, &a, x, in, PIXELS / 6, types, data, real_ops[k].constants, (Type){0});
      for (int i = 0; i < ELEMENTS; i++) {
        float p[5] = {0};
        for (int q = 0; q < 4; q++) p[q + 1] = ((const float *)data[q])[width == 1 ? 0 : i % CHANNELS];
        assert_same_float(((const float *)s.out)[i], real_ops[k].meaning(in[i], p, &a));
      }
    }
}

static void test_quantize_and_back(void **state) {
  Context *c = *state;
  Random r = {22};
  for (int round = 0; round < 200; round++) {
    Type x = type_make(ELEM_F32, 32, true, 1, DIMS(CHANNELS)), q = random_quantized(&r, true, 1, DIMS(CHANNELS));
    const float *in = random_elements(c, &r, &x, PIXELS);
    Single s = eval_single(c, OP_QUANTIZE, NULL, x, in, PIXELS, NULL, NULL, 0, q);
    for (size_t i = 0; i < ELEMENTS; i++) /* exact_quantize has tests of its own */
      assert_int_equal(element_q(&q, s.out, i),
                       exact_quantize(in[i], q.scale, q.zero2, type_q_min(&q), type_q_max(&q)));
    Single back = eval_single(c, OP_DEQUANTIZE, NULL, q, s.out, PIXELS, NULL, NULL, 0, (Type){0});
    for (size_t i = 0; i < ELEMENTS; i++) {
      float step = q.zero2 % 2 ? q.scale / 2 : q.scale;
      assert_same_float(((const float *)back.out)[i], once((double)element_level(&q, s.out, i) * (double)step));
    }
  }
}

static void test_dequantize_sums(void **state) {
  Context *c = *state;
  Type x = type_make(ELEM_I32, 32, true, 1, DIMS(4));
  x.scale = 0.3f;
  static const int32_t in[] = {INT32_MAX, INT32_MIN, 16777217, -7};
  Single s = eval_single(c, OP_DEQUANTIZE, NULL, x, in, 1, NULL, NULL, 0, (Type){0});
  for (int i = 0; i < 4; i++) assert_same_float(((const float *)s.out)[i], once((double)(float)in[i] * (double)0.3f));
}

static void test_channel_scales(void **state) {
  Context *c = *state;
  Graph *g = graph_new(c, "g");
  static const float scales[] = {1, 0.25f, 10};
  Type x = type_make(ELEM_F32, 32, true, 2, DIMS(2, 3)), q = type_make(ELEM_INT, 4, true, 2, DIMS(2, 3));
  q.scales = graph_add_const(g, "s", type_make(ELEM_F32, 32, false, 1, DIMS(3)), scales);
  ValueId in = graph_add_input(g, "x", x);
  ValueId small = graph_insert_node(g, 0, OP_QUANTIZE, NULL, &in, 1, q, "small", (SourceLoc){0});
  ValueId back = graph_insert_node(g, 1, OP_DEQUANTIZE, NULL, &small, 1, (Type){0}, "back", (SourceLoc){0});
  graph_add_output(g, small);
  graph_add_output(g, back);
  static const float data[] = {1.6f, 1.6f, 16, -100, 0.6f, -4};
  static const int8_t wanted[] = {2, 6, 2, -8, 2, 0};
  static const float wanted_back[] = {2, 1.5f, 20, -8, 0.5f, 0};
  int8_t q_out[6];
  float back_out[6];
  assert_true(graph_eval(g, 1, (const void *[]){data}, (void *[]){q_out, back_out}));
  assert_memory_equal(q_out, wanted, sizeof wanted);
  assert_memory_equal(back_out, wanted_back, sizeof wanted_back);
}

static void test_thresholds(void **state) {
  Context *c = *state;
  Random r = {23};
  for (int round = 0; round < 300; round++) {
    bool sums = round & 1, shared = round % 3 == 0;
    Type x = sums ? type_make(ELEM_I32, 32, true, 1, DIMS(CHANNELS)) : random_quantized(&r, true, 1, DIMS(CHANNELS));
    Type q = random_quantized(&r, true, 1, DIMS(CHANNELS));
    int32_t levels = random_in(&r, 1, type_q_max(&q) - type_q_min(&q)), rows = shared ? 1 : CHANNELS;
    Type types[] = {type_make(ELEM_I32, 32, false, 2, DIMS(rows, levels)), type_make(ELEM_I32, 32, false, 1, &rows)};
    int32_t *t = random_elements(c, &r, &types[0], 1), *flip = random_elements(c, &r, &types[1], 1);
    for (int i = 0; i < rows; i++) flip[i] = flip[i] % 2 ? -1 : 0;
    t[0] = INT32_MAX;
    const void *data[] = {t, flip}, *in = random_elements(c, &r, &x, PIXELS);
    Single s = eval_single(c, OP_THRESHOLDS, NULL, x, in, PIXELS, types, data, 2, q);
    for (size_t i = 0; i < ELEMENTS; i++) {
      size_t row = shared ? 0 : i % CHANNELS;
      int32_t level = element_level(&x, in, i), wanted = type_q_min(&q);
      if (flip[row]) level = -1 - level; /* all bits */
      for (int32_t k = 0; k < levels; k++) wanted += level >= t[row * (size_t)levels + (size_t)k];
      assert_int_equal(element_q(&q, s.out, i), wanted);
    }
  }
}

/* With a second activation: the row of its number, counted from its least. */
static void test_thresholds_of_two_activations(void **state) {
  Context *c = *state;
  Random r = {24};
  for (int round = 0; round < 300; round++) {
    bool sums = round & 1, shared = round % 3 == 0;
    Graph *g = graph_new(c, "g");
    Type x = sums ? type_make(ELEM_I32, 32, true, 1, DIMS(CHANNELS)) : random_quantized(&r, true, 1, DIMS(CHANNELS));
    Type y = random_quantized(&r, true, 1, DIMS(CHANNELS)), q = random_quantized(&r, true, 1, DIMS(CHANNELS));
    int32_t levels = random_in(&r, 1, type_q_max(&q) - type_q_min(&q)), rows = shared ? 1 : CHANNELS;
    int32_t columns = (type_q_max(&y) - type_q_min(&y) + 1) * levels;
    Type of_t = type_make(ELEM_I32, 32, false, 2, DIMS(rows, columns)),
         of_flip = type_make(ELEM_I32, 32, false, 1, &rows);
    int32_t *t = random_elements(c, &r, &of_t, 1), *flip = random_elements(c, &r, &of_flip, 1);
    for (int i = 0; i < rows; i++) flip[i] = flip[i] % 2 ? -1 : 0;
    ValueId in[] = {graph_add_input(g, "x", x), graph_add_const(g, "t", of_t, t),
                    graph_add_const(g, "flip", of_flip, flip), graph_add_input(g, "y", y)};
    graph_add_output(g, graph_insert_node(g, 0, OP_THRESHOLDS, NULL, in, 4, q, NULL, (SourceLoc){0}));
    assert_no_reports(c);
    assert_true(graph_verify(g));
    const void *data[] = {random_elements(c, &r, &x, PIXELS), random_elements(c, &r, &y, PIXELS)};
    int8_t out[ELEMENTS];
    assert_true(graph_eval(g, PIXELS, data, (void *[]){out}));
    for (size_t i = 0; i < ELEMENTS; i++) {
      size_t row = shared ? 0 : i % CHANNELS;
      const int32_t *own = t + row * (size_t)columns + (element_q(&y, data[1], i) - type_q_min(&y)) * levels;
      int32_t level = element_level(&x, data[0], i), wanted = type_q_min(&q);
      if (flip[row]) level = -1 - level;
      for (int32_t k = 0; k < levels; k++) wanted += level >= own[k];
      assert_int_equal(element_q(&q, out, i), wanted);
    }
  }
}

/* conv2d | dequantize | batchnorm | add(residual) | prelu | quantize as one layer and as six. */
typedef struct Layer {
  Graph *g;
  ValueId x, w, k[5];
} Layer;

static Layer start_layer(Context *c, uint64_t seed) {
  Random r = {seed};
  Layer l = {.g = graph_new(c, "layer")};
  Type x = type_make(ELEM_UINT, 3, true, 3, DIMS(5, 7, 3)), w = type_make(ELEM_UINT, 1, false, 4, DIMS(3, 3, 3, 3));
  Type vector = type_make(ELEM_F32, 32, false, 1, DIMS(3));
  x.scale = 0.125f;
  w.zero2 = 1;
  w.scale = 2;
  l.x = graph_add_input(l.g, "x", x);
  l.w = graph_add_const(l.g, "w", w, random_elements(c, &r, &w, 1));
  for (int i = 0; i < 5; i++) {
    float *data = ARENA_NEW(c, float, 3);
    for (int q = 0; q < 3; q++) data[q] = (float)random_in(&r, 1, 99) / 32;
    l.k[i] = graph_add_const(l.g, "k", vector, data);
  }
  return l;
}

static Type layer_type(void) {
  Type q = type_make(ELEM_INT, 4, true, 3, DIMS(5, 7, 3));
  q.scale = 0.3f;
  return q;
}

static ValueId insert(Layer *l, Op op, const Attrs *a, const ValueId *in, uint32_t count, Type type) {
  return graph_insert_node(l->g, l->g->node_count, op, a, in, count, type, NULL, (SourceLoc){0});
}

static void test_fused_is_unfused(void **state) {
  Context *c = *state;
  Attrs a = attrs_default();
  a.kernel[0] = a.kernel[1] = 3;
  a.pad[0] = a.pad[1] = a.pad[2] = a.pad[3] = 1;
  for (uint64_t seed = 1; seed < 20; seed++) {
    Layer one = start_layer(c, seed), six = start_layer(c, seed);
    ValueId y = insert(&one, OP_CONV2D, &a, (ValueId[]){one.x, one.w}, 2, (Type){0});
    graph_append_step(one.g, 0, OP_DEQUANTIZE, NULL, NULL, 0, (Type){0});
    graph_append_step(one.g, 0, OP_BATCHNORM, NULL, one.k, 4, (Type){0});
    graph_append_step(one.g, 0, OP_ADD, NULL, &one.x, 1, (Type){0}); /* dequantizes x itself */
    graph_append_step(one.g, 0, OP_PRELU, NULL, &one.k[4], 1, (Type){0});
    graph_append_step(one.g, 0, OP_QUANTIZE, NULL, NULL, 0, layer_type());
    graph_add_output(one.g, y);

    ValueId residual = insert(&six, OP_DEQUANTIZE, NULL, &six.x, 1, (Type){0});
    ValueId z = insert(&six, OP_CONV2D, &a, (ValueId[]){six.x, six.w}, 2, (Type){0});
    z = insert(&six, OP_DEQUANTIZE, NULL, &z, 1, (Type){0});
    z = insert(&six, OP_BATCHNORM, NULL, (ValueId[]){z, six.k[0], six.k[1], six.k[2], six.k[3]}, 5, (Type){0});
    z = insert(&six, OP_ADD, NULL, (ValueId[]){z, residual}, 2, (Type){0});
    z = insert(&six, OP_PRELU, NULL, (ValueId[]){z, six.k[4]}, 2, (Type){0});
    z = insert(&six, OP_QUANTIZE, NULL, &z, 1, layer_type());
    graph_add_output(six.g, z);
    assert_no_reports(c);

    Random r = {seed * 77};
    int8_t a_out[210], b_out[210];
    const void *in = random_elements(c, &r, graph_type(one.g, one.x), 2);
    assert_true(graph_eval(one.g, 2, &in, (void *[]){a_out}));
    assert_true(graph_eval(six.g, 2, &in, (void *[]){b_out}));
    assert_memory_equal(a_out, b_out, sizeof a_out);
    assert_true(type_same_quant(graph_type(one.g, y), graph_type(six.g, z)));
  }
}

/* eval_chain on one number is what the network gives for it. */
static void test_chain_of_one_number(void **state) {
  Context *c = *state;
  Layer l = start_layer(c, 5);
  Attrs a = attrs_default();
  a.kernel[0] = a.kernel[1] = 3;
  a.pad[0] = a.pad[1] = a.pad[2] = a.pad[3] = 1;
  ValueId y = insert(&l, OP_CONV2D, &a, (ValueId[]){l.x, l.w}, 2, (Type){0});
  ValueId sums = insert(&l, OP_COPY, NULL, &y, 1, (Type){0});
  ValueId real = insert(&l, OP_COPY, NULL, &y, 1, (Type){0});
  ValueId small = insert(&l, OP_COPY, NULL, &y, 1, (Type){0});
  for (NodeId n = 2; n < 4; n++) {
    graph_append_step(l.g, n, OP_DEQUANTIZE, NULL, NULL, 0, (Type){0});
    graph_append_step(l.g, n, OP_BATCHNORM, NULL, l.k, 4, (Type){0});
    graph_append_step(l.g, n, OP_LEAKY_RELU, NULL, NULL, 0, (Type){0});
  }
  graph_append_step(l.g, 3, OP_QUANTIZE, NULL, NULL, 0, layer_type());
  graph_add_output(l.g, sums);
  graph_add_output(l.g, real);
  graph_add_output(l.g, small);
  Random r = {6};
  int32_t sum[105];
  float wanted[105];
  int8_t wanted_q[105];
  const void *in = random_elements(c, &r, graph_type(l.g, l.x), 1);
  assert_true(graph_eval(l.g, 1, &in, (void *[]){sum, wanted, wanted_q}));
  const Type *source = graph_type(l.g, y);
  for (int i = 0; i < 105; i++) {
    float f;
    eval_chain(l.g, source, l.g->nodes[2].steps, l.g->nodes[2].step_count, sum[i], 0, i % 3, &f);
    assert_same_float(f, wanted[i]);
    assert_int_equal(eval_chain(l.g, source, l.g->nodes[3].steps, l.g->nodes[3].step_count, sum[i], 0, i % 3, NULL),
                     wanted_q[i]);
  }
  assert_int_equal(eval_chain(l.g, source, NULL, 0, 17, 0, 0, NULL), 17);
}

/* A chain with an addition: the other operand's q decides. */
static void test_chain_with_an_addition(void **state) {
  Context *c = *state;
  Graph *g = graph_new(c, "g");
  static const float scales[] = {2, 0.5f};
  Type sums = type_make(ELEM_I32, 32, true, 1, DIMS(2)), ternary = type_make(ELEM_TERNARY, 2, true, 1, DIMS(2));
  Type real = type_make(ELEM_F32, 32, true, 1, DIMS(2));
  ternary.scales = graph_add_const(g, "s", type_make(ELEM_F32, 32, false, 1, DIMS(2)), scales);
  Step steps[] = {{.op = OP_DEQUANTIZE, .attrs = attrs_default(), .type = real},
                  {.op = OP_ADD, .attrs = attrs_default(), .type = real, .arg_count = 1}};
  steps[1].args[0] = graph_add_input(g, "y", ternary);
  for (int32_t q = -1; q <= 1; q++)
    for (int32_t channel = 0; channel < 2; channel++) {
      float f;
      eval_chain(g, &sums, steps, 2, 7, q, channel, &f);
      assert_same_float(f, 7 + (float)q * scales[channel]);
    }
}

/* A quantized source: the chain starts from its level, not from q. */
static void test_chain_starts_from_a_level(void **state) {
  Context *c = *state;
  Graph *g = graph_new(c, "g");
  Type bipolar = type_make(ELEM_UINT, 1, true, 1, DIMS(1));
  bipolar.zero2 = 1;
  bipolar.scale = 6;
  Step step = {.op = OP_DEQUANTIZE, .attrs = attrs_default(), .type = type_make(ELEM_F32, 32, true, 1, DIMS(1))};
  float f;
  eval_chain(g, &bipolar, &step, 1, -1, 0, 0, &f);
  assert_same_float(f, -3);
  eval_chain(g, &bipolar, &step, 1, 1, 0, 0, &f);
  assert_same_float(f, 3);
}

static void test_inputs_out_of_range(void **state) {
  Context *c = *state;
  Graph *g = graph_new(c, "g");
  ValueId x = graph_add_input(g, "pixels", type_make(ELEM_UINT, 4, true, 1, DIMS(3)));
  ValueId y = graph_insert_node(g, 0, OP_COPY, NULL, &x, 1, (Type){0}, NULL, (SourceLoc){0});
  graph_add_output(g, y);
  uint8_t in[] = {0, 15, 3, 4, 16, 0}, out[6];
  assert_true(graph_eval(g, 1, (const void *[]){in}, (void *[]){out}));
  assert_false(graph_eval(g, 2, (const void *[]){in}, (void *[]){out}));
  assert_reported(c, "input 'pixels' holds 16 at element 4\n  expected: 0 .. 15");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_real_operations, setup, teardown),
      cmocka_unit_test_setup_teardown(test_quantize_and_back, setup, teardown),
      cmocka_unit_test_setup_teardown(test_dequantize_sums, setup, teardown),
      cmocka_unit_test_setup_teardown(test_channel_scales, setup, teardown),
      cmocka_unit_test_setup_teardown(test_thresholds, setup, teardown),
      cmocka_unit_test_setup_teardown(test_thresholds_of_two_activations, setup, teardown),
      cmocka_unit_test_setup_teardown(test_fused_is_unfused, setup, teardown),
      cmocka_unit_test_setup_teardown(test_chain_of_one_number, setup, teardown),
      cmocka_unit_test_setup_teardown(test_chain_with_an_addition, setup, teardown),
      cmocka_unit_test_setup_teardown(test_chain_starts_from_a_level, setup, teardown),
      cmocka_unit_test_setup_teardown(test_inputs_out_of_range, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
