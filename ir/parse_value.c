/* The parser's half for values: types, and the elements of constants, in full or by their hash from a pool. */
#include "eval.h"
#include "parse.h"
#include "print.h"
#include <stdlib.h>
#include <string.h>

/* --- types --- */

static bool parse_elem(Parser *p, Type *t) {
  SourceLoc loc = reader_loc(&p->reader);
  const char *word = reader_word(&p->reader, "an element type: u1..u8, i2..i8, ternary, i32 or f32");
  if (!word) return false;
  int bits = word[0] && word[1] >= '1' && word[1] <= '8' && !word[2] ? word[1] - '0' : 0;
  if (bits && word[0] == 'u')
    *t = type_make(ELEM_UINT, bits, false, 0, NULL);
  else if (bits > 1 && word[0] == 'i')
    *t = type_make(ELEM_INT, bits, false, 0, NULL);
  else if (!strcmp(word, "ternary"))
    *t = type_make(ELEM_TERNARY, 2, false, 0, NULL);
  else if (!strcmp(word, "i32"))
    *t = type_make(ELEM_I32, 32, false, 0, NULL);
  else if (!strcmp(word, "f32"))
    *t = type_make(ELEM_F32, 32, false, 0, NULL);
  else {
    diag(p->context, DIAG_IR_UNKNOWN, loc, "element type", word);
    return false;
  }
  return true;
}

/* "[N,8,8,1]" */
static bool parse_shape(Parser *p, Type *t) {
  if (!reader_expect(&p->reader, '[', "and a shape after an element type")) return false;
  t->batched = reader_take(&p->reader, 'N');
  if (t->batched && !reader_expect(&p->reader, ',', "after N")) return false;
  do {
    int64_t size;
    if (t->rank == MAX_RANK) return reader_fail(&p->reader, "at most 4 dimensions, the batch not counted");
    if (!reader_int(&p->reader, 1, INT32_MAX, "a dimension", &size)) return false;
    t->dim[t->rank++] = (int32_t)size;
  } while (reader_take(&p->reader, ','));
  return reader_expect(&p->reader, ']', "after a shape");
}

static bool parse_scale(Parser *p, Type *t) {
  reader_skip_blanks(&p->reader);
  if (p->reader.at < p->reader.end && *p->reader.at == '%') return parse_value_name(p, &t->scales);
  return reader_float(&p->reader, &t->scale);
}

/* "3" or "3/2" */
static bool parse_zero(Parser *p, Type *t) {
  int64_t zero, half = 2;
  if (!reader_int(&p->reader, -512, 512, "a zero point", &zero)) return false;
  if (!reader_take(&p->reader, '/'))
    zero *= 2;
  else if (!reader_int(&p->reader, 2, 2, "the divisor of a zero point, 2,", &half))
    return false;
  t->zero2 = (int16_t)zero;
  return true;
}

/* ":57:3249:415872" behind a layout: pitches of rows and images, positions. */
static bool parse_pieces(Parser *p, Layout *l) {
  static const char *const what[] = {"a pitch of rows", "a pitch of images", "positions"};
  uint32_t *const numbers[] = {&l->row_pitch, &l->image_pitch, &l->positions};
  if (l->kind == LAYOUT_BYTES) l->block = layout_byte_block(l->pitch);
  for (int i = 0; i < 3; i++) {
    uint64_t number;
    if (i && !reader_expect(&p->reader, ':', "between the numbers of pieces")) return false;
    if (!reader_unsigned(&p->reader, UINT32_MAX, what[i], &number)) return false;
    *numbers[i] = (uint32_t)number;
  }
  return true;
}

/* "words:8", "bytes:16" or "planes:32:64"; pieces have three numbers more */
static bool parse_layout(Parser *p, Type *t) {
  SourceLoc loc = reader_loc(&p->reader);
  const char *word = reader_word(&p->reader, "words, bytes or planes");
  uint64_t block = 0, pitch;
  if (!word) return false;
  if (!strcmp(word, "words"))
    t->layout.kind = LAYOUT_WORDS;
  else if (!strcmp(word, "bytes"))
    t->layout.kind = LAYOUT_BYTES;
  else if (!strcmp(word, "planes"))
    t->layout.kind = LAYOUT_PLANES;
  else {
    diag(p->context, DIAG_IR_UNKNOWN, loc, "layout", word);
    return false;
  }
  if (t->layout.kind == LAYOUT_PLANES && (!reader_expect(&p->reader, ':', "and a block after planes") ||
                                          !reader_unsigned(&p->reader, UINT16_MAX, "a block", &block)))
    return false;
  if (!reader_expect(&p->reader, ':', "before a pitch") || !reader_unsigned(&p->reader, UINT32_MAX, "a pitch", &pitch))
    return false;
  t->layout.block = (uint16_t)block;
  t->layout.pitch = (uint32_t)pitch;
  return !reader_take(&p->reader, ':') || parse_pieces(p, &t->layout);
}

