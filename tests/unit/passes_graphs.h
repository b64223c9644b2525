/* Graphs for tests of passes: short ways to write one down, and the comparison that every pass must stand: evaluated on
 * random data, the graph gives the same bits before and after. */
#ifndef TESTS_UNIT_PASSES_GRAPHS_H
#define TESTS_UNIT_PASSES_GRAPHS_H

#include "passes/plan.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* A target like an H100, so that these tests stand apart from the backend. */
static const MmaRate test_rates[] = {{"b1", ENGINE_MMA_B1, 10000, .native = true},
                                     {"s8", ENGINE_MMA_S8, 1250, .native = true}};
static const Target test_target = {.name = "test",
                                   .arch = 90,
                                   .ptx_version = "8.0",
                                   .sm_count = 128,
                                   .shared_bytes = 200000,
                                   .sm_shared_bytes = 201024,
                                   .copy_gb_per_s = 4000,
                                   .cuda_core_tera_ops = 256,
                                   .launch_us = 1,
                                   .mma = test_rates,
                                   .mma_count = 2};

typedef struct Build {
  Context *context;
  Graph *g;
  uint64_t seed;
  uint32_t max_batch; /* that passes plan for; evaluation runs TEST_BATCH images */
} Build;

static inline Build build_new(uint64_t seed) {
  Build b = {.context = context_new(NULL), .seed = seed * 2 + 1, .max_batch = 8};
  b.g = graph_new(b.context, "test");
  return b;
}

static inline void build_free(Build *b) {
  if (diag_error_count(b->context)) diag_flush(b->context, stderr);
  context_free(b->context);
}

static inline uint32_t draw(uint64_t *seed, uint32_t count) {
  *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (uint32_t)(*seed >> 33) % count;
}

static inline float draw_real(uint64_t *seed, float least, float most) {
  return least + (most - least) * (float)draw(seed, 100001) / 100000.0f;
}

/* --- types --- */

static inline Type quantized(ElemKind kind, int bits, bool batched, int rank, const int32_t *dim) {
  return type_make(kind, bits, batched, rank, dim);
}

static inline Type bipolar(bool batched, int rank, const int32_t *dim) {
  Type t = type_make(ELEM_UINT, 1, batched, rank, dim);
  t.zero2 = 1;
  t.scale = 2;
  return t;
}

static inline Type result_like(const Build *b, ValueId x, ElemKind kind, int bits, float scale) {
  const Type *from = graph_type(b->g, x);
  Type t = type_make(kind, bits, true, from->rank, from->dim);
  t.scale = scale;
  return t;
}

/* --- values --- */

static inline ValueId image_input(Build *b, ElemKind kind, int bits, int32_t height, int32_t width, int32_t channels) {
  int32_t dim[3] = {height, width, channels};
  return graph_add_input(b->g, "image", type_make(kind, bits, true, 3, dim));
}

static inline void fill(uint64_t *seed, const Type *t, void *data) {
  for (int64_t i = 0; i < type_elements(t); i++) {
    if (t->kind == ELEM_F32)
      ((float *)data)[i] = draw_real(seed, -4, 4);
    else if (t->kind == ELEM_I32)
      ((int32_t *)data)[i] = (int32_t)draw(seed, 2001) - 1000;
    else
      ((uint8_t *)data)[i] =
          (uint8_t)(type_q_min(t) + (int32_t)draw(seed, (uint32_t)(type_q_max(t) - type_q_min(t) + 1)));
  }
}

static inline ValueId weights(Build *b, Type type) {
  void *data = arena_alloc(b->context, type_dense_bytes(&type));
  fill(&b->seed, &type, data);
  return graph_add_const(b->g, "w", type, data);
}

static inline ValueId vector(Build *b, int32_t count, float least, float most) {
  float *data = ARENA_NEW(b->context, float, count);
  for (int32_t i = 0; i < count; i++) data[i] = draw_real(&b->seed, least, most);
  return graph_add_const(b->g, "p", type_make(ELEM_F32, 32, false, 1, &count), data);
}

static inline ValueId constant(Build *b, float x) {
  int32_t one = 1;
  float *data = ARENA_NEW(b->context, float, 1);
  *data = x;
  return graph_add_const(b->g, "p", type_make(ELEM_F32, 32, false, 1, &one), data);
}

/* --- nodes --- */

static inline ValueId op_with(Build *b, Op op, const Attrs *attrs, Type type, const ValueId *inputs, uint32_t count) {
  return graph_insert_node(b->g, b->g->node_count, op, attrs, inputs, count, type, NULL, (SourceLoc){0});
}

