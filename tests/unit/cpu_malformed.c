/* Broken PTX: truncated at every place, and with random changes from a fixed seed. The device must refuse it or run it,
 * never crash; a refusal says the line. Runs are held by limits on instructions. */
#include "cpu_device.h"

static const char sample[] =
    ".version 8.0\n.target sm_80\n.address_size 64\n"
    ".const .align 4 .b32 table[4] = {1, 2, (3 << 2) + 1, -4};\n.extern .shared .align 16 .b8 dyn[];\n"
    ".visible .entry k(\n  .param .u64 pa,\n  .param .align 8 .b8 s[16],\n  .param .u32 n)\n.maxntid 64, 1, 1\n{\n"
    "  .reg .b64 %rd<8>;\n  .reg .b32 %r<16>;\n  .reg .f32 %f<4>;\n  .reg .pred %p<3>;\n  .reg .b16 %h<2>;\n"
    "  .shared .align 16 .b8 sm[1024];\n"
    "  ld.param.u64 %rd1, [pa];\n  ld.param.u32 %r1, [n];\n  mov.u32 %r2, %tid.x;\n  // layer: c1\n"
    "  mul.wide.u32 %rd2, %r2, 16;\n  add.s64 %rd3, %rd1, %rd2;\n  ld.global.v4.u32 {%r4, %r5, %r6, %r7}, [%rd3];\n"
    "  mov.u32 %r3, sm;\n  mad.lo.s32 %r3, %r2, 16, %r3;\n  cp.async.cg.shared.global [%r3], [%rd3], 16;\n"
    "  cp.async.commit_group;\n  cp.async.wait_group 0;\n  bar.sync 0;\n"
    "  ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r8, %r9}, [%r3];\n"
    "  mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc {%r10, %r11, %r12, %r13}, {%r4, %r5, %r6, %r7}, {%r8, "
    "%r9}, "
    "{%r4, %r5, %r6, %r7};\n"
    "  setp.lt.and.s32 %p1|%p2, %r10, %r11, %p0;\n  cvt.rn.f32.s32 %f0, %r12;\n  fma.rn.f32 %f1, %f0, 0f3F000000, "
    "%f0;\n"
    "  cvt.rni.s32.f32 %r14, %f1;\n  selp.b32 %r15, %r14, %r13, %p1;\n  shfl.sync.bfly.b32 %r15|%p2, %r15, 1, 0x1f, "
    "-1;\n"
    "LOOP:\n  add.u32 %r1, %r1, 1;\n  setp.lt.u32 %p0, %r1, 5;\n  @%p0 bra LOOP;\n  ld.const.b32 %r0, [table+4];\n"
    "  lop3.b32 %r15, %r15, %r0, %r1, 0x96;\n  {\n    .reg .b32 %q;\n    mov.b64 {%q, %r0}, %rd2;\n"
    "    atom.global.add.u32 %q, [%rd1], %q;\n  }\n  cvt.u16.u32 %h0, %r15;\n  st.global.u16 [%rd3+2], %h0;\n"
    "  st.shared.u32 [dyn+4], %r15;\n  @!%p0 ret;\n  exit;\n}\n";

/* The same for what sm_90a adds. */
static const char hopper[] =
    ".version 8.4\n.target sm_90a\n.address_size 64\n"
    ".visible .entry k(.param .u64 pa, .param .align 64 .b8 map[128])\n{\n"
    "  .reg .b64 %rd<8>;\n  .reg .b32 %r<16>;\n  .reg .pred %p<3>;\n  .shared .align 1024 .b8 sm[8192];\n"
    "  .shared .align 8 .b64 bar[2];\n"
    "  ld.param.u64 %rd1, [pa];\n  mov.u32 %r1, %tid.x;\n  setp.eq.u32 %p0, %r1, 0;\n"
    "  @%p0 mbarrier.init.shared.b64 [bar], 64;\n  fence.proxy.async;\n  bar.sync 0;\n"
    "  @%p0 mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [bar], 1024;\n"
    "  @%p0 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [sm], [%rd1], 1024, [bar];\n"
    "  mbarrier.arrive.shared.b64 %rd2, [bar];\nW:\n  mbarrier.try_wait.shared.b64 %p1, [bar], %rd2;\n  @!%p1 bra W;\n"
    "  mov.b64 %rd3, map;\n  cvta.param.u64 %rd3, %rd3;\n"
    "  @%p2 cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [sm], [%rd3, {%r1, %r1}], "
    "[bar+8];\n"
    "  mov.u64 %rd4, 0x4000004000010000;\n  wgmma.fence.sync.aligned;\n"
    "  wgmma.mma_async.sync.aligned.m64n8k256.s32.b1.b1.and.popc {%r4, %r5, %r6, %r7}, %rd4, %rd4, %p0;\n"
    "  wgmma.commit_group.sync.aligned;\n  wgmma.wait_group.sync.aligned 0;\n  add.u32 %r8, %r4, %r7;\n"
    "  barrier.cluster.arrive.aligned;\n  barrier.cluster.wait.aligned;\n  elect.sync %r9|%p1, -1;\n"
    "  @%p1 cp.async.bulk.global.shared::cta.bulk_group [%rd1], [sm], 16;\n  ret;\n}\n";

