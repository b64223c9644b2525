/* Shared memory of layers on wgmma: every number of ir/staging.h, worked out by hand for a few layers. */
#include "ir_sample.h"

#include "ir/lines.h"
#include "ir/staging.h"

typedef struct Layer {
  Context *context;
  Graph *g;
  Node node;
} Layer;

static Layer layer_new(Type x, Type w, Engine engine, uint32_t row_pitch, uint32_t image_pitch) {
  Layer l = {.context = context_new(NULL)};
  LayoutKind kind = engine == ENGINE_WGMMA_B1 ? LAYOUT_PLANES : LAYOUT_BYTES;
  Random r = {5};
  l.g = graph_new(l.context, "g");
  x.layout = layout_pieces(&x, kind, row_pitch, image_pitch, 2);
  ValueId *inputs = ARENA_NEW(l.context, ValueId, 2);
  inputs[0] = graph_add_input(l.g, "x", x);
  inputs[1] = graph_add_const(l.g, "w", w, random_elements(l.context, &r, &w, 1));
  l.node = (Node){.op = w.rank == 4 ? OP_CONV2D : OP_LINEAR, .attrs = attrs_default(), .inputs = inputs};
  l.node.input_count = 2;
  l.node.engine = engine;
  for (int i = 0; w.rank == 4 && i < 2; i++) l.node.attrs.kernel[i] = w.dim[i + 1];
  return l;
}

static void expect(Layer *l, Tile tile, Staging want) {
  Staging s = staging_of(l->g, &l->node, &tile);
  assert_int_equal(s.taps, want.taps);
  assert_int_equal(s.blocks, want.blocks);
  assert_int_equal(s.weight_planes, want.weight_planes);
  assert_int_equal(s.input_planes, want.input_planes);
  assert_int_equal(s.chunk_blocks, want.chunk_blocks);
  assert_int_equal(s.chunks, want.chunks);
  assert_int_equal(s.pieces, want.pieces);
  assert_int_equal(s.joined, want.joined ? want.joined : 1);
  assert_int_equal(s.filter_pieces, want.filter_pieces ? want.filter_pieces : want.taps);
  assert_int_equal(s.real_pieces, s.filter_pieces * want.chunk_blocks);
  assert_int_equal(s.parts, want.parts ? want.parts : 1);
  assert_int_equal(s.part_pieces * s.parts, s.pieces);
  assert_int_equal(s.walks, want.walks ? want.walks : 1);
  assert_int_equal(s.packed_bytes, s.pieces * tile.n * 16);
  assert_int_equal(s.window_bytes, want.chunk_blocks * want.input_rows * 16);
  assert_int_equal(s.shift, want.shift);
  assert_int_equal(s.halo, want.halo);
  assert_int_equal(s.input_rows, want.input_rows);
  assert_int_equal(s.weight_rows, want.weight_rows);
  assert_int_equal(s.summed, want.summed);
  assert_int_equal(s.sums_bytes, want.sums_bytes);
  assert_int_equal(s.chunk_bytes, want.chunk_bytes);
  assert_int_equal(s.stage_bytes, want.stage_bytes);
  assert_int_equal(s.resident_bytes, want.resident_bytes);
  assert_int_equal(s.lines_bytes, want.lines_bytes);
  assert_int_equal(s.barrier_bytes, want.barrier_bytes);
  assert_int_equal(s.shared_bytes, want.shared_bytes);
}

/* i3 weights in planes are q + 4: the inputs are summed: by 16 more rows of weights, or where
 * chunks are many beside the products. */
