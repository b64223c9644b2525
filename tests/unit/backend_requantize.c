/* Layers whose epilogues count thresholds by a product (ir/requantize.h): real-valued chains behind convolutions, with
 * and without a residual, give the reference's bits on the CPU device, on every engine, for results in bit planes and
 * in bytes, in pieces and pixel after pixel; and the kernels do count that way.
 *
 * Three convolutions in a chain, the sum of the last and what the first gave: the network around a residual addition.
 * What the layers store past their last channel, and between pixels, would show in the sums of those behind them.
 */
#include "backend_device.h"
#include "ir/requantize.h"

enum { IMAGES = 3 };

typedef struct Case {
  Engine engine;
  ElemKind kind; /* of results */
  int bits, result_bits;
  ElemKind weight_kind;
  int weight_bits; /* 1: bipolar */
  int32_t channels;
  int pad, zero2; /* zero2: twice the zero point of results */
  bool residual;
  bool per_tensor; /* one affine map for all channels */
} Case;

/* How many of the three layers' kernels have an instruction that only requantization uses. */
static int count_requantized(Build *b, const char *ptx) {
  int count = 0;
  for (NodeId n = 0; n < b->g->node_count; n++) {
    const Node *node = &b->g->nodes[n];
    const char *kernel = node->op == OP_CONV2D && node->step_count ? kernel_of_layer(b, ptx, node->result) : NULL;
    count += kernel && strstr(kernel, "fma.rn.sat.f32");
  }
  return count;
}

static ValueId normalized(Build *b, const Case *k, ValueId x, const char *name) {
  int32_t dim[] = {k->channels, 3, 3, type_channels(graph_type(b->g, x))};
  Type w = k->weight_bits == 1 ? bipolar(false, 4, dim) : type_make(k->weight_kind, k->weight_bits, false, 4, dim);
  int32_t pad_level = k->pad && !type_has_zero(graph_type(b->g, x)) ? type_level_min(graph_type(b->g, x)) : 0;
  ValueId sums = dequantize(b, conv(b, x, w, 1, k->pad, pad_level));
  graph_rename(b->g, sums, name);
  if (k->per_tensor) return op3(b, OP_AFFINE, sums, constant(b, 0.03f), constant(b, 0.4f));
  return batchnorm(b, sums);
}

static ValueId quantized_to(Build *b, const Case *k, ValueId x, int bits, float scale) {
  Type t = result_like(b, x, k->kind, bits, scale);
  t.zero2 = (int16_t)k->zero2;
  return op_with(b, OP_QUANTIZE, NULL, t, &x, 1);
}

static void add_network(Build *b, const Case *k) {
  ValueId x = image_input(b, ELEM_UINT, 2, 7, 8, 24);
  ValueId r = quantized_to(b, k, normalized(b, k, x, "first"), k->bits, 1.5f);
  ValueId a = quantized_to(b, k, normalized(b, k, r, "second"), k->result_bits, 2.0f);
  ValueId y = normalized(b, k, a, "third");
  if (k->residual) y = op2(b, OP_ADD, y, dequantize(b, r));
  y = quantized_to(b, k, y, k->result_bits, 2.5f);
  graph_add_output(b->g, op1(b, OP_COPY, y));
  graph_add_output(b->g, conv(b, y, bipolar(false, 4, (int32_t[]){8, 1, 1, k->channels}), 1, 0, 0));
}

/* Computes the network's outputs on the device and compares them with the reference's. `what` it is, for the report;
 * returns its PTX. */
static const char *run_and_compare(Build *b, Engine engine, const char *what) {
  const Type *in = graph_type(b->g, b->g->inputs[0]);
  uint8_t *x = arena_alloc(b->context, type_dense_bytes(in) * IMAGES);
  for (int i = 0; i < IMAGES; i++) fill(&b->seed, in, x + (size_t)i * type_dense_bytes(in));
  void *want[2], *got[2];
  size_t bytes[2];
  for (int i = 0; i < 2; i++) {
    bytes[i] = type_dense_bytes(graph_type(b->g, b->g->outputs[i])) * IMAGES;
    want[i] = arena_alloc(b->context, bytes[i]);
    got[i] = arena_alloc(b->context, bytes[i]);
  }
  assert_true(graph_eval(b->g, IMAGES, (const void *[]){x}, want));
  run_passes(b, IMAGES, NULL, engine);
  const char *ptx = run_on_device(b, IMAGES, (const void *[]){x}, got);
  for (int i = 0; i < 2; i++)
    if (memcmp(got[i], want[i], bytes[i])) fail_msg("output %d: %s, %s", i, engine_name[engine], what);
  return ptx;
}

