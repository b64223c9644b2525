/* libapnn on the CPU device: the sample network's PTX gives its results, from both forms of file, on several threads;
 * and a kernel that leaves its memory is reported with its name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "runtime/apnn.h"
#include "runtime_mock/open_mock.h"
#include "runtime_sample.h"

#include <pthread.h>

/* The CPU device lies beside libapnn in a build; a build without it has nothing to test here. */
static void need_cpu_device(void) {
  char path[PATH_MAX + 64];
  beside_program("../lib/libapnn-cpu.so", path);
  if (access(path, R_OK) != 0) skip();
}

static ApnnNetwork *load(const Sample *s, bool ptx) {
  char error[1024];
  size_t size;
  ApnnNetwork *network = NULL;
  uint8_t *file = ptx ? sample_ptx(s, &size) : sample_cubin(s, &size);
  if (apnn_load_memory(file, size, "cpu", &network, error, sizeof error) != APNN_OK) fail_msg("%s", error);
  free(file);
  return network;
}

static ApnnStatus run(ApnnSession *session, int batch, unsigned seed, bool *right) {
  uint8_t x[SAMPLE_BATCH * SAMPLE_CHANNELS];
  int32_t y[SAMPLE_BATCH * SAMPLE_CHANNELS];
  const void *inputs[] = {x};
  void *outputs[] = {y};
  for (int i = 0; i < batch * SAMPLE_CHANNELS; i++) x[i] = (uint8_t)((seed + (unsigned)i * 7u) % 16u);
  ApnnStatus status = apnn_run(session, batch, inputs, outputs);
  *right = status == APNN_OK;
  for (int i = 0; *right && i < batch * SAMPLE_CHANNELS; i++)
    *right = y[i] == sample_expected(x[i], i % SAMPLE_CHANNELS);
  return status;
}

static void test_both_forms(void **state) {
  (void)state;
  need_cpu_device();
  for (int ptx = 0; ptx < 2; ptx++) {
    Sample s = sample_make();
    char error[1024];
    ApnnSession *session;
    bool right;
    s.header.arch = 90; /* the CPU device takes every architecture */
    s.header.arch_exact = 1;
    ApnnNetwork *network = load(&s, ptx);
    assert_string_equal(apnn_device_name(network), "cpu");
    assert_int_equal(apnn_session_new(network, NULL, &session, error, sizeof error), APNN_OK);
    for (int batch = 1; batch <= SAMPLE_BATCH; batch++) {
      if (run(session, batch, (unsigned)batch, &right) != APNN_OK) fail_msg("%s", apnn_session_error(session));
      assert_true(right);
    }
    apnn_session_free(session);
    apnn_network_free(network);
  }
}

static void test_no_ptx(void **state) {
  (void)state;
  need_cpu_device();
  Sample s = sample_make();
  char error[1024];
  size_t size;
  ApnnNetwork *network;
  s.with_ptx = false;
  uint8_t *file = sample_cubin(&s, &size);
  assert_int_equal(apnn_load_memory(file, size, "cpu", &network, error, sizeof error), APNN_ERROR_TARGET);
  assert_string_equal(error, "the file has no PTX, which the device cpu executes: compile it again");
  free(file);
}

static void test_kernel_outside_its_memory(void **state) {
  (void)state;
  need_cpu_device();
  Sample s = sample_make();
  char error[1024];
  ApnnSession *session;
  bool right;
  s.header.arena_bytes = 16 + 2 * SAMPLE_CHANNELS * 4; /* room for two images */
  ApnnNetwork *network = load(&s, false);
  assert_int_equal(apnn_session_new(network, NULL, &session, error, sizeof error), APNN_OK);
  assert_int_equal(run(session, 2, 1, &right), APNN_OK);
  assert_true(right);
  assert_int_equal(run(session, SAMPLE_BATCH, 1, &right), APNN_ERROR_DEVICE);
  if (!strstr(apnn_session_error(session), "widen")) fail_msg("no kernel name in: %s", apnn_session_error(session));
  apnn_session_free(session);
  apnn_network_free(network);
}

/* A file says of a kernel that it waits for the launch before it, and it does not. */
static void test_kernel_that_does_not_wait(void **state) {
  (void)state;
  need_cpu_device();
  Sample s = sample_make();
  char error[1024];
  ApnnSession *session;
  bool right;
  s.kernels[0].flags = s.kernels[1].flags = APNN_KERNEL_WAITS;
  ApnnNetwork *network = load(&s, false);
  assert_int_equal(apnn_session_new(network, NULL, &session, error, sizeof error), APNN_OK);
  assert_int_equal(run(session, SAMPLE_BATCH, 1, &right), APNN_ERROR_DEVICE);
  const char *said = apnn_session_error(session);
  if (!strstr(said, "layer y: cuLaunchKernelEx(mix)") || !strstr(said, "griddepcontrol.wait")) fail_msg("%s", said);
  apnn_session_free(session);
  apnn_network_free(network);
}

static void *thread_main(void *argument) {
  char error[1024];
  ApnnSession *session;
  bool right = apnn_session_new(argument, NULL, &session, error, sizeof error) == APNN_OK, good = right;
  for (unsigned i = 0; good && i < 20; i++)
    good = run(session, 1 + (int)(i % SAMPLE_BATCH), i, &right) == APNN_OK && right;
  apnn_session_free(session);
  return good ? argument : NULL;
}

static void test_threads_share_a_network(void **state) {
  (void)state;
  need_cpu_device();
  enum { THREADS = 3 };
  pthread_t threads[THREADS];
  Sample s = sample_make();
  ApnnNetwork *network = load(&s, false);
  for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, thread_main, network), 0);
  for (int i = 0; i < THREADS; i++) {
    void *result;
    pthread_join(threads[i], &result);
    assert_non_null(result);
  }
  apnn_network_free(network);
}

/* $APNN_CPU_DEVICE is taken at its word: nothing else is tried where it fails. */
static void test_chosen_library(void **state) {
  (void)state;
  Sample s = sample_make();
  char error[1024];
  size_t size;
  ApnnNetwork *network;
  uint8_t *file = sample_cubin(&s, &size);
  setenv("APNN_CPU_DEVICE", "/nowhere/libapnn-cpu.so", 1);
  assert_int_equal(apnn_load_memory(file, size, "cpu", &network, error, sizeof error), APNN_ERROR_DRIVER);
  assert_non_null(strstr(error, "APNN_CPU_DEVICE: /nowhere/libapnn-cpu.so"));
  setenv("APNN_CPU_DEVICE", "libc.so.6", 1);
  assert_int_equal(apnn_load_memory(file, size, "cpu", &network, error, sizeof error), APNN_ERROR_DRIVER);
  assert_non_null(strstr(error, "libc.so.6 has no cuGetProcAddress"));
  unsetenv("APNN_CPU_DEVICE");
  free(file);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_both_forms),
      cmocka_unit_test(test_no_ptx),
      cmocka_unit_test(test_kernel_outside_its_memory),
      cmocka_unit_test(test_kernel_that_does_not_wait),
      cmocka_unit_test(test_threads_share_a_network),
      cmocka_unit_test(test_chosen_library),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
