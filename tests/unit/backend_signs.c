/* Thresholds as signs (backend/mma_signs.c): layers of thresholds alone on every tensor-core engine give the
 * reference's bits on the CPU device, for 1 to 4 bits, rising and falling channels, every number of channels a tile may
 * have, and sums on either side of the bounds that choose how, and whether, signs are taken.
 *
 * The layer's result lies in bit planes, which a second layer of bipolar weights reads: bits of channels past the last
 * would show in its sums, and so would what its padding finds between pixels. A copy makes the result itself an output.
 */
#include "backend_device.h"

/* How the emitted kernel takes its thresholds. */
typedef enum Way { WAY_STEPS, WAY_SINGLE, WAY_PAIRS } Way;

typedef struct Case {
  Engine engine, reader; /* of the layer, of the layer behind */
  Type x, w;             /* [H,W,C], [O,KH,KW,C] */
  int32_t pad;
  ElemKind kind; /* of the result */
  int bits;
  bool per_channel;    /* rows of thresholds */
  int falling;         /* 0: no channel, 1: some, 2: all */
  int block, n, warps; /* of the result's planes unless they are pieces; of the tile */
  int chunk_blocks;    /* of streamed weights on wgmma; 0: 1 */
  bool extremes;       /* inputs of the least and greatest numbers, thresholds far outside */
  bool unsorted;       /* rows of thresholds in no order */
  int32_t flip;        /* of falling channels; 0: -1, as the thresholds pass writes it */
} Case;

enum { IMAGES = 3 };

/* --- the network --- */

static int compare(const void *a, const void *b) {
  int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
  return (x > y) - (x < y);
}

/* Rising rows around the sums that occur; equal ones, and ones that are never or always reached, among them. */
static ValueId add_thresholds(Build *b, const Case *k, int64_t bound, int32_t rows) {
  int32_t count = (1 << k->bits) - 1, dim[2] = {rows, count};
  int32_t *t = ARENA_NEW(b->context, int32_t, (int64_t)rows * count);
  double spread = (double)bound / (k->extremes ? 1 : 3);
  for (int32_t r = 0; r < rows; r++) {
    for (int32_t i = 0; i < count; i++) {
      t[r * count + i] = (int32_t)(spread * draw_real(&b->seed, -1, 1));
      uint32_t special = draw(&b->seed, 12);
      if (special == 0) t[r * count + i] = INT32_MAX;
      if (special == 1) t[r * count + i] = INT32_MIN;
      if (special == 2) t[r * count + i] = (int32_t)bound;
      if (special == 3) t[r * count + i] = -(int32_t)bound;
      if (special == 4 && i) t[r * count + i] = t[r * count + i - 1];
    }
    if (!k->unsorted) qsort(t + r * count, (size_t)count, sizeof *t, compare);
  }
  return graph_add_const(b->g, "t", type_make(ELEM_I32, 32, false, 2, dim), t);
}

static ValueId add_flips(Build *b, const Case *k, int32_t rows) {
  int32_t *flip = ARENA_NEW(b->context, int32_t, rows);
  for (int32_t r = 0; r < rows; r++)
    flip[r] = k->falling == 2 || (k->falling == 1 && draw(&b->seed, 2)) ? (k->flip ? k->flip : -1) : 0;
  return graph_add_const(b->g, "f", type_make(ELEM_I32, 32, false, 1, &rows), flip);
}

/* Values: x, y of the layer, an output that copies y, an output of bipolar sums over y. */
static void add_network(Build *b, const Case *k) {
  bool pads_one = k->pad && !type_has_zero(&k->x);
  ValueId x = graph_add_input(b->g, "x", k->x);
  ValueId sums = conv(b, x, k->w, 1, k->pad, pads_one ? type_level_max(&k->x) : 0);
  if (k->extremes) /* q is a byte */
    memset((void *)(uintptr_t)graph_value(b->g, b->g->nodes[0].inputs[1])->data, type_q_max(&k->w),
           (size_t)type_elements(&k->w));
  int32_t channels = k->w.dim[0], rows = k->per_channel ? channels : 1;
  Type wanted = type_make(k->kind, k->bits, true, 3, graph_type(b->g, sums)->dim);
  wanted.zero2 = k->kind == ELEM_UINT ? 1 : 0;
  ValueId args[] = {add_thresholds(b, k, accumulator_bound(b->g, 0), rows), add_flips(b, k, rows)};
  graph_append_step(b->g, 0, OP_THRESHOLDS, NULL, args, 2, wanted);
  int32_t pad_level = k->kind == ELEM_UINT ? 1 : 0; /* which has a zero point of one half */
  ValueId copy = op1(b, OP_COPY, sums);
  graph_add_output(b->g, copy);
  graph_add_output(b->g, conv(b, sums, bipolar(false, 4, (int32_t[]){8, 3, 3, channels}), 1, 1, pad_level));
}

