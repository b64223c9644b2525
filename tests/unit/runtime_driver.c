/* libapnn on a driver that can be told to fail: what it computes, how it uses graphs and streams, and that whatever
 * call fails, there is a text and nothing stays allocated. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "runtime/apnn.h"
#include "runtime/driver.h"
#include "runtime_mock/open_mock.h"
#include "runtime_sample.h"

#include <pthread.h>

static MockControl *mock;

static int reset(void **state) {
  (void)state;
  mock = open_mock();
  return mock->live;
}

static ApnnStatus load(const Sample *s, bool ptx, const char *device, ApnnNetwork **network, char *error,
                       size_t bytes) {
  size_t size;
  uint8_t *file = ptx ? sample_ptx(s, &size) : sample_cubin(s, &size);
  ApnnStatus status = apnn_load_memory(file, size, device, network, error, bytes);
  free(file);
  return status;
}

static ApnnNetwork *load_good(void) {
  char error[512];
  Sample s = sample_make();
  ApnnNetwork *network = NULL;
  if (load(&s, false, "cuda:0", &network, error, sizeof error) != APNN_OK) fail_msg("%s", error);
  assert_string_equal(error, "");
  return network;
}

static ApnnSession *new_session(ApnnNetwork *network, void *stream) {
  char error[512];
  ApnnSession *session = NULL;
  if (apnn_session_new(network, stream, &session, error, sizeof error) != APNN_OK) fail_msg("%s", error);
  return session;
}

static void fill(uint8_t *x, int batch, unsigned seed) {
  int count = (batch < SAMPLE_BATCH ? batch : SAMPLE_BATCH) * SAMPLE_CHANNELS;
  for (int i = 0; i < count; i++) x[i] = (uint8_t)((seed + (unsigned)i * 7u) % 16u);
}

static bool is_right(const int32_t *y, const uint8_t *x, int batch) {
  for (int i = 0; i < batch * SAMPLE_CHANNELS; i++)
    if (y[i] != sample_expected(x[i], i % SAMPLE_CHANNELS)) return false;
  return true;
}

/* Run host arrays; true if the outputs are right and nothing behind them was written. */
static ApnnStatus run_host(ApnnSession *session, int batch, unsigned seed, bool *right) {
  uint8_t x[SAMPLE_BATCH * SAMPLE_CHANNELS];
  int32_t y[SAMPLE_BATCH * SAMPLE_CHANNELS + 1];
  const void *inputs[] = {x};
  void *outputs[] = {y};
  fill(x, batch, seed);
  memset(y, 0x5a, sizeof y);
  ApnnStatus status = apnn_run(session, batch, inputs, outputs);
  *right = status == APNN_OK && is_right(y, x, batch) && y[batch * SAMPLE_CHANNELS] == 0x5a5a5a5a;
  return status;
}

static void assert_runs(ApnnSession *session, int batch, unsigned seed) {
  bool right;
  if (run_host(session, batch, seed, &right) != APNN_OK) fail_msg("%s", apnn_session_error(session));
  assert_string_equal(apnn_session_error(session), "");
  assert_true(right);
}

static void test_runs_every_batch(void **state) {
  (void)state;
  ApnnNetwork *network = load_good();
  ApnnSession *session = new_session(network, NULL);
  for (int batch = 1; batch <= SAMPLE_BATCH; batch++) assert_runs(session, batch, (unsigned)batch);
  bool right;
  assert_int_equal(run_host(session, SAMPLE_BATCH, 0, &right), APNN_OK);
  const void *inputs[1] = {NULL};
  void *outputs[1] = {NULL};
  assert_int_equal(apnn_run(session, 0, inputs, outputs), APNN_ERROR_ARGUMENT);
  assert_string_equal(apnn_session_error(session), "the batch is 0, this network takes 1 to 5");
  assert_int_equal(apnn_run(session, SAMPLE_BATCH + 1, inputs, outputs), APNN_ERROR_ARGUMENT);
  assert_int_equal(apnn_run(session, 1, inputs, outputs), APNN_ERROR_ARGUMENT);
  assert_string_equal(apnn_session_error(session), "the pointer for x is NULL");
  assert_int_equal(apnn_run(session, 1, NULL, outputs), APNN_ERROR_ARGUMENT);
  assert_int_equal(apnn_run(NULL, 1, inputs, outputs), APNN_ERROR_ARGUMENT);
  apnn_session_free(session);
  apnn_network_free(network);
  assert_int_equal(mock->live + mock->leftovers, 0);
}

