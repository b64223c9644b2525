/* The CPU device as a driver: initialisation, contexts, memory, modules, streams, events, graphs, launches; misuse of
 * each is refused with the driver's code; several threads at once. */
#include "cpu_device.h"

#include <pthread.h>

static const char add_ptx[] = PTX_HEADER
    ".visible .entry add(.param .u64 p, .param .u32 n) .maxntid 64 {\n.reg .b64 %p, %i;\n.reg .b32 %t, %c, %b, %x, "
    "%n;\n"
    "ld.param.u64 %p, [p];\nld.param.u32 %n, [n];\nmov.u32 %t, %tid.x;\nmov.u32 %c, %ctaid.x;\nmov.u32 %b, %ntid.x;\n"
    "mad.lo.u32 %t, %c, %b, %t;\nmul.wide.u32 %i, %t, 4;\nadd.s64 %p, %p, %i;\nld.global.u32 %x, [%p];\nadd.u32 %x, "
    "%x, %n;\n"
    "st.global.u32 [%p], %x;\nret;\n}\n"
    ".visible .entry exact(.param .u64 p) .reqntid 8, 4 {\nret;\n}\n";

static void test_device(void **state) {
  (void)state;
  int count, version, value;
  CUdevice device;
  char name[64];
  size_t bytes;
  CHECK_CU(cu.cuDeviceGetCount(&count));
  assert_true(count >= 1);
  CHECK_CU(cu.cuDriverGetVersion(&version));
  assert_true(version >= 12000);
  CHECK_CU(cu.cuDeviceGet(&device, 0));
  CHECK_CU(cu.cuDeviceGetName(name, sizeof name, device));
  if (cu.is_cpu) assert_string_equal(name, "apnn CPU device");
  CHECK_CU(cu.cuDeviceTotalMem_v2(&bytes, device));
  assert_true(bytes > 1 << 20);
  static const int attributes[][2] = {{75, 9}, {76, 0}, {10, 32}, {97, 232448}, {1, 1024}};
  for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++) {
    CHECK_CU(cu.cuDeviceGetAttribute(&value, attributes[i][0], device));
    assert_int_equal(value, attributes[i][1]);
  }
  assert_int_equal(cu.cuDeviceGet(&device, 99), CUDA_ERROR_INVALID_DEVICE);
}

static void test_names(void **state) {
  (void)state;
  const char *text;
  void *function;
  int status;
  CHECK_CU(cu.cuGetErrorName(700, &text));
  assert_string_equal(text, "CUDA_ERROR_ILLEGAL_ADDRESS");
  CHECK_CU(cu.cuGetErrorString(2, &text));
  assert_string_equal(text, "out of memory");
  assert_int_equal(cu.cuGetErrorName(123456, &text), CUDA_ERROR_INVALID_VALUE);
  CHECK_CU(cu.cuGetProcAddress_v2("cuMemAlloc", &function, 12000, 0, &status));
  assert_true(function != NULL && status == 0);
  CHECK_CU(cu.cuGetProcAddress_v2("cuNoSuchThing", &function, 12000, 0, &status));
  assert_true(function == NULL && status == 1);
}

static void test_contexts(void **state) {
  (void)state;
  CUcontext mine, current;
  CUdevice device;
  CHECK_CU(cu.cuCtxGetCurrent(&current));
  assert_ptr_equal(current, cu.context);
  CHECK_CU(cu.cuCtxCreate_v2(&mine, 0, 0));
  CHECK_CU(cu.cuCtxGetCurrent(&current));
  assert_ptr_equal(current, mine);
  CHECK_CU(cu.cuCtxGetDevice(&device));
  assert_int_equal(device, 0);
  CHECK_CU(cu.cuCtxPopCurrent_v2(&current));
  assert_ptr_equal(current, mine);
  CHECK_CU(cu.cuCtxPushCurrent_v2(mine));
  CHECK_CU(cu.cuCtxSynchronize());
  CHECK_CU(cu.cuCtxDestroy_v2(mine));
  CHECK_CU(cu.cuCtxGetCurrent(&current));
  assert_ptr_equal(current, cu.context);
  if (cu.is_cpu) assert_int_equal(cu.cuCtxDestroy_v2(mine), CUDA_ERROR_INVALID_CONTEXT);
}

