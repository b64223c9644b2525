/* The output file in all its forms: what the backend writes is what libapnn's reader accepts, byte for byte the same
 * every time; embedded forms compile, link together and hold the same bytes; files are whole or untouched. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../backend/backend.h"
#include "../../backend/file_write.h"
#include "../../runtime/file.h"

typedef struct Fixture {
  Context *context;
  Module module;
  char folder[64];
} Fixture;

enum { CONSTANT_BYTES = 300 };

static uint32_t add_string(Module *m, const char *s) {
  uint32_t offset = (uint32_t)m->strings.length;
  text_add_bytes(&m->strings, s, strlen(s) + 1);
  return offset;
}

static void add_tables(Context *c, Module *m) {
  m->tensors = ARENA_NEW(c, ApnnFileTensor, 2);
  m->tensors[0] = (ApnnFileTensor){.name = add_string(m, "image"),
                                   .role = APNN_TENSOR_INPUT,
                                   .elem = APNN_ELEM_UINT,
                                   .bits = 4,
                                   .rank = 3,
                                   .dim = {8, 6, 3, 1},
                                   .zero2 = 3,
                                   .scale = 0.5f,
                                   .q_max = 15,
                                   .image_bytes = 144};
  m->tensors[1] = (ApnnFileTensor){.name = add_string(m, "best"),
                                   .role = APNN_TENSOR_OUTPUT,
                                   .elem = APNN_ELEM_I32,
                                   .bits = 32,
                                   .rank = 1,
                                   .dim = {1, 1, 1, 1},
                                   .scale = 1,
                                   .image_bytes = 4};
  m->tensor_count = 2;
  m->kernels = ARENA_NEW(c, ApnnFileKernel, 1);
  m->kernels[0] = (ApnnFileKernel){.name = add_string(m, "nothing"), .threads = 32};
  m->kernel_count = 1;
  m->launches = ARENA_NEW(c, ApnnFileLaunch, 1);
  m->launches[0] = (ApnnFileLaunch){.layer_name = add_string(m, "layer"),
                                    .engine_name = add_string(m, "direct"),
                                    .x_mul = 1,
                                    .x_div = 1,
                                    .y = 1,
                                    .param_count = 2};
  m->launch_count = 1;
  m->params = ARENA_NEW(c, ApnnFileParam, 2);
  m->params[0] = (ApnnFileParam){.kind = APNN_PARAM_CONSTANT, .value = 16};
  m->params[1] = (ApnnFileParam){.kind = APNN_PARAM_BATCH};
  m->param_count = 2;
}

static void fill_module(Context *c, Module *m, const char *target) {
  *m = (Module){.target = target_find(target), .max_batch = 4, .arena_bytes = 4096};
  assert_non_null(m->target);
  m->ptx.context = m->strings.context = m->constants.context = c;
  text_add(&m->ptx, ".version %s\n.target %s\n.address_size 64\n", m->target->ptx_version, m->target->name);
  text_add(&m->ptx, ".visible .entry nothing(.param .u64 data, .param .u32 batch)\n{\n  ret;\n}\n");
  text_add_bytes(&m->strings, "", 1);
  m->network_name = add_string(m, "tiny");
  add_tables(c, m);
  for (int i = 0; i < CONSTANT_BYTES; i++) text_add_bytes(&m->constants, &(uint8_t){(uint8_t)(i * 7)}, 1);
}

static int setup(void **state) {
  Fixture *f = calloc(1, sizeof *f);
  if (!f) return -1;
  f->context = context_new(NULL);
  fill_module(f->context, &f->module, "sm_80");
  strcpy(f->folder, "/tmp/apnn-test-XXXXXX");
  *state = f;
  return mkdtemp(f->folder) ? 0 : -1;
}

/* Entries of a folder; each is removed if `remove_them`. */
static int clear_folder(const char *folder, bool remove_them) {
  DIR *d = opendir(folder);
  int count = 0;
  for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    count++;
    if (remove_them) unlinkat(dirfd(d), e->d_name, 0);
  }
  if (d) closedir(d);
  return count;
}

static int teardown(void **state) {
  Fixture *f = *state;
  clear_folder(f->folder, true);
  rmdir(f->folder);
  context_free(f->context);
  free(f);
  return 0;
}

static char *in_folder(Fixture *f, const char *name) {
  return arena_printf(f->context, "%s/%s", f->folder, name);
}

static Text read_back(Context *c, const char *path) {
  Text t = {.context = c};
  char buffer[4096];
  FILE *file = fopen(path, "rb");
  assert_non_null(file);
  for (size_t n; (n = fread(buffer, 1, sizeof buffer, file)) > 0;) text_add_bytes(&t, buffer, n);
  fclose(file);
  return t;
}

static char *reports(Context *c) {
  char *text = NULL;
  size_t size = 0;
  FILE *f = open_memstream(&text, &size);
  diag_flush(c, f);
  fclose(f);
  char *copy = arena_strdup(c, text);
  free(text);
  return copy;
}

