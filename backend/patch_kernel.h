/* A layer on patches under construction: what kernel_patch.c and the patch_*.c files share. What lies in shared memory
 * stands in ../ir/patch.h, the picture of the whole in README.md.
 */
#ifndef BACKEND_PATCH_KERNEL_H
#define BACKEND_PATCH_KERNEL_H

#include "../ir/patch.h"
#include "mma_kernel.h"

/* Elements of a patch that a thread holds in registers between their loads and their stores. */
enum { HELD_ELEMENTS = 8 };

/* The first position of a tile. */
typedef struct TilePlace {
  PtxValue image, y, x;
} TilePlace;

/* An element of the patch on its way: the bytes that were loaded, and where they go. */
typedef struct PatchElement {
  PtxValue to, in_patch; /* address; in_patch: a predicate, or the immediate 1 */
  PtxValue bytes[4];
} PatchElement;

typedef struct PatchKernel {
  Mma m; /* first: m.place_row finds the rest behind it */
  Patch s;
  TilePlace tile;
  PtxValue tile_count;
  /* The fill: a thread brings every `threads`-th element of vector words. */
  bool async;                  /* by cp.async; otherwise by loads of bytes */
  int threads, vector, row_elements, elements, per_thread;
  PtxValue a_base, b_base, last_ones; /* patch_multiply.c */
  PatchElement held[HELD_ELEMENTS];
} PatchKernel;

/* kernel_patch.c */
TilePlace patch_tile_place(PatchKernel *k, PtxValue tile);

/* patch_fill.c: brings the patch of a tile to shared memory, zeros outside of the image and for tiles past the last.
 * begin starts it, and end, with which all of the thread's share has been stored or is a copy under way, finishes it. */
void patch_place_fill(PatchKernel *k);
void patch_fill_begin(PatchKernel *k, PtxValue tile);
void patch_fill_end(PatchKernel *k);

/* patch_multiply.c: the products of a tile, into m.accumulators. */
void patch_multiply_begin(PatchKernel *k); /* addresses that serve all tiles */
void patch_multiply(PatchKernel *k);

#endif
