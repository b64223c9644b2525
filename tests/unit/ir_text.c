/* The text form: printing and reading are inverse, and no text, however broken, does more than give reports. */
#include "ir_sample.h"
#include "ir/print.h"

/* Every kind of statement, type, attribute and plan; exactly as it is printed. */
static const char sample[] =
    "graph @\"a \\x22net\\x22\" batch=8 arena=65536 {\n"
    "  const %s : f32[2] = [0x1p+0, 0x1.99999ap-4]\n"
    "  const %gamma : f32[2] = [0x1p+0, -0x0p+0]\n"
    "  const %beta : f32[1] = [0x1p-149]\n"
    "  const %odd : f32[2] = [nan:7fc00001, -inf]\n"
    "  const %t : i32[1,3] = [-2147483648, 0, 2147483647]\n"
    "  const %flip : i32[1] = [-1]\n"
    "  const %\"c.1 scale\" : f32[2] = [0x1p+0, 0x1.99999ap-4]\n"
    "  const %\"\xc3\xa4 b\\x0a\" : f32[2] = [0x1p+0, 0x1p+0]\n"
    "  const %w : u1[2,3,3,2]{scale=%s,zero=1/2} = [0, 1, 0, 1, 1, 1, 0, 0, 1, 0, 1, 0, 0, 1, 1, 0, 1, 0, 1, 1, 1, 0, "
    "0, 1, 0, 1, 0, 1, 1, 0, 0, 0, 1, 1, 0, 1]\n"
    "  input %x : u3[N,5,6,2]{scale=0x1p+1,zero=4,layout=planes:32:32}\n"
    "  input %r : ternary[N,5,6,2]{layout=bytes:16}\n"
    "  input %f : f32[N,5,6,2]{layout=words:2}\n"
    "  %c.1 : u2[N,5,6,2]{scale=0x1p-2,zero=-3/2,layout=planes:64:64} = conv2d(%x, %w) kernel=3,3 pad=1,1,1,1 "
    "engine=mma_b1 tile=64,8,16,2,1,3,4,1 launch=1,2,3,256,49152,132 offset=1024 : i32[N,5,6,2]{scale=%\"c.1 scale\"}\n"
    "    | dequantize : f32[N,5,6,2]\n"
    "    | affine(%gamma, %beta) : f32[N,5,6,2]\n"
    "    | add(%r) : f32[N,5,6,2]\n"
    "    | prelu(%odd) : f32[N,5,6,2]\n"
    "    | leaky_relu alpha=0x1p-2 : f32[N,5,6,2]\n"
    "    | hardtanh lo=-inf hi=0x1p+1 : f32[N,5,6,2]\n"
    "    | quantize : u2[N,5,6,2]{scale=0x1p-2,zero=-3/2}\n"
    "  %pool : u2[N,3,2,2]{scale=0x1p-2,zero=-3/2} = maxpool(%c.1) kernel=2,3 stride=2,3 pad=1,0,0,0 engine=direct\n"
    "  %c.1.planes : u2[N,5,6,2]{scale=0x1p-2,zero=-3/2,layout=planes:128:128:7:42:336} = copy(%c.1)\n"
    "  %r.bytes : ternary[N,5,6,2]{layout=bytes:16:8:64:512} = copy(%r)\n"
    "  %d : f32[N,5,6,2] = dequantize(%c.1.planes)\n"
    "  %both : f32[N,5,6,4] = concat(%d, %f) axis=2\n"
    "  %flat : f32[N,120] = flatten(%both) chw=true launch=0,0,0,0,0,7\n"
    "  %q : i8[N,120] = quantize(%flat)\n"
    "  %two : i8[N,60,2] = reshape(%q) engine=view\n"
    "  %best : i32[N,60] = argmax(%two)\n"
    "  %th : u2[N,60] = copy(%best) : i32[N,60]\n"
    "    | thresholds(%t, %flip) : u2[N,60]\n"
    "  %bn : f32[N,5,6,2] = batchnorm(%f, %gamma, %beta, %\"\xc3\xa4 b\\x0a\", %\"\xc3\xa4 b\\x0a\") eps=0x0p+0\n"
    "  output %th\n"
    "  output %pool\n"
    "  output %bn\n"
    "}\n";

