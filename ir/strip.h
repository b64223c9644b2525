/* What a layer on strips (STRIP_S8) keeps in shared memory, derived from its types and its tile. The tile pass counts
 * with it, the kernel is written after it.
 *
 * wgmma reads core matrices of eight rows of 16 bytes (PTX ISA, "Matrix descriptor"). A row is a strip: the bytes of as
 * many neighbouring input pixels as fit, the first of which a window of the result begins with. Positions that
 * neighbour each other along x have strips that neighbour each other in shared memory, so eight of them are a core
 * matrix, with the first taps of a filter row. The next taps of the row are the strips of the position `shift` on,
 * since a strip has as many taps as `shift` strides: nothing is there for their sake.
 *
 *     stride 2, taps of 4 pixels:   position p      | 2p     2p + 1 2p + 2 2p + 3 |
 *                                   position p + 1  | 2p + 2 2p + 3 2p + 4 2p + 5 |
 *                                   position p + 2  | 2p + 4 2p + 5 2p + 6 2p + 7 |  the next four taps of p
 *
 * A filter that is no wider than a strip needs no second one, whatever its stride. The reduction runs over the strips
 * of a filter row and over filter rows, its units, two a product.
 *
 * A tile is a rectangle of positions of whole squares, 8 x 8: the 64 rows of an instruction. Its patch has the strips
 * of all positions of the rectangle in all rows that its windows touch. The weights of all units lie in front of two
 * patches: one is multiplied while the next is filled. In a pass each thread of a block brings one strip.
 */
#ifndef IR_STRIP_H
#define IR_STRIP_H

#include "graph.h"

enum {
  STRIP_BYTES = 16,
  STRIP_SQUARE = 8,      /* positions of a tile's square along either side */
  MOST_STRIP_STEPS = 40, /* products of a square are unrolled */
  MOST_STRIP_PASSES = 16 /* so is the fill */
};

typedef struct Strips {
  uint32_t taps;                   /* of a filter row in a strip */
  uint32_t row_strips, units;      /* of a filter row, of the filter */
  uint32_t steps;                  /* of two units */
  uint32_t shift;                  /* positions between the strips of a filter row */
  uint32_t pixel_bytes, row_words; /* of the input; of a row of its image */
  uint32_t words, loaded;          /* words of a strip that hold pixels; aligned words of memory that hold them */
  bool aligned;                    /* strips begin at words */
  uint32_t columns, rows;          /* of a tile */
  uint32_t across, down;           /* tiles of an image */
  uint32_t pitch, height;          /* of the patch: strips of a row, rows */
  uint32_t pass_rows, passes;      /* rows of the patch that a pass fills */
  uint32_t weight_bytes;           /* of a tile's channels */
  uint32_t table_bytes;            /* room for constants of the epilogue behind them */
  uint64_t patch_bytes;            /* of one */
  uint32_t lines_bytes;            /* of all warps' rows of results (lines.h), behind these */
  uint64_t shared_bytes;           /* all of it */
} Strips;

/* Whether a layer is of this kind: a convolution without groups or dilated rows, of few channels in dense
 * rows of whole words, whose strips serve all taps, and of weights that need no sums of the input (backend/weights.h).
 */
bool strip_serves(const Graph *g, const Node *node);
/* node: one that strip_serves, and a tile of whole squares. False where the threads of a block cannot fill its patch.
 */
bool strips_of(const Graph *g, const Node *node, const Tile *tile, Strips *out);

static inline int strip_squares_of_warps(const Tile *tile) { /* that four warps multiply: row tiles */
  return tile->m / (tile->warps_m / 4) / (STRIP_SQUARE * STRIP_SQUARE);
}

#endif