static void test_linear(void **state) {
  (void)state;
  Layer l = layer_new(type_make(ELEM_UINT, 2, true, 1, DIMS(300)), type_make(ELEM_INT, 3, false, 2, DIMS(40, 300)),
                      ENGINE_WGMMA_B1, 1, 1);
  expect(&l, (Tile){.m = 128, .n = 64, .k = 4, .warps_m = 4, .warps_n = 1, .stages = 3},
         (Staging){.taps = 1,
                   .blocks = 3,
                   .weight_planes = 3,
                   .input_planes = 2,
                   .chunk_blocks = 1,
                   .chunks = 3,
                   .pieces = 2,
                   .input_rows = 128,
                   .weight_rows = 64,
                   .chunk_bytes = 2048,
                   .stage_bytes = 4096,
                   .barrier_bytes = 48,
                   .summed = 128,
                   .sums_bytes = 512,
                   .shared_bytes = 12848});
  expect(&l, (Tile){.m = 128, .n = 64, .k = 8, .warps_m = 4, .warps_n = 1, .stages = 3},
         (Staging){.taps = 1,
                   .blocks = 3,
                   .weight_planes = 3,
                   .input_planes = 2,
                   .chunk_blocks = 2,
                   .chunks = 2,
                   .pieces = 2,
                   .input_rows = 128,
                   .weight_rows = 80,
                   .chunk_bytes = 2560,
                   .stage_bytes = 6656,
                   .barrier_bytes = 48,
                   .shared_bytes = 20016});
  expect(&l, (Tile){.m = 128, .n = 64, .k = 12, .warps_m = 4, .warps_n = 1, .stages = 2, .resident = 1},
         (Staging){.taps = 1,
                   .blocks = 3,
                   .weight_planes = 3,
                   .input_planes = 2,
                   .chunk_blocks = 3,
                   .chunks = 1,
                   .pieces = 4,
                   .input_rows = 128,
                   .weight_rows = 80,
                   .chunk_bytes = 5120,
                   .stage_bytes = 12288,
                   .resident_bytes = 15360,
                   .barrier_bytes = 72,
                   .shared_bytes = 40008});
  context_free(l.context);
}

/* Results of words, or of bytes one after the other, have rows of their own for each of eight warps. */
static void test_lines(void **state) {
  (void)state;
  Layer l = layer_new(type_make(ELEM_UINT, 2, true, 1, DIMS(256)), type_make(ELEM_UINT, 1, false, 2, DIMS(40, 256)),
                      ENGINE_WGMMA_B1, 1, 1);
  Tile tile = {.m = 128, .n = 64, .k = 8, .warps_m = 8, .warps_n = 1, .stages = 2};
  Staging s = {.taps = 1,
               .blocks = 2,
               .weight_planes = 1,
               .input_planes = 2,
               .chunk_blocks = 2,
               .chunks = 1,
               .pieces = 2,
               .input_rows = 128,
               .weight_rows = 64,
               .chunk_bytes = 2048,
               .stage_bytes = 6144,
               .barrier_bytes = 32};
  Type sums = type_make(ELEM_I32, 32, true, 1, DIMS(40)), bytes = type_make(ELEM_UINT, 8, true, 1, DIMS(40));
  sums.layout = layout_dense(&sums), bytes.layout = layout_dense(&bytes);
  l.node.result = graph_add_result(l.g, "sums", sums);
  s.lines_bytes = 8 * 16 * 160, s.shared_bytes = 2 * 6144 + 32 + s.lines_bytes;
  expect(&l, tile, s);
  l.node.result = graph_add_result(l.g, "bytes", bytes);
  s.lines_bytes = 8 * 16 * 80, s.shared_bytes = 2 * 6144 + 32 + s.lines_bytes;
  expect(&l, tile, s);
  bytes.layout = layout_pieces(&bytes, LAYOUT_BYTES, 1, 1, 1);
  l.node.result = graph_add_result(l.g, "pieces", bytes);
  s.lines_bytes = 0, s.shared_bytes = 2 * 6144 + 32;
  expect(&l, tile, s);
  context_free(l.context);
}

/* Lanes 4g + q put neighbours of row g: words of half a warp at a time, of all where these are halves, lie in banks of
 * their own. Rows begin where 16 bytes may be read. */
