/* Integer instructions of the CPU device against plain C, on random numbers and the edges of every range. */
#include "cpu_instruction.h"

#define A32 ((uint32_t)a)
#define B32 ((uint32_t)b)
#define C32 ((uint32_t)c)
#define SA ((int32_t)a)
#define SB ((int32_t)b)
#define SC ((int32_t)c)
#define LA ((int64_t)a)
#define LB ((int64_t)b)
#define HA ((uint16_t)a)
#define HB ((uint16_t)b)
#define HC ((uint16_t)c)
#define HSA ((int16_t)a)
#define HSB ((int16_t)b)

__extension__ typedef unsigned __int128 U128;
__extension__ typedef __int128 S128;

static CaseInputs inputs;

static uint64_t edge_value(void) {
  static const uint64_t edges[] = {
      0,          1,          2,           0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x10000,   0x7fffffff,
      0x80000000, 0xffffffff, 0x100000000, 31,   32,   33,   63,     64,     65,     INT64_MAX, (uint64_t)INT64_MIN,
      UINT64_MAX, 0xfffffffeu};
  uint64_t r = random64();
  if (r % 3 == 0) return edges[random64() % (sizeof edges / sizeof *edges)];
  return r % 3 == 1 ? random64() >> random64() % 64 : random64();
}

static int make_inputs(void **state) {
  for (int i = 0; i < CASE_THREADS; i++)
    inputs.a[i] = edge_value(), inputs.b[i] = edge_value(), inputs.c[i] = edge_value();
  return device_open(state);
}

/* ---- 32 bits ---- */

REFERENCE(r_add, A32 + B32)
REFERENCE(r_sub, A32 - B32)
REFERENCE(r_mul, A32 *B32)
REFERENCE(r_mulhi_u, (uint64_t)A32 *B32 >> 32)
REFERENCE(r_mulhi_s, ((int64_t)SA * SB) >> 32)
REFERENCE(r_mad, A32 *B32 + C32)
REFERENCE(r_madhi_u, ((uint64_t)A32 * B32 >> 32) + C32)
REFERENCE(r_madhi_s, (uint64_t)(((int64_t)SA * SB) >> 32) + C32)
REFERENCE(r_min_u, A32 < B32 ? A32 : B32)
REFERENCE(r_min_s, SA < SB ? SA : SB)
REFERENCE(r_max_u, A32 > B32 ? A32 : B32)
REFERENCE(r_max_s, SA > SB ? SA : SB)
#define UPPER_HALF(x) (((x) >> 16) & 0xffff)
#define UPPER_SIGNED(x) ((int16_t)UPPER_HALF(x))
REFERENCE(r_max_u16x2, (uint32_t)(HA > HB ? HA : HB) |
                           (uint32_t)(UPPER_HALF(a) > UPPER_HALF(b) ? UPPER_HALF(a) : UPPER_HALF(b)) << 16)
REFERENCE(r_max_s16x2, (uint32_t)(uint16_t)(HSA > HSB ? HSA : HSB) |
                           (uint32_t)(uint16_t)(UPPER_SIGNED(a) > UPPER_SIGNED(b) ? UPPER_SIGNED(a) : UPPER_SIGNED(b))
                               << 16)
REFERENCE(r_div_u, B32 ? A32 / B32 : UINT32_MAX)
REFERENCE(r_rem_u, B32 ? A32 % B32 : A32)
REFERENCE(r_div_7, A32 / 7)
REFERENCE(r_div_s, SB == 0 ? -1 : (int64_t)SA / SB)
REFERENCE(r_rem_s, SB == 0 ? SA : (int64_t)SA % SB)
REFERENCE(r_abs, SA < 0 ? 0 - A32 : A32)
REFERENCE(r_neg, 0 - A32)
REFERENCE(r_add_sat, (int64_t)SA + SB > INT32_MAX   ? INT32_MAX
                     : (int64_t)SA + SB < INT32_MIN ? INT32_MIN
                                                    : (int64_t)SA + SB)
