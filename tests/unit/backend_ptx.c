/* The PTX builder: folding, structured control flow, checks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "../../backend/ptx.h"

static int setup(void **state) {
  return (*state = context_new(NULL)) ? 0 : -1;
}
static int teardown(void **state) {
  context_free(*state);
  return 0;
}

static void immediates_fold(void **state) {
  Ptx p;
  ptx_begin(&p, *state);
  PtxValue x = ptx_new(&p, CLASS_B32);
  assert_true(ptx_is_int(ptx_add(&p, ptx_int(3), ptx_int(4)), 7));
  assert_true(ptx_is_int(ptx_mul(&p, ptx_int(-3), ptx_int(4)), -12));
  assert_true(ptx_is_int(ptx_mul(&p, x, ptx_int(0)), 0));
  assert_true(ptx_is_int(ptx_and(&p, x, ptx_int(0)), 0));
  assert_true(ptx_is_int(ptx_div(&p, ptx_int(-1), ptx_int(2)), 0x7fffffff)); /* unsigned */
  assert_true(ptx_is_int(ptx_rem(&p, ptx_int(17), ptx_int(5)), 2));
  assert_true(ptx_is_int(ptx_shl(&p, ptx_int(1), 31), INT32_MIN)); /* wraps */
  assert_true(ptx_is_int(ptx_mad(&p, ptx_int(2), ptx_int(3), ptx_int(4)), 10));
  assert_null(p.body.data);
}

static void neutral_elements_vanish(void **state) {
  Ptx p;
  ptx_begin(&p, *state);
  PtxValue x = ptx_new(&p, CLASS_B32);
  assert_int_equal(ptx_add(&p, x, ptx_int(0)).id, x.id);
  assert_int_equal(ptx_mul(&p, ptx_int(1), x).id, x.id);
  assert_int_equal(ptx_div(&p, x, ptx_int(1)).id, x.id);
  assert_int_equal(ptx_and(&p, x, ptx_int(-1)).id, x.id);
  assert_int_equal(ptx_select(&p, ptx_int(1), x, ptx_int(5)).id, x.id);
  assert_null(p.body.data);
}

static void powers_of_two_shift(void **state) {
  Ptx p;
  ptx_begin(&p, *state);
  PtxValue x = ptx_new(&p, CLASS_B32);
  ptx_mul(&p, x, ptx_int(8));
  ptx_div(&p, x, ptx_int(16));
  ptx_rem(&p, x, ptx_int(32));
  assert_string_equal(p.body.data, "\tshl.b32 %r1, %r0, 3;\n\tshr.u32 %r2, %r0, 4;\n\tand.b32 %r3, %r0, 31;\n");
}

/* Offsets in instructions have 32 bits; one past them is added before. */
static void far_offsets(void **state) {
  Ptx p;
  ptx_begin(&p, *state);
  PtxValue base = ptx_new(&p, CLASS_B64);
  ptx_load(&p, "global.b32", CLASS_B32, base, INT32_MAX);
  ptx_load(&p, "global.b32", CLASS_B32, base, INT64_C(1) << 31);
  assert_string_equal(p.body.data, "\tld.global.b32 %r0, [%d0+2147483647];\n"
                                   "\tadd.s64 %d1, %d0, 2147483648;\n\tld.global.b32 %r1, [%d1];\n");
}

