/* What the CPU device tells that a GPU would not: each fault with its message, the place it names, and a device that
 * goes on working afterwards. */
#include "cpu_device.h"

#define KERNEL(body)                                                                                                   \
  PTX_HEADER ".visible .entry bad(.param .u64 pa, .param .u32 n) {\n"                                                  \
             ".shared .align 16 .b8 sm[1024];\n.reg .b64 %a, %i;\n.reg .b32 %t, %x, %y, %z, %v<4>;\n.reg .pred %p;\n"  \
             "ld.param.u64 %a, [pa];\nmov.u32 %t, %tid.x;\nmul.wide.u32 %i, %t, 4;\nadd.s64 %i, %a, %i;\n// layer: "   \
             "conv3\n" body "\nret;\n}\n"

typedef struct FaultCase {
  const char *name, *ptx;
  uint32_t threads;
  CUresult code;
  const char *words[4]; /* all of them stand in the message */
} FaultCase;

/* The array has 256 bytes; a second one is allocated and never written. */
static const FaultCase fault_cases[] = {
    {"read past the end",
     KERNEL("ld.global.u32 %x, [%i+4];"),
     64,
     CUDA_ERROR_ILLEGAL_ADDRESS,
     {"out-of-bounds read of 4 bytes", "byte 256 of an allocation of 256", "thread 63,0,0", "layer conv3"}},
    {"write before the start",
     KERNEL("st.global.u32 [%a+-16], %t;"),
     1,
     CUDA_ERROR_ILLEGAL_ADDRESS,
     {"out-of-bounds write of 4 bytes"}},
    {"wide read across the end",
     KERNEL("ld.global.v4.u32 {%v0, %v1, %v2, %v3}, [%a+256];"),
     1,
     CUDA_ERROR_ILLEGAL_ADDRESS,
     {"out-of-bounds read of 16 bytes"}},
    {"null pointer",
     KERNEL("mov.u64 %i, 0;\nld.global.u32 %x, [%i];"),
     1,
     CUDA_ERROR_ILLEGAL_ADDRESS,
     {"at 0x0", "ld.global.u32 %x, [%i];"}},
    {"shared bounds",
     KERNEL("mov.u32 %y, sm;\nst.shared.u32 [%y+1024], %t;"),
     1,
     CUDA_ERROR_ILLEGAL_ADDRESS,
     {"shared address 1024", "1024 bytes"}},
    {"misaligned",
     KERNEL("ld.global.u32 %x, [%a+2];"),
     1,
     CUDA_ERROR_MISALIGNED_ADDRESS,
     {"misaligned read", "multiple of 4"}},
    {"misaligned vector",
     KERNEL("ld.global.v4.u32 {%v0, %v1, %v2, %v3}, [%a+8];"),
     1,
     CUDA_ERROR_MISALIGNED_ADDRESS,
     {"misaligned read", "multiple of 16"}},
    {"misaligned shared",
     KERNEL("st.shared.v2.u32 [sm+4], {%t, %t};"),
     1,
     CUDA_ERROR_MISALIGNED_ADDRESS,
     {"misaligned write", "shared"}},
    {"shared never written",
     KERNEL("setp.lt.u32 %p, %t, 31;\n@%p st.shared.u32 [sm+64], %t;\nld.shared.u32 %x, [sm+68];"),
     32,
     CUDA_ERROR_LAUNCH_FAILED,
     {"shared memory that nothing wrote", "byte 68"}},
    {"partly written",
     KERNEL("st.shared.u8 [sm], %t;\nld.shared.u16 %x, [sm];"),
     1,
     CUDA_ERROR_LAUNCH_FAILED,
     {"nothing wrote"}},
    {"register never written",
     KERNEL("add.u32 %x, %y, 1;\nst.global.u32 [%a], %x;"),
     32,
     CUDA_ERROR_LAUNCH_FAILED,
     {"register %y is read before", "add.u32 %x, %y, 1;"}},
    {"register written on one path",
     KERNEL("setp.lt.u32 %p, %t, 7;\n@%p mov.u32 %y, 1;\nadd.u32 %x, %y, 1;"),
     8,
     CUDA_ERROR_LAUNCH_FAILED,
     {"register %y is read before", "thread 7,0,0"}},
    {"predicate never written",
     KERNEL("@%p mov.u32 %y, 1;"),
     8,
     CUDA_ERROR_LAUNCH_FAILED,
     {"register %p is read before"}},
    {"copy without a wait",
     KERNEL("cp.async.ca.shared.global [sm], [%a], 16;\ncp.async.commit_group;\nld.shared.u32 %x, [sm+4];"),
     1,
     CUDA_ERROR_LAUNCH_FAILED,
     {"asynchronous copy", "no wait has covered it"}},
    {"wait that covers too little",
     KERNEL("cp.async.ca.shared.global [sm], [%a], 16;\ncp.async.commit_group;\ncp.async.ca.shared.global [sm+16], "
            "[%a+16], 16;\n"
            "cp.async.commit_group;\ncp.async.wait_group 1;\nld.shared.u32 %x, [sm];\nld.shared.u32 %x, [sm+16];"),
     1,
     CUDA_ERROR_LAUNCH_FAILED,
     {"read of shared byte 16", "asynchronous copy"}},
    {"copy of bad size",
     KERNEL("cp.async.cg.shared.global [sm], [%a], 8;"),
     1,
     CUDA_ERROR_ILLEGAL_INSTRUCTION,
     {"cannot copy 8 bytes"}},
    {"barrier that some miss",
     KERNEL("setp.lt.u32 %p, %t, 32;\n@%p bar.sync 0;"),
     64,
     CUDA_ERROR_LAUNCH_FAILED,
     {"32 threads wait at barrier 0 for 64", "32 have exited"}},
    {"barrier that some lanes miss",
     KERNEL("setp.ge.u32 %p, %t, 5;\n@%p ret;\nbar.sync 0;"),
     32,
     CUDA_ERROR_LAUNCH_FAILED,
     {"5 threads wait at barrier 0 for 32", "27 have exited"}},
    {"two barriers",
     KERNEL("setp.lt.u32 %p, %t, 32;\n@%p bar.sync 1;\n@!%p bar.sync 2;"),
     64,
     CUDA_ERROR_LAUNCH_FAILED,
     {"deadlock", "wait at others", "barrier 2"}},
    {"barrier counts disagree",
     KERNEL("setp.lt.u32 %p, %t, 32;\n@%p bar.sync 1, 64;\n@!%p bar.sync 1, 96;"),
     96,
     CUDA_ERROR_LAUNCH_FAILED,
     {"used for 96 threads here and for 64"}},
    {"barrier number", KERNEL("bar.sync 16;"), 32, CUDA_ERROR_ILLEGAL_INSTRUCTION, {"barrier 16"}},
    {"shuffle with an absent lane",
     KERNEL("setp.lt.u32 %p, %t, 16;\n@%p shfl.sync.bfly.b32 %x, %t, 1, 31, 0xffffffff;"),
     32,
     CUDA_ERROR_LAUNCH_FAILED,
     {"0xffff0000", "elsewhere"}},
    {"shuffle from outside the mask",
     KERNEL("setp.lt.u32 %p, %t, 16;\n@%p shfl.sync.bfly.b32 %x, %t, 16, 31, 0xffff;"),
     32,
     CUDA_ERROR_LAUNCH_FAILED,
     {"takes no part"}},
    {"tensor core by half a warp",
     KERNEL("mov.u32 %x, 0;\nsetp.lt.u32 %p, %t, 16;\n@%p mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%y, %z}, "
            "{%x}, {%x}, {%x, %x};"),
     32,
     CUDA_ERROR_LAUNCH_FAILED,
     {"part of a warp"}},
    {"trap",
     KERNEL("setp.eq.u32 %p, %t, 3;\n@%p trap;"),
     32,
     CUDA_ERROR_LAUNCH_FAILED,
     {"trap", "thread 3,0,0", "kernel bad"}},
    {"write to constants",
     ".version 8.0\n.target sm_80\n.address_size 64\n.const .b32 c = 4;\n.visible .entry bad(.param .u64 pa, .param "
     ".u32 n) {\n"
     ".reg .b64 %a;\nmov.u64 %a, c;\nst.global.u32 [%a], 5;\nret;\n}\n",
     1,
     CUDA_ERROR_ILLEGAL_ADDRESS,
     {".const"}},
};

