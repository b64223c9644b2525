/* Layers on wgmma, the copies: one thread brings windows of the input and rows of weights to the stages, each a bulk copy
 * of contiguous bytes, and waits for a stage to be free before it fills it again.
 *
 * A window may begin before the first position of the tensor and end behind the last of the batch. What is missing is
 * copied from zeros.
 */
#include "wgmma_kernel.h"

/* A tile's window: bytes of zeros, of the tensor, and of zeros again. */
typedef struct Window {
  PtxValue first; /* position at which the bytes of the tensor begin */
  PtxValue front, middle, back;
  PtxValue has_front, has_middle, has_back;
} Window;

static Window place_window(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  PtxValue start = ptx_add(p, w->m.first_position, ptx_int(-(int64_t)w->s.shift)), rows = ptx_int(w->s.input_rows);
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
  x.back = ptx_sub(p, left, x.middle);
  x.has_back = ptx_setp(p, "gt.s32", x.back, ptx_int(0));
  x.front = ptx_shl(p, x.front, 4);
  x.middle = ptx_shl(p, x.middle, 4);
  x.back = ptx_shl(p, x.back, 4);
  return x;
}

/* `from`: the plane and block of channels at position 0. */
static void copy_window(Wgmma *w, const Window *x, PtxValue from, PtxValue to, PtxValue full) {
  Ptx *p = &w->m.k->ptx;
  from = ptx_address(p, from, x->first, PIECE_BYTES);
  if (!ptx_is_int(x->has_front, 0)) ptx_bulk_copy_if(p, x->has_front, to, w->zeros, x->front, full);
  to = ptx_add(p, to, x->front);
  ptx_bulk_copy_if(p, x->has_middle, to, from, x->middle, full);
  ptx_bulk_copy_if(p, x->has_back, ptx_add(p, to, x->middle), w->zeros, x->back, full);
}

/* The windows of a chunk of one plane. Blocks past the last have weights of zero: any window serves. */
static void copy_chunk(Wgmma *w, const Window *x, PtxValue plane, PtxValue chunk, PtxValue to, PtxValue full) {
  Ptx *p = &w->m.k->ptx;
  Strides strides = layout_strides(&w->m.in.type);
  PtxValue base = ptx_address(p, w->m.in.base, plane, (int64_t)strides.plane);
  PtxValue first = ptx_mul(p, chunk, ptx_int(w->s.chunk_blocks));
  bool ragged = w->s.blocks % w->s.chunk_blocks;
  for (uint32_t i = 0; i < w->s.chunk_blocks; i++) {
    PtxValue block = ptx_add(p, first, ptx_int(i));
    if (ragged) block = ptx_2(p, "min.u32", block, ptx_int(w->s.blocks - 1));
    PtxValue from = ptx_address(p, base, block, (int64_t)strides.block);
    copy_window(w, x, from, ptx_add(p, to, ptx_int((int64_t)i * w->s.input_rows * PIECE_BYTES)), full);
  }
}

/* Weights of all planes and chunks of a tile of channels. */
static PtxValue tile_weights(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  PtxValue number = ptx_div(p, w->m.first_channel, ptx_int(w->m.tile.n));
  return ptx_address(p, w->m.weights, number, (int64_t)w->s.weight_planes * w->s.chunks * w->s.chunk_bytes);
}

static void load_resident(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  PtxValue done = wgmma_resident_barrier(w), bytes = ptx_int(w->s.resident_bytes);
  w->m.first_channel = ptx_mul(p, ptx_special(p, "%ctaid.y"), ptx_int(w->m.tile.n));
  ptx_barrier_expect(p, done, bytes);
  PtxValue from = tile_weights(w);
  ptx_bulk_copy_if(p, ptx_int(1), wgmma_resident(w), from, bytes, done);
}

/* Waits for the next stage to be free; returns its barrier, which expects the stage's bytes. */
static PtxValue open_stage(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  ptx_barrier_wait(p, wgmma_empty(w, w->ring.stage), w->ring.parity);
  PtxValue full = wgmma_full(w, w->ring.stage);
  ptx_barrier_expect(p, full, ptx_int(w->s.stage_bytes));
  return full;
}

static void load_windows(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  Window x = place_window(w);
  PtxValue full = open_stage(w), to = wgmma_stage(w, w->ring.stage);
  int64_t plane_bytes = (int64_t)w->s.chunk_blocks * w->s.input_rows * PIECE_BYTES;
  for (uint32_t plane = 0; plane < w->s.input_planes; plane++)
    copy_chunk(w, &x, ptx_int(plane), ptx_int(0), ptx_add(p, to, ptx_int(plane * plane_bytes)), full);
  wgmma_ring_next(w, w->ring);
}

static void load_chunk(Wgmma *w, const Window *x, PtxValue from, PtxValue pair, PtxValue chunk) {
  Ptx *p = &w->m.k->ptx;
  PtxValue full = open_stage(w), to = wgmma_stage(w, w->ring.stage);
  copy_chunk(w, x, ptx_and(p, ptx_shr(p, pair, 8), ptx_int(255)), chunk, to, full);
  PtxValue number = ptx_mad(p, ptx_and(p, pair, ptx_int(255)), ptx_int(w->s.chunks), chunk);
  from = ptx_address(p, from, number, w->s.chunk_bytes);
  to = ptx_add(p, to, ptx_int((int64_t)w->s.chunk_blocks * w->s.input_rows * PIECE_BYTES));
  ptx_bulk_copy_if(p, ptx_int(1), to, from, ptx_int(w->s.chunk_bytes), full);
  wgmma_ring_next(w, w->ring);
}

static void load_chunks(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  Window x = place_window(w);
  PtxValue from = tile_weights(w);
  PtxValue index = ptx_for(p, ptx_int(0), ptx_int(w->m.pair_count), ptx_int(1));
  PtxValue pair = mma_pair_word(&w->m, index);
  PtxValue chunk = ptx_for(p, ptx_int(0), ptx_int(w->s.chunks), ptx_int(1));
  load_chunk(w, &x, from, pair, chunk);
  ptx_end_for(p);
  ptx_end_for(p);
}

void wgmma_load(Wgmma *w) {
  w->ring = wgmma_ring_start(w, 1);
  if (w->m.tile.resident) load_resident(w);
  wgmma_for_each_tile(w);
  (w->m.tile.resident ? load_windows : load_chunks)(w);
  ptx_end_for(&w->m.k->ptx);
}
