/* Launches that may begin before the one before them ends, on the CPU device: what a thread may do until it has waited
 * for that one, and that doing more is told. */
#include "cpu_device.h"

/* Of the arrays one is as the host copied it, the other was stored by a kernel before. */
#define KERNEL(body)                                                                                                   \
  PTX_HEADER ".visible .entry second(.param .u64 pc, .param .u64 pa, .param .u32 n) {\n"                               \
             ".shared .align 16 .b8 sm[1024];\n.reg .b64 %c, %a, %i;\n.reg .b32 %t, %x, %y;\n.reg .pred %p, %q;\n"     \
             "griddepcontrol.launch_dependents;\nld.param.u64 %c, [pc];\nld.param.u64 %a, [pa];\n"                     \
             "mov.u32 %t, %tid.x;\nmul.wide.u32 %i, %t, 4;\nadd.s64 %c, %c, %i;\nadd.s64 %a, %a, %i;\n// layer: "      \
             "conv3\n" body "\nret;\n}\n"                                                                              \
             ".visible .entry first(.param .u64 pa, .param .u32 n) {\n.reg .b64 %a, %i;\n.reg .b32 %t;\n"              \
             "ld.param.u64 %a, [pa];\nmov.u32 %t, %tid.x;\nmul.wide.u32 %i, %t, 4;\nadd.s64 %i, %a, %i;\n"             \
             "st.global.u32 [%i], %t;\nret;\n}\n"
#define WAIT "griddepcontrol.wait;\n"
#define BARRIER                                                                                                        \
  "setp.eq.u32 %q, %t, 0;\n@%q mbarrier.init.shared.b64 [sm+512], 1;\nbar.sync 0;\n"                                   \
  "@%q mbarrier.arrive.expect_tx.shared.b64 _, [sm+512], 64;\n"
#define COPY "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [sm], "

enum { THREADS = 64, BYTES = 4 * THREADS };

typedef struct OverlapCase {
  const char *name, *ptx;
  const char *words[3]; /* all of them stand in the message; none: nothing is wrong */
} OverlapCase;

static const OverlapCase overlap_cases[] = {
    {"constants before, all else behind",
     KERNEL("ld.global.nc.u32 %x, [%c];\n" WAIT
            "ld.global.u32 %y, [%a];\nadd.u32 %x, %x, %y;\nst.global.u32 [%a], %x;"),
     {NULL}},
    {"shared memory before", KERNEL("st.shared.u32 [sm], %t;\nbar.sync 0;\nld.shared.u32 %x, [sm];\n" WAIT), {NULL}},
    {"constants by cp.async before",
     KERNEL("cp.async.ca.shared.global [sm], [%c], 4;\ncp.async.wait_all;\n" WAIT),
     {NULL}},
    {"a store before",
     KERNEL("st.global.u32 [%a], %t;\n" WAIT),
     {"write of device memory before griddepcontrol.wait", "st.global.u32 [%a], %t;", "layer conv3"}},
    {"a store to what no kernel wrote", KERNEL("st.global.u32 [%c], %t;\n" WAIT), {"write of device memory before"}},
    {"an atomic before", KERNEL("red.global.add.u32 [%a], 1;\n" WAIT), {"update of device memory before"}},
    {"a load before",
     KERNEL("ld.global.u32 %x, [%a];\n" WAIT),
     {"read of device memory that kernels write, before griddepcontrol.wait", "layer conv3", "thread 0,0,0"}},
    {"a generic load before", KERNEL("ld.u32 %x, [%a];\n" WAIT), {"read of device memory that kernels write"}},
    {"cp.async before",
     KERNEL("cp.async.ca.shared.global [sm], [%a], 4;\ncp.async.wait_all;\n" WAIT),
     {"read of device memory that kernels write", "cp.async"}},
    {"some lanes wait, others load",
     KERNEL("setp.ne.u32 %p, %t, 7;\n@%p griddepcontrol.wait;\nld.global.u32 %x, [%a];\n" WAIT),
     {"read of device memory that kernels write", "thread 7,0,0"}},
    {"one warp waits, the other loads",
     KERNEL("setp.lt.u32 %p, %t, 32;\n@%p griddepcontrol.wait;\nbar.sync 0;\nld.global.u32 %x, [%a];\n" WAIT),
     {"read of device memory that kernels write", "thread 32,0,0"}},
    {"a bulk copy by a thread that has waited",
     KERNEL(BARRIER "@%q griddepcontrol.wait;\n@%q " COPY "[%a], 64, [sm+512];\n" WAIT),
     {NULL}},
    {"a bulk copy of constants before", KERNEL(BARRIER "@%q " COPY "[%c], 64, [sm+512];\n" WAIT), {NULL}},
    {"a bulk copy before",
     KERNEL(BARRIER "@%q " COPY "[%a], 64, [sm+512];\n" WAIT),
     {"read of device memory that kernels write", "cp.async.bulk"}},
    {"non-coherent loads",
     KERNEL(WAIT "ld.global.nc.u32 %x, [%a];"),
     {"non-coherent read of device memory that kernels write", "ld.global.nc.u32 %x, [%a];"}},
    {"no wait", KERNEL("mov.u32 %x, 1;"), {"ends without griddepcontrol.wait"}},
    {"threads that leave early",
     KERNEL("setp.lt.u32 %p, %t, 40;\n@!%p ret;\n" WAIT),
     {"ends without griddepcontrol.wait", "thread 40,0,0"}},
};

