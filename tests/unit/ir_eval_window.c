/* conv2d, linear and pooling against sums written from the definitions, over random shapes, types and windows. */
#include "ir/exact.h"
#include "ir_sample.h"
#include <math.h>

static int setup(void **state) {
  return (*state = context_new(NULL)) ? 0 : -1;
}
static int teardown(void **state) {
  context_free(*state);
  return 0;
}

static Attrs random_window(Random *r, bool pads) {
  Attrs a = attrs_default();
  for (int i = 0; i < 2; i++) {
    a.kernel[i] = random_in(r, 1, 4);
    a.stride[i] = random_in(r, 1, 3);
  }
  for (int i = 0; i < 4 && pads; i++) a.pad[i] = random_in(r, 0, a.kernel[i % 2] - 1);
  return a;
}

static size_t pixel_index(const Type *t, uint32_t n, int64_t y, int64_t x, int32_t c) {
  return (size_t)(((int64_t)n * t->dim[0] + y) * t->dim[1] + x) * (size_t)t->dim[2] + (size_t)c;
}

/* The level of x under one tap, padding included. */
static int32_t tap_level(const Type *x, const void *data, const Attrs *a, uint32_t n, int32_t row, int32_t column,
                         int32_t kh, int32_t kw, int32_t channel) {
  int32_t y = row * a->stride[0] - a->pad[0] + kh * a->dilation[0];
  int32_t z = column * a->stride[1] - a->pad[1] + kw * a->dilation[1];
  if (y < 0 || z < 0 || y >= x->dim[0] || z >= x->dim[1]) return a->pad_level;
  return element_level(x, data, pixel_index(x, n, y, z, channel));
}

static void check_conv2d(const Single *s, const Attrs *a, const Type *x, const void *data, const Type *w,
                         const void *weights, uint32_t images) {
  const int32_t *dim = s->type->dim;
  int32_t depth = w->dim[3], per_group = w->dim[0] / a->groups;
  size_t at = 0;
  for (uint32_t n = 0; n < images; n++)
    for (int32_t row = 0; row < dim[0]; row++)
      for (int32_t column = 0; column < dim[1]; column++)
        for (int32_t o = 0; o < dim[2]; o++, at++) {
          int64_t sum = 0;
          for (int32_t kh = 0; kh < a->kernel[0]; kh++)
            for (int32_t kw = 0; kw < a->kernel[1]; kw++)
              for (int32_t i = 0; i < depth; i++) {
                size_t wi = (size_t)(((o * a->kernel[0] + kh) * a->kernel[1] + kw) * depth + i);
                sum += (int64_t)element_level(w, weights, wi) *
                       tap_level(x, data, a, n, row, column, kh, kw, o / per_group * depth + i);
              }
          assert_int_equal(((const int32_t *)s->out)[at], sum);
        }
}

static void test_conv2d(void **state) {
  Context *c = *state;
  Random r = {11};
  for (int round = 0; round < 400; round++) {
    Attrs a = random_window(&r, true);
    a.dilation[0] = random_in(&r, 1, 2);
    a.dilation[1] = random_in(&r, 1, 2);
    a.groups = random_in(&r, 1, 3);
    int32_t depth = random_in(&r, 1, 5), outputs = a.groups * random_in(&r, 1, 4);
    Type x = random_quantized(&r, true, 3, DIMS(random_in(&r, 7, 9), random_in(&r, 7, 10), depth * a.groups));
    Type w = random_quantized(&r, false, 4, DIMS(outputs, a.kernel[0], a.kernel[1], depth));
    uint32_t images = (uint32_t)random_in(&r, 1, 3);
    if (!type_has_zero(&x) && (a.pad[0] | a.pad[1] | a.pad[2] | a.pad[3]))
      a.pad_level = random_bits(&r) & 1 ? type_level_max(&x) : type_level_min(&x);
    const void *data = random_elements(c, &r, &x, images), *weights = random_elements(c, &r, &w, 1);
    Single s = eval_single(c, OP_CONV2D, &a, x, data, images, &w, &weights, 1, (Type){0});
    check_conv2d(&s, &a, &x, data, &w, weights, images);
    float step_x = x.zero2 % 2 ? x.scale / 2 : x.scale, step_w = w.zero2 % 2 ? w.scale / 2 : w.scale;
    assert_same_float(s.type->scale, step_x * step_w);
  }
}