static void test_memory(void **state) {
  (void)state;
  CUdeviceptr a, base;
  size_t bytes;
  int type;
  uint32_t words[64], back[64];
  void *host;
  CHECK_CU(cu.cuMemAlloc_v2(&a, sizeof words));
  assert_int_equal(a % 256, 0);
  for (uint32_t i = 0; i < 64; i++) words[i] = i * i;
  CHECK_CU(cu.cuMemcpyHtoD_v2(a, words, sizeof words));
  CHECK_CU(cu.cuMemsetD8_v2(a + 8, 0xab, 4));
  CHECK_CU(cu.cuMemsetD32_v2(a + 16, 77, 2));
  CHECK_CU(cu.cuMemcpyDtoD_v2(a + 128, a, 128));
  CHECK_CU(cu.cuMemcpyDtoH_v2(back, a, sizeof back));
  words[2] = 0xabababab, words[4] = words[5] = 77;
  memcpy(words + 32, words, 128);
  assert_memory_equal(back, words, sizeof words);
  CHECK_CU(cu.cuPointerGetAttribute(&type, 2, a + 5));
  assert_int_equal(type, 2);
  CHECK_CU(cu.cuMemGetAddressRange_v2(&base, &bytes, a + 100));
  assert_true(base == a && bytes == sizeof words);
  assert_int_equal(cu.cuPointerGetAttribute(&type, 2, (CUdeviceptr)(uintptr_t)words), CUDA_ERROR_INVALID_VALUE);
  CHECK_CU(cu.cuMemHostAlloc(&host, 100, 0));
  CHECK_CU(cu.cuPointerGetAttribute(&type, 2, (CUdeviceptr)(uintptr_t)host));
  assert_int_equal(type, 1);
  CHECK_CU(cu.cuMemcpyDtoH_v2(host, a, 100));
  assert_memory_equal(host, words, 100);
  CHECK_CU(cu.cuMemFreeHost(host));
  assert_int_equal(cu.cuMemcpyDtoH_v2(back, a + 200, 100), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cu.cuMemFree_v2(a + 4), CUDA_ERROR_INVALID_VALUE);
  CHECK_CU(cu.cuMemFree_v2(a));
  assert_int_equal(cu.cuMemFree_v2(a), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cu.cuMemAlloc_v2(&a, 0), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cu.cuMemAlloc_v2(&a, (size_t)1 << 60), CUDA_ERROR_OUT_OF_MEMORY);
}

static void test_module_errors(void **state) {
  (void)state;
  CUmodule module;
  CUfunction function;
  char log[512] = "";
  int options[] = {5, 6};
  void *values[] = {log, (void *)sizeof log};
  assert_int_not_equal(
      cu.cuModuleLoadDataEx(&module, PTX_HEADER ".visible .entry k() {\nfrobnicate.u32 1;\n}\n", 2, options, values),
      0);
  assert_true(*log != 0);
  if (cu.is_cpu) {
    assert_non_null(strstr(log, "PTX line 5: the CPU device does not know \"frobnicate.u32\": frobnicate.u32 1;"));
    assert_int_equal(cu.cuModuleLoadData(&module, "\177ELF..."), CUDA_ERROR_NO_BINARY_FOR_GPU);
  }
  module = device_module(add_ptx);
  assert_int_equal(cu.cuModuleGetFunction(&function, module, "sub"), CUDA_ERROR_NOT_FOUND);
  CHECK_CU(cu.cuModuleUnload(module));
  if (cu.is_cpu) assert_int_equal(cu.cuModuleUnload(module), CUDA_ERROR_INVALID_HANDLE);
}