static void test_queries(void **state) {
  (void)state;
  ApnnNetwork *network = load_good();
  ApnnTensorInfo info;
  assert_string_equal(apnn_network_name(network), "sample");
  assert_string_equal(apnn_device_name(network), "cuda:0");
  assert_int_equal(apnn_max_batch(network), SAMPLE_BATCH);
  assert_int_equal(apnn_input_count(network), 1);
  assert_int_equal(apnn_output_count(network), 1);
  assert_int_equal(apnn_constant_bytes(network), 40);
  assert_int_equal(apnn_session_bytes(network), 136);
  assert_int_equal(apnn_input_info(network, 0, &info), APNN_OK);
  assert_string_equal(info.name, "x");
  assert_int_equal(info.elem, APNN_UINT);
  assert_int_equal(info.bits, 4);
  assert_int_equal(info.rank, 1);
  assert_int_equal(info.dims[0], SAMPLE_CHANNELS);
  assert_int_equal(info.dims[3], 1);
  assert_true(info.scale == 0.5f);
  assert_int_equal(info.zero2, 3);
  assert_int_equal(info.q_max, 15);
  assert_int_equal(info.image_bytes, SAMPLE_CHANNELS);
  assert_int_equal(apnn_output_info(network, 0, &info), APNN_OK);
  assert_string_equal(info.name, "y");
  assert_int_equal(info.elem, APNN_I32);
  assert_int_equal(apnn_input_info(network, 1, &info), APNN_ERROR_ARGUMENT);
  assert_null(info.name);
  assert_int_equal(apnn_output_info(network, -1, &info), APNN_ERROR_ARGUMENT);
  apnn_network_free(network);
  for (int status = APNN_OK; status <= APNN_ERROR_MEMORY; status++)
    assert_string_not_equal(apnn_error_name((ApnnStatus)status), "unknown status");
  assert_string_equal(apnn_error_name((ApnnStatus)99), "unknown status");
}

static void test_null_is_accepted(void **state) {
  (void)state;
  char error[64];
  ApnnSession *session = (ApnnSession *)error;
  apnn_network_free(NULL);
  apnn_session_free(NULL);
  assert_int_equal(apnn_session_new(NULL, NULL, &session, error, sizeof error), APNN_ERROR_ARGUMENT);
  assert_null(session);
  assert_int_equal(apnn_load_file(NULL, NULL, NULL, NULL, 0), APNN_ERROR_ARGUMENT);
  ApnnNetwork *network;
  assert_int_equal(apnn_load_memory(NULL, 5, NULL, &network, NULL, 0), APNN_ERROR_ARGUMENT);
  assert_int_equal(apnn_load_file("/nowhere/x.cubin", NULL, &network, error, sizeof error), APNN_ERROR_FILE);
  assert_string_equal(error, "/nowhere/x.cubin: No such file or directory");
  assert_int_equal(apnn_load_file("/tmp", NULL, &network, error, sizeof error), APNN_ERROR_FILE);
  assert_string_equal(error, "/tmp is not a regular file");
}

