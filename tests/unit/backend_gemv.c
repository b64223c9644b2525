/* Gemv layers: plans that their kernel carries out, and those that are refused with an error; their weights in the
 * order of steps hold what the rows of weights_pack hold, and those of few bits become the bytes that products see. */
#include "backend_few_images.h"
#include "ir/gemv.h"

/* --- plans --- */

static const char source[] = "network n {\n"
                             "  input x : u3[700]\n"
                             "  a = linear(x, 2100, w=bipolar)\n"
                             "  b = a | batchnorm | relu | quantize(u3)\n"
                             "  c = linear(b, 200, w=i2)\n"
                             "  d = c | batchnorm | relu | quantize(u2)\n"
                             "  output y = linear(d, 40, w=bipolar)\n"
                             "}\n";

static const Tile whole = {32, 8, 16, 3, 1, 2, 1, 0};

static void give_tile(Plan *p, Tile tile) {
  Gemv s = gemv_of(p->g, p->layer, &tile);
  p->layer->tile = tile;
  p->layer->launch = (Launch){.x_mul = 3,
                              .x_div = 1,
                              .y = s.column_tiles,
                              .threads = 32u * tile.warps_m,
                              .shared_bytes = s.shared_bytes,
                              .x_most = 3};
}

static Plan plan(const char *target, Engine engine, Tile tile) {
  Plan p = {.context = context_new(NULL), .target = target_find(target)};
  FrontendOptions options = {.random_params = true, .seed = 5};
  p.g = frontend_load(p.context, "n.apnn", source, strlen(source), &options);
  assert_non_null(p.g);
  PassOptions passes = {.target = p.target, .max_batch = 20, .force_engine = engine};
  assert_true(passes_run(p.g, &passes, NULL));
  for (NodeId n = 0, found = 0; n < p.g->node_count && found < 2; n++)
    if (p.g->nodes[n].op == OP_LINEAR && ++found == 2) p.layer = &p.g->nodes[n];
  assert_non_null(p.layer);
  assert_int_equal(p.layer->engine, engine);
  give_tile(&p, tile);
  return p;
}

static void good_tiles(void **state) {
  (void)state;
  static const Tile tiles[] = {{32, 1, 16, 1, 1, 1, 1, 0},  {32, 2, 16, 5, 1, 2, 1, 0},  {32, 4, 16, 2, 1, 3, 1, 0},
                               {32, 8, 16, 2, 1, 4, 1, 0},  {32, 16, 16, 1, 1, 2, 1, 0}, {32, 16, 16, 3, 1, 4, 1, 0},
                               {32, 1, 16, 16, 1, 2, 1, 0}, {32, 16, 16, 12, 1, 1, 1, 0}};
  static const Tile bytes[] = {{32, 8, 16, 2, 1, 1, 1, 0},  {32, 8, 16, 5, 1, 7, 1, 0},  {32, 16, 16, 3, 1, 8, 1, 0},
                               {32, 16, 16, 2, 1, 4, 1, 0}, {32, 8, 16, 16, 1, 3, 1, 0}, {32, 16, 16, 12, 1, 1, 1, 0}};
  static const char *const targets[] = {"sm_80", "sm_86", "sm_89", "sm_90a"};
  const size_t count = sizeof tiles / sizeof *tiles, byte_count = sizeof bytes / sizeof *bytes;
  for (size_t i = 0; i < 4 * (count + byte_count); i++) {
    char said[4096];
    Plan p = i / 4 < count ? plan(targets[i % 4], ENGINE_GEMV_B1, tiles[i / 4])
                           : plan(targets[i % 4], ENGINE_GEMV_S8, bytes[i / 4 - count]);
    if (!emits(&p, said, sizeof said)) fail_msg("%s", said);
  }
}

