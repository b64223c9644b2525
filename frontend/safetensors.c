/* Reads safetensors: eight bytes with the length of a JSON header, the header, the tensors' bytes.
 *
 * The header is one object; each member but "__metadata__" describes a tensor: {"dtype": "F32", "shape": [2, 3],
 * "data_offsets": [begin, end]}, offsets from the end of the header. Guarantees: every tensor lies inside the file, no
 * two overlap, and sizes fit dtype and shape.
 */
#include "param_file.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_HEADER_BYTES = 100 << 20 };

/* A cursor over the header's text. After the first problem, everything fails. */
typedef struct Json {
  Context *context;
  const char *text, *at, *end;
  const char *problem; /* NULL: none so far */
} Json;

static bool json_fail(Json *j, const char *problem) {
  if (!j->problem) j->problem = problem;
  return false;
}

static void skip_blanks(Json *j) {
  while (j->at < j->end && (*j->at == ' ' || *j->at == '\t' || *j->at == '\n' || *j->at == '\r')) j->at++;
}

static bool accept(Json *j, char sign) {
  skip_blanks(j);
  if (j->at >= j->end || *j->at != sign) return false;
  j->at++;
  return true;
}

static bool expect(Json *j, char sign, const char *problem) {
  return accept(j, sign) || json_fail(j, problem);
}

static int hex_digit(char ch) {
  return ch >= '0' && ch <= '9'   ? ch - '0'
         : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10
         : ch >= 'A' && ch <= 'F' ? ch - 'A' + 10
                                  : -1;
}

/* The four digits of \uXXXX. */
static bool read_hex(Json *j, uint32_t *code) {
  *code = 0;
  if (j->end - j->at < 4) return json_fail(j, "a \\u escape is cut short");
  for (int i = 0; i < 4; i++) {
    int digit = hex_digit(*j->at++);
    if (digit < 0) return json_fail(j, "a \\u escape has a digit that is not hexadecimal");
    *code = *code << 4 | (uint32_t)digit;
  }
  return true;
}

static bool add_utf8(Json *j, Text *t, uint32_t code) {
  char bytes[4];
  if (code >= 0xdc00 && code < 0xe000) return json_fail(j, "a \\u escape is half a character");
  if (code >= 0xd800 && code < 0xdc00) {
    uint32_t low;
    if (j->end - j->at < 6 || j->at[0] != '\\' || j->at[1] != 'u')
      return json_fail(j, "a \\u escape is half a character");
    j->at += 2;
    if (!read_hex(j, &low)) return false;
    if (low < 0xdc00 || low > 0xdfff) return json_fail(j, "a \\u escape is half a character");
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  }
  if (!code) return json_fail(j, "a string holds a zero character");
  int extra = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  static const uint8_t lead[] = {0, 0xc0, 0xe0, 0xf0};
  bytes[0] = (char)(lead[extra] | code >> (6 * extra));
  for (int i = 1; i <= extra; i++) bytes[i] = (char)(0x80 | (code >> (6 * (extra - i)) & 63));
  text_add_bytes(t, bytes, (size_t)extra + 1);
  return true;
}

static bool read_escape(Json *j, Text *t) {
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  if (j->at >= j->end) return json_fail(j, "a string does not end");
  char ch = *j->at++;
  uint32_t code;
  if (ch == 'u') return read_hex(j, &code) && add_utf8(j, t, code);
  const char *found = ch ? strchr(from, ch) : NULL;
  if (!found) return json_fail(j, "a string holds an unknown escape");
  text_add_bytes(t, to + (found - from), 1);
  return true;
}

