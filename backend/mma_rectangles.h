/* Layers whose tiles are rectangles of the result's positions: where a tile lies, and what is there. */
#ifndef BACKEND_MMA_RECTANGLES_H
#define BACKEND_MMA_RECTANGLES_H

#include "mma_kernel.h"

/* Positions of a tile, and tiles of an image, which is numbered row by row. */
typedef struct Rectangles {
  uint32_t columns, rows, across, down;
} Rectangles;

/* The first position of a tile. */
typedef struct TilePlace {
  PtxValue image, y, x;
} TilePlace;

TilePlace rectangle_place(Ptx *p, const Rectangles *r, PtxValue tile);
PtxValue rectangle_count(Mma *m, const Rectangles *r); /* tiles of the batch */
/* A row of products that stands for the position so far behind a tile's first. */
RowPlace rectangle_row(Mma *m, const TilePlace *tile, PtxValue down, PtxValue across);

#endif
