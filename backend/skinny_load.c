/* Skinny layers, the copies: the input once, by all threads, 16 bytes each; and the stream of weights by the first
 * thread of each group, a stage a bulk copy.
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
  ptx_raw(p, "fence.proxy.async.shared::cta;"); /* one of all memory takes about a microsecond */
  ptx_raw(p, "bar.sync 0;");
}

/* --- the stream --- */

static uint32_t chunks_of_share(const SkinnyKernel *s) {
  return s->s.weight_planes * s->s.chunks;
}

static PtxValue first_chunk(SkinnyKernel *s, PtxValue row_tile) {
  Ptx *p = &s->k->ptx;
  PtxValue share = ptx_mad(p, row_tile, ptx_int(s->tile.split_k), s->rank);
  return ptx_address(p, s->weights, share, (int64_t)chunks_of_share(s) * s->s.chunk_bytes);
}

/* Behind the last chunk of a tile comes the first of the group's next one. */
static void go_on(SkinnyKernel *s) {
  Ptx *p = &s->k->ptx;
  SkinnyStream *t = &s->stream;
  ptx_assign(p, t->number, ptx_add(p, t->number, ptx_int(1)));
  ptx_assign(p, t->left, ptx_sub(p, t->left, ptx_int(1)));
  ptx_assign(p, t->from, ptx_address(p, t->from, ptx_int(1), s->s.chunk_bytes));
  ptx_if(p, ptx_setp(p, "eq.s32", t->left, ptx_int(0)));
  ptx_assign(p, t->row_tile, ptx_add(p, t->row_tile, s->tiles_apart));
  ptx_assign(p, t->from, first_chunk(s, t->row_tile));
  ptx_assign(p, t->left, ptx_int(chunks_of_share(s)));
  ptx_end_if(p);
}

void skinny_load_next(SkinnyKernel *s) {
  Ptx *p = &s->k->ptx;
  ptx_if(p, ptx_setp(p, "lt.s32", s->stream.row_tile, ptx_int(s->s.row_tiles)));
  PtxValue stage = skinny_stage(s, s->stream.number), full = skinny_full(s, stage);
  ptx_barrier_expect(p, full, ptx_int(s->s.chunk_bytes));
  ptx_bulk_copy_if(p, ptx_int(1), skinny_stage_address(s, stage), s->stream.from, ptx_int(s->s.chunk_bytes), full);
  go_on(s);
  ptx_end_if(p);
}

/* What follows the first chunks comes to L2, where the next ones find it: device memory would be idle until the input
 * is there. */
static void prefetch(SkinnyKernel *s) {
  enum { MOST_BYTES = 131072 }; /* of all groups, but a tile's share for each */
  Ptx *p = &s->k->ptx;
  uint32_t share = chunks_of_share(s) * s->s.chunk_bytes, tiles = MOST_BYTES / share / s->s.groups;
  PtxValue bound = ptx_mad(p, s->tiles_apart, ptx_int(tiles ? tiles : 1), s->first_tile);
  bound = ptx_2(p, "min.s32", bound, ptx_int(s->s.row_tiles));
  PtxValue row_tile = ptx_for(p, s->first_tile, bound, s->tiles_apart);
  ptx_raw(p, "cp.async.bulk.prefetch.L2.global [%s], %u;", ptx_text(p, first_chunk(s, row_tile)), share);
  ptx_end_for(p);
}

/* As many chunks as there are stages. Weights are there before the kernel before this one ends. */
void skinny_load_ahead(SkinnyKernel *s) {
  Ptx *p = &s->k->ptx;
  s->stream =
      (SkinnyStream){ptx_variable(p, ptx_int(0)), ptx_variable(p, s->first_tile),
                     ptx_variable(p, ptx_int(chunks_of_share(s))), ptx_variable(p, first_chunk(s, s->first_tile))};
  PtxValue works = s->leads;
  if (s->s.column_tiles > 1) works = ptx_pred_and(p, works, ptx_setp(p, "lt.u32", s->first_position, s->positions));
  ptx_if(p, works);
  ptx_for(p, ptx_int(0), ptx_int(s->tile.stages), ptx_int(1));
  skinny_load_next(s);
  ptx_end_for(p);
  prefetch(s);
  ptx_end_if(p);
}
