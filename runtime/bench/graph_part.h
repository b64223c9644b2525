/* Copies of a graph or of its beginning, whole or of a few channels. */
#ifndef BENCH_GRAPH_PART_H
#define BENCH_GRAPH_PART_H

#include "../../ir/ir.h"

/* The part of a graph that no pass has touched, up to `last` (NO_VALUE: all of it), in the same context. Constants are
 * shared. With channels, the layer's result and all behind it have these channels alone, and only the first input is
 * kept. */
typedef struct ChannelCut {
  ValueId layer;
  const int32_t *channels;
  int32_t count;
} ChannelCut;
Graph *graph_part(const Graph *g, ValueId last, const ChannelCut *cut);

#endif
