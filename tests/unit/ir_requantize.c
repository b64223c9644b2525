/* Requantizers (ir/requantize.h): what the search finds is right at every x, and it finds what there is. The count is
 * taken threshold by threshold; ranges are short enough to be gone through whole, or looked at around every threshold
 * and at the ends.
 */
#include "ir/exact.h"
#include "ir/requantize.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

enum { MOST_THRESHOLDS = 256, BELOW = -3 /* a result's least number */ };

static uint32_t draw(uint64_t *seed, uint32_t count) {
  *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (uint32_t)(*seed >> 33) % count;
}

static double draw_real(uint64_t *seed, double least, double most) {
  return least + (most - least) * draw(seed, 1000001) / 1000000.0;
}

static int32_t count(const ThresholdRows *rows, int32_t x, int r) {
  int32_t reached = 0;
  for (int i = 0; i < rows->levels; i++) reached += (x ^ rows->flip) >= rows->t[r * rows->levels + i];
  return reached;
}

static void check_at(const ThresholdRows *rows, const Requantizer *q, int64_t x, int r) {
  if (x < rows->least || x > rows->most) return;
  int32_t got = requantize(q, rows->levels, rows->first, (int32_t)x, r);
  int32_t want = rows->first + count(rows, (int32_t)x, r);
  if (got != want)
    fail_msg("x %lld, r %d: %d instead of %d (slope %a, offset %a, step %a)", (long long)x, r, got, want,
             (double)q->slope, (double)q->offset, (double)q->of_other);
}

static void check_range(const ThresholdRows *rows, const Requantizer *q) {
  for (int r = 0; r < rows->numbers; r++)
    for (int64_t x = rows->least; x <= rows->most; x++) check_at(rows, q, x, r);
}

static void check_around(const ThresholdRows *rows, const Requantizer *q) {
  for (int r = 0; r < rows->numbers; r++) {
    for (int64_t d = 0; d < 3; d++) check_at(rows, q, rows->least + d, r), check_at(rows, q, rows->most - d, r);
    for (int i = 0; i < rows->levels; i++)
      for (int64_t d = -3; d <= 3; d++) check_at(rows, q, (rows->t[r * rows->levels + i] ^ rows->flip) + d, r);
  }
}

/* --- chains: x * a + b + r * step, each operation rounded, and a quantization --- */

typedef struct Chain {
  float scale, a, b, step, result_scale;
} Chain;

static int32_t chain_count(const Chain *c, int levels, int32_t x, int r) {
  float real = exact_add(exact_mul(exact_dequantize(x, c->scale), c->a), c->b);
  real = exact_add(real, exact_dequantize(r, c->step));
  return exact_quantize(real, c->result_scale, 0, 0, levels);
}

/* The first u = x ^ flip that is counted i or more; INT32_MAX if none is. */
static int32_t first_reached(const Chain *c, const ThresholdRows *rows, int r, int i) {
  int64_t low = rows->flip ? ~rows->most : rows->least, high = 1 + (int64_t)(rows->flip ? ~rows->least : rows->most);
  int64_t end = high;
  while (low < high) {
    int64_t middle = low + (high - low) / 2;
    if (chain_count(c, rows->levels, (int32_t)middle ^ rows->flip, r) >= i)
      high = middle;
    else
      low = middle + 1;
  }
  return low == end ? INT32_MAX : (int32_t)low;
}

/* A chain whose steps are `spacing` numbers apart, give or take, and `away` of them from those around zero. */
static ThresholdRows rows_away(uint64_t *seed, int32_t *t, double spacing, int levels, int numbers, int32_t bound,
                               double away) {
  ThresholdRows rows = {.t = t, .numbers = numbers, .levels = levels, .first = BELOW, .least = -bound, .most = bound};
  rows.flip = -(int32_t)draw(seed, 2);
  Chain c = {.scale = (float)draw_real(seed, 0.001, 2), .result_scale = (float)draw_real(seed, 0.05, 3)};
  double slope = c.result_scale / (spacing * draw_real(seed, 0.8, 1.2)) / c.scale;
  c.a = (float)(rows.flip ? -slope : slope);
  c.b = (float)(c.result_scale * (away + draw_real(seed, -levels, 2.0 * levels)));
  c.step = (float)(c.result_scale * draw_real(seed, 0.1, 2));
  for (int r = 0; r < numbers; r++)
    for (int i = 0; i < levels; i++) t[r * levels + i] = first_reached(&c, &rows, r, i + 1);
  return rows;
}

