/* From a planned graph to a file: the map of this folder.
 *
 *   emit.c       graph -> Module: one kernel a distinct layer, launches, packed constants
 *   ptx.h        the PTX builder
 *   assemble.c   PTX -> cubin, by ptxas
 *   file.c       Module -> bytes (runtime/apnn_file.h) -> .cubin, .ptx
 *   embed.c      the same bytes as .c, .h and .o
 *   target*.c    what each GPU architecture has and costs (ir/target.h)
 */
#ifndef BACKEND_BACKEND_H
#define BACKEND_BACKEND_H

#include "../ir/ir.h"
#include "../runtime/apnn_file.h"

/* A compiled network in memory; tables as in the file. Strings are offsets into `strings`. */
typedef struct Module {
  const Target *target;
  Text ptx;     /* the whole PTX module */
  Text strings; /* names, zero-terminated; offset 0 is "" */
  uint32_t network_name;
  uint32_t max_batch;
  uint64_t arena_bytes;
  Text constants; /* device constants; every item aligned to 256 bytes */
  ApnnFileTensor *tensors;
  uint32_t tensor_count;
  ApnnFileKernel *kernels;
  uint32_t kernel_count;
  ApnnFileLaunch *launches;
  uint32_t launch_count;
  ApnnFileParam *params;
  uint32_t param_count;
} Module;

/* emit.c. The graph has PROP_LAUNCHES. False after reporting an error. */
bool backend_emit(Graph *g, const Target *target, Module *out);

/* assemble.c: the module's PTX to a cubin in the arena, with the toolkit's ptxas (found beside nvcc on PATH, in
 * $CUDA_HOME/bin or /usr/local/cuda/bin). Reports ptxas's own words on failure. */
bool backend_assemble(Context *c, const Module *m, Text *cubin);
bool backend_can_assemble(Context *c); /* whether ptxas is found */

/* file.c: the bytes of net.cubin and net.ptx, in the arena. */
bool backend_cubin_bytes(Context *c, const Module *m, Text *out); /* assembles; false after reporting an error */
void backend_ptx_bytes(Context *c, const Module *m, Text *out);

/* file.c and embed.c. Each writes to a temporary file beside `path` and renames it: a file is whole or absent. */
bool backend_write_cubin(Context *c, const Module *m, const char *path);
bool backend_write_ptx(Context *c, const Module *m, const char *path);
bool backend_write_c(Context *c, const Module *m, const char *path, const char *symbol_prefix);
bool backend_write_object(Context *c, const Module *m, const char *path, const char *symbol_prefix);
bool backend_write_header(Context *c, const Module *m, const char *path, const char *symbol_prefix);

#endif
