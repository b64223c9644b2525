/* tuning: keys, the text and its errors, and what engine, tile and explain make of the choices. */
#include "passes/tile.h"
#include "passes/tuning.h"
#include "passes_graphs.h"

static const char key_of_test[] = "test batch=16 conv2d(u2[N,16,16,64], u1[64,3,3,64]{zero=1/2}) kernel=3,3 pad=1,1,1,1"
                                  " | thresholds -> u2[N,16,16,64]";

/* input -> quantize -> 3x3 bipolar convolution with thresholds -> the same again -> argmax. */
static Build two_layers(float scale) {
  Build b = build_new(1);
  ValueId x = quantize(&b, image_input(&b, ELEM_F32, 32, 16, 16, 64), ELEM_UINT, 2, scale);
  ValueId a = activation(&b, bipolar_conv(&b, x, 64));
  ValueId c = activation(&b, bipolar_conv(&b, a, 64));
  graph_add_output(b.g, op1(&b, OP_ARGMAX, reshape(&b, c, 2, (int32_t[]){256, 64})));
  return b;
}

static Tuning *parse(Build *b, const char *text) {
  return tuning_parse(b->context, "test.tune", text, strlen(text));
}

static Tuning *choice(Build *b, Engine engine, Tile tile) {
  Tuning *t = tuning_new(b->context);
  TuningEntry entry = {.key = key_of_test, .engine = engine, .tile = tile, .note = ""};
  tuning_set(t, &entry);
  return t;
}

/* --- keys --- */

static const char *key_at(Build *b, const char *stop_after) {
  PassOptions options = {.target = &test_target, .max_batch = 16, .stop_after = stop_after};
  assert_true(passes_run(b->g, &options, NULL));
  return tuning_key(b->g, node_of(b, OP_CONV2D), &options);
}

static void a_key_stays_the_same_through_planning(void **state) {
  (void)state;
  static const char *const stages[] = {"fuse", "engine", "layout", "tile", "launch"};
  for (int i = 0; i < 5; i++) {
    Build b = two_layers(1);
    assert_string_equal(key_at(&b, stages[i]), key_of_test);
    build_free(&b);
  }
}

static void scales_are_no_part_of_a_key(void **state) {
  (void)state;
  Build b = two_layers(0.375f);
  assert_string_equal(key_at(&b, "launch"), key_of_test);
  build_free(&b);
}

static void inputs_and_outputs_are_marked(void **state) {
  (void)state;
  static const char *const stages[] = {"engine", "launch"}; /* before and behind the copy of the input */
  for (int i = 0; i < 2; i++) {
    Build b = build_new(1);
    graph_add_output(b.g, bipolar_conv(&b, image_input(&b, ELEM_UINT, 2, 16, 16, 64), 64));
    PassOptions options = {
        .target = &test_target, .max_batch = 16, .stop_after = stages[i], .force_engine = ENGINE_MMA_B1};
    assert_true(passes_run(b.g, &options, NULL));
    assert_int_equal(count_ops(&b, OP_COPY), i);
    assert_string_equal(tuning_key(b.g, node_of(&b, OP_CONV2D), &options),
                        "test batch=16 conv2d(input u2[N,16,16,64], u1[64,3,3,64]{zero=1/2}) kernel=3,3 pad=1,1,1,1"
                        " -> output i32[N,16,16,64]");
    build_free(&b);
  }
}

/* --- the text --- */

static void text_reads_back_sorted(void **state) {
  (void)state;
  Build b = build_new(1);
  Tuning *t = parse(&b, "apnnc tuning 1\n"
                        "b layer : engine=wgmma_s8 tile=128,64,4,4,1,3,1,1  # 2.50 us, as seen\n"
                        "\n"
                        "# a remark\n"
                        "  a layer: engine = direct\r\n"
                        "c layer : engine=mma_b1 # ");
  assert_non_null(t);
  assert_int_equal(t->count, 3);
  Text text = tuning_text(t);
  static const char expected[] = "apnnc tuning 1\n"
                                 "a layer : engine=direct\n"
                                 "b layer : engine=wgmma_s8 tile=128,64,4,4,1,3,1,1  # 2.50 us, as seen\n"
                                 "c layer : engine=mma_b1\n";
  assert_string_equal(text.data, expected);
  Text again = tuning_text(parse(&b, text.data));
  assert_string_equal(again.data, expected);
  build_free(&b);
}