static void check_contents(const ApnnFile *file, const Module *m) {
  const ApnnFileHeader *h = &file->header;
  assert_int_equal(h->arch, m->target->arch);
  assert_int_equal(h->max_batch, 4);
  assert_int_equal(h->arena_bytes, 4096);
  assert_int_equal(h->constants_bytes, CONSTANT_BYTES);
  assert_memory_equal(file->constants, m->constants.data, CONSTANT_BYTES);
  assert_string_equal(apnn_file_name(file, h->network_name), "tiny");
  assert_int_equal(h->tensor_count, 2);
  assert_memory_equal(file->tensors, m->tensors, 2 * sizeof *m->tensors);
  assert_memory_equal(file->kernels, m->kernels, sizeof *m->kernels);
  assert_memory_equal(file->launches, m->launches, sizeof *m->launches);
  assert_memory_equal(file->params, m->params, 2 * sizeof *m->params);
}

static void parse_checked(const Text *bytes, const Module *m, bool is_ptx) {
  char words[512] = "";
  ErrorText error = apnn_error_text(words, sizeof words);
  ApnnFile file;
  ApnnStatus status = apnn_file_parse(bytes->data, bytes->length, &file, &error);
  assert_string_equal(words, "");
  assert_int_equal(status, APNN_OK);
  assert_int_equal(file.is_ptx, is_ptx);
  check_contents(&file, m);
  if (is_ptx)
    assert_memory_equal(file.image, m->ptx.data, m->ptx.length);
  else
    assert_string_equal(file.ptx, m->ptx.data);
  apnn_file_free(&file);
}

static void ptx_form_reads_back(void **state) {
  Fixture *f = *state;
  Text bytes;
  for (int tail = 0; tail < 3; tail++) { /* all three lengths of the last base64 group's payload come up */
    backend_ptx_bytes(f->context, &f->module, &bytes);
    parse_checked(&bytes, &f->module, true);
    add_string(&f->module, "x");
  }
}

static void cubin_form_reads_back(void **state) {
  Fixture *f = *state;
  for (uint32_t i = 0; target_at(i); i++) {
    Module m;
    fill_module(f->context, &m, target_at(i)->name);
    Text first, second;
    assert_true(backend_cubin_bytes(f->context, &m, &first));
    assert_true(backend_cubin_bytes(f->context, &m, &second));
    parse_checked(&first, &m, false);
    assert_int_equal(first.length, second.length);
    assert_memory_equal(first.data, second.data, first.length);
    ApnnFileHeader h;
    ApnnFileTrailer trailer;
    memcpy(&trailer, first.data + first.length - sizeof trailer, sizeof trailer);
    memcpy(&h, first.data + trailer.payload_offset, sizeof h);
    assert_int_equal(h.arch_exact, strcmp(target_at(i)->name, "sm_90a") == 0);
  }
}

static void every_altered_byte_is_noticed(void **state) {
  Fixture *f = *state;
  Text bytes;
  assert_true(backend_cubin_bytes(f->context, &f->module, &bytes));
  uint8_t *altered = arena_alloc(f->context, bytes.length);
  memcpy(altered, bytes.data, bytes.length);
  for (size_t i = 0; i < bytes.length; i++) {
    ApnnFile file;
    char words[512] = "";
    ErrorText error = apnn_error_text(words, sizeof words);
    altered[i] ^= 0x20;
    assert_int_not_equal(apnn_file_parse(altered, bytes.length, &file, &error), APNN_OK);
    assert_string_not_equal(words, "");
    altered[i] ^= 0x20;
  }
}

static void refused_ptx_is_reported(void **state) {
  Fixture *f = *state;
  setenv("TMPDIR", f->folder, 1);
  text_add(&f->module.ptx, "nonsense here;\n");
  Text bytes;
  assert_false(backend_cubin_bytes(f->context, &f->module, &bytes));
  unsetenv("TMPDIR");
  char *words = reports(f->context);
  assert_non_null(strstr(words, "E0721"));
  assert_non_null(strstr(words, "network.ptx, line 8"));
  assert_null(strstr(words, f->folder));
  assert_int_equal(clear_folder(f->folder, false), 0);
}

static void a_missing_folder_is_reported(void **state) {
  Fixture *f = *state;
  setenv("TMPDIR", in_folder(f, "absent"), 1);
  Text bytes;
  assert_false(backend_cubin_bytes(f->context, &f->module, &bytes));
  unsetenv("TMPDIR");
  assert_non_null(strstr(reports(f->context), "E0103"));
}

static void run_shell(Fixture *f, const char *command) {
  char *line = arena_printf(f->context, "cd %s && exec >log 2>&1 && %s", f->folder, command);
  if (system(line) != 0) fail_msg("%s:\n%s", command, read_back(f->context, in_folder(f, "log")).data);
}

