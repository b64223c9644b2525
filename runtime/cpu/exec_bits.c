/* Bits: logic, shifts, fields, counts, permutations, moves. Guarantees: shift amounts beyond the width act as PTX says
 * (shl and unsigned shr give 0, signed shr the sign; shf by its .clamp or .wrap). */
#include "exec.h"

#define BITS32(name, arity, expression)                                                                                \
  EXEC(name) {                                                                                                         \
    const uint32_t *a = lanes32(w, in, 1), *b = lanes32(w, in, arity > 1 ? 2 : 1),                                     \
                   *c = lanes32(w, in, arity > 2 ? 3 : 1);                                                             \
    uint32_t t[LANES];                                                                                                 \
    EACH_LANE {                                                                                                        \
      uint32_t x = a[lane], y = b[lane], z = c[lane];                                                                  \
      (void)y, (void)z;                                                                                                \
      t[lane] = (uint32_t)(expression);                                                                                \
    }                                                                                                                  \
    keep32(w, in, 0, t, mask);                                                                                         \
  }

#define BITS64(name, arity, expression)                                                                                \
  EXEC(name) {                                                                                                         \
    const uint64_t *a = lanes64(w, in, 1), *b = lanes64(w, in, arity > 1 ? 2 : 1);                                     \
    uint64_t t[LANES];                                                                                                 \
    EACH_LANE {                                                                                                        \
      uint64_t x = a[lane], y = b[lane];                                                                               \
      (void)y;                                                                                                         \
      t[lane] = (uint64_t)(expression);                                                                                \
    }                                                                                                                  \
    keep64(w, in, 0, t, mask);                                                                                         \
  }

/* ---- moves ---- */

BITS32(mov_32, 1, x)
BITS64(mov_64, 1, x)
EXEC(mov_predicate) {
  keep_predicate(w, in, 0, predicate(w, in, 1), mask);
}

BITS32(pack_32, 2, x | y << 16)
EXEC(unpack_32) {
  uint32_t x[LANES], low[LANES], high[LANES];
  memcpy(x, lanes32(w, in, 2), sizeof x);
  EACH_LANE low[lane] = x[lane] & 0xffff, high[lane] = x[lane] >> 16;
  keep32(w, in, 0, low, mask);
  keep32(w, in, 1, high, mask);
}

EXEC(pack_64) {
  const uint32_t *low = lanes32(w, in, 1), *high = lanes32(w, in, 2);
  uint64_t t[LANES];
  EACH_LANE t[lane] = low[lane] | (uint64_t)high[lane] << 32;
  keep64(w, in, 0, t, mask);
}

EXEC(unpack_64) {
  const uint64_t *x = lanes64(w, in, 2);
  uint32_t low[LANES], high[LANES];
  EACH_LANE low[lane] = (uint32_t)x[lane], high[lane] = (uint32_t)(x[lane] >> 32);
  keep32(w, in, 0, low, mask);
  keep32(w, in, 1, high, mask);
}

EXEC(pack_64_of_16) {
  uint64_t t[LANES] = {0};
  for (int part = 0; part < 4; part++) {
    const uint32_t *x = lanes32(w, in, 1 + part);
    EACH_LANE t[lane] |= (uint64_t)(uint16_t)x[lane] << 16 * part;
  }
  keep64(w, in, 0, t, mask);
}

EXEC(unpack_64_to_16) {
  const uint64_t *x = lanes64(w, in, 4);
  for (int part = 0; part < 4; part++) {
    uint32_t t[LANES];
    EACH_LANE t[lane] = (uint16_t)(x[lane] >> 16 * part);
    keep32(w, in, part, t, mask);
  }
}

/* ---- logic ---- */

BITS32(and_32, 2, x &y)
BITS64(and_64, 2, x &y)
BITS32(or_32, 2, x | y)
BITS64(or_64, 2, x | y)
BITS32(xor_32, 2, x ^ y)
BITS64(xor_64, 2, x ^ y)
BITS32(not_16, 1, (uint16_t)~x)
BITS32(not_32, 1, ~x)
BITS64(not_64, 1, ~x)
BITS32(cnot_32, 1, x == 0)
EXEC(and_predicate) {
  keep_predicate(w, in, 0, predicate(w, in, 1) & predicate(w, in, 2), mask);
}
EXEC(or_predicate) {
  keep_predicate(w, in, 0, predicate(w, in, 1) | predicate(w, in, 2), mask);
}
EXEC(xor_predicate) {
  keep_predicate(w, in, 0, predicate(w, in, 1) ^ predicate(w, in, 2), mask);
}
EXEC(not_predicate) {
  keep_predicate(w, in, 0, ~predicate(w, in, 1), mask);
}