REFERENCE(r_sub_sat, (int64_t)SA - SB > INT32_MAX   ? INT32_MAX
                     : (int64_t)SA - SB < INT32_MIN ? INT32_MIN
                                                    : (int64_t)SA - SB)
REFERENCE(r_and, A32 &B32)
REFERENCE(r_or, A32 | B32)
REFERENCE(r_xor, A32 ^ B32)
REFERENCE(r_not, ~A32)
REFERENCE(r_cnot, A32 == 0)
REFERENCE(r_xor3, A32 ^ B32 ^ C32)
REFERENCE(r_majority, (A32 & B32) | (A32 & C32) | (B32 & C32))
REFERENCE(r_choose, (A32 & B32) | (~A32 & C32))
REFERENCE(r_shl, B32 > 31 ? 0 : A32 << B32)
REFERENCE(r_shr_u, B32 > 31 ? 0 : A32 >> B32)
REFERENCE(r_shr_s, SA >> (B32 > 31 ? 31 : B32))
REFERENCE(r_shf_l_wrap, (((uint64_t)B32 << 32 | A32) << (C32 & 31)) >> 32)
REFERENCE(r_shf_r_wrap, ((uint64_t)B32 << 32 | A32) >> (C32 & 31))
REFERENCE(r_shf_l_clamp, C32 >= 32 ? A32 : (((uint64_t)B32 << 32 | A32) << C32) >> 32)
REFERENCE(r_shf_r_clamp, C32 >= 32 ? B32 : ((uint64_t)B32 << 32 | A32) >> C32)
REFERENCE(r_mul24, (A32 & 0xffffff) * (B32 & 0xffffff))
REFERENCE(r_wide_u16, (uint32_t)HA *HB)
REFERENCE(r_wide_s16, HSA *HSB)
REFERENCE(r_madwide_s16, (uint32_t)(HSA *HSB) + C32)
REFERENCE(r_immediate, A32 + 0xfffffff0u)
REFERENCE(r_selp, c & 1 ? A32 : B32)
REFERENCE(r_slct, SC >= 0 ? A32 : B32)

/* The PTX manual's loops, bit by bit. */
static uint64_t extract_bits(uint64_t a, uint32_t start, uint32_t length, int top, bool is_signed) {
  uint64_t d = 0;
  start &= 0xff, length &= 0xff;
  int last = (int)(start + length) - 1;
  bool sign = is_signed && length && (a >> (last < top ? last : top) & 1);
  for (int i = 0; i <= top; i++) {
    bool bit = i < (int)length && (int)start + i <= top ? a >> (start + (uint32_t)i) & 1 : sign;
    d |= (uint64_t)bit << i;
  }
  return d;
}
REFERENCE(r_bfe_u, extract_bits(A32, B32, C32, 31, false))
REFERENCE(r_bfe_s, extract_bits(A32, B32, C32, 31, true))
/* Fields of 64 bits begin and end inside the word: beyond it the hardware and the manual differ. */
REFERENCE(r_bfe_u64, extract_bits(a, B32 & 63, C32 & 63, 63, false))
REFERENCE(r_bfe_s64, extract_bits(a, B32 & 63, C32 & 63, 63, true))

static uint64_t insert_bits(uint64_t a, uint64_t b, uint32_t start, uint32_t length, int top) {
  start &= 0xff, length &= 0xff;
  for (int i = 0; i < (int)length && (int)start + i <= top; i++) {
    uint64_t bit = (uint64_t)1 << (start + (uint32_t)i);
    b = a >> i & 1 ? b | bit : b & ~bit;
  }
  return b;
}
REFERENCE(r_bfi, insert_bits(A32, B32, C32, 7, 31))
REFERENCE(r_bfi_long, insert_bits(A32, B32, 5, C32, 31))
REFERENCE(r_bfi64, insert_bits(a, b, C32 & 63, 9, 63))

