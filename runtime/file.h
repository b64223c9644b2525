/* A compiled network's bytes, found, checked and taken apart. What apnn_file_parse accepts is safe to launch as far as
 * the file alone can tell: every offset, size, index, alignment, name and launch parameter is in range. */
#ifndef RUNTIME_FILE_H
#define RUNTIME_FILE_H

#include "apnn_file.h"
#include "error.h"

#include <stdbool.h>

typedef struct ApnnFile {
  ApnnFileHeader header;
  bool is_ptx;              /* the image is PTX text, otherwise a cubin */
  const uint8_t *image;     /* header.image_bytes, in the caller's bytes, no terminating zero */
  const uint8_t *constants; /* header.constants_bytes */
  const char *ptx;          /* the PTX beside a cubin, zero-terminated; NULL where there is none */
  const ApnnFileTensor *tensors;
  const ApnnFileKernel *kernels;
  const ApnnFileLaunch *launches;
  const ApnnFileParam *params;
  const char *strings;
  void *payload; /* owned copy that all but `image` point into */
} ApnnFile;

/* Take apart `bytes`, which must stay as long as file->image is used. On errors nothing stays allocated. */
ApnnStatus apnn_file_parse(const void *bytes, size_t size, ApnnFile *file, ErrorText *error);
void apnn_file_free(ApnnFile *file);

/* Keep the tables and names alone: `image`, `constants` and `ptx` become NULL and their memory is released. */
ApnnStatus apnn_file_compact(ApnnFile *file, ErrorText *error);

/* check_tables.c: the contents of a payload whose header and sections are in range. */
ApnnStatus apnn_file_check_tables(const ApnnFile *file, ErrorText *error);

/* The whole of a file in memory from malloc. */
ApnnStatus apnn_file_read(const char *path, void **bytes, size_t *size, ErrorText *error);

static inline const char *apnn_file_name(const ApnnFile *file, uint32_t offset) {
  return file->strings + offset;
}

#endif
