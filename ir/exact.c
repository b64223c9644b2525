/* The real arithmetic of the contract, operation by operation (exact.h). Relies on IEEE binary32 and binary64 with
 * FLT_EVAL_METHOD 0 in the default rounding mode, and on -ffp-contract=off.
 */
#include "exact.h"
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#if FLT_EVAL_METHOD != 0
#error "binary32 operations must be rounded to binary32"
#endif

static float from_bits(uint32_t bits) {
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

float exact_nan(void) {
  return from_bits(EXACT_NAN_BITS);
}

/* Every NaN result is the same NaN. */
static float result(float x) {
  return x != x ? exact_nan() : x;
}

float exact_add(float a, float b) {
  return result(a + b);
}
float exact_sub(float a, float b) {
  return result(a - b);
}
float exact_mul(float a, float b) {
  return result(a * b);
}
float exact_div(float a, float b) {
  return result(a / b);
}

float exact_max(float a, float b) {
  if (a != a) return result(b);
  if (b != b) return a;
  if (a == b) return signbit(a) ? b : a;
  return a > b ? a : b;
}

float exact_min(float a, float b) {
  if (a != a) return result(b);
  if (b != b) return a;
  if (a == b) return signbit(a) ? a : b;
  return a < b ? a : b;
}

float exact_from_i32(int32_t a) {
  return (float)a;
}
float exact_round_even(float a) {
  return result(rintf(a));
}
float exact_floor(float a) {
  return result(floorf(a));
}

/* e^x for x <= 0, as one sequence of rounded binary32 operations that kernels repeat:
 *
 *   t = min(max(x, -87), 0)                      (a NaN becomes -87)
 *   n = round_even(t * 0x1.715476p+0)            t / ln 2; -126 <= n <= 0
 *   r = (t - n * 0x1.63p-1) - n * -0x1.bd0106p-13    ln 2 in two parts; the first product is exact
 *   p = 1/5040;  p = p * r + 1/720;  ... + 1/120, 1/24, 1/6, 1/2, 1, 1     (each coefficient rounded to binary32;
 *                                                                        multiply and add rounded apart)
 *   y = p * 2^n                                  2^n is the float with bits (n + 127) << 23
 *   e = x < -87 ? +0 : x is NaN ? NaN : y
 *
 * The result differs from e^x by less than 2^-21 of it, for -87 <= x <= 0.
 */
float exact_exp(float x) {
  static const float coefficient[] = {0x1.a01a02p-13f, 0x1.6c16c2p-10f, 0x1.111112p-7f, 0x1.555556p-5f,
                                      0x1.555556p-3f,  0x1p-1f,         0x1p+0f,        0x1p+0f};
  float t = exact_min(exact_max(x, -87.0f), 0.0f);
  float n = exact_round_even(exact_mul(t, 0x1.715476p+0f));
  float r = exact_sub(exact_sub(t, exact_mul(n, 0x1.63p-1f)), exact_mul(n, -0x1.bd0106p-13f));
  float p = coefficient[0];
  for (int i = 1; i < 8; i++) p = exact_add(exact_mul(p, r), coefficient[i]);
  float y = exact_mul(p, from_bits((uint32_t)((int32_t)n + 127) << 23));
  if (x < -87.0f) return 0.0f;
  return x != x ? exact_nan() : y;
}

void exact_batchnorm(float gamma, float beta, float mean, float variance, float eps, float *a, float *b) {
  double slope = (double)gamma / sqrt((double)variance + (double)eps);
  double product = (double)mean * slope;
  *a = result((float)slope);
  *b = result((float)((double)beta - product));
}

float exact_dequantize(int32_t level, float step) {
  return exact_mul(exact_from_i32(level), step);
}

int32_t exact_quantize(float x, float scale, int32_t zero2, int32_t q_min, int32_t q_max) {
  bool half = zero2 & 1;
  int32_t zero = half ? (zero2 + 1) / 2 : zero2 / 2;
  float v = exact_div(x, scale);
  v = exact_min(exact_max(v, (float)(q_min - zero)), (float)(q_max - zero));
  return (int32_t)(half ? exact_floor(v) : exact_round_even(v)) + zero;
}
