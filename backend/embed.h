/* What the embedding forms of a network share. */
#ifndef BACKEND_EMBED_H
#define BACKEND_EMBED_H

#include "backend.h"

/* The prefix of the embedded symbols: `wanted`, or the network's name where that is NULL. NULL after reporting that it
 * is no C identifier. */
const char *embed_prefix(Context *c, const Module *m, const char *wanted);

#endif