static void test_sample_reads_back(void **state) {
  (void)state;
  Context *c = context_new(NULL);
  Graph *g = graph_parse(c, "sample.ir", sample, NULL);
  assert_no_reports(c);
  assert_non_null(g);
  assert_string_equal(graph_print_string(g, PRINT_FULL), sample);
  assert_string_equal(g->name, "a \"net\"");
  assert_int_equal(g->max_batch, 8);
  const Node *n = &g->nodes[0];
  assert_int_equal(n->engine, ENGINE_MMA_B1);
  assert_true(n->tile.m == 64 && n->tile.n == 8 && n->tile.k == 16 && n->tile.warps_m == 2 && n->tile.warps_n == 1 &&
              n->tile.stages == 3 && n->tile.split_k == 4 && n->tile.resident == 1);
  assert_true(n->launch.x_mul == 1 && n->launch.x_div == 2 && n->launch.y == 3 && n->launch.threads == 256 &&
              n->launch.shared_bytes == 49152 && n->launch.x_most == 132);
  assert_int_equal(graph_value(g, n->result)->arena_offset, 1024);
  const Layout planes = graph_type(g, graph_find(g, "c.1.planes"))->layout,
               no_pieces = graph_type(g, n->result)->layout;
  assert_true(planes.block == 128 && planes.row_pitch == 7 && planes.image_pitch == 42 && planes.positions == 336);
  const Layout bytes = graph_type(g, graph_find(g, "r.bytes"))->layout;
  assert_true(bytes.block == 16 && bytes.row_pitch == 8 && bytes.image_pitch == 64 && bytes.positions == 512);
  assert_true(layout_is_pieces(planes) && layout_is_pieces(bytes) && !layout_is_pieces(no_pieces));
  assert_int_equal(n->step_count, 7);
  assert_int_equal(n->loc.line, 14);
  assert_int_equal(graph_type(g, n->result)->zero2, -3);
  const float *odd = graph_value(g, graph_find(g, "odd"))->data;
  assert_same_float(odd[0], float_of_bits(0x7fc00001));
  assert_int_equal(graph_find(g, "\xc3\xa4 b\n") != NO_VALUE, true);
  context_free(c);
}

/* Long constants print as hashes, and come back from the graph they were in, in another context too. */
static void test_hashes_resolve(void **state) {
  (void)state;
  Context *c = context_new(NULL), *other = context_new(NULL);
  Random r = {61};
  Graph *g = graph_new(c, "hashed");
  Type x = type_make(ELEM_UINT, 4, true, 1, DIMS(40)), w = type_make(ELEM_INT, 5, false, 2, DIMS(70, 40));
  float scales[70];
  for (int i = 0; i < 70; i++) scales[i] = (float)(i + 1) / 64;
  w.scales = graph_add_const(g, "w.scale", type_make(ELEM_F32, 32, false, 1, DIMS(70)), scales);
  ValueId operands[] = {graph_add_input(g, "x", x), graph_add_const(g, "w", w, random_elements(c, &r, &w, 1))};
  graph_add_output(g, graph_insert_node(g, 0, OP_LINEAR, NULL, operands, 2, (Type){0}, "y", (SourceLoc){0}));
  const char *brief = graph_print_string(g, PRINT_SHORT), *full = graph_print_string(g, PRINT_FULL);
  assert_non_null(strstr(brief, "const %w : i5[70,40]{scale=%w.scale} = @"));
  Graph *from_hash = graph_parse(other, "a", brief, g), *from_text = graph_parse(other, "b", full, NULL);
  assert_no_reports(other);
  assert_string_equal(graph_print_string(from_hash, PRINT_FULL), full);
  assert_string_equal(graph_print_string(from_text, PRINT_FULL), full);
  assert_string_equal(graph_print_string(from_text, PRINT_SHORT), brief);
  assert_ptr_equal(graph_value(from_hash, graph_find(from_hash, "w"))->data, graph_value(g, operands[1])->data);
  assert_null(graph_parse(other, "c", brief, NULL));
  assert_reported(other, "is given by its hash, but there are no constants");
  assert_null(graph_parse(other, "d", brief, graph_new(other, "empty")));
  assert_reported(other, "which no constant of this size has");
  context_free(c);
  context_free(other);
}

