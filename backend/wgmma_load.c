/* Layers on wgmma, the copies: one thread brings windows of the input and rows of weights to the stages, each a bulk
 * copy of contiguous bytes, and waits for a stage to be free before it fills it again. It is a thread of a warp of its
 * own where weights are streamed, and where they are resident one of those that multiply.
 *
 * A window may begin before the first position of the tensor and end behind the last of the batch. What is missing is
 * copied from zeros, as far as filters on the batch's positions reach. Rows of a tile behind those are computed from
 * what a tile before has left there, or from what is written once, and thrown away: blocks that all copy the same zeros
 * wait for each other.
 */
#include "wgmma_kernel.h"

/* A tile's window: bytes of zeros, of the tensor, and of zeros again. */
typedef struct Window {
  PtxValue first; /* position at which the bytes of the tensor begin */
  PtxValue front, middle, back;
  PtxValue has_front, has_middle, has_back;
  PtxValue bytes; /* of all three */
} Window;

static Window place_window(Wgmma *w, PtxValue first_position) {
  Ptx *p = &w->m.k->ptx;
  PtxValue start = ptx_add(p, first_position, ptx_int(-(int64_t)w->s.shift)), rows = ptx_int(w->s.input_rows);
  Window x = {.first = start, .front = ptx_int(0), .has_front = ptx_int(0)};
  if (w->s.shift) {
    PtxValue missing = ptx_2(p, "max.s32", ptx_sub(p, ptx_int(0), start), ptx_int(0));
    x.front = ptx_2(p, "min.s32", missing, rows);
    x.first = ptx_2(p, "max.s32", start, ptx_int(0));
    x.has_front = ptx_setp(p, "gt.s32", x.front, ptx_int(0));
  }
  PtxValue left = ptx_sub(p, rows, x.front);
  x.middle = ptx_2(p, "min.s32", left, ptx_sub(p, w->m.total_positions, x.first));
  x.has_middle = ptx_setp(p, "gt.s32", x.middle, ptx_int(0));
  x.middle = ptx_2(p, "max.s32", x.middle, ptx_int(0));
  x.back = x.has_back = ptx_int(0);
  if (w->s.halo) {
    x.back = ptx_2(p, "min.s32", ptx_sub(p, left, x.middle), ptx_int(w->s.halo));
    x.has_back = ptx_setp(p, "gt.s32", x.back, ptx_int(0));
    x.back = ptx_shl(p, x.back, 4);
  }
  x.front = ptx_shl(p, x.front, 4);
  x.middle = ptx_shl(p, x.middle, 4);
  x.bytes = ptx_add(p, ptx_add(p, x.front, x.middle), x.back);
  return x;
}

/* `from`: where the bytes of the tensor begin. */
static void copy_window(Wgmma *w, const Window *x, bool whole, PtxValue from, PtxValue to, PtxValue full) {
  Ptx *p = &w->m.k->ptx;
  if (whole) {
    ptx_bulk_copy_if(p, ptx_int(1), to, from, ptx_int(w->s.input_rows * PIECE_BYTES), full);
    return;
  }
  if (!ptx_is_int(x->has_front, 0)) ptx_bulk_copy_if(p, x->has_front, to, w->zeros, x->front, full);
  to = ptx_add(p, to, x->front);
  ptx_bulk_copy_if(p, x->has_middle, to, from, x->middle, full);
  if (!ptx_is_int(x->has_back, 0)) ptx_bulk_copy_if(p, x->has_back, ptx_add(p, to, x->middle), w->zeros, x->back, full);
}

