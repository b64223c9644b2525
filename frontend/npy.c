/* Reads npy arrays: "\x93NUMPY", version, length of the header, a Python dictionary, the elements.
 *
 *   {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
 *
 * Versions 1 to 3, little-endian or single-byte numbers, C and Fortran order. Guarantees: the elements lie inside the
 * bytes given, and there are exactly as many as the shape says.
 */
#include "param_file.h"
#include <string.h>

typedef struct Cursor {
  Context *context;
  const char *at, *end;
  const char *problem;
} Cursor;

static bool cursor_fail(Cursor *r, const char *problem) {
  if (!r->problem) r->problem = problem;
  return false;
}

static void skip_blanks(Cursor *r) {
  while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r')) r->at++;
}

static bool accept(Cursor *r, char sign) {
  skip_blanks(r);
  if (r->at >= r->end || *r->at != sign) return false;
  r->at++;
  return true;
}

static bool expect(Cursor *r, char sign, const char *problem) {
  return accept(r, sign) || cursor_fail(r, problem);
}

/* A Python string without escapes, of either quote. NULL after a problem. */
static const char *read_string(Cursor *r) {
  char quote = accept(r, '\'') ? '\'' : accept(r, '"') ? '"' : 0;
  const char *start = r->at;
  if (!quote) return cursor_fail(r, "the header holds something other than a string where one is due"), NULL;
  while (r->at < r->end && *r->at != quote && *r->at != '\\') r->at++;
  if (r->at >= r->end || *r->at != quote) return cursor_fail(r, "a string of the header does not end"), NULL;
  return arena_strndup(r->context, start, (size_t)(r->at++ - start));
}

static bool accept_word(Cursor *r, const char *word) {
  size_t n = strlen(word);
  skip_blanks(r);
  if ((size_t)(r->end - r->at) < n || memcmp(r->at, word, n)) return false;
  r->at += n;
  return true;
}

static bool read_shape(Cursor *r, ParamTensor *t) {
  if (!expect(r, '(', "shape is not a tuple")) return false;
  for (t->rank = 0; !accept(r, ')');) {
    if (t->rank == PARAM_MAX_RANK) return cursor_fail(r, "the array has more than 8 dimensions");
    int64_t *dim = &t->dim[t->rank++];
    *dim = 0;
    if (r->at >= r->end || *r->at < '0' || *r->at > '9')
      return cursor_fail(r, "shape holds something other than numbers");
    for (; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++)
      if (__builtin_mul_overflow(*dim, 10, dim) || __builtin_add_overflow(*dim, *r->at - '0', dim))
        return cursor_fail(r, "a dimension is too large");
    accept_word(r, "L");
    if (accept(r, ',')) continue;
    return expect(r, ')', "shape does not end with ')'");
  }
  return true;
}

static bool set_dtype(Cursor *r, ParamTensor *t, const char *descr) {
  t->dtype = DTYPE_OTHER;
  t->dtype_name = descr;
  if (descr[0] == '>') return cursor_fail(r, "its numbers are big-endian");
  if (!descr[0] || !strchr("<|=", descr[0])) return cursor_fail(r, "its element type has no known byte order");
  for (int i = 1; i < DTYPE_COUNT; i++)
    if (*dtype_info[i].npy && !strcmp(dtype_info[i].npy, descr + 1)) t->dtype = (Dtype)i;
  return true;
}

enum { HAS_DESCR = 1, HAS_ORDER = 2, HAS_SHAPE = 4, HAS_ALL = 7 };

static int read_member(Cursor *r, ParamTensor *t) {
  const char *key = read_string(r);
  if (!key || !expect(r, ':', "':' is missing in the header")) return 0;
  if (!strcmp(key, "descr")) {
    const char *descr = read_string(r);
    return descr && set_dtype(r, t, descr) ? HAS_DESCR : 0;
  }
  if (!strcmp(key, "fortran_order")) {
    t->column_major = accept_word(r, "True");
    if (!t->column_major && !accept_word(r, "False")) cursor_fail(r, "fortran_order is neither True nor False");
    return r->problem ? 0 : HAS_ORDER;
  }
  if (!strcmp(key, "shape")) return read_shape(r, t) ? HAS_SHAPE : 0;
  cursor_fail(r, "the header has a member that is not known");
  return 0;
}

static bool read_header(Cursor *r, ParamTensor *t) {
  int seen = 0;
  if (!expect(r, '{', "the header is no dictionary")) return false;
  while (!accept(r, '}')) {
    int member = read_member(r, t);
    if (!member) return false;
    if (seen & member) return cursor_fail(r, "the header has a member twice");
    seen |= member;
    if (accept(r, ',')) continue;
    if (!expect(r, '}', "the header does not end with '}'")) return false;
    break;
  }
  return seen == HAS_ALL || cursor_fail(r, "the header lacks descr, fortran_order or shape");
}

static bool fail(const char **problem, const char *words) {
  *problem = words;
  return false;
}

bool npy_read(Context *c, const uint8_t *data, size_t size, ParamTensor *t, const char **problem) {
  if (size < 12 || memcmp(data, "\x93NUMPY", 6)) return fail(problem, "it is no npy array");
  if (data[6] < 1 || data[6] > 3) return fail(problem, "its npy version is not known (1, 2 and 3 are)");
  size_t start = data[6] == 1 ? 10 : 12;
  size_t length =
      data[6] == 1 ? (size_t)(data[8] | data[9] << 8)
                   : (size_t)(data[8] | (uint32_t)data[9] << 8 | (uint32_t)data[10] << 16 | (uint32_t)data[11] << 24);
  if (length > size - start) return fail(problem, "its header is cut short");
  const char *text = (const char *)data + start;
  Cursor r = {.context = c, .at = text, .end = text + length};
  if (!read_header(&r, t)) return fail(problem, r.problem);
  int64_t bytes;
  t->data = data + start + length;
  if (t->dtype == DTYPE_OTHER) return param_tensor_bytes(t, &bytes) || fail(problem, "its shape is too large");
  if (!param_tensor_bytes(t, &bytes)) return fail(problem, "its shape is too large");
  if ((uint64_t)bytes != size - start - length) return fail(problem, "its size is not what its shape and type take");
  return true;
}
