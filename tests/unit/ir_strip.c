/* Strips: what a tile takes of shared memory, for the first layers of known networks and for odd ones, and that the
 * strips of neighbouring positions are where the taps of a window go on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../ir/strip.h"
#include "ir_first_layer.h"

static const FirstLayer resnet = {{224, 224}, 3, 64, {7, 7}, {2, 2}, 3, {1, 1}};
static const FirstLayer vgg = {{224, 224}, 3, 64, {3, 3}, {1, 1}, 1, {1, 1}};
static const FirstLayer alexnet = {{224, 224}, 3, 96, {11, 11}, {4, 4}, 2, {1, 1}};

static const Tile two_squares = {128, 64, 8, 4, 1, 1, 1, 0}, four_squares = {256, 64, 8, 8, 1, 1, 1, 0};

static Strips strips(Context *c, const FirstLayer *s, const Tile *tile) {
  Graph *g;
  Node node = conv(c, &g, s);
  Strips out;
  assert_true(strip_serves(g, &node));
  assert_true(strips_of(g, &node, tile, &out));
  return out;
}

static void first_layers(void **state) {
  Context *c = *state;
  Strips s = strips(c, &resnet, &two_squares);
  assert_true(s.taps == 4 && s.row_strips == 2 && s.units == 14 && s.steps == 7 && s.shift == 2);
  assert_true(s.words == 3 && s.loaded == 4 && !s.aligned); /* 12 bytes from any on */
  assert_true(s.columns * s.rows == 128 && s.across * s.columns == 112 && s.down * s.rows == 112);
  assert_true(s.pitch == s.columns + 2 && s.height == 2 * (s.rows - 1) + 7);
  assert_true(s.columns == 16 && s.pass_rows == 7 && s.passes == 3); /* 18 strips of 21 rows; 10 of 37 take four */
  assert_true(s.weight_bytes == 7 * 64 * 32 && s.table_bytes == 64 * 16 && s.patch_bytes == 18 * 21 * 16);
  assert_true(s.lines_bytes == 4 * 16 * 160);
  assert_true(s.shared_bytes == s.weight_bytes + s.table_bytes + s.lines_bytes + 2 * s.patch_bytes);
  s = strips(c, &vgg, &four_squares);
  assert_true(s.taps == 3 && s.row_strips == 1 && s.units == 3 && s.steps == 2 && s.shift == 0);
  assert_true(s.words == 3 && s.loaded == 3); /* nine bytes from any on are in three words */
  s = strips(c, &alexnet, &two_squares);
  assert_true(s.taps == 4 && s.row_strips == 3 && s.shift == 1 && s.units == 33 && s.steps == 17);
}

/* A window's taps behind those of its first strip are the first ones of a position further on. */
static void strips_go_on(void **state) {
  Context *c = *state;
  int served = 0;
  for (int32_t channels = 1; channels <= 16; channels++)
    for (int32_t width = 1; width <= 12; width++)
      for (int32_t stride = 1; stride <= 5; stride++) {
        Graph *g;
        FirstLayer k = {{40, 40}, channels, 8, {1, width}, {1, stride}, 0, {1, 1}};
        Node node = conv(c, &g, &k);
        bool serves = width * channels <= 16 || stride * channels <= 16;
        assert_int_equal(strip_serves(g, &node), serves);
        if (!serves) continue;
        Strips s = strips(c, &k, &two_squares);
        served++;
        assert_true(s.taps * (uint32_t)channels <= 16 && s.taps * s.row_strips >= (uint32_t)width);
        assert_true(s.row_strips == 1 || s.taps == s.shift * (uint32_t)stride);
        assert_true(s.taps * (uint32_t)channels <= 4 * s.words && s.words <= s.loaded && s.loaded <= 5);
        assert_true(4 * s.loaded >= s.taps * (uint32_t)channels + (s.aligned ? 0 : 3));
        assert_int_equal(s.aligned, stride * channels % 4 == 0);
      }
  assert_true(served > 200);
}

static void what_it_does_not_serve(void **state) {
  Context *c = *state;
  static const FirstLayer cases[] = {{{9, 8}, 17, 8, {3, 3}, {1, 1}, 1, {1, 1}},
                                     {{9, 9}, 3, 8, {3, 3}, {1, 1}, 1, {1, 1}},     /* rows of 27 bytes */
                                     {{40, 40}, 4, 8, {3, 3}, {1, 1}, 1, {1, 2}},   /* taps apart */
                                     {{40, 40}, 8, 8, {3, 3}, {3, 3}, 1, {1, 1}},   /* taps between positions */
                                     {{40, 40}, 16, 8, {9, 9}, {1, 1}, 1, {1, 1}}}; /* 81 units */
  Graph *g;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    Node node = conv(c, &g, &cases[i]);
    assert_false(strip_serves(g, &node));
  }
  Node node = conv(c, &g, &resnet);
  node.attrs.groups = 3;
  assert_false(strip_serves(g, &node));
  node = conv(c, &g, &resnet);
  Type *w = graph_type(g, node.inputs[1]);
  w->kind = ELEM_UINT, w->zero2 = 18; /* 0 .. 255 less 9: sums of the input are needed */
  assert_false(strip_serves(g, &node));
}

/* Sides that 32 bits would not hold make patches that no threads fill. */
static void strides_of_any_size(void **state) {
  Context *c = *state;
  FirstLayer far = {{224, 224}, 3, 64, {2, 2}, {INT32_MAX, INT32_MAX}, 3, {200, 1}};
  Graph *g;
  Node node = conv(c, &g, &far);
  Strips s;
  assert_true(strip_serves(g, &node));
  assert_false(strips_of(g, &node, &two_squares, &s));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(first_layers, begin, end),
      cmocka_unit_test_setup_teardown(strips_go_on, begin, end),
      cmocka_unit_test_setup_teardown(what_it_does_not_serve, begin, end),
      cmocka_unit_test_setup_teardown(strides_of_any_size, begin, end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
