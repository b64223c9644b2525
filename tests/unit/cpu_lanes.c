/* Lanes, warps and blocks of the CPU device: divergence, loops, shuffles, votes, reductions, barriers, special
 * registers. */
#include "cpu_device.h"

#define KERNEL(registers, body)                                                                                        \
  PTX_HEADER ".visible .entry k(.param .u64 po, .param .u32 n) {\n.reg .b64 %o, %i;\n.reg .b32 %t, %n;\n" registers    \
             "\nld.param.u64 %o, [po];\nld.param.u32 %n, [n];\nmov.u32 %t, %tid.x;\n" body "\nret;\n}\n"
#define STORE(value) "mul.wide.u32 %i, %t, 4;\nadd.s64 %i, %o, %i;\nst.global.u32 [%i], " value ";\n"

static void run_block(const char *ptx, uint32_t threads, uint32_t n, uint32_t *out, size_t words) {
  Run run = {.entry = "k", .grid = 1, .block = threads, .scalar = n, .arrays = {{out, words * 4, 0}}};
  memset(out, 0xee, words * 4);
  device_run(ptx, &run);
}

/* ---- control flow ---- */

/* The Collatz length: every lane loops its own number of times, with a branch inside. */
static void test_loops(void **state) {
  (void)state;
  static const char ptx[] = KERNEL(".reg .b32 %x, %c, %b;\n.reg .pred %p;",
                                   "add.u32 %x, %t, 1;\nmov.u32 %c, 0;\nLOOP: setp.eq.u32 %p, %x, 1;\n@%p bra "
                                   "DONE;\nadd.u32 %c, %c, 1;\nand.b32 %b, %x, 1;\n"
                                   "setp.ne.u32 %p, %b, 0;\n@%p bra ODD;\nshr.u32 %x, %x, 1;\nbra.uni LOOP;\nODD: "
                                   "mad.lo.u32 %x, %x, 3, 1;\nbra LOOP;\nDONE:\n" STORE("%c"));
  uint32_t out[200];
  run_block(ptx, 200, 0, out, 200);
  for (uint32_t i = 0; i < 200; i++) {
    uint32_t count = 0;
    for (uint32_t x = i + 1; x != 1; x = x & 1 ? 3 * x + 1 : x / 2) count++;
    assert_int_equal(out[i], count);
  }
}

/* Nested divergence that meets again: the lanes must be together at the shuffle. */
static void test_reconverges(void **state) {
  (void)state;
  static const char ptx[] =
      KERNEL(".reg .b32 %x, %y;\n.reg .pred %p, %q;",
             "mov.u32 %x, 0;\nand.b32 %y, %t, 1;\nsetp.ne.u32 %p, %y, 0;\n@!%p bra EVEN;\nadd.u32 %x, %x, "
             "10;\nsetp.gt.u32 %q, %t, 16;\n"
             "@%q bra BIG;\nadd.u32 %x, %x, 100;\nbra JOIN1;\nBIG: add.u32 %x, %x, 200;\nJOIN1:\nadd.u32 %x, %x, "
             "1000;\nbra JOIN;\n"
             "EVEN: add.u32 %x, %x, %t;\nJOIN:\nactivemask.b32 %y;\nshfl.sync.bfly.b32 %x, %x, 1, 0x1f, 0xffffffff;\n"
             "setp.eq.u32 %p, %y, 0xffffffff;\n@!%p mov.u32 %x, 0;\n" STORE("%x"));
  uint32_t out[32];
  run_block(ptx, 32, 0, out, 32);
  for (uint32_t i = 0; i < 32; i++) {
    uint32_t j = i ^ 1;
    assert_int_equal(out[i], j & 1 ? 1010 + (j > 16 ? 200 : 100) : j);
  }
}

