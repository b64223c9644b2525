/* Results in a layout that keeps channels in their order are rows of words or bytes. A warp of a layer on tensor cores
 * puts 16 rows of up to 128 bytes next to each other in shared memory before it stores them (../backend/mma_lines.c).
 * Rows lie so far apart that lanes which put neighbours of eight rows write to banks of their own; between words there
 * is room for a sector of memory.
 */
#ifndef IR_LINES_H
#define IR_LINES_H

#include "type.h"

enum { LINE_ROWS = 16, LINE_BYTES = 128, SECTOR_BYTES = 32, MOST_LINE_PITCH = LINE_BYTES + SECTOR_BYTES };

static inline int line_element_bytes(const Type *result) {
  return result->layout.kind == LAYOUT_BYTES ? 1 : 4;
}
/* Bytes of a row, of a warp with so many columns. */
static inline int line_bytes(const Type *result, int columns) {
  int all = columns * line_element_bytes(result);
  return all < LINE_BYTES ? all : LINE_BYTES;
}
/* From row to row. */
static inline int line_pitch(const Type *result, int columns) {
  return line_bytes(result, columns) + (line_element_bytes(result) == 1 ? 16 : SECTOR_BYTES);
}
/* Shared memory of a warp; none where results are packed. */
static inline uint32_t lines_of_warp(const Type *result, int columns) {
  return layout_orders_channels(result->layout) ? 0 : (uint32_t)(LINE_ROWS * line_pitch(result, columns));
}

#endif
