/* write_file_atomically: a temporary file beside the result, then a rename. On any failure the temporary file is
 * removed and the old file, if there was one, is as it was. */
#define _GNU_SOURCE
#include "file_write.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool fail(Context *c, const char *path) {
  diag(c, DIAG_CANNOT_WRITE, (SourceLoc){0}, path, strerror(errno));
  return false;
}

static bool write_all(int file, const void *data, size_t size) {
  const char *at = data;
  while (size > 0) {
    ssize_t written = write(file, at, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    at += written;
    size -= (size_t)written;
  }
  return true;
}

/* Keeps errno of the write where both fail. */
static bool write_and_close(int file, const void *data, size_t size) {
  bool good = write_all(file, data, size);
  int error = errno;
  if (close(file) != 0 && good) return false;
  errno = error;
  return good;
}

static bool write_in_place(Context *c, const char *path, const void *data, size_t size) {
  int file = open(path, O_WRONLY | O_CLOEXEC);
  if (file < 0 || !write_and_close(file, data, size)) return fail(c, path);
  return true;
}

/* Creates a new file in the folder of `path`; its name comes back in `name`. It is short, as `path` with a suffix might
 * be longer than a name may be. */
static int create_beside(Context *c, const char *path, char **name) {
  const char *slash = strrchr(path, '/');
  const char *folder = slash ? arena_strndup(c, path, (size_t)(slash - path) + 1) : "";
  for (unsigned attempt = 0; attempt < 1000; attempt++) {
    *name = arena_printf(c, "%s.apnnc-%ld-%u.tmp", folder, (long)getpid(), attempt);
    int file = open(*name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file >= 0 || errno != EEXIST) return file;
  }
  return -1;
}

static bool write_and_rename(Context *c, const char *path, mode_t mode, const void *data, size_t size) {
  char *name = NULL;
  int file = create_beside(c, path, &name);
  if (file < 0) return fail(c, path);
  bool good = mode == 0 || fchmod(file, mode) == 0;
  good = write_and_close(file, data, size) && good;
  if (good && rename(name, path) == 0) return true;
  int error = errno;
  unlink(name);
  errno = error;
  return fail(c, path);
}

static void free_path(void *path) {
  free(path);
}

bool write_file_atomically(Context *c, const char *path, const void *data, size_t size) {
  struct stat old;
  if (stat(path, &old) != 0) return write_and_rename(c, path, 0, data, size);
  if (!S_ISREG(old.st_mode)) return write_in_place(c, path, data, size);
  char *real = realpath(path, NULL);
  if (!real) return fail(c, path);
  context_on_close(c, free_path, real);
  return write_and_rename(c, real, old.st_mode & 0777, data, size);
}
