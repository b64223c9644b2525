/* Operations that move elements or reduce the last dimension. */
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

/* Elements as numbers, whatever their type. */
static uint32_t raw(const Type *t, const void *data, size_t i) {
  return type_element_bytes(t) == 4 ? ((const uint32_t *)data)[i] : ((const uint8_t *)data)[i];
}

static Type random_type(Random *r, int rank, const int32_t *dim) {
  uint32_t pick = random_bits(r) % 4;
  if (pick == 0) return type_make(ELEM_F32, 32, true, rank, dim);
  if (pick == 1) return type_make(ELEM_I32, 32, true, rank, dim);
  return random_quantized(r, true, rank, dim);
}

static void test_flatten_reshape_copy(void **state) {
  Context *c = *state;
  Random r = {31};
  for (int round = 0; round < 120; round++) {
    int32_t h = random_in(&r, 1, 4), w = random_in(&r, 1, 5), k = random_in(&r, 1, 6), all = h * w * k;
    Type x = random_type(&r, 3, DIMS(h, w, k));
    const void *in = random_elements(c, &r, &x, 2);
    Attrs a = attrs_default();
    a.chw = round & 1;
    Single flat = eval_single(c, OP_FLATTEN, &a, x, in, 2, NULL, NULL, 0, (Type){0});
    assert_int_equal(flat.type->rank, 1);
    assert_int_equal(flat.type->dim[0], all);
    for (int32_t n = 0; n < 2; n++)
      for (int32_t i = 0; i < all; i++) {
        int32_t pixel = i / k, channel = i % k, to = a.chw ? channel * h * w + pixel : i;
        assert_int_equal(raw(&x, flat.out, (size_t)(n * all + to)), raw(&x, in, (size_t)(n * all + i)));
      }
    Type wanted = type_make(ELEM_F32, 32, true, 2, DIMS(w, h * k));
    Single shaped = eval_single(c, OP_RESHAPE, NULL, x, in, 2, NULL, NULL, 0, wanted);
    Single copied = eval_single(c, OP_COPY, NULL, x, in, 2, NULL, NULL, 0, (Type){0});
    assert_true(type_same_shape(shaped.type, &wanted) && type_same_quant(shaped.type, &x));
    assert_true(type_equal(copied.type, &x));
    assert_memory_equal(shaped.out, in, 2 * type_dense_bytes(&x));
    assert_memory_equal(copied.out, in, 2 * type_dense_bytes(&x));
  }
}

static void test_upsample(void **state) {
  Context *c = *state;
  Random r = {32};
  for (int round = 0; round < 60; round++) {
    Type x = random_type(&r, 3, DIMS(random_in(&r, 1, 4), random_in(&r, 1, 4), random_in(&r, 1, 4)));
    Attrs a = attrs_default();
    a.factor[0] = random_in(&r, 1, 3);
    a.factor[1] = random_in(&r, 1, 3);
    const void *in = random_elements(c, &r, &x, 2);
    Single s = eval_single(c, OP_UPSAMPLE, &a, x, in, 2, NULL, NULL, 0, (Type){0});
    int32_t height = x.dim[0] * a.factor[0], width = x.dim[1] * a.factor[1], k = x.dim[2];
    for (int32_t n = 0; n < 2; n++)
      for (int32_t y = 0; y < height; y++)
        for (int32_t z = 0; z < width; z++)
          for (int32_t i = 0; i < k; i++) {
            int32_t from = ((n * x.dim[0] + y / a.factor[0]) * x.dim[1] + z / a.factor[1]) * k + i;
            assert_int_equal(raw(&x, s.out, (size_t)(((n * height + y) * width + z) * k + i)),
                             raw(&x, in, (size_t)from));
          }
  }
}

