/* Pitches of tensors in pieces: as wide as every reader's padding and result ask for, the same wherever a layer on
 * wgmma reads what another one wrote; and plans in which every such layer finds what it needs. */
#include "backend/backend.h"
#include "ir/staging.h"
#include "passes_graphs.h"

/* Square kernels, pads top, left, bottom, right. */
static ValueId conv_of(Build *b, ValueId x, int32_t kernel, const int32_t *pad) {
  Attrs a = attrs_default();
  int32_t channels = type_channels(graph_type(b->g, x));
  Type w = type_make(ELEM_UINT, 1, false, 4, (int32_t[]){4, kernel, kernel, channels});
  for (int i = 0; i < 2; i++) a.kernel[i] = kernel;
  memcpy(a.pad, pad, sizeof a.pad);
  return op_with(b, OP_CONV2D, &a, (Type){0}, (ValueId[]){x, weights(b, w)}, 2);
}

/* A convolution on wgmma and its thresholds in one layer, as fuse leaves it. */
static ValueId layer(Build *b, ValueId x, int32_t kernel, const int32_t *pad) {
  ValueId v = conv_of(b, x, kernel, pad);
  NodeId n = b->g->node_count - 1;
  b->g->nodes[n].engine = ENGINE_WGMMA_B1;
  static const int32_t t[1] = {2}, flip[1] = {0};
  Type i32 = type_make(ELEM_I32, 32, false, 2, (int32_t[]){1, 1}), one = type_make(ELEM_I32, 32, false, 1, i32.dim);
  ValueId args[] = {graph_add_const(b->g, "t", i32, t), graph_add_const(b->g, "f", one, flip)};
  Type wanted = *graph_type(b->g, v);
  wanted = type_make(ELEM_UINT, 1, true, 3, wanted.dim);
  graph_append_step(b->g, n, OP_THRESHOLDS, NULL, args, 2, wanted);
  return v;
}

static ValueId start(Build *b, int32_t height, int32_t width) {
  *b = build_new(3);
  return image_input(b, ELEM_UINT, 1, height, width, 4);
}

static void expect(const Build *b, ValueId v, uint32_t row, uint32_t rows) {
  Pitches p = pitches_of_pieces(b->g)[v];
  assert_int_equal(p.row, row);
  assert_int_equal(p.rows, rows);
}

#define PAD(top, left, bottom, right) ((const int32_t[4]){top, left, bottom, right})

/* One layer of each kind: {height, width, kernel, pads, row, rows}. */
static void one_layer(void **state) {
  (void)state;
  static const struct {
    int32_t height, width, kernel, pad[4];
    uint32_t row, rows;
  } rows[] = {
      {7, 6, 3, {1, 1, 1, 1}, 7, 8},   {7, 6, 3, {0, 0, 0, 0}, 6, 7}, {7, 6, 3, {2, 0, 0, 3}, 9, 9},
      {7, 6, 1, {2, 2, 2, 2}, 10, 11}, {4, 5, 2, {0, 1, 3, 0}, 6, 7}, {5, 5, 5, {4, 4, 4, 4}, 9, 9},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    Build b;
    ValueId x = start(&b, rows[i].height, rows[i].width), y = layer(&b, x, rows[i].kernel, rows[i].pad);
    graph_add_output(b.g, y);
    expect(&b, x, rows[i].row, rows[i].rows);
    Image out = type_image(graph_type(b.g, y)); /* nobody on wgmma reads it */
    expect(&b, y, (uint32_t)out.width, (uint32_t)out.height);
    build_free(&b);
  }
}

/* The widest need of a chain holds for all of it, wherever it stands. */
static void chains(void **state) {
  (void)state;
  for (int widest = 0; widest < 3; widest++) {
    Build b;
    ValueId v[4] = {start(&b, 9, 9)};
    for (int i = 0; i < 3; i++)
      v[i + 1] = i == widest ? layer(&b, v[i], 7, PAD(3, 3, 3, 3)) : layer(&b, v[i], 3, PAD(1, 1, 1, 1));
    graph_add_output(b.g, v[3]);
    for (int i = 0; i < 3; i++) expect(&b, v[i], 12, 12);
    expect(&b, v[3], 9, 9);
    build_free(&b);
  }
  Build b; /* shrinking images keep the positions of the first */
  ValueId x = start(&b, 10, 12), y = layer(&b, x, 3, PAD(0, 0, 0, 0)), z = layer(&b, y, 3, PAD(0, 0, 0, 0));
  ValueId w = layer(&b, z, 3, PAD(1, 1, 1, 1));
  graph_add_output(b.g, w);
  expect(&b, x, 12, 10);
  expect(&b, y, 12, 10);
  expect(&b, z, 12, 10);
  expect(&b, w, 8, 6);
  build_free(&b);
}

static void engines_between_end_a_chain(void **state) {
  (void)state;
  Build b;
  ValueId x = start(&b, 8, 8), y = layer(&b, x, 3, PAD(1, 1, 1, 1)), p = pool(&b, OP_MAXPOOL, y, 2, 0);
  b.g->nodes[b.g->node_count - 1].engine = ENGINE_DIRECT;
  ValueId z = layer(&b, p, 5, PAD(2, 2, 2, 2));
  graph_add_output(b.g, z);
  expect(&b, x, 9, 9);
  expect(&b, y, 8, 8);
  expect(&b, p, 6, 6);
  build_free(&b);
}

