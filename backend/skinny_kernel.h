/* A skinny layer's kernel under construction: what kernel_skinny.c and the skinny_*.c files share. What lies in shared
 * memory and who sums up what stands in ../ir/skinny.h, the picture of the whole in README.md.
 */
#ifndef BACKEND_SKINNY_KERNEL_H
#define BACKEND_SKINNY_KERNEL_H

#include "../ir/skinny.h"
#include "emit.h"
#include "mma.h"
#include "parts_finish.h"
#include "ptx_async.h"
#include "weights.h"

enum { MOST_ACCUMULATORS = SKINNY_MOST_COLUMNS / 2, MOST_POSITION_GROUPS = 16 };

typedef struct SkinnyKernel {
  Kernel *k;
  const Node *node;
  Tile tile;
  Skinny s;
  PackedWeights w;
  const MmaInstruction *instruction;
  Tensor in, out;
  Grid grid; /* of the input's positions */
  Epilogue epilogue;
  PartsFinish finish;
  PtxValue weights, border;           /* device constants */
  PtxValue thread, warp, lane, group; /* group: of four warps, to which warp belongs */
  PtxValue leads;                     /* predicate: the group's first thread */
  PtxValue multiplies;                /* predicate: the thread is of a group */
  PtxValue shared;
  PtxValue stages, barriers, parts;   /* the group's, in shared memory */
  PtxValue rank;                      /* of the block in its cluster */
  PtxValue cluster, clusters;         /* its number, and how many there are */
  PtxValue first_tile, tiles_apart;   /* the group's tiles of channels */
  PtxValue first_position, positions; /* of the block's columns; those of the batch */
  PtxValue row_tile, turn;            /* under way: of the result; among the group's */
  PtxValue over;                      /* chunks that earlier tiles and planes of the group had */
  PtxValue accumulators[MOST_ACCUMULATORS];
  PtxValue sums[MOST_POSITION_GROUPS][2]; /* of a lane's positions and the block's share: - sum_scale * S2 */
} SkinnyKernel;

/* kernel_skinny.c: places in shared memory, of the group that skinny_place_group named last: a thread's own at first */
void skinny_place_group(SkinnyKernel *s, PtxValue group);
PtxValue skinny_stage(SkinnyKernel *s, PtxValue chunk); /* number of the stage that takes the chunk */
PtxValue skinny_round(SkinnyKernel *s, PtxValue chunk); /* parity of the times that the stage was taken before */
PtxValue skinny_stage_address(SkinnyKernel *s, PtxValue stage);
PtxValue skinny_full(SkinnyKernel *s, PtxValue stage);  /* barrier: the weights have come */
PtxValue skinny_empty(SkinnyKernel *s, PtxValue stage); /* barrier: their products are done */
/* Tiles of a group are numbered by turns, and parts lie in one place or the other. */
PtxValue skinny_parts(SkinnyKernel *s, PtxValue turn);         /* address of the parts of a tile */
PtxValue skinny_parts_barrier(SkinnyKernel *s, PtxValue turn); /* they have come */

/* skinny_load.c */
void skinny_copy_input(SkinnyKernel *s); /* by the groups, which wait for it; and its sums */
void skinny_load_all(SkinnyKernel *s);   /* the stream of weights, by one thread */

/* skinny_multiply.c */
void skinny_make_accumulators(SkinnyKernel *s);
void skinny_take_sums(SkinnyKernel *s); /* of the input, to registers */
void skinny_multiply_tile(SkinnyKernel *s);
void skinny_send_parts(SkinnyKernel *s);

#endif
