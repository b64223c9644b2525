/* Integer arithmetic. Guarantees: wraps as two's complement; a division by zero gives all ones and a remainder by zero
 * the dividend (PTX leaves both open), so no lane can stop the machine. */
#include "exec.h"

/* ---- two and three operands, by width of the result ---- */

/* Registers of BITS bits, 32 or 64; the result is taken modulo RESULT. */
#define BINARY(name, BITS, T, RESULT, expression)                                                                      \
  EXEC(name) {                                                                                                         \
    const uint##BITS##_t *a = lanes##BITS(w, in, 1), *b = lanes##BITS(w, in, 2);                                       \
    uint##BITS##_t t[LANES];                                                                                           \
    EACH_LANE {                                                                                                        \
      T x = (T)a[lane], y = (T)b[lane];                                                                                \
      t[lane] = (RESULT)(expression);                                                                                  \
    }                                                                                                                  \
    keep##BITS(w, in, 0, t, mask);                                                                                     \
  }
#define BINARY16(name, T, expression) BINARY(name, 32, T, uint16_t, expression)
#define BINARY32(name, T, expression) BINARY(name, 32, T, uint32_t, expression)
#define BINARY64(name, T, expression) BINARY(name, 64, T, uint64_t, expression)

#define TERNARY(name, BITS, T, RESULT, expression)                                                                     \
  EXEC(name) {                                                                                                         \
    const uint##BITS##_t *a = lanes##BITS(w, in, 1), *b = lanes##BITS(w, in, 2), *c = lanes##BITS(w, in, 3);           \
    uint##BITS##_t t[LANES];                                                                                           \
    EACH_LANE {                                                                                                        \
      T x = (T)a[lane], y = (T)b[lane];                                                                                \
      uint##BITS##_t z = c[lane];                                                                                      \
      t[lane] = (RESULT)(expression);                                                                                  \
    }                                                                                                                  \
    keep##BITS(w, in, 0, t, mask);                                                                                     \
  }
#define TERNARY16(name, T, expression) TERNARY(name, 32, T, uint16_t, expression)
#define TERNARY32(name, T, expression) TERNARY(name, 32, T, uint32_t, expression)
#define TERNARY64(name, T, expression) TERNARY(name, 64, T, uint64_t, expression)

/* 32-bit factors, 64-bit result. */
#define WIDE64(name, T, W)                                                                                             \
  EXEC(name) {                                                                                                         \
    const uint32_t *a = lanes32(w, in, 1), *b = lanes32(w, in, 2);                                                     \
    uint64_t t[LANES];                                                                                                 \
    EACH_LANE t[lane] = (uint64_t)((W)(T)a[lane] * (W)(T)b[lane]);                                                     \
    keep64(w, in, 0, t, mask);                                                                                         \
  }

#define WIDE_MAD64(name, T, W)                                                                                         \
  EXEC(name) {                                                                                                         \
    const uint32_t *a = lanes32(w, in, 1), *b = lanes32(w, in, 2);                                                     \
    const uint64_t *c = lanes64(w, in, 3);                                                                             \
    uint64_t t[LANES];                                                                                                 \
    EACH_LANE t[lane] = (uint64_t)((W)(T)a[lane] * (W)(T)b[lane]) + c[lane];                                           \
    keep64(w, in, 0, t, mask);                                                                                         \
  }

BINARY16(add_16, uint16_t, x + y)
BINARY32(add_32, uint32_t, x + y)
BINARY64(add_64, uint64_t, x + y)
BINARY16(sub_16, uint16_t, x - y)
BINARY32(sub_32, uint32_t, x - y)
BINARY64(sub_64, uint64_t, x - y)
BINARY16(mul_lo_16, uint16_t, (uint32_t)x *y)
BINARY32(mul_lo_32, uint32_t, x *y)
BINARY64(mul_lo_64, uint64_t, x *y)
BINARY16(mul_hi_u16, uint16_t, (uint32_t)x *y >> 16)
BINARY16(mul_hi_s16, int16_t, ((int32_t)x * y) >> 16)
BINARY32(mul_hi_u32, uint32_t, (uint64_t)x *y >> 32)
BINARY32(mul_hi_s32, int32_t, ((int64_t)x * y) >> 32)
BINARY64(mul_hi_u64, uint64_t, (Wide)x *y >> 64)
BINARY64(mul_hi_s64, int64_t, ((SignedWide)x * y) >> 64)
BINARY32(mul_wide_u16, uint16_t, (uint32_t)x *y)
BINARY32(mul_wide_s16, int16_t, (int32_t)x *y)
WIDE64(mul_wide_u32, uint32_t, uint64_t)
WIDE64(mul_wide_s32, int32_t, int64_t)

