/* Elements in memory: the code that kernels use to find channels in bit planes and to read and store elements runs on
 * the CPU device and gives what ir/layout.c says, for every element type and layout. */
#define text_add device_text_add /* cpu_device.h has one of its own */
#include "cpu_device.h"
#undef text_add

#include "../../backend/emit.h"

enum { CHANNELS = 200, PIXELS = 3, THREADS = 256 };

/* A kernel of pointers and a u32, whose body a test writes between begin and run. */
typedef struct Program {
  Context *context;
  Ptx ptx;
  PtxValue arrays[3], thread;
} Program;

static void program_begin(Program *p, Context *c, int arrays) {
  *p = (Program){.context = c};
  ptx_begin(&p->ptx, c);
  for (int i = 0; i < arrays; i++) p->arrays[i] = ptx_param_pointer(&p->ptx);
  PtxValue count = ptx_param_u32(&p->ptx), block = ptx_special(&p->ptx, "%ctaid.x");
  p->thread = ptx_mad(&p->ptx, block, ptx_int(THREADS), ptx_special(&p->ptx, "%tid.x"));
  ptx_return_unless(&p->ptx, ptx_setp(&p->ptx, "lt.u32", p->thread, count));
}

static void program_run(Program *p, uint32_t count, const Array *arrays, int array_count) {
  Text module = {.context = p->context};
  text_add(&module, "%s", PTX_HEADER);
  assert_true(ptx_finish(&p->ptx, &module, "k", THREADS));
  Run run = {.entry = "k", .grid = (count + THREADS - 1) / THREADS, .block = THREADS, .scalar = count};
  memcpy(run.arrays, arrays, (size_t)array_count * sizeof *arrays);
  device_run(module.data, &run);
}

static void channels_and_bits(void **state) {
  (void)state;
  for (int block = 32; block <= 128; block *= 2) {
    Context *c = context_new(NULL);
    Program p;
    static uint32_t bits[512], channels[512];
    Layout layout = {.kind = LAYOUT_PLANES, .block = (uint16_t)block, .pitch = 512};
    program_begin(&p, c, 2);
    PtxValue bit = bit_of_channel(&p.ptx, layout, p.thread);
    ptx_store(&p.ptx, "global.b32", ptx_address(&p.ptx, p.arrays[0], p.thread, 4), 0, bit);
    PtxValue channel = channel_of_bit(&p.ptx, layout, p.thread);
    ptx_store(&p.ptx, "global.b32", ptx_address(&p.ptx, p.arrays[1], p.thread, 4), 0, channel);
    program_run(&p, 512, (Array[]){{bits, sizeof bits, 0}, {channels, sizeof channels, 0}}, 2);
    for (uint32_t i = 0; i < 512; i++) {
      assert_int_equal(bits[i], layout_bit_of_channel(layout, i));
      assert_int_equal(channels[i], layout_channel_of_bit(layout, i));
      assert_int_equal(layout_channel_of_bit(layout, bits[i]), i);
    }
    context_free(c);
  }
}

/* --- reading and storing --- */

static int32_t random_q(const Type *t) {
  return type_q_min(t) + (int32_t)(random64() % (uint64_t)(type_q_max(t) - type_q_min(t) + 1));
}

/* Puts an element where the layout has it; the rest of `data` stays. */
static void put(const Type *t, uint8_t *data, uint32_t pixel, uint32_t channel, int32_t q) {
  uint8_t *row = data + pixel * layout_pixel_bytes(t);
  uint32_t stored = layout_stored_q(t, q);
  if (t->layout.kind == LAYOUT_BYTES) {
    row[channel] = (uint8_t)stored;
    return;
  }
  uint32_t bit = layout_bit_of_channel(t->layout, channel);
  for (int plane = 0; plane < t->bits; plane++)
    row[(uint32_t)plane * t->layout.pitch / 8 + bit / 8] |= (uint8_t)((stored >> plane & 1) << bit % 8);
}