/* The example of ir/README.md is a graph, exactly as it is printed. */
static void test_example_of_the_readme(void **state) {
  (void)state;
  static char readme[65536];
  FILE *f = fopen(SOURCE_DIR "/ir/README.md", "rb");
  assert_non_null(f);
  size_t length = fread(readme, 1, sizeof readme - 1, f);
  fclose(f);
  assert_true(length < sizeof readme - 1);
  char *start = strstr(readme, "graph @"), *end = strstr(start, "```");
  assert_non_null(end);
  *end = 0;
  Context *c = context_new(NULL);
  Graph *g = graph_parse(c, "README.md", start, NULL);
  assert_no_reports(c);
  assert_string_equal(graph_print_string(g, PRINT_FULL), start);
  context_free(c);
}

/* What is not used by anything is not printed; what a pass deleted neither. */
static void test_only_what_is_used(void **state) {
  (void)state;
  Context *c = context_new(NULL);
  static const float one[] = {1};
  Graph *g = graph_new(c, "g");
  graph_add_const(g, "unused", type_make(ELEM_F32, 32, false, 1, DIMS(1)), one);
  ValueId x = graph_add_input(g, "x", type_make(ELEM_F32, 32, true, 1, DIMS(3)));
  graph_insert_node(g, 0, OP_SIGN, NULL, &x, 1, (Type){0}, "gone", (SourceLoc){0});
  graph_add_output(g, graph_insert_node(g, 1, OP_RELU, NULL, &x, 1, (Type){0}, "y", (SourceLoc){0}));
  graph_delete_node(g, 0);
  assert_string_equal(graph_print_string(g, PRINT_SHORT), "graph @g {\n"
                                                          "  input %x : f32[N,3]\n"
                                                          "  %y : f32[N,3] = relu(%x)\n"
                                                          "  output %y\n"
                                                          "}\n");
  context_free(c);
}

