/* What the tests of the IR share: a reproducible source of numbers, an allocator that fails on demand and counts, and
 * the text that a context's reports give. */
#ifndef TESTS_IR_SAMPLE_H
#define TESTS_IR_SAMPLE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ir/ir.h"

/* xorshift64: the same numbers every run. */
typedef struct Random {
  uint64_t state;
} Random;

static inline uint32_t random_bits(Random *r) {
  r->state ^= r->state << 13;
  r->state ^= r->state >> 7;
  r->state ^= r->state << 17;
  return (uint32_t)(r->state >> 32);
}

static inline int32_t random_in(Random *r, int32_t least, int32_t most) {
  return least + (int32_t)(random_bits(r) % (uint32_t)(most - least + 1));
}

static inline float float_of_bits(uint32_t bits) {
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

static inline uint32_t bits_of_float(float f) {
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  return bits;
}

/* Any float: mostly ordinary, often special. */
static inline float random_float(Random *r) {
  static const uint32_t special[] = {0,          0x80000000, 0x7f800000, 0xff800000, 0x7fc00001, 0x00000001,
                                     0x007fffff, 0x7f7fffff, 0x3f800000, 0x3f000000, 0xbf000000, 0x00800000};
  uint32_t kind = random_bits(r) % 8;
  if (kind == 0) return float_of_bits(special[random_bits(r) % (sizeof special / sizeof *special)]);
  if (kind == 1) return float_of_bits(random_bits(r));
  if (kind < 5) return (float)random_in(r, -40, 40) * 0.5f;
  return (float)random_in(r, -1000000, 1000000) / 4096.0f;
}

static inline void assert_same_float(float a, float b) {
  assert_int_equal(bits_of_float(a), bits_of_float(b));
}

/* An allocator that refuses after `left` allocations (negative: never) and counts what is out. */
typedef struct Counter {
  long left;
  long blocks;
  size_t bytes;
} Counter;

static inline void *counted(void *user, void *pointer, size_t old_size, size_t new_size) {
  Counter *c = user;
  if (new_size && c->left == 0) return NULL;
  if (new_size && c->left > 0) c->left--;
  c->bytes -= old_size;
  c->bytes += new_size;
  c->blocks += (new_size != 0) - (pointer != NULL);
  if (new_size) return realloc(pointer, new_size);
  free(pointer);
  return NULL;
}

/* The reports so far, as text, which the caller frees. */
static inline char *flushed(Context *c) {
  char *text = NULL;
  size_t size = 0;
  FILE *f = open_memstream(&text, &size);
  assert_non_null(f);
  diag_flush(c, f);
  fclose(f);
  char *copy = malloc(size + 1);
  assert_non_null(copy);
  memcpy(copy, text, size + 1);
  free(text);
  return copy;
}

/* The reports contain `words`. */
static inline void assert_reported(Context *c, const char *words) {
  char *text = flushed(c);
  if (!strstr(text, words)) fail_msg("no '%s' in:\n%s", words, text);
  free(text);
}

static inline void assert_no_reports(Context *c) {
  char *text = flushed(c);
  assert_string_equal(text, "");
  free(text);
}

/* Dense random elements of a type, `images` of them if it is batched. */
static inline void *random_elements(Context *c, Random *r, const Type *t, uint32_t images) {
  size_t count = (size_t)type_elements(t) * (t->batched ? images : 1);
  char *data = arena_alloc(c, count * type_element_bytes(t));
  for (size_t i = 0; i < count; i++) {
    int32_t integer = type_is_quantized(t) ? random_in(r, type_q_min(t), type_q_max(t)) : random_in(r, -5000, 5000);
    if (t->kind == ELEM_F32)
      ((float *)data)[i] = random_float(r);
    else if (t->kind == ELEM_I32)
      ((int32_t *)data)[i] = integer;
    else
      data[i] = (char)integer;
  }
  return data;
}

/* q of an element, and its level by the definition value = scale * (q - zero2 / 2). */
static inline int32_t element_q(const Type *t, const void *data, size_t i) {
  if (t->kind == ELEM_I32) return ((const int32_t *)data)[i];
  return t->kind == ELEM_UINT ? ((const uint8_t *)data)[i] : ((const int8_t *)data)[i];
}

static inline int32_t element_level(const Type *t, const void *data, size_t i) {
  int32_t twice = 2 * element_q(t, data, i) - (t->kind == ELEM_I32 ? 0 : t->zero2);
  return t->zero2 % 2 ? twice : twice / 2;
}

static inline Type random_quantized(Random *r, bool batched, int rank, const int32_t *dim) {
  static const struct {
    ElemKind kind;
    int bits;
  } kinds[] = {{ELEM_UINT, 1}, {ELEM_UINT, 2}, {ELEM_UINT, 5}, {ELEM_UINT, 8},
               {ELEM_INT, 2},  {ELEM_INT, 4},  {ELEM_INT, 8},  {ELEM_TERNARY, 2}};
  uint32_t pick = random_bits(r) % 8;
  Type t = type_make(kinds[pick].kind, kinds[pick].bits, batched, rank, dim);
  t.zero2 = (int16_t)(random_bits(r) & 1 ? random_in(r, -5, 9) : 0);
  t.scale = (float)random_in(r, 1, 50) / 16.0f;
  return t;
}

/* A network of one operation on one input and constants, and what it gives for `images` images. */
typedef struct Single {
  Graph *g;
  ValueId result;
  const Type *type; /* of the result */
  void *out;
} Single;

static inline Single eval_single(Context *c, Op op, const Attrs *attrs, Type x, const void *data, uint32_t images,
                                 const Type *constants, const void *const *constant_data, uint32_t count, Type wanted) {
  Single s = {.g = graph_new(c, "single")};
  ValueId operands[8] = {graph_add_input(s.g, "x", x)};
  for (uint32_t i = 0; i < count; i++) operands[i + 1] = graph_add_const(s.g, "k", constants[i], constant_data[i]);
  s.result = graph_insert_node(s.g, 0, op, attrs, operands, count + 1, wanted, "y", (SourceLoc){0});
  graph_add_output(s.g, s.result);
  assert_no_reports(c);
  s.type = graph_type(s.g, s.result);
  s.out = arena_alloc(c, type_dense_bytes(s.type) * images);
  assert_true(graph_eval(s.g, images, &data, &s.out));
  assert_no_reports(c);
  return s;
}

#define DIMS(...) ((const int32_t[]){__VA_ARGS__})
#define COUNT(array) (sizeof(array) / sizeof *(array))

#endif
