/* Real arithmetic, real comparisons and conversions of the CPU device against plain C, bit for bit, on random bit
 * patterns and on zeros, subnormals, infinities, NaNs and the edges of integer ranges. */
#include "cpu_instruction.h"

#include <math.h>

static CaseInputs singles, doubles, integers;

static float f(uint64_t bits) {
  uint32_t narrow = (uint32_t)bits;
  float x;
  memcpy(&x, &narrow, 4);
  return x;
}
static double d(uint64_t bits) {
  double x;
  memcpy(&x, &bits, 8);
  return x;
}
static uint64_t fb(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return bits;
}
static uint64_t db(double x) {
  uint64_t bits;
  memcpy(&bits, &x, 8);
  return bits;
}
/* Every NaN result is this one. */
static uint64_t cf(float x) {
  return isnan(x) ? 0x7fffffff : fb(x);
}

static uint64_t single_value(void) {
  static const uint32_t edges[] = {0,          0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000,
                                   0xffc12345, 0x7fffffff, 1,          0x80000001, 0x007fffff, 0x00800000, 0x7f7fffff,
                                   0xff7fffff, 0x3f000000, 0xbf000000, 0x3fc00000, 0x40200000, 0x4effffff, 0x4f000000,
                                   0xcf000000, 0xcf000001, 0x4f800000, 0x5f000000, 0xdf000000, 0x42fe0000, 0x43000000,
                                   0xc3000000, 0xc3008000, 0x437f0000, 0x437f8000, 0x47000000, 0x477fff00};
  uint64_t r = random64();
  if (r % 4 == 0) return edges[random64() % (sizeof edges / sizeof *edges)];
  if (r % 4 == 1) return fb((float)((int64_t)random64() >> random64() % 63) * 0.5f);
  if (r % 4 == 2) return fb((float)(int32_t)random64() / 65536.0f);
  return random64() & 0xffffffff;
}

static uint64_t double_value(void) {
  static const double edges[] = {0.0,           -0.0,          1.0,           -1.0,         INFINITY,     -INFINITY,
                                 NAN,           0.5,           1.5,           2.5,          2147483647.0, 2147483648.0,
                                 -2147483648.0, -2147483648.5, -2147483649.0, 4294967295.5, 9.3e18,       -9.3e18,
                                 1.9e19,        1e-310,        3.4028235e38,  3.5e38,       1e-45,        7e-46};
  uint64_t r = random64();
  if (r % 4 == 0) return db(edges[random64() % (sizeof edges / sizeof *edges)]);
  if (r % 4 == 1) return db((double)((int64_t)random64() >> random64() % 63) * 0.25);
  if (r % 4 == 2) return db((double)f(random64()) * (1.0 + (double)(random64() % 1000) * 1e-11));
  return random64();
}

static int make_inputs(void **state) {
  for (int i = 0; i < CASE_THREADS; i++) {
    singles.a[i] = single_value(), singles.b[i] = single_value(), singles.c[i] = single_value();
    doubles.a[i] = double_value(), doubles.b[i] = double_value(), doubles.c[i] = double_value();
    integers.a[i] = random64() >> random64() % 64;
    if (random64() % 8 == 0) integers.a[i] = 0 - integers.a[i];
  }
  /* Pairs that are equal, and zeros of both signs against each other. */
  for (int i = 0; i < 32; i++) singles.b[i] = singles.a[i], doubles.b[i] = doubles.a[i];
  singles.a[40] = 0, singles.b[40] = 0x80000000, singles.a[41] = 0x80000000, singles.b[41] = 0;
  return device_open(state);
}

/* ---- arithmetic ---- */

