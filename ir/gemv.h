/* How the work of a fully connected layer on the engines gemv_b1 and gemv_s8 is shared out, derived from its types and
 * its tile. The tile pass counts with it, the kernel is written after it.
 *
 * A tile of the result is GEMV_ROWS channels by tile.n positions, the channels in the order in which the result holds
 * them (type.h), so that 32 rows are a word of its planes. The weights are the rows of the instruction. Its columns are
 * the numbers of the input: plane after plane, in each the tile's positions; a group is 8 columns, an instruction.
 *
 * The reduction is shared out between the warps of a block. A unit is GEMV_UNIT_BLOCKS blocks of 128 channels, two
 * instructions deep; a warp has the same number of units in each plane of the weights. What it has summed up is a part.
 * A step is a unit of one weight plane. Steps run plane after plane, the most significant first, and in each unit after
 * unit, which is also the order of the weights in memory:
 *
 *     [tile of channels][warp][plane, the most significant first][unit][16 rows][half of a unit][lane] of 16 bytes
 *
 * The bytes of lane 4g + t are its A fragment (backend/mma.def) of words 2h and 2h + 1 of the unit's block t, h the
 * half: those of row g, then of row g + 8, of word 2h; the same of word 2h + 1. So a lane's B fragments of both halves
 * are the 16 bytes of block t of a column.
 *
 * On gemv_s8 the input lies in bytes: a block is 16 channels, a column a position. There is one plane of weights. In
 * memory they have 1, 2, 4 or 8 bits, and are widened in registers to the A fragments above, whose bytes have a weight
 * on top (an odd one with the one that memory leaves out), zeros below. A step has as many units as fill 16 bytes of a
 * lane in memory:
 *
 *     [tile of channels][warp][step][load][lane] of 16 bytes
 *
 * Word w * 8 / bits + i of a lane's fragments in a step is its word w in memory, shifted left by i * bits.
 *
 * Shared memory: parts, twice, [warp][position][row] of 32 bits; a barrier.
 */
#ifndef IR_GEMV_H
#define IR_GEMV_H

#include "graph.h"

enum {
  GEMV_ROWS = 32,
  GEMV_ROW_PITCH = 36, /* words between positions of a part: a warp's stores touch every bank once */
  GEMV_UNIT_BLOCKS = 4,
  GEMV_UNIT_WORDS = 16,    /* of a row */
  GEMV_UNIT_FRAGMENTS = 4, /* of weights, 16 bytes of a lane: [16 rows][half] */
  GEMV_FRAGMENT_BYTES = 32 * PIECE_BYTES,
  GEMV_MOST_POSITIONS = 16,
  GEMV_MOST_WARPS = 16,
  GEMV_MOST_UNITS = 32,     /* of a warp: they are unrolled */
  GEMV_MOST_STAGES = 8,     /* steps whose weights are on their way or wait in registers */
  GEMV_MOST_FRAGMENTS = 16, /* of these steps */
  GEMV_INPUT_AHEAD = 8,     /* fragments of the input of which the same holds */
  GEMV_MOST_INPUT = 16,     /* that stay in registers instead */
  GEMV_MOST_GROUPS = 16,
  GEMV_MOST_SETS = 2
};

typedef struct Gemv {
  bool planes; /* both operands; otherwise bytes, as one plane */
  uint32_t weight_planes, input_planes;
  uint32_t blocks;                  /* of 128 channels of the input, of bytes 16 */
  uint32_t units;                   /* of a warp, in one weight plane */
  uint32_t groups;                  /* of columns; those behind the last plane are zeros */
  uint32_t row_tiles, column_tiles; /* of the result, at the largest batch */
  uint32_t byte_bits;               /* in memory, of each byte of a weight fragment */
  uint32_t step_units, step_loads;  /* of a step: units, and 16 bytes of a lane in memory */
  uint32_t most_units, most_blocks; /* of a warp; of an SM: each reads all of the input */
  uint32_t warp_bytes;              /* of a warp's weights in a tile */
  uint32_t passes, steps;           /* a tile's steps: passes of a loop, steps unrolled in each */
  uint32_t sets;                    /* of accumulators, which weight planes take by turns */
  bool keeps_input;                 /* all fragments of the input stay in registers */
  bool one_behind;                  /* a tile is finished when the next one is multiplied, where the target can */
  uint32_t parts_bytes;             /* of one of the two */
  uint32_t shared_bytes;
  uint32_t registers; /* that a thread is thought to need */
} Gemv;

/* node: linear on gemv_b1 or gemv_s8 whose first operand lies in pieces; its result has a layout. */
Gemv gemv_of(const Graph *g, const Node *node, const Tile *tile);
/* Blocks that share a multiprocessor; 0 where a thread needs more registers than it can have. */
uint32_t gemv_blocks_of_sm(const Gemv *s, const Tile *tile);
uint32_t gemv_spare_registers(const Gemv *s, const Tile *tile); /* of a thread, with those blocks, of which there are */
/* How gemv_s8 keeps weights. Products see numbers with level = mult * number - offset: the level itself where it fits
 * the bits in memory, or where all levels are odd, which then has its last one left out. */
typedef struct GemvWeights {
  uint32_t bits; /* in memory: 1, 2, 4 or 8 */
  bool is_signed, is_odd;
  LevelMap map;
} GemvWeights;
GemvWeights gemv_weights(const Type *weights);
uint8_t gemv_weight_in_memory(const GemvWeights *w, int32_t level);
/* Whether kernels have such a tile for layers of an engine, whatever their sizes. */
bool gemv_shape_fits(Engine engine, const Tile *tile);
/* Whether a layer's tile can be unrolled, and its weights be loaded ahead in registers. */
bool gemv_share_fits(const Gemv *s, const Tile *tile);

#endif
