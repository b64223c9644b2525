/* What a layer on patches (PATCH_S8) keeps in shared memory, derived from its types and its tile. The tile pass counts
 * with it, the kernel is written after it.
 *
 * A tile is a rectangle of rows x columns positions of the result. The input pixels that its windows touch, the patch,
 * lie in shared memory row after row, `words` 32-bit words a pixel, so that a register of the product's left operand is
 * one word of it. The reduction runs over units of 4 words that neighbour each other in a filter row (taps of a row, in
 * each its words), and takes two a step; a row's last unit may be partly past the filter, where weights are zero. The
 * weights of all steps lie in front of two patches: one is multiplied while the next is filled.
 *
 * The threads of a block fill it together: in a pass each brings one element of pass_rows rows, or where a row has more
 * elements than there are threads, of a part of one. An element is a word or a whole pixel; of dense pixels of fewer
 * than 4 bytes, whose rows are whole groups of 4, it is such a group: as many aligned words of memory as a pixel has
 * bytes, from which the words of its 4 pixels are cut. The upper bytes of those words belong to the next pixel;
 * channels past the last have weights of zero. Patches then begin at a group, `lead` columns in front of the first
 * window.
 */
#ifndef IR_PATCH_H
#define IR_PATCH_H

#include "graph.h"

enum {
  MOST_PATCH_CHANNELS = 16, /* of the input */
  MOST_PATCH_STEPS = 40,    /* the product is unrolled */
  PATCH_WARP_ROWS = 32      /* positions of a tile that a warp computes */
};

typedef struct Patch {
  uint32_t words;            /* of a pixel: 1, 2 or 4 */
  uint32_t row_units, units; /* of a filter row, of the filter */
  uint32_t steps;
  uint32_t columns, rows;        /* of a tile; columns is 8, 16 or 32 */
  uint32_t across, down;         /* tiles of an image */
  uint32_t width, height;        /* of the patch, in input pixels */
  uint32_t pitch;                /* words between its rows */
  uint32_t vector, row_elements; /* words of an element, elements of a row */
  uint32_t group, lead;          /* pixels of an element: 4 or 1; columns in front of the first window */
  uint32_t pass_rows, passes;    /* passes: over all rows, of the same columns */
  uint32_t weight_bytes;         /* of a tile's channels */
  uint64_t patch_bytes;          /* of one */
  uint32_t lines_bytes;          /* of all warps' rows of results (lines.h), behind the weights */
  uint64_t shared_bytes;         /* these and two patches */
} Patch;

/* Whether a layer is of this kind: a convolution without groups, of few channels and few steps. */
bool patch_serves(const Graph *g, const Node *node);
/* Steps of the reduction of a layer that patch_serves. */
uint32_t patch_steps(const Graph *g, const Node *node);
/* node: one that patch_serves, and the tile of whole warps. */
Patch patch_of(const Graph *g, const Node *node, const Tile *tile);
/* What each thread brings of a patch. */
uint64_t patch_elements_of_thread(const Patch *p, const Tile *tile);

#endif
