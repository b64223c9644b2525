/* Real-valued arithmetic of the contract: IEEE binary32, one rounding an operation, round to nearest even, no
 * contraction; every NaN result is 0x7fffffff. The evaluator computes with these functions, the thresholds pass bisects
 * them and kernels emit the same operations in the same order.
 */
#ifndef IR_EXACT_H
#define IR_EXACT_H

#include <stdint.h>

#define EXACT_NAN_BITS UINT32_C(0x7fffffff)
float exact_nan(void);

float exact_add(float a, float b);
float exact_sub(float a, float b);
float exact_mul(float a, float b);
float exact_div(float a, float b);
float exact_max(float a, float b); /* as PTX max.f32: a NaN operand gives the other one; -0 < +0 */
float exact_min(float a, float b);
float exact_from_i32(int32_t a); /* nearest even */
float exact_round_even(float a); /* to an integral value (cvt.rni) */
float exact_floor(float a);
float exact_exp(float x); /* for x <= 0: the sequence of operations documented in exact.c; 0 below -87 */

/* batchnorm(x) = x * a + b, two roundings: a = gamma / sqrt(variance + eps) and b = beta - mean * a in binary64 (with
 * the unrounded a), both then rounded to binary32. */
void exact_batchnorm(float gamma, float beta, float mean, float variance, float eps, float *a, float *b);

/* Dequantize: exact_mul(exact_from_i32(level), step). */
float exact_dequantize(int32_t level, float step);

/* Quantize x to q of a type with q range [q_min, q_max], scale and twice the zero point zero2:
 *   v = x / scale
 *   whole zero point:  q = clamp(round_half_even(v) + zero2 / 2)
 *   half zero point:   q = clamp(floor(v) + (zero2 + 1) / 2)       (ties go up: sign(0) = +1)
 * The clamp is on floats before the conversion to an integer: v' = min(max(v, lo), hi) with
 * lo = q_min - zero, hi = q_max - zero as floats (half zero point: zero = (zero2 + 1) / 2), so a NaN gives q_min. */
int32_t exact_quantize(float x, float scale, int32_t zero2, int32_t q_min, int32_t q_max);

#endif