static ThresholdRows rows_of_chain(uint64_t *seed, int32_t *t, double spacing, int levels, int numbers, int32_t bound) {
  return rows_away(seed, t, spacing, levels, numbers, bound, 0);
}

static void chains(void **state) {
  (void)state;
  static const int levels[] = {1, 2, 3, 7, 15}, numbers[] = {1, 2, 4, 16};
  static const double spacing[] = {0.3, 1, 1.7, 5, 33, 100, 800};
  int32_t t[MOST_THRESHOLDS];
  uint64_t seed = 11;
  for (int l = 0; l < 5; l++)
    for (int n = 0; n < 4; n++)
      for (int s = 0; s < 7; s++)
        for (int trial = 0; trial < 20; trial++) {
          bool small = spacing[s] <= 33;
          ThresholdRows rows = rows_of_chain(&seed, t, spacing[s], levels[l], numbers[n], small ? 900 : 1 << 22);
          Requantizer q = {0};
          if (!requantizer_find(&rows, &q))
            fail_msg("%d levels of %d numbers, %g apart: none", levels[l], numbers[n], spacing[s]);
          (small ? check_range : check_around)(&rows, &q);
        }
}

/* Thresholds so far from zero that their chains' roundings move many a boundary over an integer. Without the gain one
 * of the channels in a few hundred, or in ten, would have no requantizer. */
static void chains_far_from_zero(void **state) {
  (void)state;
  static const struct Far {
    int levels, numbers;
    double spacing, away;
    int least; /* of 2000 that have a gain */
  } cases[] = {{3, 1, 4000, 3000, 100}, {7, 1, 4000, 300, 10}, {15, 1, 3000, 300, 50},
               {3, 4, 800, 500, 10},    {15, 4, 300, 300, 5},  {3, 16, 300, 300, 3}};
  int32_t t[MOST_THRESHOLDS];
  uint64_t seed = 15;
  for (int c = 0; c < (int)(sizeof cases / sizeof *cases); c++) {
    const struct Far *k = &cases[c];
    int with_gain = 0;
    for (int trial = 0; trial < 2000; trial++) {
      ThresholdRows rows =
          rows_away(&seed, t, k->spacing, k->levels, k->numbers, 1 << 24, trial % 2 ? k->away : -k->away);
      Requantizer q = {0};
      if (!requantizer_find(&rows, &q)) fail_msg("case %d, trial %d: none", c, trial);
      check_around(&rows, &q);
      with_gain += !requantizer_is_plain(&q);
    }
    if (with_gain < k->least) fail_msg("case %d: %d have a gain", c, with_gain);
  }
}

/* Sums of 24 bits and more: a requantizer where there is one, and otherwise none. */
static void wide_chains(void **state) {
  (void)state;
  int32_t t[MOST_THRESHOLDS];
  uint64_t seed = 12;
  int found[3] = {0};
  static const double spacing[] = {3000, 65536, 1e8};
  for (int s = 0; s < 3; s++)
    for (int trial = 0; trial < 200; trial++) {
      ThresholdRows rows = rows_of_chain(&seed, t, spacing[s], 15, 1, INT32_MAX - 1);
      Requantizer q = {0};
      if (!requantizer_find(&rows, &q)) continue;
      found[s]++;
      check_around(&rows, &q);
    }
  assert_int_equal(found[0], 200);
  assert_int_equal(found[1], 200); /* some only with a slope beside the rounded one, or a gain */
  assert_true(found[2] < 200);
}

/* --- any rows --- */

static int ascending(const void *a, const void *b) {
  int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
  return (x > y) - (x < y);
}