/* d = the function of (a, b, c) whose truth table is the constant: bit 4a + 2b + c. */
EXEC(lop3_32) {
  const uint32_t *a = lanes32(w, in, 1), *b = lanes32(w, in, 2), *c = lanes32(w, in, 3);
  uint32_t table = uniform32(w, in, 4, mask), t[LANES] = {0};
  for (uint32_t row = 0; row < 8; row++) {
    if (!(table >> row & 1)) continue;
    uint32_t not_a = row & 4 ? 0 : FULL_MASK, not_b = row & 2 ? 0 : FULL_MASK, not_c = row & 1 ? 0 : FULL_MASK;
    EACH_LANE t[lane] |= (a[lane] ^ not_a) & (b[lane] ^ not_b) & (c[lane] ^ not_c);
  }
  keep32(w, in, 0, t, mask);
}

/* ---- shifts ---- */

BITS32(shl_16, 2, y > 15 ? 0 : (uint16_t)(x << y))
BITS32(shl_32, 2, y > 31 ? 0 : x << (y & 31))
BITS32(shr_u16, 2, y > 15 ? 0 : x >> y)
BITS32(shr_s16, 2, (uint16_t)((int16_t)x >> (y > 15 ? 15 : y)))
BITS32(shr_u32, 2, y > 31 ? 0 : x >> (y & 31))
BITS32(shr_s32, 2, (int32_t)x >> (y > 31 ? 31 : y))

/* 64-bit values, 32-bit amounts. */
#define SHIFT64(name, expression)                                                                                      \
  EXEC(name) {                                                                                                         \
    const uint64_t *a = lanes64(w, in, 1);                                                                             \
    const uint32_t *b = lanes32(w, in, 2);                                                                             \
    uint64_t t[LANES];                                                                                                 \
    EACH_LANE {                                                                                                        \
      uint64_t x = a[lane];                                                                                            \
      uint32_t y = b[lane];                                                                                            \
      t[lane] = (uint64_t)(expression);                                                                                \
    }                                                                                                                  \
    keep64(w, in, 0, t, mask);                                                                                         \
  }
SHIFT64(shl_64, y > 63 ? 0 : x << (y & 63))
SHIFT64(shr_u64, y > 63 ? 0 : x >> (y & 63))
SHIFT64(shr_s64, (int64_t)x >> (y > 63 ? 63 : y))

/* {b, a} shifted: left keeps the high word, right the low one. */
#define AMOUNT_CLAMP(z) ((z) > 32 ? 32 : (z))
BITS32(shf_l_wrap, 3, ((uint64_t)y << 32 | x) << (z & 31) >> 32)
BITS32(shf_r_wrap, 3, ((uint64_t)y << 32 | x) >> (z & 31))
BITS32(shf_l_clamp, 3, z >= 32 ? x : ((uint64_t)y << 32 | x) << (z & 31) >> 32)
BITS32(shf_r_clamp, 3, ((uint64_t)y << 32 | x) >> AMOUNT_CLAMP(z))

/* ---- fields ---- */

static inline uint64_t low_bits(uint32_t count) {
  return count > 63 ? UINT64_MAX : ((uint64_t)1 << count) - 1;
}

/* Bits beyond the top of x are zero, or the sign for a signed field. The sign bit of a field that passes the top is the
 * top bit of x; a field of no bits is 0. */
static inline uint64_t extract_field(uint64_t x, uint32_t start, uint32_t count, uint32_t width, bool is_signed) {
  start &= 0xff, count &= 0xff;
  if (!count) return 0;
  uint32_t top = start + count - 1 < width - 1 ? start + count - 1 : width - 1;
  bool negative = is_signed && (x >> top & 1);
  uint64_t field = start > 63 ? 0 : x >> start;
  uint32_t held = start >= width ? 0 : width - start < count ? width - start : count;
  return (field & low_bits(held)) | (negative ? ~low_bits(held) : 0);
}

BITS32(bfe_u32, 3, extract_field(x, y, z, 32, false))
BITS32(bfe_s32, 3, extract_field(x, y, z, 32, true))

static inline void extract64(Warp *w, const Inst *in, uint32_t mask, bool is_signed) {
  const uint64_t *a = lanes64(w, in, 1);
  const uint32_t *b = lanes32(w, in, 2), *c = lanes32(w, in, 3);
  uint64_t t[LANES];
  EACH_LANE t[lane] = extract_field(a[lane], b[lane], c[lane], 64, is_signed);
  keep64(w, in, 0, t, mask);
}
EXEC(bfe_u64) {
  extract64(w, in, mask, false);
}
EXEC(bfe_s64) {
  extract64(w, in, mask, true);
}