typedef struct Arrays {
  CUmodule module;
  CUfunction first, second;
  CUdeviceptr constant, written;
} Arrays;

static Arrays open_arrays(const char *ptx) {
  Arrays a = {.module = device_module(ptx)};
  char zeros[BYTES] = {0};
  CHECK_CU(cu.cuModuleGetFunction(&a.first, a.module, "first"));
  CHECK_CU(cu.cuModuleGetFunction(&a.second, a.module, "second"));
  CHECK_CU(cu.cuMemAlloc_v2(&a.constant, BYTES));
  CHECK_CU(cu.cuMemAlloc_v2(&a.written, BYTES));
  CHECK_CU(cu.cuMemcpyHtoD_v2(a.constant, zeros, BYTES));
  CHECK_CU(cu.cuMemcpyHtoD_v2(a.written, zeros, BYTES));
  return a;
}

static void close_arrays(Arrays *a) {
  CHECK_CU(cu.cuMemFree_v2(a->constant));
  CHECK_CU(cu.cuMemFree_v2(a->written));
  CHECK_CU(cu.cuModuleUnload(a->module));
}

static CUresult launch_first(Arrays *a) {
  uint32_t n = 0;
  void *params[] = {&a->written, &n};
  return cu.cuLaunchKernel(a->first, 1, 1, 1, THREADS, 1, 1, 0, NULL, params, NULL);
}

static CUresult launch_second(Arrays *a, int overlaps) {
  uint32_t n = 0;
  void *params[] = {&a->constant, &a->written, &n};
  CUlaunchAttribute attribute = {.id = 6, .value.integer = overlaps};
  CUlaunchConfig config = {1, 1, 1, THREADS, 1, 1, 0, NULL, &attribute, 1};
  CUresult result = cu.cuLaunchKernelEx(&config, a->second, params, NULL);
  return result ? result : cu.cuCtxSynchronize();
}

static void check_case(const OverlapCase *c) {
  Arrays a = open_arrays(c->ptx);
  CHECK_CU(launch_first(&a));
  CHECK_CU(launch_second(&a, 0));
  CUresult result = launch_second(&a, 1);
  if (result != (c->words[0] ? CUDA_ERROR_LAUNCH_FAILED : CUDA_SUCCESS))
    fail_msg("%s: gives %d (%s)", c->name, result, cu.last_error());
  for (int k = 0; k < 3 && c->words[k]; k++)
    if (!strstr(cu.last_error(), c->words[k]))
      fail_msg("%s: \"%s\" is not in: %s", c->name, c->words[k], cu.last_error());
  close_arrays(&a);
}

/* Each is right where the launch before is waited for by the device, and the second time only where it waits itself. */
static void test_what_is_told(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof overlap_cases / sizeof *overlap_cases; i++) check_case(&overlap_cases[i]);
}

/* Memory counts as a constant until a kernel stores to it; a graph keeps the attribute; check=none looks at nothing. */
static void test_memory_and_graphs(void **state) {
  (void)state;
  Arrays a = open_arrays(KERNEL("ld.global.u32 %x, [%a];\n" WAIT));
  CUstream stream;
  CUgraph graph;
  CUgraphExec exec;
  uint32_t n = 0;
  void *params[] = {&a.constant, &a.written, &n};
  CUlaunchAttribute attribute = {.id = 6, .value.integer = 1};
  CHECK_CU(launch_second(&a, 1));
  CHECK_CU(cu.cuStreamCreate(&stream, 1));
  CUlaunchConfig config = {1, 1, 1, THREADS, 1, 1, 0, stream, &attribute, 1};
  CHECK_CU(cu.cuStreamBeginCapture_v2(stream, 2));
  CHECK_CU(cu.cuLaunchKernelEx(&config, a.second, params, NULL));
  CHECK_CU(cu.cuStreamEndCapture(stream, &graph));
  CHECK_CU(cu.cuGraphInstantiateWithFlags(&exec, graph, 0));
  CHECK_CU(cu.cuGraphLaunch(exec, stream));
  CHECK_CU(launch_first(&a));
  assert_int_equal(cu.cuGraphLaunch(exec, stream), CUDA_ERROR_LAUNCH_FAILED);
  assert_non_null(strstr(cu.last_error(), "before griddepcontrol.wait"));
  cu.set_option("check", "none");
  CHECK_CU(cu.cuGraphLaunch(exec, stream));
  cu.set_option("check", "all");
  CHECK_CU(cu.cuGraphExecDestroy(exec));
  CHECK_CU(cu.cuGraphDestroy(graph));
  CHECK_CU(cu.cuStreamDestroy_v2(stream));
  close_arrays(&a);
}

static int open_cpu(void **state) {
  return device_open(state) || !cu.is_cpu;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_is_told), cmocka_unit_test(test_memory_and_graphs)};
  return cmocka_run_group_tests_name("cpu_overlap", tests, open_cpu, device_close);
}
