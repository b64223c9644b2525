/* Comparisons and selections. Guarantees: ordered comparisons with a NaN are false, unordered ones (equ ... geu) true.
 */
#include "exec.h"

/* One bit a lane. */
#define COMPARE_LOOP(expression)                                                                                       \
  EACH_LANE {                                                                                                          \
    bits |= (uint32_t)(expression) << lane;                                                                            \
  }                                                                                                                    \
  break

#define COMPARE_INTEGER(name, T, lanes)                                                                                \
  static uint32_t compare_##name(const Warp *w, const Inst *in, int k) {                                               \
    const T *a = (const T *)lanes(w, in, k), *b = (const T *)lanes(w, in, k + 1);                                      \
    uint32_t bits = 0;                                                                                                 \
    switch (in->mod[MOD_COMPARE]) {                                                                                    \
    case COMPARE_EQ:                                                                                                   \
      COMPARE_LOOP(a[lane] == b[lane]);                                                                                \
    case COMPARE_NE:                                                                                                   \
      COMPARE_LOOP(a[lane] != b[lane]);                                                                                \
    case COMPARE_LO:                                                                                                   \
    case COMPARE_LT:                                                                                                   \
      COMPARE_LOOP(a[lane] < b[lane]);                                                                                 \
    case COMPARE_LS:                                                                                                   \
    case COMPARE_LE:                                                                                                   \
      COMPARE_LOOP(a[lane] <= b[lane]);                                                                                \
    case COMPARE_HI:                                                                                                   \
    case COMPARE_GT:                                                                                                   \
      COMPARE_LOOP(a[lane] > b[lane]);                                                                                 \
    default:                                                                                                           \
      COMPARE_LOOP(a[lane] >= b[lane]);                                                                                \
    }                                                                                                                  \
    return bits;                                                                                                       \
  }

COMPARE_INTEGER(u32, uint32_t, lanes32)
COMPARE_INTEGER(s32, int32_t, lanes32)
COMPARE_INTEGER(u64, uint64_t, lanes64)
COMPARE_INTEGER(s64, int64_t, lanes64)

/* 16-bit registers hold zero-extended values: unsigned comparisons are those of 32 bits. */
static uint32_t compare_u16(const Warp *w, const Inst *in, int k) {
  return compare_u32(w, in, k);
}

static uint32_t compare_s16(const Warp *w, const Inst *in, int k) {
  const uint32_t *a = lanes32(w, in, k), *b = lanes32(w, in, k + 1);
  uint32_t bits = 0;
  EACH_LANE {
    int16_t x = (int16_t)a[lane], y = (int16_t)b[lane];
    bool holds[] = {x == y, x != y, x<y, x <= y, x> y, x >= y};
    bits |= (uint32_t)holds[in->mod[MOD_COMPARE] % 6] << lane;
  }
  return bits;
}

/* Equal, less and greater lanes; what is none of the three is unordered. */
typedef struct Order {
  uint32_t equal, less, greater;
} Order;

static uint32_t ordered_bits(const Inst *in, Order o) {
  uint32_t unordered = ~(o.equal | o.less | o.greater);
  switch (in->mod[MOD_COMPARE]) {
  case COMPARE_EQ:
    return o.equal;
  case COMPARE_NE:
    return o.less | o.greater;
  case COMPARE_LT:
    return o.less;
  case COMPARE_LE:
    return o.less | o.equal;
  case COMPARE_GT:
    return o.greater;
  case COMPARE_GE:
    return o.greater | o.equal;
  case COMPARE_EQU:
    return o.equal | unordered;
  case COMPARE_NEU:
    return ~o.equal;
  case COMPARE_LTU:
    return o.less | unordered;
  case COMPARE_LEU:
    return ~o.greater;
  case COMPARE_GTU:
    return o.greater | unordered;
  case COMPARE_GEU:
    return ~o.less;
  case COMPARE_NUM:
    return ~unordered;
  default:
    return unordered;
  }
}

static inline uint32_t flushed(const Inst *in, uint32_t bits) {
  return in->mod[MOD_FTZ] != MOD_NONE && !(bits & 0x7f800000) ? bits & 0x80000000 : bits;
}

static uint32_t compare_f32(const Warp *w, const Inst *in, int k) {
  const uint32_t *a = lanes32(w, in, k), *b = lanes32(w, in, k + 1);
  Order o = {0};
  EACH_LANE {
    float x = as_float(flushed(in, a[lane])), y = as_float(flushed(in, b[lane]));
    o.equal |= (uint32_t)(x == y) << lane;
    o.less |= (uint32_t)(x < y) << lane;
    o.greater |= (uint32_t)(x > y) << lane;
  }
  return ordered_bits(in, o);
}

