/* Tensor-core instructions of the CPU device against plain matrix products. Every element of A and B is random, so an
 * error in the order of k, which cancels where both operands have it, shows: the reference takes fragments apart by the
 * published layout for each operand on its own. */
#include "cpu_device.h"

enum { LANES = 32, MAX_REGISTERS = 4 };

typedef struct Shape {
  const char *mnemonic;
  int rows, k_words; /* k in units of 32 bits (4 bytes) */
  int a, b, c;       /* registers of each fragment */
  bool bits, exclusive;
  bool a_signed, b_signed, saturate;
} Shape;

static const Shape shapes[] = {
    {"mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc", 16, 8, 4, 2, 4, true, false, false, false, false},
    {"mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.xor.popc", 16, 8, 4, 2, 4, true, true, false, false, false},
    {"mma.sync.aligned.m16n8k128.row.col.s32.b1.b1.s32.and.popc", 16, 4, 2, 1, 4, true, false, false, false, false},
    {"mma.sync.aligned.m16n8k128.row.col.s32.b1.b1.s32.xor.popc", 16, 4, 2, 1, 4, true, true, false, false, false},
    {"mma.sync.aligned.m8n8k128.row.col.s32.b1.b1.s32.and.popc", 8, 4, 1, 1, 2, true, false, false, false, false},
    {"mma.sync.aligned.m8n8k128.row.col.s32.b1.b1.s32.xor.popc", 8, 4, 1, 1, 2, true, true, false, false, false},
    {"mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32", 16, 8, 4, 2, 4, false, false, true, true, false},
    {"mma.sync.aligned.m16n8k32.row.col.s32.u8.u8.s32", 16, 8, 4, 2, 4, false, false, false, false, false},
    {"mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32", 16, 8, 4, 2, 4, false, false, false, true, false},
    {"mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32", 16, 8, 4, 2, 4, false, false, true, false, false},
    {"mma.sync.aligned.m16n8k32.row.col.satfinite.s32.s8.s8.s32", 16, 8, 4, 2, 4, false, false, true, true, true},
    {"mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32", 16, 4, 2, 1, 4, false, false, true, true, false},
    {"mma.sync.aligned.m16n8k16.row.col.s32.u8.s8.s32", 16, 4, 2, 1, 4, false, false, false, true, false},
    {"mma.sync.aligned.m8n8k16.row.col.s32.s8.u8.s32", 8, 4, 1, 1, 2, false, false, true, false, false},
};

static void write_list(TextBuffer *t, const char *name, int count) {
  text_add(t, "{");
  for (int i = 0; i < count; i++) text_add(t, "%s%%%s%d", i ? ", " : "", name, i);
  text_add(t, "}");
}

static void write_kernel(TextBuffer *t, const Shape *s) {
  text_add(t, "%s.visible .entry k(.param .u64 pa, .param .u64 pb, .param .u64 pc, .param .u64 pd, .param .u32 n) {\n",
           PTX_HEADER);
  text_add(t, ".reg .b64 %%p, %%i;\n.reg .b32 %%a<4>, %%b<4>, %%c<4>, %%d<4>, %%t;\nmov.u32 %%t, %%tid.x;\n"
              "mul.wide.u32 %%i, %%t, 16;\n");
  const int counts[] = {s->a, s->b, s->c};
  for (int k = 0; k < 3; k++) {
    text_add(t, "ld.param.u64 %%p, [p%c];\nadd.s64 %%p, %%p, %%i;\n", 'a' + k);
    for (int i = 0; i < counts[k]; i++) text_add(t, "ld.global.u32 %%%c%d, [%%p+%d];\n", 'a' + k, i, 4 * i);
  }
  text_add(t, "%s ", s->mnemonic);
  write_list(t, "d", s->c), text_add(t, ", ");
  write_list(t, "a", s->a), text_add(t, ", ");
  write_list(t, "b", s->b), text_add(t, ", ");
  write_list(t, "c", s->c), text_add(t, ";\nld.param.u64 %%p, [pd];\nadd.s64 %%p, %%p, %%i;\n");
  for (int i = 0; i < s->c; i++) text_add(t, "st.global.u32 [%%p+%d], %%d%d;\n", 4 * i, i);
  text_add(t, "ret;\n}\n");
}

typedef uint32_t Fragment[LANES][MAX_REGISTERS];

/* Word `word` (32 bits along k) of row `row` of A: lane 4g + t holds row g, words t and t + 4. */
static uint32_t a_word(const Shape *s, Fragment a, int row, int word) {
  int half = row / 8, blocks = s->rows / 8;
  return a[4 * (row % 8) + word % 4][half + blocks * (word / 4)];
}
static uint32_t b_word(Fragment b, int column, int word) {
  return b[4 * column + word % 4][word / 4];
}