static float least(float x, float y) {
  if (isnan(x)) return y;
  if (isnan(y)) return x;
  if (x == y) return signbit(x) ? x : y;
  return x < y ? x : y;
}
static float greatest(float x, float y) {
  if (isnan(x)) return y;
  if (isnan(y)) return x;
  if (x == y) return signbit(x) ? y : x;
  return x > y ? x : y;
}
static float flushed(float x) {
  return fpclassify(x) == FP_SUBNORMAL ? copysignf(0, x) : x;
}
static float saturated(float x) {
  return x > 0 ? (x < 1 ? x : 1) : 0;
}

REFERENCE(r_add, cf(f(a) + f(b)))
REFERENCE(r_sub, cf(f(a) - f(b)))
REFERENCE(r_mul, cf(f(a) * f(b)))
REFERENCE(r_div, cf(f(a) / f(b)))
REFERENCE(r_fma, cf(fmaf(f(a), f(b), f(c))))
REFERENCE(r_sqrt, cf(sqrtf(f(a))))
REFERENCE(r_rcp, cf(1 / f(a)))
REFERENCE(r_min, cf(least(f(a), f(b))))
REFERENCE(r_max, cf(greatest(f(a), f(b))))
REFERENCE(r_min_nan, isnan(f(a)) || isnan(f(b)) ? 0x7fffffff : fb(least(f(a), f(b))))
REFERENCE(r_max_nan, isnan(f(a)) || isnan(f(b)) ? 0x7fffffff : fb(greatest(f(a), f(b))))
REFERENCE(r_add_ftz, cf(flushed(flushed(f(a)) + flushed(f(b)))))
REFERENCE(r_mul_sat, cf(saturated(f(a) * f(b))))
REFERENCE(r_constant, cf(f(a) * 0.1f))
REFERENCE(r_lt, f(a) < f(b))
REFERENCE(r_geu, !(f(a) < f(b)))
REFERENCE(r_neu, !(f(a) == f(b)))
REFERENCE(r_ne, f(a) != f(b) && !isnan(f(a)) && !isnan(f(b)))
REFERENCE(r_equ, f(a) == f(b) || isnan(f(a)) || isnan(f(b)))
REFERENCE(r_gtu, !(f(a) <= f(b)))
REFERENCE(r_num, !isnan(f(a)) && !isnan(f(b)))
REFERENCE(r_nan, isnan(f(a)) || isnan(f(b)))
REFERENCE(r_le_and, f(a) <= f(b) && c & 1)
REFERENCE(r_slct, f(c) >= 0 ? (uint32_t)a : (uint32_t)b)
REFERENCE(r_subnormal, fpclassify(f(a)) == FP_SUBNORMAL)
REFERENCE(r_copysign, (a & 0x80000000) | (b & 0x7fffffff))

#define SETP(text) text " selp.b32 %rd, 1, 0, %q;"
static const Case cases_single[] = {
    {"add.rn.f32 %rd, %ra, %rb;", r_add},
    {"add.f32 %rd, %ra, %rb;", r_add},
    {"sub.rn.f32 %rd, %ra, %rb;", r_sub},
    {"mul.rn.f32 %rd, %ra, %rb;", r_mul},
    {"div.rn.f32 %rd, %ra, %rb;", r_div},
    {"fma.rn.f32 %rd, %ra, %rb, %rc;", r_fma},
    {"sqrt.rn.f32 %rd, %ra;", r_sqrt},
    {"rcp.rn.f32 %rd, %ra;", r_rcp},
    {"min.f32 %rd, %ra, %rb;", r_min},
    {"max.f32 %rd, %ra, %rb;", r_max},
    {"min.NaN.f32 %rd, %ra, %rb;", r_min_nan},
    {"max.NaN.f32 %rd, %ra, %rb;", r_max_nan},
    {"add.rn.ftz.f32 %rd, %ra, %rb;", r_add_ftz},
    {"mul.rn.sat.f32 %rd, %ra, %rb;", r_mul_sat},
    {"mul.rn.f32 %rd, %ra, 0f3DCCCCCD;", r_constant},
    {"{ .reg .f32 %x; mov.f32 %x, 0f3DCCCCCD; mul.rn.f32 %rd, %ra, %x; }", r_constant},
    {SETP("setp.lt.f32 %q, %ra, %rb;"), r_lt},
    {SETP("setp.geu.f32 %q, %ra, %rb;"), r_geu},
    {SETP("setp.neu.f32 %q, %ra, %rb;"), r_neu},
    {SETP("setp.ne.f32 %q, %ra, %rb;"), r_ne},
    {SETP("setp.equ.f32 %q, %ra, %rb;"), r_equ},
    {SETP("setp.gtu.f32 %q, %ra, %rb;"), r_gtu},
    {SETP("setp.num.f32 %q, %ra, %rb;"), r_num},
    {SETP("setp.nan.f32 %q, %ra, %rb;"), r_nan},
    {SETP("setp.le.and.f32 %q, %ra, %rb, %p;"), r_le_and},
    {SETP("testp.subnormal.f32 %q, %ra;"), r_subnormal},
    {"slct.b32.f32 %rd, %ra, %rb, %rc;", r_slct},
    {"copysign.f32 %rd, %ra, %rb;", r_copysign},
};

