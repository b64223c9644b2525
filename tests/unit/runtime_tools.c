/* apnn-run and apnn-bench as programs: exit codes, messages and results, on the mock driver; single layers on the CPU
 * device. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "runtime/npy.c" /* of the tools, in no library */
#include "runtime_mock/open_mock.h"
#include "runtime_sample.h"

#include <sys/wait.h>

enum { IMAGES = 13 }; /* more than two batches of the sample */

static char folder[] = "/tmp/runtime_tools_XXXXXX";

static void path_in(const char *name, char path[256]) {
  snprintf(path, 256, "%s/%s", folder, name);
}

static void write_bytes(const char *name, const void *bytes, size_t size) {
  char path[256];
  path_in(name, path);
  FILE *out = fopen(path, "wb");
  assert_non_null(out);
  assert_int_equal(fwrite(bytes, 1, size, out), size);
  assert_int_equal(fclose(out), 0);
}

static void write_npy(const char *name, char kind, int item_bytes, int rank, int64_t first, const void *data) {
  char path[256], text[256];
  ErrorText error = apnn_error_text(text, sizeof text);
  Npy npy = {.kind = kind, .item_bytes = item_bytes, .rank = rank, .dims = {first, SAMPLE_CHANNELS}, .data = data};
  path_in(name, path);
  assert_int_equal(npy_write(path, &npy, &error), APNN_OK);
}

static uint8_t images[IMAGES][SAMPLE_CHANNELS];

static int make_files(void **state) {
  (void)state;
  Sample s = sample_make();
  size_t size;
  int32_t labels[IMAGES], bad_label[IMAGES] = {6};
  assert_non_null(mkdtemp(folder));
  uint8_t *file = sample_cubin(&s, &size);
  write_bytes("net.cubin", file, size);
  free(file);
  file = sample_ptx(&s, &size);
  write_bytes("net.ptx", file, size);
  write_bytes("cut.ptx", file, size - 9);
  free(file);
  s.kernels[1].flags = APNN_KERNEL_WAITS; /* which it does not do: the CPU device says so where launches overlap */
  file = sample_ptx(&s, &size);
  write_bytes("waits.ptx", file, size);
  free(file);
  for (int i = 0; i < IMAGES; i++) {
    for (int c = 0; c < SAMPLE_CHANNELS; c++) images[i][c] = (uint8_t)((i * 5 + c) % 16);
    labels[i] = i < 10 ? 5 : 0; /* the greatest output is channel 5 */
  }
  write_npy("x.npy", 'u', 1, 2, IMAGES, images);
  write_npy("labels.npy", 'i', 4, 1, IMAGES, labels);
  write_npy("bad_label.npy", 'i', 4, 1, IMAGES, bad_label);
  write_npy("few_labels.npy", 'i', 4, 1, IMAGES - 1, labels);
  write_npy("signed.npy", 'i', 1, 2, IMAGES, images);
  write_npy("none.npy", 'u', 1, 2, 0, images);
  images[7][3] = 16;
  write_npy("range.npy", 'u', 1, 2, IMAGES, images);
  images[7][3] = (7 * 5 + 3) % 16;
  return 0;
}

static int remove_files(void **state) {
  (void)state;
  char command[300];
  snprintf(command, sizeof command, "rm -r '%s'", folder);
  return system(command);
}

