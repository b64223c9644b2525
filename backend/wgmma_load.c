/* Layers on wgmma, the copies: one thread of a walk brings windows of the input and rows of weights to the stages, each
 * a bulk copy of contiguous bytes, and waits for a stage to be free before it fills it again. It is a thread of a warp
 * of its own where weights are streamed, and where they are resident one of those that multiply.
 *
 * A window may begin before the first position of the tensor and end behind the last of the batch. What is missing is
 * copied from zeros, as far as filters on the batch's positions reach. Rows of a tile behind those are computed from
 * what a tile before has left there, or from what is written once, and thrown away: blocks that all copy the same zeros
 * wait for each other.
 */
#include "wgmma_kernel.h"

enum { MOST_PLANES = 8 };

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
  x.middle = ptx_2(p, "min.s32", left, ptx_sub(p, w->total_positions, x.first));
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

/* Some blocks of a plane, and where the windows of a stage are that they belong to. */
typedef struct Blocks {
  PtxValue plane, chunk;
  uint32_t begin, end; /* of the chunk's */
  PtxValue to, full;   /* the chunk's windows; the barrier to tell */
} Blocks;

/* Blocks past the last meet weights of zero: the last once more, in its place. Where inputs are summed they must be
 * zeros, which all blocks of threads read at the same place and so wait for each other. */
static PtxValue window_address(Wgmma *w, PtxValue base, PtxValue block) {
  Ptx *p = &w->m.k->ptx;
  uint64_t stride = layout_strides(&w->m.in.type).block;
  bool ragged = w->s.blocks % w->s.chunk_blocks, sums = w->s.summed || w->s.weight_rows > w->m.tile.n;
  if (ragged && !sums) block = ptx_2(p, "min.u32", block, ptx_int(w->s.blocks - 1));
  PtxValue from = ptx_address(p, base, block, (int64_t)stride);
  if (!ragged || !sums) return from;
  return ptx_select(p, ptx_setp(p, "lt.u32", block, ptx_int(w->s.blocks)), from, w->zeros);
}

static void copy_blocks(Wgmma *w, const Window *x, bool whole, const Blocks *b) {
  Ptx *p = &w->m.k->ptx;
  PtxValue base = ptx_address(p, w->m.in.base, b->plane, (int64_t)layout_strides(&w->m.in.type).plane);
  base = ptx_address(p, base, x->first, PIECE_BYTES);
  PtxValue first = ptx_mul(p, b->chunk, ptx_int(w->s.chunk_blocks));
  for (uint32_t i = b->begin; i < b->end; i++) {
    PtxValue block = ptx_add(p, first, ptx_int(i));
    PtxValue from = window_address(w, base, block);
    copy_window(w, x, whole, from, ptx_add(p, b->to, ptx_int((int64_t)i * w->s.input_rows * PIECE_BYTES)), b->full);
  }
}

/* Most windows lie in the tensor as a whole: then a block is one copy without conditions. */
static void copy_windows(Wgmma *w, const Window *x, const Blocks *b) {
  Ptx *p = &w->m.k->ptx;
  ptx_if(p, ptx_setp(p, "eq.s32", x->middle, ptx_int(w->s.input_rows * PIECE_BYTES)));
  copy_blocks(w, x, true, b);
  ptx_else(p);
  copy_blocks(w, x, false, b);
  ptx_end_if(p);
}

/* Weights of all planes and chunks of a tile of channels. */
static PtxValue tile_weights(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  PtxValue number = ptx_div(p, w->m.first_channel, ptx_int(w->m.tile.n));
  return ptx_address(p, w->m.weights, number, (int64_t)w->s.weight_planes * w->s.chunks * w->s.packed_bytes);
}