static void bad_tiles(void **state) {
  (void)state;
  static const Tile tiles[] = {{64, 8, 16, 3, 1, 2, 1, 0},  {32, 12, 16, 3, 1, 2, 1, 0}, {32, 32, 16, 3, 1, 2, 1, 0},
                               {32, 8, 8, 3, 1, 2, 1, 0},   {32, 8, 16, 17, 1, 2, 1, 0}, {32, 8, 16, 3, 2, 2, 1, 0},
                               {32, 8, 16, 16, 1, 4, 1, 0}, {32, 8, 16, 3, 1, 5, 1, 0},  {32, 8, 16, 3, 1, 2, 2, 0},
                               {32, 8, 16, 3, 1, 2, 1, 1}};
  for (size_t i = 0; i < sizeof tiles / sizeof *tiles; i++) {
    Plan p = plan("sm_90a", ENGINE_GEMV_B1, tiles[i]);
    refused(&p, "no gemv kernel has a tile of");
  }
  static const Tile bytes[] = {{32, 4, 16, 2, 1, 1, 1, 0},   {32, 8, 16, 2, 1, 9, 1, 0}, {32, 8, 16, 1, 1, 1, 1, 0},
                               {32, 16, 16, 11, 1, 4, 1, 0}, {32, 16, 8, 3, 1, 2, 1, 0}, {32, 8, 16, 2, 1, 0, 1, 0}};
  for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++) {
    Plan p = plan("sm_90a", ENGINE_GEMV_S8, bytes[i]);
    refused(&p, bytes[i].k == 16 ? "no gemv kernel has a tile of" : "");
  }
}

/* No more blocks along x than there are tiles of channels; all else is as the kernel needs it. */
static void launches(void **state) {
  (void)state;
  for (int field = 0; field < 5; field++) {
    Plan p = plan("sm_90a", ENGINE_GEMV_B1, whole);
    Launch *l = &p.layer->launch;
    uint32_t *fields[] = {&l->x_mul, &l->x_div, &l->y, &l->threads, &l->shared_bytes};
    ++*fields[field];
    refused(&p, "its kernel needs another launch");
  }
  for (uint32_t blocks = 0; blocks < 10; blocks++) {
    char said[4096];
    Plan p = plan("sm_90a", ENGINE_GEMV_B1, whole);
    uint32_t most = gemv_of(p.g, p.layer, &whole).row_tiles; /* 200 channels as blocks of 128 */
    p.layer->launch.x_mul = p.layer->launch.x_most = blocks;
    if (blocks && blocks <= most)
      assert_true(emits(&p, said, sizeof said));
    else
      refused(&p, "its launch has blocks without a tile");
  }
}

static void layouts(void **state) {
  (void)state;
  Plan p = plan("sm_80", ENGINE_GEMV_B1, whole);
  Type *x = graph_type(p.g, p.layer->inputs[0]), *y = graph_type(p.g, p.layer->result);
  assert_true(layout_is_pieces(x->layout) && layout_is_pieces(y->layout));
  y->layout = layout_pieces(y, LAYOUT_PLANES, 2, 2, 20);
  Node *reader = &p.g->nodes[p.g->node_count - 1];
  reader->launch.y = gemv_of(p.g, reader, &reader->tile).column_tiles;
  refused(&p, "its result has another pitch of rows or images than its input");
  p = plan("sm_80", ENGINE_GEMV_B1, whole);
  x = graph_type(p.g, p.layer->inputs[0]);
  x->layout = layout_planes(x, 128);
  refused(&p, "its input must lie in pieces");
}

/* --- weights --- */

/* 32 fragments of the A operand: register r of lane 4g + t is word 2 * half + r / 2 of block t, at row g + 8 * (r % 2).
 */
static const uint32_t *check_fragments(const Layer *l, const PackedWeights *rows, int plane, uint32_t unit,
                                       uint32_t first_row, uint32_t half, const uint32_t *at) {
  const Type *y = graph_type(l->g, l->node.result);
  for (uint32_t lane = 0; lane < 32; lane++)
    for (uint32_t r = 0; r < 4; r++, at++) {
      int32_t c = channel_of_row(y->layout, type_channels(y), first_row + lane / 4 + 8 * (r % 2));
      uint32_t word = (unit * GEMV_UNIT_BLOCKS + lane % 4) * 4 + 2 * half + r / 2;
      bool none = c < 0 || word >= (uint32_t)rows->words;
      int64_t line = (int64_t)plane * rows->rows + c;
      assert_int_equal(*at, none ? 0 : rows->data[line * rows->row_words + word]);
    }
  return at;
}

