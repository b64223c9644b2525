/* Real arithmetic. Guarantees: every operation is rounded once, to nearest even; a NaN result is 0x7fffffff in
 * binary32; in binary64 it is the operand's NaN made quiet, or 0xfff8000000000000 where no operand is one (as an sm_90
 * GPU does); subnormals are kept unless the instruction says .ftz. */
#include "exec.h"

#include <math.h>

#define NAN32 0x7fffffffu
#define NAN64 0xfff8000000000000u
#define QUIET64 0x0008000000000000u

static inline uint32_t canonical32(float r) {
  return r != r ? NAN32 : float_bits(r);
}

/* A NaN result: that of the second operand, of the third, of the first, or a new one. */
static inline uint64_t result64(double r, double x, double y, double z) {
  if (r == r) return double_bits(r);
  if (y != y) return double_bits(y) | QUIET64;
  if (z != z) return double_bits(z) | QUIET64;
  return x != x ? double_bits(x) | QUIET64 : NAN64;
}

/* Subnormals to zero of the same sign. */
static inline float flush(float x) {
  uint32_t bits = float_bits(x);
  return as_float((bits & 0x7f800000) ? bits : bits & 0x80000000);
}

/* .sat: to [0, 1]; a NaN gives +0. */
static inline float saturate(float x) {
  return x > 0 ? (x < 1 ? x : 1) : 0;
}

/* What .ftz and .sat do to a result. */
static inline uint32_t finish32(const Inst *in, float r) {
  if (in->mod[MOD_FTZ] != MOD_NONE) r = flush(r);
  if (in->mod[MOD_SAT] != MOD_NONE) r = saturate(r);
  return canonical32(r);
}

static inline float enter32(const Inst *in, uint32_t bits) {
  float x = as_float(bits);
  return in->mod[MOD_FTZ] != MOD_NONE ? flush(x) : x;
}

/* ---- binary32: a plain handler, and one for .ftz and .sat ---- */

#define FLOAT_OP(name, arity, expression)                                                                              \
  EXEC(name) {                                                                                                         \
    const uint32_t *a = lanes32(w, in, 1), *b = lanes32(w, in, arity > 1 ? 2 : 1),                                     \
                   *c = lanes32(w, in, arity > 2 ? 3 : 1);                                                             \
    uint32_t t[LANES];                                                                                                 \
    EACH_LANE {                                                                                                        \
      float x = as_float(a[lane]), y = as_float(b[lane]), z = as_float(c[lane]);                                       \
      (void)y, (void)z;                                                                                                \
      t[lane] = canonical32(expression);                                                                               \
    }                                                                                                                  \
    keep32(w, in, 0, t, mask);                                                                                         \
  }                                                                                                                    \
  EXEC(name##_mod) {                                                                                                   \
    const uint32_t *a = lanes32(w, in, 1), *b = lanes32(w, in, arity > 1 ? 2 : 1),                                     \
                   *c = lanes32(w, in, arity > 2 ? 3 : 1);                                                             \
    uint32_t t[LANES];                                                                                                 \
    EACH_LANE {                                                                                                        \
      float x = enter32(in, a[lane]), y = enter32(in, b[lane]), z = enter32(in, c[lane]);                              \
      (void)y, (void)z;                                                                                                \
      t[lane] = finish32(in, expression);                                                                              \
    }                                                                                                                  \
    keep32(w, in, 0, t, mask);                                                                                         \
  }

FLOAT_OP(add_f32, 2, x + y)
FLOAT_OP(sub_f32, 2, x - y)
FLOAT_OP(mul_f32, 2, x *y)
FLOAT_OP(div_f32, 2, x / y)
FLOAT_OP(fma_f32, 3, fmaf(x, y, z))
FLOAT_OP(sqrt_f32, 1, sqrtf(x))
FLOAT_OP(rcp_f32, 1, 1.0f / x)

/* Of equal operands (the two zeros) the one with, or without, the sign. */
static inline float least32(float x, float y) {
  float r = x < y ? x : y;
  r = x == y ? as_float(float_bits(x) | float_bits(y)) : r;
  r = x != x ? y : r;
  return y != y ? x : r;
}