static uint64_t count_bits(uint64_t x) {
  uint64_t n = 0;
  for (; x; x >>= 1) n += x & 1;
  return n;
}
static uint64_t zeros_above(uint64_t x, int bits) {
  uint64_t n = 0;
  for (int i = bits - 1; i >= 0 && !(x >> i & 1); i--) n++;
  return n;
}
static uint64_t reversed(uint64_t x, int bits) {
  uint64_t r = 0;
  for (int i = 0; i < bits; i++) r |= (x >> i & 1) << (bits - 1 - i);
  return r;
}
REFERENCE(r_popc, count_bits(A32))
REFERENCE(r_clz, zeros_above(A32, 32))
REFERENCE(r_brev, reversed(A32, 32))
REFERENCE(r_bfind_u, A32 ? 31 - zeros_above(A32, 32) : UINT32_MAX)
REFERENCE(r_bfind_s, (SA < 0 ? ~A32 : A32) ? 31 - zeros_above(SA < 0 ? ~A32 : A32, 32) : UINT32_MAX)
REFERENCE(r_bfind_shift, A32 ? zeros_above(A32, 32) : UINT32_MAX)
REFERENCE(r_bfind_shift_s, (SA < 0 ? ~A32 : A32) ? zeros_above(SA < 0 ? ~A32 : A32, 32) : UINT32_MAX)
REFERENCE(r_bfind_s64, (LA < 0 ? ~a : a) ? 63 - zeros_above(LA < 0 ? ~a : a, 64) : UINT32_MAX)
REFERENCE(r_popc64, count_bits(a))
REFERENCE(r_clz64, zeros_above(a, 64))
REFERENCE(r_bfind64, a ? 63 - zeros_above(a, 64) : UINT32_MAX)

static uint64_t permuted(uint32_t a, uint32_t b, uint32_t c) {
  uint8_t bytes[8];
  uint32_t r = 0;
  memcpy(bytes, &a, 4), memcpy(bytes + 4, &b, 4);
  for (int i = 0; i < 4; i++) {
    uint32_t s = c >> 4 * i & 15, byte = bytes[s & 7];
    if (s & 8) byte = byte & 0x80 ? 0xff : 0;
    r |= byte << 8 * i;
  }
  return r;
}
REFERENCE(r_prmt, permuted(A32, B32, C32))

static int byte_of(uint32_t x, int i, bool is_signed) {
  uint8_t byte = (uint8_t)(x >> 8 * i);
  return is_signed ? (int8_t)byte : byte;
}
static int half_of(uint32_t x, int i, bool is_signed) {
  uint16_t half = (uint16_t)(x >> 16 * i);
  return is_signed ? (int16_t)half : half;
}
static uint64_t dot4(uint64_t a, uint64_t b, uint64_t c, bool sa, bool sb) {
  int64_t sum = (int32_t)c;
  for (int i = 0; i < 4; i++) sum += byte_of((uint32_t)a, i, sa) * byte_of((uint32_t)b, i, sb);
  return (uint64_t)sum;
}
static uint64_t dot2(uint64_t a, uint64_t b, uint64_t c, int from, bool sa, bool sb) {
  int64_t sum = (int32_t)c;
  for (int i = 0; i < 2; i++) sum += (int64_t)half_of((uint32_t)a, i, sa) * byte_of((uint32_t)b, from + i, sb);
  return (uint64_t)sum;
}
REFERENCE(r_dp4a_uu, dot4(a, b, c, false, false))
REFERENCE(r_dp4a_us, dot4(a, b, c, false, true))
REFERENCE(r_dp4a_su, dot4(a, b, c, true, false))
REFERENCE(r_dp4a_ss, dot4(a, b, c, true, true))
REFERENCE(r_dp2a_lo_ss, dot2(a, b, c, 0, true, true))
REFERENCE(r_dp2a_hi_us, dot2(a, b, c, 2, false, true))
REFERENCE(r_dp2a_hi_uu, dot2(a, b, c, 2, false, false))
REFERENCE(r_dp2a_lo_su, dot2(a, b, c, 0, true, false))