static void look_up_finds_what_was_set(void **state) {
  (void)state;
  Build b = build_new(1);
  Tuning *t = tuning_new(b.context);
  for (int i = 0; i < 1000; i++) {
    TuningEntry entry = {.key = arena_printf(b.context, "key %d", i * 7919 % 500), .tile = {.m = (uint16_t)(i + 1)}};
    tuning_set(t, &entry);
  }
  assert_int_equal(t->count, 500);
  for (int i = 500; i < 1000; i++) {
    const TuningEntry *entry = tuning_find(t, arena_printf(b.context, "key %d", i * 7919 % 500));
    assert_non_null(entry);
    assert_int_equal(entry->tile.m, i + 1); /* the later of two */
  }
  for (uint32_t i = 1; i < t->count; i++) assert_true(strcmp(t->entries[i - 1].key, t->entries[i].key) < 0);
  assert_null(tuning_find(t, "key"));
  assert_null(tuning_find(t, "key 500"));
  assert_null(tuning_find(tuning_new(b.context), "key 1"));
  build_free(&b);
}

static void broken_lines_are_told(void **state) {
  (void)state;
  static const struct {
    const char *text, *place, *words;
  } broken[] = {
      {"", "test.tune:1:1:", "expected: 'apnnc tuning 1' as the first line"},
      {"apnnc tuning 2\n", "test.tune:1:14:", "expected: 'apnnc tuning 1' as the first line"},
      {"apnnc tuning 1\nlayer\n", "test.tune:2:6:", "expected: ':' and an engine behind the layer"},
      {"apnnc tuning 1\n : engine=direct\n", "test.tune:2:2:", "expected: a layer before ':'"},
      {"apnnc tuning 1\nl : \n", "test.tune:2:5:", "expected: engine="},
      {"apnnc tuning 1\nl : tile=1\n", "test.tune:2:5:", "expected: engine="},
      {"apnnc tuning 1\nl : engine direct\n", "test.tune:2:12:", "expected: '=' behind it"},
      {"apnnc tuning 1\nl : engine=tpu\n", "test.tune:2:12:", "expected: one of mma_b1, mma_s8, "},
      {"apnnc tuning 1\nl : engine=none\n", "test.tune:2:12:", "unknown engine 'none'"},
      {"apnnc tuning 1\nl : engine=mma_b1 12\n", "test.tune:2:19:", "expected: tile="},
      {"apnnc tuning 1\nl : engine=mma_b1 tile=1,2\n",
       "test.tune:2:27:", "expected: ',' between a tile's eight numbers"},
      {"apnnc tuning 1\nl : engine=mma_b1 tile=1,x\n", "test.tune:2:26:", "expected: a number of the tile"},
      {"apnnc tuning 1\nl : engine=mma_b1 tile=65536,1,1,1,1,1,1,0\n", "test.tune:2:24:", "is out of range"},
      {"apnnc tuning 1\nl : engine=mma_b1 tile=0,1,1,1,1,1,1,0\n", "test.tune:2:24:", "is out of range"},
      {"apnnc tuning 1\nl : engine=mma_b1 tile=1,1,1,1,1,1,1,3\n", "test.tune:2:38:", "is out of range"},
      {"apnnc tuning 1\nl : engine=mma_b1 tile=1,1,1,1,1,1,1,0 1\n",
       "test.tune:2:40:", "expected: the end of the line"},
      {"apnnc tuning 1\nl : engine=direct\n l: engine=direct\n",
       "test.tune:3:2:", "an earlier line has the same layer"},
  };
  for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
    Build b = build_new(1);
    assert_null(parse(&b, broken[i].text));
    char *text = reports(&b);
    expect_text(text, broken[i].place);
    expect_text(text, broken[i].words);
    context_free(b.context);
  }
}

