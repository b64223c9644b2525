/* The end of layers whose warps leave parts of sums in shared memory, 32 bits each: skinny and gemv kernels. Rows of a
 * tile are channels in the order in which the result holds them (../ir/type.h), 32 a word of its planes.
 */
#ifndef BACKEND_PARTS_FINISH_H
#define BACKEND_PARTS_FINISH_H

#include "emit.h"

typedef struct PartsFinish {
  Kernel *k;
  const Tensor *out;
  const Grid *grid; /* of the positions */
  Epilogue *epilogue;
  bool has_border;
  PtxValue border_constant;           /* [channel] */
  uint32_t rows, row_tiles;           /* of a tile, 32 or 64; tiles of rows */
  uint32_t parts, own, pitch;         /* of a sum; positions of a part; words that each has */
  uint32_t beside;                    /* positions, 1 or 2, of which a row's numbers lie together */
  PtxValue row_at;                    /* of the lane's row of a tile: bytes behind a part's first number */
  int most_constants;                 /* numbers of a channel that may stay in registers */
  uint32_t warps;                     /* that finish, numbered from 0; a multiple of rows / 32 */
  PtxValue warp, lane;                /* of the thread */
  PtxValue first_position, positions; /* of the parts' first; those of the batch */
  /* Of the tile at hand: */
  PtxValue bit;         /* of the result: the lane's channel in its order */
  PtxValue channel;     /* channel 0 where there is none */
  PtxValue has_channel; /* predicate, or the immediate 1 */
  PtxValue border;
  bool constants_inside; /* too many to be kept from position to position */
} PartsFinish;

PtxValue parts_word(const PartsFinish *f); /* number of the 32 rows of a tile that the warp takes */
/* Names the lane's channel of a tile. */
void parts_place(PartsFinish *f, PtxValue row_tile);
/* Begins to load the constants of the channel that parts_place named, where they can be kept; `again`: to the registers
 * of the first time. */
void parts_load(PartsFinish *f, bool again);
/* From parts, which begin at a shared address, to stored results. */
void parts_finish(const PartsFinish *f, PtxValue parts);

#endif