static int64_t product_of_words(const Shape *s, uint32_t x, uint32_t y) {
  int64_t sum = 0;
  if (s->bits) return __builtin_popcount(s->exclusive ? x ^ y : x & y);
  for (int i = 0; i < 4; i++) {
    uint8_t u = (uint8_t)(x >> 8 * i), v = (uint8_t)(y >> 8 * i);
    sum += (s->a_signed ? (int8_t)u : u) * (s->b_signed ? (int8_t)v : v);
  }
  return sum;
}

static void check_shape(const Shape *s, int round) {
  static TextBuffer t;
  Fragment a, b, c, d;
  for (int lane = 0; lane < LANES; lane++)
    for (int i = 0; i < MAX_REGISTERS; i++) {
      a[lane][i] = (uint32_t)random64(), b[lane][i] = (uint32_t)random64(), c[lane][i] = (uint32_t)random64();
      d[lane][i] = 0;
      /* Accumulators near the ends of the range: what wraps and what saturates. */
      if (round == 1) c[lane][i] = lane % 2 ? 0x7fffff00u : 0x80000100u;
    }
  t.used = 0;
  write_kernel(&t, s);
  Run run = {.entry = "k",
             .grid = 1,
             .block = LANES,
             .arrays = {{a, sizeof a, 0}, {b, sizeof b, 0}, {c, sizeof c, 0}, {d, sizeof d, 0}}};
  device_run(t.text, &run);
  for (int lane = 0; lane < LANES; lane++)
    for (int i = 0; i < s->c; i++) {
      int row = lane / 4 + 8 * (i >> 1), column = 2 * (lane % 4) + (i & 1);
      int64_t sum = (int32_t)c[lane][i];
      for (int word = 0; word < s->k_words; word++)
        sum += product_of_words(s, a_word(s, a, row, word), b_word(b, column, word));
      if (s->saturate) sum = sum > INT32_MAX ? INT32_MAX : sum < INT32_MIN ? INT32_MIN : sum;
      if (d[lane][i] != (uint32_t)sum) {
        fail_msg("%s: row %d, column %d: %d, expected %d", s->mnemonic, row, column, (int32_t)d[lane][i], (int32_t)sum);
      }
    }
}

static void test_products(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
    for (int round = 0; round < 3; round++) check_shape(&shapes[i], round);
}

/* ---- ldmatrix ---- */

static void check_ldmatrix(int count, bool transposed) {
  static TextBuffer t;
  uint16_t in[32][8];
  uint32_t out[LANES][4] = {{0}};
  for (int row = 0; row < 32; row++)
    for (int i = 0; i < 8; i++) in[row][i] = (uint16_t)random64();
  t.used = 0;
  text_add(&t,
           "%s.visible .entry k(.param .u64 pi, .param .u64 po, .param .u32 n) {\n.shared .align 16 .b8 tile[512];\n"
           ".reg .b64 %%p, %%i;\n.reg .b32 %%t, %%s, %%x<4>, %%y<4>;\n",
           PTX_HEADER);
  /* Rows are stored in reverse order of addresses, so the addresses of the lanes count. */
  text_add(
      &t,
      "mov.u32 %%t, %%tid.x;\nmul.wide.u32 %%i, %%t, 16;\nld.param.u64 %%p, [pi];\nadd.s64 %%p, %%p, %%i;\n"
      "ld.global.v4.u32 {%%x0, %%x1, %%x2, %%x3}, [%%p];\nsub.u32 %%s, 31, %%t;\nshl.b32 %%s, %%s, 4;\n"
      "mov.u32 %%t, tile;\nadd.u32 %%s, %%s, %%t;\nst.shared.v4.u32 [%%s], {%%x0, %%x1, %%x2, %%x3};\nbar.sync 0;\n");
  text_add(&t, "ldmatrix.sync.aligned.m8n8.x%d%s.shared.b16 ", count, transposed ? ".trans" : "");
  write_list(&t, "y", count);
  text_add(&t, ", [%%s];\nld.param.u64 %%p, [po];\nadd.s64 %%p, %%p, %%i;\n");
  for (int i = 0; i < count; i++) text_add(&t, "st.global.u32 [%%p+%d], %%y%d;\n", 4 * i, i);
  text_add(&t, "ret;\n}\n");
  Run run = {.entry = "k", .grid = 1, .block = LANES, .arrays = {{in, sizeof in, 0}, {out, sizeof out, 0}}};
  device_run(t.text, &run);
  for (int lane = 0; lane < LANES; lane++)
    for (int m = 0; m < count; m++)
      for (int half = 0; half < 2; half++) {
        int g = lane / 4, k = 2 * (lane % 4) + half;
        uint16_t want = transposed ? in[8 * m + k][g] : in[8 * m + g][k];
        assert_int_equal((uint16_t)(out[lane][m] >> 16 * half), want);
      }
}

static void test_ldmatrix(void **state) {
  (void)state;
  for (int count = 1; count <= 4; count *= 2)
    for (int transposed = 0; transposed < 2; transposed++) check_ldmatrix(count, transposed);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_products), cmocka_unit_test(test_ldmatrix)};
  return cmocka_run_group_tests(tests, device_open, device_close);
}