/* The engines, layout and tile of the case, where the passes would choose others. */
static Node *plan(Build *b, const Case *k) {
  run_passes(b, IMAGES, "fold,fuse,engine", ENGINE_NONE);
  NodeId layer = 0;
  for (NodeId n = 0; n < b->g->node_count; n++)
    if (b->g->nodes[n].op == OP_CONV2D) b->g->nodes[n].engine = b->g->nodes[n].step_count ? k->engine : k->reader;
  run_passes(b, IMAGES, "layout,tile", ENGINE_NONE);
  while (b->g->nodes[layer].op != OP_CONV2D || !b->g->nodes[layer].step_count) layer++;
  Node *node = &b->g->nodes[layer];
  Type *y = graph_type(b->g, node->result);
  assert_int_equal(y->layout.kind, LAYOUT_PLANES);
  if (!layout_is_pieces(y->layout)) y->layout = layout_planes(y, k->block);
  if (engine_uses_wgmma(k->engine)) {
    uint32_t blocks = graph_type(b->g, node->inputs[0])->layout.pitch /
                      layout_piece_channels(graph_type(b->g, node->inputs[0])->layout);
    bool resident = k->warps == 2; /* whole chunks; else streamed */
    node->tile = (Tile){64,
                        (uint16_t)k->n,
                        (uint16_t)(4 * (resident ? blocks : k->chunk_blocks ? (uint32_t)k->chunk_blocks : 1)),
                        4,
                        1,
                        2,
                        1,
                        resident};
  } else
    node->tile = (Tile){32, (uint16_t)k->n, 8, 1, (uint8_t)k->warps, 2, 1, 0};
  run_passes(b, IMAGES, "memory,launch", ENGINE_NONE);
  return node;
}

/* --- both ways to compute it --- */

static void fill_input(Build *b, const Case *k, uint8_t *data, size_t count) {
  int32_t least = type_q_min(&k->x), most = type_q_max(&k->x);
  for (size_t i = 0; i < count; i++) {
    bool high = k->extremes ? i < count / 3 || (i < 2 * count / 3 && draw(&b->seed, 2)) : false;
    data[i] =
        (uint8_t)(k->extremes ? (high ? most : least) : least + (int32_t)draw(&b->seed, (uint32_t)(most - least + 1)));
  }
}

/* By the instructions that only they have. */
static Way way_of(const char *kernel) {
  if (strstr(kernel, "0xfdb9")) return WAY_PAIRS;
  return strstr(kernel, "shf.l.wrap.b32") ? WAY_SINGLE : WAY_STEPS;
}

static Way check(const Case *k, uint64_t seed) {
  Build b = build_new(seed);
  add_network(&b, k);
  size_t count = type_dense_bytes(&k->x) * IMAGES, bytes[2];
  uint8_t *x = arena_alloc(b.context, count);
  void *want[2], *got[2];
  fill_input(&b, k, x, count);
  for (uint32_t i = 0; i < 2; i++) {
    bytes[i] = type_dense_bytes(graph_type(b.g, b.g->outputs[i])) * IMAGES;
    want[i] = arena_alloc(b.context, bytes[i]);
    got[i] = arena_alloc(b.context, bytes[i]);
  }
  if (!graph_eval(b.g, IMAGES, (const void *[]){x}, want)) diag_flush(b.context, stderr);
  assert_int_equal(diag_error_count(b.context), 0);
  Node *node = plan(&b, k);
  const char *ptx = run_on_device(&b, IMAGES, (const void *[]){x}, got);
  for (int i = 0; i < 2; i++)
    if (memcmp(got[i], want[i], bytes[i]))
      fail_msg("seed %llu, output %d: %s on %s, %d bits, input %s, weights %s, n %d", (unsigned long long)seed, i,
               k->kind == ELEM_INT ? "signed" : "unsigned", engine_name[k->engine], k->bits,
               type_string(b.context, b.g, &k->x), type_string(b.context, b.g, &k->w), k->n);
  Way way = way_of(kernel_of_layer(&b, ptx, node->result));
  build_free(&b);
  return way;
}

