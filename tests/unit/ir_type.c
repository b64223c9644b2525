/* Types, levels and layouts. */
#include "ir_sample.h"

static void test_levels_are_values(void **state) {
  (void)state;
  for (int zero2 = -512; zero2 <= 512; zero2++)
    for (int bits = 1; bits <= 8; bits++) {
      Type t = type_make(ELEM_UINT, bits, true, 1, DIMS(1));
      t.zero2 = (int16_t)zero2;
      LevelMap m = type_level_map(&t);
      bool zero_seen = false;
      for (int32_t q = type_q_min(&t); q <= type_q_max(&t); q++) {
        /* 2 * value / scale, both ways: exact in integers */
        int32_t twice_value = 2 * q - zero2, level = m.mult * q - m.offset;
        assert_int_equal(twice_value, m.mult == 2 ? level : 2 * level);
        assert_true(level >= type_level_min(&t) && level <= type_level_max(&t));
        assert_true(level >= INT16_MIN && level <= INT16_MAX);
        zero_seen |= twice_value == 0;
      }
      assert_int_equal(type_has_zero(&t), zero_seen);
    }
}

static void test_ranges(void **state) {
  (void)state;
  static const struct {
    ElemKind kind;
    int bits;
    int32_t least, most;
  } rows[] = {{ELEM_UINT, 1, 0, 1},
              {ELEM_UINT, 8, 0, 255},
              {ELEM_INT, 2, -2, 1},
              {ELEM_INT, 8, -128, 127},
              {ELEM_TERNARY, 2, -1, 1}};
  for (size_t i = 0; i < COUNT(rows); i++) {
    Type t = type_make(rows[i].kind, rows[i].bits, false, 1, DIMS(3));
    assert_int_equal(type_q_min(&t), rows[i].least);
    assert_int_equal(type_q_max(&t), rows[i].most);
    assert_int_equal(type_dense_bytes(&t), 3);
    t.layout = layout_planes(&t, 32);
    assert_int_equal(layout_stored_q(&t, rows[i].least), rows[i].kind == ELEM_TERNARY ? 1 : 0);
    assert_true(layout_stored_q(&t, rows[i].most) < 1u << t.bits);
    t.layout = layout_bytes(&t, 1);
    assert_int_equal(layout_stored_q(&t, rows[i].least), (uint8_t)rows[i].least);
  }
}

/* The position of a channel is what an accumulator fragment of mma holds: the lane group c % 8 / 2, the tile c / 8. */
static void test_plane_order_is_a_bijection(void **state) {
  (void)state;
  for (int block = 32; block <= 128; block *= 2) {
    Layout l = {.kind = LAYOUT_PLANES, .block = (uint16_t)block, .pitch = 4 * (uint32_t)block};
    bool seen[512] = {false};
    for (uint32_t c = 0; c < l.pitch; c++) {
      uint32_t bit = layout_bit_of_channel(l, c), inside = c % (uint32_t)block, tiles = (uint32_t)block / 8;
      assert_true(bit < l.pitch && !seen[bit]);
      seen[bit] = true;
      assert_int_equal(layout_channel_of_bit(l, bit), c);
      assert_int_equal(bit / (uint32_t)block, c / (uint32_t)block);
      assert_int_equal(bit % (uint32_t)block, inside % 8 / 2 * 2 * tiles + inside / 8 * 2 + inside % 2);
    }
  }
}

static void test_bytes_of_layouts(void **state) {
  (void)state;
  Type t = type_make(ELEM_UINT, 3, true, 3, DIMS(5, 7, 33));
  assert_int_equal(layout_image_bytes(&t), 5 * 7 * 33);
  t.layout = layout_dense(&t);
  assert_int_equal(t.layout.kind, LAYOUT_BYTES);
  assert_int_equal(layout_image_bytes(&t), 5 * 7 * 33);
  t.layout = layout_bytes(&t, 16);
  assert_int_equal(layout_image_bytes(&t), 5 * 7 * 48);
  t.layout = layout_planes(&t, 32);
  assert_int_equal(layout_pixel_bytes(&t), 64 / 8 * 3);
  assert_int_equal(layout_image_bytes(&t), 5 * 7 * 24);
  assert_int_equal(layout_plane_count(&t), 3);
  Type f = type_make(ELEM_F32, 32, true, 2, DIMS(3, 5));
  f.layout = layout_dense(&f);
  assert_int_equal(f.layout.kind, LAYOUT_WORDS);
  assert_int_equal(layout_image_bytes(&f), 60);
}

static void test_images(void **state) {
  (void)state;
  Type t = type_make(ELEM_F32, 32, true, 4, DIMS(2, 3, 4, 5));
  Image i = type_image(&t);
  assert_true(i.height == 6 && i.width == 4 && i.channels == 5);
  t.rank = 2;
  i = type_image(&t);
  assert_true(i.height == 1 && i.width == 2 && i.channels == 3);
  t.rank = 1;
  i = type_image(&t);
  assert_true(i.height == 1 && i.width == 1 && i.channels == 2);
}

static void test_impossible_types(void **state) {
  (void)state;
  const Type good = type_make(ELEM_UINT, 4, true, 3, DIMS(2, 3, 4));
  assert_null(type_problem(NULL, &good));
  Type bad[14];
  for (size_t i = 0; i < COUNT(bad); i++) bad[i] = good;
  bad[0].bits = 0;
  bad[1].bits = 9;
  bad[2].rank = 0;
  bad[3].rank = 5;
  bad[4].dim[1] = 0;
  bad[5].dim[0] = bad[5].dim[1] = INT32_MAX;
  bad[6].zero2 = 513;
  bad[7].scale = 0;
  bad[8].scale = float_of_bits(0x7f800000);
  bad[9].scale = float_of_bits(0x7fc00000);
  bad[10].scales = 0;
  bad[11].kind = ELEM_INT, bad[11].bits = 1;
  bad[12].layout = (Layout){.kind = LAYOUT_PLANES, .block = 48, .pitch = 48};
  bad[13].layout = (Layout){.kind = LAYOUT_WORDS, .pitch = 4};
  for (size_t i = 0; i < COUNT(bad); i++) assert_non_null(type_problem(NULL, &bad[i]));
}

static void test_type_strings(void **state) {
  (void)state;
  Context *c = context_new(NULL);
  Graph *g = graph_new(c, "g");
  Type t = type_make(ELEM_UINT, 2, true, 3, DIMS(8, 8, 16));
  assert_string_equal(type_string(c, g, &t), "u2[N,8,8,16]");
  t.scale = 0.25f;
  t.zero2 = 3;
  assert_string_equal(type_string(c, g, &t), "u2[N,8,8,16](scale=0.25, zero=3/2)");
  t = type_make(ELEM_UINT, 1, false, 2, DIMS(3, 5));
  t.zero2 = 1;
  t.scale = 2;
  assert_string_equal(type_string(c, g, &t), "bipolar[3,5]");
  static const float scales[] = {1, 2, 3};
  t.scales = graph_add_const(g, "s", type_make(ELEM_F32, 32, false, 1, DIMS(3)), scales);
  assert_string_equal(type_string(c, g, &t), "bipolar[3,5](scale=%s)");
  assert_null(type_problem(g, &t));
  assert_same_float(type_step(g, &t, 2), 1.5f);
  context_free(c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_levels_are_values),
      cmocka_unit_test(test_ranges),
      cmocka_unit_test(test_plane_order_is_a_bijection),
      cmocka_unit_test(test_bytes_of_layouts),
      cmocka_unit_test(test_images),
      cmocka_unit_test(test_impossible_types),
      cmocka_unit_test(test_type_strings),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