/* Run "bin/tool arguments" in the folder of the files; its exit code, and what it printed on both streams. */
static int run(const char *arguments, char *output, size_t bytes) {
  char command[PATH_MAX * 3 + 1024], bin[PATH_MAX + 64], mock[PATH_MAX + 64];
  beside_program(".", bin);
  beside_program("../lib/mock", mock);
  snprintf(command, sizeof command, "cd '%s' && LD_LIBRARY_PATH='%s' '%s'/%s 2>&1", folder, mock, bin, arguments);
  FILE *pipe = popen(command, "r");
  assert_non_null(pipe);
  size_t length = fread(output, 1, bytes - 1, pipe);
  output[length] = 0;
  int status = pclose(pipe);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect(int code, const char *text, const char *arguments) {
  char output[8192];
  int got = run(arguments, output, sizeof output);
  if (got != code || !strstr(output, text))
    fail_msg("%s: expected %d with \"%s\", got %d with \"%s\"", arguments, code, text, got, output);
}

static void check_outputs(const char *name) {
  char path[256], text[256];
  ErrorText error = apnn_error_text(text, sizeof text);
  Npy npy;
  path_in(name, path);
  if (npy_read(path, &npy, &error) != APNN_OK) fail_msg("%s", text);
  assert_int_equal(npy.rank, 2);
  assert_int_equal(npy.dims[0], IMAGES);
  assert_int_equal(npy.kind, 'i');
  for (int i = 0; i < IMAGES * SAMPLE_CHANNELS; i++) {
    int32_t value;
    memcpy(&value, (const char *)npy.data + 4 * i, 4);
    assert_int_equal(value, sample_expected(images[i / SAMPLE_CHANNELS][i % SAMPLE_CHANNELS], i % SAMPLE_CHANNELS));
  }
  npy_free(&npy);
  remove(path);
}

static void test_run_writes_outputs(void **state) {
  (void)state;
  expect(0, "", "apnn-run net.cubin -i x.npy -o y.npy --device cuda:0");
  check_outputs("y.npy");
  expect(0, "", "apnn-run net.ptx --input=x=x.npy --output y=y2.npy --batch-size 2");
  check_outputs("y2.npy");
  expect(0, "accuracy: 76.9% (10 of 13) on cuda:0\n", "apnn-run net.cubin -i x.npy --labels labels.npy");
}

static void test_run_lists(void **state) {
  (void)state;
  expect(0,
         "network sample: sm_80, batch 1 to 5\n  input  x : u4[6](scale=0.5, zero=3/2), 6 bytes an image\n"
         "  output y : i32[6](scale=1), 24 bytes an image\n"
         "  2 launches of 2 kernels, 40 bytes of constants, 136 bytes of arena\n",
         "apnn-run net.cubin --list");
}

static void test_run_usage(void **state) {
  (void)state;
  expect(0, "usage: apnn-run", "apnn-run --help");
  expect(2, "no network is given", "apnn-run");
  expect(2, "got several", "apnn-run net.cubin net.ptx --list");
  expect(2, "nothing to do", "apnn-run net.cubin -i x.npy");
  expect(2, "apnn-run --help", "apnn-run net.cubin --wrong");
  expect(2, "--batch-size", "apnn-run net.cubin -i x.npy -o y.npy --batch-size 0");
  expect(2, "--batch-size", "apnn-run net.cubin -i x.npy -o y.npy --batch-size 3x");
}

static void test_run_bad_input(void **state) {
  (void)state;
  expect(1, "apnn-run: missing.cubin: No such file", "apnn-run missing.cubin -i x.npy -o y.npy");
  expect(1, "missing.npy: No such file", "apnn-run net.cubin -i missing.npy -o y.npy");
  expect(1, "cut.ptx: the \"//!apnn \" lines are not whole", "apnn-run cut.ptx -i x.npy -o y.npy");
  expect(1, "cut.ptx: the \"//!apnn \" lines are not whole", "apnn-run cut.ptx --list");
  expect(1, "x.npy: neither a cubin nor PTX", "apnn-run x.npy -i x.npy -o y.npy");
  expect(1,
         "signed.npy: input x is u4[6](scale=0.5, zero=3/2) and takes uint8 with the batch in front, got int8 [13, 6]",
         "apnn-run net.cubin -i signed.npy -o y.npy");
  expect(1, "range.npy: element 3 of image 7 is 16, input x takes 0 to 15", "apnn-run net.cubin -i range.npy -o y.npy");
  expect(1, "none.npy: no images", "apnn-run net.cubin -i none.npy -o y.npy");
  expect(1, "takes 1 to 5", "apnn-run net.cubin -i x.npy -o y.npy --batch-size 6");
  expect(1, "no array for input x", "apnn-run net.cubin -o y.npy");
  expect(1, "the network has 1 input, got 2", "apnn-run net.cubin -i x.npy -i x.npy -o y.npy");
  expect(1, "input 0 is given twice", "apnn-run net.cubin -i x.npy -i x=x.npy -o y.npy");
  expect(1, "no output named z", "apnn-run net.cubin -i x.npy -o z=y.npy");
  expect(1, "label 0 is 6, output y has classes 0 to 5", "apnn-run net.cubin -i x.npy --labels bad_label.npy");
  expect(1, "label 0 is 6", "apnn-run net.cubin -i x.npy -o unwritten.npy --labels bad_label.npy");
  expect(1, "unwritten.npy: No such file", "apnn-run net.cubin -i unwritten.npy -o y.npy");
  expect(1, "expected integers of shape [13]", "apnn-run net.cubin -i x.npy --labels few_labels.npy");
  expect(1, "/nowhere/y.npy: No such file", "apnn-run net.cubin -i x.npy -o /nowhere/y.npy");
  expect(1, "there is no cuda:7", "apnn-run net.cubin -i x.npy -o y.npy --device cuda:7");
  expect(1, "unknown device \"tpu\"", "apnn-run net.cubin -i x.npy -o y.npy --device tpu");
}

static void test_bench(void **state) {
  (void)state;
  expect(
      0,
      "{\"network\": \"sample\", \"device\": \"cuda:0\", \"batch\": 1, \"us\": 250.000, \"images_per_s\": 4000.0}\n"
      "{\"network\": \"sample\", \"device\": \"cuda:0\", \"batch\": 5, \"us\": 250.000, \"images_per_s\": 20000.0}\n",
      "apnn-bench net.cubin --batch 1,5 --json --runs 3");
  expect(0,
         "{\"network\": \"sample\", \"device\": \"cuda:0\", \"batch\": 2, \"layer\": \"x\", \"engine\": \"cuda\", "
         "\"us\": 12.500, \"bytes\": 60, \"ops\": 0}\n"
         "{\"network\": \"sample\", \"device\": \"cuda:0\", \"batch\": 2, \"layer\": \"y\", \"engine\": \"cuda\", "
         "\"us\": 12.500, \"bytes\": 120, \"ops\": 24}\n",
         "apnn-bench net.cubin --batch 2 --json --per-layer");
  expect(0, "sample on cuda:0 (Mock GPU 0)\n", "apnn-bench net.ptx");
  expect(0, "engine       layer\n", "apnn-bench net.ptx --per-layer");
  expect(1, "griddepcontrol.wait", "apnn-bench waits.ptx --device cpu --runs 1");
  expect(0, "sample on cpu", "apnn-bench waits.ptx --device cpu --runs 1 --no-overlap");
  expect(0, "usage: apnn-bench", "apnn-bench --help");
  expect(2, "no network is given", "apnn-bench --json");
  expect(2, "--batch: expected", "apnn-bench net.cubin --batch 1,,2");
  expect(2, "--batch: expected", "apnn-bench net.cubin --batch 1,");
  expect(2, "--batch: expected", "apnn-bench net.cubin --batch 0");
  expect(2, "--runs: expected", "apnn-bench net.cubin --runs many");
  expect(1, "--batch 6: this network takes 1 to 5", "apnn-bench net.cubin --batch 1,6");
  expect(1, "missing.cubin: No such file", "apnn-bench missing.cubin");
}

static void test_bench_layer(void **state) {
  (void)state;
  expect(0,
         "{\"op\": \"gemm\", \"shape\": [5, 24, 100], \"w\": \"bipolar\", \"a\": \"u2\", \"out\": \"u2\", "
         "\"target\": \"sm_90a\", \"device\": \"cpu\", \"engine\": \"mma_b1\", ",
         "apnn-bench layer gemm 5 24 100 w1a2 --device cpu --runs 1 --json --engine mma_b1 --target sm_90a");
  expect(0, "\"exact\": true, \"l2\": \"warm\", \"image\": \"ptx\", \"outputs\": \"",
         "apnn-bench layer gemm 5 24 100 w1a2 --device cpu --runs 1 --json");
  expect(0, "\"exact\": true,", "apnn-bench layer gemm 3 40 64 w3a5 --out i32 --device cpu --runs 1 --json");
  expect(0, "\"exact\": true,", "apnn-bench layer conv 2 5 4 16 24 3 1 w1a2 --device cpu --runs 1 --json");
  expect(0, "\"shape\": [1, 6, 7, 20, 12, 3, 2], \"w\": \"ternary\", \"a\": \"bipolar\", \"out\": \"i4\"",
         "apnn-bench layer conv 1 6 7 20 12 3 2 ternaryxbipolar --out i4 --device cpu --runs 1 --json");
  expect(0, "\"exact\": \"sampled\",",
         "apnn-bench layer conv 2 5 4 16 24 3 1 w8a8 --sample --device cpu --runs 1 --json");
  expect(0, "us, ", "apnn-bench layer gemm 5 24 100 w2a2 --device cpu --runs 1 --target sm_80");
  expect(0, ", exact\n", "apnn-bench layer gemm 5 24 100 w2a2 --device cpu --runs 1 --no-overlap");
  expect(0, ", direct, L2 warm, exact\n", "apnn-bench layer gemm 5 24 100 w2a2 --device cpu --runs 1 --engine direct");
  expect(0, "usage: apnn-bench layer", "apnn-bench layer --help");
}

static void write_list(const char *text) {
  char path[256];
  path_in("list", path);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fputs(text, f);
  fclose(f);
}

static void test_bench_layer_candidates(void **state) {
  (void)state;
  expect(0, "\"engines\": [{\"engine\": \"mma_b1\", \"estimate_us\": ",
         "apnn-bench layer gemm 5 24 100 w1a2 --device cpu --budget 1 --json --candidates 2");
  expect(0, "\"tiles\": [{\"tile\": \"16,32,8,1,1,3,1,0\", \"estimate_us\": ",
         "apnn-bench layer gemm 5 24 100 w1a2 --device cpu --budget 1 --json --candidates 1 --engine mma_b1");
  expect(0, "  wgmma_b1: about ", "apnn-bench layer gemm 5 24 100 w1a2 --device cpu --budget 1 --candidates 16");
}

/* A line of a list has its object, whatever comes of it, and the next follows. */
static void test_bench_layer_list(void **state) {
  (void)state;
  write_list("# two good ones, and one between them that is not\n\ngemm 5 24 100 w1a2 --engine mma_s8\n"
             "gemm 5 24 w1a2\nconv 2 5 4 16 24 3 1 w1a2 # a comment\n");
  expect(2, "\"engine\": \"mma_s8\"", "apnn-bench layer --list list --device cpu --runs 1 --json --turn turn");
  expect(2, "\n{\"error\": \"expected gemm M N K PRECISION; try apnn-bench layer --help\"}\n{\"op\": \"conv\"",
         "apnn-bench layer --list - --device cpu --runs 1 --json <list");
  expect(2, "conv 2x5x4x16x24x3x1 ", "apnn-bench layer --list list --device cpu --runs 1");
  write_list("gemm 1 2 400000 w8a8\ngemm 1 2 3 w1a2\n");
  expect(1,
         "{\"error\": \"layer.apnn:5:7: error[E0310]: ", "apnn-bench layer --list list --device cpu --runs 1 --json");
  write_list("gemm 1 2 3 w1a2 --list list\n");
  expect(2, "--list: not within a list", "apnn-bench layer --list list --device cpu");
  write_list("gemm 1 2 3 w1a2 --wrong\n");
  expect(2, "an option is unknown or lacks its argument", "apnn-bench layer --list list --device cpu");
  expect(1, "absent: No such file", "apnn-bench layer --list absent --device cpu");
}

static void test_bench_layer_refuses(void **state) {
  (void)state;
  expect(2, "no layer is given", "apnn-bench layer");
  expect(2, "expected gemm or conv, got \"lstm\"", "apnn-bench layer lstm 1 2 3 w1a2");
  expect(2, "expected gemm M N K PRECISION", "apnn-bench layer gemm 1 2 w1a2");
  expect(2, "expected conv N H W CIN COUT K STRIDE PRECISION", "apnn-bench layer conv 1 2 3 w1a2");
  expect(2, "expected a number from 1", "apnn-bench layer gemm 1 0 3 w1a2");
  expect(2, "expected a precision such as w1a2, got \"w9a2\"", "apnn-bench layer gemm 1 2 3 w9a2");
  expect(2, "--out: expected", "apnn-bench layer gemm 1 2 3 w1a2 --out f32");
  expect(2, "--engine: expected", "apnn-bench layer gemm 1 2 3 w1a2 --engine tpu");
  expect(2, "--target: expected", "apnn-bench layer gemm 1 2 3 w1a2 --target sm_20");
  expect(2, "--runs: expected", "apnn-bench layer gemm 1 2 3 w1a2 --runs 0");
  expect(2, "--budget: expected", "apnn-bench layer gemm 1 2 3 w1a2 --budget 0");
  expect(2, "--candidates: expected", "apnn-bench layer gemm 1 2 3 w1a2 --candidates 17");
  expect(2, "expected no layer beside --list, got \"gemm\"", "apnn-bench layer gemm 1 2 3 w1a2 --list list");
  expect(2, "try apnn-bench layer --help", "apnn-bench layer gemm 1 2 3 w1a2 --wrong");
  expect(1, "a window of 2 x 2 does not fit 1 x 3", "apnn-bench layer conv 1 1 3 8 8 2 1 w1a2");
  expect(1, "need a GPU", "apnn-bench layer gemm 1 2 3 w1a2 --device cpu --cold");
  expect(1, "--turn: /absent/turn", "apnn-bench layer gemm 1 2 3 w1a2 --device cpu --turn /absent/turn");
  expect(1, "unknown device \"tpu\"", "apnn-bench layer gemm 1 2 3 w1a2 --device tpu");
  expect(1, "engine wgmma_b1 cannot compute this layer",
         "apnn-bench layer gemm 1 2 3 w1a2 --device cpu --target sm_80 --engine wgmma_b1");
  expect(1, "E0310", "apnn-bench layer gemm 1 2 400000 w8a8 --device cpu");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_run_writes_outputs),
      cmocka_unit_test(test_run_lists),
      cmocka_unit_test(test_run_usage),
      cmocka_unit_test(test_run_bad_input),
      cmocka_unit_test(test_bench),
      cmocka_unit_test(test_bench_layer),
      cmocka_unit_test(test_bench_layer_refuses),
      cmocka_unit_test(test_bench_layer_list),
      cmocka_unit_test(test_bench_layer_candidates),
  };
  return cmocka_run_group_tests(tests, make_files, remove_files);
}
