/* A gemv layer's kernel under construction: what kernel_gemv.c and the gemv_*.c files share. Who sums up what and the
 * order of weights stand in ../ir/gemv.h, the picture of the whole in README.md.
 */
#ifndef BACKEND_GEMV_KERNEL_H
#define BACKEND_GEMV_KERNEL_H

#include "../ir/gemv.h"
#include "emit.h"
#include "mma.h"
#include "parts_finish.h"
#include "weights.h"

enum {
  GEMV_ROW_TILES = GEMV_ROWS / 16,
  GEMV_POSITION_GROUPS = GEMV_MOST_POSITIONS / 8,
  GEMV_MOST_SUMS = 4,
};

/* 16 bytes of a lane. Of the weights an A fragment, of the input the B fragments of both halves of a unit. */
typedef struct Fragment {
  PtxValue words[4];
} Fragment;

typedef struct GemvKernel {
  Kernel *k;
  const Node *node;
  Tile tile;
  Gemv s;
  PackedWeights w;
  GemvWeights in_memory; /* of gemv_s8 */
  const MmaInstruction *instruction;
  Tensor in, out;
  Grid grid; /* of the input's positions */
  Epilogue epilogue;
  PartsFinish finish;
  PtxValue weights, border;                               /* device constants */
  PtxValue warp, lane, group, quad;                       /* lane = 4 * group + quad */
  PtxValue shared, parts;                                 /* parts: address of those of the tile at hand */
  PtxValue barrier;                                       /* of parts, where tiles are finished one behind */
  PtxValue first_tile, tiles_apart;                       /* the block's tiles of channels */
  PtxValue first_position, positions;                     /* of the block's columns; those of the batch */
  PtxValue row_tile, next_tile, has_next;                 /* under way */
  PtxValue tile_weights, next_weights;                    /* of the lane in the tile at hand, and in the next */
  Fragment stages[GEMV_MOST_STAGES][GEMV_UNIT_FRAGMENTS]; /* as in memory */
  PtxValue first_input[GEMV_POSITION_GROUPS];             /* of the lane in unit 0 and the first group of each */
  PtxValue nothing;                                       /* added to it, see gemv_load_input_anew */
  PtxValue plane_exists;                                  /* of the lane in the last group */
  PtxValue block_exists[GEMV_MOST_UNITS];                 /* of the lane in each unit */
  Fragment input[GEMV_MOST_INPUT];                        /* kept: [unit][group] */
  PtxValue accumulators[GEMV_MOST_SETS][GEMV_ROW_TILES][GEMV_MOST_GROUPS][4]; /* the results: set 0 */
  /* - sum_scale * S2 of the warp's units, of a lane's columns: of each group of positions, planes put together; of each
   * group of columns where it has several planes. */
  PtxValue sums[GEMV_MOST_SUMS][2];
} GemvKernel;

/* gemv_load.c */
void gemv_load_first_weights(GemvKernel *s); /* of the block's first tile, before the input is there */
PtxValue gemv_weights_behind(GemvKernel *s, PtxValue weights, PtxValue row_tiles); /* those of so many tiles */
/* A step behind an address of weights, if a predicate (or the immediate 1) says so. */
void gemv_load_step(GemvKernel *s, uint32_t stage, PtxValue weights, uint32_t step, PtxValue pred);
void gemv_place_input(GemvKernel *s);
void gemv_load_input_anew(GemvKernel *s); /* before a weight plane, where it does not stay in registers */
Fragment gemv_load_input(GemvKernel *s, uint32_t unit, uint32_t group);
void gemv_keep_input(GemvKernel *s);

/* gemv_widen.c */
/* Fragments of a stage's weights: of a unit of its step and a tile of 16 rows, half by half. */
Fragment gemv_widen(GemvKernel *s, uint32_t stage, uint32_t unit, int tile, int half);
PtxValue gemv_narrow(GemvKernel *s, PtxValue sum); /* of products with them: as if with weights as they are stored */

/* gemv_multiply.c */
void gemv_sum_input(GemvKernel *s);
void gemv_multiply_tile(GemvKernel *s); /* while the first weights of the next tile begin to be loaded */

/* gemv_send.c */
uint32_t gemv_position_groups(const GemvKernel *s);
/* Accumulator d of position group i in all planes, 8 positions a group. */
PtxValue gemv_add_planes(GemvKernel *s, PtxValue (*const groups)[4], uint32_t i, int d);
void gemv_send_parts(GemvKernel *s);

#endif