/* Lanes that return early leave the others alone. */
static void test_early_exit(void **state) {
  (void)state;
  static const char ptx[] = KERNEL(".reg .pred %p;\n.reg .b32 %x;",
                                   "setp.ge.u32 %p, %t, %n;\n@%p ret;\nmul.lo.u32 %x, %t, %t;\n" STORE("%x"));
  uint32_t out[100];
  run_block(ptx, 100, 77, out, 100);
  for (uint32_t i = 0; i < 100; i++) assert_int_equal(out[i], i < 77 ? i * i : 0xeeeeeeee);
}

/* One lane waits for another of its own warp: the waiting loop must let the other run. */
static void test_lanes_wait_for_each_other(void **state) {
  (void)state;
  static const char ptx[] =
      KERNEL(".shared .align 4 .b32 flag;\n.reg .pred %p, %q;\n.reg .b32 %x;",
             "setp.eq.u32 %p, %t, 0;\n@%p st.shared.u32 [flag], 0;\nbar.sync 0;\n@!%p bra SET;\nWAIT: "
             "ld.volatile.shared.u32 %x, [flag];\n"
             "setp.eq.u32 %q, %x, 0;\n@%q bra WAIT;\nbra DONE;\nSET: mov.u32 %x, 5;\nsetp.eq.u32 %q, %t, 1;\n"
             "@%q st.volatile.shared.u32 [flag], 9;\nDONE:\n" STORE("%x"));
  uint32_t out[2];
  run_block(ptx, 2, 0, out, 2);
  assert_int_equal(out[0], 9);
  assert_int_equal(out[1], 5);
}

/* Labels and registers of inner scopes hide outer ones. */
static void test_scopes(void **state) {
  (void)state;
  static const char ptx[] = KERNEL(
      ".reg .b32 %x, %y;\n.reg .pred %p;",
      "mov.u32 %x, 1;\n{\n.reg .b32 %x;\nmov.u32 %x, 7;\nsetp.eq.u32 %p, %x, 7;\n@%p bra OUT;\nmov.u32 %x, 9;\nOUT:\n"
      "mov.u32 %y, %x;\n}\n{\n@!%p bra OUT;\nadd.u32 %y, %y, 100;\nOUT:\n}\nadd.u32 %y, %y, %x;\n" STORE("%y"));
  uint32_t out[1];
  run_block(ptx, 1, 0, out, 1);
  assert_int_equal(out[0], 108);
}

/* ---- between lanes ---- */

static uint32_t shuffled(int mode, uint32_t lane, uint32_t b, uint32_t c, bool *inside) {
  int segment = (int)(c >> 8 & 31), bound = (int)(c & 31), at = (int)lane, distance = (int)(b & 31), from = 0;
  int greatest = (at & segment) | (bound & ~segment), least = at & segment;
  if (mode == 0) from = at - distance, *inside = from >= greatest;
  if (mode == 1) from = at + distance, *inside = from <= greatest;
  if (mode == 2) from = at ^ distance, *inside = from <= greatest;
  if (mode == 3) from = least | (distance & ~segment), *inside = from <= greatest;
  return (uint32_t)(*inside ? from : at);
}

static void test_shuffles(void **state) {
  static const char *const modes[] = {"up", "down", "bfly", "idx"};
  static const uint32_t bounds[] = {0x1f, 0x00, 0x1c03, 0x181f, 0x1807, 0x1000};
  (void)state;
  for (int mode = 0; mode < 4; mode++)
    for (int k = 0; k < 6; k++)
      for (uint32_t b = 0; b < 40; b += 3) {
        uint32_t out[32], c = mode == 0 ? bounds[k] & 0x1f00 : bounds[k];
        static TextBuffer t;
        t.used = 0;
        text_add(&t,
                 "%s.visible .entry k(.param .u64 po, .param .u32 n) {\n.reg .b64 %%o, %%i;\n.reg .b32 %%t, %%x, "
                 "%%y;\n.reg .pred %%p;\n",
                 PTX_HEADER);
        text_add(&t,
                 "ld.param.u64 %%o, [po];\nmov.u32 %%t, %%tid.x;\nmad.lo.u32 %%x, %%t, 3, 5;\nshfl.sync.%s.b32 "
                 "%%y|%%p, %%x, %u, %u, -1;\n",
                 modes[mode], b, c);
        text_add(&t, "@%%p or.b32 %%y, %%y, 0x1000;\nmul.wide.u32 %%i, %%t, 4;\nadd.s64 %%i, %%o, %%i;\nst.global.u32 "
                     "[%%i], %%y;\nret;\n}\n");
        run_block(t.text, 32, 0, out, 32);
        for (uint32_t lane = 0; lane < 32; lane++) {
          bool inside = false;
          uint32_t from = shuffled(mode, lane, b, c, &inside);
          assert_int_equal(out[lane], (from * 3 + 5) | (inside ? 0x1000u : 0u));
        }
      }
}