/* Random rows in a small range: mostly uneven, often equal, some never or always reached. */
static void any_rows(void **state) {
  (void)state;
  int32_t t[MOST_THRESHOLDS];
  uint64_t seed = 13;
  int found = 0, trials = 40000;
  for (int trial = 0; trial < trials; trial++) {
    ThresholdRows rows = {.t = t, .levels = 1 + (int)draw(&seed, 4), .numbers = 1 + (int)draw(&seed, 3)};
    rows.flip = -(int32_t)draw(&seed, 2);
    rows.least = -(int32_t)draw(&seed, 12);
    rows.most = rows.least + (int32_t)draw(&seed, 24);
    for (int i = 0; i < rows.levels * rows.numbers; i++) {
      uint32_t special = draw(&seed, 8);
      t[i] = special == 0 ? INT32_MAX : special == 1 ? INT32_MIN : (int32_t)draw(&seed, 30) - 15;
    }
    for (int r = 0; r < rows.numbers; r++) qsort(t + r * rows.levels, (size_t)rows.levels, sizeof *t, ascending);
    Requantizer q = {0};
    if (!requantizer_find(&rows, &q)) continue;
    found++;
    check_range(&rows, &q);
  }
  assert_in_range(found, trials / 20, trials - 1);
}

/* The rows that a requantizer counts: there is one, so one is found. Its numbers are no nearer to a tie than roundings
 * of the search. */
static void what_there_is(void **state) {
  (void)state;
  int32_t t[MOST_THRESHOLDS];
  uint64_t seed = 14;
  for (int trial = 0; trial < 5000; trial++) {
    int levels = 1 + (int)draw(&seed, 15), numbers = 1 << draw(&seed, 4);
    ThresholdRows rows = {.t = t, .levels = levels, .numbers = numbers, .least = -300, .most = 300};
    Requantizer real = {.slope = (float)draw_real(&seed, 0, 0.02 * (1 + draw(&seed, 5))),
                        .offset = (float)draw_real(&seed, -2, 3),
                        .of_other = numbers > 1 ? (float)draw_real(&seed, -0.5, 0.5) : 0,
                        .gain = 1};
    for (int r = 0; r < numbers; r++) {
      int32_t x = rows.least;
      for (int i = 0; i < levels; i++) {
        while (x <= rows.most && requantize(&real, levels, 0, x, r) <= i) x++;
        t[r * levels + i] = x > rows.most ? INT32_MAX : x;
      }
    }
    Requantizer q = {0};
    if (!requantizer_find(&rows, &q))
      fail_msg("%d levels, %d numbers: slope %a, offset %a, step %a", levels, numbers, (double)real.slope,
               (double)real.offset, (double)real.of_other);
    check_range(&rows, &q);
  }
}

/* --- particular rows --- */

static bool finds(const int32_t *t, int levels, int numbers, int32_t flip, int32_t least, int32_t most) {
  ThresholdRows rows = {.t = t, .numbers = numbers, .levels = levels, .flip = flip, .least = least, .most = most};
  Requantizer q = {0};
  if (!requantizer_find(&rows, &q)) return false;
  (most - (int64_t)least < 10000 ? check_range : check_around)(&rows, &q);
  return true;
}

static void particular_rows(void **state) {
  (void)state;
  for (int32_t flip = -1; flip <= 0; flip++) {
    assert_true(finds((int32_t[]){5, 5, 5}, 3, 1, flip, -50, 50)); /* all at once */
    assert_true(finds((int32_t[]){INT32_MAX, INT32_MAX, INT32_MAX}, 3, 1, flip, -50, 50));
    assert_true(finds((int32_t[]){INT32_MIN, INT32_MIN, INT32_MIN}, 3, 1, flip, -50, 50));
    assert_true(finds((int32_t[]){-7, 3, INT32_MAX}, 3, 1, flip, -8, 7));
    assert_true(finds((int32_t[]){INT32_MIN, 3, 900}, 3, 1, flip, -50, 50)); /* reached by all, one, none */
    assert_true(finds((int32_t[]){-8, -4, 0, 4, 8, 12}, 3, 2, flip, -50, 50));
    assert_true(finds((int32_t[]){-8, -4, 0, INT32_MAX, INT32_MAX, INT32_MAX}, 3, 2, flip, -50, 50));
    assert_false(finds((int32_t[]){-7, 3, INT32_MAX}, 3, 1, flip, -50, 50)); /* uneven */
    assert_false(finds((int32_t[]){0, 1, 40}, 3, 1, flip, -50, 50));
    assert_false(finds((int32_t[]){4, 0, 8}, 3, 1, flip, -50, 50)); /* in no order */
    assert_false(finds((int32_t[]){0, 4, 8, 12, 12, 12}, 3, 2, flip, -50, 50));
    assert_false(finds((int32_t[]){0, 4, INT32_MAX}, 3, 1, flip, INT32_MIN, INT32_MAX)); /* reached by one x */
  }
  assert_false(finds((int32_t[]){0, 4, 8}, 3, 1, 5, -50, 50));
  /* Neighbours that binary32 does not tell apart. */
  assert_false(finds((int32_t[]){(1 << 30) + 1}, 1, 1, 0, 0, INT32_MAX));
  assert_false(finds((int32_t[]){1 << 30}, 1, 1, 0, 0, INT32_MAX));
  assert_true(finds((int32_t[]){(1 << 30) - 32}, 1, 1, 0, 0, INT32_MAX)); /* where roundings part */
  static const int32_t many[MOST_REQUANTIZED + 1];
  assert_false(finds(many, MOST_REQUANTIZED + 1, 1, 0, -50, 50));
}

