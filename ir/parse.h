/* What the two halves of the parser share. */
#ifndef IR_PARSE_H
#define IR_PARSE_H

#include "ir.h"
#include "reader.h"

typedef struct PoolEntry { /* a constant of the pool by its content */
  uint64_t hash;
  size_t bytes;
  const void *data;
} PoolEntry;

typedef struct Parser {
  Context *context;
  Reader reader;
  Graph *graph;
  const Graph *pool;
  PoolEntry *entries; /* of the pool; filled at the first hash */
  uint32_t entry_count;
} Parser;

/* parse.c */
bool parse_value_name(Parser *p, ValueId *out); /* of a value defined before */

/* parse_value.c; false and NULL after a report */
bool parse_type(Parser *p, Type *out);
const void *parse_elements(Parser *p, const char *name, const Type *type, SourceLoc loc);

#endif
