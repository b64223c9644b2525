/* The command line of apnnc. */
#ifndef FRONTEND_OPTIONS_H
#define FRONTEND_OPTIONS_H

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
  FrontendOptions frontend;
  PassOptions passes; /* target and print_to are set later */
  bool evaluate, explain, emit_ir;
} Options;

typedef enum OptionsResult { OPTIONS_RUN, OPTIONS_DONE, OPTIONS_WRONG } OptionsResult;

/* Reads the command line; prints help, version and the list of passes itself (DONE) and says what is wrong on stderr
 * (WRONG). */
OptionsResult options_read(int count, char **words, Options *out);
bool options_source_is_ir(const Options *o); /* a graph in the IR's text form, not a network in the language */
bool options_make_module(const Options *o); /* some output needs the whole compilation */
bool options_run_passes(const Options *o);  /* something needs passes */

/* evaluate.c: --eval. Reads the arrays, runs the reference evaluator, writes the results. */
bool evaluate_network(Context *c, const Graph *g, const Options *o);
/* native_target.c: the target of the machine's first GPU, by the CUDA driver. NULL after reporting. */
const Target *native_target(Context *c);

#endif
