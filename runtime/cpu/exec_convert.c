/* cvt between all integer types, binary32 and binary64. Guarantees: one rounding, in the mode the instruction names;
 * real to integer clamps to the range of the result and a NaN gives 0 (1 << (bits - 1) where 64 bits are involved, as
 * PTX says); integer to integer truncates, or clamps with .sat. Between the real types a NaN keeps what of it fits, as
 * on an sm_90 GPU. */
#include "exec.h"

#include <math.h>

#define NAN32 0x7fffffffu
#define QUIET64 0x0008000000000000u

/* ---- lanes in and out ---- */

/* The integer of a source type, sign- or zero-extended to 64 bits. */
static void load_integers(const Warp *w, const Inst *in, PtxType type, bool wide_register, uint64_t x[LANES]) {
  uint32_t unused = 64 - 8u * ptx_types[type].bytes;
  bool is_signed = ptx_types[type].kind == 's';
  if (wide_register)
    memcpy(x, lanes64(w, in, 1), LANES * sizeof *x);
  else
    EACH_LANE x[lane] = lanes32(w, in, 1)[lane];
  if (is_signed)
    EACH_LANE x[lane] = (uint64_t)((int64_t)(x[lane] << unused) >> unused);
  else
    EACH_LANE x[lane] = x[lane] << unused >> unused;
}

/* Results sign- or zero-extend to the register that holds them. */
static void keep_integers(Warp *w, const Inst *in, PtxType type, uint64_t x[LANES], uint32_t mask) {
  uint32_t unused = 64 - 8u * ptx_types[type].bytes;
  if (ptx_types[type].kind == 's')
    EACH_LANE x[lane] = (uint64_t)((int64_t)(x[lane] << unused) >> unused);
  else
    EACH_LANE x[lane] = x[lane] << unused >> unused;
  if (in->data_class == REGISTER_64) {
    keep64(w, in, 0, x, mask);
    return;
  }
  uint32_t t[LANES], held = in->data_class == REGISTER_16 ? 0xffff : FULL_MASK;
  EACH_LANE t[lane] = (uint32_t)x[lane] & held;
  keep32(w, in, 0, t, mask);
}

/* ---- real to integral value ---- */

static inline double round_integral(double x, uint8_t rounding) {
  switch (rounding) {
  case ROUND_RZI:
    return trunc(x);
  case ROUND_RMI:
    return floor(x);
  case ROUND_RPI:
    return ceil(x);
  default:
    return rint(x);
  }
}

static inline float flush(const Inst *in, float x) {
  uint32_t bits = float_bits(x);
  return in->mod[MOD_FTZ] != MOD_NONE && !(bits & 0x7f800000) ? as_float(bits & 0x80000000) : x;
}

static void load_reals(const Warp *w, const Inst *in, double x[LANES]) {
  if (in->mod[MOD_TYPE2] == TYPE_F32)
    EACH_LANE x[lane] = flush(in, as_float(lanes32(w, in, 1)[lane]));
  else
    EACH_LANE x[lane] = as_double(lanes64(w, in, 1)[lane]);
}

/* x is integral or NaN. Limits of 64 bits are not doubles, so compare with the power of two above. */
static inline uint64_t clamp_to_integer(double x, uint32_t bits, bool is_signed, uint64_t of_nan) {
  if (x != x) return of_nan;
  double top = ldexp(1.0, (int)bits - (is_signed ? 1 : 0));
  if (is_signed) {
    uint64_t greatest = ((uint64_t)1 << (bits - 1)) - 1;
    return x >= top ? greatest : x < -top ? ~greatest : (uint64_t)(int64_t)x;
  }
  return x >= top ? UINT64_MAX >> (64 - bits) : x <= 0 ? 0 : (uint64_t)x;
}

EXEC(cvt_integer_real) {
  double x[LANES];
  uint64_t t[LANES];
  PtxType to = (PtxType)in->mod[MOD_TYPE];
  uint32_t bits = 8u * ptx_types[to].bytes;
  bool is_signed = ptx_types[to].kind == 's';
  bool long_rule = bits == 64 || in->mod[MOD_TYPE2] == TYPE_F64;
  uint64_t of_nan = long_rule ? (uint64_t)1 << (bits - 1) : 0;
  load_reals(w, in, x);
  EACH_LANE t[lane] = clamp_to_integer(round_integral(x[lane], in->mod[MOD_ROUND]), bits, is_signed, of_nan);
  keep_integers(w, in, to, t, mask);
}