static void test_conv2d_channel_scales(void **state) {
  Context *c = *state;
  Random r = {12};
  Graph *g = graph_new(c, "g");
  static const float scales[] = {0.5f, 0.1f, 3};
  Type x = type_make(ELEM_UINT, 2, true, 3, DIMS(3, 3, 2)), w = type_make(ELEM_UINT, 1, false, 4, DIMS(3, 1, 1, 2));
  x.scale = 0.7f;
  w.zero2 = 1;
  w.scales = graph_add_const(g, "s", type_make(ELEM_F32, 32, false, 1, DIMS(3)), scales);
  ValueId operands[] = {graph_add_input(g, "x", x), graph_add_const(g, "w", w, random_elements(c, &r, &w, 1))};
  ValueId y = graph_insert_node(g, 0, OP_CONV2D, NULL, operands, 2, (Type){0}, "y", (SourceLoc){0});
  uint32_t values = g->value_count;
  assert_true(infer_node(g, 0)); /* the same scales again: no new constant */
  assert_int_equal(g->value_count, values);
  for (int i = 0; i < 3; i++) assert_same_float(type_scale(g, graph_type(g, y), i), 0.7f * (scales[i] / 2));
}

static void test_linear(void **state) {
  Context *c = *state;
  Random r = {13};
  for (int round = 0; round < 200; round++) {
    int32_t inputs = random_in(&r, 1, 70), outputs = random_in(&r, 1, 9);
    Type x = random_quantized(&r, true, 1, &inputs), w = random_quantized(&r, false, 2, DIMS(outputs, inputs));
    const void *data = random_elements(c, &r, &x, 3), *weights = random_elements(c, &r, &w, 1);
    Single s = eval_single(c, OP_LINEAR, NULL, x, data, 3, &w, &weights, 1, (Type){0});
    for (int32_t n = 0; n < 3; n++)
      for (int32_t o = 0; o < outputs; o++) {
        int64_t sum = 0;
        for (int32_t i = 0; i < inputs; i++)
          sum += (int64_t)element_level(&x, data, (size_t)(n * inputs + i)) *
                 element_level(&w, weights, (size_t)(o * inputs + i));
        assert_int_equal(((const int32_t *)s.out)[n * outputs + o], sum);
      }
  }
}

static void check_pool(const Single *s, Op op, const Attrs *a, const Type *x, const void *data, uint32_t n, int32_t row,
                       int32_t column, int32_t channel) {
  int64_t sum = 0;
  int32_t most = INT32_MIN;
  float real_sum = 0, real_most = -INFINITY, count = (float)(a->kernel[0] * a->kernel[1]);
  for (int32_t kh = 0; kh < a->kernel[0]; kh++)
    for (int32_t kw = 0; kw < a->kernel[1]; kw++) {
      int32_t y = row * a->stride[0] - a->pad[0] + kh, z = column * a->stride[1] - a->pad[1] + kw;
      if (y < 0 || z < 0 || y >= x->dim[0] || z >= x->dim[1]) continue;
      size_t i = pixel_index(x, n, y, z, channel);
      if (x->kind == ELEM_F32) {
        float v = ((const float *)data)[i];
        real_sum = exact_add(real_sum, v);
        if (v > real_most || (v == 0 && real_most == 0 && !signbit(v))) real_most = v;
      } else {
        sum += element_level(x, data, i);
        if (element_q(x, data, i) > most) most = element_q(x, data, i);
      }
    }
  size_t at = pixel_index(s->type, n, row, column, channel);
  if (x->kind == ELEM_F32)
    assert_same_float(((const float *)s->out)[at], op == OP_MAXPOOL ? real_most : exact_div(real_sum, count));
  else
    assert_int_equal(element_q(s->type, s->out, at), op == OP_MAXPOOL ? most : sum);
}

