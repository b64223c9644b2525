/* Elements in memory: the code that kernels use to find channels in bit planes and to read and store elements runs on
 * the CPU device and gives what ir/type.h says, for every element type and layout; copies write zeros between the
 * pixels of pieces, and nothing behind the last image of the batch. */
#define text_add device_text_add /* cpu_device.h has one of its own */
#include "cpu_device.h"
#undef text_add

#include "../../backend/emit.h"

enum { CHANNELS = 200, IMAGES = 2, HEIGHT = 2, WIDTH = 3, PIXELS = IMAGES * HEIGHT * WIDTH, THREADS = 256 };

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

/* Quotients and remainders by constants, which are products and shifts: 256 numbers that tell, and as many random ones.
 */
static void divisions(void **state) {
  (void)state;
  static const uint32_t divisors[] = {
      1,   2,   3,    5,     6,     7,       9,        10,         11,         25,         49,         64,
      100, 641, 3249, 65535, 65537, 1000003, 1u << 31, 0x7fffffff, 0x80000001, 0xaaaaaaab, 0xfffffffe, 0xffffffff};
  static uint32_t numbers[512], quotients[512], remainders[512];
  for (size_t d = 0; d < sizeof divisors / sizeof *divisors; d++) {
    Context *c = context_new(NULL);
    Program p;
    for (uint32_t i = 0; i < 512; i++) {
      uint32_t multiple =
          divisors[d] * (uint32_t)(i < 128 ? random64() % (UINT64_C(1) * UINT32_MAX / divisors[d] + 1) : i / 2 % 32);
      numbers[i] = i < 256 ? multiple - i % 3 : (uint32_t)random64() >> i % 32;
      if (i >= 248 && i < 256) numbers[i] = UINT32_MAX - (i - 248);
    }
    program_begin(&p, c, 3);
    PtxValue n = ptx_load(&p.ptx, "global.b32", CLASS_B32, ptx_address(&p.ptx, p.arrays[0], p.thread, 4), 0);
    PtxValue by = ptx_int((int64_t)divisors[d]), quotient = ptx_div(&p.ptx, n, by), rest = ptx_rem(&p.ptx, n, by);
    ptx_store(&p.ptx, "global.b32", ptx_address(&p.ptx, p.arrays[1], p.thread, 4), 0, quotient);
    ptx_store(&p.ptx, "global.b32", ptx_address(&p.ptx, p.arrays[2], p.thread, 4), 0, rest);
    Array arrays[] = {
        {numbers, sizeof numbers, 0}, {quotients, sizeof quotients, 0}, {remainders, sizeof remainders, 0}};
    program_run(&p, 512, arrays, 3);
    for (int i = 0; i < 512; i++) {
      assert_int_equal(quotients[i], numbers[i] / divisors[d]);
      assert_int_equal(remainders[i], numbers[i] % divisors[d]);
    }
    context_free(c);
  }
}

/* --- reading and storing --- */

static int32_t random_q(const Type *t) {
  return type_q_min(t) + (int32_t)(random64() % (uint64_t)(type_q_max(t) - type_q_min(t) + 1));
}

/* Byte of an element, and its bit in the byte, by the words of type.h. `plane` 0 for bytes. */
static size_t byte_of(const Type *t, uint32_t pixel, uint32_t channel, int plane, uint32_t *bit) {
  const Layout *l = &t->layout;
  Image image = type_image(t);
  uint32_t width = (uint32_t)image.width, pixels = width * (uint32_t)image.height, local = pixel % pixels;
  uint32_t at = l->kind == LAYOUT_PLANES ? layout_bit_of_channel(*l, channel) : channel * 8;
  if (l->kind == LAYOUT_BYTES && l->positions) at = layout_bit_of_channel(*l, channel) * 8;
  size_t planes = l->kind == LAYOUT_PLANES ? t->bits : 1, pitch = l->kind == LAYOUT_PLANES ? l->pitch / 8 : l->pitch;
  *bit = at % 8;
  if (!l->positions) return (pixel * planes + (size_t)plane) * pitch + at / 8;
  size_t position = (size_t)pixel / pixels * l->image_pitch + local / width * l->row_pitch + local % width;
  size_t piece = (size_t)plane * (pitch / 16) + at / 128;
  return (piece * l->positions + position) * 16 + at / 8 % 16;
}

