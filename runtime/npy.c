/* Reading and writing .npy: a magic, a version, the length of a header, the header (a Python dict of descr,
 * fortran_order and shape), the data. */
#include "npy.h"

#include "file.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char magic[6] = "\x93NUMPY";

/* The header text during parsing; `at` never passes `end`. */
typedef struct Cursor {
  const char *at, *end;
} Cursor;

static void skip_space(Cursor *c) {
  while (c->at < c->end && isspace((unsigned char)*c->at)) c->at++;
}

static bool take(Cursor *c, const char *text) {
  size_t length = strlen(text);
  skip_space(c);
  if ((size_t)(c->end - c->at) < length || memcmp(c->at, text, length) != 0) return false;
  c->at += length;
  return true;
}

static bool take_string(Cursor *c, char *out, size_t bytes) {
  skip_space(c);
  if (c->at == c->end || (*c->at != '\'' && *c->at != '"')) return false;
  char quote = *c->at++;
  const char *end = memchr(c->at, quote, (size_t)(c->end - c->at));
  if (!end || (size_t)(end - c->at) >= bytes) return false;
  memcpy(out, c->at, (size_t)(end - c->at));
  out[end - c->at] = 0;
  c->at = end + 1;
  return true;
}

static bool take_number(Cursor *c, int64_t *value) {
  skip_space(c);
  if (c->at == c->end || !isdigit((unsigned char)*c->at)) return false;
  *value = 0;
  while (c->at < c->end && isdigit((unsigned char)*c->at)) {
    if (*value > (INT64_MAX - 9) / 10) return false;
    *value = *value * 10 + (*c->at++ - '0');
  }
  return true;
}

static bool take_shape(Cursor *c, Npy *npy) {
  if (!take(c, "(")) return false;
  npy->rank = 0;
  while (!take(c, ")")) {
    if (npy->rank == NPY_MAX_RANK || !take_number(c, &npy->dims[npy->rank++])) return false;
    if (!take(c, ",")) return npy->rank > 1 && take(c, ")");
  }
  return true;
}

static bool take_type(Cursor *c, Npy *npy) {
  char type[8];
  if (!take_string(c, type, sizeof type) || strlen(type) != 3 || !strchr("uifb", type[1])) return false;
  npy->kind = type[1];
  npy->item_bytes = type[2] - '0';
  bool known = npy->item_bytes == 1 || npy->item_bytes == 2 || npy->item_bytes == 4 || npy->item_bytes == 8;
  if (npy->kind == 'b' && npy->item_bytes != 1) return false;
  return known && (type[0] == '<' || type[0] == '|' || (type[0] == '>' && npy->item_bytes == 1));
}

static ApnnStatus parse_dict(Cursor *c, Npy *npy, ErrorText *error) {
  char key[32];
  unsigned seen = 0;
  if (!take(c, "{")) return apnn_fail(error, APNN_ERROR_FORMAT, "the .npy header is not a dict");
  while (!take(c, "}")) {
    if (!take_string(c, key, sizeof key) || !take(c, ":"))
      return apnn_fail(error, APNN_ERROR_FORMAT, "the .npy header is not a dict of names");
    if (strcmp(key, "descr") == 0 && take_type(c, npy))
      seen |= 1;
    else if (strcmp(key, "descr") == 0)
      return apnn_fail(error, APNN_ERROR_FORMAT,
                       "the element type is not one of little-endian u1 u2 u4 u8 i1 i2 i4 i8 f2 f4 f8 b1");
    else if (strcmp(key, "fortran_order") == 0 && take(c, "False"))
      seen |= 2;
    else if (strcmp(key, "fortran_order") == 0)
      return apnn_fail(error, APNN_ERROR_FORMAT, "the array is in Fortran order: save it with numpy.ascontiguousarray");
    else if (strcmp(key, "shape") == 0 && take_shape(c, npy))
      seen |= 4;
    else
      return apnn_fail(error, APNN_ERROR_FORMAT, "the .npy header has a wrong or unknown \"%s\"", key);
    if (!take(c, ",")) {
      if (!take(c, "}")) return apnn_fail(error, APNN_ERROR_FORMAT, "the .npy header does not end");
      break;
    }
  }
  if (seen != 7) return apnn_fail(error, APNN_ERROR_FORMAT, "the .npy header lacks descr, fortran_order or shape");
  return APNN_OK;
}