/* The first run of a combination launches, later ones replay a graph. */
/* grid.x = ceil(batch * x_mul / x_div), no more than x_most where that is not 0; recorded launches too. */
static void test_grids(void **state) {
  (void)state;
  static const uint32_t most[] = {0, 1, 5, 7, 15, 16, UINT32_MAX};
  for (size_t i = 0; i < sizeof most / sizeof *most; i++) {
    char error[512];
    Sample s = sample_make();
    ApnnNetwork *network = NULL;
    s.launches[0].x_div = 2;
    s.launches[0].x_most = most[i];
    s.launches[1].x_div = 4;
    if (load(&s, false, "cuda:0", &network, error, sizeof error) != APNN_OK) fail_msg("%s", error);
    ApnnSession *session = new_session(network, NULL);
    for (int round = 0; round < 3; round++)
      for (unsigned batch = 1; batch <= SAMPLE_BATCH; batch++) {
        unsigned blocks = 3 * batch;
        assert_runs(session, (int)batch, batch);
        if (most[i] && blocks > most[i]) blocks = most[i];
        if (round == 0) assert_int_equal(mock->blocks[0], blocks);
        if (round == 0) assert_int_equal(mock->blocks[1], (6 * batch + 3) / 4);
      }
    apnn_session_free(session);
    apnn_network_free(network);
  }
  assert_int_equal(mock->live + mock->leftovers, 0);
}

static void test_graphs(void **state) {
  (void)state;
  ApnnNetwork *network = load_good();
  ApnnSession *session = new_session(network, NULL);
  assert_runs(session, 3, 1);
  assert_int_equal(mock->launches, 2);
  assert_int_equal(mock->graph_launches, 0);
  for (unsigned i = 0; i < 4; i++) assert_runs(session, 3, 2 + i);
  assert_int_equal(mock->launches, 4);
  assert_int_equal(mock->graph_launches, 4);
  assert_runs(session, 2, 9);
  assert_int_equal(mock->graph_launches, 4);
  apnn_session_free(session);
  apnn_network_free(network);
  assert_int_equal(mock->live + mock->leftovers, 0);
}

/* Kernels that wait by themselves are launched so that they may begin early, but for the first of a run; recorded ones
 * too. Without the entry point, and other kernels, the stream's order is all there is. */
static void test_overlap(void **state) {
  (void)state;
  static const struct {
    uint32_t flags[2];
    const char *missing;
    int overlaps; /* of a run that launches, or records */
  } rows[] = {
      {{1, 1}, NULL, 1}, {{0, 1}, NULL, 1}, {{1, 0}, NULL, 0}, {{0, 0}, NULL, 0}, {{1, 1}, "cuLaunchKernelEx", 0}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char error[512];
    Sample s = sample_make();
    ApnnNetwork *network = NULL;
    mock = open_mock();
    mock->missing = rows[i].missing;
    for (int k = 0; k < 2; k++) s.kernels[k].flags = rows[i].flags[k];
    if (load(&s, false, "cuda:0", &network, error, sizeof error) != APNN_OK) fail_msg("%s", error);
    ApnnSession *session = new_session(network, NULL);
    for (unsigned run = 0; run < 3; run++) {
      assert_runs(session, 3, run);
      assert_int_equal(mock->overlaps, rows[i].overlaps * (run > 0 ? 2 : 1));
    }
    assert_int_equal(mock->launches, 4);
    apnn_session_free(session);
    apnn_network_free(network);
    assert_int_equal(mock->live + mock->leftovers, 0);
  }
}

