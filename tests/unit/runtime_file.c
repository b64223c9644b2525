/* Compiled files: what is whole is taken apart right, and whatever else is refused, with a reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "runtime/file.h"
#include "runtime_sample.h"

typedef uint8_t *Maker(const Sample *s, size_t *size);
static Maker *const makers[] = {sample_cubin, sample_ptx};

/* Parse bytes in an allocation of just their size, so that a sanitizer sees a read behind them. */
static ApnnStatus parse(const uint8_t *bytes, size_t size, char *text, size_t text_bytes) {
  ErrorText error = apnn_error_text(text, text_bytes);
  uint8_t *copy = malloc(size ? size : 1);
  ApnnFile file;
  memcpy(copy, bytes, size);
  ApnnStatus status = apnn_file_parse(copy, size, &file, &error);
  if (status == APNN_OK)
    assert_int_equal(apnn_file_compact(&file, &error), APNN_OK);
  else
    assert_true(text[0]);
  apnn_file_free(&file);
  free(copy);
  return status;
}

static void test_takes_apart(void **state) {
  (void)state;
  for (size_t m = 0; m < 2; m++) {
    char text[512];
    ErrorText error = apnn_error_text(text, sizeof text);
    Sample s = sample_make();
    size_t size;
    uint8_t *bytes = makers[m](&s, &size);
    ApnnFile file;
    assert_int_equal(apnn_file_parse(bytes, size, &file, &error), APNN_OK);
    assert_string_equal(text, "");
    assert_int_equal(file.is_ptx, m == 1);
    assert_ptr_equal(file.image, bytes);
    assert_memory_equal(file.constants, s.constants, sizeof s.constants);
    assert_true(m == 1 ? file.ptx == NULL : strcmp(file.ptx, sample_ptx_text) == 0);
    for (int pass = 0; pass < 2; pass++) {
      assert_string_equal(apnn_file_name(&file, file.header.network_name), "sample");
      assert_memory_equal(file.tensors, s.tensors, sizeof s.tensors);
      assert_memory_equal(file.kernels, s.kernels, sizeof s.kernels);
      assert_memory_equal(file.launches, s.launches, sizeof s.launches);
      assert_memory_equal(file.params, s.params, sizeof s.params);
      assert_int_equal(apnn_file_compact(&file, &error), APNN_OK);
    }
    assert_null(file.constants);
    apnn_file_free(&file);
    free(bytes);
  }
}

static void test_truncated_at_every_length(void **state) {
  (void)state;
  for (size_t m = 0; m < 2; m++) {
    char text[512];
    Sample s = sample_make();
    size_t size;
    uint8_t *bytes = makers[m](&s, &size);
    for (size_t length = 0; length < size; length++)
      assert_int_equal(parse(bytes, length, text, sizeof text), APNN_ERROR_FORMAT);
    assert_int_equal(parse(bytes, size, text, sizeof text), APNN_OK);
    free(bytes);
  }
}

static void test_longer_is_refused(void **state) {
  (void)state;
  for (size_t m = 0; m < 2; m++) {
    char text[512];
    Sample s = sample_make();
    size_t size;
    uint8_t *bytes = makers[m](&s, &size), *longer = calloc(1, size + 16);
    memcpy(longer, bytes, size);
    for (size_t more = 1; more <= 16; more++)
      assert_int_equal(parse(longer, size + more, text, sizeof text), APNN_ERROR_FORMAT);
    free(bytes);
    free(longer);
  }
}