/* NULL after a problem. */
static const char *read_string(Json *j) {
  if (!expect(j, '"', "a string is missing")) return NULL;
  Text t = {.context = j->context};
  text_add_bytes(&t, "", 0);
  for (;;) {
    const char *start = j->at;
    while (j->at < j->end && *j->at != '"' && *j->at != '\\' && (unsigned char)*j->at >= 32) j->at++;
    text_add_bytes(&t, start, (size_t)(j->at - start));
    if (j->at >= j->end) return json_fail(j, "a string does not end"), NULL;
    char ch = *j->at++;
    if (ch == '"') return t.data ? t.data : "";
    if (ch != '\\') return json_fail(j, "a string holds a control character"), NULL;
    if (!read_escape(j, &t)) return NULL;
  }
}

static bool read_count(Json *j, int64_t *value) {
  skip_blanks(j);
  if (j->at >= j->end || *j->at < '0' || *j->at > '9') return json_fail(j, "a number that is not negative is missing");
  for (*value = 0; j->at < j->end && *j->at >= '0' && *j->at <= '9'; j->at++)
    if (__builtin_mul_overflow(*value, 10, value) || __builtin_add_overflow(*value, *j->at - '0', value))
      return json_fail(j, "a number is too large");
  if (j->at < j->end && (*j->at == '.' || *j->at == 'e' || *j->at == 'E'))
    return json_fail(j, "a number is not an integer");
  return true;
}

static bool read_counts(Json *j, int64_t *values, int most, int *count) {
  *count = 0;
  if (!expect(j, '[', "a list of numbers is missing")) return false;
  if (accept(j, ']')) return true;
  do {
    if (*count == most) return json_fail(j, "a list has too many numbers");
    if (!read_count(j, &values[(*count)++])) return false;
  } while (accept(j, ','));
  return expect(j, ']', "a list does not end with ']'");
}

/* "__metadata__": strings by name. */
static bool skip_metadata(Json *j) {
  if (!expect(j, '{', "__metadata__ is not an object")) return false;
  if (accept(j, '}')) return true;
  do {
    if (!read_string(j) || !expect(j, ':', "':' is missing") || !read_string(j)) return false;
  } while (accept(j, ','));
  return expect(j, '}', "__metadata__ does not end with '}'");
}

typedef struct Entry {
  ParamTensor tensor;
  int64_t begin, end;
  bool has_dtype, has_shape, has_offsets;
} Entry;

static void set_dtype(Entry *e, const char *name) {
  e->has_dtype = true;
  e->tensor.dtype = DTYPE_OTHER;
  e->tensor.dtype_name = name;
  for (int i = 1; i < DTYPE_COUNT; i++)
    if (!strcmp(dtype_info[i].name, name)) e->tensor.dtype = (Dtype)i;
}

static bool read_member(Json *j, Entry *e) {
  const char *key = read_string(j);
  if (!key || !expect(j, ':', "':' is missing")) return false;
  if (!strcmp(key, "dtype") && !e->has_dtype) {
    const char *name = read_string(j);
    if (name) set_dtype(e, name);
    return name != NULL;
  }
  if (!strcmp(key, "shape") && !e->has_shape) {
    e->has_shape = true;
    return read_counts(j, e->tensor.dim, PARAM_MAX_RANK, &e->tensor.rank);
  }
  if (!strcmp(key, "data_offsets") && !e->has_offsets) {
    int64_t offsets[2];
    int count;
    e->has_offsets = true;
    if (!read_counts(j, offsets, 2, &count)) return false;
    if (count != 2) return json_fail(j, "data_offsets is not a pair");
    e->begin = offsets[0];
    e->end = offsets[1];
    return true;
  }
  return json_fail(j, "a tensor has a member other than dtype, shape and data_offsets, or one twice");
}

static bool read_entry(Json *j, Entry *e) {
  if (!expect(j, '{', "a tensor is not an object")) return false;
  do {
    if (!read_member(j, e)) return false;
  } while (accept(j, ','));
  if (!expect(j, '}', "a tensor's object does not end with '}'")) return false;
  if (!e->has_dtype || !e->has_shape || !e->has_offsets)
    return json_fail(j, "a tensor lacks dtype, shape or data_offsets");
  return true;
}