static void test_votes(void **state) {
  (void)state;
  static const char ptx[] = KERNEL(".reg .b32 %x, %y, %m;\n.reg .pred %p, %q;",
                                   "and.b32 %x, %t, 3;\nsetp.eq.u32 %p, %x, 1;\nvote.sync.ballot.b32 %y, %p, "
                                   "-1;\nvote.sync.any.pred %q, %p, -1;\n@%q add.u32 %y, %y, 1;\n"
                                   "vote.sync.all.pred %q, %p, -1;\n@%q add.u32 %y, %y, 100;\nvote.sync.all.pred %q, "
                                   "!%p, -1;\n@%q add.u32 %y, %y, 100;\n"
                                   "vote.sync.uni.pred %q, %p, -1;\n@%q add.u32 %y, %y, 100;\nsetp.lt.u32 %q, %t, "
                                   "64;\nvote.sync.uni.pred %p, %q, -1;\n@%p add.u32 %y, %y, 8;\n"
                                   "elect.sync %m|%q, -1;\n@%q add.u32 %y, %y, 16;\nmatch.any.sync.b32 %m, %x, "
                                   "-1;\npopc.b32 %m, %m;\nshl.b32 %m, %m, 8;\nadd.u32 %y, %y, %m;\n" STORE("%y"));
  uint32_t out[64];
  run_block(ptx, 64, 0, out, 64);
  for (uint32_t i = 0; i < 64; i++) assert_int_equal(out[i], 0x22222222 + 1 + 8 + (i % 32 == 0 ? 16 : 0) + (8 << 8));
}

static void test_redux(void **state) {
  static const char *const ops[] = {"add.u32", "add.s32", "min.u32", "max.u32", "min.s32",
                                    "max.s32", "and.b32", "or.b32",  "xor.b32"};
  (void)state;
  static TextBuffer t;
  t.used = 0;
  text_add(&t,
           "%s.visible .entry k(.param .u64 pi, .param .u64 po, .param .u32 n) {\n.reg .b64 %%o, %%i, %%p;\n.reg .b32 "
           "%%t, %%x, %%y;\n",
           PTX_HEADER);
  text_add(&t, "ld.param.u64 %%p, [pi];\nld.param.u64 %%o, [po];\nmov.u32 %%t, %%tid.x;\nmul.wide.u32 %%i, %%t, "
               "4;\nadd.s64 %%p, %%p, %%i;\nadd.s64 %%o, %%o, %%i;\nld.global.u32 %%x, [%%p];\n");
  for (int i = 0; i < 9; i++)
    text_add(&t, "redux.sync.%s %%y, %%x, -1;\nst.global.u32 [%%o+%d], %%y;\n", ops[i], i * 128);
  text_add(&t, "ret;\n}\n");
  uint32_t in[32], out[9][32];
  for (int i = 0; i < 32; i++) in[i] = (uint32_t)random64() | 0x100;
  memset(out, 0, sizeof out);
  Run run = {.entry = "k", .grid = 1, .block = 32, .arrays = {{in, sizeof in, 0}, {out, sizeof out, 0}}};
  device_run(t.text, &run);
  uint32_t sum = 0, umin = UINT32_MAX, umax = 0, all = UINT32_MAX, any = 0, odd = 0;
  int32_t smin = INT32_MAX, smax = INT32_MIN;
  for (int i = 0; i < 32; i++) {
    uint32_t x = in[i];
    sum += x, all &= x, any |= x, odd ^= x;
    umin = x < umin ? x : umin, umax = x > umax ? x : umax;
    smin = (int32_t)x < smin ? (int32_t)x : smin, smax = (int32_t)x > smax ? (int32_t)x : smax;
  }
  const uint32_t want[] = {sum, sum, umin, umax, (uint32_t)smin, (uint32_t)smax, all, any, odd};
  for (int i = 0; i < 9; i++)
    for (int lane = 0; lane < 32; lane++) assert_int_equal(out[i][lane], want[i]);
}