static void every_broken_line_is_told(void **state) {
  (void)state;
  Build b = build_new(1);
  assert_null(parse(&b, "apnnc tuning 1\none\ntwo : engine=direct\nthree : x\n"));
  assert_int_equal(diag_error_count(b.context), 2);
  char *text = reports(&b);
  expect_text(text, "test.tune:2:4:");
  expect_text(text, "test.tune:4:9:");
  context_free(b.context);
}

/* --- use --- */

static void plan(Build *b, const Tuning *t, Engine force) {
  PassOptions options = {.target = &test_target, .max_batch = 16, .tuning = t, .force_engine = force};
  assert_true(passes_run(b->g, &options, NULL));
}

static void choices_are_carried_out(void **state) {
  (void)state;
  static const Tile tile = {32, 64, 8, 2, 1, 2, 1, 0};
  static const Engine engines[] = {ENGINE_MMA_B1, ENGINE_MMA_S8};
  for (int i = 0; i < 2; i++) {
    Build b = two_layers(1);
    plan(&b, choice(&b, engines[i], tile), ENGINE_NONE);
    const Node *node = node_of(&b, OP_CONV2D);
    assert_int_equal(node->engine, engines[i]);
    assert_true(tile_equal(&node->tile, &tile));
    assert_int_equal(strlen(reports(&b)), 0);
    build_free(&b);
  }
}

static void without_a_tile_the_model_has_one(void **state) {
  (void)state;
  Build b = two_layers(1);
  plan(&b, choice(&b, ENGINE_MMA_S8, (Tile){0}), ENGINE_NONE);
  assert_int_equal(node_of(&b, OP_CONV2D)->engine, ENGINE_MMA_S8);
  assert_int_not_equal(node_of(&b, OP_CONV2D)->tile.m, 0);
  build_free(&b);
  b = two_layers(1);
  plan(&b, choice(&b, ENGINE_DIRECT, (Tile){0}), ENGINE_NONE);
  assert_int_equal(node_of(&b, OP_CONV2D)->engine, ENGINE_DIRECT);
  build_free(&b);
}

static void the_command_line_comes_first(void **state) {
  (void)state;
  Build b = two_layers(1);
  plan(&b, choice(&b, ENGINE_MMA_B1, (Tile){0}), ENGINE_MMA_S8);
  assert_int_equal(node_of(&b, OP_CONV2D)->engine, ENGINE_MMA_S8);
  build_free(&b);
}

static void impossible_choices_are_warned_of(void **state) {
  (void)state;
  static const struct {
    Engine engine;
    Tile tile;
    const char *words;
  } impossible[] = {
      {ENGINE_WGMMA_B1, {64, 32, 4, 4, 1, 3, 1, 1}, "engine wgmma_b1: the target has no native instruction for it"},
      {ENGINE_ROW, {0}, "engine row: it does not have this operation"},
      {ENGINE_MMA_B1, {32, 64, 9, 2, 1, 2, 1, 0}, "its tile does not fit the layer"},
      {ENGINE_MMA_B1, {16, 0, 8, 1, 1, 2, 1, 0}, "its tile does not fit the layer"},
      {ENGINE_MMA_B1, {1024, 8, 8, 64, 1, 2, 1, 0}, "its tile does not fit the layer"},
  };
  Build usual = two_layers(1);
  plan(&usual, NULL, ENGINE_NONE);
  const Node *expected = node_of(&usual, OP_CONV2D);
  for (size_t i = 0; i < sizeof impossible / sizeof impossible[0]; i++) {
    Build b = two_layers(1);
    plan(&b, choice(&b, impossible[i].engine, impossible[i].tile), ENGINE_NONE);
    const Node *node = node_of(&b, OP_CONV2D);
    assert_int_equal(node->engine, expected->engine);
    assert_true(tile_equal(&node->tile, &expected->tile));
    char *text = reports(&b);
    expect_text(text, "warning[W0609]");
    expect_text(text, impossible[i].words);
    build_free(&b);
  }
  build_free(&usual);
}