/* More combinations than a session keeps: old graphs make room, outputs stay right. */
static void test_many_combinations(void **state) {
  (void)state;
  enum { ARRAYS = 12 };
  ApnnNetwork *network = load_good();
  ApnnSession *session = new_session(network, NULL);
  ApnnDriver d;
  ErrorText none = {NULL, 0};
  void *context, *popped;
  assert_int_equal(apnn_driver_open_cuda(&d, &none), APNN_OK);
  d.primary_retain(&context, 0);
  d.context_push(context);
  CuPointer y[ARRAYS];
  for (int i = 0; i < ARRAYS; i++) assert_int_equal(d.memory_allocate(&y[i], SAMPLE_BATCH * SAMPLE_CHANNELS * 4), 0);
  for (unsigned round = 0; round < 3 * ARRAYS * 2; round++) {
    uint8_t x[SAMPLE_BATCH * SAMPLE_CHANNELS];
    CuPointer target = y[round / 2 % ARRAYS];
    const void *inputs[] = {x};
    void *outputs[] = {(void *)(uintptr_t)target};
    fill(x, SAMPLE_BATCH, round);
    assert_int_equal(apnn_run(session, SAMPLE_BATCH, inputs, outputs), APNN_OK);
    assert_true(is_right(outputs[0], x, SAMPLE_BATCH));
  }
  assert_int_equal(mock->graph_launches, 3 * ARRAYS);
  for (int i = 0; i < ARRAYS; i++) d.memory_free(y[i]);
  apnn_session_free(session);
  apnn_network_free(network);
  d.context_pop(&popped);
  d.primary_release(0);
  apnn_driver_close(&d);
  assert_int_equal(mock->live + mock->leftovers, 0);
}

/* A caller's context and stream: nothing waits where all arrays are of the device, and captures are joined. */
static void test_callers_stream(void **state) {
  (void)state;
  char error[256];
  ApnnDriver d;
  ErrorText none = {NULL, 0};
  Sample s = sample_make();
  ApnnNetwork *network;
  void *context, *popped, *stream, *graph, *exec;
  assert_int_equal(load(&s, false, "current", &network, error, sizeof error), APNN_ERROR_DRIVER);
  assert_string_equal(error, "device \"current\": no CUDA context is current in this thread");
  assert_int_equal(apnn_driver_open_cuda(&d, &none), APNN_OK);
  d.primary_retain(&context, 0);
  d.context_push(context);
  assert_int_equal(load(&s, false, "current", &network, error, sizeof error), APNN_OK);
  d.stream_create(&stream, 0);
  ApnnSession *session = new_session(network, stream);
  CuPointer x, y, small;
  d.memory_allocate(&x, SAMPLE_BATCH * SAMPLE_CHANNELS);
  d.memory_allocate(&y, SAMPLE_BATCH * SAMPLE_CHANNELS * 4);
  d.memory_allocate(&small, 3 * SAMPLE_CHANNELS * 4);
  const void *inputs[] = {(void *)(uintptr_t)x};
  void *outputs[] = {(void *)(uintptr_t)y}, *short_outputs[] = {(void *)(uintptr_t)small};
  mock->synchronizations = mock->copies = 0;
  for (unsigned round = 0; round < 3; round++) {
    fill((void *)(uintptr_t)x, SAMPLE_BATCH, round);
    assert_int_equal(apnn_run(session, SAMPLE_BATCH, inputs, outputs), APNN_OK);
    assert_true(is_right(outputs[0], inputs[0], SAMPLE_BATCH));
  }
  assert_int_equal(mock->synchronizations + mock->copies, 0);
  assert_int_equal(apnn_session_wait(session), APNN_OK);
  assert_int_equal(mock->synchronizations, 1);
  assert_runs(session, 2, 5); /* host arrays: waits */
  assert_int_equal(mock->synchronizations, 2);

  assert_int_equal(apnn_run(session, 4, inputs, short_outputs), APNN_ERROR_ARGUMENT);
  assert_string_equal(apnn_session_error(session), "the device array for y has 72 bytes, a batch of 4 needs 96");
  assert_int_equal(apnn_run(session, 3, inputs, short_outputs), APNN_OK);
  outputs[0] = (void *)(uintptr_t)(y + 4);
  assert_int_equal(apnn_run(session, 3, inputs, outputs), APNN_ERROR_ARGUMENT);
  assert_string_equal(apnn_session_error(session), "the device pointer for y is not aligned to 16 bytes");
  outputs[0] = (void *)(uintptr_t)y;

  d.capture_begin(stream, CU_CAPTURE_RELAXED);
  memset((void *)(uintptr_t)y, 0, SAMPLE_BATCH * SAMPLE_CHANNELS * 4);
  assert_int_equal(apnn_run(session, SAMPLE_BATCH, inputs, outputs), APNN_OK);
  assert_false(is_right(outputs[0], inputs[0], SAMPLE_BATCH));
  bool right;
  assert_int_equal(run_host(session, 1, 0, &right), APNN_ERROR_ARGUMENT);
  d.capture_end(stream, &graph);
  d.graph_instantiate(&exec, graph, 0);
  d.graph_launch(exec, stream);
  assert_true(is_right(outputs[0], inputs[0], SAMPLE_BATCH));
  d.graph_destroy(graph);
  d.graph_exec_destroy(exec);

  apnn_session_free(session);
  apnn_network_free(network);
  void *still;
  d.context_current(&still);
  assert_ptr_equal(still, context);
  d.stream_destroy(stream);
  d.memory_free(x);
  d.memory_free(y);
  d.memory_free(small);
  d.context_pop(&popped);
  d.primary_release(0);
  apnn_driver_close(&d);
  assert_int_equal(mock->live + mock->leftovers, 0);
}