/* Puts an element where the layout has it; the rest of `data` stays. */
static void put(const Type *t, uint8_t *data, uint32_t pixel, uint32_t channel, int32_t q) {
  uint32_t stored = layout_stored_q(t, q), bit;
  if (t->layout.kind == LAYOUT_BYTES) {
    data[byte_of(t, pixel, channel, 0, &bit)] = (uint8_t)stored;
    return;
  }
  for (int plane = 0; plane < t->bits; plane++) {
    uint8_t *byte = &data[byte_of(t, pixel, channel, plane, &bit)];
    *byte = (uint8_t)((*byte & ~(1u << bit)) | (stored >> plane & 1) << bit);
  }
}

/* One thread an element reads its level and what is stored for it under another layout. */
static void check_type(Context *c, const Type *t, const Type *as) {
  static int32_t levels[PIXELS * CHANNELS], stored[PIXELS * CHANNELS], q[PIXELS * CHANNELS];
  size_t bytes = layout_image_bytes(t) * IMAGES;
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
        Type planes = type_make((ElemKind)kind, bits, true, 3, (int32_t[]){HEIGHT, WIDTH, CHANNELS}), rows = planes;
        planes.zero2 = rows.zero2 = (int16_t)zeros[(bits + block / 32) % 3];
        planes.layout = layout_planes(&planes, block);
        rows.layout = layout_bytes(&rows, block == 32 ? 1 : 16);
        check_type(c, &planes, &rows);
        check_type(c, &rows, &planes);
        context_free(c);
      }
}

/* Pieces without gaps, with gaps between rows, between images, and both. */
static void quantized_elements_in_pieces(void **state) {
  (void)state;
  static const uint32_t pitches[][2] = {{3, 6}, {4, 8}, {3, 9}, {5, 16}};
  static const int zeros[] = {0, 1, -6};
  for (int kind = ELEM_UINT; kind <= ELEM_TERNARY; kind++)
    for (int bits = kind == ELEM_UINT ? 1 : 2; bits <= (kind == ELEM_TERNARY ? 2 : 8); bits++)
      for (int i = 0; i < 4; i++) {
        Context *c = context_new(NULL);
        Type planes = type_make((ElemKind)kind, bits, true, 3, (int32_t[]){HEIGHT, WIDTH, CHANNELS}), bytes = planes;
        planes.zero2 = bytes.zero2 = (int16_t)zeros[(bits + i) % 3];
        planes.layout = layout_pieces(&planes, LAYOUT_PLANES, pitches[i][0], pitches[i][1], IMAGES);
        bytes.layout = layout_pieces(&bytes, LAYOUT_BYTES, pitches[i][0], pitches[i][1], IMAGES);
        check_type(c, &planes, &bytes);
        check_type(c, &bytes, &planes);
        context_free(c);
      }
}

/* --- copies, as the compiler emits them --- */

/* A copy to pieces and one back, compiled together; the largest batch is one more than IMAGES. */
static Module emit_copies(Context *c, const Type *dense, const Type *pieces) {
  Graph *g = graph_new(c, "copies");
  ValueId v = graph_add_input(g, "x", *dense);
  const Type *types[] = {pieces, dense};
  g->max_batch = IMAGES + 1;
  for (NodeId n = 0; n < 2; n++) {
    v = graph_insert_node(g, n, OP_COPY, NULL, &v, 1, *types[n], NULL, (SourceLoc){0});
    graph_type(g, v)->layout = types[n]->layout;
    g->nodes[n].engine = ENGINE_DIRECT;
    uint32_t units = (uint32_t)layout_image_positions(types[n]) * pixel_units(types[n]);
    g->nodes[n].launch = (Launch){.x_mul = units, .x_div = 64, .y = 1, .threads = 64};
  }
  graph_value(g, g->nodes[0].result)->arena_offset = 0;
  graph_add_output(g, v);
  Module m;
  if (!backend_emit(g, target_find("sm_80"), &m)) diag_flush(c, stderr);
  assert_int_equal(diag_error_count(c), 0);
  assert_int_equal(m.launch_count, 2);
  return m;
}

/* Launch number `index` for IMAGES images: its parameters are the batch and two arrays, in the file's order. */
static void run_launch(CUmodule module, const Module *m, uint32_t index, CUdeviceptr in, CUdeviceptr out) {
  const ApnnFileLaunch *l = &m->launches[index];
  uint32_t batch = IMAGES;
  void *params[3] = {NULL, NULL, NULL};
  CUdeviceptr *arrays[] = {&in, &out};
  int seen = 0;
  assert_int_equal(l->param_count, 3);
  for (uint32_t i = 0; i < 3; i++)
    params[i] = m->params[l->first_param + i].kind == APNN_PARAM_BATCH ? (void *)&batch : arrays[seen++];
  CUfunction function;
  CHECK_CU(cu.cuModuleGetFunction(&function, module, m->strings.data + m->kernels[l->kernel].name));
  uint32_t grid = (batch * l->x_mul + l->x_div - 1) / l->x_div;
  CHECK_CU(cu.cuLaunchKernel(function, grid, 1, 1, 64, 1, 1, 0, NULL, params, NULL));
  CHECK_CU(cu.cuCtxSynchronize());
}