static void other_layers_are_left_alone(void **state) {
  (void)state;
  Build b = two_layers(1), usual = two_layers(1);
  plan(&b, parse(&b, "apnnc tuning 1\nsome other layer : engine=direct\n"), ENGINE_NONE);
  plan(&usual, NULL, ENGINE_NONE);
  assert_string_equal(graph_print_string(b.g, PRINT_FULL), graph_print_string(usual.g, PRINT_FULL));
  assert_int_equal(strlen(reports(&b)), 0);
  build_free(&b);
  build_free(&usual);
}

static void explain_names_the_file(void **state) {
  (void)state;
  Build b = two_layers(1);
  static const Tile tile = {32, 64, 8, 2, 1, 2, 1, 0};
  const Tuning *t = choice(&b, ENGINE_MMA_S8, tile);
  PassOptions options = {.target = &test_target, .max_batch = 16, .tuning = t};
  plan(&b, t, ENGINE_NONE);
  FILE *f = tmpfile();
  passes_explain(b.g, &options, f);
  char *text = read_back(&b, f);
  expect_text(text, "engine    mma_s8, estimated ");
  expect_text(text, " us, as the tuning file says\n");
  expect_text(text, "32 pixels x 64 channels x 8 words, 2 x 1 warps, 2 stages, as the tuning file says\n");
  build_free(&b);
}

/* --- candidates --- */

static void lists_keep_the_best_in_order(void **state) {
  (void)state;
  static const double times[] = {5, 3, 9, 3, 1, 4, 1};
  TileList list = {.most = 4};
  for (uint16_t i = 0; i < 7; i++) tile_list_add(&list, (Tile){.m = (uint16_t)(i + 1)}, times[i]);
  static const int order[] = {5, 7, 2, 4}; /* of equals the first stays before */
  assert_int_equal(list.count, 4);
  for (int i = 0; i < 4; i++) assert_int_equal(list.tiles[i].m, order[i]);
}

static void the_first_candidate_is_the_models_tile(void **state) {
  (void)state;
  Build b = two_layers(1);
  plan(&b, NULL, ENGINE_NONE);
  PassOptions options = {.target = &test_target, .max_batch = 16};
  const Node *node = node_of(&b, OP_CONV2D);
  TileList list = {.most = MOST_TILES};
  list_tiles(b.g, node, &options, &list);
  assert_true(list.count > 1);
  assert_true(tile_equal(&list.tiles[0], &node->tile));
  for (uint32_t i = 0; i < list.count; i++) assert_true(tile_fits(b.g, node, &list.tiles[i], &test_target));
  for (uint32_t i = 1; i < list.count; i++) assert_true(list.microseconds[i - 1] <= list.microseconds[i]);
  build_free(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_key_stays_the_same_through_planning),
      cmocka_unit_test(scales_are_no_part_of_a_key),
      cmocka_unit_test(inputs_and_outputs_are_marked),
      cmocka_unit_test(text_reads_back_sorted),
      cmocka_unit_test(look_up_finds_what_was_set),
      cmocka_unit_test(broken_lines_are_told),
      cmocka_unit_test(every_broken_line_is_told),
      cmocka_unit_test(choices_are_carried_out),
      cmocka_unit_test(without_a_tile_the_model_has_one),
      cmocka_unit_test(the_command_line_comes_first),
      cmocka_unit_test(impossible_choices_are_warned_of),
      cmocka_unit_test(other_layers_are_left_alone),
      cmocka_unit_test(explain_names_the_file),
      cmocka_unit_test(lists_keep_the_best_in_order),
      cmocka_unit_test(the_first_candidate_is_the_models_tile),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