static void test_network_freed_before_its_sessions(void **state) {
  (void)state;
  ApnnNetwork *network = load_good();
  ApnnSession *first = new_session(network, NULL), *second = new_session(network, NULL);
  apnn_network_free(network);
  assert_runs(first, 1, 1);
  assert_runs(second, 5, 2);
  apnn_session_free(first);
  assert_runs(second, 4, 3);
  apnn_session_free(second);
  assert_int_equal(mock->live + mock->leftovers, 0);
}

/* --- architectures --- */

typedef struct Fit {
  int capability;
  unsigned arch, exact;
  bool ptx, beside;  /* a .ptx file; PTX beside a cubin */
  const char *error; /* NULL: loads */
} Fit;

#define THIS_GPU "this GPU (Mock GPU 0) is sm_"

static const Fit fits[] = {
    {80, 80, 0, false, true, NULL},
    {86, 80, 0, false, true, NULL},
    {86, 80, 0, false, false, NULL},
    {90, 80, 0, false, true, NULL}, /* by the PTX beside the cubin */
    {90, 80, 0, true, false, NULL},
    {90, 90, 1, false, true, NULL},
    {90, 80, 0, false, false, "compiled for sm_80 to sm_89, " THIS_GPU "90: compile with --target sm_90a"},
    {80, 90, 1, false, true, "compiled for sm_90a alone, " THIS_GPU "80: compile with --target sm_80"},
    {100, 90, 1, true, false, "compiled for sm_90a alone, " THIS_GPU "100: compile with --target sm_89"},
    {80, 86, 0, false, true, "compiled for sm_86 and later, " THIS_GPU "80: compile with --target sm_80"},
    {87, 89, 0, true, false, "compiled for sm_89 and later, " THIS_GPU "87: compile with --target sm_86"},
    {75, 80, 0, false, true,
     "compiled for sm_80 and later, " THIS_GPU "75: use a GPU of sm_80 or "
     "later, or the device cpu"},
};

static void test_architectures(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof fits / sizeof *fits; i++) {
    const Fit *f = &fits[i];
    char error[512];
    Sample s = sample_make();
    ApnnNetwork *network;
    s.header.arch = f->arch;
    s.header.arch_exact = f->exact;
    s.with_ptx = f->beside;
    mock->capability = f->capability;
    ApnnStatus status = load(&s, f->ptx, "cuda:0", &network, error, sizeof error);
    assert_int_equal(status, f->error ? APNN_ERROR_TARGET : APNN_OK);
    assert_string_equal(error, f->error ? f->error : "");
    assert_int_equal(mock->live != 0, status == APNN_OK); /* refused before anything was allocated */
    apnn_network_free(network);
  }
  Sample s = sample_make();
  char error[256];
  ApnnNetwork *network;
  mock->capability = 80;
  s.kernels[0].shared_bytes = 160 * 1024;
  assert_int_equal(load(&s, false, "cuda:0", &network, error, sizeof error), APNN_ERROR_TARGET);
  assert_string_equal(error,
                      "kernel widen needs 163840 bytes of shared memory, cuda:0 (Mock GPU 0) has 102400 a block");
}

