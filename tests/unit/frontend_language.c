/* From text to graph: names, prefixes, numbers, types, what is inserted. */
#include "frontend_sample.h"

static Context *context;

static int start(void **state) {
  (void)state;
  context = context_new(NULL);
  return context == NULL;
}

static int stop(void **state) {
  (void)state;
  context_free(context);
  return 0;
}

static void assert_dims(const Type *t, int rank, int a, int b, int c) {
  int32_t dim[] = {a, b, c};
  assert_int_equal(t->rank, rank);
  for (int i = 0; i < rank; i++) assert_int_equal(t->dim[i], dim[i]);
}

static void assert_ops(const Graph *g, const Op *ops, uint32_t count) {
  assert_int_equal(g->node_count, count);
  for (uint32_t i = 0; i < count; i++) assert_string_equal(op_info[g->nodes[i].op].name, op_info[ops[i]].name);
}

static void test_dequantize_is_inserted(void **state) {
  (void)state;
  Graph *g =
      load_good(context, "network n {\n  input x : u4[8, 8, 4]\n"
                         "  a = conv2d(x, 8, kernel=3, w=i4) | relu | quantize(u2)\n"
                         "  output y = add(a, a)\n  output z = conv2d(a, 2, kernel=1, w=bipolar, bias=true)\n}\n");
  static const Op ops[] = {OP_CONV2D,     OP_DEQUANTIZE, OP_RELU,   OP_QUANTIZE,   OP_DEQUANTIZE,
                           OP_DEQUANTIZE, OP_ADD,        OP_CONV2D, OP_DEQUANTIZE, OP_BIAS};
  assert_ops(g, ops, 10);
  assert_int_equal(g->output_count, 2);
  assert_string_equal(graph_value(g, g->outputs[0])->name, "y");
  assert_string_equal(graph_value(g, g->outputs[1])->name, "z");
  assert_dims(type_of(g, "a"), 3, 6, 6, 8);
}

static void test_types(void **state) {
  (void)state;
  Graph *g = load_good(context, "const act = u2(zero=3/2, scale=1/4)\nnetwork n {\n"
                                "  input a : bipolar[3]\n  input b : act[2, 3]\n  input c : ternary(scale=0.5)[4]\n"
                                "  input d : i5[7](zero=-4)\n  input e : f32[1]\n  input f : act(scale=2)[2, 3]\n"
                                "  output y = relu(a)\n  output z = relu(b)\n  output u = relu(c)\n"
                                "  output v = relu(d)\n  output w = relu(e)\n  output x = relu(f)\n}\n");
  const Type *a = type_of(g, "a"), *b = type_of(g, "b"), *c = type_of(g, "c"), *d = type_of(g, "d");
  assert_true(a->kind == ELEM_UINT && a->bits == 1 && a->zero2 == 1 && a->scale == 2.0f);
  assert_true(b->kind == ELEM_UINT && b->bits == 2 && b->zero2 == 3 && b->scale == 0.25f);
  assert_true(c->kind == ELEM_TERNARY && c->bits == 2 && c->zero2 == 0 && c->scale == 0.5f);
  assert_true(d->kind == ELEM_INT && d->bits == 5 && d->zero2 == -8 && d->scale == 1.0f);
  assert_true(type_of(g, "e")->kind == ELEM_F32);
  assert_true(type_of(g, "f")->scale == 2.0f && type_of(g, "f")->zero2 == 3);
  assert_int_equal(g->input_count, 6);
}

static void test_numbers(void **state) {
  (void)state;
  Graph *g = load_good(context,
                       "const a = 7 / 2 * 2 - 3      # real: 4.0\n"
                       "const b = 12 / 4 + 1          # integer: 4\n"
                       "const c = -(2 - 5) % 2        # 1\n"
                       "const list = [b, b * 2]\n"
                       "network n {\n  input x : u4[b * 4, 16, c](scale=a / 8)\n"
                       "  output y = conv2d(x, 2 * b,\n    kernel=[1, 3],\n    stride=[2, 1],\n    pad=[0, 1], w=i4)\n"
                       "  output z = upsample(x, list)\n}\n");
  assert_dims(type_of(g, "x"), 3, 16, 16, 1);
  assert_true(type_of(g, "x")->scale == 0.5f);
  assert_dims(type_of(g, "y"), 3, 8, 16, 8);
  assert_dims(type_of(g, "z"), 3, 64, 128, 1);
}

