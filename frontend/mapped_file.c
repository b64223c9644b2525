/* Whole files in memory: mapped where that works, for as long as the context lives. */
#include "param_file.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct Mapping {
  void *data;
  size_t size;
} Mapping;

static void unmap(void *user) {
  Mapping *m = user;
  munmap(m->data, m->size);
}

static bool fail(Context *c, int descriptor, const char *text, const char **problem) {
  *problem = text ? text : arena_strdup(c, strerror(errno));
  if (descriptor >= 0) close(descriptor);
  return false;
}

bool map_file(Context *c, const char *path, const uint8_t **data, size_t *size, const char **problem) {
  Mapping *m = ARENA_NEW(c, Mapping, 1);
  int descriptor = open(path, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return fail(c, -1, NULL, problem);
  struct stat status;
  if (fstat(descriptor, &status)) return fail(c, descriptor, NULL, problem);
  if (!S_ISREG(status.st_mode)) return fail(c, descriptor, "it is not a regular file", problem);
  *size = (size_t)status.st_size;
  *data = (const uint8_t *)"";
  if (*size) {
    void *mapped = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (mapped == MAP_FAILED) return fail(c, descriptor, NULL, problem);
    *m = (Mapping){mapped, *size};
    *data = mapped;
  }
  close(descriptor);
  if (m->data) context_on_close(c, unmap, m);
  return true;
}
