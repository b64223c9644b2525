/* Layouts in pieces: where elements lie, the bytes they take, and which such layouts a type may have. */
#include "ir_sample.h"

static Type image(ElemKind kind, int bits, int32_t height, int32_t width, int32_t channels) {
  return type_make(kind, bits, true, 3, DIMS(height, width, channels));
}

/* 2 x 3 pixels of 300 channels in rows of 5 positions, images of 11, a batch of 4. */
static void test_planes(void **state) {
  (void)state;
  Type t = image(ELEM_UINT, 3, 2, 3, 300);
  t.layout = layout_pieces(&t, LAYOUT_PLANES, 5, 11, 4);
  const Layout l = t.layout;
  assert_true(l.kind == LAYOUT_PLANES && l.block == 128 && l.pitch == 384 && l.positions == 44);
  assert_true(l.row_pitch == 5 && l.image_pitch == 11 && layout_is_pieces(l));
  Strides s = layout_strides(&t);
  assert_int_equal(s.position, 16);
  assert_int_equal(s.block, 44 * 16);
  assert_int_equal(s.plane, 3 * 44 * 16);
  assert_int_equal(s.block_channels, 128);
  assert_int_equal(layout_image_positions(&t), 11);
  assert_int_equal(layout_pixel_bytes(&t), 3 * 3 * 16);
  assert_int_equal(layout_image_bytes(&t), 11 * 3 * 3 * 16);
  assert_int_equal(layout_image_bytes(&t) * 4, layout_plane_count(&t) * s.plane);
  assert_null(type_problem(NULL, &t));
}

static void test_bytes(void **state) {
  (void)state;
  Type t = image(ELEM_INT, 5, 4, 4, 33);
  t.layout = layout_pieces(&t, LAYOUT_BYTES, 4, 20, 3);
  assert_true(t.layout.block == 64 && t.layout.pitch == 64 && t.layout.positions == 60);
  Strides s = layout_strides(&t);
  assert_int_equal(s.position, 16);
  assert_int_equal(s.block, 60 * 16);
  assert_int_equal(s.plane, 4 * 60 * 16); /* of the one plane that bytes are */
  assert_int_equal(s.block_channels, 16);
  assert_int_equal(layout_plane_count(&t), 1);
  assert_int_equal(layout_image_positions(&t), 20);
  assert_int_equal(layout_pixel_bytes(&t), 64);
  assert_int_equal(layout_image_bytes(&t), 20 * 64);
  assert_null(type_problem(NULL, &t));
  static const uint32_t pitches[][3] = {{1, 16, 16},    {16, 16, 16},    {17, 32, 32},   {65, 96, 32},
                                        {200, 224, 32}, {128, 128, 128}, {180, 192, 64}, {256, 256, 128}};
  for (size_t i = 0; i < COUNT(pitches); i++) {
    Type u = image(ELEM_UINT, 8, 1, 1, (int32_t)pitches[i][0]);
    Layout l = u.layout = layout_pieces(&u, LAYOUT_BYTES, 1, 1, 1);
    assert_true(l.pitch == pitches[i][1] && l.block == pitches[i][2] && !type_problem(NULL, &u));
    for (uint32_t c = 0; c < l.pitch; c++) { /* as the bits of a block of planes */
      uint32_t in_block = c % l.block, tiles = l.block / 8u, byte = layout_bit_of_channel(l, c);
      assert_int_equal(byte % l.block, in_block % 8 / 2 * 2 * tiles + in_block / 8 * 2 + in_block % 2);
      assert_int_equal(byte / l.block, c / l.block);
      assert_int_equal(layout_channel_of_bit(l, byte), c);
    }
  }
}

/* The same numbers of a layout of pixel after pixel. */
static void test_pixel_after_pixel(void **state) {
  (void)state;
  Type t = image(ELEM_UINT, 3, 2, 3, 100);
  t.layout = layout_planes(&t, 64);
  assert_false(layout_is_pieces(t.layout));
  Strides s = layout_strides(&t);
  assert_true(s.position == 3 * 16 && s.block == 8 && s.plane == 16 && s.block_channels == 64);
  assert_int_equal(layout_image_positions(&t), 6);
  assert_int_equal(layout_image_bytes(&t), 6 * 48);
  t.layout = layout_bytes(&t, 16);
  s = layout_strides(&t);
  assert_true(s.position == 112 && s.block == 112 && s.block_channels == 112);
  assert_int_equal(layout_image_bytes(&t), 6 * 112);
}

