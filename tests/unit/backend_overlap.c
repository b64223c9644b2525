/* Kernels that may begin before the one before them ends: each lets the next begin and waits once, and the file says
 * so; on targets without griddepcontrol none does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "../../frontend/frontend.h"

static const char source[] = "network n {\n"
                             "  input image : u8[12, 12, 3]\n"
                             "  c = conv2d(image, 32, kernel=3, stride=2, pad=1, w=i8)\n"
                             "  conv = c | batchnorm | relu | quantize(u2)\n"
                             "  d = conv2d(conv, 32, kernel=3, pad=1, w=bipolar)\n"
                             "  deep = add(d, conv) | batchnorm | quantize(u2)\n"
                             "  top = maxpool(deep, kernel=2)\n"
                             "  logits = linear(flatten(top), 5, w=i4)\n"
                             "  output best = argmax(logits)\n"
                             "}\n";

static Module compile(Context *c, const char *target, Engine engine) {
  Module module = {0};
  FrontendOptions options = {.random_params = true, .seed = 5};
  Graph *g = frontend_load(c, "n.apnn", source, sizeof source - 1, &options);
  PassOptions passes = {.target = target_find(target), .max_batch = 4, .force_engine = engine};
  if (!g || !passes_run(g, &passes, NULL) || !backend_emit(g, passes.target, &module)) {
    diag_flush(c, stderr);
    fail();
  }
  return module;
}

static uint32_t count(const char *text, const char *end, const char *words) {
  uint32_t found = 0;
  for (const char *at = text; (at = strstr(at, words)) && at < end; at++) found++;
  return found;
}

static void check_module(const Module *m, bool overlaps) {
  const char *at = m->ptx.data;
  for (uint32_t i = 0; i < m->kernel_count; i++) {
    at = strstr(at, ".visible .entry ");
    assert_non_null(at);
    const char *end = strstr(at, "\n}\n");
    assert_int_equal(count(at, end, "griddepcontrol.launch_dependents;"), overlaps);
    assert_int_equal(count(at, end, "griddepcontrol.wait;"), overlaps);
    assert_int_equal(m->kernels[i].flags, overlaps ? APNN_KERNEL_WAITS : 0);
    at = end;
  }
  assert_true(m->kernel_count >= 4);
}

static void every_kernel_waits_once(void **state) {
  (void)state;
  static const Engine engines[] = {ENGINE_NONE,     ENGINE_MMA_B1,   ENGINE_MMA_S8, ENGINE_PATCH_S8, ENGINE_STRIP_S8,
                                   ENGINE_WGMMA_B1, ENGINE_WGMMA_S8, ENGINE_DIRECT, ENGINE_POOL};
  for (size_t i = 0; i < sizeof engines / sizeof *engines; i++) {
    Context *c = context_new(NULL);
    Module m = compile(c, "sm_90a", engines[i]);
    check_module(&m, true);
    context_free(c);
  }
}

static void other_targets_do_not(void **state) {
  (void)state;
  for (uint32_t i = 0; target_at(i); i++) {
    if (target_at(i)->overlaps_launches) continue;
    Context *c = context_new(NULL);
    Module m = compile(c, target_at(i)->name, ENGINE_NONE);
    check_module(&m, false);
    context_free(c);
  }
}

/* PTX ISA: griddepcontrol came with 7.8 and sm_90. */
static void targets_have_the_instruction(void **state) {
  (void)state;
  for (uint32_t i = 0; target_at(i); i++)
    if (target_at(i)->overlaps_launches)
      assert_true(target_at(i)->arch >= 90 && strtod(target_at(i)->ptx_version, NULL) > 7.75);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_kernel_waits_once), cmocka_unit_test(other_targets_do_not),
                                     cmocka_unit_test(targets_have_the_instruction)};
  return cmocka_run_group_tests_name("backend_overlap", tests, NULL, NULL);
}
