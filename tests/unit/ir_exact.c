/* The real arithmetic of the contract. The reference computes in binary64 and rounds once: 53 bits are enough for that
 * to be the correctly rounded binary32 result of + - * / on binary32 operands. */
#include "ir/exact.h"
#include "ir_sample.h"
#include <math.h>

static float once(double x) {
  return x != x ? float_of_bits(EXACT_NAN_BITS) : (float)x;
}

static void test_rounded_once(void **state) {
  (void)state;
  Random r = {1};
  for (int i = 0; i < 2000000; i++) {
    float a = random_float(&r), b = random_float(&r);
    assert_same_float(exact_add(a, b), once((double)a + (double)b));
    assert_same_float(exact_sub(a, b), once((double)a - (double)b));
    assert_same_float(exact_mul(a, b), once((double)a * (double)b));
    assert_same_float(exact_div(a, b), once((double)a / (double)b));
  }
}

static void test_nan_is_one_pattern(void **state) {
  (void)state;
  const float nan = float_of_bits(0xffc01234), inf = INFINITY;
  assert_same_float(exact_nan(), float_of_bits(0x7fffffff));
  assert_same_float(exact_add(nan, 1), exact_nan());
  assert_same_float(exact_sub(inf, inf), exact_nan());
  assert_same_float(exact_mul(0, inf), exact_nan());
  assert_same_float(exact_div(0, -0.0f), exact_nan());
  assert_same_float(exact_max(nan, nan), exact_nan());
  assert_same_float(exact_min(nan, nan), exact_nan());
  assert_same_float(exact_floor(nan), exact_nan());
  assert_same_float(exact_round_even(nan), exact_nan());
  assert_same_float(exact_exp(nan), exact_nan());
}

static void test_max_and_min(void **state) {
  (void)state;
  const float nan = float_of_bits(0x7fc00000);
  assert_same_float(exact_max(nan, -3), -3);
  assert_same_float(exact_max(-3, nan), -3);
  assert_same_float(exact_min(nan, -3), -3);
  assert_same_float(exact_min(-3, nan), -3);
  assert_same_float(exact_max(-0.0f, 0.0f), 0.0f);
  assert_same_float(exact_max(0.0f, -0.0f), 0.0f);
  assert_same_float(exact_min(-0.0f, 0.0f), -0.0f);
  assert_same_float(exact_min(0.0f, -0.0f), -0.0f);
  assert_same_float(exact_max(-INFINITY, 2), 2);
  assert_same_float(exact_min(-INFINITY, 2), -INFINITY);
}

static void test_rounding_of_integers(void **state) {
  (void)state;
  assert_same_float(exact_from_i32(16777217), 16777216.0f); /* a tie, to even */
  assert_same_float(exact_from_i32(16777219), 16777220.0f); /* a tie, up to even */
  assert_same_float(exact_from_i32(INT32_MAX), 2147483648.0f);
  assert_same_float(exact_from_i32(INT32_MIN), -2147483648.0f);
  assert_same_float(exact_round_even(2.5f), 2);
  assert_same_float(exact_round_even(3.5f), 4);
  assert_same_float(exact_round_even(-0.5f), -0.0f);
  assert_same_float(exact_round_even(0x1.fffffep-2f), 0);
  assert_same_float(exact_floor(-0.25f), -1);
  assert_same_float(exact_dequantize(-3, 0.1f), once(-3 * (double)0.1f));
}

/* round(v) to even, and floor, by comparing with the neighbours. |v| < 2^31. */
static int64_t floor_of(double v) {
  int64_t n = (int64_t)v;
  return (double)n > v ? n - 1 : n;
}

static int64_t round_even_of(double v) {
  int64_t n = floor_of(v);
  double rest = v - (double)n;
  if (rest > 0.5 || (rest == 0.5 && n % 2 != 0)) n++;
  return n;
}

static int32_t quantize_reference(float x, float scale, int32_t zero2, int32_t least, int32_t most) {
  float v = (float)((double)x / (double)scale);
  if (v != v) return least;
  if (v > 1e6f) return most;
  if (v < -1e6f) return least;
  int64_t q = zero2 % 2 ? floor_of(v) + (zero2 + 1) / 2 : round_even_of(v) + zero2 / 2;
  return (int32_t)(q < least ? least : q > most ? most : q);
}

