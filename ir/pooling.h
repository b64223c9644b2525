/* How the POOL engine divides a pooling layer among threads, derived from its types and layouts. The launch pass counts
 * with it, the kernel is written after it.
 *
 * A thread has a position of the result and a unit of channels; where the window is large, POOL_SHARES neighbouring
 * threads have the same and share out its taps.
 *
 *     planes   unit: `words` 32-bit words of every plane, all of whose channels are computed at once
 *     bytes    unit: 16 channels
 */
#ifndef IR_POOLING_H
#define IR_POOLING_H

#include "graph.h"

enum { POOL_SHARES = 8, POOL_UNIT_BYTES = 16 };

typedef struct Pooling {
  bool straight;   /* planes or ordered bytes of the operand become those of the result: a maximum without steps */
  uint32_t words;  /* of a plane in a unit; 0: the operand lies in bytes */
  uint32_t units;  /* of a position */
  uint32_t shares; /* threads a unit: 1 or POOL_SHARES */
} Pooling;

/* False where POOL has no form for the layer: its operand is no quantized number, or the layouts do not go together. */
bool pooling_of(const Graph *g, const Node *node, Pooling *pooling);

#endif