static void test_lines(void **state) {
  (void)state;
  Graph *g = load_good(
      context,
      "\xef\xbb\xbfnetwork n\r\n{\r\n  input x : u4[4]  # comment\r\n\r\n  a = x\r\n    | relu   # more\r\n\r\n"
      "    | sign\r\n  b = a |\n     relu\n  output y = add(\n a,\n\n b # last\n )\n}");
  static const Op ops[] = {OP_DEQUANTIZE, OP_RELU, OP_SIGN, OP_RELU, OP_ADD};
  assert_ops(g, ops, 5);
}

static void test_block_prefixes(void **state) {
  (void)state;
  Graph *g = load_good(context,
                       "network n {\n  input x : u2[8, 8, 4]\n  l1 = outer(x, name=\"layer1.0\")\n  l2 = outer(l1, 8)\n"
                       "  output y = l2\n}\n"
                       "block outer(x, channels=4, stride=channels / 4) {\n  s = inner(x, channels, stride)\n  return "
                       "inner(s, channels, 1, name=\"second\")\n}\n"
                       "block inner(x, channels, stride) {\n"
                       "  c = conv2d(x, channels, kernel=3, pad=1, stride=stride, w=ternary)\n"
                       "  return c | batchnorm(name=\"bn\") | relu | quantize(u2)\n}\n");
  static const char *const parameters[] = {
      "layer1.0.s.c.weight",       "layer1.0.s.bn.weight", "layer1.0.s.bn.running_var", "layer1.0.second.c.weight",
      "layer1.0.second.bn.weight", "l2.s.c.weight",        "l2.second.c.weight",        "l2.second.bn.running_mean"};
  for (size_t i = 0; i < sizeof parameters / sizeof *parameters; i++)
    assert_int_not_equal(graph_find(g, parameters[i]), NO_VALUE);
  assert_dims(type_of(g, "layer1.0.second"), 3, 8, 8, 4);
  assert_dims(type_of(g, "y"), 3, 4, 4, 8); /* l2, renamed as an output */
  assert_int_equal(graph_find(g, "l2.second"), NO_VALUE);
}

static void test_several_results(void **state) {
  (void)state;
  Graph *g = load_good(context, "block two(x) {\n  a = relu(x)\n  return a, sign(a)\n}\n"
                                "network n {\n  input x : u4[4]\n  p, q = two(x)\n  output r, s = two(add(p, q))\n"
                                "  output p\n  output t = p\n}\n");
  static const char *const names[] = {"r", "s", "p", "t"};
  assert_int_equal(g->output_count, 4);
  for (int i = 0; i < 4; i++) assert_string_equal(graph_value(g, g->outputs[i])->name, names[i]);
  assert_int_equal(node_of(g, "t")->op, OP_COPY); /* a second output of one value */
}

static void test_output_of_input(void **state) {
  (void)state;
  Graph *g = load_good(context, "network n {\n  input x : u4[4]\n  output y = x\n  output x\n}\n");
  assert_int_equal(g->node_count, 2);
  assert_string_equal(graph_value(g, g->outputs[0])->name, "y");
  assert_string_equal(graph_value(g, g->outputs[1])->name, "x.output");
  assert_string_equal(graph_value(g, g->inputs[0])->name, "x");
  assert_int_equal(g->nodes[0].op, OP_COPY);
}

static void test_pad_same(void **state) {
  (void)state;
  Graph *g = load_good(context, "network n {\n  input x : u4[7, 8, 3]\n"
                                "  output a = conv2d(x, 2, kernel=[3, 4], stride=2, pad=\"same\", w=i4)\n"
                                "  output b = maxpool(x, kernel=3, stride=1, pad=\"same\")\n"
                                "  output c = conv2d(x, 2, kernel=3, dilation=2, pad=\"same\", w=i4)\n}\n");
  static const int32_t pads[3][4] = {{1, 1, 1, 1}, {1, 1, 1, 1}, {2, 2, 2, 2}};
  assert_memory_equal(node_of(g, "a")->attrs.pad, pads[0], sizeof pads[0]);
  assert_memory_equal(node_of(g, "b")->attrs.pad, pads[1], sizeof pads[1]);
  assert_memory_equal(node_of(g, "c")->attrs.pad, pads[2], sizeof pads[2]);
  assert_dims(type_of(g, "a"), 3, 4, 4, 2);
  assert_dims(type_of(g, "c"), 3, 7, 8, 2);
}

