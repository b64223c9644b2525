/* What a fully connected layer on the engine skinny_b1 keeps in shared memory, and how its work is shared out, derived
 * from its types and its tile. The tile pass counts with it, the kernel is written after it.
 *
 * A tile of the result is SKINNY_ROWS channels by tile.n positions, the channels in the order in which the result holds
 * them (type.h), so that 32 rows are a word of its planes. The weights are the rows of the instruction. Its columns are
 * the numbers of the input: plane after plane, in each the tile's positions, so that a thread's accumulators hold all
 * planes of a result.
 *
 * The reduction is shared out twice: between the split_k blocks of a cluster, each with a run of blocks of channels,
 * its share, and between the groups of four warps of a block, which take its chunks in turn. What each has summed up is
 * a part; the parts of a result meet in the block of the cluster that owns its position.
 *
 * Shared memory: stages of weights, one chunk of one weight plane each; the input, copied once,
 * [block of channels of the share][column] of 16 bytes; parts, twice, [part][own position][row] of 32 bits; barriers.
 */
#ifndef IR_SKINNY_H
#define IR_SKINNY_H

#include "graph.h"

enum {
  SKINNY_ROWS = 64,
  SKINNY_ROW_PITCH = 68, /* words between positions of a part: a warp's stores touch every bank once */
  SKINNY_MOST_COLUMNS = 256,
  SKINNY_MOST_SPLIT = 8
};

typedef struct Skinny {
  uint32_t weight_planes, input_planes;
  uint32_t blocks;                          /* of 128 channels of the input */
  uint32_t chunk_blocks, chunks;            /* of a stage; of a share, in one weight plane */
  uint32_t share_blocks;                    /* of a block of threads: chunks whole */
  uint32_t columns;                         /* of an instruction; those behind the last plane are zeros */
  uint32_t row_tiles, column_tiles;         /* of the result, at the largest batch */
  uint32_t groups, parts;                   /* of four warps; of a sum */
  uint32_t own;                             /* positions of a tile that a block of the cluster finishes */
  uint32_t chunk_bytes;                     /* of a stage */
  uint32_t input_bytes, parts_bytes;        /* of one of the two */
  uint32_t input_at, parts_at, barriers_at; /* in shared memory, behind the stages */
  uint64_t shared_bytes;
} Skinny;

/* node: linear whose first operand lies in pieces of planes; its result has a layout. */
Skinny skinny_of(const Graph *g, const Node *node, const Tile *tile);
uint32_t skinny_threads(const Tile *tile); /* of a block: the groups, and a warp that loads */
/* A group has a stage whose products are under way and one that it waits for. */
static inline uint32_t skinny_least_stages(const Tile *tile) {
  return 2u * (tile->warps_m / 4u);
}
uint32_t skinny_rows(const Type *result); /* channels of the result as it holds them, with those that pad it */

#endif
