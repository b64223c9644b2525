/* Passes: one file each, run in the order of passes.def by the manager (manager.c), the verifier after every one. */
#ifndef PASSES_PASSES_H
#define PASSES_PASSES_H

#include "../ir/ir.h"

/* What a graph has gone through: a pass needs some of these and gives or drops some. */
enum PassProperty {
  PROP_FOLDED = 1,     /* no batchnorm; constants and affine chains are folded */
  PROP_THRESHOLDS = 2, /* integer thresholds wherever section "thresholds" of README.md allows them */
  PROP_FUSED = 4,      /* elementwise operations stand in epilogues */
  PROP_ENGINES = 8,    /* every node has an engine */
  PROP_LAYOUTS = 16,   /* every input, result and output has a layout; copies are in place */
  PROP_TILES = 32,     /* every tensor-core node has a tile */
  PROP_MEMORY = 64,    /* arena offsets and arena_bytes */
  PROP_LAUNCHES = 128, /* every node but views has a launch */
  PROP_PLAN = PROP_ENGINES | PROP_LAYOUTS | PROP_TILES | PROP_MEMORY | PROP_LAUNCHES
};

typedef struct PassOptions {
  const Target *target;
  uint32_t max_batch;
  Engine force_engine;     /* ENGINE_NONE: the cost model chooses; otherwise used wherever it can compute the layer */
  const Tile *force_tile;  /* NULL: the cost model chooses; otherwise used wherever the layer's kernel can have it */
  const char *print_after; /* comma-separated pass names or "all"; NULL: none */
  const char *stop_after;  /* pass name; NULL: run to the end */
  const char *pipeline;    /* comma-separated pass names instead of passes.def's order; NULL: that order */
  const char *const *plugins; /* paths of shared objects */
  uint32_t plugin_count;
  FILE *print_to;
  const struct Tuning *tuning; /* measured choices (tuning.h), used wherever they can be; NULL: none */
} PassOptions;

typedef struct Pass {
  const char *name;
  const char *about;            /* one line for --list-passes */
  uint32_t needs, gives, drops; /* properties; what is dropped is taken off the graph before the pass runs */
  bool (*run)(Graph *g, const PassOptions *options); /* false after reporting an error */
} Pass;

const Pass *pass_find(const char *name); /* built in */
const Pass *pass_at(uint32_t index);     /* NULL past the last */
/* Runs the pipeline. False after reporting errors. *properties (may be NULL) receives what the graph has in the end. */
bool passes_run(Graph *g, const PassOptions *options, uint32_t *properties);
void passes_list(FILE *out);
/* Per layer: engine, rejected engines with estimates, bytes against the least and against unfused, tile, time. */
void passes_explain(const Graph *g, const PassOptions *options, FILE *out);

/* Plug-ins. A shared object exports `APNN_PLUGIN_EXPORT const ApnnPlugin apnn_plugin`. Its pass runs after the built-in
 * pass named `after`. */
enum { APNN_PLUGIN_VERSION = 2 };
#define APNN_PLUGIN_EXPORT __attribute__((visibility("default")))
typedef struct ApnnPlugin {
  uint32_t version; /* APNN_PLUGIN_VERSION */
  const char *after;
  Pass pass;
} ApnnPlugin;

/* cost.c: estimated microseconds of a node on an engine for `batch` images; negative if the engine cannot compute it,
 * and then *why says so. Counts instructions at the target's rates and bytes moved. */
double cost_of_node(const Graph *g, const Node *node, Engine engine, const Target *target, uint32_t batch,
                    const char **why);

/* Built-in passes, by file name. */
#define PASS(name, needs, gives, drops, about) bool pass_##name(Graph *g, const PassOptions *options);
#include "passes.def"
#undef PASS

#endif