static void test_banks_of_lines(void **state) {
  (void)state;
  Type sums = type_make(ELEM_I32, 32, true, 1, DIMS(999)), bytes = type_make(ELEM_UINT, 8, true, 1, DIMS(999));
  sums.layout = layout_dense(&sums), bytes.layout = layout_dense(&bytes);
  for (int columns = 32; columns <= 256; columns *= 2) {
    bool taken[2][32] = {{false}};
    int of_words = line_pitch(&sums, columns), of_bytes = line_pitch(&bytes, columns);
    assert_true(of_words % 16 == 0 && of_bytes % 16 == 0 && line_bytes(&sums, columns) == 128);
    assert_int_equal(line_bytes(&bytes, columns), columns < 128 ? columns : 128);
    for (int lane = 0; lane < 16; lane++)
      for (int word = 0; word < 2; word++) {
        bool *bank = &taken[0][(lane / 4 * of_words / 4 + lane % 4 * 2 + word) % 32];
        assert_false(*bank);
        *bank = true;
      }
    for (int lane = 0; lane < 32; lane += 2) { /* two lanes a word */
      bool *bank = &taken[1][(lane / 4 * of_bytes + lane % 4 * 2) / 4 % 32];
      assert_false(*bank);
      *bank = true;
    }
  }
}

/* 7 x 7 pixels in rows of 8; nine taps leave the last piece of the chunk empty. With resident weights two taps of a row
 * share a piece. */
static void test_padded_convolution(void **state) {
  (void)state;
  Layer l = layer_new(type_make(ELEM_UINT, 1, true, 3, DIMS(7, 7, 64)),
                      type_make(ELEM_UINT, 2, false, 4, DIMS(32, 3, 3, 64)), ENGINE_WGMMA_B1, 8, 64);
  for (int i = 0; i < 4; i++) l.node.attrs.pad[i] = 1;
  static const uint32_t shifts[9] = {0, 1, 2, 8, 9, 10, 16, 17, 18};
  for (uint32_t tap = 0; tap < 9; tap++) assert_int_equal(staging_tap_shift(l.g, &l.node, tap), shifts[tap]);
  Staging s = {.taps = 9,
               .blocks = 1,
               .weight_planes = 2,
               .input_planes = 1,
               .chunk_blocks = 1,
               .chunks = 1,
               .pieces = 10,
               .shift = 9,
               .halo = 18,
               .input_rows = 82,
               .weight_rows = 32,
               .chunk_bytes = 5120,
               .stage_bytes = 6432,
               .barrier_bytes = 32,
               .shared_bytes = 12896};
  expect(&l, (Tile){.m = 64, .n = 32, .k = 4, .warps_m = 4, .warps_n = 1, .stages = 2}, s);
  s.joined = 2;
  s.filter_pieces = s.pieces = 6;
  s.chunk_bytes = 3072;
  s.stage_bytes = 1312;
  s.resident_bytes = 6144;
  s.barrier_bytes = 48;
  s.shared_bytes = 8816;
  expect(&l, (Tile){.m = 64, .n = 32, .k = 4, .warps_m = 4, .warps_n = 1, .stages = 2, .resident = 1}, s);
  context_free(l.context);
}

/* Four blocks of bytes in chunks of three: the second chunk is ragged, but takes as much room. */
static void test_dilated_bytes(void **state) {
  (void)state;
  Type w = type_make(ELEM_INT, 8, false, 4, DIMS(128, 2, 3, 40));
  Layer l = layer_new(type_make(ELEM_UINT, 8, true, 3, DIMS(10, 12, 40)), w, ENGINE_WGMMA_S8, 20, 300);
  memcpy(l.node.attrs.pad, (int32_t[]){1, 2, 3, 4}, sizeof l.node.attrs.pad);
  memcpy(l.node.attrs.dilation, (int32_t[]){2, 3}, sizeof l.node.attrs.dilation);
  static const uint32_t shifts[6] = {0, 3, 6, 40, 43, 46};
  for (uint32_t tap = 0; tap < 6; tap++) assert_int_equal(staging_tap_shift(l.g, &l.node, tap), shifts[tap]);
  Tile tile = {.m = 128, .n = 128, .k = 12, .warps_m = 4, .warps_n = 1, .stages = 4};
  Staging s = {.taps = 6,
               .blocks = 4,
               .weight_planes = 1,
               .input_planes = 1,
               .chunk_blocks = 3,
               .chunks = 2,
               .pieces = 18,
               .shift = 22,
               .halo = 46,
               .input_rows = 174,
               .weight_rows = 128,
               .chunk_bytes = 36864,
               .stage_bytes = 45216,
               .barrier_bytes = 64,
               .shared_bytes = 180928};
  expect(&l, tile, s);
  graph_type(l.g, l.node.inputs[1])->zero2 = 3; /* levels up to 2 * 127 - 3 do not fit a signed byte */
  s.weight_rows = 144;
  s.chunk_bytes = 41472;
  s.stage_bytes = 49824;
  s.shared_bytes = 199360;
  expect(&l, tile, s);
  context_free(l.context);
}

