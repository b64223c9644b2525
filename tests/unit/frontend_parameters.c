/* Parameters in files: order, quantization and scales of weights, vectors, and where files are looked for. */
#include "frontend_sample.h"
#include <unistd.h>

typedef struct Tensor {
  const char *name, *dtype, *shape;
  const void *data;
  size_t bytes;
} Tensor;

static char folder[] = "/tmp/apnnc-parameters-XXXXXX";

static const char *path_of(Context *c, const char *name) {
  return arena_printf(c, "%s/%s", folder, name);
}

static void write_file(Context *c, const char *name, const Tensor *tensors, int count) {
  Text header = {.context = c};
  size_t offset = 0;
  for (int i = 0; i < count; i++) {
    text_add(&header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}", i ? "," : "{",
             tensors[i].name, tensors[i].dtype, tensors[i].shape, offset, offset + tensors[i].bytes);
    offset += tensors[i].bytes;
  }
  text_add(&header, "}");
  FILE *out = fopen(path_of(c, name), "wb");
  assert_non_null(out);
  uint64_t length = header.length;
  fwrite(&length, 8, 1, out);
  fwrite(header.data, 1, header.length, out);
  for (int i = 0; i < count; i++) fwrite(tensors[i].data, 1, tensors[i].bytes, out);
  assert_int_equal(fclose(out), 0);
}

static Graph *load(Context *c, const char *body) {
  const char *text = arena_printf(c, "network n {\n  params \"p.safetensors\"\n%s}\n", body);
  FrontendOptions options = {.random_params = false};
  Graph *g = frontend_load(c, path_of(c, "n.apnn"), text, strlen(text), &options);
  if (!g) fail_msg("%s", reports_of(c));
  unlink(path_of(c, "p.safetensors"));
  return g;
}

static const int8_t *q_of(const Graph *g, const char *name) {
  return graph_value(g, graph_find(g, name))->data;
}

/* Files hold [O, I, KH, KW], the graph [O, KH, KW, I]. */
static void test_order(void **state) {
  (void)state;
  Context *c = context_new(NULL);
  int8_t file[2 * 3 * 1 * 2], graph[12];
  for (int o = 0; o < 2; o++)
    for (int i = 0; i < 3; i++)
      for (int x = 0; x < 2; x++) {
        file[(o * 3 + i) * 2 + x] = (int8_t)(o * 6 + i * 2 + x - 6);
        graph[(o * 2 + x) * 3 + i] = (int8_t)(o * 6 + i * 2 + x - 6);
      }
  write_file(c, "p.safetensors", &(Tensor){"a.weight", "I8", "[2,3,1,2]", file, sizeof file}, 1);
  Graph *g = load(c, "  input x : u4[4, 4, 3]\n  output a = conv2d(x, 2, kernel=[1, 2], w=i4)\n");
  assert_memory_equal(q_of(g, "a.weight"), graph, sizeof graph);
  assert_true(type_of(g, "a.weight")->scales == NO_VALUE && type_of(g, "a.weight")->scale == 1.0f);
  context_free(c);
}

/* Floats without a scale: the largest weight of a channel becomes the largest level; bipolar: twice the mean. */
static void test_derived_scales(void **state) {
  (void)state;
  Context *c = context_new(NULL);
  static const float weights[2][4] = {{0.5f, -1.75f, 0.25f, 0.0f}, {8.0f, -2.0f, 3.0f, -1.0f}};
  Tensor tensors[] = {{"a.weight", "F32", "[2,4]", weights, sizeof weights},
                      {"b.weight", "F32", "[2,4]", weights, sizeof weights}};
  write_file(c, "p.safetensors", tensors, 2);
  Graph *g = load(c, "  input x : u4[4]\n  output a = linear(x, 2, w=i4)\n  output b = linear(x, 2, w=bipolar)\n");
  const float *a = type_scales(g, type_of(g, "a.weight")), *b = type_scales(g, type_of(g, "b.weight"));
  assert_true(a && a[0] == 0.25f && a[1] == (float)(8.0 / 7));
  assert_true(b && b[0] == 1.25f && b[1] == 7.0f);
  static const int8_t a_q[] = {2, -7, 1, 0, 7, -2, 3, -1}, b_q[] = {1, 0, 1, 1, 1, 0, 1, 0};
  assert_memory_equal(q_of(g, "a.weight"), a_q, 8);
  assert_memory_equal(q_of(g, "b.weight"), b_q, 8);
  context_free(c);
}

