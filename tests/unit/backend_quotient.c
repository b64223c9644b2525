/* Quotients by products: on the CPU device they round to the integer that the clamped, rounded quotient rounds to, at
 * every tie and beside it, at both ends of the range, and for numbers of all sizes. */
#define text_add device_text_add /* cpu_device.h has one of its own */
#include "cpu_device.h"
#undef text_add

#include "../../backend/emit.h"
#include "../../ir/exact.h"
#include <math.h>

enum { THREADS = 256, NUMBERS = 4096 };

static uint64_t state_of_random = 1;

static uint32_t draw(void) {
  state_of_random = state_of_random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (uint32_t)(state_of_random >> 32);
}

static float float_of_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/* Ties between two integers and their neighbours; then any numbers, infinities and NaNs among them. */
static void fill(float *x, float scale, int low, int high) {
  for (int i = 0; i < NUMBERS; i++) {
    if (i % 4 == 3) {
      x[i] = float_of_bits(draw());
      continue;
    }
    float tie = ((float)(low - 2) + (float)(draw() % (uint32_t)(high - low + 4)) + (i % 4 == 2 ? 0.0f : 0.5f)) * scale;
    for (int steps = (int)(draw() % 7) - 3; steps; steps += steps < 0 ? 1 : -1)
      tie = nextafterf(tie, steps < 0 ? -INFINITY : INFINITY);
    x[i] = tie;
  }
  x[0] = INFINITY, x[1] = -INFINITY, x[2] = NAN, x[3] = 0x1p-149f, x[4] = -0.0f;
}

static bool run_quotients(float scale, int low, int high, const float *x, int32_t *q) {
  Context *c = context_new(NULL);
  Ptx p;
  PtxValue in, out, v;
  ptx_begin(&p, c);
  in = ptx_param_pointer(&p);
  out = ptx_param_pointer(&p);
  PtxValue count = ptx_param_u32(&p), block = ptx_special(&p, "%ctaid.x");
  PtxValue thread = ptx_mad(&p, block, ptx_int(THREADS), ptx_special(&p, "%tid.x"));
  ptx_return_unless(&p, ptx_setp(&p, "lt.u32", thread, count));
  PtxValue number = ptx_load(&p, "global.f32", CLASS_F32, ptx_address(&p, in, thread, 4), 0);
  bool sure = quotient_by_products(&p, number, scale, (float)low, (float)high, &v);
  if (sure) {
    PtxValue rounded = ptx_convert(&p, "cvt.rni.s32.f32", CLASS_B32, v);
    ptx_store(&p, "global.b32", ptx_address(&p, out, thread, 4), 0, rounded);
    Text module = {.context = c};
    text_add(&module, "%s", PTX_HEADER);
    assert_true(ptx_finish(&p, &module, "k", THREADS));
    Run run = {.entry = "k", .grid = NUMBERS / THREADS, .block = THREADS, .scalar = NUMBERS};
    run.arrays[0] = (Array){(void *)(uintptr_t)x, NUMBERS * sizeof *x, 0};
    run.arrays[1] = (Array){q, NUMBERS * sizeof *q, 0};
    device_run(module.data, &run);
  }
  context_free(c);
  return sure;
}

/* False where the generator would divide. */
static bool check_scale(float scale, int low, int high) {
  static float x[NUMBERS];
  static int32_t q[NUMBERS];
  fill(x, scale, low, high);
  if (!run_quotients(scale, low, high, x, q)) return false;
  for (int i = 0; i < NUMBERS; i++) assert_int_equal(q[i], exact_quantize(x[i], scale, 0, low, high));
  return true;
}

static void quotients_are_exact(void **state) {
  static const int ranges[][2] = {{0, 255}, {-128, 127}, {0, 15}, {-8, 7}, {-3, 124}, {0, 1}};
  (void)state;
  for (int i = 0; i < 60; i++) {
    float scale = ldexpf(1.0f + (float)(draw() & 0x7fffff) * 0x1p-23f, (int)(draw() % 40) - 20);
    const int *range = ranges[i % 6];
    assert_true(check_scale(scale, range[0], range[1]));
  }
  assert_true(check_scale(0.37f, 0, 255));
  assert_true(check_scale(1.9999999f, -128, 127)); /* all ones: the reciprocal errs most */
}

static void extreme_scales_are_divided(void **state) {
  Context *c = context_new(NULL);
  Ptx p;
  PtxValue v;
  (void)state;
  ptx_begin(&p, c);
  assert_false(quotient_by_products(&p, ptx_new(&p, CLASS_F32), 0x1.8p-100f, 0, 255, &v));
  assert_false(quotient_by_products(&p, ptx_new(&p, CLASS_F32), 0x1.8p+100f, 0, 255, &v));
  context_free(c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(quotients_are_exact),
      cmocka_unit_test(extreme_scales_are_divided),
  };
  return cmocka_run_group_tests_name("backend_quotient", tests, device_open, device_close);
}
