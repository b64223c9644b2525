/* libapnn when host memory runs out: whichever allocation fails, the call says so and nothing stays allocated. The
 * program is linked with --wrap, so that all of libapnn's allocations come through here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "runtime/apnn.h"
#include "runtime_mock/open_mock.h"
#include "runtime_sample.h"

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t items, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t items, size_t bytes);

static bool counting; /* in libapnn, not in the test itself */
static int allocations, fail_at;

static bool fails(void) {
  return counting && ++allocations == fail_at;
}

void *__wrap_malloc(size_t bytes) {
  return fails() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t items, size_t bytes) {
  return fails() ? NULL : __real_calloc(items, bytes);
}

static ApnnStatus whole_life(const uint8_t *file, size_t size) {
  char error[512] = "";
  ApnnNetwork *network = NULL;
  ApnnSession *session = NULL;
  counting = true;
  ApnnStatus status = apnn_load_memory(file, size, "cuda:0", &network, error, sizeof error);
  if (status == APNN_OK) status = apnn_session_new(network, NULL, &session, error, sizeof error);
  for (int i = 0; status == APNN_OK && i < 3; i++) {
    uint8_t x[SAMPLE_CHANNELS] = {1, 2, 3, 4, 5, 6};
    int32_t y[SAMPLE_CHANNELS];
    const void *inputs[] = {x};
    void *outputs[] = {y};
    status = apnn_run(session, 1, inputs, outputs);
    assert_true(status != APNN_OK || y[5] == sample_expected(6, 5));
  }
  counting = false;
  assert_int_equal(status != APNN_OK, error[0] != 0);
  apnn_session_free(session);
  apnn_network_free(network);
  return status;
}

static void test_every_allocation_fails_once(void **state) {
  (void)state;
  for (int form = 0; form < 2; form++) {
    MockControl *mock = open_mock();
    Sample s = sample_make();
    size_t size;
    uint8_t *file = form ? sample_ptx(&s, &size) : sample_cubin(&s, &size);
    allocations = fail_at = 0;
    assert_int_equal(whole_life(file, size), APNN_OK);
    int most = allocations;
    assert_true(most >= 10);
    for (int n = 1; n <= most; n++) {
      allocations = 0;
      fail_at = n;
      assert_int_equal(whole_life(file, size), APNN_ERROR_MEMORY);
      assert_int_equal(mock->live + mock->leftovers, 0);
    }
    free(file);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_allocation_fails_once)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