/* Loads, and launches every entry named k; both may fail. */
static void try_text(const char *text) {
  CUmodule module;
  CUfunction function;
  CUdeviceptr p;
  CUresult result = cu.cuModuleLoadData(&module, text);
  if (result) {
    assert_true(result == CUDA_ERROR_INVALID_PTX || result == CUDA_ERROR_OUT_OF_MEMORY);
    if (result == CUDA_ERROR_INVALID_PTX) assert_non_null(strstr(cu.last_error(), "PTX line "));
    return;
  }
  if (!cu.cuModuleGetFunction(&function, module, "k")) {
    uint8_t params[4096] = {0};
    size_t size = sizeof params;
    CHECK_CU(cu.cuMemAlloc_v2(&p, 2048));
    CHECK_CU(cu.cuMemsetD8_v2(p, 0x5a, 2048));
    memcpy(params, &p, sizeof p);
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, params, CU_LAUNCH_PARAM_BUFFER_SIZE, &size, CU_LAUNCH_PARAM_END};
    cu.cuLaunchKernel(function, 1, 1, 1, 64, 1, 1, 1024, NULL, NULL, extra);
    CHECK_CU(cu.cuMemFree_v2(p));
  }
  CHECK_CU(cu.cuModuleUnload(module));
}

static void test_sample_is_right(void **state) {
  (void)state;
  CUmodule module = device_module(sample);
  CHECK_CU(cu.cuModuleUnload(module));
  module = device_module(hopper);
  CHECK_CU(cu.cuModuleUnload(module));
}

static void check_truncated(const char *whole) {
  char text[sizeof sample + sizeof hopper];
  for (size_t n = 0; n <= strlen(whole); n++) {
    memcpy(text, whole, n);
    text[n] = 0;
    try_text(text);
  }
}

static void test_truncated(void **state) {
  (void)state;
  check_truncated(sample);
  check_truncated(hopper);
}

static size_t below(size_t n) {
  return (size_t)(random64() % n);
}

/* Bytes flipped, pieces doubled, moved or cut, words swapped for others of the text. */
static void mutate(char *text, size_t room) {
  size_t length = strlen(text), at = below(length), n = 1 + below(12);
  static const char marks[] = "{}[]()<>;:,.@!%|+-0123456789abcdefrx \"/*";
  if (at + n > length) n = length - at;
  switch (below(6)) {
  case 0:
    text[at] = marks[below(sizeof marks - 1)];
    break;
  case 1:
    text[at] = (char)(1 + below(255));
    break;
  case 2:
    memmove(text + at, text + at + n, length - at - n + 1);
    break;
  case 3:
    if (length + n < room) memmove(text + at + n, text + at, length - at + 1);
    break;
  case 4:
    memmove(text + at, text + below(length - n + 1), n);
    break;
  default: {
    static const char *const words[] = {"%r1",  "%rd1",  "%p0",    "%f0", "99999999999", "0x", "-1",
                                        "[sm]", "{%r1}", "%tid.x", "u64", "LOOP",        "_"};
    const char *word = words[below(sizeof words / sizeof *words)];
    if (at + strlen(word) < length) memcpy(text + at, word, strlen(word));
  }
  }
}

static void test_mutations(void **state) {
  char text[2 * (sizeof sample + sizeof hopper)];
  (void)state;
  random_state = 20240229;
  for (int i = 0; i < 20000; i++) {
    strcpy(text, i % 2 ? sample : hopper);
    for (size_t n = 1 + below(4); n; n--) mutate(text, sizeof text);
    try_text(text);
  }
}

/* Texts that ask for much: names, nesting, numbers, sizes. */
static void test_extremes(void **state) {
  static TextBuffer t;
  (void)state;
  static const char *const bodies[] = {".reg .b32 %r<4294967297>;",
                                       ".reg .b32 %r<0>;",
                                       ".shared .b8 a[999999999999];",
                                       ".shared .b8 a[300000]; mov.u32 x, a;",
                                       "mov.u32 %q, 1/0;",
                                       "bra NOWHERE;",
                                       ".reg .b32 %r; mov.b32 %r, {%r, %r, %r};",
                                       ".reg .b32 %r; add.u32 %r, %r;",
                                       ".reg .b64 %r; add.u32 %r, %r, 1;",
                                       ".reg .b32 %r; ld.global.u64 %r, [0];",
                                       ".reg .b32 %r; mov.u32 %r, [%r];",
                                       "L: L: ret;",
                                       ".reg .b32 %r; @%r ret;",
                                       ".reg .b32 %r; mov.u32 %r, k;",
                                       ".local .b8 depot[16];",
                                       "call (x), f, (y);",
                                       ".reg .b32 %r; mov.u32 %r, %envreg3;",
                                       ".reg .b32 %r; mov.u32 %r, %tid.w;",
                                       ".reg .b128 %q;",
                                       ".reg .b32 %r; ld.param.u32 %r, [nothing];"};
  for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
    CUmodule module;
    t.used = 0;
    text_add(&t, "%s.visible .entry k() {\n%s\n}\n", PTX_HEADER, bodies[i]);
    if (cu.cuModuleLoadData(&module, t.text) != CUDA_ERROR_INVALID_PTX) fail_msg("accepted: %s", bodies[i]);
    assert_non_null(strstr(cu.last_error(), "PTX line "));
  }
  t.used = 0;
  text_add(&t, "%s.visible .entry k() {\n", PTX_HEADER);
  for (int i = 0; i < 5000; i++) text_add(&t, "{");
  try_text(t.text);
  t.used = 0;
  text_add(&t, "%s.const .b32 c = ", PTX_HEADER);
  for (int i = 0; i < 20000; i++) text_add(&t, "(");
  try_text(t.text);
}

static int open_cpu(void **state) {
  if (device_open(state) || !cu.is_cpu) return -1;
  cu.set_option("limit", "20000");
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_sample_is_right), cmocka_unit_test(test_truncated),
                                     cmocka_unit_test(test_mutations), cmocka_unit_test(test_extremes)};
  return cmocka_run_group_tests(tests, open_cpu, device_close);
}
