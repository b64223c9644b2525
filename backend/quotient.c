/* x / scale as a quantization needs it, without a division: clamped to a range of integers, and right where rounding it
 * to an integer looks.
 *
 * With r the rounded reciprocal of the scale and y within one unit in the last place of x / scale, the remainder
 * e = x - scale * y is exact and y + e * r, rounded once, is the rounded quotient (Markstein, "Computation of
 * elementary functions on the IBM RISC System/6000 processor", 1990; Muller and others, "Handbook of Floating-Point
 * Arithmetic", section on division by fused operations). x * r is that close where r errs by no more than 2^-25;
 * otherwise a step before brings it there.
 *
 * x is clamped before, to where the quotient rounds to the integers at the ends of the range: division is monotone, so
 * everything beyond would have been clamped to these, and nothing overflows. Quotients so small that the remainder is
 * not exact round to the integer 0 either way.
 */
#include "emit.h"

#include <math.h>

static PtxValue improved(Ptx *p, PtxValue y, PtxValue x, float scale, float reciprocal) {
  PtxValue rest = ptx_3(p, "fma.rn.f32", y, ptx_float(-scale), x);
  return ptx_3(p, "fma.rn.f32", rest, ptx_float(reciprocal), y);
}

bool quotient_by_products(Ptx *p, PtxValue x, float scale, float low, float high, PtxValue *out) {
  float least = low * scale, most = high * scale, reciprocal = 1 / scale;
  bool moderate = scale > 0x1p-60f && scale < 0x1p60f;
  if (!moderate || rintf(least / scale) != low || rintf(most / scale) != high) return false;
  x = ptx_2(p, "min.f32", ptx_2(p, "max.f32", x, ptx_float(least)), ptx_float(most));
  PtxValue y = ptx_2(p, "mul.rn.f32", x, ptx_float(reciprocal));
  bool close = fabs((double)reciprocal * (double)scale - 1) <= 0x1p-25; /* 48 bits: exact */
  if (!close) y = improved(p, y, x, scale, reciprocal);
  *out = improved(p, y, x, scale, reciprocal);
  return true;
}
