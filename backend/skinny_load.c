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
  ptx_raw(p, "bar.sync 1, %u;", threads);
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

/* Chunk `i` of a tile of the group whose places s has, to the stage of chunk `number`; the first round of stages waits
 * for nobody. */
static void load_chunk(SkinnyKernel *s, PtxValue row_tile, PtxValue i, PtxValue number) {
  Ptx *p = &s->k->ptx;
  PtxValue stage = skinny_stage(s, number), full = skinny_full(s, stage);
  ptx_if(p, ptx_setp(p, "ge.s32", number, ptx_int(s->tile.stages)));
  ptx_barrier_wait(p, skinny_empty(s, stage), ptx_2(p, "xor.b32", skinny_round(s, number), ptx_int(1)));
  ptx_end_if(p);
  PtxValue from = ptx_address(p, first_chunk(s, row_tile), i, s->s.chunk_bytes);
  ptx_barrier_expect(p, full, ptx_int(s->s.chunk_bytes));
  ptx_bulk_copy_if(p, ptx_int(1), skinny_stage_address(s, stage), from, ptx_int(s->s.chunk_bytes), full);
}

/* What follows the first chunks comes to L2, where the next ones find it: device memory would be idle until the input
 * is there. */
static void prefetch(SkinnyKernel *s) {
  enum { MOST_BYTES = 131072 };
  Ptx *p = &s->k->ptx;
  uint32_t share = chunks_of_share(s) * s->s.chunk_bytes, tiles = MOST_BYTES / share;
  PtxValue bound = ptx_mad(p, s->clusters, ptx_int(tiles), s->cluster);
  bound = ptx_2(p, "min.s32", bound, ptx_int(s->s.row_tiles));
  PtxValue row_tile = ptx_for(p, s->cluster, bound, s->clusters);
  ptx_raw(p, "cp.async.bulk.prefetch.L2.global [%s], %u;", ptx_text(p, first_chunk(s, row_tile)), share);
  ptx_end_for(p);
}

/* The same chunk of a tile for each group. */
static void load_of_groups(SkinnyKernel *s, PtxValue row_tile, PtxValue i, PtxValue number) {
  Ptx *p = &s->k->ptx;
  for (uint32_t group = 0; group < s->s.groups; group++) {
    PtxValue tile = ptx_mad(p, s->clusters, ptx_int(group), row_tile);
    skinny_place_group(s, ptx_int(group));
    if (group) ptx_if(p, ptx_setp(p, "lt.s32", tile, ptx_int(s->s.row_tiles)));
    load_chunk(s, tile, i, number);
    if (group) ptx_end_if(p);
  }
}

/* Weights are there before the kernel before this one ends. Groups have chunks of the same number at about the same
 * time.
 */
void skinny_load_all(SkinnyKernel *s) {
  Ptx *p = &s->k->ptx;
  PtxValue number = ptx_variable(p, ptx_int(0));
  PtxValue row_tile = ptx_for(p, s->cluster, ptx_int(s->s.row_tiles), s->tiles_apart);
  PtxValue i = ptx_for(p, ptx_int(0), ptx_int(chunks_of_share(s)), ptx_int(1));
  load_of_groups(s, row_tile, i, number);
  ptx_assign(p, number, ptx_add(p, number, ptx_int(1)));
  ptx_if(p, ptx_setp(p, "eq.s32", number, ptx_int(s->tile.stages)));
  prefetch(s);
  ptx_end_if(p);
  ptx_end_for(p);
  ptx_end_for(p);
}