/* --- cases --- */

static const Engine engines[] = {ENGINE_MMA_B1, ENGINE_MMA_S8, ENGINE_WGMMA_B1, ENGINE_WGMMA_S8};

/* 3 x 4 pixels, a kernel of 1 x 1 unless padded. */
static Case make_case(Engine engine, int bits, ElemKind kind, int32_t channels_out, int n) {
  bool wgmma = engine_uses_wgmma(engine);
  Case k = {.engine = engine, .kind = kind, .bits = bits, .n = n, .block = 32, .warps = 1, .per_channel = true};
  k.reader = wgmma ? ENGINE_WGMMA_B1 : ENGINE_MMA_B1;
  k.x = type_make(ELEM_UINT, 2, true, 3, (int32_t[]){3, 4, 37});
  k.w = bipolar(false, 4, (int32_t[]){channels_out, 1, 1, 37});
  k.falling = 1;
  return k;
}

static void every_width(void **state) {
  (void)state;
  static const int32_t channels[] = {1, 20, 32, 64, 65, 140};
  for (int e = 0; e < 4; e++)
    for (int bits = 1; bits <= 4; bits++)
      for (int n = 32; n <= 128; n *= 2)
        for (int i = 0; i < 6; i++) {
          ElemKind kind = bits > 1 && i % 2 ? ELEM_INT : ELEM_UINT;
          Case k = make_case(engines[e], bits, kind, channels[i], n);
          k.falling = (i + bits) % 3;
          k.per_channel = (i + n / 32) % 4 != 0;
          k.block = 32 << (i + bits) % 3;
          k.warps = n >= 64 && (k.block < 128 || engine_uses_wgmma(k.engine)) ? 1 + i % 2 : 1;
          bool whole = n / k.warps % k.block == 0 || k.block % (n / k.warps) == 0;
          if (!engine_uses_wgmma(k.engine) && !whole) k.warps = 1;
          assert_int_equal(check(&k, (uint64_t)(1000 * e + 100 * bits + n + i)), WAY_PAIRS);
        }
}

/* A result in pieces from mma.sync, and one in pixels from wgmma. */
static void other_readers(void **state) {
  (void)state;
  for (int e = 0; e < 4; e++)
    for (int bits = 1; bits <= 4; bits++) {
      Case k = make_case(engines[e], bits, ELEM_UINT, 50, 64);
      k.reader = engine_uses_wgmma(k.engine) ? ENGINE_MMA_B1 : ENGINE_WGMMA_B1;
      k.block = 64;
      assert_int_equal(check(&k, (uint64_t)(10 * e + bits)), WAY_PAIRS);
    }
}

/* Chunks of more blocks than the input has left, with rows that sum the input. */
static void ragged_chunks(void **state) {
  (void)state;
  for (int e = 2; e < 4; e++)
    for (int blocks = 2; blocks <= 7; blocks++) {
      Case k = make_case(engines[e], 2, ELEM_UINT, 20, 32);
      k.x.dim[2] = 300; /* 3 blocks of planes, 20 of bytes */
      k.w = type_make(ELEM_UINT, 1, false, 4, (int32_t[]){20, 1, 1, 300});
      k.w.zero2 = -400; /* levels 200 and 201 */
      k.chunk_blocks = blocks;
      assert_int_not_equal(check(&k, (uint64_t)(10 * e + blocks)), WAY_STEPS);
    }
}

/* Zero points: one border for all pixels goes into the thresholds, several make steps of them. */
static void borders(void **state) {
  (void)state;
  for (int e = 0; e < 4; e++)
    for (int pad = 0; pad <= 1; pad++)
      for (int zero2 = -3; zero2 <= 4; zero2++) {
        Case k = make_case(engines[e], 2, ELEM_UINT, 40, 64);
        k.pad = pad;
        k.x.zero2 = (int16_t)zero2;
        k.w = type_make(ELEM_INT, 3, false, 4, (int32_t[]){40, 3, 3, 37});
        k.w.zero2 = (int16_t)(zero2 % 3);
        bool classes = pad && zero2;
        Way way = check(&k, (uint64_t)(100 * e + 10 * pad + zero2 + 5));
        assert_true(classes ? way == WAY_STEPS : way != WAY_STEPS);
      }
}

