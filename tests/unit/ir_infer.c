/* What operations refuse, and with which words; and what their sums may reach. */
#include "ir_sample.h"

static int setup(void **state) {
  return (*state = context_new(NULL)) ? 0 : -1;
}
static int teardown(void **state) {
  context_free(*state);
  return 0;
}

static Type image(ElemKind kind, int bits, int32_t h, int32_t w, int32_t c) {
  return type_make(kind, bits, true, 3, DIMS(h, w, c));
}

static Type bipolar(bool batched, int rank, const int32_t *dim) {
  Type t = type_make(ELEM_UINT, 1, batched, rank, dim);
  t.zero2 = 1;
  t.scale = 2;
  return t;
}

typedef struct Refusal {
  Op op;
  Type operands[5];
  uint32_t count;
  Attrs attrs;
  Type wanted;
  const char *words[3]; /* all of them stand in the report */
} Refusal;

static void assert_refused(Context *c, const Refusal *r) {
  Graph *g = graph_new(c, "g");
  const Type *operands[5];
  for (uint32_t i = 0; i < r->count; i++) operands[i] = &r->operands[i];
  Type result = r->wanted;
  assert_false(infer_op(g, r->op, &r->attrs, operands, r->count, &result, (SourceLoc){0}));
  assert_int_equal(g->value_count, 0);
  char *text = flushed(c);
  for (int i = 0; i < 3 && r->words[i]; i++)
    if (!strstr(text, r->words[i])) fail_msg("%s: no '%s' in:\n%s", op_info[r->op].name, r->words[i], text);
  free(text);
}

static Attrs window(int32_t kh, int32_t kw, int32_t pad) {
  Attrs a = attrs_default();
  a.kernel[0] = kh;
  a.kernel[1] = kw;
  for (int i = 0; i < 4; i++) a.pad[i] = pad;
  return a;
}

static void assert_all_refused(Context *c, const Refusal *rows, size_t count) {
  for (size_t i = 0; i < count; i++) assert_refused(c, &rows[i]);
}

static const Type none = {0};

static void test_windows_refused(void **state) {
  Type u2 = image(ELEM_UINT, 2, 8, 9, 4), f32 = image(ELEM_F32, 32, 8, 9, 4);
  Type tall = image(ELEM_UINT, 2, INT32_MAX, 1, 1);
  Type w = type_make(ELEM_INT, 4, false, 4, DIMS(6, 3, 3, 4)), k = type_make(ELEM_UINT, 2, true, 1, DIMS(10));
  Type signs = bipolar(true, 3, DIMS(8, 9, 4));
  const Attrs usual = attrs_default();
  Attrs groups = window(3, 3, 0), dilated = window(3, 3, 0), level = window(3, 3, 1), padded = window(2, 1, 0);
  groups.groups = 3;
  dilated.dilation[0] = 0;
  level.pad_level = 1;
  padded.pad[0] = padded.pad[2] = 1;
  const Refusal rows[] = {
      {OP_CONV2D,
       {f32, w},
       2,
       window(3, 3, 0),
       none,
       {"operand 1 of conv2d cannot be f32[N,8,9,4]", "expected: quantized", "hint: quantize it"}},
      {OP_CONV2D, {k, w}, 2, window(3, 3, 0), none, {"cannot be u2[N,10]", "an image [height, width, channels]"}},
      {OP_CONV2D, {u2, f32}, 2, window(3, 3, 0), none, {"operand 2 of conv2d", "[O, KH, KW, I/groups]"}},
      {OP_CONV2D,
       {u2, w},
       2,
       window(3, 2, 0),
       none,
       {"shapes that conv2d is given", "expected: weights [6,3,2,4]", "seen: weights [6,3,3,4]"}},
      {OP_CONV2D,
       {u2, w},
       2,
       groups,
       none,
       {"groups of conv2d is out of range", "a divisor of 4 input and 6 output channels"}},
      {OP_CONV2D, {u2, w}, 2, dilated, none, {"dilation of conv2d", "at least 1"}},
      {OP_CONV2D, {u2, w}, 2, level, none, {"pad_level of conv2d", "0, for a type that has zero"}},
      {OP_CONV2D,
       {signs, w},
       2,
       window(3, 3, 1),
       none,
       {"cannot pad with level 0: bipolar[N,8,9,4]", "expected: -1 or 1", "pad_value="}},
      {OP_CONV2D, {u2, w}, 1, usual, none, {"conv2d takes 2 operands, but has 1"}},
      {OP_MAXPOOL,
       {u2},
       1,
       window(9, 3, 0),
       none,
       {"window of maxpool does not fit", "seen: kernel 9 x 3, dilation 1 x 1, on [N,8,9,4]"}},
      {OP_MAXPOOL, {u2}, 1, window(2, 2, 2), none, {"pad of maxpool is out of range", "less than the kernel"}},
      {OP_AVGPOOL, {u2}, 1, window(2, 2, -1), none, {"pad of avgpool", "at least 0"}},
      {OP_MAXPOOL,
       {tall},
       1,
       padded,
       none,
       {"window of maxpool does not fit", "expected: at most 2147483647 places", "padded by 1, 0, 1, 0"}},
  };
  assert_all_refused(*state, rows, COUNT(rows));
}

