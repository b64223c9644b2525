/* The engines on wgmma: convolution of stride 1 and matrix product of operands that lie in pieces (../ir/type.h).
 *
 * A block of threads goes through tiles of tile.m positions x tile.n channels. One thread starts the copies, bulk
 * copies that complete on barriers in shared memory (wgmma_load.c); warps, four to 64 x row_tiles rows, multiply what
 * has come (wgmma_multiply.c) and finish the tile (mma_signs.c, mma_finish.c) while copies for the next are under way.
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

static PtxValue columns_of_tiles(const Wgmma *w) {
  return ptx_int(tile_count_of_channels(&w->m.tile, &w->m.out.type));
}

PtxValue wgmma_tile_count(Wgmma *w) {
  return ptx_mul(&w->m.k->ptx, w->row_tiles, columns_of_tiles(w));
}

PtxValue wgmma_tile_channel(Wgmma *w, PtxValue tile) {
  Ptx *p = &w->m.k->ptx;
  return ptx_mul(p, ptx_rem(p, tile, columns_of_tiles(w)), ptx_int(w->m.tile.n));
}

/* Resident weights belong to one tile of channels, which blockIdx.y names; streamed ones to any. */
void wgmma_for_each_tile(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  Mma *m = &w->m;
  PtxValue start = ptx_special(p, "%ctaid.x"), step = ptx_special(p, "%nctaid.x");
  if (m->tile.resident) {
    w->row_tile = ptx_for(p, start, w->row_tiles, step);
    m->first_position = ptx_mul(p, w->row_tile, ptx_int(m->tile.m));
    m->first_channel = ptx_mul(p, ptx_special(p, "%ctaid.y"), ptx_int(m->tile.n));
    return;
  }
  PtxValue tile = ptx_for(p, start, wgmma_tile_count(w), step);
  m->first_position = ptx_mul(p, ptx_div(p, tile, columns_of_tiles(w)), ptx_int(m->tile.m));
  m->first_channel = wgmma_tile_channel(w, tile);
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

/* Registers of a thread that multiplies and of one of the loading group, with three groups of four warps in an SM. */
enum { MULTIPLY_REGISTERS = 240, LOAD_REGISTERS = 24 };

static void move_registers(Wgmma *w, const char *way, int count) {
  if (staging_moves_registers(&w->m.tile)) ptx_raw(&w->m.k->ptx, "setmaxnreg.%s.sync.aligned.u32 %d;", way, count);
}

static void finish_tiles(Wgmma *w) {
  wgmma_multiply_begin(w);
  wgmma_for_each_tile(w);
  wgmma_multiply_tile(w);
  (w->m.signs ? mma_signs_finish : mma_finish)(&w->m);
  ptx_end_for(&w->m.k->ptx);
}

/* The last warp, or group of warps, loads. */
static void emit_streamed(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  wgmma_load_weights_ahead(w);
  ptx_wait_for_launch(p);
  if (staging_moves_registers(&w->m.tile)) p->blocks_of_sm = 1;
  ptx_if(p, ptx_setp(p, "lt.u32", w->warp, ptx_int(w->consumer_warps)));
  move_registers(w, "inc", MULTIPLY_REGISTERS);
  finish_tiles(w);
  ptx_else(p);
  move_registers(w, "dec", LOAD_REGISTERS);
  ptx_if(p, wgmma_is_loader(w));
  wgmma_load_all(w);
  ptx_end_if(p);
  ptx_end_if(p);
}

static void emit_resident(Wgmma *w) {
  wgmma_load_first(w);
  finish_tiles(w);
}

/* The row of ones sums the input with every weight plane i, weighted 2^i: 2^planes - 1 times. That is odd, so modulo
 * 2^32 it has an inverse. */
static int32_t every_plane_sums(uint32_t planes, int32_t sum_scale) {
  uint32_t times = (1u << planes) - 1, inverse = 1;
  for (int i = 0; i < 5; i++) inverse *= 2 - times * inverse; /* each step doubles the bits that are right */
  return (int32_t)(0u - (uint32_t)sum_scale * inverse);
}

bool kernel_wgmma(Kernel *k) {
  const Tile *t = &k->node->tile;
  Wgmma w = {.m = {.k = k, .node = k->node, .tile = *t, .row_tile_rows = 64, .place = mma_place},
             .consumer_warps = t->warps_m};
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
  w.m.sum_factor = every_plane_sums(w.s.weight_planes, w.m.w.sum_scale);
  place(&w);
  wgmma_write_sum_rows(&w);
  init_barriers(&w);
  (t->resident ? emit_resident : emit_streamed)(&w);
  return true;
}
