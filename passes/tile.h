/* Tiles by instruction: tile.c asks the file of each. Small arithmetic that both estimates use. */
#ifndef PASSES_TILE_H
#define PASSES_TILE_H

#include "plan.h"

/* The tile with the least estimated time; all zero where none fits. */
Tile sync_tile(const Graph *g, const Node *node, const PassOptions *options);  /* tile_sync.c */
Tile wgmma_tile(const Graph *g, const Node *node, const PassOptions *options); /* tile_wgmma.c */
Tile patch_tile(const Graph *g, const Node *node, const PassOptions *options); /* tile_patch.c */
bool sync_tile_fits(const Graph *g, const Node *node, const Tile *tile, const Target *target);
bool wgmma_tile_fits(const Graph *g, const Node *node, const Tile *tile, const Target *target);
/* Estimates at the largest batch. */
double sync_microseconds(const Graph *g, const Node *node, const Tile *tile, const PassOptions *options);
double patch_microseconds(const Graph *g, const Node *node, const Tile *tile, const PassOptions *options);
double wgmma_microseconds(const Graph *g, const Node *node, const Tile *tile, const PassOptions *options);

/* Whether warps of `columns` channels store whole blocks of bit planes, or whole bytes of every run of one (type.h). */
static inline bool tile_covers_blocks(const Type *result, int columns) {
  int block = result->layout.block;
  if (!layout_orders_channels(result->layout)) return true;
  return columns % block == 0 || (block % columns == 0 && columns % 32 == 0);
}

static inline double lesser(double a, double b) {
  return a < b ? a : b;
}

static inline double greater(double a, double b) {
  return a > b ? a : b;
}

static inline double divide_up(double a, double b) {
  double quotient = a / b;
  double whole = (double)(int64_t)quotient; /* far below 2^63 */
  return whole < quotient ? whole + 1 : whole;
}

#endif