static inline ValueId op1(Build *b, Op op, ValueId x) {
  return op_with(b, op, NULL, (Type){0}, &x, 1);
}
static inline ValueId op2(Build *b, Op op, ValueId x, ValueId y) {
  return op_with(b, op, NULL, (Type){0}, (ValueId[]){x, y}, 2);
}
static inline ValueId op3(Build *b, Op op, ValueId x, ValueId y, ValueId z) {
  return op_with(b, op, NULL, (Type){0}, (ValueId[]){x, y, z}, 3);
}

static inline ValueId conv(Build *b, ValueId x, Type weight_type, int32_t stride, int32_t pad, int32_t pad_level) {
  Attrs a = attrs_default();
  for (int i = 0; i < 2; i++) {
    a.kernel[i] = weight_type.dim[i + 1];
    a.stride[i] = stride;
  }
  for (int i = 0; i < 4; i++) a.pad[i] = pad;
  a.groups = type_channels(graph_type(b->g, x)) / weight_type.dim[3];
  a.pad_level = pad_level;
  return op_with(b, OP_CONV2D, &a, (Type){0}, (ValueId[]){x, weights(b, weight_type)}, 2);
}

/* A 3x3 convolution with bipolar weights, stride 1, padded. */
static inline ValueId bipolar_conv(Build *b, ValueId x, int32_t channels_out) {
  int32_t dim[4] = {channels_out, 3, 3, type_channels(graph_type(b->g, x))};
  return conv(b, x, bipolar(false, 4, dim), 1, 1, 0);
}

static inline ValueId linear(Build *b, ValueId x, int32_t channels_out, int bits) {
  int32_t dim[2] = {channels_out, (int32_t)type_elements(graph_type(b->g, x))};
  Type t = type_make(ELEM_INT, bits, false, 2, dim);
  t.scale = 0.125f;
  return op2(b, OP_LINEAR, x, weights(b, t));
}

static inline ValueId pool(Build *b, Op op, ValueId x, int32_t kernel, int32_t pad) {
  Attrs a = attrs_default();
  for (int i = 0; i < 2; i++) a.kernel[i] = a.stride[i] = kernel;
  for (int i = 0; i < 4; i++) a.pad[i] = pad;
  return op_with(b, op, &a, (Type){0}, &x, 1);
}

static inline ValueId flatten(Build *b, ValueId x, bool channel_major) {
  Attrs a = attrs_default();
  a.chw = channel_major;
  return op_with(b, OP_FLATTEN, &a, (Type){0}, &x, 1);
}

static inline ValueId upsample(Build *b, ValueId x, int32_t factor) {
  Attrs a = attrs_default();
  a.factor[0] = a.factor[1] = factor;
  return op_with(b, OP_UPSAMPLE, &a, (Type){0}, &x, 1);
}

static inline ValueId reshape(Build *b, ValueId x, int rank, const int32_t *dim) {
  Type t = *graph_type(b->g, x);
  t.rank = (uint8_t)rank;
  memcpy(t.dim, dim, sizeof(int32_t) * (size_t)rank);
  return op_with(b, OP_RESHAPE, NULL, t, &x, 1);
}

static inline ValueId affine(Build *b, ValueId x, float least, float most) {
  int32_t channels = type_channels(graph_type(b->g, x));
  return op3(b, OP_AFFINE, x, vector(b, channels, least, most), vector(b, channels, -3, 3));
}

static inline ValueId batchnorm(Build *b, ValueId x) {
  int32_t channels = type_channels(graph_type(b->g, x));
  ValueId gamma = vector(b, channels, -1, 2), beta = vector(b, channels, -1, 1), mean = vector(b, channels, -5, 5);
  ValueId variance = vector(b, channels, 0.5f, 20);
  return op_with(b, OP_BATCHNORM, NULL, (Type){0}, (ValueId[]){x, gamma, beta, mean, variance}, 5);
}

static inline ValueId dequantize(Build *b, ValueId x) {
  return op1(b, OP_DEQUANTIZE, x);
}

static inline ValueId quantize(Build *b, ValueId x, ElemKind kind, int bits, float scale) {
  return op_with(b, OP_QUANTIZE, NULL, result_like(b, x, kind, bits, scale), &x, 1);
}

/* batchnorm, relu and quantize to u2 of an i32 sum. */
static inline ValueId activation(Build *b, ValueId sums) {
  return quantize(b, op1(b, OP_RELU, batchnorm(b, dequantize(b, sums))), ELEM_UINT, 2, 0.5f);
}

/* --- evaluation --- */

enum { TEST_BATCH = 3 };

typedef struct Outcome {
  void **outputs;
  size_t *bytes;
} Outcome;