/* concat(x, y, x) along every axis. */
static void test_concat(void **state) {
  Context *c = *state;
  Random r = {33};
  for (int round = 0; round < 90; round++) {
    int32_t axis = round % 3, a_dim[] = {3, 2, 4}, b_dim[] = {3, 2, 4};
    b_dim[axis] = random_in(&r, 1, 5);
    Type x = random_type(&r, 3, a_dim), y = x;
    y.dim[axis] = b_dim[axis];
    Graph *g = graph_new(c, "g");
    ValueId vx = graph_add_input(g, "x", x), vy = graph_add_input(g, "y", y);
    Attrs a = attrs_default();
    a.axis = axis;
    ValueId out = graph_insert_node(g, 0, OP_CONCAT, &a, (ValueId[]){vx, vy, vx}, 3, (Type){0}, "z", (SourceLoc){0});
    graph_add_output(g, out);
    const void *in[] = {random_elements(c, &r, &x, 2), random_elements(c, &r, &y, 2)};
    Type z = *graph_type(g, out);
    void *data = arena_alloc(c, type_dense_bytes(&z) * 2);
    assert_true(graph_eval(g, 2, in, &data));
    assert_int_equal(z.dim[axis], 2 * a_dim[axis] + b_dim[axis]);
    for (int32_t i = 0; i < 2 * type_elements(&z); i++) {
      int32_t at[4] = {i / (z.dim[0] * z.dim[1] * z.dim[2]), i / (z.dim[1] * z.dim[2]) % z.dim[0],
                       i / z.dim[2] % z.dim[1], i % z.dim[2]};
      int32_t *along = &at[axis + 1];
      bool from_y = *along >= a_dim[axis] && *along < a_dim[axis] + b_dim[axis];
      const Type *t = from_y ? &y : &x;
      if (from_y)
        *along -= a_dim[axis];
      else if (*along >= a_dim[axis])
        *along -= a_dim[axis] + b_dim[axis];
      int32_t from = ((at[0] * t->dim[0] + at[1]) * t->dim[1] + at[2]) * t->dim[2] + at[3];
      assert_int_equal(raw(&z, data, (size_t)i), raw(t, in[from_y], (size_t)from));
    }
  }
}

static void test_argmax(void **state) {
  Context *c = *state;
  Random r = {34};
  for (int round = 0; round < 120; round++) {
    int32_t k = random_in(&r, 1, 9);
    Type x = round % 2 ? random_type(&r, 2, DIMS(3, k)) : random_type(&r, 1, &k);
    const void *in = random_elements(c, &r, &x, 4);
    Single s = eval_single(c, OP_ARGMAX, NULL, x, in, 4, NULL, NULL, 0, (Type){0});
    int32_t rows = round % 2 ? 12 : 4;
    assert_int_equal(s.type->rank, 1);
    assert_int_equal(s.type->dim[0], rows / 4);
    for (int32_t row = 0; row < rows; row++) {
      double first = x.kind == ELEM_F32 ? (double)((const float *)in)[row * k] : element_q(&x, in, (size_t)(row * k));
      int32_t best = 0;
      for (int32_t i = 1; i < k; i++) {
        size_t at = (size_t)(row * k + i);
        double v = x.kind == ELEM_F32 ? (double)((const float *)in)[at] : element_q(&x, in, at);
        if (v > first) first = v, best = i;
      }
      assert_int_equal(((const int32_t *)s.out)[row], best);
    }
  }
}

static void test_argmax_ties_and_nan(void **state) {
  Context *c = *state;
  const float nan = float_of_bits(0x7fc00000);
  const float rows[] = {2, 5, 5, nan, -0.0f, 0, nan, 7, 9, 1, nan, 3};
  static const int32_t wanted[] = {1, 0, 0, 2};
  Single s =
      eval_single(c, OP_ARGMAX, NULL, type_make(ELEM_F32, 32, true, 1, DIMS(3)), rows, 4, NULL, NULL, 0, (Type){0});
  assert_int_equal(((const int32_t *)s.out)[0], wanted[0]); /* the first of equals */
  assert_int_equal(((const int32_t *)s.out)[1], wanted[1]); /* NaN first: nothing exceeds it */
  assert_int_equal(((const int32_t *)s.out)[2], wanted[2]);
  assert_int_equal(((const int32_t *)s.out)[3], wanted[3]); /* NaN exceeds nothing */
}