static bool check_entry(Context *c, ParamFile *f, Entry *e, const uint8_t *data, int64_t data_size) {
  int64_t bytes;
  const char *name = e->tensor.name;
  if (e->begin > e->end || e->end > data_size)
    return param_file_damaged(c, f, "tensor '%.200s' lies at bytes %lld to %lld of %lld", name, (long long)e->begin,
                              (long long)e->end, (long long)data_size);
  if (!param_tensor_bytes(&e->tensor, &bytes) || (e->tensor.dtype != DTYPE_OTHER && bytes != e->end - e->begin))
    return param_file_damaged(c, f, "tensor '%.200s' has %lld bytes, which is not what its shape and dtype take", name,
                              (long long)(e->end - e->begin));
  e->tensor.data = data + e->begin;
  return param_file_add(c, f, e->tensor);
}

static int by_begin(const void *a, const void *b) {
  const Entry *x = *(const Entry *const *)a, *y = *(const Entry *const *)b;
  return x->begin != y->begin ? (x->begin > y->begin) - (x->begin < y->begin) : (x->end > y->end) - (x->end < y->end);
}

static bool check_overlaps(Context *c, ParamFile *f, Entry **entries, uint32_t count) {
  if (count) qsort(entries, count, sizeof *entries, by_begin);
  const Entry *last = NULL; /* the one that ends last so far; tensors without bytes overlap nothing */
  for (uint32_t i = 0; i < count; i++) {
    const Entry *e = entries[i];
    if (e->begin == e->end) continue;
    if (last && e->begin < last->end)
      return param_file_damaged(c, f, "tensors '%.200s' and '%.200s' overlap", last->tensor.name, e->tensor.name);
    last = e;
  }
  return true;
}

typedef struct EntryList {
  Entry **items;
  uint32_t count, capacity;
} EntryList;

static Entry *add_entry(Context *c, EntryList *list, const char *name) {
  if (list->count == list->capacity) {
    uint32_t capacity = list->capacity ? list->capacity * 2 : 16;
    list->items = arena_grow(c, list->items, sizeof(Entry *) * list->capacity, sizeof(Entry *) * (size_t)capacity);
    list->capacity = capacity;
  }
  Entry *e = ARENA_NEW(c, Entry, 1);
  e->tensor.name = name;
  return list->items[list->count++] = e;
}

static bool read_header(Json *j, EntryList *list) {
  if (!expect(j, '{', "the header does not begin with '{'")) return false;
  if (!accept(j, '}')) {
    do {
      const char *name = read_string(j);
      if (!name || !expect(j, ':', "':' is missing")) return false;
      if (strcmp(name, "__metadata__") ? !read_entry(j, add_entry(j->context, list, name)) : !skip_metadata(j))
        return false;
    } while (accept(j, ','));
    if (!expect(j, '}', "the header does not end with '}'")) return false;
  }
  skip_blanks(j);
  return j->at == j->end || json_fail(j, "something follows the header's object");
}

bool safetensors_read(Context *c, ParamFile *f, const uint8_t *data, size_t size) {
  uint64_t header = 0;
  if (size < 8) return param_file_damaged(c, f, "it has %zu bytes, too few for a safetensors file", size);
  for (int i = 0; i < 8; i++) header |= (uint64_t)data[i] << (8 * i);
  if (header > size - 8 || header > MAX_HEADER_BYTES)
    return param_file_damaged(c, f, "its header is said to have %llu bytes, the file has %zu",
                              (unsigned long long)header, size);
  const char *text = (const char *)data + 8;
  Json j = {.context = c, .text = text, .at = text, .end = text + header};
  EntryList list = {0};
  if (!read_header(&j, &list))
    return param_file_damaged(c, f, "%s at byte %lld of its header", j.problem, (long long)(j.at - j.text));
  for (uint32_t i = 0; i < list.count; i++)
    if (!check_entry(c, f, list.items[i], data + 8 + header, (int64_t)(size - 8 - header))) return false;
  return check_overlaps(c, f, list.items, list.count);
}