static void test_shapes_refused(void **state) {
  Type u2 = image(ELEM_UINT, 2, 8, 9, 4), f32 = image(ELEM_F32, 32, 8, 9, 4), i32 = image(ELEM_I32, 32, 8, 9, 4);
  Type vector = type_make(ELEM_F32, 32, false, 1, DIMS(4)), three = type_make(ELEM_F32, 32, false, 1, DIMS(3));
  Type k = type_make(ELEM_UINT, 2, true, 1, DIMS(10)), wk = type_make(ELEM_INT, 4, false, 2, DIMS(5, 11));
  Type other = image(ELEM_F32, 32, 8, 8, 4), huge = image(ELEM_UINT, 2, 40000, 40000, 1), scaled = u2;
  const Attrs usual = attrs_default();
  Attrs axis = usual, doubled = usual;
  axis.axis = 3;
  doubled.factor[0] = doubled.factor[1] = 2;
  scaled.scale = 0.5f;
  const Refusal rows[] = {
      {OP_LINEAR,
       {k, wk},
       2,
       usual,
       none,
       {"shapes that linear is given", "weights [5,10] for a vector [N,10]", "seen: weights [5,11]"}},
      {OP_LINEAR, {u2, wk}, 2, usual, none, {"expected: a vector [K]", "hint: flatten it first"}},
      {OP_BIAS, {f32, three}, 2, usual, none, {"operand 2 of bias cannot be f32[3]", "f32[4] or f32[1]"}},
      {OP_BATCHNORM, {f32, vector}, 2, usual, none, {"batchnorm takes 5 operands, but has 2"}},
      {OP_ADD, {f32, other}, 2, usual, none, {"shapes that add is given", "[N,8,9,4] and [N,8,8,4]"}},
      {OP_ADD, {f32, i32}, 2, usual, none, {"operand 2 of add cannot be i32[N,8,9,4]"}},
      {OP_CONCAT, {u2, u2}, 2, axis, none, {"axis of concat is out of range"}},
      {OP_CONCAT, {f32, other}, 2, usual, none, {"shapes that concat is given", "but for number 0"}},
      {OP_CONCAT,
       {u2, scaled},
       2,
       usual,
       none,
       {"operand 2 of concat cannot be u2[N,8,9,4](scale=0.5)", "expected: u2[N,8,9,4]"}},
      {OP_CONCAT, {u2}, 0, usual, none, {"concat takes at least 1 operand, but has 0"}},
      {OP_RESHAPE, {u2}, 1, usual, k, {"a shape of 288 elements, for [N,8,9,4]", "seen: [N,10]"}},
      {OP_UPSAMPLE, {k}, 1, usual, none, {"operand 1 of upsample"}},
      {OP_UPSAMPLE, {huge}, 1, doubled, none, {"impossible", "at most 2147483647 elements"}},
  };
  assert_all_refused(*state, rows, COUNT(rows));
}

