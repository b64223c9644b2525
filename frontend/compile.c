/* The whole compiler in process: passes, then emission. */
#include "frontend.h"

bool compile_graph(Graph *g, const PassOptions *options, Module *out) {
  uint32_t properties = 0;
  if (!passes_run(g, options, &properties)) return false;
  if (!(properties & PROP_LAUNCHES)) {
    diag(g->context, DIAG_OPTION, (SourceLoc){0}, "the passes that ran do not lead to a compiled network");
    diag_hint(g->context, "leave out --passes and --stop-after");
    return false;
  }
  return backend_emit(g, options->target, out);
}