static inline float greatest32(float x, float y) {
  float r = x > y ? x : y;
  r = x == y ? as_float(float_bits(x) & float_bits(y)) : r;
  r = x != x ? y : r;
  return y != y ? x : r;
}

static inline float either_nan32(float x, float y, float r) {
  return x != x || y != y ? as_float(NAN32) : r;
}

FLOAT_OP(min_f32, 2, least32(x, y))
FLOAT_OP(max_f32, 2, greatest32(x, y))
FLOAT_OP(min_nan_f32, 2, either_nan32(x, y, least32(x, y)))
FLOAT_OP(max_nan_f32, 2, either_nan32(x, y, greatest32(x, y)))

/* Sign operations act on the bits. */
#define SIGN_OP(name, expression)                                                                                      \
  EXEC(name) {                                                                                                         \
    const uint32_t *a = lanes32(w, in, 1);                                                                             \
    uint32_t t[LANES];                                                                                                 \
    EACH_LANE {                                                                                                        \
      uint32_t x = float_bits(enter32(in, a[lane]));                                                                   \
      t[lane] = (expression);                                                                                          \
    }                                                                                                                  \
    keep32(w, in, 0, t, mask);                                                                                         \
  }
SIGN_OP(neg_f32, x ^ 0x80000000)
SIGN_OP(abs_f32, x & 0x7fffffff)

EXEC(copysign_f32) {
  const uint32_t *a = lanes32(w, in, 1), *b = lanes32(w, in, 2);
  uint32_t t[LANES];
  EACH_LANE t[lane] = (a[lane] & 0x80000000) | (b[lane] & 0x7fffffff);
  keep32(w, in, 0, t, mask);
}

/* ---- binary64 ---- */

#define DOUBLE_OP(name, arity, expression)                                                                             \
  EXEC(name) {                                                                                                         \
    const uint64_t *a = lanes64(w, in, 1), *b = lanes64(w, in, arity > 1 ? 2 : 1),                                     \
                   *c = lanes64(w, in, arity > 2 ? 3 : 1);                                                             \
    uint64_t t[LANES];                                                                                                 \
    EACH_LANE {                                                                                                        \
      double x = as_double(a[lane]), y = as_double(b[lane]), z = as_double(c[lane]);                                   \
      t[lane] = result64(expression, x, y, z);                                                                         \
    }                                                                                                                  \
    keep64(w, in, 0, t, mask);                                                                                         \
  }

static inline double least64(double x, double y) {
  double r = x == y ? as_double(double_bits(x) | double_bits(y)) : x < y ? x : y;
  return x != x ? y : y != y ? x : r;
}

static inline double greatest64(double x, double y) {
  double r = x == y ? as_double(double_bits(x) & double_bits(y)) : x > y ? x : y;
  return x != x ? y : y != y ? x : r;
}

DOUBLE_OP(add_f64, 2, x + y)
DOUBLE_OP(sub_f64, 2, x - y)
DOUBLE_OP(mul_f64, 2, x *y)
DOUBLE_OP(div_f64, 2, x / y)
DOUBLE_OP(fma_f64, 3, fma(x, y, z))
DOUBLE_OP(sqrt_f64, 1, sqrt(x))
DOUBLE_OP(rcp_f64, 1, 1.0 / x)
DOUBLE_OP(min_f64, 2, least64(x, y))
DOUBLE_OP(max_f64, 2, greatest64(x, y))

EXEC(neg_f64) {
  const uint64_t *a = lanes64(w, in, 1);
  uint64_t t[LANES];
  EACH_LANE {
    double x = as_double(a[lane]);
    t[lane] = x != x ? a[lane] | QUIET64 : a[lane] ^ (uint64_t)1 << 63;
  }
  keep64(w, in, 0, t, mask);
}

EXEC(abs_f64) {
  const uint64_t *a = lanes64(w, in, 1);
  uint64_t t[LANES];
  EACH_LANE t[lane] = a[lane] & ~((uint64_t)1 << 63);
  keep64(w, in, 0, t, mask);
}