static void test_softmax(void **state) {
  Context *c = *state;
  Random r = {35};
  int32_t k = 7;
  Type x = type_make(ELEM_F32, 32, true, 2, DIMS(2, k));
  float *in = random_elements(c, &r, &x, 10);
  in[3] = INFINITY;
  in[k + 2] = float_of_bits(0x7fc00000);
  for (int i = 2 * k; i < 20 * k; i++) in[i] = (float)random_in(&r, -3000, 3000) / 64;
  Single s = eval_single(c, OP_SOFTMAX, NULL, x, in, 10, NULL, NULL, 0, (Type){0});
  const float *out = s.out;
  for (int row = 0; row < 20; row++) {
    float most = -INFINITY, sum = 0, e[7];
    for (int i = 0; i < k; i++) most = in[row * k + i] > most ? in[row * k + i] : most;
    for (int i = 0; i < k; i++) {
      e[i] = exact_exp(exact_sub(in[row * k + i], most));
      sum = exact_add(sum, e[i]);
    }
    for (int i = 0; i < k; i++) assert_same_float(out[row * k + i], exact_div(e[i], sum));
  }
  assert_same_float(out[0], exact_nan()); /* inf - inf */
}

/* Scales per channel follow their elements. */
static void test_channel_scales_move_along(void **state) {
  Context *c = *state;
  Graph *g = graph_new(c, "g");
  static const float scales[] = {1, 2, 4};
  Type x = type_make(ELEM_INT, 5, true, 3, DIMS(2, 2, 3));
  x.scales = graph_add_const(g, "s", type_make(ELEM_F32, 32, false, 1, DIMS(3)), scales);
  ValueId in = graph_add_input(g, "x", x);
  Attrs chw = attrs_default(), last = attrs_default();
  chw.chw = true;
  last.axis = 2;
  ValueId rows = graph_insert_node(g, 0, OP_FLATTEN, NULL, &in, 1, (Type){0}, NULL, (SourceLoc){0});
  ValueId planes = graph_insert_node(g, 1, OP_FLATTEN, &chw, &in, 1, (Type){0}, NULL, (SourceLoc){0});
  ValueId twice = graph_insert_node(g, 2, OP_CONCAT, &last, (ValueId[]){in, in}, 2, (Type){0}, NULL, (SourceLoc){0});
  ValueId pooled = graph_insert_node(g, 3, OP_MAXPOOL, NULL, &in, 1, (Type){0}, NULL, (SourceLoc){0});
  assert_no_reports(c);
  for (int i = 0; i < 12; i++) {
    assert_same_float(type_scale(g, graph_type(g, rows), i), scales[i % 3]);
    assert_same_float(type_scale(g, graph_type(g, planes), i), scales[i / 4]);
  }
  for (int i = 0; i < 6; i++) assert_same_float(type_scale(g, graph_type(g, twice), i), scales[i % 3]);
  assert_int_equal(graph_type(g, pooled)->scales, x.scales);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_flatten_reshape_copy, setup, teardown),
      cmocka_unit_test_setup_teardown(test_upsample, setup, teardown),
      cmocka_unit_test_setup_teardown(test_concat, setup, teardown),
      cmocka_unit_test_setup_teardown(test_argmax, setup, teardown),
      cmocka_unit_test_setup_teardown(test_argmax_ties_and_nan, setup, teardown),
      cmocka_unit_test_setup_teardown(test_softmax, setup, teardown),
      cmocka_unit_test_setup_teardown(test_channel_scales_move_along, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