/* Sign operations keep the other bits; of a NaN PTX promises nothing. */
REFERENCE(r_neg, a ^ 0x80000000)
REFERENCE(r_abs, a & 0x7fffffff)
static const Case cases_sign[] = {{"neg.f32 %rd, %ra;", r_neg}, {"abs.f32 %rd, %ra;", r_abs}};

/* Where two operands may be NaNs, which one's payload comes out is left open: it is made zero before it is compared. */
static uint64_t cd(double x) {
  return isnan(x) ? 0 : db(x);
}
#define NO_NAN " { .reg .pred %n; setp.nan.f64 %n, %d, %d; selp.b64 %d, 0, %d, %n; }"
static double least64(double x, double y) {
  return isnan(x) ? y : isnan(y) ? x : x == y ? (signbit(x) ? x : y) : x < y ? x : y;
}
static double greatest64(double x, double y) {
  return isnan(x) ? y : isnan(y) ? x : x == y ? (signbit(x) ? y : x) : x > y ? x : y;
}
REFERENCE(r_add64, cd(d(a) + d(b)))
REFERENCE(r_sub64, cd(d(a) - d(b)))
REFERENCE(r_mul64, cd(d(a) * d(b)))
REFERENCE(r_div64, cd(d(a) / d(b)))
REFERENCE(r_fma64, cd(fma(d(a), d(b), d(c))))
REFERENCE(r_sqrt64, cd(sqrt(d(a))))
REFERENCE(r_min64, cd(least64(d(a), d(b))))
REFERENCE(r_max64, cd(greatest64(d(a), d(b))))
REFERENCE(r_neg64, isnan(d(a)) ? 0 : a ^ (uint64_t)1 << 63)
REFERENCE(r_cmp64, d(a) <= d(b))
REFERENCE(r_floor64, cd(floor(d(a))))
REFERENCE(r_from_single64,
          isnan(f(a)) ? (a & 0x80000000) << 32 | (a & 0x7fffffff) << 29 | 0x7ff8000000000000u : db((double)f(a)))
static uint64_t quiet(double x, double r) {
  return isnan(x) ? db(x) | (uint64_t)1 << 51 : isnan(r) ? 0xfff8000000000000u : db(r);
}
REFERENCE(r_sqrt_nan, quiet(d(a), sqrt(d(a))))
REFERENCE(r_add_one, quiet(d(a), d(a) + 1))
REFERENCE(r_floor_nan, quiet(d(a), floor(d(a))))
REFERENCE(r_neg_nan, isnan(d(a)) ? db(d(a)) | (uint64_t)1 << 51 : a ^ (uint64_t)1 << 63)