static bool parse_detail(Parser *p, Type *t) {
  SourceLoc loc = reader_loc(&p->reader);
  const char *word = reader_word(&p->reader, "scale, zero or layout");
  if (!word || !reader_expect(&p->reader, '=', "after it")) return false;
  if (!strcmp(word, "scale")) return parse_scale(p, t);
  if (!strcmp(word, "zero")) return parse_zero(p, t);
  if (!strcmp(word, "layout")) return parse_layout(p, t);
  diag(p->context, DIAG_IR_UNKNOWN, loc, "part of a type", word);
  return false;
}

bool parse_type(Parser *p, Type *t) {
  SourceLoc loc = reader_loc(&p->reader);
  if (!parse_elem(p, t) || !parse_shape(p, t)) return false;
  if (reader_take(&p->reader, '{')) {
    do {
      if (!parse_detail(p, t)) return false;
    } while (reader_take(&p->reader, ','));
    if (!reader_expect(&p->reader, '}', "after the parts of a type")) return false;
  }
  const char *problem = type_problem(p->graph, t);
  if (!problem) return true;
  diag(p->context, DIAG_IR_TYPE, loc, type_string(p->context, p->graph, t), problem);
  return false;
}

/* --- elements --- */

static const void *reject(Parser *p, SourceLoc loc, const char *name, const char *why) {
  diag(p->context, DIAG_IR_CONSTANT, loc, name, why);
  return NULL;
}

static bool parse_element(Parser *p, const Type *t, void *data, size_t i) {
  if (t->kind == ELEM_F32) return reader_float(&p->reader, (float *)data + i);
  int64_t least = INT32_MIN, most = INT32_MAX, q;
  if (type_is_quantized(t)) {
    least = type_q_min(t);
    most = type_q_max(t);
  }
  if (!reader_int(&p->reader, least, most, "an element of this type", &q)) return false;
  store_integer(t, data, i, (int32_t)q);
  return true;
}

/* "1, 2, 3]", as many as the type has. */
static const void *parse_list(Parser *p, const char *name, const Type *t, SourceLoc loc) {
  int64_t count = type_elements(t);
  if (count > p->reader.end - p->reader.at) return reject(p, loc, name, "has fewer elements than its type says");
  void *data = arena_alloc(p->context, type_dense_bytes(t));
  for (int64_t i = 0; i < count; i++) {
    if (i && !reader_take(&p->reader, ',')) return reject(p, loc, name, "has fewer elements than its type says");
    if (!parse_element(p, t, data, (size_t)i)) return NULL;
  }
  if (!reader_take(&p->reader, ']')) return reject(p, loc, name, "has more elements than its type says");
  return data;
}

static int compare_entries(const void *left, const void *right) {
  const PoolEntry *a = left, *b = right;
  int order = (a->hash > b->hash) - (a->hash < b->hash);
  return order ? order : (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

static void read_pool(Parser *p) {
  const Graph *pool = p->pool;
  p->entries = ARENA_NEW(p->context, PoolEntry, pool->value_count);
  for (ValueId v = 0; v < pool->value_count; v++) {
    const Value *value = &pool->values[v];
    size_t bytes = type_dense_bytes(&value->type);
    if (value->kind != VALUE_CONST || !value->data) continue;
    p->entries[p->entry_count++] = (PoolEntry){content_hash(value->data, bytes), bytes, value->data};
  }
  qsort(p->entries, p->entry_count, sizeof *p->entries, compare_entries);
}

/* "@" and the hash of a constant of the pool. */
static const void *parse_hash(Parser *p, const char *name, const Type *t, SourceLoc loc) {
  PoolEntry wanted = {.bytes = type_dense_bytes(t)};
  if (!reader_hex64(&p->reader, &wanted.hash)) return NULL;
  if (!p->pool) return reject(p, loc, name, "is given by its hash, but there are no constants to find it in");
  if (!p->entries) read_pool(p);
  const PoolEntry *found = bsearch(&wanted, p->entries, p->entry_count, sizeof wanted, compare_entries);
  if (!found || (uintptr_t)found->data % type_element_bytes(t))
    return reject(p, loc, name, "is given by its hash, which no constant of this size has");
  return found->data;
}

const void *parse_elements(Parser *p, const char *name, const Type *type, SourceLoc loc) {
  if (reader_take(&p->reader, '@')) return parse_hash(p, name, type, loc);
  if (reader_take(&p->reader, '[')) return parse_list(p, name, type, loc);
  reader_fail(&p->reader, "[elements] or @hash");
  return NULL;
}