static void test_devices(void **state) {
  (void)state;
  static const char *const unknown[] = {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cuda:99999999999", "CPU"};
  Sample s = sample_make();
  char error[256];
  ApnnNetwork *network;
  for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
    assert_int_equal(load(&s, false, unknown[i], &network, error, sizeof error), APNN_ERROR_ARGUMENT);
    assert_non_null(strstr(error, "expected cpu, cuda:0, cuda:1, ... or current"));
  }
  assert_int_equal(load(&s, false, "cuda:1", &network, error, sizeof error), APNN_ERROR_DRIVER);
  assert_string_equal(error, "there is no cuda:1, this machine has 1 GPU");
  mock->devices = 2;
  assert_int_equal(load(&s, false, "cuda:1", &network, error, sizeof error), APNN_OK);
  assert_string_equal(apnn_device_name(network), "cuda:1");
  apnn_network_free(network);
  assert_int_equal(load(&s, false, NULL, &network, error, sizeof error), APNN_OK);
  assert_string_equal(apnn_device_name(network), "cuda:0");
  apnn_network_free(network);
  assert_int_equal(mock->live + mock->leftovers, 0);
}

/* --- failures --- */

/* Everything a user does, once; the first error ends it. The text of the error must be there. */
static ApnnStatus whole_life(bool overlaps, bool *right) {
  char error[512] = "";
  Sample s = sample_make();
  ApnnNetwork *network = NULL;
  ApnnSession *session = NULL;
  s.kernels[1].flags = overlaps ? APNN_KERNEL_WAITS : 0;
  *right = false;
  ApnnStatus status = load(&s, false, "cuda:0", &network, error, sizeof error);
  if (status == APNN_OK) status = apnn_session_new(network, NULL, &session, error, sizeof error);
  for (unsigned i = 0; status == APNN_OK && i < 3; i++) {
    status = run_host(session, 3, i, right);
    assert_int_equal(status == APNN_OK, *right);
  }
  if (status == APNN_OK) status = apnn_session_wait(session);
  if (status != APNN_OK && session) snprintf(error, sizeof error, "%s", apnn_session_error(session));
  assert_int_equal(status != APNN_OK, error[0] != 0);
  apnn_session_free(session);
  apnn_network_free(network);
  return status;
}

static void fail_every_call_once(bool overlaps) {
  static const int results[] = {999, 2};
  bool right;
  assert_int_equal(whole_life(overlaps, &right), APNN_OK);
  assert_true(right);
  int calls = mock->calls, failures = 0;
  assert_true(calls > 40);
  for (size_t r = 0; r < 2; r++)
    for (int n = 1; n <= calls; n++) {
      mock = open_mock();
      mock->fail_at = n;
      mock->fail_with = results[r];
      ApnnStatus status = whole_life(overlaps, &right);
      const char *failed = mock->failed;
      assert_non_null(failed);
      failures += status != APNN_OK;
      /* a context that cannot be entered to be cleaned takes its contents with it */
      bool lost = strcmp(failed, "cuCtxPushCurrent") == 0 && status == APNN_OK;
      if (mock->live || (mock->leftovers && !lost))
        fail_msg("%d left after call %d, %s, failed", mock->live + mock->leftovers, n, failed);
      bool may_pass = strstr(failed, "Destroy") || strstr(failed, "Free") || strstr(failed, "Unload") ||
                      strstr(failed, "Release") || strstr(failed, "Pop") || strstr(failed, "PushCurrent") ||
                      strstr(failed, "preference") || strcmp(failed, "cuPointerGetAttribute") == 0 ||
                      strcmp(failed, "cuStreamSynchronize") == 0;
      if (status == APNN_OK && !may_pass) fail_msg("call %d, %s, failed and nobody said so", n, failed);
      if (status != APNN_OK && results[r] == 2 && strcmp(failed, "cuMemAlloc") == 0)
        assert_int_equal(status, APNN_ERROR_MEMORY);
    }
  assert_true(failures > 60);
}

