/* Tiles by instruction: tile.c asks the file of each. Small arithmetic that both estimates use. */
#ifndef PASSES_TILE_H
#define PASSES_TILE_H

#include "plan.h"

/* mbarriers of a block: their initialisation is unrolled, and the CPU device's race check follows so many. */
enum { MOST_BARRIERS = 128 };

/* The tiles with the least estimated times, the first of equals before others. */
enum { MOST_TILES = 16 };
typedef struct TileList {
  Tile tiles[MOST_TILES];
  double microseconds[MOST_TILES];
  uint32_t count, most; /* no more than `most` are kept, 1 to MOST_TILES */
} TileList;
void tile_list_add(TileList *list, Tile tile, double microseconds);

/* Fill a list with the tiles that a layer's kernel can have. */
void sync_tiles(const Graph *g, const Node *node, const PassOptions *options, TileList *out);   /* tile_sync.c */
void wgmma_tiles(const Graph *g, const Node *node, const PassOptions *options, TileList *out);  /* tile_wgmma.c */
void patch_tiles(const Graph *g, const Node *node, const PassOptions *options, TileList *out);  /* tile_patch.c */
void strip_tiles(const Graph *g, const Node *node, const PassOptions *options, TileList *out);  /* tile_strip.c */
void skinny_tiles(const Graph *g, const Node *node, const PassOptions *options, TileList *out); /* tile_skinny.c */
void gemv_tiles(const Graph *g, const Node *node, const PassOptions *options, TileList *out);   /* tile_gemv.c */
void list_tiles(const Graph *g, const Node *node, const PassOptions *options,
                TileList *out); /* of its engine: tile.c */
/* The best of them; all zero where none fits: tile.c. */
Tile best_tile(const Graph *g, const Node *node, const PassOptions *options);
bool sync_tile_fits(const Graph *g, const Node *node, const Tile *tile, const Target *target);
bool sync_tile_is_listed(const Tile *tile); /* whether it is among those that sync_tiles tries */
bool patch_tile_fits(const Graph *g, const Node *node, const Tile *tile, const Target *target);
bool strip_tile_fits(const Graph *g, const Node *node, const Tile *tile, const Target *target);
bool skinny_tile_fits(const Graph *g, const Node *node, const Tile *tile, const Target *target);
bool gemv_tile_fits(const Graph *g, const Node *node, const Tile *tile, const Target *target);
bool wgmma_tile_fits(const Graph *g, const Node *node, const Tile *tile, const Target *target);
/* Estimates at the largest batch. */
double sync_microseconds(const Graph *g, const Node *node, const Tile *tile, const PassOptions *options);
double patch_microseconds(const Graph *g, const Node *node, const Tile *tile, const PassOptions *options);
double strip_microseconds(const Graph *g, const Node *node, const Tile *tile, const PassOptions *options);
double skinny_microseconds(const Graph *g, const Node *node, const Tile *tile, const PassOptions *options);
double gemv_microseconds(const Graph *g, const Node *node, const Tile *tile, const PassOptions *options);
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