static void test_errors_have_places(void **state) {
  (void)state;
  static const struct {
    const char *text, *words;
  } rows[] = {
      {"", "t.ir:1:1: error[E0501]: unexpected end of the text\n  1 | \n    | ^\n    expected: graph @name {"},
      {"grph @g {}", "t.ir:1:1: error[E0501]: unexpected 'grph'"},
      {"graph @g {", "expected: '}' after the graph's statements"},
      {"graph @g {}\nx", "t.ir:2:1: error[E0501]: unexpected 'x'"},
      {"graph @g size=3 {}", "t.ir:1:10: error[E0502]: unknown property of graph 'size'"},
      {"graph @g batch=99999999999 {}", "t.ir:1:16: error[E0504]: batch is out of range"},
      {"graph @g {\n  input %x : u9[N,3]\n}", "t.ir:2:14: error[E0502]: unknown element type 'u9'"},
      {"graph @g {\n  input %x : u8[N,0]\n}", "t.ir:2:19: error[E0504]: a dimension is out of range"},
      {"graph @g {\n  input %x : u8[N,3]{scale=0x0p+0}\n}", "E0506]: type u8[N,3](scale=0) is impossible"},
      {"graph @g {\n  input %x : u8[N,3]{scale=%s}\n}", "t.ir:2:28: error[E0502]: unknown value 's'"},
      {"graph @g {\n  input %x : u8[N,3]\n  input %x : u8[N,3]\n}",
       "t.ir:3:9: error[E0503]: value 'x' is given a second"},
      {"graph @g {\n  input %x : u8[3]\n}", "input 'x' has no batch dimension"},
      {"graph @g {\n  const %k : u2[3] = [1, 2]\n}", "t.ir:2:9: error[E0505]: constant 'k' has fewer elements"},
      {"graph @g {\n  const %k : u2[3] = [1, 2, 3, 0]\n}", "constant 'k' has more elements"},
      {"graph @g {\n  const %k : u2[2000000000] = [1]\n}", "constant 'k' has fewer elements"},
      {"graph @g {\n  const %k : u2[3] = [1, 2, 4]\n}",
       "t.ir:2:29: error[E0504]: an element of this type is out of range"},
      {"graph @g {\n  const %k : f32[1] = [0x]\n}", "t.ir:2:24: error[E0501]"},
      {"graph @g {\n  input %x : f32[N,3]\n  %y : f32[N,3] = rellu(%x)\n}",
       "t.ir:3:19: error[E0502]: unknown operation 'rellu'"},
      {"graph @g {\n  input %x : f32[N,3]\n  %y : f32[N,3] = relu(%z)\n}",
       "t.ir:3:24: error[E0502]: unknown value 'z'"},
      {"graph @g {\n  input %x : f32[N,3]\n  %y : f32[N,3] = relu(%x) axis=1\n}", "unknown property of relu 'axis'"},
      {"graph @g {\n  input %x : f32[N,3]\n  %y : f32[N,3] = relu(%x) engine=gpu\n}", "unknown engine 'gpu'"},
      {"graph @g {\n  input %x : f32[N,3]\n  %y : f32[N,4] = relu(%x)\n}",
       "t.ir:3:3: error[E0507]: the graph breaks a rule: relu in layer 'y'"},
      {"graph @g {\n  input %x : u8[N,3]\n  %y : f32[N,3] = relu(%x)\n}",
       "t.ir:3:3: error[E0302]: operand 1 of relu cannot be u8[N,3]"},
      {"graph @g {\n  input %x : f32[N,3]\n  %y : f32[N,3] = relu(%x) tile=1,2,3,4,5,6,7\n}",
       "expected: ',' between a tile's eight numbers"},
      {"graph @g {\n  input %x : f32[N,3]\n  %y : f32[N,3] = relu(%x) launch=1,2,3,4,5\n}",
       "expected: ',' between a launch's six numbers"},
      {"graph @g {\n  input %x : f32[N,3]\n  %y : f32[N,3] = relu(%x) engine=mma_s8 tile=16,0,8,1,1,2,1,0\n}",
       "the tile of layer 'y' lacks a number"},
      {"graph @g {\n  input %x : f32[N,3]\n  %y : f32[N,3] = relu(%x) engine=mma_s8 tile=0,0,0,0,0,0,0,1\n}",
       "the tile of layer 'y' lacks a number"},
      {"graph @g {\n  input %x : f32[N,3]\n  %y : f32[N,3] = relu(%x) engine=wgmma_s8 tile=64,32,4,4,1,2,1,0\n}",
       "but is no conv2d or linear"},
      {"graph @g {\n  const %w : u1[1,3] = [0, 1, 1]\n  input %x : u8[N,3]{layout=bytes:3}\n"
       "  %y : i32[N,1] = linear(%x, %w) engine=wgmma_s8 tile=64,32,4,4,1,2,1,0\n}",
       "layer 'y' has a tile over pieces, but does not read them whole"},
      {"graph @g {\n  const %w : u1[1,3] = [0, 1, 1]\n  input %x : u8[N,3]{layout=bytes:16:1:1:8}\n"
       "  %y : i32[N,1] = linear(%x, %w) engine=wgmma_s8 tile=64,32,6,4,1,2,1,0\n}",
       "layer 'y' has a tile over pieces, but does not read them whole"},
      {"graph @g {\n  input %x : u8[N,2,3,5]{layout=bytes:16:3}\n}", "expected: ':' between the numbers of pieces"},
      {"graph @g {\n  input %x : u8[N,2,3,5]{layout=bytes:16:3:6}\n}", "expected: ':' between the numbers of pieces"},
      {"graph @g {\n  input %x : u8[N,2,3,5]{layout=bytes:16:3:6:12:1}\n}", "unexpected ':'"},
      {"graph @g {\n  input %x : u8[N,2,3,5]{layout=bytes:16:3:6:4294967296}\n}", "positions is out of range"},
      {"graph @g {\n  input %x : u8[N,2,3,5]{layout=bytes:16:x:6:12}\n}", "expected: a pitch of rows"},
      {"graph @g {\n  input %x : u8[N,2,3,5]{layout=bytes:16:3:6:0}\n}", "only pieces have a pitch of rows and images"},
      {"graph @g {\n  input %x : u8[N,2,3,5]{layout=bytes:8:3:6:12}\n}",
       "pieces are 128 channels of a bit plane or 16 of bytes"},
      {"graph @g {\n  input %x : u8[N,2,3,5]{layout=bytes:16:2:6:12}\n}", "its pixels do not fit its pitches"},
      {"graph @g {\n  input %x : u8[N,2,3,5]{layout=bytes:16:3:5:10}\n}", "its pixels do not fit its pitches"},
      {"graph @g {\n  input %x : u8[N,2,3,5]{layout=bytes:16:3:6:13}\n}", "no whole number of images"},
      {"graph @g {\n  input %x : u8[N,2,3,5]{layout=planes:64:64:3:6:12}\n}", "pieces are 128 channels of a bit plane"},
      {"graph @g {\n  input %x : f32[N,2,3,5]{layout=words:5:3:6:12}\n}", "pieces are 128 channels of a bit plane"},
      {"graph @g {\n  input %x : f32[N,3]\n  output %x\n}", "an output is not the result of a layer"},
      {"graph @g {\n  input %\"x : f32[N,3]\n}", "the rest of a quoted name"},
      {"graph @g {\n  \x01\n}", "unexpected byte 0x01"},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    Context *c = context_new(NULL);
    assert_null(graph_parse(c, "t.ir", rows[i].text, NULL));
    assert_reported(c, rows[i].words);
    context_free(c);
  }
}

