/* The tables of targets and tensor-core instructions agree with each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "../../backend/mma.h"
#include "../../ir/target.h"

static void targets_are_found_by_name(void **state) {
  static const char *const names[] = {"sm_80", "sm_86", "sm_89", "sm_90a"};
  (void)state;
  for (uint32_t i = 0; i < 4; i++) {
    const Target *t = target_find(names[i]);
    assert_non_null(t);
    assert_ptr_equal(t, target_at(i));
    assert_int_equal(t->arch, atoi(names[i] + 3));
  }
  assert_null(target_at(4));
  assert_null(target_find("sm_90"));
  assert_null(target_find(""));
}

/* Later GPUs of the same major version run older code; sm_90a runs on 9.0 alone. */
static void targets_are_found_by_capability(void **state) {
  static const struct {
    int capability;
    const char *target;
  } cases[] = {{80, "sm_80"}, {86, "sm_86"}, {87, "sm_86"}, {89, "sm_89"}, {90, "sm_90a"}};
  static const int none[] = {0, 75, 79, 91, 100, 120};
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    assert_ptr_equal(target_for_capability(cases[i].capability), target_find(cases[i].target));
  for (size_t i = 0; i < sizeof none / sizeof *none; i++) assert_null(target_for_capability(none[i]));
}

/* Under its own name, or under that of an engine of the same layout. */
static void engines_name_their_instructions(void **state) {
  (void)state;
  for (int e = ENGINE_NONE + 1; e < ENGINE_COUNT; e++) {
    Engine of = engine_of_instructions((Engine)e);
    assert_int_equal(engine_of_instructions(of), of);
    assert_int_equal(engine_uses_tensor_cores((Engine)e), mma_for(of, false, false) != NULL);
    assert_int_equal(engine_operand[e], engine_operand[of]);
  }
}

/* A rate names an instruction of the same engine. */
static void every_rate_names_an_instruction(void **state) {
  (void)state;
  for (uint32_t i = 0; target_at(i); i++) {
    const Target *t = target_at(i);
    assert_true(t->mma_count > 0 && t->sm_count > 0 && t->shared_bytes > 48 * 1024);
    for (uint32_t j = 0; j < t->mma_count; j++) {
      const MmaInstruction *mma = mma_find(t->mma[j].name);
      assert_non_null(mma);
      assert_int_equal(mma->engine, t->mma[j].engine);
      assert_true(t->mma[j].tera_ops > 0);
    }
  }
}

static void instructions_are_found_by_operands(void **state) {
  static const MmaOperand operands[] = {MMA_OPERAND_U8, MMA_OPERAND_S8};
  (void)state;
  for (int a = 0; a < 2; a++)
    for (int b = 0; b < 2; b++) {
      const MmaInstruction *bytes = mma_for(ENGINE_MMA_S8, a, b), *bits = mma_for(ENGINE_MMA_B1, a, b);
      assert_non_null(bytes);
      assert_non_null(bits);
      assert_int_equal(bytes->a, operands[a]);
      assert_int_equal(bytes->b, operands[b]);
      assert_string_equal(bits->name, "m16n8k256_b1");
    }
  assert_null(mma_for(ENGINE_DIRECT, false, false));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(targets_are_found_by_name),          cmocka_unit_test(targets_are_found_by_capability),
      cmocka_unit_test(engines_name_their_instructions),    cmocka_unit_test(every_rate_names_an_instruction),
      cmocka_unit_test(instructions_are_found_by_operands),
  };
  return cmocka_run_group_tests_name("backend_targets", tests, NULL, NULL);
}
