/* A whole file in memory. It is read, not mapped: a file that is cut while in use then gives an error, not a signal. */
#include "file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static ApnnStatus read_open(FILE *in, const char *path, void **bytes, size_t *size, ErrorText *error) {
  struct stat info;
  if (fstat(fileno(in), &info) != 0) return apnn_fail(error, APNN_ERROR_FILE, "%s: %s", path, strerror(errno));
  if (!S_ISREG(info.st_mode)) return apnn_fail(error, APNN_ERROR_FILE, "%s is not a regular file", path);
  size_t wanted = (size_t)info.st_size;
  void *buffer = malloc(wanted + 1);
  if (!buffer) return apnn_fail(error, APNN_ERROR_MEMORY, "%s: out of memory for %zu bytes", path, wanted);
  if (fread(buffer, 1, wanted, in) != wanted) {
    free(buffer);
    return apnn_fail(error, APNN_ERROR_FILE, "%s: %s", path, ferror(in) ? strerror(errno) : "shorter than it was");
  }
  *bytes = buffer;
  *size = wanted;
  return APNN_OK;
}

ApnnStatus apnn_file_read(const char *path, void **bytes, size_t *size, ErrorText *error) {
  FILE *in = fopen(path, "rb");
  if (!in) return apnn_fail(error, APNN_ERROR_FILE, "%s: %s", path, strerror(errno));
  ApnnStatus status = read_open(in, path, bytes, size, error);
  fclose(in);
  return status;
}