void wgmma_clear_windows(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  if (staging_gathers(&w->m.tile)) return; /* rows behind the last are that one */
  uint32_t bytes = w->m.tile.resident ? w->s.stage_bytes : w->s.window_bytes, lines = bytes / PIECE_BYTES;
  uint32_t stages = w->s.walks * w->m.tile.stages;
  PtxValue covered = ptx_mul(p, w->row_tiles, ptx_int(w->m.tile.m));
  ptx_if(p, ptx_setp(p, "gt.s32", covered, w->m.total_positions));
  PtxValue line = ptx_for(p, w->m.thread, ptx_int((int64_t)stages * lines), ptx_int(staging_threads(&w->m.tile)));
  PtxValue stage = ptx_mad(p, ptx_div(p, line, ptx_int(lines)), ptx_int(w->s.stage_bytes), w->m.shared);
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

/* The planes of one side, in the order in which products read them first. `place`: bits below the plane in a pair. */
static uint32_t order_planes(const Wgmma *w, int place, uint32_t planes[MOST_PLANES]) {
  uint32_t count = 0;
  for (int i = 0; i < w->m.pair_count; i++) {
    uint32_t plane = w->m.pair_list[i] >> place & 255, before = 0;
    while (before < count && planes[before] != plane) before++;
    if (before == count) planes[count++] = plane;
  }
  return count;
}

/* The blocks of a plane that no part before reads. */
static void load_windows(Wgmma *w, const Window *x, PtxValue stage, uint32_t plane, uint32_t part) {
  Ptx *p = &w->m.k->ptx;
  Blocks b = {.plane = ptx_int(plane), .chunk = ptx_int(0)};
  b.begin = staging_blocks_before(&w->s, part), b.end = staging_blocks_before(&w->s, part + 1);
  if (b.begin == b.end) return;
  b.full = wgmma_windows_full(w, stage, b.plane, part);
  b.to = ptx_add(p, wgmma_stage(w, stage), ptx_int((int64_t)plane * w->s.window_bytes));
  ptx_barrier_expect(p, b.full, ptx_mul(p, x->bytes, ptx_int(b.end - b.begin)));
  copy_windows(w, x, &b);
}

/* The windows of a tile of rows. */
static void load_tile(Wgmma *w, PtxValue row_tile, PtxValue stage) {
  uint32_t planes[MOST_PLANES], count = order_planes(w, 8, planes);
  Window x = place_window(w, wgmma_tile_position(w, row_tile));
  for (uint32_t i = 0; i < count; i++)
    for (uint32_t part = 0; part < w->s.parts; part++) load_windows(w, &x, stage, planes[i], part);
}

/* The table comes with what products read first. */
static void load_weights(Wgmma *w, uint32_t plane, uint32_t part, bool is_first) {
  Ptx *p = &w->m.k->ptx;
  uint32_t bytes = w->s.packed_bytes / w->s.parts, apart = w->s.chunk_bytes / w->s.parts;
  uint32_t number = plane * w->s.parts + part, table = is_first ? (uint32_t)w->m.table.tile_bytes : 0;
  PtxValue full = wgmma_weights_full(w, ptx_int(plane), part);
  w->m.first_channel = ptx_mul(p, ptx_special(p, "%ctaid.y"), ptx_int(w->m.tile.n));
  ptx_barrier_expect(p, full, ptx_int(bytes + table));
  PtxValue from = ptx_address(p, tile_weights(w), ptx_int(number), bytes);
  PtxValue to = ptx_add(p, wgmma_resident(w), ptx_int((int64_t)number * apart));
  ptx_bulk_copy_if(p, ptx_int(1), to, from, ptx_int(bytes), full);
  if (table) copy_table(w, ptx_int(0), full);
}

/* All weights come before the layer before has ended, if that leaves room for blocks of this one. Otherwise these start
 * late, and what their first products read would come behind all weights: only the first part comes before. */
static bool starts_early(const Wgmma *w) {
  const Launch *l = &w->m.node->launch;
  const Target *target = w->m.k->emitter->target;
  uint64_t room = (uint64_t)target->sm_shared_bytes / (l->shared_bytes + BLOCK_SHARED_BYTES) * target->sm_count;
  return 2ull * l->x_most * l->y <= room;
}

/* By the thread of the first walk. */
static void load_early_weights(Wgmma *w) {
  uint32_t planes[MOST_PLANES], count = order_planes(w, 0, planes), parts = w->s.parts;
  uint32_t early = starts_early(w) ? count * parts : 1;
  for (uint32_t i = 0; i < early; i++) load_weights(w, planes[i / parts], i % parts, i == 0);
}

/* Plane `number` of the weights, as far as it did not come early. */
static void load_late_weights(Wgmma *w, uint32_t number, uint32_t part) {
  uint32_t planes[MOST_PLANES], count = order_planes(w, 0, planes);
  if (number >= count || (number == 0 && part == 0) || starts_early(w)) return;
  bool several = w->s.walks > 1;
  if (several) ptx_if(&w->m.k->ptx, ptx_setp(&w->m.k->ptx, "eq.s32", w->warp, ptx_int(0)));
  load_weights(w, planes[number], part, false);
  if (several) ptx_end_if(&w->m.k->ptx);
}

/* What the first tile reads, in the order in which products do. */
static void load_first_tile(Wgmma *w, const Window *x) {
  uint32_t planes[MOST_PLANES], count = order_planes(w, 8, planes);
  uint32_t most = count > w->s.weight_planes ? count : w->s.weight_planes;
  for (uint32_t i = 0; i < most; i++)
    for (uint32_t part = 0; part < w->s.parts; part++) {
      if (i < count) load_windows(w, x, ptx_int(0), planes[i], part);
      load_late_weights(w, i, part);
    }
}

/* The windows of the tiles behind the first for which there are stages. */
static void load_next_tiles(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  PtxValue row_tile = ptx_variable(p, w->first_tile);
  PtxValue stage = ptx_for(p, ptx_int(1), ptx_int(w->m.tile.stages), ptx_int(1));
  ptx_assign(p, row_tile, ptx_add(p, row_tile, w->tiles_apart));
  ptx_if(p, ptx_setp(p, "lt.s32", row_tile, w->row_tiles));
  load_tile(w, row_tile, stage);
  ptx_end_if(p);
  ptx_end_for(p);
}

/* wgmma wants all lanes of a warp, also the one that was away loading. */
static void meet_again(Ptx *p) {
  ptx_raw(p, "bar.warp.sync -1;");
}

void wgmma_load_first(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  PtxValue has_tile = ptx_setp(p, "lt.s32", w->first_tile, w->row_tiles);
  ptx_if(p, ptx_pred_and(p, has_tile, ptx_setp(p, "eq.s32", w->m.thread, ptx_int(0))));
  load_early_weights(w);
  ptx_end_if(p);
  Window x = place_window(w, wgmma_tile_position(w, w->first_tile));
  ptx_wait_for_launch(p);
  ptx_if(p, ptx_pred_and(p, has_tile, w->is_loader));
  load_first_tile(w, &x);
  load_next_tiles(w);
  ptx_end_if(p);
  meet_again(p);
}

void wgmma_load_ahead(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  PtxValue row_tile = ptx_mad(p, w->tiles_apart, ptx_int(w->m.tile.stages), w->row_tile);
  ptx_if(p, ptx_pred_and(p, ptx_setp(p, "lt.s32", row_tile, w->row_tiles), w->is_loader));
  ptx_barrier_wait(p, wgmma_empty(w, w->ring.stage), w->ring.parity);
  load_tile(w, row_tile, w->ring.stage);
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
  PtxValue full = wgmma_full(w, stage);
  ptx_barrier_expect(p, full, ptx_mad(p, x->bytes, ptx_int(w->s.chunk_blocks), ptx_int(w->s.packed_bytes)));
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
  PtxValue tile = w->first_tile;
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
  Blocks b = {.plane = ptx_and(p, ptx_shr(p, pair, 8), ptx_int(255)), .chunk = chunk, .end = w->s.chunk_blocks};
  b.full = wgmma_full(w, w->ring.stage), b.to = wgmma_stage(w, w->ring.stage);
  copy_windows(w, x, &b);
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