static const Case cases32[] = {
    {"add.s32 %rd, %ra, %rb;", r_add},
    {"add.u32 %rd, %ra, -16;", r_immediate},
    {"sub.u32 %rd, %ra, %rb;", r_sub},
    {"mul.lo.u32 %rd, %ra, %rb;", r_mul},
    {"mul.hi.u32 %rd, %ra, %rb;", r_mulhi_u},
    {"mul.hi.s32 %rd, %ra, %rb;", r_mulhi_s},
    {"mad.lo.s32 %rd, %ra, %rb, %rc;", r_mad},
    {"mad.hi.u32 %rd, %ra, %rb, %rc;", r_madhi_u},
    {"mad.hi.s32 %rd, %ra, %rb, %rc;", r_madhi_s},
    {"min.u32 %rd, %ra, %rb;", r_min_u},
    {"min.s32 %rd, %ra, %rb;", r_min_s},
    {"max.u32 %rd, %ra, %rb;", r_max_u},
    {"max.s32 %rd, %ra, %rb;", r_max_s},
    {"max.u16x2 %rd, %ra, %rb;", r_max_u16x2},
    {"max.s16x2 %rd, %ra, %rb;", r_max_s16x2},
    {"div.u32 %rd, %ra, 7;", r_div_7},
    {"abs.s32 %rd, %ra;", r_abs},
    {"neg.s32 %rd, %ra;", r_neg},
    {"add.sat.s32 %rd, %ra, %rb;", r_add_sat},
    {"sub.sat.s32 %rd, %ra, %rb;", r_sub_sat},
    {"and.b32 %rd, %ra, %rb;", r_and},
    {"or.b32 %rd, %ra, %rb;", r_or},
    {"xor.b32 %rd, %ra, %rb;", r_xor},
    {"not.b32 %rd, %ra;", r_not},
    {"cnot.b32 %rd, %ra;", r_cnot},
    {"lop3.b32 %rd, %ra, %rb, %rc, 0x96;", r_xor3},
    {"lop3.b32 %rd, %ra, %rb, %rc, 0xe8;", r_majority},
    {"lop3.b32 %rd, %ra, %rb, %rc, 0xca;", r_choose},
    {"shl.b32 %rd, %ra, %rb;", r_shl},
    {"shr.u32 %rd, %ra, %rb;", r_shr_u},
    {"shr.b32 %rd, %ra, %rb;", r_shr_u},
    {"shr.s32 %rd, %ra, %rb;", r_shr_s},
    {"shf.l.wrap.b32 %rd, %ra, %rb, %rc;", r_shf_l_wrap},
    {"shf.r.wrap.b32 %rd, %ra, %rb, %rc;", r_shf_r_wrap},
    {"shf.l.clamp.b32 %rd, %ra, %rb, %rc;", r_shf_l_clamp},
    {"shf.r.clamp.b32 %rd, %ra, %rb, %rc;", r_shf_r_clamp},
    {"bfe.u32 %rd, %ra, %rb, %rc;", r_bfe_u},
    {"bfe.s32 %rd, %ra, %rb, %rc;", r_bfe_s},
    {"bfi.b32 %rd, %ra, %rb, %rc, 7;", r_bfi},
    {"bfi.b32 %rd, %ra, %rb, 5, %rc;", r_bfi_long},
    {"popc.b32 %rd, %ra;", r_popc},
    {"clz.b32 %rd, %ra;", r_clz},
    {"brev.b32 %rd, %ra;", r_brev},
    {"bfind.u32 %rd, %ra;", r_bfind_u},
    {"bfind.s32 %rd, %ra;", r_bfind_s},
    {"bfind.shiftamt.u32 %rd, %ra;", r_bfind_shift},
    {"popc.b64 %rd, %a;", r_popc64},
    {"clz.b64 %rd, %a;", r_clz64},
    {"bfind.u64 %rd, %a;", r_bfind64},
    {"prmt.b32 %rd, %ra, %rb, %rc;", r_prmt},
    {"dp4a.u32.u32 %rd, %ra, %rb, %rc;", r_dp4a_uu},
    {"dp4a.u32.s32 %rd, %ra, %rb, %rc;", r_dp4a_us},
    {"dp4a.s32.u32 %rd, %ra, %rb, %rc;", r_dp4a_su},
    {"dp4a.s32.s32 %rd, %ra, %rb, %rc;", r_dp4a_ss},
    {"dp2a.lo.s32.s32 %rd, %ra, %rb, %rc;", r_dp2a_lo_ss},
    {"dp2a.hi.u32.s32 %rd, %ra, %rb, %rc;", r_dp2a_hi_us},
    {"dp2a.hi.u32.u32 %rd, %ra, %rb, %rc;", r_dp2a_hi_uu},
    {"dp2a.lo.s32.u32 %rd, %ra, %rb, %rc;", r_dp2a_lo_su},
    {"selp.b32 %rd, %ra, %rb, %p;", r_selp},
    {"mul24.lo.u32 %rd, %ra, %rb;", r_mul24},
    {"bfind.shiftamt.s32 %rd, %ra;", r_bfind_shift_s},
    {"bfind.s64 %rd, %a;", r_bfind_s64},
    {"mul.wide.u16 %rd, %ha, %hb;", r_wide_u16},
    {"mul.wide.s16 %rd, %ha, %hb;", r_wide_s16},
    {"mad.wide.s16 %rd, %ha, %hb, %rc;", r_madwide_s16},
    {"slct.u32.s32 %rd, %ra, %rb, %rc;", r_slct},
};