static void write_and_check_again(void) {
  static const char ptx[] = KERNEL("st.global.u32 [%i], %t;");
  uint32_t out[64] = {0};
  Run run = {.entry = "bad", .grid = 1, .block = 64, .arrays = {{out, sizeof out, 0}}};
  device_run(ptx, &run);
  for (uint32_t i = 0; i < 64; i++) assert_int_equal(out[i], i);
}

static void test_faults(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof fault_cases / sizeof *fault_cases; i++) {
    const FaultCase *c = &fault_cases[i];
    uint32_t data[64] = {0};
    CUmodule module = device_module(c->ptx);
    Run run = {.entry = "bad", .grid = 2, .block = c->threads, .arrays = {{data, sizeof data, 0}}};
    CUresult result = device_launch(module, &run);
    if (result != c->code) fail_msg("%s: gives %d (%s)", c->name, result, cu.last_error());
    for (int k = 0; k < 4 && c->words[k]; k++)
      if (!strstr(cu.last_error(), c->words[k]))
        fail_msg("%s: \"%s\" is not in: %s", c->name, c->words[k], cu.last_error());
    CHECK_CU(cu.cuModuleUnload(module));
    write_and_check_again();
  }
}

/* Device memory that was allocated, copied or set: only what was written may be read, and copies carry that along. */
static void test_never_written(void **state) {
  (void)state;
  static const char ptx[] = KERNEL("ld.global.u32 %x, [%i];");
  CUmodule module = device_module(ptx);
  CUfunction function;
  CUdeviceptr a, b;
  uint32_t n = 0;
  char zeros[256] = {0};
  void *params[] = {&a, &n}, *copied[] = {&b, &n};
  CHECK_CU(cu.cuModuleGetFunction(&function, module, "bad"));
  CHECK_CU(cu.cuMemAlloc_v2(&a, 256));
  CHECK_CU(cu.cuMemAlloc_v2(&b, 256));
  assert_int_equal(cu.cuLaunchKernel(function, 1, 1, 1, 64, 1, 1, 0, NULL, params, NULL), CUDA_ERROR_LAUNCH_FAILED);
  assert_non_null(strstr(cu.last_error(), "device memory that nothing wrote: byte 0"));
  CHECK_CU(cu.cuMemcpyHtoD_v2(a, zeros, 100));
  CHECK_CU(cu.cuMemsetD8_v2(a + 101, 0, 155));
  assert_int_equal(cu.cuLaunchKernel(function, 1, 1, 1, 64, 1, 1, 0, NULL, params, NULL), CUDA_ERROR_LAUNCH_FAILED);
  assert_non_null(strstr(cu.last_error(), "byte 100"));
  assert_non_null(strstr(cu.last_error(), "thread 25,0,0"));
  CHECK_CU(cu.cuMemcpyDtoD_v2(b, a, 256));
  assert_int_equal(cu.cuLaunchKernel(function, 1, 1, 1, 64, 1, 1, 0, NULL, copied, NULL), CUDA_ERROR_LAUNCH_FAILED);
  CHECK_CU(cu.cuMemsetD8_v2(a + 100, 0, 1));
  CHECK_CU(cu.cuLaunchKernel(function, 1, 1, 1, 64, 1, 1, 0, NULL, params, NULL));
  CHECK_CU(cu.cuMemcpyDtoD_v2(b + 3, a + 3, 253));
  assert_int_equal(cu.cuLaunchKernel(function, 1, 1, 1, 64, 1, 1, 0, NULL, copied, NULL), CUDA_SUCCESS);
  cu.set_option("check", "none");
  CHECK_CU(cu.cuMemFree_v2(a));
  CHECK_CU(cu.cuMemAlloc_v2(&a, 256));
  CHECK_CU(cu.cuLaunchKernel(function, 1, 1, 1, 64, 1, 1, 0, NULL, params, NULL));
  cu.set_option("check", "all");
  CHECK_CU(cu.cuMemFree_v2(a));
  CHECK_CU(cu.cuMemFree_v2(b));
  CHECK_CU(cu.cuModuleUnload(module));
}