static void test_elements_refused(void **state) {
  Type k = type_make(ELEM_UINT, 2, true, 1, DIMS(10));
  Type table = type_make(ELEM_I32, 32, false, 2, DIMS(4, 16)), flip = type_make(ELEM_I32, 32, false, 1, DIMS(1));
  Type u2 = image(ELEM_UINT, 2, 8, 9, 4), f32 = image(ELEM_F32, 32, 8, 9, 4), i32 = image(ELEM_I32, 32, 8, 9, 4);
  Type vector = type_make(ELEM_F32, 32, false, 1, DIMS(4)), wanted = u2;
  const Attrs usual = attrs_default();
  Attrs limits = usual;
  limits.lo = 2;
  wanted.zero2 = 600;
  const Refusal rows[] = {
      {OP_RELU,
       {u2},
       1,
       usual,
       none,
       {"operand 1 of relu cannot be u2[N,8,9,4]", "expected: f32", "hint: put dequantize in front"}},
      {OP_HARDTANH, {f32}, 1, limits, none, {"lo of hardtanh is out of range", "not above hi"}},
      {OP_QUANTIZE, {f32}, 1, usual, f32, {"quantize cannot give f32[N,8,9,4]"}},
      {OP_QUANTIZE, {f32}, 1, usual, wanted, {"quantize cannot give u2", "between -256 and 256"}},
      {OP_QUANTIZE, {u2}, 1, usual, u2, {"operand 1 of quantize cannot be u2[N,8,9,4]"}},
      {OP_DEQUANTIZE, {f32}, 1, usual, none, {"operand 1 of dequantize", "real already"}},
      {OP_SOFTMAX, {i32}, 1, usual, none, {"operand 1 of softmax cannot be i32"}},
      {OP_THRESHOLDS, {f32, vector, vector}, 3, usual, u2, {"operand 1 of thresholds"}},
      {OP_THRESHOLDS, {i32, vector, vector}, 3, usual, u2, {"operand 2 of thresholds", "i32[4 or 1, at most 3]"}},
      {OP_THRESHOLDS,
       {i32, table, flip, f32},
       4,
       usual,
       u2,
       {"operand 4 of thresholds", "quantized elements of shape [N,8,9,4]"}},
      {OP_THRESHOLDS, {i32, table, flip, k}, 4, usual, u2, {"operand 4 of thresholds", "quantized elements of shape"}},
      {OP_THRESHOLDS,
       {i32, table, flip, u2},
       4,
       usual,
       u2,
       {"operand 2 of thresholds", "i32[4 or 1, 4 times at most 3]"}},
      {OP_NONE, {f32}, 1, usual, none, {"unknown kind"}},
  };
  assert_all_refused(*state, rows, COUNT(rows));
}

static void test_scale_products_must_be_normal(void **state) {
  Context *c = *state;
  Graph *g = graph_new(c, "g");
  Type x = type_make(ELEM_UINT, 2, true, 1, DIMS(3)), w = type_make(ELEM_INT, 2, false, 2, DIMS(2, 3)), y = {0};
  x.scale = w.scale = 1e-25f;
  const Type *operands[] = {&x, &w};
  assert_false(infer_op(g, OP_LINEAR, NULL, operands, 2, &y, (SourceLoc){0}));
  assert_reported(c, "scale of linear's result leaves the range");
}