static void test_given_scales(void **state) {
  (void)state;
  Context *c = context_new(NULL);
  static const float weights[2][2] = {{0.5f, -1.75f}, {8.0f, -2.0f}}, scales[] = {0.5f, 4.0f}, one = 2.0f;
  Tensor tensors[] = {
      {"a.weight", "F32", "[2,2]", weights, sizeof weights}, {"a.weight_scale", "F32", "[2]", scales, sizeof scales},
      {"b.weight", "F32", "[2,2]", weights, sizeof weights}, {"b.weight_scale", "F32", "[]", &one, sizeof one},
      {"c.weight", "F32", "[2,2]", weights, sizeof weights}, {"c.weight_scale", "F32", "[]", &one, sizeof one}};
  write_file(c, "p.safetensors", tensors, 6);
  Graph *g = load(c, "  input x : u4[2]\n  output a = linear(x, 2, w=i3)\n  output b = linear(x, 2, w=i3)\n"
                     "  output c = linear(x, 2, w=i8(scale=0.25))\n");
  static const int8_t a_q[] = {1, -4, 2, 0}, b_q[] = {0, -1, 3, -1}, c_q[] = {2, -7, 32, -8};
  assert_memory_equal(q_of(g, "a.weight"), a_q, 4); /* -1.75 / 0.5 = -3.5 and -2 / 4 = -0.5: halves go to even */
  assert_memory_equal(q_of(g, "b.weight"), b_q, 4); /* 8 / 2 clamps at 3 */
  assert_memory_equal(q_of(g, "c.weight"), c_q, 4);
  assert_true(type_of(g, "b.weight")->scale == 2.0f && type_of(g, "c.weight")->scale == 0.25f);
  context_free(c);
}

static void test_bipolar_integers(void **state) {
  (void)state;
  Context *c = context_new(NULL);
  static const int8_t weights[] = {-1, 1, 1, -1}, q[] = {0, 1, 1, 0};
  write_file(c, "p.safetensors", &(Tensor){"a.weight", "I8", "[2,2]", weights, 4}, 1);
  Graph *g = load(c, "  input x : u4[2]\n  output a = linear(x, 2, w=bipolar)\n");
  assert_memory_equal(q_of(g, "a.weight"), q, 4);
  assert_true(type_of(g, "a.weight")->scale == 2.0f);
  assert_true(type_of(g, "a")->scale == 1.0f); /* step_x * step_w */
  context_free(c);
}

/* Bias, the vectors of one element, quantize's scales; F64, F16 and BF16 become binary32. */
static void test_vectors(void **state) {
  (void)state;
  Context *c = context_new(NULL);
  static const int8_t weights[] = {1, 2, 3, 4};
  static const double bias[] = {0.1, -2};
  static const uint16_t slope = 0x3400, steps[] = {0x3f80, 0x4000}; /* binary16 0.25; bfloat16 1 and 2 */
  Tensor tensors[] = {{"a.weight", "I8", "[2,2]", weights, 4},
                      {"a.bias", "F64", "[2]", bias, sizeof bias},
                      {"b.weight", "F16", "[1]", &slope, sizeof slope},
                      {"b.scale", "BF16", "[2]", steps, sizeof steps}};
  write_file(c, "p.safetensors", tensors, 4);
  Graph *g = load(c, "  input x : u4[2]\n  a = linear(x, 2, w=i4, bias=true)\n  output b = a | prelu | quantize(i4)\n");
  const float *b = graph_value(g, graph_find(g, "a.bias"))->data, *s = type_scales(g, type_of(g, "b"));
  assert_true(b[0] == 0.1f && b[1] == -2.0f);
  assert_true(*(const float *)graph_value(g, graph_find(g, "b.weight"))->data == 0.25f);
  assert_true(s && s[0] == 1.0f && s[1] == 2.0f);
  context_free(c);
}

static int make_folder(void **state) {
  (void)state;
  return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state) {
  (void)state;
  return rmdir(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_order),        cmocka_unit_test(test_derived_scales),
      cmocka_unit_test(test_given_scales), cmocka_unit_test(test_bipolar_integers),
      cmocka_unit_test(test_vectors),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