static void test_launch_errors(void **state) {
  (void)state;
  CUmodule module = device_module(add_ptx);
  CUfunction add, exact;
  CUdeviceptr p;
  uint32_t n = 1, word = 5;
  int value;
  CHECK_CU(cu.cuMemAlloc_v2(&p, 4));
  CHECK_CU(cu.cuMemcpyHtoD_v2(p, &word, 4));
  void *params[] = {&p, &n};
  CHECK_CU(cu.cuModuleGetFunction(&add, module, "add"));
  CHECK_CU(cu.cuModuleGetFunction(&exact, module, "exact"));
  assert_int_equal(cu.cuLaunchKernel(add, 0, 1, 1, 1, 1, 1, 0, NULL, params, NULL), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cu.cuLaunchKernel(add, 1, 1, 1, 2048, 1, 1, 0, NULL, params, NULL), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cu.cuLaunchKernel(add, 1, 1, 1, 65, 1, 1, 0, NULL, params, NULL), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cu.cuLaunchKernel(exact, 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cu.cuLaunchKernel(add, 1, 1, 1, 1, 1, 1, 100000, NULL, params, NULL), CUDA_ERROR_INVALID_VALUE);
  CHECK_CU(cu.cuLaunchKernel(exact, 1, 1, 1, 8, 4, 1, 0, NULL, params, NULL));
  CHECK_CU(cu.cuFuncSetAttribute(add, 8, 100000));
  CHECK_CU(cu.cuFuncGetAttribute(&value, 8, add));
  assert_int_equal(value, 100000);
  CHECK_CU(cu.cuFuncGetAttribute(&value, 0, add));
  assert_int_equal(value, 64);
  assert_int_equal(cu.cuFuncSetAttribute(add, 8, 232449), CUDA_ERROR_INVALID_VALUE);
  CHECK_CU(cu.cuLaunchKernel(add, 1, 1, 1, 1, 1, 1, 100000, NULL, params, NULL));
  /* The same by a parameter buffer, and by cuLaunchKernelEx. */
  struct {
    CUdeviceptr p;
    uint32_t n;
  } buffer = {p, 10};
  size_t size = 12;
  void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &buffer, CU_LAUNCH_PARAM_BUFFER_SIZE, &size, CU_LAUNCH_PARAM_END};
  CHECK_CU(cu.cuLaunchKernel(add, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra));
  CUlaunchAttribute attributes[2] = {{.id = 6, .value.integer = 0}, {.id = 4, .value.cluster = {1, 1, 1}}};
  CUlaunchConfig config = {1, 1, 1, 1, 1, 1, 0, NULL, attributes, 2};
  CHECK_CU(cu.cuLaunchKernelEx(&config, add, params, NULL));
  CHECK_CU(cu.cuMemcpyDtoH_v2(&word, p, 4));
  assert_int_equal(word, 5 + 1 + 10 + 1);
  if (cu.is_cpu) {
    attributes[1].value.cluster[0] = 2;
    assert_int_equal(cu.cuLaunchKernelEx(&config, add, params, NULL), CUDA_ERROR_NOT_SUPPORTED);
    assert_int_equal(cu.cuLaunchKernel((CUfunction)&word, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL),
                     CUDA_ERROR_INVALID_HANDLE);
  }
  CHECK_CU(cu.cuMemFree_v2(p));
  CHECK_CU(cu.cuModuleUnload(module));
}

