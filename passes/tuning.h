/* Tuning: engines and tiles that were measured, by what a layer is.
 *
 *   apnnc tuning 1
 *   sm_90a batch=64 conv2d(u2[N,56,56,64], u1[64,3,3,64]{zero=1/2}) kernel=3,3 pad=1,1,1,1 | thresholds
 *       -> u2[N,56,56,64] : engine=wgmma_b1 tile=128,64,4,4,1,3,1,1  # 12.34 us                    (all on one line)
 *
 * A line is a key, a colon, an engine, a tile where the engine has one (as in the IR's text form) and a note behind
 * '#'. The key says all of the layer that its kernel depends on, and whether it reads an input of the network or writes
 * an output, but nothing of names, scales or values, so that a file serves every network with such layers. Keys are
 * unique and sorted.
 */
#ifndef PASSES_TUNING_H
#define PASSES_TUNING_H

#include "passes.h"

typedef struct TuningEntry {
  const char *key;
  Engine engine;
  Tile tile;        /* all zero: the model's choice */
  const char *note; /* without '#'; "" if there is none */
  SourceLoc loc;    /* in the file that it was read from */
} TuningEntry;

typedef struct Tuning {
  Context *context;
  TuningEntry *entries; /* sorted by key */
  uint32_t count, capacity;
} Tuning;

Tuning *tuning_new(Context *c);
void tuning_set(Tuning *t, const TuningEntry *entry);             /* takes the place of one with the same key */
const TuningEntry *tuning_find(const Tuning *t, const char *key); /* NULL if there is none */

/* The text is borrowed. NULL after reports. */
Tuning *tuning_parse(Context *c, const char *file_name, const char *text, size_t length);
Text tuning_text(const Tuning *t); /* what tuning_parse reads back to the same entries */

/* Whether the layer is of those that are tuned: convolutions and products. */
bool tuning_serves(const Node *node);
/* The layer's key: the same from the fuse pass to the last one. */
const char *tuning_key(const Graph *g, const Node *node, const PassOptions *options);
/* What options->tuning has for the layer; NULL if there is nothing. */
const TuningEntry *tuning_of_node(const Graph *g, const Node *node, const PassOptions *options);
/* Warns that the layer does without its entry. */
void tuning_warn(const Graph *g, const Node *node, const TuningEntry *entry, const char *why);

bool tile_equal(const Tile *a, const Tile *b);

#endif