/* Weights whose levels are all positive: of inputs that are stored as threes and count as ones, the rows of zeros past
 * the last channel sum up to more than any channel. */
static void sums_past_the_last_channel(void **state) {
  (void)state;
  for (int e = 0; e < 4; e++)
    for (int bits = 1; bits <= 4; bits++) {
      Case k = make_case(engines[e], bits, ELEM_UINT, 33, 64);
      k.extremes = true;
      k.x.zero2 = 4;
      k.w = type_make(ELEM_UINT, 1, false, 4, (int32_t[]){33, 1, 1, 37});
      k.w.zero2 = -400;
      assert_int_equal(check(&k, (uint64_t)(e * 10 + bits)), WAY_PAIRS);
    }
}

/* Weights of levels of either sign and of one. */
static void channels_past_the_last_stay_zero(void **state) {
  (void)state;
  for (int e = 0; e < 4; e++)
    for (int bits = 1; bits <= 4; bits++)
      for (int zero2 = -512; zero2 <= 512; zero2 += 128) {
        Case k = make_case(engines[e], bits, ELEM_UINT, 33, 64);
        k.w = type_make(ELEM_INT, 8, false, 4, (int32_t[]){33, 1, 1, 37});
        k.w.zero2 = (int16_t)zero2;
        k.falling = bits % 3;
        assert_int_not_equal(check(&k, (uint64_t)(e * 77 + zero2 + 600)), WAY_STEPS);
      }
}

/* Tables that the thresholds pass does not write, but a graph may have: counted one by one. A tile has more columns
 * than channels are left, or in a block of 128 there are tiles of none. */
static void any_table(void **state) {
  static const int32_t channels[] = {40, 64}, columns[] = {64, 32};
  (void)state;
  for (int e = 0; e < 8; e++)
    for (int bits = 1; bits <= 4; bits++) {
      Case k = make_case(engines[e % 4], bits, ELEM_UINT, channels[e / 4], columns[e / 4]);
      k.falling = 1;
      k.flip = 5;
      assert_int_equal(check(&k, (uint64_t)(10 * e + bits)), WAY_STEPS);
      k.flip = 0;
      k.unsorted = true;
      assert_int_equal(check(&k, (uint64_t)(10 * e + bits)), bits > 1 ? WAY_STEPS : WAY_PAIRS);
    }
}

/* Weights all of the greatest level, inputs of the least and greatest: the sums reach the bound, which is just within a
 * limit and then just beyond it. */
static void expect_limit(int64_t limit, Type x, Type w, Way within, Way beyond) {
  int32_t channels = (int32_t)(limit / ((int64_t)type_level_max(&x) * type_level_max(&w)));
  for (int e = 0; e < 4; e++)
    for (int more = 0; more <= 1; more++) {
      Case k = make_case(engines[e], 2, ELEM_INT, 35, 64);
      k.extremes = true;
      k.x = x;
      k.w = w;
      k.x.dim[2] = k.w.dim[3] = channels + more;
      assert_int_equal(check(&k, (uint64_t)(e + 900)), more ? beyond : within);
    }
}

static void bounds(void **state) {
  (void)state;
  Type x = type_make(ELEM_UINT, 2, true, 3, (int32_t[]){2, 1, 1});
  Type w = type_make(ELEM_UINT, 1, false, 4, (int32_t[]){35, 1, 1, 1});
  expect_limit((1 << 14) - 1, x, w, WAY_PAIRS, WAY_SINGLE);
  x = type_make(ELEM_UINT, 8, true, 3, x.dim);
  w = type_make(ELEM_INT, 8, false, 4, w.dim);
  x.zero2 = w.zero2 = -512;
  expect_limit((1 << 30) - 1, x, w, WAY_SINGLE, WAY_STEPS);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_width),
      cmocka_unit_test(other_readers),
      cmocka_unit_test(ragged_chunks),
      cmocka_unit_test(borders),
      cmocka_unit_test(channels_past_the_last_stay_zero),
      cmocka_unit_test(sums_past_the_last_channel),
      cmocka_unit_test(any_table),
      cmocka_unit_test(bounds),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