/* Many products hide sums beside them: of the positions that a group's rows and their filters see, for each stage. */
static void test_sums_beside(void **state) {
  (void)state;
  Layer l = layer_new(type_make(ELEM_UINT, 2, true, 3, DIMS(14, 14, 256)),
                      type_make(ELEM_INT, 3, false, 4, DIMS(256, 3, 3, 256)), ENGINE_WGMMA_B1, 15, 225);
  for (int i = 0; i < 4; i++) l.node.attrs.pad[i] = 1;
  Staging s = {.taps = 9,
               .blocks = 2,
               .weight_planes = 3,
               .input_planes = 2,
               .chunk_blocks = 2,
               .chunks = 1,
               .pieces = 18,
               .shift = 16,
               .halo = 32,
               .input_rows = 288,
               .weight_rows = 128,
               .parts = 3,
               .chunk_bytes = 36864,
               .stage_bytes = 18432,
               .resident_bytes = 110592,
               .barrier_bytes = 184,
               .summed = 96,
               .sums_bytes = 1536,
               .shared_bytes = 2 * 18432 + 110592 + 184 + 2 * 1536};
  expect(&l, (Tile){.m = 256, .n = 128, .k = 8, .warps_m = 16, .warps_n = 1, .stages = 2, .resident = 1}, s);
  s.weight_rows = 144; /* streamed weights: by columns */
  s.parts = 1;
  s.barrier_bytes = 32;
  s.chunk_bytes = 41472;
  s.stage_bytes = 50688;
  s.resident_bytes = 0;
  s.summed = s.sums_bytes = 0;
  s.shared_bytes = 2 * 50688 + 32;
  expect(&l, (Tile){.m = 256, .n = 128, .k = 8, .warps_m = 16, .warps_n = 1, .stages = 2}, s);
  context_free(l.context);
}

/* Groups of four warps that go through tiles of their own, each with stages and barriers, and weights for all of them
 * in three parts. The first part reads the first block of channels, the second is the first to read the other. */
static void test_walks(void **state) {
  (void)state;
  Layer l = layer_new(type_make(ELEM_UINT, 2, true, 3, DIMS(14, 14, 256)),
                      type_make(ELEM_UINT, 1, false, 4, DIMS(256, 3, 3, 256)), ENGINE_WGMMA_B1, 15, 225);
  Tile tile = {.m = 64, .n = 128, .k = 8, .warps_m = 16, .warps_n = 1, .stages = 2, .resident = 1};
  for (int i = 0; i < 4; i++) l.node.attrs.pad[i] = 1;
  expect(&l, tile,
         (Staging){.taps = 9,
                   .blocks = 2,
                   .weight_planes = 1,
                   .input_planes = 2,
                   .chunk_blocks = 2,
                   .chunks = 1,
                   .pieces = 18,
                   .parts = 3,
                   .walks = 4,
                   .shift = 16,
                   .halo = 32,
                   .input_rows = 96,
                   .weight_rows = 128,
                   .chunk_bytes = 36864,
                   .stage_bytes = 6144,
                   .resident_bytes = 36864,
                   .barrier_bytes = 8 * (4 * 2 * (1 + 2 * 3) + 3),
                   .shared_bytes = 4 * 2 * 6144 + 36864 + 8 * 59});
  Staging s = staging_of(l.g, &l.node, &tile);
  static const uint32_t before[] = {0, 1, 2, 2};
  for (uint32_t part = 0; part <= 3; part++) assert_int_equal(staging_blocks_before(&s, part), before[part]);
  assert_int_equal(staging_group_rows(&tile), 64);
  assert_int_equal(staging_threads(&tile), 512);
  tile.m = 256; /* 16 rows a warp: the warps share tiles */
  assert_int_equal(staging_walks(&tile), 1);
  assert_int_equal(staging_group_rows(&tile), 64);
  context_free(l.context);
}