/* PTX leaves a division by zero open; this device defines it. */
static const Case cases_division[] = {
    {"div.u32 %rd, %ra, %rb;", r_div_u},
    {"rem.u32 %rd, %ra, %rb;", r_rem_u},
    {"div.s32 %rd, %ra, %rb;", r_div_s},
    {"rem.s32 %rd, %ra, %rb;", r_rem_s},
};

/* ---- 64 bits ---- */

REFERENCE(r_add64, a + b)
REFERENCE(r_sub64, a - b)
REFERENCE(r_mul64, a *b)
REFERENCE(r_mulhi_u64, (U128)a *b >> 64)
REFERENCE(r_mulhi_s64, ((S128)LA * LB) >> 64)
REFERENCE(r_mad64, a *b + c)
REFERENCE(r_wide_u, (uint64_t)A32 *B32)
REFERENCE(r_wide_s, (int64_t)SA *SB)
REFERENCE(r_madwide_u, (uint64_t)A32 *B32 + c)
REFERENCE(r_madwide_s, (uint64_t)((int64_t)SA *SB) + c)
REFERENCE(r_min_u64, a < b ? a : b)
REFERENCE(r_max_s64, LA > LB ? LA : LB)
REFERENCE(r_div_u64, a / (b | 1))
REFERENCE(r_rem_s64, (b | 1) == UINT64_MAX ? 0 : LA % (int64_t)(b | 1))
REFERENCE(r_abs64, LA < 0 ? 0 - a : a)
REFERENCE(r_neg64, 0 - a)
REFERENCE(r_and64, a &b)
REFERENCE(r_or64, a | b)
REFERENCE(r_xor64, a ^ b)
REFERENCE(r_not64, ~a)
REFERENCE(r_shl64, B32 > 63 ? 0 : a << B32)
REFERENCE(r_shr_u64, B32 > 63 ? 0 : a >> B32)
REFERENCE(r_shr_s64, LA >> (B32 > 63 ? 63 : B32))
REFERENCE(r_brev64, reversed(a, 64))
REFERENCE(r_pack, (uint64_t)B32 << 32 | A32)
REFERENCE(r_swap, a << 32 | a >> 32)
REFERENCE(r_selp64, c & 1 ? a : b)
REFERENCE(r_add128_high, ((((U128)c << 64) | a) + (((U128)a << 64) | b)) >> 64)
REFERENCE(r_sub128_high, ((((U128)c << 64) | a) - (((U128)a << 64) | b)) >> 64)
REFERENCE(r_add64_parts, a + b)
REFERENCE(r_sub64_parts, a - b)
REFERENCE(r_sign_32, (int64_t)SA)
REFERENCE(r_mad_parts, (uint64_t)A32 *B32 + C32 + ((uint64_t)7 << 32))
static uint64_t carry_chain(uint32_t a, uint32_t b, uint32_t c) {
  uint64_t low = (uint64_t)a + b, high = (uint64_t)b + c + (low >> 32);
  return (uint64_t)(uint32_t)high << 32 | (uint32_t)((uint32_t)low + (uint32_t)(high >> 32));
}
REFERENCE(r_chain, carry_chain(A32, B32, C32))

