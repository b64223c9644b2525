/* The engines on wgmma: convolution of stride 1 and matrix product of operands that lie in pieces (../ir/type.h).
 *
 * A block of threads goes through tiles of tile.m positions x tile.n channels. Its last warp starts the copies, bulk
 * copies that complete on barriers in shared memory (wgmma_load.c); the others, four to 64 x row_tiles rows, multiply
 * what has come (wgmma_multiply.c) and finish the tile (mma_finish.c) while the next tile's copies are under way.
 *
 * Rows of a tile are positions, those between pixels too: their products are computed and thrown away, which is what
 * makes each filter tap one offset for the whole tile, so that an input is in shared memory once for all taps.
 */
#include "wgmma_kernel.h"

/* --- shared memory --- */

PtxValue wgmma_stage(Wgmma *w, PtxValue stage) {
  return ptx_mad(&w->m.k->ptx, stage, ptx_int(w->s.stage_bytes), w->m.shared);
}

PtxValue wgmma_resident(Wgmma *w) {
  return ptx_add(&w->m.k->ptx, w->m.shared, ptx_int((int64_t)w->m.tile.stages * w->s.stage_bytes));
}

static PtxValue barrier(Wgmma *w, PtxValue number) {
  Ptx *p = &w->m.k->ptx;
  PtxValue first = ptx_add(p, wgmma_resident(w), ptx_int(w->s.resident_bytes));
  return ptx_mad(p, number, ptx_int(8), first);
}

PtxValue wgmma_full(Wgmma *w, PtxValue stage) {
  return barrier(w, stage);
}

PtxValue wgmma_empty(Wgmma *w, PtxValue stage) {
  return barrier(w, ptx_add(&w->m.k->ptx, stage, ptx_int(w->m.tile.stages)));
}

PtxValue wgmma_resident_barrier(Wgmma *w) {
  return barrier(w, ptx_int(2 * w->m.tile.stages));
}

static void init_barriers(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  ptx_if(p, ptx_setp(p, "eq.s32", w->m.thread, ptx_int(0)));
  for (int stage = 0; stage < w->m.tile.stages; stage++) {
    ptx_barrier_init(p, wgmma_full(w, ptx_int(stage)), 1);
    ptx_barrier_init(p, wgmma_empty(w, ptx_int(stage)), (uint32_t)w->consumer_warps);
  }
  if (w->m.tile.resident) ptx_barrier_init(p, wgmma_resident_barrier(w), 1);
  ptx_barrier_init_fence(p);
  ptx_end_if(p);
  ptx_raw(p, "bar.sync 0;");
}

Ring wgmma_ring_start(Wgmma *w, int parity) {
  Ptx *p = &w->m.k->ptx;
  Ring ring;
  ring.stage = ptx_variable(p, ptx_int(0));
  ring.parity = ptx_variable(p, ptx_int(parity));
  return ring;
}

void wgmma_ring_next(Wgmma *w, Ring ring) {
  Ptx *p = &w->m.k->ptx;
  PtxValue next = ptx_add(p, ring.stage, ptx_int(1));
  PtxValue wraps = ptx_setp(p, "eq.s32", next, ptx_int(w->m.tile.stages));
  ptx_assign(p, ring.stage, ptx_select(p, wraps, ptx_int(0), next));
  PtxValue flip = ptx_select(p, wraps, ptx_int(1), ptx_int(0));
  ptx_assign(p, ring.parity, ptx_2(p, "xor.b32", ring.parity, flip));
}

/* --- tiles --- */

static int column_tile_count(const Wgmma *w) {
  return ((int)layout_covered_channels(&w->m.out.type) + w->m.tile.n - 1) / w->m.tile.n;
}

/* Resident weights belong to one tile of channels, which blockIdx.y names; streamed ones to any. */
void wgmma_for_each_tile(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  Mma *m = &w->m;
  PtxValue start = ptx_special(p, "%ctaid.x"), step = ptx_special(p, "%nctaid.x");
  if (m->tile.resident) {
    PtxValue tile = ptx_for(p, start, w->row_tiles, step);
    m->first_position = ptx_mul(p, tile, ptx_int(m->tile.m));
    m->first_channel = ptx_mul(p, ptx_special(p, "%ctaid.y"), ptx_int(m->tile.n));
    return;
  }
  PtxValue columns = ptx_int(column_tile_count(w));
  PtxValue tile = ptx_for(p, start, ptx_mul(p, w->row_tiles, columns), step);
  m->first_position = ptx_mul(p, ptx_div(p, tile, columns), ptx_int(m->tile.m));
  m->first_channel = ptx_mul(p, ptx_rem(p, tile, columns), ptx_int(m->tile.n));
}