/* The common pair: nearest even and toward zero, 32 bits. The limits are chosen so that the cast is defined. */
static inline uint32_t to_s32(float rounded) {
  int32_t inside = rounded >= -0x1p31f && rounded < 0x1p31f ? (int32_t)rounded : INT32_MAX;
  return rounded < -0x1p31f ? 0x80000000u : rounded != rounded ? 0 : (uint32_t)inside;
}

EXEC(cvt_rni_s32_f32) {
  const uint32_t *a = lanes32(w, in, 1);
  uint32_t t[LANES];
  EACH_LANE t[lane] = to_s32(rintf(as_float(a[lane])));
  keep32(w, in, 0, t, mask);
}

EXEC(cvt_rmi_s32_f32) {
  const uint32_t *a = lanes32(w, in, 1);
  uint32_t t[LANES];
  EACH_LANE t[lane] = to_s32(floorf(as_float(a[lane])));
  keep32(w, in, 0, t, mask);
}

EXEC(cvt_rzi_s32_f32) {
  const uint32_t *a = lanes32(w, in, 1);
  uint32_t t[LANES];
  EACH_LANE t[lane] = to_s32(truncf(as_float(a[lane])));
  keep32(w, in, 0, t, mask);
}

/* ---- integer to integer ---- */

/* v is the 64-bit extension of a source; the range of T seen through it. */
static inline uint64_t clamp_integer(uint64_t v, bool from_signed, uint32_t bits, bool to_signed) {
  bool negative = from_signed && (int64_t)v < 0;
  uint64_t greatest = UINT64_MAX >> (64 - bits) >> (to_signed ? 1 : 0);
  if (!negative) return v > greatest ? greatest : v;
  if (!to_signed) return 0;
  return (int64_t)v < ~(int64_t)greatest ? ~greatest : v;
}

EXEC(cvt_integer_integer) {
  uint64_t x[LANES];
  PtxType to = (PtxType)in->mod[MOD_TYPE], from = (PtxType)in->mod[MOD_TYPE2];
  load_integers(w, in, from, in->source_class == REGISTER_64, x);
  if (in->mod[MOD_SAT] != MOD_NONE) {
    bool from_signed = ptx_types[from].kind == 's', to_signed = ptx_types[to].kind == 's';
    EACH_LANE x[lane] = clamp_integer(x[lane], from_signed, 8u * ptx_types[to].bytes, to_signed);
  }
  keep_integers(w, in, to, x, mask);
}

/* ---- to real ---- */

/* Rounds an exactly known value (long double holds every 64-bit integer and every double) to binary32 or binary64. */
static inline float round_to_f32(long double exact, uint8_t rounding) {
  float nearest = (float)exact;
  if (rounding == ROUND_RZ && fabsl((long double)nearest) > fabsl(exact)) return nextafterf(nearest, 0.0f);
  if (rounding == ROUND_RM && (long double)nearest > exact) return nextafterf(nearest, -INFINITY);
  if (rounding == ROUND_RP && (long double)nearest < exact) return nextafterf(nearest, INFINITY);
  return nearest;
}

static inline double round_to_f64(long double exact, uint8_t rounding) {
  double nearest = (double)exact;
  if (rounding == ROUND_RZ && fabsl((long double)nearest) > fabsl(exact)) return nextafter(nearest, 0.0);
  if (rounding == ROUND_RM && (long double)nearest > exact) return nextafter(nearest, -INFINITY);
  if (rounding == ROUND_RP && (long double)nearest < exact) return nextafter(nearest, INFINITY);
  return nearest;
}

static inline float saturate(const Inst *in, float x) {
  return in->mod[MOD_SAT] == MOD_NONE ? x : x > 0 ? (x < 1 ? x : 1) : 0;
}

static inline uint32_t finish32(const Inst *in, float r) {
  r = saturate(in, r);
  return r != r ? NAN32 : float_bits(r);
}

