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

void skinny_load_all(SkinnyKernel *s) {
  Ptx *p = &s->k->ptx;
  uint32_t chunks = s->s.weight_planes * s->s.chunks;
  PtxValue next = ptx_variable(p, ptx_int(0));
  PtxValue row_tile = ptx_for(p, s->first_tile, ptx_int(s->s.row_tiles), s->tiles_apart);
  PtxValue share = ptx_mad(p, row_tile, ptx_int(s->tile.split_k), s->rank);
  PtxValue first = ptx_mul(p, share, ptx_int(chunks));
  PtxValue i = ptx_for(p, ptx_int(0), ptx_int(chunks), ptx_int(1));
  PtxValue stage = skinny_stage(s, next);
  PtxValue before = ptx_2(p, "xor.b32", skinny_round(s, next), ptx_int(1)); /* the first round waits for none */
  ptx_barrier_wait(p, skinny_empty(s, stage), before);
  PtxValue full = skinny_full(s, stage), to = skinny_stage_address(s, stage);
  PtxValue from = ptx_address(p, s->weights, ptx_add(p, first, i), s->s.chunk_bytes);
  ptx_barrier_expect(p, full, ptx_int(s->s.chunk_bytes));
  ptx_bulk_copy_if(p, ptx_int(1), to, from, ptx_int(s->s.chunk_bytes), full);
  ptx_assign(p, next, ptx_add(p, next, ptx_int(1)));
  ptx_end_for(p);
  ptx_end_for(p);
}
