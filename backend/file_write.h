/* Writes whole files: the one way in which the compiler puts results on disk. */
#ifndef BACKEND_FILE_WRITE_H
#define BACKEND_FILE_WRITE_H

#include "../ir/context.h"

/* Puts `size` bytes into the file `path`: through a temporary file beside it and a rename, so that the file is whole or
 * what it was before. A link is followed; something that is no regular file (a device, a pipe) is written in place.
 * False after reporting an error. */
bool write_file_atomically(Context *c, const char *path, const void *data, size_t size);

#endif