/* --- the kernel --- */

/* The rows of tiles are positions of the input; those of a result in pieces are the same. */
static bool grids_agree(const Wgmma *w) {
  Grid in = grid_of(&w->m.in.type), out = grid_of(&w->m.out.type);
  if (!layout_is_pieces(w->m.out.type.layout)) return true;
  if (in.row_pitch == out.row_pitch && in.image_pitch == out.image_pitch) return true;
  return bad_plan(w->m.k->graph, w->m.node, "its result has another pitch of rows or images than its input");
}

static bool tile_fits(const Wgmma *w) {
  const Tile *t = &w->m.tile;
  const Mma *m = &w->m;
  bool columns = t->n == 32 || t->n == 64 || t->n == 128;
  bool rows = t->warps_m % 4 == 0 && t->warps_n == 1 && t->m == 16 * m->row_tiles * t->warps_m && m->row_tiles >= 1 &&
              m->row_tiles <= MAX_ROW_TILES;
  bool chunk = t->k >= 4 && t->k % 4 == 0 && (!t->resident || w->s.chunks == 1);
  if (columns && rows && chunk && t->stages >= 2 && t->split_k == 1) return true;
  return mma_bad_tile(m);
}

static void place(Wgmma *w) {
  Mma *m = &w->m;
  Ptx *p = &m->k->ptx;
  m->grid = grid_of(&m->in.type);
  m->grid.image = m->out.image;
  mma_place_lane(m);
  w->warp = ptx_shr(p, m->thread, 5);
  PtxValue group_rows = ptx_mul(p, ptx_shr(p, w->warp, 2), ptx_int(64 * m->row_tiles));
  m->warp_row = ptx_mad(p, ptx_and(p, w->warp, ptx_int(3)), ptx_int(16), group_rows);
  m->warp_column = ptx_int(0);
  m->total_positions = ptx_mul(p, m->k->batch, ptx_int(m->grid.image_pitch));
  PtxValue rounded = ptx_add(p, m->total_positions, ptx_int(m->tile.m - 1));
  w->row_tiles = ptx_div(p, rounded, ptx_int(m->tile.m));
}

static void finish_tiles(Wgmma *w) {
  wgmma_multiply_begin(w);
  wgmma_for_each_tile(w);
  wgmma_multiply_tile(w);
  mma_finish(&w->m);
  ptx_end_for(&w->m.k->ptx);
}

static void emit(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  place(w);
  init_barriers(w);
  ptx_if(p, ptx_setp(p, "lt.u32", w->warp, ptx_int(w->consumer_warps)));
  finish_tiles(w);
  ptx_else(p);
  ptx_if(p, ptx_setp(p, "eq.s32", w->m.lane, ptx_int(0)));
  wgmma_load(w);
  ptx_end_if(p);
  ptx_end_if(p);
}

bool kernel_wgmma(Kernel *k) {
  const Tile *t = &k->node->tile;
  Wgmma w = {.m = {.k = k, .node = k->node, .tile = *t, .row_tile_rows = 64, .place_row = mma_place_row}, .consumer_warps = t->warps_m};
  w.m.row_tiles = t->m / t->warps_m / 16;
  w.m.column_tiles = t->n / 8;
  w.m.in = tensor_of(k, k->node->inputs[0]);
  w.m.out = tensor_of(k, k->node->result);
  w.s = staging_of(k->graph, k->node, t);
  if (!tile_fits(&w) || !grids_agree(&w)) return false;
  w.m.w = weights_pack_pieces(k->graph, k->node);
  if (!mma_find_instruction(&w.m)) return false;
  mma_bind(&w.m);
  size_t window = (size_t)w.s.input_rows * PIECE_BYTES;
  w.zeros = kernel_constant(k, arena_alloc(k->graph->context, window), window);
  emit(&w);
  return true;
}
