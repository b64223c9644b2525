/* .npy files: what the tools write they read back, and what is damaged or foreign is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "runtime/npy.c" /* of the tools, in no library */

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A version 1 file with this header and `data_bytes` zero bytes of data; free it. */
static unsigned char *make(const char *header, size_t data_bytes, size_t *size) {
  size_t length = strlen(header);
  unsigned char *bytes = calloc(1, 10 + length + data_bytes + 1);
  memcpy(bytes, "\x93NUMPY\x01\x00", 8);
  bytes[8] = (unsigned char)length;
  bytes[9] = (unsigned char)(length >> 8);
  memcpy(bytes + 10, header, length);
  *size = 10 + length + data_bytes;
  return bytes;
}

static ApnnStatus parse(const char *header, size_t data_bytes, Npy *npy, char *text, size_t text_bytes) {
  ErrorText error = apnn_error_text(text, text_bytes);
  size_t size;
  unsigned char *bytes = make(header, data_bytes, &size);
  ApnnStatus status = npy_parse(bytes, size, npy, &error);
  assert_int_equal(status != APNN_OK, text[0] != 0);
  free(bytes);
  return status;
}

typedef struct Good {
  const char *header;
  size_t bytes;
  char kind;
  int item_bytes, rank;
  size_t items;
} Good;

static const Good goods[] = {
    {"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }   \n", 6, 'u', 1, 2, 6},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (5,), }", 20, 'f', 4, 1, 5},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': ()}", 4, 'f', 4, 0, 1},
    {"{\"shape\":(1,2,3,4,),\"descr\":\"<i8\",\"fortran_order\":False}", 192, 'i', 8, 4, 24},
    {"{'descr': '|b1', 'fortran_order': False, 'shape': (0, 9)}", 0, 'b', 1, 2, 0},
};

static void test_good_headers(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof goods / sizeof *goods; i++) {
    char text[256];
    Npy npy;
    if (parse(goods[i].header, goods[i].bytes, &npy, text, sizeof text) != APNN_OK)
      fail_msg("%s: %s", goods[i].header, text);
    assert_int_equal(npy.kind, goods[i].kind);
    assert_int_equal(npy.item_bytes, goods[i].item_bytes);
    assert_int_equal(npy.rank, goods[i].rank);
    assert_int_equal(npy.items, goods[i].items);
  }
}

typedef struct Bad {
  const char *header, *expected;
} Bad;

static const Bad bads[] = {
    {"", "not a dict"},
    {"{", "not a dict of names"},
    {"[]", "not a dict"},
    {"{'descr': '>f4', 'fortran_order': False, 'shape': (1,)}", "element type"},
    {"{'descr': '<c8', 'fortran_order': False, 'shape': (1,)}", "element type"},
    {"{'descr': '<f3', 'fortran_order': False, 'shape': (1,)}", "element type"},
    {"{'descr': '<b4', 'fortran_order': False, 'shape': (1,)}", "element type"},
    {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", "element type"},
    {"{'descr': '<f4', 'fortran_order': True, 'shape': (1,)}", "Fortran order"},
    {"{'descr': '<f4', 'fortran_order': False}", "lacks"},
    {"{'descr': '<f4', 'shape': (1,)}", "lacks"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)", "does not end"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (1)}", "\"shape\""},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", "\"shape\""},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1)}", "\"shape\""},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", "\"shape\""},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}", "too many"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", "needs 8 bytes of data, the file has 4"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}", "\"more\""},
};

static void test_bad_headers(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
    char text[256];
    Npy npy;
    assert_int_equal(parse(bads[i].header, 4, &npy, text, sizeof text), APNN_ERROR_FORMAT);
    if (!strstr(text, bads[i].expected))
      fail_msg("%s: expected \"%s\", got \"%s\"", bads[i].header, bads[i].expected, text);
  }
}

static void test_truncated_at_every_length(void **state) {
  (void)state;
  size_t size;
  unsigned char *bytes = make(goods[0].header, goods[0].bytes, &size);
  for (size_t length = 0; length <= size; length++) {
    char text[256];
    ErrorText error = apnn_error_text(text, sizeof text);
    unsigned char *copy = malloc(length + 1);
    Npy npy;
    memcpy(copy, bytes, length);
    assert_int_equal(npy_parse(copy, length, &npy, &error), length == size ? APNN_OK : APNN_ERROR_FORMAT);
    free(copy);
  }
  free(bytes);
}

static void test_written_reads_back(void **state) {
  (void)state;
  static const float data[24] = {1, -2.5f, 3};
  char path[] = "/tmp/runtime_npy_XXXXXX", text[256];
  ErrorText error = apnn_error_text(text, sizeof text);
  int file = mkstemp(path);
  assert_true(file >= 0);
  close(file);
  for (int rank = 0; rank <= NPY_MAX_RANK; rank++) {
    Npy out = {.kind = 'f', .item_bytes = 4, .rank = rank, .dims = {2, 3, 4, 1, 1, 1, 1, 1}, .data = data}, in;
    size_t items = rank == 0 ? 1 : rank == 1 ? 2 : rank == 2 ? 6 : 24;
    assert_int_equal(npy_write(path, &out, &error), APNN_OK);
    assert_int_equal(npy_read(path, &in, &error), APNN_OK);
    assert_int_equal(((const char *)in.data - (const char *)in.file) % 64, 0);
    assert_int_equal(in.rank, rank);
    assert_int_equal(in.items, items);
    assert_memory_equal(in.data, data, 4 * items);
    npy_free(&in);
  }
  remove(path);
  Npy none;
  assert_int_equal(npy_read(path, &none, &error), APNN_ERROR_FILE);
  assert_int_equal(npy_write("/nowhere/x.npy", &(Npy){.kind = 'u', .item_bytes = 1, .data = data}, &error),
                   APNN_ERROR_FILE);
  assert_int_equal(npy_write("/dev/full", &(Npy){.kind = 'u', .item_bytes = 1, .data = data}, &error), APNN_ERROR_FILE);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_good_headers),
      cmocka_unit_test(test_bad_headers),
      cmocka_unit_test(test_truncated_at_every_length),
      cmocka_unit_test(test_written_reads_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
