/* Plans of skinny layers: those that their kernel carries out, and those that are refused with an error. */
#include "backend_few_images.h"
#include "ir/skinny.h"

static const char source[] = "network n {\n"
                             "  input x : u3[700]\n"
                             "  a = linear(x, 200, w=i2)\n"
                             "  b = a | batchnorm | relu | quantize(u2)\n"
                             "  output y = linear(b, 40, w=bipolar)\n"
                             "}\n";

static const Tile whole = {64, 8, 8, 8, 1, 4, 2, 0};

static void give_tile(Plan *p, Tile tile) {
  Skinny s = skinny_of(p->g, p->layer, &tile);
  p->layer->tile = tile;
  p->layer->launch = (Launch){.x_mul = 8u * tile.split_k,
                              .x_div = 1,
                              .y = s.column_tiles,
                              .threads = skinny_threads(&tile),
                              .shared_bytes = (uint32_t)s.shared_bytes,
                              .x_most = 8u * tile.split_k};
}

static Plan plan(Tile tile) {
  Plan p = {.context = context_new(NULL), .target = target_find("sm_90a")};
  FrontendOptions options = {.random_params = true, .seed = 5};
  p.g = frontend_load(p.context, "n.apnn", source, strlen(source), &options);
  assert_non_null(p.g);
  PassOptions passes = {.target = p.target, .max_batch = 20, .force_engine = ENGINE_SKINNY_B1};
  assert_true(passes_run(p.g, &passes, NULL));
  for (NodeId n = 0; n < p.g->node_count && !p.layer; n++)
    if (p.g->nodes[n].op == OP_LINEAR) p.layer = &p.g->nodes[n];
  assert_non_null(p.layer);
  assert_int_equal(p.layer->engine, ENGINE_SKINNY_B1);
  give_tile(&p, tile);
  return p;
}

static void good_tiles(void **state) {
  (void)state;
  static const Tile tiles[] = {{64, 8, 8, 4, 1, 2, 1, 0},   {64, 8, 8, 4, 1, 2, 8, 0},   {64, 24, 16, 8, 1, 4, 1, 0},
                               {64, 32, 24, 8, 1, 8, 4, 0}, {64, 64, 64, 4, 1, 2, 8, 0}, {64, 16, 40, 4, 1, 16, 2, 0},
                               {64, 8, 8, 12, 1, 4, 4, 0},  {64, 16, 8, 16, 1, 2, 8, 0}};
  for (size_t i = 0; i < sizeof tiles / sizeof *tiles; i++) {
    char said[4096];
    Plan p = plan(tiles[i]);
    if (!emits(&p, said, sizeof said)) fail_msg("%s", said);
  }
}

static void bad_tiles(void **state) {
  (void)state;
  static const Tile tiles[] = {{32, 8, 8, 8, 1, 4, 2, 0},  {64, 12, 8, 8, 1, 4, 2, 0},  {64, 8, 8, 20, 1, 4, 2, 0},
                               {64, 8, 8, 8, 2, 4, 2, 0},  {64, 8, 8, 8, 1, 6, 2, 0},   {64, 8, 8, 8, 1, 1, 2, 0},
                               {64, 8, 8, 8, 1, 4, 3, 0},  {64, 24, 8, 8, 1, 4, 8, 0},  {64, 8, 8, 8, 1, 4, 2, 1},
                               {64, 96, 8, 4, 1, 4, 1, 0}, {64, 16, 8, 8, 1, 4, 16, 0}, {64, 8, 8, 6, 1, 4, 2, 0}};
  for (size_t i = 0; i < sizeof tiles / sizeof *tiles; i++) {
    Plan p = plan(tiles[i]);
    refused(&p, "no skinny kernel has a tile of");
  }
  Plan p = plan(whole);
  p.layer->tile.k = 4;
  refused(&p, "it has no tile of four warps");
  p = plan((Tile){64, 8, 64, 8, 1, 32, 2, 0});
  refused(&p, "bytes of shared memory");
}

/* Any number of clusters along x serves; all else is as the kernel needs it. */
static void launches(void **state) {
  (void)state;
  for (int field = 0; field < 5; field++) {
    Plan p = plan(whole);
    Launch *l = &p.layer->launch;
    uint32_t *fields[] = {&l->x_mul, &l->x_div, &l->y, &l->threads, &l->shared_bytes};
    ++*fields[field];
    refused(&p, "its kernel needs another launch");
  }
  for (uint32_t blocks = 0; blocks < 5; blocks++) {
    char said[4096];
    Plan p = plan(whole);
    p.layer->launch.x_mul = p.layer->launch.x_most = blocks;
    if (blocks && blocks % 2 == 0)
      assert_true(emits(&p, said, sizeof said));
    else
      refused(&p, "its launch has no whole clusters");
  }
}

static void layouts(void **state) {
  (void)state;
  Plan p = plan(whole);
  Type *x = graph_type(p.g, p.layer->inputs[0]), *y = graph_type(p.g, p.layer->result);
  assert_true(layout_is_pieces(x->layout) && layout_is_pieces(y->layout));
  y->layout = layout_pieces(y, LAYOUT_PLANES, 2, 2, 20);
  Node *reader = &p.g->nodes[p.g->node_count - 1];
  reader->launch.y = skinny_of(p.g, reader, &reader->tile).column_tiles;
  refused(&p, "its result has another pitch of rows or images than its input");
  p = plan(whole);
  x = graph_type(p.g, p.layer->inputs[0]);
  x->layout = layout_planes(x, 128);
  refused(&p, "its input must lie in pieces");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(good_tiles), cmocka_unit_test(bad_tiles),
                                     cmocka_unit_test(launches), cmocka_unit_test(layouts)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
