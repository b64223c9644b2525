/* A layer on wgmma under construction: what the wgmma_*.c files share. What lies in shared memory stands in
 * ../ir/staging.h, the picture of the whole in README.md.
 */
#ifndef BACKEND_WGMMA_KERNEL_H
#define BACKEND_WGMMA_KERNEL_H

#include "../ir/staging.h"
#include "mma_kernel.h"
#include "ptx_async.h"

/* A walk round the stages, or round the tables, a register each; the parity is that of the barriers' phase to wait for.
 */
typedef struct Ring {
  int count;
  PtxValue stage, parity;
} Ring;

/* What products need not wait for any more: a bit a plane and part. */
typedef struct Arrived {
  uint64_t windows, weights;
} Arrived;

typedef struct Wgmma {
  Mma m;
  Staging s;
  uint32_t *piece_shifts; /* of a block's pieces, to the first tap in each, rising */
  Grid positions;         /* those of the input, and which of them are pixels of the result */
  int consumer_warps;
  int walk_warps;                 /* that share tiles: all of these, or four (../ir/staging.h) */
  PtxValue zeros;                 /* device constant: a window's worth */
  PtxValue warp;                  /* in the block */
  PtxValue total_positions;       /* of the batch, in the input; m.total_positions counts rows of tiles */
  PtxValue row_tiles;             /* tiles along the rows of the batch */
  PtxValue walk, walk_warp;       /* the warp's walk; the warp, of those that share its tiles */
  PtxValue is_loader;             /* resident weights: predicate, the thread that starts copies of the walk's windows */
  PtxValue group_row;             /* first row of its group of four, in a tile */
  PtxValue stages, first_barrier; /* of the walk: address; number */
  PtxValue first_tile, tiles_apart; /* of the walk */
  PtxValue row_tile;                /* resident weights: the one under way */
  PtxValue is_first;                /* resident weights: predicate, it is the block's first */
  Ring ring;                        /* of the role whose code is emitted */
  Ring tables;                      /* the same, where tables are streamed */
  bool alternates;                  /* the groups of warps finish tiles in turn */
  PtxValue tile_position; /* gathered rows: the tile's first position, and those of the lane's rows from there */
  PtxValue row_positions[MAX_ROW_TILES][2];
  PtxValue summed_position;         /* where sums are kept: first position of the tile whose sums they are, or -1 */
  PtxValue has_new_rows;            /* predicate: that is not the tile under way */
  PtxValue kept_sums[MAX_ROW_TILES][2];
  PtxValue ahead; /* streamed weights: chunks to come whose weights are there or on their way */
} Wgmma;

/* kernel_wgmma.c */
void wgmma_rings_start(Wgmma *w, int parity);
void wgmma_ring_next(Wgmma *w, Ring ring);
bool wgmma_streams_tables(const Wgmma *w);
PtxValue wgmma_stage(Wgmma *w, PtxValue stage); /* address */
PtxValue wgmma_empty(Wgmma *w, PtxValue stage); /* barrier: the stage's products are done */
PtxValue wgmma_full(Wgmma *w, PtxValue stage);  /* barrier, streamed weights: its copies have come */
/* Barriers, resident weights: the blocks of channels of a plane that a part is the first to read have come to a stage;
 * a part of a plane of weights has. */
PtxValue wgmma_windows_full(Wgmma *w, PtxValue stage, PtxValue plane, uint32_t part);
PtxValue wgmma_weights_full(Wgmma *w, PtxValue plane, uint32_t part);
PtxValue wgmma_resident(Wgmma *w);               /* address of resident weights */
PtxValue wgmma_table(Wgmma *w, PtxValue number); /* address */
PtxValue wgmma_sums(Wgmma *w);                   /* address of the sums of positions */
PtxValue wgmma_table_full(Wgmma *w, PtxValue number);
PtxValue wgmma_table_empty(Wgmma *w, PtxValue number);
/* Streamed weights: tiles of all positions and channels; m.first_position and m.first_channel of one. */
PtxValue wgmma_tile_count(Wgmma *w);
void wgmma_place_tile(Wgmma *w, PtxValue tile);
/* Opens the loop over the block's tiles and places m.first_position and m.first_channel; ptx_end_for closes it. */
void wgmma_for_each_tile(Wgmma *w);

int wgmma_column_tiles(const Wgmma *w);
PtxValue wgmma_tile_position(Wgmma *w, PtxValue row_tile); /* the first, in the input */

/* Groups of so many warps, as numbered, wait for all of their own. */
void wgmma_meet(Wgmma *w, PtxValue group, int warps);

/* wgmma_turns.c: where w->alternates, around the end of a tile, by the warps that multiply. */
bool wgmma_may_alternate(const Wgmma *w);
void wgmma_begin_tile(Wgmma *w);
void wgmma_wait_for_turn(Wgmma *w);
void wgmma_end_turn(Wgmma *w);

/* wgmma_load.c, streamed weights: all copies, by the thread that runs this; before it, while the launch before still
 * runs, the weights of the first chunks. Resident weights: they and the windows of the first tiles; and, when the stage
 * of the tile under way has been given back, the tile that takes it next. */
void wgmma_clear_windows(Wgmma *w); /* where tiles reach behind the batch; before the block's first bar.sync */
PtxValue wgmma_is_loader(Wgmma *w); /* predicate: the thread that loads streamed weights */
void wgmma_load_weights_ahead(Wgmma *w);
void wgmma_load_all(Wgmma *w);
void wgmma_load_first(Wgmma *w);
void wgmma_load_ahead(Wgmma *w);

/* wgmma_sums.c: m.sums. By columns that are written once, of all copies of the weights, before the block's first
 * bar.sync. Or beside the products: with resident weights in one go, from a stage; with streamed ones from each chunk,
 * between the tile's begin and its end. */
void wgmma_write_sum_rows(Wgmma *w);
void wgmma_sum_positions(Wgmma *w);
void wgmma_sum_rows(Wgmma *w); /* when positions are summed up */
void wgmma_sums_start(Wgmma *w);
void wgmma_sums_begin_tile(Wgmma *w);
void wgmma_sum_chunk(Wgmma *w, PtxValue pair, PtxValue stage);
void wgmma_finish_sums(Wgmma *w);

/* wgmma_join.c: the taps that share a piece, in the windows of a stage that have come. By all warps of a walk. */
bool wgmma_joins(const Wgmma *w);
void wgmma_join(Wgmma *w, PtxValue stage);

/* wgmma_gather.c, gathered rows: the products of all pairs of planes, and m.sums; zeros in the result between the tile's
 * pixels and behind them. */
void wgmma_multiply_gathered(Wgmma *w, Arrived *arrived);
void wgmma_clear_gaps(Wgmma *w);

/* wgmma_multiply.c: the products of a tile, into m.accumulators. */
void wgmma_multiply_begin(Wgmma *w);
void wgmma_multiply_tile(Wgmma *w);
void wgmma_wait_for_all_windows(Wgmma *w, Ring at, Arrived *arrived);
uint32_t wgmma_input_piece(const Wgmma *w, uint32_t piece); /* of a chunk, in its windows, in pieces */
/* What has to have come for products of a part and pair of planes is waited for, once. */
void wgmma_wait_for_part(Wgmma *w, Arrived *arrived, uint32_t pair, uint32_t part);
void wgmma_begin_products(Wgmma *w);
void wgmma_commit_products(Wgmma *w);
void wgmma_wait_for_products(Wgmma *w, int but); /* all but so many that were committed last */

#endif