static const Case cases64[] = {
    {"add.s64 %d, %a, %b;", r_add64},
    {"sub.u64 %d, %a, %b;", r_sub64},
    {"mul.lo.s64 %d, %a, %b;", r_mul64},
    {"mul.hi.u64 %d, %a, %b;", r_mulhi_u64},
    {"mul.hi.s64 %d, %a, %b;", r_mulhi_s64},
    {"mad.lo.u64 %d, %a, %b, %c;", r_mad64},
    {"mul.wide.u32 %d, %ra, %rb;", r_wide_u},
    {"mul.wide.s32 %d, %ra, %rb;", r_wide_s},
    {"mad.wide.u32 %d, %ra, %rb, %c;", r_madwide_u},
    {"mad.wide.s32 %d, %ra, %rb, %c;", r_madwide_s},
    {"min.u64 %d, %a, %b;", r_min_u64},
    {"max.s64 %d, %a, %b;", r_max_s64},
    {"or.b64 %d, %b, 1;\ndiv.u64 %d, %a, %d;", r_div_u64},
    {"or.b64 %d, %b, 1;\nrem.s64 %d, %a, %d;", r_rem_s64},
    {"abs.s64 %d, %a;", r_abs64},
    {"neg.s64 %d, %a;", r_neg64},
    {"and.b64 %d, %a, %b;", r_and64},
    {"or.b64 %d, %a, %b;", r_or64},
    {"xor.b64 %d, %a, %b;", r_xor64},
    {"not.b64 %d, %a;", r_not64},
    {"shl.b64 %d, %a, %rb;", r_shl64},
    {"shr.u64 %d, %a, %rb;", r_shr_u64},
    {"shr.s64 %d, %a, %rb;", r_shr_s64},
    {"brev.b64 %d, %a;", r_brev64},
    {"and.b32 %t, %rb, 63;\nand.b32 %t2, %rc, 63;\nbfe.u64 %d, %a, %t, %t2;", r_bfe_u64},
    {"and.b32 %t, %rb, 63;\nand.b32 %t2, %rc, 63;\nbfe.s64 %d, %a, %t, %t2;", r_bfe_s64},
    {"and.b32 %t, %rc, 63;\nbfi.b64 %d, %a, %b, %t, 9;", r_bfi64},
    {"mov.b64 %d, {%ra, %rb};", r_pack},
    {"mov.b64 {%t, %t2}, %a;\nmov.b64 %d, {%t2, %t};", r_swap},
    {"{ .reg .b16 %q<4>;\nmov.b64 {%q0, %q1, %q2, %q3}, %a;\nmov.b64 %d, {%q2, %q3, %q0, %q1}; }", r_swap},
    {"{ .reg .b16 %q<2>;\nmov.b32 {%q0, %q1}, %ra;\nmov.b32 %t, {%q0, %q1};\nmov.b64 %d, {%t, %rb}; }", r_pack},
    {"selp.b64 %d, %a, %b, %p;", r_selp64},
    {"add.cc.u64 %d, %a, %b;\naddc.u64 %d, %c, %a;", r_add128_high},
    {"sub.cc.u64 %d, %a, %b;\nsubc.u64 %d, %c, %a;", r_sub128_high},
    {"{ .reg .b32 %l, %h, %m, %n;\nmov.b64 {%l, %h}, %a;\nmov.b64 {%m, %n}, %b;\nadd.cc.u32 %l, %l, %m;\n"
     "addc.u32 %h, %h, %n;\nmov.b64 %d, {%l, %h}; }",
     r_add64_parts},
    {"{ .reg .b32 %l, %h, %m, %n;\nmov.b64 {%l, %h}, %a;\nmov.b64 {%m, %n}, %b;\nsub.cc.u32 %l, %l, %m;\n"
     "subc.u32 %h, %h, %n;\nmov.b64 %d, {%l, %h}; }",
     r_sub64_parts},
    {"cvt.s64.s32 %d, %ra;", r_sign_32},
    {"{ .reg .b32 %l, %h;\nmad.lo.cc.u32 %l, %ra, %rb, %rc;\nmadc.hi.u32 %h, %ra, %rb, 7;\nmov.b64 %d, {%l, %h}; }",
     r_mad_parts},
    {"{ .reg .b32 %l, %h, %m;\nadd.cc.u32 %l, %ra, %rb;\naddc.cc.u32 %h, %rb, %rc;\naddc.u32 %m, 0, 0;\n"
     "add.u32 %l, %l, %m;\nmov.b64 %d, {%l, %h}; }",
     r_chain},
};