static void test_padding_level(void **state) {
  (void)state;
  Graph *g = load_good(context, "network n {\n  input x : u2[4, 4, 1](zero=3/2)\n"
                                "  output a = conv2d(x, 2, kernel=3, pad=1, pad_value=-3, w=i4)\n"
                                "  output b = conv2d(x, 2, kernel=3, w=i4)\n}\n");
  assert_int_equal(node_of(g, "a")->attrs.pad_level, -3);
  assert_int_equal(node_of(g, "b")->attrs.pad_level, 0);
}

static void test_depthwise_and_groups(void **state) {
  (void)state;
  Graph *g = load_good(context, "network n {\n  input x : u4[4, 4, 6]\n"
                                "  output a = depthwise_conv2d(x, kernel=3, pad=1, w=bipolar)\n"
                                "  output b = conv2d(x, 4, kernel=1, groups=2, w=i3)\n}\n");
  assert_int_equal(node_of(g, "a")->attrs.groups, 6);
  assert_int_equal(type_of(g, "a.weight")->dim[3], 1);
  assert_int_equal(type_of(g, "b.weight")->dim[3], 3);
}

/* Sums of convolutions with scales a channel stay integers side by side; with another type they become real. */
static void test_concat(void **state) {
  (void)state;
  Graph *g = load_good(context,
                       "network n {\n  input x : u4[4, 4, 6]\n  input z : f32[4, 4, 1]\n"
                       "  a = conv2d(x, 4, kernel=1, w=i3)\n  b = conv2d(x, 2, kernel=1, w=i3)\n"
                       "  output c = concat(a, b)\n  output d = concat(a, z)\n  output e = concat(x, x, axis=0)\n}\n");
  assert_int_equal(type_of(g, "c")->kind, ELEM_I32);
  assert_int_equal(type_of(g, "d")->kind, ELEM_F32);
  assert_dims(type_of(g, "e"), 3, 8, 4, 6);
}

static void test_shared_parameters(void **state) {
  (void)state;
  Graph *g = load_good(context, "network n {\n  input x : u4[4]\n  a = linear(x, 4, w=i4, name=\"shared\")\n"
                                "  b = linear(x, 4, w=i4, name=\"shared\")\n  output y = add(a, b)\n}\n");
  const Node *a = node_of(g, "a"), *b = node_of(g, "b");
  assert_memory_equal(graph_value(g, a->inputs[1])->data, graph_value(g, b->inputs[1])->data, 16);
  assert_memory_equal(type_scales(g, graph_type(g, a->inputs[1])), type_scales(g, graph_type(g, b->inputs[1])), 16);
}

static void test_choice_of_network(void **state) {
  (void)state;
  static const char text[] = "network a {\n input x : u4[4]\n output y = relu(x)\n}\n"
                             "network b {\n input x : u4[5]\n output y = relu(x)\n}\n";
  FrontendOptions options = {.random_params = true, .network = "b"};
  Graph *g = frontend_load(context, "test.apnn", text, strlen(text), &options);
  assert_non_null(g);
  assert_string_equal(g->name, "b");
  assert_int_equal(type_of(g, "x")->dim[0], 5);
  assert_null(load_random(context, text, 1));
}

static void test_all_operations(void **state) {
  (void)state;
  Graph *g = load_good(
      context, "network n {\n  input x : u4[8, 8, 4]\n"
               "  a = x | batchnorm | affine(name=\"f\") | bias(name=\"b\") | relu6 | leaky_relu(alpha=0.1) | "
               "prelu(name=\"p\")\n"
               "  b = a | hardtanh(-2, 2) | sign | quantize(i4) | dequantize\n"
               "  c = b | avgpool(kernel=2) | upsample(2) | global_avgpool | flatten(order=\"chw\")\n"
               "  d = x | global_maxpool | reshape([4]) | maxpool2 | softmax\n"
               "  output y = concat(c, d)\n  output z = argmax(conv2d(x, 4, kernel=1, w=i3))\n}\n"
               "block maxpool2(x) { return x | reshape([2, 2, 1]) | maxpool(kernel=[1, 2], stride=1) | flatten }\n");
  assert_dims(type_of(g, "y"), 1, 6, 0, 0);
  assert_dims(type_of(g, "z"), 2, 8, 8, 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, start, stop)
  const struct CMUnitTest tests[] = {
      TEST(dequantize_is_inserted),
      TEST(types),
      TEST(numbers),
      TEST(lines),
      TEST(block_prefixes),
      TEST(several_results),
      TEST(output_of_input),
      TEST(pad_same),
      TEST(padding_level),
      TEST(depthwise_and_groups),
      TEST(concat),
      TEST(shared_parameters),
      TEST(choice_of_network),
      TEST(all_operations),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
