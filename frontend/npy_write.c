/* Writes npy arrays, version 1, C order. A file is whole or absent. */
#include "../backend/file_write.h"
#include "param_file.h"
#include <string.h>

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

bool npy_write(Context *c, const char *path, const char *descr, int rank, const int64_t *dim, const void *data,
               size_t bytes) {
  const char *header = header_text(c, descr, rank, dim);
  size_t length = strlen(header);
  uint8_t head[10] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (uint8_t)length, (uint8_t)(length >> 8)};
  Text t = {.context = c};
  text_add_bytes(&t, head, sizeof head);
  text_add_bytes(&t, header, length);
  text_add_bytes(&t, data, bytes);
  return write_file_atomically(c, path, t.data, t.length);
}