static void test_shapes_of_results(void **state) {
  Context *c = *state;
  Graph *g = graph_new(c, "g");
  Type x = image(ELEM_UINT, 2, 224, 224, 3), w = type_make(ELEM_INT, 8, false, 4, DIMS(64, 7, 7, 3)), y = {0};
  Attrs a = window(7, 7, 3);
  a.stride[0] = a.stride[1] = 2;
  assert_true(infer_op(g, OP_CONV2D, &a, (const Type *[]){&x, &w}, 2, &y, (SourceLoc){0}));
  assert_string_equal(type_string(c, g, &y), "i32[N,112,112,64]");
  a.dilation[0] = 3;
  assert_true(infer_op(g, OP_CONV2D, &a, (const Type *[]){&x, &w}, 2, &y, (SourceLoc){0}));
  assert_string_equal(type_string(c, g, &y), "i32[N,106,112,64]");
  Type row = type_make(ELEM_F32, 32, true, 3, DIMS(5, 6, 7)), best = {0};
  assert_true(infer_op(g, OP_ARGMAX, NULL, (const Type *[]){&row}, 1, &best, (SourceLoc){0}));
  assert_string_equal(type_string(c, g, &best), "i32[N,5,6]");
  assert_no_reports(c);
}

/* The greatest partial sum by trying every input at its extremes, channel by channel. */
static void test_accumulator_bound(void **state) {
  Context *c = *state;
  Random r = {51};
  for (int round = 0; round < 200; round++) {
    Graph *g = graph_new(c, "g");
    int32_t k = random_in(&r, 1, 9);
    Type x = random_quantized(&r, true, 1, &k), w = random_quantized(&r, false, 2, DIMS(2, k));
    const void *weights = random_elements(c, &r, &w, 1);
    ValueId operands[] = {graph_add_input(g, "x", x), graph_add_const(g, "w", w, weights)};
    graph_insert_node(g, 0, OP_LINEAR, NULL, operands, 2, (Type){0}, "y", (SourceLoc){0});
    int64_t most = 0;
    for (int o = 0; o < 2; o++)
      for (uint32_t subset = 0; subset < 1u << k; subset++)
        for (int extreme = 0; extreme < 2; extreme++) {
          int64_t sum = 0; /* over the subset, each at the extreme that pushes the same way */
          for (int32_t i = 0; i < k; i++) {
            int64_t level = element_level(&w, weights, (size_t)(o * k + i));
            int64_t a = level * type_level_min(&x), b = level * type_level_max(&x);
            if (subset >> i & 1) sum += (extreme != 0) == (a > b) ? a : b;
          }
          most = sum > most ? sum : -sum > most ? -sum : most;
        }
    assert_int_equal(accumulator_bound(g, 0), most);
    assert_int_equal(value_bound(g, g->nodes[0].result), most);
  }
}

/* 65793 * 255 * 128 is the last multiple below 2^31 - 1. */
static void test_sums_past_32_bits(void **state) {
  Context *c = *state;
  static const char text[] = "big = linear(x, 1, w=i8)";
  uint32_t file = context_add_source(c, "net.apnn", text, sizeof text - 1);
  for (int32_t k = 65793; k <= 65794; k++) {
    Graph *g = graph_new(c, "g");
    Type x = type_make(ELEM_UINT, 8, true, 1, &k), w = type_make(ELEM_INT, 8, false, 2, DIMS(1, k));
    int8_t *weights = arena_alloc(c, (size_t)k);
    memset(weights, -128, (size_t)k);
    ValueId operands[] = {graph_add_input(g, "x", x), graph_add_const(g, "w", w, weights)};
    ValueId y = graph_insert_node(g, 0, OP_LINEAR, NULL, operands, 2, (Type){0}, "big", (SourceLoc){file, 1, 7, 6});
    graph_add_output(g, y);
    assert_int_equal(graph_verify(g), k == 65793);
  }
  assert_reported(c, "net.apnn:1:7: error[E0310]: sums of layer 'big' can reach 2147516160, past the 32-bit range");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_windows_refused, setup, teardown),
      cmocka_unit_test_setup_teardown(test_shapes_refused, setup, teardown),
      cmocka_unit_test_setup_teardown(test_elements_refused, setup, teardown),
      cmocka_unit_test_setup_teardown(test_scale_products_must_be_normal, setup, teardown),
      cmocka_unit_test_setup_teardown(test_shapes_of_results, setup, teardown),
      cmocka_unit_test_setup_teardown(test_accumulator_bound, setup, teardown),
      cmocka_unit_test_setup_teardown(test_sums_past_32_bits, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
