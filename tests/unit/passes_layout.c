/* layout: what tensor-core layers read, copies, views. */
#include "passes_graphs.h"

static const char planned[] = "canonicalize,fold,hoist,thresholds,fuse,engine,layout";

/* A plain convolution on every engine, with `channels` channels in between. */
static Layout layout_between(int32_t channels, Engine force, uint32_t batch) {
  Build b = build_new((uint64_t)channels);
  b.max_batch = batch;
  ValueId x = quantize(&b, image_input(&b, ELEM_F32, 32, 5, 5, channels), ELEM_UINT, 2, 1);
  graph_add_output(b.g, bipolar_conv(&b, x, 8));
  run_exactly(&b, planned, force);
  assert_int_equal(b.g->node_count, 2);
  Layout layout = graph_type(b.g, b.g->nodes[0].result)->layout;
  build_free(&b);
  return layout;
}

static void expect_layout(Layout layout, LayoutKind kind, uint16_t block, uint32_t pitch) {
  assert_int_equal(layout.kind, kind);
  assert_int_equal(layout.block, block);
  assert_int_equal(layout.pitch, pitch);
}

static void blocks_are_as_large_as_whole_words_allow(void **state) {
  (void)state;
  static const int32_t cases[][3] = {{1, 32, 32},    {32, 32, 32},   {33, 64, 64},   {64, 64, 64},
                                     {65, 32, 96},   {96, 32, 96},   {97, 128, 128}, {128, 128, 128},
                                     {160, 32, 160}, {192, 64, 192}, {256, 128, 256}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    expect_layout(layout_between(cases[i][0], ENGINE_MMA_B1, 4096), LAYOUT_PLANES, (uint16_t)cases[i][1],
                  (uint32_t)cases[i][2]);
}

/* With few pixels small blocks give more warps; the bytes are the same. */
static void small_images_have_small_blocks(void **state) {
  (void)state;
  expect_layout(layout_between(64, ENGINE_MMA_B1, 1), LAYOUT_PLANES, 32, 64);
  expect_layout(layout_between(256, ENGINE_MMA_B1, 1), LAYOUT_PLANES, 32, 256);
}

static void bytes_come_in_words(void **state) {
  (void)state;
  static const int32_t cases[][2] = {{1, 4}, {3, 4}, {4, 4}, {5, 8}, {15, 16}, {16, 16}, {17, 32}, {100, 112}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    expect_layout(layout_between(cases[i][0], ENGINE_MMA_S8, 8), LAYOUT_BYTES, 0, (uint32_t)cases[i][1]);
}

static void network_inputs_are_copied_once(void **state) {
  (void)state;
  Build b = build_new(1);
  ValueId x = image_input(&b, ELEM_UINT, 2, 5, 5, 6);
  graph_add_output(b.g, bipolar_conv(&b, x, 8));
  graph_add_output(b.g, bipolar_conv(&b, x, 9));
  run_exactly(&b, planned, ENGINE_MMA_B1);
  assert_int_equal(b.g->node_count, 3);
  assert_int_equal(b.g->nodes[0].op, OP_COPY);
  assert_int_equal(b.g->nodes[0].engine, ENGINE_DIRECT);
  assert_int_equal(graph_type(b.g, x)->layout.kind, LAYOUT_BYTES);
  for (NodeId n = 1; n < 3; n++) assert_int_equal(b.g->nodes[n].inputs[0], b.g->nodes[0].result);
  build_free(&b);
}

static void dense_bytes_of_whole_words_need_no_copy(void **state) {
  (void)state;
  Build b = build_new(2);
  ValueId x = image_input(&b, ELEM_UINT, 2, 5, 5, 20);
  graph_add_output(b.g, bipolar_conv(&b, x, 8));
  run_exactly(&b, planned, ENGINE_MMA_S8);
  assert_int_equal(b.g->node_count, 1);
  build_free(&b);
}

static void outputs_stay_dense_and_their_readers_get_copies(void **state) {
  (void)state;
  Build b = build_new(3);
  ValueId x = activation(&b, bipolar_conv(&b, image_input(&b, ELEM_UINT, 2, 5, 5, 3), 40));
  graph_add_output(b.g, x);
  graph_add_output(b.g, bipolar_conv(&b, x, 8));
  run_exactly(&b, planned, ENGINE_MMA_B1);
  expect_layout(graph_type(b.g, b.g->outputs[0])->layout, LAYOUT_BYTES, 0, 40);
  assert_int_equal(count_ops(&b, OP_COPY), 2);
  build_free(&b);
}

/* One reader on planes, one on bytes: the tensor lies as one of them wants, the other gets a copy. */
static void readers_that_disagree_get_a_copy(void **state) {
  (void)state;
  Build b = build_new(4);
  ValueId x = quantize(&b, image_input(&b, ELEM_F32, 32, 16, 16, 64), ELEM_UINT, 8, 1);
  int32_t dim[4] = {64, 3, 3, 64};
  ValueId p = conv(&b, x, bipolar(false, 4, dim), 1, 1, 0),
          q = conv(&b, x, type_make(ELEM_INT, 8, false, 4, dim), 1, 1, 0);
  graph_add_output(b.g, p);
  graph_add_output(b.g, q);
  run_exactly(&b, "canonicalize,fold,fuse,engine", ENGINE_NONE);
  b.g->nodes[1].engine = ENGINE_MMA_B1;
  b.g->nodes[2].engine = ENGINE_MMA_S8;
  run_exactly(&b, "layout", ENGINE_NONE);
  assert_int_equal(b.g->node_count, 4);
  assert_int_equal(count_ops(&b, OP_COPY), 1);
  build_free(&b);
}

static void views_share_bytes_and_others_move_them(void **state) {
  (void)state;
  Build b = build_new(5);
  b.max_batch = 4096;
  ValueId x = activation(&b, bipolar_conv(&b, image_input(&b, ELEM_UINT, 2, 4, 6, 3), 40));
  ValueId same = reshape(&b, x, 3, (int32_t[]){8, 3, 40}), other = reshape(&b, x, 3, (int32_t[]){4, 4, 60});
  graph_add_output(b.g, bipolar_conv(&b, same, 8));
  graph_add_output(b.g, bipolar_conv(&b, other, 8));
  graph_add_output(b.g, bipolar_conv(&b, x, 8));
  run_exactly(&b, planned, ENGINE_MMA_B1);
  assert_int_equal(defining_node(b.g, same)->engine, ENGINE_VIEW);
  assert_int_equal(defining_node(b.g, other)->engine, ENGINE_DIRECT);
  expect_layout(graph_type(b.g, same)->layout, LAYOUT_PLANES, 64, 64);
  expect_layout(graph_type(b.g, other)->layout, LAYOUT_PLANES, 64, 64);
  assert_int_equal(count_ops(&b, OP_COPY), 1); /* of the network's input alone */
  build_free(&b);
}

static void a_reshape_between_inputs_and_outputs_moves(void **state) {
  (void)state;
  Build b = build_new(6);
  ValueId x = image_input(&b, ELEM_F32, 32, 4, 6, 3);
  ValueId flat = reshape(&b, x, 1, (int32_t[]){72}), q = quantize(&b, flat, ELEM_UINT, 2, 1);
  graph_add_output(b.g, reshape(&b, q, 2, (int32_t[]){8, 9}));
  run_exactly(&b, planned, ENGINE_NONE);
  for (NodeId n = 0; n < b.g->node_count; n++) assert_int_not_equal(b.g->nodes[n].engine, ENGINE_VIEW);
  build_free(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(blocks_are_as_large_as_whole_words_allow),
      cmocka_unit_test(small_images_have_small_blocks),
      cmocka_unit_test(bytes_come_in_words),
      cmocka_unit_test(network_inputs_are_copied_once),
      cmocka_unit_test(dense_bytes_of_whole_words_need_no_copy),
      cmocka_unit_test(outputs_stay_dense_and_their_readers_get_copies),
      cmocka_unit_test(readers_that_disagree_get_a_copy),
      cmocka_unit_test(views_share_bytes_and_others_move_them),
      cmocka_unit_test(a_reshape_between_inputs_and_outputs_moves),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