/* How many taps share a piece, and where each stands. */
static void test_joined_taps(void **state) {
  (void)state;
  static const struct {
    int32_t channels, width, dilation;
    Tile tile;
    bool bytes;
    uint32_t joined, row_pieces;
  } rows[] = {
      {64, 3, 1, {.m = 64, .n = 32, .k = 4, .warps_m = 4, .resident = RESIDENT}, false, 2, 2},
      {33, 5, 1, {.m = 64, .n = 32, .k = 4, .warps_m = 4, .resident = RESIDENT}, false, 2, 3},
      {32, 3, 2, {.m = 64, .n = 32, .k = 4, .warps_m = 4, .resident = RESIDENT}, false, 4, 1},
      {5, 6, 1, {.m = 64, .n = 32, .k = 4, .warps_m = 4, .resident = RESIDENT}, false, 4, 2},
      {5, 2, 1, {.m = 64, .n = 32, .k = 4, .warps_m = 4, .resident = RESIDENT}, false, 2, 1},
      {64, 1, 1, {.m = 64, .n = 32, .k = 4, .warps_m = 4, .resident = RESIDENT}, false, 1, 1},  /* one tap a row */
      {65, 3, 1, {.m = 64, .n = 32, .k = 4, .warps_m = 4, .resident = RESIDENT}, false, 1, 3},  /* no room */
      {64, 3, 8, {.m = 64, .n = 32, .k = 4, .warps_m = 4, .resident = RESIDENT}, false, 1, 3},  /* rows overlap */
      {64, 3, 1, {.m = 64, .n = 256, .k = 4, .warps_m = 4, .resident = RESIDENT}, false, 1, 3}, /* no room for sums */
      {64, 3, 1, {.m = 64, .n = 32, .k = 4, .warps_m = 4, .resident = GATHERED}, false, 1, 3},
      {64, 3, 1, {.m = 64, .n = 32, .k = 4, .warps_m = 4, .resident = STREAMED}, false, 1, 3},
      {8, 3, 1, {.m = 64, .n = 32, .k = 4, .warps_m = 4, .resident = RESIDENT}, true, 1, 3},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    int32_t width = rows[i].width;
    Layer l = layer_new(type_make(ELEM_UINT, 2, true, 3, DIMS(9, 9, rows[i].channels)),
                        type_make(ELEM_UINT, 1, false, 4, DIMS(32, 3, width, rows[i].channels)),
                        rows[i].bytes ? ENGINE_WGMMA_S8 : ENGINE_WGMMA_B1, 12, 120);
    l.node.attrs.dilation[1] = rows[i].dilation;
    l.node.main_type = type_make(ELEM_I32, 32, true, 3, DIMS(7, 7, 32));
    Staging s = staging_of(l.g, &l.node, &rows[i].tile);
    assert_int_equal(s.joined, rows[i].joined);
    assert_int_equal(s.row_pieces, rows[i].row_pieces);
    assert_int_equal(s.filter_pieces, 3 * rows[i].row_pieces);
    if (s.joined > 1) assert_int_equal(s.join_shift, rows[i].dilation);
    for (uint32_t tap = 0; tap < s.taps && s.joined > 1; tap++) {
      uint32_t column = tap % (uint32_t)width, row = tap / (uint32_t)width;
      assert_int_equal(staging_tap_piece(l.g, &l.node, &s, tap), row * s.row_pieces + column / s.joined);
      assert_int_equal(staging_tap_slot(&l.node, &s, tap), column % s.joined);
    }
    context_free(l.context);
  }
}