/* The weights from their first word to their last. */
static void check_steps(Layer *l) {
  Gemv s = gemv_of(l->g, &l->node, &l->node.tile);
  PackedWeights rows = weights_pack(l->g, &l->node), steps = weights_pack_steps(l->g, &l->node);
  const uint32_t *at = steps.data;
  for (uint32_t tile = 0; tile < s.row_tiles; tile++)
    for (uint32_t warp = 0; warp < l->node.tile.warps_m; warp++)
      for (int plane = rows.planes - 1; plane >= 0; plane--)
        for (uint32_t unit = warp * s.units; unit < (warp + 1) * s.units; unit++)
          for (uint32_t i = 0; i < 4; i++)
            at = check_fragments(l, &rows, plane, unit, tile * GEMV_ROWS + i / 2 * 16, i % 2, at);
  assert_int_equal((size_t)(at - steps.data) * 4, steps.bytes);
  assert_int_equal(steps.sum_scale, rows.sum_scale);
  assert_int_equal(steps.product_scale, rows.product_scale);
  context_free(l->context);
}

static void steps_hold_the_rows(void **state) {
  (void)state;
  static const int32_t sizes[][2] = {{1, 1}, {33, 128}, {64, 513}, {100, 700}, {130, 1000}, {70, 2304}};
  for (int i = 0; i < 6 * 4; i++) {
    int32_t outputs = sizes[i % 6][0], inputs = sizes[i % 6][1];
    Type x = type_make(ELEM_UINT, 1 + i % 8, true, 1, DIMS(inputs));
    Type w = type_make(i % 3 ? ELEM_INT : ELEM_UINT, 2 + i % 7, false, 2, DIMS(outputs, inputs));
    Type y = type_make(ELEM_UINT, 2, true, 1, DIMS(outputs));
    const Layout out[] = {layout_pieces(&y, LAYOUT_PLANES, 1, 1, 3), layout_planes(&y, 32 << i % 3),
                          layout_pieces(&y, LAYOUT_BYTES, 1, 1, 3), layout_bytes(&y, 1)};
    Layer l = layer_new(x, w, out[i / 6], 3, ENGINE_GEMV_B1, (Tile){32, 4, 16, (uint8_t)(1 + i % 4), 1, 1, 1, 0});
    check_steps(&l);
  }
}

/* --- weights of few bits --- */

typedef struct Storage {
  ElemKind kind;
  int bits, zero2;
  GemvWeights wanted;
} Storage;

static const Storage storages[] = {
    {ELEM_UINT, 1, 1, {1, true, true, {1, 0}}},      /* bipolar: -1, 1 */
    {ELEM_UINT, 1, 0, {1, false, false, {1, 0}}},    /* 0, 1 */
    {ELEM_UINT, 1, 2, {1, true, false, {1, 0}}},     /* -1, 0 */
    {ELEM_TERNARY, 2, 0, {2, true, false, {1, 0}}},  /* -1, 0, 1 */
    {ELEM_INT, 2, 0, {2, true, false, {1, 0}}},      /* -2 .. 1 */
    {ELEM_INT, 2, -1, {2, true, true, {1, 0}}},      /* -3, -1, 1, 3 */
    {ELEM_UINT, 2, 1, {2, false, false, {2, 1}}},    /* -1, 1, 3, 5 */
    {ELEM_INT, 2, 2, {2, false, false, {1, 3}}},     /* -3 .. 0 */
    {ELEM_UINT, 3, 7, {4, true, true, {1, 0}}},      /* -7, -5 .. 7 */
    {ELEM_INT, 4, 0, {4, true, false, {1, 0}}},      /* -8 .. 7 */
    {ELEM_UINT, 4, 0, {4, false, false, {1, 0}}},    /* 0 .. 15 */
    {ELEM_UINT, 5, 0, {8, true, false, {1, 0}}},     /* 0 .. 31 */
    {ELEM_INT, 7, -1, {8, true, false, {1, 0}}},     /* -127, -125 .. 127 */
    {ELEM_UINT, 8, 0, {8, false, false, {1, 0}}},    /* 0 .. 255 */
    {ELEM_INT, 8, 18, {8, true, false, {1, 9}}},     /* -137 .. 118 */
    {ELEM_UINT, 8, 255, {8, false, false, {2, 255}}} /* -255, -253 .. 255 */
};
enum { STORAGES = sizeof storages / sizeof *storages };