TERNARY16(mad_lo_16, uint16_t, (uint32_t)x *y + z)
TERNARY32(mad_lo_32, uint32_t, x *y + z)
TERNARY64(mad_lo_64, uint64_t, x *y + z)
TERNARY32(mad_hi_u32, uint32_t, (uint32_t)((uint64_t)x *y >> 32) + z)
TERNARY32(mad_hi_s32, int32_t, (uint32_t)(((int64_t)x * y) >> 32) + z)
TERNARY64(mad_hi_u64, uint64_t, (uint64_t)((Wide)x *y >> 64) + z)
TERNARY64(mad_hi_s64, int64_t, (uint64_t)(((SignedWide)x * y) >> 64) + z)
TERNARY32(mad_wide_u16, uint16_t, (uint32_t)x *y + z)
TERNARY32(mad_wide_s16, int16_t, (uint32_t)((int32_t)x *y) + z)
WIDE_MAD64(mad_wide_u32, uint32_t, uint64_t)
WIDE_MAD64(mad_wide_s32, int32_t, int64_t)

BINARY16(min_u16, uint16_t, x < y ? x : y)
BINARY16(min_s16, int16_t, x < y ? x : y)
BINARY32(min_u32, uint32_t, x < y ? x : y)
BINARY32(min_s32, int32_t, x < y ? x : y)
BINARY64(min_u64, uint64_t, x < y ? x : y)
BINARY64(min_s64, int64_t, x < y ? x : y)
BINARY16(max_u16, uint16_t, x > y ? x : y)
BINARY16(max_s16, int16_t, x > y ? x : y)
BINARY32(max_u32, uint32_t, x > y ? x : y)
BINARY32(max_s32, int32_t, x > y ? x : y)
BINARY64(max_u64, uint64_t, x > y ? x : y)
BINARY64(max_s64, int64_t, x > y ? x : y)

/* Two halves of a register, compared apart. */
#define GREATER_OF_HALVES(T, x, y)                                                                                     \
  ((uint16_t)((T)(x) > (T)(y) ? (x) : (y)) | ((T)((x) >> 16) > (T)((y) >> 16) ? (x) >> 16 : (y) >> 16) << 16)
BINARY32(max_u16x2, uint32_t, GREATER_OF_HALVES(uint16_t, x, y))
BINARY32(max_s16x2, uint32_t, GREATER_OF_HALVES(int16_t, x, y))

/* The least number by -1 wraps to itself. */
#define DIVIDE_SIGNED(x, y, U) ((y) == 0 ? -1 : (y) == -1 ? (int64_t)(0 - (U)(x)) : (x) / (y))
#define REMAINDER_SIGNED(x, y) ((y) == 0 ? (x) : (y) == -1 ? 0 : (x) % (y))

BINARY16(div_u16, uint16_t, y ? x / y : 0xffff)
BINARY16(div_s16, int16_t, DIVIDE_SIGNED(x, y, uint16_t))
BINARY32(div_u32, uint32_t, y ? x / y : UINT32_MAX)
BINARY32(div_s32, int32_t, DIVIDE_SIGNED(x, y, uint32_t))
BINARY64(div_u64, uint64_t, y ? x / y : UINT64_MAX)
BINARY64(div_s64, int64_t, DIVIDE_SIGNED(x, y, uint64_t))
BINARY16(rem_u16, uint16_t, y ? x % y : x)
BINARY16(rem_s16, int16_t, REMAINDER_SIGNED(x, y))
BINARY32(rem_u32, uint32_t, y ? x % y : x)
BINARY32(rem_s32, int32_t, REMAINDER_SIGNED(x, y))
BINARY64(rem_u64, uint64_t, y ? x % y : x)
BINARY64(rem_s64, int64_t, REMAINDER_SIGNED(x, y))

static inline int32_t clamp_s32(int64_t v) {
  return (int32_t)(v < INT32_MIN ? INT32_MIN : v > INT32_MAX ? INT32_MAX : v);
}