static const Case cases_double[] = {
    {"add.rn.f64 %d, %a, %b;" NO_NAN, r_add64},
    {"sub.f64 %d, %a, %b;" NO_NAN, r_sub64},
    {"mul.rn.f64 %d, %a, %b;" NO_NAN, r_mul64},
    {"div.rn.f64 %d, %a, %b;" NO_NAN, r_div64},
    {"fma.rn.f64 %d, %a, %b, %c;" NO_NAN, r_fma64},
    {"sqrt.rn.f64 %d, %a;" NO_NAN, r_sqrt64},
    {"min.f64 %d, %a, %b;" NO_NAN, r_min64},
    {"max.f64 %d, %a, %b;" NO_NAN, r_max64},
    {"neg.f64 %d, %a;" NO_NAN, r_neg64},
    {"{ .reg .pred %l; setp.le.f64 %l, %a, %b; selp.b64 %d, 1, 0, %l; }", r_cmp64},
    {"cvt.rmi.f64.f64 %d, %a;" NO_NAN, r_floor64},
    {"cvt.f64.f32 %d, %ra;", r_from_single64},
    {"sqrt.rn.f64 %d, %a;", r_sqrt_nan},
    {"add.rn.f64 %d, %a, 0d3FF0000000000000;", r_add_one},
    {"cvt.rmi.f64.f64 %d, %a;", r_floor_nan},
    {"neg.f64 %d, %a;", r_neg_nan},
};

/* ---- conversions ---- */

/* An integral value clamped to an integer range; NaN as told. */
static uint64_t clamped(double x, double low, double high, uint64_t least_bits, uint64_t greatest_bits,
                        uint64_t of_nan) {
  if (isnan(x)) return of_nan;
  if (x <= low) return least_bits;
  if (x >= high) return greatest_bits;
  return x < 0 ? (uint64_t)(int64_t)x : (uint64_t)x;
}
static uint64_t to_s32(double x) {
  return clamped(x, INT32_MIN, INT32_MAX, (uint32_t)INT32_MIN, INT32_MAX, 0);
}
static uint64_t to_u32(double x) {
  return clamped(x, 0, UINT32_MAX, 0, UINT32_MAX, 0);
}

REFERENCE(r_rni_s32, to_s32(rint(f(a))))
REFERENCE(r_rzi_s32, to_s32(trunc(f(a))))
REFERENCE(r_rmi_s32, to_s32(floor(f(a))))
REFERENCE(r_rpi_s32, to_s32(ceil(f(a))))
REFERENCE(r_rni_u32, to_u32(rint(f(a))))
REFERENCE(r_rzi_u32, to_u32(trunc(f(a))))
REFERENCE(r_rni_s8, clamped(rint(f(a)), -128, 127, 0xffffff80, 127, 0))
REFERENCE(r_rni_u8, clamped(rint(f(a)), 0, 255, 0, 255, 0))
REFERENCE(r_rzi_s16, clamped(trunc(f(a)), -32768, 32767, 0xffff8000, 32767, 0))
REFERENCE(r_rni_f32, cf(rintf(f(a))))
REFERENCE(r_rmi_f32, cf(floorf(f(a))))
REFERENCE(r_rpi_f32, cf(ceilf(f(a))))
REFERENCE(r_rzi_f32, cf(truncf(f(a))))
REFERENCE(r_sat_f32, cf(saturated(f(a))))
static const Case cases_from_single[] = {
    {"cvt.rni.s32.f32 %rd, %ra;", r_rni_s32}, {"cvt.rzi.s32.f32 %rd, %ra;", r_rzi_s32},
    {"cvt.rmi.s32.f32 %rd, %ra;", r_rmi_s32}, {"cvt.rpi.s32.f32 %rd, %ra;", r_rpi_s32},
    {"cvt.rni.u32.f32 %rd, %ra;", r_rni_u32}, {"cvt.rzi.u32.f32 %rd, %ra;", r_rzi_u32},
    {"cvt.rni.s8.f32 %rd, %ra;", r_rni_s8},   {"cvt.rni.u8.f32 %rd, %ra;", r_rni_u8},
    {"cvt.rzi.s16.f32 %rd, %ra;", r_rzi_s16}, {"cvt.rni.f32.f32 %rd, %ra;", r_rni_f32},
    {"cvt.rmi.f32.f32 %rd, %ra;", r_rmi_f32}, {"cvt.rpi.f32.f32 %rd, %ra;", r_rpi_f32},
    {"cvt.rzi.f32.f32 %rd, %ra;", r_rzi_f32}, {"cvt.sat.f32.f32 %rd, %ra;", r_sat_f32},
};