/* Memory that was freed is gone. */
static void test_freed(void **state) {
  (void)state;
  static const char ptx[] = KERNEL("st.global.u32 [%i], %t;");
  CUmodule module = device_module(ptx);
  CUfunction function;
  CUdeviceptr a;
  uint32_t n = 0;
  void *params[] = {&a, &n};
  CHECK_CU(cu.cuModuleGetFunction(&function, module, "bad"));
  CHECK_CU(cu.cuMemAlloc_v2(&a, 256));
  CHECK_CU(cu.cuMemFree_v2(a));
  assert_int_equal(cu.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL), CUDA_ERROR_ILLEGAL_ADDRESS);
  assert_int_equal(cu.cuMemcpyHtoD_v2(a, &n, 4), CUDA_ERROR_INVALID_VALUE);
  CHECK_CU(cu.cuModuleUnload(module));
}

/* check=race: a missing barrier between warps; with the barrier there is none, nor within a warp. */
static void test_races(void **state) {
  (void)state;
#define EXCHANGE(between)                                                                                              \
  KERNEL("shl.b32 %y, %t, 2;\nxor.b32 %z, %y, 128;\nmov.u32 %x, sm;\nadd.u32 %y, %y, %x;\nadd.u32 %z, %z, "            \
         "%x;\nst.shared.u32 [%y], %t;\n" between "ld.shared.u32 %x, [%z];")
  static const struct {
    const char *ptx;
    bool race;
  } cases[] = {{EXCHANGE("bar.sync 0;\n"), false},
               {KERNEL("st.shared.u32 [sm], %t;"), true},
               {KERNEL("shl.b32 %y, %t, 2;\nmov.u32 %x, sm;\nadd.u32 %y, %y, %x;\nst.shared.u32 [%y], %t;\nbar.sync "
                       "0;\nld.shared.u32 %x, [sm];\n"
                       "setp.eq.u32 %p, %t, 40;\n@%p st.shared.u32 [sm], %x;"),
                true},
               {KERNEL("setp.eq.u32 %p, %t, 0;\n@%p st.shared.u32 [sm], 0;\nbar.sync 0;\natom.shared.add.u32 %x, [sm], "
                       "1;\nbar.sync 0;\nld.shared.u32 %x, [sm];"),
                false}};
  cu.set_option("check", "race");
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    uint32_t data[64] = {0};
    CUmodule module = device_module(cases[i].ptx);
    Run run = {.entry = "bad", .grid = 1, .block = 64, .arrays = {{data, sizeof data, 0}}};
    CUresult result = device_launch(module, &run);
    if (result != (cases[i].race ? CUDA_ERROR_LAUNCH_FAILED : CUDA_SUCCESS))
      fail_msg("case %zu: %s", i, cu.last_error());
    if (cases[i].race) assert_non_null(strstr(cu.last_error(), "race on shared byte"));
    CHECK_CU(cu.cuModuleUnload(module));
  }
  cu.set_option("check", "all");
}

static void test_endless_loop(void **state) {
  (void)state;
  static const char ptx[] = KERNEL("LOOP: bra LOOP;");
  CUmodule module = device_module(ptx);
  uint32_t data[64] = {0};
  Run run = {.entry = "bad", .grid = 3, .block = 64, .arrays = {{data, sizeof data, 0}}};
  cu.set_option("limit", "100000");
  assert_int_equal(device_launch(module, &run), CUDA_ERROR_LAUNCH_FAILED);
  assert_non_null(strstr(cu.last_error(), "more than 100000 instructions"));
  cu.set_option("limit", "0");
  CHECK_CU(cu.cuModuleUnload(module));
}

static int open_cpu(void **state) {
  return device_open(state) || !cu.is_cpu;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_faults), cmocka_unit_test(test_never_written),
                                     cmocka_unit_test(test_freed), cmocka_unit_test(test_races),
                                     cmocka_unit_test(test_endless_loop)};
  return cmocka_run_group_tests(tests, open_cpu, device_close);
}