BINARY32(add_sat_s32, int32_t, clamp_s32((int64_t)x + y))
BINARY32(sub_sat_s32, int32_t, clamp_s32((int64_t)x - y))
BINARY32(mul24_lo_u32, uint32_t, (x & 0xffffff) * (y & 0xffffff))

/* ---- one operand ---- */

#define UNARY(name, BITS, T, expression)                                                                               \
  EXEC(name) {                                                                                                         \
    const uint##BITS##_t *a = lanes##BITS(w, in, 1);                                                                   \
    uint##BITS##_t t[LANES];                                                                                           \
    EACH_LANE {                                                                                                        \
      T x = (T)a[lane];                                                                                                \
      t[lane] = (uint##BITS##_t)(expression);                                                                          \
    }                                                                                                                  \
    keep##BITS(w, in, 0, t, mask);                                                                                     \
  }
#define UNARY32(name, T, expression) UNARY(name, 32, T, expression)
#define UNARY64(name, T, expression) UNARY(name, 64, T, expression)

UNARY32(abs_s16, int16_t, (uint16_t)(x < 0 ? -x : x))
UNARY32(abs_s32, int32_t, x < 0 ? 0 - (uint32_t)x : (uint32_t)x)
UNARY64(abs_s64, int64_t, x < 0 ? 0 - (uint64_t)x : (uint64_t)x)
UNARY32(neg_s16, uint16_t, (uint16_t)(0u - x))
UNARY32(neg_s32, uint32_t, 0 - x)
UNARY64(neg_s64, uint64_t, 0 - x)

/* ---- carries (CC.CF: one bit a lane) ---- */

static inline void keep_carry(Warp *w, uint32_t carry, uint32_t mask) {
  w->carry = (w->carry & ~mask) | (carry & mask);
}

/* d = a + b + (use_carry ? CF : 0); subtraction adds the complement, its CF being the borrow. */
static inline void add_carry(Warp *w, const Inst *in, uint32_t mask, bool subtract, bool use_carry, bool set_carry) {
  const uint32_t *a = lanes32(w, in, 1), *b = lanes32(w, in, 2);
  uint32_t t[LANES], out = 0;
  EACH_LANE {
    uint64_t carry = use_carry ? w->carry >> lane & 1 : 0;
    uint64_t sum = subtract ? (uint64_t)a[lane] - b[lane] - carry : (uint64_t)a[lane] + b[lane] + carry;
    t[lane] = (uint32_t)sum;
    out |= (uint32_t)(sum >> 32 & 1) << lane;
  }
  if (set_carry) keep_carry(w, out, mask);
  keep32(w, in, 0, t, mask);
}

EXEC(add_cc_32) {
  add_carry(w, in, mask, false, false, true);
}
EXEC(addc_32) {
  add_carry(w, in, mask, false, true, false);
}
EXEC(addc_cc_32) {
  add_carry(w, in, mask, false, true, true);
}
EXEC(sub_cc_32) {
  add_carry(w, in, mask, true, false, true);
}
EXEC(subc_32) {
  add_carry(w, in, mask, true, true, false);
}
EXEC(subc_cc_32) {
  add_carry(w, in, mask, true, true, true);
}

static inline void add_carry64(Warp *w, const Inst *in, uint32_t mask, bool subtract, bool use_carry, bool set_carry) {
  const uint64_t *a = lanes64(w, in, 1), *b = lanes64(w, in, 2);
  uint64_t t[LANES];
  uint32_t out = 0;
  EACH_LANE {
    Wide carry = use_carry ? w->carry >> lane & 1 : 0;
    Wide sum = subtract ? (Wide)a[lane] - b[lane] - carry : (Wide)a[lane] + b[lane] + carry;
    t[lane] = (uint64_t)sum;
    out |= (uint32_t)(sum >> 64 & 1) << lane;
  }
  if (set_carry) keep_carry(w, out, mask);
  keep64(w, in, 0, t, mask);
}

EXEC(add_cc_64) {
  add_carry64(w, in, mask, false, false, true);
}
EXEC(addc_64) {
  add_carry64(w, in, mask, false, true, false);
}
EXEC(addc_cc_64) {
  add_carry64(w, in, mask, false, true, true);
}
EXEC(sub_cc_64) {
  add_carry64(w, in, mask, true, false, true);
}
EXEC(subc_64) {
  add_carry64(w, in, mask, true, true, false);
}
EXEC(subc_cc_64) {
  add_carry64(w, in, mask, true, true, true);
}

/* mad.{lo,hi}.cc and madc.{lo,hi}{.cc} */
static inline void mad_carry(Warp *w, const Inst *in, uint32_t mask, bool high, bool use_carry, bool set_carry) {
  const uint32_t *a = lanes32(w, in, 1), *b = lanes32(w, in, 2), *c = lanes32(w, in, 3);
  bool is_signed = ptx_types[in->mod[MOD_TYPE]].kind == 's';
  uint32_t t[LANES], out = 0;
  EACH_LANE {
    uint64_t product =
        is_signed ? (uint64_t)((int64_t)(int32_t)a[lane] * (int32_t)b[lane]) : (uint64_t)a[lane] * b[lane];
    uint64_t part = high ? product >> 32 : product & UINT32_MAX;
    uint64_t sum = part + c[lane] + (use_carry ? w->carry >> lane & 1 : 0);
    t[lane] = (uint32_t)sum;
    out |= (uint32_t)(sum >> 32 & 1) << lane;
  }
  if (set_carry) keep_carry(w, out, mask);
  keep32(w, in, 0, t, mask);
}

EXEC(mad_lo_cc_32) {
  mad_carry(w, in, mask, false, false, true);
}
EXEC(mad_hi_cc_32) {
  mad_carry(w, in, mask, true, false, true);
}
EXEC(madc_lo_32) {
  mad_carry(w, in, mask, false, true, false);
}
EXEC(madc_hi_32) {
  mad_carry(w, in, mask, true, true, false);
}
EXEC(madc_lo_cc_32) {
  mad_carry(w, in, mask, false, true, true);
}
EXEC(madc_hi_cc_32) {
  mad_carry(w, in, mask, true, true, true);
}

/* ---- sums of products of bytes and halves ---- */

/* a: four bytes; b: four bytes (dp4a) or two (dp2a: the low or high half of b), a then being two 16-bit halves. */
#define BYTE_SIGNED(v, i) ((int32_t)(int8_t)((v) >> 8 * (i)))
#define BYTE_UNSIGNED(v, i) ((int32_t)(uint8_t)((v) >> 8 * (i)))
#define HALF_SIGNED(v, i) ((int32_t)(int16_t)((v) >> 16 * (i)))
#define HALF_UNSIGNED(v, i) ((int32_t)(uint16_t)((v) >> 16 * (i)))

#define DP4A(name, A, B)                                                                                               \
  TERNARY32(name, uint32_t,                                                                                            \
            (uint32_t)(A(x, 0) * B(y, 0) + A(x, 1) * B(y, 1) + A(x, 2) * B(y, 2) + A(x, 3) * B(y, 3)) + z)
DP4A(dp4a_uu, BYTE_UNSIGNED, BYTE_UNSIGNED)
DP4A(dp4a_us, BYTE_UNSIGNED, BYTE_SIGNED)
DP4A(dp4a_su, BYTE_SIGNED, BYTE_UNSIGNED)
DP4A(dp4a_ss, BYTE_SIGNED, BYTE_SIGNED)

#define DP2A(name, A, B, k) TERNARY32(name, uint32_t, (uint32_t)(A(x, 0) * B(y, k) + A(x, 1) * B(y, k + 1)) + z)
DP2A(dp2a_lo_uu, HALF_UNSIGNED, BYTE_UNSIGNED, 0)
DP2A(dp2a_lo_us, HALF_UNSIGNED, BYTE_SIGNED, 0)
DP2A(dp2a_lo_su, HALF_SIGNED, BYTE_UNSIGNED, 0)
DP2A(dp2a_lo_ss, HALF_SIGNED, BYTE_SIGNED, 0)
DP2A(dp2a_hi_uu, HALF_UNSIGNED, BYTE_UNSIGNED, 2)
DP2A(dp2a_hi_us, HALF_UNSIGNED, BYTE_SIGNED, 2)
DP2A(dp2a_hi_su, HALF_SIGNED, BYTE_UNSIGNED, 2)
DP2A(dp2a_hi_ss, HALF_SIGNED, BYTE_SIGNED, 2)