static Type type_of_storage(const Storage *s, int32_t outputs, int32_t inputs) {
  Type t = type_make(s->kind, s->bits, false, 2, DIMS(outputs, inputs));
  t.zero2 = (int16_t)s->zero2;
  return t;
}

static void storage_of_few_bits(void **state) {
  (void)state;
  for (int i = 0; i < STORAGES; i++) {
    Type t = type_of_storage(&storages[i], 1, 1);
    GemvWeights got = gemv_weights(&t), want = storages[i].wanted;
    assert_int_equal(got.bits, want.bits);
    assert_int_equal(got.is_signed, want.is_signed);
    assert_int_equal(got.is_odd, want.is_odd);
    assert_int_equal(got.map.mult, want.map.mult);
    assert_int_equal(got.map.offset, want.map.offset);
  }
}

/* Byte `at` of a lane's fragments in a step, from their words in memory as gemv.h says. */
static uint8_t widened(const GemvWeights *w, const uint32_t *step, uint32_t lane, uint32_t at) {
  uint32_t word = at / 4 * w->bits / 8, shift = at / 4 % (8 / w->bits) * w->bits;
  uint8_t byte = (uint8_t)(step[word / 4 * (GEMV_FRAGMENT_BYTES / 4) + lane * 4 + word % 4] << shift >> at % 4 * 8);
  byte &= (uint8_t)(0xff00 >> w->bits);
  return w->is_odd ? byte | (uint8_t)(0x80 >> w->bits) : byte;
}

/* The weight of a row at a channel of the input, as products see it: times 2^zeros. */
static void check_weight(const Layer *l, const GemvWeights *w, const Gemv *s, const PackedWeights *p, uint32_t row,
                         int32_t channel, int32_t in) {
  const Type *x = graph_type(l->g, l->node.inputs[0]), *t = graph_type(l->g, l->node.inputs[1]);
  const uint8_t *q = graph_value(l->g, l->node.inputs[1])->data;
  uint32_t byte = layout_bit_of_channel(x->layout, (uint32_t)in), block = byte / 16, unit = block / 4;
  uint32_t warp = unit / s->units, step = unit % s->units / s->step_units, half = byte % 16 / 8;
  const uint32_t *at =
      p->data +
      ((row / 32 * l->node.tile.warps_m + warp) * s->warp_bytes + step * s->step_loads * GEMV_FRAGMENT_BYTES) / 4;
  uint32_t fragment = unit % s->step_units * 4 + row % 32 / 16 * 2 + half,
           register_of = byte % 8 / 4 * 2 + row % 16 / 8;
  uint8_t got = widened(w, at, row % 8 * 4 + block % 4, (fragment * 4 + register_of) * 4 + byte % 4);
  int32_t number = w->is_signed ? (int8_t)got : got, zeros = 8 - (int32_t)w->bits - w->is_odd;
  LevelMap map = type_level_map(t);
  int32_t stored = q[(int64_t)channel * t->dim[1] + in];
  int32_t level = map.mult * (t->kind == ELEM_UINT ? stored : (int8_t)stored) - map.offset;
  assert_int_equal(number % (1 << zeros), 0);
  assert_int_equal(w->map.mult * (number / (1 << zeros)) - w->map.offset, level);
}

static void bytes_are_the_weights(void **state) {
  (void)state;
  static const int32_t sizes[][2] = {{1, 1}, {40, 130}, {70, 513}};
  for (int i = 0; i < 3 * STORAGES; i++) {
    int32_t outputs = sizes[i % 3][0], inputs = sizes[i % 3][1];
    Type x = type_make(ELEM_UINT, 8, true, 1, DIMS(inputs)), t = type_of_storage(&storages[i / 3], outputs, inputs);
    Type y = type_make(ELEM_UINT, 2, true, 1, DIMS(outputs));
    Layer l = layer_new(x, t, layout_pieces(&y, LAYOUT_BYTES, 1, 1, 3), 3, ENGINE_GEMV_S8,
                        (Tile){32, 8, 16, (uint8_t)(1 + i % 4), 1, 1, 1, 0});
    Gemv s = gemv_of(l.g, &l.node, &l.node.tile);
    GemvWeights w = gemv_weights(&t);
    PackedWeights p = weights_pack_steps(l.g, &l.node);
    assert_int_equal(p.bytes, s.row_tiles * l.node.tile.warps_m * s.warp_bytes);
    assert_int_equal(p.is_signed, w.is_signed);
    assert_int_equal(p.sum_scale, w.map.offset);
    assert_int_equal(p.product_scale, w.map.mult);
    const Layout out = graph_type(l.g, l.node.result)->layout;
    for (uint32_t row = 0; row < out.pitch; row++) {
      int32_t channel = channel_of_row(out, outputs, row);
      for (int32_t in = 0; channel >= 0 && in < inputs; in++) check_weight(&l, &w, &s, &p, row, channel, in);
    }
    context_free(l.context);
  }
}