/* A vector is an image of one pixel. */
static void test_vector(void **state) {
  (void)state;
  Type t = type_make(ELEM_UINT, 2, true, 1, DIMS(129));
  t.layout = layout_pieces(&t, LAYOUT_PLANES, 1, 1, 7);
  assert_int_equal(t.layout.positions, 7);
  assert_int_equal(layout_image_positions(&t), 1);
  assert_int_equal(layout_image_bytes(&t), 2 * 2 * 16);
  assert_null(type_problem(NULL, &t));
}

static void test_equal(void **state) {
  (void)state;
  Type t = image(ELEM_UINT, 3, 2, 3, 40);
  const Layout l = layout_pieces(&t, LAYOUT_PLANES, 4, 12, 2);
  assert_true(layout_equal(l, l));
  Layout others[] = {l, l, l, layout_pieces(&t, LAYOUT_BYTES, 4, 12, 2), layout_planes(&t, 128)};
  others[0].row_pitch++;
  others[1].image_pitch++;
  others[2].positions += 12;
  for (size_t i = 0; i < COUNT(others); i++) assert_false(layout_equal(l, others[i]));
}

/* Layouts that are refused, each with words that say why. */
static void test_refused(void **state) {
  (void)state;
  static const struct {
    Layout layout;
    const char *words;
  } rows[] = {
      {{LAYOUT_PLANES, 64, 64, 24, 4, 12}, "pieces are 128 channels"},
      {{LAYOUT_BYTES, 32, 64, 24, 4, 12}, "pieces are 128 channels"},
      {{LAYOUT_BYTES, 0, 64, 24, 4, 12}, "pieces are 128 channels"},
      {{LAYOUT_WORDS, 16, 64, 24, 4, 12}, "pieces are 128 channels"},
      {{LAYOUT_PLANES, 128, 128, 24, 2, 12}, "its pixels do not fit its pitches"},
      {{LAYOUT_PLANES, 128, 128, 24, 4, 7}, "its pixels do not fit its pitches"},
      {{LAYOUT_PLANES, 128, 128, 24, 4, 0}, "its pixels do not fit its pitches"},
      {{LAYOUT_PLANES, 128, 128, 23, 4, 12}, "no whole number of images"},
      {{LAYOUT_PLANES, 128, 128, 6, 4, 12}, "no whole number of images"},
      {{LAYOUT_PLANES, 128, 128, 0, 4, 12}, "only pieces have a pitch of rows and images"},
      {{LAYOUT_BYTES, 0, 64, 0, 0, 12}, "only pieces have a pitch of rows and images"},
      {{LAYOUT_BYTES, 16, 64, 0, 0, 0}, "only bit planes and pieces have a block"},
      {{LAYOUT_BYTES, 8, 40, 24, 4, 12}, "pieces are 128 channels"},
      {{LAYOUT_PLANES, 128, 192, 24, 4, 12}, "pieces are 128 channels"},
      {{LAYOUT_BYTES, 16, 16, 24, 4, 12}, "its pitch is less than its channels"},
  };
  Type t = image(ELEM_UINT, 3, 2, 3, 40);
  for (size_t i = 0; i < COUNT(rows); i++) {
    t.layout = rows[i].layout;
    const char *problem = type_problem(NULL, &t);
    if (!problem || !strstr(problem, rows[i].words)) fail_msg("row %zu: %s", i, problem ? problem : "no problem");
  }
  /* image_pitch * row counts beyond 32 bits do not wrap */
  Type tall = image(ELEM_UINT, 1, 70000, 1, 1);
  tall.layout = (Layout){LAYOUT_PLANES, 128, 128, 65536, 65536, 65536};
  assert_non_null(type_problem(NULL, &tall));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_planes), cmocka_unit_test(test_bytes), cmocka_unit_test(test_pixel_after_pixel),
      cmocka_unit_test(test_vector), cmocka_unit_test(test_equal), cmocka_unit_test(test_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