/* Returns how many of the layers are requantized. */
static int check(const Case *k, uint64_t seed) {
  Build b = build_new(seed);
  add_network(&b, k);
  const char *what =
      arena_printf(b.context, "seed %llu: %d and %d bits, %d channels, weights of %d bits%s", (unsigned long long)seed,
                   k->bits, k->result_bits, k->channels, k->weight_bits, k->residual ? ", residual" : "");
  int count = count_requantized(&b, run_and_compare(&b, k->engine, what));
  build_free(&b);
  return count;
}

static const Engine engines[] = {ENGINE_MMA_B1, ENGINE_MMA_S8, ENGINE_WGMMA_B1, ENGINE_WGMMA_S8, ENGINE_DIRECT};

static void every_width(void **state) {
  (void)state;
  static const int32_t channels[] = {20, 32, 64, 72, 130};
  for (int e = 0; e < 5; e++)
    for (int bits = 2; bits <= 4; bits++)
      for (int i = 0; i < 5; i++) {
        Case k = {.engine = engines[e], .kind = i % 2 ? ELEM_INT : ELEM_UINT, .bits = bits, .result_bits = bits};
        k.weight_bits = i % 3 ? 1 : 3;
        k.weight_kind = ELEM_INT;
        k.channels = channels[i];
        k.per_tensor = i == 4;
        int count = check(&k, (uint64_t)(100 * e + 10 * bits + i));
        assert_true(bits == 2 ? count >= 0 : count >= 1);
      }
}

/* Of 2 bits in planes: signs where two differences fit a register, else a product. The third layer's are bytes. */
static void two_bits_of_large_sums(void **state) {
  (void)state;
  for (int e = 0; e < 4; e += 2)
    for (int weight_bits = 1; weight_bits <= 8; weight_bits += 7) {
      Case k = {.engine = engines[e], .kind = ELEM_UINT, .bits = 2, .result_bits = 2, .weight_bits = weight_bits};
      k.weight_kind = ELEM_INT;
      k.channels = 64;
      assert_int_equal(check(&k, (uint64_t)(10 * e + weight_bits)), weight_bits == 1 ? 1 : 3);
    }
}

static void ternary_results(void **state) {
  (void)state;
  for (int e = 0; e < 5; e++)
    for (int residual = 0; residual <= 1; residual++) {
      Case k = {.engine = engines[e], .kind = ELEM_TERNARY, .bits = 2, .result_bits = 2, .weight_bits = 1};
      k.channels = 40;
      k.pad = residual;
      k.residual = residual;
      check(&k, (uint64_t)(10 * e + residual));
    }
}

static void residuals(void **state) {
  (void)state;
  static const int widths[][2] = {{1, 2}, {2, 2}, {4, 2}, {2, 4}, {3, 3}, {2, 1}, {4, 4}};
  static const int32_t channels[] = {64, 32, 40, 128};
  for (int e = 0; e < 5; e++)
    for (int w = 0; w < 7; w++)
      for (int i = (e + w) % 2; i < 4; i += 2) {
        Case k = {.engine = engines[e], .kind = ELEM_UINT, .bits = widths[w][0], .result_bits = widths[w][1]};
        if (i % 2 && k.bits > 1 && k.result_bits > 1) k.kind = ELEM_INT;
        k.weight_bits = i < 2 ? 1 : 4;
        k.weight_kind = ELEM_INT;
        k.channels = channels[i];
        k.residual = true;
        k.pad = 1; /* the image keeps its size */
        if (engines[e] == ENGINE_DIRECT && i > 1) continue;
        int count = check(&k, (uint64_t)(1000 + 100 * e + 10 * w + i));
        assert_true(count >= 1);
      }
}