/* ---- 16 bits ---- */

REFERENCE(r_add16, HA + HB)
REFERENCE(r_sub16, HA - HB)
REFERENCE(r_mul16, (uint32_t)HA *HB)
REFERENCE(r_mulhi_u16, (uint32_t)HA *HB >> 16)
REFERENCE(r_mulhi_s16, (HSA * HSB) >> 16)
REFERENCE(r_mad16, (uint32_t)HA *HB + HC)
REFERENCE(r_min_s16, HSA < HSB ? HSA : HSB)
REFERENCE(r_max_u16, HA > HB ? HA : HB)
REFERENCE(r_div_s16, HSA / (HSB | 1))
REFERENCE(r_rem_u16, HA % (HB | 1))
REFERENCE(r_abs16, HSA < 0 ? -HSA : HSA)
REFERENCE(r_neg16, -HA)
REFERENCE(r_not16, ~HA)
REFERENCE(r_shl16, B32 > 15 ? 0 : HA << B32)
REFERENCE(r_shr_u16, B32 > 15 ? 0 : HA >> B32)
REFERENCE(r_shr_s16, HSA >> (B32 > 15 ? 15 : B32))
REFERENCE(r_selp16, c & 1 ? HA : HB)

static const Case cases16[] = {
    {"add.s16 %hd, %ha, %hb;", r_add16},
    {"sub.u16 %hd, %ha, %hb;", r_sub16},
    {"mul.lo.s16 %hd, %ha, %hb;", r_mul16},
    {"mul.hi.u16 %hd, %ha, %hb;", r_mulhi_u16},
    {"mul.hi.s16 %hd, %ha, %hb;", r_mulhi_s16},
    {"mad.lo.u16 %hd, %ha, %hb, %hc;", r_mad16},
    {"min.s16 %hd, %ha, %hb;", r_min_s16},
    {"max.u16 %hd, %ha, %hb;", r_max_u16},
    {"or.b16 %hd, %hb, 1;\ndiv.s16 %hd, %ha, %hd;", r_div_s16},
    {"or.b16 %hd, %hb, 1;\nrem.u16 %hd, %ha, %hd;", r_rem_u16},
    {"abs.s16 %hd, %ha;", r_abs16},
    {"neg.s16 %hd, %ha;", r_neg16},
    {"not.b16 %hd, %ha;", r_not16},
    {"shl.b16 %hd, %ha, %rb;", r_shl16},
    {"shr.u16 %hd, %ha, %rb;", r_shr_u16},
    {"shr.s16 %hd, %ha, %rb;", r_shr_s16},
    {"selp.u16 %hd, %ha, %hb, %p;", r_selp16},
};

