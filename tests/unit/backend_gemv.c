/* Gemv layers: plans that their kernel carries out, and those that are refused with an error; their weights in the
 * order of steps hold what the rows of weights_pack hold. */
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

static Plan plan(const char *target, Tile tile) {
  Plan p = {.context = context_new(NULL), .target = target_find(target)};
  FrontendOptions options = {.random_params = true, .seed = 5};
  p.g = frontend_load(p.context, "n.apnn", source, strlen(source), &options);
  assert_non_null(p.g);
  PassOptions passes = {.target = p.target, .max_batch = 20, .force_engine = ENGINE_GEMV_B1};
  assert_true(passes_run(p.g, &passes, NULL));
  for (NodeId n = 0, found = 0; n < p.g->node_count && found < 2; n++)
    if (p.g->nodes[n].op == OP_LINEAR && ++found == 2) p.layer = &p.g->nodes[n];
  assert_non_null(p.layer);
  assert_int_equal(p.layer->engine, ENGINE_GEMV_B1);
  give_tile(&p, tile);
  return p;
}

static void good_tiles(void **state) {
  (void)state;
  static const Tile tiles[] = {{32, 1, 16, 1, 1, 1, 1, 0},  {32, 2, 16, 5, 1, 2, 1, 0},  {32, 4, 16, 2, 1, 3, 1, 0},
                               {32, 8, 16, 2, 1, 4, 1, 0},  {32, 16, 16, 1, 1, 2, 1, 0}, {32, 16, 16, 3, 1, 4, 1, 0},
                               {32, 1, 16, 16, 1, 2, 1, 0}, {32, 16, 16, 12, 1, 1, 1, 0}};
  static const char *const targets[] = {"sm_80", "sm_86", "sm_89", "sm_90a"};
  for (size_t i = 0; i < 4 * sizeof tiles / sizeof *tiles; i++) {
    char said[4096];
    Plan p = plan(targets[i % 4], tiles[i / 4]);
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
    Plan p = plan("sm_90a", tiles[i]);
    refused(&p, "no gemv kernel has a tile of");
  }
}

/* No more blocks along x than there are tiles of channels; all else is as the kernel needs it. */
static void launches(void **state) {
  (void)state;
  for (int field = 0; field < 5; field++) {
    Plan p = plan("sm_90a", whole);
    Launch *l = &p.layer->launch;
    uint32_t *fields[] = {&l->x_mul, &l->x_div, &l->y, &l->threads, &l->shared_bytes};
    ++*fields[field];
    refused(&p, "its kernel needs another launch");
  }
  for (uint32_t blocks = 0; blocks < 10; blocks++) {
    char said[4096];
    Plan p = plan("sm_90a", whole);
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
  Plan p = plan("sm_80", whole);
  Type *x = graph_type(p.g, p.layer->inputs[0]), *y = graph_type(p.g, p.layer->result);
  assert_true(layout_is_pieces(x->layout) && layout_is_pieces(y->layout));
  y->layout = layout_pieces(y, LAYOUT_PLANES, 2, 2, 20);
  Node *reader = &p.g->nodes[p.g->node_count - 1];
  reader->launch.y = gemv_of(p.g, reader, &reader->tile).column_tiles;
  refused(&p, "its result has another pitch of rows or images than its input");
  p = plan("sm_80", whole);
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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(good_tiles), cmocka_unit_test(bad_tiles),           cmocka_unit_test(launches),
      cmocka_unit_test(layouts),    cmocka_unit_test(steps_hold_the_rows), cmocka_unit_test(numbers_by_hand)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