#define TWO63 9223372036854775808.0
REFERENCE(r_rni_s64, clamped(rint(f(a)), -TWO63, TWO63, (uint64_t)INT64_MIN, INT64_MAX, (uint64_t)INT64_MIN))
REFERENCE(r_rzi_u64, clamped(trunc(f(a)), 0, 2 * TWO63, 0, UINT64_MAX, (uint64_t)1 << 63))
static const Case cases_single_to_long[] = {{"cvt.rni.s64.f32 %d, %ra;", r_rni_s64},
                                            {"cvt.rzi.u64.f32 %d, %ra;", r_rzi_u64}};

REFERENCE(r_d_s32, clamped(rint(d(a)), INT32_MIN, INT32_MAX, (uint32_t)INT32_MIN, INT32_MAX, 0x80000000))
REFERENCE(r_d_u32, clamped(trunc(d(a)), 0, UINT32_MAX, 0, UINT32_MAX, 0x80000000))
static uint64_t narrow(uint64_t a, float r) {
  return isnan(d(a)) ? (a >> 32 & 0x80000000) | 0x7fc00000 | (a >> 29 & 0x3fffff) : fb(r);
}
REFERENCE(r_d_f32, narrow(a, (float)d(a)))
static float toward_zero(double x) {
  float r = (float)x;
  return fabs((double)r) > fabs(x) ? nextafterf(r, 0) : r;
}
REFERENCE(r_d_f32_rz, narrow(a, toward_zero(d(a))))
static const Case cases_from_double[] = {{"cvt.rni.s32.f64 %rd, %a;", r_d_s32},
                                         {"cvt.rzi.u32.f64 %rd, %a;", r_d_u32},
                                         {"cvt.rn.f32.f64 %rd, %a;", r_d_f32},
                                         {"cvt.rz.f32.f64 %rd, %a;", r_d_f32_rz}};

