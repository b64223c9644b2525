/* Layers whose tiles are rectangles of the result's positions, over which blocks walk: where a tile lies, what is
 * there, and the patches of input that tiles read. Two patches lie in shared memory behind what serves all tiles: one
 * is multiplied while the next is filled. */
#ifndef BACKEND_MMA_RECTANGLES_H
#define BACKEND_MMA_RECTANGLES_H

#include "mma_kernel.h"

/* The first position of a tile. */
typedef struct TilePlace {
  PtxValue image, y, x;
} TilePlace;

typedef struct Rectangles {
  uint32_t columns, rows; /* positions of a tile */
  uint32_t across, down;  /* tiles of an image, which are numbered row by row */
  PtxValue count;         /* tiles of the batch */
  TilePlace tile;         /* the one under way */
  PtxValue current, next; /* addresses of the patch that is multiplied and of the one that is filled */
} Rectangles;

/* What all these kernels ask of a tile: as many channels as they are written for, in whole blocks of the result's bit
 * planes, computed by every warp, and steps of the reduction as ../ir/patch.h and ../ir/strip.h have them. */
bool rectangle_tile_fits(const Mma *m);
/* Constants of the tile's channels, `bytes` for each tile of channels, to shared memory; the caller commits them. */
void rectangle_copy_constants(Mma *m, PtxValue constants, int64_t bytes, PtxValue to);

void rectangles_begin(Mma *m, Rectangles *r); /* columns to down are set; what serves all tiles */
void rectangles_place_patches(Mma *m, Rectangles *r, PtxValue first, int64_t patch_bytes);
void rectangles_swap_patches(Mma *m, Rectangles *r);

TilePlace rectangle_place(Ptx *p, const Rectangles *r, PtxValue tile);
/* A row of products that stands for the position so far behind the first of the tile under way. */
RowPlace rectangle_row(Mma *m, const Rectangles *r, PtxValue down, PtxValue across);

#endif
