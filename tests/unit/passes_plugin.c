/* Plug-ins: the example of examples/my_pass runs and keeps all bits; broken ones are refused with the reason. Each is
 * compiled here, by the C compiler on PATH. */
#include "passes_graphs.h"
#include <unistd.h>

static char *folder;

static void compile(const char *source, const char *object) {
  char command[2000];
  snprintf(command, sizeof command, "cc -std=c11 -shared -fPIC -I'%s' '%s' -o '%s/%s'", SOURCE_DIR, source, folder,
           object);
  assert_int_equal(system(command), 0);
}

/* A plug-in made of one line after the include. */
static char *plugin_of(Build *b, const char *name, const char *text) {
  char *source = arena_printf(b->context, "%s/%s.c", folder, name);
  FILE *f = fopen(source, "w");
  assert_non_null(f);
  fprintf(f, "#include <passes/passes.h>\n%s\n", text);
  fclose(f);
  char *object = arena_printf(b->context, "%s.so", name);
  compile(source, object);
  return arena_printf(b->context, "%s/%s", folder, object);
}

static void add_network(Build *b) {
  ValueId x = image_input(b, ELEM_F32, 32, 5, 5, 3), r = op1(b, OP_RELU, affine(b, x, -2, 2));
  ValueId q = quantize(b, op1(b, OP_RELU, affine(b, x, -2, 2)), ELEM_UINT, 6, 0.25f);
  Type half = result_like(b, r, ELEM_UINT, 3, 0.5f);
  half.zero2 = 1;
  graph_add_output(b->g, q);
  graph_add_output(b->g, quantize(b, op1(b, OP_RELU, batchnorm(b, x)), ELEM_INT, 4, 0.5f));
  graph_add_output(b->g, op_with(b, OP_QUANTIZE, NULL, half, &r, 1));
  graph_add_output(b->g, r);
}

static void the_example_runs(void **state) {
  (void)state;
  compile(SOURCE_DIR "/examples/my_pass/drop_relu.c", "my_pass.so");
  const char *orders[] = {NULL, "fold,fuse,drop_relu", "drop_relu,fold"};
  for (int i = 0; i < 3; i++) {
    Build b = build_new(1);
    add_network(&b);
    Outcome before = evaluate(&b, 5);
    const char *path = arena_printf(b.context, "%s/my_pass.so", folder);
    PassOptions options = {.target = &test_target, .plugins = &path, .plugin_count = 1, .pipeline = orders[i]};
    if (i == 2) { /* named, it keeps its place and its needs: batchnorm is not affine yet */
      assert_false(passes_run(b.g, &options, NULL));
      context_free(b.context);
      continue;
    }
    assert_true(passes_run(b.g, &options, NULL));
    if (i == 0) assert_int_equal(count_steps(&b, OP_RELU), 2);
    Outcome after = evaluate(&b, 5);
    for (uint32_t o = 0; o < b.g->output_count; o++)
      assert_memory_equal(after.outputs[o], before.outputs[o], after.bytes[o]);
    build_free(&b);
  }
}

static void expect_refusal(const char *name, const char *text, const char *wanted) {
  Build b = build_new(2);
  add_network(&b);
  const char *path = plugin_of(&b, name, text);
  PassOptions options = {.target = &test_target, .plugins = &path, .plugin_count = 1};
  assert_false(passes_run(b.g, &options, NULL));
  expect_text(reports(&b), wanted);
  context_free(b.context);
}

#define RUN "static bool run(Graph *g, const PassOptions *o) { (void)o; (void)g; return true; }\n"
#define PLUGIN "APNN_PLUGIN_EXPORT const ApnnPlugin apnn_plugin = "

static void broken_plugins_are_refused(void **state) {
  (void)state;
  expect_refusal("empty", "int nothing;", "no symbol 'apnn_plugin'");
  expect_refusal("old", RUN PLUGIN "{99, \"fold\", {\"p\", \"\", 0, 0, 0, run}};",
                 "version 99 of the plug-in interface");
  expect_refusal("nameless", RUN PLUGIN "{APNN_PLUGIN_VERSION, \"fold\", {\"\", \"\", 0, 0, 0, run}};",
                 "a pass without a proper name");
  expect_refusal("idle", PLUGIN "{APNN_PLUGIN_VERSION, \"fold\", {\"p\", \"\", 0, 0, 0, 0}};",
                 "a pass without a function to run");
  expect_refusal("twin", RUN PLUGIN "{APNN_PLUGIN_VERSION, \"fold\", {\"fuse\", \"\", 0, 0, 0, run}};",
                 "as a built-in one is called");
  expect_refusal("lost", RUN PLUGIN "{APNN_PLUGIN_VERSION, \"flod\", {\"p\", \"\", 0, 0, 0, run}};",
                 "'flod', which is no built-in pass");
  expect_refusal("silent",
                 "static bool run(Graph *g, const PassOptions *o) { (void)g; (void)o; return false; }\n" PLUGIN
                 "{APNN_PLUGIN_VERSION, \"fold\", {\"p\", \"\", 0, 0, 0, run}};",
                 "pass 'p' failed without saying why");
  expect_refusal(
      "vandal",
      "static bool run(Graph *g, const PassOptions *o) { (void)o; g->nodes[0].inputs[0] = g->nodes[0].result; "
      "return true; }\n" PLUGIN "{APNN_PLUGIN_VERSION, \"fold\", {\"p\", \"\", 0, 0, 0, run}};",
      "the graph is not valid after pass 'p'");
}

static void two_plugins_of_one_name_are_refused(void **state) {
  (void)state;
  Build b = build_new(3);
  add_network(&b);
  const char *one = plugin_of(&b, "one", RUN PLUGIN "{APNN_PLUGIN_VERSION, \"fold\", {\"p\", \"\", 0, 0, 0, run}};");
  const char *paths[2] = {one, one};
  PassOptions options = {.target = &test_target, .plugins = paths, .plugin_count = 2};
  assert_false(passes_run(b.g, &options, NULL));
  context_free(b.context);
}

static int make_folder(void **state) {
  (void)state;
  static char name[] = "/tmp/apnnc-plugins-XXXXXX";
  folder = mkdtemp(name);
  return folder ? 0 : -1;
}

static int remove_folder(void **state) {
  char command[200];
  (void)state;
  snprintf(command, sizeof command, "rm -r '%s'", folder);
  return system(command);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_example_runs),
      cmocka_unit_test(broken_plugins_are_refused),
      cmocka_unit_test(two_plugins_of_one_name_are_refused),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
