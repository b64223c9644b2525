/* What a fully connected layer on the engine skinny_b1 keeps in shared memory, and how its work is shared out, derived
 * from its types and its tile. The tile pass counts with it, the kernel is written after it.
 *
 * A tile of the result is SKINNY_ROWS channels by tile.n positions, the channels in the order in which the result holds
 * them (type.h), so that 32 rows are a word of its planes. The weights are the rows of the instruction. Its columns are
 * the numbers of the input: plane after plane, in each the tile's positions, so that a thread's accumulators hold all
 * planes of a result.
 *
 * The reduction is shared out between the split_k blocks of a cluster, each with a run of blocks of channels, its
 * share. What each has summed up is a part; the parts of a result meet in the block of the cluster that owns its
 * position. The groups of four warps of a block go through the cluster's tiles in turn, each by itself.
 *
 * Shared memory: stages of weights, [group][stage] of one chunk of one weight plane each; the input, copied once,
 * [block of channels of the share][column] of 16 bytes; parts, [group][tile, two by turns][part][own positions, two by
 * two][row] of 32 bits, where a row's numbers of two positions lie together (skinny_beside); sums of the input,
 * [position]; barriers.
 */
#ifndef IR_SKINNY_H
#define IR_SKINNY_H

#include "graph.h"

enum { SKINNY_ROWS = 64, SKINNY_MOST_COLUMNS = 256, SKINNY_MOST_GROUPS = 4, SKINNY_MOST_SPLIT = 8 };

typedef struct Skinny {
  uint32_t weight_planes, input_planes;
  uint32_t blocks;                   /* of 128 channels of the input */
  uint32_t chunk_blocks, chunks;     /* of a stage; of a share, in one weight plane */
  uint32_t share_blocks;             /* of a block of threads: chunks whole */
  uint32_t columns;                  /* of an instruction; those behind the last plane are zeros */
  uint32_t row_tiles, column_tiles;  /* of the result, at the largest batch */
  uint32_t groups, parts;            /* of four warps, each with stages and tiles of its own; of a sum */
  uint32_t own;                      /* positions of a tile that a block of the cluster finishes */
  uint32_t chunk_bytes;              /* of a stage */
  uint32_t input_bytes, parts_bytes; /* parts: of a tile */
  uint32_t input_at, parts_at;       /* in shared memory, behind the stages */
  uint32_t sums_at, barriers_at;
  uint32_t group_barriers; /* of a group: full and empty of each stage, two of parts */
  uint64_t shared_bytes;
} Skinny;

/* node: linear whose first operand lies in pieces of planes; its result has a layout. */
Skinny skinny_of(const Graph *g, const Node *node, const Tile *tile);
uint32_t skinny_threads(const Tile *tile); /* of a block: the groups, and a warp that loads */
/* A group has a stage whose products are under way and one that it waits for. */
enum { SKINNY_LEAST_STAGES = 2 };
bool skinny_warps_fit(const Tile *tile); /* whole groups, not too many */
/* Positions of a row whose numbers lie together in a part: a lane of wgmma has two, of which one block may own one. */
static inline uint32_t skinny_beside(const Skinny *s) {
  return s->own == 1 ? 1 : 2;
}
uint32_t skinny_rows(const Type *result); /* channels of the result as it holds them, with those that pad it */

#endif