/* ---- comparisons: the result is 1 or 0 ---- */

#define SETP(text) text " selp.b32 %rd, 1, 0, %q;"
REFERENCE(r_lt_u, A32 < B32)
REFERENCE(r_lt_s, SA < SB)
REFERENCE(r_ge_u64, a >= b)
REFERENCE(r_gt_s64, LA > LB)
REFERENCE(r_le_s16, HSA <= HSB)
REFERENCE(r_ne_u16, HA != HB)
REFERENCE(r_eq_and, A32 == B32 && c & 1)
REFERENCE(r_ne_or, A32 != B32 || c & 1)
REFERENCE(r_ge_xor, (SA >= SB) != (c & 1))
REFERENCE(r_eq_and_not, A32 == B32 && !(c & 1))
REFERENCE(r_other, !(SA < SB) && c & 1)
REFERENCE(r_logic, ((SA < SB) != !(c & 1)) && ((SA < SB) || c & 1))
REFERENCE(r_set_u, A32 > B32 ? UINT32_MAX : 0)
REFERENCE(r_set_f, SA <= SB ? 0x3f800000 : 0)

static const Case cases_compare[] = {
    {SETP("setp.lt.u32 %q, %ra, %rb;"), r_lt_u},
    {SETP("setp.lo.u32 %q, %ra, %rb;"), r_lt_u},
    {SETP("setp.lt.s32 %q, %ra, %rb;"), r_lt_s},
    {SETP("setp.ge.u64 %q, %a, %b;"), r_ge_u64},
    {SETP("setp.hs.u64 %q, %a, %b;"), r_ge_u64},
    {SETP("setp.gt.s64 %q, %a, %b;"), r_gt_s64},
    {SETP("setp.le.s16 %q, %ha, %hb;"), r_le_s16},
    {SETP("setp.ne.u16 %q, %ha, %hb;"), r_ne_u16},
    {SETP("setp.eq.and.b32 %q, %ra, %rb, %p;"), r_eq_and},
    {SETP("setp.ne.or.s32 %q, %ra, %rb, %p;"), r_ne_or},
    {SETP("setp.ge.xor.s32 %q, %ra, %rb, %p;"), r_ge_xor},
    {SETP("setp.eq.and.b32 %q, %ra, %rb, !%p;"), r_eq_and_not},
    {SETP("setp.lt.and.s32 %s|%q, %ra, %rb, %p;"), r_other},
    {SETP("setp.lt.s32 %q, %ra, %rb;\nnot.pred %s, %p;\nxor.pred %s, %q, %s;\nor.pred %q, %q, %p;\nand.pred %q, %q, "
          "%s;"),
     r_logic},
    {"set.gt.u32.u32 %rd, %ra, %rb;", r_set_u},
    {"set.le.f32.s32 %rd, %ra, %rb;", r_set_f},
};

static void test_32(void **state) {
  (void)state;
  CHECK_CASES(cases32, "st.global.u32", 4, &inputs);
}
static void test_64(void **state) {
  (void)state;
  CHECK_CASES(cases64, "st.global.u64", 8, &inputs);
}
static void test_16(void **state) {
  (void)state;
  CHECK_CASES(cases16, "st.global.u16", 2, &inputs);
}
static void test_compare(void **state) {
  (void)state;
  CHECK_CASES(cases_compare, "st.global.u32", 4, &inputs);
}

static void test_division(void **state) {
  (void)state;
  if (!cu.is_cpu) skip();
  CHECK_CASES(cases_division, "st.global.u32", 4, &inputs);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_32), cmocka_unit_test(test_64), cmocka_unit_test(test_16),
                                     cmocka_unit_test(test_compare), cmocka_unit_test(test_division)};
  return cmocka_run_group_tests(tests, make_inputs, device_close);
}
