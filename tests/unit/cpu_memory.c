/* Memory instructions of the CPU device: every width and vector, sign extension, all spaces, generic addresses,
 * constants, atomics, and asynchronous copies with zero fill. */
#include "cpu_device.h"

enum { THREADS = 96 };

/* ---- loads and stores of every type, alone and in vectors ---- */

typedef struct Width {
  const char *type, *reg;
  int bytes;
} Width;

static const Width widths[] = {{"u8", "b16", 1},  {"s8", "b32", 1},  {"u8", "b64", 1},  {"b8", "b32", 1},
                               {"s16", "b16", 2}, {"s16", "b64", 2}, {"u16", "b32", 2}, {"u32", "b32", 4},
                               {"s32", "b64", 4}, {"f32", "f32", 4}, {"u64", "b64", 8}, {"f64", "f64", 8}};

/* in -> registers -> shared -> registers -> out: the bytes must arrive whatever the registers' width. */
static void copy_kernel(TextBuffer *t, const Width *w, int count, const char *space) {
  char list[80], vector[8] = "";
  int n = 0, bytes = w->bytes * count;
  if (count > 1) sprintf(vector, ".v%d", count);
  for (int i = 0; i < count; i++) n += sprintf(list + n, "%s%%x%d", i ? ", " : count > 1 ? "{" : "", i);
  if (count > 1) strcat(list, "}");
  t->used = 0;
  text_add(t,
           "%s.visible .entry k(.param .u64 pi, .param .u64 po, .param .u32 n) {\n.shared .align 16 .b8 sm[%d];\n"
           ".reg .%s %%x<4>;\n.reg .b64 %%i, %%p, %%o, %%g;\n.reg .b32 %%t, %%s;\n",
           PTX_HEADER, THREADS * bytes, w->reg);
  text_add(t,
           "mov.u32 %%t, %%tid.x;\nmul.wide.u32 %%i, %%t, %d;\nld.param.u64 %%p, [pi];\nld.param.u64 %%o, [po];\n"
           "add.s64 %%p, %%p, %%i;\nadd.s64 %%o, %%o, %%i;\nmov.u32 %%s, sm;\nmad.lo.u32 %%s, %%t, %d, %%s;\n"
           "cvt.u64.u32 %%g, %%s;\ncvta.shared.u64 %%g, %%g;\n",
           bytes, bytes);
  text_add(t, "ld%s%s.%s %s, [%%p];\nst.shared%s.%s [%%s], %s;\nld%s.%s %s, [%%g];\nst%s%s.%s [%%o], %s;\nret;\n}\n",
           space, vector, w->type, list, vector, w->type, list, vector, w->type, list, space, vector, w->type, list);
}

static void test_widths(void **state) {
  static TextBuffer t;
  (void)state;
  for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
    for (int count = 1; count <= 4 && count * widths[i].bytes <= 16; count *= 2)
      for (int generic = 0; generic < 2; generic++) {
        uint8_t in[THREADS * 16], out[THREADS * 16] = {0};
        size_t bytes = (size_t)(THREADS * widths[i].bytes * count);
        for (size_t k = 0; k < bytes; k++) in[k] = (uint8_t)random64();
        copy_kernel(&t, &widths[i], count, generic ? "" : ".global");
        Run run = {.entry = "k", .grid = 1, .block = THREADS, .arrays = {{in, bytes, 0}, {out, bytes, 0}}};
        device_run(t.text, &run);
        assert_memory_equal(in, out, bytes);
      }
}

static void test_extension(void **state) {
  (void)state;
  static const char ptx[] = PTX_HEADER
      ".visible .entry k(.param .u64 pi, .param .u64 po, .param .u32 n) {\n.reg .b64 %p, %o, %d;\n.reg .b32 %a;\n.reg "
      ".b16 %h;\n"
      "ld.param.u64 %p, [pi];\nld.param.u64 %o, [po];\n"
      "ld.global.s8 %a, [%p];\nst.global.u32 [%o], %a;\nld.global.u8 %a, [%p];\nst.global.u32 [%o+4], %a;\n"
      "ld.global.s16 %d, [%p];\nst.global.u64 [%o+8], %d;\nld.global.u16 %d, [%p];\nst.global.u64 [%o+16], %d;\n"
      "ld.global.s32 %d, [%p];\nst.global.u64 [%o+24], %d;\nld.global.u32 %d, [%p];\nst.global.u64 [%o+32], %d;\n"
      "ld.global.s8 %h, [%p];\nst.global.u16 [%o+40], %h;\nret;\n}\n";
  uint32_t in = 0x8090a0f1;
  uint64_t out[6] = {0};
  Run run = {.entry = "k", .grid = 1, .block = 1, .arrays = {{&in, 4, 0}, {out, sizeof out, 0}}};
  device_run(ptx, &run);
  assert_int_equal((uint32_t)out[0], 0xfffffff1);
  assert_int_equal(out[0] >> 32, 0xf1);
  assert_true(out[1] == 0xffffffffffffa0f1u && out[2] == 0xa0f1);
  assert_true(out[3] == 0xffffffff8090a0f1u && out[4] == 0x8090a0f1);
  assert_int_equal(out[5], 0xfff1);
}