static uint64_t clamp_s(int64_t v, int64_t low, int64_t high) {
  return (uint64_t)(v < low ? low : v > high ? high : v);
}
REFERENCE(r_s32_f32, fb((float)(int32_t)a))
REFERENCE(r_u32_f32, fb((float)(uint32_t)a))
REFERENCE(r_s64_f32, fb((float)(int64_t)a))
REFERENCE(r_u64_f32, fb((float)a))
REFERENCE(r_s8_f32, fb((float)(int8_t)a))
REFERENCE(r_u16_f32, fb((float)(uint16_t)a))
static float rounded_down(int32_t x) {
  float r = (float)x;
  return (double)r > (double)x ? nextafterf(r, -INFINITY) : r;
}
static float rounded_up(uint32_t x) {
  float r = (float)x;
  return (double)r < (double)x ? nextafterf(r, INFINITY) : r;
}
REFERENCE(r_s32_f32_rm, fb(rounded_down((int32_t)a)))
REFERENCE(r_u32_f32_rp, fb(rounded_up((uint32_t)a)))
REFERENCE(r_u8_u32, (uint8_t)a)
REFERENCE(r_s8_s32, (uint32_t)(int8_t)a)
REFERENCE(r_s16_s32, (uint32_t)(int16_t)a)
REFERENCE(r_sat_s8, (uint32_t)clamp_s((int32_t)a, -128, 127))
REFERENCE(r_sat_u8, clamp_s((int32_t)a, 0, 255))
REFERENCE(r_sat_u16_u32, (uint32_t)a > 65535 ? 65535 : (uint32_t)a)
REFERENCE(r_low, a)
REFERENCE(r_sat_s32_s64, (uint32_t)clamp_s((int64_t)a, INT32_MIN, INT32_MAX))
static const Case cases_from_integer[] = {
    {"cvt.rn.f32.s32 %rd, %ra;", r_s32_f32},
    {"cvt.rn.f32.u32 %rd, %ra;", r_u32_f32},
    {"cvt.rn.f32.s64 %rd, %a;", r_s64_f32},
    {"cvt.rn.f32.u64 %rd, %a;", r_u64_f32},
    {"cvt.rn.f32.s8 %rd, %ra;", r_s8_f32},
    {"cvt.rn.f32.u16 %rd, %ha;", r_u16_f32},
    {"cvt.rm.f32.s32 %rd, %ra;", r_s32_f32_rm},
    {"cvt.rp.f32.u32 %rd, %ra;", r_u32_f32_rp},
    {"cvt.u32.u8 %rd, %ra;", r_u8_u32},
    {"cvt.s32.s8 %rd, %ra;", r_s8_s32},
    {"cvt.s32.s16 %rd, %ha;", r_s16_s32},
    {"cvt.sat.s8.s32 %rd, %ra;", r_sat_s8},
    {"cvt.sat.u8.s32 %rd, %ra;", r_sat_u8},
    {"cvt.sat.u16.u32 %rd, %ra;", r_sat_u16_u32},
    {"cvt.u32.u64 %rd, %a;", r_low},
    {"cvt.sat.s32.s64 %rd, %a;", r_sat_s32_s64},
};

REFERENCE(r_s64_f64, db((double)(int64_t)a))
REFERENCE(r_u32_f64, db((double)(uint32_t)a))
REFERENCE(r_u32_u64, (uint32_t)a)
REFERENCE(r_s8_s64, (int64_t)(int8_t)a)
static const Case cases_to_long[] = {{"cvt.rn.f64.s64 %d, %a;", r_s64_f64},
                                     {"cvt.rn.f64.u32 %d, %ra;", r_u32_f64},
                                     {"cvt.u64.u32 %d, %ra;", r_u32_u64},
                                     {"cvt.s64.s8 %d, %ra;", r_s8_s64}};

static void test_single(void **state) {
  (void)state;
  CHECK_CASES(cases_single, "st.global.u32", 4, &singles);
}
static void test_double(void **state) {
  (void)state;
  CHECK_CASES(cases_double, "st.global.u64", 8, &doubles);
}
static void test_to_integer(void **state) {
  (void)state;
  CHECK_CASES(cases_from_single, "st.global.u32", 4, &singles);
  CHECK_CASES(cases_single_to_long, "st.global.u64", 8, &singles);
  CHECK_CASES(cases_from_double, "st.global.u32", 4, &doubles);
}
static void test_from_integer(void **state) {
  (void)state;
  CHECK_CASES(cases_from_integer, "st.global.u32", 4, &integers);
  CHECK_CASES(cases_to_long, "st.global.u64", 8, &integers);
}

static void test_sign(void **state) {
  static CaseInputs numbers;
  (void)state;
  numbers = singles;
  for (int i = 0; i < CASE_THREADS; i++)
    if (isnan(f(numbers.a[i]))) numbers.a[i] = 0x80000000;
  CHECK_CASES(cases_sign, "st.global.u32", 4, &numbers);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_single), cmocka_unit_test(test_double),
                                     cmocka_unit_test(test_to_integer), cmocka_unit_test(test_from_integer),
                                     cmocka_unit_test(test_sign)};
  return cmocka_run_group_tests(tests, make_inputs, device_close);
}
