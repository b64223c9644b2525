/* Inputs for a network and what it gives for them. */
#ifndef TESTS_RANDOM_CASES_H
#define TESTS_RANDOM_CASES_H

#include "../../ir/ir.h"
#include "random_source.h"

typedef enum Pattern { PATTERN_RANDOM, PATTERN_LEAST, PATTERN_GREATEST, PATTERN_EDGES, PATTERN_COUNT } Pattern;

typedef struct Case {
  uint32_t batch;
  void **inputs;   /* batch images of each graph input */
  void **expected; /* of each graph output */
} Case;

/* Inputs by pattern (edges: least and greatest elements in random places, infinities and zeros of both signs among
 * floats), and room for the outputs. In the graph's context. */
Case case_new(const Graph *g, uint32_t batch, Pattern pattern, RandomSource *random);
/* Fresh output arrays for a case, filled with a byte that no result is likely to consist of. */
void **case_outputs(const Graph *g, const Case *the_case);
/* NULL if all outputs have the expected bits, otherwise a text that says where they first differ. */
const char *case_difference(const Graph *g, const Case *the_case, void *const *outputs);

#endif