/* Lanes whose addresses lie in several allocations, and in shared memory, in one instruction. */
static void test_scattered(void **state) {
  (void)state;
  static const char ptx[] = PTX_HEADER
      ".visible .entry k(.param .u64 pa, .param .u64 pb, .param .u64 po, .param .u32 n) {\n.shared .align 4 .b8 "
      "sm[128];\n"
      ".reg .b64 %a, %b, %s, %i, %p, %o;\n.reg .b32 %t, %x, %m;\n.reg .pred %q, %r;\n"
      "ld.param.u64 %a, [pa];\nld.param.u64 %b, [pb];\nld.param.u64 %o, [po];\nmov.u32 %t, %tid.x;\n"
      "mul.wide.u32 %i, %t, 4;\nmov.u32 %x, sm;\nshl.b32 %m, %t, 2;\nadd.u32 %m, %x, %m;\nmul.lo.u32 %x, %t, 1000;\n"
      "st.shared.u32 [%m], %x;\nbar.sync 0;\n"
      "mov.u64 %s, sm;\ncvta.shared.u64 %s, %s;\nrem.u32 %m, %t, 3;\nsetp.eq.u32 %q, %m, 0;\nsetp.eq.u32 %r, %m, 1;\n"
      "selp.b64 %p, %a, %b, %r;\nselp.b64 %p, %s, %p, %q;\nadd.s64 %p, %p, %i;\nld.u32 %x, [%p];\nst.u32 [%p], %t;\n"
      "add.s64 %o, %o, %i;\nst.global.u32 [%o], %x;\nret;\n}\n";
  uint32_t a[32], b[32], out[32] = {0};
  for (uint32_t i = 0; i < 32; i++) a[i] = 100 + i, b[i] = 200 + i;
  Run run = {
      .entry = "k", .grid = 1, .block = 32, .arrays = {{a, sizeof a, 0}, {b, sizeof b, 0}, {out, sizeof out, 0}}};
  device_run(ptx, &run);
  for (uint32_t i = 0; i < 32; i++) {
    assert_int_equal(out[i], i % 3 == 0 ? i * 1000 : i % 3 == 1 ? 100 + i : 200 + i);
    assert_int_equal(a[i], i % 3 == 1 ? i : 100 + i);
    assert_int_equal(b[i], i % 3 == 2 ? i : 200 + i);
  }
}

/* ---- variables ---- */

static void test_variables(void **state) {
  (void)state;
  static const char ptx[] = PTX_HEADER
      ".const .align 4 .s32 table[4] = {-1, 0x10, (3+4)*2, 1<<5};\n"
      ".global .align 4 .f32 reals[] = {0f3F800000, 2.5, -0.5};\n.global .b32 counter;\n"
      ".const .b8 matrix[2][3] = {{1, 2, 3}, {4, 5, 6}};\n"
      ".visible .entry k(.param .u64 po, .param .u32 n) {\n.reg .b64 %o, %g;\n.reg .b32 %x;\n"
      "ld.param.u64 %o, [po];\nld.const.s32 %x, [table];\nst.global.u32 [%o], %x;\n"
      "ld.const.s32 %x, [table+12];\nst.global.u32 [%o+4], %x;\nmov.u64 %g, table;\nld.const.u32 %x, [%g+8];\n"
      "st.global.u32 [%o+8], %x;\nld.global.f32 %x, [reals+4];\nst.global.u32 [%o+12], %x;\n"
      "mov.u64 %g, reals+8;\ncvta.global.u64 %g, %g;\nld.u32 %x, [%g];\nst.global.u32 [%o+16], %x;\n"
      "ld.const.u8 %x, [matrix+4];\nst.global.u32 [%o+20], %x;\n"
      "atom.global.add.u32 %x, [counter], 7;\nst.global.u32 [%o+24], %x;\nret;\n}\n";
  CUmodule module = device_module(ptx);
  CUdeviceptr counter;
  size_t bytes;
  uint32_t out[7] = {0}, count = 0;
  Run run = {.entry = "k", .grid = 1, .block = 1, .arrays = {{out, sizeof out, 0}}};
  CHECK_CU(device_launch(module, &run));
  CHECK_CU(device_launch(module, &run));
  const uint32_t want[] = {UINT32_MAX, 32, 14, 0x40200000, 0xbf000000, 5, 7};
  assert_memory_equal(out, want, sizeof want);
  CHECK_CU(cu.cuModuleGetGlobal_v2(&counter, &bytes, module, "counter"));
  CHECK_CU(cu.cuMemcpyDtoH_v2(&count, counter, 4));
  assert_int_equal(bytes, 4);
  assert_int_equal(count, 14);
  CHECK_CU(cu.cuModuleUnload(module));
}