/* The windows of a chunk of one plane; zeros for blocks past the last. */
static void copy_blocks(Wgmma *w, const Window *x, bool whole, PtxValue plane, PtxValue chunk, PtxValue to,
                        PtxValue full) {
  Ptx *p = &w->m.k->ptx;
  Strides strides = layout_strides(&w->m.in.type);
  PtxValue base = ptx_address(p, w->m.in.base, plane, (int64_t)strides.plane);
  base = ptx_address(p, base, x->first, PIECE_BYTES);
  PtxValue first = ptx_mul(p, chunk, ptx_int(w->s.chunk_blocks));
  bool ragged = w->s.blocks % w->s.chunk_blocks;
  for (uint32_t i = 0; i < w->s.chunk_blocks; i++) {
    PtxValue block = ptx_add(p, first, ptx_int(i));
    PtxValue from = ptx_address(p, base, block, (int64_t)strides.block);
    if (ragged) from = ptx_select(p, ptx_setp(p, "lt.u32", block, ptx_int(w->s.blocks)), from, w->zeros);
    copy_window(w, x, whole, from, ptx_add(p, to, ptx_int((int64_t)i * w->s.input_rows * PIECE_BYTES)), full);
  }
}

/* Most windows lie in the tensor as a whole: then a block is one copy without conditions. */
static void copy_chunk(Wgmma *w, const Window *x, PtxValue plane, PtxValue chunk, PtxValue to, PtxValue full) {
  Ptx *p = &w->m.k->ptx;
  ptx_if(p, ptx_setp(p, "eq.s32", x->middle, ptx_int(w->s.input_rows * PIECE_BYTES)));
  copy_blocks(w, x, true, plane, chunk, to, full);
  ptx_else(p);
  copy_blocks(w, x, false, plane, chunk, to, full);
  ptx_end_if(p);
}

/* Weights of all planes and chunks of a tile of channels. */
static PtxValue tile_weights(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  PtxValue number = ptx_div(p, w->m.first_channel, ptx_int(w->m.tile.n));
  return ptx_address(p, w->m.weights, number, (int64_t)w->s.weight_planes * w->s.chunks * w->s.packed_bytes);
}

/* A stage's barrier, which expects the stage's bytes. */
static PtxValue open_stage(Wgmma *w, const Window *x, PtxValue stage) {
  Ptx *p = &w->m.k->ptx;
  PtxValue full = wgmma_full(w, stage);
  bool resident = w->m.tile.resident;
  uint32_t windows = w->s.chunk_blocks * (resident ? w->s.input_planes : 1), weights = resident ? 0 : w->s.packed_bytes;
  ptx_barrier_expect(p, full, ptx_mad(p, x->bytes, ptx_int(windows), ptx_int(weights)));
  return full;
}

void wgmma_clear_windows(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  uint32_t bytes = w->m.tile.resident ? w->s.stage_bytes : w->s.window_bytes, lines = bytes / PIECE_BYTES;
  PtxValue covered = ptx_mul(p, w->row_tiles, ptx_int(w->m.tile.m));
  ptx_if(p, ptx_setp(p, "gt.s32", covered, w->m.total_positions));
  PtxValue line =
      ptx_for(p, w->m.thread, ptx_int((int64_t)w->m.tile.stages * lines), ptx_int(staging_threads(&w->m.tile)));
  PtxValue stage = wgmma_stage(w, ptx_div(p, line, ptx_int(lines)));
  PtxValue at = ptx_mad(p, ptx_rem(p, line, ptx_int(lines)), ptx_int(PIECE_BYTES), stage);
  const char *zero = ptx_text(p, ptx_variable(p, ptx_int(0)));
  ptx_raw(p, "st.shared.v4.b32 [%s], {%s, %s, %s, %s};", ptx_text(p, at), zero, zero, zero, zero);
  ptx_end_for(p);
  ptx_raw(p, "fence.proxy.async;");
  ptx_end_if(p);
}

/* The epilogue's constants of the tile's channels. */
static void copy_table(Wgmma *w, PtxValue number, PtxValue full) {
  Ptx *p = &w->m.k->ptx;
  PtxValue tile = ptx_div(p, w->m.first_channel, ptx_int(w->m.tile.n));
  PtxValue from = ptx_address(p, w->m.table.global, tile, w->m.table.tile_bytes);
  ptx_bulk_copy_if(p, ptx_int(1), wgmma_table(w, number), from, ptx_int(w->m.table.tile_bytes), full);
}

/* --- resident weights --- */