static const char program[] =
    "#include \"a.h\"\n"
    "#include \"b.h\"\n"
    "#include <stdio.h>\n"
    "static const int shape[ONE_INPUT0_RANK] = ONE_INPUT0_SHAPE;\n"
    "static ONE_INPUT0_TYPE image[ONE_MAX_BATCH][ONE_INPUT0_BYTES];\n"
    "static B_2_OUTPUT0_TYPE best[B_2_MAX_BATCH][B_2_OUTPUT0_ELEMENTS];\n"
    "int main(void) {\n"
    "  int good = ONE_MAX_BATCH == 4 && ONE_INPUT_COUNT == 1 && ONE_OUTPUT_COUNT == 1 && sizeof image == 576;\n"
    "  good &= shape[0] == 8 && shape[1] == 6 && shape[2] == 3 && sizeof best == 16 && ONE_INPUT0_SCALE == 0.5f;\n"
    "  good &= ONE_INPUT0_ZERO == 1.5f && ONE_INPUT0_MIN == 0 && ONE_INPUT0_MAX == 15 && ONE_INPUT0_NAME[0] == 'i';\n"
    "  good &= (unsigned long)one_data % 16 == 0 && (unsigned long)b_2_data % 16 == 0;\n"
    "  good &= one_size == b_2_size;\n"
    "  FILE *f = fopen(\"one.bin\", \"wb\"), *g = fopen(\"two.bin\", \"wb\");\n"
    "  fwrite(one_data, 1, one_size, f);\n"
    "  fwrite(b_2_data, 1, b_2_size, g);\n"
    "  fclose(f), fclose(g);\n"
    "  return !good;\n"
    "}\n";

static void embedded_networks_link_together(void **state) {
  Fixture *f = *state;
  Context *c = f->context;
  const Module *m = &f->module;
  assert_true(backend_write_header(c, m, in_folder(f, "a.h"), "one"));
  assert_true(backend_write_header(c, m, in_folder(f, "b.h"), "b_2"));
  assert_true(backend_write_c(c, m, in_folder(f, "a.c"), "one"));
  assert_true(backend_write_object(c, m, in_folder(f, "b.o"), "b_2"));
  assert_true(write_file_atomically(c, in_folder(f, "main.c"), program, strlen(program)));
  run_shell(f, "cc -std=c11 -Wall -Wextra -Wpedantic -Werror a.c b.o main.c -o main && ./main");
  run_shell(f, "c++ -x c++ -Wall -Wextra -Wpedantic -Werror a.c main.c -x none b.o -o main && ./main");
  run_shell(f, "cc -c a.c && ld -r a.o b.o -o both.o && cc -Wl,--fatal-warnings main.c both.o -o main && ./main");
  Text cubin, one = read_back(c, in_folder(f, "one.bin")), two = read_back(c, in_folder(f, "two.bin"));
  assert_true(backend_cubin_bytes(c, m, &cubin));
  assert_int_equal(one.length, cubin.length);
  assert_int_equal(two.length, cubin.length);
  assert_memory_equal(one.data, cubin.data, cubin.length);
  assert_memory_equal(two.data, cubin.data, cubin.length);
}

static void prefix_is_an_identifier(void **state) {
  static const char *const bad[] = {"", "9lives", "a-b", "a b", "caf\xc3\xa9"};
  Fixture *f = *state;
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    assert_false(backend_write_header(f->context, &f->module, in_folder(f, "n.h"), bad[i]));
    assert_non_null(strstr(reports(f->context), "E0723"));
  }
  assert_int_equal(clear_folder(f->folder, false), 0);
  assert_true(backend_write_header(f->context, &f->module, in_folder(f, "n.h"), NULL));
  assert_non_null(strstr(read_back(f->context, in_folder(f, "n.h")).data, "tiny_data[]"));
}

static void files_are_whole_or_untouched(void **state) {
  Fixture *f = *state;
  Context *c = f->context;
  char *path = in_folder(f, "file"), *link = in_folder(f, "link");
  assert_true(write_file_atomically(c, path, "first", 5));
  assert_int_equal(chmod(path, 0640), 0);
  assert_int_equal(symlink("file", link), 0);
  assert_true(write_file_atomically(c, link, "second", 6));
  struct stat s;
  assert_int_equal(lstat(link, &s), 0);
  assert_true(S_ISLNK(s.st_mode));
  assert_int_equal(lstat(path, &s), 0);
  assert_int_equal(s.st_mode & 0777, 0640);
  assert_string_equal(read_back(c, path).data, "second");
  assert_true(write_file_atomically(c, "/dev/null", "x", 1));
  assert_int_equal(stat("/dev/null", &s), 0);
  assert_true(S_ISCHR(s.st_mode));
  assert_false(write_file_atomically(c, f->folder, "x", 1));
  assert_false(write_file_atomically(c, in_folder(f, "absent/file"), "x", 1));
  assert_false(write_file_atomically(c, "/dev/full", "x", 1));
  assert_int_equal(clear_folder(f->folder, false), 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(ptx_form_reads_back),     TEST(cubin_form_reads_back),        TEST(every_altered_byte_is_noticed),
      TEST(refused_ptx_is_reported), TEST(a_missing_folder_is_reported), TEST(embedded_networks_link_together),
      TEST(prefix_is_an_identifier), TEST(files_are_whole_or_untouched),
  };
  return cmocka_run_group_tests_name("backend_file", tests, NULL, NULL);
}