static CUdeviceptr array_new(const void *data, size_t bytes) {
  CUdeviceptr at;
  CHECK_CU(cu.cuMemAlloc_v2(&at, bytes));
  CHECK_CU(cu.cuMemcpyHtoD_v2(at, data, bytes));
  return at;
}

/* Whether a byte belongs to a position of the images that ran. */
static bool was_written(const Type *t, size_t byte) {
  return byte / 16 % t->layout.positions < IMAGES * t->layout.image_pitch;
}

static void check_copies(Context *c, const Type *dense, const Type *pieces) {
  size_t dense_bytes = layout_image_bytes(dense) * IMAGES, bytes = layout_image_bytes(pieces) * (IMAGES + 1);
  int32_t channels = type_channels(dense);
  uint8_t *data = arena_alloc(c, dense_bytes), *back = arena_alloc(c, dense_bytes);
  uint8_t *want = arena_alloc(c, bytes), *got = arena_alloc(c, bytes);
  for (size_t i = 0; i < bytes; i++) want[i] = was_written(pieces, i) ? 0 : 0xa5;
  for (size_t i = 0; i < dense_bytes; i++) {
    int32_t q = random_q(dense);
    data[i] = (uint8_t)q;
    put(pieces, want, (uint32_t)i / (uint32_t)channels, (uint32_t)i % (uint32_t)channels, q);
  }
  Module m = emit_copies(c, dense, pieces);
  CUmodule module = device_module(m.ptx.data);
  memset(got, 0xa5, bytes);
  CUdeviceptr x = array_new(data, dense_bytes), laid = array_new(got, bytes), y = array_new(back, dense_bytes);
  run_launch(module, &m, 0, x, laid);
  run_launch(module, &m, 1, laid, y);
  CHECK_CU(cu.cuMemcpyDtoH_v2(got, laid, bytes));
  CHECK_CU(cu.cuMemcpyDtoH_v2(back, y, dense_bytes));
  assert_memory_equal(got, want, bytes);
  assert_memory_equal(back, data, dense_bytes);
  CHECK_CU(cu.cuMemFree_v2(x));
  CHECK_CU(cu.cuMemFree_v2(laid));
  CHECK_CU(cu.cuMemFree_v2(y));
  CHECK_CU(cu.cuModuleUnload(module));
}

static void copies_fill_gaps_with_zeros(void **state) {
  (void)state;
  static const uint32_t pitches[][2] = {{3, 6}, {4, 8}, {3, 9}, {5, 16}};
  static const struct {
    ElemKind kind;
    int bits;
    int32_t channels;
  } rows[] = {{ELEM_UINT, 3, 130}, {ELEM_INT, 4, 20}, {ELEM_TERNARY, 2, 128}, {ELEM_UINT, 8, 17}};
  for (int i = 0; i < 4; i++)
    for (int k = 0; k < 4; k++)
      for (int kind = LAYOUT_BYTES; kind <= LAYOUT_PLANES; kind++) {
        Context *c = context_new(NULL);
        Type dense = type_make(rows[k].kind, rows[k].bits, true, 3, (int32_t[]){HEIGHT, WIDTH, rows[k].channels});
        Type pieces = dense;
        dense.layout = layout_dense(&dense);
        pieces.layout = layout_pieces(&pieces, (LayoutKind)kind, pitches[i][0], pitches[i][1], IMAGES + 1);
        check_copies(c, &dense, &pieces);
        context_free(c);
      }
}

static void words(void **state) {
  (void)state;
  static float real[PIXELS * CHANNELS], copy[PIXELS * CHANNELS];
  for (int i = 0; i < PIXELS * CHANNELS; i++) real[i] = (float)(int32_t)random64();
  Context *c = context_new(NULL);
  Type t = type_make(ELEM_F32, 32, true, 3, (int32_t[]){HEIGHT, WIDTH, CHANNELS});
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
      cmocka_unit_test(channels_and_bits),           cmocka_unit_test(divisions),
      cmocka_unit_test(quantized_elements),          cmocka_unit_test(quantized_elements_in_pieces),
      cmocka_unit_test(copies_fill_gaps_with_zeros), cmocka_unit_test(words),
  };
  return cmocka_run_group_tests(tests, device_open, device_close);
}