/* All planes of the windows of a tile of rows. */
static void load_windows(Wgmma *w, PtxValue row_tile, PtxValue stage) {
  Ptx *p = &w->m.k->ptx;
  Window x = place_window(w, ptx_mul(p, row_tile, ptx_int(w->m.tile.m)));
  PtxValue full = open_stage(w, &x, stage), to = wgmma_stage(w, stage);
  for (uint32_t plane = 0; plane < w->s.input_planes; plane++) {
    PtxValue windows = ptx_add(p, to, ptx_int((int64_t)plane * w->s.window_bytes));
    copy_chunk(w, &x, ptx_int(plane), ptx_int(0), windows, full);
  }
}

/* wgmma wants all lanes of a warp, also the one that was away loading. */
static void meet_again(Ptx *p) {
  ptx_raw(p, "bar.warp.sync -1;");
}

static void load_resident_weights(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  PtxValue has_tile = ptx_setp(p, "lt.s32", ptx_special(p, "%ctaid.x"), w->row_tiles);
  ptx_if(p, ptx_pred_and(p, has_tile, ptx_setp(p, "eq.s32", w->m.thread, ptx_int(0))));
  PtxValue done = wgmma_resident_barrier(w);
  w->m.first_channel = ptx_mul(p, ptx_special(p, "%ctaid.y"), ptx_int(w->m.tile.n));
  ptx_barrier_expect(p, done, ptx_int(w->s.weight_planes * w->s.packed_bytes + w->m.table.tile_bytes));
  PtxValue from = tile_weights(w), to = wgmma_resident(w);
  for (uint32_t plane = 0; plane < w->s.weight_planes; plane++) {
    PtxValue weights = ptx_address(p, from, ptx_int(plane), w->s.packed_bytes);
    PtxValue at = ptx_add(p, to, ptx_int((int64_t)plane * w->s.chunk_bytes));
    ptx_bulk_copy_if(p, ptx_int(1), at, weights, ptx_int(w->s.packed_bytes), done);
  }
  if (w->m.table.tile_bytes) copy_table(w, ptx_int(0), done);
  ptx_end_if(p);
}

/* The windows of the block's first tiles. */
static void load_first_windows(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  ptx_if(p, ptx_setp(p, "eq.s32", w->m.thread, ptx_int(0)));
  PtxValue row_tile = ptx_variable(p, ptx_special(p, "%ctaid.x"));
  PtxValue stage = ptx_for(p, ptx_int(0), ptx_int(w->m.tile.stages), ptx_int(1));
  ptx_if(p, ptx_setp(p, "lt.s32", row_tile, w->row_tiles));
  load_windows(w, row_tile, stage);
  ptx_end_if(p);
  ptx_assign(p, row_tile, ptx_add(p, row_tile, ptx_special(p, "%nctaid.x")));
  ptx_end_for(p);
  ptx_end_if(p);
}

void wgmma_load_first(Wgmma *w) {
  load_resident_weights(w);
  ptx_wait_for_launch(&w->m.k->ptx);
  load_first_windows(w);
  meet_again(&w->m.k->ptx);
}

void wgmma_load_ahead(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  PtxValue ahead = ptx_mul(p, ptx_special(p, "%nctaid.x"), ptx_int(w->m.tile.stages));
  PtxValue row_tile = ptx_add(p, w->row_tile, ahead);
  PtxValue exists = ptx_setp(p, "lt.s32", row_tile, w->row_tiles);
  ptx_if(p, ptx_pred_and(p, exists, ptx_setp(p, "eq.s32", w->m.thread, ptx_int(0))));
  ptx_barrier_wait(p, wgmma_empty(w, w->ring.stage), w->ring.parity);
  load_windows(w, row_tile, w->ring.stage);
  ptx_end_if(p);
  meet_again(p);
}

/* --- streamed weights --- */

PtxValue wgmma_is_loader(Wgmma *w) {
  return ptx_setp(&w->m.k->ptx, "eq.s32", w->m.thread, ptx_int(32 * w->consumer_warps));
}