static uint32_t compare_f64(const Warp *w, const Inst *in, int k) {
  const uint64_t *a = lanes64(w, in, k), *b = lanes64(w, in, k + 1);
  Order o = {0};
  EACH_LANE {
    double x = as_double(a[lane]), y = as_double(b[lane]);
    o.equal |= (uint32_t)(x == y) << lane;
    o.less |= (uint32_t)(x < y) << lane;
    o.greater |= (uint32_t)(x > y) << lane;
  }
  return ordered_bits(in, o);
}

/* .and, .or or .xor with a predicate, where the instruction has one. */
static uint32_t combine(const Warp *w, const Inst *in, uint32_t bits, int k) {
  if (in->mod[MOD_BOOLEAN] == MOD_NONE || in->o[k] == NO_OPERAND) return bits;
  uint32_t c = predicate(w, in, k);
  static const uint8_t is_and = BOOLEAN_AND, is_or = BOOLEAN_OR;
  return in->mod[MOD_BOOLEAN] == is_and ? bits & c : in->mod[MOD_BOOLEAN] == is_or ? bits | c : bits ^ c;
}

/* setp p|q, a, b, c: p = (a cmp b) op c, q = !(a cmp b) op c. */
static void keep_setp(Warp *w, const Inst *in, uint32_t mask, uint32_t bits) {
  uint32_t p = combine(w, in, bits, 4), q = combine(w, in, ~bits, 4);
  keep_predicate(w, in, 0, p, mask);
  if (in->o[1] != NO_OPERAND) keep_predicate(w, in, 1, q, mask);
}

/* set d, a, b, c: all ones, or 1.0 for a real d. */
static void keep_set(Warp *w, const Inst *in, uint32_t mask, uint32_t bits) {
  uint32_t holds = combine(w, in, bits, 3), t[LANES];
  uint32_t one = in->mod[MOD_TYPE] == TYPE_F32 ? 0x3f800000 : FULL_MASK;
  EACH_LANE t[lane] = holds >> lane & 1 ? one : 0;
  keep32(w, in, 0, t, mask);
}

#define SETP_AND_SET(type)                                                                                             \
  EXEC(setp_##type) {                                                                                                  \
    keep_setp(w, in, mask, compare_##type(w, in, 2));                                                                  \
  }                                                                                                                    \
  EXEC(set_##type) {                                                                                                   \
    keep_set(w, in, mask, compare_##type(w, in, 1));                                                                   \
  }
SETP_AND_SET(u16)
SETP_AND_SET(s16)
SETP_AND_SET(u32)
SETP_AND_SET(s32)
SETP_AND_SET(u64)
SETP_AND_SET(s64)
SETP_AND_SET(f32)
SETP_AND_SET(f64)

static void select32(Warp *w, const Inst *in, uint32_t mask, uint32_t choose_a) {
  const uint32_t *a = lanes32(w, in, 1), *b = lanes32(w, in, 2);
  uint32_t t[LANES];
  EACH_LANE t[lane] = choose_a >> lane & 1 ? a[lane] : b[lane];
  keep32(w, in, 0, t, mask);
}

static void select64(Warp *w, const Inst *in, uint32_t mask, uint32_t choose_a) {
  const uint64_t *a = lanes64(w, in, 1), *b = lanes64(w, in, 2);
  uint64_t t[LANES];
  EACH_LANE t[lane] = choose_a >> lane & 1 ? a[lane] : b[lane];
  keep64(w, in, 0, t, mask);
}

EXEC(selp_32) {
  select32(w, in, mask, predicate(w, in, 3));
}
EXEC(selp_64) {
  select64(w, in, mask, predicate(w, in, 3));
}

/* slct: a where c >= 0. */
static uint32_t not_negative(const Warp *w, const Inst *in, bool real) {
  const uint32_t *c = lanes32(w, in, 3);
  uint32_t bits = 0;
  EACH_LANE bits |= (uint32_t)(real ? as_float(flushed(in, c[lane])) >= 0 : (int32_t)c[lane] >= 0) << lane;
  return bits;
}

EXEC(slct_32_s32) {
  select32(w, in, mask, not_negative(w, in, false));
}
EXEC(slct_32_f32) {
  select32(w, in, mask, not_negative(w, in, true));
}
EXEC(slct_64_s32) {
  select64(w, in, mask, not_negative(w, in, false));
}
EXEC(slct_64_f32) {
  select64(w, in, mask, not_negative(w, in, true));
}

enum { TEST_FINITE, TEST_INFINITE, TEST_NUMBER, TEST_NOTANUMBER, TEST_NORMAL, TEST_SUBNORMAL };

EXEC(testp_f32) {
  const uint32_t *a = lanes32(w, in, 1);
  uint32_t bits = 0;
  EACH_LANE {
    uint32_t x = a[lane] & 0x7fffffff;
    bool holds[] = {x<0x7f800000, x == 0x7f800000, x <= 0x7f800000, x> 0x7f800000, x >= 0x00800000 && x < 0x7f800000,
                    x < 0x00800000 && x};
    bits |= (uint32_t)holds[in->mod[MOD_MODE]] << lane;
  }
  keep_predicate(w, in, 0, bits, mask);
}