/* Two streams in one capture: launch, fork, set and copy, join; nothing runs before the graph does. */
static void test_graph(void **state) {
  (void)state;
  CUmodule module = device_module(add_ptx);
  CUfunction add;
  CUstream one, two;
  CUevent fork, join;
  CUgraph graph;
  CUgraphExec exec;
  CUdeviceptr p;
  uint32_t n = 3, words[128] = {0}, back[128];
  int status;
  CHECK_CU(cu.cuModuleGetFunction(&add, module, "add"));
  CHECK_CU(cu.cuMemAlloc_v2(&p, sizeof words));
  CHECK_CU(cu.cuStreamCreate(&one, 1));
  CHECK_CU(cu.cuStreamCreate(&two, 1));
  CHECK_CU(cu.cuEventCreate(&fork, 2));
  CHECK_CU(cu.cuEventCreate(&join, 2));
  CHECK_CU(cu.cuMemcpyHtoD_v2(p, words, sizeof words));
  void *params[] = {&p, &n};
  CHECK_CU(cu.cuStreamBeginCapture_v2(one, 2));
  CHECK_CU(cu.cuLaunchKernel(add, 2, 1, 1, 64, 1, 1, 0, one, params, NULL));
  CHECK_CU(cu.cuEventRecord(fork, one));
  CHECK_CU(cu.cuStreamWaitEvent(two, fork, 0));
  CHECK_CU(cu.cuStreamIsCapturing(two, &status));
  assert_int_equal(status, 1);
  n = 100;
  CHECK_CU(cu.cuLaunchKernel(add, 1, 1, 1, 64, 1, 1, 0, two, params, NULL));
  CHECK_CU(cu.cuMemsetD8Async(p + 256, 1, 4, one));
  CHECK_CU(cu.cuEventRecord(join, two));
  CHECK_CU(cu.cuStreamWaitEvent(one, join, 0));
  CHECK_CU(cu.cuMemcpyDtoDAsync_v2(p + 508, p, 4, one));
  CHECK_CU(cu.cuStreamEndCapture(one, &graph));
  CHECK_CU(cu.cuStreamIsCapturing(one, &status));
  assert_int_equal(status, 0);
  CHECK_CU(cu.cuGraphInstantiateWithFlags(&exec, graph, 0));
  CHECK_CU(cu.cuGraphDestroy(graph));
  CHECK_CU(cu.cuMemcpyDtoH_v2(back, p, sizeof back));
  assert_memory_equal(back, words, sizeof words);
  n = 9999;
  for (uint32_t turn = 1; turn <= 2; turn++) {
    CHECK_CU(cu.cuGraphLaunch(exec, one));
    CHECK_CU(cu.cuStreamSynchronize(one));
    CHECK_CU(cu.cuMemcpyDtoH_v2(back, p, sizeof back));
    for (uint32_t i = 0; i < 127; i++) assert_int_equal(back[i], i < 64 ? 103 * turn : i == 64 ? 0x01010101 : 3 * turn);
    assert_int_equal(back[127], 103 * turn);
  }
  CHECK_CU(cu.cuGraphExecDestroy(exec));
  CHECK_CU(cu.cuEventDestroy_v2(fork));
  CHECK_CU(cu.cuEventDestroy_v2(join));
  CHECK_CU(cu.cuStreamDestroy_v2(one));
  CHECK_CU(cu.cuStreamDestroy_v2(two));
  CHECK_CU(cu.cuMemFree_v2(p));
  CHECK_CU(cu.cuModuleUnload(module));
}

