/* From source text to a verified graph: the map of this folder.
 *
 *   lexer.l, parser.y   the language -> syntax tree (ast.h)
 *   lower*.c            names, types, shapes, parameters: syntax tree -> graph
 *   safetensors.c, npz.c, npy.c   parameter files, mapped, read by name
 *   random_params.c     parameters drawn from a seed, for networks without a file
 *   compile.c           the whole compiler in process; main.c: the apnnc program
 */
#ifndef FRONTEND_FRONTEND_H
#define FRONTEND_FRONTEND_H

#include "../backend/backend.h"
#include "../ir/ir.h"
#include "../passes/passes.h"

typedef struct FrontendOptions {
  bool random_params; /* draw parameters from `seed`; parameter files are not opened */
  uint64_t seed;
  bool warn_unused_params; /* a warning for every parameter of the files that the network does not read */
  const char *network;     /* which network of the file; NULL: the only one (several: an error listing them) */
} FrontendOptions;

/* The verified graph of a network, exactly as written: batchnorm as batchnorm, no pass has run. Paths of parameter
 * files are relative to the folder of `file_name`. NULL after errors; all that can be found are reported in one go. */
Graph *frontend_load(Context *c, const char *file_name, const char *text, size_t length,
                     const FrontendOptions *options);

/* All passes and the backend's emission on a graph. False after reporting errors. */
bool compile_graph(Graph *g, const PassOptions *options, Module *out);

#endif