EXEC(cvt_real_integer) {
  uint64_t x[LANES], wide[LANES];
  uint32_t narrow[LANES];
  PtxType from = (PtxType)in->mod[MOD_TYPE2];
  bool is_signed = ptx_types[from].kind == 's', single = in->mod[MOD_TYPE] == TYPE_F32;
  load_integers(w, in, from, in->source_class == REGISTER_64, x);
  EACH_LANE {
    long double exact = is_signed ? (long double)(int64_t)x[lane] : (long double)x[lane];
    if (single)
      narrow[lane] = finish32(in, round_to_f32(exact, in->mod[MOD_ROUND]));
    else
      wide[lane] = double_bits(round_to_f64(exact, in->mod[MOD_ROUND]));
  }
  if (single)
    keep32(w, in, 0, narrow, mask);
  else
    keep64(w, in, 0, wide, mask);
}

EXEC(cvt_rn_f32_s32) {
  const uint32_t *a = lanes32(w, in, 1);
  uint32_t t[LANES];
  EACH_LANE t[lane] = float_bits((float)(int32_t)a[lane]);
  keep32(w, in, 0, t, mask);
}

EXEC(cvt_rn_f32_u32) {
  const uint32_t *a = lanes32(w, in, 1);
  uint32_t t[LANES];
  EACH_LANE t[lane] = float_bits((float)a[lane]);
  keep32(w, in, 0, t, mask);
}

/* ---- real to real: integral roundings within one type, or a change of width ---- */

EXEC(cvt_f32_f32) {
  const uint32_t *a = lanes32(w, in, 1);
  uint32_t t[LANES];
  bool integral = in->mod[MOD_ROUND] != MOD_NONE && in->mod[MOD_ROUND] >= ROUND_RNI;
  EACH_LANE {
    float x = flush(in, as_float(a[lane]));
    t[lane] = finish32(in, integral ? (float)round_integral(x, in->mod[MOD_ROUND]) : x);
  }
  keep32(w, in, 0, t, mask);
}

EXEC(cvt_f64_f64) {
  const uint64_t *a = lanes64(w, in, 1);
  uint64_t t[LANES];
  bool integral = in->mod[MOD_ROUND] != MOD_NONE && in->mod[MOD_ROUND] >= ROUND_RNI;
  EACH_LANE {
    double x = as_double(a[lane]);
    double r = integral ? round_integral(x, in->mod[MOD_ROUND]) : x;
    if (in->mod[MOD_SAT] != MOD_NONE) r = r > 0 ? (r < 1 ? r : 1) : 0;
    t[lane] = r != r ? a[lane] | QUIET64 : double_bits(r);
  }
  keep64(w, in, 0, t, mask);
}

/* A NaN keeps its sign and the upper bits of its payload, and becomes quiet; .sat makes it zero. */
static inline uint32_t narrow_nan(uint64_t bits) {
  return (uint32_t)(bits >> 32 & 0x80000000) | 0x7fc00000 | (uint32_t)(bits >> 29 & 0x3fffff);
}

EXEC(cvt_f32_f64) {
  const uint64_t *a = lanes64(w, in, 1);
  uint32_t t[LANES];
  EACH_LANE {
    double x = as_double(a[lane]);
    bool keeps_nan = x != x && in->mod[MOD_SAT] == MOD_NONE;
    t[lane] = keeps_nan ? narrow_nan(a[lane]) : finish32(in, flush(in, round_to_f32(x, in->mod[MOD_ROUND])));
  }
  keep32(w, in, 0, t, mask);
}

static inline uint64_t widen_nan(uint32_t bits) {
  return (uint64_t)(bits & 0x80000000) << 32 | (uint64_t)(bits & 0x7fffffff) << 29 | 0x7ff8000000000000u;
}

EXEC(cvt_f64_f32) {
  const uint32_t *a = lanes32(w, in, 1);
  uint64_t t[LANES];
  EACH_LANE {
    double r = flush(in, as_float(a[lane]));
    if (in->mod[MOD_SAT] != MOD_NONE) r = r > 0 ? (r < 1 ? r : 1) : 0;
    t[lane] = r != r ? widen_nan(a[lane]) : double_bits(r);
  }
  keep64(w, in, 0, t, mask);
}
