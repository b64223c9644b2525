#include "cases.h"
#include <float.h>
#include <math.h>
#include <string.h>

enum { UNWRITTEN = 0xcd };

static float random_float(RandomSource *r, Pattern pattern) {
  static const float edges[] = {0.0f,  -0.0f, INFINITY, -INFINITY, FLT_MAX, -FLT_MAX, FLT_MIN, FLT_TRUE_MIN, 1.0f,
                                -1.0f, 0.5f,  -0.5f,    1.5f,      2.5f,    127.5f,   1e-30f,  16777217.0f};
  if (pattern == PATTERN_LEAST) return -FLT_MAX;
  if (pattern == PATTERN_GREATEST) return FLT_MAX;
  if (pattern == PATTERN_EDGES && random_chance(r, 50)) return RANDOM_OF(r, edges);
  return (float)random_in(r, -4000000, 4000000) / 1000000.0f;
}

static int32_t random_integer(RandomSource *r, Pattern pattern, int32_t least, int32_t greatest) {
  if (pattern == PATTERN_LEAST) return least;
  if (pattern == PATTERN_GREATEST) return greatest;
  if (pattern == PATTERN_EDGES) return random_chance(r, 50) ? least : greatest;
  return random_in(r, least, greatest);
}

static void fill(const Type *t, size_t elements, Pattern pattern, RandomSource *r, void *out) {
  for (size_t i = 0; i < elements; i++) {
    if (t->kind == ELEM_F32)
      ((float *)out)[i] = random_float(r, pattern);
    else if (t->kind == ELEM_I32)
      ((int32_t *)out)[i] = random_integer(r, pattern, -1000, 1000);
    else
      ((uint8_t *)out)[i] = (uint8_t)random_integer(r, pattern, type_q_min(t), type_q_max(t));
  }
}

Case case_new(const Graph *g, uint32_t batch, Pattern pattern, RandomSource *random) {
  Case k = {.batch = batch, .inputs = ARENA_NEW(g->context, void *, g->input_count)};
  for (uint32_t i = 0; i < g->input_count; i++) {
    const Type *t = graph_type(g, g->inputs[i]);
    k.inputs[i] = arena_alloc(g->context, batch * type_dense_bytes(t));
    fill(t, batch * (size_t)type_elements(t), pattern, random, k.inputs[i]);
  }
  k.expected = case_outputs(g, &k);
  return k;
}

void **case_outputs(const Graph *g, const Case *the_case) {
  void **outputs = ARENA_NEW(g->context, void *, g->output_count);
  for (uint32_t i = 0; i < g->output_count; i++) {
    size_t bytes = the_case->batch * type_dense_bytes(graph_type(g, g->outputs[i]));
    outputs[i] = arena_alloc(g->context, bytes);
    memset(outputs[i], UNWRITTEN, bytes);
  }
  return outputs;
}

/* Element `index` as a reader wants to see it. */
static const char *element_words(Context *c, const Type *t, const void *data, size_t index) {
  if (t->kind == ELEM_F32) {
    uint32_t bits;
    memcpy(&bits, (const float *)data + index, sizeof bits);
    return arena_printf(c, "%a (%08x)", (double)((const float *)data)[index], bits);
  }
  if (t->kind == ELEM_I32) return arena_printf(c, "%d", ((const int32_t *)data)[index]);
  return arena_printf(c, "q = %d",
                      t->kind == ELEM_UINT ? ((const uint8_t *)data)[index] : ((const int8_t *)data)[index]);
}

static const char *output_difference(const Graph *g, uint32_t output, uint32_t batch, const void *expected,
                                     const void *seen) {
  const Value *v = graph_value(g, g->outputs[output]);
  size_t elements = (size_t)type_elements(&v->type), bytes = type_dense_bytes(&v->type) / elements;
  size_t first = 0, count = 0;
  for (size_t i = batch * elements; i-- > 0;) {
    if (memcmp((const char *)expected + i * bytes, (const char *)seen + i * bytes, bytes) == 0) continue;
    first = i;
    count++;
  }
  if (count == 0) return NULL;
  return arena_printf(
      g->context, "output %u (%s): %zu of %zu elements differ; image %zu, element %zu: expected %s, got %s", output,
      v->name, count, batch * elements, first / elements, first % elements,
      element_words(g->context, &v->type, expected, first), element_words(g->context, &v->type, seen, first));
}

const char *case_difference(const Graph *g, const Case *the_case, void *const *outputs) {
  for (uint32_t i = 0; i < g->output_count; i++) {
    const char *words = output_difference(g, i, the_case->batch, the_case->expected[i], outputs[i]);
    if (words) return words;
  }
  return NULL;
}
