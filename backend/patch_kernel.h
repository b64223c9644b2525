/* A layer on patches under construction: what kernel_patch.c and the patch_*.c files share. What lies in shared memory
 * stands in ../ir/patch.h, the picture of the whole in README.md.
 */
#ifndef BACKEND_PATCH_KERNEL_H
#define BACKEND_PATCH_KERNEL_H

#include "../ir/patch.h"
#include "mma_rectangles.h"

/* Elements of a patch that a thread holds in registers between their loads and their stores. */
enum { HELD_ELEMENTS = 8 };

/* What a thread brings to the patch of a tile. */
typedef struct PatchFill {
  PtxValue y, inside; /* input row of its first element; predicate: its column is in the patch and the image */
  PtxValue from, to;  /* addresses of its first element */
  PtxValue in_patch;  /* predicate: its column is in the patch */
  PtxValue row;       /* of the patch, that of the first element */
  PtxValue word;      /* of the pixel */
} PatchFill;

typedef struct PatchKernel {
  Mma m; /* first: m.place finds the rest behind it */
  Patch s;
  Rectangles rectangles;
  /* patch_fill.c */
  bool async; /* by cp.async; otherwise by loads */
  bool held;  /* what was loaded waits in registers for patch_fill_end */
  PtxValue thread_row, thread_column;
  PatchFill fill;
  PtxValue loaded[HELD_ELEMENTS][4]; /* bytes of a word, or words of a group */
  /* patch_multiply.c */
  PtxValue lane_input, lane_weights;
  PtxValue ones, last_ones; /* a one for each byte that S2 sums: of a unit, and of the last in a filter row */
} PatchKernel;

/* patch_fill.c: brings the patch of a tile to k->rectangles.next, zeros outside of the image and for tiles past the
 * last. begin starts it, and end, with which all of the thread's share has been stored or is a copy under way, finishes
 * it. */
void patch_place_fill(PatchKernel *k);
void patch_fill_begin(PatchKernel *k, PtxValue tile);
void patch_fill_end(PatchKernel *k);

/* patch_multiply.c: the products of a tile, whose patch is k->rectangles.current, into m.accumulators. */
void patch_multiply_begin(PatchKernel *k); /* what serves all tiles */
void patch_multiply(PatchKernel *k);

#endif