static void test_pools(void **state) {
  Context *c = *state;
  Random r = {14};
  for (int round = 0; round < 600; round++) {
    Attrs a = random_window(&r, true);
    Op op = round & 1 ? OP_MAXPOOL : OP_AVGPOOL;
    const int32_t *dim = DIMS(random_in(&r, 4, 8), random_in(&r, 4, 8), random_in(&r, 1, 5));
    Type x = random_quantized(&r, true, 3, dim);
    if (round % 3 == 0) x = type_make(ELEM_F32, 32, true, 3, dim);
    if (op == OP_MAXPOOL && round % 5 == 0) x = type_make(ELEM_I32, 32, true, 3, dim);
    uint32_t images = 2;
    const void *data = random_elements(c, &r, &x, images);
    Single s = eval_single(c, op, &a, x, data, images, NULL, NULL, 0, (Type){0});
    for (uint32_t n = 0; n < images; n++)
      for (int32_t row = 0; row < s.type->dim[0]; row++)
        for (int32_t column = 0; column < s.type->dim[1]; column++)
          for (int32_t channel = 0; channel < x.dim[2]; channel++)
            check_pool(&s, op, &a, &x, data, n, row, column, channel);
    if (op == OP_AVGPOOL && x.kind != ELEM_F32)
      assert_same_float(s.type->scale, (x.zero2 % 2 ? x.scale / 2 : x.scale) / (float)(a.kernel[0] * a.kernel[1]));
  }
}

/* The average of i32 sums: what a convolution gave, added up again. */
static void test_avgpool_of_sums(void **state) {
  Context *c = *state;
  Random r = {15};
  Graph *g = graph_new(c, "g");
  Type x = type_make(ELEM_UINT, 8, true, 3, DIMS(3, 5, 4)), w = type_make(ELEM_INT, 8, false, 4, DIMS(2, 1, 1, 4));
  uint8_t *data = random_elements(c, &r, &x, 1);
  int8_t *weights = random_elements(c, &r, &w, 1);
  Attrs all = attrs_default();
  all.kernel[0] = 3;
  all.kernel[1] = 5;
  ValueId operands[] = {graph_add_input(g, "x", x), graph_add_const(g, "w", w, weights)};
  ValueId sums = graph_insert_node(g, 0, OP_CONV2D, NULL, operands, 2, (Type){0}, "sums", (SourceLoc){0});
  ValueId mean = graph_insert_node(g, 1, OP_AVGPOOL, &all, &sums, 1, (Type){0}, "mean", (SourceLoc){0});
  graph_add_output(g, mean);
  int32_t out[2];
  assert_true(graph_eval(g, 1, (const void *[]){data}, (void *[]){out}));
  for (int o = 0; o < 2; o++) {
    int32_t sum = 0;
    for (int i = 0; i < 60; i++) sum += data[i] * weights[o * 4 + i % 4];
    assert_int_equal(out[o], sum);
  }
  assert_same_float(graph_type(g, mean)->scale, 1.0f / 15.0f);
  assert_int_equal(value_bound(g, mean), 15 * value_bound(g, sums));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_conv2d, setup, teardown),
      cmocka_unit_test_setup_teardown(test_conv2d_channel_scales, setup, teardown),
      cmocka_unit_test_setup_teardown(test_linear, setup, teardown),
      cmocka_unit_test_setup_teardown(test_pools, setup, teardown),
      cmocka_unit_test_setup_teardown(test_avgpool_of_sums, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