/* Zero points: borders of one class, which are the same for all pixels, and of several. */
static void borders(void **state) {
  (void)state;
  for (int e = 0; e < 5; e++)
    for (int pad = 0; pad <= 1; pad++)
      for (int zero2 = 1; zero2 <= 4; zero2++) {
        Case k = {.engine = engines[e], .kind = ELEM_UINT, .bits = 3, .result_bits = 3, .weight_bits = 3};
        k.weight_kind = ELEM_INT;
        k.channels = 48;
        k.pad = pad;
        k.zero2 = zero2;
        k.residual = pad;
        check(&k, (uint64_t)(2000 + 100 * e + 10 * pad + zero2));
      }
}

/* --- thresholds beside a line --- */

/* Evenly spaced thresholds, but for one that falls on an integer and counts it on the other side: no plain requantizer
 * does. Half of the channels fall. */
static ValueId bent_thresholds(Build *b, ValueId sums, Type to, ValueId other) {
  int numbers = other == NO_VALUE ? 1 : type_q_max(graph_type(b->g, other)) - type_q_min(graph_type(b->g, other)) + 1;
  int32_t levels = type_q_max(&to) - type_q_min(&to), rows = type_channels(&to), dim[] = {rows, levels * numbers};
  int32_t *t = ARENA_NEW(b->context, int32_t, rows * dim[1]), *flip = ARENA_NEW(b->context, int32_t, rows);
  for (int32_t c = 0; c < rows; c++) {
    int32_t start = (int32_t)draw(&b->seed, 300) - 200, bent = 1 + (int32_t)draw(&b->seed, (uint32_t)levels - 2);
    flip[c] = c % 2 - 1;
    for (int32_t i = 0; i < dim[1]; i++)
      t[c * dim[1] + i] = start + 20 * (i % levels) - 13 * (i / levels) + (i == bent);
    ThresholdRows row = {t + c * dim[1], numbers, levels, flip[c], type_q_min(&to), -2000, 2000};
    Requantizer q;
    assert_true(requantizer_find(&row, &q));
    assert_false(requantizer_is_plain(&q));
  }
  ValueId in[] = {sums, graph_add_const(b->g, "t", type_make(ELEM_I32, 32, false, 2, dim), t),
                  graph_add_const(b->g, "f", type_make(ELEM_I32, 32, false, 1, &rows), flip), other};
  return op_with(b, OP_THRESHOLDS, NULL, to, in, other == NO_VALUE ? 3 : 4);
}

static void check_bent(Engine engine, int bits, int32_t channels, bool residual) {
  Build b = build_new((uint64_t)(100 * bits + channels));
  ValueId x = image_input(&b, ELEM_UINT, 2, 7, 8, channels);
  ValueId sums = conv(&b, x, bipolar(false, 4, (int32_t[]){channels, 3, 3, channels}), 1, 1, 0);
  ValueId y = bent_thresholds(&b, sums, result_like(&b, sums, ELEM_UINT, bits, 1), residual ? x : NO_VALUE);
  graph_rename(b.g, y, "y");
  graph_add_output(b.g, op1(&b, OP_COPY, y));
  graph_add_output(b.g, conv(&b, y, bipolar(false, 4, (int32_t[]){8, 1, 1, channels}), 1, 0, 0));
  const char *what = arena_printf(b.context, "%d bits, %d channels%s", bits, channels, residual ? ", residual" : "");
  const char *kernel = kernel_of_layer(&b, run_and_compare(&b, engine, what), y);
  assert_non_null(kernel);
  assert_non_null(strstr(kernel, "fma.rn.sat.f32"));
  build_free(&b);
}

static void rows_beside_a_line(void **state) {
  (void)state;
  static const int32_t channels[] = {24, 64, 72};
  for (int e = 0; e < 5; e++)
    for (int i = 0; i < 3; i++)
      for (int residual = 0; residual <= 1; residual++) check_bent(engines[e], 3 + i % 2, channels[i], residual);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_width),     cmocka_unit_test(two_bits_of_large_sums),
      cmocka_unit_test(ternary_results), cmocka_unit_test(residuals),
      cmocka_unit_test(borders),         cmocka_unit_test(rows_beside_a_line),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