/* ---- barriers ---- */

/* A sum by halving in shared memory: a barrier a step, a block whose last warp is not whole. */
static void test_barriers(void **state) {
  (void)state;
  static const char ptx[] = KERNEL(
      ".shared .align 4 .b8 sm[4096];\n.reg .b32 %a, %x, %y, %h, %l;\n.reg .pred %p;",
      "mov.u32 %a, sm;\nmad.lo.u32 %a, %t, 4, %a;\nmul.lo.u32 %x, %t, 7;\nst.shared.u32 [%a], %x;\nbar.sync "
      "0;\nmov.u32 %l, %n;\n"
      "STEP: add.u32 %h, %l, 1;\nshr.u32 %h, %h, 1;\nadd.u32 %y, %t, %h;\nsetp.ge.u32 %p, %y, %l;\n@%p bra SKIP;\n"
      "mad.lo.u32 %y, %h, 4, %a;\nld.shared.u32 %y, [%y];\nld.shared.u32 %x, [%a];\nadd.u32 %x, %x, %y;\nst.shared.u32 "
      "[%a], %x;\n"
      "SKIP: bar.sync 0;\nmov.u32 %l, %h;\nsetp.gt.u32 %p, %l, 1;\n@%p bra STEP;\nld.shared.u32 %x, [sm];\n" STORE(
          "%x"));
  for (uint32_t n = 33; n < 1024; n = n * 2 + 5) {
    uint32_t out[1024];
    run_block(ptx, n, n, out, n);
    for (uint32_t i = 0; i < n; i++) assert_int_equal(out[i], 7 * n * (n - 1) / 2);
  }
}

/* Producer warps arrive, consumer warps wait, on named barriers of 64 threads. */
static void test_named_barriers(void **state) {
  (void)state;
  static const char ptx[] =
      KERNEL(".shared .align 4 .b8 sm[128];\n.reg .b32 %a, %w, %x, %r;\n.reg .pred %p, %q;",
             "shr.u32 %w, %t, 5;\nsetp.eq.u32 %p, %w, 0;\nand.b32 %a, %t, 31;\nshl.b32 %a, %a, 2;\nmov.u32 %x, "
             "sm;\nadd.u32 %a, %a, %x;\nmov.u32 %r, 0;\n"
             "mov.u32 %x, 0;\n@!%p bra USE;\n"
             "MAKE: setp.eq.u32 %q, %r, 0;\n@%q bra FIRST;\nbar.sync 2, 64;\nFIRST: add.u32 %x, %x, %t;\nst.shared.u32 "
             "[%a], %x;\nbar.arrive 1, 64;\n"
             "add.u32 %r, %r, 1;\nsetp.lt.u32 %q, %r, %n;\n@%q bra MAKE;\nbar.sync 2, 64;\nbra END;\n"
             "USE: bar.sync 1, 64;\nld.shared.u32 %w, [%a];\nadd.u32 %x, %x, %w;\nbar.arrive 2, 64;\nadd.u32 %r, %r, "
             "1;\nsetp.lt.u32 %q, %r, %n;\n@%q bra USE;\nEND:\n" STORE("%x"));
  uint32_t out[64];
  run_block(ptx, 64, 5, out, 64);
  for (uint32_t i = 0; i < 32; i++) {
    assert_int_equal(out[i], 5 * i);
    assert_int_equal(out[32 + i], 15 * i);
  }
}