static void several_readers(void **state) {
  (void)state;
  Build b;
  ValueId x = start(&b, 8, 8), y = layer(&b, x, 3, PAD(1, 1, 1, 1));
  ValueId left = layer(&b, y, 3, PAD(0, 2, 0, 0)), right = layer(&b, y, 5, PAD(4, 0, 0, 0));
  graph_add_output(b.g, left);
  graph_add_output(b.g, right);
  expect(&b, x, 10, 12);
  expect(&b, y, 10, 12);
  build_free(&b);
}

/* A view is the memory of its operand: both are read alike. */
static void views(void **state) {
  (void)state;
  Build b;
  ValueId x = start(&b, 1, 16), y = layer(&b, x, 1, PAD(0, 0, 0, 0));
  ValueId view = reshape(&b, y, 2, (int32_t[]){16, 4});
  b.g->nodes[b.g->node_count - 1].engine = ENGINE_VIEW;
  ValueId back = reshape(&b, view, 3, (int32_t[]){1, 16, 4});
  b.g->nodes[b.g->node_count - 1].engine = ENGINE_VIEW;
  ValueId z = layer(&b, back, 1, PAD(0, 3, 0, 2));
  graph_add_output(b.g, z);
  ValueId values[] = {x, y, view, back};
  for (int i = 0; i < 4; i++) expect(&b, values[i], 21, 1);
  build_free(&b);
}

static void vectors(void **state) {
  (void)state;
  Build b = build_new(4);
  int32_t dim = 300;
  ValueId x = graph_add_input(b.g, "x", type_make(ELEM_UINT, 2, true, 1, &dim));
  graph_add_output(b.g, linear(&b, x, 5, 3));
  b.g->nodes[0].engine = ENGINE_WGMMA_B1;
  expect(&b, x, 1, 1);
  build_free(&b);
}

/* --- plans --- */

static void expect_layer_on_wgmma(const Graph *g, const Node *node, const Target *target) {
  const Type *x = graph_type(g, node->inputs[0]), *y = graph_type(g, node->result);
  Image in = type_image(x), out = type_image(&node->main_type);
  uint32_t row = x->layout.row_pitch, rows = x->layout.image_pitch / row;
  Staging s = staging_of(g, node, &node->tile);
  assert_true(layout_is_pieces(x->layout));
  assert_int_equal(x->layout.positions, x->layout.image_pitch * g->max_batch);
  assert_true(row >= (uint32_t)(in.width + node->attrs.pad[1]) && row >= (uint32_t)(in.width + node->attrs.pad[3]));
  assert_true(rows >= (uint32_t)(in.height + node->attrs.pad[0]) && rows >= (uint32_t)(in.height + node->attrs.pad[2]));
  assert_true(row >= (uint32_t)out.width && rows >= (uint32_t)out.height);
  if (layout_is_pieces(y->layout))
    assert_true(y->layout.row_pitch == row && y->layout.image_pitch == x->layout.image_pitch);
  uint32_t blocks = target->sm_shared_bytes / (node->launch.shared_bytes + BLOCK_SHARED_BYTES);
  PassOptions options = {.target = target, .max_batch = g->max_batch};
  assert_int_equal(blocks, wgmma_blocks(g, node, &node->tile, &options).of_sm); /* no room for more */
  assert_true(s.shared_bytes <= node->launch.shared_bytes && node->launch.shared_bytes <= target->shared_bytes);
  assert_int_equal(node->launch.threads, staging_threads(&node->tile));
  assert_true(node->launch.x_most > 0);
}

static void plans_serve_the_kernel(void **state) {
  (void)state;
  static const int32_t channels[] = {3, 64, 129, 500, 1030};
  const Target *target = target_find("sm_90a");
  uint32_t seen = 0;
  for (int i = 0; i < 5; i++)
    for (int engine = ENGINE_WGMMA_B1; engine <= ENGINE_WGMMA_S8; engine++)
      for (uint32_t batch = 1; batch <= 256; batch *= 16) {
        Build b = build_new((uint64_t)i + 1);
        ValueId x = image_input(&b, ELEM_UINT, 2, 9, 7, 5), y = activation(&b, bipolar_conv(&b, x, channels[i]));
        ValueId z = activation(&b, conv(&b, y, bipolar(false, 4, (int32_t[]){40, 5, 5, channels[i]}), 1, 2, 0));
        graph_add_output(b.g, linear(&b, flatten(&b, z, false), 10, 4));
        PassOptions options = {.target = target, .max_batch = batch, .force_engine = (Engine)engine};
        assert_true(passes_run(b.g, &options, NULL));
        for (NodeId n = 0; n < b.g->node_count; n++) {
          if (!engine_reads_pieces(b.g->nodes[n].engine)) continue;
          expect_layer_on_wgmma(b.g, &b.g->nodes[n], target);
          seen++;
        }
        Module m;
        assert_true(backend_emit(b.g, target, &m));
        build_free(&b);
      }
  assert_true(seen >= 50);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(one_layer),
      cmocka_unit_test(chains),
      cmocka_unit_test(engines_between_end_a_chain),
      cmocka_unit_test(several_readers),
      cmocka_unit_test(views),
      cmocka_unit_test(vectors),
      cmocka_unit_test(plans_serve_the_kernel),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