/* Pixels of the result alone. The window that reaches furthest begins with an image's last pixel: of 64 pixels of 7 x 7
 * nine begin a row, each behind a position that is none, and two of these an image, behind a row of eight. */
static void test_gathered_rows(void **state) {
  (void)state;
  Layer l = layer_new(type_make(ELEM_UINT, 2, true, 3, DIMS(7, 7, 256)),
                      type_make(ELEM_UINT, 1, false, 4, DIMS(64, 3, 3, 256)), ENGINE_WGMMA_B1, 8, 64);
  Tile tile = {.m = 64, .n = 64, .k = 8, .warps_m = 8, .warps_n = 1, .stages = 2, .resident = GATHERED};
  for (int i = 0; i < 4; i++) l.node.attrs.pad[i] = 1;
  l.node.main_type = type_make(ELEM_I32, 32, true, 3, DIMS(7, 7, 64));
  uint32_t positions = 64 + 9 + 2 * 8;
  expect(&l, tile,
         (Staging){.taps = 9,
                   .blocks = 2,
                   .weight_planes = 1,
                   .input_planes = 2,
                   .chunk_blocks = 2,
                   .chunks = 1,
                   .pieces = 18,
                   .parts = 3,
                   .walks = 2,
                   .shift = 9,
                   .halo = 18,
                   .input_rows = positions + 18,
                   .weight_rows = 64,
                   .chunk_bytes = 18432,
                   .stage_bytes = 2 * 2 * (positions + 18) * 16,
                   .resident_bytes = 18432,
                   .barrier_bytes = 8 * (2 * 2 * (1 + 2 * 3) + 3),
                   .shared_bytes = 2 * 2 * 2 * 2 * (positions + 18) * 16 + 18432 + 8 * 31});
  assert_int_equal(staging_image_rows(l.g, &l.node, &tile), 49);
  assert_int_equal(staging_group_rows(&tile), 64);
  Staging s = staging_of(l.g, &l.node, &tile);
  assert_int_equal(staging_products(&s, &tile), 18);
  graph_type(l.g, l.node.inputs[1])->zero2 = 1; /* bipolar: each group sums up its window */
  s = staging_of(l.g, &l.node, &tile);
  assert_int_equal(s.summed, s.input_rows);
  assert_int_equal(s.weight_rows, 64);
  tile.resident = RESIDENT;
  assert_int_equal(staging_image_rows(l.g, &l.node, &tile), 64);
  context_free(l.context);
}

/* A kernel as large as an image of 2048 x 2048: 2^22 pieces, whose weights alone take 2^33 bytes. */
static void test_larger_than_32_bits(void **state) {
  (void)state;
  Layer l = layer_new(type_make(ELEM_UINT, 1, true, 3, DIMS(2048, 2048, 1)),
                      type_make(ELEM_UINT, 1, false, 4, DIMS(1, 2048, 2048, 1)), ENGINE_WGMMA_B1, 2048, 1 << 22);
  uint64_t weights = UINT64_C(1) << 33, window = ((UINT64_C(1) << 22) - 1 + 64) * 16;
  for (uint8_t resident = 0; resident <= 1; resident++) {
    Tile tile = {.m = 64, .n = 128, .k = 4, .warps_m = 4, .warps_n = 1, .stages = 2, .resident = resident};
    uint64_t shared = 2 * window + (resident ? weights / 4 + 40 : 2 * weights + 32); /* resident: four taps a piece */
    assert_true(staging_of(l.g, &l.node, &tile).shared_bytes == shared);
  }
  context_free(l.context);
}

/* Streamed weights: one warp more than those that multiply, or four where these need more than an even share of
 * registers. Resident ones: no more. */
