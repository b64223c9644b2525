/* Skinny layers, the copies: the input once, by the threads that multiply, 16 bytes each; and the stream of weights by
 * one thread, a stage a bulk copy.
 */
#include "skinny_kernel.h"

/* A column of the instruction: a plane of a position, or none, whose bits are zeros. */
typedef struct Column {
  PtxValue exists, from; /* from: its first block of channels */
} Column;

static Column place_column(SkinnyKernel *s, PtxValue column) {
  Ptx *p = &s->k->ptx;
  Strides strides = layout_strides(&s->in.type);
  PtxValue plane = ptx_div(p, column, ptx_int(s->tile.n)), local = ptx_rem(p, column, ptx_int(s->tile.n));
  PtxValue position = ptx_add(p, s->first_position, local);
  Column c;
  c.exists = ptx_setp(p, "lt.u32", position, s->positions);
  if (s->s.columns > s->s.input_planes * s->tile.n)
    c.exists = ptx_pred_and(p, c.exists, ptx_setp(p, "lt.u32", plane, ptx_int(s->s.input_planes)));
  c.from = ptx_address(p, s->in.base, plane, (int64_t)strides.plane);
  c.from = ptx_address(p, c.from, position, (int64_t)strides.position);
  return c;
}

/* Blocks of channels from `first` on, `apart` from each other. */
static void copy_column(SkinnyKernel *s, PtxValue column, PtxValue first, uint32_t apart) {
  Ptx *p = &s->k->ptx;
  Column c = place_column(s, column);
  int64_t block_bytes = (int64_t)layout_strides(&s->in.type).block;
  PtxValue to = ptx_add(p, s->shared, ptx_int(s->s.input_at));
  to = ptx_mad(p, column, ptx_int(PIECE_BYTES), to);
  PtxValue share = ptx_mul(p, s->rank, ptx_int(s->s.share_blocks));
  PtxValue i = ptx_for(p, first, ptx_int(s->s.share_blocks), ptx_int(apart));
  PtxValue block = ptx_add(p, share, i), exists = c.exists;
  if (s->s.share_blocks * s->tile.split_k > s->s.blocks)
    exists = ptx_pred_and(p, exists, ptx_setp(p, "lt.u32", block, ptx_int(s->s.blocks)));
  PtxValue bytes = ptx_select(p, exists, ptx_int(PIECE_BYTES), ptx_int(0));
  PtxValue from = ptx_address(p, c.from, block, block_bytes);
  PtxValue at = ptx_mad(p, i, ptx_int(s->s.columns * PIECE_BYTES), to);
  ptx_raw(p, "cp.async.cg.shared.global [%s], [%s], %d, %s;", ptx_text(p, at), ptx_text(p, from), PIECE_BYTES,
          ptx_text(p, bytes));
  ptx_end_for(p);
}

/* A thread has one column, or more where there are more columns than threads; those over do nothing. */
void skinny_copy_input(SkinnyKernel *s) {
  Ptx *p = &s->k->ptx;
  uint32_t threads = 32u * s->tile.warps_m, columns = s->s.columns, lines = threads / columns;
  if (lines) {
    PtxValue line = ptx_div(p, s->thread, ptx_int(columns)), column = ptx_rem(p, s->thread, ptx_int(columns));
    ptx_if(p, ptx_setp(p, "lt.u32", line, ptx_int(lines)));
    copy_column(s, column, line, lines);
    ptx_end_if(p);
  } else {
    PtxValue column = ptx_for(p, s->thread, ptx_int(columns), ptx_int(threads));
    copy_column(s, column, ptx_int(0), 1);
    ptx_end_for(p);
  }
  ptx_raw(p, "cp.async.wait_all;");
  ptx_raw(p, "fence.proxy.async;");
  ptx_raw(p, "bar.sync 1, %u;", threads);
}

/* Chunk `i` of the block's share of a tile, to the stage of the chunk `number`. `first`: of the share. */
static void load_chunk(SkinnyKernel *s, PtxValue first, PtxValue i, PtxValue number) {
  Ptx *p = &s->k->ptx;
  PtxValue stage = skinny_stage(s, number), full = skinny_full(s, stage), to = skinny_stage_address(s, stage);
  PtxValue from = ptx_address(p, s->weights, ptx_add(p, first, i), s->s.chunk_bytes);
  ptx_barrier_expect(p, full, ptx_int(s->s.chunk_bytes));
  ptx_bulk_copy_if(p, ptx_int(1), to, from, ptx_int(s->s.chunk_bytes), full);
}

static uint32_t chunks_of_share(const SkinnyKernel *s) {
  return s->s.weight_planes * s->s.chunks;
}

static PtxValue first_chunk(SkinnyKernel *s, PtxValue row_tile) {
  Ptx *p = &s->k->ptx;
  PtxValue share = ptx_mad(p, row_tile, ptx_int(s->tile.split_k), s->rank);
  return ptx_mul(p, share, ptx_int(chunks_of_share(s)));
}

/* Chunks of the block's first tile for which there are stages. */
static uint32_t chunks_ahead(const SkinnyKernel *s) {
  return chunks_of_share(s) < s->tile.stages ? chunks_of_share(s) : s->tile.stages;
}

/* Weights are there before the kernel before this one ends. */
void skinny_load_ahead(SkinnyKernel *s) {
  Ptx *p = &s->k->ptx;
  PtxValue works = ptx_setp(p, "lt.s32", s->first_tile, ptx_int(s->s.row_tiles));
  if (s->s.column_tiles > 1)
    works = ptx_pred_and(p, works, ptx_setp(p, "lt.u32", s->first_position, s->positions));
  PtxValue loader = ptx_setp(p, "eq.s32", s->thread, ptx_int(32 * s->tile.warps_m));
  ptx_if(p, ptx_pred_and(p, works, loader));
  PtxValue first = first_chunk(s, s->first_tile);
  PtxValue i = ptx_for(p, ptx_int(0), ptx_int(chunks_ahead(s)), ptx_int(1));
  load_chunk(s, first, i, i);
  ptx_end_for(p);
  ptx_end_if(p);
}

void skinny_load_all(SkinnyKernel *s) {
  Ptx *p = &s->k->ptx;
  PtxValue next = ptx_variable(p, ptx_int(0));
  PtxValue row_tile = ptx_for(p, s->first_tile, ptx_int(s->s.row_tiles), s->tiles_apart);
  PtxValue first = first_chunk(s, row_tile);
  PtxValue i = ptx_for(p, ptx_int(0), ptx_int(chunks_of_share(s)), ptx_int(1));
  ptx_if(p, ptx_setp(p, "ge.s32", next, ptx_int(chunks_ahead(s))));
  PtxValue before = ptx_2(p, "xor.b32", skinny_round(s, next), ptx_int(1)); /* the first round waits for none */
  ptx_barrier_wait(p, skinny_empty(s, skinny_stage(s, next)), before);
  load_chunk(s, first, i, next);
  ptx_end_if(p);
  ptx_assign(p, next, ptx_add(p, next, ptx_int(1)));
  ptx_end_for(p);
  ptx_end_for(p);
}
