/* Writes npy arrays, version 1, C order. A file is whole or absent: it is written beside its place and renamed. */
#include "param_file.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

/* The header is padded with blanks so that the elements start at a multiple of 64 bytes. */
static const char *header_text(Context *c, const char *descr, int rank, const int64_t *dim) {
  Text t = {.context = c};
  text_add(&t, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
  for (int i = 0; i < rank; i++) text_add(&t, i ? " %lld," : "%lld,", (long long)dim[i]);
  if (rank > 1) t.length--; /* (3, 4) but (3,) */
  text_add(&t, "), }");
  while ((10 + t.length + 1) % 64) text_add(&t, " ");
  text_add(&t, "\n");
  return t.data;
}

static bool fail(Context *c, const char *path, const char *temporary, FILE *out) {
  int code = errno;
  if (out) fclose(out);
  unlink(temporary);
  diag(c, DIAG_CANNOT_WRITE, (SourceLoc){0}, path, strerror(code));
  return false;
}

bool npy_write(Context *c, const char *path, const char *descr, int rank, const int64_t *dim, const void *data,
               size_t bytes) {
  const char *header = header_text(c, descr, rank, dim);
  const char *temporary = arena_printf(c, "%s.%ld.part", path, (long)getpid());
  size_t length = strlen(header);
  uint8_t head[10] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (uint8_t)length, (uint8_t)(length >> 8)};
  FILE *out = fopen(temporary, "wb");
  if (!out) return fail(c, path, temporary, NULL);
  if (fwrite(head, 1, sizeof head, out) != sizeof head || fwrite(header, 1, length, out) != length ||
      (bytes && fwrite(data, 1, bytes, out) != bytes))
    return fail(c, path, temporary, out);
  if (fclose(out)) return fail(c, path, temporary, NULL);
  if (rename(temporary, path)) return fail(c, path, temporary, NULL);
  return true;
}