static void test_threads(void **state) {
  (void)state;
  static const struct {
    Tile tile;
    uint32_t threads;
    bool moves;
  } rows[] = {
      {{.m = 64, .n = 32, .warps_m = 4}, 160, false},
      {{.m = 64, .n = 128, .warps_m = 4}, 160, false},
      {{.m = 128, .n = 64, .warps_m = 4}, 160, false},
      {{.m = 128, .n = 128, .warps_m = 8}, 288, false},
      {{.m = 128, .n = 128, .warps_m = 4}, 256, true},
      {{.m = 256, .n = 128, .warps_m = 8}, 384, true},
      {{.m = 256, .n = 128, .warps_m = 16}, 544, false},
      {{.m = 64, .n = 32, .warps_m = 4, .resident = 1}, 128, false},
      {{.m = 256, .n = 128, .warps_m = 8, .resident = 1}, 256, false},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    assert_int_equal(staging_threads(&rows[i].tile), rows[i].threads);
    assert_int_equal(staging_moves_registers(&rows[i].tile), rows[i].moves);
  }
}

/* The level as a signed byte where it fits, else q and an offset; planes in offset binary. */
static void test_weight_storage(void **state) {
  (void)state;
  static const struct {
    ElemKind kind;
    int bits, zero2;
    bool planes, as_level;
    LevelMap map;
  } rows[] = {
      {ELEM_UINT, 1, 1, true, false, {2, 1}},         {ELEM_UINT, 1, 1, false, true, {1, 0}},
      {ELEM_INT, 8, 0, false, true, {1, 0}},          {ELEM_INT, 4, 0, true, false, {1, 8}},
      {ELEM_TERNARY, 2, 0, true, false, {1, 2}},      {ELEM_UINT, 8, 0, false, false, {1, 0}},
      {ELEM_UINT, 8, 256, false, true, {1, 0}},       {ELEM_INT, 8, 2, false, false, {1, 1}},
      {ELEM_INT, 3, -1, true, false, {2, 2 * 4 - 1}}, {ELEM_UINT, 2, -6, true, false, {1, -3}},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    Type t = type_make(rows[i].kind, rows[i].bits, false, 1, DIMS(1));
    bool as_level;
    t.zero2 = (int16_t)rows[i].zero2;
    LevelMap map = weight_storage(&t, rows[i].planes, &as_level);
    assert_int_equal(as_level, rows[i].as_level);
    assert_int_equal(map.mult, rows[i].map.mult);
    assert_int_equal(map.offset, rows[i].map.offset);
  }
}

/* Rows of 3 positions and a column dilation of 2: the last tap of a row reads behind the first of the next row. */
static void test_taps_in_order_of_their_inputs(void **state) {
  (void)state;
  static const uint32_t shifts[] = {0, 2, 4, 3, 5, 7, 6, 8, 10}, places[] = {0, 1, 3, 2, 4, 6, 5, 7, 8};
  Layer l = layer_new(type_make(ELEM_UINT, 4, true, 3, DIMS(11, 1, 48)),
                      type_make(ELEM_UINT, 1, false, 4, DIMS(40, 3, 3, 48)), ENGINE_WGMMA_B1, 3, 39);
  l.node.attrs.dilation[1] = 2;
  Staging s = {.taps = 9, .joined = 1};
  for (uint32_t tap = 0; tap < 9; tap++) {
    assert_int_equal(staging_tap_shift(l.g, &l.node, tap), shifts[tap]);
    assert_int_equal(staging_tap_piece(l.g, &l.node, &s, tap), places[tap]);
  }
  context_free(l.context);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_taps_in_order_of_their_inputs),
      cmocka_unit_test(test_linear),
      cmocka_unit_test(test_lines),
      cmocka_unit_test(test_banks_of_lines),
      cmocka_unit_test(test_padded_convolution),
      cmocka_unit_test(test_dilated_bytes),
      cmocka_unit_test(test_threads),
      cmocka_unit_test(test_sums_beside),
      cmocka_unit_test(test_walks),
      cmocka_unit_test(test_joined_taps),
      cmocka_unit_test(test_gathered_rows),
      cmocka_unit_test(test_larger_than_32_bits),
      cmocka_unit_test(test_weight_storage),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