static void test_several_errors_in_one_run(void **state) {
  (void)state;
  Context *c = context_new(NULL);
  assert_null(graph_parse(c, "t.ir",
                          "graph @g {\n  input %x : f32[N,3\n  %y : f32[N,3] = what(%x)\n    | relu : f32[N,3]\n"
                          "  %z : f32[N,3] = relu(%y)\n  output %none\n}",
                          NULL));
  assert_int_equal(diag_error_count(c), 3); /* one a statement; %x and %y are known nevertheless */
  free(flushed(c));
  context_free(c);
}

/* A text that is refused is reported; one that is taken is a graph that prints and reads back. */
static void check_any_text(const char *text) {
  Context *c = context_new(NULL);
  Graph *g = graph_parse(c, "any.ir", text, NULL);
  assert_true((g != NULL) == (diag_error_count(c) == 0));
  free(flushed(c));
  if (g) {
    const char *printed = graph_print_string(g, PRINT_FULL);
    Graph *again = graph_parse(c, "again.ir", printed, NULL);
    assert_no_reports(c);
    assert_string_equal(graph_print_string(again, PRINT_FULL), printed);
  }
  context_free(c);
}

static void test_truncated_texts(void **state) {
  (void)state;
  char text[sizeof sample];
  for (size_t n = 0; n < sizeof sample; n += 3) {
    memcpy(text, sample, n);
    text[n] = 0;
    check_any_text(text);
  }
}