static inline uint64_t insert_field(uint64_t x, uint64_t into, uint32_t start, uint32_t count) {
  start &= 0xff, count &= 0xff;
  if (start > 63) return into;
  uint64_t field = low_bits(count) << start;
  return (into & ~field) | (x << start & field);
}

EXEC(bfi_32) {
  const uint32_t *a = lanes32(w, in, 1), *b = lanes32(w, in, 2), *c = lanes32(w, in, 3), *d = lanes32(w, in, 4);
  uint32_t t[LANES];
  EACH_LANE t[lane] = (uint32_t)insert_field(a[lane], b[lane], c[lane], d[lane]);
  keep32(w, in, 0, t, mask);
}

EXEC(bfi_64) {
  const uint64_t *a = lanes64(w, in, 1), *b = lanes64(w, in, 2);
  const uint32_t *c = lanes32(w, in, 3), *d = lanes32(w, in, 4);
  uint64_t t[LANES];
  EACH_LANE t[lane] = insert_field(a[lane], b[lane], c[lane], d[lane]);
  keep64(w, in, 0, t, mask);
}

/* ---- counts ---- */

static inline uint64_t reverse_bits(uint64_t x) {
  x = (x >> 1 & 0x5555555555555555) | (x & 0x5555555555555555) << 1;
  x = (x >> 2 & 0x3333333333333333) | (x & 0x3333333333333333) << 2;
  x = (x >> 4 & 0x0f0f0f0f0f0f0f0f) | (x & 0x0f0f0f0f0f0f0f0f) << 4;
  return __builtin_bswap64(x);
}

static inline uint32_t leading_zeros(uint64_t x) {
  return x ? (uint32_t)__builtin_clzll(x) : 64;
}

BITS32(popc_32, 1, __builtin_popcount(x))
BITS32(brev_32, 1, reverse_bits(x) >> 32)
BITS64(brev_64, 1, reverse_bits(x))
BITS32(clz_32, 1, leading_zeros(x) - 32)

/* The place of the most significant bit that differs from the sign; all ones where there is none. .shiftamt: how far to
 * shift it up to the top. */
static inline uint32_t find_bit(uint64_t x, uint32_t width, bool is_signed, bool shift) {
  if (is_signed && (x >> (width - 1) & 1)) x = ~x & low_bits(width);
  if (!x) return UINT32_MAX;
  uint32_t place = 63 - leading_zeros(x);
  return shift ? width - 1 - place : place;
}

BITS32(bfind_u32, 1, find_bit(x, 32, false, false))
BITS32(bfind_s32, 1, find_bit(x, 32, true, false))
BITS32(bfind_shift_u32, 1, find_bit(x, 32, false, true))
BITS32(bfind_shift_s32, 1, find_bit(x, 32, true, true))

#define COUNT64(name, expression)                                                                                      \
  EXEC(name) {                                                                                                         \
    const uint64_t *a = lanes64(w, in, 1);                                                                             \
    uint32_t t[LANES];                                                                                                 \
    EACH_LANE {                                                                                                        \
      uint64_t x = a[lane];                                                                                            \
      t[lane] = (uint32_t)(expression);                                                                                \
    }                                                                                                                  \
    keep32(w, in, 0, t, mask);                                                                                         \
  }
COUNT64(popc_64, __builtin_popcountll(x))
COUNT64(clz_64, leading_zeros(x))
COUNT64(bfind_u64, find_bit(x, 64, false, false))
COUNT64(bfind_s64, find_bit(x, 64, true, false))

/* ---- bytes ---- */

/* Each nibble of the selector takes a byte of {b, a}; its top bit replicates the byte's sign instead. */
static inline uint32_t permute(uint32_t a, uint32_t b, uint32_t selector) {
  uint64_t bytes = (uint64_t)b << 32 | a;
  uint32_t result = 0;
  for (int i = 0; i < 4; i++) {
    uint32_t nibble = selector >> 4 * i & 15;
    uint32_t byte = (uint32_t)(bytes >> 8 * (nibble & 7)) & 0xff;
    if (nibble & 8) byte = byte & 0x80 ? 0xff : 0;
    result |= byte << 8 * i;
  }
  return result;
}
BITS32(prmt_32, 3, permute(x, y, z))

/* ---- clocks: nanoseconds of the machine, so that differences mean something ---- */

#include <time.h>

static uint64_t nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

EXEC(clock_32) {
  uint32_t t[LANES], now = (uint32_t)nanoseconds();
  EACH_LANE t[lane] = now;
  keep32(w, in, 0, t, mask);
}

EXEC(clock_64) {
  uint64_t t[LANES], now = nanoseconds();
  EACH_LANE t[lane] = now;
  keep64(w, in, 0, t, mask);
}

EXEC(nothing) {
  (void)w, (void)in, (void)mask;
}