static inline Outcome evaluate(Build *b, uint64_t seed) {
  Graph *g = b->g;
  const void **inputs = ARENA_NEW(b->context, const void *, g->input_count);
  for (uint32_t i = 0; i < g->input_count; i++) {
    const Type *t = graph_type(g, g->inputs[i]);
    char *data = arena_alloc(b->context, type_dense_bytes(t) * TEST_BATCH);
    for (int n = 0; n < TEST_BATCH; n++) fill(&seed, t, data + (size_t)n * type_dense_bytes(t));
    inputs[i] = data;
  }
  Outcome outcome = {ARENA_NEW(b->context, void *, g->output_count), ARENA_NEW(b->context, size_t, g->output_count)};
  for (uint32_t i = 0; i < g->output_count; i++) {
    outcome.bytes[i] = type_dense_bytes(graph_type(g, g->outputs[i])) * TEST_BATCH;
    outcome.outputs[i] = arena_alloc(b->context, outcome.bytes[i]);
  }
  bool evaluated = graph_eval(g, TEST_BATCH, inputs, outcome.outputs);
  if (!evaluated) diag_flush(b->context, stderr);
  assert_true(evaluated);
  return outcome;
}

enum { EVALUATIONS = 2 };

/* What the graph means, for run_exactly_as; lives as long as the context of `b`. */
static inline void evaluate_all(Build *b, Outcome outcomes[EVALUATIONS]) {
  for (uint64_t i = 0; i < EVALUATIONS; i++) outcomes[i] = evaluate(b, 77 + i);
}

/* Runs the passes and demands the bits of `before`, the same output names and a graph that verifies. */
static inline void run_exactly_as(Build *b, const Outcome before[EVALUATIONS], const char *pipeline, Engine force) {
  const char **names = ARENA_NEW(b->context, const char *, b->g->output_count);
  for (uint32_t i = 0; i < b->g->output_count; i++) names[i] = graph_value(b->g, b->g->outputs[i])->name;
  PassOptions options = {
      .target = &test_target, .max_batch = b->max_batch, .pipeline = pipeline, .force_engine = force};
  bool ran = passes_run(b->g, &options, NULL);
  if (!ran) diag_flush(b->context, stderr);
  assert_true(ran);
  assert_true(graph_verify(b->g));
  for (uint64_t i = 0; i < EVALUATIONS; i++) {
    Outcome after = evaluate(b, 77 + i);
    for (uint32_t o = 0; o < b->g->output_count; o++) {
      assert_int_equal(after.bytes[o], before[i].bytes[o]);
      assert_memory_equal(after.outputs[o], before[i].outputs[o], after.bytes[o]);
      assert_string_equal(graph_value(b->g, b->g->outputs[o])->name, names[o]);
    }
  }
}

/* The same, with what the graph means before. */
static inline void run_exactly(Build *b, const char *pipeline, Engine force) {
  Outcome before[EVALUATIONS];
  evaluate_all(b, before);
  run_exactly_as(b, before, pipeline, force);
}

/* --- text --- */

/* Everything written to a temporary file, which is closed; in the arena. */
static inline char *read_back(Build *b, FILE *f) {
  long size = ftell(f);
  char *text = arena_alloc(b->context, (size_t)size + 1);
  rewind(f);
  assert_int_equal(fread(text, 1, (size_t)size, f), size);
  fclose(f);
  return text;
}

static inline char *reports(Build *b) {
  FILE *f = tmpfile();
  diag_flush(b->context, f);
  return read_back(b, f);
}

static inline void expect_text(const char *text, const char *wanted) {
  if (!strstr(text, wanted)) print_error("no '%s' in:\n%s\n", wanted, text);
  assert_non_null(strstr(text, wanted));
}

/* --- structure --- */

static inline uint32_t count_ops(const Build *b, Op op) {
  uint32_t count = 0;
  for (NodeId n = 0; n < b->g->node_count; n++) count += b->g->nodes[n].op == op;
  return count;
}

static inline uint32_t count_steps(const Build *b, Op op) {
  uint32_t count = 0;
  for (NodeId n = 0; n < b->g->node_count; n++)
    for (uint32_t s = 0; s < b->g->nodes[n].step_count; s++) count += b->g->nodes[n].steps[s].op == op;
  return count;
}

static inline Node *node_of(const Build *b, Op op) {
  for (NodeId n = 0; n < b->g->node_count; n++)
    if (b->g->nodes[n].op == op) return &b->g->nodes[n];
  return NULL;
}

static inline Node *last_node(const Build *b) {
  return &b->g->nodes[b->g->node_count - 1];
}

#endif
