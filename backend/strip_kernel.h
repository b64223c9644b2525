/* A layer on strips under construction: what kernel_strip.c and the strip_*.c files share. What lies in shared memory
 * stands in ../ir/strip.h, the picture of the whole in README.md.
 */
#ifndef BACKEND_STRIP_KERNEL_H
#define BACKEND_STRIP_KERNEL_H

#include "../ir/strip.h"
#include "mma_rectangles.h"
#include "ptx_async.h"

enum { MOST_LOADED_WORDS = STRIP_BYTES / 4 + 1 };

typedef struct StripKernel {
  Mma m; /* first: m.place finds the rest behind it */
  Strips s;
  Rectangles rectangles;
  PtxValue warp;
  /* strip_fill.c, of the thread's strips: */
  PtxValue row;   /* of the patch, the first */
  PtxValue word;  /* of an image's row, from the tile's first position on; signed */
  PtxValue shift; /* bits from the word's beginning to the strip's */
  /* strip_multiply.c, in units of a descriptor: */
  PtxValue group_offset; /* of the four warps' first square in the patch */
  PtxValue weights;
} StripKernel;

/* strip_fill.c: brings the patch of a tile to k->rectangles.next, zeros outside of the image and for tiles past the
 * last. */
void strip_place_fill(StripKernel *k);
void strip_fill(StripKernel *k, PtxValue tile);

/* strip_multiply.c: starts the products of a tile, whose patch is k->rectangles.current, into m.accumulators, and waits
 * for them.
 */
void strip_multiply_begin(StripKernel *k); /* what serves all tiles */
void strip_multiply_start(StripKernel *k);
void strip_multiply_wait(StripKernel *k);

#endif
