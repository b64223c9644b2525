/* NumPy's .npy files for the tools: little-endian or single-byte numbers in row-major order. */
#ifndef RUNTIME_NPY_H
#define RUNTIME_NPY_H

#include "error.h"

#include <stdint.h>

enum { NPY_MAX_RANK = 8 };

typedef struct Npy {
  char kind;      /* 'u' unsigned, 'i' signed, 'f' floating, 'b' bool */
  int item_bytes; /* 1, 2, 4 or 8 */
  int rank;       /* 0 .. NPY_MAX_RANK */
  int64_t dims[NPY_MAX_RANK];
  size_t items;     /* product of dims */
  const void *data; /* items * item_bytes bytes; alignment 1 where it was read from a file */
  void *file;       /* owned; NULL in an Npy that was made to be written */
} Npy;

/* Read a file; everything in it is checked. Free with npy_free, which accepts a zero Npy. On errors nothing stays
 * allocated. Statuses: APNN_ERROR_FILE, APNN_ERROR_FORMAT, APNN_ERROR_MEMORY. */
ApnnStatus npy_read(const char *path, Npy *npy, ErrorText *error);
ApnnStatus npy_parse(const void *bytes, size_t size, Npy *npy, ErrorText *error); /* npy->data points into `bytes` */
void npy_free(Npy *npy);

/* Write kind, item_bytes, rank, dims and data. A file that cannot be written whole is removed. */
ApnnStatus npy_write(const char *path, const Npy *npy, ErrorText *error);

#endif