/* 5 planes of 4 positions are 20 columns; 17 blocks of channels are 5 units, for 3 warps. */
static void numbers_by_hand(void **state) {
  (void)state;
  Type x = type_make(ELEM_UINT, 5, true, 1, DIMS(2100)), w = type_make(ELEM_INT, 3, false, 2, DIMS(200, 2100));
  Type y = type_make(ELEM_UINT, 2, true, 1, DIMS(200));
  Layer l = layer_new(x, w, layout_planes(&y, 64), 3, ENGINE_GEMV_B1, (Tile){32, 2, 16, 3, 1, 2, 1, 0});
  Gemv s = gemv_of(l.g, &l.node, &l.node.tile);
  const uint32_t got[] = {s.weight_planes, s.input_planes, s.blocks, s.units,       s.groups,      s.row_tiles,
                          s.column_tiles,  s.passes,       s.steps,  s.keeps_input, s.parts_bytes, s.shared_bytes};
  const uint32_t want[] = {3, 5, 17, 2, 2, 8, 2, 1, 6, 1, 3 * 2 * 36 * 4, 2 * 3 * 2 * 36 * 4 + 8};
  for (size_t i = 0; i < sizeof got / sizeof *got; i++) assert_int_equal(got[i], want[i]);
  context_free(l.context);
}

/* 2112 bytes are 132 blocks and 33 units of 64: 3 warps of 11, an even number of them where steps have two. */
static void bytes_by_hand(void **state) {
  (void)state;
  static const uint32_t wanted[][7] = {
      {1, 2, 1, 12, 6, 3072, 0}, {2, 1, 1, 11, 11, 5632, 0}, {4, 1, 2, 11, 11, 11264, 0}, {8, 1, 4, 11, 11, 22528, 0}};
  static const int bits[] = {1, 2, 3, 7};
  for (int i = 0; i < 4; i++) {
    Type x = type_make(ELEM_UINT, 5, true, 1, DIMS(2100)), w = type_make(ELEM_UINT, bits[i], false, 2, DIMS(200, 2100));
    Type y = type_make(ELEM_UINT, 2, true, 1, DIMS(200));
    Layer l = layer_new(x, w, layout_planes(&y, 64), 20, ENGINE_GEMV_S8, (Tile){32, 16, 16, 3, 1, 2, 1, 0});
    Gemv s = gemv_of(l.g, &l.node, &l.node.tile);
    const uint32_t got[] = {s.byte_bits, s.step_units, s.step_loads, s.units, s.steps, s.warp_bytes, s.keeps_input};
    for (size_t j = 0; j < sizeof got / sizeof *got; j++) assert_int_equal(got[j], wanted[i][j]);
    assert_int_equal(s.blocks, 132);
    assert_int_equal(s.groups, 2);
    assert_int_equal(s.column_tiles, 2);
    assert_int_equal(s.one_behind, bits[i] <= 2);
    context_free(l.context);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(good_tiles),
                                     cmocka_unit_test(bad_tiles),
                                     cmocka_unit_test(launches),
                                     cmocka_unit_test(layouts),
                                     cmocka_unit_test(steps_hold_the_rows),
                                     cmocka_unit_test(storage_of_few_bits),
                                     cmocka_unit_test(numbers_by_hand),
                                     cmocka_unit_test(bytes_by_hand),
                                     cmocka_unit_test(bytes_are_the_weights)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
