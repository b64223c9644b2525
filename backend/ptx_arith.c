/* Integer arithmetic of the PTX builder: immediates are folded, neutral elements vanish, powers of two shift. */
#include "ptx.h"

static bool both_immediate(PtxValue a, PtxValue b) {
  return a.kind == OPERAND_IMMEDIATE && b.kind == OPERAND_IMMEDIATE;
}

/* log2 of an immediate power of two, otherwise -1. */
static int power_of_two(PtxValue o) {
  if (o.kind != OPERAND_IMMEDIATE || o.value <= 0 || (o.value & (o.value - 1))) return -1;
  return __builtin_ctzll((unsigned long long)o.value);
}

PtxValue ptx_add(Ptx *p, PtxValue a, PtxValue b) {
  if (both_immediate(a, b)) return ptx_int(a.value + b.value);
  if (ptx_is_int(a, 0)) return b;
  if (ptx_is_int(b, 0)) return a;
  if (a.kind == OPERAND_IMMEDIATE) return ptx_add(p, b, a);
  return ptx_2(p, "add.s32", a, b);
}

PtxValue ptx_sub(Ptx *p, PtxValue a, PtxValue b) {
  if (both_immediate(a, b)) return ptx_int(a.value - b.value);
  if (b.kind == OPERAND_IMMEDIATE) return ptx_add(p, a, ptx_int(-b.value));
  return ptx_2(p, "sub.s32", a, b);
}

PtxValue ptx_mul(Ptx *p, PtxValue a, PtxValue b) {
  if (both_immediate(a, b)) return ptx_int(a.value * b.value);
  if (a.kind == OPERAND_IMMEDIATE) return ptx_mul(p, b, a);
  if (ptx_is_int(b, 0)) return b;
  if (power_of_two(b) >= 0) return ptx_shl(p, a, power_of_two(b));
  return ptx_2(p, "mul.lo.s32", a, b);
}

PtxValue ptx_mad(Ptx *p, PtxValue a, PtxValue b, PtxValue c) {
  if (both_immediate(a, b) || ptx_is_int(a, 1) || ptx_is_int(b, 1) || ptx_is_int(c, 0))
    return ptx_add(p, ptx_mul(p, a, b), c);
  return ptx_3(p, "mad.lo.s32", a, b, c);
}

/* a / d for any a, by a product (Granlund and Montgomery, "Division by invariant integers using multiplication", 1994,
 * figure 4.1), as assemblers divide by a reciprocal that they work out at run time. d: above 1, no power of two. */
static PtxValue divide_by_constant(Ptx *p, PtxValue a, uint32_t d) {
  int log = 32 - __builtin_clz(d - 1);
  uint64_t factor = ((UINT64_C(1) << 32) * ((UINT64_C(1) << log) - d)) / d + 1;
  PtxValue high = ptx_2(p, "mul.hi.u32", a, ptx_int((int64_t)factor));
  PtxValue rest = ptx_shr(p, ptx_sub(p, a, high), 1);
  return ptx_shr(p, ptx_add(p, rest, high), log - 1);
}

PtxValue ptx_div(Ptx *p, PtxValue a, PtxValue b) {
  if (both_immediate(a, b)) return ptx_int((int64_t)((uint32_t)a.value / (uint32_t)b.value));
  if (power_of_two(b) >= 0) return ptx_shr(p, a, power_of_two(b));
  if (b.kind == OPERAND_IMMEDIATE && (uint32_t)b.value > 1) return divide_by_constant(p, a, (uint32_t)b.value);
  return ptx_2(p, "div.u32", a, b);
}

PtxValue ptx_rem(Ptx *p, PtxValue a, PtxValue b) {
  if (both_immediate(a, b)) return ptx_int((int64_t)((uint32_t)a.value % (uint32_t)b.value));
  if (power_of_two(b) >= 0) return ptx_and(p, a, ptx_int(b.value - 1));
  if (b.kind == OPERAND_IMMEDIATE && (uint32_t)b.value > 1)
    return ptx_sub(p, a, ptx_mul(p, divide_by_constant(p, a, (uint32_t)b.value), b));
  return ptx_2(p, "rem.u32", a, b);
}

PtxValue ptx_and(Ptx *p, PtxValue a, PtxValue b) {
  if (both_immediate(a, b)) return ptx_int(a.value & b.value);
  if (ptx_is_int(a, 0) || ptx_is_int(b, 0)) return ptx_int(0);
  if (ptx_is_int(b, -1)) return a;
  if (ptx_is_int(a, -1)) return b;
  return ptx_2(p, "and.b32", a, b);
}

PtxValue ptx_or(Ptx *p, PtxValue a, PtxValue b) {
  if (both_immediate(a, b)) return ptx_int(a.value | b.value);
  if (ptx_is_int(a, 0)) return b;
  if (ptx_is_int(b, 0)) return a;
  return ptx_2(p, "or.b32", a, b);
}

PtxValue ptx_shl(Ptx *p, PtxValue a, int amount) {
  if (!amount) return a;
  if (a.kind == OPERAND_IMMEDIATE) return ptx_int((int64_t)((uint32_t)a.value << amount));
  return ptx_2(p, "shl.b32", a, ptx_int(amount));
}

PtxValue ptx_shr(Ptx *p, PtxValue a, int amount) {
  if (!amount) return a;
  if (a.kind == OPERAND_IMMEDIATE) return ptx_int((int64_t)((uint32_t)a.value >> amount));
  return ptx_2(p, "shr.u32", a, ptx_int(amount));
}

PtxValue ptx_address(Ptx *p, PtxValue base, PtxValue index, int64_t bytes) {
  if (base.class == CLASS_B32) return ptx_mad(p, index, ptx_int(bytes), base);
  PtxValue d = ptx_new(p, CLASS_B64);
  if (index.kind == OPERAND_IMMEDIATE) {
    int64_t offset = (int64_t)(uint32_t)index.value * bytes;
    if (!offset) return base;
    ptx_raw(p, "add.s64 %s, %s, %lld;", ptx_text(p, d), ptx_text(p, base), (long long)offset);
    return d;
  }
  ptx_raw(p, "mad.wide.u32 %s, %s, %lld, %s;", ptx_text(p, d), ptx_text(p, index), (long long)bytes, ptx_text(p, base));
  return d;
}

PtxValue ptx_signed_address(Ptx *p, PtxValue base, PtxValue index, int64_t bytes) {
  PtxValue d = ptx_new(p, CLASS_B64);
  ptx_raw(p, "mad.wide.s32 %s, %s, %lld, %s;", ptx_text(p, d), ptx_text(p, index), (long long)bytes, ptx_text(p, base));
  return d;
}