/* Static arrays, then the dynamic one behind them. */
static void test_dynamic_shared(void **state) {
  (void)state;
  static const char ptx[] =
      PTX_HEADER ".extern .shared .align 16 .b8 dyn[];\n.shared .align 4 .b32 outer[3];\n"
                 ".visible .entry k(.param .u64 po, .param .u32 n) {\n.shared .align 8 .b64 inner;\n.reg .b64 %o, "
                 "%l;\n.reg .b32 %a<6>;\n"
                 "ld.param.u64 %o, [po];\nmov.u32 %a0, dyn;\nmov.u32 %a1, outer;\nmov.u32 %a2, inner;\nst.shared.u32 "
                 "[dyn+65532], 1;\n"
                 "st.shared.u32 [outer+8], 2;\nst.shared.u64 [inner], 3;\nst.shared.u32 [dyn], 4;\n"
                 "ld.shared.u32 %a3, [%a0+65532];\nld.shared.u32 %a4, [%a1+8];\nld.shared.u64 %l, "
                 "[%a2];\nld.shared.u32 %a5, [%a0];\n"
                 "st.global.v4.u32 [%o], {%a0, %a3, %a4, %a5};\nst.global.u64 [%o+16], %l;\nret;\n}\n";
  uint32_t out[6] = {0};
  Run run = {.entry = "k", .grid = 1, .block = 1, .shared_bytes = 65536, .arrays = {{out, sizeof out, 0}}};
  device_run(ptx, &run);
  assert_int_equal(out[0] % 16, 0);
  assert_true(out[1] == 1 && out[2] == 2 && out[3] == 4 && out[4] == 3 && out[5] == 0);
}

/* ---- atomics: many threads, an order that does not matter ---- */

static void test_atomics(void **state) {
  (void)state;
  static const char ptx[] = PTX_HEADER
      ".visible .entry k(.param .u64 po, .param .u32 n) {\n.shared .align 4 .b32 sum;\n.reg .b64 %o, %w;\n"
      ".reg .b32 %t, %x, %old, %b;\n.reg .pred %p;\n"
      "ld.param.u64 %o, [po];\nmov.u32 %t, %tid.x;\nmov.u32 %b, %ctaid.x;\nmad.lo.u32 %x, %b, 128, %t;\n"
      "setp.eq.u32 %p, %t, 0;\n@%p st.shared.u32 [sum], 0;\nbar.sync 0;\natom.shared.add.u32 %old, [sum], "
      "%x;\nbar.sync 0;\n"
      "@%p ld.shared.u32 %old, [sum];\n@%p red.global.add.u32 [%o], %old;\n"
      "red.global.max.s32 [%o+4], %x;\nred.global.min.u32 [%o+8], %x;\natom.global.or.b32 %old, [%o+12], %x;\n"
      "atom.global.and.b32 %old, [%o+16], %x;\natom.global.xor.b32 %old, [%o+20], %x;\n"
      "cvt.u64.u32 %w, %x;\natom.global.add.u64 %w, [%o+24], %w;\n"
      "AGAIN: ld.global.u32 %old, [%o+32];\nadd.u32 %b, %old, 3;\natom.global.cas.b32 %b, [%o+32], %old, %b;\n"
      "setp.ne.u32 %p, %b, %old;\n@%p bra AGAIN;\natom.global.inc.u32 %old, [%o+36], 99;\nret;\n}\n";
  uint32_t out[10] = {0, (uint32_t)INT32_MIN, UINT32_MAX, 0, UINT32_MAX, 0, 0, 0, 0, 0};
  uint32_t n = 20 * 128, or_all = 0, and_all = UINT32_MAX, xor_all = 0;
  for (uint32_t i = 0; i < n; i++) or_all |= i, and_all &= i, xor_all ^= i;
  Run run = {.entry = "k", .grid = 20, .block = 128, .arrays = {{out, sizeof out, 0}}};
  device_run(ptx, &run);
  const uint32_t sum = n * (n - 1) / 2;
  const uint32_t want[] = {sum, n - 1, 0, or_all, and_all, xor_all, sum, 0, 3 * n, n % 100};
  assert_memory_equal(out, want, sizeof want);
}

/* ---- asynchronous copies ---- */