/* One thread an element reads its level and what is stored for it under another layout. */
static void check_type(Context *c, const Type *t, const Type *as) {
  static int32_t levels[PIXELS * CHANNELS], stored[PIXELS * CHANNELS], q[PIXELS * CHANNELS];
  size_t bytes = layout_image_bytes(t);
  uint8_t *data = arena_alloc(c, bytes);
  for (uint32_t i = 0; i < PIXELS * CHANNELS; i++) put(t, data, i / CHANNELS, i % CHANNELS, q[i] = random_q(t));
  Program p;
  program_begin(&p, c, 3);
  Tensor tensor = {.type = *t, .image = type_image(t), .base = p.arrays[0]};
  PtxValue pixel = ptx_div(&p.ptx, p.thread, ptx_int(CHANNELS)), channel = ptx_rem(&p.ptx, p.thread, ptx_int(CHANNELS));
  Flow f = load_element(&p.ptx, &tensor, pixel, channel);
  PtxValue level = flow_level(&p.ptx, f), bits = flow_stored(&p.ptx, f, as);
  ptx_store(&p.ptx, "global.b32", ptx_address(&p.ptx, p.arrays[1], p.thread, 4), 0, level);
  ptx_store(&p.ptx, "global.b32", ptx_address(&p.ptx, p.arrays[2], p.thread, 4), 0, bits);
  Array arrays[] = {{data, bytes, 0}, {levels, sizeof levels, 0}, {stored, sizeof stored, 0}};
  program_run(&p, PIXELS * CHANNELS, arrays, 3);
  LevelMap map = type_level_map(t);
  for (int i = 0; i < PIXELS * CHANNELS; i++) {
    assert_int_equal(levels[i], map.mult * q[i] - map.offset);
    assert_int_equal((uint32_t)stored[i] & 255, layout_stored_q(as, q[i]));
  }
}

static void quantized_elements(void **state) {
  (void)state;
  static const int zeros[] = {0, 1, -6};
  for (int kind = ELEM_UINT; kind <= ELEM_TERNARY; kind++)
    for (int bits = kind == ELEM_UINT ? 1 : 2; bits <= (kind == ELEM_TERNARY ? 2 : 8); bits++)
      for (int block = 32; block <= 128; block *= 2) {
        Context *c = context_new(NULL);
        Type planes = type_make((ElemKind)kind, bits, true, 3, (int32_t[]){1, PIXELS, CHANNELS}), rows = planes;
        planes.zero2 = rows.zero2 = (int16_t)zeros[(bits + block / 32) % 3];
        planes.layout = layout_planes(&planes, block);
        rows.layout = layout_bytes(&rows, block == 32 ? 1 : 16);
        check_type(c, &planes, &rows);
        check_type(c, &rows, &planes);
        context_free(c);
      }
}

static void words(void **state) {
  (void)state;
  static float real[PIXELS * CHANNELS], copy[PIXELS * CHANNELS];
  for (int i = 0; i < PIXELS * CHANNELS; i++) real[i] = (float)(int32_t)random64();
  Context *c = context_new(NULL);
  Type t = type_make(ELEM_F32, 32, true, 3, (int32_t[]){1, PIXELS, CHANNELS});
  t.layout = layout_dense(&t);
  Program p;
  program_begin(&p, c, 2);
  Tensor tensor = {.type = t, .image = type_image(&t), .base = p.arrays[0]};
  PtxValue pixel = ptx_div(&p.ptx, p.thread, ptx_int(CHANNELS)), channel = ptx_rem(&p.ptx, p.thread, ptx_int(CHANNELS));
  Flow f = load_element(&p.ptx, &tensor, pixel, channel);
  ptx_store(&p.ptx, "global.f32", ptx_address(&p.ptx, p.arrays[1], p.thread, 4), 0, flow_stored(&p.ptx, f, &t));
  program_run(&p, PIXELS * CHANNELS, (Array[]){{real, sizeof real, 0}, {copy, sizeof copy, 0}}, 2);
  assert_memory_equal(real, copy, sizeof real);
  context_free(c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(channels_and_bits),
      cmocka_unit_test(quantized_elements),
      cmocka_unit_test(words),
  };
  return cmocka_run_group_tests(tests, device_open, device_close);
}