/* Opens a stage with the weights of a chunk; its windows are to follow. `from`: tile_weights. */
static void load_chunk_weights(Wgmma *w, const Window *x, PtxValue from, PtxValue pair, PtxValue chunk,
                               PtxValue stage) {
  Ptx *p = &w->m.k->ptx;
  PtxValue full = open_stage(w, x, stage);
  PtxValue number = ptx_mad(p, ptx_and(p, pair, ptx_int(255)), ptx_int(w->s.chunks), chunk);
  from = ptx_address(p, from, number, w->s.packed_bytes);
  PtxValue to = ptx_add(p, wgmma_stage(w, stage), ptx_int(w->s.window_bytes));
  ptx_bulk_copy_if(p, ptx_int(1), to, from, ptx_int(w->s.packed_bytes), full);
}

/* Chunks of the block's first tile for which there are stages. */
static uint32_t chunks_ahead(const Wgmma *w) {
  uint32_t chunks = (uint32_t)w->m.pair_count * w->s.chunks;
  return chunks < w->m.tile.stages ? chunks : w->m.tile.stages;
}

void wgmma_load_weights_ahead(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  PtxValue tile = ptx_special(p, "%ctaid.x");
  PtxValue exists = ptx_setp(p, "lt.s32", tile, wgmma_tile_count(w));
  ptx_if(p, ptx_pred_and(p, exists, wgmma_is_loader(w)));
  wgmma_place_tile(w, tile);
  Window x = place_window(w, w->m.first_position);
  PtxValue from = tile_weights(w);
  for (uint32_t i = 0; i < chunks_ahead(w); i++) {
    PtxValue pair = ptx_int(w->m.pair_list[i / w->s.chunks]), chunk = ptx_int(i % w->s.chunks);
    load_chunk_weights(w, &x, from, pair, chunk, ptx_int(i));
  }
  ptx_end_if(p);
}

static void load_chunk(Wgmma *w, const Window *x, PtxValue from, PtxValue pair, PtxValue chunk) {
  Ptx *p = &w->m.k->ptx;
  ptx_if(p, ptx_setp(p, "le.s32", w->ahead, ptx_int(0)));
  ptx_barrier_wait(p, wgmma_empty(w, w->ring.stage), w->ring.parity);
  load_chunk_weights(w, x, from, pair, chunk, w->ring.stage);
  ptx_end_if(p);
  PtxValue full = wgmma_full(w, w->ring.stage), to = wgmma_stage(w, w->ring.stage);
  copy_chunk(w, x, ptx_and(p, ptx_shr(p, pair, 8), ptx_int(255)), chunk, to, full);
  ptx_assign(p, w->ahead, ptx_sub(p, w->ahead, ptx_int(1)));
  wgmma_ring_next(w, w->ring);
}

static void load_table(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  PtxValue full = wgmma_table_full(w, w->tables.stage);
  ptx_barrier_wait(p, wgmma_table_empty(w, w->tables.stage), w->tables.parity);
  ptx_barrier_expect(p, full, ptx_int(w->m.table.tile_bytes));
  copy_table(w, w->tables.stage, full);
  wgmma_ring_next(w, w->tables);
}

static void load_chunks(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  Window x = place_window(w, w->m.first_position);
  PtxValue from = tile_weights(w);
  PtxValue index = ptx_for(p, ptx_int(0), ptx_int(w->m.pair_count), ptx_int(1));
  PtxValue pair = mma_pair_word(&w->m, index);
  PtxValue chunk = ptx_for(p, ptx_int(0), ptx_int(w->s.chunks), ptx_int(1));
  load_chunk(w, &x, from, pair, chunk);
  ptx_end_for(p);
  ptx_end_for(p);
}

void wgmma_load_all(Wgmma *w) {
  wgmma_rings_start(w, 1);
  w->ahead = ptx_variable(&w->m.k->ptx, ptx_int(chunks_ahead(w)));
  wgmma_for_each_tile(w);
  if (wgmma_streams_tables(w)) load_table(w);
  load_chunks(w);
  ptx_end_for(&w->m.k->ptx);
}