static void test_quantize_everywhere(void **state) {
  (void)state;
  Random r = {7};
  static const float scales[] = {1, 0.5f, 0.1f, 3, 1e-30f, 1e30f, 0x1p-125f};
  for (int i = 0; i < 2000000; i++) {
    int bits = random_in(&r, 1, 8);
    bool is_signed = bits > 1 && random_bits(&r) & 1;
    int32_t least = is_signed ? -(1 << (bits - 1)) : 0, most = is_signed ? (1 << (bits - 1)) - 1 : (1 << bits) - 1;
    int32_t zero2 = random_in(&r, -512, 512);
    float x = random_float(&r), scale = scales[random_bits(&r) % COUNT(scales)];
    assert_int_equal(exact_quantize(x, scale, zero2, least, most), quantize_reference(x, scale, zero2, least, most));
  }
}

static void test_quantize_by_hand(void **state) {
  (void)state;
  const float nan = float_of_bits(0x7fc00000);
  /* whole zero point: ties to even of x / scale */
  assert_int_equal(exact_quantize(0.5f, 1, 0, 0, 3), 0);
  assert_int_equal(exact_quantize(1.5f, 1, 0, 0, 3), 2);
  assert_int_equal(exact_quantize(2.5f, 1, 2, 0, 7), 3);
  assert_int_equal(exact_quantize(-0.0f, 1, 0, -2, 1), 0);
  assert_int_equal(exact_quantize(1e30f, 1, 0, -2, 1), 1);
  assert_int_equal(exact_quantize(-INFINITY, 1, 0, -2, 1), -2);
  assert_int_equal(exact_quantize(nan, 1, 0, -2, 1), -2);
  /* bipolar: the sign, and zero is positive */
  assert_int_equal(exact_quantize(0.0f, 2, 1, 0, 1), 1);
  assert_int_equal(exact_quantize(-0.0f, 2, 1, 0, 1), 1);
  assert_int_equal(exact_quantize(-0x1p-149f, 1, 1, 0, 1), 0);
  assert_int_equal(exact_quantize(nan, 2, 1, 0, 1), 0);
  assert_int_equal(exact_quantize(INFINITY, 2, 1, 0, 1), 1);
}

/* The documented sequence, each operation in binary64 and rounded once. */
static float exp_reference(float x) {
  static const double factor[] = {1 / 5040.0, 1 / 720.0, 1 / 120.0, 1 / 24.0, 1 / 6.0, 0.5, 1, 1};
  if (x < -87.0f) return 0;
  float n = (float)round_even_of((float)((double)x * (double)0x1.715476p+0f));
  float high = (float)((double)n * (355.0 / 512)), low = (float)((double)n * (double)(float)(-0x1.bd01060000000p-13));
  float r = (float)((double)(float)((double)x - high) - low);
  float p = (float)factor[0];
  for (int i = 1; i < 8; i++) p = (float)((double)(float)((double)p * r) + (double)(float)factor[i]);
  return (float)((double)p * ldexp(1, (int)n));
}

static void test_exp(void **state) {
  (void)state;
  Random r = {3};
  assert_same_float(exact_exp(0), 1);
  assert_same_float(exact_exp(-0.0f), 1);
  assert_same_float(exact_exp(-INFINITY), 0);
  assert_same_float(exact_exp(float_of_bits(bits_of_float(-87) + 1)), 0);
  assert_true(exact_exp(-87) > 0);
  for (int i = 0; i < 300000; i++) {
    float x = -(float)(random_bits(&r) % 88000000) * 1e-6f;
    assert_same_float(exact_exp(x), exp_reference(x));
    double e = exp(x);
    assert_true(x < -87.0f || fabs(exact_exp(x) - e) <= e * 0x1p-21); /* the bound that exact.c states */
  }
}

static void test_batchnorm(void **state) {
  (void)state;
  float a, b;
  exact_batchnorm(3, 1, 2, 0.25f, 0, &a, &b);
  assert_same_float(a, 6);
  assert_same_float(b, -11);
  /* b uses the unrounded a: what beta leaves of mean * a shows it */
  double slope = 1 / sqrt(3.0 + (double)1e-5f);
  float beta = (float)((double)3e7f * slope);
  exact_batchnorm(1, beta, 3e7f, 3, 1e-5f, &a, &b);
  assert_same_float(a, (float)slope);
  assert_same_float(b, (float)((double)beta - (double)3e7f * slope));
  assert_true(b != (float)((double)beta - (double)3e7f * (double)a));
  exact_batchnorm(1, 0, 0, -1, 0, &a, &b);
  assert_same_float(a, exact_nan());
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_rounded_once),
      cmocka_unit_test(test_nan_is_one_pattern),
      cmocka_unit_test(test_max_and_min),
      cmocka_unit_test(test_rounding_of_integers),
      cmocka_unit_test(test_quantize_everywhere),
      cmocka_unit_test(test_quantize_by_hand),
      cmocka_unit_test(test_exp),
      cmocka_unit_test(test_batchnorm),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