static void test_async(void **state) {
  (void)state;
  static const char ptx[] = PTX_HEADER
      ".visible .entry k(.param .u64 pi, .param .u64 po, .param .u32 n) {\n.shared .align 16 .b8 a[2048];\n"
      ".shared .align 16 .b8 b[512];\n.reg .b64 %p, %o, %i;\n.reg .b32 %t, %s, %u, %z, %x<4>;\n.reg .pred %q;\n"
      "ld.param.u64 %p, [pi];\nld.param.u64 %o, [po];\nmov.u32 %t, %tid.x;\nmul.wide.u32 %i, %t, 16;\nadd.s64 %p, %p, "
      "%i;\n"
      "add.s64 %o, %o, %i;\nmov.u32 %s, a;\nmad.lo.u32 %s, %t, 16, %s;\nmov.u32 %u, b;\nmad.lo.u32 %u, %t, 4, %u;\n"
      "and.b32 %z, %t, 15;\nmin.u32 %z, %z, 16;\n"
      "cp.async.cg.shared.global [%s], [%p], 16, %z;\ncp.async.commit_group;\n"
      "cp.async.ca.shared.global [%u], [%p+4], 4;\ncp.async.commit_group;\ncp.async.wait_group 1;\n"
      "ld.shared.v4.u32 {%x0, %x1, %x2, %x3}, [%s];\ncp.async.wait_all;\nbar.sync 0;\nxor.b32 %z, %t, 1;\n"
      "mov.u32 %u, b;\nmad.lo.u32 %u, %z, 4, %u;\nld.shared.u32 %z, [%u];\nxor.b32 %x3, %x3, %z;\n"
      "st.global.v4.u32 [%o], {%x0, %x1, %x2, %x3};\nret;\n}\n";
  enum { N = 128 };
  uint8_t in[N][16], out[N][16], want[N][16];
  for (int i = 0; i < N; i++)
    for (int k = 0; k < 16; k++) in[i][k] = (uint8_t)random64();
  memset(out, 0, sizeof out);
  for (int i = 0; i < N; i++) {
    memset(want[i], 0, 16);
    memcpy(want[i], in[i], (size_t)(i & 15));
    for (int k = 0; k < 4; k++) want[i][12 + k] ^= in[i ^ 1][4 + k];
  }
  Run run = {.entry = "k", .grid = 1, .block = N, .arrays = {{in, sizeof in, 0}, {out, sizeof out, 0}}};
  device_run(ptx, &run);
  assert_memory_equal(out, want, sizeof want);
}

/* Parameters of every size and a struct. */
static void test_parameters(void **state) {
  (void)state;
  static const char ptx[] = PTX_HEADER
      ".visible .entry k(.param .u8 a, .param .u64 po, .param .align 8 .b8 s[24], .param .f32 f, .param .u16 h) {\n"
      ".reg .b64 %o, %x, %y;\n.reg .b32 %a, %f, %h;\nld.param.u64 %o, [po];\nld.param.u8 %a, [a];\nld.param.v2.u64 "
      "{%x, %y}, [s];\n"
      "ld.param.f32 %f, [f];\nld.param.s16 %h, [h];\nst.global.u32 [%o], %a;\nst.global.u32 [%o+4], %f;\nst.global.u64 "
      "[%o+8], %y;\n"
      "st.global.u32 [%o+16], %h;\nld.param.u32 %a, [s+16];\nst.global.u32 [%o+20], %a;\nret;\n}\n";
  uint8_t a = 200;
  uint64_t s[3] = {1, 0x1122334455667788, 77};
  float f = 1.5f;
  int16_t h = -5;
  uint32_t out[6];
  CUdeviceptr o;
  CUfunction function;
  CUmodule module = device_module(ptx);
  void *params[] = {&a, &o, s, &f, &h};
  CHECK_CU(cu.cuMemAlloc_v2(&o, sizeof out));
  CHECK_CU(cu.cuModuleGetFunction(&function, module, "k"));
  CHECK_CU(cu.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
  CHECK_CU(cu.cuMemcpyDtoH_v2(out, o, sizeof out));
  const uint32_t want[] = {200, 0x3fc00000, 0x55667788, 0x11223344, (uint32_t)-5, 77};
  assert_memory_equal(out, want, sizeof want);
  CHECK_CU(cu.cuMemFree_v2(o));
  CHECK_CU(cu.cuModuleUnload(module));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_widths),         cmocka_unit_test(test_extension),
                                     cmocka_unit_test(test_scattered),      cmocka_unit_test(test_variables),
                                     cmocka_unit_test(test_dynamic_shared), cmocka_unit_test(test_atomics),
                                     cmocka_unit_test(test_async),          cmocka_unit_test(test_parameters)};
  return cmocka_run_group_tests(tests, device_open, device_close);
}