static ApnnStatus check_size(Npy *npy, size_t available, ErrorText *error) {
  uint64_t items = 1;
  for (int i = 0; i < npy->rank; i++) {
    uint64_t dim = (uint64_t)npy->dims[i];
    if (dim && items > (UINT64_C(1) << 48) / dim)
      return apnn_fail(error, APNN_ERROR_FORMAT, "the shape has too many elements");
    items *= dim;
  }
  npy->items = items;
  if (items * (uint64_t)npy->item_bytes != available)
    return apnn_fail(error, APNN_ERROR_FORMAT, "the shape needs %llu bytes of data, the file has %zu",
                     (unsigned long long)(items * (uint64_t)npy->item_bytes), available);
  return APNN_OK;
}

ApnnStatus npy_parse(const void *bytes, size_t size, Npy *npy, ErrorText *error) {
  memset(npy, 0, sizeof *npy);
  const unsigned char *b = bytes;
  if (size < 12 || memcmp(b, magic, sizeof magic) != 0) return apnn_fail(error, APNN_ERROR_FORMAT, "not a .npy file");
  if (b[6] < 1 || b[6] > 3) return apnn_fail(error, APNN_ERROR_FORMAT, "the .npy version %d is unknown", b[6]);
  size_t before = b[6] == 1 ? 10 : 12, length = (size_t)b[8] | (size_t)b[9] << 8;
  if (b[6] > 1) length |= (size_t)b[10] << 16 | (size_t)b[11] << 24;
  if (length > size - before)
    return apnn_fail(error, APNN_ERROR_FORMAT, "the .npy header of %zu bytes is cut off", length);
  Cursor cursor = {(const char *)b + before, (const char *)b + before + length};
  ApnnStatus status = parse_dict(&cursor, npy, error);
  if (status == APNN_OK) status = check_size(npy, size - before - length, error);
  npy->data = b + before + length;
  return status;
}

ApnnStatus npy_read(const char *path, Npy *npy, ErrorText *error) {
  void *bytes = NULL;
  size_t size = 0;
  memset(npy, 0, sizeof *npy);
  ApnnStatus status = apnn_file_read(path, &bytes, &size, error);
  if (status != APNN_OK) return status;
  ErrorText behind = apnn_error_prefix(error, path);
  status = npy_parse(bytes, size, npy, &behind);
  npy->file = bytes;
  if (status != APNN_OK) npy_free(npy);
  return status;
}

void npy_free(Npy *npy) {
  free(npy->file);
  memset(npy, 0, sizeof *npy);
}

/* The header's dict, padded with spaces so that magic, lengths and header fill a multiple of 64 bytes. */
static size_t format_header(const Npy *npy, char header[512]) {
  int used = snprintf(header, 512, "{'descr': '%c%c%d', 'fortran_order': False, 'shape': (",
                      npy->item_bytes == 1 ? '|' : '<', npy->kind, npy->item_bytes);
  for (int i = 0; i < npy->rank; i++)
    used += snprintf(header + used, 512 - (size_t)used, "%lld%s", (long long)npy->dims[i],
                     i + 1 < npy->rank ? ", "
                     : npy->rank == 1  ? ","
                                       : "");
  used += snprintf(header + used, 512 - (size_t)used, "), }");
  while ((10 + used + 1) % 64) header[used++] = ' ';
  header[used++] = '\n';
  return (size_t)used;
}

ApnnStatus npy_write(const char *path, const Npy *npy, ErrorText *error) {
  char header[512];
  size_t length = format_header(npy, header), bytes = (size_t)npy->item_bytes;
  unsigned char start[10] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (unsigned char)length, (unsigned char)(length >> 8)};
  for (int i = 0; i < npy->rank; i++) bytes *= (size_t)npy->dims[i];
  FILE *out = fopen(path, "wb");
  if (!out) return apnn_fail(error, APNN_ERROR_FILE, "%s: %s", path, strerror(errno));
  bool good = fwrite(start, 1, sizeof start, out) == sizeof start && fwrite(header, 1, length, out) == length &&
              fwrite(npy->data, 1, bytes, out) == bytes;
  good = fclose(out) == 0 && good;
  if (good) return APNN_OK;
  apnn_fail(error, APNN_ERROR_FILE, "%s: %s", path, strerror(errno));
  struct stat info;
  if (stat(path, &info) == 0 && S_ISREG(info.st_mode)) remove(path);
  return APNN_ERROR_FILE;
}
