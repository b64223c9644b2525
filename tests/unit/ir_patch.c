/* Patches: what a tile takes of shared memory, for the first layers of known networks and for odd ones, and that the
 * words which a warp reads at once lie in different banks there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "../../ir/patch.h"
#include "ir_first_layer.h"

static const FirstLayer resnet = {{224, 224}, 3, 64, {7, 7}, {2, 2}, 3, {1, 1}};
static const FirstLayer alexnet = {{227, 227}, 3, 96, {11, 11}, {4, 4}, 0, {1, 1}};
static const FirstLayer vgg = {{224, 224}, 3, 64, {3, 3}, {1, 1}, 1, {1, 1}};

static const Tile four_warps = {128, 64, 8, 4, 1, 1, 1, 0};

static Patch patch(Context *c, const FirstLayer *s, const Tile *tile) {
  Graph *g;
  Node node = conv(c, &g, s);
  assert_true(patch_serves(g, &node));
  return patch_of(g, &node, tile);
}

static void first_layers(void **state) {
  Context *c = *state;
  Patch p = patch(c, &resnet, &four_warps);
  assert_true(p.words == 1 && p.row_units == 2 && p.units == 14 && p.steps == 7);
  assert_true(p.columns == 16 && p.rows == 8 && p.across == 7 && p.down == 14);
  assert_true(p.group == 4 && p.lead == 1);                            /* -4 is where a group begins */
  assert_true(p.width == 1 + 15 * 2 + 8 + 1 && p.height == 7 * 2 + 7); /* an eighth tap beside the seven */
  assert_true(p.weight_bytes == 7 * 64 * 32 && p.lines_bytes == 4 * 16 * 160);
  assert_true(p.shared_bytes == p.weight_bytes + p.lines_bytes + 2 * 4 * 40 * 21);
  assert_true(p.row_elements == 10 && p.pass_rows == 12 && p.passes == 2);
  p = patch(c, &alexnet, &four_warps);
  assert_true(p.words == 1 && p.row_units == 3 && p.units == 33 && p.steps == 17);
  assert_true(p.group == 1 && p.lead == 0); /* 227 is no multiple of 4 */
  p = patch(c, &vgg, &four_warps);
  assert_true(p.units == 3 && p.steps == 2 && (int32_t)(p.across * p.columns) >= 224);
}

static void words_follow_channels(void **state) {
  Context *c = *state;
  static const uint32_t words[] = {0, 1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 4, 4};
  for (int32_t channels = 1; channels <= 16; channels++) {
    FirstLayer s = {{9, 13}, channels, 8, {3, 2}, {1, 1}, 0, {1, 1}};
    Patch p = patch(c, &s, &four_warps);
    assert_int_equal(p.words, words[channels]);
    assert_int_equal(p.vector, channels % 4 == 0 && channels != 12 ? p.words : 1);
    assert_int_equal(p.row_units, (2 * p.words + 3) / 4);
  }
}

static void what_it_does_not_serve(void **state) {
  Context *c = *state;
  static const FirstLayer cases[] = {{{9, 9}, 17, 8, {3, 3}, {1, 1}, 1, {1, 1}},
                                     {{90, 90}, 3, 8, {41, 8}, {1, 1}, 1, {1, 1}},
                                     {{40, 40}, 16, 8, {9, 9}, {1, 1}, 1, {1, 1}}};
  Graph *g;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    Node node = conv(c, &g, &cases[i]);
    assert_false(patch_serves(g, &node));
  }
  Node node = conv(c, &g, &resnet);
  node.attrs.groups = 3;
  assert_false(patch_serves(g, &node));
}

/* Sides that 32 bits would not hold make patches that no shared memory does. */
static void strides_of_any_size(void **state) {
  Context *c = *state;
  FirstLayer far = {{224, 224}, 3, 64, {2, 2}, {INT32_MAX, INT32_MAX}, 3, {200, 200}};
  assert_true(patch(c, &far, &four_warps).shared_bytes > UINT32_MAX);
}

/* Words from a warp's first to those of its 32 lanes, as patch_multiply.c has them: distinct ones in distinct banks. */
static bool one_access(const Patch *p, const FirstLayer *s) {
  uint32_t in_bank[32];
  memset(in_bank, 0xff, sizeof in_bank);
  for (uint32_t lane = 0; lane < 32; lane++) {
    uint32_t group = lane / 4, quad = lane % 4;
    uint32_t tap = quad / p->words * (uint32_t)s->dilation[1] * p->words + quad % p->words;
    uint32_t word = group * (uint32_t)s->stride[1] * p->words + tap;
    if (in_bank[word % 32] != UINT32_MAX && in_bank[word % 32] != word) return false;
    in_bank[word % 32] = word;
  }
  return true;
}

static void banks(void **state) {
  Context *c = *state;
  for (int32_t stride = 1; stride <= 4; stride++)
    for (int32_t channels = 1; channels <= 16; channels++) {
      FirstLayer s = {{40, 40}, channels, 8, {3, 5}, {stride, stride}, 0, {1, 1}};
      Patch p = patch(c, &s, &four_warps);
      uint32_t apart = (uint32_t)stride * p.words;
      assert_int_equal(one_access(&p, &s), apart <= 4 || apart == 12);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(first_layers, begin, end),
      cmocka_unit_test_setup_teardown(words_follow_channels, begin, end),
      cmocka_unit_test_setup_teardown(what_it_does_not_serve, begin, end),
      cmocka_unit_test_setup_teardown(strides_of_any_size, begin, end),
      cmocka_unit_test_setup_teardown(banks, begin, end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
