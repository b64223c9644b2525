/* `apnn-bench layer`: what the command line asks for, and what is measured. What the layer*.c files share. */
#ifndef BENCH_LAYER_COMMAND_H
#define BENCH_LAYER_COMMAND_H

#include "../tool.h"
#include "layer_network.h"

enum { MOST_SIZES = 7 };

typedef struct LayerOptions {
  LayerSpec spec;
  int32_t sizes[MOST_SIZES];
  int size_count;
  const char *device, *list, *turn;
  long runs, budget, candidates;
  int turn_file; /* negative: none */
  bool json, cold, sample, no_overlap, help;
  bool listed; /* the command is a line of a list */
} LayerOptions;

/* layer_options.c: reads a command, whose argv[0] is "layer". False after saying what is wrong. */
bool layer_options_read(LayerOptions *o, int argc, char **argv);
void layer_options_help(void);
/* Says what is wrong; returns `code`. Of a list with --json every line has its object, so an error is one too. */
int layer_fail(const LayerOptions *o, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

typedef struct LayerResult {
  uint32_t first, last; /* the layer's launches */
  uint64_t bytes;
  double us, ops;
  uint64_t hash; /* of the outputs */
  Exactness exact;
  const char *device;
} LayerResult;

/* layer_print.c: to stdout, as the options say. */
void layer_print(const LayerOptions *o, const LayerNetwork *n, const LayerResult *r);

#endif
