/* The command line of apnnc. */
#ifndef FRONTEND_OPTIONS_H
#define FRONTEND_OPTIONS_H

#include "../passes/tuning.h"
#include "frontend.h"

typedef enum OutputKind {
  OUTPUT_CUBIN,
  OUTPUT_PTX,
  OUTPUT_C,
  OUTPUT_OBJECT,
  OUTPUT_HEADER,
  OUTPUT_IR,
  OUTPUT_NPY
} OutputKind;

typedef struct Output {
  const char *path;
  OutputKind kind;
} Output;

enum { MAX_FILES = 64 };

typedef struct Options {
  const char *source; /* .apnn or .ir */
  Output outputs[MAX_FILES];
  uint32_t output_count;
  const char *arrays[MAX_FILES]; /* .npy inputs of --eval */
  uint32_t array_count;
  const char *plugins[MAX_FILES];
  const char *target; /* a target's name, or "native" */
  const char *symbol_prefix;
  const char *tuning;       /* file of measured choices to use; NULL: none */
  const char *tune;         /* file of measured choices to write; NULL: none */
  const char *device;       /* that --tune measures on; NULL: cuda:0 where there is a GPU, else cpu */
  uint32_t tune_candidates; /* tiles of an engine that --tune measures; 0: its own number */
  FrontendOptions frontend;
  PassOptions passes; /* target and print_to are set later */
  bool evaluate, explain, emit_ir, list_engines;
} Options;

typedef enum OptionsResult { OPTIONS_RUN, OPTIONS_DONE, OPTIONS_WRONG } OptionsResult;

/* Reads the command line; prints help, version and the list of passes itself (DONE) and says what is wrong on stderr
 * (WRONG). */
OptionsResult options_read(int count, char **words, Options *out);
bool options_source_is_ir(const Options *o); /* a graph in the IR's text form, not a network in the language */
bool options_make_module(const Options *o);  /* some output needs the whole compilation */
bool options_run_passes(const Options *o);   /* something needs passes */

/* main.c: the network as written, and a file of measured choices. NULL after reporting. */
Graph *load_graph(Context *c, const Options *o);
const Tuning *load_tuning(Context *c, const char *path);
/* tune.c: --tune. */
bool tune_network(Context *c, const Options *o);
/* evaluate.c: --eval. Reads the arrays, runs the reference evaluator, writes the results. */
bool evaluate_network(Context *c, const Graph *g, const Options *o);
/* native_target.c: the target of the machine's first GPU, by the CUDA driver. NULL after reporting. */
const Target *native_target(Context *c);

#endif