static void kernel_text(void **state) {
  Ptx p;
  Text module = {.context = *state};
  ptx_begin(&p, *state);
  PtxValue count = ptx_param_u32(&p), out = ptx_param_pointer(&p);
  PtxValue i = ptx_for(&p, ptx_int(0), count, ptx_int(1));
  ptx_if(&p, ptx_setp(&p, "lt.u32", i, ptx_int(5)));
  ptx_store(&p, "global.b32", ptx_address(&p, out, i, 4), 0, ptx_int(9));
  ptx_else(&p);
  ptx_store(&p, "global.b32", ptx_address(&p, out, i, 4), 8, i);
  ptx_end_if(&p);
  ptx_end_for(&p);
  assert_true(ptx_finish(&p, &module, "k", 128));
  assert_string_equal(module.data, "\n.visible .entry k(\n\t.param .u32 p0,\n\t.param .u64 p1)\n.maxntid 128, 1, 1\n{\n"
                                   "\t.reg .pred %p<3>;\n\t.reg .b32 %r<3>;\n\t.reg .b64 %d<4>;\n"
                                   "\tld.param.u32 %r0, [p0];\n"
                                   "\tld.param.u64 %d0, [p1];\n\tcvta.to.global.u64 %d1, %d0;\n"
                                   "\tmov.b32 %r1, 0;\n\tsetp.ge.s32 %p0, %r1, %r0;\n\t@%p0 bra $end0;\n$loop0:\n"
                                   "\tsetp.lt.u32 %p1, %r1, 5;\n\t@!%p1 bra $else1;\n"
                                   "\tmad.wide.u32 %d2, %r1, 4, %d1;\n\tmov.b32 %r2, 9;\n\tst.global.b32 [%d2], %r2;\n"
                                   "\tbra $end1;\n$else1:\n"
                                   "\tmad.wide.u32 %d3, %r1, 4, %d1;\n\tst.global.b32 [%d3+8], %r1;\n$end1:\n"
                                   "\tadd.s32 %r1, %r1, 1;\n\tsetp.lt.s32 %p2, %r1, %r0;\n\t@%p2 bra $loop0;\n$end0:\n"
                                   "\tret;\n}\n");
}

/* The first wait counts, and only where kernels overlap; there what kernels write is not loaded as read-only. */
static void waiting_for_the_launch_before(void **state) {
  for (int overlaps = 0; overlaps < 2; overlaps++) {
    Ptx p;
    ptx_begin(&p, *state);
    p.overlaps = overlaps;
    PtxValue at = ptx_param_pointer(&p);
    p.body.length = 0;
    ptx_allow_next_launch(&p);
    ptx_wait_for_launch(&p);
    ptx_if(&p, ptx_new(&p, CLASS_PRED));
    ptx_wait_for_launch(&p);
    ptx_load(&p, ptx_written(&p, "u8"), CLASS_B32, at, 0);
    ptx_end_if(&p);
    assert_string_equal(p.body.data, overlaps ? "\tgriddepcontrol.launch_dependents;\n\tgriddepcontrol.wait;\n"
                                                "\t@!%p0 bra $else0;\n\tld.global.u8 %r0, [%d1];\n$else0:\n"
                                              : "\t@!%p0 bra $else0;\n\tld.global.nc.u8 %r0, [%d1];\n$else0:\n");
  }
}

static void misuse_is_reported(void **state) {
  Context *c = *state;
  Text module = {.context = c};
  Ptx p;
  ptx_begin(&p, c);
  ptx_2(&p, "add.rn.f32", ptx_new(&p, CLASS_F32), ptx_new(&p, CLASS_B32));
  assert_false(ptx_finish(&p, &module, "k", 32));
  assert_null(module.data);
  ptx_begin(&p, c);
  ptx_if(&p, ptx_new(&p, CLASS_PRED));
  assert_false(ptx_finish(&p, &module, "k", 32));
  ptx_begin(&p, c);
  ptx_end_for(&p);
  assert_false(ptx_finish(&p, &module, "k", 32));
  ptx_begin(&p, c);
  ptx_else(&p);
  assert_false(ptx_finish(&p, &module, "k", 32));
  ptx_begin(&p, c);
  p.overlaps = true; /* and no wait */
  assert_false(ptx_finish(&p, &module, "k", 32));
  ptx_begin(&p, c);
  p.overlaps = true;
  ptx_if(&p, ptx_new(&p, CLASS_PRED));
  ptx_wait_for_launch(&p); /* not by all threads */
  ptx_end_if(&p);
  assert_false(ptx_finish(&p, &module, "k", 32));
  assert_int_equal(diag_error_count(c), 6);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(immediates_fold, setup, teardown),
      cmocka_unit_test_setup_teardown(neutral_elements_vanish, setup, teardown),
      cmocka_unit_test_setup_teardown(powers_of_two_shift, setup, teardown),
      cmocka_unit_test_setup_teardown(far_offsets, setup, teardown),
      cmocka_unit_test_setup_teardown(kernel_text, setup, teardown),
      cmocka_unit_test_setup_teardown(waiting_for_the_launch_before, setup, teardown),
      cmocka_unit_test_setup_teardown(misuse_is_reported, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