/* Rows on a line but for a boundary that falls on an integer, which it counts on the other side. */
static void rows_beside_a_line(void **state) {
  (void)state;
  /* Of a channel of 8192 sums of i2 x u4: five steps are 269 here and 267 there. */
  static const int32_t real[] = {-30683, -30629, -30576, -30522, -30468, -30415, -30361, -30307,
                                 -30254, -30200, -30147, -30093, -30040, -29986, -29932};
  for (int32_t flip = -1; flip <= 0; flip++) {
    ThresholdRows rows = {.t = real, .numbers = 1, .levels = 15, .flip = flip, .least = -96315, .most = 96315};
    Requantizer q = {0};
    assert_true(requantizer_find(&rows, &q));
    assert_false(requantizer_is_plain(&q));
    check_range(&rows, &q);
    for (int bent = 0; bent < 15; bent++) {
      int32_t t[15];
      for (int i = 0; i < 15; i++) t[i] = 20 * i - 90 + (i == bent);
      rows = (ThresholdRows){.t = t, .numbers = 1, .levels = 15, .flip = flip, .least = -900, .most = 900};
      assert_true(requantizer_find(&rows, &q));
      assert_int_equal(requantizer_is_plain(&q), bent == 0 || bent == 14);
      check_range(&rows, &q);
      t[bent]++; /* farther than roundings reach */
      if (bent > 0 && bent < 14) assert_false(requantizer_find(&rows, &q));
    }
  }
}

/* A tie goes to the even number of 1.5 * 2^23 + first, wherever that is. */
static void ties(void **state) {
  (void)state;
  Requantizer q = {.slope = 0.25f, .gain = 1};
  assert_int_equal(requantize(&q, 2, 0, 1, 0), 0);   /* 0.5 */
  assert_int_equal(requantize(&q, 2, 0, 3, 0), 2);   /* 1.5 */
  assert_int_equal(requantize(&q, 2, -1, 1, 0), 0);  /* -0.5 */
  assert_int_equal(requantize(&q, 2, -1, 3, 0), 0);  /* 0.5 */
  assert_int_equal(requantize(&q, 2, 0, 100, 0), 2); /* saturates */
  assert_int_equal(requantize(&q, 2, 0, -100, 0), 0);
  q = (Requantizer){.slope = 1, .offset = 0x1p25f, .gain = 0.25f, .lift = -0x1p23f};
  assert_int_equal(requantize(&q, 2, 0, 2, 0), 0); /* v: 2^25 + 2 to 2^25 */
  assert_int_equal(requantize(&q, 2, 0, 3, 0), 2); /* 2^25 + 4 */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(chains),
      cmocka_unit_test(chains_far_from_zero),
      cmocka_unit_test(wide_chains),
      cmocka_unit_test(any_rows),
      cmocka_unit_test(what_there_is),
      cmocka_unit_test(particular_rows),
      cmocka_unit_test(rows_beside_a_line),
      cmocka_unit_test(ties),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
