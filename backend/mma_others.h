/* Second activations of a tensor-core layer's steps, as a lane reads them beside its results. */
#ifndef BACKEND_MMA_OTHERS_H
#define BACKEND_MMA_OTHERS_H

#include "mma_kernel.h"
#include "mma_slots.h"

/* An element of the lane: row tile, half, column tile, column of the two. */
typedef struct LaneElement {
  int i, h, j, e;
} LaneElement;

typedef struct Other {
  /* Planes, or bytes in pieces: runs of a block; bytes and words of pixels: elements at fixed distances. Otherwise
   * every element is looked for. */
  enum { OTHER_ELEMENTS, OTHER_PLANES, OTHER_BYTES, OTHER_ROW } kind;
  PtxValue at[MAX_ROW_TILES][2];     /* position; OTHER_ROW: address of the pixel's lane_channel */
  int first_tile;                    /* of the run that `runs` holds, or -1 */
  Slots runs[MAX_ROW_TILES][2];      /* OTHER_PLANES, OTHER_BYTES */
  PtxValue pair[MAX_ROW_TILES][2][2]; /* OTHER_ROW, words: both columns of a column tile */
} Other;

/* One for each step; `rows` are placed. */
Other *mma_place_others(Mma *m, MmaRow rows[][2], PtxValue lane_channel);
Flow mma_read_other(Mma *m, Other *o, const Tensor *t, LaneElement at, PtxValue pixel, PtxValue channel);

#endif