/* ---- who am I ---- */

static void test_special_registers(void **state) {
  (void)state;
  static const char ptx[] =
      PTX_HEADER ".visible .entry k(.param .u64 po) {\n.reg .b64 %o, %i;\n.reg .b32 %a<9>, %n, %w;\n"
                 "ld.param.u64 %o, [po];\nmov.u32 %a0, %tid.x;\nmov.u32 %a1, %tid.y;\nmov.u32 %a2, %tid.z;\nmov.u32 "
                 "%a3, %ctaid.x;\nmov.u32 %a4, %ctaid.y;\n"
                 "mov.u32 %a5, %ctaid.z;\nmov.u32 %n, %ntid.x;\nmad.lo.u32 %w, %a1, %n, %a0;\nmov.u32 %a6, "
                 "%ntid.y;\nmul.lo.u32 %a7, %n, %a6;\n"
                 "mad.lo.u32 %w, %a2, %a7, %w;\nmov.u32 %a8, %ntid.z;\nmul.lo.u32 %a7, %a7, %a8;\nmov.u32 %n, "
                 "%nctaid.x;\nmad.lo.u32 %a8, %a4, %n, %a3;\n"
                 "mov.u32 %a6, %nctaid.y;\nmul.lo.u32 %n, %n, %a6;\nmad.lo.u32 %a8, %a5, %n, %a8;\nmad.lo.u32 %w, %a8, "
                 "%a7, %w;\nmul.wide.u32 %i, %w, 32;\nadd.s64 %o, %o, %i;\n"
                 "mov.u32 %a6, %laneid;\nmov.u32 %a7, %lanemask_lt;\nst.global.v4.u32 [%o], {%a0, %a1, %a2, "
                 "%a3};\nst.global.v4.u32 [%o+16], {%a4, %a5, %a6, %a7};\nret;\n}\n";
  const uint32_t block[3] = {5, 4, 3}, grid[3] = {3, 2, 2};
  enum { TOTAL = 60 * 12 };
  static uint32_t out[TOTAL][8];
  CUdeviceptr o;
  CUfunction function;
  CUmodule module = device_module(ptx);
  void *params[] = {&o};
  CHECK_CU(cu.cuMemAlloc_v2(&o, sizeof out));
  CHECK_CU(cu.cuModuleGetFunction(&function, module, "k"));
  CHECK_CU(cu.cuLaunchKernel(function, grid[0], grid[1], grid[2], block[0], block[1], block[2], 0, NULL, params, NULL));
  CHECK_CU(cu.cuMemcpyDtoH_v2(out, o, sizeof out));
  for (uint32_t i = 0; i < TOTAL; i++) {
    uint32_t t = i % 60, b = i / 60;
    const uint32_t want[] = {t % 5, t / 5 % 4, t / 20, b % 3, b / 3 % 2, b / 6, t % 32, (1u << t % 32) - 1};
    assert_memory_equal(out[i], want, sizeof want);
  }
  CHECK_CU(cu.cuMemFree_v2(o));
  CHECK_CU(cu.cuModuleUnload(module));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_loops),
                                     cmocka_unit_test(test_reconverges),
                                     cmocka_unit_test(test_early_exit),
                                     cmocka_unit_test(test_lanes_wait_for_each_other),
                                     cmocka_unit_test(test_scopes),
                                     cmocka_unit_test(test_shuffles),
                                     cmocka_unit_test(test_votes),
                                     cmocka_unit_test(test_redux),
                                     cmocka_unit_test(test_barriers),
                                     cmocka_unit_test(test_named_barriers),
                                     cmocka_unit_test(test_special_registers)};
  return cmocka_run_group_tests(tests, device_open, device_close);
}