/* Every single bit matters: none is left unchecked. */
static void test_every_bit_flip_is_refused(void **state) {
  (void)state;
  for (size_t m = 0; m < 2; m++) {
    char text[512];
    Sample s = sample_make();
    size_t size;
    uint8_t *bytes = makers[m](&s, &size);
    for (size_t bit = 0; bit < 8 * size; bit++) {
      bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
      ApnnStatus status = parse(bytes, size, text, sizeof text);
      if (status != APNN_ERROR_FORMAT && status != APNN_ERROR_VERSION)
        fail_msg("bit %zu of byte %zu of form %zu: status %d", bit % 8, bit / 8, m, status);
      bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    free(bytes);
  }
}

/* Numbers put into the tables under a right checksum: refused or taken, never read out of bounds. */
static void test_random_contents(void **state) {
  (void)state;
  static const uint64_t numbers[] = {
      0, 1, 2, 15, 16, 17, 255, 65535, 65536, INT32_MAX, UINT32_MAX, UINT64_MAX, UINT64_C(1) << 40, UINT64_C(1) << 63};
  Sample s = sample_make();
  size_t size, refused = 0, payload_at = sample_align(SAMPLE_ELF_BYTES);
  uint8_t *bytes = sample_cubin(&s, &size), *changed = malloc(size);
  size_t payload_bytes = size - payload_at - sizeof(ApnnFileTrailer);
  for (size_t at = 0; at + 8 <= payload_bytes; at += 4)
    for (size_t n = 0; n < sizeof numbers / sizeof *numbers; n++)
      for (size_t width = 4; width <= 8; width += 4) {
        char text[512];
        memcpy(changed, bytes, size);
        memcpy(changed + payload_at + at, &numbers[n], width);
        sample_seal(changed + payload_at, payload_bytes);
        refused += parse(changed, size, text, sizeof text) != APNN_OK;
      }
  assert_true(refused > 1000);
  free(bytes);
  free(changed);
}

typedef struct Case {
  const char *expected; /* part of the error */
  ApnnStatus status;
  void (*change)(Sample *s);
} Case;

static void newer_version(Sample *s) {
  s->header.version = APNN_FILE_VERSION + 1;
}
static void older_version(Sample *s) {
  s->header.version = APNN_FILE_VERSION - 1;
}
static void wrong_magic(Sample *s) {
  s->header.magic[0] = 'B';
}
static void wrong_header_bytes(Sample *s) {
  s->header.header_bytes++;
}
static void flags(Sample *s) {
  s->header.flags = 4;
}
static void reserved(Sample *s) {
  s->header.reserved[2] = 1;
}
static void no_name(Sample *s) {
  s->header.network_name = 0;
}
static void name_outside(Sample *s) {
  s->tensors[0].name = sizeof s->strings;
}
static void no_batch(Sample *s) {
  s->header.max_batch = 0;
}
static void arch(Sample *s) {
  s->header.arch = 9;
}
static void arch_exact(Sample *s) {
  s->header.arch_exact = 2;
}
static void huge_arena(Sample *s) {
  s->header.arena_bytes = UINT64_MAX;
}
static void small_arena(Sample *s) {
  s->header.arena_bytes = 16;
}
static void unterminated(Sample *s) {
  memset(s->strings + 27, 'x', sizeof s->strings - 27);
}
static void first_name(Sample *s) {
  s->strings[0] = 'x';
}
static void control_character(Sample *s) {
  s->strings[1] = '\n';
}
static void no_input(Sample *s) {
  s->tensors[0].role = APNN_TENSOR_OUTPUT;
}
static void no_output(Sample *s) {
  s->tensors[1].role = APNN_TENSOR_INPUT;
}
static void wrong_role(Sample *s) {
  s->tensors[1].role = 2;
}
static void wrong_elem(Sample *s) {
  s->tensors[1].elem = 5;
}
static void wrong_bits(Sample *s) {
  s->tensors[0].bits = 9;
}
static void wrong_i32_bits(Sample *s) {
  s->tensors[1].bits = 31;
}
static void wrong_range(Sample *s) {
  s->tensors[0].q_max = 16;
}
static void empty_range(Sample *s) {
  s->tensors[0].q_min = 9, s->tensors[0].q_max = 8;
}
static void infinite_scale(Sample *s) {
  s->tensors[0].scale = 1.0f / 0.0f;
}
static void rank(Sample *s) {
  s->tensors[0].rank = 5;
}
static void rank_zero(Sample *s) {
  s->tensors[0].rank = 0;
}
static void dim(Sample *s) {
  s->tensors[0].dim[0] = -6;
}
static void dim_overflow(Sample *s) {
  s->tensors[0].rank = 4;
  for (int i = 0; i < 4; i++) s->tensors[0].dim[i] = 65536;
  s->tensors[0].image_bytes = 0;
}
static void image_bytes(Sample *s) {
  s->tensors[1].image_bytes = 20;
}
static void no_threads(Sample *s) {
  s->kernels[0].threads = 0;
}
static void many_threads(Sample *s) {
  s->kernels[0].threads = 1025;
}
static void shared(Sample *s) {
  s->kernels[1].shared_bytes = 227 * 1024 + 1;
}
static void kernel_name(Sample *s) {
  s->kernels[1].name = 0;
}
static void kernel_flags(Sample *s) {
  s->kernels[1].flags = 6;
}
static void launch_kernel(Sample *s) {
  s->launches[1].kernel = 2;
}
static void launch_name(Sample *s) {
  s->launches[1].layer_name = 999;
}
static void grid_x(Sample *s) {
  s->launches[0].x_mul = INT32_MAX, s->launches[0].x_div = 1;
}
static void grid_zero(Sample *s) {
  s->launches[0].x_div = 0;
}
static void grid_y(Sample *s) {
  s->launches[0].y = 65536;
}
static void param_range(Sample *s) {
  s->launches[1].first_param = 4;
}
static void param_wrap(Sample *s) {
  s->launches[1].first_param = UINT32_MAX;
}
static void param_kind(Sample *s) {
  s->params[1].kind = 4;
}
static void param_reserved(Sample *s) {
  s->params[1].reserved = 1;
}
static void param_arena(Sample *s) {
  s->params[1].value = 1 << 20;
}
static void param_constant(Sample *s) {
  s->params[4].value = 48;
}
static void param_aligned(Sample *s) {
  s->params[4].value = 8;
}
static void param_tensor(Sample *s) {
  s->params[5].value = 2;
}

static const Case cases[] = {
    {"format version 4, this libapnn reads version 3: use a newer", APNN_ERROR_VERSION, newer_version},
    {"format version 2, this libapnn reads version 3: compile", APNN_ERROR_VERSION, older_version},
    {"does not begin with APNNFIL1", APNN_ERROR_FORMAT, wrong_magic},
    {"the payload has", APNN_ERROR_FORMAT, wrong_header_bytes},
    {"flags 0x4", APNN_ERROR_VERSION, flags},
    {"flags", APNN_ERROR_VERSION, reserved},
    {"network has no name", APNN_ERROR_FORMAT, no_name},
    {"tensor 0 has no name", APNN_ERROR_FORMAT, name_outside},
    {"largest batch 0", APNN_ERROR_FORMAT, no_batch},
    {"architecture 9 ", APNN_ERROR_FORMAT, arch},
    {"architecture 80 ", APNN_ERROR_FORMAT, arch_exact},
    {"arena of 18446744073709551615 bytes", APNN_ERROR_FORMAT, huge_arena},
    {"layer x: parameter 1 points outside", APNN_ERROR_FORMAT, small_arena},
    {"names is not terminated", APNN_ERROR_FORMAT, unterminated},
    {"names is not terminated", APNN_ERROR_FORMAT, first_name},
    {"control character 10", APNN_ERROR_FORMAT, control_character},
    {"0 inputs and 2 outputs", APNN_ERROR_FORMAT, no_input},
    {"2 inputs and 0 outputs", APNN_ERROR_FORMAT, no_output},
    {"tensor 1 has no name, role", APNN_ERROR_FORMAT, wrong_role},
    {"tensor 1 has no name, role", APNN_ERROR_FORMAT, wrong_elem},
    {"tensor x: its bits", APNN_ERROR_FORMAT, wrong_bits},
    {"tensor y: its bits", APNN_ERROR_FORMAT, wrong_i32_bits},
    {"tensor x: its bits, range", APNN_ERROR_FORMAT, wrong_range},
    {"tensor x: its bits, range", APNN_ERROR_FORMAT, empty_range},
    {"tensor x: its bits, range or scale", APNN_ERROR_FORMAT, infinite_scale},
    {"tensor x: its dimensions", APNN_ERROR_FORMAT, rank},
    {"tensor x: its dimensions", APNN_ERROR_FORMAT, rank_zero},
    {"tensor x: its dimensions", APNN_ERROR_FORMAT, dim},
    {"tensor x: its dimensions", APNN_ERROR_FORMAT, dim_overflow},
    {"tensor y: its dimensions and size", APNN_ERROR_FORMAT, image_bytes},
    {"kernel widen: 0 threads", APNN_ERROR_FORMAT, no_threads},
    {"kernel widen: 1025 threads", APNN_ERROR_FORMAT, many_threads},
    {"kernel mix: 32 threads and 232449 bytes", APNN_ERROR_FORMAT, shared},
    {"kernel 1 has no name", APNN_ERROR_FORMAT, kernel_name},
    {"kernel mix uses flags 0x6", APNN_ERROR_VERSION, kernel_flags},
    {"launch 1 has no kernel", APNN_ERROR_FORMAT, launch_kernel},
    {"launch 1 has no kernel or name", APNN_ERROR_FORMAT, launch_name},
    {"layer x: its grid", APNN_ERROR_FORMAT, grid_x},
    {"layer x: its grid", APNN_ERROR_FORMAT, grid_zero},
    {"layer x: its grid", APNN_ERROR_FORMAT, grid_y},
    {"layer y: its parameters are outside", APNN_ERROR_FORMAT, param_range},
    {"layer y: its parameters are outside", APNN_ERROR_FORMAT, param_wrap},
    {"layer x: parameter 1 points", APNN_ERROR_FORMAT, param_kind},
    {"layer x: parameter 1 points", APNN_ERROR_FORMAT, param_reserved},
    {"layer x: parameter 1 points", APNN_ERROR_FORMAT, param_arena},
    {"layer y: parameter 1 points", APNN_ERROR_FORMAT, param_constant},
    {"layer y: parameter 1 points outside its memory or is misaligned", APNN_ERROR_FORMAT, param_aligned},
    {"layer y: parameter 2 points", APNN_ERROR_FORMAT, param_tensor},
};

static void test_each_rule(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    for (size_t m = 0; m < 2; m++) {
      char text[512];
      Sample s = sample_make();
      size_t size;
      cases[i].change(&s);
      uint8_t *bytes = makers[m](&s, &size);
      ApnnStatus status = parse(bytes, size, text, sizeof text);
      if (status != cases[i].status || !strstr(text, cases[i].expected))
        fail_msg("expected \"%s\" (%d), got \"%s\" (%d)", cases[i].expected, cases[i].status, text, status);
      free(bytes);
    }
}

/* An error is cut to the buffer, whatever its size, and may be left out. */
static void test_short_buffers(void **state) {
  (void)state;
  char whole[512], text[64];
  ErrorText error = apnn_error_text(whole, sizeof whole);
  ApnnFile file;
  apnn_file_parse("x", 1, &file, &error);
  for (size_t bytes = 1; bytes < sizeof text; bytes++) {
    memset(text, 'x', sizeof text);
    error = apnn_error_text(text, bytes);
    assert_int_equal(apnn_file_parse("x", 1, &file, &error), APNN_ERROR_FORMAT);
    assert_int_equal(strlen(text), bytes - 1);
    assert_memory_equal(text, whole, bytes - 1);
    assert_true(text[bytes] == 'x');
  }
  error = apnn_error_text(NULL, 0);
  assert_int_equal(apnn_file_parse("x", 1, &file, &error), APNN_ERROR_FORMAT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_takes_apart),       cmocka_unit_test(test_truncated_at_every_length),
      cmocka_unit_test(test_longer_is_refused), cmocka_unit_test(test_every_bit_flip_is_refused),
      cmocka_unit_test(test_random_contents),   cmocka_unit_test(test_each_rule),
      cmocka_unit_test(test_short_buffers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
