/* Skinny layers, the copies: the input once, by the threads that multiply, which count its bits on the way; and the
 * stream of weights by one thread, a stage a bulk copy.
 */
#include "skinny_kernel.h"

/* --- the input --- */

enum { MOST_AHEAD = 8 }; /* pieces of a thread on their way */

/* A column of the instruction: a plane of a position, or none, whose bits are zeros. */
typedef struct Column {
  PtxValue exists, from; /* from: its first block of channels of the share */
  PtxValue to;           /* in shared memory */
  PtxValue plane, local; /* of a position, the block's `local` */
} Column;

static Column place_column(SkinnyKernel *s, PtxValue column) {
  Ptx *p = &s->k->ptx;
  Strides strides = layout_strides(&s->in.type);
  Column c = {.plane = ptx_div(p, column, ptx_int(s->tile.n)), .local = ptx_rem(p, column, ptx_int(s->tile.n))};
  PtxValue position = ptx_add(p, s->first_position, c.local), to = ptx_add(p, s->shared, ptx_int(s->s.input_at));
  c.exists = ptx_setp(p, "lt.u32", position, s->positions);
  if (s->s.columns > s->s.input_planes * s->tile.n)
    c.exists = ptx_pred_and(p, c.exists, ptx_setp(p, "lt.u32", c.plane, ptx_int(s->s.input_planes)));
  c.from = ptx_address(p, s->in.base, c.plane, (int64_t)strides.plane);
  c.from = ptx_address(p, c.from, position, (int64_t)strides.position);
  c.from = ptx_address(p, c.from, ptx_mul(p, s->rank, ptx_int(s->s.share_blocks)), (int64_t)strides.block);
  c.to = ptx_mad(p, column, ptx_int(PIECE_BYTES), to);
  return c;
}

/* Blocks of the share from i on, `apart` from each other. */
typedef struct Pieces {
  PtxValue i;
  uint32_t apart, count;
  PtxValue words[MOST_AHEAD][4];
} Pieces;

static PtxValue piece_exists(const SkinnyKernel *s, const Pieces *pieces, uint32_t n) {
  Ptx *p = &s->k->ptx;
  if (s->s.share_blocks % (pieces->apart * pieces->count) == 0) return ptx_int(1);
  return ptx_setp(p, "lt.s32", ptx_add(p, pieces->i, ptx_int(n * pieces->apart)), ptx_int(s->s.share_blocks));
}

static void load_piece(SkinnyKernel *s, const Column *c, Pieces *pieces, uint32_t n, PtxValue from) {
  Ptx *p = &s->k->ptx;
  int64_t apart = (int64_t)layout_strides(&s->in.type).block * pieces->apart;
  PtxValue *w = pieces->words[n], exists = ptx_pred_and(p, c->exists, piece_exists(s, pieces, n));
  if (s->s.share_blocks * s->tile.split_k > s->s.blocks) {
    PtxValue i = ptx_add(p, pieces->i, ptx_int(n * pieces->apart));
    PtxValue block = ptx_mad(p, s->rank, ptx_int(s->s.share_blocks), i);
    exists = ptx_pred_and(p, exists, ptx_setp(p, "lt.u32", block, ptx_int(s->s.blocks)));
  }
  for (int word = 0; word < 4; word++) w[word] = ptx_variable(p, ptx_int(0));
  ptx_raw(p, "@%s ld.%s {%s, %s, %s, %s}, %s;", ptx_text(p, exists), ptx_written(p, "v4.b32"), ptx_text(p, w[0]),
          ptx_text(p, w[1]), ptx_text(p, w[2]), ptx_text(p, w[3]), ptx_at(p, from, n * apart));
}

static void store_piece(SkinnyKernel *s, const Pieces *pieces, uint32_t n, PtxValue to) {
  Ptx *p = &s->k->ptx;
  const PtxValue *w = pieces->words[n];
  PtxValue exists = piece_exists(s, pieces, n);
  const char *guard = ptx_is_int(exists, 1) ? "" : arena_printf(p->context, "@%s ", ptx_text(p, exists));
  ptx_raw(p, "%sst.shared.v4.b32 %s, {%s, %s, %s, %s};", guard,
          ptx_at(p, to, (int64_t)n * pieces->apart * s->s.columns * PIECE_BYTES), ptx_text(p, w[0]), ptx_text(p, w[1]),
          ptx_text(p, w[2]), ptx_text(p, w[3]));
}

/* Adds the bits of a piece, which has zeros where it does not exist. */
static void count_piece(SkinnyKernel *s, const Pieces *pieces, uint32_t n, PtxValue bits) {
  Ptx *p = &s->k->ptx;
  for (int word = 0; word < 4; word++)
    ptx_assign(p, bits, ptx_add(p, bits, ptx_1(p, "popc.b32", pieces->words[n][word])));
}

/* Blocks from `first` on; and the column's part of the sum of its position (S2 of the share). */
static void copy_column(SkinnyKernel *s, PtxValue column, PtxValue first, uint32_t apart) {
  Ptx *p = &s->k->ptx;
  Column c = place_column(s, column);
  Pieces pieces = {.apart = apart, .count = ceil_div(s->s.share_blocks, apart)};
  if (pieces.count > MOST_AHEAD) pieces.count = MOST_AHEAD;
  PtxValue bits = ptx_variable(p, ptx_int(0));
  pieces.i = ptx_for(p, first, ptx_int(s->s.share_blocks), ptx_int(apart * pieces.count));
  PtxValue from = ptx_address(p, c.from, pieces.i, (int64_t)layout_strides(&s->in.type).block);
  PtxValue to = ptx_mad(p, pieces.i, ptx_int(s->s.columns * PIECE_BYTES), c.to);
  for (uint32_t n = 0; n < pieces.count; n++) load_piece(s, &c, &pieces, n, from);
  for (uint32_t n = 0; n < pieces.count; n++) {
    store_piece(s, &pieces, n, to);
    if (s->w.sum_scale) count_piece(s, &pieces, n, bits);
  }
  ptx_end_for(p);
  if (!s->w.sum_scale) return;
  PtxValue at = ptx_mad(p, c.local, ptx_int(4), ptx_add(p, s->shared, ptx_int(s->s.sums_at)));
  ptx_raw(p, "red.shared.add.u32 [%s], %s;", ptx_text(p, at), ptx_text(p, ptx_2(p, "shl.b32", bits, c.plane)));
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