/* A graph outlives the module handle, and a capture that is thrown away leaves nothing. */
static void test_graph_lifetimes(void **state) {
  (void)state;
  if (!cu.is_cpu) skip();
  CUmodule module = device_module(add_ptx);
  CUfunction add;
  CUstream stream;
  CUgraph graph;
  CUgraphExec exec;
  CUdeviceptr p;
  uint32_t n = 4, word = 0;
  void *params[] = {&p, &n};
  CHECK_CU(cu.cuModuleGetFunction(&add, module, "add"));
  CHECK_CU(cu.cuMemAlloc_v2(&p, 4));
  CHECK_CU(cu.cuMemcpyHtoD_v2(p, &word, 4));
  CHECK_CU(cu.cuStreamCreate(&stream, 0));
  assert_int_equal(cu.cuStreamEndCapture(stream, &graph), CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
  CHECK_CU(cu.cuStreamBeginCapture_v2(stream, 0));
  CHECK_CU(cu.cuLaunchKernel(add, 1, 1, 1, 1, 1, 1, 0, stream, params, NULL));
  assert_int_equal(cu.cuStreamSynchronize(stream), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  CHECK_CU(cu.cuStreamEndCapture(stream, &graph));
  CHECK_CU(cu.cuGraphInstantiateWithFlags(&exec, graph, 0));
  CHECK_CU(cu.cuModuleUnload(module));
  CHECK_CU(cu.cuGraphLaunch(exec, NULL));
  CHECK_CU(cu.cuMemcpyDtoH_v2(&word, p, 4));
  assert_int_equal(word, 4);
  CHECK_CU(cu.cuGraphDestroy(graph));
  CHECK_CU(cu.cuGraphExecDestroy(exec));
  assert_int_equal(cu.cuGraphLaunch(exec, NULL), CUDA_ERROR_INVALID_HANDLE);
  CHECK_CU(cu.cuStreamBeginCapture_v2(stream, 0));
  CHECK_CU(cu.cuMemsetD8Async(p, 0, 4, stream));
  CHECK_CU(cu.cuStreamDestroy_v2(stream));
  CHECK_CU(cu.cuMemFree_v2(p));
}

static void test_events(void **state) {
  (void)state;
  CUevent a, b, untimed;
  float ms = -1;
  CHECK_CU(cu.cuEventCreate(&a, 0));
  CHECK_CU(cu.cuEventCreate(&b, 0));
  CHECK_CU(cu.cuEventCreate(&untimed, 2));
  assert_int_not_equal(cu.cuEventElapsedTime(&ms, a, b), 0);
  CHECK_CU(cu.cuEventRecord(a, NULL));
  CHECK_CU(cu.cuEventRecord(b, NULL));
  CHECK_CU(cu.cuEventSynchronize(b));
  CHECK_CU(cu.cuEventElapsedTime(&ms, a, b));
  assert_true(ms >= 0 && ms < 1000);
  CHECK_CU(cu.cuEventRecord(untimed, NULL));
  assert_int_not_equal(cu.cuEventElapsedTime(&ms, a, untimed), 0);
  CHECK_CU(cu.cuEventDestroy_v2(a));
  CHECK_CU(cu.cuEventDestroy_v2(b));
  CHECK_CU(cu.cuEventDestroy_v2(untimed));
}

/* ---- threads ---- */

typedef struct Worker {
  CUfunction add;
  uint32_t seed;
  bool right;
} Worker;

static void *work(void *data) {
  Worker *w = data;
  CUdeviceptr p;
  uint32_t words[640], n = w->seed;
  void *params[] = {&p, &n};
  w->right = !cu.cuCtxPushCurrent_v2(cu.context);
  for (int turn = 0; turn < 30 && w->right; turn++) {
    for (uint32_t i = 0; i < 640; i++) words[i] = i;
    w->right = !cu.cuMemAlloc_v2(&p, sizeof words) && !cu.cuMemcpyHtoD_v2(p, words, sizeof words) &&
               !cu.cuLaunchKernel(w->add, 10, 1, 1, 64, 1, 1, 0, NULL, params, NULL) &&
               !cu.cuMemcpyDtoH_v2(words, p, sizeof words) && !cu.cuMemFree_v2(p);
    for (uint32_t i = 0; i < 640; i++) w->right &= words[i] == i + n;
  }
  cu.cuCtxPopCurrent_v2(NULL);
  return NULL;
}

static void test_threads(void **state) {
  enum { THREADS = 8 };
  (void)state;
  CUmodule module = device_module(add_ptx);
  Worker workers[THREADS];
  pthread_t threads[THREADS];
  for (uint32_t i = 0; i < THREADS; i++) {
    workers[i] = (Worker){.seed = 1000 * i};
    CHECK_CU(cu.cuModuleGetFunction(&workers[i].add, module, "add"));
    assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
    assert_true(workers[i].right);
  }
  CHECK_CU(cu.cuModuleUnload(module));
}

static void test_no_context(void **state) {
  (void)state;
  CUdeviceptr p;
  CHECK_CU(cu.cuCtxPopCurrent_v2(NULL));
  assert_int_equal(cu.cuMemAlloc_v2(&p, 4), CUDA_ERROR_INVALID_CONTEXT);
  if (cu.is_cpu) assert_string_equal(cu.last_error(), "the thread has no current context");
  CHECK_CU(cu.cuCtxPushCurrent_v2(cu.context));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_device),  cmocka_unit_test(test_names),           cmocka_unit_test(test_contexts),
      cmocka_unit_test(test_memory),  cmocka_unit_test(test_module_errors),   cmocka_unit_test(test_launch_errors),
      cmocka_unit_test(test_graph),   cmocka_unit_test(test_graph_lifetimes), cmocka_unit_test(test_events),
      cmocka_unit_test(test_threads), cmocka_unit_test(test_no_context)};
  return cmocka_run_group_tests(tests, device_open, device_close);
}
