/* Skinny layers: weights in the order of their stages hold what the rows of weights_pack hold, and places in shared
 * memory are those that ir/skinny.h promises. */
#include "backend_few_images.h"
#include "ir/skinny.h"

/* The stream from its first word to its last. */
static void check_stream(Layer *l) {
  const Type *y = graph_type(l->g, l->node.result);
  Skinny s = skinny_of(l->g, &l->node, &l->node.tile);
  PackedWeights rows = weights_pack(l->g, &l->node), stream = weights_pack_stream(l->g, &l->node);
  const uint32_t *at = stream.data;
  uint32_t shares = s.row_tiles * l->node.tile.split_k, chunk_blocks = s.chunk_blocks;
  for (uint32_t share = 0; share < shares; share++)
    for (int plane = rows.planes - 1; plane >= 0; plane--)
      for (uint32_t in_share = 0; in_share < s.chunks * chunk_blocks; in_share++)
        for (uint32_t row = 0; row < SKINNY_ROWS; row++) {
          uint32_t block = share % l->node.tile.split_k * s.share_blocks + in_share;
          int32_t c = channel_of_row(y->layout, type_channels(y), share / l->node.tile.split_k * SKINNY_ROWS + row);
          for (uint32_t word = 0; word < 4; word++, at++) {
            int64_t line = (int64_t)plane * rows.rows + c;
            bool none = c < 0 || block >= s.blocks;
            assert_int_equal(*at, none ? 0 : rows.data[line * rows.row_words + block * 4 + word]);
          }
        }
  assert_int_equal((size_t)(at - stream.data) * 4, stream.bytes);
  assert_int_equal(stream.sum_scale, rows.sum_scale);
  assert_int_equal(stream.product_scale, rows.product_scale);
  context_free(l->context);
}

static Tile tile_of(int n, int k, int warps, int stages, int split) {
  return (Tile){64, (uint16_t)n, (uint16_t)k, (uint8_t)warps, 1, (uint8_t)stages, (uint8_t)split, 0};
}

static void streams_hold_the_rows(void **state) {
  (void)state;
  static const int32_t sizes[][2] = {{1, 1}, {33, 128}, {64, 257}, {100, 700}, {130, 1000}, {300, 384}};
  for (int i = 0; i < 6 * 4; i++) {
    int32_t outputs = sizes[i % 6][0], inputs = sizes[i % 6][1];
    Type x = type_make(ELEM_UINT, 1 + i % 8, true, 1, DIMS(inputs));
    Type w = type_make(i % 3 ? ELEM_INT : ELEM_UINT, 2 + i % 7, false, 2, DIMS(outputs, inputs));
    Type y = type_make(ELEM_UINT, 2, true, 1, DIMS(outputs));
    const Layout layouts[] = {layout_pieces(&y, LAYOUT_PLANES, 1, 1, 3), layout_planes(&y, 32 << i % 3),
                              layout_pieces(&y, LAYOUT_BYTES, 1, 1, 3), layout_bytes(&y, 1)};
    Layer l = layer_new(x, w, layouts[i / 6], 3, ENGINE_SKINNY_B1, tile_of(8, 8 << i % 3, 4, 4, 1 << i % 4));
    check_stream(&l);
  }
}

/* 3 planes of 8 positions and 8 more columns, as there is no instruction of 40; 5 blocks of channels in two shares. */
static void numbers_by_hand(void **state) {
  (void)state;
  Type x = type_make(ELEM_UINT, 5, true, 1, DIMS(600)), w = type_make(ELEM_INT, 3, false, 2, DIMS(200, 600));
  Type y = type_make(ELEM_UINT, 2, true, 1, DIMS(200));
  Layer l = layer_new(x, w, layout_planes(&y, 64), 20, ENGINE_SKINNY_B1, tile_of(8, 8, 8, 4, 2));
  Skinny s = skinny_of(l.g, &l.node, &l.node.tile);
  const uint32_t got[] = {s.weight_planes, s.input_planes, s.blocks,      s.chunk_blocks, s.chunks,
                          s.share_blocks,  s.columns,      s.row_tiles,   s.column_tiles, s.groups,
                          s.parts,         s.own,          s.chunk_bytes, s.input_bytes,  s.parts_bytes,
                          s.input_at,      s.parts_at,     s.sums_at,     s.barriers_at};
  const uint32_t want[] = {3,
                           5,
                           5,
                           2,
                           2,
                           4,
                           48,
                           4,
                           3,
                           2,
                           2,
                           4,
                           2048,
                           4 * 48 * 16,
                           2 * 4 * 64 * 4,
                           2 * 4 * 2048,
                           16384 + 3072,
                           19456 + 4 * 2048,
                           27648 + 8 * 4};
  for (size_t i = 0; i < sizeof got / sizeof *got; i++) assert_int_equal(got[i], want[i]);
  assert_int_equal(s.shared_bytes, 27680 + 2 * 8 * (2 * 4 + 2));
  assert_int_equal(skinny_threads(&l.node.tile), 288);
  assert_int_equal(skinny_rows(graph_type(l.g, l.node.result)), 256);
  context_free(l.context);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(streams_hold_the_rows), cmocka_unit_test(numbers_by_hand)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