static void test_altered_texts(void **state) {
  (void)state;
  Random r = {62};
  static const char alphabet[] = "0123456789abcxN%@\"\\[]{}()=:,|-/. \n#fiu\x7f\xff";
  for (int round = 0; round < 6000; round++) {
    char text[sizeof sample];
    memcpy(text, sample, sizeof sample);
    for (int k = random_in(&r, 1, 3); k > 0; k--)
      text[random_in(&r, 0, sizeof sample - 2)] = alphabet[random_in(&r, 0, sizeof alphabet - 2)];
    check_any_text(text);
  }
}

/* Reading, printing and running with memory running out at every allocation: a report, no leak. */
typedef struct Whole {
  Context *c;
  bool done;
} Whole;

static bool whole_way(void *user) {
  Whole *w = user;
  Graph *g = graph_parse(w->c, "sample.ir", sample, NULL);
  if (!g) return false;
  const char *text = graph_print_string(g, PRINT_SHORT);
  Graph *again = graph_parse(w->c, "again.ir", text, g);
  if (!again || !graph_verify(again)) return false;
  uint8_t x[60] = {0}, th[60], pool[12];
  int8_t residual[60] = {0};
  float f[60] = {0}, bn[60];
  return w->done = graph_eval(again, 1, (const void *[]){x, residual, f}, (void *[]){th, pool, bn});
}

static void test_every_allocation_may_fail(void **state) {
  (void)state;
  for (long left = 0;; left++) {
    Counter counter = {.left = left};
    Whole w = {.c = context_new(&(Allocator){counted, &counter})};
    if (!w.c) continue;
    bool ok = context_try(w.c, whole_way, &w);
    assert_true(ok == w.done);
    if (!ok) assert_reported(w.c, "out of memory");
    context_free(w.c);
    assert_int_equal(counter.blocks, 0);
    if (ok) return;
  }
}

static int compare_hashes(const void *left, const void *right) {
  uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
  return (a > b) - (a < b);
}

/* Contents of 0 to 80 zeros, and of 80 that differ from them in one bit, or in the top bits of two bytes, as two
 * changed signs do: all have hashes of their own. */
static void test_contents_have_their_own_hashes(void **state) {
  (void)state;
  enum { BYTES = 80, MOST = BYTES + 1 + BYTES * 8 + BYTES * BYTES / 2 };
  static uint64_t hashes[MOST];
  uint8_t data[BYTES] = {0};
  size_t count = 0;
  for (size_t bytes = 0; bytes <= BYTES; bytes++) hashes[count++] = content_hash(data, bytes);
  for (int bit = 0; bit < BYTES * 8; bit++) {
    data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    hashes[count++] = content_hash(data, BYTES);
    data[bit / 8] = 0;
  }
  for (int i = 0; i < BYTES; i++)
    for (int k = 0; k < i; k++) {
      data[i] = data[k] = 0x80;
      hashes[count++] = content_hash(data, BYTES);
      data[i] = data[k] = 0;
    }
  assert_true(count <= MOST);
  qsort(hashes, count, sizeof *hashes, compare_hashes);
  for (size_t i = 1; i < count; i++) assert_true(hashes[i - 1] != hashes[i]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_sample_reads_back),
      cmocka_unit_test(test_hashes_resolve),
      cmocka_unit_test(test_contents_have_their_own_hashes),
      cmocka_unit_test(test_only_what_is_used),
      cmocka_unit_test(test_errors_have_places),
      cmocka_unit_test(test_several_errors_in_one_run),
      cmocka_unit_test(test_truncated_texts),
      cmocka_unit_test(test_altered_texts),
      cmocka_unit_test(test_every_allocation_may_fail),
      cmocka_unit_test(test_example_of_the_readme),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