static void test_every_call_fails_once(void **state) {
  (void)state;
  fail_every_call_once(false);
  mock = open_mock();
  fail_every_call_once(true);
}

typedef struct Row {
  const char *symbol;
  bool required;
} Row;

/* A driver without a required entry point is refused by its name; without an optional one it serves, if need be without
 * graphs. */
static void test_missing_entry_points(void **state) {
  (void)state;
  enum { REQUIRED = 1, OPTIONAL = 0 };
  static const Row rows[] = {
#define DRIVER(field, symbol, version, need, arguments) {symbol, need},
#include "runtime/driver.def"
#undef DRIVER
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char error[256];
    ApnnNetwork *network;
    Sample s = sample_make();
    mock = open_mock();
    mock->missing = rows[i].symbol;
    ApnnStatus status = load(&s, false, "cuda:0", &network, error, sizeof error);
    assert_int_equal(status, rows[i].required ? APNN_ERROR_DRIVER : APNN_OK);
    if (status != APNN_OK) {
      assert_non_null(strstr(error, rows[i].symbol));
      continue;
    }
    ApnnSession *session = new_session(network, NULL);
    for (unsigned k = 0; k < 3; k++) assert_runs(session, 2, k);
    apnn_session_free(session);
    apnn_network_free(network);
    assert_int_equal(mock->live + mock->leftovers, 0);
  }
}

/* --- threads --- */

static void *thread_main(void *argument) {
  ApnnNetwork *network = argument;
  char error[256];
  ApnnSession *session;
  bool right = apnn_session_new(network, NULL, &session, error, sizeof error) == APNN_OK, good = right;
  for (unsigned i = 0; good && i < 200; i++) {
    good = run_host(session, 1 + (int)(i % SAMPLE_BATCH), i, &right) == APNN_OK && right;
  }
  apnn_session_free(session);
  return good ? argument : NULL;
}

static void test_threads_share_a_network(void **state) {
  (void)state;
  enum { THREADS = 4 };
  pthread_t threads[THREADS];
  ApnnNetwork *network = load_good();
  for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, thread_main, network), 0);
  for (int i = 0; i < THREADS; i++) {
    void *result;
    pthread_join(threads[i], &result);
    assert_non_null(result);
  }
  apnn_network_free(network);
  assert_int_equal(mock->live + mock->leftovers, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(test_runs_every_batch, reset),
      cmocka_unit_test_setup(test_queries, reset),
      cmocka_unit_test_setup(test_null_is_accepted, reset),
      cmocka_unit_test_setup(test_grids, reset),
      cmocka_unit_test_setup(test_graphs, reset),
      cmocka_unit_test_setup(test_overlap, reset),
      cmocka_unit_test_setup(test_many_combinations, reset),
      cmocka_unit_test_setup(test_callers_stream, reset),
      cmocka_unit_test_setup(test_network_freed_before_its_sessions, reset),
      cmocka_unit_test_setup(test_architectures, reset),
      cmocka_unit_test_setup(test_devices, reset),
      cmocka_unit_test_setup(test_every_call_fails_once, reset),
      cmocka_unit_test_setup(test_missing_entry_points, reset),
      cmocka_unit_test_setup(test_threads_share_a_network, reset),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
